"""Data sets: what is fitted to training rows."""

import numpy as np
import pytest

from nonlin.comparison.data import prepare
from nonlin.comparison.reading import load
from nonlin.comparison.splits import split


def test_images_keep_their_shape() -> None:
    X = np.random.default_rng(0).normal(size=(30, 1, 8, 8))
    data = load(X, np.arange(30) % 2)
    assert prepare(data, split(data, 1)[0].train).features.shape == (30, 1, 8, 8)
    assert data.features == 64


def test_nothing_is_fitted_to_rows_outside_the_training_fold() -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.linspace(0, 1, 60)
    part = split(load(X, y), 3)[0]
    changed = X.copy()
    changed[part.test] *= 1000
    changed[part.validation] += 77
    before, after = (prepare(load(x, y), part.train).features for x in (X, changed))
    np.testing.assert_array_equal(before[part.train], after[part.train])
    assert before[part.train].mean(0) == pytest.approx([0, 0], abs=1e-6)


def test_imputation() -> None:
    X = np.array([[1.0], [2.0], [np.nan]] * 20)
    X[0] = np.inf
    data = load(X, np.arange(60) % 2)
    assert data.notes[-2:] == (
        "1 infinite value counts as missing",
        "missing numbers are imputed by their column's median: 21 of 60",
    )
    assert np.isfinite(prepare(data, np.arange(60)).features).all()
