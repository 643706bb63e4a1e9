"""Fit the approximations of src/nonlin/arithmetic/mathematics.py and write src/nonlin/formula/coefficients.py.

Fits on Chebyshev points in mpmath, one for each kind of lanes: 24 bits (float32), 40 bits (float32 results in float64 lanes)
and 53 bits (float64). Coefficients are rounded one by one, and the rest is fitted again after each, so that a rounded
coefficient's error is taken up by the next ones. Polynomials are least squares fits, rounded from the lowest coefficient up but
for the constant term. Quotients of polynomials are the best in the sense of Chebyshev: Lawson's weights on top of the
linearised problem of Sanathanan and Koerner.

Run ``python tools/fit_coefficients.py`` (needs mpmath); ``--check`` only compares with the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp, mpf

TARGET = Path(__file__).resolve().parent.parent / "src" / "nonlin" / "formula" / "coefficients.py"
mp.dps = 60


@dataclass(frozen=True)
class Fit:
    """A function to approximate by a polynomial p on an interval."""

    what: str
    """What the polynomial stands for, for the reader of the generated file."""
    function: Callable[[Any], Any]
    """The exact function of the polynomial's variable."""
    interval: tuple[Any, Any]
    weight: Callable[[Any], Any]
    """Error of the finished result for an error of 1 in the polynomial, relative to the result."""
    degrees: dict[int, int]
    """Polynomial degree for each goal in bits."""
    rounded: bool = False
    """Whether the constant term is rounded too."""


@dataclass(frozen=True)
class RationalFit:
    """A function to approximate by a constant and a quotient of polynomials on an interval of positive numbers."""

    what: str
    """What the sum stands for, for the reader of the generated file."""
    function: Callable[[Any, int], Any]
    """The exact function of the polynomials' variable, for a goal in bits."""
    interval: Callable[[int], tuple[Any, Any]]
    """Where it is fitted, for a goal."""
    weight: Callable[[Any], Any]
    """Error of the finished result for an error of 1 in the sum, relative to the result."""
    degrees: dict[int, tuple[int, int]]
    """Degrees of the dividend and the divisor for each goal."""
    constant: Fraction
    """What is split off from the function, so that the quotient is small where roundings count."""


@dataclass(frozen=True)
class Zero:
    """A zero of a function, to be split off from it before the rest is fitted."""

    function: Callable[[Any], Any]
    near: Any
    scale: dict[int, float]
    """How large the rest is where its roundings count, for each goal, when zero - x is split off: it is scaled to be 1."""


def _series(function: Callable[[Any], Any], series: Callable[[Any], Any], below: float) -> Callable[[Any], Any]:
    """Use a series where the closed form cancels."""
    return lambda s: series(s) if abs(s) < below else function(s)


def _power_series(term: Callable[[int], Any]) -> Callable[[Any], Any]:
    return lambda s: mp.fsum(term(k) * s**k for k in range(60))


def _root(s: Any) -> Any:
    return mp.sqrt(s)


def _tail_variable(t: Any) -> Any:
    return 3 * (1 + t) / (1 - t)


def _normal_tail(t: Any) -> Any:
    a = _tail_variable(t)
    return (a + 3) * _mills(a)


def _mills(a: Any) -> Any:
    return mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / 2


def _exponential_rest(square: Any, bits: int) -> Any:
    """What exp(-square) computed with log(2) rounded to one number lacks: a factor that is smooth in its argument."""
    return mp.exp(square * (1 - _round(mp.log(2), bits) / mp.log(2)))


def _vanishing(bits: int) -> Any:
    """Return where exp(-a^2/2) is 0 in the dtype of the results."""
    return mpf("38.8") if bits == 53 else mpf("14.6")


def _gelu_tail(a: Any, bits: int) -> Any:
    return a * _mills(a) * _exponential_rest(a * a / 2, bits)


def _slope_tail(a: Any) -> Any:
    """The derivative of -a P(Z > a), times exp(a^2/2)."""
    return _mills(a) - a / mp.sqrt(2 * mp.pi)


def _slope_factor(a: Any, bits: int) -> Any:
    offset, factor = split_off(ZEROS["normal_slope"], bits)
    return _slope_tail(a) * _exponential_rest(a * a / 2, bits) / (mpf(offset) - mpf(factor) * a)


