"""The right answers: a formula's value or derivative to certified digits, by rules that share nothing with the library.

Conventions. Input and parameters are exact numbers. A condition is decided exactly; at a tie by what is written, and
maximum and minimum take their second operand there, absolute has slope 0. The derivative is that of the selected branches, by
forward differentiation. Outside its domain (the square root or logarithm of a negative number) a formula is NaN. At an
infinite x it has its limit, found by following x there: to 2^2^4, 2^2^5... and with digits to match. Where it is singular
(a division by zero, a slope of the root at 0) it is NaN or what it tends to from either side with the branches of the point
itself, so there may be several right answers. A few questions have none, such as a comparison with NaN, and are not judged.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from mpmath import mp, mpf

from certified import EXACT, LOST, Ball, Jet, exponent, magnitude
from fuzz.formulas import Tree

PRECISIONS = (200, 700, 2400)
CERTAIN = 90  # bits
INVISIBLE = -1300  # 2 to this is 0 in every dtype
WIDEST_EXPONENT = 1150
WIDEST_ANGLE = 5000
MOST_DOUBTFUL = 3
_HUGE = 10**300


class UnclearError(ArithmeticError):
    """More digits are needed."""


class OutsideError(ArithmeticError):
    """The point is outside the domain."""


class SingularError(ArithmeticError):
    """A division by zero or the like."""


class UnspecifiedError(ArithmeticError):
    """There is no right answer."""


def size(v: mpf) -> float:
    """The binary logarithm of a number's size."""
    _, mantissa, power_of_two, _ = v._mpf_
    return float(max(-_HUGE, min(power_of_two, _HUGE))) + math.log2(int(mantissa)) if mantissa else -math.inf


class Number:
    """A certified number, the size of its largest term, and the sum of what each rounding on the way would do to it.

    The latter two are binary logarithms. Terms are those of the sum that the number is, also inside a product; a function of
    a sum is one term, unless it passes zero with the sum as sine or tanh do. Roundings are relative ones, of the inner results.
    """

    __slots__ = ("ball", "rounded", "terms")

    def __init__(self, ball: Ball, terms: float | None = None, rounded: float = -math.inf) -> None:
        self.ball = ball
        self.terms = size(ball.v) if terms is None else terms
        self.rounded = rounded

    @property
    def is_exact(self) -> bool:
        return self.ball.e <= EXACT

    def sign(self, *, certain: bool) -> int:
        if self.is_exact or self.ball.relative:
            return int(mp.sign(self.ball.v))
        if not certain:
            raise UnclearError
        return 0

    def __add__(self, other: Any) -> "Number":
        other = number(other)
        a, b = self.ball, other.ball
        total = a + b
        if self.is_exact and other.is_exact:
            parts = [v for v in (a.v, b.v) if v]
            if not parts or max(map(magnitude, parts)) - min(v.exp for v in parts) < mp.prec:
                total = Ball(total.v)
        own = size(total.v)
        return Number(total, max(self.terms, other.terms, own), max(self.rounded, other.rounded, self._rounding(total, own)))

    def __mul__(self, other: Any) -> "Number":
        other = number(other)
        a, b = self.ball, other.ball
        product = a * b
        if self.is_exact and other.is_exact and a.v.bc + b.v.bc <= mp.prec:
            product = Ball(product.v)
        size_a, size_b, own = size(a.v), size(b.v), size(product.v)
        terms = max(size_a + other.terms, self.terms + size_b, own) if product.v else own
        rounded = max(_product(size_a, other.rounded), _product(self.rounded, size_b), self._rounding(product, own))
        return Number(product, terms, rounded)

    def __truediv__(self, other: Any) -> "Number":
        return self * number(other).reciprocal()

    def __rtruediv__(self, other: Any) -> "Number":
        return number(other) / self

    def reciprocal(self) -> "Number":
        if self.is_exact and not self.ball.v:
            raise SingularError
        ball = 1 / self.ball
        if ball.e >= LOST:
            raise UnclearError
        own = size(ball.v)
        return Number(ball, own, max(self.rounded + 2 * own, own))

    def __neg__(self) -> "Number":
        return Number(-self.ball, self.terms, self.rounded)

    def __sub__(self, other: Any) -> "Number":
        return self + -number(other)

    def __rsub__(self, other: Any) -> "Number":
        return -self + other

    def __pow__(self, n: int) -> "Number":
        return self if n == 1 else self * self ** (n - 1)

    __radd__, __rmul__ = __add__, __mul__

    def _rounding(self, result: Ball, own: float) -> float:
        return -math.inf if result.e <= EXACT and result.v.bc <= 24 else own


