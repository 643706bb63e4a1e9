"""Columns: what each is taken for, what is left out, what is hinted at."""

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nonlin.comparison.data import DataError
from nonlin.comparison.reading import Options, load

ROWS = 120
RANDOM = np.random.default_rng(1)
NUMBERS = RANDOM.normal(size=ROWS).round(3)
TARGET = RANDOM.choice(["yes", "no"], ROWS)


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": NUMBERS, **columns, "y": TARGET})


def said(table: pd.DataFrame, target: str = "y", **options: Any) -> str:
    return " / ".join(load(table, target, options=Options(**options)).notes)


# --- keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1, 1001])
@pytest.mark.parametrize("dtype", [int, float, "Int64"])
@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "rownames", "nr", "PassengerId"])
def test_numbers_of_rows_are_left_out(name: str, dtype: Any, first: int) -> None:
    column = pd.Series(np.arange(first, first + ROWS)).astype(dtype)
    table = frame(**{name: column})
    assert f"left out: {name} (numbers of the rows)" in said(table)
    assert load(table, "y").features == 1
    assert load(table, "y", options=Options(features=("x", name))).features == 2


@pytest.mark.parametrize("name", ["Unnamed: 0", "id", "customer_id", "sampleID", "RowKey", "uuid", "case_no", "Nr."])
def test_ids_are_left_out(name: str) -> None:
    assert f"left out: {name} (an ID)" in said(frame(**{name: RANDOM.permutation(5 * ROWS)[:ROWS]}))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("year", np.arange(1900, 1900 + ROWS)),  # in order, but of time
        ("width", RANDOM.permutation(ROWS)),  # all different, but no key by name
        ("humidity", RANDOM.permutation(ROWS)),
        ("plan_id", np.arange(ROWS) % 4),  # a key of few things is a category
        ("idea", RANDOM.permutation(ROWS)),
    ],
)
def test_what_only_looks_like_a_key_stays(name: str, values: Any) -> None:
    assert load(frame(**{name: values}), "y").features == 2


def test_columns_are_chosen() -> None:
    table = frame(a=NUMBERS**2, zip=RANDOM.choice([10115, 20095, 50667], ROWS))
    assert load(table, "y", options=Options(drop=("a",))).features == 2
    assert load(table, "y", options=Options(features=("a",))).features == 1
    assert load(table, "y", options=Options(categorical=("zip",))).features == 2 + 3
    for option in ("drop", "features", "categorical"):
        with pytest.raises(DataError, match=rf"^data: --{option}: there is no column 'aa': it has x, a, zip|did you mean a\?"):
            load(table, "y", options=Options(**{option: ("aa",)}))
    many = pd.DataFrame({"a": np.arange(2000) * 0.5, "y": np.arange(2000) % 2})
    with pytest.raises(DataError, match="column a has 2000 different values: too many to be categories"):
        load(many, "y", options=Options(categorical=("a",)))


# --- leaks ----------------------------------------------------------------------------------------------------------------

NUMBER = RANDOM.normal(size=ROWS)
CLASS = RANDOM.choice(["a", "b", "c"], ROWS)
LEAKS: dict[str, tuple[Any, Any]] = {
    "a copy": (CLASS, CLASS),
    "codes": (CLASS, pd.factorize(CLASS)[0]),
    "a finer category": (CLASS, [f"{c}{i % 3}" for i, c in enumerate(CLASS)]),
    "a cut": (np.where(NUMBER > 0, "up", "down"), NUMBER),
    "missing or not": (np.where(NUMBER > 0, "up", "down"), np.where(NUMBER > 0, RANDOM.normal(size=ROWS), np.nan)),
    "a multiple": (NUMBER, 3 - 100 * NUMBER),
    "a table of numbers": (np.round(CLASS == "a") * 3.5 + (CLASS == "b") * 1.25, CLASS),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_column_that_tells_the_target_is_hinted_at(kind: str) -> None:
    target, leak = LEAKS[kind]
    table = pd.DataFrame({"x": NUMBERS, "leak": leak, "y": target})
    hint = load(table, "y").notes[0]
    assert hint == "careful: leak tells y alone: if that is not known when you predict, --drop leak"
    assert "careful" not in said(table, drop=("leak",))


def test_parts_that_add_up_to_the_target_are_hinted_at() -> None:
    a, b = RANDOM.integers(0, 100, ROWS), RANDOM.integers(0, 300, ROWS)
    hint = load(pd.DataFrame({"x": NUMBERS, "casual": a, "registered": b, "riders": a + b}), "riders").notes[0]
    assert hint.startswith("careful: riders is a weighted sum of casual and registered: if these are not known")


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "digits"])
def test_good_features_are_no_leaks(name: str) -> None:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    assert not any("careful" in note for note in load(pd.DataFrame(bunch.data), bunch.target).notes)


