"""The functions underneath, written in the language: exp, tanh, sigmoid, normal_cdf, sin and so on, for any kind of lanes.

Each function takes and returns :class:`~nonlin.arithmetic.number.Number` and reads like the mathematics; what rounding leaves
over and powers of two take care of themselves there. Polynomials come from ``coefficients.py``, which
``tools/fit_coefficients.py`` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from nonlin.arithmetic.machine import (
    ROUNDERS,
    exponent,
    fma,
    horner,
    larger,
    library_cos,
    library_sin,
    polynomial,
    power_of_two,
    rint,
    scale,
    significand,
    smaller,
)
from nonlin.arithmetic.number import SINGLE, Lanes, Number, clamp, small_or_zero, square_root, where, with_sign
from nonlin.formula import primitives as p
from nonlin.formula.coefficients import COEFFICIENTS, CONSTANTS, RATIONALS, ZEROS
from nonlin.formula.expression import Constant, Expression, Symbol
from nonlin.formula.primitives import absolute as absolute_node, where as where_node

_HALF = Fraction(1, 2)


def _fit(name: str, lanes: Lanes, x: Expression) -> Expression:
    """A fitted polynomial whose rounding does not matter, because it is added to something larger."""
    return polynomial(x, COEFFICIENTS[name][lanes.goal])


def _leading_fit(name: str, lanes: Lanes, x: Expression) -> Number:
    """A fitted polynomial that is a factor of the result: its constant term and last sum keep what they round away."""
    first, *others = COEFFICIENTS[name][lanes.goal]
    return Number.constant(lanes, first) + Number(lanes, x * polynomial(x, tuple(others)))


# --- exponentials -----------------------------------------------------------------------------------------------------


class _Reduced:
    """An argument of exp as ``n*log(2) + r`` with ``|r| <= log(2)/2``: exp is then ``2**n * exp(r)``."""

    def __init__(self, x: Number) -> None:
        lanes = x.lanes
        x = x.applied()
        # Beyond these bounds the result is 0 or inf for sure; well beyond, so that exp(x)*sigmoid(-x) is 1 for some way. The
        # lower one is far lower, so that the product of an exploding and a vanishing exponential (x*exp(-x)*exp(-exp(-x)) at
        # -inf) vanishes.
        bounds = (-(2**13), 2**11) if lanes.element == "float32" else (-(2**16), 2**14)
        high = clamp(x.high, Constant(bounds[0]), Constant(bounds[1]))
        self.n = n = rint(high * Constant(lanes.round(CONSTANTS["1/log(2)"])))
        first, second = (Constant(c) for c in _two_parts_of_log2(lanes))
        near = fma(n, -first, high)  # exact: the first part of log(2) leaves room for n's digits
        self.r = fma(n, -second, near)
        # What the last step rounded away, and what came with the argument.
        self.low: Expression | None = None
        if lanes.compensated:
            self.low = (near - self.r) - n * second
        given = x.small_low
        if given is not None:
            self.low = given if self.low is None else self.low + given


def _two_parts_of_log2(lanes: Lanes) -> tuple[Fraction, Fraction]:
    log2 = CONSTANTS["log(2)"]
    bits = 12 if lanes.element == "float32" else 36
    first = Fraction(round(log2 * 2**bits), 2**bits)
    return first, lanes.round(log2 - first)


class _Exponential:
    """exp of a moderate argument as ``power*(1 + p)`` with a power of two, so that sums with constants round only once.

    A ``coarse`` one takes log(2) in one piece, for those to whom the error of large results is all the same. A ``careful`` one
    puts what is missing then, and what ``1 + p`` rounds away, into ``lost``; it is for arithmetic without rests. With a
    ``shift`` the power has so much more for its exponent.
    """

    def __init__(self, x: Number, *, coarse: bool = False, careful: bool = False, shift: int = 0) -> None:
        lanes = x.lanes
        rounder = Constant(ROUNDERS[lanes.element] + shift)
        shifted = fma(x.high, Constant(lanes.round(CONSTANTS["1/log(2)"])), rounder)
        n = shifted - rounder
        parts = _two_parts_of_log2(lanes)
        if (coarse or careful or lanes.short) and not lanes.compensated:
            log2 = lanes.round(CONSTANTS["log(2)"])
            parts = log2, lanes.round(CONSTANTS["log(2)"] - log2) if careful else Fraction(0)
        first, second = map(Constant, parts)
        near = fma(n, -first, x.high)  # exact also with log(2) in one piece, while n is moderate
        # With a rest the two small terms first: their sum rounds away next to nothing.
        given = None if lanes.compensated else x.low
        missing = n * -second if given is None else fma(n, -second, given)
        r = near if careful else fma(n, -second, near) if given is None else near + missing
        tail = r * r * _fit("exp", lanes, r)
        p = r + tail
        self.lost = Number(lanes, ((r - p) + tail) + fma(p, missing, missing))

        def rest() -> Expression:
            # What the last sum, the reduction and the argument left over.
            low = (near - r) - n * second
            return fma(1 + p, low if x.low is None else low + x.low, tail - (p - r))

        self.power = Number(lanes, power_of_two(shifted))
        self.p = Number(lanes, p, rest if lanes.compensated else None)

    def plus(self, constant: int) -> Number:
        """exp(x) + constant."""
        return (self.power + constant) + self.power * self.p

    def plus_one(self, one: Fraction = Fraction(1)) -> Number:
        """exp(x) + 1, with what is lost where the power of two is about as large as 1 is finely resolved."""
        total = self.power + one
        if total.lanes.compensated:
            return total + self.power * self.p
        return total + (self.power * self.p + ((self.power - total) + one))

    def significand_times(self, factor: Number) -> Number:
        """exp(x)*factor without the power of two."""
        more = self.p * factor
        if factor.lanes.compensated:
            return factor + more
        if factor.known_low is not None:
            more = more + Number(factor.lanes, factor.known_low)
        return factor + more

    def times(self, factor: Number) -> Number:
        """exp(x)*factor."""
        return self.power * self.significand_times(factor)


class _Gaussian:
    """exp(-c*x^2), c = 1/2 or 1, as ``power*(1 + p)``, without rests.

    log(2) is taken in one piece: what that leaves over, exp(-c*x^2*(log2/log(2) - 1)), is taken up by the function that the
    exponential is multiplied by, which has to be fitted for it, as far as ``reach``. A ``coarse`` one takes the square as it is
    rounded. Clamped lanes hold ``size``, which is ``|x|``, to the reach, and may give the power too much: what it is multiplied
    by has to be scaled by ``unit``, so that results are rounded once where they are subnormal.
    """

    def __init__(self, x: Number, c: Fraction, reach: Fraction, *, coarse: bool = False) -> None:
        lanes = x.lanes
        self.size = high = abs(x).high
        shift = 0
        if lanes.clamped:
            self.size = high = smaller(Constant(lanes.round(reach)), high)
            # As far as powers of two would not be normal numbers.
            normal, more = (80, 64) if lanes.element == "float32" else (700, 512)
            shift = more if c * reach**2 > normal else 0
        self.unit = Fraction(1, 2**shift)
        self.square = square = high * high
        rounder = Constant(ROUNDERS[lanes.element] + shift)
        shifted = fma(square, Constant(lanes.round(-c / CONSTANTS["log(2)"])), rounder)
        n = shifted - rounder
        e = fma(-n, Constant(lanes.round(CONSTANTS["log(2)"]) / c), -square)  # exact: n*log(2) - c*x^2, over c
        if not coarse:
            low = fma(high, high, -square)
            e = e - (low if x.low is None else fma(2 * x.high, x.low, low))
        # exp(r) - 1 = r + r^2 p(r) with r = c*e, whose powers of two are those of the coefficients.
        fitted = (c ** (k + 2) * Fraction(value) for k, value in enumerate(COEFFICIENTS["exp"][lanes.goal]))
        self.power = Number(lanes, power_of_two(shifted))
        self.p = Number(lanes, fma(e * e, polynomial(e, tuple(fitted)), e * Constant(c)))

    def rational(self, name: str, unit: Fraction = Fraction(1)) -> tuple[Number, Number]:
        """Return the parts of a fitted sum, times a unit: a constant, and a quotient of polynomials of the size."""
        lanes = self.power.lanes
        constant, dividend, divisor = RATIONALS[name][lanes.goal]
        # One chain of sums each: beside the exponential there is time for it.
        evaluate = horner if lanes.goal == SINGLE.goal else polynomial
        scaled = tuple(Fraction(coefficient) * unit for coefficient in dividend)
        quotient = evaluate(self.size, scaled) / evaluate(self.size, divisor)
        return Number(lanes, Constant(constant * unit)), Number(lanes, quotient)


def exp(x: Number) -> Number:
    if x.lanes.moderate:
        exponential = _Exponential(x)
        result = exponential.plus(0)
        result.times = exponential.times
        return result
    reduced = _Reduced(x)
    r = reduced.r
    # exp(r) = 1 + r + r^2 q(r), summed from the small end; in single precision the rest joins r at once.
    if not x.lanes.compensated and reduced.low is not None:
        r = r + reduced.low
    tail = (r * r) * _fit("exp", x.lanes, r)
    above_one = r + tail
    high = 1 + above_one

    def rest() -> Expression:
        low = above_one - (high - 1)
        if x.lanes.compensated:
            low = low + (tail - (above_one - r))
            if reduced.low is not None:
                low = fma(reduced.low, high, low)
        return low

    return Number(x.lanes, high, rest, reduced.n)


def expm1(x: Number) -> Number:
    if x.lanes.clamped:  # where the result is -1
        lowest = Constant(-20 if x.lanes.element == "float32" else -40)
        x = Number(x.lanes, larger(lowest, x.high), x.low)
    if x.lanes.moderate:
        return _Exponential(x).plus(-1)
    lanes = x.lanes
    reduced = _Reduced(x)
    r = reduced.r
    if not lanes.compensated and reduced.low is not None:
        r = r + reduced.low
    # 2^n (exp(r) - 1) + (2^n - 1), where 2^n - 1 is exact while it matters.
    above_one = Number(lanes, r) + Number(lanes, r * r * _fit("exp", lanes, r))
    if lanes.compensated and reduced.low is not None:
        rest = fma(reduced.low, above_one.high, reduced.low)
        above_one = Number(lanes, above_one.high, rest if above_one.low is None else above_one.low + rest)
    power = Number(lanes, scale(Constant(1), reduced.n))
    result = power * above_one + (power - 1)
    # 2^n overflows before exp(x) does, and inf*0 - inf is no number.
    top = Fraction(177, 2) if lanes.element == "float32" else Fraction(1419, 2)
    return where(x > top, exp(x), result)


def exp_residual(x: Number) -> Number:
    """exp(x) - 1 - x."""
    x = x.applied()
    small = (x * x) * _leading_fit("exp_residual", x.lanes, clamp(x.high, Constant(-1), Constant(1)))
    return where(abs(x) <= 1, small, expm1(x) - x)


def sigmoid(x: Number) -> Number:
    if x.lanes.clamped:
        # In units so small that the division is what rounds a subnormal result.
        highest, shift = (104, -24) if x.lanes.element == "float32" else (746, -60)
        high = clamp(-x.high, Constant(-60), Constant(highest))
        unit = Fraction(2) ** shift
        return unit / _Exponential(Number(x.lanes, high, (-x).low), shift=shift).plus_one(unit)
    if x.lanes.moderate:
        return 1 / _Exponential(-x).plus_one()
    q = exp(-abs(x))
    return where(x < 0, q, 1) / (1 + q)


def _log1p_over(q: Number) -> Number:
    """log(1 + q)/q for 0 <= q <= 1, from log(1 + q) = 2 artanh(s) with s = q/(2 + q)."""
    half = 1 / (2 + q)
    s = q.applied().high * half.high
    square = s * s
    return (2 * half) * (1 + Number(q.lanes, square * _fit("artanh", q.lanes, square)))


def softplus(x: Number) -> Number:
    if x.lanes.moderate:
        # max(x, 0) + log(1 + q), q = exp(-|x|) = power + power p, summed from the small end
        exponential = _Exponential(-abs(x))
        q = exponential.plus(0)
        small = exponential.power * exponential.p + (q * q) * Number(x.lanes, _fit("log1p", x.lanes, q.high - Constant(_HALF)))
        return (where(x > 0, x, 0) + small) + exponential.power
    q = exp(-abs(x))
    tail = q * _log1p_over(q)
    return where(x > 0, x + tail, tail)


def tanh(x: Number) -> Number:
    if x.lanes.moderate:
        square = x.high * x.high
        small = x - Number(x.lanes, x.high * square * _fit("tanh", x.lanes, square))
        size = abs(x)
        if x.lanes.clamped:  # where the result is 1
            highest = Constant(10 if x.lanes.element == "float32" else 20)
            size = Number(x.lanes, smaller(highest, size.high), size.low)
        return where(abs(x) <= Fraction(11, 20), small, with_sign(1 - 2 / _Exponential(size * 2, coarse=True).plus(1), x))
    e = expm1(-2 * abs(x))
    result = with_sign(-e / (2 + e), x)
    if x.exponent is None:
        return result
    # tanh(x) = x where x is tiny, all digits of a number that is subnormal only after it has been applied.
    return where(abs(x) < Fraction(1, 2 ** (x.lanes.goal // 2 + 2)), x, result)


def sech(x: Number) -> Number:
    q = exp(-abs(x))
    return 2 * q / (1 + q * q)


def tanh_softplus(x: Number) -> Number:
    if x.lanes.moderate:
        return _moderate_tanh_softplus(x)
    # n/(n + 2) with n = e(e + 2), e = exp(x); above zero divided through by e^2.
    q = exp(-abs(x))
    top = where(x > 0, 1 + 2 * q, q * (2 + q))
    return top / _mish_divisor(x, q)


def _moderate_tanh_softplus(x: Number) -> Number:
    exponential = _Exponential(x)
    e = exponential.plus(0)
    top = e * e + 2 * e
    bottom = top + 2
    if x.lanes.compensated:
        return top / bottom
    # What e, the sums and the quotient round away, for a few operations more.
    lost = (exponential.power - e) + exponential.power * exponential.p
    top_lost = (2 * e - top) + e * e + lost * (2 + 2 * e)
    inverse = 1 / bottom
    quotient = top * inverse
    remainder = (top - quotient * bottom) + top_lost - quotient * ((2 - bottom) + top + top_lost)
    return quotient + remainder * inverse


def sech_softplus(x: Number) -> Number:
    if x.lanes.moderate:
        e = exp(x)
        return 2 * (1 + e) / (2 + e * (2 + e))
    q = exp(-abs(x))
    return where(x > 0, 2 * q * (1 + q), 2 * (1 + q)) / _mish_divisor(x, q)


def _mish_divisor(x: Number, q: Number) -> Number:
    return where(x > 0, 1 + 2 * q * (1 + q), 2 + q * (2 + q))


def tanh_shrink(x: Number) -> Number:
    x = x.applied()
    square = x * x
    small_square = smaller(square.high, Constant(1))
    small = (x * square) * _leading_fit("tanh_shrink", x.lanes, small_square)
    # 1 - tanh(a) by itself, since a - tanh(a) would cancel
    a = abs(x)
    if x.lanes.moderate:
        above = 2 / _Exponential(a * 2, coarse=True).plus(1)
    else:
        q = exp(-2 * a)
        above = 2 * q / (1 + q)
    return where(a <= 1, small, with_sign((a - 1) + above, x))


# --- algebraic functions ----------------------------------------------------------------------------------------------


def _finite(x: Number) -> Number:
    """|x|, with infinity replaced by the largest number."""
    return Number(x.lanes, clamp(abs(x).high, Constant(0), Constant(x.lanes.largest)), abs(x).small_low)


def softsign(x: Number) -> Number:
    a = _finite(x.applied())
    return with_sign(a / (1 + a), x)


def _hypot_parts(x: Number) -> tuple[Number, Number]:
    """Return m = max(1, |x|) and sqrt(1 + t^2), t = min(1, |x|)/m: their product is sqrt(1 + x^2)."""
    a = abs(x)
    large = a > 1
    m = where(large, a, 1)
    t = where(large, 1, a) / m
    return m, square_root(1 + t * t)


def reciprocal_hypot(x: Number) -> Number:
    m, root = _hypot_parts(x)
    return 1 / m / root


def algebraic_sigmoid(x: Number) -> Number:
    _, root = _hypot_parts(x)
    a = abs(x)
    return with_sign(where(a > 1, 1, a) / root, x)


def half_hypot_sum(x: Number) -> Number:
    """(x + sqrt(1 + x^2))/2, below zero the reciprocal of its conjugate."""
    m, root = _hypot_parts(x)
    half = abs(x) * _HALF + (m * _HALF) * root
    return where(x < 0, _HALF * _HALF / half, half)


# --- logarithms ---------------------------------------------------------------------------------------------------------


def log(x: Number) -> Number:
    x = x.applied()
    lanes = x.lanes
    # Subnormal numbers are scaled up first.
    smallest, shift = (Fraction(1, 2**126), 24) if lanes.element == "float32" else (Fraction(1, 2**1022), 54)
    tiny = x.high < Constant(smallest)
    normal = where_node(tiny, x.high * Constant(2**shift), x.high)
    n = where_node(tiny, exponent(normal) - shift, exponent(normal))
    m = significand(normal)
    # m in [sqrt(1/2), sqrt(2)): the logarithm is then small where x is near 1, and the sum below does not cancel.
    above = m > Constant(Fraction(181, 128))
    f = Number(lanes, where_node(above, m * Constant(_HALF), m) - 1)
    s = f / (2 + f)
    square = s.high * s.high
    small = 2 * s + 2 * s * Number(lanes, square * _fit("artanh", lanes, square))
    if x.low is not None:
        small = small + Number(lanes, small_or_zero(x.low / x.high))
    n_log2 = [Number(lanes, where_node(above, n + 1, n)) * part for part in _two_parts_of_log2(lanes)]
    result = n_log2[0] + (small + n_log2[1])
    # -inf at 0; NaN, NaN and inf from the square root below zero, at NaN and at inf.
    special = where_node(absolute_node(x.high) <= 0, -1 / absolute_node(x.high), square_root(x).high)
    ordinary = (x.high > 0) & (x.high <= Constant(lanes.largest))
    return where(ordinary, result, Number(lanes, special))


def log1p(x: Number) -> Number:
    # The sum 1 + x leaves over just what is needed: its relative size is the correction of the logarithm.
    total = 1 + x.applied()
    corrected = log(Number(x.lanes, total.high, lambda: total.low))
    # Below the resolution of 1 + x the logarithm is x itself, sign of zero included.
    return where(abs(x) <= Fraction(1, 2 ** (x.lanes.goal + 2)), x, corrected)


# --- the normal distribution -----------------------------------------------------------------------------------------------

_TAIL_CENTRE = 3


def _normal_tail(a: Number) -> Number:
    """The probability of a standard normal above a >= 0."""
    lanes = a.lanes
    # exp(a^2/2) times the tail, times a + 3, is smooth in (a - 3)/(a + 3), which maps [0, inf) to [-1, 1).
    a = a.applied()
    inverse = 1 / (Number(lanes, smaller(Constant(64), a.high), a.small_low) + _TAIL_CENTRE)
    t = (1 - 2 * _TAIL_CENTRE * inverse).rounded()
    return exp(-(a * a) * _HALF) * (inverse * _leading_fit("normal_tail", lanes, t))


_CENTRE = Fraction(4, 5)
#: How far the tails are fitted: beyond, what is multiplied by them is 0.
_REACH = {24: Fraction("14.6"), 40: Fraction("14.6"), 53: Fraction("38.8")}


class _ModerateNormal:
    """What the distribution's functions share in arithmetic without rests."""

    def __init__(self, x: Number) -> None:
        self.x, self.lanes = x, x.lanes
        self.exponential = _Gaussian(x, _HALF, _REACH[x.lanes.goal])
        self.is_centre = abs(x) <= _CENTRE

    def centre(self) -> Number:
        """P(Z < x) near 0."""
        return self.x * Number(self.lanes, _fit("normal_centre", self.lanes, self.exponential.square)) + _HALF

    def scaled_tail(self) -> Number:
        """P(Z > a) times a, for a = |x| not near 0."""
        # The fitted function varies by a third only. Its constant, which has no error, is added last, so that all other
        # roundings are small.
        constant, quotient = self.exponential.rational("gelu_tail", self.exponential.unit)
        return self.exponential.power * (constant + (quotient + (constant + quotient) * self.exponential.p))


