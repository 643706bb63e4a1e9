"""Shapes and dtypes of results, which Keras asks for before there are numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from nonlin.definition import AxisFunction

Shape = tuple[int | None, ...]


def spec(operands: Sequence[Any], shape: Shape | None, traced: Callable[..., Any]) -> Any:
    """Return the symbolic result of symbolic operands: of their own shape, unless given, and dtype.

    Where they differ, or are integers, the backend says what they come to: it is traced.
    """
    symbolic = [operand for operand in operands if isinstance(operand, keras.KerasTensor)]
    dtypes, shapes = {x.dtype for x in symbolic}, {tuple(x.shape) for x in symbolic}
    dtype = next(iter(dtypes))
    if len(dtypes) > 1 or (shape is None and len(shapes) > 1) or not keras.backend.is_float_dtype(dtype):
        return traced(*operands)
    return keras.KerasTensor(next(iter(shapes)) if shape is None else shape, dtype=dtype)


def row_shape(entry: AxisFunction, shape: Shape, axis: int, values: Mapping[str, Any]) -> Shape:
    """Return the shape of what a function along an axis makes of an array; None stands for lengths that are not known."""
    axis %= len(shape)
    if shape[axis] is None:
        return shape
    return entry._shape_of(entry.operation, {"axis": axis, **values}, shape)  # type: ignore[arg-type]


def halved(name: str, shape: Shape, axis: int) -> Shape:
    """Return the shape of the halves of an axis."""
    length = shape[axis]
    return (*shape[: axis % len(shape)], None if length is None else length // 2, *shape[axis % len(shape) + 1 :])
