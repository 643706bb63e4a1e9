"""Passes over memory: conditions packed eight to a byte, products that read them, several results at once."""

from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import nonlin as nl
from nonlin.formula import Constant, Expression, Symbol
from nonlin.formula.calculus import canonical
from nonlin.formula.primitives import logical_and, where
from nonlin.kernels import threads
from nonlin.kernels.passes import Pass, make_pass
from nonlin.kernels.storage import STREAMED

Array = npt.NDArray[Any]
DTYPES = ["float16", "bfloat16", "float32", "float64"]
COUNTS = [0, 1, 7, 8, 15, 16, 17, 1000, 1024]
x = Symbol("x")


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def packed(condition: Expression, values: Array) -> Array:
    bits = np.zeros(-(-values.size // 8) + 3, np.uint8)
    bits[-3:] = 0xA5  # nothing may be written there
    make_pass((("x", values.dtype.name),), ((condition, "bits"),))([values.ctypes.data, bits.ctypes.data], values.size)
    assert np.all(bits[-3:] == 0xA5)
    return bits[:-3]


def product(dy: Array, bits: Array, slopes: tuple[float, float]) -> Array:
    dx = np.full(dy.size + 1, 7, dy.dtype)
    multiplying(slopes, dy.dtype.name)([dy.ctypes.data, bits.ctypes.data, dx.ctypes.data], dy.size)
    assert dx[-1] == 7
    return dx[:-1]


def multiplying(slopes: tuple[float, float], dtype: str) -> Pass:
    zero, one = (Constant(slope) * Symbol("dy") for slope in slopes)
    return make_pass((("dy", dtype), ("bits", "bits")), ((where(Symbol("bits") > 0, one, zero), dtype),))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize(
    ("condition", "wanted"),
    [(x > 0, lambda v: v > 0), (x <= 0.5, lambda v: v <= 0.5), (logical_and(x > -1, x < 1), lambda v: (v > -1) & (v < 1))],
    ids=["above", "at most", "between"],
)
def test_bits_are_those_of_numpy(condition: Expression, wanted: Any, name: str, count: int) -> None:
    values = (np.arange(count) * 7 % 23 / 4 - 2.5).astype(dtype_of(name))
    known = np.unpackbits(packed(condition, values), count=count, bitorder="little").astype(bool)
    assert np.array_equal(known, wanted(values.astype(float)))


@pytest.mark.parametrize("name", DTYPES)
def test_a_condition_on_nan_does_not_hold(name: str) -> None:
    values = np.array([np.nan, 1, -np.nan, np.inf, -np.inf, -0.0], dtype_of(name))
    assert packed(x > 0, values).tolist() == [0b001010]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (0.25, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_products_are_those_of_numpy(slopes: tuple[float, float], name: str, count: int) -> None:
    dy = (np.arange(count) * 5 % 17 - 8).astype(dtype_of(name))
    mask = np.arange(count) % 3 == 0
    wanted = np.where(mask, dy * dy.dtype.type(slopes[1]), dy * dy.dtype.type(slopes[0]))
    assert np.array_equal(product(dy, np.packbits(mask, bitorder="little"), slopes), wanted)


@pytest.mark.parametrize("name", DTYPES)
def test_a_slope_of_zero_stops_everything(name: str) -> None:
    dy = np.array([np.nan, np.inf, 1.0, np.inf], dtype_of(name))
    assert product(dy, np.array([0b1000], np.uint8), (0.0, 1.0)).astype(float).tolist() == [0, 0, 0, np.inf]


@pytest.mark.parametrize("offset", [0, 1])
def test_results_too_big_for_a_cache(offset: int) -> None:
    """Only those that begin at a multiple of 64 bytes may be written around it."""
    count = STREAMED // 4 + 77
    dy = np.arange(count, dtype=np.float32) % 101 - 50
    mask = np.arange(count) % 7 < 3
    bits = np.packbits(mask, bitorder="little")
    room = np.empty(count + 32, np.float32)
    start = -room.ctypes.data % 64 // 4 + offset
    dx = room[start : start + count]
    multiplying((0.5, 1.0), "float32")([dy.ctypes.data, bits.ctypes.data, dx.ctypes.data], count)
    assert np.array_equal(dx, np.where(mask, dy, dy / 2))


@pytest.mark.parametrize("count", [5, 16, 4099])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "mish"])
def test_a_value_a_bit_and_a_code_at_once(name: str, dtype: str, count: int) -> None:
    entry, low, high = nl.get(name), -0.25, 1.25
    values = np.random.default_rng(0).normal(0, 60, count).astype(dtype)  # beyond what guards let through
    values[:4] = [np.nan, np.inf, -np.inf, 0]
    code = (entry.derivative_formula() - low) * (255 / (high - low)) + 0.5
    made = make_pass((("x", dtype),), ((canonical(entry.formula), dtype), (x > -1, "bits"), (code, "uint8")))
    y, bits, codes = np.empty_like(values), np.empty(-(-count // 8), np.uint8), np.empty(count, np.uint8)
    made([array.ctypes.data for array in (values, y, bits, codes)], count)
    # Not to the last bit: the guard of all three results together may leave other elements to the careful way.
    np.testing.assert_allclose(y, entry(values), rtol=2 * np.finfo(dtype).eps)
    assert np.array_equal(np.unpackbits(bits, count=count, bitorder="little"), values > -1)
    slopes = entry.derivative(values.astype(float))[1:]
    assert np.abs(codes[1:] / 255 * (high - low) + low - slopes).max() <= 0.501 * (high - low) / 255


def test_slices_on_threads_meet(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(nl.set_num_threads, nl.get_num_threads()))
    nl.set_num_threads(3)
    values = np.arange(threads.MINIMUM * 2 + 5, dtype=np.float32) % 7 - 3
    assert np.array_equal(np.unpackbits(packed(x > 0, values), count=values.size, bitorder="little"), values > 0)