def normal_cdf(x: Number) -> Number:
    if x.lanes.moderate and not x.lanes.compensated:
        at = _ModerateNormal(x)
        tail = at.scaled_tail() / abs(x)
        return where(at.is_centre, at.centre(), where(x < 0, tail, 1 - tail))
    tail = _normal_tail(abs(x))
    return where(x < 0, tail, 1 - tail)


def erf(x: Number) -> Number:
    lanes = x.lanes
    if lanes.moderate and not lanes.compensated:
        exponential = _Gaussian(
            x, Fraction(1), Fraction(6), coarse=True
        )  # of a tail of at most 0.16 the last digits do not matter
        first, *others = COEFFICIENTS["erf"][lanes.goal]
        exact = Fraction(first)
        high = lanes.round(exact)
        rest = fma(exponential.square, polynomial(exponential.square, tuple(others)), Constant(lanes.round(exact - high)))
        small = x * high + x * Number(lanes, rest)
        _, quotient = exponential.rational("erf_tail")
        large = 1 - exponential.power * (quotient + quotient * exponential.p)
        return where(abs(x) <= 1, small, with_sign(large, x))
    square = x.applied() * x.applied()
    small = x * _leading_fit("erf", x.lanes, smaller(square.high, Constant(1)))
    large = 1 - 2 * _normal_tail(abs(x) * CONSTANTS["sqrt(2)"])
    return where(abs(x) <= 1, small, with_sign(large, x))


