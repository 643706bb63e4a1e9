"""Functions along an axis of JAX arrays: programs of whole rows, each with its own derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from nonlin.definition import AxisFunction, Groups
from nonlin.formula.expression import Application
from nonlin.formula.finish import finished_row, portable
from nonlin.formula.operations import RowOperation
from nonlin.formula.primitives import Primitive
from nonlin.formula.rows import RowPrimitive
from nonlin.jax.elementwise import as_array, named
from nonlin.jax.spelling import FUNCTIONS, JaxSpelling

Array = jax.Array
#: How an operation comes from the function: ("jvp", "x"), ("vjp", "x"), ("by", "temperature"), one after the other.
Path = tuple[tuple[str, str], ...]


# --- the language -----------------------------------------------------------------------------------------------------------


class _RowSpelling(JaxSpelling):
    """Computes formulas of rows along the last axis; ``hidden`` says which entries take no part, if there is a mask."""

    def __init__(self, values: Mapping[str, Any], dtype: Any, hidden: Array | None) -> None:
        super().__init__(values, dtype)
        self.shape, self.hidden = values["x"].shape, hidden
        is_floating = jnp.issubdtype(self.dtype, jnp.floating)
        limits: Any = (jnp.finfo if is_floating else jnp.iinfo)(self.dtype)
        lowest = -jnp.inf if is_floating else limits.min
        #: Above what is hidden.
        self.least = limits.min if is_floating else None
        self.table = {
            **self.table,
            "row_max": lambda a: self._seen(a, lowest).max(-1, keepdims=True),
            "row_sum": lambda a: self._seen(a, 0).sum(-1, keepdims=True),
            "row_sum_but": lambda a, of: self._seen(jnp.where(self._peak(of), 0, a), 0).sum(-1, keepdims=True),
            "row_threshold": lambda z, p: (_threshold if float(p) == 1 else _root_threshold)(self._seen(z, -jnp.inf)),
            "is_peak": self._peak,
        }

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        if isinstance(primitive, RowPrimitive):
            first, *others = arguments
            first = jnp.broadcast_to(jnp.asarray(first, self.dtype), self.shape)
            return self.table[primitive.name](first, *others)
        return super().application(primitive, arguments, node)

    def _seen(self, a: Array, absent: Any) -> Array:
        return a if self.hidden is None else jnp.where(self.hidden, jnp.asarray(absent, a.dtype), a)

    def _peak(self, of: Array) -> Array:
        of = jnp.broadcast_to(of, self.shape)
        if self.hidden is not None and self.least is not None:
            of = jnp.maximum(of, self.least)
        first = self._seen(of, -jnp.inf).argmax(-1, keepdims=True)
        return jnp.arange(of.shape[-1]) == first


def _threshold(z: Array) -> Array:
    """Return the t for which maximum(z - t, 0) has the sum 1."""
    z, top, ordered, k = _sorted(z)
    among, size = _support(z, ordered, 1 + k * ordered > ordered.cumsum(-1))
    return top + (jnp.where(among, z, 0).sum(-1, keepdims=True) - 1) / size


def _root_threshold(z: Array) -> Array:
    """Return the t for which maximum(z - t, 0)**2 has the sum 1."""
    z, top, ordered, k = _sorted(z)
    mean = ordered.cumsum(-1) / k
    spread = (ordered * ordered).cumsum(-1) - k * mean * mean
    among, size = _support(z, ordered, mean - jnp.sqrt(jnp.maximum((1 - spread) / k, 0)) <= ordered)
    mean = jnp.where(among, z, 0).sum(-1, keepdims=True) / size
    spread = jnp.square(jnp.where(among, z - mean, 0)).sum(-1, keepdims=True)
    return top + mean - jnp.sqrt(jnp.maximum((1 - spread) / size, 0))


def _sorted(z: Array) -> tuple[Array, Array, Array, Array]:
    top = z.max(-1, keepdims=True)
    z = jnp.maximum(z - top, -2)  # no threshold is further than 1 below the largest entry
    return z, top, -jnp.sort(-z, axis=-1), jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype)


def _support(z: Array, ordered: Array, positive: Array) -> tuple[Array, Array]:
    """Return which entries are as large as the last of the ordered ones that are positive, and their number."""
    last = jnp.maximum(positive.sum(-1, keepdims=True) - 1, 0)
    among = z >= jnp.take_along_axis(ordered, last, -1)
    return among, jnp.maximum(among.sum(-1, keepdims=True), 1).astype(z.dtype)


def _computed(
    operation: RowOperation, x: Array, vectors: Sequence[Array], numbers: Mapping[str, Array], hidden: Array | None
) -> Array:
    """Compute an operation of rows: infinite peaks, masks and NaN as every language has them."""
    dtype = x.dtype
    lost = None
    if jnp.issubdtype(dtype, jnp.floating):
        lost = jnp.isnan(x) if hidden is None else jnp.isnan(x) & ~hidden
        if operation.is_coupled:
            lost = lost.any(-1, keepdims=True)
        elif operation.side == "y" and operation.count > 1:
            lost = jnp.concatenate([lost] * operation.count, -1)
        if operation.limit:
            x = _with_finite_peak(x, hidden, operation.limit)
    values: dict[str, Any] = {"x": x, **numbers}
    for (name, side), vector in zip(operation.vectors, vectors, strict=True):
        names = operation.symbols_of(name, side)
        if hidden is not None:
            in_row = operation.per_row and side == "y"
            covered = hidden.all(-1, keepdims=True) if in_row else jnp.concatenate([hidden] * len(names), -1)
            vector = jnp.where(covered, 0, vector)
        values |= dict(zip(names, jnp.split(vector, len(names), -1), strict=True))
    spelling = _RowSpelling(values, dtype, hidden)
    shape = (*x.shape[:-1], 1) if operation.per_row and operation.side == "y" else x.shape
    results = [jnp.broadcast_to(jnp.asarray(spelling(_finished(result, dtype)), dtype), shape) for result in operation.finished]
    result = results[0] if len(results) == 1 else jnp.concatenate(results, -1)
    return result if lost is None else jnp.where(lost, jnp.nan, result)


def _finished(formula: Any, dtype: Any) -> Any:
    if not jnp.issubdtype(dtype, jnp.floating):
        return portable(formula, FUNCTIONS)
    return finished_row(formula, "float64" if dtype == jnp.float64 else "float32", FUNCTIONS)


def _with_finite_peak(x: Array, hidden: Array | None, sign: int) -> Array:
    """Return rows in which infinite peaks share what there is, as they do in the limit."""
    far = -sign * jnp.inf
    if hidden is not None:
        x = jnp.where(hidden, far, x)
    peak = x.max(-1, keepdims=True) if sign > 0 else x.min(-1, keepdims=True)
    shares = x == peak
    if hidden is not None:
        shares &= ~(hidden & ~hidden.all(-1, keepdims=True))
    return jnp.where(jnp.isinf(peak), jnp.where(shares, 0, jnp.asarray(far, x.dtype)), x)


# --- programs ---------------------------------------------------------------------------------------------------------------


def _operation(entry: AxisFunction, path: Path) -> RowOperation:
    operation: RowOperation = entry.operation
    for kind, operand in path:
        operation = getattr(operation, "by_parameter" if kind == "by" else kind)(operand)
    return operation


def _program(entry: AxisFunction, path: Path, masked: bool) -> Callable[..., Array]:
    """Return an operation as a function of x, its vectors, the parameters and the mask; an entry keeps its own."""
    programs = entry.root.rooms.setdefault("jax", {})
    if (path, masked) not in programs:
        programs[path, masked] = _made(entry.root, path, masked)
    return programs[path, masked]  # type: ignore[no-any-return]


def _made(entry: AxisFunction, path: Path, masked: bool) -> Callable[..., Array]:
    operation = _operation(entry, path)
    arrays = ("x", *(name for name, _ in operation.vectors))
    parameters = tuple(entry.parameters)

    @named("_".join((entry.name, *(kind for kind, _ in path))))
    def function(*operands: Any) -> Array:
        hidden = operands[-1] if masked else None
        numbers = dict(zip(parameters, operands[len(arrays) :], strict=False))
        return _computed(operation, operands[0], operands[1 : len(arrays)], numbers, hidden)

    def tangent(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Any]:
        y = function(*primals)
        given, others = primals[: len(arrays)], primals[len(arrays) :]
        terms = []
        for name, v in zip((*arrays, *parameters), tangents, strict=False):
            if isinstance(v, SymbolicZero):
                continue
            if name in arrays:
                terms.append(_program(entry, (*path, ("jvp", name)), masked)(*given, v, *others))
            else:
                terms.append(_program(entry, (*path, ("by", name)), masked)(*given, jnp.broadcast_to(v, y.shape), *others))
        return y, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(y)

    function.defjvp(tangent, symbolic_zeros=True)
    return function


def along_axis(
    entry: AxisFunction, x: Any, axis: int, where: Any, numbers: Mapping[str, Any], path: Path = (), *vectors: Any
) -> Array:
    """Apply a function along an axis, or a derivative of it to vectors.

    Raises
    ------
    TypeError
        If x is not real, or ``where`` is not boolean.
    ValueError
        If the axis has a length that the function has no use for.
    """
    x = as_array(entry.name, "x", x)
    given_vectors = [as_array(entry.name, "a vector", v) for v in vectors]
    hidden = None
    if where is not None:
        mask = jnp.asarray(where)
        if mask.dtype != jnp.bool_:
            raise TypeError(f"{entry.name}: where must be boolean, True for what takes part, got {mask.dtype}")
        hidden = jnp.moveaxis(~jnp.broadcast_to(mask, x.shape), axis, -1)
    group = entry.layout.length(entry.name, tuple(x.shape), axis, numbers) if isinstance(entry.layout, Groups) else 0
    if not jnp.issubdtype(x.dtype, jnp.floating) and (path or x.dtype == jnp.bool_ or not entry.keeps_integers):
        x = x.astype(jnp.zeros(()).dtype)
    dtype = jnp.result_type(x, *given_vectors)
    operation = _operation(entry, path)
    shape = list(x.shape)
    if operation.side == "y":
        shape[axis] = shape[axis] // group if group else shape[axis] * operation.count
    if not x.size:
        return jnp.zeros(shape, dtype)
    computes_in = jnp.dtype(jnp.float32) if dtype in (jnp.float16, jnp.bfloat16) else dtype
    rows = [_rows(a, axis, x.shape[axis], group).astype(computes_in) for a in (x, *given_vectors)]
    covering = hidden
    masks = () if hidden is None else (_opened(hidden, group),)
    given = [jnp.asarray(numbers[name], computes_in) for name in entry.parameters]
    result = _program(entry, path, bool(masks))(*rows, *given, *masks)
    if group:
        result = result.reshape(*result.shape[:-2], -1)
    elif covering is not None:
        times = result.shape[-1] // covering.shape[-1]
        absent = 0 if path or entry.masked is None else entry.masked
        result = jnp.where(jnp.concatenate([covering] * times, -1), absent, result)
    return jnp.moveaxis(result, -1, axis).astype(dtype)


def _rows(a: Array, axis: int, length: int, group: int) -> Array:
    a = jnp.moveaxis(a, axis, -1)
    return _opened(a, group) if a.shape[-1] == length else a[..., None] if group else a


def _opened(a: Array, group: int) -> Array:
    return a.reshape(*a.shape[:-1], a.shape[-1] // group, group) if group else a


def shape_of_result(entry: AxisFunction, x: Array, axis: int, numbers: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a function's values."""
    shape = list(x.shape)
    if isinstance(entry.layout, Groups):
        shape[axis] //= entry.layout.length(entry.name, tuple(x.shape), axis, numbers)
    else:
        shape[axis] *= entry.operation.count
    return tuple(shape)
