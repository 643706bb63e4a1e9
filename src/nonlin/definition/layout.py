"""Layouts: which entries of an array a formula is of, and where its results go."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np

from nonlin.definition.parameter import Parameter
from nonlin.formula.expression import Application, Expression, FormulaError, postorder
from nonlin.formula.rows import concatenate, parts, varies

Gate: TypeAlias = Literal["first", "second", "even"]
"""Where one array holds its gate: in the first or the second half of the axis, or at the even ones of its positions."""

#: What calls of ufuncs take besides operands.
UFUNC_KEYWORDS = frozenset({"out", "where", "dtype", "casting", "order", "subok", "signature"})
#: What calls along an axis take besides parameters.
_TAKEN = frozenset({"axis", "where", "out", "dx", "dy"})
_SPLITS: Mapping[Gate, Callable[[int], tuple[slice, slice]]] = MappingProxyType(
    {
        "first": lambda half: (slice(None, half), slice(half, None)),
        "second": lambda half: (slice(half, None), slice(None, half)),
        "even": lambda half: (slice(None, None, 2), slice(1, None, 2)),
    }
)


def shape_of(x: Any) -> tuple[int, ...] | None:
    """Return an array's shape, or None where it stands for one of any shape, as torch.fx's proxies do."""
    try:
        return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
    except ValueError:
        return None


def check_axis(name: str, shape: tuple[int, ...] | None, axis: Any) -> int:
    """Return an axis counted from the front, or raise a TypeError or ValueError that names the function.

    Of an array of unknown shape it is counted as it was given.
    """
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name}: axis must be an integer, got {axis!r}") from None
    if shape is None:
        return index
    if not shape:
        raise ValueError(f"{name}: x is a single number and has no axis")
    if not -len(shape) <= index < len(shape):
        raise ValueError(f"{name}: axis {index} is out of range for x of shape {shape}")
    return index % len(shape)


def _argument(name: str, default: Any = inspect.Parameter.empty, *, keyword: bool = False) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY if keyword else inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default)


@dataclass(frozen=True)
class Layout:
    """Every entry on its own: an elementwise activation."""

    parameters_are: ClassVar[str] = "array_like"
    """What a call takes for a parameter."""

    def signature(
        self, operands: tuple[str, ...], parameters: Mapping[str, Parameter], masked: float | None
    ) -> inspect.Signature:
        """Return what a call takes: the arrays, then the parameters, those without a default first."""
        required, optional = _divided(parameters)
        return inspect.Signature([*map(_argument, operands), *required, *(_argument(*item) for item in optional.items())])

    def describe_keywords(self, masked: float | None) -> list[str]:
        """Return the lines of a documentation that say what a call takes besides arrays and parameters."""
        return ["out, where, dtype, casting, order, subok", "    As for any ``numpy.ufunc``."]

    def notes(self) -> list[str]:
        """Return the last lines of a documentation."""
        return []

    def check_arguments(self, name: str, operands: tuple[str, ...], parameters: tuple[str, ...]) -> None:
        """Raise FormulaError if a definition does not have the arguments that the layout asks for."""

    def check_formula(self, name: str, formula: Expression) -> None:
        """Raise FormulaError if a formula does not suit the layout."""


def _divided(parameters: Mapping[str, Parameter]) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    """Return the arguments that have to be given, and the defaults of all others."""
    required = [_argument(name) for name, parameter in parameters.items() if parameter.default is None]
    return required, {name: p.default for name, p in parameters.items() if p.default is not None}


ENTRIES = Layout()


@dataclass(frozen=True)
class Rows(Layout):
    """All entries along an axis."""

    parameters_are: ClassVar[str] = "number"

    def signature(
        self, operands: tuple[str, ...], parameters: Mapping[str, Parameter], masked: float | None
    ) -> inspect.Signature:
        """Return x, parameters that have to be given, axis; then by keyword only the other parameters, where and out."""
        required, optional = _divided(parameters)
        optional |= {"out": None} if masked is None else {"where": None, "out": None}
        by_keyword = (_argument(*item, keyword=True) for item in optional.items())
        return inspect.Signature([*map(_argument, operands), *required, _argument("axis", -1), *by_keyword])

    def describe_keywords(self, masked: float | None) -> list[str]:
        """Return the lines of a documentation that say what a call takes besides the array and parameters."""
        lines = ["axis : int", "    The axis that the function runs along; the last one by default."]
        if masked is not None:
            value = "0" if masked == 0 else masked
            lines += ["where : array_like of bool, optional", f"    Entries that take part; the others become {value}."]
        return [*lines, "out : ndarray, optional", "    Where to put the result."]

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


_ONE_ARRAY = """Notes
-----
Without ``value``, one array is split along ``axis``, by default the last one: ``gate`` says whether its ``"first"`` or
``"second"`` half goes through the gate, or its ``"even"`` entries, counted from 0; by default {gate!r}."""


@dataclass(frozen=True)
class Halves(Layout):
    """The two operands of a pair, which one array may hold."""

    gate: Gate = "first"
    """Where it holds the gate unless the call says otherwise."""

    def signature(
        self, operands: tuple[str, ...], parameters: Mapping[str, Parameter], masked: float | None
    ) -> inspect.Signature:
        """Return x, value, which may be left out, and parameters; then by keyword only how to split one array."""
        gate, value = operands
        own = (_argument(name, parameter.default) for name, parameter in parameters.items())
        split = (_argument("axis", -1, keyword=True), _argument("gate", self.gate, keyword=True))
        return inspect.Signature([_argument(gate), _argument(value, None), *own, *split])

    def notes(self) -> list[str]:
        """Say how one array is split."""
        return ["", *_ONE_ARRAY.format(gate=self.gate).split("\n")]

    def check_arguments(self, name: str, operands: tuple[str, ...], parameters: tuple[str, ...]) -> None:
        """Raise FormulaError unless there are a gate and a value."""
        if len(operands) != 2 or operands[1] != "value":
            given = ", ".join((*operands, *parameters))
            raise FormulaError(f"{name}({given}): a gated pair is a function of a gate and then of value")
        if {"axis", "gate"} & {*parameters}:
            raise FormulaError(f"{name}: axis and gate say how to split an array; rename the parameter")

    @staticmethod
    def split(name: str, x: Any, axis: int, gate: Gate, lengths: Any = None) -> tuple[Any, Any]:
        """Return views of the gate and the value that one array, or tensor, holds.

        Parameters
        ----------
        name : str
            What errors call the pair.
        x : array
        axis : int
        gate : {"first", "second", "even"}
        lengths : sequence, optional
            What a tensor's axes have when it is computed, if its shape does not know all while a program is traced.

        Raises
        ------
        ValueError
            If there is no such axis or gate, or the axis has odd length.
        """
        if gate not in get_args(Gate):
            raise ValueError(f"{name}: gate must be one of {', '.join(get_args(Gate))}, got {gate!r}")
        shape = tuple(x.shape)
        axis = check_axis(name, shape, axis)
        if shape[axis] is not None and shape[axis] % 2:
            raise ValueError(f"{name}: axis {axis} of x of shape {shape} has odd length {shape[axis]}, so no halves")
        before = (slice(None),) * axis
        first, second = (x[(*before, part)] for part in _SPLITS[gate]((shape if lengths is None else lengths)[axis] // 2))
        return first, second
