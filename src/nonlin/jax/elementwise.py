"""Elementwise activations of JAX arrays: values and derivatives of any order, each a program with its own derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from nonlin.definition import Activation, Elementwise
from nonlin.formula.arrays import ArraySpelling
from nonlin.formula.calculus import canonical
from nonlin.formula.expression import substitute, symbols
from nonlin.formula.finish import DType, as_typed, finished, portable, with_nan
from nonlin.jax.spelling import ARRAYS
from nonlin.kernels.ufunc import is_integral

Function = Callable[..., jax.Array]
_HALVES = (jnp.float16, jnp.bfloat16)


def evaluate(entry: Elementwise, wrt: Sequence[str], operands: Sequence[Any]) -> jax.Array:
    """Compute a derivative of an activation.

    Parameters
    ----------
    entry : Elementwise
    wrt : sequence of str
        What it is differentiated with respect to, one after the other; none for the value.
    operands : sequence
        The arrays, then the parameters: arrays or numbers.

    Raises
    ------
    TypeError
        If an operand is not real.
    """
    names = (*entry.operands, *entry.parameters)
    count = len(entry.operands)
    arrays = {name: as_array(entry.name, name, x) for name, x in zip(names, operands[:count], strict=False)}
    result = result_dtype(entry, list(arrays.values()), operands[count:])
    if not jnp.issubdtype(result, jnp.floating):
        given = {**arrays, **dict(zip(names[count:], operands[count:], strict=True))}
        return _of_integers(entry, wrt, given, result)
    computes_in = jnp.float32 if result in _HALVES else result
    fixed = tuple(
        name
        for name, value in zip(names[count:], operands[count:], strict=True)
        if isinstance(value, (int, float)) and value == entry.root.parameters[name].default
    )
    used = []
    for name, value in zip(names, operands, strict=True):
        if name in fixed:
            continue
        array = arrays[name] if name in arrays else as_array(entry.name, name, value)
        is_there = array.dtype == computes_in
        used.append(array if is_there else array.astype(computes_in))
    dtype = "float64" if computes_in == jnp.float64 else "float32"
    y = compiled(entry, program, tuple(wrt), dtype, fixed)(*used)
    return y if y.dtype == result else y.astype(result)


def as_array(owner: str, name: str, x: Any) -> jax.Array:
    """Return an operand as an array of JAX, weakly typed if it is a Python number.

    Raises
    ------
    TypeError
        If it is none of real numbers.
    """
    try:
        array = jnp.asarray(None if isinstance(x, str) else x)
    except (TypeError, ValueError):
        raise TypeError(f"{owner}: {name} must be an array of real numbers, got {type(x).__name__}") from None
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_):
        raise TypeError(f"{owner}: {name} must be real floating-point or integer, got {array.dtype}")
    return array


def result_dtype(entry: Elementwise, arrays: Sequence[jax.Array], parameters: Sequence[Any]) -> Any:
    """Return the dtype of a result: that of the arrays, in which parameters take no part."""
    found = jnp.result_type(*arrays)
    if jnp.issubdtype(found, jnp.floating):
        return found
    whole = found != jnp.bool_ and all(type(v) is int for v in parameters)
    return found if whole and is_integral(canonical(entry.formula)) else jnp.zeros(()).dtype


def _of_integers(entry: Elementwise, wrt: Sequence[str], given: dict[str, Any], dtype: Any) -> jax.Array:
    arrays = {name: jnp.asarray(value, dtype) for name, value in given.items()}
    formula = portable(with_nan(entry.partial_derivative(*wrt), entry.operands), ARRAYS.functions)
    y = ArraySpelling(ARRAYS, arrays, np.dtype(dtype))(formula)
    return jnp.broadcast_to(jnp.asarray(y, dtype), jnp.broadcast_shapes(*(jnp.shape(a) for a in arrays.values())))


def program(entry: Elementwise, wrt: tuple[str, ...], dtype: DType, fixed: tuple[str, ...]) -> Function:
    """Return a derivative as a function that JAX differentiates by the formula's own derivative; an entry keeps its own.

    Parameters
    ----------
    entry : Elementwise
    wrt : tuple of str
    dtype : {"float32", "float64"}
        What it computes in.
    fixed : tuple of str
        Parameters that are at their defaults. The others are operands, after the arrays.
    """
    programs = entry.root.rooms.setdefault("jax", {})
    key = (tuple(sorted(wrt)), dtype, fixed)
    found = programs.get(key)
    if found is None:
        found = programs.setdefault(key, _made(entry.root, key[0], dtype, fixed))
    return found  # type: ignore[no-any-return]


def named(name: str) -> Callable[[Function], jax.custom_jvp[jax.Array]]:
    """Make a function one with a derivative of its own, under the name by which a jaxpr shows it."""

    def made(function: Function) -> jax.custom_jvp[jax.Array]:
        function.__name__ = function.__qualname__ = name
        return jax.custom_jvp(function)

    return made


def compiled(entry: Activation, program: Callable[..., Function], *key: Any) -> Function:
    """Return a program, compiled as a whole also where nobody traces it, as ``jax.nn`` is; within another it is not seen.

    Its operations one by one would be compiled twice as fast, and run several times slower, with other last digits.

    Parameters
    ----------
    entry : Activation
    program : callable
        What makes it, of the entry and the key.
    *key
    """
    kept = entry.root.rooms.setdefault("jax", {})
    found = kept.get((compiled, *key))
    if found is None:
        # JAX keeps what it has compiled, and the derivatives with it, for as long as the function lives: these must not lead to
        # the entry, which has the function, or neither would ever go.
        twin = kept.setdefault("twin", type(entry.root)(**vars(entry.root.definition)))
        function = program(twin, *key)

        @functools.wraps(function, updated=())
        def whole(*operands: jax.Array) -> jax.Array:
            return function(*operands)

        found = kept.setdefault((compiled, *key), jax.jit(whole, inline=True))
    return found  # type: ignore[no-any-return]


def _made(entry: Elementwise, wrt: tuple[str, ...], dtype: DType, fixed: tuple[str, ...]) -> Function:
    names = tuple(name for name in (*entry.operands, *entry.parameters) if name not in fixed)
    defaults = {name: as_typed(default, dtype) for name in fixed if (default := entry.parameters[name].default) is not None}
    formula = substitute(with_nan(entry.partial_derivative(*wrt), entry.operands), defaults)
    form = finished(formula, dtype, ARRAYS.functions, entry._typical(), flushes=True)

    @named("_".join((entry.name, *wrt)))
    def function(*operands: jax.Array) -> jax.Array:
        y = ArraySpelling(ARRAYS, dict(zip(names, operands, strict=True)), np.dtype(dtype))(form)
        return jnp.broadcast_to(y, jnp.broadcast_shapes(*(x.shape for x in operands)))

    def tangent(primals: tuple[jax.Array, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, Any]:
        y = function(*primals)
        terms = [
            program(entry, (*wrt, name), dtype, fixed)(*primals) * v
            for name, v in zip(names, tangents, strict=True)
            if not isinstance(v, SymbolicZero) and name in symbols(formula)
        ]
        return y, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(y)

    function.defjvp(tangent, symbolic_zeros=True)
    return function