# --- circular functions -------------------------------------------------------------------------------------------------------


class _Quadrant:
    """An argument of sin and cos as ``n*pi/2 + r`` with ``|r| <= pi/4``; n modulo 4 as -2, -1, 0, 1 or 2."""

    def __init__(self, x: Number) -> None:
        lanes = x.lanes
        x = x.applied()
        self.x = x.high
        self.given = x.low if lanes.compensated else None
        #: up to here three parts of pi/2 leave the remainder accurate, however close to a multiple the argument is
        self.limit = Constant(2**13 if lanes.element == "float32" else 2**26)
        n = rint(x.high * Constant(lanes.round(2 / CONSTANTS["pi"])))
        remaining = CONSTANTS["pi"] / 2
        part = lanes.round(remaining)
        high = fma(n, Constant(-part), x.high)  # exact: all bits of both terms are multiples of part's last one
        low = x.small_low
        for _ in range(2):
            remaining -= part
            part = lanes.round(remaining)
            product = n * Constant(part)
            next_high = high - product
            # What the subtraction and the product rounded away.
            lost = ((high - next_high) - product) - fma(n, Constant(part), -product)
            high, low = next_high, lost if low is None else low + lost
        # The rest of a large argument may be large, too.
        self.r = Number(lanes, high, low)
        if lanes.compensated and low is not None:
            self.r = Number(lanes, high) + Number(lanes, low)
        quarter = n - 4 * rint(n * Constant(Fraction(1, 4)))
        self.odd = (absolute_node(quarter) > Constant(_HALF)) & (absolute_node(quarter) < Constant(Fraction(3, 2)))
        self.quarter = quarter

    def sine_of_rest(self) -> Number:
        r = self.r
        square = r.high * r.high
        cube = r.high * square
        # The cosine of r passes the rest on.
        low = None if r.low is None else fma(square * Constant(-_HALF), r.low, r.low)
        return Number(r.lanes, r.high, low) + Number(r.lanes, cube * _fit("sin", r.lanes, square))

    def cosine_of_rest(self) -> Number:
        # 1 - r^2/2 + r^4 c(r^2)
        r = self.r
        square = r * r
        return 1 - (square * _HALF - Number(r.lanes, square.high * square.high * _fit("cos", r.lanes, square.high)))


