"""How much a model keeps for backward, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Kept:
    """What one layer keeps for backward that no layer before it keeps already."""

    path: str
    layer: str
    tensors: int
    bytes: int


@dataclass(frozen=True)
class MemoryReport:
    """What a model keeps for backward."""

    layers: tuple[Kept, ...]

    @property
    def bytes(self) -> int:
        """The sum."""
        return sum(kept.bytes for kept in self.layers)

    def __str__(self) -> str:
        rows = [(k.path or "(model)", k.layer, str(k.tensors), f"{k.bytes:,}") for k in self.layers]
        rows = [("path", "layer", "tensors", "bytes"), *rows, ("", "all", "", f"{self.bytes:,}")]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        )


def memory_report(model: nn.Module, *inputs: Any, **keywords: Any) -> MemoryReport:
    """Run a model forward and report what each of its layers keeps for backward.

    A tensor that several layers keep is counted once, for the first; parameters, buffers and the inputs are not counted, as
    they are there anyway.

    Parameters
    ----------
    model : Module
    *inputs, **keywords
        What it is called with.

    Returns
    -------
    MemoryReport

    Examples
    --------
    >>> import torch, nonlin.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 128), nonlin.torch.ReLU(), torch.nn.Linear(128, 2))
    >>> print(nonlin.torch.memory_report(model, torch.zeros(16, 4)))
    path  layer   tensors  bytes
    1     ReLU          1    256
    2     Linear        1  8,192
          all              8,448
    """
    names = {module: path for path, module in model.named_modules()}
    inside: list[nn.Module] = []
    known: dict[int, Tensor] = {}
    counted: dict[nn.Module, list[int]] = {}

    def note(value: Any) -> None:
        for tensor in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(tensor, Tensor):
                known[_storage(tensor)] = tensor

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in known:
            known[_storage(tensor)] = tensor  # held, so that nothing else takes its place in memory
            counted.setdefault(inside[-1] if inside else model, []).append(tensor.untyped_storage().nbytes())
        return tensor

    def enter(module: nn.Module, _: Any) -> None:
        inside.append(module)

    def leave(module: nn.Module, *_: Any) -> None:
        inside.pop()

    note([*model.parameters(), *model.buffers(), *inputs, *keywords.values()])
    handles: list[RemovableHandle] = []
    for module in names:
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(*inputs, **keywords)
    finally:
        for handle in handles:
            handle.remove()
    del output
    layers = (Kept(path, type(m).__name__, len(counted[m]), sum(counted[m])) for m, path in names.items() if m in counted)
    return MemoryReport(tuple(layers))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
