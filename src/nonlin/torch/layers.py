"""Layers: a class for every activation in the registry, made from its parameters, named as torch names them."""

from __future__ import annotations

import copyreg
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, ParamSpec, get_args

import torch
from torch import Tensor, nn
from torch.fx.proxy import Proxy, TraceError
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.definition import Elementwise, Gated
from nonlin.definition.layout import Gate
from nonlin.dialects import dialect
from nonlin.layers import Constraint, check_values, constraint_of, layer_name, learned
from nonlin.torch import elementwise
from nonlin.torch.addresses import check_memory
from nonlin.torch.dispatch import evaluate
from nonlin.torch.memory import Memory
from nonlin.torch.symbolic import split

P = ParamSpec("P")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _torch_call(name: str) -> Any:
    """Return how torch spells the layer of an activation, if it has one."""
    calls = dialect("torch").calls.get(name, ())
    return next((call for call in calls if call.name.startswith("nn.")), None)


def class_name(name: str) -> str:
    """Return what the layer of an activation is called: torch's own name where torch has it.

    Examples
    --------
    >>> from nonlin.torch.layers import class_name
    >>> class_name("leaky_relu"), class_name("snake_beta"), class_name("hard_swish")
    ('LeakyReLU', 'SnakeBeta', 'Hardswish')
    """
    call = _torch_call(name)
    return layer_name(name, None if call is None or call.fixed else str(call.name).removeprefix("nn."))


class LayerClass(type):
    """The type of the layers' classes, which pickles those that no module has under their name."""


def _reduce_class(made: LayerClass) -> str | tuple[Any, ...]:
    name: str = made.__name__
    entry = getattr(made, "entry", None)
    # Another process may know nothing of the user's own.
    if getattr(entry, "family", "") != "own" and getattr(sys.modules[made.__module__], name, None) is made:
        return name
    from nonlin.torch.making import layer  # which makes classes with this module

    return layer, (entry,)


copyreg.pickle(LayerClass, _reduce_class)


# --- arguments as torch's layers take them --------------------------------------------------------------------------------


def _torch_class(layer: type) -> Any:
    """Return torch's class of the same function, or None."""
    entry = getattr(layer, "entry", None)
    call = None if entry is None or entry.family == "own" else _torch_call(entry.name)
    return getattr(nn, layer.__name__, None) if call is not None and not call.fixed else None


