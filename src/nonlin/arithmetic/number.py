"""Numbers as kernels carry them: a rounded value, what the rounding left over, and a power of two.

``Number`` stands for ``(high + low) * 2**exponent``. Arithmetic on it reads like arithmetic and costs no more than it must:

* ``low`` is worked out only where something asks for it: everywhere in double precision, whose promise allows no lost bit;
  in single precision only by functions that amplify an error of their argument (``exp`` of -700.1 and of its neighbour differ
  by 500 times the rounding error).
* ``exponent`` is carried out of products, quotients and choices and applied last. So ``x * sigmoid(x)`` keeps all its digits
  where ``sigmoid(x)`` alone is already subnormal, and is 0 rather than NaN at -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from nonlin.arithmetic.machine import copy_sign, fma, is_application, larger, rint, scale, smaller
from nonlin.formula.expression import Constant, Expression
from nonlin.formula.primitives import absolute as absolute_node, sqrt as sqrt_node, where as where_node


@dataclass(frozen=True)
class Lanes:
    """The arithmetic that a kernel computes in."""

    name: str
    element: str
    """Type of a lane: ``float32`` or ``float64``."""
    goal: int
    """Bits that approximations must be right to: selects the polynomials."""
    compensated: bool
    """Whether every operation keeps what its rounding left over."""
    moderate: bool = False
    """Whether a guard keeps everything far from the ends of the exponent range: no infinity, no NaN, no underflow."""
    clamped: bool = False
    """Whether exponentials of moderate arithmetic hold their arguments in bounds, where that does in place of a guard."""
    short: bool = False
    """Whether exponentials of moderate arithmetic take log(2) in one piece, whose error grows with their arguments."""

    def round(self, value: Fraction) -> Fraction:
        """Round an exact number to a lane's type; one that is too large becomes the largest."""
        if abs(value) > self.largest:
            return self.largest if value > 0 else -self.largest
        # float(Fraction) rounds correctly to double; going on to single can round twice, harmless for a constant
        # whose rest is kept in low.
        return Fraction(float(np.float32(float(value)))) if self.element == "float32" else Fraction(float(value))

    def for_moderate(self) -> Lanes:
        """The same arithmetic behind a guard."""
        return replace(self, moderate=True)

    def without_guard(self) -> Lanes:
        """Moderate arithmetic that is meant for every input."""
        return replace(self, moderate=True, clamped=True)

    @property
    def smallest(self) -> Fraction:
        """The smallest normal number of a lane's type."""
        return Fraction(float(np.finfo(self.element).tiny))

    @property
    def largest(self) -> Fraction:
        """The largest finite number of a lane's type."""
        return Fraction(float(np.finfo(self.element).max))


SINGLE = Lanes("single", "float32", 24, compensated=False)
SHORT = replace(SINGLE, name="short", short=True)
COMPENSATED = Lanes("compensated", "float32", 24, compensated=True)
#: float32 results in float64 lanes: approximations good to 2**-40 are correctly rounded but for a few inputs in billions.
EXACT = Lanes("exact", "float64", 40, compensated=False)
DOUBLE = Lanes("double", "float64", 53, compensated=True)
PLAIN_DOUBLE = Lanes("plain double", "float64", 53, compensated=False)

Rest: TypeAlias = Callable[[], Expression | None]
Operand: TypeAlias = "Number | int | float | Fraction"

_ZERO, _ONE = Constant(0), Constant(1)


def _nothing() -> None:
    return None


