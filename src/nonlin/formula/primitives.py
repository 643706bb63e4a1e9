"""The primitives: one record each, and the functions that formulas are written with.

A :class:`Primitive` says what everything else needs to know: how many arguments, the partial derivatives (as formulas that
keep their accuracy where a textbook rule would cancel or overflow), the meaning in mpmath, the spelling in LaTeX, and, for
those that more common ones can express, that form, so that a language without them loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from math import factorial
from typing import Any, TypeAlias

from nonlin.formula.expression import Application, Constant, Expression, FormulaError, Operand, as_expression, rational_power

Partials: TypeAlias = Callable[..., tuple[Operand, ...]]


@dataclass(frozen=True, eq=False)
class Primitive:
    """One operation of the language. Calling it on expressions or numbers builds an expression."""

    name: str
    """The function's name in formulas and in every table that spells formulas in another language."""
    arity: int
    """How many arguments it takes."""
    reference: Callable[..., Any]
    """Meaning: called with the mpmath context and the arguments as its numbers."""
    latex: str
    """Format string with {0}, {1}... for the arguments' spellings."""
    partials: Partials | None = None
    """From the arguments, the partial derivative for each; None where there is nothing to differentiate (conditions)."""
    slope_by_value: Callable[[Expression], Operand] | None = None
    """From the value, the derivative of a function that rises throughout. It cancels where the value saturates."""
    portable: Callable[..., Operand] | None = None
    """The same by more common primitives, for languages that lack it, in a form that keeps its digits and its tails."""
    symbol: str | None = None
    """The Python operator, where there is one."""
    precedence: int = 100
    """How tightly text and LaTeX bind; 100 needs no parentheses."""
    simplify: Callable[..., Expression | None] | None = None
    """A simpler equal expression for these arguments, or None."""
    is_condition: bool = False
    """Whether the result is a truth value."""
    doc: str = ""

    def __call__(self, *operands: Operand) -> Expression:
        if len(operands) != self.arity:
            raise FormulaError(f"{self.name} takes {self.arity} argument(s), got {len(operands)}")
        arguments = tuple(as_expression(o, wanted=f"{self.name} to be given numbers or expressions") for o in operands)
        self._check_conditions(arguments)
        if self.simplify is not None:
            simpler = self.simplify(*arguments)
            if simpler is not None:
                return simpler
        return Application(self, arguments)

    def _check_conditions(self, arguments: tuple[Expression, ...]) -> None:
        for position, argument in enumerate(arguments):
            wants_condition = self.name in ("logical_and", "logical_or") or (self.name == "where" and position == 0)
            if argument.is_condition and not wants_condition:
                raise FormulaError(f"{self.name} got the condition {argument}: write where({argument}, 1, 0) for a number")
            if wants_condition and not argument.is_condition:
                raise FormulaError(f"{self.name} needs a condition such as x > 0, got {argument}")

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.name,)


PRIMITIVES: dict[str, Primitive] = {}


def _named(name: str) -> Primitive:
    return PRIMITIVES[name]


def _primitive(name: str, arity: int, reference: Callable[..., Any], latex: str, **fields: Any) -> Primitive:
    PRIMITIVES[name] = record = Primitive(name, arity, reference, latex, **fields)
    return record


# --- arithmetic -----------------------------------------------------------------------------------------------------
# A formula must still read as its author wrote it, so only constants, zeros and ones are folded here; derivatives go through
# nonlin.formula.algebra.


def _value(node: Expression) -> Fraction | None:
    return node.value if isinstance(node, Constant) else None


def _is(node: Expression, name: str) -> bool:
    return isinstance(node, Application) and node.primitive.name == name


def _simplify_add(a: Expression, b: Expression) -> Expression | None:
    p, q = _value(a), _value(b)
    if p is not None and q is not None:
        return Constant(p + q)
    if p == 0:
        return b
    return a if q == 0 else None


def _simplify_subtract(a: Expression, b: Expression) -> Expression | None:
    p, q = _value(a), _value(b)
    if p is not None and q is not None:
        return Constant(p - q)
    if q == 0:
        return a
    return negative(b) if p == 0 else None


