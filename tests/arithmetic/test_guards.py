"""Which inputs a kernel computes itself, and that what it computes without a guard is right for every input."""

import numpy as np
import pytest
from mpmath import mp

import nonlin as nl
from nonlin.arithmetic.lowering import interpret
from nonlin.formula.coefficients import RATIONALS, ZEROS
from nonlin.kernels.ufunc import Loop

#: name, order: what needs no guard, and where its float32 results are subnormal
UNGUARDED = {
    ("sigmoid", 0): (-104.0, -87.0), ("tanh", 0): (-1e-38, 1e-38), ("elu", 0): (-1e-38, 1e-38), ("selu", 0): (-1e-38, 1e-38),
    ("celu", 0): (-1e-38, 1e-38), ("erf", 0): (-1e-38, 1e-38), ("gelu", 0): (-14.6, -12.8), ("gelu", 1): (-14.6, -13.0),
}  # fmt: skip
CASES = pytest.mark.parametrize(("name", "order"), list(UNGUARDED))


def loop(name: str, order: int, dtype: str) -> Loop:
    function = nl.activations[name]._function("x", (order,))
    return Loop(function, (dtype,) * (len(function.operands) + 1))


@CASES
def test_no_second_kernel_is_needed(name: str, order: int) -> None:
    assert loop(name, order, "float32").kernel().guard is None


@pytest.mark.parametrize("name", ["gelu_tanh", "softplus", "mish", "silu", "quick_gelu", "log_sigmoid"])
@pytest.mark.parametrize("order", [0, 1])
def test_a_guard_lets_ordinary_inputs_pass(name: str, order: int) -> None:
    guard = loop(name, order, "float32").kernel().guard
    x = np.linspace(-7, 7, 57)
    assert guard is None or interpret(guard, "float32", {"x": x}).all()


@CASES
def test_results_without_a_guard(name: str, order: int) -> None:
    low, high = UNGUARDED[name, order]
    special = [np.inf, -np.inf, np.nan, 0, -0.0, 3e38, -3e38, 1e-45, -1e-45, 1e30, -1e30, 200, -200]
    x = np.concatenate([special, np.linspace(low, high, 20_001), np.linspace(-16, 16, 20_001)]).astype(np.float32)
    call = nl.activations[name].derivative if order else nl.activations[name]
    got = call(x).astype(np.float64)
    want = call(x.astype(np.float64))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    spacing = np.ldexp(1.0, np.maximum(np.frexp(want[finite])[1] - 1, -126) - 23)
    assert (np.abs(got[finite] - want[finite]) <= 2.5 * spacing).all()


@pytest.mark.parametrize(("dtype", "ulps"), [("float32", 2.5), ("float64", 2.0)])
def test_the_slope_of_gelu_keeps_its_digits_next_to_its_zero(dtype: str, ulps: float) -> None:
    with mp.workdps(60):
        zero = mp.findroot(lambda x: mp.ncdf(x) + x * mp.npdf(x), -0.75)
        distances = np.concatenate([sign * np.geomspace(1e-4, 0.2, 200) for sign in (-1, 1)])
        x = (float(zero) + distances).astype(dtype)
        for at, got in zip(x, nl.gelu.derivative(x), strict=True):
            want = mp.ncdf(mp.mpf(float(at))) + mp.mpf(float(at)) * mp.npdf(mp.mpf(float(at)))
            assert abs(mp.mpf(float(got)) - want) <= ulps * float(np.spacing(np.dtype(dtype).type(abs(float(want)))))


@pytest.mark.parametrize("bits", [24, 40, 53])
def test_a_zero_that_is_split_off_is_known_to_nearly_twice_the_digits(bits: int) -> None:
    with mp.workdps(60):
        zero = -mp.findroot(lambda x: mp.ncdf(x) + x * mp.npdf(x), -0.75)
        p, q = ZEROS["normal_slope"][bits]
        assert abs(mp.mpf(p) / mp.mpf(q) - zero) < mp.mpf(2) ** -(44 if bits == 24 else 100)
    if bits == 24:
        assert (np.float32(p), np.float32(q)) == (p, q)


@pytest.mark.parametrize("name", list(RATIONALS))
def test_no_fitted_divisor_can_vanish(name: str) -> None:
    assert all(min(divisor) > 0 for _, _, divisor in RATIONALS[name].values())