def _product(a: float, b: float) -> float:
    return -math.inf if -math.inf in (a, b) else a + b


def number(value: Any) -> Number:
    return value if isinstance(value, Number) else Number(Ball(mpf(value)))


# --- elementary functions of balls ------------------------------------------------------------------------------------


def _exp(u: Ball) -> Ball:
    if u.v > 0 and magnitude(u.v) > WIDEST_EXPONENT:
        raise UnclearError
    return u.exp()


def _log(u: Ball) -> Ball:
    v = mp.log(u.v)
    return Ball(v, max(u.e - magnitude(u.v) + 2, magnitude(v) - mp.prec) + 1)


def _log1p(u: Ball) -> Ball:
    w = 1 + u.v
    v = mp.log1p(u.v)
    return Ball(v, max(u.e - magnitude(w) + 2, magnitude(v) - mp.prec) + 1)


def _expm1(u: Ball) -> Ball:
    if u.v < -4 * mp.prec:
        return Ball(mpf(-1), max(exponent(u.v / 2), -mp.prec))
    power_of_e = _exp(u)
    if power_of_e.e >= LOST or u.e >= 0:
        return Ball(mpf(0), LOST)
    v = mp.expm1(u.v)
    return Ball(v, max(u.e + max(0, magnitude(power_of_e.v)) + 1, magnitude(v) - mp.prec) + 1)


def _sigmoid(u: Ball) -> Ball:
    if u.v < 0:
        e = _exp(u)
        return e / (1 + e)
    return 1 / (1 + _exp(-u))


def _sech(u: Ball) -> Ball:
    if u.v < 0:
        u = -u
    e = _exp(-u)
    return 2 * e / (1 + e * e)


def _softplus(u: Ball) -> Ball:
    return u + _log1p(_exp(-u)) if u.v > 0 else _log1p(_exp(u))


def _erfc(u: Ball) -> Ball:
    if magnitude(u.v) > 24 and u.relative:
        return Ball(mpf(0), exponent(-(u.v**2)) + 1) if u.v > 0 else Ball(mpf(2), 1 - mp.prec)
    if u.e + magnitude(u.v) > -8:
        return Ball(mpf(0), LOST)
    v = mp.erfc(u.v)
    slope = magnitude(mp.exp(-u.v * u.v)) + 2
    return Ball(v, max(u.e + slope, magnitude(v) - mp.prec) + 2)


def _sin(u: Ball) -> Ball:
    _check_angle(u)
    return u.sin()


def _cos(u: Ball) -> Ball:
    _check_angle(u)
    return u.cos()


def _check_angle(u: Ball) -> None:
    if magnitude(u.v) > WIDEST_ANGLE or u.e >= 0:
        raise UnclearError


# --- their slopes: the function, then its derivatives -----------------------------------------------------------------

#: Functions that pass zero where their argument does.
_THROUGH_ZERO = frozenset({"sin", "tanh", "erf", "expm1", "log1p", "arctan"})


def _of(name: str, ball: Callable[[Ball], Ball], u: Number, slope: Callable[[], Number]) -> Number:
    result = ball(u.ball)
    if result.e >= LOST:
        raise UnclearError
    own = size(result.v)
    terms = 0.0 if name in ("sin", "cos") else own  # a sine is the sum of its series' terms
    steepness = size(slope().ball.v) if u.rounded > -math.inf or name in _THROUGH_ZERO else 0.0
    if name in _THROUGH_ZERO and abs(steepness + size(u.ball.v) - own) < 1:
        terms = max(terms, steepness + u.terms)
    exact = result.e <= EXACT
    return Number(result, terms, max(_product(steepness, u.rounded), -math.inf if exact else own))


def _exp_of(u: Number) -> Number:
    return _of("exp", _exp, u, lambda: Number(_exp(u.ball)))


def _sigmoid_of(u: Number) -> Number:
    return _of("sigmoid", _sigmoid, u, lambda: Number(_sigmoid(u.ball) * _sigmoid(-u.ball)))


