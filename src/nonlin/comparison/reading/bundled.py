"""Data sets that come with scikit-learn, or are made from a formula: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


BUNDLED: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    **{name: _sklearn(name) for name in ("digits", "breast_cancer", "wine", "iris", "diabetes")},
    "two_moons": _two_moons,
    "spirals": _spirals,
}
