"""Text with a delimiter between columns: what it is written in is found out, and said."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from nonlin.comparison.data import DataError
from nonlin.comparison.reading.options import Options

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", r"\s+": "spaces"}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SAMPLE = 1 << 18  # bytes that are looked at to find the delimiter

#: What pandas takes for missing, but for "NA" and "None", which are words, too: the columns decide.
_MISSING = [
    "",
    "nan",
    "NaN",
    "NAN",
    "-nan",
    "-NaN",
    "null",
    "NULL",
    "<NA>",
    "n/a",
    "N/A",
    "#N/A",
    "#NA",
    "#N/A N/A",
    "1.#IND",
    "1.#QNAN",
]

_SINGLY_QUOTED = re.compile(r"\s*'[^']*'\s*")
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")


def read_text(content: bytes, options: Options, usual: str) -> tuple[Any, list[str]]:
    """Read a table.

    Parameters
    ----------
    content : bytes
    options : Options
    usual : str
        The delimiter that the name of the file promises.

    Returns
    -------
    tuple
        A DataFrame, and what was found out that is not usual, in words.
    """
    import pandas as pd

    notes = []
    encoding = options.encoding or _encoding(content)
    try:
        codecs.lookup(encoding)
        content.decode(encoding)
    except LookupError:
        raise DataError(f"there is no encoding {encoding!r}: utf-8, latin-1 and utf-16 are usual") from None
    except UnicodeError as error:
        raise DataError(f"it is not in {encoding}: {error}") from None
    if encoding not in ("utf-8", "utf-8-sig") and not options.encoding:
        why = ", because it is not UTF-8" if encoding == "cp1252" else ""
        notes.append(f"the text is read as {encoding}{why}; --encoding overrides")

    sample = content[: _SAMPLE & ~3].decode(encoding, "ignore")
    if sample and sum(map(_is_text, sample)) < 0.95 * len(sample):
        raise DataError("it holds no text")
    lines = sample.splitlines()
    if len(content) > _SAMPLE:
        lines = lines[:-1]  # cut somewhere in the middle
    sep = options.sep or _delimiter(_without_comments(lines), usual)
    if sep != usual and not options.sep:
        notes.append(f"columns are separated by {_NAMES[sep]}; --sep overrides")
    rows = list(islice(_split(lines, sep), 200))
    skipped = _comments(lines, rows)
    names = {} if _has_header(rows[skipped:]) else {"header": None}
    frame = pd.read_csv(
        io.BytesIO(content),
        sep=sep,
        encoding=encoding,
        skiprows=skipped,
        decimal=options.decimal or ".",
        thousands="." if options.decimal == "," else None,
        skipinitialspace=sep != "\t",  # or it would skip an empty cell
        quotechar="'" if rows[skipped:] and all(map(_SINGLY_QUOTED.fullmatch, rows[skipped])) else '"',
        keep_default_na=False,
        na_values=_MISSING,
        low_memory=False,  # or the type of a column may change between two blocks of rows
        **names,
    )
    if names:
        frame.columns = [f"column {number}" for number in range(1, frame.shape[1] + 1)]
        notes.append(f"the first line holds no names, so columns are called {_first(frame.columns)}")
    if not isinstance(frame.index, pd.RangeIndex):  # a name less than columns, as R writes it
        frame = frame.reset_index(drop=True)
        notes.append("left out: the first column, which has no name")
    return frame, notes


def _first(names: Sequence[str]) -> str:
    return f"{names[0]} to {names[-1]}"


def _is_text(character: str) -> bool:
    return character.isprintable() or character in "\r\n\t\f"


def _encoding(content: bytes) -> str:
    """Tell the encoding: by its mark, by the zeros of UTF-16, or UTF-8 if it can be that, else Windows' superset of Latin-1."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return encoding
    start = content[:4096]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) > 8 and start[first::2].count(0) > 0.4 * len(start) / 2 > 2 * start[1 - first :: 2].count(0):
            return encoding
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _split(lines: Sequence[str], sep: str) -> Any:
    """Split lines at a delimiter, those of quoted texts aside."""
    if sep == r"\s+":
        return (row for line in lines if (row := line.split()))
    return (row for row in csv.reader(lines, delimiter=sep, skipinitialspace=sep != "\t") if row) if len(sep) == 1 else iter(())


def _without_comments(lines: Sequence[str]) -> list[str]:
    start = next((i for i, line in enumerate(lines) if not line.startswith(("#", "%"))), 0)
    return list(lines[start:] if start else lines)


def _comments(lines: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Count the lines of comment before the table; a first line of names may begin with # and is none."""
    marked = next((i for i, line in enumerate(lines) if not line.startswith(("#", "%"))), 0)
    return 0 if marked == 1 and len(rows) > 1 and len(rows[0]) == len(rows[1]) > 1 else marked


def _delimiter(lines: Sequence[str], usual: str) -> str:
    """Find the delimiter that splits all lines into equally many cells; of several, the one that leaves most numbers."""
    best, most = usual, -1.0
    for sep in dict.fromkeys([usual, ",", ";", "\t", "|", r"\s+"]):
        rows = list(islice(_split(lines, sep), 200))
        if len(rows) < 2 or len(rows[0]) < 2:
            continue
        # A line of names may have one less than the others: R leaves out that of the row names.
        even = sum(len(row) == len(rows[1]) and len(row) - len(rows[0]) in (0, 1) for row in rows[1:])
        if even < 0.9 * (len(rows) - 1):
            continue
        cells = [cell.strip() for row in rows[1:] for cell in row]
        numbers = sum(not cell or bool(_NUMBER.fullmatch(cell)) for cell in cells) / len(cells)
        if numbers > most and not (sep == r"\s+" and most >= 0):  # there are spaces inside of texts, too
            best, most = sep, numbers
    return best


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line holds names: no name is a number with decimals, nor are all of them numbers as the next line's."""
    if not rows:
        return True
    first = [cell.strip() for cell in rows[0]]
    numbers = [cell for cell in first if _NUMBER.fullmatch(cell)]
    with_decimals = [cell for cell in numbers if not cell.lstrip("+-").isdecimal()]
    return not with_decimals and not (len(numbers) == len(first) > len(set(first)))
