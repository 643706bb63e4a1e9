"""Limits at infinity, followed in decimal arithmetic whose exponents have eighteen digits.

Neither floats nor symbols will do: in floats exp(x)/x overflows long before it shows where it goes, and log(x)/x is still far
from 0 at the largest number. In decimals a formula is followed to 1e64, each step the square of the one before, so that what
goes like a power, an exponential or a logarithm is told apart.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Decimal
from fractions import Fraction
from itertools import pairwise, takewhile

from nonlin.formula.constants import PI
from nonlin.formula.expression import Application, Constant, Expression, postorder, remembered
from nonlin.formula.spelling import Reference

#: The powers of ten at which an input is looked at.
_POWERS = [2**k for k in range(7)]
#: Constants of more digits than this before or after the point are left behind first.
_MANY_DIGITS = 25
#: What oscillates is looked at beside each step, too.
_BESIDE = [Decimal(1), Decimal("1.1234567"), Decimal("1.3819660"), Decimal("1.7320508")]


class Decimals:
    """The functions that references are written with, of decimals: a context for ``nonlin.formula.spelling.Reference``."""

    pi, nan = PI, Decimal("nan")

    @staticmethod
    def mpf(value: object) -> Decimal:
        """Return a number as a decimal."""
        return value if isinstance(value, Decimal) else Decimal(value)  # type: ignore[arg-type]

    @staticmethod
    def sign(a: Decimal) -> Decimal:
        """-1, 0 or 1."""
        return a if a.is_nan() else Decimal((a > 0) - (a < 0))

    @staticmethod
    def sqrt(a: Decimal | int) -> Decimal:
        """Square root."""
        return Decimal(a).sqrt()

    @staticmethod
    def exp(a: Decimal) -> Decimal:
        """Exponential."""
        return a.exp()

    @staticmethod
    def log(a: Decimal) -> Decimal:
        """Natural logarithm."""
        return a.ln()

    def expm1(self, a: Decimal) -> Decimal:
        """exp(a) - 1."""
        return a.exp() - 1 if abs(a) > Decimal("1e-150") else a

    def log1p(self, a: Decimal) -> Decimal:
        """log(1 + a)."""
        return (1 + a).ln() if abs(a) > Decimal("1e-150") else a

    def tanh(self, a: Decimal) -> Decimal:
        """Hyperbolic tangent."""
        q = (-2 * abs(a)).exp()
        return ((1 - q) / (1 + q)).copy_sign(a)

    def cosh(self, a: Decimal) -> Decimal:
        """Hyperbolic cosine."""
        return (a.exp() + (-a).exp()) / 2

    def sech(self, a: Decimal) -> Decimal:
        """1/cosh(a)."""
        return 1 / self.cosh(a)

    def atan(self, a: Decimal) -> Decimal:
        """Inverse tangent."""
        if a.is_nan():
            return a
        if abs(a) > 1:
            return (PI / 2).copy_sign(a) - self.atan(1 / a)
        for _ in range(4):
            a = a / (1 + (1 + a * a).sqrt())
        return 16 * _series(a, lambda term, n: -term * a * a, lambda n: 2 * n + 1)

    def sin(self, a: Decimal) -> Decimal:
        """Sine; far out no more than a number between -1 and 1 that changes from place to place."""
        if not a.is_finite():
            return self.nan
        r = a - 2 * PI * (a / (2 * PI)).to_integral_value()
        if abs(r) > 4:
            return self.nan
        return _series(r, lambda term, n: -term * r * r / ((2 * n) * (2 * n + 1)))

    def cos(self, a: Decimal) -> Decimal:
        """Cosine, as the sine."""
        return self.sin(a + PI / 2)

    def erf(self, a: Decimal) -> Decimal:
        """The error function."""
        return 1 - self.erfc(a) if a > 2 or a < -2 else 2 / PI.sqrt() * _error_series(a)

    def erfc(self, a: Decimal) -> Decimal:
        """1 - erf(a)."""
        if a.is_nan():
            return a
        if a < 0:
            return 2 - self.erfc(-a)
        if a < 8:
            return 1 - 2 / PI.sqrt() * _error_series(a)
        fraction = a
        for n in range(60, 0, -1):
            fraction = a + Decimal(n) / 2 / fraction
        return (-a * a).exp() / (PI.sqrt() * fraction)


def _series(
    first: Decimal, following: Callable[[Decimal, int], Decimal], divisor: Callable[[int], int] = lambda n: 1
) -> Decimal:
    """Sum a series until its terms no longer count for sixty digits."""
    total, term, n = first, first, 0
    while abs(term) > abs(total) * Decimal("1e-60") and n < 400:
        n += 1
        term = following(term, n)
        total += term / divisor(n)
    return total


def _error_series(a: Decimal) -> Decimal:
    return _series(a, lambda term, n: -term * a * a / n, lambda n: 2 * n + 1)


@remembered
def limit(formula: Expression, sign: int) -> Fraction | float | None:
    """Return the limit of a formula of x at infinity.

    Parameters
    ----------
    formula : Expression
        Of ``x`` alone, in canonical form: 1 + exp(x) is 1 so far out.
    sign : int
        1 for plus infinity, -1 for minus infinity.

    Returns
    -------
    Fraction, float or None
        A float if it is infinite. None if there is no limit, or none was seen: what goes to its limit more slowly than a
        logarithm to infinity may be missed.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp, log, sin
    >>> from nonlin.formula.limits import limit
    >>> x = Symbol("x")
    >>> limit(exp(x) / x, 1), limit(log(x) / x, 1), limit(sin(x), 1), limit(x / (1 + abs(x)), -1)
    (inf, Fraction(0, 1), None, Fraction(-1, 1))
    """
    nodes = list(postorder(formula))
    waves = any(isinstance(node, Application) and node.primitive.name in ("sin", "cos") for node in nodes)
    digits = max(_digits(node) for node in nodes)
    start = digits if digits > _MANY_DIGITS else 0
    # Of differences like sqrt(x^2 + 1) - x half the digits are left, and of their squares a quarter. No traps: what overflows
    # is infinite, and what has no value NaN.
    precision = 5 * (start + _POWERS[-1])
    with decimal.localcontext(decimal.Context(prec=precision, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])):
        steps = [sign * Decimal(10) ** (start + power) for power in _POWERS]
        found = [_tendency([_value(formula, x * beside) for x in steps]) for beside in _BESIDE[: 4 if waves else 1]]
    first = found[0]
    if first is None or any(other is None or not _is_same(first, other) for other in found):
        return None
    return Fraction(first) if first.is_finite() else float(first)


def _is_same(a: Decimal, b: Decimal) -> bool:
    return a == b or (a.is_finite() and b.is_finite() and abs(a - b) <= abs(a) * Decimal("1e-15"))


def _digits(node: Expression) -> int:
    """Return how many digits a constant has before or after the point."""
    if not isinstance(node, Constant):
        return 0
    return abs(node.value.numerator.bit_length() - node.value.denominator.bit_length()) * 3 // 10


def _value(formula: Expression, at: Decimal) -> Decimal:
    result = Reference(Decimals(), {"x": at})(formula)
    return result if isinstance(result, Decimal) else Decimal(result)


def _tendency(values: list[Decimal]) -> Decimal | None:
    """Return what values at x, x^2, x^4 and so on tend to."""
    # What is infinite where x is not has overflowed; quotients of that mean nothing, and what came before tells.
    finite = list(takewhile(Decimal.is_finite, values))
    if len(finite) < 4:
        before, last = values[-2:]
        return last if last.is_infinite() and before == last else None
    before, last = finite[-2:]
    if abs(last - before) <= abs(last) * Decimal("1e-12"):
        return _rounded(last)
    signs = {Decimals.sign(value) for value in finite[-3:]}
    sizes = [abs(value) for value in finite[-4:]]
    steps = [b - a for a, b in pairwise(finite[-4:])]
    if all(b <= a * Decimal("0.6") for a, b in pairwise(sizes)):
        return Decimal(0)
    if len(signs) == 1 and all(b >= a * Decimal("1.4") for a, b in pairwise(sizes)):
        return Decimal("inf").copy_sign(last)
    if len({Decimals.sign(step) for step in steps}) == 1 and abs(steps[-1]) >= abs(steps[-2]) * Decimal("0.99"):
        return Decimal("inf").copy_sign(steps[-1])
    return None


def _rounded(value: Decimal) -> Decimal:
    """Round to the digits that are sure, so that what tends to 1/2 does not tend to a little more."""
    return decimal.Context(prec=30).create_decimal(value).normalize()
