"""Constants that no float holds: they count as what they are, in products, choices and sums."""

import numpy as np
import pytest

import nonlin as nl
from nonlin.formula import exp, log, maximum, pi, sigmoid, sqrt, where

X = np.array([-2.0, 0.0, 1.0, 1e-30, 1e30])


@pytest.mark.filterwarnings("ignore:(invalid value|overflow)")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("formula", "want"),
    [
        (lambda x: log(pi - 4) * x, lambda x: x * np.nan),
        (lambda x: exp(1000) * x, lambda x: np.where(x == 0, 0, np.inf * x)),
        (lambda x: exp(10**7) * x, lambda x: np.where(x == 0, 0, np.inf * x)),
        (lambda x: x * exp(-1000) * exp(1000), lambda x: x),
        (lambda x: exp(-1000) * x, lambda x: 0 * x),
        (lambda x: x * 1e-50, lambda x: x * 1e-50),
        (lambda x: x / 1e-50, lambda x: x / 1e-50),
        (lambda x: 1e-60 * x * 1e50, lambda x: x * 1e-10),
        (lambda x: maximum(x, 1e300), lambda x: np.full(5, 1e300)),
        (lambda x: where(x > 1e300, 1, x), lambda x: x),
        (lambda x: x + 1e-300, lambda x: x + 1e-300),
        (lambda x: sigmoid(x * 1e300), lambda x: np.array([0, 0.5, 1, 1, 1])),
        (lambda x: x * (sqrt(2) ** 2 - 2), lambda x: 0 * x),
    ],
)
def test_constants_beyond_the_range_of_floats(formula: object, want: object, dtype: str) -> None:
    made = nl.activation(formula, name="constant")  # type: ignore[call-overload]
    with np.errstate(all="ignore"):
        expected = want(X).astype(dtype)  # type: ignore[operator]
        for _ in range(2):
            np.testing.assert_allclose(made(X.astype(dtype)), expected, rtol=1e-6, atol=0)
