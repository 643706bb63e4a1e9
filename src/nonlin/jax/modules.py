"""What the modules for Flax NNX and for Equinox share: names, arguments, and how parameters come to the input's channels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from nonlin.catalogue.rectifiers import leaky_relu
from nonlin.definition import Activation, AxisFunction, Gated, activations
from nonlin.definition.layout import Gate
from nonlin.jax.elementwise import as_array
from nonlin.layers import Constraint, check_values, constraint_of, layer_name, learnable_names, learned

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


@dataclass(frozen=True)
class Learned:
    """What a learned parameter starts with, and what keeps it within its bounds: then that is the raw one's start."""

    start: jax.Array
    constraint: Constraint | None


class ActivationModule:
    """What modules of all kinds share, beside their library's own class."""

    entry: ClassVar[Activation]
    __signature__: ClassVar[inspect.Signature]
    # Of those modules that have them.
    axis: int
    gate: Gate
    channel_axis: int

    def value_of(self, name: str) -> Any:
        """Return the value of a parameter: a number, or an array if it is learned."""
        raise NotImplementedError

    def _bound(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        """Return each argument by its name."""
        try:
            bound = self.__signature__.bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}; it takes {self.__signature__}") from None
        bound.apply_defaults()
        return bound.arguments

    def _parameters(self, given: Mapping[str, Any], dtype: Any) -> Iterator[tuple[str, Any]]:
        """Return each parameter's name and the number that it stays, or what is learned.

        Raises
        ------
        TypeError, ValueError
            If a number is out of bounds, or there is nothing of that name to learn.
        """
        layer, entry, channels = type(self).__name__, self.entry, given.get("channels")
        dtype = jnp.zeros(()).dtype if dtype is None else dtype  # said: a weak type changes with the first update
        chosen = learned(layer, entry, {name: name for name in learnable_names(entry)}, given.get("learnable", False))
        values = {name: given[name] for name in entry.parameters}
        check_values(layer, entry, {name: name for name in values}, values)
        if channels is not None and (isinstance(channels, bool) or not isinstance(channels, int) or channels < 1):
            raise ValueError(f"{layer}: channels must be a whole number of at least 1, got {channels!r}")
        if channels is not None and not chosen:
            raise ValueError(f"{layer}: channels={channels} needs learnable parameters")
        for name, value in values.items():
            if name not in chosen:
                yield name, value
                continue
            constraint = constraint_of(layer, entry.parameters[name], values, name, value)
            start = value if constraint is None else constraint.raw(value)
            yield name, Learned(jnp.full(() if channels is None else (channels,), start, dtype), constraint)

    def _within(self, raw: jax.Array, constraint: Constraint) -> jax.Array:
        """Return the value of a parameter that is learned within bounds."""
        other = None if constraint.other is None else self.value_of(constraint.other)
        value: jax.Array = constraint.value(raw, other, jax.nn.sigmoid, jax.nn.softplus)
        return value

    def _values(self, x: jax.Array) -> dict[str, Any]:
        """Return all parameters, those of channels with the dimensions of an input."""
        values = {name: self.value_of(name) for name in self.entry.parameters}
        return {name: self._aligned(name, v, x) if getattr(v, "ndim", 0) == 1 else v for name, v in values.items()}

    def _aligned(self, name: str, value: jax.Array, x: jax.Array) -> jax.Array:
        axis = self.channel_axis
        if not -x.ndim <= axis < x.ndim or x.shape[axis] != value.size:
            has = f"has {x.shape[axis]} along axis {axis}" if -x.ndim <= axis < x.ndim else f"has no axis {axis}"
            raise ValueError(f"{type(self).__name__}: {name} has {value.size} channels, but x of shape {x.shape} {has}")
        return value.reshape((-1, *(1,) * (x.ndim - 1 - axis % x.ndim)))

    def _applied(self, x: Any, other: Any = None) -> jax.Array:
        """Apply the activation; a pair to its value, too, and a function along an axis with what takes part."""
        x = as_array(type(self).__name__, "x", x)
        entry: Any = self.entry
        given = self._values(x)
        result: jax.Array
        if isinstance(entry, AxisFunction):
            masks = {} if other is None else {"where": other}
            result = entry(x, axis=self.axis, **masks, **given)
        elif isinstance(entry, Gated) and other is None:
            result = entry(x, axis=self.axis, gate=self.gate, **given)
        else:
            result = entry(*((x,) if other is None else (x, other)), **given)
        return result

    def _randomized(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Apply leaky ReLU with slopes drawn between two, as randomized ReLU does in training."""
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"{type(self).__name__}: x must be floating-point in training, got {x.dtype}")
        lower, upper = self._values(x).values()
        drawn: jax.Array = leaky_relu(x, lower + (upper - lower) * jax.random.uniform(key, x.shape, x.dtype))
        return drawn

    def __reduce__(self) -> str | tuple[Any, ...]:
        if type(self) not in self.entry.rooms["jax"].values():  # a class of the user's own
            return object.__reduce_ex__(self, 2)
        # Made on demand, perhaps of an activation that another process knows nothing of: it is found again by that.
        return _unpickled, (type(self).__module__, self.entry), self.__getstate__()


def _unpickled(module: str, entry: Activation) -> Any:
    return object.__new__(import_module(module).layer(entry))


def signature(entry: Activation, channel_axis: int, *more: inspect.Parameter) -> inspect.Signature:
    """Return the arguments of a module.

    Parameters
    ----------
    entry : Activation
    channel_axis : int
        Where the library has its channels.
    *more : inspect.Parameter
        What the library's own modules take besides; the first only if there is something to learn.
    """
    numbers = {name: parameter.default for name, parameter in entry.parameters.items()}
    arguments = [inspect.Parameter(n, _POSITIONAL, annotation=float) for n, v in numbers.items() if v is None]
    if isinstance(entry, (Gated, AxisFunction)):
        arguments.append(inspect.Parameter("axis", _POSITIONAL, default=-1, annotation=int))
    if isinstance(entry, Gated):
        arguments.append(inspect.Parameter("gate", _POSITIONAL, default=entry.gate, annotation=Gate))
    arguments += [inspect.Parameter(n, _POSITIONAL, default=v, annotation=float) for n, v in numbers.items() if v is not None]
    if learnable_names(entry):
        arguments.append(inspect.Parameter("learnable", _KEYWORD, default=None, annotation="bool | str | Sequence[str] | None"))
        if not isinstance(entry, AxisFunction):
            arguments.append(inspect.Parameter("channels", _KEYWORD, default=None, annotation="int | None"))
            arguments.append(inspect.Parameter("channel_axis", _KEYWORD, default=channel_axis, annotation=int))
    else:
        more = more[1:]
    return inspect.Signature([*arguments, *more])


_SAID = {
    "axis": ("int", "Along which axis."),
    "gate": ('{"first", "second", "even"}', "Which part of one array goes through the gate."),
    "learnable": ("bool, str or sequence of str", "Which parameters are learned; None is what is usual."),
    "channels": ("int, optional", "Learn one value for each of so many channels, not one for all."),
    "channel_axis": ("int", "The axis of the channels: by default where the library's own modules have it."),
    "param_dtype": ("dtype", "Of the learned parameters."),
    "dtype": ("dtype, optional", "Of the learned parameters."),
    "rngs": ("nnx.Rngs, optional", "Where random numbers come from; the start of parameters has none."),
    "deterministic": ("bool", "Whether to take the mean of the slopes, as in evaluation."),
    "inference": ("bool", "Whether to take the mean of the slopes."),
    "key": ("PRNGKey, optional", "Taken because all modules take one; the start of parameters has nothing random."),
}


def documentation(entry: Activation, arguments: inspect.Signature) -> str:
    """Return the docstring of a module."""
    lines = [entry.summary, "", f"    {entry.name} = {entry.formula}", "", "Parameters", "----------"]
    for name in arguments.parameters:
        parameter = entry.parameters.get(name)
        if parameter is None:
            lines += [f"{name} : {_SAID[name][0]}", f"    {_SAID[name][1]}"]
        else:
            default = "" if parameter.default is None else f", default {parameter.default}"
            lines.append(f"{name} : float{default}{', ' + parameter.describe() if parameter.bounds else ''}")
    return "\n".join([*lines, "", "References", "----------", entry.source] if entry.source else lines)


def base_of(entry: Activation, elementwise: type, gated: type, along_axis: type, masked: type) -> type:
    """Return which of a library's bases an activation's modules have."""
    if isinstance(entry, AxisFunction):
        return along_axis if entry.masked is None else masked
    return gated if isinstance(entry, Gated) else elementwise


def kept(entry: Activation, library: str, make: Callable[[Activation], type]) -> type:
    """Return the class of an activation's modules for a library; an entry keeps its own."""
    rooms: dict[Any, Any] = entry.rooms.setdefault("jax", {})
    if library not in rooms:
        rooms[library] = make(entry)
    return rooms[library]  # type: ignore[no-any-return]


def named(module: str, name: str, layer: Callable[[Any], type]) -> type:
    """Return the class of a name, for a module's ``__getattr__``."""
    if not name.startswith("_"):
        for entry in activations.values():
            if layer_name(entry.name) == name:
                return layer(entry)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def names() -> set[str]:
    """Return the names of all classes."""
    return {layer_name(entry.name) for entry in activations.values()}
