"""Initial weights that keep the scale of activations through a network, by the exact gain of what follows each layer."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from nonlin import scaling
from nonlin.torch.following import Followed, examples, is_norm, watch
from nonlin.torch.recognition import activation_of

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


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
        parameters = _numbers(own) | parameters
        activation = entry
    return scaling.gain(activation, **parameters)


@dataclass(frozen=True)
class Initialized:
    """What was done to one layer."""

    path: str
    activation: str | None
    gain: float
    doubt: str = ""
    """What was not understood of it."""

    def __str__(self) -> str:
        done = f"{self.path}: gain {self.gain:.4f} for {self.activation or 'no activation'}"
        return f"{done}; {self.doubt}" if self.doubt else done


class Initialization(list[Initialized]):
    """What :func:`init_` did, layer by layer.

    Attributes
    ----------
    left : list of str
        What has weights that were left as they are, and why.
    """

    def __init__(self, done: Iterable[Initialized], left: Iterable[str]) -> None:
        super().__init__(done)
        self.left = list(left)

    def __str__(self) -> str:
        return "\n".join([*map(str, self), *(["left as they are:", *(f"  {line}" for line in self.left)] if self.left else [])])


def init_(
    model: nn.Module,
    example: Any = None,
    *,
    otherwise: Any = None,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    distribution: Literal["normal", "uniform"] = "normal",
) -> Initialization:
    """Initialize every Linear and Conv layer with the exact gain of the activation that it feeds; biases become 0.

    The model is run once, in evaluation, to see what is called: layers, torch's functions and ours. Between a layer and its
    activation there may be normalization, dropout, sums (residuals), scaling and changes of shape. A layer that feeds other
    weights, or nothing, gets gain 1.

    Parameters
    ----------
    model : Module
    example : Tensor, tuple or dict, optional
        What ``forward`` takes: a tensor, or all arguments. Without it an example is made from the model's ``dummy_inputs`` or
        its first layer. If the model does not take that, only what stands in order in an ``nn.Sequential`` is known.
    otherwise : activation, layer or str, optional
        What to assume for layers of which it was not understood what they feed.
    mode : {"fan_in", "fan_out"}
        Whether the scale is kept forward or backward.
    distribution : {"normal", "uniform"}

    Returns
    -------
    Initialization
        What was done, a line for each layer with what was not understood, and what was left as it is: to be looked at.

    Examples
    --------
    >>> import torch, nonlin.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), nonlin.torch.GELU(), torch.nn.Linear(8, 2))
    >>> print(nonlin.torch.init_(model, torch.zeros(1, 4)))
    0: gain 1.5335 for gelu
    2: gain 1.0000 for no activation
    """
    weighted, left = _weighted_in(model)
    paths = {module: path for path, module in weighted.items()}
    followed = _followed(model, paths, example)
    done = []
    for path, module in weighted.items():
        name, factor, doubt = _gain_of(followed, path)
        if doubt and name is None and otherwise is not None:
            name, factor = getattr(otherwise, "name", str(otherwise)), gain(otherwise)
        _fill(module, factor, mode, distribution)
        done.append(Initialized(path, name, factor, doubt))
    return Initialization(done, left)


def _kinds() -> tuple[type[nn.Module], ...]:
    """Return the classes of layers that are initialized: torch's, and GPT-2's if transformers has been imported."""
    conv1d = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)
    return _WEIGHTED if conv1d is None else (*_WEIGHTED, conv1d)


def _weighted_in(model: nn.Module) -> tuple[dict[str, Any], list[str]]:
    """Return the layers that are initialized by path, and what else has weights."""
    found: dict[str, Any] = {}
    left: list[str] = []
    owners: dict[Any, str] = {}
    for path, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _kinds()) or not own or is_norm(module) or activation_of(module) is not None:
            continue
        left.append(f"{path or 'the model'}: {type(module).__name__}")
        owners |= dict.fromkeys(own, path)
    for path, module in model.named_modules():
        if isinstance(module, _kinds()):
            shared = owners.get(module.weight)
            if shared is not None:
                left.append(f"{path}: its weight is that of {shared}")
            else:
                found[path] = module
                owners[module.weight] = path
    return found, left


def _followed(model: nn.Module, paths: Mapping[nn.Module, str], example: Any) -> Mapping[str, Followed]:
    """Return what follows each layer of which it is known."""
    if example is not None:
        arguments, keywords = ((), example) if isinstance(example, Mapping) else (example, {})
        return watch(model, paths, arguments if isinstance(arguments, tuple) else (arguments,), keywords)
    for arguments, keywords in examples(model):
        with contextlib.suppress(Exception):  # a guess
            return watch(model, paths, arguments, keywords)
    found = {}
    for chain in model.modules():
        if isinstance(chain, nn.Sequential):
            layers = [m for m in chain if not is_norm(m) and not isinstance(m, (nn.Flatten, nn.Unflatten))]
            for layer, following in itertools.pairwise(layers):
                activation = activation_of(following)
                if layer in paths and (activation is not None or following in paths):
                    found[paths[layer]] = Followed([] if activation is None else [(activation[0], following)])
    return found


def _gain_of(followed: Mapping[str, Followed], path: str) -> tuple[str | None, float, str]:
    """Return the activation that a layer feeds, its gain, and what was not understood."""
    seen = followed.get(path)
    if seen is None:
        return None, 1.0, "not seen what it feeds; an example of what the model takes, that comes by here, would tell"
    if seen.unknown:
        return None, 1.0, f"not understood: {', '.join(seen.unknown)}"
    gains: dict[str, float] = {}
    for entry, how in seen.activations:
        try:
            factor = gain(how) if isinstance(how, nn.Module) else gain(entry, **_numbers(how))
        except ValueError as error:
            return None, 1.0, str(error)
        gains.setdefault(entry.name, factor)
    if not gains:
        return None, 1.0, ""
    name, *others = gains
    return name, gains[name], f"it feeds {' and '.join(others)}, too" if others else ""


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return one number for each parameter, the mean of those that are learned."""
    return {name: float(torch.as_tensor(value, device="cpu").double().mean()) for name, value in values.items()}


def _fill(module: Any, factor: float, mode: str, distribution: str) -> None:
    weight = module.weight if isinstance(module, _WEIGHTED) else module.weight.T
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    deviation = factor / (fan_in if mode == "fan_in" else fan_out) ** 0.5
    with torch.no_grad():
        if distribution == "normal":
            module.weight.normal_(0, deviation)
        else:
            module.weight.uniform_(-(3**0.5) * deviation, 3**0.5 * deviation)
        if module.bias is not None:
            module.bias.zero_()