def _turn(number: Number, negate: Expression) -> Number:
    return where(negate, -number, number)


def sin(x: Number) -> Number:
    at = _Quadrant(x)
    result = where(at.odd, at.cosine_of_rest(), at.sine_of_rest())
    # n modulo 4: 0 sin, 1 cos, 2 -sin, 3 -cos
    negate = (at.quarter < Constant(-_HALF)) | (at.quarter > Constant(Fraction(3, 2)))
    return _checked(library_sin, at, _turn(result, negate))


def cos(x: Number) -> Number:
    at = _Quadrant(x)
    result = where(at.odd, at.sine_of_rest(), at.cosine_of_rest())
    # n modulo 4: 0 cos, 1 -sin, 2 -cos, 3 sin
    negate = (at.quarter > Constant(_HALF)) | (at.quarter < Constant(Fraction(-3, 2)))
    return _checked(library_cos, at, _turn(result, negate))


def _checked(library: Callable[..., Expression], at: _Quadrant, result: Number) -> Number:
    high = library(at.x, result.high, at.limit)
    within = absolute_node(at.x) <= at.limit
    if result.lanes.compensated and at.given is not None:
        # sin(x + l) = sin(x) cos(l) + cos(x) sin(l), and cos(x + l) = cos(x) cos(l) - sin(x) sin(l)
        everything, zero = Constant(-1), Constant(0)
        rest = where_node(within, zero, at.given)
        other = library_cos if library is library_sin else library_sin
        turned = other(at.x, zero, at.limit) * library_sin(rest, zero, everything)
        high = where_node(
            within, high, fma(high, library_cos(rest, zero, everything), turned if library is library_sin else -turned)
        )

    def rest_of_result() -> Expression | None:
        return None if result.low is None else where_node(within, result.low, Constant(0))

    return Number(result.lanes, high, rest_of_result)