def _erf_tail(a: Any, bits: int) -> Any:
    return mp.exp(a * a) * mp.erfc(a) * _exponential_rest(a * a, bits)


def _near(t: Any) -> Any:
    return 2 * (1 + t) / (1 - t)


_log1p_rest = _series(lambda q: (mp.log1p(q) - q) / q**2, _power_series(lambda k: mpf((-1) ** (k + 1)) / (k + 2)), 1e-3)
_TANH_SHRINK = _series(
    lambda z: (_root(z) - mp.tanh(_root(z))) / _root(z) ** 3,
    _power_series(lambda k: -mp.bernoulli(2 * k + 4) * 4 ** (k + 2) * (4 ** (k + 2) - 1) / mp.factorial(2 * k + 4)),
    1e-2,
)
_LN2_HALF = mp.log(2) / 2 * mpf("1.0005")
_QUARTER_PI_SQUARED = (mp.pi / 4 * mpf("1.0005")) ** 2
FITS = {
    "exp": Fit(
        "exp(r) = 1 + r + r^2 p(r), |r| <= log(2)/2",
        _power_series(lambda k: 1 / mp.factorial(k + 2)),
        (-_LN2_HALF, _LN2_HALF),
        lambda r: r * r / mp.exp(r),
        {24: 4, 40: 7, 53: 10},
    ),
    "exp_residual": Fit(
        "exp(x) - 1 - x = x^2 p(x), |x| <= 1",
        _power_series(lambda k: 1 / mp.factorial(k + 2)),
        (mpf(-1), mpf(1)),
        lambda x: 1 / _power_series(lambda k: 1 / mp.factorial(k + 2))(x),
        {24: 7, 40: 10, 53: 15},
    ),
    "artanh": Fit(
        "2 artanh(s) = 2 s + 2 s z p(z), z = s^2, |s| <= 1/3",
        _power_series(lambda k: mpf(1) / (2 * k + 3)),
        (mpf(0), mpf(1) / 9),
        lambda z: z,
        {24: 4, 40: 7, 53: 10},
    ),
    "tanh_shrink": Fit(
        "x - tanh(x) = x^3 p(x^2), |x| <= 1",
        _TANH_SHRINK,
        (mpf(0), mpf(1)),
        lambda z: 3,
        {24: 8, 40: 12, 53: 18},
    ),
    "normal_tail": Fit(
        "P(Z > a) = exp(-a^2/2)/(a + 3) p(t), t = (a - 3)/(a + 3), 0 <= a <= 64",
        _normal_tail,
        (mpf(-1), mpf(61) / 67),
        lambda t: 1 / _normal_tail(t),
        {24: 12, 40: 17, 53: 26},
    ),
    "normal_centre": Fit(
        "P(Z < x) = 1/2 + x p(x^2), |x| <= 0.8",
        _power_series(lambda k: (-1) ** k / (mp.sqrt(2 * mp.pi) * mp.factorial(k) * (2 * k + 1) * 2**k)),
        (mpf(0), mpf("0.641")),
        lambda z: _root(z) / (mp.erfc(_root(z / 2)) / 2),
        {24: 4, 40: 7, 53: 9},
        rounded=True,
    ),
    "tanh": Fit(
        "tanh(x) = x - x^3 p(x^2), |x| <= 0.55",
        _TANH_SHRINK,
        (mpf(0), mpf("0.3026")),
        lambda z: z * _root(z) / mp.tanh(_root(z)),
        {24: 4, 40: 7, 53: 10},
    ),
    "log1p": Fit(
        "log(1 + q) = q + q^2 p(q - 1/2), 0 <= q <= 1",
        lambda s: _log1p_rest(s + mpf("0.5")),
        (mpf("-0.5"), mpf("0.5")),
        lambda s: (s + mpf("0.5")) ** 2 / mp.log1p(s + mpf("0.5")),
        {24: 8, 40: 14, 53: 20},
    ),
    "erf": Fit(
        "erf(x) = x p(x^2), |x| <= 1",
        _power_series(lambda k: 2 / mp.sqrt(mp.pi) * (-1) ** k / (mp.factorial(k) * (2 * k + 1))),
        (mpf(0), mpf(1)),
        lambda z: 1,
        {24: 7, 40: 9, 53: 13},
    ),
    "sin": Fit(
        "sin(r) = r + r^3 p(r^2), |r| <= pi/4",
        _power_series(lambda k: (-1) ** (k + 1) / mp.factorial(2 * k + 3)),
        (mpf(0), _QUARTER_PI_SQUARED),
        lambda z: z,
        {24: 3, 40: 4, 53: 6},
    ),
    "cos": Fit(
        "cos(r) = 1 - r^2/2 + r^4 p(r^2), |r| <= pi/4",
        _power_series(lambda k: (-1) ** k / mp.factorial(2 * k + 4)),
        (mpf(0), _QUARTER_PI_SQUARED),
        lambda z: z * z,
        {24: 2, 40: 4, 53: 6},
    ),
    "arctan": Fit(
        "arctan(s) = s + s z p(z), z = s^2, |s| <= tan(pi/8)",
        _power_series(lambda k: mpf((-1) ** (k + 1)) / (2 * k + 3)),
        (mpf(0), mpf("0.1725")),
        lambda z: z,
        {24: 5, 40: 9, 53: 12},
    ),
}
RATIONAL_FITS = {
    "gelu_tail": RationalFit(
        "a P(Z > a) = exp(-a^2/2) r(a), 0.8 <= a until it vanishes; log(2) in one piece",
        _gelu_tail,
        lambda bits: (mpf("0.79"), _vanishing(bits)),
        lambda a: 1 / (a * _mills(a)),
        {24: (4, 4), 40: (7, 7), 53: (11, 11)},
        Fraction(5, 16),
    ),
    "normal_slope": RationalFit(
        "P(Z > a) - a exp(-a^2/2)/sqrt(2 pi) = exp(-a^2/2) (p - q a) r(a), 0 <= a; log(2) in one piece",
        _slope_factor,
        lambda bits: (mpf(0), _vanishing(bits)),
        lambda a: 1 / _slope_factor(a, 53),
        {24: (4, 4), 40: (7, 7), 53: (10, 10)},
        Fraction(1),
    ),
    "erf_tail": RationalFit(
        "erf(x) = 1 - exp(-x^2) r(x), 1 <= x <= 6; log(2) in one piece",
        _erf_tail,
        lambda bits: (mpf(1), mpf(6)),
        lambda a: mp.exp(-a * a),
        {24: (2, 2), 40: (4, 4), 53: (6, 6)},
        Fraction(0),
    ),
}
ZEROS = {
    "normal_slope": Zero(_slope_tail, mpf("0.75"), {24: 0.45, 40: 0.52, 53: 0.52}),
}
CONSTANTS = {
    "log(2)": lambda: mp.log(2),
    "1/log(2)": lambda: 1 / mp.log(2),
    "pi": lambda: mp.pi,
    "sqrt(2)": lambda: mp.sqrt(2),
    "1/sqrt(2 pi)": lambda: 1 / mp.sqrt(2 * mp.pi),
}


