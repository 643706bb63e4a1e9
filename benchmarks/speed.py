"""Measure how long activations and derivatives take, beside what a user would call instead.

    python benchmarks/speed.py --quick                          # the table of the twelve, and every cell that a peer wins
    python benchmarks/speed.py gelu mish --size 4K 256K --dtype float32 float64
    python benchmarks/speed.py --json speed.json --plot speed.png   # everything; an hour

A cell is an entry, what is computed (value, derivative, both), a size, a dtype, a kind of output (an array given as ``out``, or
a fresh one) and the deviation of the normal random numbers that come in: at 3 more of them lie in the tails. All who compete in
a cell take turns within one run: each round times each of them once, starting with another one every time, and a round's times
are compared with each other only. Figures are medians over rounds; the interval of a ratio is the one that holds its median
with 95 % certainty, by order statistics. A peer wins a cell if it is more than 5 % faster at the far end of that interval.
Everyone runs on one thread unless ``--threads`` says otherwise.

A fresh result is dropped before the next call, as in a loop of a program: whoever keeps freed memory (nonlin.memory, the malloc
of the system) finds it again.

The peers: NumPy and SciPy as one writes the formula with them; torch's own operations where it has them (out= used where they
know it) and the formula in torch's operations where not, ``torch.compile`` of the same where a C++ compiler is installed,
``jax.jit``, and numexpr. Backward operations of torch multiply by an incoming gradient, which ours do not: where memory is
the limit, that is a quarter to a third more traffic than computing the derivative. sigmoid's and tanh's take the output
in place of the input.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import operator
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from elementwise import entries
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import nonlin as nl
from nonlin.formula.expression import Application, symbols
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling

Array = Any
Call = Callable[[], Any]
KINDS = ("value", "derivative", "both")
OUTPUTS = ("out", "fresh")
DTYPES = ("float16", "bfloat16", "float32", "float64")
SIZES = ("16", "4K", "256K", "4M", "32M")
#: torch eager's time divided by ours, float32, 256K elements, out=, at both deviations: what is to be reached with AVX2
WANTED = {
    ("relu", "value"): 1.0, ("sigmoid", "value"): 1.7, ("tanh", "value"): 5.3, ("silu", "value"): 2.5,
    ("gelu", "value"): 1.1, ("gelu_tanh", "value"): 3.6, ("mish", "value"): 11.0, ("softplus", "value"): 4.5,
    ("elu", "value"): 5.0, ("silu", "derivative"): 2.0, ("gelu", "derivative"): 1.7, ("mish", "derivative"): 8.0,
}  # fmt: skip
TWELVE = tuple(WANTED)
#: a peer that is so many times slower than the fastest is timed in the first rounds only
FAR_BEHIND = 8


def dtype_of(name: str) -> np.dtype[Any]:
    """Return a dtype by name; bfloat16 is ml_dtypes'."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def number_of(size: str) -> int:
    """Read a size such as 256K."""
    return int(size[:-1]) * {"K": 2**10, "M": 2**20}[size[-1].upper()] if size[-1].isalpha() else int(size)


def aligned(count: int, dtype: np.dtype[Any]) -> Array:
    """Return an array that starts at a cache line, as torch's and JAX's do, with its memory in place."""
    whole = np.zeros(count * dtype.itemsize + 64, np.uint8)
    whole.fill(0)
    start = -whole.ctypes.data % 64
    return whole[start : start + count * dtype.itemsize].view(dtype)


def inputs(count: int, dtype: np.dtype[Any], deviation: int = 1) -> Array:
    """Return normal random numbers of that deviation."""
    x = aligned(count, dtype)
    x[:] = deviation * np.random.default_rng(0).standard_normal(count, np.float32)
    return x


# --- timing ----------------------------------------------------------------------------------------------------------------


class Race:
    """Times of competitors that take turns.

    Parameters
    ----------
    competitors : Mapping[str, callable]
    rounds : int
        How often each is timed.
    seconds : float
        How long a competitor is run in a round, by calling it often enough.
    """

    def __init__(self, competitors: Mapping[str, Call], rounds: int, seconds: float) -> None:
        names = list(competitors)
        calls, once = {}, {}
        for name, call in competitors.items():
            call()  # compiles, allocates, fills caches of dispatch
            start = time.perf_counter()
            call()
            once[name] = time.perf_counter() - start
        for name in names:
            calls[name] = max(1, min(100_000, int(seconds / max(once[name], 1e-8))))
        fastest = min(once.values())
        self.times: dict[str, list[float]] = {name: [] for name in names}
        enabled = gc.isenabled()
        gc.disable()
        try:
            for k in range(rounds):
                for name in names[k % len(names) :] + names[: k % len(names)]:
                    if k >= 3 and once[name] > FAR_BEHIND * fastest:
                        continue
                    call, repeat = competitors[name], range(calls[name])
                    start = time.perf_counter()
                    for _ in repeat:
                        call()
                    self.times[name].append((time.perf_counter() - start) / len(repeat))
        finally:
            if enabled:
                gc.enable()

    def median(self, name: str) -> float:
        """Return the seconds of one call."""
        return statistics.median(self.times[name])

    def noise(self, name: str) -> float:
        """Return half of the range between the quartiles, relative to the median."""
        low, _, high = statistics.quantiles(self.times[name], n=4) if len(self.times[name]) > 1 else (0, 0, 0)
        return (high - low) / 2 / self.median(name)

    def ratio(self, slow: str, fast: str) -> tuple[float, float, float]:
        """Return the median of one's time over the other's in the same round, and the interval that holds it."""
        ratios = sorted(a / b for a, b in zip(self.times[slow], self.times[fast], strict=False))
        n, below, k = len(ratios), 0.0, 0
        while k < (n - 1) // 2 and (below := below + math.comb(n, k) / 2**n) <= 0.025:
            k += 1
        low = max(k - 1, 0)
        return statistics.median(ratios), ratios[low], ratios[n - 1 - low]


