"""Limits at infinity: followed to where they are, and taken by every kernel."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import nonlin as nl
from nonlin.formula import (
    Expression,
    Symbol,
    arctan,
    cos,
    erf,
    exp,
    log,
    maximum,
    minimum,
    normal_cdf,
    primitives as p,
    sigmoid,
    sin,
    sqrt,
    where,
)
from nonlin.formula.calculus import canonical
from nonlin.formula.limits import limit

INF, NONE = math.inf, math.nan

#: formula, limit at minus infinity, limit at infinity; NaN where there is none
LIMITS: dict[str, tuple[Callable[[Expression], Expression], float, float]] = {
    "exp(x)/x": (lambda x: exp(x) / x, 0, INF),
    "x^9 exp(-x)": (lambda x: x**9 * exp(-x), -INF, 0),
    "exp(-x)/exp(-2x)": (lambda x: exp(-x) / exp(-2 * x), 0, INF),
    "exp(x)*sigmoid(-x)": (lambda x: exp(x) * sigmoid(-x), 0, 1),
    "exp(x) - exp(2x)": (lambda x: exp(x) - exp(2 * x), 0, -INF),
    "softplus(x)/x": (lambda x: p.softplus(x) / x, 0, 1),
    "log(1 + exp(x))/log(1 + exp(2x))": (lambda x: log(1 + exp(x)) / log(1 + exp(2 * x)), INF, 0.5),
    "exp(exp(x))": (lambda x: exp(exp(x)), 1, INF),
    "log(x)": (lambda x: log(x), NONE, INF),
    "log(x)/x": (lambda x: log(x) / x, NONE, 0),
    "log(x)/sqrt(x)": (lambda x: log(x) / sqrt(x), NONE, 0),
    "x/log(x)^3": (lambda x: x / log(x) ** 3, NONE, INF),
    "1/log(|x|)": (lambda x: 1 / log(abs(x)), 0, 0),
    "log(log(1 + x^2))": (lambda x: log(log(1 + x**2)), INF, INF),
    "slope of maximum(x, 2x)": (lambda x: where(x > 2 * x, 1, 2), 1, 2),
    "minimum(x, x^2)": (lambda x: minimum(x, x**2), -INF, INF),
    "maximum(-x, x)/x": (lambda x: maximum(-x, x) / x, -1, 1),
    "sin(x)": (lambda x: sin(x), NONE, NONE),
    "x*cos(x)": (lambda x: x * cos(x), NONE, NONE),
    "sin(x)/x": (lambda x: sin(x) / x, 0, 0),
    "x + sin(x)": (lambda x: x + sin(x), -INF, INF),
    "cos(1/x)": (lambda x: cos(1 / x), 1, 1),
    "x*sin(1/x)": (lambda x: x * sin(1 / x), 1, 1),
    "x - sqrt(x^2 + 1)": (lambda x: x - sqrt(x**2 + 1), -INF, 0),
    "(x^2 + x)/(2x^2 + 1)": (lambda x: (x**2 + x) / (2 * x**2 + 1), 0.5, 0.5),
    "x^3 - x^2": (lambda x: x**3 - x**2, -INF, INF),
    "1 + 1/sqrt(x)": (lambda x: 1 + 1 / sqrt(x), NONE, 1),
    "x*normal_cdf(x)": (lambda x: x * normal_cdf(x), 0, INF),
    "arctan(x^3)": (lambda x: arctan(x**3), -math.pi / 2, math.pi / 2),
    "erf(x)/erf(2x)": (lambda x: erf(x) / erf(2 * x), 1, 1),
    "exp(-exp(-x))": (lambda x: exp(-exp(-x)), 0, 1),
    "x*exp(-exp(x))": (lambda x: x * exp(-exp(x)), -INF, 0),
    "tanh_shrink": (lambda x: p.tanh_shrink(x) - x, 1, -1),
    "x + 1e300": (lambda x: x + 10**300, -INF, INF),
    "minimum(x, 1e300)": (lambda x: minimum(x, 1e300), -INF, 1e300),
    "1e-300 x/(1 + 1e-250 |x|)": (lambda x: 1e-300 * x / (1 + 1e-250 * abs(x)), -1e-50, 1e-50),
    "x^1.5": (lambda x: x**1.5, NONE, INF),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_found(name: str) -> None:
    formula, *limits = LIMITS[name]
    for sign, want in zip((-1, 1), limits, strict=True):
        found = limit(canonical(formula(Symbol("x"))), sign)
        if math.isnan(want):
            assert found is None
        else:
            assert found is not None
            assert float(found) == pytest.approx(want, abs=1e-300)
            assert isinstance(found, Fraction if math.isfinite(want) else float)


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow)")
@pytest.mark.parametrize("precision", ["fast", "exact"])
@pytest.mark.parametrize("name", LIMITS)
def test_kernels_take_the_limits(name: str, precision: str) -> None:
    formula, *limits = LIMITS[name]
    made = nl.activation(formula, name="limited")
    with nl.precision(precision):
        for dtype in ["float32", "float64"] if precision == "fast" else ["float32"]:
            got = made(np.array([-np.inf, np.inf], dtype))
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(got, np.array(limits).astype(dtype))


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow)")
def test_at_other_parameters_it_is_their_limit() -> None:
    made = nl.activation(lambda x, a=1.0: exp(a * x) / x, name="limited")
    np.testing.assert_array_equal(made([-np.inf, np.inf], a=3.0), [0, np.inf])
    np.testing.assert_array_equal(made([-np.inf, np.inf], a=-3.0), [-np.inf, 0])
    tied = nl.activation(lambda x, a=2.0: maximum(x, a * x), name="tied")
    np.testing.assert_array_equal(tied.derivative([-np.inf, np.inf], a=5.0), [1, 5])
    np.testing.assert_array_equal(tied.derivative([-np.inf, np.inf], a=0.5), [0.5, 1])
