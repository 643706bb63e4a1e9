"""Layers: a class for every activation in the registry, made from its parameters, named as Keras names them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from nonlin.definition import Activation, AxisFunction, Elementwise, Gated, Parameter
from nonlin.definition.layout import Gate, Groups
from nonlin.dialects import dialect
from nonlin.keras.constraints import Within
from nonlin.keras.saving import PACKAGE, register
from nonlin.keras.shapes import Shape, halved, row_shape, spec
from nonlin.layers import check_values, layer_name, learnable_names, learned

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_INITIALIZER = "_initializer"
#: What is said about each learned parameter, and what Keras makes of it.
_GETTERS = {
    "initializer": keras.initializers.get,
    "regularizer": keras.regularizers.get,
    "constraint": keras.constraints.get,
}


def _keras_call(name: str) -> Any:
    """Return how Keras spells the layer of an activation, if it has one."""
    return next(iter(dialect("keras.layers").calls.get(name, ())), None)


def class_name(name: str) -> str:
    """Return what the layer of an activation is called: Keras' own name where Keras has it.

    Examples
    --------
    >>> from nonlin.keras.layers import class_name
    >>> class_name("leaky_relu"), class_name("snake_beta"), class_name("hard_swish")
    ('LeakyReLU', 'SnakeBeta', 'HardSwish')
    """
    call = _keras_call(name)
    return layer_name(name, None if call is None else call.name)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Layer(keras.layers.Layer):
    """What all layers share: parameters, which may be learned."""

    entry: ClassVar[Activation]
    parameter_names: ClassVar[dict[str, str]]
    """What the layer calls each parameter of the activation."""
    __signature__: ClassVar[inspect.Signature]
    own_arguments: ClassVar[Mapping[inspect.Parameter, tuple[str, str]]] = {}
    """Arguments that are no parameters of the activation, with their type and meaning."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        own = {name: value for name, value in keywords.items() if name in self.__signature__.parameters}
        super().__init__(**{name: value for name, value in keywords.items() if name not in own})
        try:
            bound = self.__signature__.bind(*arguments, **own)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}; it takes {self.__signature__}") from None
        bound.apply_defaults()
        self.supports_masking = True
        self._start(bound.arguments)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "activation": keras.saving.serialize_keras_object(self.entry)}
        for name in self.__signature__.parameters:
            config[name] = keras.saving.serialize_keras_object(self._argument(name))
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Make the layer of that configuration; its class follows from the activation."""
        from nonlin.keras.making import layer  # which makes classes with this module

        entry = keras.saving.deserialize_keras_object(config["activation"])
        made = cls if getattr(cls, "entry", None) is entry else layer(entry)
        # What is serialized of the arguments is taken by Keras' own getters.
        return made(**{name: value for name, value in config.items() if name != "activation"})

    @property
    def applied(self) -> Activation:
        """What the layer applies: another activation than that of its class where an argument says so."""
        return self.entry

    def _start(self, given: dict[str, Any]) -> None:
        """Take the arguments, each by its name."""
        for name, value in given.items():
            kind = name.rpartition("_")[2]
            setattr(self, name, _GETTERS[kind](value) if kind in _GETTERS and not _is_number(value) else value)
        layer, names = type(self).__name__, self.parameter_names
        can_learn = {name: names[name] for name in learnable_names(self.entry)}
        self._learned: tuple[str, ...] = learned(layer, self.entry, can_learn, given.get("learnable"))
        values = {name: given[_value_name(self, theirs)] for name, theirs in names.items()}
        check_values(layer, self.entry, names, {n: value for n, value in values.items() if _is_number(value)})
        for name, value in values.items():
            if name not in self._learned and not _is_number(value):
                raise TypeError(f"{layer}: {names[name]} must be a number, got {value!r}")
        self._start_values = {names[name]: value for name, value in values.items()}
        if "shared_axes" in given:
            axes = given["shared_axes"]
            self.shared_axes = [axes] if isinstance(axes, int) else None if axes is None else list(axes)
        for name in self._learned:
            theirs = names[name]
            if getattr(self, f"{theirs}_initializer") is None or _is_number(getattr(self, f"{theirs}_initializer")):
                setattr(self, f"{theirs}_initializer", keras.initializers.Constant(values[name]))
            if getattr(self, f"{theirs}_constraint") is None:
                setattr(self, f"{theirs}_constraint", self._allowed(self.entry.parameters[name], theirs, values))

    def _allowed(self, parameter: Parameter, theirs: str, values: Mapping[str, Any]) -> Within | None:
        """Return the constraint that keeps a parameter within its bounds, if it has any."""
        for bound in parameter.bounds.values():
            if isinstance(bound, str) and bound in self._learned:
                other = self.parameter_names[bound]
                raise ValueError(f"{type(self).__name__}: {theirs} is bounded by {other}: learn one of them, not both")
        bounds = {kind: values[bound] if isinstance(bound, str) else bound for kind, bound in parameter.bounds.items()}
        bounds = {kind: bound for kind, bound in bounds.items() if math.isfinite(bound)}
        return Within(**bounds) if bounds else None

    def _argument(self, name: str) -> Any:
        return self._start_values[name] if name in self._start_values else getattr(self, name)

    def build(self, input_shape: Any) -> None:
        """Make the weights of the parameters that are learned."""
        for name in self._learned:
            theirs = self.parameter_names[name]
            said = {kind: getattr(self, f"{theirs}_{kind}") for kind in _GETTERS}
            setattr(self, theirs, self.add_weight(name=theirs, shape=self._weight_shape(input_shape), **said))
        self.built = True

    def _weight_shape(self, shape: Shape) -> tuple[int, ...]:
        """Return the shape of a learned parameter, which broadcasts with the input."""
        return ()

    def parameter_values(self) -> list[Any]:
        """Return the values of all parameters: numbers, or arrays of the backend where they are learned."""
        return [
            getattr(self, theirs).value if name in self._learned else getattr(self, theirs)
            for name, theirs in self.parameter_names.items()
        ]


class ElementwiseLayer(Layer):
    """A layer that applies an activation to every element; its parameters may be learned, by default one for each channel."""

    entry: ClassVar[Elementwise]

    def _weight_shape(self, shape: Shape) -> tuple[int, ...]:
        layer, dimensions = type(self).__name__, len(shape)
        shared, axis = self.shared_axes, self.channel_axis
        if shared is not None:
            wrong = next((k for k in shared if not 0 < k < dimensions), None)
            if wrong is not None:
                allowed = f"from 1 to {dimensions - 1} for input of shape {shape}"
                raise ValueError(f"{layer}: shared_axes must be {allowed}, got {wrong}")
            wanted: Shape = tuple(1 if k in shared else shape[k] for k in range(1, dimensions))
        elif axis is None:
            wanted = ()
        else:
            if not -dimensions <= axis < dimensions or axis % dimensions == 0:
                raise ValueError(f"{layer}: channel_axis must be one of input of shape {shape}, not the batch's, got {axis}")
            wanted = (shape[axis], *(1,) * (dimensions - 1 - axis % dimensions))
            self.input_spec = keras.layers.InputSpec(axes={axis: shape[axis]})
        if None in wanted:
            raise ValueError(
                f"{layer}: its parameters have one value for each entry of axes whose length is not known in input of shape "
                f"{shape}: say it in Input, name the axes in shared_axes, or learn one value for all with channel_axis=None"
            )
        return wanted  # type: ignore[return-value]

    def call(self, inputs: Any) -> Any:
        return self.entry(inputs, *self.parameter_values())

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def compute_output_spec(self, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        def traced(*operands: Any) -> Any:
            return keras.Operation.compute_output_spec(self, *operands)

        return spec((inputs,), self.compute_output_shape(tuple(inputs.shape)), traced)


class GatedLayer(ElementwiseLayer):
    """A gated pair of two tensors, or of the two halves of one."""

    entry: ClassVar[Gated]

    def call(self, inputs: Any, value: Any = None) -> Any:
        if value is None:
            return self.entry(inputs, axis=self.axis, gate=self.gate, **self._named())
        return self.entry(inputs, value, **self._named())

    def _named(self) -> dict[str, Any]:
        return dict(zip(self.parameter_names, self.parameter_values(), strict=True))

    def compute_output_shape(self, input_shape: Any, value_shape: Any = None) -> Any:
        if value_shape is not None:
            return tuple(input_shape)
        return halved(type(self).__name__, tuple(input_shape), self.axis)

    def compute_output_spec(self, inputs: Any, value: Any = None, **keywords: Any) -> Any:
        def traced(*operands: Any) -> Any:
            return keras.Operation.compute_output_spec(self, *operands)

        if value is None:
            return spec((inputs,), self.compute_output_shape(tuple(inputs.shape)), traced)
        return spec((inputs, value), None, traced)


class AxisLayer(Layer):
    """A layer that applies a function along an axis; its parameters may be learned, one for all rows."""

    entry: ClassVar[AxisFunction]

    def _start(self, given: dict[str, Any]) -> None:
        axis = given["axis"]
        several = isinstance(axis, (list, tuple))
        if isinstance(axis, bool) or not all(isinstance(k, int) for k in (axis if several else (axis,))):
            raise TypeError(f"{type(self).__name__}: axis must be an integer or several, got {axis!r}")
        if several and len(axis) > 1 and (isinstance(self.entry.layout, Groups) or self.entry.operation.count > 1):
            raise ValueError(f"{type(self).__name__} changes the length of its axis, which must be one, got {axis}")
        super()._start({name: value for name, value in given.items() if name != "axis"})
        self.axis: int | list[int] = list(axis) if several else axis

    def call(self, inputs: Any) -> Any:
        """Apply the function."""
        return self._applied(inputs, None)

    def _applied(self, x: Any, mask: Any) -> Any:
        values = dict(zip(self.parameter_names, self.parameter_values(), strict=True))
        axes = [k % len(x.shape) for k in self._axes(x)]
        where = {} if mask is None else {"where": _aligned(type(self).__name__, mask, x)}
        if len(axes) == 1:
            return self.entry(x, axis=axes[0], **where, **values)
        # Several axes are one to the function: side by side at the end.
        ops, last = keras.ops, tuple(range(-len(axes), 0))
        moved = ops.moveaxis(x, axes, last)
        shape = ops.shape(moved)
        flat = (*shape[: last[0]], -1)
        where = {n: ops.reshape(ops.moveaxis(ops.broadcast_to(m, ops.shape(x)), axes, last), flat) for n, m in where.items()}
        y = self.entry(ops.reshape(moved, flat), axis=-1, **where, **values)
        return ops.moveaxis(ops.reshape(y, shape), last, axes)

    def _axes(self, x: Any) -> list[int]:
        axes, dimensions = [self.axis] if isinstance(self.axis, int) else list(self.axis), len(x.shape)
        for axis in axes:
            if not -dimensions <= axis < dimensions:
                raise ValueError(f"{type(self).__name__}: axis {axis} is out of range for input of shape {tuple(x.shape)}")
        return axes

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not isinstance(self.axis, int) and len(self.axis) > 1:
            return tuple(input_shape)
        axis = self.axis if isinstance(self.axis, int) else self.axis[0]
        return row_shape(self.entry, tuple(input_shape), axis, {name: getattr(self, name) for name in self.entry.parameters})

    def compute_output_spec(self, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        self._axes(inputs)

        def traced(x: Any) -> Any:
            return keras.Operation.compute_output_spec(self, x)

        return spec((inputs,), self.compute_output_shape(tuple(inputs.shape)), traced)


class MaskedAxisLayer(AxisLayer):
    """A layer along an axis whose function can leave entries out: those that a mask does."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return self._applied(inputs, mask)


