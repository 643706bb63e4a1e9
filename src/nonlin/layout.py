"""Layouts: which entries of an array a formula is of, and where its results go."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from nonlin.formula.expression import Application, Expression, FormulaError, postorder
from nonlin.formula.rows import concatenate, parts, varies

Gate: TypeAlias = Literal["first", "second", "even"]
"""Where one array holds its gate: in the first or the second half of the axis, or at the even ones of its positions."""

#: What calls along an axis take besides parameters.
_TAKEN = frozenset({"axis", "where", "out", "dx", "dy"})
_SPLITS: Mapping[Gate, Callable[[int], tuple[slice, slice]]] = MappingProxyType(
    {
        "first": lambda half: (slice(None, half), slice(half, None)),
        "second": lambda half: (slice(half, None), slice(None, half)),
        "even": lambda half: (slice(None, None, 2), slice(1, None, 2)),
    }
)


def check_axis(name: str, shape: tuple[int, ...], axis: Any) -> int:
    """Return an axis counted from the front, or raise a TypeError or ValueError that names the function."""
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name}: axis must be an integer, got {axis!r}") from None
    if not shape:
        raise ValueError(f"{name}: x is a single number and has no axis")
    if not -len(shape) <= index < len(shape):
        raise ValueError(f"{name}: axis {index} is out of range for x of shape {shape}")
    return index % len(shape)


@dataclass(frozen=True)
class Layout:
    """Every entry on its own: an elementwise activation."""

    def check_arguments(self, name: str, operands: tuple[str, ...], parameters: tuple[str, ...]) -> None:
        """Raise FormulaError if a definition does not have the arguments that the layout asks for."""

    def check_formula(self, name: str, formula: Expression) -> None:
        """Raise FormulaError if a formula does not suit the layout."""


ENTRIES = Layout()


@dataclass(frozen=True)
class Rows(Layout):
    """All entries along an axis."""

    def check_arguments(self, name: str, operands: tuple[str, ...], parameters: tuple[str, ...]) -> None:
        """Raise FormulaError unless there is one array, and no parameter whose name means something else."""
        if len(operands) != 1:
            raise FormulaError(f"{name} takes {', '.join(operands)}: a function along an axis is of one array")
        taken = _TAKEN & {*operands, *parameters}
        if taken:
            raise FormulaError(f"{name}: {min(taken)!r} means something else in a call; rename the parameter")

    def check_formula(self, name: str, formula: Expression) -> None:
        """Raise FormulaError if something is done with rows put together."""
        for part in parts(formula):
            if any(isinstance(node, Application) and node.primitive is concatenate for node in postorder(part)):
                raise FormulaError(f"{name}: concatenate puts rows together, and nothing can come after it")

    def length(self, name: str, shape: tuple[int, ...], axis: int, values: Mapping[str, Any]) -> int:
        """Return how many entries of an array of some shape belong together.

        Raises
        ------
        ValueError
            If the axis has a length that the function has no use for.
        """
        return shape[axis]


@dataclass(frozen=True)
class Groups(Rows):
    """So many neighbours along an axis, which have one result together."""

    size: str
    """The parameter that says how many."""

    def check_formula(self, name: str, formula: Expression) -> None:
        """Raise FormulaError if there is more than one result for each group."""
        if len(parts(formula)) > 1 or varies(formula, frozenset({"x"})):
            raise FormulaError(f"{name}: a group has one result, such as row_max(x), but {formula} is one of each entry")

    def length(self, name: str, shape: tuple[int, ...], axis: int, values: Mapping[str, Any]) -> int:
        """Return how many entries there are in a group, which divide the axis."""
        groups, size = values[self.size], shape[axis]
        if groups % 1 or size % groups:
            raise ValueError(
                f"{name}: axis {axis} of x of shape {shape} cannot be divided into groups of {groups}: it has {size} entries"
            )
        return int(groups)


@dataclass(frozen=True)
class Halves(Layout):
    """The two operands of a pair, which one array may hold."""

    gate: Gate = "first"
    """Where it holds the gate unless the call says otherwise."""

    def check_arguments(self, name: str, operands: tuple[str, ...], parameters: tuple[str, ...]) -> None:
        """Raise FormulaError unless there are a gate and a value."""
        if len(operands) != 2 or operands[1] != "value":
            given = ", ".join((*operands, *parameters))
            raise FormulaError(f"{name}({given}): a gated pair is a function of a gate and then of value")
        if {"axis", "gate"} & {*parameters}:
            raise FormulaError(f"{name}: axis and gate say how to split an array; rename the parameter")

    @staticmethod
    def split(name: str, x: Any, axis: int, gate: Gate) -> tuple[Any, Any]:
        """Return views of the gate and the value that one array, or tensor, holds.

        Raises
        ------
        ValueError
            If there is no such axis or gate, or the axis has odd length.
        """
        if gate not in get_args(Gate):
            raise ValueError(f"{name}: gate must be one of {', '.join(get_args(Gate))}, got {gate!r}")
        shape = tuple(x.shape)
        axis = check_axis(name, shape, axis)
        if shape[axis] % 2:
            raise ValueError(f"{name}: axis {axis} of x of shape {shape} has odd length {shape[axis]}, so no halves")
        before = (slice(None),) * axis
        first, second = (x[(*before, part)] for part in _SPLITS[gate](shape[axis] // 2))
        return first, second
