"""The reference of the tests: every elementwise activation and its first two derivatives, to 40 certified digits.

Written from the definitions alone and independent of the library: formulas stand here as a paper writes them,
cancellation and all, because precision comes from working digits. `value` evaluates them in certified arithmetic
(`certified.py`), with more digits until the error bound of the result allows. Comparing two precisions instead would
not do: at -38 a naive gelu' loses its term Phi(x) entirely at 60 digits and at 120: the two agree on a wrong number.

Conventions: at a kink the derivative is that of the branch which the written condition selects, and a clipped argument
counts as constant at the ends of its interval, as in PyTorch (for hard_swish since its pull request 148049). Zero has
no sign here.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import mp, mpf
from mpmath.libmp import to_rational

from certified import Ball, Jet, atan, ball, cos, erf, exp, log1p, magnitude, number, pi, sin, sqrt, tanh

Exact = float | str | Fraction | Any
"""What a point or a parameter is given as: any number, taken exactly, or a string with a decimal or a ratio ("1/6")."""
Parameters = Mapping[str, mpf]
Tails = tuple[tuple[Any, Any], tuple[Any, Any], tuple[Any, Any]]
"""For value, first and second derivative: the limit at +inf and the one at -inf, None where there is none."""
Corner = tuple[Any, Any]
"""A point where value, first or second derivative jumps, and the first derivative there by convention."""

START_BITS = 200  # 60 digits


def at_least_start() -> AbstractContextManager[None]:
    """mpmath's precision, raised to START_BITS where it is lower."""
    return mp.workprec(max(mp.prec, START_BITS))


# The definitions that need more than an expression


def positive(x: Any) -> Any:
    return x if x > 0 else 0


def clip(x: Any, low: Any, high: Any) -> Any:
    return low if x <= low else high if x >= high else x


def leaky(x: Any, negative_slope: Any) -> Any:
    return x if x > 0 else negative_slope * x


def absolute(x: Any) -> Any:
    return x if x > 0 else -x if x < 0 else 0


def sigmoid(x: Any) -> Any:
    return 1 / (1 + exp(-x))


def softplus(x: Any) -> Any:
    # log1p and not log(1 + ...): sqrt_softplus' is a quotient of two tiny numbers, which need relative accuracy.
    return log1p(exp(x))


def smelu(x: Any, beta: Any) -> Any:
    return 0 if x < -beta else x if x > beta else (x + beta) ** 2 / (4 * beta)


def elu(x: Any, alpha: Any) -> Any:
    return x if x > 0 else alpha * (exp(x) - 1)


def normal_cdf(x: Any) -> Any:
    return (1 + erf(x / sqrt(number(2, x)))) / 2


def xielu(x: Any, alpha_p: Any, alpha_n: Any, beta: Any, eps: Any) -> Any:
    return alpha_p * x**2 + beta * x if x > 0 else alpha_n * (exp(x if x < eps else eps) - 1 - x) + beta * x


def soft_shrink(x: Any, lambd: Any) -> Any:
    return x - lambd if x > lambd else x + lambd if x < -lambd else 0


def rational(x: Any, **parameters: Any) -> Any:
    above = sum((parameters[f"a{k}"] * x**k for k in range(1, 6)), number(0, x)) + parameters["a0"]
    below = sum((parameters[f"b{k}"] * x**k for k in range(1, 5)), number(0, x))
    # Not absolute: where the sum is 0, so would be its curvature.
    return above / (1 + (-below if below < 0 else below))


# The limits

INF = mp.inf
GATE: Tails = ((INF, 0), (1, 0), (0, 0))
LINE: Tails = ((INF, -INF), (1, 1), (0, 0))
VEE: Tails = ((INF, INF), (1, -1), (0, 0))
NO_LIMIT: Tails = ((None, None), (None, None), (None, None))


def far(c: Any) -> Any:
    """The limit of c*x for x to +inf."""
    return c * INF if c else 0


def flat(high: Any, low: Any) -> Tails:
    return (high, low), (0, 0), (0, 0)


