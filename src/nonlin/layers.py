"""What the layers of all frameworks share: their names, and which parameters they learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nonlin.definition import Elementwise

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


def learned(
    layer: str, entry: Elementwise, names: Mapping[str, str], learnable: bool | str | Iterable[str] | None
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


def check_values(layer: str, entry: Elementwise, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Raise a TypeError or ValueError that names the layer if a parameter is no number or out of bounds."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{layer}: {names[name]} must be a number, got {value!r}")
    try:
        entry.check(**values)
    except ValueError as error:
        raise ValueError(f"{layer}: {str(error).removeprefix(f'{entry.name}: ')}") from None
