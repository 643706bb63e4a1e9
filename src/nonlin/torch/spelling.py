"""Formulas spelled in PyTorch operations: for tensors that no kernel of ours is for, and for programs that torch traces.

A formula becomes the source of a Python function. Traced, exported or compiled it is nothing but a few torch operations, so
that Inductor fuses it with its neighbours; functions that torch lacks are written in a form that keeps its tails.
"""

from __future__ import annotations

import ast
import linecache
import operator
import weakref
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from nonlin.formula.calculus import simplest
from nonlin.formula.expression import Application, Constant, Expression, Symbol, substitute, symbols
from nonlin.formula.limits import limit
from nonlin.formula.primitives import Primitive, absolute, integer_power, multiply, sign as signum, where
from nonlin.formula.spelling import Spelling
from nonlin.kernels.coefficients import COEFFICIENTS
from nonlin.kernels.lowering import constant_value

#: NumPy's names of the floating dtypes.
DTYPE_NAMES = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}
_FIT_BITS = {torch.float32: 40, torch.float64: 53}


#: Of parameters that are numbers: whether one is 0, and what follows.
_ON_NUMBERS: Mapping[str, Callable[..., Any]] = {
    "absolute": abs,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "logical_and": operator.and_,
    "logical_or": operator.or_,
    "maximum": max,
    "minimum": min,
}


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
            "absolute": lambda a: self.call("abs", a),
            "sign": lambda a: self.call("sign", a),
            **{n: self._caller(n) for n in ("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf")},
            "arctan": lambda a: self.call("atan", a),
            "erfc": lambda a: self.call("erfc", a),
            "normal_cdf": lambda a: self.line(f"0.5 * {self.call('erfc', self.line(f'{a} * {-(0.5**0.5)!r}'))}"),
            "sigmoid": self._sigmoid,
            "sech": self._sech,
            "softplus": self._softplus,
            "tanh_shrink": self._tanh_shrink,
            "exp_residual": self._exp_residual,
            "tanh_softplus": self._tanh_softplus,
            "sech_softplus": self._sech_softplus,
            "softsign": lambda a: self.line(f"{a} / (1.0 + {self.call('abs', a)})"),
            "reciprocal_hypot": lambda a: self._hypot(a)[2],
            "algebraic_sigmoid": lambda a: self.line(f"{self._hypot(a)[1]} / {self._hypot(a)[0]}"),
            "half_hypot_sum": self._half_hypot_sum,
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

    def application(self, primitive: Primitive, arguments: tuple[str, ...], node: Application) -> str:
        exact = constant_value(node)
        if exact is not None:
            return self.constant(exact)
        if primitive.name in _ON_NUMBERS and all(map(self.is_literal, arguments)):
            return repr(_ON_NUMBERS[primitive.name](*map(ast.literal_eval, arguments)))
        if primitive is where and arguments[0] in ("True", "False"):
            return arguments[1] if arguments[0] == "True" else arguments[2]
        for wins, loses, name in (("True", "False", "logical_or"), ("False", "True", "logical_and")):
            if primitive.name == name and {wins, loses} & {*arguments}:
                return wins if wins in arguments else next(a for a in arguments if a != loses)
        if primitive is integer_power:
            return self._power(arguments[0], int(node.arguments[1].value))
        if primitive is multiply:
            return self._zero_wins(node, arguments, self.line(f"{arguments[0]} * {arguments[1]}"))
        return super().application(primitive, arguments, node)

    def _zero_wins(self, node: Application, arguments: tuple[str, ...], product: str) -> str:
        """A parameter of 0 makes a product 0 whatever x is, as the limit at infinity has it."""
        for factor, other, spelled in zip(node.arguments, node.arguments[::-1], arguments, strict=True):
            if symbols(factor) and "x" not in symbols(factor) and "x" in symbols(other):
                return self.call("where", self.line(f"{spelled} == 0"), spelled, product)
        return product

    def _power(self, base: str, n: int) -> str:
        if n == 1:
            return base
        half = self._power(base, n // 2)
        square = self.line(f"{half} * {half}")
        return square if n % 2 == 0 else self.line(f"{square} * {base}")

    # --- choices ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def is_literal(spelled: str) -> bool:
        return spelled[0] in "(-0123456789" or spelled in ("True", "False")

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

    # --- functions that torch lacks, or whose tails it loses ------------------------------------------------------------------

    def _vanishing(self, a: str) -> str:
        """exp(-|a|), which neither overflows nor loses digits."""
        return self.call("exp", self.line(f"-{self.call('abs', a)}"))

    def _sigmoid(self, a: str) -> str:
        # torch.sigmoid is 0 where exp(-a) overflows, although the result still is a number.
        e = self._vanishing(a)
        return self.line(f"torch.where({self.line(f'{a} >= 0')}, 1.0, {e}) / {self.line(f'1.0 + {e}')}")

    def _sech(self, a: str) -> str:
        e = self._vanishing(a)
        return self.line(f"2.0 * {e} / {self.line(f'1.0 + {e} * {e}')}")

    def _softplus(self, a: str) -> str:
        return self.line(f"torch.clamp({a}, min=0.0) + {self.call('log1p', self._vanishing(a))}")

    def _near_zero(self, name: str, a: str, otherwise: str) -> str:
        """A fitted series for |a| <= 1, where the plain difference cancels."""
        near = self.line(f"torch.clamp({a}, min=-1.0, max=1.0)")
        square = self.line(f"{near} * {near}")
        variable, factor = (square, f"{near} * {square}") if name == "tanh_shrink" else (near, square)
        coefficients = [float(c) for c in COEFFICIENTS[name][_FIT_BITS[self.dtype]]]
        series = repr(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            series = self.line(f"{series} * {variable} + ({coefficient!r})")
        is_near = self.line(f"{self.call('abs', a)} <= 1.0")
        return self.call("where", is_near, self.line(f"{factor} * {series}"), otherwise)

    def _tanh_shrink(self, a: str) -> str:
        return self._near_zero("tanh_shrink", a, self.line(f"{a} - {self.call('tanh', a)}"))

    def _exp_residual(self, a: str) -> str:
        return self._near_zero("exp_residual", a, self.line(f"{self.call('expm1', a)} - {a}"))

    def _tanh_softplus(self, a: str) -> str:
        # n/(n + 2) with n = e*(e + 2), e = exp(a); from 40 on it is 1 in every dtype.
        e = self.call("exp", self.line(f"torch.clamp({a}, max=40.0)"))
        n = self.line(f"{e} * {self.line(f'{e} + 2.0')}")
        return self.line(f"{n} / {self.line(f'{n} + 2.0')}")

    def _sech_softplus(self, a: str) -> str:
        # 2(1 + e)/(1 + (1 + e)^2) with e = exp(a), divided by e^2 where e may overflow.
        q = self._vanishing(a)
        square = self.line(f"{q} * {q}")
        right = self.line(f"2.0 * {q} * (1.0 + {q}) / (1.0 + 2.0 * ({q} + {square}))")
        left = self.line(f"2.0 * (1.0 + {q}) / (2.0 + 2.0 * {q} + {square})")
        return self.call("where", self.line(f"{a} >= 0"), right, left)

    def _hypot(self, a: str) -> tuple[str, str, str]:
        """sqrt(1 + a^2) and a, both divided by m = max(|a|, 1), which keeps squares from overflowing, and 1/sqrt(1 + a^2)."""
        r = self.line(f"1.0 / torch.clamp({self.call('abs', a)}, min=1.0)")
        part = self.line(f"{a} * {r}")
        root = self.call("sqrt", self.line(f"{r} * {r} + {part} * {part}"))
        return root, part, self.line(f"{r} / {root}")

    def _half_hypot_sum(self, a: str) -> str:
        size = self.call("abs", a)
        half = self.line(f"0.5 * {size} + 0.5 / {self._hypot(a)[2]}")
        return self.call("where", self.line(f"{a} >= 0"), half, self.line(f"0.25 / {half}"))


# --- special values -------------------------------------------------------------------------------------------------------


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
        self.source = self._source(slope, dy)
        if "x" in names:
            self.source = self._source(self._with_special_values(_cached(self.source), slope, typical), dy)
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

    def _with_special_values(
        self, function: Callable[..., torch.Tensor], slope: Expression, typical: Mapping[str, float]
    ) -> Expression:
        """Return the slope with its limits, NaN at NaN, and x held where torch's operations give inf/inf or 0*inf."""
        x: Expression = Symbol("x")
        largest = float(torch.finfo(self.dtype).max)
        grid = np.concatenate([[0.0], np.geomspace(0.5, largest / 4, 2000), [largest]])
        points = np.concatenate([[np.nan, np.inf, -np.inf], grid, -grid])
        # Whoever traces a program is not to see this: the tensors are real.
        with _disable_current_modes(), torch.no_grad():
            tensor = torch.from_numpy(points).to(self.dtype)
            others = {n: torch.full_like(tensor, typical.get(n, 1.0)) for n in self.names}
            values = function(**{**others, "x": tensor}).numpy().astype(np.float64)
        nan, at_infinity, on_grid = values[0], values[1:3], values[3:].reshape(2, len(grid))
        given = {name: Fraction(typical.get(name, 1.0)) for name in symbols(slope) - {"x"}}
        plain, held, within = simplest(substitute(slope, given)), x, slope
        chosen: list[tuple[Expression, Expression]] = []
        for near, infinite, sign in zip(on_grid, at_infinity, (1, -1), strict=True):
            bad = np.flatnonzero(np.isnan(near))
            if not len(bad) and np.isfinite(infinite) and np.allclose(near[-4:], infinite, rtol=1e-5, atol=1e-18):
                continue
            known = limit(plain, sign)
            if known is None or (infinite == known and not len(bad)):
                continue
            last = (bad[0] if len(bad) else len(grid)) - 1
            edge = float(grid[last])
            held = where(_beyond(sign, edge), Constant(sign * edge), held)
            if isinstance(known, float):
                chosen.append((_beyond(sign, largest), absolute(x) if known > 0 else -absolute(x)))
            elif not given:
                # Where it has come as near as a float can tell it is there before infinity.
                near_enough = np.isclose(near[last], float(known), rtol=1e-6, atol=1e-18)
                chosen.append((_beyond(sign, edge if near_enough else largest), Constant(known)))
        if held is not x:
            within = substitute(slope, {"x": held})
        for condition, value in chosen:
            if given:
                # Other parameters may have another limit: what is huge where x is held is infinite, with that sign.
                condition, value = condition & (absolute(within) > Constant(2**64)), signum(within) * absolute(x)
            within = where(condition, value, within)
        return within if np.isnan(nan) else where(absolute(x) >= 0, within, x)


def _beyond(sign: int, edge: float) -> Expression:
    x = Symbol("x")
    return x > Constant(edge) if sign > 0 else x < Constant(-edge)


def program_of(expression: Expression, names: tuple[str, ...]) -> Callable[..., torch.Tensor]:
    """Return a condition on x, or a formula of finite x, as a function of float32 tensors in torch operations."""
    spelling = TorchSpelling({name: name for name in names}, torch.float32)
    result = spelling(expression)
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