# --- dates ----------------------------------------------------------------------------------------------------------------

DAYS = pd.date_range("2019-03-01", periods=ROWS, freq="11D")
SHAPES = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%b-%Y"]
SHAPES += ["%b %d %Y", "%B %d, %Y", "%d %B %Y", "%m/%d/%y", "%m/%d/%Y %H:%M"]
DATES: dict[str, Any] = {
    "datetime64": DAYS,
    "with a zone": DAYS.tz_localize("Europe/Berlin"),
    "dates of Python": [day.date() for day in DAYS],
    "periods": DAYS.to_period("D"),
    **{shape: DAYS.strftime(shape) for shape in SHAPES},
}


@pytest.mark.parametrize("kind", DATES)
def test_dates_are_numbers_however_they_are_written(kind: str) -> None:
    data = load(frame(when=DATES[kind]), "y")
    assert "dates as numbers: when (days, weekday, season)" in data.notes
    days = (DAYS - pd.Timestamp("1970-01-01")).days
    np.testing.assert_allclose(data.numeric[:, 1], days, atol=1)


def test_parts_of_a_date_that_go_round_are_circles() -> None:
    hours = pd.date_range("2024-01-01", periods=ROWS, freq="h")
    assert "when (days, hour)" in said(frame(when=hours))
    assert "length (days)" in said(frame(length=hours - hours[7]))
    assert "at (hours)" in said(frame(at=hours.strftime("%H:%M")))
    table = frame(when=[datetime.time(i % 24, 30) for i in range(ROWS)])
    np.testing.assert_array_equal(load(table, "y").numeric[:, 1], np.arange(ROWS) % 24 + 0.5)


@pytest.mark.parametrize(
    "texts", [["1-2", "3-4", "5-6"], ["may", "june", "july"], ["v1.2.3", "v1.2.4", "v2"], ["10/99", "a", "b"]]
)
def test_what_is_no_date_is_none(texts: list[str]) -> None:
    assert "made one-hot: what (3)" in said(frame(what=[texts[i % 3] for i in range(ROWS)]))


# --- numbers in texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "remark"),
    [
        (lambda v: f"{v:.2f}", ""),
        (lambda v: f"{v:.2f}".replace(".", ","), "decimal commas"),
        (lambda v: f"{v:,.2f}", "commas between thousands"),
        (lambda v: f"${v:,.2f}", "commas between thousands"),
        (lambda v: f"{v:,.2f} €".replace(",", " "), ""),
        (lambda v: f"{v:,.2f}".replace(",", "'"), ""),
        (lambda v: f"{v:,.2f}".translate(str.maketrans(",.", ".,")), "decimal commas"),
        (lambda v: f"{v:.2f} %", ""),
        (lambda v: "?" if int(v) % 7 == 0 else f"{v:.2f}", ""),
        (lambda v: "NA" if int(v) % 7 == 0 else f"{v:.2f}", ""),
    ],
)
def test_numbers_in_texts(write: Any, remark: str) -> None:
    values = np.random.default_rng(3).uniform(-9000, 9000, ROWS).round(2)
    texts = [write(value) for value in values]
    data = load(frame(v=texts), "y")
    expected = np.array([np.nan if text in ("?", "NA") else value for text, value in zip(texts, values, strict=True)])
    np.testing.assert_allclose(data.numeric[:, 1], expected, rtol=1e-6)
    assert (f"v ({remark})" in " ".join(data.notes)) == bool(remark)


