"""Replacing activations throughout a model."""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.definition import Activation, get
from nonlin.torch.making import layer
from nonlin.torch.recognition import activation_of, activation_of_function, known, names_of


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


def replace(model: nn.Module, mapping: Any, target: Any = None, *, dry_run: bool = False) -> Replacement:
    """Replace activations throughout a model, in place.

    Layers are replaced, torch's, ours and those of transformers, and functions that modules hold as attributes
    (``nn.TransformerEncoderLayer``); parameters that both have are carried over; a layer that is used in several places stays
    one. ``inplace=True`` has no counterpart and needs none. Calls in the code of ``forward``, and in functions that it calls,
    are reported with file and line.

    Parameters
    ----------
    model : Module
        If it is an activation itself it cannot be replaced within itself: give what holds it.
    mapping : Mapping
        From a class of layers (``nn.ReLU``) or the name of an activation (``"relu"``: every layer and function that is one;
        the names of transformers' configurations are known, such as ``"gelu_new"``) to an activation, its name, a class of
        layers, one layer for all, or a function that makes the new layer of the old one.
    target : optional
        With a class or a name for ``mapping``: what to replace it by.
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
    if not isinstance(mapping, Mapping):
        if target is None:
            raise TypeError(
                f"replace: say by what: replace(model, {{{mapping!r}: 'gelu'}}) or replace(model, {mapping!r}, 'gelu')"
            )
        mapping = {mapping: target}
    elif target is not None:
        raise TypeError(f"replace: a mapping says by what already, got {target!r} beside it")
    wanted = [_Wanted(key, by) for key, by in mapping.items()]
    result = Replacement()
    made: dict[int, nn.Module] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if activation_of(module) is not None:
            continue  # what an activation is made of stays
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
        for what, where in calls_of(type(module), lambda found: any(found.name in w.names for w in wanted)):
            result.left.append(Change(path or type(module).__name__, what, where))
    return result


class _Wanted:
    """One entry of the mapping."""

    def __init__(self, key: Any, target: Any) -> None:
        self.key = key
        self.target: Any = known(target) if isinstance(target, str) else target
        if isinstance(key, type) and issubclass(key, nn.Module):
            self.names = names_of(key)
        elif callable(key) and not isinstance(key, Activation):
            raise TypeError(f"replace: a key must be a class of layers or an activation, got {key!r}")
        else:
            self.names = {(known(key) if isinstance(key, str) else get(key)).name}

    def is_layer(self, module: nn.Module) -> bool:
        if isinstance(self.key, type):
            return type(module) is self.key
        found = activation_of(module)
        return found is not None and found[0].name in self.names

    def is_function(self, value: Any) -> bool:
        found = activation_of_function(value)
        return found is not None and found[0].name in self.names

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
        described = before if isinstance(before, nn.Module) else f"function {getattr(before, '__name__', before)}"
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


def calls_of(cls: type, is_wanted: Callable[[Activation], bool]) -> Iterator[tuple[str, str]]:
    """Yield calls of activations in the code of a class, its bases and the functions that it calls, and where they are."""
    seen: set[Any] = set()
    for base in cls.__mro__:
        # torch's own modules call what they hold, which is seen without reading their code.
        if base.__module__.partition(".")[0] not in ("torch", "nonlin", "builtins"):
            for name, method in vars(base).items():
                if inspect.isfunction(method) and getattr(cls, name) is method:
                    yield from _calls_in(method, is_wanted, seen)


def _calls_in(function: Any, is_wanted: Callable[[Activation], bool], seen: set[Any]) -> Iterator[tuple[str, str]]:
    function = inspect.unwrap(function)
    if function in seen or function.__module__.partition(".")[0] in ("torch", "nonlin"):
        return
    seen.add(function)
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, text = _value_of(node.func, function), ast.unparse(node.func)
        found = activation_of_function(called, (), _constants(node))
        if found is None and called is _UNKNOWN and isinstance(node.func, ast.Attribute) and not text.startswith("self."):
            found = activation_of_function(getattr(torch.Tensor, node.func.attr, None))  # a method of what may be a tensor
        if found is not None and is_wanted(found[0]):
            yield f"{text}(...)", f"{inspect.getsourcefile(function)}:{first + node.lineno - 1}"
        elif inspect.isfunction(called):
            yield from _calls_in(called, is_wanted, seen)


_UNKNOWN = object()


def _value_of(node: ast.expr, function: Any) -> Any:
    """Return what a name, dotted perhaps, means in a function, or _UNKNOWN: a local variable."""
    if isinstance(node, ast.Attribute):
        holder = _value_of(node.value, function)
        return _UNKNOWN if holder is _UNKNOWN else getattr(holder, node.attr, None)
    if not isinstance(node, ast.Name) or node.id in function.__code__.co_varnames:
        return _UNKNOWN
    closed = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    if node.id in closed:
        with contextlib.suppress(ValueError):  # empty as yet
            return closed[node.id].cell_contents
    return function.__globals__.get(node.id, _UNKNOWN)


def _constants(call: ast.Call) -> dict[str, Any]:
    return {k.arg: k.value.value for k in call.keywords if k.arg is not None and isinstance(k.value, ast.Constant)}
