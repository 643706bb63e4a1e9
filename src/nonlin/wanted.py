"""What a user calls an activation in a text: a name, a name with parameters, a function in a file, a whole family."""

from __future__ import annotations

import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nonlin.definition import Elementwise, activations, get
from nonlin.dialects import find

_CALL = re.compile(r"\s*([^()]+?)\s*(?:\((.*)\))?\s*", re.DOTALL)


class WantedError(ValueError):
    """Nothing goes by that name; the message is one sentence."""


def look_up(text: str) -> tuple[str, Any]:
    """Return the activation that a text names, and the label that says which it is.

    Parameters
    ----------
    text : str
        A name, an alias, a framework's name, ``FILE.py:NAME``; behind each ``(parameter=value, ...)``.

    Raises
    ------
    WantedError
        If there is none.

    Examples
    --------
    >>> look_up("LeakyReLU(negative_slope=0.2)")[0]
    'leaky_relu(negative_slope=0.2)'
    """
    match = _CALL.fullmatch(text)
    if match is None:
        raise WantedError(f"{text!r} is no activation: write a name, or name(parameter=value)")
    entry = _named(match[1])
    settings = [setting for setting in (match[2] or "").split(",") if setting.strip()]
    values: dict[str, float] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (equals and name):
            raise WantedError(f"{text!r}: parameters are written as {entry.name}(parameter=value)")
        values[name] = number(entry.name, name, value)
    if not values:
        return entry.name, entry
    return f"{entry.name}({', '.join(f'{name}={value:g}' for name, value in values.items())})", with_values(entry, values)


def number(activation: str, parameter: str, text: str) -> float:
    """Read a parameter's value: a whole number where it is written as one."""
    try:
        value = int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise WantedError(f"{activation}: {parameter} must be a finite number, got {text!r}")
    return value


def with_values(entry: Any, values: dict[str, float]) -> Any:
    """Return an activation whose parameters have other defaults."""
    if not values:
        return entry
    if not isinstance(entry, Elementwise):
        raise WantedError(f"{entry.name} takes its parameters when it is called; there is nothing to set here")
    try:
        return entry.with_(**values)
    except (TypeError, ValueError) as error:
        raise WantedError(str(error)) from None


def _named(name: str) -> Any:
    if is_in_file(name):
        found = from_file(name)
        if not isinstance(found, Elementwise):
            file, _, inside = name.rpartition(":")
            raise WantedError(f"{file} has no activation {inside!r}: write @nonlin.activation above it")
        return found
    if members(name) is not None:
        raise WantedError(f"{name} is a family: nonlin list --family {name} has its members")
    try:
        return find(name) or get(name)
    except KeyError as error:
        raise WantedError(str(error)) from None


def is_in_file(text: str) -> bool:
    """Whether a text has the form FILE.py:NAME."""
    file, colon, name = text.rpartition(":")
    return bool(colon and name) and file.endswith(".py")


def from_file(text: str) -> Any:
    """Return what a name of a Python file stands for, None if it has none; the file is run."""
    file, _, name = text.rpartition(":")
    if not Path(file).is_file():
        raise WantedError(f"there is no file {file}")
    try:
        return runpy.run_path(file).get(name)
    except Exception as error:  # noqa: BLE001 - it is the user's program, which may raise anything
        raise WantedError(f"{file} cannot be run: {type(error).__name__}: {error}") from None


def model(text: str) -> Callable[[Any], Any]:
    """Return the function of a Python file that makes a model: FILE.py:FUNCTION."""
    found = from_file(text)
    file, _, name = text.rpartition(":")
    if not callable(found):
        raise WantedError(f"{file} has no function {name!r}" if found is None else f"{name!r} of {file} is no function")
    return found  # type: ignore[no-any-return]


def families() -> list[str]:
    """Return the families, in the order of the catalogue: what most networks use comes first."""
    order = ("rectifiers", "smooth", "self_gated", "bounded", "shrinkage", "periodic", "learnable", "pairs", "along_axis")
    there = dict.fromkeys(entry.family for entry in activations.values())
    return [family for family in order if family in there] + [family for family in there if family not in order]


def members(text: str) -> list[str] | None:
    """Return the activations of a family that a hidden layer can have as they are, or None if there is no such family.

    Examples
    --------
    >>> members("Periodic")
    ['sin', 'snake', 'snake_beta', 'gcu']
    """
    if text in activations or key(text) not in map(key, families()):
        return None
    return [
        entry.name
        for entry in activations.values()
        if key(entry.family) == key(text)
        and isinstance(entry, Elementwise)
        and entry.operands == ("x",)
        and all(parameter.default is not None for parameter in entry.parameters.values())
    ]


def key(name: str) -> str:
    """Return a name without what people write differently.

    Examples
    --------
    >>> key("Self-gated")
    'selfgated'
    """
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