def leaky_tails(negative_slope: Any) -> Tails:
    return (INF, far(-negative_slope)), (1, negative_slope), (0, 0)


def gate_tails(beta: Any) -> Tails:
    """x*sigmoid(beta*x) and softplus."""
    if beta == 0:
        return (INF, -INF), (mpf(1) / 2, mpf(1) / 2), (0, 0)
    return GATE if beta > 0 else ((0, -INF), (0, 1), (0, 0))


def celu_tails(alpha: Any) -> Tails:
    return ((INF, -alpha), (1, 0), (0, 0)) if alpha > 0 else ((INF, -INF), (1, INF), (0, -INF))


def xielu_tails(alpha_p: Any, alpha_n: Any, beta: Any, eps: Any) -> Tails:
    left = beta - alpha_n
    return (far(alpha_p or beta), far(-left) or -alpha_n), (far(alpha_p) or beta, left), (2 * alpha_p, 0)


# The table


@dataclass(frozen=True)
class Entry:
    """One activation: its definition, and what finite arithmetic cannot say.

    Attributes
    ----------
    function
        The definition, of an mpf (or Ball, or Jet) x and mpf (or Ball) parameters. A constant branch may give an int.
    tails, corners
        What `limits`, `kinks` and `at_kink` say, as functions of the parameters.
    parameters
        Defaults, as the catalogue writes them: decimals and ratios are strings, because tests choose how to round them.
    constants
        Numbers written into the formula. `value` accepts others for them too: an implementation that holds the double
        nearest to 1.702 computes another function than one that holds 1.702, many ulp away in quick_gelu's tail.
    required
        Parameters without default, with a value for tests.
    """

    function: Callable[..., Any]
    tails: Callable[..., Tails]
    corners: Callable[..., Sequence[Corner]]
    parameters: Mapping[str, float | str]
    constants: Mapping[str, str]
    required: Mapping[str, float]

    def kinks(self, params: Parameters) -> list[mpf]:
        """Where value, first or second derivative jumps; `params` as `resolve` gives them."""
        with at_least_start():
            return [mpf(point) for point, _ in self.corners(**params)]

    def at_kink(self, params: Parameters) -> list[mpf]:
        """The first derivative at each of the kinks, by convention."""
        with at_least_start():
            return [mpf(slope) for _, slope in self.corners(**params)]

    def limits(self, order: int, sign: int, params: Parameters) -> mpf | None:
        """The limit of a derivative (order 0: the value) at sign*inf, None where there is none."""
        with at_least_start():
            limit = self.tails(**params)[order][0 if sign > 0 else 1]
            return None if limit is None else mpf(limit)


def entry(
    function: Callable[..., Any],
    tails: Tails | Callable[..., Tails],
    corners: Sequence[Corner] | Callable[..., Sequence[Corner]] = (),
    constants: Mapping[str, str] | None = None,
    required: Mapping[str, float] | None = None,
    **parameters: float | str,
) -> Entry:
    """An `Entry`; tails and corners that do not depend on parameters are given as they are."""
    return Entry(
        function,
        tails if callable(tails) else lambda **_: tails,
        corners if callable(corners) else lambda **_: corners,
        parameters,
        constants or {},
        required or {},
    )


