"""The class of an activation's layers: one for each, made once."""

from __future__ import annotations

from typing import Any

from nonlin.definition import Activation, get
from nonlin.keras.layers import Layer, make_layer
from nonlin.keras.special import BASES


def layer(activation: str | Activation) -> type[Layer]:
    """Return the class of an activation's layers.

    Parameters
    ----------
    activation : activation or str
        Of the registry, of a dialect, or your own. Its defaults are those of the layer.

    Examples
    --------
    >>> import nonlin as nl, nonlin.keras
    >>> nonlin.keras.layer("leaky_relu") is nonlin.keras.LeakyReLU
    True
    >>> nonlin.keras.layer(nl.dialect("keras.layers").leaky_relu)().negative_slope
    0.3
    """
    entry = get(activation)
    kept: dict[str, Any] = entry.rooms.setdefault("keras", {})  # not in a table here, which would hold the entry for ever
    if "layer" not in kept:
        kept["layer"] = make_layer(entry, BASES.get(entry.root))
    made: type[Layer] = kept["layer"]
    return made
