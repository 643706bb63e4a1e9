"""Leaks: features that tell the target by themselves, which the one who asks may not have when it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nonlin.comparison.reading.columns import Feature
from nonlin.comparison.reading.files import listed

_ROWS = 5000  # that are looked at: a leak is in all of them
_ALIKE = 0.995  # share of rows, or of variance, that is as good as all
_MOST_COLUMNS = 200

Values = np.ndarray[Any, np.dtype[Any]]


def leaks(features: Sequence[Feature], target: Values, classes: Sequence[str], called: str) -> list[str]:
    """Say which columns tell the target alone, and which numbers add up to it.

    Parameters
    ----------
    features : sequence of Feature
    target : ndarray
        Codes of classes, or numbers.
    classes : sequence of str
        Empty for regression.
    called : str
        The target's name.
    """
    rows = np.arange(len(target))
    if len(rows) > _ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _ROWS, replace=False))
    y = target[rows]
    told = [f.name for f in features[:_MOST_COLUMNS] if any(_tells(column[rows], y, bool(classes)) for column in _views(f))]
    notes = []
    if told:
        verb = "tells" if len(told) == 1 else "tell, each"
        notes.append(
            f"careful: {listed(told)} {verb} {called} alone: if that is not known when you predict, --drop {','.join(told[:3])}"
        )
    elif not classes and (parts := _sum(features, rows, y)):
        notes.append(
            f"careful: {called} is a weighted sum of {' and '.join(parts)}: if these are not known when you predict, "
            f"--drop {','.join(parts)}"
        )
    return notes


def _views(feature: Feature) -> list[Values]:
    """Return what a column may tell by: its values, and whether there is one."""
    if feature.codes is not None:
        return [feature.codes]
    assert feature.numbers is not None
    first = feature.numbers[:, 0]
    missing = np.isnan(first)
    return [first, missing.astype(np.float64)] if 0.01 < missing.mean() < 0.99 else [first]


def _tells(column: Values, y: Values, classes: bool) -> bool:
    """Whether a column tells the target: by a table of its values, by cuts, or as its multiple."""
    present = np.isfinite(column.astype(np.float64))
    column, y = column[present].astype(np.float64), y[present]
    if len(y) < 20 or len(np.unique(y)) < 2 or len(np.unique(column)) < 2:
        return False
    values, codes = np.unique(column, return_inverse=True)
    if len(values) * 5 <= len(y) and _told_by_table(codes, y, classes):
        return True
    if not classes:
        return bool(abs(np.corrcoef(column, y)[0, 1]) > 0.99999)
    # In the order of the column, the classes come in blocks: so many cuts are all it takes.
    in_order = y[np.argsort(column, kind="stable")]
    of_value = [len(np.unique(y[codes == i])) for i in range(len(values))] if len(values) < 50 else [1]
    blocks = 1 + np.count_nonzero(in_order[1:] != in_order[:-1])
    return max(of_value) == 1 and blocks == len(np.unique(y))


def _told_by_table(codes: Values, y: Values, classes: bool) -> bool:
    """Whether knowing the value is knowing the target, nearly always, while the most frequent target is no good guess."""
    if classes:
        table = np.zeros((codes.max() + 1, int(y.max()) + 1))
        np.add.at(table, (codes, y.astype(np.int64)), 1)
        guess = table.sum(axis=0).max() / len(y)
        known = table.max(axis=1).sum() / len(y)
        return bool(known >= _ALIKE and (1 - known) < 0.1 * (1 - guess))
    counts = np.bincount(codes)
    means = np.bincount(codes, y) / counts
    return bool(np.sum((y - means[codes]) ** 2) <= 1e-6 * np.sum((y - y.mean()) ** 2))


def _sum(features: Sequence[Feature], rows: Values, y: Values) -> list[str]:
    """Return the columns of numbers whose weighted sum the target is."""
    usable = [f for f in features if f.numbers is not None and f.numbers.shape[1] == 1 and np.isfinite(f.numbers[rows]).all()]
    if not 2 <= len(usable) <= min(_MOST_COLUMNS, len(y) // 5):
        return []
    table = np.concatenate([f.numbers[rows] for f in usable if f.numbers is not None], axis=1)
    scale = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(scale > 0, scale, 1)
    centred = (y - y.mean()) / (y.std() or 1)
    weights = np.linalg.lstsq(table, centred, rcond=None)[0]
    if np.mean((table @ weights - centred) ** 2) > 1e-8:
        return []
    return [f.name for f, weight in zip(usable, weights, strict=True) if abs(weight) > 1e-3]
