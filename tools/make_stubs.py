"""Write the stubs of the doors: activations and layers as editors and type checkers see them, from the registry.

    python tools/make_stubs.py

``nonlin`` takes its activations from the registry, and ``nonlin.torch`` makes the classes of layers when they are first asked
for. A test compares the files with what this writes.
"""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import nonlin as nl
import nonlin.torch as nt
from nonlin.torch.layers import ElementwiseLayer, GatedLayer
from nonlin.torch.special import AxisLayer

TORCH = '''"""PyTorch: layers and what belongs to them. Made by tools/make_stubs.py: do not edit."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nonlin.definition.layout import Gate as Gate
from nonlin.torch.initialization import (
    Initialization as Initialization,
    Initialized as Initialized,
    gain as gain,
    init_ as init_,
)
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
ROOT = Path(__file__).parents[1] / "src" / "nonlin"
WRITTEN = ("GELU", "PReLU", "Rational", "RReLU", "Step")  # these are ordinary classes


def annotation(parameter: inspect.Parameter) -> str:
    if parameter.name == "gate":
        return "Gate"
    found = parameter.annotation
    return found.replace("'", '"') if isinstance(found, str) else found.__name__


def summary(entry: nl.Activation) -> str:
    return '    """{}"""\n'.format(entry.summary.replace('"', "'"))


def core() -> str:
    """Return the text of the stub of ``nonlin``: what it imports, and the registry's entries."""
    module = ast.parse((ROOT / "__init__.py").read_text())
    imports = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module != "nonlin"]
    text = '"""Activation functions. Made by tools/make_stubs.py: do not edit."""\n\n'
    text += "from nonlin.comparison import Study as Study, compare as compare\n"
    text += "from nonlin import diagnosis as diagnosis\n"
    text += "from nonlin.diagnosis.diagnosing import assert_healthy as assert_healthy, diagnose as diagnose\n"
    for node in imports:
        names = ",\n".join(f"    {alias.name} as {alias.asname}" for alias in node.names)
        text += f"from {node.module} import (\n{names},\n)\n"
    text += "\n__version__: str\n"
    for entry in nl.activations.values():
        if entry.family != "own":
            text += f"{entry.name}: {type(entry).__name__}\n{summary(entry).lstrip()}"
    return text


def torch() -> str:
    """Return the text of the stub of ``nonlin.torch``."""
    text = TORCH
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
        text += f"\nclass {cls.__name__}({base}):\n{summary(entry)}\n"
        for name in getattr(cls, "parameter_names", {}).values():
            text += f"    {name}: Any\n"
        text += "    def __init__(\n" + "".join(f"        {argument},\n" for argument in arguments) + "    ) -> None: ...\n"
    return text


STUBS: dict[str, Callable[[], str]] = {"__init__.pyi": core, "torch/__init__.pyi": torch}

if __name__ == "__main__":
    for path, stub in STUBS.items():
        (ROOT / path).write_text(stub())
