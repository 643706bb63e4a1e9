"""Conditions packed eight to a byte, and the products that read them."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from nonlin.formula import Expression, Symbol
from nonlin.formula.primitives import logical_and
from nonlin.kernels.bits import multiply, pack
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
    pack(condition, values.dtype.name, values.ctypes.data, bits.ctypes.data, values.size)
    assert np.all(bits[-3:] == 0xA5)
    return bits[:-3]


def product(dy: Array, bits: Array, slopes: tuple[float, float]) -> Array:
    dx = np.full(dy.size + 1, 7, dy.dtype)
    multiply(dy.dtype.name, dy.ctypes.data, bits.ctypes.data, slopes, dx.ctypes.data, dy.size)
    assert dx[-1] == 7
    return dx[:-1]


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
    multiply("float32", dy.ctypes.data, bits.ctypes.data, (0.5, 1.0), dx.ctypes.data, count)
    assert np.array_equal(dx, np.where(mask, dy, dy / 2))
