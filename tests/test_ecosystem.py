"""pandas, xarray and Dask work because the objects underneath are ufuncs: what goes in is what comes back."""

from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import nonlin as nl
from entries import ELEMENTWISE, over_entries, parameters

X = np.linspace(-3, 3, 12)


def expected(name: str, order: int = 0) -> np.ndarray:
    return ELEMENTWISE[name].derivative(X, order=order, **parameters(name))


# --- pandas -----------------------------------------------------------------------------------------------------------


@over_entries
def test_series_in_series_out(name: str) -> None:
    series = pd.Series(X, index=pd.date_range("2026-01-01", periods=12), name="signal")
    for order in (0, 1):
        result = ELEMENTWISE[name].derivative(series, order=order, **parameters(name))
        pd.testing.assert_series_equal(result, pd.Series(expected(name, order), index=series.index, name="signal"))


@over_entries
def test_frame_in_frame_out(name: str) -> None:
    frame = pd.DataFrame({"a": X, "b": X[::-1]}, index=list("abcdefghijkl"))
    result = ELEMENTWISE[name](frame, **parameters(name))
    columns = {"a": expected(name), "b": expected(name)[::-1]}
    pd.testing.assert_frame_equal(result, pd.DataFrame(columns, index=frame.index))


@pytest.mark.parametrize("dtype", ["float32", "int8", "float64"])
def test_series_keep_their_dtype(dtype: str) -> None:
    result = nl.relu(pd.Series([-1, 0, 2], dtype=dtype, name="x"))
    pd.testing.assert_series_equal(result, pd.Series([0, 0, 2], dtype=dtype, name="x"))


def test_a_parameter_may_be_a_series() -> None:
    index = ["a", "b", "c"]
    slopes = pd.Series([0.5, 0.25, 0.125], index=index)
    result = nl.leaky_relu(pd.Series([-1.0, -1.0, 1.0], index=index), slopes)
    pd.testing.assert_series_equal(result, pd.Series([-0.5, -0.25, 1.0], index=index))


def test_a_parameter_in_a_series_is_checked() -> None:
    with pytest.raises(ValueError, match=r"^elu: alpha must be >= 0, got"):
        nl.elu(1.0, alpha=pd.Series([1.0, -1.0]))


def test_series_of_text_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^gelu: "):
        nl.gelu(pd.Series(["a", "b"]))


def test_an_index_is_an_array() -> None:
    result = nl.relu(pd.Index([-1.0, 2.0], name="x"))
    pd.testing.assert_index_equal(result, pd.Index([0.0, 2.0], name="x"))


# --- xarray -----------------------------------------------------------------------------------------------------------


def data_array() -> xr.DataArray:
    return xr.DataArray(
        X.reshape(3, 4),
        dims=("time", "unit"),
        coords={"time": [10, 20, 30], "unit": list("abcd"), "weight": ("time", [1.0, 2.0, 3.0])},
        attrs={"units": "mV"},
        name="potential",
    )


@over_entries
def test_data_array_keeps_dimensions_coordinates_and_name(name: str) -> None:
    x = data_array()
    for order in (0, 1):
        result = ELEMENTWISE[name].derivative(x, order=order, **parameters(name))
        xr.testing.assert_identical(result.drop_attrs(), x.copy(data=expected(name, order).reshape(3, 4)).drop_attrs())


@pytest.mark.parametrize("keep", [True, False])
def test_attributes_are_kept_as_xarray_is_told(keep: bool) -> None:
    with xr.set_options(keep_attrs=keep):
        assert nl.gelu(data_array()).attrs == np.exp(data_array()).attrs == ({"units": "mV"} if keep else {})


def test_dataset_in_dataset_out() -> None:
    data = xr.Dataset({"a": data_array(), "b": ("time", [-1.0, 0.0, 1.0])})
    result = nl.relu(data)
    xr.testing.assert_allclose(result, xr.Dataset({"a": nl.relu(data.a), "b": nl.relu(data.b)}))


def test_a_parameter_along_a_dimension_is_aligned() -> None:
    x = data_array()
    slopes = xr.DataArray([0.0, 1.0, 2.0, 3.0], dims="unit", coords={"unit": list("abcd")})
    result = nl.leaky_relu(x, negative_slope=slopes)
    assert result.dims == x.dims
    assert np.array_equal(result, nl.leaky_relu(x.values, slopes.values))


# --- Dask -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over_entries
def test_chunked_dask_array_stays_lazy(name: str, dtype: type[np.floating]) -> None:
    """A chunk that cannot be computed shows that none is before it is asked for."""

    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a chunk was computed")

    blocks = da.from_array(X.astype(dtype), chunks=5)
    trap = blocks.map_blocks(explode, dtype=dtype, meta=np.empty(0, dtype))
    for order in (0, 1):
        lazy = ELEMENTWISE[name].derivative(trap, order=order, **parameters(name))
        assert isinstance(lazy, da.Array)
        assert (lazy.dtype, lazy._meta.dtype, lazy.chunks) == (dtype, dtype, blocks.chunks)


@over_entries
def test_chunked_dask_array_computes_the_same(name: str) -> None:
    blocks = da.from_array(X, chunks=5)
    result = ELEMENTWISE[name](blocks, **parameters(name)).compute(scheduler="synchronous")
    assert np.array_equal(result, expected(name))


def test_dask_chunks_may_be_computed_by_threads() -> None:
    x = np.random.default_rng(0).normal(size=(400, 100))
    result = nl.mish(da.from_array(x, chunks=(50, 30))).compute(scheduler="threads", num_workers=4)
    assert np.array_equal(result, nl.mish(x))


def test_dask_integers_stay_integers() -> None:
    lazy = nl.relu(da.from_array(np.arange(-3, 3, dtype=np.int8), chunks=2))
    assert lazy.dtype == np.int8
    assert lazy.compute(scheduler="synchronous").tolist() == [0, 0, 0, 0, 1, 2]


def test_a_lazy_parameter_stays_lazy() -> None:
    slopes = da.from_array(np.array([0.5, 0.25]), chunks=1)
    lazy = nl.leaky_relu(np.array([-1.0, -1.0]), negative_slope=slopes)
    assert isinstance(lazy, da.Array)
    assert lazy.compute(scheduler="synchronous").tolist() == [-0.5, -0.25]


def test_a_lazy_data_array_stays_lazy() -> None:
    lazy = nl.gelu(data_array().chunk(unit=2))
    assert isinstance(lazy.data, da.Array)
    assert np.array_equal(lazy.compute(scheduler="synchronous"), nl.gelu(data_array()))


def test_what_follows_numpys_protocols_is_taken() -> None:
    class Measured:
        def __array__(self, *_: Any, **__: Any) -> Any:
            return np.array([-1.0, 2.0])

    np.testing.assert_array_equal(nl.relu(Measured()), [0, 2])
