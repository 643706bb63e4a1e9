"""What ``nonlin.gelu(keras_tensor)`` comes to: symbolic tensors become operations, variables arrays of the backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from nonlin.definition import AxisFunction, Elementwise
from nonlin.definition.layout import Gate, Halves, check_axis
from nonlin.keras import operations


def evaluate(entry: Elementwise, wrt: str, order: int, operands: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Compute an elementwise activation, or a derivative, of symbolic tensors or variables.

    Raises
    ------
    TypeError
        If there is a keyword for ufuncs, which take arrays, or a sparse or ragged tensor.
    """
    if keywords:
        raise TypeError(f"{entry.name}: {next(iter(keywords))}= is for NumPy arrays, not for Keras' tensors")
    operands = [_taken(entry.name, operand) for operand in operands]
    if any(isinstance(operand, keras.KerasTensor) for operand in operands):
        return operations.elementwise(entry, wrt, order, operands)
    return entry.derivative(*operands, wrt=wrt, order=order)


def evaluate_along_axis(entry: AxisFunction, given: Mapping[str, Any]) -> Any:
    """Compute a function along an axis of symbolic tensors or variables."""
    return _along_axis(entry, given, None)


def product_along_axis(entry: AxisFunction, given: Mapping[str, Any], which: Literal["dx", "dy"]) -> Any:
    """Compute a product with the Jacobian, of symbolic tensors or variables."""
    return _along_axis(entry, given, which)


def split(entry: Elementwise, x: Any, axis: int, gate: Gate) -> tuple[Any, Any]:
    """Return the gate and the value that one tensor holds, along an axis whose length is known."""
    x = _taken(entry.name, x)
    shape = tuple(x.shape)
    if shape[check_axis(entry.name, shape, axis)] is None:
        raise ValueError(f"{entry.name}: axis {axis} of x of shape {shape} has no known length, so no halves; say it in Input")
    return Halves.split(entry.name, x, axis, gate)


def _along_axis(entry: AxisFunction, given: Mapping[str, Any], which: Literal["dx", "dy"] | None) -> Any:
    if given.get("out") is not None:
        raise TypeError(f"{entry.name}: out= is for NumPy arrays, not for Keras' tensors")
    given = {name: _taken(entry.name, value) for name, value in given.items() if name != "out"}
    product = {None: "value", "dx": "jvp", "dy": "vjp"}[which]
    if any(isinstance(value, keras.KerasTensor) for value in given.values()):
        vector = given[which] if which else None
        return operations.along_axis(entry, given, product, vector)
    function = entry if which is None else getattr(entry, product)
    return function(**given)


def _taken(name: str, operand: Any) -> Any:
    """Return an operand as the backend has it, if it is a variable."""
    if isinstance(operand, keras.Variable):
        return operand.value  # not convert_to_tensor, which gives TensorFlow the variable again
    if isinstance(operand, keras.KerasTensor):
        for kind in ("sparse", "ragged"):
            if getattr(operand, kind, False):
                raise TypeError(f"{name} takes dense tensors, got a {kind} one: {operand}; make it dense first")
    return operand
