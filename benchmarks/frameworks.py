"""Measure activations and gradients in JAX, TensorFlow and Keras beside those that the framework itself has, with their errors.

    python benchmarks/frameworks.py                      # JAX and TensorFlow, 64K elements, float32
    python benchmarks/frameworks.py gelu mish --framework jax keras --json frameworks.json

``time`` is that of a compiled call: ``jax.jit``, ``tf.function`` with ``jit_compile=True``; Keras' functions are compiled by
the backend that ``KERAS_BACKEND`` names, JAX or TensorFlow. Both compete in turns within one run (see speed.py), each with
the framework's default parameters. ``ulp`` is the largest error of a value, or of a slope, on every 4,099th float32 and a
dense grid (see accuracy.py) in units of the last place; errors of 6e-8 where terms cancel, which are promised, do not
count, nor results of less than 2^24 of the least normal number, whose terms are flushed to 0. 1e6 ulp and more is another
convention at a kink.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import Worst, inputs, largest_term
from rich.console import Console
from rich.table import Table
from speed import Race, number_of, use_threads

import nonlin as nl

Array = np.ndarray[Any, Any]
Function = Callable[[Any], Any]


class Jax:
    """Functions of arrays of JAX, compiled."""

    name = "jax"

    def __init__(self) -> None:
        import jax

        self.jax, self.natives = jax, jax.nn

    def array(self, x: Array) -> Any:
        return self.jax.numpy.asarray(x)

    def compiled(self, function: Function, order: int) -> Function:
        jax = self.jax
        return jax.jit(jax.grad(lambda x: function(x).sum()) if order else function)

    def wait(self, y: Any) -> Any:
        return y.block_until_ready()


class TensorFlow:
    """Functions of tensors of TensorFlow, compiled by XLA."""

    name = "tensorflow"

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # it warns of many programs, which are what is measured
        self.tf, self.natives = tf, tf

    def array(self, x: Array) -> Any:
        return self.tf.constant(x)

    def compiled(self, function: Function, order: int) -> Function:
        tf = self.tf

        def slope(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x)

        return tf.function(slope if order else function, jit_compile=True)  # type: ignore[no-any-return]

    def wait(self, y: Any) -> Any:
        return y.numpy()


def keras() -> Any:
    """Keras' functions, compiled by its backend."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    backend = {"jax": Jax, "tensorflow": TensorFlow}.get(keras.backend.backend())
    if backend is None:
        raise SystemExit(f"Keras' backend must be jax or tensorflow here, got {keras.backend.backend()}: set KERAS_BACKEND")
    found = backend()
    found.name, found.natives = f"keras ({found.name})", keras.activations
    return found


FRAMEWORKS: dict[str, tuple[Callable[[], Any], str]] = {
    "jax": (Jax, "jax"),
    "tensorflow": (TensorFlow, "tensorflow"),
    "keras": (keras, "keras"),
}


def natives(framework: Any, dialect: str, wanted: list[str]) -> Iterator[tuple[str, nl.Elementwise, Function]]:
    """Yield what a framework has of the elementwise activations: our name, ours with its defaults, its function."""
    for name, calls in nl.dialect(dialect).calls.items():
        entry = nl.activations[name]
        if not isinstance(entry, nl.Elementwise) or entry.operands != ("x",) or name in ("identity", "threshold"):
            continue
        if wanted and name not in wanted:
            continue
        call = calls[0]
        yield (
            name,
            entry if call.fixed else nl.dialect(dialect)[call.name],
            partial(attrgetter(call.name)(framework.natives), **call.fixed),
        )


def largest_ulp(framework: Any, entry: nl.Elementwise, order: int, function: Function) -> float:
    """Return the largest error of a compiled function, in ulp."""
    parameters = {name: float(np.float32(p.default)) for name, p in entry.parameters.items()}
    worst = Worst("float32", 4.0, largest_term(entry.root, order, parameters))
    for x in inputs("float32", sample=0, seed=0):
        want = entry.derivative(x.astype(np.float64), order=order, **parameters)
        # A subnormal number is 0 to these frameworks, also as a term of a result that is none.
        tiny = np.finfo(np.float32).tiny
        counts = ((np.abs(want) >= 2.0**24 * tiny) | (want == 0)) & ((np.abs(x) >= tiny) | (x == 0))
        got = np.asarray(framework.wait(function(framework.array(x))))
        worst.add(x[counts], got[counts], want[counts])
    return worst.ulp


def measure(framework: Any, dialect: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure what a framework has."""
    x = framework.array(np.random.default_rng(0).standard_normal(number_of(options.size), np.float32))
    for name, entry, native in natives(framework, dialect, options.entries):
        for order in (0, 1):
            calls = {"ours": framework.compiled(entry, order), "native": framework.compiled(native, order)}
            race = Race({n: partial(_run, framework, c, x) for n, c in calls.items()}, options.repeat, options.seconds)
            yield {
                "framework": framework.name,
                "entry": name,
                "order": order,
                **{f"{n}_seconds": race.median(n) for n in calls},
                "ratio": race.ratio("native", "ours")[0],
                **{f"{n}_ulp": largest_ulp(framework, entry, order, c) for n, c in calls.items()},
            }


def _run(framework: Any, call: Function, x: Any) -> None:
    framework.wait(call(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="*", help="by default all that the framework has")
    parser.add_argument("--framework", nargs="+", choices=FRAMEWORKS, default=["jax", "tensorflow"])
    parser.add_argument("--size", default="64K")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=11, help="rounds")
    parser.add_argument("--seconds", type=float, default=0.01, help="per competitor and round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    unknown = [name for name in options.entries if name not in nl.activations]
    if unknown:
        parser.error(f"there is no activation {', '.join(unknown)}")
    use_threads(options.threads)
    results: list[dict[str, Any]] = []
    table = Table("framework", "entry", "what", "ours, us", "native, us", "native / ours", "ours, ulp", "native, ulp")
    for chosen in options.framework:
        make, dialect = FRAMEWORKS[chosen]
        for row in measure(make(), dialect, options):
            results.append(row)
            times = (f"{row[key] * 1e6:.1f}" for key in ("ours_seconds", "native_seconds"))
            errors = (f"{row[key]:.3g}" for key in ("ours_ulp", "native_ulp"))
            table.add_row(
                row["framework"], row["entry"], ("value", "slope")[row["order"]], *times, f"{row['ratio']:.2f}", *errors
            )
        table.add_section()
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