@dataclass(frozen=True)
class Meaning(Entry):
    """An activation without a definition of its own here: what its formula means, in mpmath.

    It knows nothing of kernels and languages, but takes the library's word for derivatives. With digits doubled until two
    evaluations agree, which is no certificate.
    """

    formula: Any

    @classmethod
    def of(cls, name: str) -> "Meaning":
        import nonlin as nl  # here: nothing else in this file knows the library

        found = nl.activations[name]
        given = {key: p.default for key, p in found.parameters.items()}
        known = {key: default for key, default in given.items() if default is not None}
        required = {key: 1.0 for key, default in given.items() if default is None}
        return cls(found.formula, lambda **_: NO_LIMIT, lambda **_: (), known, {}, required, found.formula)

    def value(self, x: Any, order: int, wrt: str, params: Mapping[str, Fraction]) -> mpf:
        from nonlin.formula.calculus import differentiate
        from nonlin.formula.spelling import Reference

        formula = differentiate(self.formula, wrt, order) if order else self.formula
        before = None
        for bits in (START_BITS << k for k in range(12)):
            with mp.workprec(bits):
                balls = {key: Ball.of(q).v for key, q in {"x": _fraction(x), **params}.items()}
                now = Reference(mp, balls)(formula)
                if before is not None and abs(now - before) <= mp.ldexp(abs(now), -ENOUGH_BITS):
                    return now
            before = now
        raise ArithmeticError(f"{formula} at {x} needs more than {bits} bits")

    def limits(self, order: int, sign: int, params: Parameters) -> mpf | None:
        near, far = (
            self.value(sign * mpf(10) ** k, order, "x", {n: _fraction(p) for n, p in params.items()}) for k in (40, 80)
        )
        if abs(far) > 10**30:
            return mp.inf * mp.sign(far)
        return far if abs(far - near) < mpf(10) ** -30 else None


class Table(dict[str, Entry]):
    """Definitions by name; of what stands not in it, the meaning of its formula."""

    def __missing__(self, name: str) -> Entry:
        self[name] = found = Meaning.of(name)
        return found


