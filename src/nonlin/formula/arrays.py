"""Finished formulas of arrays: what languages share that compute with arrays as NumPy does, under names of their own.

A language says how its functions are called and gives the dozen operations of :class:`Arrays`; formulas of entries and of
whole rows, masks, infinite peaks and NaN are then the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from nonlin.formula.expression import Application, Expression
from nonlin.formula.finish import finished_row, portable
from nonlin.formula.operations import RowOperation
from nonlin.formula.primitives import Primitive
from nonlin.formula.rows import RowPrimitive
from nonlin.formula.spelling import Spelling


class Arrays(Protocol):
    """A language of arrays. Reductions run along the last axis, which stays with length 1."""

    language: str
    """What error messages call it."""
    table: Mapping[str, Callable[..., Any]]
    """Its functions, by the names of the primitives that they compute, and ``floor_divide``."""
    functions: frozenset[str]
    """Those beyond arithmetic."""

    def constant(self, value: float, like: Any) -> Any:
        """Return a number as :meth:`scalar` does, or as a number that takes the dtype of what it meets."""

    def scalar(self, value: float, like: Any) -> Any:
        """Return a number as an array without axes, of another array's dtype."""

    def like(self, a: Any, of: Any) -> Any:
        """Broadcast an array or a number to the shape of another, in its dtype."""

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """Choose between two arrays."""

    def isnan(self, a: Any) -> Any: ...
    def isinf(self, a: Any) -> Any: ...
    def invert(self, a: Any) -> Any: ...
    def max(self, a: Any) -> Any: ...
    def min(self, a: Any) -> Any: ...
    def sum(self, a: Any) -> Any: ...
    def any(self, a: Any) -> Any: ...
    def all(self, a: Any) -> Any: ...
    def first_largest(self, a: Any) -> Any:
        """Return where, along the last axis, the first of the largest entries is: a boolean array."""

    def cumulative_sum(self, a: Any) -> Any: ...
    def descending(self, a: Any) -> Any:
        """Sort along the last axis, largest first."""

    def counted(self, a: Any) -> Any:
        """Return 1, 2, 3... along the last axis of an array, in its dtype."""

    def number_of(self, a: Any, like: Any) -> Any:
        """Count what is true along the last axis, in the dtype of another array."""

    def concatenate(self, several: Sequence[Any]) -> Any:
        """Put arrays together along the last axis."""

    def split(self, a: Any, count: int) -> Sequence[Any]:
        """Cut an array into equal parts along the last axis."""


class ArraySpelling(Spelling[Any]):
    """Computes a finished formula of arrays, which the language may trace.

    Parameters
    ----------
    arrays : Arrays
        The language.
    values : Mapping[str, array]
        One for each symbol, all of one dtype.
    dtype : numpy.dtype
        That one.
    """

    def __init__(self, arrays: Arrays, values: Mapping[str, Any], dtype: np.dtype[Any]) -> None:
        self.arrays, self.values, self.dtype = arrays, values, dtype
        self._any = next(iter(values.values()))
        self.language = arrays.language  # type: ignore[misc]
        self.table = {
            **arrays.table,
            "where": arrays.where,
            "is_number": lambda a: arrays.invert(arrays.isnan(a)),  # XLA takes a == a and |a| >= 0 to be always true
            "nan": lambda: self._scalar(np.nan),
        }
        if dtype.kind != "f":
            self.table |= {"divide": self.table["floor_divide"], "is_number": lambda a: self.table["less_equal"](a, a)}

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def constant(self, value: Fraction) -> Any:
        return self.arrays.constant(float(value) if self.dtype.kind == "f" else int(value), self._any)

    def _scalar(self, value: float) -> Any:
        return self.arrays.scalar(value, self._any)

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        if all(isinstance(a, (int, float)) for a in arguments[-2:]):  # a language would take its default dtype
            arguments = (*arguments[:-2], *map(self._scalar, arguments[-2:]))
        return super().application(primitive, arguments, node)


class RowSpelling(ArraySpelling):
    """Computes formulas of rows along the last axis; ``hidden`` says which entries take no part, if there is a mask."""

    def __init__(self, arrays: Arrays, values: Mapping[str, Any], dtype: np.dtype[Any], hidden: Any | None) -> None:
        super().__init__(arrays, values, dtype)
        self.x, self.hidden = values["x"], hidden
        is_floating = dtype.kind == "f"
        self.lowest = -np.inf if is_floating else np.iinfo(dtype).min
        #: Above what is hidden.
        self.least = float(np.finfo(dtype).min) if is_floating else None
        self.table = {
            **self.table,
            "row_max": lambda a: arrays.max(self._seen(a, self.lowest)),
            "row_sum": lambda a: arrays.sum(self._seen(a, 0)),
            "row_sum_but": lambda a, of: arrays.sum(self._seen(arrays.where(self._peak(of), self._scalar(0), a), 0)),
            "row_threshold": lambda z, p: (_threshold if float(p) == 1 else _root_threshold)(arrays, self._seen(z, -np.inf)),
            "is_peak": self._peak,
        }

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        if isinstance(primitive, RowPrimitive):
            first, *others = arguments
            if primitive.name == "row_threshold":
                others = [node.arguments[1].value]
            return self.table[primitive.name](self.arrays.like(first, self.x), *others)
        return super().application(primitive, arguments, node)

    def _seen(self, a: Any, absent: float) -> Any:
        return a if self.hidden is None else self.arrays.where(self.hidden, self._scalar(absent), a)

    def _peak(self, of: Any) -> Any:
        of = self.arrays.like(of, self.x)
        if self.hidden is not None and self.least is not None:
            of = self.table["maximum"](of, self._scalar(self.least))
        return self.arrays.first_largest(self._seen(of, self.lowest))