# --- the machine -----------------------------------------------------------------------------------------------------------

_COPY = """
define void @loop(ptr %to, ptr %from, i64 %count) {{
entry:
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
{lines}
  %next = add i64 %i, 256
  %more = icmp ult i64 %next, %count
  br i1 %more, label %body, label %done
done:
  fence seq_cst
  ret void
}}
{meta}
"""


#: They own the machine code.
_engines: list[Any] = []


def copiers() -> dict[str, Any]:
    """Return loops ``(to, from, bytes)`` over whole cache lines, with ordinary and with non-temporal stores."""
    import ctypes

    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    host = binding.Target.from_triple(binding.get_process_triple())
    found = {}
    for name, hint in (("copy", ""), ("non-temporal copy", ", !nontemporal !0")):
        lines = []
        for k in range(4):
            lines += [
                f"  %o{k} = add i64 %i, {k * 64}",
                f"  %f{k} = getelementptr i8, ptr %from, i64 %o{k}",
                f"  %t{k} = getelementptr i8, ptr %to, i64 %o{k}",
                f"  %v{k} = load <16 x float>, ptr %f{k}, align 64",
            ]
        lines += [f"  store <16 x float> %v{k}, ptr %t{k}, align 64{hint}" for k in range(4)]
        text = _COPY.format(lines="\n".join(lines), meta="!0 = !{i32 1}" if hint else "")
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        machine = host.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=2, jit=True)
        engine = binding.create_mcjit_compiler(binding.parse_assembly(text), machine)
        engine.finalize_object()
        _engines.append(engine)
        found[name] = prototype(engine.get_function_address("loop"))
    return found


