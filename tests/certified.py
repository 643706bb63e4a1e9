"""Real numbers with a certified error bound, and truncated Taylor arithmetic over them: what the oracle computes with.

A `Ball` is an mpf and a bound on its distance from the truth; a `Jet` is a value and its derivatives, as balls. Both
work at mpmath's current precision. Whoever needs more digits than the bound certifies repeats the evaluation at a
higher one.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice, repeat
from typing import Any

from mpmath import mp, mpf

EXACT = -(1 << 1200)  # the exponent of an error bound that is as good as 0, also after a product with exp(1e308)
LOST = 1 << 1200  # the exponent of an error bound that says nothing


def magnitude(v: mpf) -> int:
    """m such that 2**(m-1) <= abs(v) < 2**m."""
    return v.exp + v.bc if v else EXACT


def exponent(v: mpf) -> int:
    """An integer e with exp(v) <= 2**e, for v <= 0; not so far below zero that it would not fit in memory."""
    return int(max(v, -mp.ldexp(1, 1190)))


class Ball:
    """A number v with abs(truth - v) <= 2**e, e an integer of any size. Operations add their rounding at mp.prec."""

    __slots__ = ("e", "v")

    def __init__(self, v: mpf, e: int = EXACT) -> None:
        self.v, self.e = v, e

    @classmethod
    def of(cls, q: Fraction) -> "Ball":
        """The ball around q at the working precision."""
        v = mpf(q.numerator) / q.denominator
        exact = q.numerator.bit_length() <= mp.prec and q.denominator & (q.denominator - 1) == 0
        return cls(v, EXACT if exact else magnitude(v) - mp.prec + 1)

    @property
    def relative(self) -> bool:
        """Whether the number is known to better than an eighth of itself, so that its size and sign are certain."""
        return self.e <= magnitude(self.v) - 4

    def __add__(self, other: Any) -> "Ball":
        if isinstance(other, Jet):
            return NotImplemented
        other = ball(other)
        v = self.v + other.v
        return Ball(v, max(self.e, other.e, magnitude(v) - mp.prec) + 2)

    def __neg__(self) -> "Ball":
        return Ball(-self.v, self.e)

    def __sub__(self, other: Any) -> "Ball":
        return NotImplemented if isinstance(other, Jet) else self + -ball(other)

    def __rsub__(self, other: int) -> "Ball":
        return -self + other

    def __mul__(self, other: Any) -> "Ball":
        if isinstance(other, Jet):
            return NotImplemented
        other = ball(other)
        v = self.v * other.v
        a, b = magnitude(self.v), magnitude(other.v)
        return Ball(v, max(a + other.e, b + self.e, self.e + other.e, magnitude(v) - mp.prec) + 2)

    def __truediv__(self, other: Any) -> "Ball":
        if isinstance(other, Jet):
            return NotImplemented
        other = ball(other)
        if not other.relative:
            return Ball(mpf(0), LOST)
        v = self.v / other.v
        b = magnitude(other.v) - 2  # the true divisor is at least 2**b
        return Ball(v, max(self.e - b, magnitude(v) + other.e - b, magnitude(v) - mp.prec) + 2)

    def __rtruediv__(self, other: int) -> "Ball":
        return ball(other) / self

    def __pow__(self, n: int) -> "Ball":
        return power(self, n)

    # A difference within the error bound is a tie. Definitions compare x itself (or a multiple of it) with a parameter
    # or an integer and nothing else, so this happens only where the two are equal but for the rounding of a parameter.
    def __gt__(self, other: "Ball | int") -> bool:
        difference = self - other
        return bool(difference.v > 0) and difference.relative

    def __lt__(self, other: "Ball | int") -> bool:
        return -self > -ball(other)

    def __le__(self, other: "Ball | int") -> bool:
        return not self > other

    def __ge__(self, other: "Ball | int") -> bool:
        return not self < other

    __radd__, __rmul__ = __add__, __mul__

    def lipschitz(self, v: mpf) -> "Ball":
        """f(self), given v = f(self.v), for a function whose derivative is nowhere above 2."""
        return Ball(v, max(self.e + 1, magnitude(v) - mp.prec) + 1)

    def exp(self) -> "Ball":
        m = magnitude(self.v)
        if self.v < 0 and self.relative and (m > 1150 or self.e >= 0):
            # The result's exponent would not fit in memory, or no digit of it is certain.
            return Ball(mpf(0), exponent(self.v / 2))
        if self.e >= 0:
            return Ball(mpf(0), LOST)
        if m > 1150:
            raise OverflowError("exp of more than 2**1150")
        v = mp.exp(self.v)
        return Ball(v, magnitude(v) + max(self.e + 1, -mp.prec) + 1)

    def log1p(self) -> "Ball":
        """log(1 + self) of a positive number."""
        if not self.relative or self.v < 0:
            return Ball(mpf(0), LOST)
        v = mp.log1p(self.v)
        return Ball(v, max(self.e - max(0, magnitude(self.v) - 2), magnitude(v) - mp.prec) + 1)

    def sqrt(self) -> "Ball":
        if not self.relative or self.v < 0:
            return Ball(mpf(0), LOST)
        v = mp.sqrt(self.v)
        return Ball(v, max(self.e - magnitude(v) + 2, magnitude(v) - mp.prec) + 1)

    # Where tanh and erf round to 1 they are known far better than that: 1-tanh(t) < 2exp(-2t), erfc(t) < exp(-t*t).
    def tanh(self) -> "Ball":
        if abs(self.v) > mp.prec and self.relative:
            return Ball(mp.sign(self.v), exponent(-abs(self.v)) + 1)
        return self.lipschitz(mp.tanh(self.v))

    def erf(self) -> "Ball":
        if abs(self.v) ** 2 > mp.prec and self.relative:
            return Ball(mp.sign(self.v), exponent(-(self.v**2)))
        return self.lipschitz(mp.erf(self.v))

    def sin(self) -> "Ball":
        return self.lipschitz(mp.sin(self.v))

    def cos(self) -> "Ball":
        return self.lipschitz(mp.cos(self.v))

    def atan(self) -> "Ball":
        return self.lipschitz(mp.atan(self.v))


def ball(x: "Ball | int") -> Ball:
    return x if isinstance(x, Ball) else Ball(mpf(x))


def power(x: Any, n: int) -> Any:
    return x if n == 1 else x * power(x, n - 1)


# Derivatives


class Jet:
    """A function's value and derivatives (c[0], c[1], c[2] at most) at one point, carried along by the chain rule."""

    __slots__ = ("c",)

    def __init__(self, *c: Ball) -> None:
        self.c = c

    @classmethod
    def variable(cls, x: Ball, order: int) -> "Jet":
        return cls(*(x, ball(1), ball(0))[: order + 1])

    def compose(self, derivatives: Iterator[Ball]) -> "Jet":
        """f(self), given f, f', f'' at self.c[0], of which only as many are drawn as are needed."""
        f = list(islice(derivatives, len(self.c)))
        c = [f[0]]
        if len(f) > 1:
            c.append(f[1] * self.c[1])
        if len(f) > 2:
            c.append(f[2] * self.c[1] ** 2 + f[1] * self.c[2])
        return Jet(*c)

    def __add__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            return Jet(*(a + b for a, b in zip(self.c, other.c, strict=True)))
        return Jet(self.c[0] + other, *self.c[1:])

    def __neg__(self) -> "Jet":
        return Jet(*(-a for a in self.c))

    def __sub__(self, other: Any) -> "Jet":
        return self + -other

    def __rsub__(self, other: Any) -> "Jet":
        return -self + other

    def __mul__(self, other: Any) -> "Jet":
        if not isinstance(other, Jet):
            return Jet(*(a * other for a in self.c))
        a, b = self.c, other.c
        c = [a[0] * b[0]]
        if len(a) > 1:
            c.append(a[1] * b[0] + a[0] * b[1])
        if len(a) > 2:
            c.append(a[2] * b[0] + 2 * (a[1] * b[1]) + a[0] * b[2])
        return Jet(*c)

    def __truediv__(self, other: Any) -> "Jet":
        return self * (1 / other) if isinstance(other, Jet) else Jet(*(a / other for a in self.c))

    def __rtruediv__(self, other: Any) -> "Jet":
        def reciprocal(v: Ball) -> Iterator[Ball]:
            r = 1 / v
            yield r
            yield -r * r
            yield 2 * r**3

        return self.compose(reciprocal(self.c[0])) * other

    def __pow__(self, n: int) -> "Jet":
        return power(self, n)

    def __gt__(self, other: "Jet | Ball | int") -> bool:
        return self.c[0] > known(other)

    def __lt__(self, other: "Jet | Ball | int") -> bool:
        return self.c[0] < known(other)

    def __le__(self, other: "Jet | Ball | int") -> bool:
        return self.c[0] <= known(other)

    def __ge__(self, other: "Jet | Ball | int") -> bool:
        return self.c[0] >= known(other)

    __radd__, __rmul__ = __add__, __mul__