def _threshold(arrays: Arrays, z: Any) -> Any:
    """Return the t for which maximum(z - t, 0) has the sum 1."""
    z, top, ordered, k = _sorted(arrays, z)
    among, size = _support(arrays, z, ordered, 1 + k * ordered > arrays.cumulative_sum(ordered))
    return top + (arrays.sum(arrays.where(among, z, arrays.scalar(0, z))) - 1) / size


def _root_threshold(arrays: Arrays, z: Any) -> Any:
    """Return the t for which maximum(z - t, 0)**2 has the sum 1."""
    zero, sqrt = arrays.scalar(0, z), arrays.table["sqrt"]
    z, top, ordered, k = _sorted(arrays, z)
    mean = arrays.cumulative_sum(ordered) / k
    spread = arrays.cumulative_sum(ordered * ordered) - k * mean * mean
    distance = sqrt(arrays.table["maximum"]((1 - spread) / k, zero))
    among, size = _support(arrays, z, ordered, mean - distance <= ordered)
    mean = arrays.sum(arrays.where(among, z, zero)) / size
    apart = arrays.where(among, z - mean, zero)
    return top + mean - sqrt(arrays.table["maximum"]((1 - arrays.sum(apart * apart)) / size, zero))


def _sorted(arrays: Arrays, z: Any) -> tuple[Any, Any, Any, Any]:
    top = arrays.max(z)
    z = arrays.table["maximum"](z - top, arrays.scalar(-2, z))  # no threshold is further than 1 below the largest entry
    return z, top, arrays.descending(z), arrays.counted(z)


def _support(arrays: Arrays, z: Any, ordered: Any, positive: Any) -> tuple[Any, Any]:
    """Return which entries are as large as the last of the ordered ones that are positive, and their number."""
    size = arrays.number_of(positive, z)
    # What comes after the last is not larger: among ordered ones, it is the least of the first so many.
    maximum, one = arrays.table["maximum"], arrays.scalar(1, z)
    first = arrays.counted(ordered) <= maximum(size, one)
    among = z >= arrays.min(arrays.where(first, ordered, arrays.scalar(np.inf, z)))
    return among, maximum(arrays.number_of(among, z), one)


def compute_rows(
    arrays: Arrays,
    operation: RowOperation,
    x: Any,
    vectors: Sequence[Any],
    numbers: Mapping[str, Any],
    hidden: Any | None,
    dtype: np.dtype[Any],
) -> Any:
    """Compute an operation of rows along the last axis: infinite peaks, masks and NaN as every language has them.

    Parameters
    ----------
    arrays : Arrays
        The language.
    operation : RowOperation
    x : array
    vectors : sequence of array
        In the operation's order, of the dtype of x.
    numbers : Mapping[str, array]
        The parameters.
    hidden : array of bool, optional
        Which entries take no part.
    dtype : numpy.dtype
        That of x.
    """
    lost = None
    if dtype.kind == "f":
        lost = arrays.isnan(x) if hidden is None else arrays.isnan(x) & arrays.invert(hidden)
        if operation.is_coupled:
            lost = arrays.any(lost)
        elif operation.side == "y" and operation.count > 1:
            lost = arrays.concatenate([lost] * operation.count)
        if operation.limit:
            x = _with_finite_peak(arrays, x, hidden, operation.limit)
    values: dict[str, Any] = {"x": x, **numbers}
    for (name, side), vector in zip(operation.vectors, vectors, strict=True):
        names = operation.symbols_of(name, side)
        if hidden is not None:
            in_row = operation.per_row and side == "y"
            covered = arrays.all(hidden) if in_row else arrays.concatenate([hidden] * len(names))
            vector = arrays.where(covered, arrays.scalar(0, vector), vector)
        values |= dict(zip(names, arrays.split(vector, len(names)), strict=True))
    spelling = RowSpelling(arrays, values, dtype, hidden)
    shaped = x[..., :1] if operation.per_row and operation.side == "y" else x
    results = [arrays.like(spelling(_finished(result, dtype, arrays.functions)), shaped) for result in operation.finished]
    result = results[0] if len(results) == 1 else arrays.concatenate(results)
    return result if lost is None else arrays.where(lost, arrays.scalar(np.nan, result), result)


def _finished(formula: Expression, dtype: np.dtype[Any], functions: frozenset[str]) -> Expression:
    if dtype.kind != "f":
        return portable(formula, functions)
    return finished_row(formula, "float64" if dtype == np.float64 else "float32", functions)


def _with_finite_peak(arrays: Arrays, x: Any, hidden: Any | None, sign: int) -> Any:
    """Return rows in which infinite peaks share what there is, as they do in the limit."""
    far, zero = arrays.scalar(-sign * np.inf, x), arrays.scalar(0, x)
    if hidden is not None:
        x = arrays.where(hidden, far, x)
    peak = arrays.max(x) if sign > 0 else arrays.min(x)
    shares = arrays.table["less_equal"](peak, x) if sign > 0 else arrays.table["less_equal"](x, peak)
    if hidden is not None:
        shares = shares & arrays.invert(hidden & arrays.invert(arrays.all(hidden)))
    return arrays.where(arrays.isinf(peak), arrays.where(shares, zero, far), x)
