"""Reading: from whatever the user has to a data set, with everything that was decided about it said in words."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.comparison.data import FEWEST_ROWS, MOST_INTEGER_CLASSES, MOST_LEVELS, DataError, Dataset, Floats, Integers
from nonlin.comparison.reading.bundled import BUNDLED


def load(source: Any, target: Any = None, *, task: str | None = None, name: str | None = None) -> Dataset:
    """Read data: bundled, a file, a DataFrame, or arrays.

    Parameters
    ----------
    source : str, path, DataFrame or array_like
        One of :data:`BUNDLED`; a CSV, TSV, Parquet or NPZ file; a DataFrame; features, one row per sample.
    target : str or array_like, optional
        Name of the column to predict, or the values to predict. NPZ files have them under ``y``.
    task : {"classification", "regression"}, optional
        By default told from the target.
    name : str, optional
        What to call the data.

    Raises
    ------
    DataError
        If they cannot be studied. The message is one sentence.

    Examples
    --------
    >>> print(load("iris").describe())
    iris: 150 rows, 4 features, 3 classes
    """
    if task not in (None, "classification", "regression"):
        raise DataError(f"the task is classification or regression, not {task!r}")
    if isinstance(source, Dataset):
        return source
    if isinstance(source, (str, Path)):
        return _read(source, target, task, name)
    if isinstance(source, tuple) and len(source) == 2 and target is None:
        source, target = source
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _from_frame(source, target, task, name or "data")
    if target is None:
        raise DataError("arrays need a target: nonlin.compare(X, y)")
    return _from_arrays(source, target, task, name or "data")


def _read(source: str | Path, target: Any, task: str | None, name: str | None) -> Dataset:
    plain = str(source).replace("-", "_").lower()
    path = Path(source)
    if plain in BUNDLED and not path.is_file():
        if target is not None:
            raise DataError(f"{plain} is bundled and has its target already: leave --target out")
        try:
            features, values = BUNDLED[plain]()
        except ImportError:
            raise DataError(f"{plain} comes with scikit-learn, which is missing: pip install scikit-learn") from None
        return replace(_from_arrays(features, values, task, plain), notes=())  # nobody wonders about these
    if not path.exists():
        near = difflib.get_close_matches(plain, BUNDLED, 1)
        hint = f"did you mean {near[0]}?" if near and not path.suffix else f"bundled are {', '.join(BUNDLED)}"
        raise DataError(f"there is no file {source}: {hint}")
    name = name or path.name
    suffix = path.suffix.lower()
    try:
        if suffix == ".npz":
            return _read_npz(path, target, task, name)
        if suffix in (".csv", ".tsv", ".txt"):
            import pandas as pd

            frame = pd.read_csv(path, sep="\t" if suffix == ".tsv" else ",", skipinitialspace=True)
        elif suffix in (".parquet", ".pq"):
            import pandas as pd

            frame = pd.read_parquet(path)
        else:
            raise DataError(f"{path} is neither CSV, TSV, Parquet nor NPZ")
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"reading {path} needs {error.name or 'a package'}: {_sentence(error)}") from None
    except (OSError, ValueError, EOFError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise DataError(f"{path} cannot be read: {_sentence(error)}") from None
    if not isinstance(target, str):
        raise DataError(f"which column of {path} is the target? --target one of {_listed(map(str, frame.columns))}")
    return _from_frame(frame, target, task, name)


def _read_npz(path: Path, target: Any, task: str | None, name: str) -> Dataset:
    with np.load(path, allow_pickle=False) as arrays:  # a pickle runs whatever its author wants
        wanted = target if isinstance(target, str) else "y"
        for key in ("X", wanted):
            if key not in arrays.files:
                raise DataError(f"{path} has no array {key}: it has {_listed(arrays.files)}")
        return _from_arrays(arrays["X"], arrays[wanted], task, name)


def _sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (getattr(error, "strerror", None) or (lines[0] if lines else type(error).__name__)).rstrip(".")


def _listed(names: Any, most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _from_arrays(features: Any, target: Any, task: str | None, name: str) -> Dataset:
    X = _array(features, "X")
    if X.dtype.kind not in "biuf":
        raise DataError(f"X must be numbers, got {X.dtype}: a DataFrame may have categories")
    if X.ndim == 1:
        X = X[:, None]
    if X.ndim == 0 or 0 in X.shape[1:]:
        raise DataError(f"X must have a row per sample and at least one feature, got shape {X.shape}")
    y = _array(target, "y")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(y) != len(X):
        raise DataError(f"y must have one value per row of X, got shape {y.shape} for {len(X)} rows")
    notes: list[str] = []
    numeric = X.astype(np.float32)
    keep, codes, classes = _target(y, "y", task, notes)
    none = np.zeros((len(numeric), 0), np.int64)
    return _finish(name, numeric, none, (), keep, codes, classes, notes)


def _array(values: Any, what: str) -> npt.NDArray[Any]:
    if hasattr(values, "detach"):  # a torch tensor, wherever it is
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} is no array: {_sentence(error)}") from None


def _from_frame(frame: Any, target: Any, task: str | None, name: str) -> Dataset:
    import pandas as pd

    frame = frame.rename(columns=str)
    notes: list[str] = []
    if isinstance(target, str):
        if target not in frame.columns:
            near = difflib.get_close_matches(target, list(frame.columns), 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {_listed(frame.columns)}"
            raise DataError(f"{name} has no column {target!r}: {hint}")
        values, frame, called = frame[target], frame.drop(columns=target), target
        if getattr(values, "ndim", 1) != 1:
            raise DataError(f"{name} has more than one column {target!r}")
    elif target is None:
        raise DataError(f"which column is the target? target= one of {_listed(frame.columns)}")
    else:
        values, called = pd.Series(_array(target, "target").ravel()), "the target"
        if len(values) != len(frame):
            raise DataError(f"the target must have one value per row, got {len(values)} for {len(frame)} rows")
    if not len(frame):
        raise DataError(f"{name} has no rows")
    keep, codes, classes = _target(values, called, task, notes)
    numeric, categories, levels = [], [], []
    encoded, left_out = [], []
    for column in frame.columns:
        series = frame[column]
        distinct = series.nunique(dropna=True)
        if distinct < 2 and not series.isna().any():
            left_out.append(f"{column} (one value only)")
        elif series.isna().all():
            left_out.append(f"{column} (empty)")
        elif pd.api.types.is_bool_dtype(series) or pd.api.types.is_numeric_dtype(series):
            if pd.api.types.is_complex_dtype(series):
                raise DataError(f"column {column} is complex; take its real and imaginary part or its modulus")
            numeric.append(series.to_numpy(dtype=np.float64, na_value=np.nan))
        elif pd.api.types.is_datetime64_any_dtype(series) or pd.api.types.is_timedelta64_dtype(series):
            left_out.append(f"{column} (dates)")
        elif distinct > min(MOST_LEVELS, len(series) / 2):
            left_out.append(f"{column} ({distinct} different texts)")
        else:
            kind = pd.Categorical(series.astype("string"))
            categories.append(kind.codes.astype(np.int64))
            levels.append(len(kind.categories))
            encoded.append(f"{column} ({distinct})")
    if not numeric and not categories:
        raise DataError(f"{name} has no column to learn from besides {called}" + (f": {_listed(left_out)}" if left_out else ""))
    if encoded:
        notes.append(f"made one-hot: {_listed(encoded)}")
    if left_out:
        notes.append(f"left out: {_listed(left_out)}")
    rows = len(frame)
    return _finish(
        name,
        np.stack(numeric, axis=1).astype(np.float32) if numeric else np.zeros((rows, 0), np.float32),
        np.stack(categories, axis=1) if categories else np.zeros((rows, 0), np.int64),
        tuple(levels),
        keep,
        codes,
        classes,
        notes,
    )


def _target(
    values: Any, called: str, task: str | None, notes: list[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any], tuple[str, ...]]:
    """Return which rows have a target, the target of these in numbers, and the names of the classes."""
    import pandas as pd

    series = pd.Series(values)
    is_number = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
    keep = series.notna().to_numpy(dtype=bool, copy=True)
    if is_number:
        keep &= np.isfinite(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if not keep.all():
        notes.append(f"{np.count_nonzero(~keep)} rows without a value of {called} are left out")
    series = series[keep]
    distinct = series.nunique()
    if distinct < 2:
        only = f" ({series.iloc[0]})" if len(series) else ""
        raise DataError(f"{called} has {'one value only' if distinct else 'no values'}{only}: there is nothing to learn")
    if len(series) < FEWEST_ROWS:
        raise DataError(f"there are {len(series)} rows with a value of {called}: at least {FEWEST_ROWS} are needed")
    told = task
    if told is None:
        whole = is_number and bool(np.all(np.mod(series.to_numpy(dtype=np.float64), 1) == 0))
        is_classes = not is_number or (whole and distinct <= MOST_INTEGER_CLASSES)
        told = "classification" if is_classes else "regression"
        other = "regression" if is_classes else "classification"
        if is_number:
            notes.append(f"{told}, because {called} is a number with {distinct} different values; --task {other} overrides")
    if told == "regression":
        if not is_number:
            raise DataError(f"{called} is not a number, so it cannot be the target of a regression")
        return keep, series.to_numpy(dtype=np.float64), ()
    if distinct > min(1000, len(series) / 2):
        kind = "numbers" if is_number else "texts"
        raise DataError(f"{called} has {distinct} different {kind} in {len(series)} rows: too many to be classes")
    codes, names = pd.factorize(series, sort=True)
    rare = [f"{label} ({count})" for label, count in zip(names, np.bincount(codes), strict=True) if count < 5]
    if rare:
        notes.append(f"classes with fewer than 5 rows: {_listed(rare)}")
    return keep, codes.astype(np.int64), tuple(map(str, names))


def _finish(
    name: str,
    numeric: Floats,
    categories: Integers,
    levels: tuple[int, ...],
    keep: npt.NDArray[np.bool_],
    target: npt.NDArray[Any],
    classes: tuple[str, ...],
    notes: Sequence[str],
) -> Dataset:
    numeric, categories = numeric[keep], categories[keep]
    notes = list(notes)
    infinite = np.isinf(numeric)
    if infinite.any():
        notes.append(f"{np.count_nonzero(infinite)} infinite values count as missing")
        numeric = np.where(infinite, np.nan, numeric).astype(np.float32)
    missing = np.count_nonzero(np.isnan(numeric)), np.count_nonzero(categories < 0)
    if missing[0]:
        notes.append(f"{missing[0]} missing numbers are imputed by their column's median")
    if missing[1]:
        notes.append(f"{missing[1]} missing categories are imputed by their column's most frequent one")
    return Dataset(name, numeric, categories, levels, target, classes, tuple(notes))
