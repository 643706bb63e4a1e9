"""Law 3 over the whole registry: kinks, zeros, infinities, NaN, dtypes, and no warning that is not deserved."""

import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from mpmath import mp, mpf

import nonlin as nl
from entries import (
    ELEMENTWISE,
    INTEGER_IDS,
    INTEGERS,
    ORDERS,
    POINTS,
    distinct,
    evaluate,
    over_entries,
    over_floats,
    over_orders,
    parameters,
    typed,
)
from oracle import ORACLE, resolve, ulp_error, value

#: What NUMERICS.md promises, and one rounding more for values that depend on a parameter's.
MOST_ULPS = {"float16": 0.51, "bfloat16": 0.51, "float32": 2.0, "float64": 2.0}
SPECIAL = np.array([0.0, -0.0, math.inf, -math.inf, math.nan])


# --- kinks ------------------------------------------------------------------------------------------------------------


@over_floats
@over_entries
def test_derivative_at_a_kink_is_that_of_the_selected_branch(name: str, dtype: np.dtype[Any]) -> None:
    given = resolve(name, parameters(name, dtype))
    kinks = zip(ORACLE[name].kinks(given), ORACLE[name].at_kink(given), strict=True)
    exact = [(point, slope) for point, slope in kinks if mpf(float(dtype.type(float(point)))) == point]
    got = evaluate(name, [float(point) for point, _ in exact], 1, dtype=dtype)
    errors = [ulp_error(g, slope, dtype.name) for g, (_, slope) in zip(got, exact, strict=True)]
    assert max(errors, default=0.0) <= MOST_ULPS[dtype.name]