def least_squares(rows: list[list[Any]], right: list[Any]) -> list[Any]:
    """Return the coefficients with the smallest sum of squared errors."""
    columns = list(zip(*rows, strict=True))
    matrix = mp.matrix([[mp.fdot(a, b) for b in columns] for a in columns])
    return list(mp.lu_solve(matrix, mp.matrix([mp.fdot(a, right) for a in columns])))


def _round(value: Any, bits: int) -> float:
    return float(np.float32(float(value))) if bits == 24 else float(value)


def split_off(zero: Zero, bits: int) -> tuple[float, float]:
    """Return numbers p and q of the lanes with p/q the zero to nearly twice their digits: p - q*x is rounded once."""
    digits = 24 if bits == 24 else 53
    exact = Fraction(mp.nstr(mp.findroot(zero.function, zero.near), 50)).limit_denominator(2 ** (digits - 2))
    found = []
    for multiple in (1, 3, 5, 7):
        p, q = multiple * exact.numerator, multiple * exact.denominator
        power = Fraction(2) ** round(mp.log(q / zero.scale[bits], 2))
        if max(p, q) < 2**digits:
            found.append((abs(mp.log(q / power / zero.scale[bits])), float(p / power), float(q / power)))
    return min(found)[1:]


def fit(record: Fit, bits: int) -> tuple[tuple[Any, ...], Any]:
    """Fit, then round coefficient by coefficient, fitting the rest again; return the coefficients and the largest error."""
    count = record.degrees[bits] + 1
    low, high = record.interval
    # On Chebyshev points the least squares fit is within a small factor of the best one, and never fails to converge.
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (k + 0.5) / (6 * count)) for k in range(6 * count)]
    weights = [record.weight(x) for x in points]
    wanted = [record.function(x) * w for x, w in zip(points, weights, strict=True)]
    rows = [[x**k * w for k in range(count)] for x, w in zip(points, weights, strict=True)]
    fixed: list[Any] = []
    remaining = list(wanted)
    while len(fixed) < count:
        done = len(fixed)
        best = least_squares([row[done:] for row in rows], remaining)[0]
        fixed.append(_round(best, bits) if done or record.rounded else best)
        remaining = [value - mpf(fixed[-1]) * row[done] for value, row in zip(remaining, rows, strict=True)]
    return tuple(fixed), max(abs(value) for value in remaining)