def _aligned(layer: str, mask: Any, x: Any) -> Any:
    """Return a mask as booleans that broadcast to x; one of time steps, as Keras hands them on, is of the first axes."""
    mask = keras.ops.convert_to_tensor(mask)
    if keras.backend.standardize_dtype(mask.dtype) != "bool":
        mask = mask > 0.5
    given, shape = tuple(mask.shape), tuple(x.shape)

    def suits(part: Shape) -> bool:
        return len(given) == len(part) and all(m in (1, n) or None in (m, n) for m, n in zip(given, part, strict=True))

    missing = len(shape) - len(given)
    if missing >= 0 and suits(shape[missing:]):
        return mask
    if missing > 0 and suits(shape[: len(given)]):
        return keras.ops.reshape(mask, (*keras.ops.shape(mask), *(1,) * missing))
    raise ValueError(f"{layer}: mask of shape {given} does not broadcast to input of shape {shape}")


# --- making classes -------------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _value_name(layer: Layer, theirs: str) -> str:
    """Return the argument that gives a parameter's value, or the one it starts with."""
    return theirs if theirs in layer.__signature__.parameters else theirs + _INITIALIZER


def _names(entry: Activation) -> dict[str, str]:
    """Return what the layer calls each parameter: PReLU's slope is ``alpha``, which Keras spells ``alpha_initializer``."""
    call = _keras_call(entry.name)
    spelled = {} if call is None else call.parameters
    return {name: spelled.get(name, name).removesuffix(_INITIALIZER) for name in entry.parameters}


