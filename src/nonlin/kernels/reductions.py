"""Formulas of rows on NumPy arrays: four reductions, and compiled code for the functions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.formula.calculus import canonical
from nonlin.formula.expression import Application, Constant, Expression, Symbol, postorder, substitute, symbols
from nonlin.formula.operations import RowOperation
from nonlin.formula.rows import RowPrimitive, is_peak
from nonlin.kernels.ufunc import Function, make_ufunc

Array: TypeAlias = npt.NDArray[Any]

#: What NumPy computes as exactly as anybody; all other functions are compiled together with their arguments, so that what the
#: arguments round away is not lost on them: exp((x - m)/t) would make hundreds of ulps of it.
_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "negative": np.negative,
    "integer_power": np.power,
    "sqrt": np.sqrt,
    "absolute": np.abs,
    "sign": np.sign,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "where": np.where,
}


@lru_cache(maxsize=256)
def _compiled(formula: Expression, operands: tuple[str, ...]) -> np.ufunc:
    _, *others = operands
    return make_ufunc(Function("rows", (canonical(formula),), operands, dict.fromkeys(others, 1.0)))


class RowsOfNumbers:
    """Evaluates formulas of rows that lie in the lines of arrays.

    Parameters
    ----------
    values : Mapping[str, array or number]
        Arrays of two dimensions for what differs from entry to entry, numbers for parameters.
    hidden : array of bool or None
        Entries that take no part.
    """

    def __init__(self, values: Mapping[str, Any], hidden: Array | None) -> None:
        self.x = values["x"]
        self.hidden = hidden
        self._done: dict[Expression, Any] = {}
        self._values = values

    def __call__(self, node: Expression) -> Any:
        """Return the value of an expression: one column for what is the same in the whole row."""
        if node not in self._done:
            self._done[node] = self._evaluated(node)
        return self._done[node]

    def _evaluated(self, node: Expression) -> Any:
        if isinstance(node, Symbol):
            return self._values[node.name]
        if isinstance(node, Constant):
            whole = node.value.denominator == 1
            return self.x.dtype.type(int(node.value) if whole else float(node.value))
        assert isinstance(node, Application)
        if isinstance(node.primitive, RowPrimitive):
            return getattr(self, f"_{node.primitive.name}")(*node.arguments)
        if node.primitive.name in _ARITHMETIC:
            return _ARITHMETIC[node.primitive.name](*map(self, node.arguments))
        return self._function(node)

    def _function(self, node: Application) -> Array:
        """Evaluate a function and its arguments, down to reductions, in compiled code."""
        inner = [n for n in postorder(node) if isinstance(n, Application) and isinstance(n.primitive, RowPrimitive)]
        names: dict[Expression, Symbol] = {n: Symbol(f"row_{k}") for k, n in enumerate(inner)}
        formula = _replaced(node, names)
        values = {**self._values, **{symbol.name: self(n) for n, symbol in names.items()}}
        used = sorted(symbols(formula), key=lambda name: -np.size(values[name]))
        if not used:
            return np.asarray(_compiled(formula, ("x",))(0.0))
        # What differs most from element to element is what the compiler looks at.
        renamed = {name: Symbol("x" if k == 0 else f"row{k}") for k, name in enumerate(used)}
        ufunc = _compiled(substitute(formula, renamed), tuple(symbol.name for symbol in renamed.values()))
        return ufunc(*(values[name] for name in used))  # type: ignore[no-any-return]

    # --- the reductions -------------------------------------------------------------------------------------------------------

    def _row(self, a: Expression, absent: float) -> Array:
        """Return all entries of a row; hidden ones are ``absent``."""
        entries: Array = np.broadcast_to(self(a), self.x.shape)
        return entries if self.hidden is None else np.where(self.hidden, entries.dtype.type(absent), entries)

    @property
    def _lowest(self) -> float:
        return -np.inf if self.x.dtype.kind == "f" else np.iinfo(self.x.dtype).min

    def _row_max(self, a: Expression) -> Array:
        return self._row(a, self._lowest).max(axis=-1, keepdims=True)  # type: ignore[no-any-return]

    def _row_sum(self, a: Expression) -> Array:
        return _sum(self._row(a, 0))

    def _row_sum_but(self, a: Expression, of: Expression) -> Array:
        return _sum(np.where(self(is_peak(of)), 0, self._row(a, 0)))

    def _is_peak(self, of: Expression) -> Array:
        entries = self._row(of, self._lowest)
        first = entries.argmax(axis=-1, keepdims=True)
        if self.hidden is not None and np.take_along_axis(self.hidden, first, axis=-1).any():
            # All that can be seen are as low as can be.
            first = np.where(np.take_along_axis(self.hidden, first, -1), self.hidden.argmin(-1, keepdims=True), first)
        result = np.zeros(entries.shape, bool)
        np.put_along_axis(result, first, True, axis=-1)
        return result

    def _row_threshold(self, z: Expression, power: Expression) -> Array:
        entries = self._row(z, self._lowest)
        top = entries.max(axis=-1, keepdims=True)
        # No threshold is further than 1 below the largest entry, so that 2 below is as good as any.
        return top + _THRESHOLDS[self(power)](np.maximum(entries - top, -2))  # type: ignore[no-any-return]


def _replaced(node: Expression, names: Mapping[Expression, Expression]) -> Expression:
    """Put symbols in the place of the outermost of some nodes."""
    if node in names:
        return names[node]
    if not isinstance(node, Application) or isinstance(node.primitive, RowPrimitive):
        return node
    return node.primitive(*(_replaced(argument, names) for argument in node.arguments))


def _sum(x: Array) -> Array:
    return x.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


# Cumulated sums of many entries lose digits. They say well enough which entries are in the support; the threshold that counts
# comes from its entries anew.


def _support(z: Array, ordered: Array, positive: Array) -> tuple[Array, Array]:
    """Return which entries are as large as the last of the ordered ones that are positive, and their number."""
    last = np.maximum(_sum(positive) - 1, 0)
    among = z >= np.take_along_axis(ordered, last, axis=-1)
    return among, np.maximum(_sum(among), 1)


def _threshold(z: Array) -> Array:
    ordered, k = -np.sort(-z, axis=-1), np.arange(1, z.shape[-1] + 1)
    among, size = _support(z, ordered, 1 + k * ordered > ordered.cumsum(axis=-1))
    return (_sum(np.where(among, z, 0)) - 1) / size


def _root_threshold(z: Array) -> Array:
    """Return the threshold of Peters et al.'s closed form."""
    ordered, k = -np.sort(-z, axis=-1), np.arange(1, z.shape[-1] + 1)
    mean = ordered.cumsum(axis=-1) / k
    spread = (ordered**2).cumsum(axis=-1) - k * mean**2
    among, size = _support(z, ordered, mean - np.sqrt(np.maximum((1 - spread) / k, 0)) <= ordered)
    mean = _sum(np.where(among, z, 0)) / size
    spread = _sum(np.where(among, z - mean, 0) ** 2)
    return mean - np.sqrt(np.maximum((1 - spread) / size, 0))


