"""Facts: known values to many digits, and every fact of every activation against samples, the oracle or SciPy."""

import math
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.integrate import quad

import nonlin as nl
from entries import over_entries
from nonlin.facts import Facts, facts_of
from nonlin.facts.records import Places
from nonlin.formula import (
    Constant,
    Symbol,
    absolute,
    cos,
    exp,
    log,
    maximum,
    sign,
    sin,
    softplus,
    sqrt,
    tanh,
    where,
)
from oracle import ORACLE, resolve, value

x = Symbol("x")
INF = math.inf
EPSILON = np.finfo(float).eps


def required(name: str) -> Mapping[str, float]:
    return ORACLE[name].required


def facts(name: str, **parameters: float) -> Facts:
    return nl.activations[name].with_(**{**required(name), **parameters}).facts


def sampled(name: str, order: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points all over the line, and the values there as the kernel computes them."""
    steps = np.concatenate([np.logspace(-9, 1.5, 2000), np.logspace(1.5, 300, 500)])
    kinks = [math.nextafter(float(kink.x), way) for kink in facts(name).kinks for way in (-INF, INF)]
    points = np.unique(np.concatenate([-steps, [0.0], steps, np.linspace(-12, 12, 4001), kinks]))
    with np.errstate(all="ignore"):
        return points, nl.activations[name].derivative(points, order=order, **required(name))


def digits(value: Any, count: int = 18) -> str:
    return str(mp.nstr(value, count))


# Minima, maxima and other places


def omega() -> mpf:
    return mp.lambertw(1).real


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("gelu", "-0.751791524693564457"),
        ("silu", "-1.278464542761073795"),
        ("mish", "-1.192431214515495212"),
        ("hard_swish", "-1.5"),
        ("hard_mish", "-1"),
        ("relu", "0"),
        ("abs", "0"),
        ("hard_tanh", "-1"),
    ],
)
def test_minima(name: str, place: str) -> None:
    minimum = facts(name).minimum
    assert minimum.attained
    with mp.workdps(40):
        assert abs(minimum.x - mpf(place)) < 5e-19
    assert abs(minimum.value - value(name, minimum.x)) < 1e-35


def test_minima_with_closed_forms() -> None:
    with mp.workdps(40):
        root = mp.sqrt(2) - 1
        for name, place, lowest in (
            ("elish", mp.log(root), 2 * mp.sqrt(2) - 3),
            ("golu", -omega(), -omega() * mp.exp(-1 / omega())),
            ("quick_gelu", facts("silu").minimum.x / mpf("1.702"), facts("silu").minimum.value / mpf("1.702")),
            ("xielu", mp.log(mpf(3) / 8), mpf("0.8") * (mpf(3) / 8 - 1 - mp.log(mpf(3) / 8)) + mp.log(mpf(3) / 8) / 2),
        ):
            minimum = facts(name).minimum
            assert abs(minimum.x - place) < 1e-38, name
            assert abs(minimum.value - lowest) < 1e-38, name


def test_the_values_of_minimum_and_maximum_are_taken() -> None:
    assert facts("gaussian").maximum.value == 1
    assert facts("gaussian").minimum is None
    assert str(facts("gaussian").range) == "(0, 1]"
    assert facts("relu6").maximum.where.intervals[0].low == 6
    assert str(facts("relu6").maximum) == "6 at [6, inf)"
    assert facts("sigmoid").minimum is facts("sigmoid").maximum is None


@over_entries
def test_range_holds_all_values_and_no_more(name: str) -> None:
    _, values = sampled(name)
    bounds = facts(name).range
    assert np.all(values >= bounds.infimum - 4 * EPSILON * abs(bounds.infimum))
    assert np.all(values <= bounds.supremum + 4 * EPSILON * abs(bounds.supremum))
    for bound, reached in ((bounds.infimum, np.min(values)), (bounds.supremum, np.max(values))):
        assert abs(reached) > 1e100 if math.isinf(bound) else abs(reached - bound) < 1e-4
    assert facts(name).bounded == (np.max(np.abs(values)) < 1e100)


@over_entries
def test_extremes_are_attained_where_it_is_said(name: str) -> None:
    for extreme in (facts(name).minimum, facts(name).maximum):
        if extreme is not None:
            taken = nl.activations[name](float(extreme.x), **required(name))
            assert taken == pytest.approx(float(extreme.value), rel=1e-14, abs=1e-15)


@over_entries
def test_zeros_are_all_that_is_zero(name: str) -> None:
    zeros = facts(name).zeros
    for zero in map(float, zeros.points):
        assert abs(nl.activations[name](zero, **required(name))) <= 1e-14
    points, values = sampled(name)
    near = np.abs(points) < 12 if zeros.endless else np.abs(points) < INF
    inside = np.zeros(points.shape, bool)
    for interval in zeros.intervals:
        inside |= (points > float(interval.low)) & (points < float(interval.high))
    assert not np.any(values[inside])
    edges = [*zeros.points, *(end for i in zeros.intervals for end in (i.low, i.high))]
    away = np.all([np.abs(points - float(edge)) > 1e-9 for edge in edges] or [near], axis=0)
    lost = (np.abs(points) > 6) | (np.abs(points) < 1e-300)  # where a gate or a product underflows
    assert np.all(values[~inside & away & near & ~lost])


@pytest.mark.parametrize(
    ("name", "zeros"),
    [
        ("relu", "(-inf, 0]"),
        ("relu6", "(-inf, 0]"),
        ("hard_shrink", "[-0.5, 0.5]"),
        ("hard_swish", "(-inf, -3], 0"),
        ("sigmoid", "nowhere"),
        ("softplus", "nowhere"),
        ("threshold", "nowhere"),
        ("star_relu", "0.707107"),
        ("sin", "-3.14159, 0, 3.14159, ... (infinitely many)"),
        ("gcu", "-1.5708, 0, 1.5708, ... (infinitely many)"),
        ("snake", "0"),
    ],
)
def test_zeros(name: str, zeros: str) -> None:
    assert str(facts(name).zeros) == zeros
    assert bool(facts(name).zeros) == (zeros != "nowhere")


def test_endless_places_are_those_around_zero() -> None:
    assert len(facts("sin").zeros.points) == 9
    with mp.workdps(40):
        assert all(abs(zero / mp.pi - round(zero / mp.pi)) < 1e-38 for zero in facts("sin").zeros.points)
        assert abs(facts("sin").maximum.x - mp.pi / 2) < 1e-38


def test_fixed_points() -> None:
    assert str(facts("relu").fixed_points) == "[0, inf)"
    assert str(facts("relu_squared").fixed_points) == "0, 1"
    assert str(facts("tanh").fixed_points) == "0"
    assert str(facts("squareplus").fixed_points) == "nowhere"
    assert digits(facts_of(cos(x)).fixed_points.points[0]) == "0.739085133215160642"
    assert abs(facts_of(exp(-x)).fixed_points.points[0] - omega()) < 1e-15


# Shape: monotone, convexity, symmetry, smoothness, whether the output tells the slope, whether piecewise linear

UP, STRICT = "increasing", "strictly increasing"
SMOOTH = "C-infinity"
SHAPES = {
    "relu": (UP, "convex", None, "C0", True, True),
    "leaky_relu": (STRICT, "convex", None, "C0", True, True),
    "prelu": (STRICT, "convex", None, "C0", True, True),
    "rrelu": (STRICT, "convex", None, "C0", True, True),
    "relu6": (UP, None, None, "C0", True, True),
    "clipped_relu": (UP, None, None, "C0", True, True),
    "thresholded_relu": (UP, None, None, "discontinuous", True, True),
    "threshold": (UP, None, None, "discontinuous", True, True),
    "relu_squared": (UP, "convex", None, "C1", True, False),
    "star_relu": (UP, "convex", None, "C1", True, False),
    "abs": (None, "convex", "even", "C0", False, True),
    "hard_tanh": (UP, None, "odd", "C0", True, True),
    "step": (UP, None, None, "discontinuous", True, True),
    "softplus": (STRICT, "convex", None, SMOOTH, True, False),
    "squareplus": (STRICT, "convex", None, SMOOTH, True, False),
    "smelu": (UP, "convex", None, "C1", True, False),
    "sparse_plus": (UP, "convex", None, "C1", True, False),
    "elu": (STRICT, "convex", None, "C1", True, False),
    "celu": (STRICT, "convex", None, "C1", True, False),
    "selu": (STRICT, None, None, "C0", True, False),
    "isrlu": (STRICT, "convex", None, "C2", True, False),
    "log_sigmoid": (STRICT, "concave", None, SMOOTH, True, False),
    "sqrt_softplus": (STRICT, None, None, SMOOTH, True, False),
    "gelu": (None, None, None, SMOOTH, False, False),
    "gelu_tanh": (None, None, None, SMOOTH, False, False),
    "quick_gelu": (None, None, None, SMOOTH, False, False),
    "silu": (None, None, None, SMOOTH, False, False),
    "swish": (None, None, None, SMOOTH, False, False),
    "mish": (None, None, None, SMOOTH, False, False),
    "hard_swish": (None, None, None, "C0", False, False),
    "hard_mish": (None, None, None, "C0", False, False),
    "telu": (None, None, None, SMOOTH, False, False),
    "golu": (None, None, None, SMOOTH, False, False),
    "serf": (None, None, None, SMOOTH, False, False),
    "elish": (None, None, None, "C1", False, False),
    "lisht": (None, None, "even", SMOOTH, False, False),
    "laplace": (STRICT, None, None, SMOOTH, True, False),
    # At 0 it jumps by alpha_n*(eps - expm1(eps)) + ..., 8e-7 by default: as published.
    "xielu": (None, None, None, "discontinuous", False, False),
    "softcap": (STRICT, None, "odd", SMOOTH, True, False),
    "sigmoid": (STRICT, None, None, SMOOTH, True, False),
    "hard_sigmoid": (UP, None, None, "C0", True, True),
    "tanh": (STRICT, None, "odd", SMOOTH, True, False),
    "arctan": (STRICT, None, "odd", SMOOTH, True, False),
    "erf": (STRICT, None, "odd", SMOOTH, True, False),
    "sin": (None, None, "odd", SMOOTH, False, False),
    "gaussian": (None, None, "even", SMOOTH, False, False),
    "identity": (STRICT, "linear", "odd", SMOOTH, True, True),
    "softsign": (STRICT, None, "odd", "C1", True, False),
    "sparse_sigmoid": (UP, None, None, "C0", True, True),
    "dyt": (STRICT, None, "odd", SMOOTH, True, False),
    "tanh_shrink": (STRICT, None, "odd", SMOOTH, True, False),
    "hard_shrink": (UP, None, "odd", "discontinuous", True, True),
    "soft_shrink": (UP, None, "odd", "C0", True, True),
    "snake": (STRICT, None, None, SMOOTH, True, False),
    "snake_beta": (STRICT, None, None, SMOOTH, True, False),
    "gcu": (None, None, "odd", SMOOTH, False, False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape(name: str) -> None:
    f = facts(name)
    found = (f.monotone, f.convexity, f.symmetry, f.smoothness, f.derivative_from_output, f.piecewise_linear)
    assert found == SHAPES[name]
    assert f.continuous == (f.smoothness != "discontinuous")


@pytest.mark.parametrize(
    ("name", "parameters", "monotone", "convexity", "smoothness"),
    [
        ("elu", {"alpha": 2.0}, STRICT, None, "C0"),
        ("elu", {"alpha": 0.0}, UP, "convex", "C0"),
        ("celu", {"alpha": -1.0}, STRICT, "concave", "C1"),
        ("leaky_relu", {"negative_slope": 2.0}, STRICT, "concave", "C0"),
        ("leaky_relu", {"negative_slope": -0.5}, None, "convex", "C0"),
        ("leaky_relu", {"negative_slope": 1.0}, STRICT, "linear", SMOOTH),
        ("swish", {"beta": 0.0}, STRICT, "linear", SMOOTH),
        ("swish", {"beta": -1.0}, None, None, SMOOTH),
        ("dyt", {"scale": -2.0, "shift": 1.0}, "strictly decreasing", None, SMOOTH),
        ("dyt", {"scale": 0.0}, "constant", "linear", SMOOTH),
        ("sin", {"omega": 0.0}, "constant", "linear", SMOOTH),
        # The slope is 1 + alpha/beta*sin(2*alpha*x): from 1 on it touches zero, and beyond it passes.
        ("snake_beta", {"alpha": 1.0, "beta": 1.001}, STRICT, None, SMOOTH),
        ("snake_beta", {"alpha": 1.001, "beta": 1.0}, None, None, SMOOTH),
        ("soft_shrink", {"lambd": 0.0}, STRICT, "linear", SMOOTH),
        ("hard_shrink", {"lambd": 0.0}, STRICT, "linear", SMOOTH),
        ("clipped_relu", {"max_value": 0.0}, "constant", "linear", SMOOTH),
    ],
)
def test_shape_depends_on_parameters(
    name: str, parameters: dict[str, float], monotone: str | None, convexity: str | None, smoothness: str
) -> None:
    f = facts(name, **parameters)
    assert (f.monotone, f.convexity, f.smoothness) == (monotone, convexity, smoothness)


@over_entries
def test_monotone_agrees_with_samples(name: str) -> None:
    _, values = sampled(name)
    rounding = 4 * EPSILON * np.abs(values[1:])
    with np.errstate(invalid="ignore"):
        steps = np.diff(values)
    rises, falls = np.any(steps > rounding), np.any(steps < -rounding)
    monotone = facts(name).monotone
    assert (rises, falls) == (
        (True, True) if monotone is None else (monotone.endswith("increasing"), monotone.endswith("decreasing"))
    )


@over_entries
def test_kinks_are_those_of_the_oracle(name: str) -> None:
    kinks = [kink for kink in facts(name).kinks if kink.order <= 2]
    expected = ORACLE[name].kinks(resolve(name, required(name)))
    assert [float(kink.x) for kink in kinks] == pytest.approx(sorted(map(float, expected)), rel=1e-15)


@pytest.mark.parametrize(
    ("name", "kinks"),
    [
        ("relu", ["slope jumps from 0 to 1 at 0"]),
        ("step", ["value jumps from 0 to 1 at 0"]),
        ("selu", ["slope jumps from 1.7581 to 1.0507 at 0"]),
        ("softsign", ["second derivative jumps from 2 to -2 at 0"]),
        ("isrlu", ["third derivative jumps from -3 to 0 at 0"]),
        ("hard_swish", ["slope jumps from 0 to -0.5 at -3", "slope jumps from 1.5 to 1 at 3"]),
        ("elish", ["second derivative jumps from 1 to 0.5 at 0"]),
        ("hard_shrink", ["value jumps from -0.5 to 0 at -0.5", "value jumps from 0 to 0.5 at 0.5"]),
        ("xielu", ["slope jumps from 0.499999 to -0.3 at -1e-06", "value jumps from -8e-07 to 0 at 0"]),
        ("gelu", []),
    ],
)
def test_kinks(name: str, kinks: list[str]) -> None:
    assert list(map(str, facts(name).kinks)) == kinks


def test_period() -> None:
    assert facts("sin").period == 2 * math.pi
    assert facts("sin", omega=30.0).period == pytest.approx(math.pi / 15, rel=1e-15)
    assert facts_of(sin(x) ** 2).period == math.pi
    assert facts_of(sin(2 * x) + sin(3 * x)).period == 2 * math.pi
    assert facts("snake").period is facts("gcu").period is facts("tanh").period is None


# Ends and slopes


@over_entries
@pytest.mark.parametrize("order", [0, 1])
def test_limits_are_those_of_the_oracle(name: str, order: int) -> None:
    limits = facts(name).slope_limits if order else facts(name).limits
    parameters = resolve(name, required(name))
    for found, side in ((limits.left, -1), (limits.right, 1)):
        expected = ORACLE[name].limits(order, side, parameters)
        assert found == (None if expected is None else float(expected))


@over_entries
def test_lipschitz_bounds_the_slope_and_no_more(name: str) -> None:
    _, slopes = sampled(name, 1)
    f = facts(name)
    steepest = float(f.steepest.value)
    assert np.all(np.abs(slopes) <= steepest * (1 + 4 * EPSILON))
    assert np.max(np.abs(slopes)) >= (1e100 if math.isinf(steepest) else steepest * (1 - 1e-5))
    assert f.lipschitz == (steepest if f.continuous else INF)
    if f.steepest.attained:
        slope = nl.activations[name].derivative(float(f.steepest.x), **required(name))
        assert abs(slope) == pytest.approx(steepest, rel=1e-13)


LIPSCHITZ = {
    "gelu": lambda: mp.ncdf(mp.sqrt(2)) + mp.sqrt(2) * mp.npdf(mp.sqrt(2)),
    "sigmoid": lambda: mpf(1) / 4,
    "tanh": lambda: 1,
    "softplus": lambda: 1,
    "erf": lambda: 2 / mp.sqrt(mp.pi),
    "gaussian": lambda: mp.sqrt(2 / mp.e),
    "lisht": lambda: mp.findroot(lambda t: t * mp.tanh(t) - 1, 1.2),
    "laplace": lambda: 1 / (mpf("0.282095") * mp.sqrt(2 * mp.pi)),
    "selu": lambda: mpf("1.0507009873554804934193349852946") * mpf("1.6732632423543772848170429916717"),
    "hard_swish": lambda: mpf(3) / 2,
    "snake": lambda: 2,
    "relu": lambda: 1,
    "relu_squared": lambda: mp.inf,
    "gcu": lambda: mp.inf,
    "step": lambda: mp.inf,
}


@pytest.mark.parametrize("name", LIPSCHITZ)
def test_lipschitz(name: str) -> None:
    with mp.workdps(40):
        assert facts(name).lipschitz == pytest.approx(float(LIPSCHITZ[name]()), rel=2 * EPSILON)


def test_steepest() -> None:
    with mp.workdps(40):
        assert abs(facts("gelu").steepest.x - mp.sqrt(2)) < 1e-38
    assert str(facts("gaussian").steepest.where) == "-0.707107, 0.707107"
    assert str(facts("relu").steepest) == "1 at (0, inf)"
    assert str(facts("softplus").steepest) == "1 approached at inf"
    assert facts("softplus").steepest.x == INF
    assert str(facts("hard_swish").steepest) == "1.5 approached at 3"


def test_saturation() -> None:
    assert facts("tanh").saturates == (True, True)
    assert facts("relu").saturates == (True, False)
    assert facts("log_sigmoid").saturates == (False, True)
    assert facts("sqrt_softplus").saturates == (True, False)  # its slope falls to 0 on the right too
    assert facts("sin").saturates == facts("identity").saturates == (False, False)


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("tanh", (-math.atanh(math.sqrt(0.95)), math.atanh(math.sqrt(0.95)))),
        ("sigmoid", (-2 * math.atanh(math.sqrt(0.95)), 2 * math.atanh(math.sqrt(0.95)))),
        ("relu", (0, None)),
        ("relu6", (0, 6)),
        ("elu", (math.log(0.05), None)),
        ("identity", (None, None)),
        ("sin", (None, None)),
        # The slope is unbounded: measured against its root mean square, sqrt(2).
        ("relu_squared", (0.05 * math.sqrt(0.5), None)),
        ("step", (INF, -INF)),
    ],
)
def test_where_it_is_saturated(name: str, ends: tuple[float | None, float | None]) -> None:
    for found, end in zip(facts(name).saturation(), ends, strict=True):
        assert found is None if end is None else found == pytest.approx(end, rel=1e-15)


def test_another_level_of_saturation() -> None:
    assert facts("tanh").saturation(0.5)[1] == pytest.approx(math.atanh(math.sqrt(0.5)), rel=1e-15)


# Under a standard normal


@over_entries
@pytest.mark.parametrize("order", [0, 1])
def test_moments_agree_with_scipy(name: str, order: int) -> None:
    kinks = [float(kink.x) for kink in facts(name).kinks]
    edges = [-10.0, *kinks, 10.0]

    def computed(z: float) -> float:
        return float(nl.activations[name].derivative(z, order=order, **required(name)))

    for power in (1, 2):
        parts = [
            quad(
                lambda z, power=power: computed(z) ** power * math.exp(-z * z / 2),
                a,
                b,
                epsabs=1e-12,
                epsrel=1e-12,
                limit=200,
            )[0]
            for a, b in pairwise(edges)
        ]
        expected = sum(parts) / math.sqrt(2 * math.pi)
        assert facts(name).moment(power, order) == pytest.approx(expected, rel=1e-9, abs=1e-11)


def normal(bound: float) -> mpf:
    return mp.ncdf(bound)


MEANS = {  # mean and mean square
    "relu": lambda: (1 / mp.sqrt(2 * mp.pi), mpf(1) / 2),
    "abs": lambda: (mp.sqrt(2 / mp.pi), 1),
    "step": lambda: (mpf(1) / 2, mpf(1) / 2),
    "relu_squared": lambda: (mpf(1) / 2, mpf(3) / 2),
    "identity": lambda: (0, 1),
    "gaussian": lambda: (1 / mp.sqrt(3), 1 / mp.sqrt(5)),
    "sin": lambda: (0, (1 - mp.exp(-2)) / 2),
    "erf": lambda: (0, 2 / mp.pi * mp.asin(mpf(2) / 3)),
    "selu": lambda: (0, 1),
    "gelu": lambda: (1 / mp.sqrt(4 * mp.pi), mpf(1) / 3 + 1 / (2 * mp.pi * mp.sqrt(3))),
    "hard_tanh": lambda: (0, (2 * normal(1) - 1) - 2 * mp.npdf(1) + 2 * normal(-1)),
    "snake": lambda: ((1 - mp.exp(-2)) / 2, 1 + mpf(3) / 8 - mp.exp(-2) / 2 + mp.exp(-8) / 8),
}


@pytest.mark.parametrize("name", MEANS)
def test_mean_variance_and_gains(name: str) -> None:
    f = facts(name)
    with mp.workdps(40):
        mean, square = MEANS[name]()
        for found, expected in (
            (f.mean, mean),
            (f.second_moment, square),
            (f.variance, square - mean**2),
            (f.gain, 1 / mp.sqrt(square)),
            (f.centred_gain, 1 / mp.sqrt(square - mean**2)),
        ):
            assert found == pytest.approx(float(expected), rel=4 * EPSILON, abs=1e-28)


def test_gains_of_relu_and_selu() -> None:
    assert facts("relu").gain == pytest.approx(math.sqrt(2), rel=2 * EPSILON)
    assert (facts("selu").mean, facts("selu").variance) == pytest.approx((0, 1), abs=1e-28)


@pytest.mark.parametrize("q", [1e-4, 0.1, 1.0, 4.0, 100.0, 1e8])
def test_mean_squares_of_erf_at_every_scale(q: float) -> None:
    with mp.workdps(40):
        scale = mpf(math.sqrt(q))
        square, slope = 2 / mp.pi * mp.asin(2 * scale**2 / (1 + 2 * scale**2)), 4 / (mp.pi * mp.sqrt(1 + 4 * scale**2))
        assert facts("erf").moment(2, 0, float(scale)) == pytest.approx(float(square), rel=4 * EPSILON)
        assert facts("erf").moment(2, 1, float(scale)) == pytest.approx(float(slope), rel=4 * EPSILON)


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 50.0])
def test_means_at_every_scale(scale: float) -> None:
    with mp.workdps(40):
        s = mpf(scale)
        for name, power, order, expected in (
            ("gelu", 1, 0, s**2 / mp.sqrt(2 * mp.pi * (1 + s**2))),
            ("gelu", 1, 1, mpf(1) / 2),
            ("relu", 2, 0, s**2 / 2),
            ("relu", 4, 0, 3 * s**4 / 2),
            ("sin", 2, 0, (1 - mp.exp(-2 * s**2)) / 2),
            ("hard_tanh", 2, 1, 2 * normal(1 / s) - 1),
        ):
            found = facts(name).moment(power, order, scale)
            assert found == pytest.approx(float(expected), rel=4 * EPSILON), name
    assert facts("gelu").moment(1, 0, -scale) == facts("gelu").moment(1, 0, scale)


def test_moments_without_spread() -> None:
    assert facts("sigmoid").moment(2, 0, 0.0) == 0.25
    assert facts("sigmoid").moment(1, 1, 0.0) == 0.25


def test_slopes_under_a_normal() -> None:
    assert (facts("relu").slope_mean, facts("relu").slope_second_moment) == (0.5, 0.5)
    assert facts("step").slope_mean == facts("step").slope_second_moment == 0
    with mp.workdps(40):
        scale, alpha = (mpf(q) for q in ("1.0507009873554804934193349852946", "1.6732632423543772848170429916717"))
        jacobian = scale**2 * (mpf(1) / 2 + alpha**2 * mp.exp(2) * normal(-2))
        assert facts("selu").slope_second_moment == pytest.approx(float(jacobian), rel=2 * EPSILON)


# A user's own formula


def test_facts_of_a_users_own_activation(registry: object) -> None:
    @nl.activation
    def landing(x, height=2.0):
        return nl.where(x > 1, height * x - 1, x**2)

    assert landing.facts is landing.facts
    assert str(landing.facts.minimum) == "0 at 0"
    assert landing.facts.smoothness == "C1"
    assert str(landing.facts.kinks[0]) == "second derivative jumps from 2 to 0 at 1"
    assert landing.facts.convexity == "convex"
    assert landing.facts.derivative_from_output is False
    steeper = landing.with_(height=3.0).facts
    assert str(steeper.kinks[0]) == "value jumps from 1 to 2 at 1"
    assert steeper.lipschitz == INF


OWN = {
    "a pole": (1 / x, {"range": "(-inf, inf)", "limits": "0 at -inf, 0 at inf", "symmetry": "odd", "monotone": "none"}),
    "a pole that is not there": (
        sin(x) / x,
        {"range": "[-0.217234, 1)", "kinks": "value is not its limit 1 at 0", "symmetry": "even"},
    ),
    "half a line": (
        log(x),
        {
            "range": "(-inf, inf)",
            "limits": "none at -inf, inf at inf",
            "zeros": "1",
            "convexity": "concave",
            "mean": "nan",
        },
    ),
    "the other half": (sqrt(x), {"minimum": "0 at 0", "lipschitz": "inf", "monotone": "strictly increasing"}),
    "a vertical slope": (
        sqrt(maximum(x, 0)),
        {"kinks": "slope jumps from 0 to inf at 0", "smoothness": "C0", "saturates": "at -inf", "lipschitz": "inf"},
    ),
    "a logarithm that falls to minus infinity": (
        log(absolute(x)),
        {"smoothness": "discontinuous", "zeros": "-1, 1", "symmetry": "even", "derivative_from_output": "no"},
    ),
    "endless kinks": (
        absolute(sin(x)),
        {
            "range": "[0, 1]",
            "zeros": "-3.14159, 0, 3.14159, ... (infinitely many)",
            "smoothness": "C0",
            "period": str(math.pi),
        },
    ),
    "endless jumps": (where(sin(x) > 0, x, 0), {"range": "(-inf, inf)", "smoothness": "discontinuous"}),
    "waves that grow for a while": (
        tanh(x / 100) * sin(x),
        {"range": "(-1, 1)", "maximum": "none", "limits": "none at -inf, none at inf", "symmetry": "even"},
    ),
    "waves that become shorter": (sin(x**2), {"range": "[-1, 1]", "symmetry": "even", "lipschitz": "inf"}),
    "no waves": (sin(tanh(x)), {"range": "(-0.841471, 0.841471)", "monotone": "strictly increasing", "zeros": "0"}),
    "a step far away": (tanh(x - 50), {"steepest": "1 at 50", "zeros": "50", "monotone": "strictly increasing"}),
    "a narrow bump far away": (
        exp(-100 * (x - 20) ** 2),
        {"maximum": "1 at 20", "steepest": "8.57764 at 19.9293, 20.0707"},
    ),
    "a steep step": (tanh(1000 * x), {"lipschitz": "1000.0", "slope_mean": "0.7978842326862748"}),
    "a multiple root": ((x - 1.3) ** 4, {"minimum": "0 at 1.3", "zeros": "1.3", "convexity": "convex"}),
    "an inflection": (
        (x - 1.3) ** 3,
        {"monotone": "strictly increasing", "zeros": "1.3", "derivative_from_output": "yes"},
    ),
    "a constant": (
        Constant(3),
        {"range": "[3, 3]", "monotone": "constant", "symmetry": "even", "variance": "0.0", "centred_gain": "inf"},
    ),
    "a growth without mean": (exp(x**2), {"range": "[1, inf)", "mean": "nan", "gain": "nan"}),
    "a growth with mean": (exp(x), {"mean": str(math.exp(0.5)), "second_moment": str(math.exp(2))}),
    "a logarithmic approach": (1 / log(2 + x**2), {"range": "(0, 1.4427]", "limits": "0 at -inf, 0 at inf"}),
    "a logarithmic growth": (log(1 + x**2), {"range": "[0, inf)", "limits": "inf at -inf, inf at inf"}),
    "a double exponential": (exp(-exp(x)), {"range": "(0, 1)", "limits": "1 at -inf, 0 at inf"}),
    "a difference that cancels": (softplus(x) - x, {"range": "(0, inf)", "monotone": "strictly decreasing"}),
    "kinks at irrational places": (
        maximum(x**2 - 2, 0),
        {"zeros": "[-1.41421, 1.41421]", "convexity": "convex", "minimum": "0 at [-1.41421, 1.41421]"},
    ),
    "a condition without effect": (where(x > 0, x, x * 1), {"kinks": "none", "monotone": "strictly increasing"}),
    "a kink by the other convention": (where(x >= 0, x, 0), {"derivative_from_output": "no"}),
    "the same slope twice": (where(x > 0, x, x + 5), {"derivative_from_output": "yes", "monotone": "none"}),
    "three values": (
        sign(x),
        {"range": "[-1, 1]", "monotone": "increasing", "zeros": "0", "derivative_from_output": "yes"},
    ),
    "a branch that is singular elsewhere": (
        where(x > 0, 1 / x, 0),
        {"minimum": "0 at (-inf, 0]", "second_moment": "nan"},
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_facts_of_other_formulas(name: str) -> None:
    formula, expected = OWN[name]
    own = facts_of(formula)
    words = {fact.replace(" ", "_"): text for fact, text in own.table().items()}
    assert {fact: words[fact] for fact in expected} == expected


def test_square_root_of_the_absolute_value_has_means() -> None:
    """Singular, but integrable."""
    with mp.workdps(40):
        mean = float(2 ** mpf("0.25") * mp.gamma(mpf("0.75")) / mp.sqrt(mp.pi))
        assert facts_of(sqrt(absolute(x))).mean == pytest.approx(mean, rel=1e-15)
        assert facts_of(log(absolute(x))).mean == pytest.approx(float(-(mp.euler + mp.log(2)) / 2), rel=1e-15)
    assert math.isnan(facts_of(sqrt(absolute(x))).slope_second_moment)


# How facts are made and shown


def test_facts_are_cached_by_formula() -> None:
    assert facts_of(x * tanh(x)) is facts_of(x * tanh(x)) is facts("lisht")


def test_mpmath_keeps_its_precision() -> None:
    before = mp.prec
    assert facts_of(x * tanh(3 * x)).range.infimum == 0
    assert mp.prec == before
    assert mpf(1) / 3 == mpf("0.333333333333333333")


def test_parameters_need_numbers() -> None:
    with pytest.raises(ValueError, match=r"^facts need a number for alpha, beta in alpha\*x \+ beta$"):
        facts_of(Symbol("alpha") * x + Symbol("beta"))


def test_a_formula_that_is_nowhere_real() -> None:
    with pytest.raises(ValueError, match=r"is nowhere a real number$"):
        _ = facts_of(sqrt(-1 - x**2)).range


def test_mpmath_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpmath", None)
    with pytest.raises(ImportError, match=r'^facts are computed with mpmath: pip install "nonlin\[cli\]"$'):
        facts_of(x * 17)


def test_all_facts_are_told() -> None:
    f = facts("relu")
    assert f.as_dict()["minimum"] is f.minimum
    assert {"range", "limits", "zeros", "lipschitz", "gain", "derivative_from_output"} <= f.as_dict().keys()
    assert "saturates              at -inf\n" in repr(f)
    assert repr(f).startswith("facts of where(x > 0, x, 0)\n  range                  [0, inf)\n")


def test_places_in_words() -> None:
    assert str(Places()) == "nowhere"
    assert not Places()
    assert str(Places((mpf(1) / 3,), endless=True)) == "0.333333, ... (infinitely many)"
