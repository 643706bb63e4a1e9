"""Fit the polynomials of src/nonlin/kernels/mathematics.py and write src/nonlin/kernels/coefficients.py.

Least squares fits on Chebyshev points in mpmath, one for each kind of lanes: 24 bits (float32), 40 bits (float32 results in
float64 lanes) and 53 bits (float64). Coefficients but the constant term are rounded from the lowest up, and the rest is fitted
again after each, so that a rounded coefficient's error is taken up by the next ones.

Run ``python tools/fit_coefficients.py`` (needs mpmath); ``--check`` only compares with the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp, mpf

TARGET = Path(__file__).resolve().parent.parent / "src" / "nonlin" / "kernels" / "coefficients.py"
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


def _near(t: Any) -> Any:
    return 2 * (1 + t) / (1 - t)


def _near_place(a: float) -> Any:
    return (mpf(a) - 2) / (mpf(a) + 2)


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
    "mills": Fit(
        "P(Z > a) = exp(-a^2/2)/(a + 2) p(t), t = (a - 2)/(a + 2), 0.75 <= a <= 9",
        lambda t: (_near(t) + 2) * _mills(_near(t)),
        (_near_place(0.73), _near_place(9)),
        lambda t: 1 / ((_near(t) + 2) * _mills(_near(t))),
        {24: 9, 40: 14, 53: 20},
    ),
    "gelu_tail": Fit(
        "a P(Z > a) = exp(-a^2/2) p(t), t = (a - 2)/(a + 2), 0.75 <= a <= 9",
        lambda t: _near(t) * _mills(_near(t)),
        (_near_place(0.73), _near_place(9)),
        lambda t: 1 / (_near(t) * _mills(_near(t))),
        {24: 9, 40: 15, 53: 21},
    ),
    "normal_centre": Fit(
        "P(Z < x) = 1/2 + x p(x^2), |x| <= 0.875",
        _power_series(lambda k: (-1) ** k / (mp.sqrt(2 * mp.pi) * mp.factorial(k) * (2 * k + 1) * 2**k)),
        (mpf(0), mpf("0.7657")),
        lambda z: _root(z) / (mp.erfc(_root(z / 2)) / 2),
        {24: 4, 40: 7, 53: 9},
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
CONSTANTS = {
    "log(2)": lambda: mp.log(2),
    "1/log(2)": lambda: 1 / mp.log(2),
    "pi": lambda: mp.pi,
    "sqrt(2)": lambda: mp.sqrt(2),
    "1/sqrt(2 pi)": lambda: 1 / mp.sqrt(2 * mp.pi),
}


def least_squares(rows: list[list[Any]], right: list[Any]) -> list[Any]:
    """Return the coefficients with the smallest sum of squared errors."""
    matrix = mp.matrix(rows)
    return list(mp.lu_solve(matrix.T * matrix, matrix.T * mp.matrix(right)))


def _round(value: Any, bits: int) -> float:
    return float(np.float32(float(value))) if bits == 24 else float(value)


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
        fixed.append(_round(best, bits) if done else best)
        remaining = [value - mpf(fixed[-1]) * row[done] for value, row in zip(remaining, rows, strict=True)]
    return tuple(fixed), max(abs(value) for value in remaining)


def generate() -> str:
    """Return the text of coefficients.py."""
    lines = [
        '"""Polynomial coefficients and constants, made by tools/fit_coefficients.py: do not edit.',
        "",
        "The key is the number of bits that the fit is for. The constant term comes first and is not rounded: where it",
        "matters a kernel takes it in two pieces.",
        '"""',
        "",
        "from fractions import Fraction",
        "",
        "CONSTANTS = {",
    ]
    lines += [f'    "{name}": Fraction("{mp.nstr(value(), 50)}"),' for name, value in CONSTANTS.items()]
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
