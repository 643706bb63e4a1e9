"""Calls with a new parameter each: nothing is compiled and nothing is kept. Run as python torch_leaks.py CALLS."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nonlin as nl
import nonlin.torch as nt
from nonlin.kernels.compiler import Compiler

SMALL, LARGE = (torch.linspace(-3, 3, size, requires_grad=True) for size in (16, 2000))
ARRAY = np.linspace(-3, 3, 100, dtype=np.float32)
CASES: dict[str, Callable[[float], object]] = {
    "gradient of few elements": lambda s: nl.leaky_relu(SMALL, negative_slope=s).sum().backward(),
    "gradient of many elements": lambda s: nl.leaky_relu(LARGE, negative_slope=s).sum().backward(),
    "a smooth one": lambda s: nl.elu(LARGE, alpha=s).sum().backward(),
    "in bfloat16": lambda s: nl.leaky_relu(LARGE.bfloat16(), negative_slope=s).sum().backward(),
    "a pair": lambda s: nl.swiglu_clamped(LARGE, limit=s).sum().backward(),
    "a row": lambda s: nl.softmax(LARGE, temperature=s).sum().backward(),
    "vmap": lambda s: torch.func.vmap(lambda z: nl.leaky_relu(z, negative_slope=s))(LARGE.detach()[None]),
    "derivative": lambda s: nl.leaky_relu.derivative(LARGE, negative_slope=s),
    "less memory": lambda s: nt.LeakyReLU(s, memory="low")(LARGE).sum().backward(),
    "less memory, few elements": lambda s: nt.LeakyReLU(s, memory="low")(SMALL).sum().backward(),
    "less memory, smooth": lambda s: nt.Swish(s, memory="low")(LARGE).sum().backward(),
    "array": lambda s: nl.leaky_relu(ARRAY, negative_slope=s),
    "array, with_": lambda s: nl.swish.with_(beta=s)(ARRAY),
    "slope of an array, with_": lambda s: nl.swish.with_(beta=s).derivative(ARRAY),
    "tensor, with_": lambda s: nl.swish.with_(beta=s)(LARGE).sum().backward(),
    "layer, with_": lambda s: nt.layer(nl.elu.with_(alpha=s))()(LARGE).sum().backward(),
}


def resident() -> float:
    """Resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main(calls: int) -> int:
    compiled = []
    compile_text = Compiler.compile_text

    def counted(self: Compiler, *arguments: Any) -> object:
        compiled.append(arguments[1])
        return compile_text(self, *arguments)

    Compiler.compile_text = counted  # type: ignore[assignment, method-assign]
    wrong = []
    slopes = iter(np.linspace(1e-3, 0.4, len(CASES) * (calls + 100)).tolist())
    for label, act in CASES.items():
        for _ in range(100):
            act(next(slopes))
        before = resident()
        compiled.clear()
        for _ in range(calls):
            act(next(slopes))
        if compiled or resident() - before > 5:
            wrong.append(f"{label}: {len(compiled)} compiled, {resident() - before:.1f} MB more")
    sys.stderr.write("\n".join(wrong))
    return len(wrong)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(int(sys.argv[1])) > 0)
