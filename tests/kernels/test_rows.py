"""Compiled rows: what they write and what they do not, on one thread and on several, for any processor."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import nonlin as nl
from nonlin.arithmetic.number import EXACT, PLAIN_DOUBLE, SINGLE
from nonlin.kernels import threads
from nonlin.kernels.compiler import Compiler
from nonlin.kernels.llvm import Target
from nonlin.kernels.rows import Normalization, RowsKernel, RowsModule, can_temper, run
from nonlin.kernels.storage import STORAGES

Array = npt.NDArray[Any]
NAMES = ["softmax", "softmin", "log_softmax"]
DTYPES = ["float16", "bfloat16", "float32", "float64"]
LENGTHS = [1, 2, 7, 8, 9, 16, 31, 33, 1000]
TARGETS = [Target("aarch64-unknown-linux-gnu", "generic"), Target("x86_64-unknown-linux-gnu", "x86-64-v4")]

over_names = pytest.mark.parametrize("name", NAMES)
over_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def normalization(name: str) -> Normalization:
    found, _ = nl.activations[name].normalization
    assert found is not None
    return found


def random(shape: tuple[int, int], dtype: str) -> Array:
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return (np.random.default_rng(0).normal(size=shape) * 5).astype(kind)


def rows_of(name: str, x: Array, *, exact: bool = False) -> Array:
    """The results, with a look at what lies behind them."""
    out = np.full(x.size + 64, 7, x.dtype)
    run(normalization(name), x.dtype.name, x.ctypes.data, out.ctypes.data, x.shape, exact=exact)
    assert (out[x.size :] == 7).all()
    return out[: x.size].reshape(x.shape)


@pytest.mark.parametrize("size", LENGTHS)
@over_dtypes
@over_names
def test_only_the_result_is_written(name: str, dtype: str, size: int) -> None:
    for count in (1, 2, 7, 40):
        x = random((count, size), dtype)
        before = x.copy()
        together = rows_of(name, x)
        assert np.array_equal(x, before)
        assert np.array_equal(together, np.concatenate([rows_of(name, row) for row in x[:, np.newaxis]]))


@over_dtypes
@over_names
def test_exact_rows_are_float64_rounded_once(name: str, dtype: str) -> None:
    x = random((20, 33), dtype)
    exact = rows_of(name, x.astype(np.float64)).astype(x.dtype)
    assert np.array_equal(rows_of(name, x, exact=True), exact)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 1000])
@over_names
def test_slices_on_threads_give_the_same(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = random((count, 37), "float32")
    alone = rows_of(name, x)
    monkeypatch.setattr(threads, "MINIMUM", 64)
    before = nl.get_num_threads()
    nl.set_num_threads(3)
    try:
        assert np.array_equal(rows_of(name, x), alone)
    finally:
        nl.set_num_threads(before)


def test_temperatures_that_a_dtype_cannot_hold() -> None:
    assert can_temper(0.3, "float32")
    assert not can_temper(1e-39, "float32")
    assert not can_temper(1e300, "float32")
    assert can_temper(1e300, "float32", exact=True)
    x = np.float32([1, 2, 2])
    assert nl.softmax(x, temperature=1e-300).tolist() == [0, 0.5, 0.5]
    assert nl.softmax(x, temperature=1e300).tolist() == [np.float32(1 / 3)] * 3


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.cpu)
@over_dtypes
@over_names
def test_rows_lower_for_other_processors(name: str, dtype: str, target: Target) -> None:
    compiler = Compiler(target)
    for lanes in [PLAIN_DOUBLE] if dtype == "float64" else [SINGLE, EXACT]:
        for tempered in (False, True):
            kernel = RowsKernel(normalization(name), STORAGES[dtype], lanes, tempered)
            assert "\tret" in compiler.assembly_of(RowsModule(kernel, target).text_of_rows())