ORACLE = Table(
    {
        # Rectifiers
        "relu": entry(positive, GATE, [(0, 0)]),
        "leaky_relu": entry(leaky, leaky_tails, lambda negative_slope: [(0, negative_slope)], negative_slope="0.01"),
        "prelu": entry(leaky, leaky_tails, lambda negative_slope: [(0, negative_slope)], negative_slope=0.25),
        "rrelu": entry(  # in evaluation
            lambda x, lower, upper: leaky(x, (lower + upper) / 2),
            lambda lower, upper: leaky_tails((lower + upper) / 2),
            lambda lower, upper: [(0, (lower + upper) / 2)],
            lower="1/8",
            upper="1/3",
        ),
        "relu6": entry(lambda x: clip(x, 0, 6), flat(6, 0), [(0, 0), (6, 0)]),
        "clipped_relu": entry(
            lambda x, max_value: clip(x, 0, max_value),
            lambda max_value: flat(max_value, 0),
            lambda max_value: [(0, 0), (max_value, 0)],
            max_value=1,
        ),
        "thresholded_relu": entry(lambda x, theta: x if x > theta else 0, GATE, lambda theta: [(theta, 0)], theta=1),
        "threshold": entry(
            lambda x, threshold, value: x if x > threshold else value,
            lambda threshold, value: ((INF, value), (1, 0), (0, 0)),
            lambda threshold, value: [(threshold, 0)],
            required={"threshold": 0.5, "value": -2},
        ),
        "relu_squared": entry(lambda x: positive(x) ** 2, ((INF, 0), (INF, 0), (2, 0)), [(0, 0)]),
        "star_relu": entry(
            lambda x, scale, bias: scale * positive(x) ** 2 + bias,
            lambda scale, bias: ((far(scale) or bias, bias), (far(scale), 0), (2 * scale, 0)),
            [(0, 0)],
            scale="0.8944",
            bias="-0.4472",
        ),
        "abs": entry(absolute, VEE, [(0, 0)]),
        "hard_tanh": entry(
            lambda x, min_value, max_value: clip(x, min_value, max_value),
            lambda min_value, max_value: flat(max_value, min_value),
            lambda min_value, max_value: [(min_value, 0), (max_value, 0)],
            min_value=-1,
            max_value=1,
        ),
        "step": entry(lambda x: 1 if x > 0 else 0, flat(1, 0), [(0, 0)]),
        # Smooth and exponential
        "softplus": entry(lambda x, beta: softplus(beta * x) / beta, gate_tails, beta=1),
        "squareplus": entry(lambda x, b: (x + sqrt(x**2 + b)) / 2, GATE, b=4),
        "smelu": entry(smelu, GATE, lambda beta: [(-beta, 0), (beta, 1)], beta=1),
        "sparse_plus": entry(lambda x: smelu(x, 1), GATE, [(-1, 0), (1, 1)]),
        "elu": entry(elu, lambda alpha: ((INF, -alpha), (1, 0), (0, 0)), lambda alpha: [(0, alpha)], alpha=1),
        "celu": entry(lambda x, alpha: x if x > 0 else alpha * (exp(x / alpha) - 1), celu_tails, [(0, 1)], alpha=1),
        "selu": entry(
            lambda x, scale, alpha: scale * elu(x, alpha),
            lambda scale, alpha: ((INF, -scale * alpha), (scale, 0), (0, 0)),
            lambda scale, alpha: [(0, scale * alpha)],
            constants={"scale": "1.0507009873554804934193349852946", "alpha": "1.6732632423543772848170429916717"},
        ),
        # Its second derivative is continuous at 0, so there is no kink.
        "isrlu": entry(
            lambda x, alpha: x if x >= 0 else x / sqrt(1 + alpha * x**2),
            lambda alpha: ((INF, -1 / mp.sqrt(alpha)), (1, 0), (0, 0)) if alpha else LINE,
            alpha=1,
        ),
        "log_sigmoid": entry(lambda x: -softplus(-x), ((0, -INF), (0, 1), (0, 0))),
        "sqrt_softplus": entry(lambda x: sqrt(softplus(x)), ((INF, 0), (0, 0), (0, 0))),
        # Self-gated
        "gelu": entry(lambda x: x * normal_cdf(x), GATE),
        "gelu_tanh": entry(
            lambda x, cubic: x / 2 * (1 + tanh(sqrt(2 / pi(x)) * (x + cubic * x**3))), GATE, constants={"cubic": "0.044715"}
        ),
        "quick_gelu": entry(lambda x, slope: x * sigmoid(slope * x), GATE, constants={"slope": "1.702"}),
        "silu": entry(lambda x: x * sigmoid(x), GATE),
        "swish": entry(lambda x, beta: x * sigmoid(beta * x), gate_tails, beta=1),
        "mish": entry(lambda x: x * tanh(softplus(x)), GATE),
        "hard_swish": entry(lambda x: x * (clip(x, -3, 3) + 3) / 6, GATE, [(-3, 0), (3, 1)]),
        "hard_mish": entry(lambda x: x * (clip(x, -2, 0) + 2) / 2, GATE, [(-2, 0), (0, 1)]),
        "telu": entry(lambda x: x * tanh(exp(x)), GATE),
        "golu": entry(lambda x: x * exp(-exp(-x)), GATE),
        "serf": entry(lambda x: x * erf(softplus(x)), GATE),
        "elish": entry(lambda x: (x if x >= 0 else exp(x) - 1) * sigmoid(x), GATE, [(0, mpf("0.5"))]),
        "lisht": entry(lambda x: x * tanh(x), VEE),
        "laplace": entry(
            lambda x, mu, sigma: normal_cdf((x - mu) / sigma),
            lambda mu, sigma: flat(1, 0) if sigma > 0 else flat(0, 1),
            mu="0.707107",
            sigma="0.282095",
        ),
        # min(x, eps) counts as the constant at eps, so that the derivative is beta - alpha_n on all of [eps, 0].
        "xielu": entry(
            xielu,
            xielu_tails,
            lambda alpha_p, alpha_n, beta, eps: [(eps, beta - alpha_n), (0, beta - alpha_n)],
            alpha_p="0.8",
            alpha_n="0.8",
            beta=0.5,
            eps="-1e-6",
        ),
        "softcap": entry(lambda x, cap: cap * tanh(x / cap), lambda cap: flat(abs(cap), -abs(cap)), cap=30),
        # Sigmoids and other bounded functions
        "sigmoid": entry(sigmoid, flat(1, 0)),
        "hard_sigmoid": entry(
            lambda x, slope: (clip(2 * slope * x, -1, 1) + 1) / number(2, x),
            lambda slope: flat(*((1 + s * mp.sign(slope)) / 2 for s in (1, -1))),
            lambda slope: [(-1 / (2 * slope), 0), (1 / (2 * slope), 0)] if slope else [],
            slope="1/6",
        ),
        "tanh": entry(tanh, flat(1, -1)),
        "arctan": entry(atan, lambda: flat(mp.pi / 2, -mp.pi / 2)),
        "erf": entry(erf, flat(1, -1)),
        "sin": entry(lambda x, omega: sin(omega * x), lambda omega: NO_LIMIT if omega else flat(0, 0), omega=1),
        "gaussian": entry(lambda x: exp(-(x**2)), flat(0, 0)),
        "identity": entry(lambda x: x, LINE),
        "softsign": entry(lambda x: x / (1 + absolute(x)), flat(1, -1), [(0, 1)]),
        "sparse_sigmoid": entry(lambda x: (clip(x, -1, 1) + 1) / number(2, x), flat(1, 0), [(-1, 0), (1, 0)]),
        "dyt": entry(
            lambda x, alpha, scale, shift: scale * tanh(alpha * x) + shift,
            lambda alpha, scale, shift: flat(*(s * mp.sign(alpha) * scale + shift for s in (1, -1))),
            alpha=0.5,
            scale=1,
            shift=0,
        ),
        "tanh_shrink": entry(lambda x: x - tanh(x), LINE),
        "hard_shrink": entry(
            lambda x, lambd: x if absolute(x) > lambd else 0, LINE, lambda lambd: [(-lambd, 0), (lambd, 0)], lambd=0.5
        ),
        "soft_shrink": entry(soft_shrink, LINE, lambda lambd: [(-lambd, 0), (lambd, 0)], lambd=0.5),
        # Periodic
        "snake": entry(lambda x, alpha: x + sin(alpha * x) ** 2 / alpha, ((INF, -INF), (None, None), (None, None)), alpha=1),
        "snake_beta": entry(
            lambda x, alpha, beta: x + sin(alpha * x) ** 2 / beta,
            lambda alpha, beta: ((INF, -INF), (None, None), (None, None)) if alpha else LINE,
            alpha=1,
            beta=1,
        ),
        "gcu": entry(lambda x: x * cos(x), NO_LIMIT),
        # Its defaults are a fit, so they stand in the catalogue only. No kink where the sum of b_k*x^k keeps its sign, as here.
        "rational": entry(
            rational,
            lambda a5, b4, **_: ((far(a5), -far(a5)), (a5 / abs(b4),) * 2, (0, 0)),
            required=dict(a0=0.03, a1=0.5, a2=1.65, a3=2.0, a4=0.93, a5=0.15, b1=0.0, b2=4.0, b3=0.0, b4=0.3),
        ),
    }
)
WRITTEN = frozenset(ORACLE)


