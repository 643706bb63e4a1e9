"""Training steps with nonlin's layers beside torch's own: time, what is kept for backward, peak memory.

    python benchmarks/torch_training.py [--quick] [--json FILE]

Models are built twice from the same seed, with torch's layers and with ours, and run alternately, so that whatever else the
machine does strikes both; the figure is the ratio of medians, torch's over ours: above 1 ours is faster. Peak memory is that
of a process of its own, above what it needs before the step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

import nonlin.torch as nt

ACTIVATIONS = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "hard_swish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
}
#: What issue 4 asks of the MLP with hidden layers of 256.
WANTED = {"mish": 1.3, "tanh": 1.3, "softplus": 1.3, "elu": 1.3, "relu": 1.0, "silu": 1.0, "gelu": 1.0}
Make = Callable[[], nn.Module]


def mlp(make: Make, width: int, depth: int) -> nn.Module:
    hidden = [m for _ in range(depth) for m in (nn.Linear(width, width), make())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def cnn(make: Make) -> nn.Module:
    blocks = [m for a, b in ((3, 16), (16, 32), (32, 64)) for m in (nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), make())]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Transformer(nn.Module):
    """A pre-norm block with the feed-forward part given."""

    def __init__(self, feed_forward: nn.Module, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward, self.head = feed_forward, nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.norm1(x)
        x = x + self.attention(z, z, z, need_weights=False)[0]
        return self.head((x + self.feed_forward(self.norm2(x))).mean(1))


class PlainGated(nn.Module):
    """SwiGLU's block as everybody writes it."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def ours(name: str, memory: str = "exact") -> Make:
    return lambda: nt.layer(name)(memory=memory)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def step(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return run


def medians(runs: list[Callable[[], None]], repeats: int) -> list[float]:
    """Time several functions alternately and return their medians in seconds."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
        run()
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def compare(title: str, models: list[nn.Module], x: torch.Tensor, repeats: int, wanted: float | None = None) -> dict[str, Any]:
    labels = torch.arange(len(x)) % 10
    kept = [nt.memory_report(model, x).bytes for model in models]
    theirs, exact, low = medians([step(model, x, labels) for model in models], repeats)
    row = {
        "model": title, "torch_ms": theirs * 1e3, "exact_ms": exact * 1e3, "low_ms": low * 1e3,
        "speed_exact": theirs / exact, "speed_low": theirs / low, "wanted": wanted,
        "kept_torch": kept[0], "kept_exact": kept[1], "kept_low": kept[2],
    }  # fmt: skip
    mark = "" if wanted is None else ("  reached" if theirs / exact >= wanted else f"  wanted {wanted}")
    print(
        f"{title:34}{theirs * 1e3:10.2f}{exact * 1e3:10.2f}{low * 1e3:10.2f}{theirs / exact:8.2f}{theirs / low:8.2f}"
        f"{kept[1] / kept[0]:9.2f}{kept[2] / kept[0]:9.2f}{mark}",
        flush=True,
    )
    return row


def training(quick: bool) -> list[dict[str, Any]]:
    print(f"{'training step':34}{'torch ms':>10}{'exact':>10}{'low':>10}{'speed':>8}{'low':>8}{'kept':>9}{'low':>9}")
    rows = []
    repeats = 5 if quick else 21
    batch, wide = (512, 512) if quick else (4096, 4096)
    for name, theirs in ACTIVATIONS.items():
        models = [seeded(lambda m=m: mlp(m, 256, 4)) for m in (theirs, ours(name), ours(name, "low"))]
        rows.append(compare(f"MLP 4 x 256, batch {batch}: {name}", models, torch.randn(batch, 256), repeats, WANTED.get(name)))
    for name in ("relu", "gelu", "mish"):
        models = [seeded(lambda m=m: mlp(m, wide, 2)) for m in (ACTIVATIONS[name], ours(name), ours(name, "low"))]
        rows.append(compare(f"MLP 2 x {wide}, batch 256: {name}", models, torch.randn(256, wide), 3 if quick else 5, 1.0))
    for name in ("relu", "silu", "mish"):
        models = [seeded(lambda m=m: cnn(m)) for m in (ACTIVATIONS[name], ours(name), ours(name, "low"))]
        rows.append(compare(f"CNN: {name}", models, torch.randn(32, 3, 64, 64), repeats))
    width, hidden = 128, 512
    x = torch.randn(16, 64, width)
    for name in ("gelu", "silu"):

        def block(make: Make) -> nn.Module:
            return Transformer(nn.Sequential(nn.Linear(width, hidden), make(), nn.Linear(hidden, width)), width)

        models = [seeded(lambda m=m: block(m)) for m in (ACTIVATIONS[name], ours(name), ours(name, "low"))]
        rows.append(compare(f"transformer block: {name}", models, x, repeats))
    gated = [lambda: PlainGated(width, hidden), *[lambda: nt.GatedFeedForward(width, hidden)] * 2]
    models = [seeded(lambda m=m: Transformer(m(), width)) for m in gated]
    rows.append(compare("transformer block: swiglu", models, x, repeats))
    return rows


def small_calls(quick: bool) -> list[dict[str, Any]]:
    print(f"\n{'16 elements':34}{'torch us':>10}{'ours us':>10}{'ours/torch':>12}")
    rows = []
    count = 200 if quick else 2000
    for name, cls in ACTIVATIONS.items():
        for recorded in (False, True):
            x = torch.randn(16, requires_grad=recorded)
            theirs, mine = cls(), ours(name)()

            def many(module: nn.Module, x: torch.Tensor = x) -> Callable[[], None]:
                def run() -> None:
                    for _ in range(count):
                        module(x)

                return run

            a, b = (t / count * 1e6 for t in medians([many(theirs), many(mine)], 5))
            title = f"{name}, {'recorded' if recorded else 'not recorded'}"
            print(f"{title:34}{a:10.2f}{b:10.2f}{b / a:12.2f}{'' if b / a <= 1.3 else '  wanted 1.3'}", flush=True)
            rows.append({"call": title, "torch_us": a, "ours_us": b, "ratio": b / a})
    return rows


# --- peak memory ----------------------------------------------------------------------------------------------------------

PEAKS: dict[str, Callable[[], nn.Module]] = {
    "12-layer GELU MLP: torch": lambda: mlp(nn.GELU, 512, 12),
    "12-layer GELU MLP: exact": lambda: mlp(ours("gelu"), 512, 12),
    "12-layer GELU MLP: low": lambda: mlp(ours("gelu", "low"), 512, 12),
    "SwiGLU block: torch": lambda: nn.Sequential(PlainGated(512, 2048), nn.Linear(512, 10)),
    "SwiGLU block: ours": lambda: nn.Sequential(nt.GatedFeedForward(512, 2048), nn.Linear(512, 10)),
}


def peak(title: str, batch: int) -> None:
    """Print the peak of this process during a step, in bytes above what it needs after a tiny one."""
    model = seeded(PEAKS[title])
    step(model, torch.randn(8, 512), torch.arange(8) % 10)()
    run = step(model, torch.randn(batch, 512), torch.arange(batch) % 10)
    Path("/proc/self/clear_refs").write_text("5")  # Linux then starts anew to note the peak
    before = memory("VmRSS")
    run()
    print(memory("VmHWM") - before)


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def peaks(quick: bool) -> list[dict[str, Any]]:
    print(f"\n{'peak memory of a step':34}{'MB':>10}{'to torch':>10}")
    rows, base = [], 1.0
    for title in PEAKS:
        command = [sys.executable, __file__, "--peak", title, "--batch", "2048" if quick else "8192"]
        # What is freed goes back to the system at once: how well malloc's heap refills its holes is not the question here.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
        taken = int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        base = taken if title.endswith("torch") else base
        print(f"{title:34}{taken / 1e6:10.1f}{taken / base:10.2f}", flush=True)
        rows.append({"model": title, "peak_bytes": taken, "ratio": taken / base})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats: to see that it runs")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak(arguments.peak, arguments.batch)
        return
    result = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "training": training(arguments.quick),
        "calls": small_calls(arguments.quick),
        "peaks": peaks(arguments.quick),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