def _simplify_multiply(a: Expression, b: Expression) -> Expression | None:
    p, q = _value(a), _value(b)
    if p is not None and q is not None:
        return Constant(p * q)
    if p == 1 or q == 0:
        return b
    return a if q == 1 or p == 0 else None


def _simplify_divide(a: Expression, b: Expression) -> Expression | None:
    p, q = _value(a), _value(b)
    if q == 0:
        raise FormulaError(f"the formula divides {a} by zero")
    if p is not None and q is not None:
        return Constant(p / q)
    return a if q == 1 or p == 0 else None


def _simplify_negative(a: Expression) -> Expression | None:
    p = _value(a)
    if p is not None:
        return Constant(-p)
    return a.arguments[0] if _is(a, "negative") else None


def _simplify_power(a: Expression, n: Expression) -> Expression | None:
    base, exponent = _value(a), _value(n)
    assert exponent is not None
    if base is not None:
        value = rational_power(base, exponent.numerator)
        return None if value is None else Constant(value)
    if _is(a, "integer_power"):
        return power(a.arguments[0], a.arguments[1] * n)
    if _is(a, "negative"):
        inner = power(a.arguments[0], n)
        return inner if exponent % 2 == 0 else -inner
    return None


def _simplify_where(condition: Expression, a: Expression, b: Expression) -> Expression | None:
    return a if a is b else None


def _simplify_zero(a: Expression) -> Expression | None:
    """Fold f(0) where that is 0."""
    return a if _value(a) == 0 else None


add: Primitive = _primitive(
    "add", 2, lambda mp, a, b: a + b, "{0} + {1}",
    partials=lambda a, b: (1, 1), symbol="+", precedence=10, simplify=_simplify_add,
)  # fmt: skip
subtract: Primitive = _primitive(
    "subtract", 2, lambda mp, a, b: a - b, "{0} - {1}",
    partials=lambda a, b: (1, -1), symbol="-", precedence=10, simplify=_simplify_subtract,
)  # fmt: skip
multiply: Primitive = _primitive(
    "multiply", 2, lambda mp, a, b: a * b, r"{0} \, {1}",
    partials=lambda a, b: (b, a), symbol="*", precedence=20, simplify=_simplify_multiply,
)  # fmt: skip
divide: Primitive = _primitive(
    "divide", 2, lambda mp, a, b: a / b, r"\frac{{{0}}}{{{1}}}",
    partials=lambda a, b: (1 / b, -(a / b) / b), symbol="/", precedence=20, simplify=_simplify_divide,
)  # fmt: skip
negative: Primitive = _primitive(
    "negative", 1, lambda mp, a: -a, "-{0}",
    partials=lambda a: (-1,), symbol="-", precedence=15, simplify=_simplify_negative,
)  # fmt: skip
integer_power: Primitive = _primitive(
    "integer_power", 2, lambda mp, a, n: a ** int(n), "{0}^{{{1}}}",
    partials=lambda a, n: (n * power(a, n - 1), 0), symbol="**", precedence=30, simplify=_simplify_power,
    doc="a**n for a constant whole n of at least 2.",
)  # fmt: skip


def power(a: Operand, exponent: Operand) -> Expression:
    """``a**exponent`` for a constant exponent that is whole or a half.

    Raises
    ------
    FormulaError
        For any other exponent.
    """
    a, exponent = as_expression(a), as_expression(exponent)
    n = _value(exponent)
    if n is None:
        raise FormulaError(f"{a}**{exponent} has an exponent that varies: write exp(exponent*log(base))")
    if n < 0:
        return 1 / power(a, Constant(-n))
    if n == 0:
        return Constant(1)
    if n == 1:
        return a
    if n.denominator == 1:
        return integer_power(a, exponent)
    if n.denominator == 2:
        return sqrt(a) if n == Fraction(1, 2) else power(a, Constant(n - Fraction(1, 2))) * sqrt(a)
    raise FormulaError(f"{a}**{float(n)} has a fractional exponent: write exp({float(n)}*log(base))")


