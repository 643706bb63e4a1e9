"""Arrays that know more than their numbers: masked arrays, and pandas' frames and series with labels and missing values."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def unwrapped(value: Any) -> tuple[Array, Array | None]:
    """Return the numbers of an array, and which of them are missing, None if the array cannot say.

    Missing are masked entries of a ``numpy.ma`` array, and NA in pandas' nullable columns. NaN is a number like any other.
    """
    if type(value) is np.ndarray:
        return value, None
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(value, masked.MaskedArray):
        return np.asarray(value.filled(0) if value.dtype.kind != "O" else value), masked.getmaskarray(value)
    if _is_pandas(value) and any(map(_is_nullable, _columns(value))):
        columns = [_column(column) for column in _columns(value)]
        numbers, missing = ([column[k] for column in columns] for k in (0, 1))
        if value.ndim == 1:
            return numbers[0], missing[0]
        return np.stack(numbers, axis=1), np.stack(missing, axis=1)
    return np.asarray(value), None


def wrapped(result: Array, like: Any, missing: Array | None) -> Any:
    """Return a result as the kind of array that another is: with its mask, its labels, or as its subclass."""
    if type(like) is np.ndarray:
        return result
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(like, masked.MaskedArray):
        return masked.masked_array(result, missing)
    if result.shape != np.shape(like):
        return result
    if hasattr(like, "__array_wrap__"):
        return like.__array_wrap__(result)
    if _is_pandas(like):
        made = type(like)(result, *like.axes).__finalize__(like)
        if missing is not None:
            made = made.astype(_nullable(result.dtype)).mask(missing)
        return made
    return result


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.Series, pandas.DataFrame))


def _columns(value: Any) -> list[Any]:
    return [value] if value.ndim == 1 else [value.iloc[:, k] for k in range(value.shape[1])]


def _is_nullable(column: Any) -> bool:
    """Whether a column's dtype is one of pandas' own for numbers that may be missing."""
    return not isinstance(column.dtype, np.dtype) and hasattr(column.dtype, "numpy_dtype")


def _column(column: Any) -> tuple[Array, Array]:
    if not _is_nullable(column):
        return np.asarray(column), np.zeros(len(column), bool)
    missing = np.asarray(column.isna(), bool)
    return column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=column.dtype.numpy_dtype.type(0)), missing


def _nullable(dtype: np.dtype[Any]) -> str:
    return {"float32": "Float32", "float16": "Float32"}.get(dtype.name, "Float64" if dtype.kind == "f" else _title(dtype.name))


def _title(name: str) -> str:
    return name.replace("uint", "UInt").replace("int", "Int") if name.startswith("u") else name.replace("int", "Int")