def _tanh_of(u: Number) -> Number:
    return _of("tanh", Ball.tanh, u, lambda: Number(_sech(u.ball)) ** 2)


def _sech_of(u: Number) -> Number:
    return _of("sech", _sech, u, lambda: Number(_sech(u.ball) * u.ball.tanh()))


def _sin_of(u: Number) -> Number:
    return _of("sin", _sin, u, lambda: Number(_cos(u.ball)))


def _cos_of(u: Number) -> Number:
    return _of("cos", _cos, u, lambda: Number(_sin(u.ball)))


def _bell(u: Number, width: int) -> Number:
    return _exp_of(-(u * u) / width)


def _pi() -> Number:
    return Number(Ball(+mp.pi, 2 - mp.prec))


def _sqrt_of(u: Number) -> Number:
    ball = u.ball.sqrt()
    if ball.e >= LOST:
        raise UnclearError
    own = size(ball.v)
    return Number(ball, own, max(_product(u.rounded, -1 - own), own))


def exp_rule(u: Number) -> Iterator[Number]:
    e = _exp_of(u)
    yield e
    yield e
    yield e


def expm1_rule(u: Number) -> Iterator[Number]:
    yield _of("expm1", _expm1, u, lambda: Number(_exp(u.ball)))
    e = _exp_of(u)
    yield e
    yield e


def log_rule(u: Number) -> Iterator[Number]:
    yield _of("log", _log, u, u.reciprocal)
    r = u.reciprocal()
    yield r
    yield -r * r


def log1p_rule(u: Number) -> Iterator[Number]:
    yield _of("log1p", _log1p, u, (1 + u).reciprocal)
    r = (1 + u).reciprocal()
    yield r
    yield -r * r


def sin_rule(u: Number) -> Iterator[Number]:
    s = _sin_of(u)
    yield s
    yield _cos_of(u)
    yield -s


def cos_rule(u: Number) -> Iterator[Number]:
    c = _cos_of(u)
    yield c
    yield -_sin_of(u)
    yield -c


def arctan_rule(u: Number) -> Iterator[Number]:
    yield _of("arctan", Ball.atan, u, (1 + u * u).reciprocal)
    r = (1 + u * u).reciprocal()
    yield r
    yield -2 * u * r * r


def sigmoid_rule(u: Number) -> Iterator[Number]:
    s, t = _sigmoid_of(u), _sigmoid_of(-u)
    yield s
    yield s * t
    yield -s * t * _tanh_of(u / 2)


def tanh_rule(u: Number) -> Iterator[Number]:
    t = _tanh_of(u)
    yield t
    square = _sech_of(u) ** 2
    yield square
    yield -2 * t * square


def sech_rule(u: Number) -> Iterator[Number]:
    s, t = _sech_of(u), _tanh_of(u)
    yield s
    yield -t * s
    yield s * (t * t - s * s)


def softplus_rule(u: Number) -> Iterator[Number]:
    s = _sigmoid_of(u)
    yield _of("softplus", _softplus, u, lambda: s)
    yield s
    yield s * _sigmoid_of(-u)


def erf_rule(u: Number) -> Iterator[Number]:
    def slope() -> Number:
        return 2 / _sqrt_of(_pi()) * _bell(u, 1)

    yield _of("erf", Ball.erf, u, slope)
    yield slope()
    yield -2 * u * slope()


def erfc_rule(u: Number) -> Iterator[Number]:
    def slope() -> Number:
        return -2 / _sqrt_of(_pi()) * _bell(u, 1)

    yield _of("erfc", _erfc, u, slope)
    yield slope()
    yield -2 * u * slope()


def normal_cdf_rule(u: Number) -> Iterator[Number]:
    def slope() -> Number:
        return _bell(u, 2) / _sqrt_of(2 * _pi())

    def cdf(ball: Ball) -> Ball:
        half = _erfc(-ball / Ball(mp.sqrt(2), 2 - mp.prec))
        return Ball(half.v / 2, half.e - 1)

    yield _of("normal_cdf", cdf, u, slope)
    yield slope()
    yield -u * slope()


