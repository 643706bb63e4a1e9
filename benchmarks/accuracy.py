"""Measure the error of every activation and derivative, in units of the last place of the exact result.

    python benchmarks/accuracy.py                              # all entries, a few minutes
    python benchmarks/accuracy.py gelu mish --order 1 --dtype float32 --exhaustive
    python benchmarks/accuracy.py --peers --json accuracy.json --markdown docs/accuracy.md

float16 and bfloat16: every input. float32: every 4,099th bit pattern and a dense grid, or all 2^32 with ``--exhaustive``.
float64: random bit patterns. The reference for the narrow dtypes is the float64 result, which is itself measured against
mpmath on the float64 sample; the worst points of each narrow dtype are measured against mpmath too.

Where terms cancel, the result being below 1/32 of its largest term (see ``nonlin.arithmetic.promise``), the promise is an
absolute error of 6e-8 in float32: errors of more ulps than promised but no more than that have columns of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from elementwise import entries
from mpmath import mp
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import nonlin as nl
from nonlin.arithmetic import promise
from nonlin.formula.calculus import canonical
from nonlin.formula.expression import substitute
from nonlin.formula.spelling import Reference
from nonlin.kernels.ufunc import Function, make_ufunc

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
#: digits of the significand after the first, smallest normal exponent, largest finite number
FORMATS = {
    "float16": (10, -14, 65504.0),
    "bfloat16": (7, -126, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)),
    "float32": (23, -126, float(np.finfo(np.float32).max)),
    "float64": (52, -1022, float(np.finfo(np.float64).max)),
}
Array = Any


def inputs(dtype: str, *, sample: int, seed: int) -> Iterator[Array]:
    """Yield blocks of inputs, sorted within each block."""
    if dtype in ("float16", "bfloat16"):
        yield _sorted(np.arange(2**16, dtype=np.uint16).view(DTYPES[dtype]))
    elif dtype == "float64":
        rng = np.random.default_rng(seed)
        # Half of the sample uniform over bit patterns with moderate exponents, half over the ordinary range.
        sign = rng.choice([-1.0, 1.0], sample)
        spread = sign * np.ldexp(rng.uniform(1, 2, sample), rng.integers(-60, 12, sample))
        yield _sorted(np.concatenate([spread, rng.uniform(-750, 750, sample // 2), rng.uniform(-12, 12, sample // 2)]))
    else:
        strided = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
        dense = np.concatenate([np.linspace(-20, 20, 400_001), np.linspace(-110, 110, 200_001)]).astype(np.float32)
        yield _sorted(np.concatenate([strided, dense]))


def _sorted(x: Array) -> Array:
    return np.unique(x[np.isfinite(x.astype(np.float64))])


def last_place(y: Array, dtype: str, out: Array | None = None) -> Array:
    """Return the spacing of a dtype's numbers at exact values held in float64; from the bits, since 2^32 of them may come."""
    digits, smallest, _ = FORMATS[dtype]
    if dtype == "float64":
        return np.ldexp(1.0, np.maximum(np.frexp(y)[1] - 1, smallest) - digits)
    exponent = np.empty(y.shape, np.int64) if out is None else out.view(np.int64)
    np.right_shift(np.ascontiguousarray(y).view(np.int64), 52, out=exponent)
    exponent &= 0x7FF
    np.maximum(exponent, smallest + 1023, out=exponent)
    exponent -= digits
    exponent <<= 52
    return exponent.view(np.float64)