def fit_rational(record: RationalFit, bits: int) -> tuple[Fraction, tuple[float, ...], tuple[float, ...], Any]:
    """Fit, then round the divisor, and the dividend from the highest coefficient down; return the error as well."""
    above, below = record.degrees[bits]
    count = above + below + 1
    low, high = ((a - 2) / (a + 2) for a in record.interval(bits))
    places = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (k + 0.5) / (10 * count)) for k in range(10 * count)]
    points = [_near(t) for t in places]
    weights = [abs(record.weight(x)) for x in points]
    values = [record.function(x, bits) for x in points]
    constant = record.constant
    values = [value - mpf(constant.numerator) / constant.denominator for value in values]
    # dividend - value*(divisor - 1) = value, each over what the divisor was in the round before.
    terms = [
        [x**k for k in range(above + 1)] + [-value * x**k for k in range(1, below + 1)]
        for x, value in zip(points, values, strict=True)
    ]
    known: dict[int, float] = {}
    balance = [mpf(1)] * len(points)
    divisors = [mpf(1)] * len(points)

    def solve() -> list[Any]:
        """Fit all coefficients that are not known, and update the divisors."""
        unknown = [k for k in range(count) if k not in known]
        scales = [w * mp.sqrt(b) / d for w, b, d in zip(weights, balance, divisors, strict=True)]
        rows = [[row[k] * scale for k in unknown] for row, scale in zip(terms, scales, strict=True)]
        right = [
            (value - mp.fsum(row[k] * c for k, c in known.items())) * scale
            for value, row, scale in zip(values, terms, scales, strict=True)
        ]
        found = dict(zip(unknown, least_squares(rows, right), strict=True)) if unknown else {}
        coefficients = [mpf(known[k]) if k in known else found[k] for k in range(count)]
        divisors[:] = [1 + mp.fsum(c * x**k for k, c in enumerate(coefficients[above + 1 :], 1)) for x in points]
        return coefficients

    def errors(coefficients: list[Any]) -> list[Any]:
        return [
            abs(w * (mp.fsum(c * t for c, t in zip(coefficients, row, strict=True)) - value) / d)
            for w, row, value, d in zip(weights, terms, values, divisors, strict=True)
        ]

    best, kept = mp.inf, list(balance)
    for number in range(_ROUNDS):
        found = errors(solve())
        worst = max(found)
        if worst < best:
            best, kept = worst, list(balance)
        if number >= _SETTLED:
            balance = [max(b * e / worst, mpf(10) ** -12) for b, e in zip(balance, found, strict=True)]
            largest = max(balance)
            balance = [b / largest for b in balance]
    balance = kept
    coefficients = solve()
    known |= {k: _round(coefficients[k], bits) for k in range(above + 1, count)}
    solve()  # updates the divisors
    for k in reversed(range(above + 1)):
        known[k] = _round(solve()[k], bits)
    if bits == 24:
        arrays = (np.array([[float(v) for v in row] for row in rows]) for rows in (terms, [points, values, weights]))
        known = dict(enumerate(_move_last_digits([known[k] for k in range(count)], above, *arrays)))
    if min(known[k] for k in range(above + 1, count)) <= 0:
        raise ValueError(f"{record.what}: the divisor may have a zero; take other degrees")
    error = max(errors(solve()))
    return constant, tuple(known[k] for k in range(above + 1)), (1.0, *(known[k] for k in range(above + 1, count))), error