def measure_copies(sizes: Iterable[int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time copies of float32 arrays, in ns per element; numpy.copyto twice, which shows what difference means nothing."""
    rows, loops = [], copiers()
    for size in sizes:
        x, out = inputs(size, np.dtype(np.float32)), aligned(size, np.dtype(np.float32))
        competitors: dict[str, Call] = {name: partial(np.copyto, out, x) for name in ("numpy.copyto", "numpy.copyto again")}
        if size % 64 == 0:
            competitors |= {name: partial(loop, out.ctypes.data, x.ctypes.data, x.nbytes) for name, loop in loops.items()}
        race = Race(competitors, options.repeat, options.seconds)
        row: dict[str, Any] = {"size": size} | {name: race.median(name) / size * 1e9 for name in competitors}
        row["noise"] = abs(race.ratio("numpy.copyto", "numpy.copyto again")[0] - 1)
        rows.append(row)
    return rows


# --- what competes -----------------------------------------------------------------------------------------------------------


class Task:
    """What is to be computed: an entry, its value or derivative, from an array, into another one or a fresh one."""

    def __init__(self, entry: nl.Elementwise, kind: str, x: Array, out: Array | None) -> None:
        self.entry, self.kind, self.x, self.out = entry, kind, x, out
        self.parameters = {name: p.default for name, p in entry.parameters.items()}


class Library:
    """A competitor. ``prepare`` returns what is to be timed, or None where the library has nothing for the task."""

    name: ClassVar[str]

    def prepare(self, task: Task) -> Call | None:
        raise NotImplementedError


class Nonlin(Library):
    name = "nonlin"

    def prepare(self, task: Task) -> Call | None:
        entry, x, out = task.entry, task.x, task.out
        if task.kind == "both":
            both = getattr(entry, "value_and_derivative", None)
            if both is None:
                return None
            return partial(both, x) if out is None else partial(both, x, out=(out, np.empty_like(out)))
        function = entry if task.kind == "value" else entry.derivative
        return partial(function, x) if out is None else partial(function, x, out=out)


class Written(Spelling[Any]):
    """Evaluates a formula with a library's functions, as its user would write it."""

    def __init__(self, language: str, table: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> None:
        self.language = language  # type: ignore[misc]
        self.table, self.values = table, values

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def constant(self, value: Fraction) -> Any:
        return value.numerator if value.denominator == 1 else float(value)

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        if all(isinstance(a, (int, float)) for a in arguments) and primitive.name in _OF_NUMBERS:
            return _OF_NUMBERS[primitive.name](*arguments)
        return super().application(primitive, arguments, node)


_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "pi": lambda: math.pi, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "maximum": max, "minimum": min,
    "absolute": abs,
}  # fmt: skip
_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "negative": operator.neg, "integer_power": operator.pow, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "logical_and": operator.and_, "logical_or": operator.or_,
    "absolute": abs,
}  # fmt: skip


def _functions(module: Any, names: str) -> dict[str, Callable[..., Any]]:
    return {name: getattr(module, name) for name in names.split()}


class Numpy(Library):
    """NumPy, with SciPy's functions where NumPy has none."""

    name = "numpy"

    def __init__(self) -> None:
        from scipy import special

        self.table = _OPERATORS | _functions(np, "where maximum minimum sign sqrt exp expm1 log log1p sin cos arctan tanh")
        self.table |= {"sigmoid": special.expit, "erf": special.erf, "erfc": special.erfc, "normal_cdf": special.ndtr}
        #: one ufunc does it, so out= can be given
        self.ufuncs: dict[str, Callable[..., Any]] = {
            "relu": lambda x, **k: np.maximum(x, 0, **k), "tanh": np.tanh, "abs": np.absolute, "sin": np.sin,
            "arctan": np.arctan, "sigmoid": special.expit, "erf": special.erf, "identity": np.positive,
            "log_sigmoid": special.log_expit, "softplus": lambda x, **k: np.logaddexp(x, 0, **k),
            "hard_tanh": lambda x, **k: np.clip(x, -1, 1, **k), "relu6": lambda x, **k: np.clip(x, 0, 6, **k),
        }  # fmt: skip

    def prepare(self, task: Task) -> Call | None:
        if task.kind == "both":
            return None
        ufunc = self.ufuncs.get(task.entry.name) if task.kind == "value" else None
        if ufunc is not None:
            return partial(ufunc, task.x) if task.out is None else partial(ufunc, task.x, out=task.out)
        formula = task.entry.derivative_formula(1 if task.kind == "derivative" else 0)
        if "x" not in symbols(formula):
            return None  # a number, not an array of them

        def call() -> Any:
            return Written("NumPy", self.table, {"x": task.x, **task.parameters})(formula)

        return call


class Scipy(Library):
    """SciPy's ufuncs themselves."""

    name = "scipy"

    def __init__(self) -> None:
        from scipy import special

        self.ufuncs = {"sigmoid": special.expit, "log_sigmoid": special.log_expit, "erf": special.erf}

    def prepare(self, task: Task) -> Call | None:
        ufunc = self.ufuncs.get(task.entry.name)
        if ufunc is None or task.kind != "value":
            return None
        return partial(ufunc, task.x) if task.out is None else partial(ufunc, task.x, out=task.out)


class Numexpr(Library):
    """The formula as text for numexpr, which knows no erf."""

    name = "numexpr"

    def __init__(self) -> None:
        import numexpr

        self.numexpr = numexpr
        functions = "where sqrt exp expm1 log log1p sin cos arctan tanh"
        self.table: dict[str, Callable[..., str]] = {name: _spelled(name) for name in functions.split()}
        self.table |= {
            "maximum": lambda a, b: f"where({a} > {b}, {a}, {b})", "minimum": lambda a, b: f"where({a} < {b}, {a}, {b})",
            "absolute": _spelled("abs"), "negative": lambda a: f"(-{a})", "pi": lambda: repr(math.pi),
        }  # fmt: skip
        signs = {
            "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "integer_power": "**", "less": "<", "less_equal": "<=",
            "greater": ">", "greater_equal": ">=", "logical_and": "&", "logical_or": "|",
        }  # fmt: skip
        self.table |= {name: _infix(sign) for name, sign in signs.items()}

    def prepare(self, task: Task) -> Call | None:
        if task.kind == "both" or task.x.dtype.name not in ("float32", "float64"):
            return None
        names: dict[str, Any] = {"x": task.x}

        class Typed(Written):
            """A number that is not whole would make float32 arrays float64, so it becomes a variable of their dtype."""

            def constant(self, value: Fraction) -> Any:
                if value.denominator == 1:
                    return f"({value.numerator})"
                name = f"c{len(names)}"
                names[name] = task.x.dtype.type(float(value))
                return name

        values = {"x": "x"}
        for name, default in task.parameters.items():
            values[name], names[name] = name, task.x.dtype.type(default)
        formula = task.entry.derivative_formula(1 if task.kind == "derivative" else 0)
        text = Typed("numexpr", self.table, values)(formula)
        return partial(self.numexpr.evaluate, text, local_dict=names, out=task.out, casting="same_kind")


def _spelled(name: str) -> Callable[..., str]:
    return lambda *arguments: f"{name}({', '.join(map(str, arguments))})"


def _infix(sign: str) -> Callable[..., str]:
    return lambda a, b: f"({a} {sign} {b})"


class Torch(Library):
    """Eager torch: its own operations, or the formula in torch's operations, differentiated by its autograd."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        self.torch = torch
        nn, aten, f = torch._C._nn, torch.ops.aten, torch.nn.functional
        self.table = _OPERATORS | _functions(torch, "sign sqrt exp expm1 log log1p sin cos tanh sigmoid erf erfc where")
        self.table |= {
            "arctan": torch.atan, "softplus": f.softplus, "normal_cdf": torch.special.ndtr,
            "maximum": partial(_clamped, torch, "min"), "minimum": partial(_clamped, torch, "max"),
        }  # fmt: skip
        #: (x, out=) where torch has the operation
        self.values: dict[str, Callable[..., Any]] = {
            "relu": lambda x, **k: torch.clamp_min(x, 0, **k) if k else torch.relu(x), "sigmoid": torch.sigmoid,
            "tanh": torch.tanh, "silu": nn.silu, "swish": nn.silu, "gelu": nn.gelu, "mish": nn.mish, "softplus": nn.softplus,
            "gelu_tanh": partial(nn.gelu, approximate="tanh"), "elu": nn.elu, "leaky_relu": nn.leaky_relu, "selu": torch.selu,
            "celu": torch.celu, "hard_tanh": nn.hardtanh, "relu6": lambda x, **k: nn.hardtanh(x, 0.0, 6.0, **k),
            "hard_swish": nn.hardswish, "hard_sigmoid": nn.hardsigmoid, "soft_shrink": nn.softshrink,
            "hard_shrink": torch.hardshrink, "log_sigmoid": nn.log_sigmoid, "erf": torch.erf, "sin": torch.sin,
            "arctan": torch.atan, "abs": torch.abs, "softsign": f.softsign, "tanh_shrink": f.tanhshrink,
            "identity": torch.clone,
        }  # fmt: skip
        #: (incoming gradient, x; or, for two of them, the output; grad_input=) where torch has the operation
        self.backward: dict[str, Callable[..., Any]] = {
            "silu": aten.silu_backward, "swish": aten.silu_backward, "gelu": aten.gelu_backward, "mish": aten.mish_backward,
            "gelu_tanh": partial(aten.gelu_backward, approximate="tanh"),
            "sigmoid": aten.sigmoid_backward, "tanh": aten.tanh_backward,
            "hard_swish": aten.hardswish_backward, "hard_sigmoid": aten.hardsigmoid_backward,
            "relu": lambda g, x, **k: aten.threshold_backward(g, x, 0, **k),
            "elu": lambda g, x, **k: aten.elu_backward(g, 1, 1, 1, False, x, **k),
            "softplus": lambda g, x, **k: aten.softplus_backward(g, x, 1, 20, **k),
            "leaky_relu": lambda g, x, **k: aten.leaky_relu_backward(g, x, 0.01, False, **k),
            "hard_tanh": lambda g, x, **k: aten.hardtanh_backward(g, x, -1, 1, **k),
            "relu6": lambda g, x, **k: aten.hardtanh_backward(g, x, 0, 6, **k),
            "soft_shrink": lambda g, x, **k: aten.softshrink_backward(g, x, 0.5, **k),
            "hard_shrink": lambda g, x, **k: aten.hardshrink_backward(g, x, 0.5, **k),
        }  # fmt: skip

    def tensor(self, array: Array) -> Any:
        if array.dtype.name == "bfloat16":
            return self.torch.from_numpy(array.view(np.int16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(array)

    def formula(self, task: Task, x: Any) -> Any:
        return Written("torch", self.table, {"x": x, **task.parameters})(task.entry.formula)

    def value(self, task: Task) -> Callable[..., Any]:
        return self.values.get(task.entry.name) or partial(self.formula, task)

    def prepare(self, task: Task) -> Call | None:
        x = self.tensor(task.x)
        out = None if task.out is None else self.tensor(task.out)
        if task.kind == "value":
            return self._with_out(self.value(task), (x,), out)
        ones = self.torch.ones_like(x)
        backward = self.backward.get(task.entry.name)
        if backward is not None and task.kind == "derivative":
            saved = self.value(task)(x) if task.entry.name in ("sigmoid", "tanh") else x
            return self._with_out(backward, (ones, saved), out)
        leaf = x.detach().requires_grad_()
        grad = self.torch.autograd.grad
        if task.kind == "both":
            value = self.value(task)
            return lambda: grad(value(leaf), leaf, ones)
        y = self.formula(task, leaf)
        if not y.requires_grad:
            return None
        return partial(grad, y, leaf, ones, retain_graph=True)

    def _with_out(self, function: Callable[..., Any], operands: tuple[Any, ...], out: Any) -> Call:
        """Return the call that writes to ``out`` if the operation can; else one with a fresh result."""
        for keyword in () if out is None else ("out", "grad_input"):
            call = partial(function, *operands, **{keyword: out})
            with contextlib.suppress(TypeError, RuntimeError):
                call()
                return call
        return partial(function, *operands)


def _clamped(torch: Any, side: str, a: Any, b: Any) -> Any:
    """Take the larger or smaller one as one writes it in torch: by clamp if one of them is a number."""
    array, number = (b, a) if isinstance(a, (int, float)) else (a, b)
    if isinstance(number, (int, float)):
        return torch.clamp(array, **{side: number})
    return (torch.maximum if side == "min" else torch.minimum)(a, b)


class Compiled(Torch):
    """torch.compile of the value, or of value and backward as its autograd derives them."""

    name = "torch.compile"

    def __init__(self) -> None:
        if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
            raise ImportError("no C++ compiler")
        super().__init__()
        self.torch._dynamo.config.cache_size_limit = 10_000

    def prepare(self, task: Task) -> Call | None:
        self.torch._dynamo.reset()
        torch_function = {"softplus": self.torch.nn.functional.softplus}.get(task.entry.name) or self.value(task)
        compiled = self.torch.compile(torch_function, fullgraph=True, dynamic=False)
        x = self.tensor(task.x)
        if task.kind == "value":

            def infer() -> Any:
                with self.torch.no_grad():
                    return compiled(x)

            return infer
        leaf, ones = x.detach().requires_grad_(), self.torch.ones_like(x)
        grad = self.torch.autograd.grad
        if task.kind == "both":
            return lambda: grad(compiled(leaf), leaf, ones)
        return partial(grad, compiled(leaf), leaf, ones, retain_graph=True)


class Jax(Library):
    """jax.jit of the formula or of jax.nn's function; of its gradient for a derivative."""

    name = "jax"

    def __init__(self) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.table = _OPERATORS | _functions(jnp, "where maximum minimum sign sqrt exp expm1 log log1p sin cos arctan tanh")
        self.table |= _functions(jax.nn, "sigmoid softplus") | _functions(jax.scipy.special, "erf erfc")
        self.table |= {"normal_cdf": jax.scipy.special.ndtr}
        names = "relu leaky_relu relu6 hard_tanh elu celu selu softplus log_sigmoid silu mish hard_swish hard_sigmoid sigmoid"
        self.functions = _functions(jax.nn, names + " tanh squareplus sparse_plus sparse_sigmoid")
        self.functions |= {"gelu": partial(jax.nn.gelu, approximate=False), "gelu_tanh": partial(jax.nn.gelu, approximate=True)}

    def prepare(self, task: Task) -> Call | None:
        own = self.functions.get(task.entry.name)

        def function(x: Any) -> Any:
            return own(x) if own else Written("JAX", self.table, {"x": x, **task.parameters})(task.entry.formula)

        def slope(x: Any) -> Any:
            y, pull = self.jax.vjp(function, x)
            (dx,) = pull(self.jax.numpy.ones_like(y))
            return dx if task.kind == "derivative" else (y, dx)

        jitted, x = self.jax.jit(function if task.kind == "value" else slope), self.jax.numpy.asarray(task.x)
        ready = self.jax.block_until_ready
        return lambda: ready(jitted(x))


LIBRARIES: tuple[type[Library], ...] = (Numpy, Scipy, Torch, Compiled, Jax, Numexpr)


def use_threads(count: int) -> None:
    """Have every library work on so many threads: before any of them is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NONLIN_NUM_THREADS", "NPROC", "PJRT_NPROC"):
        os.environ[name] = str(count)
    if count == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    if hasattr(nl, "set_num_threads"):
        nl.set_num_threads(count)


def libraries(names: Iterable[str]) -> list[Library]:
    """Return ours and those of the named ones that are installed."""
    found: list[Library] = [Nonlin()]
    for library in LIBRARIES:
        if library.name in names:
            with contextlib.suppress(ImportError):
                found.append(library())
    return found


# --- cells -------------------------------------------------------------------------------------------------------------------


class Data:
    """Inputs and outputs, kept from cell to cell: only those of the last size, dtype and deviation."""

    def __init__(self) -> None:
        self.key: tuple[int, str, int] | None = None

    def __call__(self, size: int, dtype: str, deviation: int = 1) -> tuple[Array, Array]:
        if self.key != (size, dtype, deviation):
            self.x = self.out = None  # the old ones go before the new ones come
            self.x, self.out = inputs(size, dtype_of(dtype), deviation), aligned(size, dtype_of(dtype))
            self.key = (size, dtype, deviation)
        return self.x, self.out


def competitors(task: Task, found: list[Library]) -> dict[str, Call]:
    """Return everybody's call that works for the task."""
    calls = {}
    for library in found:
        try:
            call = library.prepare(task)
            if call is not None:
                call()
                calls[library.name] = call
        except Exception as error:
            if library.name == "nonlin":
                raise
            first_line = f"{library.name}: {type(error).__name__}: {error}".splitlines()[0][:120]
            problems.setdefault(first_line, []).append(f"{task.entry.name} {task.kind} {task.x.dtype}")
    return calls


#: why peers could not take part, with the cells
problems: dict[str, list[str]] = {}


class Place(NamedTuple):
    """Which cell it is."""

    entry: nl.Elementwise
    kind: str
    size: int
    dtype: str
    output: str
    deviation: int

    def __str__(self) -> str:
        what = f"{title(self.entry.name, self.kind)} {self.dtype} {size_of(self.size)} {self.output}"
        return what if self.deviation == 1 else f"{what}, deviation {self.deviation}"


def measure(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one cell."""
    entry, kind, size, dtype, output, deviation = place
    x, out = options.data(size, dtype, deviation)
    calls = competitors(Task(entry, kind, x, out if output == "out" else None), options.libraries)
    cell: dict[str, Any] = {"entry": entry.name, "kind": kind, "size": size, "dtype": dtype, "output": output}
    cell |= {"deviation": deviation, "name": str(place)}
    if "nonlin" not in calls:
        return cell | {"ns": {}, "peers": {}}
    race = Race(calls, options.repeat, options.seconds)
    cell["ns"] = {name: race.median(name) / size * 1e9 for name in calls}
    cell["noise"] = {name: race.noise(name) for name in calls}
    # By each peer: its time over ours, and the interval.
    cell["peers"] = {name: race.ratio(name, "nonlin") for name in calls if name != "nonlin"}
    return cell


def wins(cell: dict[str, Any]) -> list[str]:
    """Return the peers that are more than 5 % faster beyond the noise."""
    return [name for name, (_, _, high) in cell["peers"].items() if high < 1 / 1.05]


def cells_to_measure(options: argparse.Namespace) -> Iterator[Place]:
    """Yield the cells, outermost what the data depend on, so that they are made once."""
    both = hasattr(nl.Elementwise, "value_and_derivative")
    kinds = [kind for kind in options.kind if kind != "both" or both]
    for dtype, size, deviation in product(options.dtype, options.size, options.deviation):
        for entry, kind, output in product(options.entries.values(), kinds, options.output):
            yield Place(entry, kind, number_of(size), dtype, output, deviation)


# --- more rows ---------------------------------------------------------------------------------------------------------------


def measure_small(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time calls on 16 float32 numbers, in ns, beside np.negative's."""
    x, rows = inputs(16, np.dtype(np.float32)), []
    out = np.empty_like(x)
    for name, kind in options.twelve:
        entry = options.entries[name]
        ours = entry if kind == "value" else entry.derivative
        for output, more in (("fresh", {}), ("out", {"out": out})):
            pair = {"nonlin": partial(ours, x, **more), "np.negative": partial(np.negative, x, **more)}
            race = Race(pair, options.repeat, options.seconds)
            row = {"entry": name, "kind": kind, "output": output, "ratio": race.ratio("nonlin", "np.negative")}
            rows.append(row | {"ns": {key: race.median(key) * 1e9 for key in race.times}})
    return rows


_FIRST = """
import sys, time
import numpy as np
import nonlin as nl
x = np.ones(16, np.float32)
entry = nl.get(sys.argv[1])
call = entry if sys.argv[2] == "value" else entry.derivative
given = {n: 0.5 if n == "threshold" else -2.0 for n, p in entry.parameters.items() if p.default is None}
if sys.argv[3] == "after":
    nl.abs(x)
start = time.perf_counter()
call(x, **given)
print(time.perf_counter() - start)
"""


def measure_first_calls(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time first calls, which compile, in ms; the best of some processes, as the machine is shared.

    In a fresh process the first call of all loads LLVM and compiles what kernels share; after one of another kernel it is the
    kernel's own price.
    """
    rows = []
    for name, kind in options.first:
        row: dict[str, Any] = {"entry": name, "kind": kind}
        for when in ("fresh", "after"):
            command = [sys.executable, "-c", _FIRST, name, kind, when]
            printed = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(options.processes)]
            row[when] = [float(run.stdout) * 1e3 for run in printed]
        rows.append(row)
    return rows


def measure_exact(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time float32 in precision "exact" beside torch, 256K elements, out=."""
    rows = []
    torch = [library for library in options.libraries if library.name in ("nonlin", "torch")]
    if len(torch) < 2:
        return rows
    x, out = options.data(2**18, "float32")
    with nl.precision("exact"):
        for name, kind in options.twelve:
            race = Race(competitors(Task(options.entries[name], kind, x, out), torch), options.repeat, options.seconds)
            ns = {key: race.median(key) / x.size * 1e9 for key in race.times}
            rows.append({"entry": name, "kind": kind, "ns": ns, "ratio": race.ratio("torch", "nonlin")})
    return rows


def measure_curve(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the twelve over powers of two in size, out=, in ns per element; torch beside ours."""
    rows = []
    some = [library for library in options.libraries if library.name in ("nonlin", "torch")]
    for size in options.curve:
        x, out = options.data(size, "float32")
        for name, kind in options.twelve:
            race = Race(competitors(Task(options.entries[name], kind, x, out), some), options.repeat, options.seconds)
            ns = {key: race.median(key) / size * 1e9 for key in race.times}
            rows.append({"entry": name, "kind": kind, "size": size, "ns": ns})
    return rows


def measure_pairs_and_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time gated pairs of two arrays and functions of rows of 1024, float32, fresh, in ns per element of the result."""
    names, found = {library.name for library in options.libraries}, []
    size = 2**18
    a, b = inputs(size, np.dtype(np.float32)), inputs(size, np.dtype(np.float32))[::-1].copy()
    rows = a.reshape(-1, 1024)
    calls: dict[str, dict[str, Call]] = {
        "swiglu": {"nonlin": lambda: nl.swiglu(a, b)}, "geglu": {"nonlin": lambda: nl.geglu(a, b)},
        "reglu": {"nonlin": lambda: nl.reglu(a, b)}, "glu": {"nonlin": lambda: nl.glu(a, b)},
        "softmax": {"nonlin": lambda: nl.softmax(rows)}, "log_softmax": {"nonlin": lambda: nl.log_softmax(rows)},
    }  # fmt: skip
    if "scipy" in names:
        from scipy import special

        calls["softmax"]["scipy"] = partial(special.softmax, rows, axis=-1)
        calls["log_softmax"]["scipy"] = partial(special.log_softmax, rows, axis=-1)
    if "torch" in names:
        import torch
        from torch.nn import functional as f

        ta, tb, trows = map(torch.from_numpy, (a, b, rows))
        gates = {"swiglu": f.silu, "geglu": f.gelu, "reglu": torch.relu, "glu": torch.sigmoid}
        for name, gate in gates.items():
            calls[name]["torch"] = lambda gate=gate: gate(ta) * tb
        calls["softmax"]["torch"] = partial(torch.softmax, trows, -1)
        calls["log_softmax"]["torch"] = partial(torch.log_softmax, trows, -1)
    if "jax" in names:
        import jax

        ja, jb, jrows = map(jax.numpy.asarray, (a, b, rows))
        exact_gelu = partial(jax.nn.gelu, approximate=False)
        jgates = {"swiglu": jax.nn.silu, "geglu": exact_gelu, "reglu": jax.nn.relu, "glu": jax.nn.sigmoid}
        for name, gate in jgates.items():
            jitted = jax.jit(lambda a, b, gate=gate: gate(a) * b)
            calls[name]["jax"] = lambda jitted=jitted: jax.block_until_ready(jitted(ja, jb))
        for name in ("softmax", "log_softmax"):
            jitted = jax.jit(getattr(jax.nn, name))
            calls[name]["jax"] = lambda jitted=jitted: jax.block_until_ready(jitted(jrows))
    for name, competing in calls.items():
        race = Race(competing, options.repeat, options.seconds)
        ns = {key: race.median(key) / size * 1e9 for key in competing}
        ratios = {key: race.ratio(key, "nonlin") for key in competing if key != "nonlin"}
        cell = {"entry": name, "name": f"{name} float32 {size_of(size)} fresh"}
        found.append(cell | {"ns": ns, "peers": ratios})
    return found


def measure_threads(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time one thread beside as many as there are processors on the largest array, out=, and a copy done in as many parts."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < 2:
        return []
    size, rows = max(options.curve[-1], 2**22), []
    x, out = options.data(size, "float32")

    def on(threads: int, call: Call) -> Call:
        def run() -> Any:
            nl.set_num_threads(threads)
            return call()

        return run

    parts = [slice(k * size // count, (k + 1) * size // count) for k in range(count)]
    with ThreadPoolExecutor(count) as pool:
        copies = {"one": partial(np.copyto, out, x), "all": lambda: [*pool.map(lambda p: np.copyto(out[p], x[p]), parts)]}
        races = {"numpy.copyto": Race(copies, options.repeat, options.seconds)}
        for name, kind in options.twelve:
            entry = options.entries[name]
            call = partial(entry if kind == "value" else entry.derivative, x, out=out)
            race = Race({"one": on(1, call), "all": on(count, call)}, options.repeat, options.seconds)
            races[title(name, kind)] = race
    nl.set_num_threads(options.threads)
    for name, race in races.items():
        ns = {key: race.median(key) / size * 1e9 for key in race.times}
        rows.append({"what": name, "size": size, "threads": count, "ns": ns, "ratio": race.ratio("one", "all")})
    return rows


# --- output ------------------------------------------------------------------------------------------------------------------


def title(name: str, kind: str) -> str:
    return name + {"value": "", "derivative": "'", "both": " and '"}[kind]


def size_of(number: int) -> str:
    for unit, factor in (("M", 2**20), ("K", 2**10)):
        if number >= factor and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)


def print_twelve(console: Console, cells: list[dict[str, Any]]) -> None:
    """Print torch's time over ours beside what is wanted, with the interval of the ratio."""
    found = {
        (c["entry"], c["kind"], c["deviation"]): c["peers"]["torch"]
        for c in cells
        if (c["size"], c["dtype"], c["output"]) == (2**18, "float32", "out") and "torch" in c["peers"]
    }
    if not {key[:2] for key in found} & set(TWELVE):
        return
    table = Table("256K float32, out=", "deviation", "torch / ours", "wanted", "from", "to", "")
    for key, deviation in product(WANTED, sorted({key[2] for key in found})):
        if (*key, deviation) in found:
            (ratio, low, high), wanted = found[*key, deviation], WANTED[key]
            verdict = "reached" if ratio >= wanted else "undecided: noise" if high >= wanted else "[red]not reached[/red]"
            table.add_row(title(*key), str(deviation), f"{ratio:.2f}", f"{wanted:g}", f"{low:.2f}", f"{high:.2f}", verdict)
    console.print(table)


def print_cells(console: Console, cells: list[dict[str, Any]], copies: list[dict[str, Any]]) -> None:
    """Print every cell: ns per element, the best peer, and the share of the bandwidth of a copy."""
    table = Table("cell", "ns", "± %", "best peer", "its ns", "its / ours", "of nt copy")
    by_size = {row["size"]: row for row in copies}
    for cell in cells:
        if not cell["ns"]:
            continue
        ns = cell["ns"]["nonlin"]
        best = min(cell["peers"], key=lambda name: cell["ns"][name], default=None)
        copy = by_size.get(cell["size"], {}).get("non-temporal copy")
        table.add_row(
            cell["name"], f"{ns:.3f}",
            f"{cell['noise']['nonlin']:.0%}" if "noise" in cell else "",
            best or "", f"{cell['ns'][best]:.3f}" if best else "", f"{cell['peers'][best][0]:.2f}" if best else "",
            f"{copy / ns:.0%}" if copy and cell["dtype"] == "float32" else "",
        )  # fmt: skip
    console.print(table)


def print_rest(console: Console, results: dict[str, Any]) -> None:
    """Print the other rows, each in a line or a small table."""
    if results["copies"]:
        names = [key for key in results["copies"][-1] if key not in ("size", "noise")]  # the largest size has them all
        table = Table("float32 copies, ns per element", *names, "copyto against itself")
        for row in results["copies"]:
            table.add_row(size_of(row["size"]), *(f"{row[n]:.3f}" if n in row else "" for n in names), f"{row['noise']:.1%}")
        console.print(table)
    if results["small"]:
        table = Table("16 float32", "ns", "np.negative, ns", "ratio (wanted: at most 4)")
        for row in results["small"]:
            ratio = row["ratio"][0]
            shown = f"{ratio:.2f}" if ratio <= 4 else f"[red]{ratio:.2f}[/red]"
            ns = row["ns"]
            table.add_row(f"{title(row['entry'], row['kind'])}, {row['output']}", *(f"{v:.0f}" for v in ns.values()), shown)
        console.print(table)
    if results["first_calls"]:
        table = Table("first call, ms (wanted: at most 60)", "after another kernel's", "in a fresh process")
        for row in sorted(results["first_calls"], key=lambda row: -min(row["after"])):
            best = [min(row["after"]), min(row["fresh"])]
            table.add_row(title(row["entry"], row["kind"]), *(f"{v:.0f}" if v <= 60 else f"[red]{v:.0f}[/red]" for v in best))
        console.print(table)
    if results["exact"]:
        table = Table("exact, 256K, out=", "ns", "torch, ns", "torch / ours", "wanted")
        for row in results["exact"]:
            wanted = {"silu": 0.7, "gelu": 0.55}.get(row["entry"], 1.0) if row["kind"] == "value" else 1.0
            ratio = f"{row['ratio'][0]:.2f}"
            shown = ratio if row["ratio"][0] >= wanted else f"[red]{ratio}[/red]"
            table.add_row(title(row["entry"], row["kind"]), *(f"{v:.3f}" for v in row["ns"].values()), shown, f"{wanted:g}")
        console.print(table)
    if results["pairs_and_rows"]:
        peers = list(dict.fromkeys(n for row in results["pairs_and_rows"] for n in row["ns"]))
        table = Table("256K float32, fresh: ns per element", *peers)
        for row in results["pairs_and_rows"]:
            table.add_row(row["entry"], *(f"{row['ns'][n]:.3f}" if n in row["ns"] else "" for n in peers))
        console.print(table)
    if results["threads"]:
        row = results["threads"][0]
        table = Table(
            f"{size_of(row['size'])} float32, out=", "ns, one thread", f"{row['threads']} threads", "one / all", "from", "to"
        )
        for row in results["threads"]:
            table.add_row(row["what"], *(f"{v:.3f}" for v in row["ns"].values()), *(f"{v:.2f}" for v in row["ratio"]))
        console.print(table)
    flat = flatness(results["curve"])
    if flat:
        table = Table("time per element, 4K to 256K", "largest / smallest (wanted: at most 1.2)")
        for name, spread in flat.items():
            table.add_row(name, f"{spread:.2f}" if spread <= 1.2 else f"[red]{spread:.2f}[/red]")
        console.print(table)


def flatness(curve: list[dict[str, Any]]) -> dict[str, float]:
    """Return by entry the largest over the smallest time per element between 4K and 256K."""
    found: dict[str, list[float]] = {}
    for row in curve:
        if 2**12 <= row["size"] <= 2**18:
            found.setdefault(title(row["entry"], row["kind"]), []).append(row["ns"]["nonlin"])
    return {name: max(times) / min(times) for name, times in found.items()}


def draw(curve: list[dict[str, Any]], copies: list[dict[str, Any]], path: Path) -> None:
    """Draw time per element against size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(3, 4, figsize=(15, 9), sharex=True, layout="constrained")
    for panel, key in zip(panels.flat, TWELVE, strict=True):
        rows = [row for row in curve if (row["entry"], row["kind"]) == key and row["size"] >= 256]
        if not rows:
            panel.set_visible(False)
            continue
        for name in ("nonlin", "torch"):
            points = [(row["size"], row["ns"][name]) for row in rows if name in row["ns"]]
            if points:
                panel.plot(*zip(*points, strict=True), marker=".", label=name)
        for name, style in (("numpy.copyto", ":"), ("non-temporal copy", "--")):
            points = [(row["size"], row[name]) for row in copies if name in row and row["size"] >= 256]
            if points:
                panel.plot(*zip(*points, strict=True), style, color="grey", linewidth=1, label=name)
        panel.set(title=title(*key), xscale="log", yscale="log")
        panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize="small")
    figure.supxlabel("elements")
    figure.supylabel("ns per element, float32, out=")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    versions = {}
    for name in ("numpy", "scipy", "torch", "jax", "numexpr", "llvmlite"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    from llvmlite import binding

    return {"cpu": binding.get_host_cpu_name(), "cores": os.cpu_count(), "system": platform.platform(), "versions": versions}


def parsed() -> argparse.Namespace:
    """Read the command line and fill in what follows from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    peers = [library.name for library in LIBRARIES]
    add("names", nargs="*", help="entries; all elementwise ones by default")
    add("--quick", action="store_true", help="under a minute: 256K float32, out=, the entries that torch has, and the twelve")
    add("--kind", nargs="+", default=list(KINDS), choices=KINDS, help="default: all")
    add("--size", nargs="+", default=list(SIZES), metavar="N", help=f"K and M allowed (default {' '.join(SIZES)})")
    add("--dtype", nargs="+", default=["float32"], choices=DTYPES, help="default: float32")
    add("--deviation", nargs="+", type=int, default=[1, 3], help="of the random inputs (default 1 3)")
    add("--output", nargs="+", default=list(OUTPUTS), choices=OUTPUTS, help="default: both")
    add("--peer", nargs="*", default=peers, choices=peers, help="default: all that are installed")
    add("--repeat", type=int, default=15, help="rounds (default 15)")
    add("--seconds", type=float, default=2e-3, help="time for each competitor in a round (default 0.002)")
    add("--threads", type=int, default=1, help="threads for everyone (default 1)")
    add(
        "--only-cells",
        action="store_true",
        help="none of the other tables: small calls, first calls, exact, pairs, rows...",
    )
    add("--json", type=Path, help="write all figures to this file")
    add("--plot", type=Path, help="draw time per element against size into this file (needs matplotlib)")
    options = parser.parse_args()
    use_threads(options.threads)
    if options.quick:
        options.repeat, options.seconds = min(options.repeat, 9), min(options.seconds, 5e-4)
        options.size, options.output = ["256K"], ["out"]
        # These two take seconds to compile each cell.
        options.peer = [name for name in options.peer if name not in ("torch.compile", "numexpr")]
    options.libraries = libraries(options.peer)
    options.entries = entries(options.names)
    if options.quick and not options.names:
        torch = next((library for library in options.libraries if isinstance(library, Torch)), None)
        if torch is not None:
            options.entries = {name: entry for name, entry in options.entries.items() if name in torch.values}
    options.twelve = [key for key in TWELVE if key[0] in options.entries]
    options.first = options.twelve if options.quick else [(n, k) for n in options.entries for k in ("value", "derivative")]
    options.processes = 1 if options.quick else 3
    last = 18 if options.quick else max(number_of(size) for size in options.size).bit_length() - 1
    options.curve = [2**k for k in (range(12, last + 1, 2) if options.quick else range(4, last + 1))]
    if options.only_cells:
        options.curve = []
    options.data = Data()
    return options


def main() -> int:
    """Run from the command line; exit with 1 if a peer wins a cell."""
    warnings.filterwarnings("ignore")
    options = parsed()
    console, begun = Console(width=None if sys.stdout.isatty() else 120), time.perf_counter()
    results: dict[str, Any] = {"machine": machine(), "num_threads": options.threads, "cells": []}
    cells = list(cells_to_measure(options))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("measuring", total=len(cells))
        sizes = sorted({number_of(size) for size in options.size} | set(options.curve))
        results["copies"] = measure_copies(sizes, options)
        for place in cells:
            progress.update(bar, description=str(place))
            results["cells"].append(measure(place, options))
            progress.advance(bar)
        more = {
            "small": measure_small, "exact": measure_exact, "pairs_and_rows": measure_pairs_and_rows,
            "first_calls": measure_first_calls, "curve": measure_curve, "threads": measure_threads,
        }  # fmt: skip
        for name, rows in more.items():
            progress.update(bar, description=name)
            results[name] = [] if options.only_cells else rows(options)
    results["could_not"] = problems
    results["seconds"] = time.perf_counter() - begun
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.plot:
        draw(results["curve"], results["copies"], options.plot)
    print_cells(console, results["cells"], results["copies"])
    print_rest(console, results)
    print_twelve(console, results["cells"])
    lost = [(cell, name) for cell in results["cells"] + results["pairs_and_rows"] for name in wins(cell)]
    for cell, name in lost:
        ratio, low, high = cell["peers"][name]
        console.print(
            f"[red]a peer is faster:[/red] {cell['name']}: {name} takes {ratio:.2f} of our time ({low:.2f} to {high:.2f})"
        )
    for reason, where in problems.items():
        console.print(f"[dim]not taking part: {reason} ({len(where)} cells, first {where[0]})[/dim]", highlight=False)
    cpu = results["machine"]["cpu"]
    console.print(f"{len(lost)} cells lost, {len(results['cells'])} measured in {results['seconds']:.0f} s on {cpu}")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