class Worst:
    """Collects errors over blocks, in arrays that it keeps: fresh memory would cost more than the arithmetic.

    Parameters
    ----------
    dtype : str
    promised : float
        Errors up to so many ulps need no excuse.
    largest_term : callable, optional
        From inputs in float64 to the sizes of the largest terms of the exact results.
    """

    def __init__(self, dtype: str, promised: float, largest_term: Callable[[Array], Array] | None = None) -> None:
        self.dtype, self.promised, self.largest_term = dtype, promised, largest_term
        self.ulp, self.at = 0.0, 0.0
        self.cancelling, self.cancelling_ulp = 0.0, 0.0
        self.count = self.wrong = 0
        self.buffers: list[Array] = []

    def add(self, x: Array, got: Array, want: Array, error: Array | None = None) -> None:
        """Count results against exact values; ``error`` gives exact differences where float64 cannot hold them."""
        if not self.buffers or len(self.buffers[0]) != len(x):
            self.buffers = [np.empty(len(x)) for _ in range(3)]
        wide, difference, ulps = self.buffers
        np.copyto(wide, got.astype(np.float64) if self.dtype == "bfloat16" else got)
        with np.errstate(all="ignore"):
            if error is None:
                np.abs(np.subtract(wide, want, out=difference), out=difference)
            else:
                difference = error
            spacing = last_place(want, self.dtype, out=None if self.dtype == "float64" else ulps)
            np.divide(difference, spacing, out=ulps)
        self.count += len(x)
        self.wrong += int(np.count_nonzero(ulps > 0.5))
        largest = ulps.max()
        if not np.isfinite(largest):
            overflows = np.isinf(wide) & (np.abs(want) > FORMATS[self.dtype][2]) & (np.sign(wide) == np.sign(want))
            ulps[overflows | (wide == want) | (np.isnan(wide) & np.isnan(want))] = 0
            ulps[np.isnan(ulps)] = np.inf
        allowed = promise.CANCELLED_ERROR.get(self.dtype)
        if not largest <= self.promised and allowed is not None and self.largest_term is not None:
            suspects = np.flatnonzero((ulps > self.promised) & (difference <= allowed))
            excused = suspects[promise.cancels(want[suspects], self.largest_term(x[suspects].astype(np.float64)))]
            self.cancelling = max(self.cancelling, float(difference[excused].max(initial=0)))
            self.cancelling_ulp = max(self.cancelling_ulp, float(ulps[excused].max(initial=0)))
            ulps[excused] = 0
        worst = int(np.argmax(ulps))
        if ulps[worst] > self.ulp:
            self.ulp, self.at = float(ulps[worst]), float(x[worst])

    def row(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "ulp": self.ulp, "at": self.at, "cancelling_error": self.cancelling, "cancelling_ulp": self.cancelling_ulp,
            "not_correctly_rounded": self.wrong / max(self.count, 1), "inputs": self.count,
        }  # fmt: skip


def exact_value(entry: nl.Elementwise, order: int, x: float, dtype: str) -> Any:
    """Return the value in mpmath, with as many digits as it takes for two precisions to agree."""
    parameters = rounded_parameters(entry, dtype)
    formula = entry.derivative_formula(order) if order else entry.derivative_formula(0)
    formula = substitute(formula, {name: nl.formula.Constant(_exact(value)) for name, value in parameters.items()})
    previous = None
    for digits in (60, 120, 240, 480, 960):
        with mp.workdps(digits):
            value = Reference(mp, {"x": x})(formula)
            if previous is not None and abs(value - previous) <= abs(value) * mp.mpf(10) ** -30:
                return value
            previous = value
    return previous


def _exact(value: float) -> Any:
    from fractions import Fraction

    return Fraction(value)


def rounded_parameters(entry: nl.Elementwise, dtype: str) -> dict[str, float]:
    """Return the defaults as a kernel of that dtype sees them."""
    return {name: float(DTYPES[dtype](p.default)) for name, p in entry.parameters.items()}


def promised(entry: nl.Elementwise, order: int, dtype: str) -> float:
    """Return the largest error promised, in ulp."""
    return promise.promised_ulps(entry.derivative_formula(order), dtype, exact=nl.get_precision() == "exact")


def largest_term(entry: nl.Elementwise, order: int, parameters: dict[str, float]) -> Callable[[Array], Array]:
    """Return what computes the size of the largest term in float64."""
    fixed = {name: nl.formula.Constant(_exact(value)) for name, value in parameters.items()}
    formula = promise.largest_term(substitute(entry.derivative_formula(order), fixed))
    return make_ufunc(Function(f"{entry.name}_largest_term", (canonical(formula),), ("x",), {}))


def _exhaust(call: Any, parameters: dict[str, float], typed: dict[str, Any], worst: Worst) -> None:
    """Measure a float32 function on every finite input."""
    block = 2**15
    bits, wide = np.empty(block, np.uint32), np.empty(block)
    got, want = np.empty(block, np.float32), np.empty(block)
    for start in range(0, 2**32, block):
        # Ascending from 0; below zero descending in bits, so that the values ascend too.
        first, step = (start, 1) if start < 2**31 else (start + block - 1, -1)
        bits[:] = np.arange(first, first + step * block, step, dtype=np.int64)
        x = bits.view(np.float32)
        if not np.isfinite(x).any():
            continue
        np.copyto(wide, x)
        worst.add(x, call(x, out=got, **typed), call(wide, out=want, **parameters))


