"""Formulas spelled in PyTorch operations: for tensors that no kernel of ours is for, and for programs that torch traces.

A finished formula becomes the source of a Python function. Traced, exported or compiled it is nothing but a few torch
operations, so that Inductor fuses it with its neighbours.
"""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch

from nonlin.formula.expression import Application, Expression, Symbol, symbols
from nonlin.formula.finish import DType, finished, functions_of, portable
from nonlin.formula.primitives import multiply
from nonlin.formula.spelling import Spelling

#: NumPy's names of the floating dtypes.
DTYPE_NAMES = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}
#: The functions that torch has, by its names for them.
_NAMES = {n: n for n in ("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "erfc")} | {
    "absolute": "abs",
    "arctan": "atan",
}
FUNCTIONS = functions_of({*_NAMES, "sign"})


class TorchSpelling(Spelling[str]):
    """Writes one line of Python for each node, and returns the name that the line gives it, or a literal."""

    language = "PyTorch"

    def __init__(self, names: Mapping[str, str], dtype: torch.dtype) -> None:
        self.names = names
        self.dtype = dtype
        self.lines: list[str] = []
        self._written: dict[str, str] = {}
        self.table = {
            "add": lambda a, b: self.line(f"{a} + {b}"),
            "subtract": lambda a, b: self.line(f"{a} - {b}"),
            "multiply": lambda a, b: self.line(f"{a} * {b}"),
            "divide": lambda a, b: self.line(f"{a} / {b}"),
            "negative": lambda a: self.line(f"-{a}"),
            "less": lambda a, b: self.line(f"{a} < {b}"),
            "less_equal": lambda a, b: self.line(f"{a} <= {b}"),
            "greater": lambda a, b: self.line(f"{a} > {b}"),
            "greater_equal": lambda a, b: self.line(f"{a} >= {b}"),
            "logical_and": lambda a, b: self.line(f"{a} & {b}"),
            "logical_or": lambda a, b: self.line(f"{a} | {b}"),
            "where": self._where,
            "nan": lambda: "torch.nan",
            "maximum": lambda a, b: self._extreme("maximum", "min", a, b),
            "minimum": lambda a, b: self._extreme("minimum", "max", a, b),
            "is_number": lambda a: self.line(f"{a} == {a}"),
            "sign": lambda a: self.call("where", self.line(f"{a} == {a}"), self.call("sign", a), a),  # torch has 0 at NaN
            **{name: self._caller(torch_name) for name, torch_name in _NAMES.items()},
        }

    # --- the leaves and the lines -----------------------------------------------------------------------------------------

    def symbol(self, name: str) -> str:
        return self.names[name]

    def constant(self, value: Fraction) -> str:
        number = float(value)
        return repr(number) if number >= 0 else f"({number!r})"

    def line(self, expression: str) -> str:
        """Write a line that computes an expression, unless there is one, and return the name of its result."""
        if expression not in self._written:
            self._written[expression] = name = f"t{len(self.lines)}"
            self.lines.append(f"{name} = {expression}")
        return self._written[expression]

    def call(self, function: str, *arguments: str) -> str:
        return self.line(f"torch.{function}({', '.join(arguments)})")

    def _caller(self, function: str) -> Callable[[str], str]:
        return lambda a: self.call(function, a)

    # --- choices ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def is_literal(spelled: str) -> bool:
        return spelled[0] in "(-0123456789"

    def _where(self, condition: str, a: str, b: str) -> str:
        if (a, b) == ("1.0", "0.0"):
            return self.line(f"{condition}.to({self.dtype})")
        if self.is_literal(a) and self.is_literal(b):  # torch.where would take its default dtype
            a = self.line(f"torch.full((), {a}, dtype={self.dtype}, device={condition}.device)")
        return self.call("where", condition, a, b)

    def _extreme(self, function: str, bound: str, a: str, b: str) -> str:
        for one, other in ((a, b), (b, a)):
            if self.is_literal(other):
                return self.line(f"torch.clamp({one}, {bound}={other})")
        return self.call(function, a, b)


# --- programs -------------------------------------------------------------------------------------------------------------


class Program:
    """A formula of named tensors as a function in torch operations.

    Parameters
    ----------
    formula : Expression
    names : sequence of str
        Names of the tensors, in the order in which the program takes them. All have the dtype that it computes in.
    dtype : torch.dtype
        float32 or float64.
    typical : Mapping[str, float]
        A usual value for each of them but x: special values are probed with these.
    """

    def __init__(self, formula: Expression, names: Sequence[str], dtype: torch.dtype, typical: Mapping[str, float]) -> None:
        self.dtype = dtype
        self.names = tuple(names)
        self.formula = formula
        dy, slope = _split(formula, self.names)
        name: DType = "float64" if dtype is torch.float64 else "float32"
        self.source = self._source(finished(slope, name, FUNCTIONS, typical), dy)
        self.function: Callable[..., torch.Tensor] = _cached(self.source)

    def _source(self, slope: Expression, dy: tuple[str, ...]) -> str:
        spelling = TorchSpelling({name: name for name in self.names}, self.dtype)
        result = spelling(slope)
        if spelling.is_literal(result):
            result = spelling.line(f"torch.full_like({self.names[0]}, {result})")
        for name in dy:
            result = spelling.line(f"{name} * {result}")
        missing = [n for n in self.names if n not in symbols(slope) and n not in dy and n != result]
        if missing:
            shapes = ", ".join(f"{n}.shape" for n in (result, *missing))
            result = spelling.line(f"{result}.expand(torch.broadcast_shapes({shapes}))")
        body = "\n".join(f"    {line}" for line in spelling.lines)
        return f"def program({', '.join(self.names)}):\n{body}\n    return {result}\n"


def program_of(expression: Expression, names: tuple[str, ...]) -> Callable[..., torch.Tensor]:
    """Return a condition on x, or a formula of finite x, as a function of float32 tensors in torch operations."""
    spelling = TorchSpelling({name: name for name in names}, torch.float32)
    result = spelling(portable(expression, FUNCTIONS))
    return _cached("\n    ".join([f"def program({', '.join(names)}):", *spelling.lines, f"return {result}\n"]))


def _split(formula: Expression, names: tuple[str, ...]) -> tuple[tuple[str, ...], Expression]:
    """Split a product of incoming gradients and a slope."""
    dy: tuple[str, ...] = ()
    while isinstance(formula, Application) and formula.primitive is multiply:
        factor, rest = formula.arguments
        if not (isinstance(factor, Symbol) and factor.name.startswith("dy_")):
            break
        dy += (factor.name,)
        formula = rest
    return dy, formula


_counter = iter(range(1 << 62))


def function_of(source: str, **helpers: Callable[..., Any]) -> Callable[..., torch.Tensor]:
    """Return the function ``program`` that a source defines with torch and some helpers."""
    name = f"<nonlin torch program {next(_counter)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for tracebacks
    space: dict[str, Any] = {"torch": torch, **helpers}
    exec(compile(source, name, "exec"), space)
    function: Callable[..., torch.Tensor] = space["program"]
    weakref.finalize(function, linecache.cache.pop, name, None)
    return function


@lru_cache(maxsize=512)
def _cached(source: str) -> Callable[..., torch.Tensor]:
    return function_of(source)
