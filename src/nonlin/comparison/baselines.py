"""Baselines: a constant, a linear model and gradient boosting on the same splits. A network below them is no answer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.comparison.data import Dataset, Prepared, prepare
from nonlin.comparison.metrics import METRICS, Metric, score
from nonlin.comparison.splits import Split

Array = npt.NDArray[np.float64]

_LEAST = 1e-12  # probability of a class that a model has never seen


def outputs_of_constant(dataset: Dataset, prepared: Prepared, part: Split, metric: Metric) -> Array:
    """Return what the best constant prediction puts out for a row: logarithms of class shares, or the mean or median."""
    if dataset.classes:
        shares = np.bincount(dataset.target[part.train], minlength=len(dataset.classes)) / len(part.train)
        return np.asarray(np.log(np.maximum(shares, _LEAST)), np.float64)
    middle = np.median if metric is METRICS["MAE"] else np.mean
    return np.asarray(middle(prepared.targets[part.train], axis=0), np.float64)


def constant_score(dataset: Dataset, prepared: Prepared, part: Split, metric: Metric, rows: npt.NDArray[np.int64]) -> float:
    """Return the score of the best constant prediction on some rows."""
    outputs = np.broadcast_to(outputs_of_constant(dataset, prepared, part, metric), (1, len(rows), dataset.outputs))
    return float(judge(outputs, prepared, rows, bool(dataset.classes), metric, np.nan)[0])


def judge(
    outputs: Array, prepared: Prepared, rows: npt.NDArray[np.int64], is_classes: bool, metric: Metric, instead: float
) -> Array:
    """Return the score of outputs of shape (networks, rows, outputs) on some rows; of a regression in the target's unit."""
    targets = prepared.targets[rows]
    if is_classes:
        return score(metric, outputs, targets, instead)
    return score(metric, outputs * prepared.scale + prepared.center, targets * prepared.scale + prepared.center, instead)


def fit(name: str, dataset: Dataset, part: Split, metric: Metric, class_weights: str) -> tuple[float, float]:
    """Fit a baseline to the training rows of a split; its strength is chosen on validation rows, as a learning rate is.

    Returns
    -------
    tuple of float
        Score on test and on validation rows.
    """
    prepared = prepare(dataset, part.train)
    if name == "constant":
        test, validation = (constant_score(dataset, prepared, part, metric, rows) for rows in (part.test, part.validation))
        return test, validation
    features = prepared.features.reshape(len(dataset), -1)
    targets = (
        prepared.targets if dataset.classes else prepared.targets.squeeze(-1) if dataset.outputs == 1 else prepared.targets
    )
    best = (-np.inf, -np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a baseline that has not converged is a baseline
        for model in _models(name, dataset, len(part.train), None if class_weights == "none" else class_weights):
            model.fit(features[part.train], targets[part.train])
            found = [
                float(
                    judge(
                        _outputs(model, features[rows], dataset)[None], prepared, rows, bool(dataset.classes), metric, -np.inf
                    )[0]
                )
                for rows in (part.validation, part.test)
            ]
            best = max(best, (found[0], found[1]), key=lambda pair: pair[0])
    return best[1], best[0]


def _models(name: str, dataset: Dataset, rows: int, weights: str | None) -> Iterator[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multioutput import MultiOutputRegressor

    if name == "linear":
        for strength in (0.01, 0.1, 1.0, 10.0):
            if dataset.classes:
                yield LogisticRegression(C=strength, max_iter=200, class_weight=weights)
            else:
                yield Ridge(alpha=1 / strength)
        return
    # A tree for each class and iteration: of many classes, fewer and larger steps.
    classes = max(1, dataset.outputs if dataset.outputs > 2 else 1)
    common = dict(
        max_iter=max(50, 150 // classes),
        learning_rate=0.1 if classes == 1 else 0.2,
        max_leaf_nodes=31 if rows > 2000 else 8,
        max_bins=255 if rows > 2000 else 64,
        random_state=0,
    )
    if dataset.classes:
        yield HistGradientBoostingClassifier(early_stopping=rows > 2000, class_weight=weights, **common)
        return
    model = HistGradientBoostingRegressor(early_stopping=rows > 2000, **common)
    yield model if dataset.outputs == 1 else MultiOutputRegressor(model)


def _outputs(model: Any, features: npt.NDArray[np.float32], dataset: Dataset) -> Array:
    if not dataset.classes:
        return np.asarray(model.predict(features), np.float64).reshape(len(features), -1)
    chances = np.full((len(features), len(dataset.classes)), _LEAST)
    chances[:, model.classes_] = np.maximum(model.predict_proba(features), _LEAST)
    return np.asarray(np.log(chances), np.float64)
