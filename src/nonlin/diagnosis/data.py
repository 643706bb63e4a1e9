"""Data of a diagnosis: whatever the user has, as batches that a model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BLOCK = 256


class DiagnosisError(ValueError):
    """A model or data that cannot be looked at; the message is one sentence for the user."""


@dataclass(frozen=True)
class Batch:
    """What a model is called with, and what it should say.

    Attributes
    ----------
    arguments : tuple
    keywords : Mapping
    target : Tensor or None
    mask : Tensor or None
        True where a token is one, False where it only fills the row.
    """

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    target: Tensor | None
    mask: Tensor | None

    @property
    def first(self) -> Tensor:
        """The first tensor of the input."""
        for value in (*self.arguments, *self.keywords.values()):
            if isinstance(value, Tensor):
                return value
        raise DiagnosisError("a batch has no tensor to call the model with")

    def __len__(self) -> int:
        return self.first.shape[0] if self.first.dim() else 1


def batches(data: Any, target: Any, model: nn.Module, mask: Any = None, most: int = 10_000) -> Iterator[Batch]:
    """Yield data in batches, on the model's device; arrays also in its dtype, tensors in their own.

    Raises
    ------
    DiagnosisError
        If they are of no use.
    """
    convert = _Converter(model)
    count = 0
    for inputs, goal, real in _pieces(data, target, mask):
        keywords = {}
        if isinstance(inputs, Mapping):
            keywords = {name: convert(value) for name, value in inputs.items() if name != "labels"}
            goal = inputs.get("labels") if goal is None else goal
            if real is None:
                real = inputs.get("attention_mask")
            arguments: tuple[Any, ...] = ()
        else:
            arguments = tuple(convert(value) for value in inputs) if isinstance(inputs, tuple) else (convert(inputs),)
        batch = Batch(
            arguments,
            keywords,
            None if goal is None else convert.target(goal),
            None if real is None else torch.as_tensor(real, device=convert.device).bool(),
        )
        if not len(batch):
            continue
        yield batch
        count += len(batch)
        if count >= most:
            return
    if not count:
        raise DiagnosisError("there are no data: the loader or array is empty")


class _Converter:
    def __init__(self, model: nn.Module) -> None:
        some = next((p for p in model.parameters() if p.is_floating_point()), None)
        self.device = torch.device("cpu") if some is None else some.device
        self.dtype = torch.float32 if some is None else some.dtype
        self.takes_numbers = any(isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module in model.modules())

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(self.device)
        if hasattr(value, "to_numpy"):
            value = value.to_numpy()
        array = np.asarray(value)
        if array.dtype == object or array.dtype.kind in "USV":
            raise DiagnosisError(f"the data have dtype {array.dtype}: a network takes numbers")
        tensor = torch.as_tensor(array, device=self.device)
        if tensor.is_floating_point() or not self.takes_numbers:
            return tensor.to(self.dtype)
        return tensor

    def target(self, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value.to(self.device)
        array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
        if array.dtype.kind not in "biuf":
            raise DiagnosisError(f"the target has dtype {array.dtype}: give numbers, or codes of the classes")
        tensor = torch.as_tensor(array, device=self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor.long()


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray)) or hasattr(value, "to_numpy")


def _pieces(data: Any, target: Any, mask: Any) -> Iterator[tuple[Any, Any, Any]]:
    if isinstance(data, tuple) and len(data) == 2 and target is None and all(map(_is_array, data)):
        data, target = data
    if _is_array(data):
        yield from _blocks({"": data}, target, mask)
    elif isinstance(data, Mapping):
        yield from _blocks(data, target, mask)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        if isinstance(data, list) and data and not any(map(_is_array, _flat(data[0]))):
            yield from _blocks({"": np.asarray(data)}, target, mask)
            return
        if target is not None:
            raise DiagnosisError("with batches, the target is in them, as (inputs, target): leave target out")
        for batch in data:
            if isinstance(batch, (tuple, list)) and len(batch) > 1:
                *inputs, goal = batch
                yield (inputs[0] if len(inputs) == 1 else tuple(inputs)), goal, None
            else:
                yield (batch[0] if isinstance(batch, (tuple, list)) else batch), None, None
    else:
        raise DiagnosisError(f"the data must be a tensor, an array, a DataLoader or batches, got {type(data).__name__}")


def _flat(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, Mapping) else list(item) if isinstance(item, (tuple, list)) else [item]


def _blocks(arrays: Mapping[str, Any], target: Any, mask: Any) -> Iterator[tuple[Any, Any, Any]]:
    arrays = {name: a.to_numpy() if hasattr(a, "to_numpy") else a for name, a in arrays.items()}
    sizes = {len(a) for a in arrays.values() if _is_array(a)}
    if not sizes:
        raise DiagnosisError("the data hold no array")
    if target is not None and not isinstance(target, Tensor):
        target = np.asarray(target)
    if target is not None and len(target) not in sizes:
        raise DiagnosisError(f"the data have {max(sizes)} rows, and the target {len(target)}")
    for start in range(0, max(sizes), BLOCK):
        part = slice(start, start + BLOCK)
        inputs = {name: a[part] if _is_array(a) else a for name, a in arrays.items()}
        yield (
            inputs.get("", inputs),
            None if target is None else target[part],
            None if mask is None else mask[part],
        )
