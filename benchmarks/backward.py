"""Measure backward passes from what may be kept: the input, the output, a bit, 8 bits; beside torch's, with their errors.

    python benchmarks/backward.py                        # 256K and 32M elements, float32
    python benchmarks/backward.py gelu relu --size 4M --json backward.json

``forward`` is the pass that computes the output and what is kept beside it, ``backward`` the one from the incoming gradient and
what was kept to the gradient, with fresh results as in training; torch's are its own operations. All who compete take turns
within one run (see speed.py). ``error`` is the largest absolute difference from the exact derivative on normal inputs three
times as wide as usual, ``kept`` the bytes per element beside the output, which the next layer keeps anyway.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from speed import Call, Race, number_of, use_threads

import nonlin as nl
from nonlin.torch.elementwise import operation
from nonlin.torch.memory import Layout, Memory, Plan, plan

ENTRIES = ("relu", "leaky_relu", "tanh", "sigmoid", "elu", "softplus", "gelu", "silu", "mish", "hard_swish")
_aten = torch.ops.aten
#: torch's operation, whether it takes the output, and what else it takes after the incoming gradient and the tensor
PEERS: dict[str, tuple[Any, bool, tuple[Any, ...]]] = {
    "relu": (_aten.threshold_backward, True, (0,)),
    "leaky_relu": (_aten.leaky_relu_backward, False, (0.01, False)),
    "tanh": (_aten.tanh_backward, True, ()),
    "sigmoid": (_aten.sigmoid_backward, True, ()),
    "elu": (lambda dy, x: _aten.elu_backward(dy, 1, 1, 1, False, x), False, ()),
    "softplus": (_aten.softplus_backward, False, (1, 20)),
    "gelu": (_aten.gelu_backward, False, ()),
    "silu": (_aten.silu_backward, False, ()),
    "mish": (_aten.mish_backward, False, ()),
    "hard_swish": (_aten.hardswish_backward, False, ()),
}


class Way:
    """One way of getting from the forward pass to the gradient."""

    def __init__(self, name: str, forward: Call, backward: Call, gradient: torch.Tensor, kept: float) -> None:
        self.name, self.forward, self.backward, self.gradient, self.kept = name, forward, backward, gradient, kept


def ways(entry: nl.Elementwise, x: torch.Tensor, dy: torch.Tensor) -> list[Way]:
    """Return torch's way and ours: from the input, with memory="exact" and with memory="low"."""
    of, numbers = operation(entry), tuple(float(p.default) for p in entry.parameters.values())
    backward, from_output, more = PEERS[entry.name]
    y = of.compute((x, *numbers))
    given = y if from_output else x
    own = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "hard_swish": torch.nn.functional.hardswish}
    forward = own.get(entry.name) or getattr(torch.nn.functional, entry.name)
    found = [
        Way(
            "torch",
            partial(forward, x),
            partial(backward, dy, given, *more),
            backward(dy, given, *more),
            4.0 * (not from_output),
        )
    ]
    pull = partial(of.pull(0).compute, (dy, x, *numbers))
    found.append(Way("input", partial(of.compute, (x, *numbers)), pull, pull(), 4.0))
    seen: set[str] = {"input"}
    memories: tuple[Memory, ...] = ("exact", "low")
    for memory in memories:
        for dtype in (x.dtype, torch.bfloat16):  # what is kept in bfloat16 works in float32, too
            chosen = plan(entry, numbers, dtype, memory)
            if chosen.kind not in seen:
                seen.add(chosen.kind)
                found.append(_way(chosen, of, (x, *numbers), dy))
    return found


def _way(chosen: Plan, of: Any, operands: tuple[Any, ...], dy: torch.Tensor) -> Way:
    y, kept = chosen.forward(of, operands)
    layout = Layout.of(y)
    beside = sum(t.nbytes for t in kept if t.data_ptr() != y.data_ptr()) / y.numel()
    return Way(
        chosen.kind,
        partial(chosen.forward, of, operands),
        partial(chosen.gradient, dy, kept, layout),
        chosen.gradient(dy, kept, layout),
        beside,
    )


def measure(name: str, size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all ways of one activation."""
    entry, generator = nl.get(name), torch.Generator().manual_seed(0)
    x = torch.randn(size, generator=generator) * 3
    dy = torch.ones(size)
    exact = torch.from_numpy(entry.derivative(x[: 2**20].double().numpy()))
    found = ways(entry, x, dy)
    rows: dict[str, dict[str, Any]] = {
        way.name: {
            "entry": name,
            "size": size,
            "from": way.name,
            "kept": way.kept,
            "error": float((way.gradient[: 2**20].double() - exact).abs().max()),
        }
        for way in found
    }
    for what in ("forward", "backward"):
        race = Race({way.name: getattr(way, what) for way in found}, options.repeat, options.seconds)
        for way in found:
            rows[way.name][what] = race.median(way.name) / size * 1e9
            rows[way.name][f"{what}_ratio"] = race.ratio("torch", way.name)[0]
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="*", default=list(ENTRIES), help=f"by default {' '.join(ENTRIES)}")
    parser.add_argument("--size", nargs="+", default=["256K", "32M"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=15, help="rounds")
    parser.add_argument("--seconds", type=float, default=0.02, help="per competitor and round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    unknown = [name for name in options.entries if name not in PEERS]
    if unknown:
        parser.error(f"no peer is known for {', '.join(unknown)}; there is one for {', '.join(PEERS)}")
    use_threads(options.threads)
    torch.set_num_threads(options.threads)
    results: list[dict[str, Any]] = []
    table = Table("entry", "elements", "from", "kept, B", "forward, ns", "torch / it", "backward, ns", "torch / it", "error")
    for size in options.size:
        for name in options.entries:
            for row in measure(name, number_of(size), options):
                results.append(row)
                figures = (f"{row[key]:.2f}" for key in ("forward", "forward_ratio", "backward", "backward_ratio"))
                table.add_row(name, size, row["from"], f"{row['kept']:.3g}", *figures, f"{row['error']:.1e}")
            table.add_section()
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
