"""Every way into the torch room, for tests that need a process of their own: functions, derivatives, layers, pairs, rows."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

import nonlin as nl
import nonlin.torch as nt

Call: TypeAlias = Callable[[Tensor], Tensor]
ENTRIES = {name: entry for name, entry in nl.activations.items() if entry.family != "own"}
GIVEN = {"threshold": {"threshold": 0.3, "value": -0.4}, "clipped_relu": {"max_value": 1.3}, "maxout": {"groups": 2}}
ROWS = [name for name, entry in ENTRIES.items() if isinstance(entry, nl.AxisFunction)]
MASKED = [name for name in ROWS if "where" in ENTRIES[name].__signature__.parameters]
PAIRS = [name for name, entry in ENTRIES.items() if isinstance(entry, nl.Gated)]


def layer(name: str, **keywords: object) -> nn.Module:
    return nt.layer(name)(*GIVEN.get(name, {}).values(), **keywords).eval()


def even_columns(x: Tensor) -> Tensor:
    return torch.arange(x.shape[-1], device=x.device) % 2 == 0


def functions() -> Iterator[tuple[str, Call]]:
    """Functions of one tensor with an even number of columns."""
    for name, entry in ENTRIES.items():
        given = GIVEN.get(name, {})
        yield name, lambda x, f=entry, given=given: f(x, **given)
        if name in ROWS:
            yield f"{name} along axis 0", lambda x, f=entry, given=given: f(x, axis=0, **given)
            yield f"{name}.jvp", lambda x, f=entry, given=given: f.jvp(x, torch.ones_like(x), **given)
            yield f"{name}.vjp", lambda x, f=entry, given=given: f.vjp(x, torch.ones_like(f(x, **given)), **given)
        else:
            yield f"{name}.derivative", lambda x, f=entry, given=given: f.derivative(x, **given)
        if name in MASKED:
            yield f"{name} with a mask", lambda x, f=entry: f(x, where=even_columns(x))
        if name in PAIRS:
            yield f"{name} of two", lambda x, f=entry, given=given: f(x, torch.full_like(x, 0.7), **given)
    yield "a parameter that is a tensor", lambda x: nl.leaky_relu(x, negative_slope=torch.full_like(x[:1], 0.2))
    yield "vmap", lambda x: torch.func.vmap(nl.gelu)(x)
    yield "vmap of rows", lambda x: torch.func.vmap(nl.softmax)(x)
    yield "jvp", lambda x: torch.func.jvp(nl.gelu, (x,), (torch.ones_like(x),))[1]
    yield "grad", lambda x: torch.func.grad(lambda z: nl.relu(z).sum())(x)


def layers() -> Iterator[tuple[str, nn.Module]]:
    for name, entry in ENTRIES.items():
        if name in ROWS:
            yield f"layer {name}", layer(name)
            continue
        for memory in ("exact", "low"):
            yield f"layer {name}, memory={memory}", layer(name, memory=memory)
        if entry.parameters and name != "prelu":
            yield f"layer {name} that learns", layer(name, learnable=True)
    yield "PReLU of channels", nt.PReLU(6)
    yield "RReLU in training", nt.RReLU(0.25, 0.25).train()
    yield "Step with a surrogate", nt.Step("sigmoid")
    yield "GatedFeedForward", nt.GatedFeedForward(6, 8)


def in_a_process_of_its_own(script: str, *arguments: str) -> None:
    """Run one of the scripts beside this file, and fail with what it says."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-4000:]}"
