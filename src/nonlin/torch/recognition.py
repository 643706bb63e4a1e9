"""Which activation a layer, a function or a call is: torch's own, those of transformers, and ours."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.definition import Activation, AxisFunction, activations, get
from nonlin.dialects import Call, dialect
from nonlin.torch.layers import ElementwiseLayer, Layer

Found = tuple[Activation, dict[str, Any]]
"""An activation, and the values of its parameters as far as they are given."""


def _plain(name: str) -> str:
    return name.removeprefix("special_").replace("_", "")


#: What torch's functions and layers are, by their names without a place: our name and the spelling.
_CALLS: dict[bool, dict[str, list[tuple[str, Call]]]] = {False: {}, True: {}}
for _ours, _calls in dialect("torch").calls.items():
    for _call in _calls:
        _place, _, _name = _call.name.rpartition(".")
        _CALLS[_place == "nn"].setdefault(_name if _place == "nn" else _plain(_name), []).append((_ours, _call))
for _spellings in (spelled for table in _CALLS.values() for spelled in table.values()):
    _spellings.sort(key=lambda spelled: -len(spelled[1].fixed))  # what needs an argument is looked at first


def known(name: str) -> Activation:
    """Return an activation by a name that we or configurations of transformers use."""
    if name in (theirs := dialect("transformers")):
        return theirs[name]  # type: ignore[no-any-return]
    return get(name)  # type: ignore[no-any-return]


def names_of(cls: type[nn.Module]) -> set[str]:
    """Return our names for what the layers of a class apply: torch's GELU is gelu or gelu_tanh."""
    if (entry := getattr(cls, "entry", None)) is not None:
        return {entry.name}
    if cls is getattr(nn, cls.__name__, None):
        return {ours for ours, _ in _CALLS[True].get(cls.__name__, ())}
    return {found for found in (_of_transformers().get(cls),) if found is not None}


def _of_transformers() -> dict[type, str]:
    """Return the classes behind the names in configurations, with our names, as far as transformers has been imported."""
    module = sys.modules.get("transformers.activations")
    theirs = dialect("transformers")
    found: dict[type, str] = {}
    for name, held in getattr(module, "ACT2CLS", {}).items():
        if name in theirs:
            found.setdefault(held[0] if isinstance(held, tuple) else held, theirs[name].name)
    return found


def activation_of(module: nn.Module) -> Found | None:
    """Return the activation that a layer applies, and the values of its parameters, or None."""
    if isinstance(module, ElementwiseLayer):
        entry = get("gelu_tanh") if getattr(module, "approximate", None) == "tanh" else module.entry
        return entry, {ours: module.parameter_value(theirs) for ours, theirs in module.parameter_names.items()}
    if isinstance(module, Layer):
        along: AxisFunction = type(module).entry  # type: ignore[attr-defined]
        return along, {name: getattr(module, name) for name in along.parameters}
    cls = type(module)
    if cls is not getattr(nn, cls.__name__, None):
        name = _of_transformers().get(cls)
        if name is None:
            return None
        return activations[name], _xielu_values(module) if name == "xielu" else {}
    for name, call in _CALLS[True].get(cls.__name__, ()):
        if all(getattr(module, argument) == value for argument, value in call.fixed.items()):
            stored = {ours: "weight" if theirs == "init" else theirs for ours, theirs in call.parameters.items()}
            taken = activations[name].parameters
            return activations[name], {o: getattr(module, t) for o, t in stored.items() if o in taken and hasattr(module, t)}
    return None


def _xielu_values(module: Any) -> dict[str, Any]:
    """Return the parameters of transformers' layer, which learns them through softplus."""
    grows = {"alpha_p": F.softplus(module.alpha_p), "alpha_n": module.beta + F.softplus(module.alpha_n)}
    return {**grows, "beta": float(module.beta), "eps": float(module.eps)}


def activation_of_function(
    function: Any, arguments: tuple[Any, ...] = (), keywords: Mapping[str, Any] | None = None
) -> Found | None:
    """Return the activation that a call of a function is, or would be with more arguments; None if it is no activation.

    Parameters
    ----------
    function : object
        A function or tensor method of torch, one of our activations, or a ``functools.partial`` of such.
    arguments : tuple
        Positional ones, after the tensor.
    keywords : Mapping, optional
    """
    given = dict(keywords or {})
    if isinstance(function, functools.partial):
        return activation_of_function(function.func, (*function.args[1:], *arguments), {**function.keywords, **given})
    if isinstance(function, Activation):
        names = [n for n in function.parameters if n not in given]
        values = dict(zip(names, arguments, strict=False)) | given
        return function, {n: v for n, v in values.items() if n in function.parameters}
    if isinstance(function, type) or not _is_torchs(function):
        return None
    for ours, call in _CALLS[False].get(_plain(function.__name__), ()):
        if all(given.get(argument) == value for argument, value in call.fixed.items()):
            values = {**dict(zip(call.parameters.values(), arguments, strict=False)), **given}
            taken = activations[ours].parameters
            return activations[ours], {o: values[t] for o, t in call.parameters.items() if o in taken and t in values}
    return None


def _is_torchs(function: Any) -> bool:
    if not isinstance(getattr(function, "__name__", None), str):
        return False
    place = getattr(function, "__module__", None) or getattr(getattr(function, "__objclass__", None), "__module__", "")
    return str(place).partition(".")[0] == "torch"


def methods_of(name: str) -> set[str]:
    """Return the names that an activation has as a method of tensors: ``x.relu()``, ``x.relu_()``."""
    spellings = {call.name.rpartition(".")[2] for call in dialect("torch").calls.get(name, ()) if not call.fixed}
    return {method for spelled in spellings for method in (spelled, f"{spelled}_") if hasattr(torch.Tensor, method)}
