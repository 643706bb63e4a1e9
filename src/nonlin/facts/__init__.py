"""Facts: range, limits, zeros, kinks, Lipschitz constant, moments..., computed from a formula with mpmath."""

from nonlin.facts.properties import Facts as Facts, facts_of as facts_of
from nonlin.facts.records import Limits as Limits, UnknownFactError as UnknownFactError
