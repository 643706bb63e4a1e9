"""Which arithmetic computes a formula fast enough and well enough: measured on the formula itself before it is compiled.

float32 arithmetic is fastest; keeping what every operation rounds away costs about half as much again, float64 lanes nearly
three times as much. The cheapest that holds the promised accuracy on a sample of inputs is taken, so that the promise covers
formulas nobody has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt

from nonlin.formula.expression import Expression, symbols
from nonlin.kernels.lowering import interpret, lower
from nonlin.kernels.number import COMPENSATED, DOUBLE, EXACT, SINGLE, Lanes

Array = npt.NDArray[np.float64]

#: The promise is 2 ulp for all inputs; the worst of a sample is a little better than the worst of all.
_SAMPLE_ULPS = 1.5
#: Next to a zero of the function terms cancel, and the promise is an absolute error instead: 2.5e-7 for all inputs.
_NEAR_ZERO_ERROR = 1.2e-7
_NEAR_ZERO = 2.0
_TOUCHING = 1e-3
#: A float16 result is rounded from float32: 40 of float32's ulps are 0.005 of its own.
_HALF_ULPS = 40.0


def _float32_sample() -> Array:
    ordinary, large = np.geomspace(1e-6, 200, 700), np.geomspace(200, 3e4, 300)
    sizes = np.concatenate([[3e-44, 8.6e-41, 1e-38, 1e-30], ordinary, large, np.geomspace(3e4, 3e38, 100)])
    sample = np.concatenate([sizes, -sizes, np.linspace(-12, 12, 1201), np.linspace(-150, 150, 801)])
    return np.unique(sample.astype(np.float32)).astype(np.float64)


def _float16_sample() -> Array:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    dense = np.abs(every[np.isfinite(every)]) >= 2**-4
    finite = every[np.isfinite(every)].astype(np.float64)
    return np.unique(np.concatenate([finite[dense & (np.abs(finite) <= 16)], finite[::37]]))


def find_zeros(x: Array, y: Array) -> Array:
    """Return about where a function, sampled at sorted points, crosses or touches zero, between -inf and inf.

    The zero at the origin does not count: no terms cancel where a function is small because its argument is.
    """
    known = np.flatnonzero(y != 0)
    x_known, y_known = x[known], y[known]
    crossed = (np.sign(y_known[:-1]) != np.sign(y_known[1:])) & (np.sign(x_known[:-1]) == np.sign(x_known[1:]))
    # Touched: small, and much larger on both sides.
    size = np.abs(y_known)
    left, right = (size[np.searchsorted(x_known, x_known + step).clip(0, len(size) - 1)] for step in (-1, 1))
    touched = (size < _TOUCHING) & (4 * size < left) & (4 * size < right) & (np.abs(x_known) > 0.1)
    return np.sort(np.concatenate([[-np.inf, np.inf], x_known[:-1][crossed], x_known[touched]]))


def near_zeros(x: Array, zeros: Array) -> npt.NDArray[np.bool_]:
    """Mark the points that lie within 2 of one of the zeros."""
    following = np.searchsorted(zeros, x).clip(1, len(zeros) - 1)
    return np.asarray(np.minimum(x - zeros[following - 1], zeros[following] - x) <= _NEAR_ZERO)


def _float32_ulp(y: Array) -> Array:
    exponent = np.maximum(np.frexp(y)[1] - 1, -126)
    return np.asarray(np.ldexp(1.0, exponent - 23))


@cache
def choose_lanes(formula: Expression, names: tuple[str, ...], typical: tuple[float, ...], *, for_half: bool = False) -> Lanes:
    """Choose the lanes for a float32 loop, or for a float16 or bfloat16 one, at usual values of the other operands.

    Parameters
    ----------
    formula : Expression
        In canonical form.
    names : tuple of str
        Symbols besides x.
    typical : tuple of float
        Their values.
    for_half : bool
        Whether results are rounded to 16 bits.
    """
    if "x" not in symbols(formula):
        return SINGLE
    parameters: Mapping[str, float] = dict(zip(names, typical, strict=True))
    x = _float16_sample() if for_half else _float32_sample()
    values = {"x": x, **{n: np.full(x.shape, np.float32(v), np.float64) for n, v in parameters.items()}}
    exact = np.broadcast_to(interpret(lower(formula, EXACT, parameters), "float64", values), x.shape)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    near = np.zeros(x.shape, bool) if for_half else near_zeros(x, find_zeros(x, exact))
    for lanes in (SINGLE, COMPENSATED):
        got = np.broadcast_to(interpret(lower(formula, lanes, parameters), "float32", values), x.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(got.astype(np.float64) - exact)
            ulps = np.where(got == rounded, 0, error / _float32_ulp(exact))
        allowed = _HALF_ULPS if for_half else np.where(near & (error <= _NEAR_ZERO_ERROR), np.inf, _SAMPLE_ULPS)
        if ((ulps <= allowed) | (np.isnan(got) & np.isnan(exact))).all():
            return lanes
    return EXACT


@cache
def choose_exact_lanes(formula: Expression, names: tuple[str, ...], typical: tuple[float, ...]) -> Lanes:
    """Choose float64 lanes for a float32 loop: next to a zero, where terms cancel, only compensated ones are right enough."""
    if "x" not in symbols(formula):
        return EXACT
    x = _float32_sample()
    parameters = dict(zip(names, typical, strict=True))
    values = {"x": x, **{n: np.full(x.shape, v) for n, v in parameters.items()}}
    results = np.broadcast_to(interpret(lower(formula, EXACT, parameters), "float64", values), x.shape)
    return DOUBLE if len(find_zeros(x, results)) > 2 else EXACT