def measure(entry: nl.Elementwise, order: int, dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one entry, derivative order and dtype."""
    parameters = rounded_parameters(entry, dtype)
    call = entry if order == 0 else lambda x, **p: entry.derivative(x, order=order, **p)
    worst = Worst(dtype, promised(entry, order, dtype), largest_term(entry, order, parameters))
    typed = {n: DTYPES[dtype](v) for n, v in parameters.items()}
    if dtype == "float32" and options.exhaustive:
        _exhaust(call, parameters, typed, worst)
        return worst.row()
    for x in inputs(dtype, sample=options.sample, seed=options.seed):
        got = call(x, **typed)
        if dtype == "float64":
            exact = [exact_value(entry, order, float(v), dtype) for v in x]
            want = np.array([float(v) for v in exact])
            difference = [float(abs(mp.mpf(float(g)) - e)) for g, e in zip(got, exact, strict=True)]
            worst.add(x, got, want, np.array(difference))
        else:
            worst.add(x, got, call(x.astype(np.float64), **parameters))
    row = worst.row()
    if dtype != "float64" and row["ulp"] > 0.5:
        got = float(call(DTYPES[dtype](row["at"]), **typed))
        exact = exact_value(entry, order, row["at"], dtype)
        row["ulp_against_mpmath"] = float(abs(mp.mpf(got) - exact) / last_place(np.array([float(exact)]), dtype)[0])
    return row


# --- peers: what a user would call instead, float32 ------------------------------------------------------------------------


def peers() -> dict[str, dict[tuple[str, int], Callable[[Array], Array]]]:
    """Return the functions of the libraries that are installed, by library and (entry, order)."""
    found: dict[str, dict[tuple[str, int], Callable[[Array], Array]]] = {}
    for make in (_torch, _jax, _scipy):
        try:
            name, functions = make()
        except ImportError:
            continue
        found[name] = functions
    return found


def _torch() -> tuple[str, dict[tuple[str, int], Callable[[Array], Array]]]:
    import torch
    from torch.nn import functional as f

    functions = {
        "relu": f.relu, "leaky_relu": f.leaky_relu, "relu6": f.relu6, "hard_tanh": f.hardtanh, "elu": f.elu, "celu": f.celu,
        "selu": f.selu, "softplus": f.softplus, "log_sigmoid": f.logsigmoid, "gelu": f.gelu, "silu": f.silu, "mish": f.mish,
        "gelu_tanh": lambda x: f.gelu(x, approximate="tanh"), "hard_swish": f.hardswish, "hard_sigmoid": f.hardsigmoid,
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softsign": f.softsign, "tanh_shrink": f.tanhshrink,
        "hard_shrink": f.hardshrink, "soft_shrink": f.softshrink, "erf": torch.erf, "sin": torch.sin, "arctan": torch.atan,
    }  # fmt: skip

    def value(function: Any) -> Callable[[Array], Array]:
        return lambda x: function(torch.from_numpy(x)).numpy()

    def slope(function: Any) -> Callable[[Array], Array]:
        def call(x: Array) -> Array:
            t = torch.from_numpy(x).requires_grad_()
            return torch.autograd.grad(function(t).sum(), t)[0].numpy()

        return call

    return "torch", {(n, o): make(g) for n, g in functions.items() for o, make in ((0, value), (1, slope))}


def _jax() -> tuple[str, dict[tuple[str, int], Callable[[Array], Array]]]:
    import jax
    import jax.numpy as jnp

    functions = {
        "relu": jax.nn.relu, "leaky_relu": jax.nn.leaky_relu, "relu6": jax.nn.relu6, "hard_tanh": jax.nn.hard_tanh,
        "elu": jax.nn.elu, "celu": jax.nn.celu, "selu": jax.nn.selu, "softplus": jax.nn.softplus,
        "log_sigmoid": jax.nn.log_sigmoid, "gelu": lambda x: jax.nn.gelu(x, approximate=False), "gelu_tanh": jax.nn.gelu,
        "silu": jax.nn.silu, "mish": jax.nn.mish, "hard_swish": jax.nn.hard_swish, "hard_sigmoid": jax.nn.hard_sigmoid,
        "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "softsign": jax.nn.soft_sign, "squareplus": jax.nn.squareplus,
        "sparse_plus": jax.nn.sparse_plus, "sparse_sigmoid": jax.nn.sparse_sigmoid, "sin": jnp.sin, "arctan": jnp.arctan,
    }  # fmt: skip

    def value(f: Any) -> Callable[[Array], Array]:
        jitted = jax.jit(f)
        return lambda x: np.asarray(jitted(x))

    def slope(f: Any) -> Callable[[Array], Array]:
        jitted = jax.jit(jax.grad(lambda x: f(x).sum()))
        return lambda x: np.asarray(jitted(x))

    return "jax", {(n, o): make(f) for n, f in functions.items() for o, make in ((0, value), (1, slope))}


def _scipy() -> tuple[str, dict[tuple[str, int], Callable[[Array], Array]]]:
    from scipy import special

    functions = {
        "sigmoid": special.expit, "log_sigmoid": special.log_expit, "erf": special.erf,
        "gelu": lambda x: x * special.ndtr(x), "softplus": special.softplus if hasattr(special, "softplus") else None,
    }  # fmt: skip
    return "scipy", {(name, 0): f for name, f in functions.items() if f is not None}


def measure_peer(entry: nl.Elementwise, order: int, function: Callable[[Array], Array]) -> dict[str, Any]:
    """Measure another library's float32 function on the strided sample."""
    parameters = rounded_parameters(entry, "float32")
    worst = Worst("float32", promised(entry, order, "float32"), largest_term(entry, order, parameters))
    for x in inputs("float32", sample=0, seed=0):
        wide = x.astype(np.float64)
        want = entry(wide, **parameters) if order == 0 else entry.derivative(wide, order=order, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            worst.add(x, function(x), want)
    return worst.row()


# --- output ----------------------------------------------------------------------------------------------------------------


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['ulp']:.3f}" if row["ulp"] < 1e4 else f"{row['ulp']:.1e}"


def _cancelling(row: dict[str, Any]) -> list[str]:
    """Return the worst of the excused errors, in ulp and absolute."""
    ulp, error = row["cancelling_ulp"], row["cancelling_error"]
    return [f"{ulp:.1f}", f"{error:.1e}"] if error else ["", ""]


def markdown(results: list[dict[str, Any]], libraries: list[str]) -> str:
    """Return the page of docs/ with all results."""
    intro = """# Accuracy

Largest error of each activation and derivative in units of the last place of the exact result, as
`python benchmarks/accuracy.py --peers --markdown docs/accuracy.md` measured it; how, its docstring says. 0.5 is correct
rounding. The promises are 0.51 for float16 and bfloat16, 2 for float32 (2.5 for gelu and mish) and 2 for float64. Where terms
cancel, so that the result is below 1/32 of the largest of them, the promise is an absolute error of 6e-8 in float32 instead:
where more ulps than promised were seen there, two columns have the most ulps and the largest absolute error. The columns of
other libraries are their float32 functions on the same inputs.

"""
    head = ["entry", "order", *DTYPES, "at (float32)", "ulp, cancelling", "error, cancelling"]
    head += ["not correctly rounded (float32)", *libraries]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for result in results:
        single = result["dtypes"].get("float32")
        more = [""] * 4
        if single:
            more = [f"{single['at']:.6g}", *_cancelling(single), f"{single['not_correctly_rounded']:.1%}"]
        cells = [_cell(result["dtypes"].get(d)) for d in DTYPES]
        others = [_cell(result["peers"].get(library)) for library in libraries]
        lines.append(f"| {' | '.join([result['entry'], str(result['order']), *cells, *more, *others])} |")
    return intro + "\n".join(lines) + "\n"


def main() -> int:
    """Run from the command line; exit with 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # overflow, where it is deserved
    parser.add_argument("names", nargs="*", help="entries; all by default")
    parser.add_argument("--order", type=int, nargs="*", default=[0, 1], help="derivative orders (default 0 1)")
    parser.add_argument("--dtype", nargs="*", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--exhaustive", action="store_true", help="float32: all 2^32 inputs")
    parser.add_argument("--exact", action="store_true", help='measure nonlin.precision("exact")')
    parser.add_argument("--sample", type=int, default=2000, help="size of the float64 sample (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", action="store_true", help="torch, JAX and SciPy in float32 beside ours, where installed")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="write a table to this file")
    options = parser.parse_args()
    if options.exact:
        nl.set_precision("exact")
    others = peers() if options.peers else {}
    selected = entries(options.names)
    results, broken = [], []
    console = Console()
    table = Table("entry", "order", *options.dtype, "at (float32)", "ulp, cancelling", "error, cancelling", "seconds", *others)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(selected) * len(options.order))
        for entry in selected.values():
            for order in options.order:
                progress.update(task, description=f"{entry.name} order {order}")
                start = time.perf_counter()
                rows = {dtype: measure(entry, order, dtype, options) for dtype in options.dtype}
                beside = {
                    library: measure_peer(entry, order, functions[entry.name, order])
                    for library, functions in others.items()
                    if (entry.name, order) in functions
                }
                results.append({"entry": entry.name, "order": order, "dtypes": rows, "peers": beside})
                if options.json:  # after each, since an exhaustive run takes its time
                    options.json.write_text(json.dumps(results, indent=1) + "\n")
                for dtype, row in rows.items():
                    if row["ulp"] > promised(entry, order, dtype):
                        broken.append(f"{entry.name} order {order} {dtype}: {row['ulp']:.4g} ulp at {row['at']!r}")
                single = rows.get("float32")
                table.add_row(
                    entry.name, str(order), *map(_cell, rows.values()), f"{single['at']:.6g}" if single else "",
                    *(_cancelling(single) if single else ["", ""]),
                    f"{time.perf_counter() - start:.1f}", *(_cell(beside.get(library)) for library in others),
                )  # fmt: skip
                progress.advance(task)
    console.print(table)
    if options.markdown:
        options.markdown.write_text(markdown(results, list(others)))
    for line in broken:
        console.print(f"[red]above the promise:[/red] {line}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
