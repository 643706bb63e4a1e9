"""Files: what is in one, whatever its format and compression."""

from __future__ import annotations

import bz2
import difflib
import gzip
import importlib.util
import io
import json
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np

from nonlin.comparison.data import DataError
from nonlin.comparison.reading.bundled import BUNDLED
from nonlin.comparison.reading.options import Options
from nonlin.comparison.reading.text import read_text

#: What a file holds, a DataFrame, an array or arrays by name, and what is to be said of it.
Content: TypeAlias = tuple[Any, list[str]]


@dataclass(frozen=True)
class _Format:
    """A kind of file: its name in a sentence, the names it goes by, the package that reads it."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[bytes, Options], Content]
    needs: str = ""


def _csv(content: bytes, options: Options) -> Content:
    return read_text(content, options, ",")


def _tsv(content: bytes, options: Options) -> Content:
    return read_text(content, options, "\t")


def _psv(content: bytes, options: Options) -> Content:
    return read_text(content, options, "|")


def _excel(content: bytes, options: Options) -> Content:
    import pandas as pd

    with warnings.catch_warnings(), pd.ExcelFile(io.BytesIO(content)) as book:
        warnings.simplefilter("ignore")  # of styles and the like, which a table has no use for
        sheets = list(book.sheet_names)
        frames = ((sheet, book.parse(sheet)) for sheet in sheets)
        sheet, frame = next(((s, f) for s, f in frames if len(f)), (sheets[0], pd.DataFrame()))
    others = [str(name) for name in sheets if name != sheet]
    return frame, [f"the sheet {sheet} is read, not {', '.join(others)}"] if others else []


def _json(content: bytes, options: Options) -> Content:
    try:
        found = json.loads(_decoded(content, options))
    except ValueError as error:
        if b"\n" in content.strip() and "Extra data" in str(error):
            return _json_lines(content, options)
        raise
    return _records(found), []


def _json_lines(content: bytes, options: Options) -> Content:
    lines = _decoded(content, options).splitlines()
    return _records([json.loads(line) for line in lines if line.strip()]), []


def _records(found: Any) -> Any:
    """Return the table that a JSON value is: records, columns by name, or either under the one name that holds a list."""
    import pandas as pd

    if isinstance(found, dict) and {"columns", "data"} <= {*found} <= {"columns", "data", "index"}:  # pandas' orient="split"
        return pd.DataFrame(found["data"], columns=found["columns"])
    if isinstance(found, dict):
        tables = [value for value in found.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(tables) == 1:
            found = tables[0]
    if isinstance(found, list) and found and all(isinstance(record, dict) for record in found):
        return pd.json_normalize(found)
    if isinstance(found, dict) and found and all(isinstance(column, (list, dict)) for column in found.values()):
        return pd.DataFrame(found)
    raise DataError("it holds no table: a list of records, or a list for each column, is one")


def _stata(content: bytes, options: Options) -> Content:
    import pandas as pd

    return pd.read_stata(io.BytesIO(content)), []


def _parquet(content: bytes, options: Options) -> Content:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(content)), []


def _arrow(content: bytes, options: Options) -> Content:
    """Read Feather and Arrow: the form with a footer, or the stream."""
    import pandas as pd
    import pyarrow as pa

    if content.startswith((b"ARROW1", b"FEA1")):
        return pd.read_feather(io.BytesIO(content)), []
    with pa.ipc.open_stream(content) as stream:
        return stream.read_pandas(), []


_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)\s+(.+)""", re.IGNORECASE)


def _arff(content: bytes, options: Options) -> Content:
    """Read Weka's format: names and types, then what is a CSV file but for its quotes.

    SciPy's reader knows neither texts nor letters beyond ASCII.
    """
    import pandas as pd

    lines = [line for line in _decoded(content, options).splitlines() if line.strip() and not line.lstrip().startswith("%")]
    attributes = [(match[1].strip("'\""), match[2].strip()) for line in lines if (match := _ATTRIBUTE.match(line.strip()))]
    start = next((number for number, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if start is None or not attributes:
        raise DataError("it cannot be read: an ARFF file has lines of @attribute, then @data")
    rows = lines[start + 1 :]
    if any(row.lstrip().startswith("{") for row in rows):
        raise DataError("it cannot be read: its rows are sparse; save it as CSV")
    frame = pd.read_csv(
        io.StringIO("\n".join(rows)),
        names=[name for name, _ in attributes],
        quotechar="'" if any("'" in row for row in rows) else '"',
        skipinitialspace=True,
        keep_default_na=False,
        na_values=["?"],
        index_col=False,
        low_memory=False,
    )
    for name, kind in attributes:
        if kind.startswith("{"):  # declared to be categories, even if they are written as numbers
            frame[name] = frame[name].astype("category")
    return frame, []


def _decoded(content: bytes, options: Options) -> str:
    return content.decode(options.encoding or "utf-8-sig")


def _npy(content: bytes, options: Options) -> Content:
    return np.load(io.BytesIO(content), allow_pickle=False), []  # a pickle runs whatever its author wants


def _npz(content: bytes, options: Options) -> Content:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays), []


FORMATS = (
    _Format("CSV", (".csv", ".txt", ".data", ".dat"), _csv),
    _Format("TSV", (".tsv", ".tab"), _tsv),
    _Format("bar-separated text", (".psv",), _psv),
    _Format("Excel", (".xlsx", ".xlsm"), _excel, "openpyxl"),
    _Format("old Excel", (".xls",), _excel, "xlrd"),
    _Format("OpenDocument", (".ods",), _excel, "odf"),
    _Format("JSON", (".json",), _json),
    _Format("JSON lines", (".jsonl", ".ndjson"), _json_lines),
    _Format("Parquet", (".parquet", ".pq"), _parquet, "pyarrow"),
    _Format("Feather", (".feather", ".arrow", ".ipc"), _arrow, "pyarrow"),
    _Format("Stata", (".dta",), _stata),
    _Format("ARFF", (".arff",), _arff),
    _Format("NPY", (".npy",), _npy),
    _Format("NPZ", (".npz",), _npz),
)
_BY_SUFFIX: Mapping[str, _Format] = {suffix: each for each in FORMATS for suffix in each.suffixes}
_PACKAGES = {"odf": "odfpy"}  # where the name to install is not the name to import


def _zstandard(content: bytes) -> bytes:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError("reading .zst needs pyarrow, which is missing: pip install pyarrow")
    import pyarrow as pa

    with pa.input_stream(pa.py_buffer(content), compression="zstd") as stream:
        return bytes(stream.read())


_COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
    ".zst": _zstandard,
}