# Values

MOST_BITS = 30_000
ENOUGH_BITS = 140  # a result is returned when 42 digits of it are certain...
UNSEEN = -1330  # ...or as 0 when it is certain to be below 1e-400
FLUSH = -20_000  # even when all digits of it are certain: an exponent may have 300 digits, and take for ever to print


def resolve(name: str, parameters: Mapping[str, Exact] | None = None) -> dict[str, mpf]:
    """All parameters and constants of an entry as `Entry.kinks` wants them: those given, defaults for the others."""
    with at_least_start():
        return {key: Ball.of(q).v for key, q in _exact(name, parameters or {}).items()}


def defaults(name: str, dtype: str = "float64", *, constants: bool = False) -> dict[str, float]:
    """The parameters (and constants on demand) to call an implementation with: the defaults, rounded to the dtype."""
    record = ORACLE[name]
    given = {**record.parameters, **record.required, **(record.constants if constants else {})}
    return {key: nearest(_fraction(given[key]), dtype) for key in given}


def value(name: str, x: Exact, order: int = 0, *, wrt: str = "x", **parameters: Exact) -> mpf:
    """The value (order 0) or a derivative (order 1 or 2) of an activation at a point.

    Parameters
    ----------
    name
        A key of `ORACLE`.
    x
        The point, taken exactly; NaN gives NaN, an infinity the limit, or NaN where there is none.
    order
        The order of the derivative.
    wrt
        The parameter to differentiate with respect to, if it is not x; x is finite then.
    **parameters
        Parameters or constants other than the default, taken exactly; they are finite.

    Returns
    -------
    mpf
        At least 40 correct digits of any result above 1e-400; a smaller one may be 0. It carries them whatever mp.prec
        is, but arithmetic with it rounds to mp.prec.
    """
    if order not in (0, 1, 2):
        raise ValueError(f"order must be 0, 1 or 2, not {order}")
    exact = tuple(_exact(name, parameters).items())
    if (isinstance(x, str) and x.lstrip("+-") in ("inf", "nan")) or not isinstance(x, str | int | Fraction | mpf):
        x = float(x)
    if isinstance(x, float | mpf) and not mp.isfinite(x):
        limit = None if mp.isnan(x) else ORACLE[name].limits(order, 1 if x > 0 else -1, resolve(name, parameters))
        return mp.nan if limit is None else limit
    return _value(name, _fraction(x), order, exact, wrt)


