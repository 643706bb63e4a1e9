"""Texts that mean something else: numbers with commas or signs, dates, nothing at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Texts that stand for a missing value beside numbers or dates, in small letters.
MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "nil", "missing", "?", "-", "--", ".", "*"})
_WORDS_AMONG_NUMBERS = 0.1  # share of other texts that a column of numbers may have; they count as missing

_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+)?(,\d*)?([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")
_SPACES = re.compile(r"(?<=\d)[\s'’](?=\d{3}\b)")  # between groups of digits, as French and Swiss put them
_SIGNS = re.compile(r"^([-+]?)\s*(?:[$€£¥]|USD|EUR|GBP)?\s*([-+]?)|\s*(?:[$€£¥%]|USD|EUR|GBP)$")


@dataclass(frozen=True)
class Meaning:
    """What the different texts of a column mean.

    Attributes
    ----------
    values : ndarray of float64
        A number for each text, NaN where one is missing; days since 1970 for dates.
    remark : str
        How they were read, if that is worth a word.
    """

    values: np.ndarray[Any, np.dtype[np.float64]]
    remark: str = ""


def as_numbers(texts: Any, counts: Any, decimal: str | None, comma_likely: bool) -> Meaning | None:
    """Read texts as numbers, or return None if they are none.

    Parameters
    ----------
    texts : sequence of str
        All different.
    counts : sequence of int
        How often each stands there.
    decimal : str, optional
        What the user says that decimals come after.
    comma_likely : bool
        Whether ``1,234`` is rather a decimal comma than a separator of thousands.

    Examples
    --------
    >>> as_numbers(["3,5", "12,25", "?"], [1, 1, 1], None, True)
    Meaning(values=array([ 3.5 , 12.25,   nan]), remark='decimal commas')
    >>> as_numbers(["$1,200", "$950.50"], [1, 1], None, False).values.tolist()
    [1200.0, 950.5]
    """
    bare = [_SIGNS.sub(r"\1\2", _SPACES.sub("", text.strip())) for text in texts]
    absent = [text.lower() in MISSING for text in bare]
    present = sum(count for count, missing in zip(counts, absent, strict=True) if not missing)
    if not present:
        return None
    ambiguous = [text for text in bare if "," in text]
    by_comma = decimal == "," or (
        decimal is None and bool(ambiguous) and (comma_likely or not all(map(_THOUSANDS.fullmatch, ambiguous)))
    )
    values = np.full(len(bare), np.nan)
    other: list[str] = []
    others = 0
    for i, (text, missing) in enumerate(zip(bare, absent, strict=True)):
        if missing:
            continue
        if by_comma and text.strip("+-,") and _COMMA.fullmatch(text):
            values[i] = float(text.replace(".", "").replace(",", "."))
        elif not (by_comma and "," in text) and (_PLAIN.fullmatch(text) or (not by_comma and _THOUSANDS.fullmatch(text))):
            values[i] = float(text.replace(",", ""))
        else:
            other.append(texts[i])
            others += counts[i]
    numbers = np.count_nonzero(~np.isnan(values))
    # A few words among many numbers; among few numbers they are categories, such as sizes 1, 2, 3 and "other".
    if others and (others > _WORDS_AMONG_NUMBERS * present or numbers <= 10):
        return None
    remarks = []
    if by_comma and ambiguous:
        remarks.append("decimal commas")
    elif ambiguous:
        remarks.append("commas between thousands")
    if other:
        remarks.append(f"{others} texts such as {other[0]!r} count as missing")
    return Meaning(values, "; ".join(remarks))


# What dates look like, most usual first; the month comes before the day where both orders fit, as in most public tables.
_DATES = (
    "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y",
    "%b %d %Y", "%b %d, %Y", "%B %d %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b-%d-%Y",
    "%b %Y", "%B %Y", "%Y/%m", "%m/%Y",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_LIKE_A_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ].*)?|.*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*\d.*",
    re.IGNORECASE,
)
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?")


def as_dates(texts: Any) -> Any:
    """Read different texts as dates, a pandas Series with NaT where one is missing, or return None if they are none.

    Examples
    --------
    >>> as_dates(["3.2.2021", "28.2.2021", ""]).dt.day.tolist()
    [3.0, 28.0, nan]
    """
    import pandas as pd

    series = pd.Series([text.strip() for text in texts], dtype="str")
    series = series.mask(series.str.lower().isin(MISSING))
    present = series.dropna()
    if not len(present) or not present.head(20).map(lambda text: bool(_LIKE_A_DATE.fullmatch(text))).all():
        return None
    shapes = ["ISO8601", *(date + time for time in _TIMES for date in _DATES), "%a %b %d %H:%M:%S %Y"]
    for shape in shapes:
        few = pd.to_datetime(present.head(20), format=shape, errors="coerce", utc=True)
        if few.isna().any():
            continue
        found = pd.to_datetime(series, format=shape, errors="coerce", utc=True)
        if found.notna().sum() == len(present):
            return found.dt.tz_localize(None)
    return None


def as_hours(texts: Any) -> Meaning | None:
    """Read different texts as times of day, in hours, or return None if they are none."""
    stripped = [text.strip() for text in texts]
    absent = [text.lower() in MISSING for text in stripped]
    if all(absent) or not all(missing or _TIME_OF_DAY.fullmatch(text) for text, missing in zip(stripped, absent, strict=True)):
        return None
    values = np.full(len(stripped), np.nan)
    for i, (text, missing) in enumerate(zip(stripped, absent, strict=True)):
        if not missing:
            values[i] = sum(float(part) / 60**power for power, part in enumerate(text.split(":")))
    return Meaning(values, "hours")