RULES: dict[str, Callable[[Number], Iterator[Number]]] = {
    "exp": exp_rule, "expm1": expm1_rule, "log": log_rule, "log1p": log1p_rule, "sin": sin_rule, "cos": cos_rule,
    "arctan": arctan_rule, "sigmoid": sigmoid_rule, "tanh": tanh_rule, "sech": sech_rule, "softplus": softplus_rule,
    "erf": erf_rule, "erfc": erfc_rule, "normal_cdf": normal_cdf_rule,
}  # fmt: skip

# --- one evaluation ---------------------------------------------------------------------------------------------------


@dataclass
class Decision:
    """How a condition was decided, and whether rounded operands might have decided it otherwise."""

    sign: int
    doubtful: bool


@dataclass
class Evaluation:
    """One walk over a tree at the working precision."""

    values: Mapping[str, mpf | Fraction]
    """x and the parameters."""
    variable: str
    order: int
    certain: bool = False
    """Whether what is too small to be told from 0 is 0."""
    unit: float = -math.inf
    """The binary logarithm of the rounding error of the dtype, for doubtful decisions."""
    smallest: float = -math.inf
    """That of the smallest positive number."""
    given: Mapping[Tree, int] = field(default_factory=dict)
    """How some conditions are decided."""
    decisions: dict[Tree, Decision] = field(default_factory=dict)
    done: dict[Tree, Jet] = field(default_factory=dict)

    def jet(self, value: Number) -> Jet:
        return Jet(value, *[number(0)] * self.order)

    def leaf(self, name: str) -> Jet:
        value = self.values[name]
        ball = Ball.of(value) if isinstance(value, Fraction) else Ball(value)
        jet = self.jet(Number(ball))
        if name == self.variable and self.order:
            jet.c = (jet.c[0], number(1), *jet.c[2:])
        return jet

    def decide(self, node: Tree, a: Number, b: Number) -> int:
        """Return the sign of a - b, the operands that a node compares."""
        difference = a - b
        sign = self.given[node] if node in self.given else difference.sign(certain=self.certain)
        near = size(difference.ball.v) <= max(max(a.terms, b.terms) + 3 + self.unit, self.smallest)
        self.decisions[node] = Decision(sign, near and not all(map(_is_exact_leaf, node.arguments)))
        return sign

    def condition(self, tree: Tree) -> bool:
        try:
            if tree.operation in ("and", "or"):
                both = [self.condition(argument) for argument in tree.arguments]
                return all(both) if tree.operation == "and" else any(both)
            a, b = (self(argument).c[0] for argument in tree.arguments)
        except (OutsideError, SingularError) as error:
            raise UnspecifiedError from error
        sign = self.decide(tree, a, b)
        return {
            "less": sign < 0, "less_equal": sign <= 0, "greater": sign > 0, "greater_equal": sign >= 0,
        }[tree.operation]  # fmt: skip

    def __call__(self, tree: Tree) -> Jet:
        if tree not in self.done:
            self.done[tree] = self._walk(tree)
        return self.done[tree]

    def _walk(self, tree: Tree) -> Jet:
        name = tree.operation
        if name == "x":
            return self.leaf("x")
        if name == "parameter":
            return self.leaf(tree.value)
        if name == "number":
            return self.jet(Number(Ball.of(tree.exact)))
        if name == "pi":
            return self.jet(_pi())
        if name == "where":
            condition, a, b = tree.arguments
            return self(a if self.condition(condition) else b)
        arguments = [self(argument) for argument in tree.arguments]
        u = arguments[0]
        if name in RULES:
            if name in ("log", "log1p"):
                sign = (u.c[0] + (name == "log1p")).sign(certain=self.certain)
                if sign <= 0:
                    raise OutsideError if sign else SingularError
            return u.compose(RULES[name](u.c[0]))
        if name == "power" or name == "sqrt":
            return self._power(u, Fraction(1, 2) if name == "sqrt" else tree.exact)
        if name == "negative":
            return -u
        if name in ("absolute", "sign"):
            sign = self.decide(tree, u.c[0], number(0))
            return u * number(sign) if name == "absolute" else self.jet(number(sign))
        v = arguments[1]
        if name in ("maximum", "minimum"):
            sign = self.decide(tree, u.c[0], v.c[0])
            return u if (sign > 0 if name == "maximum" else sign < 0) else v
        if name == "divide":
            if v.c[0].sign(certain=self.certain) == 0:
                raise SingularError
            return u / v
        return {"add": Jet.__add__, "subtract": Jet.__sub__, "multiply": Jet.__mul__}[name](u, v)

    def _power(self, u: Jet, n: Fraction) -> Jet:
        sign = u.c[0].sign(certain=self.certain)
        if n.denominator == 2 and sign < 0:
            raise OutsideError

        def rule(base: Number) -> Iterator[Number]:
            factor, m = Fraction(1), n
            while True:
                yield (
                    number(mpf(factor.numerator) / factor.denominator) * self._pure_power(base, m, sign)
                    if factor
                    else number(0)
                )
                factor, m = factor * m, m - 1

        # A base that does not vary has no slope, however steep the root is.
        if sign == 0 and all(c.is_exact and not c.ball.v for c in u.c[1:]) and n > 0:
            return self.jet(number(0))
        return u.compose(rule(u.c[0]))

    def _pure_power(self, base: Number, n: Fraction, sign: int) -> Number:
        if n == 0:
            return number(1)
        if sign == 0:
            if n < 0:
                raise SingularError
            return number(0)
        root = _sqrt_of(base) if n.denominator == 2 else base
        result = root ** abs(n.numerator)
        return result.reciprocal() if n < 0 else result