def _elementwise_signature(entry: Activation, names: Mapping[str, str]) -> inspect.Signature:
    arguments = []
    if isinstance(entry, Gated):
        arguments.append(inspect.Parameter("axis", _POSITIONAL, default=-1, annotation=int))
        arguments.append(inspect.Parameter("gate", _POSITIONAL, default=entry.gate, annotation=Gate))
    call = _keras_call(entry.name)
    always = call is not None and any(theirs.endswith(_INITIALIZER) for theirs in call.parameters.values())
    kind = _POSITIONAL if always else _KEYWORD
    for ours, theirs in names.items():
        given = entry.parameters[ours].default
        default: Any = inspect.Parameter.empty if given is None else given
        arguments.append(inspect.Parameter(theirs + always * _INITIALIZER, _POSITIONAL, default=default, annotation=float))
    if names and not always:
        arguments.append(_learnable_argument(entry))
    said = [f"{theirs}_{what}" for theirs in names.values() for what in _GETTERS if not (always and what == "initializer")]
    arguments += [inspect.Parameter(name, kind, default=None, annotation=Any) for name in said]
    if names:
        arguments.append(inspect.Parameter("shared_axes", kind, default=None, annotation="Sequence[int] | None"))
        arguments.append(inspect.Parameter("channel_axis", kind, default=-1, annotation="int | None"))
    return inspect.Signature(arguments)