def arctan(x: Number) -> Number:
    x = x.applied()
    a = abs(x)
    pi = CONSTANTS["pi"]
    large = a > 1
    t = where(large, 1 / a, a)
    middle = t > Fraction(53, 128)  # tan(pi/8)
    s = where(middle, t - 1, t) / where(middle, t + 1, 1)
    square = s.high * s.high
    near = s + s * Number(x.lanes, square * _fit("arctan", x.lanes, square))
    result = where(middle, pi / 4, 0 * near) + near
    return with_sign(where(large, pi / 2 - result, result), x)


FUNCTIONS: dict[str, Callable[[Number], Number]] = {
    function.__name__: function
    for function in (
        exp, expm1, exp_residual, sigmoid, softplus, tanh, sech, tanh_softplus, sech_softplus, tanh_shrink, softsign,
        reciprocal_hypot, algebraic_sigmoid, half_hypot_sum, log, log1p, normal_cdf, erf, sin, cos, arctan,
    )
}  # fmt: skip
FUNCTIONS["absolute"] = abs
FUNCTIONS["sqrt"] = square_root


# --- combinations -----------------------------------------------------------------------------------------------------------
#
# What occurs together in many a formula, and takes fewer operations and roundings together than one by one.


def reciprocal_hypot_squared(u: Number) -> Number:
    """1/(1 + u^2)."""
    # Where u^2 would overflow, 1/u^2 from the reciprocal of u.
    large = abs(u) > 2**40
    inverse = 1 / where(large, u, 1 + u * u)
    return where(large, inverse * inverse, inverse)


