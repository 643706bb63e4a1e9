"""Activations of symbolic tensors: operations of a functional model, which is saved with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from nonlin.definition import Activation, AxisFunction, Elementwise
from nonlin.keras.layers import class_name
from nonlin.keras.saving import PACKAGE, register
from nonlin.keras.shapes import row_shape, spec


class Applied(keras.Operation):
    """What operations of activations share."""

    fields: ClassVar[tuple[str, ...]]
    """What they are made of besides the activation."""

    def __init__(self, activation: Any, *, name: str | None = None, **fields: Any) -> None:
        super().__init__(name=name)
        self.activation = activation
        self.given = fields

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "activation": keras.saving.serialize_keras_object(self.activation), **self.given}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Applied:
        activation = keras.saving.deserialize_keras_object(config["activation"])
        return operation(cls.registered, **{**config, "activation": activation})

    registered: ClassVar[type[Applied]]


@keras.saving.register_keras_serializable(package=PACKAGE)
class ElementwiseOperation(Applied):
    """An elementwise activation, a pair, or a derivative of one."""

    def call(self, *operands: Any) -> Any:
        return self.activation.derivative(*operands, **self.given)

    def compute_output_spec(self, *operands: Any) -> Any:
        return spec(operands, None, super().compute_output_spec)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AxisOperation(Applied):
    """A function along an axis, or one of its products with the Jacobian."""

    def call(self, x: Any, vector: Any = None, where: Any = None, **parameters: Any) -> Any:
        function = self.activation
        if where is not None:
            parameters["where"] = where
        axis, product = self.given["axis"], self.given["product"]
        if product == "value":
            return function(x, axis=axis, **parameters)
        return getattr(function, product)(x, vector, axis=axis, **parameters)

    def compute_output_spec(self, x: Any, vector: Any = None, where: Any = None, **parameters: Any) -> Any:
        shape = tuple(x.shape)
        if self.given["product"] != "vjp":
            shape = row_shape(self.activation, shape, self.given["axis"], parameters)
        operands = (x,) if vector is None else (x, vector)
        keywords = {"vector": vector, "where": where, **parameters}
        return spec(operands, shape, lambda *_: super(AxisOperation, self).compute_output_spec(x, **keywords))


ElementwiseOperation.registered, AxisOperation.registered = ElementwiseOperation, AxisOperation


def operation(base: type[Applied], activation: Activation, **fields: Any) -> Applied:
    """Make an operation of an activation: of a class named after it, as the summary of a model shows it."""
    kept: dict[type, Any] = activation.root.rooms.setdefault("keras", {})
    if base not in kept:
        kept[base] = type(class_name(activation.name), (base,), {"__module__": __name__, "__doc__": base.__doc__})
        register(kept[base], base)
    made: Applied = kept[base](activation, **fields)
    return made


def along_axis(entry: AxisFunction, given: Mapping[str, Any], product: str, vector: Any = None) -> Any:
    """Apply a function along an axis, or a product, to symbolic tensors."""
    keywords = {name: given[name] for name in entry.parameters}
    if given.get("where") is not None:
        keywords["where"] = given["where"]
    if vector is not None:
        keywords["vector"] = vector
    made = operation(AxisOperation, entry, axis=given["axis"] - len(given["x"].shape), product=product)
    return made(given["x"], **keywords)


def elementwise(entry: Elementwise, wrt: str, order: int, operands: Sequence[Any]) -> Any:
    """Apply an elementwise activation, or a derivative, to symbolic tensors."""
    return operation(ElementwiseOperation, entry, wrt=wrt, order=order)(*operands)