def _is_exact_leaf(tree: Tree) -> bool:
    """Whether every dtype has the tree's value."""
    if tree.operation != "number":
        return tree.operation in ("x", "parameter")
    value = tree.exact
    return value.denominator & (value.denominator - 1) == 0 and abs(value.numerator) < 2**11 and value.denominator < 2**10


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """A value or a derivative of a tree at a point."""

    tree: Tree
    """Without functions of the catalogue."""
    x: float
    parameters: tuple[tuple[str, Fraction], ...] = ()
    order: int = 0
    variable: str = "x"


@dataclass(frozen=True)
class Answer:
    """What is right: one of a few numbers, NaN and the infinities among them; anything if there are none."""

    right: tuple[mpf, ...]
    terms: float = -math.inf
    """The binary logarithm of the largest term."""
    rounded: float = -math.inf
    """That of the sum of what each rounding on the way would do to the result, in units of the rounding's relative error."""
    decisions: Mapping[Tree, Decision] = field(default_factory=dict)
    ordinary: bool = True
    """Whether the point is no singular one."""


ANYTHING = Answer(())


def answer(
    question: Question, *, unit: float = -math.inf, smallest: float = -math.inf, given: Mapping[Tree, int] | None = None
) -> Answer:
    """Return what is right.

    Parameters
    ----------
    question : Question
    unit, smallest : float, optional
        Binary logarithms of the rounding error of a dtype and of its smallest positive number: conditions whose operands
        differ by no more are doubtful.
    given : Mapping, optional
        How some conditions are decided: signs of the differences of their operands.
    """
    given = given or {}
    if math.isnan(question.x):
        return Answer((mp.nan,))
    if math.isinf(question.x):
        limit = _limit(question, lambda k, part: mp.ldexp(math.copysign(part, question.x), 2**k), {})
        return ANYTHING if limit is None else Answer((limit,))
    for bits in PRECISIONS:
        with mp.workprec(bits):
            certain = bits == PRECISIONS[-1]
            evaluation = _evaluation(question, mpf(question.x), unit=unit, smallest=smallest, given=given, certain=certain)
            try:
                result: Number = evaluation(question.tree).c[question.order]
            except UnclearError:
                continue
            except OutsideError:
                return Answer((mp.nan,))
            except SingularError:
                return _singular(question, _signs(evaluation.decisions))
            except UnspecifiedError:
                return ANYTHING
            exact = _certified(result.ball)
            if exact is not None:
                return Answer((exact,), result.terms, result.rounded, evaluation.decisions)
    return ANYTHING


def _evaluation(question: Question, x: mpf, **options: Any) -> Evaluation:
    return Evaluation({"x": x, **dict(question.parameters)}, question.variable, question.order, **options)


def _certified(ball: Ball) -> mpf | None:
    if ball.e <= magnitude(ball.v) - CERTAIN:
        return ball.v
    return mpf(0) if max(ball.e, magnitude(ball.v)) < INVISIBLE else None


