"""Replacing activations throughout a model."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.definition import Activation, AxisFunction, activations, get
from nonlin.dialects import dialect
from nonlin.torch.layers import ElementwiseLayer, Layer
from nonlin.torch.making import layer


@dataclass(frozen=True)
class Change:
    """An activation that was replaced, or that could not be: where it is, what it was, and what it is or why it is not."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} -> {self.after}"


@dataclass
class Replacement:
    """What :func:`replace` did, or would do.

    Attributes
    ----------
    replaced : list of Change
    left : list of Change
        Calls in the code of ``forward``, which no change of modules reaches: ``after`` says where they are.
    """

    replaced: list[Change] = field(default_factory=list)
    left: list[Change] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.replaced)} replaced", *(f"  {change}" for change in self.replaced)]
        if self.left:
            lines += [f"{len(self.left)} left: they are called in forward"]
            lines += [f"  {c.path}: {c.before}, {c.after}" for c in self.left]
        return "\n".join(lines)


def _torch_layers() -> dict[type[nn.Module], list[tuple[str, Mapping[str, str], Mapping[str, Any]]]]:
    """Return torch's classes with our names for them, what they call parameters, and the arguments that tell them apart."""
    found: dict[type[nn.Module], list[tuple[str, Mapping[str, str], Mapping[str, Any]]]] = {}
    for name, calls in dialect("torch").calls.items():
        for call in calls:
            if call.name.startswith("nn."):
                found.setdefault(getattr(nn, call.name[3:]), []).append((name, call.parameters, call.fixed))
    return found


_TORCH_LAYERS = _torch_layers()


def activation_of(module: nn.Module) -> tuple[Activation, dict[str, Any]] | None:
    """Return the activation that a layer of torch's or ours applies, and the values of its parameters, or None."""
    if isinstance(module, ElementwiseLayer):
        entry = get("gelu_tanh") if getattr(module, "approximate", None) == "tanh" else module.entry
        return entry, {ours: module.parameter_value(theirs) for ours, theirs in module.parameter_names.items()}
    if isinstance(module, Layer):
        along: AxisFunction = type(module).entry  # type: ignore[attr-defined]
        return along, {name: getattr(module, name) for name in along.parameters}
    candidates = _TORCH_LAYERS.get(type(module), [])
    for name, parameters, fixed in sorted(candidates, key=lambda c: -len(c[2])):
        if all(getattr(module, argument) == value for argument, value in fixed.items()):
            values = {}
            for ours, theirs in parameters.items():
                stored = "weight" if theirs == "init" else theirs
                if hasattr(module, stored):
                    values[ours] = getattr(module, stored)
            return activations[name], {k: v for k, v in values.items() if k in activations[name].parameters}
    return None


def _functions(name: str) -> list[Callable[..., Any]]:
    """Return torch's functions that are an activation."""
    found = []
    for call in dialect("torch").calls.get(name, ()):
        if not call.fixed and not call.name.startswith("nn."):
            place, _, attribute = call.name.rpartition(".")
            found += [getattr(m, attribute) for m in (F, torch) if hasattr(m, attribute) and (place != "torch" or m is torch)]
    return found


def replace(model: nn.Module, mapping: Mapping[Any, Any], *, dry_run: bool = False) -> Replacement:
    """Replace activations throughout a model, in place.

    Layers are replaced, and functions that modules hold as attributes (``nn.TransformerEncoderLayer``); parameters that both
    have are carried over; a layer that is used in several places stays one. ``inplace=True`` has no counterpart and needs
    none. Calls in the code of ``forward`` are reported, with file and line.

    Parameters
    ----------
    model : Module
        If it is an activation itself it cannot be replaced within itself: give what holds it.
    mapping : Mapping
        From a class of layers (``nn.ReLU``) or the name of an activation (``"relu"``: every layer and function that is one)
        to an activation, its name, a class of layers, one layer for all, or a function that makes the new layer of the old one.
    dry_run : bool
        Only report.

    Returns
    -------
    Replacement

    Examples
    --------
    >>> import torch, nonlin.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(inplace=True))
    >>> print(nonlin.torch.replace(model, {torch.nn.ReLU: "gelu"}))
    1 replaced
      1: ReLU(inplace=True) -> GELU()
    """
    wanted = [_Wanted(key, target) for key, target in mapping.items()]
    result = Replacement()
    made: dict[int, nn.Module] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        inside = _Inside(path, module, result, dry_run)
        for name, child in list(module._modules.items()):
            if child is None:
                continue
            match = next((w for w in wanted if w.is_layer(child)), None)
            if match is not None:
                if id(child) not in made:
                    made[id(child)] = match.replacement(child)
                inside.replace(name, child, made[id(child)])
        for name, value in list(vars(module).items()):
            match = next((w for w in wanted if w.is_function(value)), None)
            if match is not None:
                inside.replace(name, value, match.replacement(None))
        for what, where in _calls(type(module), wanted):
            result.left.append(Change(path or type(module).__name__, what, where))
    return result