def known(x: Jet | Ball | int) -> Ball | int:
    """The value of a jet, or the number that it is."""
    return x.c[0] if isinstance(x, Jet) else x


# For each elementary function: the function and its derivatives at a ball, one after the other.
def exp_rule(v: Ball) -> Iterator[Ball]:
    return repeat(v.exp())


def log1p_rule(v: Ball) -> Iterator[Ball]:
    yield v.log1p()
    r = 1 / (1 + v)
    yield r
    yield -r * r


def sqrt_rule(v: Ball) -> Iterator[Ball]:
    r = v.sqrt()
    yield r
    yield 1 / (2 * r)
    yield -1 / (4 * r**3)


def tanh_rule(v: Ball) -> Iterator[Ball]:
    t = v.tanh()
    yield t
    q = (-2 * (v if v > 0 else -v)).exp()
    # 1 - t*t would be right too, but where it is multiplied by the huge exp(x) of telu it would need as many digits.
    sech2 = 4 * q / (1 + q) ** 2
    yield sech2
    yield -2 * t * sech2


def erf_rule(v: Ball) -> Iterator[Ball]:
    yield v.erf()
    d = 2 / sqrt(pi(v)) * (-v * v).exp()
    yield d
    yield -2 * v * d


def sin_rule(v: Ball) -> Iterator[Ball]:
    s = v.sin()
    yield s
    yield v.cos()
    yield -s