def _signs(decisions: Mapping[Tree, Decision]) -> dict[Tree, int]:
    return {node: decision.sign for node, decision in decisions.items()}


def _singular(question: Question, decided: Mapping[Tree, int]) -> Answer:
    """NaN, or what the selected branches tend to from either side."""
    right = [mp.nan]
    if math.copysign(1, question.x) < 0 and not question.x:
        return ANYTHING  # which infinity 1/-0 is, is no matter of numbers
    for side in (1, -1):
        # Beside 1 there is no room for 2^-2^20.
        farthest = _FAR[-1] if question.x == 0 else 9
        limit = _limit(question, lambda k, part, side=side: question.x + side * mp.ldexp(part, -(2**k)), decided, farthest)
        if limit is None:
            return ANYTHING
        right.append(limit)
    # A pole's sign is that of a zero, which has none.
    right += [-limit for limit in right if mp.isinf(limit)]
    return Answer(tuple(right), ordinary=False)


_PARTS = (1.0, 1.375, 1.8125)
_FAR = (2, 3, 4, 6, 8, 9, 20, 100, 400)


def _limit(
    question: Question, at: Callable[[int, float], mpf], decided: Mapping[Tree, int], farthest: int = _FAR[-1]
) -> mpf | None:
    """Return what a tree tends to; NaN if nothing, None if that is not clear."""
    rounds: list[list[mpf]] = []
    for k in _FAR[: _FAR.index(farthest) + 1]:
        with mp.workprec(4 * 2 ** min(k, 9) + 300):
            values = []
            for part in _PARTS:
                try:
                    evaluation = _evaluation(question, at(k, part), given=decided)
                    ball = evaluation(question.tree).c[question.order].ball
                except (UnclearError, OverflowError):
                    break
                except OutsideError:
                    values.append(mp.nan)
                    continue
                except (SingularError, UnspecifiedError):
                    return None
                known = (
                    ball.v
                    if ball.e <= magnitude(ball.v) - 60
                    else mpf(0)
                    if max(ball.e, magnitude(ball.v)) < INVISIBLE
                    else None
                )
                if known is None:
                    break
                values.append(known)
            else:
                rounds.append(values)
    return _tendency(rounds)


def _tendency(rounds: list[list[mpf]]) -> mpf | None:
    if len(rounds) < 2:
        return None
    last = rounds[-3:]
    if any(mp.isnan(v) for values in last for v in values):
        return mp.nan if all(mp.isnan(v) for values in last for v in values) else None
    with mp.workprec(300):
        low, high = [min(values) for values in last], [max(values) for values in last]
        sizes = [max(map(size, values)) for values in last]
        smallest = [min(map(size, values)) for values in last]
        pairs = list(itertools.pairwise(last))
        if all(b == a == low[-1] for a, b in zip(low, high, strict=True)):
            return low[-1]
        if sizes[-1] < -3 and all(b < a - 0.5 or b == -math.inf for a, b in itertools.pairwise(sizes)):
            return mpf(0)
        if smallest[-1] > 3 and all(b > a + 0.5 for a, b in itertools.pairwise(smallest)):
            signs = {mp.sign(v) for values in last for v in values}
            return signs.pop() * mp.inf if len(signs) == 1 else mp.nan
        spreads = [b - a for a, b in zip(low, high, strict=True)]
        scale = max(abs(low[-1]), abs(high[-1]))
        drift = max(abs(a - b) for a in pairs[-1][0] for b in pairs[-1][1])
        if max(spreads[-1], drift) <= mp.ldexp(scale, -50):
            return last[-1][0]
        if len(last) == 3 and min(spreads) > mp.ldexp(scale, -10) and max(sizes) < 10:
            return mp.nan
    return None


def alternatives(question: Question, found: Answer) -> Iterator[Answer]:
    """Yield the answers for which doubtful conditions are decided the other ways."""
    doubtful = [node for node, decision in found.decisions.items() if decision.doubtful][:MOST_DOUBTFUL]
    decided = _signs(found.decisions)
    for signs in itertools.product((-1, 0, 1), repeat=len(doubtful)):
        other = dict(zip(doubtful, signs, strict=True))
        if any(decided[node] != sign for node, sign in other.items()):
            yield answer(question, given=other)
