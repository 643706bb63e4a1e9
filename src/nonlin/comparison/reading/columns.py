"""Columns of a table: what each one is, whether it says anything, and its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from nonlin.comparison.data import MOST_LEVELS, DataError, Integers
from nonlin.comparison.reading.texts import MISSING, as_dates, as_hours, as_numbers

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

FEWEST_VALUES = 0.05  # a column with a smaller share of values is nearly empty
MOST_ASKED_LEVELS = 1000  # of a column that the user calls categorical
_KEY_WORDS = frozenset("id ids uid uuid guid key index idx rowid rownum rowname rownames no nr serial".split())
_TIME_WORDS = frozenset("year yr date time month day t week quarter hour minute second period age step".split())


@dataclass(frozen=True)
class Feature:
    """One column in numbers.

    Attributes
    ----------
    name : str
    numbers : ndarray of float64, shape (rows, k), or None
        NaN where one is missing; several for a date or a list.
    codes : ndarray of int64 or None
        Of categories instead, with a code of its own where one is missing.
    levels : int
    kind : str
        Which of the notes it belongs to: ``""`` for plain numbers.
    remark : str
        Of that note.
    """

    name: str
    numbers: Numbers | None = None
    codes: Integers | None = None
    levels: int = 0
    kind: str = ""
    remark: str = ""
    missing: int = 0


class LeftOut(Exception):  # noqa: N818 - it is no error
    """A column that says nothing; the message says why, in brackets behind its name."""


def meaning(series: Any, decimal: str | None = None, comma_likely: bool = False) -> tuple[Any, str]:
    """Return a column with the type that its values mean: texts may be numbers or dates, objects anything.

    Returns
    -------
    tuple
        The Series, numeric, boolean, datetime, timedelta, text, categorical or object (nested), and a remark.
    """
    import pandas as pd

    if isinstance(series.dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    kind = pd.api.types.infer_dtype(series, skipna=True) if series.dtype == object else ""
    if kind == "decimal":
        return series.map(float, na_action="ignore").astype(np.float64), ""
    if kind in (
        "integer",
        "floating",
        "mixed-integer-float",
        "boolean",
        "datetime",
        "datetime64",
        "date",
        "timedelta",
        "period",
    ):
        if kind in ("datetime", "datetime64", "date"):
            return pd.to_datetime(series, utc=True, errors="coerce").dt.tz_localize(None), ""
        if kind == "boolean":
            return series.astype("boolean"), ""
        inferred = series.infer_objects()
        series = pd.to_numeric(series) if inferred.dtype == object else inferred
    if kind == "time":
        return series.map(lambda t: t.hour + t.minute / 60 + t.second / 3600, na_action="ignore").astype(np.float64), "hours"
    if isinstance(series.dtype, pd.PeriodDtype):
        return series.dt.to_timestamp(), ""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return series.dt.tz_localize(None), ""  # the hour on the clock there
    if kind not in ("string", "mixed", "mixed-integer") and not pd.api.types.is_string_dtype(series):
        return series, ""
    if kind == "mixed" and series.dropna().map(_is_nested).any():
        return series, ""  # nested
    series = series.astype("str") if kind != "string" else series
    codes, texts = pd.factorize(series)
    texts = [str(text) for text in texts]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts)).tolist()
    numbers = as_numbers(texts, counts, decimal, comma_likely) or as_hours(texts)
    if numbers is not None:
        return pd.Series(np.append(numbers.values, np.nan)[codes], index=series.index), numbers.remark
    dates = as_dates(texts)
    if dates is not None:
        return pd.Series(pd.concat([dates, pd.Series([pd.NaT])], ignore_index=True).to_numpy()[codes], index=series.index), ""
    return series.mask(series.isin(missing_words(texts))), ""


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, dict, tuple, set, np.ndarray, bytes))


def missing_words(texts: Sequence[str]) -> set[str]:
    """Return which words of a column stand for a missing value: NA, unless it is a code as all others are, and signs.

    Examples
    --------
    >>> missing_words(["male", "female", "NA"]), missing_words(["AF", "EU", "NA"]), missing_words(["None", "Insomnia"])
    ({'NA'}, set(), set())
    """
    found = {text for text in texts if text.strip().lower() in MISSING - {"none", "nil", "missing", "*", "."}}
    others = [text for text in texts if text not in found]
    if others and all(re.fullmatch(r"[A-Z]{2}", text) for text in others):
        found.discard("NA")  # Namibia, North America
    return found


def row_numbers(series: Any, name: str) -> bool:
    """Whether a column counts the rows: whole numbers, one after the other, in order, and none of time."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series) or series.isna().any():
        return False
    values = series.to_numpy(dtype=np.float64)
    if len(values) < 2 or not np.all(np.diff(values) == 1) or values[0] != np.round(values[0]):
        return False
    return values[0] in (0, 1) or not set(_words(name)) & _TIME_WORDS