def cos_rule(v: Ball) -> Iterator[Ball]:
    c = v.cos()
    yield c
    yield -v.sin()
    yield -c


def atan_rule(v: Ball) -> Iterator[Ball]:
    yield v.atan()
    d = 1 / (1 + v * v)
    yield d
    yield -2 * v * d * d


RULES: dict[str, Callable[[Ball], Iterator[Ball]]] = {
    "exp": exp_rule,
    "log1p": log1p_rule,
    "sqrt": sqrt_rule,
    "tanh": tanh_rule,
    "erf": erf_rule,
    "sin": sin_rule,
    "cos": cos_rule,
    "atan": atan_rule,
}


def elementary(name: str) -> Callable[[Any], Any]:
    """mpmath's function of that name, for numbers, balls and jets."""

    def function(x: Any) -> Any:
        if isinstance(x, Jet):
            return x.compose(RULES[name](x.c[0]))
        return getattr(x, name)() if isinstance(x, Ball) else getattr(mp, name)(x)

    return function


exp, log1p, sqrt, tanh = map(elementary, ("exp", "log1p", "sqrt", "tanh"))
erf, sin, cos, atan = map(elementary, ("erf", "sin", "cos", "atan"))


def number(n: int, x: Any) -> Any:
    """The integer n in the arithmetic of x."""
    return ball(n) if isinstance(x, Ball | Jet) else mpf(n)


def pi(x: Any) -> Any:
    """The number pi in the arithmetic of x."""
    return Ball(+mp.pi, 2 - mp.prec) if isinstance(x, Ball | Jet) else +mp.pi
