"""The class of an activation's layers: one for each, made once."""

from __future__ import annotations

from typing import Any

from torch import nn

from nonlin.definition import Activation, AxisFunction, get
from nonlin.torch.layers import class_name, make_layer
from nonlin.torch.special import SPECIAL, make_axis_layer


def layer(activation: str | Activation) -> type[nn.Module]:
    """Return the class of an activation's layers.

    Parameters
    ----------
    activation : activation or str
        Of the registry, or your own.

    Examples
    --------
    >>> import nonlin as nl, nonlin.torch
    >>> nonlin.torch.layer("leaky_relu") is nonlin.torch.LeakyReLU
    True
    >>> nonlin.torch.layer(nl.leaky_relu)(0.2)
    LeakyReLU(negative_slope=0.2)
    """
    entry = get(activation)
    rooms: dict[Any, Any] = vars(entry).setdefault("rooms", {})  # not in a table here, which would hold the entry for ever
    if "layer" not in rooms:
        name = class_name(entry.name)
        if name in SPECIAL and SPECIAL[name].entry is entry:  # type: ignore[attr-defined]
            made = SPECIAL[name]
        else:
            made = make_axis_layer(entry) if isinstance(entry, AxisFunction) else make_layer(entry)
        made.__module__ = "nonlin.torch"
        rooms["layer"] = made
    return rooms["layer"]  # type: ignore[no-any-return]