class Number:
    """``(high + low) * 2**exponent``, where ``low`` and ``exponent`` may be absent."""

    __slots__ = ("_low", "_rest", "_sources", "exponent", "high", "lanes", "times")

    def __init__(
        self,
        lanes: Lanes,
        high: Expression,
        rest: Rest | Expression | None = None,
        exponent: Expression | None = None,
        sources: tuple[Number, ...] = (),
    ) -> None:
        self.lanes = lanes
        self.high = high
        self.exponent = exponent if exponent is not _ZERO else None
        self._rest = rest
        #: What the rest is worked out from. These are asked first, one by one: chains of them are longer than Python's stack.
        self._sources = sources
        self._low: Expression | None = None
        #: How to multiply by this number with fewer roundings than by its rounded value, if there is a way.
        self.times: Callable[[Number], Number] | None = None

    @classmethod
    def constant(cls, lanes: Lanes, value: Fraction | int | float) -> Number:
        """Split an exact number into its rounded value and the rest, and a power of two where it is no normal number."""
        exact = Fraction(value)
        if exact and not lanes.smallest <= abs(exact) <= lanes.largest:
            n = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
            return cls(lanes, Constant(lanes.round(exact / Fraction(2) ** n)), None, Constant(n))
        high = lanes.round(exact)
        low = lanes.round(exact - high)
        return cls(lanes, Constant(high), Constant(low) if low else None)

    @property
    def low(self) -> Expression | None:
        """What ``high`` leaves over, or None if nothing is known of it. It may be NaN where ``high`` is not finite only."""
        waiting = [self]
        while waiting:
            number = waiting[-1]
            unknown = [source for source in number._sources if source._rest is not None]
            if unknown:
                waiting += unknown
                continue
            waiting.pop()
            if number._rest is not None:
                number._low, number._rest = number._rest() if callable(number._rest) else number._rest, None
            number._sources = ()
        return None if self._low is _ZERO else self._low

    @property
    def small_low(self) -> Expression | None:
        """What ``high`` leaves over where it is small, as it is for every number that is neither infinite nor huge."""
        return None if self.low is None else small_or_zero(self.low)

    @property
    def known_low(self) -> Expression | None:
        """What ``high`` leaves over if it need not be worked out."""
        return self._rest if isinstance(self._rest, Expression) else self._low

    # --- leaving the representation ------------------------------------------------------------------------------

    def rounded(self) -> Expression:
        """The number as one machine number."""
        high = self.high
        if self.lanes.compensated and self.low is not None:
            total = high + self.low
            # Where something on the way was infinite the rest is NaN.
            high = total if self.lanes.moderate else where_node(absolute_node(total) >= 0, total, high)
        return high if self.exponent is None else scale(high, self.exponent)

    def applied(self) -> Number:
        """The same number without an exponent."""
        if self.exponent is None:
            return self
        n = self.exponent

        def rest() -> Expression | None:
            return None if self.low is None else scale(self.low, n)

        return Number(self.lanes, scale(self.high, n), rest, sources=(self,))

    # --- arithmetic -------------------------------------------------------------------------------------------------

    def _number(self, other: Operand) -> Number:
        return other if isinstance(other, Number) else Number.constant(self.lanes, other)

    def __add__(self, other: Operand) -> Number:
        a, b = self, self._number(other)
        if a.exponent is not b.exponent:
            a, b = _with_one_exponent(a, b)
        total = a.high + b.high

        def rest() -> Expression | None:
            if a.lanes.moderate and not a.lanes.compensated:
                for one, other in ((a, b), (b, a)):
                    if _power_of_two(one.high):  # a multiple of the total's last digit, unless that is huge
                        return _sum((one.high - total) + other.high, a.low, b.low)
            # Knuth's two-sum: exact whichever of the two is larger.
            part = total - a.high
            return _sum((a.high - (total - part)) + (b.high - part), a.low, b.low)

        return Number(self.lanes, total, rest, a.exponent, (a, b))

    __radd__ = __add__

    def __neg__(self) -> Number:
        def rest() -> Expression | None:
            return None if self.low is None else -self.low

        return Number(self.lanes, -self.high, rest, self.exponent, (self,))

    def __sub__(self, other: Operand) -> Number:
        return self + -self._number(other)

    def __rsub__(self, other: Operand) -> Number:
        return self._number(other) + -self

    def __mul__(self, other: Operand) -> Number:
        a, b = self, self._number(other)
        if self.lanes.moderate and _is_negative(a.high) != _is_negative(b.high):
            # A sign stands outside, so that what differs only in sign is computed once.
            return -(-a * b) if _is_negative(a.high) else -(a * -b)
        for factor, other_factor in ((a, b), (b, a)):
            if factor.times is not None:
                return factor.times(other_factor)
        high = a.high * b.high

        def rest() -> Expression | None:
            low = fma(a.high, b.high, -high)
            if b.low is not None:
                low = fma(a.high, b.low, low)
            return low if a.low is None else fma(a.low, b.high, low)

        for factor, other_factor in ((a, b), (b, a)):
            if _power_of_two(factor.high):
                rest = _scaled_rest(factor.high, other_factor)
        return Number(self.lanes, high, rest, _add_exponents(a.exponent, b.exponent), (a, b))

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Number:
        a, b = self, self._number(other)
        moderate = a.lanes.moderate and a.lanes.compensated
        # One division serves the quotient and its rest where no reciprocal can overflow.
        inverse = _ONE / b.high if moderate else _ONE
        high = a.high * inverse if moderate else a.high / b.high

        def rest() -> Expression | None:
            remainder = fma(-high, b.high, a.high)
            if a.low is not None:
                remainder = remainder + a.low
            if b.low is not None:
                remainder = fma(-high, b.low, remainder)
            # By an infinite number the remainder is 0*inf, and the quotient 0 to the last digit.
            return remainder * inverse if moderate else _number_or_zero(remainder / b.high)

        exponent = _add_exponents(a.exponent, None if b.exponent is None else -b.exponent)
        return Number(self.lanes, high, rest, exponent, (a, b))

    def __rtruediv__(self, other: Operand) -> Number:
        return self._number(other) / self

    def __abs__(self) -> Number:
        def rest() -> Expression | None:
            return None if self.low is None else where_node(self.high < 0, -self.low, self.low)

        return Number(self.lanes, absolute_node(self.high), rest, self.exponent, (self,))

    # --- comparisons look at the rounded value, so that slope*x + 1/2 is 0 at -3 for the slope nearest to 1/6 -------------

    def _compared(self) -> Expression:
        return self.applied().high

    def __lt__(self, other: Operand) -> Expression:
        return self._compared() < self._number(other)._compared()

    def __le__(self, other: Operand) -> Expression:
        return self._compared() <= self._number(other)._compared()

    def __gt__(self, other: Operand) -> Expression:
        return self._compared() > self._number(other)._compared()

    def __ge__(self, other: Operand) -> Expression:
        return self._compared() >= self._number(other)._compared()


