"""Finished formulas: what a program needs beyond the formula, expression to expression, once for all languages.

A formula is neutral. A program in floating point also needs stable forms of what its language lacks, powers as products,
exponents that keep the digits which rounding took from them, a parameter of 0 that makes a product 0, the limits at infinity,
and NaN at NaN. What :func:`finished` returns has all of that, so that a language is a table of names.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.formula import primitives as p
from nonlin.formula.calculus import simplest
from nonlin.formula.coefficients import COEFFICIENTS
from nonlin.formula.constants import constant_value
from nonlin.formula.expression import (
    Application,
    Constant,
    Expression,
    FormulaError,
    Symbol,
    as_expression,
    postorder,
    remembered,
    substitute,
    symbols,
)
from nonlin.formula.limits import limit
from nonlin.formula.spelling import Spelling

DType: TypeAlias = Literal["float32", "float64"]

#: What every language spells.
ARITHMETIC = frozenset(
    "add subtract multiply divide negative less less_equal greater greater_equal logical_and logical_or where nan is_number "
    "maximum minimum absolute sqrt exp log".split()
)
#: What most have besides.
USUAL = frozenset({"expm1", "log1p", "sin", "cos", "tanh", "arctan", "erf", "erfc", "sign"})


def finished(
    formula: Expression,
    dtype: DType,
    functions: frozenset[str] = USUAL,
    typical: Mapping[str, float] | None = None,
    *,
    flushes: bool = False,
) -> Expression:
    """Return a formula as it is to be spelled in a language and computed in a dtype.

    Parameters
    ----------
    formula : Expression
        Of x, or of several arrays and parameters.
    dtype : {"float32", "float64"}
        What the program computes in.
    functions : frozenset of str
        Names of the primitives that the language has beyond :data:`ARITHMETIC`.
    typical : Mapping[str, float], optional
        A usual value for each symbol but x, 1 if there is none: special values are looked at with these.
    flushes : bool
        Whether subnormal results are 0 in the language.

    Returns
    -------
    Expression
        Of nothing but symbols, numbers, arithmetic and the functions.

    Raises
    ------
    FormulaError
        If the language has no way to compute something.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp, sigmoid
    >>> from nonlin.formula.finish import finished
    >>> x = Symbol("x")
    >>> print(finished(sigmoid(x), "float32"))
    where(x >= 0, 1, exp(-absolute(x)))/(1 + exp(-absolute(x)))
    >>> print(finished(x**3, "float32"))
    x*x*x
    """
    others = {name: (typical or {}).get(name, 1.0) for name in symbols(formula) - {"x"}}
    return _finished(formula, dtype, functions, tuple(sorted(others.items())), flushes)


@remembered
def _finished(
    formula: Expression, dtype: DType, functions: frozenset[str], typical: tuple[tuple[str, float], ...], flushes: bool
) -> Expression:
    others = dict(typical)
    result = portable(_zero_wins(formula), functions, dtype)
    if "x" not in symbols(formula):
        return result
    if _loses_exponents(result, others):
        result = compensated(result, dtype)
    return _with_special_values(result, formula, dtype, others, flushes)


# --- forms ----------------------------------------------------------------------------------------------------------------


def portable(formula: Expression, functions: frozenset[str] = USUAL, dtype: DType = "float64") -> Expression:
    """Return a formula in arithmetic and some functions: stable forms of the others, powers as products, numbers folded.

    Parameters
    ----------
    formula : Expression
    functions : frozenset of str
        Names of the primitives that the language has beyond :data:`ARITHMETIC`.
    dtype : {"float32", "float64"}
        Whose digits are wanted of error functions, if the language has none.

    Raises
    ------
    FormulaError
        If a primitive cannot be had by those.
    """
    return _Portable(ARITHMETIC | functions, dtype)(formula)


def finished_row(formula: Expression, dtype: DType, functions: frozenset[str] = USUAL) -> Expression:
    """Return a formula of whole rows as it is to be spelled in a language and computed in a dtype.

    Its limits and NaN are those of rows, which are looked at before anything is computed.

    Parameters
    ----------
    formula : Expression
    dtype : {"float32", "float64"}
    functions : frozenset of str
        As for :func:`finished`.
    """
    return compensated(portable(formula, functions, dtype), dtype)


class _Rewriting(Spelling[Expression]):
    """Spells expressions as expressions."""

    language = "finished formulas"
    table: Mapping[str, Callable[..., Expression]]

    def symbol(self, name: str) -> Expression:
        return Symbol(name)

    def constant(self, value: Fraction) -> Expression:
        return Constant(value)


class _Portable(_Rewriting):
    def __init__(self, available: frozenset[str], dtype: DType) -> None:
        self.available = available
        self.bits = _BITS[dtype]
        self.table = {} if "erfc" in available else {"normal_cdf": self._normal_cdf, "erf": self._erf}
        self._done: dict[Expression, Expression] = {}
        self._open: list[p.Primitive] = []

    def memo(self) -> dict[Expression, Expression]:
        return self._done

    def application(self, primitive: p.Primitive, arguments: tuple[Expression, ...], node: Application) -> Expression:
        exact = constant_value(node)
        if exact is not None:
            return Constant(exact)
        if primitive is p.integer_power:
            return _product(arguments[0], int(node.arguments[1].value))
        known = _known(primitive, arguments)
        if known is not None:
            return known
        if primitive.name in self.table and primitive.name not in self.available:
            return self(self.table[primitive.name](*arguments))
        if primitive.name in self.available or primitive.portable is None:
            # What has no portable form, the four reductions of a row, is every language's own.
            return primitive(*arguments)
        if primitive in self._open:
            raise FormulaError(f"a language without {primitive.name} needs one of the functions it is written by")
        self._open.append(primitive)
        try:
            return self(as_expression(primitive.portable(*arguments)))
        finally:
            self._open.pop()

    def _normal_tail(self, a: Expression) -> Expression:
        """Return the probability of a standard normal above a >= 0: the fit is one of a fraction that maps it to [-1, 1)."""
        bounded = p.minimum(a, 64)
        t = 1 - 6 / (bounded + 3)
        return p.exp(-(bounded * bounded) / 2) * (p.horner(t, COEFFICIENTS["normal_tail"][self.bits]) / (bounded + 3))

    def _normal_cdf(self, a: Expression) -> Expression:
        tail = self._normal_tail(p.absolute(a))
        return p.where(a < 0, tail, 1 - tail)

    def _erf(self, a: Expression) -> Expression:
        near = p.maximum(p.minimum(a, 1), -1)
        small = near * p.horner(near * near, COEFFICIENTS["erf"][self.bits])
        large = 1 - 2 * self._normal_tail(p.absolute(a) * p.sqrt(2))
        return p.where(p.absolute(a) <= 1, small, p.where(a < 0, -large, large))


#: Which fit of a function serves which dtype.
_BITS: Mapping[str, int] = {"float32": 24, "float64": 53}

#: Of parameters that are numbers: which is the larger, what follows from whether one is 0.
_ON_NUMBERS: Mapping[str, Callable[..., Any]] = {
    "absolute": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "maximum": max,
    "minimum": min,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}


def _known(primitive: p.Primitive, arguments: tuple[Expression, ...]) -> Expression | None:
    """Return what is known without a symbol's value: a number, the branch that is taken, the condition that decides."""
    if primitive.name in _ON_NUMBERS and not primitive.is_condition and all(isinstance(a, Constant) for a in arguments):
        return Constant(_ON_NUMBERS[primitive.name](*(a.value for a in arguments if isinstance(a, Constant))))
    if primitive is p.where:
        holds = _holds(arguments[0])
        return None if holds is None else arguments[1 if holds else 2]
    if primitive in (p.logical_and, p.logical_or):
        for one, other in (arguments, arguments[::-1]):
            holds = _holds(one)
            if holds is not None:
                return other if holds is (primitive is p.logical_and) else one
    return None


