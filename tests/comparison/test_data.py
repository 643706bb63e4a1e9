"""Data: what is read, what is decided and said, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nonlin.comparison.data import DataError, prepare
from nonlin.comparison.reading import load
from nonlin.comparison.reading.bundled import BUNDLED
from nonlin.comparison.splits import split


def houses(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "area": random.uniform(30, 200, rows),
            "town": random.choice(["Bonn", "Kiel", "Ulm"], rows),
            "garden": random.choice([True, False], rows),
            "name": [f"house {i}" for i in range(rows)],
            "country": "DE",
            "price": random.uniform(1e5, 9e5, rows),
        }
    )
    frame.loc[3, "area"] = np.nan
    frame.loc[4, "town"] = None
    frame.loc[5, "price"] = np.nan
    return frame


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name: str) -> None:
    data = load(name)
    assert data.name == name
    assert len(data) == len(data.numeric) == len(data.target)
    assert data.task == ("regression" if name == "diabetes" else "classification")
    assert data.fingerprint == load(name.upper().replace("_", "-")).fingerprint


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_file_with_categories_and_missing_values(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"houses.{suffix}"
    frame = houses()
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    data = load(path, "price")
    assert data.describe() == f"houses.{suffix}: 59 rows, 5 features, regression"
    assert data.notes == (
        "1 rows without a value of price are left out",
        "regression, because price is a number with 59 different values; --task classification overrides",
        "made one-hot: town (3)",
        "left out: name (60 different texts), country (one value only)",
        "1 missing numbers are imputed by their column's median",
        "1 missing categories are imputed by their column's most frequent one",
    )


def test_npz_and_arrays(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", X=X, y=y)
    assert load(tmp_path / "a.npz").fingerprint == load(X, y).fingerprint == load((X, y)).fingerprint


def test_images_keep_their_shape() -> None:
    X = np.random.default_rng(0).normal(size=(30, 1, 8, 8))
    data = load(X, np.arange(30) % 2)
    assert prepare(data, split(data, 1)[0].train).features.shape == (30, 1, 8, 8)
    assert data.features == 64


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["a", "b"] * 15, "classification"),
        ([True, False] * 15, "classification"),
        ([0, 1, 2] * 10, "classification"),
        ([0.0, 1.0] * 15, "classification"),
        (list(range(30)), "regression"),
        (np.linspace(0, 1, 30), "regression"),
    ],
)
def test_the_task_is_told_from_the_target(target: object, task: str) -> None:
    data = load(np.ones((30, 1)) * np.arange(30)[:, None], target)
    assert data.task == task


def test_the_task_is_overridden() -> None:
    X = np.arange(30.0)[:, None]
    assert load(X, [0, 1, 2] * 10, task="regression").task == "regression"
    with pytest.raises(DataError, match="not a number"):
        load(X, ["a", "b"] * 15, task="regression")
    with pytest.raises(DataError, match="too many to be classes"):
        load(X, np.linspace(0, 1, 30), task="classification")


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
    assert data.notes[-2:] == ("1 infinite values count as missing", "21 missing numbers are imputed by their column's median")
    assert np.isfinite(prepare(data, np.arange(60)).features).all()


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("", "y", "cannot be read: No columns to parse from file"),
        ("x,y\n", "y", "t.csv has no rows"),
        ("x,y\n" + "1,2\n" * 30, None, r"which column of .*t.csv is the target\? --target one of x, y"),
        ("x,price\n" + "1,2\n" * 30, "prize", "t.csv has no column 'prize': did you mean price?"),
        ("x,y\n" + "1,2\n" * 30, "y", r"y has one value only \(2\): there is nothing to learn"),
        ("x,y\n" + "1,\n" * 30, "y", "y has no values: there is nothing to learn"),
        ("x,y\n1,2\n3,4\n", "y", "there are 2 rows with a value of y: at least 20 are needed"),
        ("y\n" + "1\n2\n" * 30, "y", "t.csv has no column to learn from besides y"),
        ("x,y\n" + "1,2\n3,4,5\n" * 30, "y", "cannot be read: Error tokenizing data"),
    ],
)
def test_bad_tables(content: str, target: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load(path, target)


def test_bad_files(tmp_path: Path) -> None:
    for name, content, message in [
        ("a.parquet", b"nonsense", "cannot be read"),
        ("a.npz", b"nonsense", "cannot be read"),
        ("a.docx", b"x", "neither CSV, TSV, Parquet nor NPZ"),
        ("b.csv", b"\xff\xfe\x00\x80" * 9, "cannot be read"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(tmp_path / name, "y")
    np.savez(tmp_path / "c.npz", A=np.ones(3))
    with pytest.raises(DataError, match="has no array X: it has A"):
        load(tmp_path / "c.npz")
    with pytest.raises(DataError, match=r"there is no file digit: did you mean digits\?"):
        load("digit")
    with pytest.raises(DataError, match=r"there is no file nothing\.csv: bundled are digits"):
        load("nothing.csv")


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((30, 2)), None, "arrays need a target"),
        (np.ones((30, 2)), np.ones(29), r"y must have one value per row of X, got shape \(29,\) for 30 rows"),
        (np.ones((30, 2)), np.eye(30)[:, :3], "y must have one value per row"),
        (np.ones((30, 0)), np.arange(30), "at least one feature"),
        (np.full((30, 2), "a"), np.arange(30), "X must be numbers"),
        ([[1], [2, 3]], [1, 2], "X is no array"),
    ],
)
def test_bad_arrays(X: object, y: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(X, y)