# The following are for moderate arguments, and for arithmetic without rests.


def scaled_normal_cdf(u: Number) -> Number:
    """u*normal_cdf(u)."""
    at = _ModerateNormal(u)
    return where(at.is_centre, u * at.centre(), where(u > 0, u, 0) - at.scaled_tail())


def normal_slope(u: Number) -> Number:
    """The derivative of u*normal_cdf(u): normal_cdf(u) + u*exp(-u^2/2)/sqrt(2 pi)."""
    # Below zero exp(-u^2/2)*(p - q*|u|)*(1 + r) with the zero split off, so that no terms cancel next to it; above zero 1 minus
    # that at -u. The sign that makes the difference comes from u itself, -0 included.
    lanes = u.lanes
    offset, slope = (Fraction(value) for value in ZEROS["normal_slope"][lanes.goal])
    at = _Gaussian(u, _HALF, _REACH[lanes.goal])
    one, quotient = at.rational("normal_slope")
    distance = with_sign(at.power, u) * (slope * at.unit * Number(lanes, at.size) - offset * at.unit)
    half = Number.constant(lanes, _HALF)
    return (half + with_sign(half, u) + distance) + distance * (quotient + (one + quotient) * at.p)


def _excess(a: Number, b: Number, product: Number) -> Number:
    """Return by how much the product of a and b exceeds what was taken for it."""
    return Number(a.lanes, fma(a.high, b.high, -product.high))