def _with_one_exponent(a: Number, b: Number) -> tuple[Number, Number]:
    """Return two numbers with the same exponent, or none."""
    if a.exponent is None or b.exponent is None:
        return a.applied(), b.applied()
    # Both may be beyond the largest number, and their sum not: the larger exponent stays outside.
    outside = larger(larger(a.exponent, b.exponent), _ZERO)
    scaled = (Number(n.lanes, n.high, n.low, _less(n.exponent, outside)).applied() for n in (a, b))
    first, second = (Number(n.lanes, n.high, n.low, outside) for n in scaled)
    return first, second


def _less(a: Expression | None, b: Expression) -> Expression:
    return -b if a is None else a - b


def _scaled_rest(factor: Expression, number: Number) -> Rest:
    """Return the rest of an exact product with a power of two."""
    return lambda: None if number.low is None else factor * number.low


def _sum(*parts: Expression | None) -> Expression:
    total: Expression = _ZERO
    for part in parts:
        if part is not None:
            total = total + part
    return total


def _number_or_zero(node: Expression) -> Expression:
    return where_node(absolute_node(node) >= 0, node, _ZERO)


def small_or_zero(low: Expression) -> Expression:
    """A rest that cannot do harm: of an infinite number it is NaN, of a huge one huge, and what it belongs to decides then."""
    return where_node(absolute_node(low) <= Constant(Fraction(1, 4)), low, _ZERO)


def _or_zero(node: Expression | None) -> Expression:
    return _ZERO if node is None else node


def _add_exponents(a: Expression | None, b: Expression | None) -> Expression | None:
    return b if a is None else a if b is None else a + b


def _is_negative(node: Expression) -> bool:
    """Whether a minus sign stands in front."""
    return node.value < 0 if isinstance(node, Constant) else is_application(node, "negative")


def _power_of_two(node: Expression) -> bool:
    if not isinstance(node, Constant) or node.value == 0:
        return False
    top, bottom = abs(node.value.numerator), node.value.denominator
    return top & (top - 1) == 0 and bottom & (bottom - 1) == 0


def where(condition: Expression, a: Operand, b: Operand) -> Number:
    """Choose between two numbers."""
    known = a if isinstance(a, Number) else b
    assert isinstance(known, Number)
    a, b = known._number(a), known._number(b)
    exponent = None
    if a.exponent is not None or b.exponent is not None:
        exponent = where_node(condition, _or_zero(a.exponent), _or_zero(b.exponent))

    def rest() -> Expression | None:
        if a.low is None and b.low is None:
            return None
        return where_node(condition, _or_zero(a.low), _or_zero(b.low))

    return Number(known.lanes, where_node(condition, a.high, b.high), rest, exponent, (a, b))


def square_root(a: Number) -> Number:
    """The square root; half of an even exponent is carried on."""
    half = None
    if a.exponent is not None:
        half = rint(a.exponent * Constant(Fraction(1, 2)))
        a = Number(a.lanes, a.high, a.low, a.exponent - 2 * half).applied()
    high = sqrt_node(a.high)

    def rest() -> Expression | None:
        remainder = fma(-high, high, a.high)
        # Of 0 the root is 0, and the rest 0/0.
        return _number_or_zero((remainder if a.low is None else remainder + a.low) / (2 * high))

    return Number(a.lanes, high, rest, half, (a,))


def with_sign(magnitude: Number, sign: Number) -> Number:
    """A number of that magnitude with the sign of another; zeros keep theirs."""

    def rest() -> Expression | None:
        return None if magnitude.low is None else where_node(sign.high < 0, -magnitude.low, magnitude.low)

    return Number(magnitude.lanes, copy_sign(magnitude.high, sign.high), rest, magnitude.exponent, (magnitude,))


def clamp(x: Expression, lowest: Expression, highest: Expression) -> Expression:
    """``x`` held between two constants; NaN stays NaN."""
    return smaller(highest, larger(lowest, x))
