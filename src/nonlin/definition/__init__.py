"""What an activation is: a formula with parameters and a layout; the decorator that makes one; the registry of all."""

from nonlin.definition.base import Activation as Activation
from nonlin.definition.decorator import activation as activation, along_axis as along_axis, gated as gated
from nonlin.definition.elementwise import Elementwise as Elementwise
from nonlin.definition.layout import Gate as Gate, Groups as Groups, Halves as Halves, Layout as Layout, Rows as Rows
from nonlin.definition.pairs import Gated as Gated
from nonlin.definition.parameter import Parameter as Parameter
from nonlin.definition.record import Definition as Definition
from nonlin.definition.registry import (
    Registry as Registry,
    UnknownActivationError as UnknownActivationError,
    activations as activations,
    get as get,
)
from nonlin.definition.rows import AxisFunction as AxisFunction