class _Wanted:
    """One entry of the mapping."""

    def __init__(self, key: Any, target: Any) -> None:
        self.target = target
        self.key = key
        self.entry = None
        if isinstance(key, type) and issubclass(key, nn.Module):
            known = _TORCH_LAYERS.get(key)
            self.entry = known[0][0] if known else getattr(getattr(key, "entry", None), "name", None)
        elif callable(key) and not isinstance(key, Activation):
            raise TypeError(f"replace: a key must be a class of layers or an activation, got {key!r}")
        else:
            self.entry = get(key).name
        self.functions = [] if self.entry is None else _functions(self.entry)
        self.names = {f.__name__ for f in self.functions} | {f"{f.__name__}_" for f in self.functions}

    def is_layer(self, module: nn.Module) -> bool:
        if isinstance(self.key, type):
            return type(module) is self.key
        found = activation_of(module)
        return found is not None and found[0].name == self.entry

    def is_function(self, value: Any) -> bool:
        return any(value is function for function in self.functions)

    def replacement(self, before: nn.Module | None) -> nn.Module:
        target = self.target
        if isinstance(target, nn.Module):
            return target
        if isinstance(target, type) and issubclass(target, nn.Module):
            cls: Any = target
        elif callable(target) and not isinstance(target, Activation):
            made: nn.Module = target(before)
            return made
        else:
            cls = layer(target)
        return _carried_over(cls, before)


def _carried_over(cls: Any, before: nn.Module | None) -> nn.Module:
    """Make a layer with the parameters that it shares with the one before."""
    found = None if before is None else activation_of(before)
    names = getattr(cls, "parameter_names", None)
    if found is None or names is None:
        return cls()  # type: ignore[no-any-return]
    values = {names[n]: v for n, v in found[1].items() if n in names}
    learned = {n: v for n, v in values.items() if isinstance(v, Tensor)}
    numbers = {n: v for n, v in values.items() if n not in learned}
    if cls.__name__ == "PReLU":
        weight = next(iter(learned.values()), None)
        made = cls() if weight is None else cls(weight.numel(), dtype=weight.dtype, device=weight.device)
        if weight is not None:
            made.load_state_dict({"weight": weight.detach().reshape(made.weight.shape)})
        return made.train(before.training)  # type: ignore[no-any-return, union-attr]
    return cls(**numbers).train(before.training)  # type: ignore[no-any-return, union-attr]


class _Inside:
    """A module whose children and functions are replaced."""

    def __init__(self, path: str, module: nn.Module, result: Replacement, dry_run: bool) -> None:
        self.path, self.module, self.result, self.dry_run = path, module, result, dry_run

    def replace(self, name: str, before: Any, after: nn.Module) -> None:
        described = before if isinstance(before, nn.Module) else f"function {before.__name__}"
        self.result.replaced.append(Change(f"{self.path}.{name}" if self.path else name, str(described), str(after)))
        if self.dry_run:
            return
        if not isinstance(before, nn.Module):
            vars(self.module).pop(name)  # or the function would hide the module
        setattr(self.module, name, after)
        if hasattr(self.module, "activation_relu_or_gelu"):
            # nn.TransformerEncoderLayer in evaluation goes by this number, past its activation.
            setattr(self.module, "activation_relu_or_gelu", 0)  # noqa: B010 - to mypy attributes of modules are tensors


# --- calls in forward -----------------------------------------------------------------------------------------------------


def _calls(cls: type, wanted: list[_Wanted]) -> Iterator[tuple[str, str]]:
    """Yield calls of the functions in the code of a class, and where they are."""
    if cls.__module__.partition(".")[0] in ("torch", "nonlin"):
        return  # torch's own modules call what they hold, which is seen without reading their code
    for method in vars(cls).values():
        if not inspect.isfunction(method):
            continue
        try:
            lines, first = inspect.getsourcelines(method)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                short = called.rpartition(".")[2]
                if any(short in w.names for w in wanted) and not called.startswith("self."):
                    yield f"{called}(...)", f"{inspect.getsourcefile(method)}:{first + node.lineno - 1}"
