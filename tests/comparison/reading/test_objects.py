"""Objects of other libraries, arrays by name, and which of them is the target."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nonlin.comparison.data import DataError
from nonlin.comparison.reading import load
from nonlin.comparison.reading.bundled import BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name: str) -> None:
    data = load(name)
    assert data.name == name
    assert len(data) == len(data.numeric) == len(data.target)
    assert data.task == ("regression" if name == "diabetes" else "classification")
    assert data.fingerprint == load(name.upper().replace("_", "-")).fingerprint


def test_npz_and_arrays(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", X=X, y=y)
    assert load(tmp_path / "a.npz").fingerprint == load(X, y).fingerprint == load((X, y)).fingerprint


RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(40, 3)), np.arange(40) % 2
PAIRS = [("X", "y"), ("x", "y"), ("data", "target"), ("images", "labels"), ("features", "targets"), ("inputs", "outputs")]
PARTS = ["train_{}", "{}_train", "{}train"]


@pytest.mark.parametrize(("features", "target"), PAIRS)
def test_arrays_under_the_usual_names(features: str, target: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{features: X, target: Y, "extra": np.ones(3)})
    expected = load(X, Y).fingerprint
    assert load(tmp_path / "a.npz").fingerprint == expected
    assert load({features: X, target: Y}).fingerprint == expected


@pytest.mark.parametrize("pattern", PARTS)
@pytest.mark.parametrize(("features", "target"), PAIRS)
def test_parts_are_joined_and_it_is_said(features: str, target: str, pattern: str, tmp_path: Path) -> None:
    arrays = {}
    for part, rows in (("train", slice(0, 30)), ("test", slice(30, 40))):
        arrays |= {pattern.format(name).replace("train", part): values[rows] for name, values in ((features, X), (target, Y))}
    np.savez(tmp_path / "a.npz", **arrays)
    data = load(tmp_path / "a.npz")
    assert data.fingerprint == load(X, Y).fingerprint
    assert "are joined: the splits are drawn anew" in data.notes[0]


def test_a_named_target_leaves_one_array_for_the_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", spectra=X, kind=Y, wavelength=np.ones(3))
    assert load(tmp_path / "a.npz", "kind").fingerprint == load(X, Y).fingerprint
    with pytest.raises(DataError, match=r"a.npz: which array is the target\? It has spectra \(40, 3\), kind \(40,\)"):
        load(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a.npz: it has no array sort: it has spectra"):
        load(tmp_path / "a.npz", "sort")


def test_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "table.npy", np.column_stack([X, Y]))
    assert load(tmp_path / "X.npy", str(tmp_path / "y.npy")).fingerprint == load(X, Y).fingerprint
    np.testing.assert_array_equal(load(tmp_path / "table.npy", "3").numeric, X.astype(np.float32))
    with pytest.raises(DataError, match=r"X.npy: its columns have no names: --target FILE.npy .* 0 to 2"):
        load(tmp_path / "X.npy")


FRAME = pd.DataFrame({"a": X[:, 0], "kind": np.array(["p", "q", "r"])[np.arange(40) % 3], "y": Y})


def polars(frame: pd.DataFrame) -> Any:
    return pytest.importorskip("polars").DataFrame(frame.to_dict("list"))


TABLES = {
    "polars": polars,
    "lazy": lambda frame: polars(frame).lazy(),
    "arrow": lambda frame: pytest.importorskip("pyarrow").Table.from_pandas(frame),
    "batch": lambda frame: pytest.importorskip("pyarrow").RecordBatch.from_pandas(frame),
    "columns": lambda frame: frame.to_dict("list"),
    "records": lambda frame: frame.to_dict("records"),
    "structured": lambda frame: frame.to_records(index=False),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_all_libraries_are_one(kind: str) -> None:
    data = load(TABLES[kind](FRAME), "y")
    expected = load(FRAME, "y")
    assert (data.fingerprint, data.notes, data.name) == (expected.fingerprint, expected.notes, "data:y")


def test_a_target_beside_a_table() -> None:
    expected = load(FRAME, "y").fingerprint
    table = polars(FRAME)
    assert load(table.drop("y"), table["y"]).fingerprint == expected
    assert load((FRAME.drop(columns="y"), FRAME[["y"]])).fingerprint == expected


@pytest.mark.parametrize("as_frame", [True, False])
def test_a_bunch(as_frame: bool) -> None:
    from sklearn.datasets import load_wine

    data = load(load_wine(as_frame=as_frame))
    assert data.features == 13
    assert data.classes == ("class_0", "class_1", "class_2")


class Samples(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, number: int) -> Any:
        return torch.tensor(X[number]), int(Y[number])


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Any:
        return zip(X, Y, strict=True)


def test_torch_data_sets() -> None:
    expected = load(X, Y).fingerprint
    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    for source in (tensors, Samples(), torch.utils.data.DataLoader(Samples()), torch.utils.data.Subset(tensors, range(40))):
        assert load(source).fingerprint == expected
    with pytest.raises(DataError, match="can only be gone through"):
        load(Stream())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_what_is_masked_is_missing(dtype: type) -> None:
    values = (X * 20).astype(dtype)
    mask = RANDOM.random(X.shape) < 0.2
    data = load(np.ma.masked_array(values, mask), Y)
    assert np.array_equal(np.isnan(data.numeric), mask)
    np.testing.assert_allclose(data.numeric[~mask], values[~mask].astype(float), rtol=1e-6)
    target = np.ma.masked_array(Y, np.arange(40) < 7)
    assert len(load(X, target)) == 33
    words = np.ma.masked_array(np.array(["a", "b"])[Y], np.arange(40) < 7)
    assert (len(load(X, words)), load(X, words).classes) == (33, ("a", "b"))


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "Int64", "UInt8", "boolean", "string", "category", "Sparse[float]"])
@pytest.mark.parametrize("where", ["feature", "target"])
def test_nullable_and_other_types_of_pandas(dtype: str, where: str) -> None:
    plain = np.arange(40) % 4 + 1
    values: Any = pd.Series(np.where(plain > 2, "x", "y") if dtype in ("string", "category") else plain)
    values = values.astype("float" if "Sparse" in dtype else object if dtype == "boolean" else values.dtype)
    values = pd.Series(np.arange(40) % 2 == 0).astype(dtype) if dtype == "boolean" else values.astype(dtype)
    if "Sparse" not in dtype:
        values[5] = pd.NA
    frame = pd.DataFrame({"v": values, "w": X[:, 0], "y": Y})
    data = load(frame, "y" if where == "feature" else "v")
    assert data.features == (2 if where == "target" or dtype not in ("boolean", "string", "category") else 4)
    assert len(data) == 40 - (where == "target" and "Sparse" not in dtype)


def test_sparse_matrices() -> None:
    from scipy import sparse

    assert load(sparse.csr_array(X), Y).fingerprint == load(X, Y).fingerprint


def test_time_stamps_of_seconds_keep_their_seconds() -> None:
    seconds = 1.7e9 + np.arange(40.0)[::-1]
    np.testing.assert_array_equal(load(np.column_stack([seconds, X[:, 0]]), Y).numeric[:, 0], seconds)


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


def test_a_one_hot_target_is_a_class() -> None:
    kinds = np.arange(60) % 3
    data = load(np.random.default_rng(0).normal(size=(60, 2)), np.eye(3)[kinds])
    assert len(data.classes) == 3
    np.testing.assert_array_equal(data.target, kinds)
    assert data.notes == ("y is one-hot: each of its columns is a class",)
    assert load(data.numeric, np.eye(3)[kinds], task="regression").outputs == 3


def test_an_index_with_a_name_is_no_feature_but_may_be_the_target() -> None:
    frame = pd.DataFrame({"x": np.sqrt(np.arange(60)), "kind": ["a", "b"] * 30, 3: np.arange(60) % 2})
    assert "left out: the index, kind" in load(frame.set_index("kind"), 3).notes
    assert load(frame.set_index("kind"), "kind").classes == ("a", "b")


def test_the_task_is_overridden() -> None:
    X = np.arange(30.0)[:, None]
    assert load(X, [0, 1, 2] * 10, task="regression").task == "regression"
    with pytest.raises(DataError, match="not a number"):
        load(X, ["a", "b"] * 15, task="regression")
    with pytest.raises(DataError, match="too many to be classes"):
        load(X, np.linspace(0, 1, 30), task="classification")


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((30, 2)), None, "arrays need a target"),
        (np.ones((30, 2)), np.ones(29), r"y must have one value per row of X, got shape \(29,\) for 30 rows"),
        (np.ones((30, 2)), np.zeros((30, 3, 2)), "y must have one value per row"),
        (np.ones((30, 0)), np.arange(30), "at least one feature"),
        (np.full((30, 2), "a"), np.arange(30), "X must be numbers"),
        ([[1], [2, 3]], [1, 2], "X is no array"),
    ],
)
def test_bad_arrays(X: object, y: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(X, y)
