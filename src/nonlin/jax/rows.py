"""Functions along an axis of JAX arrays: programs of whole rows, each with its own derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from nonlin.definition import AxisFunction, Groups
from nonlin.formula.arrays import compute_rows
from nonlin.formula.operations import Path
from nonlin.jax.elementwise import as_array, compiled, named
from nonlin.jax.spelling import ARRAYS

Array = jax.Array


def _program(entry: AxisFunction, path: Path, masked: bool) -> Callable[..., Array]:
    """Return an operation as a function of x, its vectors, the parameters and the mask; an entry keeps its own."""
    programs = entry.root.rooms.setdefault("jax", {})
    if (path, masked) not in programs:
        programs[path, masked] = _made(entry.root, path, masked)
    return programs[path, masked]  # type: ignore[no-any-return]


def _made(entry: AxisFunction, path: Path, masked: bool) -> Callable[..., Array]:
    operation = entry.operation.along(path)
    arrays = ("x", *(name for name, _ in operation.vectors))
    parameters = tuple(entry.parameters)

    @named("_".join((entry.name, *(kind for kind, _ in path))))
    def function(*operands: Any) -> Array:
        hidden = operands[-1] if masked else None
        numbers = dict(zip(parameters, operands[len(arrays) :], strict=False))
        x, *vectors = operands[: len(arrays)]
        y: Array = compute_rows(ARRAYS, operation, x, vectors, numbers, hidden, np.dtype(x.dtype))
        return y

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
    operation = entry.operation.along(path)
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
    result = compiled(entry, _program, path, bool(masks))(*rows, *given, *masks)
    if group:
        result = result.reshape(*result.shape[:-2], -1)
    elif covering is not None:
        times = result.shape[-1] // covering.shape[-1]
        absent = 0 if path or entry.masked is None else entry.masked
        result = ARRAYS.where(jnp.concatenate([covering] * times, -1), absent, result)
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