def _holds(condition: Expression) -> bool | None:
    """Whether a condition on numbers holds; None if it is one on symbols."""
    assert isinstance(condition, Application)
    numbers = [a.value for a in condition.arguments if isinstance(a, Constant)]
    if condition.primitive.name not in _ON_NUMBERS or len(numbers) < len(condition.arguments):
        return None
    return bool(_ON_NUMBERS[condition.primitive.name](*numbers))


def _product(base: Expression, n: int) -> Expression:
    if n == 1:
        return base
    half = _product(base, n // 2)
    return half * half if n % 2 == 0 else half * half * base


def _zero_wins(formula: Expression) -> Expression:
    """A parameter of 0 makes a product 0 whatever x is, as the limit at infinity has it."""

    def product(node: Application, arguments: tuple[Expression, ...]) -> Expression:
        plain = node.primitive(*arguments)
        if node.primitive is p.multiply:
            for factor, other, written in zip(node.arguments, node.arguments[::-1], arguments, strict=True):
                if symbols(factor) and "x" not in symbols(factor) and "x" in symbols(other):
                    return p.where(p.absolute(written) > 0, plain, written)
        return plain

    return _mapped(formula, product)


def _mapped(formula: Expression, change: Callable[[Application, tuple[Expression, ...]], Expression]) -> Expression:
    done: dict[Expression, Expression] = {}
    for node in postorder(formula):
        done[node] = change(node, tuple(done[a] for a in node.arguments)) if isinstance(node, Application) else node
    return done[formula]


# --- digits of exponents --------------------------------------------------------------------------------------------------
# exp(a) has the relative error of a's absolute error: near its underflow a rounding of a costs a hundred ulps. So what the
# rounding of an argument took is carried beside it, and the function corrected by its slope.

#: 2^s + 1 for Dekker's and Veltkamp's splitting into halves of 12 and of 26 bits.
_SPLITTERS: Mapping[str, int] = {"float32": 2**12 + 1, "float64": 2**27 + 1}


@dataclass(frozen=True)
class _Pair:
    """A number as it is computed, and what is missing to the exact one; None where nothing is."""

    value: Expression
    rest: Expression | None = None


def compensated(formula: Expression, dtype: DType) -> Expression:
    """Return a portable formula whose exponentials, waves and error functions take the rests of their arguments into account.

    Parameters
    ----------
    formula : Expression
    dtype : {"float32", "float64"}
        Decides how numbers are split and constants rounded.

    References
    ----------
    Dekker 1971, doi:10.1007/BF01397083 (exact products and sums in floating point)
    """
    return _Compensation(dtype)(formula).value


class _Compensation(Spelling[_Pair]):
    language = "compensated arithmetic"

    def __init__(self, dtype: DType) -> None:
        self.dtype = np.dtype(dtype)
        self.splitter = Constant(_SPLITTERS[dtype])
        self.table = {
            "add": self._add,
            "subtract": lambda a, b: self._add(a, self._negative(b)),
            "multiply": self._multiply,
            "divide": self._divide,
            "negative": self._negative,
            "absolute": lambda a: _Pair(p.absolute(a.value), _signed(a.value < 0, a.rest)),
            "where": lambda c, a, b: _chosen(c.value, a, b),
            "maximum": lambda a, b: _chosen(a.value > b.value, a, b),
            "minimum": lambda a, b: _chosen(a.value < b.value, a, b),
            "exp": lambda a: _scaled(p.exp, a, lambda rest: rest),
            "expm1": lambda a: _corrected(p.expm1, a, lambda value: value + 1),
            "sin": lambda a: _corrected(p.sin, a, lambda value: p.cos(a.value)),
            "cos": lambda a: _corrected(p.cos, a, lambda value: -p.sin(a.value)),
            "erfc": lambda a: _scaled(p.erfc, a, lambda rest: -_hazard(a.value) * rest),
        }

    def symbol(self, name: str) -> _Pair:
        return _Pair(Symbol(name))

    def constant(self, value: Fraction) -> _Pair:
        rounded = self._rounded(value)
        rest = self._rounded(value - rounded)
        return _Pair(Constant(rounded), Constant(rest) if rest else None)

    def application(self, primitive: p.Primitive, arguments: tuple[_Pair, ...], node: Application) -> _Pair:
        if primitive.name in self.table:
            return self.table[primitive.name](*arguments)
        return _Pair(primitive(*(a.value for a in arguments)))

    def _rounded(self, value: Fraction) -> Fraction:
        try:
            rounded = float(self.dtype.type(float(value)))
        except OverflowError:
            return value
        return Fraction(rounded) if math.isfinite(rounded) else value

    @staticmethod
    def _negative(a: _Pair) -> _Pair:
        return _Pair(-a.value, None if a.rest is None else -a.rest)

    @staticmethod
    def _add(a: _Pair, b: _Pair) -> _Pair:
        if isinstance(a.value, Constant):
            a, b = b, a  # XLA takes (1 + b) - 1 to be b, and what was rounded away would be lost
        total = a.value + b.value
        if isinstance(total, Constant) or total is a.value or total is b.value:
            return _Pair(total, _sum(a.rest, b.rest))
        came = total - a.value
        rounding = (a.value - (total - came)) + (b.value - came)
        return _Pair(total, _sum(rounding, a.rest, b.rest))

    def _multiply(self, a: _Pair, b: _Pair) -> _Pair:
        product = a.value * b.value
        carried = _sum(_times(a.value, b.rest), _times(b.value, a.rest))
        return _Pair(product, _sum(self._rounding(a.value, b.value, product), carried))

    def _divide(self, a: _Pair, b: _Pair) -> _Pair:
        quotient = a.value / b.value
        if isinstance(b.value, Constant) and _is_power_of_two(b.value) and b.rest is None:
            return _Pair(quotient, None if a.rest is None else a.rest / b.value)
        # a - q*b is exact but for its rounding; the quotient of that by b is what q lacks.
        product = quotient * b.value
        rounding = self._rounding(quotient, b.value, product)
        missing = _sum(a.value - product, None if rounding is None else -rounding, a.rest)
        less = _times(quotient, b.rest)
        return _Pair(quotient, _sum(missing, None if less is None else -less) / b.value)  # type: ignore[operator]

    def _rounding(self, a: Expression, b: Expression, product: Expression) -> Expression | None:
        """Return what the rounding of a product took."""
        if isinstance(product, Constant) or any(_is_power_of_two(factor) for factor in (a, b)):
            return None
        (high_a, low_a), (high_b, low_b) = self._halves(a), self._halves(b)
        return ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b

    def _halves(self, a: Expression) -> tuple[Expression, Expression]:
        if isinstance(a, Constant):
            number = np.asarray(float(a.value), self.dtype)
            spread = number * np.asarray(float(self.splitter.value), self.dtype)
            rounded = Fraction(float(spread - (spread - number)))
            return Constant(rounded), Constant(a.value - rounded)
        scaled = self.splitter * a
        high = scaled - (scaled - a)
        return high, a - high


def _is_power_of_two(node: Expression) -> bool:
    if not isinstance(node, Constant):
        return False
    top, bottom = abs(node.value.numerator), node.value.denominator
    return top & (top - 1) == 0 and bottom & (bottom - 1) == 0


def _sum(*terms: Expression | None) -> Expression | None:
    there = [term for term in terms if term is not None]
    return reduce(lambda a, b: a + b, there) if there else None


def _times(a: Expression, rest: Expression | None) -> Expression | None:
    return None if rest is None else a * rest


def _signed(is_negative: Expression, rest: Expression | None) -> Expression | None:
    return None if rest is None else p.where(is_negative, -rest, rest)


def _chosen(condition: Expression, a: _Pair, b: _Pair) -> _Pair:
    value = p.where(condition, a.value, b.value)
    if a.rest is None and b.rest is None:
        return _Pair(value)
    rests = (Constant(0) if rest is None else rest for rest in (a.rest, b.rest))
    return _Pair(value, p.where(condition, *rests))


def _corrected(function: p.Primitive, a: _Pair, slope: Callable[[Expression], Expression]) -> _Pair:
    value = function(a.value)
    return _Pair(value if a.rest is None else value + slope(value) * _bounded(a.rest))


def _scaled(function: p.Primitive, a: _Pair, change: Callable[[Expression], Expression]) -> _Pair:
    """Correct by a factor what may be tiny: a correction to be added would underflow where subnormal numbers are 0."""
    value = function(a.value)
    return _Pair(value if a.rest is None else value * (1 + change(_bounded(a.rest))))


def _bounded(rest: Expression) -> Expression:
    # Where the splitting overflowed the rest is no number, and where it is large one slope is not enough: neither counts.
    return p.where(p.absolute(rest) <= Constant(Fraction(1, 2**10)), rest, 0)


def _hazard(a: Expression) -> Expression:
    """Return -erfc'(a)/erfc(a) to a percent where it is large; below 0 rests change nothing."""
    bounded = p.minimum(a, 40)
    return p.where(a > 0, bounded + p.sqrt(bounded * bounded + Constant(Fraction(float(4 / math.pi)))), 0)


def _loses_exponents(formula: Expression, typical: Mapping[str, float]) -> bool:
    """Whether float32 shows that rests of arguments are worth their price: a promise of a few ulps is broken without them."""
    sensitive = {"exp", "expm1", "sin", "cos", "erfc"}
    if not any(isinstance(node, Application) and node.primitive.name in sensitive for node in postorder(formula)):
        return False
    with_rests = compensated(formula, "float32")
    if with_rests is formula:
        return False
    away = np.concatenate([np.linspace(-101.37, 100.91, 2001), np.geomspace(1e-4, 9e3, 500)])
    x = np.concatenate([away, -away[2001:]]).astype(np.float32)
    values: Mapping[str, Any] = {**{n: np.float32(v) for n, v in typical.items()}, "x": x}
    exact = evaluated(formula, "float64", {n: np.asarray(v, np.float64) for n, v in values.items()})
    with np.errstate(all="ignore"):
        size = np.abs(exact)
        counts = (size > np.finfo(np.float32).tiny) & (size < np.finfo(np.float32).max)
        ulp = np.spacing(np.maximum(size, np.finfo(np.float32).tiny).astype(np.float32)).astype(np.float64)
        plain, better = (
            np.abs(np.broadcast_to(evaluated(form, "float32", values), x.shape).astype(np.float64) - exact) / ulp
            for form in (formula, with_rests)
        )
    gained = counts & (plain > _WORTH_IT) & (better < plain / 2)
    return int(np.count_nonzero(gained)) > 5


#: From so many ulps of float32 on the rests of arguments are taken along.
_WORTH_IT = 3.0


# --- special values -------------------------------------------------------------------------------------------------------


class _Evaluation(Spelling[Any]):
    """Computes a portable formula with NumPy in one dtype: what a program will give, to an ulp or two."""

    language = "NumPy"

    def __init__(self, dtype: DType, values: Mapping[str, Any], flushes: bool) -> None:
        self.dtype, self.values, self.flushes = np.dtype(dtype), values, flushes
        self.table = {
            **{
                n: getattr(np, n) for n in "add subtract multiply divide negative less less_equal greater greater_equal".split()
            },
            **{n: getattr(np, n) for n in "logical_and logical_or where maximum minimum absolute sign".split()},
            **{n: getattr(np, n) for n in "sqrt exp log expm1 log1p sin cos tanh arctan".split()},
            "nan": lambda: self.dtype.type(np.nan),
            "is_number": lambda a: ~np.isnan(a),
            "erf": lambda a: self._each(math.erf, a),
            "erfc": lambda a: self._each(math.erfc, a),
        }

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def constant(self, value: Fraction) -> Any:
        try:
            return self.dtype.type(float(value))
        except OverflowError:
            return self.dtype.type(math.copysign(math.inf, value))

    def application(self, primitive: p.Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        result = super().application(primitive, arguments, node)
        if not self.flushes or primitive.is_condition:
            return result
        return np.where(np.abs(result) < np.finfo(self.dtype).tiny, self.dtype.type(0), result)

    def _each(self, function: Callable[[float], float], a: Any) -> Any:
        return np.array(list(map(function, np.ravel(a).tolist())), self.dtype).reshape(np.shape(a))


def evaluated(formula: Expression, dtype: DType, values: Mapping[str, Any], *, flushes: bool = False) -> npt.NDArray[Any]:
    """Compute a portable formula with NumPy in a dtype.

    Parameters
    ----------
    formula : Expression
    dtype : {"float32", "float64"}
    values : Mapping[str, array]
        For every symbol, of that dtype.
    flushes : bool
        Whether subnormal results are 0.
    """
    with np.errstate(all="ignore"):
        return np.asarray(_Evaluation(dtype, values, flushes)(formula))


def _with_special_values(
    result: Expression, formula: Expression, dtype: DType, typical: Mapping[str, float], flushes: bool
) -> Expression:
    """Return the formula with its limits, NaN at NaN, and x held where the operations give inf/inf or 0*inf."""
    x: Expression = Symbol("x")
    far = _Far(result, formula, dtype, flushes)
    ends = [[far.look(sign, given) for given in _settings(typical)] for sign in (1, -1)]
    held: Expression = x
    chosen: list[tuple[Expression, Expression]] = []
    for sign, looks in zip((1, -1), ends, strict=True):
        wrong = [end for end in looks if end is not None]
        if not wrong:
            continue
        edge = min(end.edge for end in wrong)
        beyond = _beyond(sign, far.largest)
        if typical:
            # Other parameters have other limits: what is computed for an x at which no factor overflows yet says which.
            held = p.where(_beyond(sign, edge), Constant(sign * Fraction(min(edge, far.largest / 2**20))), held)
            chosen.append((beyond, x))
            continue
        (end,) = wrong
        held = p.where(_beyond(sign, edge), Constant(sign * Fraction(edge)), held)
        if isinstance(end.limit, float):
            chosen.append((beyond, p.absolute(x) if end.limit > 0 else -p.absolute(x)))
        else:
            chosen.append((_beyond(sign, edge) if end.is_reached else beyond, Constant(end.limit)))
    within = result if held is x else substitute(result, {"x": held})
    for condition, value in chosen:
        if typical:
            huge, tiny = p.absolute(within) > Constant(2**64), p.absolute(within) < Constant(Fraction(1, 2**64))
            size = p.absolute(x)
            value = p.where(huge, p.where(within < 0, -size, size), p.where(tiny, 0, within))
        within = p.where(condition, value, within)
    return within if far.is_nan_at_nan else p.where(p.is_number(x), within, x)


def _settings(typical: Mapping[str, float]) -> list[dict[str, float]]:
    """Return the values of parameters with which special values are looked at."""
    scales = (1, 1.25, 0.3, 3, -0.7) if typical else (1,)
    return [{name: scale * value for name, value in typical.items()} for scale in scales]


@dataclass(frozen=True)
class _End:
    """An end at which the operations are wrong: from where on, what is right there, and whether a float is that already."""

    edge: float
    limit: Fraction | float
    is_reached: bool


class _Far:
    """What the operations of a finished formula give far out, at infinity and at NaN."""

    def __init__(self, result: Expression, formula: Expression, dtype: DType, flushes: bool) -> None:
        self.result, self.formula, self.dtype, self.flushes = result, formula, dtype, flushes
        self.largest = float(np.finfo(dtype).max)
        self.grid = np.concatenate([[0.0], np.geomspace(0.5, self.largest / 4, 2000), [self.largest]])
        self.is_nan_at_nan = True

    def look(self, sign: int, parameters: Mapping[str, float]) -> _End | None:
        """Return what is wrong at one end for some values of the parameters."""
        points = np.concatenate([[np.nan], sign * self.grid, [sign * np.inf]]).astype(self.dtype)
        others = {name: np.asarray(value, self.dtype) for name, value in parameters.items()}
        found = evaluated(self.result, self.dtype, {**others, "x": points}, flushes=self.flushes)
        nan, *near, infinite = np.broadcast_to(found, points.shape).astype(np.float64)
        self.is_nan_at_nan &= bool(np.isnan(nan))
        bad = np.flatnonzero(np.isnan(near))
        if len(bad) == len(near):  # such a parameter is not allowed
            return None
        if not len(bad) and np.isfinite(infinite) and np.allclose(near[-4:], infinite, rtol=1e-5, atol=1e-18):
            return None
        exact = {name: Fraction(float(value)) for name, value in others.items()}
        known = limit(simplest(substitute(self.formula, exact)), sign)
        if known is None or (infinite == known and not len(bad)):
            return None
        last = (bad[0] if len(bad) else len(near)) - 1
        is_reached = bool(np.isclose(near[last], float(known), rtol=1e-6, atol=1e-18))
        return _End(float(self.grid[last]), known, is_reached)


def with_nan(formula: Expression, arrays: Sequence[str]) -> Expression:
    """Return a formula of arrays that is NaN where any of them is: a slope may not depend on all, nor a branch that is taken.

    Parameters
    ----------
    formula : Expression
    arrays : sequence of str
        Names of the symbols that stand for arrays. Others are parameters.

    Examples
    --------
    >>> from nonlin.formula import Symbol
    >>> from nonlin.formula.finish import with_nan
    >>> x, value = Symbol("x"), Symbol("value")
    >>> print(with_nan(x * value, ["x", "value"]), "|", with_nan(x, ["x", "value"]))
    x*value | where(is_number(value), x, value)
    """
    form = portable(formula)
    elsewhere = np.array([-np.inf, -2, -1, 0, 1, 2, np.inf])
    for name in arrays:
        # Each of the other arrays at each of the places, whatever the rest is; parameters at a usual value.
        others = [other for other in arrays if other != name]
        grid = np.meshgrid(*(elsewhere for _ in others)) if others else [elsewhere]
        given = dict.fromkeys(symbols(form), np.ones(grid[0].size))
        given |= {other: place.ravel() for other, place in zip(others, grid, strict=False)}
        given[name] = np.full(grid[0].size, np.nan)
        if not np.isnan(evaluated(form, "float64", given)).all():
            formula = p.where(p.is_number(Symbol(name)), formula, Symbol(name))
    return formula


def as_typed(value: float, dtype: DType) -> Fraction:
    """Return a parameter's number as a program has it in which it is no operand: as one of the dtype.

    Examples
    --------
    >>> from nonlin.formula.finish import as_typed
    >>> float(as_typed(0.1, "float32"))
    0.10000000149011612
    """
    return Fraction(float(np.dtype(dtype).type(value)))


def _beyond(sign: int, edge: float) -> Expression:
    x = Symbol("x")
    return x > Constant(Fraction(edge)) if sign > 0 else x < Constant(Fraction(-edge))


def functions_of(table: Iterable[str]) -> frozenset[str]:
    """Return what a table of a language spells beyond arithmetic."""
    return frozenset(table) - ARITHMETIC
