"""The rational family: its far form, limits and slopes, and the fit that its defaults come from."""

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import nonlin as nl
from entries import over_floats

NAMES = [*(f"a{k}" for k in range(6)), *(f"b{k}" for k in range(1, 5))]
DEFAULTS = {name: parameter.default for name, parameter in nl.rational.parameters.items()}
coefficient = st.floats(-4, 4).filter(lambda c: c == 0 or abs(c) > 1e-3)


def exact(x: float, **c: float) -> Fraction:
    """The definition in rational arithmetic."""
    at = Fraction(x)
    above, below = (sum(Fraction(c[f"{n}{k}"]) * at**k for k in ks) for n, ks in (("a", range(6)), ("b", range(1, 5))))
    return above / (1 + abs(below))


def rough(x: float, **c: float) -> float:
    """The size of the terms that the value is a sum of: what rounding errors are relative to."""
    return float(exact(abs(x), **{n: abs(v) if n[0] == "a" else 0 for n, v in c.items()}) / (1 + abs(below(x, **c))))


def below(x: float, **c: float) -> Fraction:
    return sum((Fraction(c[f"b{k}"]) * Fraction(x) ** k for k in range(1, 5)), Fraction(0))


@given(st.floats(-1e3, 1e3), st.lists(coefficient, min_size=10, max_size=10))
def test_it_is_the_fraction_of_the_paper(x: float, coefficients: list[float]) -> None:
    c = dict(zip(NAMES, coefficients, strict=True))
    # What the denominator loses in its own bars counts, too.
    terms = sum(abs(c[f"b{k}"]) * abs(x) ** k for k in range(1, 5)) / float(1 + abs(below(x, **c)))
    assert nl.rational(x, **c) == pytest.approx(float(exact(x, **c)), abs=4e-16 * rough(x, **c) * (1 + terms), rel=1e-15)


@pytest.mark.parametrize("x", [1.0, 30.0, 1e10, 1e62, 1e200, 1.7e308])
def test_it_does_not_overflow_far_out(x: float) -> None:
    for sign in (1, -1):
        want = exact(sign * x, **DEFAULTS)
        assert nl.rational(sign * x) == pytest.approx(float(want), rel=1e-15)
    assert np.isfinite(nl.rational(np.float32([3e38, -3e38]))).all()


def test_limits_at_infinity() -> None:
    slope = DEFAULTS["a5"] / DEFAULTS["b4"]
    ends = np.array([math.inf, -math.inf])
    assert nl.rational(ends).tolist() == [math.inf, -math.inf]
    assert nl.rational.derivative(ends).tolist() == pytest.approx([slope, slope])
    assert nl.rational.derivative(ends, order=2).tolist() == [0, 0]
    # Numerator and denominator of the same degree.
    assert nl.rational(ends, a5=0.0, a4=3.0, b4=-2.0).tolist() == [1.5, 1.5]
    assert nl.rational(ends, a5=-1.0).tolist() == [-math.inf, math.inf]
    assert math.isnan(nl.rational(math.nan))


def test_a_polynomial_is_right_as_far_as_it_goes() -> None:
    identity = dict.fromkeys(NAMES, 0.0) | {"a1": 1.0}
    x = np.array([-1e300, -5.0, 0.0, 1e12, 1e300])
    assert nl.rational(x, **identity).tolist() == x.tolist()
    assert nl.rational.derivative(x, **identity).tolist() == [1.0] * 5


@pytest.mark.parametrize("wrt", ["x", *NAMES])
def test_slopes(wrt: str) -> None:
    c = {
        "a0": 0.4,
        "a1": -1.2,
        "a2": 0.5,
        "a3": 0.8,
        "a4": -0.3,
        "a5": 0.7,
        "b1": 0.6,
        "b2": -1.1,
        "b3": 0.9,
        "b4": 0.2,
    }
    step = Fraction(1, 10**9)
    for x in (-7.0, -1.0, -0.3, 0.2, 1.0, 1.5, 40.0):
        ends = [{"x": Fraction(x), **c} for _ in "+-"]
        for end, sign in zip(ends, (1, -1), strict=True):
            end[wrt] = Fraction(end[wrt]) + sign * step
        up, down = (exact(**end) for end in ends)
        assert nl.rational.derivative(x, wrt=wrt, **c) == pytest.approx(float((up - down) / (2 * step)), rel=1e-11)


