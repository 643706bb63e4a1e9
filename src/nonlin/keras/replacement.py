"""Replacing activations throughout a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from nonlin.definition import Activation, AxisFunction, activations, get
from nonlin.dialects import Call, dialect
from nonlin.keras.layers import Layer
from nonlin.keras.making import layer
from nonlin.keras.operations import Applied, AxisOperation, ElementwiseOperation, operation

Found = tuple[Activation, dict[str, Any]]


def replace(model: keras.Model, mapping: Mapping[Any, Any]) -> keras.Model:
    """Return a copy of a model with other activations, and with its weights.

    Replaced are layers (``ReLU``, ``Activation("relu")``), arguments of layers (``Dense(activation="relu")``, also
    ``recurrent_activation``), functions of symbolic tensors (``keras.ops.relu(x)``), in nested models and wrapped layers, too.
    Parameters that both activations have are carried over; a layer that is used in several places stays one.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional; one with a ``call`` of its own has to be changed where it is written.
    mapping : Mapping
        From an activation, or its name, to an activation or its name.

    Raises
    ------
    ValueError
        If the model has none of the activations, or is neither Sequential nor functional.

    Examples
    --------
    >>> import keras, nonlin.keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.ReLU()])
    >>> replaced = nonlin.keras.replace(model, {"relu": "gelu"})
    >>> replaced.layers[0].activation, type(replaced.layers[1]).__name__
    (<activation gelu(x)>, 'GELU')
    """
    wanted = {get(key).name: get(target) for key, target in mapping.items()}
    replacing = _Replacing(wanted)
    try:
        # A Sequential model has no operations whose arguments could need a change.
        call = {} if isinstance(model, keras.Sequential) else {"call_function": replacing.call}
        clone = keras.models.clone_model(model, clone_function=replacing.clone, recursive=True, **call)
    except ValueError as error:
        if isinstance(model, keras.Sequential) or hasattr(model, "operations"):
            raise
        raise ValueError(
            f"replace: the model must be Sequential or functional, got {type(model).__name__}, whose call is Python code: "
            "change its activations there"
        ) from error
    if not replacing.count:
        raise ValueError(f"replace: {model.name} has no {' and no '.join(wanted)}; it has {_list(replacing.seen)}")
    for before, after in replacing.pairs:
        weights = before.get_weights()
        if [w.shape for w in weights] == [tuple(w.shape) for w in after.weights]:
            after.set_weights(weights)
    return clone


class _Replacing:
    """The copies of a model's layers."""

    def __init__(self, wanted: Mapping[str, Activation]) -> None:
        self.wanted = wanted
        self.count = 0
        self.seen: set[str] = set()
        self.pairs: list[tuple[Any, Any]] = []
        self.operations: list[Applied] = []

    def target(self, found: Found | None) -> Activation | None:
        """Return what an activation becomes, with the parameters of both, or None if it stays."""
        if found is None:
            return None
        entry, values = found
        self.seen.add(entry.name)
        target = self.wanted.get(entry.name)
        if target is None:
            return None
        self.count += 1
        kept = {name: value for name, value in values.items() if name in target.parameters and isinstance(value, (int, float))}
        return target.with_(**kept) if kept else target

    def clone(self, before: Any) -> Any:
        """Return the copy of a layer or operation."""
        target = self.target(activation_of(before))
        if target is None:
            config = before.get_config()
            after = type(before).from_config({name: self._changed(name, value) for name, value in config.items()})
        elif isinstance(before, keras.layers.Layer):
            after = _layer(target, before)
        else:
            after = _operation(target, before)
            self.operations.append(after)
        if isinstance(before, keras.layers.Layer):
            self.pairs.append((before, after))
        return after

    def call(self, operation: Any, *arguments: Any, **keywords: Any) -> Any:
        """Call a copy in the new model; what replaces an operation takes its arrays, but has its own parameters."""
        if any(operation is made for made in self.operations):
            arguments = arguments[: len(operation.activation.operands)]
            keywords = {name: value for name, value in keywords.items() if name in ("where", "vector")}
        return operation(*arguments, **keywords)

    def _changed(self, name: str, value: Any) -> Any:
        """Return an argument of a layer in which activations, and wrapped layers, are replaced."""
        if name.endswith("activation") and value is not None:
            function = keras.activations.get(value)
            target = self.target(_activation_of_function(function))
            return value if target is None else keras.saving.serialize_keras_object(target)
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            if "class_name" in value:
                wrapped = keras.saving.deserialize_keras_object(value)
                target = self.target(activation_of(wrapped)) if isinstance(wrapped, keras.layers.Layer) else None
                if target is not None:
                    return keras.saving.serialize_keras_object(_layer(target, wrapped))
            return {**value, "config": {n: self._changed(n, v) for n, v in value["config"].items()}}
        return value


