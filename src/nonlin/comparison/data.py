"""Data of a study: read from wherever it is, with everything that was decided about it said in words."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Integers: TypeAlias = npt.NDArray[np.int64]

FEWEST_ROWS = 20
MOST_LEVELS = 100  # a column with more categories is a name or a key, and one-hot columns of it would be learned by heart
MOST_INTEGER_CLASSES = 20  # a target of whole numbers with more values than this is a quantity


class DataError(ValueError):
    """Data that cannot be studied; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table and its target, in numbers, before anything is fitted to it.

    Attributes
    ----------
    name : str
    numeric : ndarray of float32, shape (rows, ...)
        The numeric features, NaN where one is missing; images keep their shape.
    categories : ndarray of int64, shape (rows, columns)
        The categorical features as codes, -1 where one is missing.
    levels : tuple of int
        How many categories each of those columns has.
    target : ndarray
        Codes of classes, or numbers.
    classes : tuple of str
        Names of the classes; empty for regression.
    notes : tuple of str
        What was decided on the way, in words.
    """

    name: str
    numeric: Floats
    categories: Integers
    levels: tuple[int, ...]
    target: npt.NDArray[Any]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return "classification" if self.classes else "regression"

    @property
    def metric(self) -> str:
        """What a score is."""
        return "accuracy" if self.classes else "R²"

    @property
    def features(self) -> int:
        """The number of features after one-hot encoding."""
        return int(np.prod(self.numeric.shape[1:])) + sum(self.levels)

    @property
    def fingerprint(self) -> str:
        """A hash of the values; the name and the notes have no part in it."""
        digest = hashlib.sha256()
        for array in (self.numeric, self.categories, self.target):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self.levels, self.classes)).encode())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Say in a few words what it is."""
        what = f"{len(self.classes)} classes" if self.classes else "regression"
        return f"{self.name}: {len(self):,} rows, {self.features:,} features, {what}"


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one split: three parts that share no row."""

    train: Integers
    validation: Integers
    test: Integers


def split(dataset: Dataset, splits: int) -> list[Split]:
    """Split the rows: disjoint test folds, and from the rest of each a fifth for validation; stratified by class.

    All training parts are cut to the same number of rows, so that models of different splits take the same steps.

    Examples
    --------
    >>> parts = split(load("iris"), 3)
    >>> [(len(p.train), len(p.validation), len(p.test)) for p in parts]
    [(80, 20, 50), (80, 20, 50), (80, 20, 50)]
    """
    random = np.random.default_rng(0)
    folds = max(3, splits)  # half of the data or less to train on would be another question
    fold = _deal(dataset, np.arange(len(dataset)), folds, random)
    parts = []
    for number in range(splits):
        test = np.flatnonzero(fold == number)
        rest = np.flatnonzero(fold != number)
        hand = _deal(dataset, rest, 5, random)
        parts.append(Split(random.permutation(rest[hand != 0]), rest[hand == 0], test))
    rows = min(len(part.train) for part in parts)
    return [replace(part, train=part.train[:rows]) for part in parts]


def _deal(dataset: Dataset, rows: Integers, hands: int, random: np.random.Generator) -> Integers:
    """Deal rows out to so many hands, each class evenly."""
    order = random.permutation(len(rows))
    if dataset.classes:
        order = order[np.argsort(dataset.target[rows][order], kind="stable")]
    hand = np.empty(len(rows), np.int64)
    hand[order] = np.arange(len(rows)) % hands
    return hand


def prepare(dataset: Dataset, train: Integers) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Turn features and target into a network's numbers, with what is fitted fitted on the training rows only.

    Numeric features are imputed by their median and standardised; categorical ones imputed by the most frequent category and
    made one-hot; a target of regression is standardised.

    Returns
    -------
    tuple of ndarray
        The features of all rows, float32, and the target of all rows.
    """
    numeric = dataset.numeric.reshape(len(dataset), -1).astype(np.float64)
    if numeric.size:
        seen = numeric[train]
        missing = np.isnan(seen)
        median = np.zeros(numeric.shape[1])
        some = ~missing.all(axis=0)
        median[some] = np.nanmedian(seen[:, some], axis=0)
        numeric = np.where(np.isnan(numeric), median, numeric)
        scale = numeric[train].std(axis=0)
        numeric = (numeric - numeric[train].mean(axis=0)) / np.where(scale > 1e-12, scale, 1)
    columns = [numeric]
    for codes, levels in zip(dataset.categories.T, dataset.levels, strict=True):
        counts = np.bincount(codes[train][codes[train] >= 0], minlength=levels)
        columns.append(np.eye(levels)[np.where(codes < 0, counts.argmax(), codes)])
    features = np.concatenate(columns, axis=1).astype(np.float32)
    if not dataset.categories.size:
        features = features.reshape(dataset.numeric.shape)
    if dataset.classes:
        return features, dataset.target
    scale = dataset.target[train].std()
    target = (dataset.target - dataset.target[train].mean()) / (scale if scale > 0 else 1)
    return features, target.astype(np.float32)


def constant_score(dataset: Dataset, part: Split) -> float:
    """Return the test score of the best constant prediction: the most frequent class of the training rows, or 0 for R²."""
    if not dataset.classes:
        return 0.0
    most = np.bincount(dataset.target[part.train]).argmax()
    return float(np.mean(dataset.target[part.test] == most))


# --- bundled ----------------------------------------------------------------------------------------------------------


def _sklearn(name: str) -> Callable[[], tuple[Any, Any]]:
    def read() -> tuple[Any, Any]:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(return_X_y=True)  # type: ignore[no-any-return]

    return read


def _two_moons() -> tuple[Any, Any]:
    from sklearn.datasets import make_moons

    return make_moons(1000, noise=0.25, random_state=0)  # type: ignore[no-any-return]


def _spirals() -> tuple[Any, Any]:
    """Make two spirals of one and a half turns each, one inside the other."""
    random = np.random.default_rng(0)
    kind = np.arange(1000) % 2
    way = np.sqrt(random.uniform(0.05, 1, 1000))
    angle = 3 * np.pi * way + np.pi * kind
    points = (way * np.stack([np.cos(angle), np.sin(angle)])).T
    return points + random.normal(0, 0.04, points.shape), kind


BUNDLED: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    **{name: _sklearn(name) for name in ("digits", "breast_cancer", "wine", "iris", "diabetes")},
    "two_moons": _two_moons,
    "spirals": _spirals,
}


# --- reading ----------------------------------------------------------------------------------------------------------


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
