"""Splits: which rows train, which choose, which judge; random and stratified, by groups, or in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.comparison.data import DataError, Dataset, Integers

MOST_VALIDATION_ROWS = 4000  # more would not choose better, and networks are judged on them again and again


def in_order(dataset: Dataset, group: Any = None, time: Any = None) -> Dataset:
    """Return a data set whose rows have a group, or a time."""
    notes = list(dataset.notes)
    if group is not None and time is not None:
        raise DataError("rows are split by group or in the order of time, and both are given")
    for what, values in (("group", group), ("time", time)):
        if values is not None and len(values) != len(dataset):
            raise DataError(f"{what} must have a value for each row with a target: {len(dataset)} rows, {len(values)} values")
    groups = None if group is None else np.unique(np.asarray(group).astype(str), return_inverse=True)[1].astype(np.int64)
    when = None if time is None else _seconds(time)
    if groups is not None:
        notes.append(f"no group of rows is both trained and tested on ({len(np.unique(groups))} groups)")
    if when is not None:
        notes.append("what is tested comes after what was trained on")
    return replace(dataset, groups=groups, time=when, notes=tuple(notes)) if len(notes) > len(dataset.notes) else dataset


def _seconds(time: Any) -> npt.NDArray[np.float64]:
    """Return times as numbers in their order: dates, or numbers already."""
    import pandas as pd

    series = pd.Series(np.asarray(time))
    if not pd.api.types.is_numeric_dtype(series):
        try:
            series = pd.to_datetime(series, format="ISO8601")  # tables have been read before
        except (ValueError, TypeError) as error:
            raise DataError(f"time must be numbers or dates: {error}") from None
    if missing := int(series.isna().sum()):
        raise DataError(f"time must have a value for each row: {missing} {'is' if missing == 1 else 'are'} missing")
    if not pd.api.types.is_numeric_dtype(series):
        series = series.astype("int64")
    return np.asarray(series, np.float64)


@lru_cache(maxsize=8)
def sampled(dataset: Dataset, rows: int | None) -> Dataset:
    """Return so many rows of a data set, drawn at random, in their order; all of them for None."""
    if rows is None or rows >= len(dataset):
        return dataset
    some = np.sort(np.random.default_rng(1).permutation(len(dataset))[:rows])
    return replace(
        dataset,
        numeric=dataset.numeric[some],
        categories=dataset.categories[some],
        target=dataset.target[some],
        groups=None if dataset.groups is None else dataset.groups[some],
        time=None if dataset.time is None else dataset.time[some],
    )


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one split: three parts that share no row."""

    train: Integers
    validation: Integers
    test: Integers

    @property
    def sizes(self) -> list[int]:
        """The rows of each part."""
        return [len(self.train), len(self.validation), len(self.test)]


@lru_cache(maxsize=8)
def split(dataset: Dataset, splits: int) -> list[Split]:
    """Split the rows: disjoint test folds, and from the rest of each a fifth for validation.

    Rows are dealt class by class, and at random otherwise; all rows of a group go to the same part; rows with a time are never
    tested or validated on by what was trained on later ones. All training parts are cut to the same number of rows, so that
    models of different splits take the same steps.

    Examples
    --------
    >>> from nonlin.comparison.reading import load
    >>> parts = split(load("iris"), 3)
    >>> [part.sizes for part in parts]
    [[80, 20, 50], [80, 20, 50], [80, 20, 50]]
    """
    parts = _dealt(dataset, splits) if dataset.time is None else _by_time(dataset, splits)
    rows = min(len(part.train) for part in parts)
    # The newest of them where they are in the order of time.
    return [replace(part, train=part.train[-rows:]) for part in parts]


def _dealt(dataset: Dataset, splits: int) -> list[Split]:
    random = np.random.default_rng(0)
    folds = max(3, splits)  # half of the data or less to train on would be another question
    deal = _deal if dataset.groups is None else _deal_groups
    if dataset.groups is not None and (count := len(np.unique(dataset.groups))) < folds + 1:
        raise DataError(
            f"{dataset.name} has {count} groups, too few for {folds} test folds that share none: at most --splits {count - 1}"
            if count > 3
            else f"{dataset.name} has {count} groups: at least 4 are needed, since no group is both trained and tested on"
        )
    fold = deal(dataset, np.arange(len(dataset)), folds, random)
    parts = []
    for number in range(splits):
        rest = np.flatnonzero(fold != number)
        hands = max(5, -(-len(rest) // MOST_VALIDATION_ROWS))
        if dataset.groups is not None:
            hands = min(hands, len(np.unique(dataset.groups[rest])))
        hand = deal(dataset, rest, hands, random)
        parts.append(Split(random.permutation(rest[hand != 0]), rest[hand == 0], np.flatnonzero(fold == number)))
    return parts


def _deal(dataset: Dataset, rows: Integers, hands: int, random: np.random.Generator) -> Integers:
    """Deal rows out to so many hands, each class evenly."""
    order = random.permutation(len(rows))
    if dataset.classes:
        order = order[np.argsort(dataset.target[rows][order], kind="stable")]
    hand = np.empty(len(rows), np.int64)
    hand[order] = np.arange(len(rows)) % hands
    return hand


def _deal_groups(dataset: Dataset, rows: Integers, hands: int, random: np.random.Generator) -> Integers:
    """Deal whole groups out to so many hands, the largest first, each to the hand with the fewest rows."""
    assert dataset.groups is not None
    names, member, sizes = np.unique(dataset.groups[rows], return_inverse=True, return_counts=True)
    order = random.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    held, hand = np.zeros(hands), np.empty(len(names), np.int64)
    for group in order:
        hand[group] = held.argmin()
        held[hand[group]] += sizes[group]
    return np.asarray(hand[member], np.int64)


def _by_time(dataset: Dataset, splits: int) -> list[Split]:
    """Cut the rows, in the order of time, so that each test block follows the rows that its models were trained on."""
    assert dataset.time is not None
    order = np.argsort(dataset.time, kind="stable")
    blocks = np.array_split(order, splits + 3)  # what is trained on is three blocks long at least
    parts = []
    for number in range(splits):
        before: Sequence[Any] = blocks[: number + 3]
        past = np.concatenate(before)
        count = min(max(1, len(past) // 5), MOST_VALIDATION_ROWS)
        parts.append(Split(past[:-count], past[-count:], blocks[number + 3]))
    if dataset.classes and any(len(np.unique(dataset.target[part.train])) < 2 for part in parts):
        raise DataError(f"in {dataset.name} the first rows in the order of time are all of one class: use fewer --splits")
    return parts
