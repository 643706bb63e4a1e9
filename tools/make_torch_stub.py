"""Write src/nonlin/torch/__init__.pyi: the layers as editors and type checkers see them, from the registry.

    python tools/make_torch_stub.py

The classes themselves are made from the registry when they are first asked for. A test compares the file with what this writes.
"""

import inspect
from pathlib import Path

import nonlin as nl
import nonlin.torch as nt
from nonlin.torch.layers import ElementwiseLayer, GatedLayer
from nonlin.torch.special import AxisLayer

HEAD = '''"""PyTorch: layers and what belongs to them. Made by tools/make_torch_stub.py: do not edit."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nonlin.definition.layout import Gate as Gate
from nonlin.torch.initialization import Initialized as Initialized, gain as gain, init_ as init_
from nonlin.torch.layers import ElementwiseLayer, GatedLayer
from nonlin.torch.making import layer as layer
from nonlin.torch.replacement import Change as Change, Replacement as Replacement, replace as replace
from nonlin.torch.report import Kept as Kept, MemoryReport as MemoryReport, memory_report as memory_report
from nonlin.torch.special import (
    AxisLayer,
    GatedFeedForward as GatedFeedForward,
    GELU as GELU,
    PReLU as PReLU,
    Rational as Rational,
    RReLU as RReLU,
    Step as Step,
)
'''
WRITTEN = ("GELU", "PReLU", "Rational", "RReLU", "Step")  # these are ordinary classes


def annotation(parameter: inspect.Parameter) -> str:
    if parameter.name == "gate":
        return "Gate"
    found = parameter.annotation
    return found.replace("'", '"') if isinstance(found, str) else found.__name__


def stub() -> str:
    """Return the text of the file."""
    text = HEAD
    for entry in nl.activations.values():
        cls = nt.layer(entry)
        if entry.family == "own" or cls.__name__ in WRITTEN:
            continue
        base = next(b.__name__ for b in (GatedLayer, ElementwiseLayer, AxisLayer) if issubclass(cls, b))
        arguments, starred = ["self"], False
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and not starred:
                arguments.append("*")
                starred = True
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
            arguments.append(f"{parameter.name}: {annotation(parameter)}{default}")
        summary = entry.summary.replace('"', "'")
        text += f'\nclass {cls.__name__}({base}):\n    """{summary}"""\n\n'
        for name in getattr(cls, "parameter_names", {}).values():
            text += f"    {name}: Any\n"
        text += "    def __init__(\n" + "".join(f"        {argument},\n" for argument in arguments) + "    ) -> None: ...\n"
    return text


if __name__ == "__main__":
    Path(__file__).parents[1].joinpath("src/nonlin/torch/__init__.pyi").write_text(stub())
