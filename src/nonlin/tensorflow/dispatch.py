"""What ``nonlin.gelu(tensor)`` comes to: the door for calls whose operands are tensors or variables of TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf

from nonlin.definition import AxisFunction, Elementwise
from nonlin.definition.layout import Gate, Halves
from nonlin.tensorflow import elementwise, rows


def evaluate(entry: Elementwise, wrt: str, order: int, operands: Sequence[Any], keywords: Mapping[str, Any]) -> tf.Tensor:
    """Compute an elementwise activation, or a derivative, of tensors.

    Raises
    ------
    TypeError
        If there is a keyword for ufuncs, which take NumPy's arrays, or an operand is not real.
    """
    if keywords:
        raise TypeError(f"{entry.name}: {next(iter(keywords))}= is for NumPy arrays, not for TensorFlow's tensors")
    return elementwise.evaluate(entry, (wrt,) * order, operands)


def split(entry: Elementwise, x: Any, axis: int, gate: Gate) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the halves of a tensor that a pair takes for its gate and its value."""
    x = tf.convert_to_tensor(x)
    return Halves.split(entry.name, x, axis, gate, None if x.shape.is_fully_defined() else tf.shape(x))


def evaluate_along_axis(entry: AxisFunction, given: Mapping[str, Any]) -> tf.Tensor:
    """Apply an axis function to what a call of it was given."""
    if given["out"] is not None:
        raise TypeError(f"{entry.name}: out= is for NumPy arrays, not for TensorFlow's tensors")
    numbers = {name: given[name] for name in entry.parameters}
    return rows.along_axis(entry, given["x"], given["axis"], given.get("where"), numbers)


def product_along_axis(entry: AxisFunction, given: Mapping[str, Any], which: Literal["dx", "dy"]) -> tf.Tensor:
    """Multiply the Jacobian by a vector, or a vector by it."""
    x, axis = tf.convert_to_tensor(given["x"]), given["axis"]
    numbers = {name: given[name] for name in entry.parameters}
    shape = tf.shape(x) if which == "dx" else rows.shape_of_result(entry, x, axis, numbers)
    v = tf.broadcast_to(tf.convert_to_tensor(given[which]), shape)
    return rows.along_axis(entry, x, axis, given.get("where"), numbers, (("jvp" if which == "dx" else "vjp", "x"),), v)
