"""What an activation is: one record, from which everything else follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nonlin.definition.layout import ENTRIES, Layout
from nonlin.definition.parameter import Parameter
from nonlin.formula.expression import Expression


@dataclass(frozen=True)
class Definition:
    """A formula with a name, parameters, a layout and where it comes from."""

    name: str
    formula: Expression
    operands: tuple[str, ...] = ("x",)
    """Names of the arrays that it takes."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    layout: Layout = ENTRIES
    masked: float | None = None
    """What entries become that a mask leaves out of a row; None where there is no mask."""
    source: str = ""
    """Where the formula comes from."""
    aliases: tuple[str, ...] = ()
    family: str = "own"
    doc: str = ""
    module: str = "nonlin"
