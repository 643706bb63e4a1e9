"""Metrics: what a score is, how it is computed from the outputs of networks, and how it is written.

A score is kept so that more is better, whatever the metric: a log loss or a mean absolute error with its sign turned. What a
person reads has the metric's own sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy  # its parts are loaded when they are used

Array: TypeAlias = npt.NDArray[np.float64]
Compute: TypeAlias = Callable[[Array, npt.NDArray[Any]], Array]


@dataclass(frozen=True)
class Metric:
    """What a score is.

    Attributes
    ----------
    name : str
        The field's name for it.
    task : str
        ``classification`` or ``regression``.
    compute : callable
        From outputs of shape (networks, rows, outputs), logits of classes or predicted numbers, and the targets of the rows, to
        the score of each network; more is better.
    region : float
        Of practical equivalence: smaller differences make no difference in practice.
    sign : int
        -1 for a metric of which less is better.
    percent : bool
        Whether it is written in percent.
    relative : bool
        Whether the region is a share of what a constant prediction scores: the metric has the unit of the target.
    """

    name: str
    task: str
    compute: Compute
    region: float
    sign: int = 1
    percent: bool = False
    relative: bool = False

    def write(self, score: float, digits: int = 2) -> str:
        """Write a score.

        Examples
        --------
        >>> METRICS["accuracy"].write(0.9666), METRICS["log loss"].write(-0.25), METRICS["MAE"].write(-123.456)
        ('96.66 %', '0.250', '123')
        """
        value = self.sign * score
        if self.percent:
            return f"{100 * value:.{digits}f} %"
        return _in_units(value) if self.relative else f"{value:.{digits + 1}f}"

    def write_difference(self, difference: float, *, sign: bool = False) -> str:
        """Write a difference of scores.

        Examples
        --------
        >>> METRICS["accuracy"].write_difference(-0.005, sign=True)
        '-0.50 points'
        """
        value, plus = self.sign * difference, "+" if sign else ""
        if self.percent:
            return f"{100 * value:{plus}.2f} points"
        if self.relative:
            return ("+" if sign and value > 0 else "") + _in_units(value)
        return f"{value:{plus}.3f}"

    @property
    def scale(self) -> int:
        """What a chart multiplies a difference with to have it in the unit that people read."""
        return self.sign * (100 if self.percent else 1)


def _in_units(value: float) -> str:
    """Write a number of any size with three digits at least, never as a power of ten below a billion."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if abs(value) < 1e9 else f"{value:.3g}"


def _accuracy(outputs: Array, targets: npt.NDArray[Any]) -> Array:
    return np.asarray((outputs.argmax(-1) == targets).mean(axis=1), np.float64)


def _balanced_accuracy(outputs: Array, targets: npt.NDArray[Any]) -> Array:
    right = outputs.argmax(-1) == targets
    return np.asarray(np.mean([right[:, targets == kind].mean(axis=1) for kind in np.unique(targets)], axis=0), np.float64)


def _log_loss(outputs: Array, targets: npt.NDArray[Any]) -> Array:
    logarithms = outputs - scipy.special.logsumexp(outputs, axis=-1, keepdims=True)
    return np.asarray(np.take_along_axis(logarithms, targets[None, :, None], axis=2).mean(axis=(1, 2)), np.float64)


def _auc(outputs: Array, targets: npt.NDArray[Any]) -> Array:
    """Return the area under the ROC curve; of several classes, the mean of each against the rest."""
    classes = outputs.shape[-1]
    if classes == 2:
        values = (outputs[..., 1] - outputs[..., 0])[..., None]
        kinds = [1]
    else:
        values, kinds = scipy.special.softmax(outputs, axis=-1), list(range(classes))
    ranks = scipy.stats.rankdata(values, axis=1)
    areas = []
    for place, kind in enumerate(kinds):
        positive = targets == kind
        count = int(positive.sum())
        if 0 < count < len(targets):
            wins = ranks[:, positive, place].sum(axis=1) - count * (count + 1) / 2
            areas.append(wins / (count * (len(targets) - count)))
    return np.asarray(np.mean(areas, axis=0), np.float64) if areas else np.full(len(outputs), 0.5)


def _r2(outputs: Array, targets: npt.NDArray[Any]) -> Array:
    """Return R², of several targets their mean."""
    total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    residual = np.square(outputs - targets).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(total > 0, residual / total, np.where(residual > 0, np.inf, 0.0))
    return np.asarray((1 - share).mean(axis=-1), np.float64)


def _mae(outputs: Array, targets: npt.NDArray[Any]) -> Array:
    return np.asarray(-np.abs(outputs - targets).mean(axis=(1, 2)), np.float64)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", _accuracy, 0.005, percent=True),
        Metric("balanced accuracy", "classification", _balanced_accuracy, 0.005, percent=True),
        Metric("AUC", "classification", _auc, 0.005),
        Metric("log loss", "classification", _log_loss, 0.01, sign=-1),
        Metric("R²", "regression", _r2, 0.01),
        Metric("MAE", "regression", _mae, 0.01, sign=-1, relative=True),
    )
}
DEFAULT = {"classification": "accuracy", "regression": "R²"}


def find(name: str) -> Metric:
    """Return a metric by its name, however it is spelled.

    Raises
    ------
    KeyError
        With a sentence that says which there are.

    Examples
    --------
    >>> find("balanced_accuracy").name, find("roc-auc").name, find("r2").name
    ('balanced accuracy', 'AUC', 'R²')
    """

    def plain(text: str) -> str:
        return "".join(letter for letter in text.lower().replace("²", "2") if letter.isalnum()).removeprefix("roc")

    for metric in METRICS.values():
        if plain(metric.name) == plain(str(name)):
            return metric
    known = ", ".join(metric.name.replace("²", "2").replace(" ", "-") for metric in METRICS.values())
    raise KeyError(f"there is no metric {name!r}: there are {known}")


def score(metric: Metric, outputs: Array, targets: npt.NDArray[Any], instead: float) -> Array:
    """Return the score of each network; ``instead``, that of a constant prediction, where an output is not finite."""
    finite = np.isfinite(outputs).all(axis=(1, 2))
    found = np.full(len(outputs), instead)
    if finite.any():
        found[finite] = metric.compute(outputs[finite], targets)
    # An R² of -1e30 is a number, and would make every mean one: it is no worse than not to have been trained.
    return np.where(np.isfinite(found), found, instead)