def _layer(target: Activation, before: keras.layers.Layer) -> Layer:
    axis = {"axis": before.axis} if isinstance(target, AxisFunction) and hasattr(before, "axis") else {}
    made: Layer = layer(target)(dtype=before.dtype_policy, **axis)
    return made


def _operation(target: Activation, before: Any) -> Applied:
    """Return the operation that does with an activation what one of ours, or of Keras', does with another."""
    given = before.given if isinstance(before, Applied) else vars(before)
    if isinstance(target, AxisFunction):
        return operation(AxisOperation, target, axis=given.get("axis", -1), product=given.get("product", "value"))
    return operation(ElementwiseOperation, target, wrt="x", order=given.get("order", 0))


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none that nonlin knows"


# --- what a model has -----------------------------------------------------------------------------------------------------


def activation_of(operation: Any) -> Found | None:
    """Return the activation that a layer, or an operation of a functional model, applies, and its parameters; or None."""
    if isinstance(operation, Layer):
        return operation.applied, {ours: getattr(operation, theirs) for ours, theirs in operation.parameter_names.items()}
    if isinstance(operation, Applied):
        return operation.activation.root, {n: p.default for n, p in operation.activation.parameters.items()}
    if isinstance(operation, keras.layers.ReLU):
        return _relu(operation)
    if isinstance(operation, keras.layers.Activation):
        return _activation_of_function(operation.activation)
    if isinstance(operation, keras.layers.Layer):
        layers = {call.name: (ours, call) for ours, calls in dialect("keras.layers").calls.items() for call in calls}
        found = layers.get(type(operation).__name__) if type(operation).__module__.startswith("keras.") else None
    else:
        found = _operation_call(operation)
    if found is None:
        return None
    entry = activations[found[0]]
    values = {
        ours: getattr(operation, theirs, None) for ours, theirs in found[1].parameters.items() if ours in entry.parameters
    }
    return entry, values


def _relu(layer: Any) -> Found | None:
    """Return what Keras' ReLU is with its arguments, as far as it is one activation."""
    most, slope, threshold = layer.max_value, layer.negative_slope or 0, layer.threshold or 0
    if [most is not None, bool(slope), bool(threshold)].count(True) > 1:
        return None
    if most is not None:
        return (activations["relu6"], {}) if most == 6 else (activations["clipped_relu"], {"max_value": most})
    if threshold:
        return activations["thresholded_relu"], {"theta": threshold}
    return (activations["leaky_relu"], {"negative_slope": slope}) if slope else (activations["relu"], {})


def _activation_of_function(function: Callable[..., Any]) -> Found | None:
    if isinstance(function, Activation):
        return function.root, {name: parameter.default for name, parameter in function.parameters.items()}
    for ours, calls in dialect("keras").calls.items():
        if any(not call.fixed and getattr(keras.activations, call.name, None) is function for call in calls):
            return activations[ours], {n: p.default for n, p in dialect("keras")[ours].parameters.items()}
    return None


def _operation_call(operation: Any) -> tuple[str, Call] | None:
    """Return our name of one of Keras' own operations, and how Keras spells it."""
    if not type(operation).__module__.startswith("keras."):
        return None
    name = type(operation).__name__.lower()
    several = [(o, c) for o, calls in dialect("keras.ops").calls.items() for c in calls if c.name.replace("_", "") == name]
    # What is told apart by an argument, first.
    for ours, call in sorted(several, key=lambda found: -len(found[1].fixed)):
        if all(getattr(operation, argument, None) == value for argument, value in call.fixed.items()):
            return ours, call
    return None
