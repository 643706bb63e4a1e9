"""What the layers of all frameworks share: their names, and which parameters they learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nonlin.definition import Activation, Parameter
from nonlin.formula.expression import symbols

_WORDS = {
    "relu": "ReLU", "relu2": "ReLU2", "elu": "ELU", "gelu": "GELU", "glu": "GLU", "dyt": "DyT", "telu": "TeLU", "golu": "GoLU",
    "elish": "ELiSH", "lisht": "LiSHT", "xielu": "XIELU", "gcu": "GCU", "smelu": "SmeLU", "isrlu": "ISRLU", "reglu": "ReGLU",
    "geglu": "GEGLU", "swiglu": "SwiGLU", "crelu": "CReLU", "silu": "SiLU", "celu": "CELU", "selu": "SELU", "relu6": "ReLU6",
    "prelu": "PReLU", "rrelu": "RReLU",
    "bilinear": "BilinearGLU",  # a Bilinear layer is another thing
}  # fmt: skip


def layer_name(name: str, theirs: str | None = None) -> str:
    """Return what the layer of an activation is called: a framework's own name where it has one.

    Parameters
    ----------
    name : str
        The activation's.
    theirs : str, optional
        The framework's name.

    Examples
    --------
    >>> from nonlin.layers import layer_name
    >>> layer_name("snake_beta"), layer_name("hard_swish", "Hardswish")
    ('SnakeBeta', 'Hardswish')
    """
    return theirs or "".join(_WORDS.get(word, word.capitalize()) for word in name.split("_"))


def learnable_names(entry: Activation) -> tuple[str, ...]:
    """Return the parameters that can be learned: those in the formula, which a number of groups is not.

    Examples
    --------
    >>> import nonlin as nl
    >>> from nonlin.layers import learnable_names
    >>> learnable_names(nl.softmax), learnable_names(nl.maxout)
    (('temperature',), ())
    """
    return tuple(name for name in entry.parameters if name in symbols(entry.formula))


def learned(
    layer: str, entry: Activation, names: Mapping[str, str], learnable: bool | str | Iterable[str] | None
) -> tuple[str, ...]:
    """Return which parameters a layer learns, by our names.

    Parameters
    ----------
    layer : str
        Its name, for messages.
    entry : Activation
    names : Mapping
        What the layer calls each parameter.
    learnable : bool, str, iterable of str, or None
        All or none, some by the layer's names, or None for those that are learned unless told otherwise.

    Raises
    ------
    ValueError
        If it has no such parameter.
    """
    if learnable is None:
        return tuple(name for name, parameter in entry.parameters.items() if parameter.learnable)
    if isinstance(learnable, bool):
        return tuple(names) if learnable else ()
    ours = {theirs: name for name, theirs in names.items()}
    chosen = (learnable,) if isinstance(learnable, str) else tuple(learnable)
    for name in chosen:
        if name not in ours:
            raise ValueError(f"{layer} has no parameter {name!r} to learn (it has: {', '.join(ours)})")
    return tuple(ours[name] for name in chosen)


def check_values(layer: str, entry: Activation, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Raise a TypeError or ValueError that names the layer if a parameter is no number or out of bounds."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{layer}: {names[name]} must be a number, got {value!r}")
    try:
        entry.check(**values)
    except ValueError as error:
        raise ValueError(f"{layer}: {str(error).removeprefix(f'{entry.name}: ')}") from None


@dataclass(frozen=True)
class Constraint:
    """Writes a parameter that has bounds as a function of a raw one that has none.

    Parameters
    ----------
    low, high : float, optional
        The ends; with both it is a sigmoid between them, with one a softplus away from it.
    sign : int
        In which direction it goes, from the one end.
    other : str, optional
        The parameter that is the end, where there is one end.
    """

    low: float | None
    high: float | None
    sign: int = 1
    other: str | None = None

    def value(self, raw: Any, other: Any, sigmoid: Callable[[Any], Any], softplus: Callable[[Any], Any]) -> Any:
        """Return the parameter's value, by a framework's functions."""
        if self.low is not None and self.high is not None:
            return self.low + (self.high - self.low) * sigmoid(raw)
        return ((self.low or 0.0) if other is None else other) + self.sign * softplus(raw)

    def raw(self, value: float) -> float:
        """Return what the raw parameter is for a value."""
        if self.low is not None and self.high is not None:
            share = (value - self.low) / (self.high - self.low)
            return math.log(share / (1 - share))
        distance = self.sign * (value - (self.low or 0.0))
        return distance + math.log(-math.expm1(-distance))


def constraint_of(layer: str, parameter: Parameter, values: Mapping[str, Any], name: str, value: float) -> Constraint | None:
    """Return what keeps a learned parameter within its bounds, or None if it has none.

    Parameters
    ----------
    layer : str
        Its name, for messages.
    parameter : Parameter
    values : Mapping
        Those that all parameters start with, by our names.
    name : str
        What the layer calls the parameter.
    value : float
        What it starts with.

    Raises
    ------
    ValueError
        If it starts at an end of what is allowed, which no raw parameter reaches.
    """
    bounds = parameter.bounds
    numbers = {kind: values[bound] if isinstance(bound, str) else bound for kind, bound in bounds.items()}
    numbers = {kind: float(number) for kind, number in numbers.items() if math.isfinite(number)}
    if not numbers:
        return None
    other = next((bound for bound in bounds.values() if isinstance(bound, str)), None)
    low, high = numbers.get("gt", numbers.get("ge")), numbers.get("lt", numbers.get("le"))
    if "ne" in numbers:
        return Constraint(numbers["ne"], None, 1 if value > numbers["ne"] else -1)
    if value in (low, high):
        raise ValueError(f"{layer}: {name} cannot be learned from {value}, the end of what is allowed: {parameter.describe()}")
    if low is None:
        return Constraint(high, None, -1, other)
    return Constraint(low, high, 1, other)
