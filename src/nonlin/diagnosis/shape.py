"""What the definitions of health need to know about an activation; computed from its facts, without a framework."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from nonlin.definition import Elementwise, activations
from nonlin.facts import Limits, UnknownFactError
from nonlin.formula.calculus import simplest
from nonlin.formula.expression import Symbol, substitute

T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """What the definitions need to know about an activation.

    Attributes
    ----------
    steepest : float
        The largest abs(f'), infinite if there is none or it is unknown: any slope but zero counts as active then.
    can_die : bool
        Whether f' vanishes where a unit can stay.
    bounded : bool
    """

    steepest: float
    can_die: bool
    bounded: bool


@lru_cache(maxsize=256)
def shape_of(activation: Elementwise) -> Shape:
    """Compute from an activation's facts what the definitions need.

    Examples
    --------
    >>> import nonlin as nl
    >>> shape_of(nl.relu)
    Shape(steepest=1.0, can_die=True, bounded=False)
    >>> shape_of(nl.leaky_relu).can_die, shape_of(nl.tanh).bounded
    (False, True)
    """
    facts = activation.facts
    steepest = float(_told(lambda: facts.lipschitz, math.inf))
    ends = _told(lambda: facts.slope_limits, Limits(None, None))
    flat_ends = any(end is not None and float(end) == 0 for end in (ends.left, ends.right))
    # A stretch, not a point, of zero slope between the ends: that of hard_shrink, for one.
    x = np.linspace(-8, 8, 4001)
    slope = np.asarray(activation.derivative(x))
    flat_middle = bool(np.any((slope[1:] == 0) & (slope[:-1] == 0)))
    return Shape(steepest, flat_ends or flat_middle, bool(_told(lambda: facts.bounded, False)))


@lru_cache(maxsize=256)
def gate_of(pair: Elementwise) -> Elementwise | None:
    """Return the activation that a pair's gate goes through, if it has a name; the identity is none.

    Examples
    --------
    >>> import nonlin as nl
    >>> gate_of(nl.swiglu), gate_of(nl.glu)
    (<activation silu(x)>, <activation sigmoid(x)>)
    """
    if pair.operands[1:] != ("value",):
        return None
    gate = simplest(substitute(pair.formula, {"value": 1}))
    if gate is Symbol("x"):
        return None
    known = (entry for entry in activations.values() if isinstance(entry, Elementwise) and entry.operands == ("x",))
    return next((entry for entry in known if entry.family != "own" and simplest(entry.formula) is gate), None)


def _told(fact: Callable[[], T], otherwise: T) -> T:
    """Return a fact, or what is taken for it where it is unknown."""
    try:
        return fact()
    except UnknownFactError:
        return otherwise
