"""What is promised holds where terms cancel, which is seldom and where most goes wrong."""

import math

import numpy as np
import pytest

from entries import ELEMENTWISE, excused, over_entries, parameters, typed
from nonlin.arithmetic.choice import find_zeros
from nonlin.arithmetic.patch import fit_patch
from nonlin.arithmetic.promise import largest_term, promised_ulps
from nonlin.formula import Constant, Expression, Symbol, canonical, exp, maximum, sigmoid, sin, where
from nonlin.kernels.ufunc import Function, make_ufunc

x = Symbol("x")
SINGLE = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("formula", "at", "largest"),
    [
        (x - 3, 3.0, 3.0),
        (exp(x) * (x - 1), 0.5, math.exp(0.5)),
        (sigmoid(x) * (1 + x * sigmoid(-x)), 0.0, 0.5),
        (where(x > 0, x - 1, x + 5), 2.0, 2.0),
        (maximum(x - 4, x + 4), 0.0, 4.0),
        ((x - 2) ** 2 / 3, 2.0, 4 / 3),
        (sin(x - 3), 3.0, 0.0),  # a function of a sum is one term
    ],
)
def test_largest_term(formula: Expression, at: float, largest: float) -> None:
    size = make_ufunc(Function("size", (canonical(largest_term(formula)),), ("x",), {}))
    assert size(at) == pytest.approx(largest, rel=1e-15)


@pytest.mark.parametrize("order", [0, 1])
@over_entries
def test_float32_keeps_its_promise_around_zeros(name: str, order: int) -> None:
    entry, given = ELEMENTWISE[name], parameters(name, SINGLE)
    grid = np.linspace(-12, 12, 24_001)
    with np.errstate(all="ignore"):
        zeros = find_zeros(grid, entry.derivative(grid, order=order, **given))[1:-1][:8]
        distances = np.geomspace(1e-6, 0.7, 8_000)
        near = zeros[:, np.newaxis] * (1 + np.concatenate([-distances, [0], distances]))
        points = np.concatenate([near.ravel(), np.linspace(-12, 12, 20_001)]).astype(np.float32)
        got = entry.derivative(points, order=order, **typed(given, SINGLE)).astype(np.float64)
        wide = points.astype(np.float64)
        want = entry.derivative(wide, order=order, **given)
        error = np.abs(got - want)
        may = excused(entry, order, wide, want, error, given)
        ulps = error / np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
    wrong = (got != want) & ~may & (ulps > promised_ulps(entry.derivative_formula(order), "float32"))
    # A kink is where float32 arithmetic puts it.
    assert wrong.sum() <= (2 if order and entry.parameters else 0), (points[wrong][:5], ulps[wrong][:5])


def test_a_patch_is_the_function_next_to_its_zero() -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return np.exp(x) - 2

    patch = fit_patch(function, np.log(2), 0.25)
    assert patch is not None
    assert patch.zero == np.float32(np.log(2))
    assert patch.zero + patch.rest == np.log(2)
    assert patch.slope == pytest.approx(2, rel=1e-6)
    assert fit_patch(lambda x: np.abs(x - 1) * (x - 1), 1.0, 0.25) is None  # not smooth


def test_a_patch_leaves_other_inputs_alone() -> None:
    patch = fit_patch(lambda x: x - 1, 1.0, 0.25)
    assert patch is not None
    f = make_ufunc(Function("patched", (patch.over(Constant(7) * x),), ("x",), {}))
    assert f(np.array([0.75, 1.25, 3.0, -1.0])).tolist() == [5.25, 8.75, 21.0, -7.0]
    assert f(1.0) == 0
    assert np.float32(f(1.125)) == 0.125