@lru_cache(1 << 16)
def _value(name: str, x: Fraction, order: int, parameters: tuple[tuple[str, Fraction], ...], wrt: str) -> mpf:
    record = ORACLE[name]
    if isinstance(record, Meaning):
        return record.value(x, order, wrt, dict(parameters))
    bits = START_BITS
    if order == 1 and wrt == "x":
        with mp.workprec(bits):
            params = {key: Ball.of(q).v for key, q in parameters}
            for kink, slope in ORACLE[name].corners(**params):
                # A kink may be off by the rounding of a parameter, as 1/(2*slope) is for slope=1/6.
                if abs(Ball.of(x).v - kink) <= mp.ldexp(abs(kink), 8 - bits):
                    return mpf(slope)
    while bits <= MOST_BITS:
        result = evaluate(name, x, order, parameters, bits, wrt)
        size = magnitude(result.v)
        if result.e <= size - ENOUGH_BITS and size > FLUSH:
            return result.v
        if max(result.e, size) < UNSEEN:
            return mpf(0)
        bits *= 2
    raise ArithmeticError(f"{name} of order {order} at {x} needs more than {MOST_BITS} bits")


def evaluate(
    name: str, x: Fraction, order: int, parameters: tuple[tuple[str, Fraction], ...], bits: int, wrt: str = "x"
) -> Ball:
    """One evaluation by the selected branches with that many bits, and its certified error."""
    with mp.workprec(bits):
        balls = {"x": Ball.of(x), **{key: Ball.of(q) for key, q in parameters}}
        given: dict[str, Any] = {key: v if key != "x" else Jet(v, *[ball(0)] * order) for key, v in balls.items()}
        given[wrt] = Jet.variable(balls[wrt], order)
        result = ORACLE[name].function(given.pop("x"), **given)
        if not isinstance(result, Jet):  # a constant branch
            result = Jet(ball(result), ball(0), ball(0))
        return result.c[order]


def _exact(name: str, given: Mapping[str, Exact]) -> dict[str, Fraction]:
    record = ORACLE[name]
    known = {**record.parameters, **record.constants}
    if unknown := given.keys() - known.keys() - record.required.keys():
        raise TypeError(f"{name} has no parameter {', '.join(sorted(unknown))}")
    if missing := record.required.keys() - given.keys():
        raise TypeError(f"{name} needs {', '.join(sorted(missing))}")
    return {key: _fraction(p) for key, p in {**known, **given}.items()}


def _fraction(x: Exact) -> Fraction:
    if isinstance(x, mpf):
        return Fraction(*map(int, to_rational(x._mpf_)))
    return Fraction(x if isinstance(x, str | int | Fraction) else float(x))


# Floating-point formats

