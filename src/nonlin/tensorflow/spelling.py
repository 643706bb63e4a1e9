"""Finished formulas in TensorFlow's operations: a table of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from nonlin.formula.finish import functions_of

#: Functions by their names in tf.math. Its own erf and erfc are left out: they lose digits in the tails.
_NAMES = {
    **{name: name for name in "add subtract multiply divide negative less less_equal greater greater_equal".split()},
    **{name: name for name in "logical_and logical_or maximum minimum sign sqrt exp log expm1 log1p sin cos tanh".split()},
    "absolute": "abs",
    "arctan": "atan",
}


class Tensors:
    """TensorFlow as a language of arrays: see :class:`nonlin.formula.arrays.Arrays`, whose methods these are."""

    language = "TensorFlow"
    table: Mapping[str, Callable[..., Any]] = {
        **{name: getattr(tf.math, of) for name, of in _NAMES.items()},
        "floor_divide": tf.math.floordiv,
    }
    functions = functions_of(_NAMES)
    where = staticmethod(tf.where)
    isnan = staticmethod(tf.math.is_nan)
    isinf = staticmethod(tf.math.is_inf)
    invert = staticmethod(tf.math.logical_not)

    @staticmethod
    def scalar(value: float, like: tf.Tensor) -> tf.Tensor:
        return tf.constant(value, like.dtype)

    constant = scalar

    @staticmethod
    def like(a: Any, of: tf.Tensor) -> tf.Tensor:
        a = tf.convert_to_tensor(a, of.dtype)
        return a if a.shape.is_fully_defined() and a.shape == of.shape else tf.broadcast_to(a, tf.shape(of))

    @staticmethod
    def max(a: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(a, -1, keepdims=True)

    @staticmethod
    def min(a: tf.Tensor) -> tf.Tensor:
        return tf.reduce_min(a, -1, keepdims=True)

    @staticmethod
    def sum(a: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(a, -1, keepdims=True)

    @staticmethod
    def any(a: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(a, -1, keepdims=True)

    @staticmethod
    def all(a: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all(a, -1, keepdims=True)

    @staticmethod
    def first_largest(a: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(tf.argmax(a, -1), tf.shape(a)[-1], on_value=True, off_value=False)

    @staticmethod
    def cumulative_sum(a: tf.Tensor) -> tf.Tensor:
        return tf.cumsum(a, -1)

    @staticmethod
    def descending(a: tf.Tensor) -> tf.Tensor:
        return tf.sort(a, -1, "DESCENDING")

    @staticmethod
    def counted(a: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.range(1, tf.shape(a)[-1] + 1), a.dtype)

    @staticmethod
    def number_of(a: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(a, like.dtype), -1, keepdims=True)

    @staticmethod
    def concatenate(several: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.concat(several, -1)

    @staticmethod
    def split(a: tf.Tensor, count: int) -> Sequence[tf.Tensor]:
        return tf.split(a, count, -1)  # type: ignore[no-any-return]


TENSORS = Tensors()