def test_at_zero_the_denominator_counts_as_positive() -> None:
    assert nl.rational.derivative(0.0, a0=2.0, a1=1.0, b1=0.5) == 1.0 - 2.0 * 0.5
    assert nl.rational.derivative(0.0, order=2) == pytest.approx(
        2 * (DEFAULTS["a2"] - DEFAULTS["a0"] * DEFAULTS["b2"]), rel=1e-15
    )
    # A denominator of 1 is not stuck there.
    flat = dict.fromkeys(("b1", "b2", "b3", "b4"), 0.0)
    assert nl.rational.derivative(2.0, wrt="b2", **flat) == pytest.approx(-4 * nl.rational(2.0, **flat))


@over_floats
def test_dtypes_are_kept(dtype: np.dtype[Any]) -> None:
    x = np.linspace(-3, 3, 25).astype(dtype)
    assert nl.rational(x).dtype == nl.rational.derivative(x, wrt="a3").dtype == dtype


def test_coefficients_broadcast() -> None:
    c = np.arange(3.0)[:, np.newaxis]
    assert nl.rational(np.ones(4), a0=c).shape == (3, 4)
    assert all(parameter.learnable for parameter in nl.rational.parameters.values())


# The fit


def test_the_defaults_are_the_fit_to_leaky_relu() -> None:
    fit = nl.fit_rational(nl.leaky_relu)
    assert list(fit) == NAMES == list(nl.rational.parameters)
    assert fit == pytest.approx(DEFAULTS, rel=1e-5, abs=1e-6)
    # The authors' own: ml-research/pau on GitHub, pade_optimized_leakyrelu.
    published = [3.35583603e-02, 5.05000375e-01, 1.65343934, 2.01001052, 9.31901999e-01, 1.52424124e-01]
    published += [3.30847488e-06, 3.98021568, 5.12471206e-07, 3.01830109e-01]
    assert list(fit.values()) == pytest.approx(published, rel=2e-5, abs=4e-6)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("relu", 6e-3), ("elu", 4e-5), ("gelu", 4e-4), ("silu", 4e-7), ("tanh", 2e-6), ("sigmoid", 2e-8),
        ("mish", 1e-4), ("sin", 3e-6), ("identity", 1e-15), ("abs", 2e-2),
    ],
)  # fmt: skip
def test_every_shape_can_be_started_from(name: str, error: float) -> None:
    x = np.linspace(-3, 3, 1001)
    fit = nl.fit_rational(name)
    off = nl.rational(x, **fit) - nl.activations[name](x)
    assert np.sqrt(np.mean(off**2)) <= error


def test_a_fit_scales_with_its_interval() -> None:
    narrow, wide = nl.fit_rational(np.abs, (-1, 1)), nl.fit_rational(np.abs, (-10, 10))
    assert nl.rational(5.0, **wide) == pytest.approx(10 * nl.rational(0.5, **narrow), rel=1e-6)
    assert (wide["a1"], wide["a3"], wide["a5"], wide["b1"], wide["b3"]) == (0, 0, 0, 0, 0)
    assert nl.rational(math.inf, **wide) == pytest.approx(wide["a4"] / wide["b4"])


def test_an_interval_on_one_side() -> None:
    fit = nl.fit_rational(np.exp, (0.5, 2.0))
    assert nl.rational(1.0, **fit) == pytest.approx(math.e, rel=1e-6)
    assert set(nl.fit_rational("relu", (-3, -1)).values()) == {0.0}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            lambda: nl.fit_rational("relu", (1, 1)),
            "interval must be two finite numbers, the smaller one first, got (1, 1)",
        ),
        (lambda: nl.fit_rational("relu", (0, math.inf)), "interval must be two finite numbers"),
        (lambda: nl.fit_rational(np.log, (1, math.nan)), "interval must be two finite numbers"),
        (lambda: nl.fit_rational(lambda x: x * math.nan), "must give a finite number everywhere in (-3.0, 3.0)"),
        (lambda: nl.fit_rational(lambda x: x.sum()), "must give a finite number everywhere in (-3.0, 3.0)"),
    ],
)
def test_errors_say_what_is_wrong(wrong: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        wrong()