def test_a_few_words_among_numbers_are_missing_and_said() -> None:
    texts = [f"{value:.3f}" for value in NUMBERS]
    texts[4] = texts[9] = "broken"
    assert "texts read as numbers: v (2 texts such as 'broken' count as missing)" in said(frame(v=texts))
    sizes = RANDOM.choice(["1", "2", "3", "other"], ROWS)
    assert "made one-hot: size (4)" in said(frame(size=sizes))


def test_decimals_of_python() -> None:
    values = [decimal.Decimal(str(value)) for value in NUMBERS]
    np.testing.assert_allclose(load(frame(v=values), "y").numeric[:, 1], NUMBERS, rtol=1e-6)


# --- what is missing ----------------------------------------------------------------------------------------------------------


def test_missing_is_a_category_of_its_own() -> None:
    town: Any = RANDOM.choice(["Bonn", "Ulm", None], ROWS)
    data = load(frame(town=town), "y")
    assert data.levels == (3,)
    assert f"missing is a category of its own in town ({sum(t is None for t in town)})" in data.notes
    flag = pd.array(np.arange(ROWS) % 2 == 0, dtype="boolean")
    flag[3] = pd.NA
    assert load(frame(flag=flag), "y").levels == (3,)
    assert load(frame(only=np.where(NUMBERS > 0, "x", None)), "y").levels == (2,)


def test_nearly_empty_columns_are_left_out_and_named() -> None:
    rare = np.full(ROWS, np.nan)
    rare[:4] = 1, 2, 3, 4
    notes = said(frame(rare=rare, never=np.full(ROWS, np.nan), word=[None] * (ROWS - 2) + ["a", "b"]))
    assert f"left out: rare (4 values in {ROWS} rows), never (empty), word (2 values in {ROWS} rows)" in notes


@pytest.mark.parametrize(
    ("words", "classes"),
    [
        (["None", "Insomnia", "Apnea"], ("Apnea", "Insomnia", "None")),
        (["AF", "EU", "NA"], ("AF", "EU", "NA")),
        (["male", "female", "NA"], ("female", "male")),
        (["yes", "no", "?"], ("no", "yes")),
    ],
)
def test_none_and_na_may_be_classes(words: list[str], classes: tuple[str, ...], tmp_path: Any) -> None:
    values = [words[i % 3] for i in range(ROWS)]
    pd.DataFrame({"x": NUMBERS, "y": values}).to_csv(tmp_path / "a.csv", index=False)
    for data in (load(pd.DataFrame({"x": NUMBERS, "y": values}), "y"), load(tmp_path / "a.csv", "y")):
        assert data.classes == classes
        assert len(data) == (ROWS if len(classes) == 3 else ROWS * 2 // 3)


# --- nested ---------------------------------------------------------------------------------------------------------------


def test_lists_of_numbers_are_features_and_other_things_are_not() -> None:
    lists = [list(RANDOM.normal(size=4)) for _ in range(ROWS)]
    arrays = [np.arange(6.0).reshape(2, 3) + i for i in range(ROWS)]
    data = load(frame(embedding=lists, image=arrays), "y")
    assert data.features == 1 + 4 + 6
    assert "lists of numbers, each place a feature: embedding, image" in data.notes
    notes = said(frame(ragged=[[1] * (i % 3) for i in range(ROWS)], record=[{"a": 1}] * ROWS, raw=[b"x"] * ROWS))
    for left_out in ("ragged (lists of different lengths, or not of numbers)", "record (records, no", "raw (records, no"):
        assert left_out in notes
    with pytest.raises(DataError, match=r"^data: embedding holds lists or records, and a target is one value per row"):
        load(frame(embedding=lists), "embedding")


def test_two_columns_of_one_name() -> None:
    table = pd.DataFrame(np.ones((30, 3)), columns=["a", "a", "y"])
    with pytest.raises(DataError, match="it has more than one column 'a'"):
        load(table, "y")