# --- choice and order -------------------------------------------------------------------------------------------------
# At a kink the derivative is that of the branch which the written condition selects; maximum and minimum select their
# second argument at a tie, so that relu6 = minimum(maximum(x, 0), 6) has slope 0 at both kinks, as in PyTorch.

less: Primitive = _primitive("less", 2, lambda mp, a, b: a < b, "{0} < {1}", symbol="<", precedence=5, is_condition=True)
less_equal: Primitive = _primitive(
    "less_equal", 2, lambda mp, a, b: a <= b, r"{0} \le {1}", symbol="<=", precedence=5, is_condition=True
)
greater: Primitive = _primitive("greater", 2, lambda mp, a, b: a > b, "{0} > {1}", symbol=">", precedence=5, is_condition=True)
greater_equal: Primitive = _primitive(
    "greater_equal", 2, lambda mp, a, b: a >= b, r"{0} \ge {1}", symbol=">=", precedence=5, is_condition=True
)
logical_and: Primitive = _primitive(
    "logical_and", 2, lambda mp, a, b: a and b, r"{0} \land {1}", symbol="&", precedence=8, is_condition=True
)
logical_or: Primitive = _primitive(
    "logical_or", 2, lambda mp, a, b: a or b, r"{0} \lor {1}", symbol="|", precedence=7, is_condition=True
)
is_number: Primitive = _primitive(
    "is_number", 1, lambda mp, a: a == a, r"{0} \in \mathbb{{R}} \cup \{{\pm\infty\}}",
    is_condition=True, doc="Whether a is not NaN. Not written as abs(a) >= 0, which some compilers take to be always true.",
)  # fmt: skip
where: Primitive = _primitive(
    "where", 3, lambda mp, c, a, b: a if c else b,
    r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
    partials=lambda c, a, b: (0, where(c, 1, 0), where(c, 0, 1)), simplify=_simplify_where,
    doc="a where the condition holds, b elsewhere.",
)  # fmt: skip
maximum: Primitive = _primitive(
    "maximum", 2, lambda mp, a, b: a if a > b else b, r"\max({0}, {1})",
    partials=lambda a, b: (where(a > b, 1, 0), where(a > b, 0, 1)),
    portable=lambda a, b: where(a > b, a, b),
    doc="The larger one.",
)  # fmt: skip
minimum: Primitive = _primitive(
    "minimum", 2, lambda mp, a, b: a if a < b else b, r"\min({0}, {1})",
    partials=lambda a, b: (where(a < b, 1, 0), where(a < b, 0, 1)),
    portable=lambda a, b: where(a < b, a, b), doc="The smaller one.",
)  # fmt: skip
absolute: Primitive = _primitive(
    "absolute", 1, lambda mp, a: abs(a), r"\left|{0}\right|",
    simplify=_simplify_zero, partials=lambda a: (sign(a),), portable=lambda a: where(a < 0, -a, a), doc="|a|.",
)  # fmt: skip
sign: Primitive = _primitive(
    "sign", 1, lambda mp, a: mp.sign(a), r"\operatorname{{sign}}({0})",
    simplify=_simplify_zero,
    partials=lambda a: (0,), portable=lambda a: where(a > 0, 1, where(a < 0, -1, 0)), doc="-1, 0 or 1.",
)  # fmt: skip

# --- portable forms ---------------------------------------------------------------------------------------------------------


def _vanishing(a: Expression) -> Expression:
    """Return exp(-|a|), which neither overflows nor loses digits."""
    return exp(-absolute(a))


def _clipped(a: Expression) -> Expression:
    """Return a between -1 and 1: a branch that is not taken must not overflow, or its slope in other hands would be NaN."""
    return maximum(minimum(a, 1), -1)


