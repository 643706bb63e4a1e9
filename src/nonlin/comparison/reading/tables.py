"""Tables: from a DataFrame or arrays to a data set, with its target and features in numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.comparison.data import FEWEST_ROWS, MOST_INTEGER_CLASSES, DataError, Dataset, Floats, Integers
from nonlin.comparison.reading.columns import Feature, LeftOut, feature, meaning
from nonlin.comparison.reading.files import listed
from nonlin.comparison.reading.leaks import leaks
from nonlin.comparison.reading.objects import as_array, is_frame
from nonlin.comparison.reading.options import Options
from nonlin.comparison.splits import in_order

_LARGEST = float(np.finfo(np.float32).max)  # networks compute in float32

_KINDS = {  # of notes on columns, in this order
    "categories": "made one-hot",
    "dates": "dates as numbers",
    "numbers": "texts read as numbers",
    "lists": "lists of numbers, each place a feature",
}


def from_frame(frame: Any, target: Any, task: str | None, name: str, options: Options, notes: Sequence[str] = ()) -> Dataset:
    """Make a data set of a DataFrame.

    Parameters
    ----------
    frame : DataFrame
    target : str or array_like
        A column's name, or the values to predict.
    task : {"classification", "regression"}, optional
    name : str
        Of the data.
    options : Options
    notes : sequence of str
        What was said on the way here.
    """
    said: list[str] = []
    if named := [str(level) for level in frame.index.names if level is not None]:
        if isinstance(target, str) and target in named:
            frame = frame.reset_index(target)
            named.remove(target)
        said += [f"left out: the index, {listed(named)}"] if named else []
    frame = frame.rename(columns=str)
    if np.ndim(target) == 0 and target is not None:  # columns may be numbered
        target = str(target)
    if twice := sorted({column for column in frame.columns if list(frame.columns).count(column) > 1}):
        raise DataError(f"it has more than one column {twice[0]!r}")
    if isinstance(target, str):
        _check_columns(frame, [target])
        values, frame, called = frame[target], frame.drop(columns=target), target
    elif target is None:
        raise DataError(f"which column is the target? --target one of {listed(frame.columns)}")
    else:
        values, called = as_series(target), "the target"
        if len(values) != len(frame):
            raise DataError(f"the target must have one value per row, got {len(values)} for {len(frame)} rows")
    if not len(frame):
        raise DataError("it has no rows")
    for option in ("drop", "features", "categorical"):
        _check_columns(frame, [column for column in getattr(options, option) if column != called], f"--{option}: ")
    split_by = {what: column for what in ("group", "time") if (column := getattr(options, what)) is not None}
    for what, column in split_by.items():
        _check_columns(frame, [column], f"--{what}: ")
    whole = frame
    unused = {*options.drop, *split_by.values()}
    frame = frame[[column for column in options.features or frame.columns if column not in unused]]
    comma_likely = any("semicolons" in note or "tabs" in note for note in notes)
    keep, codes, classes = read_target(
        values,
        called,
        task,
        said,
        categorical=called in options.categorical,
        decimal=options.decimal,
        comma_likely=comma_likely,
    )
    features: list[Feature] = []
    left_out: list[str] = []
    for column in frame.columns:
        try:
            features += feature(
                frame[column].reset_index(drop=True),
                column,
                categorical=column in options.categorical,
                asked=column in options.features,
                decimal=options.decimal,
                comma_likely=comma_likely,
            )
        except LeftOut as reason:
            left_out.append(f"{column} ({reason})")
    if not features:
        raise DataError(
            f"it has no column to learn from besides {called}" + (f"; left out: {listed(left_out)}" if left_out else "")
        )
    hints = leaks([_only(each, keep) for each in features], codes, classes, called)
    finished = _finish(name, features, keep, codes, classes, [*hints, *notes, *said], left_out)
    read = {
        what: meaning(whole[column].reset_index(drop=True), options.decimal, comma_likely)[0]
        for what, column in split_by.items()
    }
    return in_order(finished, **{what: values[keep] for what, values in read.items()})


def _check_columns(frame: Any, wanted: Iterable[str], option: str = "") -> None:
    for column in wanted:
        if column not in frame.columns:
            near = difflib.get_close_matches(column, list(frame.columns), 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {listed(frame.columns)}"
            if not near and not option and frame.shape[1] == 1:
                hint = f"it has one column only, {frame.columns[0]!r}; --sep says what separates columns"
            raise DataError(f"{option}there is no column {column!r}: {hint}")


def _only(one: Feature, keep: npt.NDArray[np.bool_]) -> Feature:
    """Return a feature of some rows."""
    return replace(
        one,
        numbers=None if one.numbers is None else one.numbers[keep],
        codes=None if one.codes is None else one.codes[keep],
    )


def as_series(target: Any) -> Any:
    """Return the values of a target as a pandas Series, its own types kept."""
    import pandas as pd

    if isinstance(target, pd.Series):
        return target.reset_index(drop=True)
    if is_frame(target) and target.shape[1] == 1:
        return target.iloc[:, 0].reset_index(drop=True)
    if hasattr(target, "to_pandas"):  # of polars or Arrow
        return pd.Series(target.to_pandas()).reset_index(drop=True)
    array = as_array(target, "y")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"y must have one value per row, got shape {array.shape}")
    return pd.Series(array)


def _several_targets(target: Any, task: str | None) -> npt.NDArray[np.float64] | None:
    """Return the values of a regression with several targets, of shape (rows, targets), or None if there is one."""
    shape = np.shape(target)
    if len(shape) != 2 or shape[1] < 2 or task == "classification" or is_frame(target):
        return None
    array = as_array(target, "y")
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


def _is_one_hot(target: npt.NDArray[np.float64]) -> bool:
    return bool(np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all())


def from_arrays(features: Any, target: Any, task: str | None, name: str, notes: Sequence[str] = ()) -> Dataset:
    """Make a data set of arrays; none of their columns is left out, for a model may count on them."""
    X = as_array(features, "X")
    if X.dtype.kind not in "biuf":
        raise DataError(f"X must be numbers, got {X.dtype}: a DataFrame may have categories")
    if X.ndim == 1:
        X = X[:, None]
    if X.ndim == 0 or 0 in X.shape[1:]:
        raise DataError(f"X must have a row per sample and at least one feature, got shape {X.shape}")
    said: list[str] = []
    several = _several_targets(target, task)
    if several is not None and task is None and _is_one_hot(several):
        target, several, task = several.argmax(axis=1), None, "classification"
        said.append("y is one-hot: each of its columns is a class")
    y = as_series(target) if several is None else several
    if len(y) != len(X):
        raise DataError(f"y must have one value per row of X, got shape ({len(y)},) for {len(X)} rows")
    if several is None:
        keep, codes, classes = read_target(y, "y", task, said)
    else:
        keep, classes = np.asarray(np.isfinite(several).all(axis=1)), ()
        codes = several[keep]
    hints = []
    if X.ndim == 2 and several is None:
        columns = [Feature(f"column {i}", X[keep, i : i + 1].astype(np.float64)) for i in range(min(X.shape[1], 200))]
        hints = leaks(columns, codes, classes, "y")
    hints = [hint.partition(": if")[0] for hint in hints]  # arrays have no --drop
    kept = X[keep]
    return _numbered(name, kept, np.zeros((len(kept), 0), np.int64), (), codes, classes, [*hints, *notes, *said])


def read_target(
    values: Any,
    called: str,
    task: str | None,
    notes: list[str],
    *,
    categorical: bool = False,
    decimal: str | None = None,
    comma_likely: bool = False,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any], tuple[str, ...]]:
    """Return which rows have a target, the target of these in numbers, and the names of the classes."""
    import pandas as pd

    series, remark = meaning(pd.Series(values).reset_index(drop=True), decimal, comma_likely)
    if series.dtype == object and series.dropna().map(lambda v: isinstance(v, (list, dict, np.ndarray))).any():
        raise DataError(f"{called} holds lists or records, and a target is one value per row")
    if pd.api.types.is_datetime64_any_dtype(series) or pd.api.types.is_timedelta64_dtype(series):
        raise DataError(f"{called} holds dates, and a target is a class or a number")
    if remark:
        notes.append(f"{called} is read as numbers: {remark}")
    is_number = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
    if is_number and pd.api.types.is_complex_dtype(series):
        raise DataError(f"{called} is complex, and a target is a class or a real number")
    keep = series.notna().to_numpy(dtype=bool, copy=True)
    if is_number:
        keep &= np.isfinite(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if not keep.all():
        count = np.count_nonzero(~keep)
        notes.append(
            f"{count} {'rows' if count > 1 else 'row'} without a value of {called} {'are' if count > 1 else 'is'} left out"
        )
    series = series[keep]
    distinct = series.nunique()
    if distinct < 2:
        only = f" ({series.iloc[0]})" if len(series) else ""
        raise DataError(f"{called} has {'one value only' if distinct else 'no values'}{only}: there is nothing to learn")
    if len(series) < FEWEST_ROWS:
        raise DataError(f"there are {len(series)} rows with a value of {called}: at least {FEWEST_ROWS} are needed")
    told = "classification" if task is None and categorical else task
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
        notes.append(f"classes with fewer than 5 rows: {listed(rare)}")
    return keep, codes.astype(np.int64), tuple(map(str, names))


def _finish(
    name: str,
    features: Sequence[Feature],
    keep: npt.NDArray[np.bool_],
    target: npt.NDArray[Any],
    classes: tuple[str, ...],
    notes: Sequence[str],
    left_out: Sequence[str],
) -> Dataset:
    """Put the columns together, and say what they are."""
    said = list(notes)
    for kind, text in _KINDS.items():
        if of_kind := [each.remark for each in features if each.kind == kind]:
            said.append(f"{text}: {listed(of_kind)}")
    if left_out:
        said.append(f"left out: {listed(left_out)}")
    if missing := [f"{each.name} ({each.missing})" for each in features if each.missing]:
        said.append(f"missing is a category of its own in {listed(missing)}")
    rows = np.count_nonzero(keep)
    numbers = [each.numbers[keep] for each in features if each.numbers is not None]
    codes = [each.codes[keep] for each in features if each.codes is not None]
    levels = tuple(each.levels for each in features if each.codes is not None)
    return _numbered(
        name,
        np.concatenate(numbers, axis=1) if numbers else np.zeros((rows, 0)),
        np.stack(codes, axis=1) if codes else np.zeros((rows, 0), np.int64),
        levels,
        target,
        classes,
        said,
        [each.name for each in features if each.numbers is not None for _ in range(each.numbers.shape[1])],
    )


def _numbered(
    name: str,
    numeric: npt.NDArray[Any],
    categories: Integers,
    levels: tuple[int, ...],
    target: npt.NDArray[Any],
    classes: tuple[str, ...],
    notes: Sequence[str],
    names: Sequence[str] = (),
) -> Dataset:
    said = list(notes)
    numeric = numeric if numeric.dtype.kind == "f" else numeric.astype(np.float32 if numeric.dtype.itemsize < 4 else np.float64)
    infinite = np.abs(numeric) > _LARGEST
    if infinite.any():
        count = np.count_nonzero(infinite)
        said.append(f"{count} infinite {'values count' if count > 1 else 'value counts'} as missing")
        numeric = np.where(infinite, np.nan, numeric)
    missing = np.isnan(numeric)
    if missing.any():
        by_name: dict[str, int] = {}
        for column, count in zip(names, np.count_nonzero(missing, axis=0).tolist() if names else (), strict=True):
            by_name[column] = max(by_name.get(column, 0), count)
        places = [f"{column} ({count})" for column, count in by_name.items() if count]
        where = listed(places) if names else f"{np.count_nonzero(missing)} of {missing.size:,}"
        said.append(f"missing numbers are imputed by their column's median: {where}")
    finished: Floats = _as_exact_as_needed(numeric)
    return Dataset(name, finished, categories, levels, target, classes, tuple(said))


def _as_exact_as_needed(numeric: npt.NDArray[Any]) -> Floats:
    """Return numbers in float32, unless what varies in a column would be lost in it, as in a time stamp of seconds."""
    single = numeric.astype(np.float32)
    if numeric.dtype == np.float32 or not numeric.size:
        return single
    flat = numeric.reshape(len(numeric), -1).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        lost = np.nanmax(np.abs(single.reshape(flat.shape) - flat), axis=0, initial=0, where=~np.isnan(flat))
        spread = np.nanmax(flat, axis=0, initial=-np.inf, where=~np.isnan(flat)) - np.nanmin(
            flat, axis=0, initial=np.inf, where=~np.isnan(flat)
        )
        return numeric.astype(np.float64) if np.any(lost > 1e-4 * spread) else single
