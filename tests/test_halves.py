"""float16 and bfloat16 are computed in float32 and rounded once, parameters and all: every input of every entry."""

from typing import Any

import numpy as np
import pytest

import nonlin as nl
from entries import ELEMENTWISE, FLOATS, over_entries, parameters
from nonlin.arithmetic.promise import ULPS
from oracle import FORMATS

over_halves = pytest.mark.parametrize("dtype", [FLOATS["float16"], FLOATS["bfloat16"]], ids=str)


def every(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    return np.arange(2**16, dtype=np.uint16).view(dtype)


def ulps(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Errors in units of the last place of results in float64; an infinity counts as what comes after the largest number."""
    digits, smallest, largest = FORMATS[got.dtype.name]
    beyond = 2.0 ** (largest + 1)
    held = [np.clip(values.astype(np.float64), -beyond, beyond) for values in (got, want)]
    place = np.ldexp(1.0, np.clip(np.frexp(held[1])[1] - 1, smallest, largest) - digits + 1)
    return np.where(np.isnan(held[0]) & np.isnan(held[1]), 0, np.abs(held[0] - held[1]) / place)


def needed(name: str) -> dict[str, float]:
    return {key: value for key, value in parameters(name).items() if nl.activations[name].parameters[key].default is None}


@over_halves
@pytest.mark.parametrize("order", [0, 1])
@over_entries
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_input_of_16_bits_at_the_defaults(name: str, order: int, dtype: np.dtype[Any]) -> None:
    x, entry = every(dtype), ELEMENTWISE[name]
    got = entry.derivative(x, order=order, **needed(name))
    assert got.dtype == dtype
    errors = ulps(got, entry.derivative(x.astype(np.float64), order=order, **needed(name)))
    # NaN fails, too.
    assert (errors <= ULPS[dtype.name]).all(), (x[~(errors <= ULPS[dtype.name])][:5], errors.max())


@over_halves
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("leaky_relu", {"negative_slope": 0.2}),
        ("hard_sigmoid", {"slope": 0.2}),
        ("elu", {"alpha": 1.7}),
        ("dyt", {"alpha": 0.3, "shift": 0.7}),
        ("soft_shrink", {"lambd": 0.3}),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_beside_arrays_of_16_bits_are_not_rounded_to_them(
    name: str, given: dict[str, float], dtype: np.dtype[Any]
) -> None:
    x, entry = every(dtype), ELEMENTWISE[name]
    single = {key: float(np.float32(value)) for key, value in given.items()}
    results = entry(x, **given), *entry.value_and_derivative(x, **given)
    wanted = entry(x.astype(float), **single), *entry.value_and_derivative(x.astype(float), **single)
    for got, want in zip(results, wanted, strict=True):
        assert got.dtype == dtype
        assert (ulps(got, want) <= ULPS[dtype.name]).all()


@over_halves
def test_parameters_of_16_bits_are_what_they_are(dtype: np.dtype[Any]) -> None:
    x = np.array([-3.0, -1.0], dtype)
    slope = dtype.type(0.01)
    want = (x.astype(float) * float(slope)).astype(dtype)
    assert nl.leaky_relu(x, negative_slope=slope).tolist() == want.tolist()
    assert nl.leaky_relu(x, negative_slope=np.full(2, slope)).tolist() == want.tolist()
    assert nl.leaky_relu(x, negative_slope=np.full(2, 0.01, np.float32)).dtype == np.float32
    assert nl.hard_sigmoid(dtype.type(-3)) == 0
