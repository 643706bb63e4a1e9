"""Models of a study: ready ones for tables, images and sequences, and the user's own, checked once before the study."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from nonlin.comparison.data import Dataset, prepare
from nonlin.comparison.plan import PlanError

READY = ("mlp", "resnet-mlp", "cnn", "transformer")
Factory = Callable[[Any], Any]

_MOST_TOKENS = 512


def resolve(model: Any, sets: Mapping[str, Dataset]) -> tuple[dict[str, Factory] | None, str]:
    """Return what makes the model of each data set, and what to call it; None for the perceptron that is trained in stacks.

    Raises
    ------
    PlanError
        If it is no model, or one that these data or this study cannot have; the message is one sentence.
    """
    if model is None:
        model = "cnn" if all(one.numeric.ndim > 2 for one in sets.values()) else "mlp"
    if model == "mlp":
        return None, "mlp"
    factories: dict[str, Factory]
    if isinstance(model, str):
        name = model.replace("_", "-").lower()
        if name not in READY:
            raise PlanError(f"there is no model {model!r}: ready ones are {', '.join(READY)}; your own is FILE.py:FUNCTION")
        factories = {key: _ready(name, one) for key, one in sets.items()}
    else:
        _refuse_what_is_no_factory(model)
        name, factories = _name(model), dict.fromkeys(sets, model)
    for key, factory in factories.items():
        _check(factory, name, sets[key])
    return factories, name


def _refuse_what_is_no_factory(model: Any) -> None:
    how = "give a function that takes an activation and returns a new torch.nn.Module"
    if any(kind.__module__.startswith("torch.nn") for kind in type(model).__mro__):
        raise PlanError(f"the model is a {type(model).__name__} already, and each run needs one of its own: {how}")
    if not callable(model):
        raise PlanError(f"the model must be a function, got {type(model).__name__}: {how}")


def _name(model: Callable[[Any], Any]) -> str:
    """Name a model with a hash of its code: another code is another model."""
    try:
        code = inspect.getsource(model)
    except (OSError, TypeError):
        code = getattr(getattr(model, "__code__", None), "co_code", b"").hex() or repr(type(model))
    name = getattr(model, "__qualname__", type(model).__qualname__).rpartition(".")[2]
    return f"{name} [{hashlib.sha256(code.encode()).hexdigest()[:8]}]"


def _check(factory: Factory, name: str, dataset: Dataset) -> None:
    """Make a model once, and have it predict a few rows: what is wrong is wrong in all runs, and is said before them."""
    import torch

    import nonlin
    from nonlin.comparison.training import Site, check_is_module, check_outputs

    rows = np.arange(min(8, len(dataset)))
    features = torch.from_numpy(prepare(dataset, rows).features[rows])
    site = Site(nonlin.relu)
    site.kept = []
    try:
        with torch.random.fork_rng(devices=[]):
            made = factory(site)
            check_is_module(made)
            with torch.no_grad():
                check_outputs(made(features), len(rows), dataset.outputs, is_classes=bool(dataset.classes))
    except Exception as error:  # noqa: BLE001 - the user's model may raise anything
        text = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        shape = " x ".join(map(str, features.shape[1:]))
        kind = "" if isinstance(error, PlanError) else f"{type(error).__name__}: "
        raise PlanError(f"the model {name.partition(' ')[0]} does not work on rows of {shape} numbers: {kind}{text}") from None
    if not site.kept:
        raise PlanError(
            f"the model {name.partition(' ')[0]} never applies the activation that it is given: all activations would be alike"
        )
    if not any(parameter.requires_grad for parameter in made.parameters()):
        raise PlanError(f"the model {name.partition(' ')[0]} has no parameters to train")


# --- ready ones -----------------------------------------------------------------------------------------------------------


def _ready(name: str, dataset: Dataset) -> Factory:
    shape = dataset.numeric.shape[1:] if not dataset.categories.size else (dataset.features,)
    if name == "resnet-mlp":
        return partial(_resnet_mlp, int(np.prod(shape)), dataset.outputs)
    if name == "cnn":
        if len(shape) not in (2, 3):
            raise PlanError(
                f"the model cnn is for images, and a row of {dataset.name} has the shape {shape}: X of shape "
                "(rows, height, width), with channels first or last if there are several"
            )
        return partial(_cnn, shape, dataset.outputs)
    if len(shape) > 2:
        raise PlanError(f"the model transformer is for tables and sequences, and a row of {dataset.name} has the shape {shape}")
    if shape[0] > _MOST_TOKENS:
        raise PlanError(f"the model transformer takes at most {_MOST_TOKENS} columns or steps of a sequence, got {shape[0]}")
    return partial(_transformer, shape, dataset.outputs)


def _resnet_mlp(features: int, outputs: int, activation: Any) -> Any:
    """Make three residual blocks of width 64, normalised before each, as in Gorishniy et al. 2021, arXiv:2106.11959."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64), activation, nn.Linear(64, 64))

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    last = [nn.LayerNorm(64), activation, nn.Linear(64, outputs)]
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 64), Block(), Block(), Block(), *last)


def _cnn(shape: tuple[int, ...], outputs: int, activation: Any) -> Any:
    """Make three convolutions of 16, 32 and 32 channels and a hidden layer of 64."""
    from torch import nn

    last = len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    channels = 1 if len(shape) == 2 else shape[-1] if last else shape[0]

    class ChannelsFirst(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.unsqueeze(1) if len(shape) == 2 else x.movedim(-1, 1) if last else x

    layers: list[nn.Module] = [ChannelsFirst()]
    for before, after, stride in ((channels, 16, 1), (16, 32, 2), (32, 32, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, padding=1), activation]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 64), activation, nn.Linear(64, outputs)]
    return nn.Sequential(*layers)


def _transformer(shape: tuple[int, ...], outputs: int, activation: Any) -> Any:
    """Make two pre-normalised blocks of width 32, two heads; the columns of a table are its tokens, as are steps in time."""
    import torch
    from torch import nn

    width, tokens = 32, shape[0]

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.randn(tokens, width) / width**0.5)
            self.value: nn.Module | nn.Parameter = (
                nn.Linear(shape[1], width) if len(shape) == 2 else nn.Parameter(torch.randn(tokens, width) / width**0.5)
            )

        def forward(self, x: Any) -> Any:
            seen = self.value(x) if isinstance(self.value, nn.Module) else x.unsqueeze(-1) * self.value
            return seen + self.place

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
            self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), activation, nn.Linear(64, width))

        def forward(self, x: Any) -> Any:
            seen = self.before(x)
            x = x + self.attention(seen, seen, seen, need_weights=False)[0]
            return x + self.inner(x)

    class Mean(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean(1)

    return nn.Sequential(Tokens(), Block(), Block(), nn.LayerNorm(width), Mean(), nn.Linear(width, outputs))