def _bind(layer: type, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> inspect.BoundArguments:
    """Bind a layer's arguments; those of torch's layer of the same function are taken too, or refused in a sentence.

    ``inplace`` is ignored: it saves nothing here. What is called otherwise in formulas may be called so.
    """
    signature, name = inspect.signature(layer), layer.__name__
    theirs = _torch_class(layer)
    foreign = {} if theirs is None else dict(inspect.signature(theirs).parameters)
    own, others = list(signature.parameters), list(foreign)
    by_position = [n for n, parameter in signature.parameters.items() if parameter.kind is _POSITIONAL]
    given = dict(keywords)
    kept = []
    for position, value in enumerate(arguments):
        called = others[position] if position < len(others) else ""
        is_theirs = called and called not in own and foreign[called].kind is _POSITIONAL
        if is_theirs and (isinstance(value, bool) or position >= len(by_position)):
            if called in given:
                raise TypeError(f"{name}: got {called} twice")
            given[called] = value
        else:
            kept.append(value)
    if "threshold" in given and "threshold" in foreign and "threshold" not in own:
        raise TypeError(
            f"{name}: threshold={given['threshold']} is not taken: torch's is the identity above it, this one is exact "
            "and stable everywhere, so leave it out"
        )
    if "inplace" in given and "inplace" in foreign:
        inplace = given.pop("inplace")
        if not isinstance(inplace, bool):
            raise TypeError(f"{name}: inplace must be True or False, got {inplace!r}")
    for ours, here in getattr(layer, "parameter_names", {}).items():
        if ours in given and ours not in own:
            value = given.pop(ours)
            if value is not None or foreign.get(ours) is None:  # torch's own second name, None unless it is used
                given[here] = value
    try:
        return signature.bind(*kept, **given)
    except TypeError as error:
        raise TypeError(f"{name}: {error}; it takes {signature}") from None


def bound(init: Callable[P, None]) -> Callable[P, None]:
    """Let a layer's ``__init__`` take torch's arguments."""

    @functools.wraps(init)
    def initialize(self: Any, *arguments: Any, **keywords: Any) -> None:
        found = _bind(type(self), arguments, keywords)
        init(self, *found.args, **found.kwargs)

    return initialize  # type: ignore[return-value]


class Layer(nn.Module, metaclass=LayerClass):
    """What all layers share."""

    def extra_repr(self) -> str:
        """List the arguments that are not as they would be by default."""
        defaults = {p.name: p.default for p in inspect.signature(type(self)).parameters.values()}
        return ", ".join(f"{name}={value!r}" for name, value in self._arguments.items() if value != defaults[name])

    _arguments: dict[str, Any]
    __signature__: ClassVar[inspect.Signature]

    @classmethod
    def _bound(cls, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        bound = _bind(cls, arguments, keywords)
        bound.apply_defaults()
        return bound.arguments


class ElementwiseLayer(Layer):
    """A layer that applies an activation to every element; its parameters may be learned, one for all or one per channel."""

    entry: ClassVar[Elementwise]
    parameter_names: ClassVar[dict[str, str]]
    """What the layer calls each parameter of the activation."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__()
        given = self._bound(arguments, keywords)
        factory = {"device": given.pop("device", None), "dtype": given.pop("dtype", None)}
        self._start(given)
        del given["memory"]
        self.channels: int | None = given.pop("channels", None)
        self.channel_axis: int = given.pop("channel_axis", 1)
        learnable = given.pop("learnable", False)
        layer, names = type(self).__name__, self.parameter_names
        self.learnable: tuple[str, ...] = learned(layer, self.entry, names, learnable)
        values = {name: given[theirs] for name, theirs in names.items()}
        check_values(layer, self.entry, names, values)
        if self.channels is not None and (isinstance(self.channels, bool) or int(self.channels) < 1):
            raise ValueError(f"{type(self).__name__}: channels must be at least 1, got {self.channels}")
        if self.channels is not None and not self.learnable:
            raise ValueError(f"{type(self).__name__}: channels={self.channels} needs learnable parameters")
        for name, value in values.items():
            theirs = self.parameter_names[name]
            if name not in self.learnable:
                setattr(self, theirs, value)
                continue
            constraint = constraint_of(layer, self.entry.parameters[name], values, theirs, value)
            if constraint is None:
                self.register_parameter(theirs, self._parameter(value, factory))
            else:
                self._constraints[theirs] = constraint
                self.register_parameter(f"raw_{theirs}", self._parameter(constraint.raw(value), factory))

    def _start(self, given: dict[str, Any]) -> None:
        """Note the arguments, and what all layers have."""
        self._arguments = dict(given)
        self._constraints: dict[str, Constraint] = {}
        self.memory: Memory = given["memory"]
        if self.memory not in get_args(Memory):
            raise ValueError(f"{type(self).__name__}: memory must be 'exact' or 'low', got {self.memory!r}")

    def _parameter(self, value: float, factory: dict[str, Any]) -> nn.Parameter:
        shape = () if self.channels is None else (self.channels,)
        return nn.Parameter(torch.full(shape, float(value), **factory))

    def parameter_value(self, name: str) -> Any:
        """Return the value of a parameter: a number, or a tensor if it is learned."""
        constraint = self._constraints.get(name)
        if constraint is None:
            return getattr(self, name)
        if not torch.compiler.is_compiling():
            check_memory(getattr(self, f"raw_{name}"), type(self).__name__, name)
        other = None if constraint.other is None else self.parameter_value(self.parameter_names[constraint.other])
        return constraint.value(getattr(self, f"raw_{name}"), other, torch.sigmoid, F.softplus)

    def _operands(self, x: Tensor) -> list[Any]:
        operands = []
        for name in self.parameter_names.values():
            value = self.parameter_value(name)
            if isinstance(value, Tensor) and value.dim():
                value = self._aligned(name, value, x)
            operands.append(value)
        return operands

    def _aligned(self, name: str, value: Tensor, x: Tensor) -> Tensor:
        """Give a parameter with one value per channel the dimensions of x."""
        size = value.shape[0]
        axis = self.channel_axis
        if size == 1:
            return value.reshape([1] * x.dim())
        if not -x.dim() <= axis < x.dim() or x.shape[axis] != size:
            raise ValueError(
                f"{type(self).__name__}: {name} has {size} channels, but x of shape {tuple(x.shape)} "
                + (f"has {x.shape[axis]} along axis {axis}" if -x.dim() <= axis < x.dim() else f"has no axis {axis}")
            )
        shape = [1] * x.dim()
        shape[axis] = size
        return value.reshape(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation."""
        operands = (x, *self._operands(x)) if self.parameter_names else (x,)
        return elementwise.evaluate(self.entry, "x", 0, operands, self.memory)


class GatedLayer(ElementwiseLayer):
    """A gated pair of two tensors, or of the two halves of one."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        given = self._bound(arguments, keywords)
        dim, gate = given.pop("dim"), given.pop("gate")
        super().__init__(dim=dim, gate=gate, **given)
        self.dim: int = dim
        self.gate: Gate = gate

    def forward(self, x: Tensor, value: Tensor | None = None) -> Tensor:
        """Apply the pair to a gate and a value, or to one tensor that holds both."""
        if value is None:
            x, value = split(type(self).__name__, x, self.dim, self.gate)
        elif isinstance(value, Proxy) and (self.dim, self.gate) != (-1, self.entry.gate):
            raise TraceError(
                f"{type(self).__name__}: torch.fx cannot tell whether value will be given, and the layer splits along dim "
                f"{self.dim} with gate {self.gate!r}: trace it with concrete_args={{'value': None}}"
            )
        return evaluate(self.entry, "x", 0, (x, value, *self._operands(x)), {})


# --- making classes -------------------------------------------------------------------------------------------------------


def _signature(entry: Elementwise, names: dict[str, str]) -> inspect.Signature:
    arguments = []
    if isinstance(entry, Gated):
        arguments += [
            inspect.Parameter("dim", _POSITIONAL, default=-1, annotation=int),
            inspect.Parameter("gate", _POSITIONAL, default=entry.gate, annotation=Gate),
        ]
    for ours, theirs in names.items():
        default: Any = entry.parameters[ours].default
        default = inspect.Parameter.empty if default is None else default
        arguments.append(inspect.Parameter(theirs, _POSITIONAL, default=default, annotation=float))
    if names:
        learnable = None if any(p.learnable for p in entry.parameters.values()) else False
        arguments += [
            inspect.Parameter("learnable", _KEYWORD, default=learnable, annotation="bool | str | Sequence[str] | None"),
            inspect.Parameter("channels", _KEYWORD, default=None, annotation="int | None"),
            inspect.Parameter("channel_axis", _KEYWORD, default=1, annotation=int),
        ]
    arguments.append(inspect.Parameter("memory", _KEYWORD, default="exact", annotation="Literal['exact', 'low']"))
    if names:
        arguments += [
            inspect.Parameter("device", _KEYWORD, default=None, annotation="torch.device | str | None"),
            inspect.Parameter("dtype", _KEYWORD, default=None, annotation="torch.dtype | None"),
        ]
    return inspect.Signature(arguments)


def _documentation(entry: Elementwise, names: dict[str, str]) -> str:
    lines = [entry.summary, "", f"    {entry.name} = {entry.formula}", "", "Parameters", "----------"]
    if isinstance(entry, Gated):
        lines += ["dim : int", "    Along which axis one tensor is split.", 'gate : {"first", "second", "even"}']
        lines += ["    Which of its parts goes through the gate."]
    for ours, theirs in names.items():
        parameter = entry.parameters[ours]
        default = "" if parameter.default is None else f", default {parameter.default}"
        lines.append(f"{theirs} : float{default}{', ' + parameter.describe() if parameter.bounds else ''}")
        if theirs != ours:
            lines.append(f"    What formula and paper call {ours}.")
    if names:
        lines += ["learnable : bool, str or sequence of str", "    Which parameters are learned; None is what is usual."]
        lines += ["channels : int, optional", "    Learn one value for each of so many channels, not one for all."]
        lines += ["channel_axis : int", "    The axis of the channels: 1 as in images, -1 for channels last."]
    lines += ['memory : {"exact", "low"}', "    What is kept for backward: see :mod:`nonlin.torch.memory`."]
    if names:
        lines += ["device, dtype", "    Of the learned parameters."]
    return "\n".join([*lines, "", "References", "----------", entry.source] if entry.source else lines)


def make_layer(entry: Elementwise) -> type[ElementwiseLayer]:
    """Make the class of an activation's layers."""
    call = _torch_call(entry.name)
    spelled = {} if call is None else call.parameters
    names = {name: spelled.get(name, name) for name in entry.parameters}
    base = GatedLayer if isinstance(entry, Gated) else ElementwiseLayer
    signature = _signature(entry, names)
    return type(
        class_name(entry.name),
        (base,),
        {
            "entry": entry,
            "parameter_names": names,
            "__signature__": signature,
            "__doc__": _documentation(entry, names),
            "__module__": "nonlin.torch",
        },
    )
