"""The reference is itself tested: against finite differences, closed forms of other shape, and its own error bounds."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp, mpf

import oracle
from oracle import GRID, ORACLE, Entry, defaults, evaluate, nearest, resolve, ulp_error, value

NAMES = list(ORACLE)
FINITE = [x for points in GRID.values() for x in points if math.isfinite(x)]


def close(a: mpf, b: mpf, tolerance: float = 1e-40) -> bool:
    with mp.workdps(60):
        return bool(abs(a - b) <= tolerance * abs(b))


def exact_parameters(name: str) -> tuple[tuple[str, Fraction], ...]:
    record = ORACLE[name]
    return tuple((key, Fraction(p)) for key, p in {**record.parameters, **record.constants, **record.required}.items())


def near_kink(record: Entry, name: str, x: float) -> bool:
    return any(abs(x - kink) < 1e-3 for kink in record.kinks(resolve(name, record.required)))


# Derivatives


@pytest.mark.parametrize("name", NAMES)
def test_value_and_derivatives_agree_with_finite_differences(name: str) -> None:
    record = ORACLE[name]
    with mp.workdps(130):
        parameters = resolve(name, record.required)
        for x in GRID["ordinary"]:
            if not near_kink(record, name, x):
                for order in range(3):
                    expected = mp.diff(lambda t: record.function(t, **parameters), mpf(x), order)
                    got = value(name, x, order, **record.required)
                    # The naive formulas lose up to 50 digits to cancellation here, and laplace all of them.
                    assert abs(got - expected) <= abs(expected) * 1e-40 + mpf(10) ** -80, (x, order)


@pytest.mark.parametrize("name", NAMES)
def test_error_bounds_hold(name: str) -> None:
    """What few bits certify contains what many bits find, also where few bits certify next to nothing."""
    parameters = exact_parameters(name)
    for x in FINITE[::2]:
        for order in range(3):
            few, many = (evaluate(name, Fraction(x), order, parameters, bits) for bits in (120, 800))
            with mp.workprec(2000):
                assert abs(few.v - many.v) <= mp.ldexp(1, few.e) + mp.ldexp(1, many.e), (x, order)


# Closed forms of another shape than the definition's, exact in the tails


def phi(x: mpf) -> mpf:
    return mp.exp(-(x**2) / 2) / mp.sqrt(2 * mp.pi)


def cdf(x: mpf) -> mpf:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def mish_slope(x: mpf) -> mpf:
    e = mp.exp(x)
    n = e * (e + 2)
    return n / (n + 2) + x * 4 * e * (e + 1) / (n + 2) ** 2


def gelu_tanh_by_sigmoid(x: mpf) -> mpf:
    u = mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)
    return x * mp.exp(2 * u) / (1 + mp.exp(2 * u))


def tanh_shrink_series(x: mpf) -> mpf:
    return x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315


CLOSED: list[tuple[str, float, int, Callable[[mpf], mpf]]] = [
    ("gelu", -38.0, 0, lambda x: x * cdf(x)),
    ("gelu", -38.0, 1, lambda x: cdf(x) + x * phi(x)),
    ("gelu", -38.0, 2, lambda x: (2 - x**2) * phi(x)),
    ("gelu_tanh", -20.0, 0, gelu_tanh_by_sigmoid),
    ("quick_gelu", -400.0, 0, lambda x: x * mp.exp(mpf("1.702") * x) / (1 + mp.exp(mpf("1.702") * x))),
    ("sigmoid", -745.0, 0, lambda x: mp.exp(x) / (1 + mp.exp(x))),
    ("sigmoid", 745.0, 1, lambda x: mp.exp(-x) / (1 + mp.exp(-x)) ** 2),
    ("silu", -745.0, 1, lambda x: mp.exp(x) * (1 + x + mp.exp(x)) / (1 + mp.exp(x)) ** 2),
    ("tanh", 300.0, 1, lambda x: 1 / mp.cosh(x) ** 2),
    ("tanh", -300.0, 2, lambda x: -2 * mp.sinh(x) / mp.cosh(x) ** 3),
    ("mish", -700.0, 1, mish_slope),
    ("mish", 50.0, 1, mish_slope),
    ("golu", -6.5, 0, lambda x: x * mp.exp(-mp.exp(-x))),
    ("golu", -6.5, 1, lambda x: mp.exp(-mp.exp(-x)) * (1 + x * mp.exp(-x))),
    ("telu", -700.0, 0, lambda x: x * mp.exp(x) * (1 - mp.exp(2 * x) / 3)),
    ("serf", -700.0, 0, lambda x: 2 / mp.sqrt(mp.pi) * x * mp.exp(x) * (1 - mp.exp(x) / 2)),
    ("softplus", -745.0, 0, lambda x: mp.log1p(mp.exp(x))),
    ("log_sigmoid", 745.0, 0, lambda x: -mp.log1p(mp.exp(-x))),
    ("sqrt_softplus", -700.0, 1, lambda x: mp.exp(x / 2) * (1 - 3 * mp.exp(x) / 4) / 2),
    ("squareplus", -1e150, 0, lambda x: 2 / (mp.hypot(x, 2) - x)),
    ("squareplus", -1e150, 1, lambda x: 2 / (mp.hypot(x, 2) - x) / mp.hypot(x, 2)),
    ("elu", -5e-324, 0, mp.expm1),
    ("elu", -745.0, 1, mp.exp),
    ("tanh_shrink", 1e-20, 0, tanh_shrink_series),
    ("tanh_shrink", -1e-100, 0, tanh_shrink_series),
    ("tanh_shrink", 1e-100, 1, lambda x: mp.tanh(x) ** 2),
    ("laplace", -8.0, 0, lambda x: cdf((x - mpf("0.707107")) / mpf("0.282095"))),
    ("gaussian", 27.0, 2, lambda x: (4 * x**2 - 2) * mp.exp(-(x**2))),
    ("softsign", 1e150, 1, lambda x: 1 / (1 + x) ** 2),
    ("isrlu", -1e100, 1, lambda x: (1 + x**2) ** mpf(-1.5)),
    ("arctan", 1e154, 1, lambda x: 1 / (1 + x**2)),
    ("snake", 1e300, 1, lambda x: 1 + mp.sin(2 * x)),
    ("gcu", 1e300, 0, lambda x: x * mp.cos(x)),
    ("softcap", 1e-300, 2, lambda x: -2 * x / 900),
]


@pytest.mark.parametrize(("name", "x", "order", "expected"), CLOSED)
def test_tails_by_closed_forms(name: str, x: float, order: int, expected: Callable[[mpf], mpf]) -> None:
    with mp.workdps(400):
        want = expected(mpf(x))
    assert close(value(name, x, order), want)


# Known values


def test_gelu_tanh_is_farthest_from_gelu_at_2_699() -> None:
    difference = [[value("gelu_tanh", x, k) - value("gelu", x, k) for k in (0, 1)] for x in (2.698, 2.699, 2.7)]
    assert abs(abs(difference[1][0]) - 4.73e-4) < 5e-7
    assert difference[0][1] * difference[2][1] < 0


def test_elish_at_minus_2() -> None:
    assert abs(value("elish", -2) + 0.103) < 5e-4


@pytest.mark.parametrize(
    ("name", "minimum"),
    [("gelu", "-0.751791524693564457"), ("silu", "-1.278464542761073795"), ("mish", "-1.192431214515495212")],
)
def test_known_minima(name: str, minimum: str) -> None:
    last_digit = Fraction(1, 10**18)
    assert value(name, Fraction(minimum) - last_digit, 1) < 0 < value(name, Fraction(minimum) + last_digit, 1)


def test_selu_keeps_mean_0_and_variance_1() -> None:
    with mp.workdps(40):
        left, right = [-mp.inf, -8, -2, 0], [0, 2, 8, mp.inf]
        below = [mp.quad(lambda z, k=k: mp.expm1(z) ** k * phi(z), left) for k in (1, 2)]
        above = [mp.quad(lambda z, k=k: z**k * phi(z), right) for k in (1, 2)]
        alpha = -above[0] / below[0]
        scale = 1 / mp.sqrt(above[1] + alpha**2 * below[1])
        constants = ORACLE["selu"].constants
        assert abs(alpha - mpf(constants["alpha"])) < 1e-30
        assert abs(scale - mpf(constants["scale"])) < 1e-30


# Kinks and limits


def jumps(name: str, point: mpf) -> bool:
    """Whether value, first or second derivative differ on the two sides of a point."""
    with mp.workdps(60):
        h = mpf(10) ** -30
        sides = [[value(name, point + s * h, k, **ORACLE[name].required) for s in (1, -1)] for k in range(3)]
        return any(abs(right - left) > 1e-10 for right, left in sides)


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_where_something_jumps(name: str) -> None:
    kinks = ORACLE[name].kinks(resolve(name, ORACLE[name].required))
    assert all(jumps(name, kink) for kink in kinks)
    assert not any(jumps(name, mpf(x)) for x in oracle.ALL_KINKS if mpf(x) not in kinks)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_at_kink_is_that_of_the_selected_branch(name: str) -> None:
    """The conventions are written down once as data and once as conditions in the definitions."""
    required = ORACLE[name].required
    params = resolve(name, required)
    with mp.workdps(60):
        for kink, slope in zip(ORACLE[name].kinks(params), ORACLE[name].at_kink(params), strict=True):
            assert close(value(name, kink, 1, **required), slope)
            point = oracle._fraction(kink)
            assert abs(evaluate(name, point, 1, exact_parameters(name), 200).v - slope) < 1e-50


def test_conventions_of_pytorch() -> None:
    assert value("relu", 0, 1) == value("abs", 0, 1) == value("relu6", 0, 1) == value("relu6", 6, 1) == 0
    assert value("hard_tanh", 1, 1) == value("hard_tanh", -1, 1) == 0
    assert value("leaky_relu", 0, 1, negative_slope=2) == 2
    assert value("hard_swish", -3, 1) == value("hard_sigmoid", -3, 1) == value("hard_sigmoid", 3, 1) == 0
    assert value("hard_swish", 3, 1) == 1
    assert value("hard_shrink", 0.5, 1) == value("soft_shrink", -0.5, 1) == 0
    assert value("elu", 0, 1, alpha=3) == 3
    assert value("celu", 0, 1, alpha=3) == 1


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_approached(name: str) -> None:
    required = ORACLE[name].required
    for sign in (1, -1):
        for order in range(3):
            limit = ORACLE[name].limits(order, sign, resolve(name, required))
            at_infinity = value(name, sign * math.inf, order, **required)
            if limit is None:
                assert mp.isnan(at_infinity)
                continue
            assert at_infinity == limit
            v = value(name, sign * 1e300, order, **required)
            with mp.workdps(60):
                assert v * mp.sign(limit) > 1e100 if mp.isinf(limit) else abs(v - limit) < 1e-55


def test_limits_follow_the_parameters() -> None:
    assert value("leaky_relu", -math.inf, negative_slope=-1) == math.inf
    assert value("leaky_relu", -math.inf, negative_slope=0) == 0
    assert value("swish", -math.inf, beta=-1) == -math.inf
    assert value("swish", math.inf, 1, beta=0) == 0.5
    assert value("celu", -math.inf, 2, alpha=-2) == -math.inf
    assert value("xielu", -math.inf, alpha_n=0.25) == -math.inf
    assert value("xielu", -math.inf, alpha_n=0.5) == -0.5
    assert value("xielu", math.inf, 1, alpha_p=0) == 0.5
    assert value("hard_sigmoid", math.inf, slope=-0.2) == 0
    assert value("laplace", math.inf, sigma=-1) == 0
    assert value("snake_beta", math.inf, 1, alpha=0) == 1


# What value takes


def test_points_are_taken_exactly() -> None:
    assert value("identity", 0.1) == mpf(0.1)
    assert value("identity", np.float32(0.1)) == mpf(float(np.float32(0.1)))
    assert close(value("identity", "0.1") * 10, mpf(1), 1e-15)
    assert value("identity", "0.1") != mpf(0.1)
    with mp.workdps(300):
        x = mp.pi * -(10**50)
        assert close(value("identity", x), x)
        assert value("relu", -(mpf(10) ** -290), 1) == 0
    assert value("identity", 10**40) == 10**40
    assert value("relu", "-inf") == 0
    assert mp.isnan(value("relu", math.nan))
    assert mp.isnan(value("step", "nan", 1))


def test_parameters_are_taken_exactly() -> None:
    assert close(value("leaky_relu", -1), mpf(-1) / 100, 1e-15)
    assert value("leaky_relu", -1) != value("leaky_relu", -1, negative_slope=0.01)
    # The double nearest to 1.702 is another constant: in the tail that is many units in the last place.
    assert ulp_error(float(value("quick_gelu", -400, slope=1.702)), value("quick_gelu", -400), "float64") > 10
    assert defaults("rrelu") == {"lower": 1 / 8, "upper": 1 / 3}
    assert defaults("rrelu", "float32")["upper"] == float(np.float32(1 / 3))
    assert defaults("quick_gelu") == {}
    assert defaults("quick_gelu", constants=True) == {"slope": 1.702}
    assert defaults("threshold") == {"threshold": 0.5, "value": -2}


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="order must be 0, 1 or 2, not 3"):
        value("relu", 1, 3)
    with pytest.raises(TypeError, match="relu has no parameter alpha"):
        value("relu", 1, alpha=1)
    with pytest.raises(TypeError, match="threshold needs threshold, value"):
        value("threshold", 1)


def test_working_precision_of_the_caller_does_not_matter() -> None:
    with mp.workprec(10):
        coarse = value("mish", 0.3)
    oracle._value.cache_clear()
    assert coarse == value("mish", 0.3)


# Units in the last place


@pytest.mark.parametrize(
    ("got", "want", "dtype", "expected"),
    [
        (1.0 + 2**-52, mpf(1), "float64", 1),
        (1.0 - 2**-53, mpf(1), "float64", 0.5),
        (1.0, 1 - mpf(2) ** -53, "float64", 1),
        (1.0 + 2**-10, mpf(1), "float16", 1),
        (1.0 + 2**-7, mpf(1), "bfloat16", 1),
        (1.0 + 2**-23, mpf(1), "float32", 1),
        (0.0, mpf(2) ** -1074, "float64", 1),
        (0.0, mpf(2) ** -1080, "float64", 2**-6),
        (2.0**-149, mpf(0), "float32", 1),
        (2.0**-24, mpf(2) ** -25, "float16", 0.5),
        (math.inf, mpf(65520), "float16", 0),
        (math.inf, mpf(65519), "float16", 17 / 32),
        (65504.0, mpf(65519), "float16", 15 / 32),
        (65504.0, mpf(65536), "float16", 1),
        (math.inf, mpf(10) ** 400, "float64", 0),
        (-math.inf, mpf(10) ** 400, "float64", math.inf),
        (math.inf, mpf(1), "float64", math.inf),
        (math.inf, mp.inf, "float32", 0),
        (-math.inf, mp.inf, "float32", math.inf),
        (3e38, mp.inf, "float32", math.inf),
        (math.nan, mp.nan, "float32", 0),
        (0.0, mp.nan, "float32", math.inf),
        (math.nan, mpf(0), "float32", math.inf),
    ],
)
def test_ulp_error(got: float, want: mpf, dtype: str, expected: float) -> None:
    assert ulp_error(got, want, dtype) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nearest_rounds_as_numpy_does(dtype: str) -> None:
    for x in (0.1, -1 / 3, 1e-7, 6e-8, 3e-8, 2049.0, 2051.0, 0.0):
        assert nearest(Fraction(x), dtype) == float(np.dtype(dtype).type(x))


def test_grid_holds_float64_and_float32_neighbours() -> None:
    assert {6.0, math.nextafter(6, 7), math.nextafter(6, 5), float(np.nextafter(np.float32(6), np.float32(7)))} <= {
        *GRID["kinks"]
    }
    assert {5e-324, -5e-324, 2.0**-149, -(2.0**-149)} <= {*GRID["kinks"]}
