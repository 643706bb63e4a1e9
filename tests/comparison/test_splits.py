"""Splits, metrics and baselines: no row on both sides, no score that scikit-learn would not give."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as theirs

from nonlin.comparison.baselines import fit
from nonlin.comparison.data import DataError, Dataset
from nonlin.comparison.metrics import METRICS, score
from nonlin.comparison.plan import BASELINES
from nonlin.comparison.reading import Options, load
from nonlin.comparison.splits import Split, in_order, sampled, split


def check(data: Dataset, parts: list[Split]) -> None:
    for part in parts:
        rows = np.concatenate([part.train, part.validation, part.test])
        assert len(set(rows)) == len(rows)
        assert min(part.sizes) > 0
    assert len({len(part.train) for part in parts}) == 1
    tests = np.concatenate([part.test for part in parts])
    assert len(set(tests)) == len(tests)


@pytest.mark.parametrize("splits", [1, 2, 3, 5, 10])
def test_splits_are_disjoint_stratified_and_even(splits: int) -> None:
    data = load("wine")
    parts = split(data, splits)
    check(data, parts)
    for part in parts:
        shares = np.bincount(data.target[part.test]) / len(part.test)
        assert shares == pytest.approx(np.bincount(data.target) / len(data), abs=0.08 if splits > 5 else 0.03)


@pytest.mark.parametrize("splits", [1, 3, 5])
def test_a_group_is_never_on_two_sides(splits: int) -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 17, 300)
    data = replace(load(random.normal(size=(300, 2)), random.normal(size=300)), groups=groups)
    parts = split(data, splits)
    check(data, parts)
    for part in parts:
        sides = [set(groups[rows]) for rows in (part.train, part.validation, part.test)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]


def test_too_few_groups_are_refused() -> None:
    data = load(np.arange(60.0), np.arange(60.0))
    with pytest.raises(DataError, match="has 3 groups: at least 4 are needed"):
        split(replace(data, groups=np.arange(60) % 3), 3)
    with pytest.raises(DataError, match="has 6 groups, too few for 10 test folds that share none: at most --splits 5"):
        split(replace(data, groups=np.arange(60) % 6), 10)


@pytest.mark.parametrize("splits", [1, 3, 10])
def test_nothing_is_tested_on_rows_older_than_those_trained_on(splits: int) -> None:
    random = np.random.default_rng(0)
    time = random.permutation(200).astype(float)
    data = replace(load(random.normal(size=(200, 2)), random.normal(size=200)), time=time)
    parts = split(data, splits)
    check(data, parts)
    for part in parts:
        assert time[part.train].max() < time[part.validation].min()
        assert time[part.validation].max() < time[part.test].min()


def test_a_sample_keeps_rows_and_what_belongs_to_them() -> None:
    random = np.random.default_rng(0)
    data = replace(load(np.arange(90.0), np.arange(90.0)), groups=np.arange(90), time=np.arange(90.0))
    some = sampled(data, 40)
    assert len(some) == 40
    for values in (some.numeric[:, 0], some.groups, some.time):
        np.testing.assert_array_equal(values, some.target)
    assert sampled(data, None) is sampled(data, 90) is data
    assert random is not None


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_as_scikit_learn_has_them(classes: int) -> None:
    random = np.random.default_rng(0)
    outputs = random.normal(size=(3, 50, classes))
    targets = random.integers(0, classes, 50)
    chances = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    for i in range(3):
        shown = chances[i, :, 1] if classes == 2 else chances[i]
        expected = {
            "accuracy": theirs.accuracy_score(targets, outputs[i].argmax(-1)),
            "balanced accuracy": theirs.balanced_accuracy_score(targets, outputs[i].argmax(-1)),
            "log loss": -theirs.log_loss(targets, chances[i]),
            "AUC": theirs.roc_auc_score(targets, shown, multi_class="ovr"),
        }
        for name, value in expected.items():
            assert METRICS[name].compute(outputs, targets)[i] == pytest.approx(value), name


@pytest.mark.parametrize("targets", [1, 3])
def test_metrics_of_regression(targets: int) -> None:
    random = np.random.default_rng(0)
    outputs, wanted = random.normal(size=(2, 40, targets)), random.normal(size=(40, targets))
    for i in range(2):
        assert METRICS["R²"].compute(outputs, wanted)[i] == pytest.approx(theirs.r2_score(wanted, outputs[i]))
        assert METRICS["MAE"].compute(outputs, wanted)[i] == pytest.approx(-theirs.mean_absolute_error(wanted, outputs[i]))


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_outputs_that_are_not_finite_score_like_a_constant(metric: Any) -> None:
    random = np.random.default_rng(0)
    outputs = random.normal(size=(3, 20, 2))
    outputs[1, 4, 0] = np.nan
    targets = np.arange(20) % 2 if metric.task == "classification" else random.normal(size=(20, 2))
    found = score(metric, outputs, targets, 0.125)
    assert found[1] == 0.125
    assert np.isfinite(found).all()
    assert (metric.write(found[0]) + metric.write_difference(-0.5, sign=True)).isprintable()


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_baselines_learn_what_there_is(name: str) -> None:
    data = load(name)
    part = split(data, 3)[0]
    found = {}
    for metric in (m for m in METRICS.values() if m.task == data.task):
        found[metric.name] = {baseline: fit(baseline, data, part, metric, "none")[0] for baseline in BASELINES}
        assert found[metric.name]["linear"] > found[metric.name]["constant"]
        assert found[metric.name]["boosting"] > found[metric.name]["constant"]
    if name == "iris":
        assert found["accuracy"]["constant"] == pytest.approx(1 / 3, abs=0.05)
        assert found["AUC"]["constant"] == 0.5
    else:
        assert found["R²"]["constant"] == pytest.approx(0, abs=0.05)


ROWS = 61  # the last one has no target


def ordered() -> Any:
    import pandas as pd

    frame = pd.DataFrame({"x": np.sqrt(np.arange(float(ROWS))), "who": np.arange(ROWS) % 6, "y": np.arange(float(ROWS)) % 7})
    frame["when"] = pd.date_range("2024-01-01", periods=ROWS)[::-1].strftime("%d.%m.%Y")
    frame.loc[ROWS - 1, "y"] = np.nan
    return frame


@pytest.mark.parametrize("kind", ["frame", "polars", "file"])
def test_groups_and_times_are_columns_of_any_table(kind: str, tmp_path: Path) -> None:
    frame: Any = ordered()
    if kind == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    elif kind == "file":
        frame.to_csv(tmp_path / "table.csv", index=False)
        frame = tmp_path / "table.csv"
    by_time = load(frame, "y", task="regression", options=Options(time="when", drop=("who",)))
    assert by_time.features == 1
    assert by_time.time is not None
    np.testing.assert_array_equal(np.argsort(by_time.time), np.arange(ROWS - 1)[::-1])
    assert by_time.notes[-1] == "what is tested comes after what was trained on"
    by_group = load(frame, "y", task="regression", options=Options(group="who", features=("x", "who")))
    assert by_group.features == 1
    np.testing.assert_array_equal(by_group.groups, np.arange(ROWS - 1) % 6)
    assert by_group.notes[-1] == "no group of rows is both trained and tested on (6 groups)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(group="whom"), "--group: there is no column 'whom': did you mean who?"),
        (dict(time="word"), "time must be numbers or dates"),
        (dict(time="gap"), "time must have a value for each row: 1 is missing"),
        (dict(time="when", group="who"), "rows are split by group or in the order of time, and both are given"),
    ],
)
def test_groups_and_times_that_split_nothing(options: dict[str, str], message: str) -> None:
    frame = ordered().assign(word="soon", gap=[np.nan, *range(ROWS - 1)])
    with pytest.raises(DataError, match=re.escape(message)):
        load(frame, "y", options=Options(**options))


def test_groups_and_times_of_arrays_have_a_value_for_each_row() -> None:
    with pytest.raises(DataError, match="time must have a value for each row with a target: 150 rows, 2 values"):
        in_order(load("iris"), time=[1, 2])
    np.testing.assert_array_equal(in_order(load("iris"), group=["a", "b"] * 75).groups, [0, 1] * 75)
