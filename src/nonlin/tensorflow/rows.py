"""Functions along an axis of tensors: programs of whole rows, each with its own gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nonlin.definition import AxisFunction
from nonlin.definition.layout import Groups
from nonlin.formula.arrays import compute_rows
from nonlin.formula.operations import Path
from nonlin.tensorflow.elementwise import DEFAULT, as_tensor, promoted, summed_like, typed, working
from nonlin.tensorflow.spelling import TENSORS


def along_axis(
    entry: AxisFunction, x: Any, axis: int, where: Any, numbers: Mapping[str, Any], path: Path = (), *vectors: Any
) -> tf.Tensor:
    """Apply a function along an axis, or a derivative of it to vectors.

    Raises
    ------
    TypeError
        If x is not real, or ``where`` is not boolean.
    ValueError
        If the axis has a length that the function has no use for.
    """
    x = as_tensor(entry.name, "x", x)
    given = [as_tensor(entry.name, "a vector", v) for v in vectors]
    if not x.dtype.is_floating and (path or x.dtype in (tf.bool, tf.uint64) or not entry.keeps_integers):
        x = tf.cast(x, DEFAULT)
    dtype = promoted([x, *given]) if x.dtype.is_floating else x.dtype
    computes_in = working(dtype) if dtype.is_floating else tf.int64
    group = group_of(entry, x, axis, numbers)
    operation = entry.operation.along(path)
    if x.shape[axis] == 0:
        return tf.zeros(tf.shape(x) if operation.side == "x" else shape_of_result(entry, x, axis, numbers), dtype)
    hidden = None
    if where is not None:
        mask = tf.convert_to_tensor(where)
        if mask.dtype != tf.bool:
            raise TypeError(f"{entry.name}: where must be boolean, True for what takes part, got {mask.dtype.name}")
        hidden = _last(tf.logical_not(tf.broadcast_to(mask, tf.shape(x))), axis)
    rows = [_last(tf.cast(a, computes_in), axis) for a in (x, *given)]
    if group:
        hidden = None if hidden is None else _opened(hidden, group)
        sides = ("x", *(side for _, side in operation.vectors))
        rows = [_opened(a, group if side == "x" else 1) for a, side in zip(rows, sides, strict=True)]
    parameters = [typed(numbers[name], computes_in) for name in entry.parameters]
    result = _program(entry, path, computes_in)(*rows, *parameters, hidden=hidden)
    if group:
        result = tf.reshape(result, tf.concat([tf.shape(result)[:-2], [-1]], 0))
    elif hidden is not None:
        absent = 0 if path or entry.masked is None else entry.masked
        times = operation.count if operation.side == "y" else 1
        result = tf.where(tf.concat([hidden] * times, -1), tf.constant(absent, computes_in), result)
    return tf.cast(_last(result, axis, back=True), dtype)


def group_of(entry: AxisFunction, x: tf.Tensor, axis: int, numbers: Mapping[str, Any]) -> int:
    """Return how many entries have a result together, 0 if each has its own.

    Raises
    ------
    ValueError
        If the axis cannot be divided into such groups, or its length is not known while a program is traced.
    """
    if not isinstance(entry.layout, Groups):
        return 0
    shape = tuple(x.shape)
    if shape[axis] is None:
        raise ValueError(f"{entry.name}: axis {axis} of x of shape {shape} must have a known length")
    return entry.layout.length(entry.name, shape, axis, numbers)


def _last(a: tf.Tensor, axis: int, *, back: bool = False) -> tf.Tensor:
    """Move an axis to the end, or back from there."""
    rank = len(a.shape)
    if axis == rank - 1:
        return a
    others = [k for k in range(rank) if k != axis]
    order = [*others, axis]
    return tf.transpose(a, np.argsort(order) if back else order)


def _opened(a: tf.Tensor, group: int) -> tf.Tensor:
    return tf.reshape(a, tf.concat([tf.shape(a)[:-1], [-1, group]], 0))


def _program(entry: AxisFunction, path: Path, dtype: tf.DType) -> Callable[..., tf.Tensor]:
    """Return an operation as a function of x, its vectors and the parameters; an entry keeps its own."""
    programs = entry.root.rooms["tensorflow"]
    if (path, dtype) not in programs:
        programs[path, dtype] = _made(entry.root, path, dtype)
    return programs[path, dtype]  # type: ignore[no-any-return]


def _made(entry: AxisFunction, path: Path, dtype: tf.DType) -> Callable[..., tf.Tensor]:
    operation = entry.operation.along(path)
    arrays = ("x", *(name for name, _ in operation.vectors))
    parameters = tuple(entry.parameters)

    def program(*operands: tf.Tensor, hidden: tf.Tensor | None) -> tf.Tensor:
        @tf.custom_gradient
        def function(*operands: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Sequence[tf.Tensor]]]:
            x, *others = map(tf.stop_gradient, operands)
            vectors, numbers = others[: len(arrays) - 1], dict(zip(parameters, others[len(arrays) - 1 :], strict=True))
            y = compute_rows(TENSORS, operation, x, vectors, numbers, hidden, np.dtype(dtype.as_numpy_dtype))

            def gradient(dy: tf.Tensor) -> Sequence[tf.Tensor]:
                given, more = operands[: len(arrays)], operands[len(arrays) :]

                def times(kind: str, name: str) -> tf.Tensor:
                    return _program(entry, (*path, (kind, name)), dtype)(*given, dy, *more, hidden=hidden)

                pulled = [times("vjp", name) for name in arrays]
                return pulled + [summed_like(times("by", name), value) for name, value in zip(parameters, more, strict=True)]

            return y, gradient

        return function(*operands)

    return program


def shape_of_result(entry: AxisFunction, x: tf.Tensor, axis: int, numbers: Mapping[str, Any]) -> tf.Tensor:
    """Return the shape of a function's values."""
    shape = tf.unstack(tf.shape(x))
    group = group_of(entry, x, axis, numbers)
    shape[axis] = shape[axis] // group if group else shape[axis] * entry.operation.count
    return tf.stack(shape)