def sigmoid_slope(u: Number) -> Number:
    """sigmoid(u)*sigmoid(-u), the derivative of sigmoid(u)."""
    # e/(1 + e)^2 with e = exp(-|u|)
    exponential = _Exponential(-abs(u))
    e = exponential.plus(0)
    e_lost = (exponential.power - e) + exponential.power * exponential.p
    more = e * e + 2 * e
    bottom = 1 + more
    bottom_lost = (1 - bottom) + more
    # What was lost counts for about (1 - e)^2: fully where e is small, hardly where it is 1.
    rest = 1 - e
    return e / bottom + (e_lost - e * bottom_lost) * (rest * rest)


def tanh_slope(u: Number) -> Number:
    """sech(u)^2, the derivative of tanh(u)."""
    return 4 * sigmoid_slope(2 * u)


def gate_slope(u: Number, w: Number) -> Number:
    """sigmoid(u)*(1 + w*sigmoid(-u)), with w = u the derivative of u*sigmoid(u)."""
    # (1 + e (1 + w))/(1 + e)^2 with e = exp(-u), the exponential of sigmoid(u)
    exponential = _Exponential(-u, careful=True)
    e, more = exponential.plus(0), exponential.power * exponential.p
    lost = exponential.power * exponential.lost
    e_lost = ((exponential.power - e) + more) + lost
    bottom, whole = exponential.plus(1), exponential.power + 1
    bottom_lost = (((whole - bottom) + more) + ((exponential.power - whole) + 1)) + lost
    inverse = 1 / bottom
    inverse_lost = ((1 - inverse * bottom) - inverse * bottom_lost) * inverse
    square = inverse * inverse
    square_lost = _excess(inverse, inverse, square) + 2 * inverse * inverse_lost
    factor = 1 + w
    top = 1 + e * factor
    top_lost = _excess(e, factor, top) + 1 + e_lost * factor
    if w.low is not None:
        top_lost = top_lost + e * ((w - (factor - 1)) + Number(u.lanes, w.low))
    return top * square + (top * square_lost + top_lost * square)


