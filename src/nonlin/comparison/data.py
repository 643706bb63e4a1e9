"""Data of a study: a table in numbers, and what is fitted to training rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
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
    numeric : ndarray of float32 or float64, shape (rows, ...)
        The numeric features, NaN where one is missing; images keep their shape.
    categories : ndarray of int64, shape (rows, columns)
        The categorical features as codes; a missing value is a category of its own.
    levels : tuple of int
        How many categories each of those columns has.
    target : ndarray
        Codes of classes, or numbers; of several targets of a regression, a column for each.
    classes : tuple of str
        Names of the classes; empty for regression.
    notes : tuple of str
        What was decided on the way, in words.
    groups : ndarray of int64, optional
        Which group a row belongs to: no group is both trained and tested on.
    time : ndarray, optional
        When a row was: nothing is tested on rows older than those it was trained on.
    """

    name: str
    numeric: Floats
    categories: Integers
    levels: tuple[int, ...]
    target: npt.NDArray[Any]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    groups: Integers | None = None
    time: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return "classification" if self.classes else "regression"

    @property
    def outputs(self) -> int:
        """How many numbers a model returns for a row: one for each class or target."""
        return len(self.classes) or (self.target.shape[1] if self.target.ndim > 1 else 1)

    @property
    def features(self) -> int:
        """The number of features after one-hot encoding."""
        return int(np.prod(self.numeric.shape[1:])) + sum(self.levels)

    @property
    def fingerprint(self) -> str:
        """A hash of the values; the name and the notes have no part in it."""
        digest = hashlib.sha256()
        for array in (self.numeric, self.categories, self.target, self.groups, self.time):
            if array is None:
                continue
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self.levels, self.classes)).encode())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Say in a few words what it is."""
        what = f"{len(self.classes)} classes" if self.classes else "regression"
        what += f" of {self.outputs} targets" if not self.classes and self.outputs > 1 else ""
        return f"{self.name}: {len(self):,} rows, {self.features:,} features, {what}"


@dataclass(frozen=True, eq=False)
class Prepared:
    """The numbers that a model gets.

    Attributes
    ----------
    features : ndarray of float32
        Of all rows.
    targets : ndarray
        Codes of classes; of a regression, standardised numbers, a column for each target.
    center, scale : ndarray
        What standardised the targets of a regression.
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    center: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]


def prepare(dataset: Dataset, train: Integers) -> Prepared:
    """Turn features and target into a network's numbers, with what is fitted fitted on the training rows only.

    Numeric features are imputed by their median and standardised; categorical ones made one-hot; a target of regression is
    standardised.
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
        columns.append(np.eye(levels)[codes])
    features = np.concatenate(columns, axis=1).astype(np.float32)
    if not dataset.categories.size:
        features = features.reshape(dataset.numeric.shape)
    if dataset.classes:
        return Prepared(features, dataset.target, np.zeros(1), np.ones(1))
    values = dataset.target.reshape(len(dataset), -1).astype(np.float64)
    center, spread = values[train].mean(axis=0), values[train].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return Prepared(features, ((values - center) / spread).astype(np.float32), center, spread)


def as_they_are(dataset: Dataset) -> npt.NDArray[np.float32]:
    """Return features that nothing was done to, but categories made one-hot and missing numbers the median."""
    numeric = dataset.numeric.astype(np.float32)
    if np.isnan(numeric).any():
        flat = numeric.reshape(len(numeric), -1)
        some = ~np.isnan(flat).all(axis=0)
        median = np.zeros(flat.shape[1], np.float32)
        median[some] = np.nanmedian(flat[:, some], axis=0)
        numeric = np.where(np.isnan(flat), median, flat).reshape(numeric.shape)
    if not dataset.categories.size:
        return numeric
    codes = [
        np.eye(levels, dtype=np.float32)[column] for column, levels in zip(dataset.categories.T, dataset.levels, strict=True)
    ]
    return np.concatenate([numeric.reshape(len(numeric), -1), *codes], axis=1)