def is_key(series: Any, name: str) -> bool:
    """Whether a column of numbers names the rows: called an ID, or nothing at all, and with hardly two of a value."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series):
        return False
    values = series.dropna().to_numpy(dtype=np.float64)
    if not np.all(values == np.round(values)):
        return False
    words = _words(name)
    different = len(np.unique(values))
    if not words or words[0] == "unnamed":
        return different > 0.9 * len(values)
    return bool(_KEY_WORDS & {*words}) and different > MOST_LEVELS / 5


def _words(name: str) -> list[str]:
    """Return the words of a name.

    Examples
    --------
    >>> _words("PassengerId"), _words("customer_ID"), _words("Unnamed: 0"), _words("width")
    (['passenger', 'id'], ['customer', 'id'], ['unnamed', '0'], ['width'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", " ", name)
    return spaced.lower().split()


def feature(
    series: Any, name: str, *, categorical: bool, asked: bool, decimal: str | None, comma_likely: bool
) -> Iterator[Feature]:
    """Yield what a column gives to learn from.

    Parameters
    ----------
    series : Series
    name : str
    categorical : bool
        Whether the user says that its values are names.
    asked : bool
        Whether the user asks for this very column.

    Raises
    ------
    LeftOut
        If it says nothing.
    DataError
        If it must not be passed over in silence.
    """
    import pandas as pd

    if series.dtype == object and (nested := series.dropna().map(_is_nested)).any() and nested.all():
        yield Feature(name, _unfolded(series), kind="lists", remark=name)
        return
    series, remark = meaning(series, decimal, comma_likely)
    present = series.notna()
    if not present.any():
        raise LeftOut("empty")
    if present.mean() < FEWEST_VALUES and not asked:
        raise LeftOut(f"{np.count_nonzero(present)} values in {len(series)} rows")
    distinct = series.nunique(dropna=True)
    if distinct < 2 and present.all():
        raise LeftOut("one value only")
    if not asked and row_numbers(series, name):
        raise LeftOut("numbers of the rows")
    if not asked and not categorical and is_key(series, name):
        raise LeftOut("an ID")
    types = pd.api.types
    if types.is_complex_dtype(series):
        raise DataError(f"column {name} is complex: take its real and imaginary part or its modulus")
    if types.is_datetime64_any_dtype(series) and not categorical:
        yield from _date(series, name)
        return
    if types.is_timedelta64_dtype(series):
        yield Feature(
            name, (series / pd.Timedelta(days=1)).to_numpy(dtype=np.float64)[:, None], kind="dates", remark=f"{name} (days)"
        )
        return
    number = types.is_numeric_dtype(series)
    # What is true, or not known: a number would have to make up which.
    if number and not categorical and not (distinct < 2 or (types.is_bool_dtype(series) and not present.all())):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
        yield Feature(name, values, kind="numbers" if remark else "", remark=f"{name} ({remark})")
        return
    most = MOST_ASKED_LEVELS if categorical or asked else min(MOST_LEVELS, len(series) / 2)
    if distinct > most:
        if categorical or asked:
            raise DataError(f"column {name} has {distinct} different values: too many to be categories")
        raise LeftOut(f"{distinct} different texts")
    codes, names = pd.factorize(series if number else series.astype("str"), sort=True)
    codes = codes.astype(np.int64)
    absent = int(np.count_nonzero(codes < 0))
    codes[codes < 0] = len(names)
    yield Feature(
        name, codes=codes, levels=len(names) + bool(absent), kind="categories", remark=f"{name} ({len(names)})", missing=absent
    )


def _date(series: Any, name: str) -> Iterator[Feature]:
    """Yield a date as days, and where they go round, the hour, the weekday and the season as points on a circle."""
    import pandas as pd

    days = ((series - pd.Timestamp(1970, 1, 1)) / pd.Timedelta(days=1)).to_numpy(dtype=np.float64)
    seen = np.unique(np.floor(days[np.isfinite(days)]))
    span = seen[-1] - seen[0] if len(seen) else 0.0
    columns, parts = [days], ["days"]
    circles = [("hour", 1.0, len(np.unique(np.round(np.mod(days[np.isfinite(days)], 1), 5))) > 1)]
    circles.append(("weekday", 7.0, span >= 14 and len(np.unique(np.mod(seen, 7))) > 1))
    circles.append(("season", 365.2425, span >= 2 * 365))
    for part, period, goes_round in circles:
        if goes_round:
            angle = 2 * np.pi * np.mod(days, period) / period
            columns += [np.sin(angle), np.cos(angle)]
            parts.append(part)
    yield Feature(name, np.stack(columns, axis=1), kind="dates", remark=f"{name} ({', '.join(parts)})")


def _unfolded(series: Any) -> Numbers:
    """Return lists of equally many numbers as that many columns; other things inside a cell are left out."""
    present = series.dropna()
    if present.map(lambda v: isinstance(v, (list, tuple, np.ndarray))).all():
        try:
            rows = np.stack([np.asarray(np.asarray(v).tolist(), np.float64).ravel() for v in present])
        except (ValueError, TypeError):
            raise LeftOut("lists of different lengths, or not of numbers") from None
        if rows.shape[1]:
            values = np.full((len(series), rows.shape[1]), np.nan)
            values[series.notna().to_numpy(dtype=bool)] = rows
            return values
    raise LeftOut("records, no single values")
