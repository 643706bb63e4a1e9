"""What ``nonlin.gelu(array)`` comes to: the door for calls whose operands are arrays of JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nonlin.definition import AxisFunction, Elementwise, Gate, Halves
from nonlin.jax import elementwise, rows


def evaluate(entry: Elementwise, wrt: str, order: int, operands: Sequence[Any], keywords: Mapping[str, Any]) -> jax.Array:
    """Compute an elementwise activation, or a derivative, of arrays.

    Raises
    ------
    TypeError
        If there is a keyword for ufuncs, which take NumPy's arrays, or an operand is not real.
    """
    if keywords:
        raise TypeError(f"{entry.name}: {next(iter(keywords))}= is for NumPy arrays, not for JAX's")
    return elementwise.evaluate(entry, (wrt,) * order, operands)


def split(entry: Elementwise, x: jax.Array, axis: int, gate: Gate) -> tuple[jax.Array, jax.Array]:
    """Return the halves of an array that a pair takes for its gate and its value."""
    return Halves.split(entry.name, x, axis, gate)


def evaluate_along_axis(entry: AxisFunction, given: Mapping[str, Any]) -> jax.Array:
    """Apply an axis function to what a call of it was given."""
    if given["out"] is not None:
        raise TypeError(f"{entry.name}: out= is for NumPy arrays, not for JAX's")
    numbers = {name: given[name] for name in entry.parameters}
    return rows.along_axis(entry, given["x"], given["axis"], given.get("where"), numbers)


def product_along_axis(entry: AxisFunction, given: Mapping[str, Any], which: str) -> jax.Array:
    """Multiply the Jacobian by a vector, or a vector by it."""
    x, axis, numbers = jnp.asarray(given["x"]), given["axis"], {name: given[name] for name in entry.parameters}
    shape = x.shape if which == "dx" else rows.shape_of_result(entry, x, axis, numbers)
    v = jnp.broadcast_to(jnp.asarray(given[which]), shape)
    return rows.along_axis(entry, x, axis, given.get("where"), numbers, (("jvp" if which == "dx" else "vjp", "x"),), v)
