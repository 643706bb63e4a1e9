"""Training many small networks: stacked, in a plain PyTorch loop, and by scikit-learn, on the same data in the same run.

    python benchmarks/compare.py                      # 10 activations x 10 seeds, 3 x 64, digits
    python benchmarks/compare.py --seeds 3 --json out.json

Everything runs on one thread of one process. The loop is what PyTorch's tutorials write: an nn.Sequential, torch.optim.Adam,
mini-batches by indexing. It starts from the same weights and sees the same batches as the stacked program, so that test
scores can be compared run by run; scikit-learn draws its own. CPU time is compared, not the wall's: other programs may run
beside this.
"""

import argparse
import json
import os
import platform
import time
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before NumPy is imported
    os.environ[name] = "1"

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import nonlin as nl
from nonlin.comparison.plan import DEFAULT_ACTIVATIONS, Length, Member, Plan, Stack
from nonlin.comparison.reading import load
from nonlin.comparison.results import ingredients
from nonlin.comparison.training import _Batches, initial, tables, train_stack

#: As a user writes them; scikit-learn has three.
MODULES = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}
SKLEARN = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}


def plain_loop(name: str, rate: float, plan: Plan, made, data, members) -> list[float]:
    """The test scores of networks trained one by one."""
    scores = []
    flat = data.features.flatten(1)
    sizes = [flat.shape[1], *plan.widths, data.outputs]
    for seed, part in members:
        layers = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), MODULES[name]()]
        model = nn.Sequential(*layers[:-1])
        linear = [layer for layer in model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight in zip(linear, initial(sizes, made.gains["exact"], seed, part), strict=True):
                layer.weight.copy_(weight.T)
                layer.bias.zero_()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        loss_of = nn.CrossEntropyLoss()
        batches = _Batches(data.parts[part].train, plan.batch_size, seed, part)
        for _ in range(plan.epochs):
            for _ in range(-(-len(data.parts[part].train) // plan.batch_size)):
                rows = batches.next()
                optimizer.zero_grad()
                loss = loss_of(model(flat[rows]), data.targets[rows])
                loss.backward()
                optimizer.step()
        test = torch.from_numpy(data.parts[part].test)
        with torch.no_grad():
            scores.append((model(flat[test]).argmax(1) == data.targets[test]).double().mean().item())
    return scores


def by_sklearn(name: str, rate: float, plan: Plan, data, members) -> list[float]:
    """The test scores of scikit-learn's networks of the same size, trained for as many epochs."""
    from sklearn.neural_network import MLPClassifier

    X, y = data.features.flatten(1).numpy(), data.targets.numpy()
    scores = []
    for seed, part in members:
        model = MLPClassifier(
            plan.widths,
            activation=SKLEARN[name],
            learning_rate_init=rate,
            batch_size=plan.batch_size,
            max_iter=plan.epochs,
            alpha=0.0,
            n_iter_no_change=plan.epochs + 1,
            random_state=seed,
        )
        rows = data.parts[part].train
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it has not converged; nor has anybody
            model.fit(X[rows], y[rows])
        scores.append(float(model.score(X[data.parts[part].test], y[data.parts[part].test])))
    return scores


def timed(function, *arguments):
    clock, wall = time.process_time(), time.perf_counter()
    result = function(*arguments)
    return result, time.process_time() - clock, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(widths=(options.width,) * 3, epochs=options.epochs, seeds=options.seeds, splits=1, datasets=(options.data,))
    data = tables(load(options.data), plan)
    steps = plan.length(len(data.parts[0].train)).limit
    data = replace(data, length=Length(steps, steps, steps, ()))  # scored once, at the end: as many steps as the loop takes
    members = tuple(Member(options.rate, "exact", seed, 0) for seed in range(options.seeds))
    rows = []
    for name in DEFAULT_ACTIVATIONS:
        made = ingredients(nl.get(name), ["exact"])
        stack = Stack(options.data, name, "judged", members)
        short = replace(data, length=Length(1, 1, 1, ()))
        train_stack(stack, plan, made, short)  # compiles the activation
        results, cpu, wall = timed(train_stack, stack, plan, made, data)
        looped, loop_cpu, loop_wall = timed(
            plain_loop, name, options.rate, plan, made, data, [(m.seed, m.split) for m in members]
        )
        scores = [result.score for result in results]
        row = {
            "activation": name,
            "stacked": cpu,
            "stacked_wall": wall,
            "loop": loop_cpu,
            "loop_wall": loop_wall,
            "same": int(np.sum(np.array(scores) == np.array(looped))),
            "runs": len(scores),
            "largest_difference": float(np.abs(np.array(scores) - np.array(looped)).max()),
            "score": float(np.mean(scores)),
            "loop_score": float(np.mean(looped)),
        }
        if name in SKLEARN:
            theirs, row["sklearn"], row["sklearn_wall"] = timed(
                by_sklearn, name, options.rate, plan, data, [(m.seed, m.split) for m in members]
            )
            row["sklearn_score"] = float(np.mean(theirs))
        rows.append(row)
        print(f"{name}: stacked {cpu:.2f} s, loop {loop_cpu:.2f} s", flush=True)
    show(rows, options)
    if options.json:
        record = {
            "options": vars(options),
            "machine": platform.processor(),
            "torch": torch.__version__,
            "load": os.getloadavg(),
        }
        Path(options.json).write_text(json.dumps(record | {"rows": rows}, indent=2), encoding="utf-8")


def show(rows: list[dict], options: argparse.Namespace) -> None:
    title = f"{options.data}, 3 x {options.width}, {options.seeds} seeds, {options.epochs} epochs: CPU seconds on one thread"
    table = Table(title=title, box=None)
    for column in ("activation", "stacked", "plain loop", "ratio", "same score", "sklearn", "accuracy", "sklearn accuracy"):
        table.add_column(column, justify="left" if column == "activation" else "right")
    for row in rows:
        theirs = f"{row['sklearn']:.2f}" if "sklearn" in row else ""
        table.add_row(
            row["activation"],
            f"{row['stacked']:.2f}",
            f"{row['loop']:.2f}",
            f"{row['loop'] / row['stacked']:.1f}",
            f"{row['same']} of {row['runs']}",
            theirs,
            f"{100 * row['score']:.2f} %",
            f"{100 * row['sklearn_score']:.2f} %" if theirs else "",
        )
    stacked, loop = (sum(row[what] for row in rows) for what in ("stacked", "loop"))
    same, runs = (sum(row[what] for row in rows) for what in ("same", "runs"))
    table.add_row("all", f"{stacked:.2f}", f"{loop:.2f}", f"{loop / stacked:.1f}", f"{same} of {runs}", "", "", "")
    Console(width=110).print(table)
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