_THRESHOLDS: Mapping[int, Callable[[Array], Array]] = {1: _threshold, 2: _root_threshold}


# --- finishing ----------------------------------------------------------------------------------------------------------------


def with_finite_peak(x: Array, hidden: Array | None, sign: int = 1) -> Array:
    """Return rows with hidden entries at the far end, and as the limit says where the largest of the others is infinite.

    A row with +inf in it, or with nothing but -inf, is what its largest entries are when they go there together, equal. With a
    sign of -1 it is the other way round. The rows are changed in place.
    """
    far = -sign * np.inf
    if hidden is not None:
        x[hidden] = far
    peak = x.max(axis=-1, keepdims=True) if sign > 0 else x.min(axis=-1, keepdims=True)
    endless = np.isinf(peak)
    if endless.any():
        shares = x == peak
        if hidden is not None:
            # A row that is hidden altogether is spared the division by nothing; what comes of it is hidden later.
            shares &= ~hidden | hidden.all(axis=-1, keepdims=True)
        x = np.where(endless, np.where(shares, 0.0, far), x)
    return x


def compute(operation: RowOperation, rows: Sequence[Array], hidden: Array | None, numbers: Mapping[str, float]) -> Array:
    """Compute an operation on some rows.

    Parameters
    ----------
    operation : RowOperation
    rows : sequence of arrays
        x and the vectors, of two dimensions and of one dtype: float64, or that of integers. They may be changed.
    hidden : array of bool or None
        Entries of x that take no part. What they are does not matter, and what becomes of them neither.
    numbers : Mapping[str, number]
        The parameters.
    """
    x, *vectors = rows
    lost: Array | None = None
    if x.dtype.kind == "f":
        lost = np.asarray(np.isnan(x) if hidden is None else np.isnan(x) & ~hidden)
        if operation.is_coupled:
            lost = np.asarray(lost.any(axis=-1, keepdims=True))
        elif operation.side == "y":
            lost = np.tile(lost, operation.count)
        if operation.limit:
            x = with_finite_peak(x, hidden, operation.limit)
    values: dict[str, Any] = {name: x.dtype.type(number) for name, number in numbers.items()} if x.dtype.kind == "f" else {}
    values["x"] = x
    for (name, side), vector in zip(operation.vectors, vectors, strict=True):
        covered = hidden_on(operation, side, hidden)
        if covered is not None:
            vector[covered] = 0
        names = operation.symbols_of(name, side)
        values |= zip(names, np.split(vector, len(names), axis=-1), strict=True)
    of_row = RowsOfNumbers(values, hidden)
    width = 1 if operation.per_row and operation.side == "y" else x.shape[-1]  # of each part
    with np.errstate(all="ignore"):  # far below the peak; NaN, or an infinite vector
        results = [np.broadcast_to(of_row(result), (len(x), width)) for result in operation.finished]
    result = results[0] if len(results) == 1 else np.concatenate(results, axis=-1)
    return result if lost is None or not lost.any() else np.where(lost, np.nan, result)


def hidden_on(operation: RowOperation, side: str, hidden: Array | None) -> Array | None:
    """Return which entries are hidden of what is as long as x, or as the result."""
    if hidden is None or side == "x":
        return hidden
    return np.asarray(hidden.all(axis=-1, keepdims=True)) if operation.per_row else np.tile(hidden, operation.count)
