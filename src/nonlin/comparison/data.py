"""Data of a study: a table in numbers, its splits, and what is fitted to training rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
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
    >>> from nonlin.comparison import load
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
