"""Initial weights that keep the scale of activations through a network, by the exact gain of what follows each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from nonlin import scaling
from nonlin.definition import get
from nonlin.torch.layers import ElementwiseLayer
from nonlin.torch.recognition import activation_of

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PASSED_OVER = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Flatten, nn.Unflatten,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm1d,
    nn.InstanceNorm2d, nn.InstanceNorm3d, nn.SyncBatchNorm,
)  # fmt: skip


def gain(activation: Any, **parameters: float) -> float:
    """Return 1/sqrt(E f(z)^2), z standard normal: weights of variance gain^2/fan_in then keep the scale of activations.

    Exact for every activation; ``torch.nn.init.calculate_gain`` has folklore for tanh (5/3), selu (3/4) and sigmoid (1), and
    nothing for gelu, silu, elu, mish and softplus.

    Parameters
    ----------
    activation : activation, layer or str
        Any name that :func:`nonlin.get` knows, or a layer of torch's or ours, whose parameters are taken.
    **parameters : float
        Where they are not the defaults.

    Raises
    ------
    ValueError
        If there is no gain: the activation is 0, or a parameter has no default.

    Examples
    --------
    >>> import nonlin.torch
    >>> print(round(nonlin.torch.gain("relu"), 6), round(nonlin.torch.gain("tanh"), 6))
    1.414214 1.592537
    """
    if isinstance(activation, nn.Module):
        found = activation_of(activation)
        if found is None:
            raise ValueError(f"gain: {type(activation).__name__} is no activation that nonlin knows")
        entry, own = found
        means = {name: float(torch.as_tensor(value, device="cpu").double().mean()) for name, value in own.items()}
        parameters = means | parameters
        activation = entry
    return scaling.gain(activation, **parameters)


@dataclass(frozen=True)
class Initialized:
    """What was done to one layer."""

    path: str
    activation: str | None
    gain: float

    def __str__(self) -> str:
        return f"{self.path}: gain {self.gain:.4f} for {self.activation or 'no activation'}"


def init_(
    model: nn.Module,
    *,
    otherwise: Any = None,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    distribution: Literal["normal", "uniform"] = "normal",
) -> list[Initialized]:
    """Initialize every Linear and Conv layer with the exact gain of the activation that follows it; biases become 0.

    What follows is read from the order in which the model's layers stand, normalization and dropout apart. A layer that
    another one follows gets gain 1. Activations that are only called in ``forward`` cannot be seen: name them.

    Parameters
    ----------
    model : Module
    otherwise : activation, layer or str, optional
        What to assume after layers that no activation follows, except for the last one.
    mode : {"fan_in", "fan_out"}
        Whether the scale is kept forward or backward.
    distribution : {"normal", "uniform"}

    Returns
    -------
    list of Initialized
        What was done, to be looked at.

    Examples
    --------
    >>> import torch, nonlin.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), nonlin.torch.GELU(), torch.nn.Linear(8, 2))
    >>> for line in nonlin.torch.init_(model):
    ...     print(line)
    0: gain 1.5335 for gelu
    2: gain 1.0000 for no activation
    """
    leaves = [(path, module) for path, module in model.named_modules() if _is_leaf(module)]
    leaves = [(path, module) for path, module in leaves if not isinstance(module, _PASSED_OVER)]
    done = []
    last = max((k for k, (_, module) in enumerate(leaves) if isinstance(module, _WEIGHTED)), default=-1)
    for k, (path, module) in enumerate(leaves):
        if not isinstance(module, _WEIGHTED):
            continue
        following = leaves[k + 1][1] if k + 1 < len(leaves) else None
        found = None if following is None else activation_of(following)
        if found is not None:
            assert following is not None
            name, factor = found[0].name, gain(following)
        elif otherwise is not None and k != last:
            name, factor = get(otherwise).name if not isinstance(otherwise, nn.Module) else str(otherwise), gain(otherwise)
        else:
            name, factor = None, 1.0
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(module.weight)
        deviation = factor / (fan_in if mode == "fan_in" else fan_out) ** 0.5
        with torch.no_grad():
            if distribution == "normal":
                module.weight.normal_(0, deviation)
            else:
                module.weight.uniform_(-(3**0.5) * deviation, 3**0.5 * deviation)
            if module.bias is not None:
                module.bias.zero_()
        done.append(Initialized(path, name, factor))
    return done


def _is_leaf(module: nn.Module) -> bool:
    return isinstance(module, ElementwiseLayer) or next(module.children(), None) is None
