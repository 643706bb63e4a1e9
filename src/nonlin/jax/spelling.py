"""Finished formulas in JAX's operations: a table of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nonlin.formula.finish import functions_of

#: Functions by their names in jax.numpy. XLA's own erf and erfc are left out: they lose sixty ulps in the tail.
_NAMES = (
    "add subtract multiply divide negative less less_equal greater greater_equal logical_and logical_or maximum minimum "
    "absolute sign sqrt exp log expm1 log1p sin cos tanh arctan"
).split()


class JaxArrays:
    """JAX as a language of arrays: see :class:`nonlin.formula.arrays.Arrays`, whose methods these are."""

    language = "JAX"
    table: Mapping[str, Callable[..., Any]] = {name: getattr(jnp, name) for name in (*_NAMES, "floor_divide")}
    functions = functions_of(_NAMES)
    isnan = staticmethod(jnp.isnan)
    isinf = staticmethod(jnp.isinf)
    invert = staticmethod(jnp.logical_not)

    @staticmethod
    def constant(value: float, like: jax.Array) -> float:
        # A Python number is weakly typed: it takes the array's dtype, and leaves weakly typed arrays what they are.
        return value

    @staticmethod
    def scalar(value: float, like: jax.Array) -> jax.Array:
        return lax.full_like(like, value, shape=())

    @staticmethod
    def like(a: Any, of: jax.Array) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(a, of.dtype), of.shape)

    @staticmethod
    def where(condition: jax.Array, a: Any, b: Any) -> jax.Array:
        # A Python number would be a float64 constant on its way to the array's dtype, where JAX has 64 bits.
        if isinstance(a, (int, float)):
            a = lax.full_like(b, a, shape=())
        elif isinstance(b, (int, float)):
            b = lax.full_like(a, b, shape=())
        return jnp.where(condition, a, b)

    @staticmethod
    def max(a: jax.Array) -> jax.Array:
        return a.max(-1, keepdims=True)

    @staticmethod
    def min(a: jax.Array) -> jax.Array:
        return a.min(-1, keepdims=True)

    @staticmethod
    def sum(a: jax.Array) -> jax.Array:
        return a.sum(-1, keepdims=True, dtype=a.dtype)

    @staticmethod
    def any(a: jax.Array) -> jax.Array:
        return a.any(-1, keepdims=True)

    @staticmethod
    def all(a: jax.Array) -> jax.Array:
        return a.all(-1, keepdims=True)

    @staticmethod
    def first_largest(a: jax.Array) -> jax.Array:
        return lax.broadcasted_iota(np.int32, a.shape, a.ndim - 1) == a.argmax(-1, keepdims=True).astype(np.int32)

    @staticmethod
    def cumulative_sum(a: jax.Array) -> jax.Array:
        return a.cumsum(-1)

    @staticmethod
    def descending(a: jax.Array) -> jax.Array:
        return jnp.sort(a, axis=-1, descending=True)

    @staticmethod
    def counted(a: jax.Array) -> jax.Array:
        return lax.broadcasted_iota(a.dtype, a.shape, a.ndim - 1) + 1

    @staticmethod
    def number_of(a: jax.Array, like: jax.Array) -> jax.Array:
        return a.sum(-1, keepdims=True, dtype=like.dtype)

    @staticmethod
    def concatenate(several: Sequence[jax.Array]) -> jax.Array:
        return jnp.concatenate(several, -1)

    @staticmethod
    def split(a: jax.Array, count: int) -> Sequence[jax.Array]:
        return jnp.split(a, count, -1)


ARRAYS = JaxArrays()