@pytest.mark.parametrize(
    ("name", "x", "given", "slope"),
    [
        ("relu", 0.0, {}, 0.0),
        ("leaky_relu", 0.0, {}, 0.01),
        ("leaky_relu", 0.0, {"negative_slope": 3.0}, 3.0),
        ("prelu", 0.0, {}, 0.25),
        ("relu6", 0.0, {}, 0.0),
        ("relu6", 6.0, {}, 0.0),
        ("clipped_relu", 1.0, {}, 0.0),
        ("abs", 0.0, {}, 0.0),
        ("hard_tanh", -1.0, {}, 0.0),
        ("hard_tanh", 1.0, {}, 0.0),
        ("hard_sigmoid", -3.0, {}, 0.0),
        ("hard_sigmoid", 3.0, {}, 0.0),
        ("hard_swish", -3.0, {}, 0.0),
        ("hard_swish", 3.0, {}, 1.0),
        ("hard_shrink", 0.5, {}, 0.0),
        ("soft_shrink", -0.5, {}, 0.0),
        ("threshold", 0.5, {"threshold": 0.5, "value": -2.0}, 0.0),
        ("elu", 0.0, {"alpha": 2.0}, 2.0),
        ("celu", 0.0, {"alpha": 2.0}, 1.0),
        ("step", 0.0, {}, 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_at_kinks_are_those_of_pytorch(
    name: str, x: float, given: dict[str, float], slope: float, dtype: type[np.floating]
) -> None:
    assert nl.activations[name].derivative(dtype(x), **given) == dtype(slope)


# --- zeros, infinities, NaN -------------------------------------------------------------------------------------------


@over_floats
@over_orders
@over_entries
def test_zeros_infinities_and_nan(name: str, order: int, dtype: np.dtype[Any]) -> None:
    given = parameters(name, dtype)
    with np.errstate(invalid="ignore"):  # where there is no limit
        got = evaluate(name, SPECIAL, order, dtype=dtype)
    assert got.dtype == dtype
    wanted = [value(name, x, order, **given) for x in SPECIAL]
    errors = [ulp_error(g, want, dtype.name) for g, want in zip(got, wanted, strict=True)]
    assert max(errors) <= MOST_ULPS[dtype.name], list(zip(SPECIAL, got, map(float, wanted), strict=True))


@over_orders
@over_entries
def test_nan_stays_nan_wherever_it_stands(name: str, order: int) -> None:
    x = np.linspace(-2, 2, 37)
    x[[0, 5, 16, 36]] = math.nan
    assert np.array_equal(np.isnan(evaluate(name, x, order)), np.isnan(x))


# --- dtypes -----------------------------------------------------------------------------------------------------------


@over_floats
@over_orders
@over_entries
def test_floats_keep_their_dtype(name: str, order: int, dtype: np.dtype[Any]) -> None:
    """Array, scalar and empty array, beside parameters that are Python numbers."""
    f = ELEMENTWISE[name]
    given = parameters(name)
    for x in (np.zeros(3, dtype), np.zeros((), dtype), dtype.type(1), np.zeros((0, 2), dtype)):
        result = f.derivative(x, order=order, **given)
        assert result.dtype == dtype
        assert result.shape == x.shape


@over_entries
def test_python_floats_become_float64(name: str) -> None:
    assert type(nl.activations[name](0.5, **parameters(name))) is np.float64
    assert nl.activations[name]([[0.5], [1.5]], **parameters(name)).dtype == np.float64


PIECEWISE_LINEAR: dict[str, dict[str, int]] = {
    "relu": {},
    "leaky_relu": {"negative_slope": 2},
    "prelu": {"negative_slope": -3},
    "relu6": {},
    "clipped_relu": {"max_value": 5},
    "thresholded_relu": {"theta": 1},
    "threshold": {"threshold": 1, "value": 7},
    "abs": {},
    "hard_tanh": {"min_value": 2, "max_value": 30},
    "step": {},
    "identity": {},
    "hard_shrink": {"lambd": 1},
    "soft_shrink": {"lambd": 1},
}
"""With parameters for which integers stay integers, and no result is out of the range of the input's dtype."""

over_integers = pytest.mark.parametrize("dtype", INTEGERS, ids=INTEGER_IDS)


def whole_numbers(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Numbers of an integer dtype up to a quarter of its largest, where every digit counts."""
    largest = np.iinfo(dtype).max // 4
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 29, 30, 31, largest - 1, largest]
    return np.array(numbers if dtype.kind == "u" else numbers + [-n for n in numbers], dtype)


@over_integers
@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_integers_stay_integers_and_exact(name: str, dtype: np.dtype[Any]) -> None:
    given = PIECEWISE_LINEAR[name]
    x = whole_numbers(dtype)
    result = nl.activations[name](x, **given)
    assert result.dtype.kind in "iu"
    if dtype.kind == "i" or not given:
        assert result.dtype == dtype
    assert result.tolist() == [int(value(name, n, **given)) for n in x.tolist()]


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_slopes_at_integers_are_exact(name: str) -> None:
    given = PIECEWISE_LINEAR[name]
    x = whole_numbers(np.dtype(np.int64))
    result = nl.activations[name].derivative(x, **given)
    assert result.dtype == np.int64
    assert result.tolist() == [int(value(name, n, 1, **given)) for n in x.tolist()]


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_python_integers_and_truth_values_stay_integers(name: str) -> None:
    given = PIECEWISE_LINEAR[name]
    for x in (5, True, [4, -3], np.array([True, False])):
        assert nl.activations[name](x, **given).dtype.kind == "i"
    assert nl.activations[name](5, **given) == value(name, 5, **given)


@pytest.mark.parametrize("name", [name for name in PIECEWISE_LINEAR if ELEMENTWISE[name].parameters])
def test_integers_beside_a_fraction_become_float64(name: str) -> None:
    given = {key: v + 0.5 for key, v in PIECEWISE_LINEAR[name].items()}
    x = np.arange(-8, 8, dtype=np.int16)
    result = nl.activations[name](x, **given)
    assert result.dtype == np.float64
    assert np.array_equal(result, nl.activations[name](x.astype(np.float64), **given))


OTHERS = [name for name in ELEMENTWISE if name not in PIECEWISE_LINEAR]


@pytest.mark.parametrize("dtype", [np.dtype(bool), *INTEGERS], ids=["bool", *INTEGER_IDS])
@pytest.mark.parametrize("name", OTHERS)
def test_integers_become_float64_elsewhere(name: str, dtype: np.dtype[Any]) -> None:
    """In value and derivatives. Empty arrays choose a loop without compiling it."""
    results = [ELEMENTWISE[name].derivative(np.empty(0, dtype), order=k, **parameters(name)) for k in ORDERS]
    assert [r.dtype.name for r in results] == ["float64"] * len(ORDERS)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64], ids=["bool", "int8", "uint64"])
@pytest.mark.parametrize("name", OTHERS)
def test_integers_count_as_the_equal_float64(name: str, dtype: type[np.generic]) -> None:
    x = np.array([0, 1, 2, 3, 7], dtype)
    f, given = ELEMENTWISE[name], parameters(name)
    assert np.array_equal(f(x, **given), f(x.astype(np.float64), **given))


UNSUITABLE: dict[str, Any] = {
    "complex": 1j,
    "complex64": np.ones(2, np.complex64),
    "object": np.array([1.0], object),
    "None": None,
    "str": "0.5",
    "strings": np.array(["0.5"]),
    "bytes": np.array([b"1"]),
    "datetime": np.array(["2020-01-01"], "datetime64[D]"),
    "timedelta": np.timedelta64(1, "s"),
    "record": np.zeros(2, "i4,f4"),
    **({"longdouble": np.ones(2, np.longdouble)} if np.dtype(np.longdouble).itemsize > 8 else {}),
}


@pytest.mark.parametrize("what", UNSUITABLE)
@over_entries
def test_other_dtypes_are_refused(name: str, what: str) -> None:
    x = UNSUITABLE[what]
    expected = re.escape(f"{name}: x must be real floating-point or integer, got {np.asarray(x).dtype}")
    for order in ORDERS:
        with pytest.raises(TypeError, match=expected):
            ELEMENTWISE[name].derivative(x, order=order, **parameters(name))


@over_entries
def test_integers_beyond_64_bits_are_refused(name: str) -> None:
    with pytest.raises((TypeError, OverflowError), match=f"^{name}: "):
        ELEMENTWISE[name](2**70, **parameters(name))


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if ELEMENTWISE[name].parameters])
def test_other_dtypes_of_a_parameter_are_refused(name: str) -> None:
    given: dict[str, Any] = dict(parameters(name))
    last = list(given)[-1]
    given[last] = np.array([given[last]], object)
    with pytest.raises(TypeError, match=rf"^{name}: {last} must be real floating-point or integer, got object"):
        ELEMENTWISE[name](1.0, **given)


# --- warnings ---------------------------------------------------------------------------------------------------------


def deserves_a_warning(x: float, want: mpf, dtype: np.dtype[Any]) -> bool:
    """Whether a finite input has an infinite result, or an infinite one no limit."""
    if math.isinf(x):
        return bool(mp.isnan(want))
    return math.isfinite(x) and bool(abs(want) >= float(ml_dtypes.finfo(dtype).max))


@over_floats
@over_orders
@over_entries
def test_no_warning_that_is_not_deserved(name: str, order: int, dtype: np.dtype[Any]) -> None:
    given = parameters(name, dtype)
    xs = distinct([*POINTS, math.nan], dtype)
    quiet = [not deserves_a_warning(float(x), value(name, float(x), order, **given), dtype) for x in xs]
    f, given_there = ELEMENTWISE[name], typed(given, dtype)
    noisy = []
    with np.errstate(all="raise", under="ignore"):
        try:
            f.derivative(xs[quiet], order=order, **given_there)
        except FloatingPointError:  # which ones?
            for x in xs[quiet]:
                try:
                    f.derivative(x, order=order, **given_there)
                except FloatingPointError as error:
                    noisy.append(f"{float(x)!r}: {error}")
    assert not noisy


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_overflow_of_the_function_itself_is_reported(dtype: type[np.floating]) -> None:
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow encountered in relu_squared"):
        nl.relu_squared(np.finfo(dtype).max)


def test_an_infinity_without_a_limit_is_reported() -> None:
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="invalid value encountered in sin"):
        nl.sin(math.inf)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow)")
@pytest.mark.parametrize(
    ("name", "parameters", "wrt", "want"),
    [
        # exp(u)*(1 - u) - 1 with u = x/alpha, where both terms overflow
        ("celu", {"alpha": -1.0}, "alpha", [-np.inf, -np.inf, -41.1710738463, 0, 0, 0, 0]),
        ("snake_beta", {"alpha": 0.0, "beta": 1.0}, "alpha", [0, 0, 0, 0, 0, 0, 0]),
        ("snake_beta", {"alpha": 0.0, "beta": 1.0}, "x", [1, 1, 1, 1, 1, 1, 1]),
        ("xielu", {"alpha_p": 0.0, "alpha_n": 0.0, "beta": 0.0, "eps": 0.0}, "x", [0, 0, 0, 0, 0, 0, 0]),
        ("xielu", {"alpha_p": 0.0, "alpha_n": 0.0, "beta": 0.0, "eps": 0.0}, "alpha_p", [0, 0, 0, 0, 0, 9, np.inf]),
        ("swish", {"beta": 0.0}, "x", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("elu", {"alpha": 0.0}, "alpha", [-1, -1, np.expm1(-3.0), 0, 0, 0, 0]),
    ],
)
def test_unusual_parameters_that_are_allowed(name: str, parameters: dict[str, float], wrt: str, want: list[float]) -> None:
    x = np.array([-np.inf, -1e4, -3.0, -0.0, 0.0, 3.0, np.inf])
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-10)):
        got = nl.activations[name].derivative(x.astype(dtype), **parameters, wrt=wrt)
        np.testing.assert_allclose(got, np.array(want, dtype), rtol=tolerance)