def mish_slope(u: Number, w: Number) -> Number:
    """tanh_softplus(u) + w*sech_softplus(u)^2*sigmoid(u), with w = u the derivative of u*tanh_softplus(u)."""
    # With e = exp(u), q = 1 + e + e^2/2 and a = e/q it is a (1 + w + e/2 (1 - w a)), and equally 1 + (w (1 + e) a - 1)/q.
    exponential = _Exponential(u)
    e = exponential.plus(0)
    half = e * _HALF
    inner = 1 + half
    q = 1 + e * inner
    inverse = 1 / q
    a = e * inverse
    one, more = 1 + w, half * (1 - w * a)
    top = one + more
    # What e, q, the quotient and the sum round away.
    e_lost = (exponential.power - e) + exponential.power * exponential.p
    a_lost = ((e - a * q) + (e_lost - a * ((1 - q) + e * inner))) * inverse
    below = a * top + (a_lost * top + a * ((one - top) + more))
    return where(u < 0, below, 1 + inverse * ((w * (1 + e)) * a - 1))


_u, _w = Symbol("u"), Symbol("w")
Combination: TypeAlias = tuple[Expression, Callable[..., Number]]
GENERAL_COMBINATIONS: tuple[Combination, ...] = ((p.power(p.reciprocal_hypot(_u), 2), reciprocal_hypot_squared),)
MODERATE_COMBINATIONS: tuple[Combination, ...] = (
    (_u * p.normal_cdf(_u), scaled_normal_cdf),
    (p.normal_cdf(_u) + 1 / p.sqrt(2 * p.pi) * _u * p.exp(-(_HALF * p.power(_u, 2))), normal_slope),
    (p.sigmoid(_u) * p.sigmoid(-_u), sigmoid_slope),
    (p.power(p.sech(_u), 2), tanh_slope),
    (p.sigmoid(_u) * (1 + _w * p.sigmoid(-_u)), gate_slope),
    (p.tanh_softplus(_u) + _w * p.power(p.sech_softplus(_u), 2) * p.sigmoid(_u), mish_slope),
)
