"""Data sets that come with scikit-learn, or are made from a formula: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


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


class Bundled(NamedTuple):
    """A data set under a name: how to get features and target, and what it is."""

    read: Callable[[], tuple[Any, Any]]
    about: str


BUNDLED: Mapping[str, Bundled] = {
    "digits": Bundled(_sklearn("digits"), "1,797 images of 8 x 8 points; 10 classes"),
    "breast_cancer": Bundled(_sklearn("breast_cancer"), "569 tumours, 30 measurements; benign or malignant"),
    "wine": Bundled(_sklearn("wine"), "178 wines, 13 measurements; 3 cultivars"),
    "iris": Bundled(_sklearn("iris"), "150 flowers, 4 measurements; 3 species"),
    "diabetes": Bundled(_sklearn("diabetes"), "442 patients, 10 measurements; progression after a year, a regression"),
    "two_moons": Bundled(_two_moons, "1,000 points in the plane, made by a formula; 2 classes"),
    "spirals": Bundled(_spirals, "1,000 points on two spirals, made by a formula; 2 classes"),
}
