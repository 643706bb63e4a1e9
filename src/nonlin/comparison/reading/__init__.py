"""Reading: from whatever the user has to a data set, with everything that was decided about it said in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nonlin.comparison.data import DataError, Dataset
from nonlin.comparison.reading.bundled import BUNDLED
from nonlin.comparison.reading.files import find_file, listed, read_file
from nonlin.comparison.reading.objects import as_array, as_frame, from_mapping, from_torch, is_torch_dataset
from nonlin.comparison.reading.options import Options as Options
from nonlin.comparison.reading.tables import from_arrays, from_frame


def load(
    source: Any, target: Any = None, *, task: str | None = None, name: str | None = None, options: Options | None = None
) -> Dataset:
    """Read data: bundled, a file, a table of any library, or arrays.

    Parameters
    ----------
    source : str, path, DataFrame, Mapping, torch Dataset or array_like
        One of the bundled data sets; a file, also as ``FILE:COLUMN`` with its target; a DataFrame of pandas, polars or Arrow;
        arrays by name, such as scikit-learn's Bunch; a torch data set; features, one row per sample.
    target : str or array_like, optional
        Name of the column or array to predict, or the values to predict.
    task : {"classification", "regression"}, optional
        By default told from the target.
    name : str, optional
        What to call the data; by default file and target.
    options : Options, optional
        How to read them.

    Raises
    ------
    DataError
        If they cannot be studied. The message is one sentence.

    Examples
    --------
    >>> print(load("iris").describe())
    iris: 150 rows, 4 features, 3 classes
    """
    options = options or Options()
    if task not in (None, "classification", "regression"):
        raise DataError(f"the task is classification or regression, not {task!r}")
    if isinstance(source, Dataset):
        return source
    if isinstance(source, (str, Path)):
        return _from_name(source, target, task, name, options)
    where = name or "data"
    try:
        if isinstance(source, tuple) and len(source) == 2 and target is None:
            source, target = source
        return _from_object(source, target, task, name, options)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _from_object(
    source: Any, target: Any, task: str | None, name: str | None, options: Options, notes: tuple[str, ...] = ()
) -> Dataset:
    said = list(notes)
    if is_torch_dataset(source):
        source, target = from_torch(source)
    frame = as_frame(source)
    if frame is None and isinstance(source, Mapping):
        if isinstance(target, str) and all(np.ndim(column) == 1 for column in source.values()) and len(source) > 2:
            import pandas as pd

            frame = pd.DataFrame(source)
        else:
            source, target, more = from_mapping(source, target)
            said += more
            frame = as_frame(source)
    if frame is not None:
        called = f"data:{target}" if isinstance(target, str) else "data"
        return from_frame(frame, target, task, name or called, options, said)
    if target is None:
        raise DataError("arrays need a target: nonlin.compare(X, y)")
    if given := options.given:
        raise DataError(f"{listed(given)} are for tables whose columns have names, and arrays have none")
    return from_arrays(source, target, task, name or "data", said)


def _from_name(source: str | Path, target: Any, task: str | None, name: str | None, options: Options) -> Dataset:
    plain = str(source).replace("-", "_").lower()
    if plain in BUNDLED and not Path(source).is_file():
        if target is not None:
            raise DataError(f"{plain} is bundled and has its target already: leave --target out")
        if given := options.given:
            raise DataError(f"{plain} is bundled and read already: leave out {', '.join(f'--{option}' for option in given)}")
        try:
            features, values = BUNDLED[plain].read()
        except ImportError:
            raise DataError(f"{plain} comes with scikit-learn, which is missing: pip install scikit-learn") from None
        return replace(from_arrays(features, values, task, name or plain), notes=())  # nobody wonders about these
    source, target = split_target(source, target)
    path = find_file(source)
    called = f"{path.name}:{target}" if isinstance(target, str) and not Path(target).is_file() else path.name
    try:
        found, notes = read_file(path, options)
        if isinstance(found, np.ndarray) and found.dtype.names is None:
            found, target = _from_npy(found, target, options)
        return _from_object(found, target, task, name or called, options, tuple(notes))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def split_target(source: str | Path, target: Any) -> tuple[str | Path, Any]:
    """Split ``FILE:COLUMN``, where the file is there; a target in it goes before the one for all files.

    Examples
    --------
    >>> split_target("nothing.csv", "y")
    ('nothing.csv', 'y')
    """
    text = str(source)
    if Path(text).exists():
        return source, target
    places = [i for i, character in enumerate(text) if character == ":" and i > 1]  # C:\data.csv has one of its own
    for place in places:
        if text[:place] and text[place + 1 :] and (Path(text[:place]).exists() or "." in Path(text[:place]).name):
            return text[:place], text[place + 1 :]
    return source, target


def _from_npy(array: Any, target: Any, options: Options) -> tuple[Any, Any]:
    """Return features and target of an array without names: the target is in a file of its own, or a numbered column."""
    if isinstance(target, str) and target.lower().endswith(".npy"):
        return array, as_array(read_file(find_file(target), options)[0], "the target")
    if array.ndim == 2 and isinstance(target, str) and target.lstrip("-").isdecimal():
        number = int(target)
        if -array.shape[1] <= number < array.shape[1] > 1:
            return np.delete(array, number, axis=1), array[:, number]
    columns = f", or --target N is a column's number, 0 to {array.shape[1] - 1}" if array.ndim == 2 else ""
    raise DataError(f"its columns have no names: --target FILE.npy holds the values to predict{columns}")
