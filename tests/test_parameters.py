"""The promise holds for every value that a parameter may have: values, slopes by x and by each parameter, against mpmath."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from mpmath import mp

import nonlin as nl
from entries import ELEMENTWISE, FLOATS, parameters, typed
from nonlin.arithmetic.promise import CANCELLATION, CANCELLED_ERROR, largest_term, promised_ulps
from nonlin.definition import Registry
from nonlin.formula import Expression, cos, exp
from nonlin.formula.spelling import Reference
from oracle import ORACLE, resolve, ulp_error, value

WITH_PARAMETERS = [name for name, entry in ELEMENTWISE.items() if entry.parameters]
#: Times the default, or 1 where that is 0: small and large ones, the other sign, none, ordinary ones.
FACTORS = (1e-12, 1e-6, 0.37, 2.6, 30, 2e4, 1e12, -1.5, 0)
POINTS = [*np.random.default_rng(1).standard_normal(8) * 3, 1e-30, -1e-3, 20, -91.96, 1e4, -1e19, 2e38, -2e38, 0, 1, -0.5]
#: Where the function has a kink for every x: maximum(x, 0) is as large as a max_value of 0.
TIES = {("clipped_relu", "max_value", 0.0)}


def rows(name: str) -> Iterator[dict[str, float]]:
    """Allowed parameters that float32 holds: one by one other than the defaults, and all together."""
    defaults = parameters(name)
    rng = np.random.default_rng(0)
    candidates = [{**defaults, key: factor * (defaults[key] or 1.0)} for key in defaults for factor in FACTORS]
    candidates += [
        {key: float((v or 1.0) * 2 ** rng.uniform(-3, 3) * rng.choice([-1, 1])) for key, v in defaults.items()}
        for _ in range(4)
    ]
    for candidate in (defaults, *candidates):
        given = {key: float(np.float32(v)) for key, v in candidate.items()}
        try:
            ELEMENTWISE[name].check(**given)
        except ValueError:
            continue
        yield given


def cancels(formula: Expression, x: float, given: dict[str, float], want: mp.mpf) -> bool:
    with mp.workdps(50):
        return bool(abs(want) < CANCELLATION * Reference(mp, {"x": x, **given})(largest_term(formula)))


def keeps(formula: Expression, dtype: str, x: float, given: dict[str, float], got: float, want: mp.mpf) -> bool:
    if ulp_error(got, want, dtype) <= promised_ulps(formula, dtype):
        return True
    small = math.isfinite(got) and abs(mp.mpf(got) - want) <= CANCELLED_ERROR[dtype]
    return small and cancels(formula, x, given, want)


@pytest.mark.parametrize("dtype", [FLOATS["float32"], FLOATS["float64"]], ids=str)
@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_every_value_of_the_parameters(name: str, dtype: np.dtype) -> None:
    entry, wrong = ELEMENTWISE[name], []
    for given in rows(name):
        kinks = {float(kink) for kink in ORACLE[name].kinks(resolve(name, given))}
        by_parameters = [(key, 1) for key in given if (name, key, given[key]) not in TIES]
        for wrt, order in [("x", 0), ("x", 1), *by_parameters]:
            formula = entry.derivative_formula(order, wrt)
            x = np.array([p for p in POINTS if not (order and p in kinks)], np.float32).astype(dtype)
            with np.errstate(all="ignore"):
                got = np.broadcast_to(entry.derivative(x, order=order, wrt=wrt, **typed(given, dtype)), x.shape)
            for at, result in zip(x.tolist(), got.tolist(), strict=True):
                want = value(name, at, order, wrt=wrt, **given)
                if not keeps(formula, str(dtype), at, given, result, want):
                    wrong.append(f"{given} by {wrt} at {at!r}: got {result!r}, want {mp.nstr(want, 20)}")
    assert not wrong, wrong[:5]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("softplus", {"beta": 2.0}),
        ("softplus", {"beta": 1e3}),
        ("squareplus", {"b": 1e-6}),
        ("smelu", {"beta": 1e200}),
        ("swish", {"beta": 5.0}),
        ("softcap", {"cap": 1e-3}),
        ("celu", {"alpha": 0.01}),
        ("isrlu", {"alpha": 9.0}),
        ("snake", {"alpha": 2.0}),
    ],
)
def test_what_is_divided_back_does_not_overflow(name: str, given: dict[str, float]) -> None:
    for dtype, largest in (("float32", 3e38), ("float64", 1.7e308)):
        if max(given.values()) > largest:
            continue
        for x in (largest, largest / 3, largest / 1e9):
            scalar = np.dtype(dtype).type(x)
            got = nl.activations[name](scalar, **typed(given, np.dtype(dtype)))
            want = value(name, float(scalar), **parameters(name, np.dtype(dtype), **given))
            assert ulp_error(got, want, dtype) <= 2, (dtype, x, got)


@pytest.mark.parametrize("x", [1e308, -1.7e308])
def test_a_wave_of_more_than_the_largest_number_is_a_number(x: float) -> None:
    with np.errstate(all="ignore"):
        assert abs(nl.sin(x, omega=30.0)) <= 1
        assert 0 <= nl.snake.derivative(x, alpha=2.0) <= 2


def test_rests_of_large_arguments_reach_the_result(registry: Registry) -> None:
    f = nl.activation(name="wave_of_square")(lambda x: cos(x * x))
    g = nl.activation(name="growth_of_quotient")(lambda x: exp(x / 3) - 1)
    points = [-91.96, *np.random.default_rng(0).uniform(-1e3, 1e3, 200), 1e10, 1.2345e150]
    with mp.workdps(400):
        for x in points:
            assert ulp_error(f(x), mp.cos(mp.mpf(x) ** 2), "float64") <= 2, x
            if abs(x) < 1e3:
                assert ulp_error(g(x), mp.expm1(mp.mpf(x) / 3), "float64") <= 2, x