def read_file(path: Path, options: Options) -> Content:
    """Read a file into a DataFrame, an array, or arrays by name.

    Raises
    ------
    DataError
        If it cannot be read; the message does not name the file, which the caller does.
    """
    try:
        name, content = _unpacked(path.name, path.read_bytes())
        kind = _BY_SUFFIX.get(PurePath(name).suffix.lower())
        if kind is None:
            listed = ", ".join(each.name for each in FORMATS)
            raise DataError(f"it is none of {listed}, by the end of its name")
        if kind.needs and importlib.util.find_spec(kind.needs) is None:
            package = _PACKAGES.get(kind.needs, kind.needs)
            raise DataError(f"reading {kind.name} needs {package}, which is missing: pip install {package}")
        return kind.read(content, options)
    except DataError:
        raise
    except MemoryError:
        raise DataError("it does not fit in the memory of this machine") from None
    except _UNREADABLE as error:
        raise DataError(f"it cannot be read: {sentence(error)}") from None


#: What the readers raise of a damaged file: pandas' and pyarrow's own errors are ValueErrors.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, TypeError, lzma.LZMAError, zipfile.BadZipFile, zlib.error)


def sentence(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    lines = str(error).strip().splitlines()
    text = getattr(error, "strerror", None) or (lines[0] if lines else type(error).__name__)
    return re.sub(r"^Error tokenizing data\. C error: ", "", str(text)).rstrip(". ")


def _unpacked(name: str, content: bytes) -> tuple[str, bytes]:
    """Undo compression; the name loses its end."""
    suffix = PurePath(name).suffix.lower()
    if suffix in _COMPRESSED:
        name, content = PurePath(name).stem, _COMPRESSED[suffix](content)
        return (name if PurePath(name).suffix else f"{name}.csv"), content
    if suffix != ".zip":
        return name, content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inside = [each for each in archive.namelist() if not each.endswith("/") and not each.startswith("__MACOSX/")]
        tables = [each for each in inside if PurePath(each).suffix.lower() in _BY_SUFFIX] if len(inside) > 1 else inside
        if len(tables) != 1:
            raise DataError(
                f"it holds {'no table' if not tables else listed(tables)}: unpack it and name the file that is meant"
            )
        return tables[0], archive.read(tables[0])


def listed(names: Any, most: int = 12) -> str:
    """Write a list of which a few are enough."""
    names = list(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def find_file(source: str | Path) -> Path:
    """Return the path of a file that is there, or say what is there instead."""
    text, path = str(source), Path(source)
    if re.match(r"[a-zA-Z][\w+.-]+://", text):
        raise DataError(f"{text} is an address, and nothing is downloaded here: fetch the file first, then give its path")
    if path.is_dir():
        readable = sorted(item.name for item in path.iterdir() if _can_read(item.name))
        inside = f"it has {listed(readable, 5)}" if readable else "and it has no file that could be one"
        raise DataError(f"{text} is a folder; a study takes files, {inside}")
    if path.exists():
        return path
    near = difflib.get_close_matches(text.replace("-", "_").lower(), BUNDLED, 1)
    beside = [item.name for item in path.parent.iterdir() if _can_read(item.name)] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, 1)
    if near and not path.suffix:
        hint = f"did you mean {near[0]}?"
    elif close:
        hint = f"did you mean {path.parent / close[0]}?"
    else:
        hint = f"bundled are {', '.join(BUNDLED)}"
    raise DataError(f"there is no file {text}: {hint}")


def _can_read(name: str) -> bool:
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes[-2:]]
    return bool(suffixes) and (suffixes[-1] in _BY_SUFFIX or suffixes[-1] == ".zip" or set(suffixes) & {*_BY_SUFFIX} != set())