FORMATS = {  # digits of the significand with the leading one, exponents of the smallest and the largest binade
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}


def last_place(x: mpf, dtype: str) -> int:
    """The exponent of the unit in the last place of x; outside the normal range that of the nearest normal number."""
    digits, smallest, largest = FORMATS[dtype]
    return max(min(magnitude(x) - 1, largest), smallest) - digits + 1


def nearest(q: Fraction, dtype: str) -> float:
    """The number of the dtype nearest to q, ties to even."""
    with mp.workprec(START_BITS):
        unit = Fraction(2) ** last_place(Ball.of(q).v, dtype)
    return float(round(q / unit) * unit)


def ulp_error(got: float, want: mpf, dtype: str) -> float:
    """The distance of a computed result from the exact one, in units in the last place of the exact one.

    Parameters
    ----------
    got
        The computed result, of any type that float takes.
    want
        The exact result, not rounded.
    dtype
        A key of `FORMATS`. Subnormal results are measured in the spacing of subnormals.

    Returns
    -------
    float
        At most 0.5 for the correctly rounded result; 0 for NaN where NaN is expected, and for an infinity where it is
        exact or the correctly rounded result; inf for NaN or an infinity on one side only, but see below.

    Notes
    -----
    An infinity where the exact result is close to overflow counts as the power of two that follows the largest finite
    number, as it does in the rounding rule of IEEE 754.
    """
    got = float(got)
    if mp.isnan(want) or math.isnan(got):
        return 0.0 if mp.isnan(want) and math.isnan(got) else math.inf
    if mp.isinf(want):
        return 0.0 if got == want else math.inf
    digits, _, largest = FORMATS[dtype]
    with mp.workprec(START_BITS):
        unit = last_place(want, dtype)
        if math.isinf(got):
            sign = 1 if got > 0 else -1
            beyond = mp.ldexp(1, largest + 1)
            if sign * want >= beyond - mp.ldexp(1, largest - digits):
                return 0.0
            if sign * want < beyond / 2:
                return math.inf
            return float(mp.ldexp(abs(sign * beyond - want), -unit))
        return float(mp.ldexp(abs(mpf(got) - want), -unit))


# Points


def neighbours(x: float) -> list[float]:
    """The point, those next to it in float64, and its nearest float32 and those next to that."""
    single = struct.unpack("<f", struct.pack("<f", x))[0]
    bits = struct.unpack("<i", struct.pack("<f", single))[0]
    steps = (bits + 1, bits - 1) if single else (1, 1 - (1 << 31))  # the smallest positive and negative one
    singles = [struct.unpack("<f", struct.pack("<i", step))[0] for step in steps]
    return [x, math.nextafter(x, -math.inf), math.nextafter(x, math.inf), single, *singles]


def both_signs(*points: float) -> list[float]:
    return [sign * point for point in points for sign in (1.0, -1.0)]


ALL_KINKS = sorted({float(kink) for name, entry in ORACLE.items() for kink in entry.kinks(resolve(name, entry.required))})
GRID: dict[str, list[float]] = {
    # The first ones are minima, of gelu, silu and mish; 2.699 is where gelu_tanh is farthest from gelu.
    "ordinary": [
        *(-0.751791524693564457, -1.278464542761073795, -1.192431214515495212, -0.7517, -1.2784, -1.1924, -1.35, -0.9),
        *both_signs(0.1, 0.3, 0.7071, 1.1, 1.7, 2.2, 2.699, 3.7, 5.3, 6.5, 8.25, 9.9, 12.0),
    ],
    "tiny": both_signs(5e-324, 1e-310, 1e-45, 1e-38, 1e-20, 1e-8, 1e-4),
    "huge": both_signs(50.0, 90.0, 104.0, 750.0, 1e4, 1e10, 1e19, 2e19, 1e30, 1e38, 1e154, 1e300),
    "kinks": sorted({point for kink in ALL_KINKS for point in neighbours(kink)}),
    "specials": [0.0, -0.0, math.inf, -math.inf, math.nan],
}