def _axis_signature(entry: AxisFunction) -> inspect.Signature:
    learnable = learnable_names(entry)
    required = [inspect.Parameter(n, _POSITIONAL, annotation=float) for n, p in entry.parameters.items() if p.default is None]
    axis = inspect.Parameter("axis", _POSITIONAL, default=-1, annotation="int | Sequence[int]")
    others = [
        inspect.Parameter(n, _POSITIONAL, default=p.default, annotation=float)
        for n, p in entry.parameters.items()
        if p.default is not None
    ]
    said = [inspect.Parameter(f"{n}_{what}", _KEYWORD, default=None, annotation=Any) for n in learnable for what in _GETTERS]
    return inspect.Signature([*required, axis, *others, *([_learnable_argument(entry)] if learnable else []), *said])


def _learnable_argument(entry: Activation) -> inspect.Parameter:
    usual = None if any(p.learnable for p in entry.parameters.values()) else False
    return inspect.Parameter("learnable", _KEYWORD, default=usual, annotation="bool | str | Sequence[str] | None")


_SAID = {
    "axis": ("int", "Along which axis; several are one."),
    "gate": ('{"first", "second", "even"}', "Which part of one tensor goes through the gate."),
    "learnable": ("bool, str or sequence of str", "Which parameters are learned; None is what is usual."),
    "shared_axes": (
        "sequence of int, optional",
        "Learn a value for every entry but along these axes, as Keras' PReLU; () for all, and instead of channel_axis.",
    ),
    "channel_axis": ("int or None", "Learn one value for each entry of this axis, by default the last; None for one for all."),
}


def _documentation(
    entry: Activation, signature: inspect.Signature, names: Mapping[str, str], own: Mapping[str, tuple[str, str]]
) -> str:
    said = {**_SAID, **own}
    lines = [entry.summary, "", f"    {entry.name} = {entry.formula}", "", "Parameters", "----------"]
    for name, argument in signature.parameters.items():
        ours = next((o for o, theirs in names.items() if name in (theirs, theirs + _INITIALIZER)), None)
        if name in said:
            lines += [f"{name} : {said[name][0]}", f"    {said[name][1]}"]
        elif ours is not None and (name == names[ours] or argument.default is not None):
            parameter = entry.parameters[ours]
            default = "" if parameter.default is None else f", default {parameter.default}"
            lines.append(f"{name} : float{default}{', ' + parameter.describe() if parameter.bounds else ''}")
        else:
            lines.append(f"{name} : as in keras.{name.rpartition('_')[2]}s, optional")
    lines += ["**kwargs", "    ``name``, ``dtype``, ``trainable`` and others of ``keras.layers.Layer``."]
    return "\n".join([*lines, "", "References", "----------", entry.source] if entry.source else lines)


def make_layer(entry: Activation, base: type[Layer] | None = None) -> type[Layer]:
    """Make the class of an activation's layers."""
    fields: dict[str, Any] = {"entry": entry, "__module__": "nonlin.keras"}
    names: dict[str, str] = {}
    if isinstance(entry, AxisFunction):
        base = base or (AxisLayer if entry.masked is None else MaskedAxisLayer)
        names = fields["parameter_names"] = {name: name for name in entry.parameters}
        signature = _axis_signature(entry)
    else:
        base = base or (GatedLayer if isinstance(entry, Gated) else ElementwiseLayer)
        names = fields["parameter_names"] = _names(entry)
        signature = _elementwise_signature(entry, names)
    signature = signature.replace(parameters=[*base.own_arguments, *signature.parameters.values()])
    documentation = _documentation(entry, signature, names, {a.name: said for a, said in base.own_arguments.items()})
    made = type(class_name(entry.name), (base,), {**fields, "__signature__": signature, "__doc__": documentation})
    register(made, Layer)
    return made
