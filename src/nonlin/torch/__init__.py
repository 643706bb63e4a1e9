"""PyTorch: layers, gradients, memory for backward, initialization and replacement.

There is a layer for every activation in the registry, named as torch names it where torch has it: ``GELU``, ``LeakyReLU``,
``Swish``, ``SwiGLU``, ``Softmax``... :func:`layer` makes one of an activation of your own.
"""

from typing import Any as _Any

from nonlin.definition import activations as _activations
from nonlin.torch.initialization import (
    Initialization as Initialization,
    Initialized as Initialized,
    gain as gain,
    init_ as init_,
)
from nonlin.torch.layers import class_name as _class_name
from nonlin.torch.making import layer as layer
from nonlin.torch.replacement import Change as Change, Replacement as Replacement, replace as replace
from nonlin.torch.report import Kept as Kept, MemoryReport as MemoryReport, memory_report as memory_report
from nonlin.torch.special import GatedFeedForward as GatedFeedForward


def __getattr__(name: str) -> _Any:
    """Make the class of a layer when it is first asked for."""
    if not name.startswith("_"):
        for entry in _activations.values():
            if _class_name(entry.name) == name:
                return layer(entry)
    raise AttributeError(f"module 'nonlin.torch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(_class_name(entry.name) for entry in _activations.values())})