def _move_last_digits(coefficients: list[float], above: int, terms: Any, others: Any) -> list[float]:
    """Move float32 coefficients, two at a time, by their last digits for as long as that lowers the largest error."""
    points, values, weights = others

    def error(trial: Any) -> float:
        divisor = np.polynomial.polynomial.polyval(points, [1.0, *trial[above + 1 :]])
        return float(np.abs(weights * (terms @ trial - values) / divisor).max())

    best = np.array(coefficients)
    least, moved = error(best), True
    while moved:
        moved = False
        for (j, first), (k, second) in combinations(product(range(len(best)), (-2, -1, 0, 1, 2)), 2):
            trial = best.copy()
            trial[j] += first * float(np.spacing(np.float32(best[j])))
            trial[k] += second * float(np.spacing(np.float32(best[k])))
            if (size := error(trial)) < least:
                best, least, moved = trial, size, True
    return [float(value) for value in best]


_ROUNDS, _SETTLED = 20, 8


def generate() -> str:
    """Return the text of coefficients.py."""
    lines = [
        '"""Polynomial coefficients and constants, made by tools/fit_coefficients.py: do not edit.',
        "",
        "The key is the number of bits that the fit is for. The constant term comes first and is mostly not rounded: where it",
        "matters a kernel takes it in two pieces.",
        '"""',
        "",
        "from fractions import Fraction",
        "",
        "CONSTANTS = {",
    ]
    lines += [f'    "{name}": Fraction("{mp.nstr(value(), 50)}"),' for name, value in CONSTANTS.items()]
    lines += ["}", "", "# p and q with p/q a zero to nearly twice their digits: p - q*x is rounded once."]
    lines.append("ZEROS: dict[str, dict[int, tuple[float, float]]] = {")
    for name, zero in ZEROS.items():
        lines.append(f'    "{name}": {{')
        lines += [f"        {bits}: {split_off(zero, bits)!r}," for bits in (24, 40, 53)]
        lines.append("    },")
    lines += ["}", "", "COEFFICIENTS: dict[str, dict[int, tuple[Fraction | float, ...]]] = {"]
    for name, record in FITS.items():
        lines += [f"    # {record.what}", f'    "{name}": {{']
        for bits in record.degrees:
            coefficients, error = fit(record, bits)
            size = f"2^{float(mp.log(error, 2)):.1f}"
            print(f"{name:14s} {bits} bits, degree {record.degrees[bits]:2d}: error {size}", file=sys.stderr)
            lines.append(f"        {bits}: (  # largest relative error {size}")
            lines.append(f'            Fraction("{mp.nstr(coefficients[0], 40)}"),')
            lines += [f"            {coefficient!r}," for coefficient in coefficients[1:]]
            lines.append("        ),")
        lines.append("    },")
    lines += ["}", "", "# c, M and D of c + M(x)/D(x), the constant terms first."]
    lines.append("RATIONALS: dict[str, dict[int, tuple[Fraction, tuple[float, ...], tuple[float, ...]]]] = {")
    for name, rational in RATIONAL_FITS.items():
        lines += [f"    # {rational.what}", f'    "{name}": {{']
        for bits, degrees in rational.degrees.items():
            constant, dividend, divisor, error = fit_rational(rational, bits)
            size = f"2^{float(mp.log(error, 2)):.1f}"
            print(f"{name:14s} {bits} bits, degrees {degrees}: error {size}", file=sys.stderr)
            lines += [f"        {bits}: (  # largest relative error {size}", f"            {constant!r},"]
            for polynomial in (dividend, divisor):
                rows = [f"                {coefficient!r}," for coefficient in polynomial]
                lines += ["            (", *rows, "            ),"]
            lines.append("        ),")
        lines.append("    },")
    lines += ["}", ""]
    return "\n".join(lines)


def main() -> int:
    """Write the file, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if the file differs from a new fit")
    arguments = parser.parse_args()
    text = generate()
    if arguments.check:
        return int(TARGET.read_text() != text)
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