def horner(x: Expression, coefficients: Sequence[Operand]) -> Expression:
    """Return the polynomial of x with these coefficients, the constant term first, as products and sums."""
    result = as_expression(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


def _exp_residual_near_zero(a: Expression) -> Expression:
    """Return exp(a) - 1 - a for |a| <= 1, by its series to the digits of float64."""
    near = _clipped(a)
    return near * near * horner(near, [Fraction(1, factorial(k)) for k in range(2, 19)])


def _tanh_shrink_near_zero(a: Expression) -> Expression:
    """Return a - tanh(a) for |a| <= 1, by Lambert's fraction tanh(a) = a/(1 + a^2/(3 + a^2/(5 + ...)))."""
    near = _clipped(a)
    square = near * near
    # The fraction that follows 1 is p/q; both are polynomials in a^2.
    p, q = [Fraction(19)], [Fraction(1)]
    for odd in range(17, 1, -2):
        longer = [Fraction(0), *q]
        p, q = [odd * c + d for c, d in zip_longest(p, longer, fillvalue=Fraction(0))], p
    numerator, denominator = q, [c + d for c, d in zip_longest(p, [Fraction(0), *q], fillvalue=Fraction(0))]
    scale = denominator[0]
    return near * square * (horner(square, [c / scale for c in numerator]) / horner(square, [c / scale for c in denominator]))


def _log1p(a: Expression) -> Expression:
    """Return log(1 + a): the logarithm of the rounded sum, and what the rounding took."""
    total = 1 + a
    return log(total) + (a - (total - 1)) / total


def _tanh(a: Expression) -> Expression:
    m = expm1(-2 * absolute(a))
    size = -m / (2 + m)
    return where(a < 0, -size, size)


def _tanh_softplus(a: Expression) -> Expression:
    # n/(n + 2) with n = e*(e + 2), e = exp(a); from 40 on it is 1 in every dtype.
    e = exp(minimum(a, 40))
    n = e * (e + 2)
    return n / (n + 2)


def _sech_softplus(a: Expression) -> Expression:
    # 2(1 + e)/(1 + (1 + e)^2) with e = exp(a), divided by e^2 where e may overflow.
    q = _vanishing(a)
    square = q * q
    return where(a >= 0, 2 * q * (1 + q) / (1 + 2 * (q + square)), 2 * (1 + q) / (2 + 2 * q + square))


def _hypot(a: Expression) -> tuple[Expression, Expression, Expression]:
    """Return sqrt(1 + a^2) and a, both divided by max(|a|, 1) so that no square overflows, and 1/sqrt(1 + a^2)."""
    r = 1 / maximum(absolute(a), 1)
    part = a * r
    root = sqrt(r * r + part * part)
    return root, part, r / root


def _half_hypot_sum(a: Expression) -> Expression:
    half = absolute(a) / 2 + 1 / (2 * _hypot(a)[2])
    return where(a >= 0, half, 1 / (4 * half))


# --- elementary functions -----------------------------------------------------------------------------------------------

pi = _primitive("pi", 0, lambda mp: mp.pi + 0, r"\pi")()
nan = _primitive("nan", 0, lambda mp: mp.nan + 0, r"\mathrm{{NaN}}", doc="No number: outside a formula's domain.")()
sqrt: Primitive = _primitive(
    "sqrt", 1, lambda mp, a: mp.sqrt(a), r"\sqrt{{{0}}}",
    simplify=_simplify_zero, partials=lambda a: (1 / (2 * sqrt(a)),), doc="Square root.",
)  # fmt: skip
exp: Primitive = _primitive(
    "exp", 1, lambda mp, a: mp.exp(a), "e^{{{0}}}", partials=lambda a: (exp(a),), slope_by_value=lambda v: v, precedence=30,
)  # fmt: skip
expm1: Primitive = _primitive(
    "expm1", 1, lambda mp, a: mp.expm1(a), "e^{{{0}}} - 1",
    simplify=_simplify_zero,
    partials=lambda a: (exp(a),), slope_by_value=lambda v: 1 + v, precedence=10,
    portable=lambda a: where(absolute(a) <= 1, _clipped(a) + _exp_residual_near_zero(a), exp(a) - 1),
    doc="exp(a) - 1, exact near 0.",
)  # fmt: skip
log: Primitive = _primitive(
    "log", 1, lambda mp, a: mp.log(a), r"\log({0})", partials=lambda a: (1 / a,), doc="Natural logarithm."
)
log1p: Primitive = _primitive(
    "log1p", 1, lambda mp, a: mp.log1p(a), r"\log(1 + {0})",
    simplify=_simplify_zero,
    partials=lambda a: (1 / (1 + a),), slope_by_value=lambda v: exp(-v), portable=_log1p,
    doc="log(1 + a), exact near 0.",
)  # fmt: skip
sin: Primitive = _primitive(
    "sin", 1, lambda mp, a: mp.sin(a), r"\sin({0})", simplify=_simplify_zero, partials=lambda a: (cos(a),)
)
cos: Primitive = _primitive("cos", 1, lambda mp, a: mp.cos(a), r"\cos({0})", partials=lambda a: (-sin(a),))
arctan: Primitive = _primitive(
    "arctan", 1, lambda mp, a: mp.atan(a), r"\arctan({0})",
    simplify=_simplify_zero, partials=lambda a: (power(reciprocal_hypot(a), 2),),
    slope_by_value=lambda v: power(cos(v), 2),
)  # fmt: skip
reciprocal_hypot: Primitive = _primitive(
    "reciprocal_hypot", 1, lambda mp, a: 1 / mp.sqrt(1 + a * a), r"\frac{{1}}{{\sqrt{{1 + ({0})^2}}}}",
    # Written with algebraic_sigmoid, a/sqrt(1 + a^2), because a alone would meet 0 at infinity.
    partials=lambda a: (-algebraic_sigmoid(a) * power(reciprocal_hypot(a), 2),),
    portable=lambda a: _hypot(a)[2], doc="1/sqrt(1 + a^2), without overflow.",
)  # fmt: skip

# --- sigmoids and what belongs to them ------------------------------------------------------------------------------------
# Slopes are products of quantities that are each accurate down to underflow: 1 - tanh(a)^2 or s*(1 - s) would cancel.

sigmoid: Primitive = _primitive(
    "sigmoid", 1, lambda mp, a: 1 / (1 + mp.exp(-a)), r"\sigma({0})",
    partials=lambda a: (sigmoid(a) * sigmoid(-a),), slope_by_value=lambda v: v * (1 - v),
    portable=lambda a: where(a >= 0, 1, _vanishing(a)) / (1 + _vanishing(a)), doc="1/(1 + exp(-a)).",
)  # fmt: skip
tanh: Primitive = _primitive(
    "tanh", 1, lambda mp, a: mp.tanh(a), r"\tanh({0})",
    simplify=_simplify_zero, partials=lambda a: (power(sech(a), 2),),
    slope_by_value=lambda v: (1 - v) * (1 + v), portable=_tanh, doc="Hyperbolic tangent.",
)  # fmt: skip
sech: Primitive = _primitive(
    "sech", 1, lambda mp, a: 1 / mp.cosh(a), r"\operatorname{{sech}}({0})", partials=lambda a: (-tanh(a) * sech(a),),
    portable=lambda a: 2 * _vanishing(a) / (1 + power(_vanishing(a), 2)), doc="1/cosh(a).",
)  # fmt: skip
softplus: Primitive = _primitive(
    "softplus", 1, lambda mp, a: mp.log1p(mp.exp(a)), r"\operatorname{{softplus}}({0})",
    partials=lambda a: (sigmoid(a),), slope_by_value=lambda v: -expm1(-v),
    portable=lambda a: maximum(a, 0) + log1p(_vanishing(a)),
    doc="log(1 + exp(a)).",
)  # fmt: skip
tanh_shrink: Primitive = _primitive(
    "tanh_shrink", 1, lambda mp, a: a - mp.tanh(a), r"{0} - \tanh({0})",
    simplify=_simplify_zero, partials=lambda a: (power(tanh(a), 2),), precedence=10,
    portable=lambda a: where(absolute(a) <= 1, _tanh_shrink_near_zero(a), a - tanh(a)),
    doc="a - tanh(a), exact near 0.",
)  # fmt: skip
tanh_softplus: Primitive = _primitive(
    "tanh_softplus", 1, lambda mp, a: mp.tanh(mp.log1p(mp.exp(a))), r"\tanh(\operatorname{{softplus}}({0}))",
    partials=lambda a: (power(sech_softplus(a), 2) * sigmoid(a),), portable=_tanh_softplus,
    doc="tanh(softplus(a)), rational in exp(a): mish's gate.",
)  # fmt: skip
sech_softplus: Primitive = _primitive(
    "sech_softplus", 1, lambda mp, a: mp.sech(mp.log1p(mp.exp(a))), r"\operatorname{{sech}}(\operatorname{{softplus}}({0}))",
    partials=lambda a: (-(tanh_softplus(a) * sigmoid(a)) * sech_softplus(a),), portable=_sech_softplus,
    doc="1/cosh(softplus(a)), rational in exp(a).",
)  # fmt: skip
softsign: Primitive = _primitive(
    "softsign", 1, lambda mp, a: a / (1 + abs(a)), r"\frac{{{0}}}{{1 + \left|{0}\right|}}",
    simplify=_simplify_zero,
    partials=lambda a: (1 / power(1 + absolute(a), 2),), slope_by_value=lambda v: power(1 - absolute(v), 2),
    portable=lambda a: a / (1 + absolute(a)), doc="a/(1 + |a|).",
)  # fmt: skip
algebraic_sigmoid: Primitive = _primitive(
    "algebraic_sigmoid", 1, lambda mp, a: a / mp.sqrt(1 + a * a), r"\frac{{{0}}}{{\sqrt{{1 + ({0})^2}}}}",
    simplify=_simplify_zero, partials=lambda a: (power(reciprocal_hypot(a), 3),),
    slope_by_value=lambda v: power((1 - v) * (1 + v), Fraction(3, 2)), portable=lambda a: _hypot(a)[1] / _hypot(a)[0],
    doc="a/sqrt(1 + a^2), without overflow.",
)  # fmt: skip
half_hypot_sum: Primitive = _primitive(
    "half_hypot_sum", 1, lambda mp, a: (a + mp.sqrt(a * a + 1)) / 2, r"\tfrac12\left({0} + \sqrt{{({0})^2 + 1}}\right)",
    partials=lambda a: ((1 + algebraic_sigmoid(a)) / 2,),
    slope_by_value=lambda v: power(reciprocal_hypot(1 / (2 * v)), 2), portable=_half_hypot_sum,
    doc="(a + sqrt(a^2 + 1))/2, without overflow or cancellation.",
)  # fmt: skip
exp_residual: Primitive = _primitive(
    "exp_residual", 1, lambda mp, a: mp.expm1(a) - a, r"e^{{{0}}} - 1 - {0}",
    simplify=_simplify_zero,
    partials=lambda a: (expm1(a),), precedence=10,
    portable=lambda a: where(absolute(a) <= 1, _exp_residual_near_zero(a), expm1(a) - a),
    doc="exp(a) - 1 - a, exact near 0.",
)  # fmt: skip

# --- the normal distribution ------------------------------------------------------------------------------------------------

erf: Primitive = _primitive(
    "erf", 1, lambda mp, a: mp.erf(a), r"\operatorname{{erf}}({0})",
    simplify=_simplify_zero, partials=lambda a: (2 / sqrt(pi) * exp(-power(a, 2)),), doc="The error function.",
)  # fmt: skip
erfc: Primitive = _primitive(
    "erfc", 1, lambda mp, a: mp.erfc(a), r"\operatorname{{erfc}}({0})",
    partials=lambda a: (-2 / sqrt(pi) * exp(-power(a, 2)),), portable=lambda a: 2 * normal_cdf(-sqrt(2) * a),
    doc="1 - erf(a), without cancellation.",
)  # fmt: skip
normal_cdf: Primitive = _primitive(
    "normal_cdf", 1, lambda mp, a: mp.erfc(-a / mp.sqrt(2)) / 2, r"\Phi({0})",
    partials=lambda a: (exp(-power(a, 2) / 2) / sqrt(2 * pi),), portable=lambda a: erfc(a * -sqrt(Fraction(1, 2))) / 2,
    doc="The distribution function of the standard normal, Phi.",
)  # fmt: skip
