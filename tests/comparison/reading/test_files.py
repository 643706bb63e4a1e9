"""Files: every format and compression, every way to write a table as text, and what is said of files that are none."""

import bz2
import gzip
import itertools
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nonlin.comparison.data import DataError
from nonlin.comparison.reading import Options, load
from nonlin.comparison.reading.files import FORMATS


def houses(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "area": random.uniform(30, 200, rows).round(2),
            "town": random.choice(["Köln", "Kiel", "Ulm"], rows),
            "garden": random.choice([True, False], rows),
            "name": [f"house {i}" for i in range(rows)],
            "country": "DE",
            "price": random.uniform(1e5, 9e5, rows).round(2),
        }
    )
    frame.loc[3, "area"] = np.nan
    frame.loc[4, "town"] = None
    frame.loc[5, "price"] = np.nan
    return frame


NOTES = (
    "1 row without a value of price is left out",
    "regression, because price is a number with 59 different values; --task classification overrides",
    "made one-hot: town (3)",
    "left out: name (60 different texts), country (one value only)",
    "missing is a category of its own in town (1)",
    "missing numbers are imputed by their column's median: area (1)",
)


def arff(frame: pd.DataFrame, path: Path) -> None:
    kinds = {"area": "numeric", "town": "{Kiel,Köln,Ulm}", "garden": "{False,True}", "country": "{DE}", "price": "numeric"}
    frame = frame.drop(columns="name")
    head = "\n".join(["@relation houses", *(f"@attribute {name} {kind}" for name, kind in kinds.items()), "@data"])
    path.write_text(f"{head}\n{frame.to_csv(index=False, header=False, na_rep='?')}", encoding="utf-8")


WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".txt": lambda frame, path: frame.to_csv(path, index=False),
    ".data": lambda frame, path: frame.to_csv(path, index=False),
    ".dat": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".tab": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".psv": lambda frame, path: frame.to_csv(path, index=False, sep="|"),
    ".xlsx": lambda frame, path: frame.to_excel(path, index=False),
    ".xlsm": lambda frame, path: frame.to_excel(path, index=False, engine="openpyxl"),
    ".json": lambda frame, path: frame.to_json(path, orient="records"),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".ndjson": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".pq": lambda frame, path: frame.to_parquet(path),
    ".feather": lambda frame, path: frame.to_feather(path),
    ".arrow": lambda frame, path: frame.to_feather(path),
    ".ipc": lambda frame, path: frame.to_feather(path),
    ".dta": lambda frame, path: frame.to_stata(path, write_index=False),
    ".arff": arff,
}
ELSEWHERE = {".xls", ".ods", ".npy", ".npz"}  # read by packages that are not installed here, or tested with the arrays


def test_every_format_is_tested() -> None:
    assert {suffix for each in FORMATS for suffix in each.suffixes} == {*WRITERS, *ELSEWHERE}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_data(suffix: str, tmp_path: Path) -> None:
    if suffix.startswith(".xls"):
        pytest.importorskip("openpyxl")
    path = tmp_path / f"houses{suffix}"
    WRITERS[suffix](houses(), path)
    data = load(path, "price")
    assert data.name == f"houses{suffix}:price"
    if suffix == ".arff":  # where texts are declared, and true and false are two of them
        assert data.describe() == "houses.arff:price: 59 rows, 7 features, regression"
    else:
        assert data.describe() == f"houses{suffix}:price: 59 rows, 6 features, regression"
        assert data.notes == NOTES
        assert data.fingerprint == load(houses(), "price").fingerprint


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("compression", [*COMPRESSED, ".zip"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_compressed(suffix: str, compression: str, tmp_path: Path) -> None:
    WRITERS[suffix](houses(), inside := tmp_path / f"houses{suffix}")
    path = tmp_path / f"houses{suffix}{compression}"
    if compression == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(inside, inside.name)
            archive.writestr("__MACOSX/._houses.csv", b"x")
    else:
        path.write_bytes(COMPRESSED[compression](inside.read_bytes()))
    assert load(path, "price").notes == NOTES


def test_an_archive_of_several_tables(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.csv", "b.csv", "readme.md"):
            archive.writestr(name, "x,y\n1,2\n")
    with pytest.raises(DataError, match=r"a.zip: it holds a.csv, b.csv: unpack it and name the file that is meant"):
        load(tmp_path / "a.zip", "y")


# --- text -----------------------------------------------------------------------------------------------------------------

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
ENCODINGS = ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("sep", "decimal"), [pair for pair in itertools.product(SEPARATORS, ".,") if pair != (",", ",")])
def test_delimiter_decimals_and_encoding_are_found_out_and_said(sep: str, decimal: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    houses().to_csv(path, index=False, sep=sep, decimal=decimal, encoding=encoding)
    data = load(path, "price")
    assert data.fingerprint == load(houses(), "price").fingerprint
    said = " / ".join(data.notes)
    assert (f"columns are separated by {SEPARATORS[sep]}; --sep overrides" in said) == (sep != ",")
    assert ("area (decimal commas)" in said) == ("price is read as numbers: decimal commas" in said) == (decimal == ",")
    assert ("the text is read as " in said) == (not encoding.startswith("utf-8"))
    told = load(path, "price", options=Options(sep=sep, decimal=decimal, encoding=encoding))
    assert told.fingerprint == data.fingerprint
    assert not {"overrides" in note for note in told.notes if "regression" not in note} - {False}


def test_what_is_said_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x#y\n" + "".join(f"{i % 7}#{i % 2}\n" for i in range(40)))
    with pytest.raises(DataError, match="there is no column 'y': it has one column only, 'x#y'; --sep says"):
        load(path, "y")
    assert load(path, "y", options=Options(sep="#")).features == 1
    with pytest.raises(DataError, match="there is no encoding 'klingon'"):
        load(path, "y", options=Options(encoding="klingon"))
    for wrong, sentence in [
        ({"sep": "--"}, "one character"),
        ({"decimal": "x"}, "a point or a comma"),
        ({"sep": ",", "decimal": ","}, "cannot"),
    ]:
        with pytest.raises(DataError, match=sentence):
            Options(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head", "row", "says"),
    [
        ("# made on a Tuesday\n# in Ulm\na,y\n", "{i},{k}\n", ""),
        ("#a,y\n", "{i},{k}\n", ""),
        ("a y\n", "{i} {k}\n", "columns are separated by spaces"),
        ('"a" "y"\n', '"r{i}" {i} {k}\n', "left out: the first column, which has no name"),
        ("a, y\n", '"1,5; {i}", {k}\n', ""),
        ("", "{i}.5,{k}\n", "the first line holds no names, so columns are called column 1 to column 2"),
        ("2020,2021,y\n", "{i}.5,{j},{k}\n", ""),
    ],
)
def test_other_ways_to_write_a_table(head: str, row: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(head + "".join(row.format(i=i * 7 % 11, j=i * 5 % 7, k=i % 2) for i in range(40)))
    data = load(path, "y" if head else "column 2")
    assert len(data) == 40
    assert any(says in note for note in data.notes)


def test_json_in_other_forms(tmp_path: Path) -> None:
    expected = load(houses(), "price").fingerprint
    records = json.loads(houses().to_json(orient="records"))
    for name, content in [
        ("columns", {name: [row[name] for row in records] for name in records[0]}),
        ("named", {"about": "houses", "data": records}),
        ("split", json.loads(houses().to_json(orient="split"))),
    ]:
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        assert load(tmp_path / f"{name}.json", "price").fingerprint == expected
    (tmp_path / "lines.json").write_text(houses().to_json(orient="records", lines=True))
    assert load(tmp_path / "lines.json", "price").fingerprint == expected
    (tmp_path / "none.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"none.json: it holds no table: a list of records"):
        load(tmp_path / "none.json", "a")


def test_an_arrow_stream(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(houses())
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    assert load(tmp_path / "a.arrow", "price").notes == NOTES


def test_the_sheet_that_is_read_is_said(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        pd.DataFrame().to_excel(book, sheet_name="cover")
        houses().to_excel(book, sheet_name="houses", index=False)
    assert load(tmp_path / "a.xlsx", "price").notes[0] == "the sheet houses is read, not cover"


def test_a_format_whose_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.ods").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a.ods: reading OpenDocument needs odfpy, which is missing: pip install odfpy"):
        load(tmp_path / "a.ods", "y")


# --- targets ----------------------------------------------------------------------------------------------------------------


def test_a_file_may_name_its_target(tmp_path: Path) -> None:
    houses().to_csv(path := tmp_path / "houses.csv", index=False)
    assert load(f"{path}:price").fingerprint == load(path, "price").fingerprint
    assert load(f"{path}:town", "price").name == "houses.csv:town"
    houses().to_csv(odd := tmp_path / "a:b.csv", index=False)
    assert load(odd, "price").name == "a:b.csv:price"
    assert load(f"{odd}:price").name == "a:b.csv:price"


# --- what is no data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("", "y", "it cannot be read: No columns to parse from file"),
        ("x,y\n", "y", "it has no rows"),
        ("x,y\n" + "1,2\n" * 30, None, r"which column is the target\? --target one of x, y"),
        ("x,price\n" + "1,2\n" * 30, "prize", "there is no column 'prize': did you mean price?"),
        ("x,y\n" + "1,2\n" * 30, "y", r"y has one value only \(2\): there is nothing to learn"),
        ("x,y\n" + "1,\n" * 30, "y", "y has no values: there is nothing to learn"),
        ("x,y\n1,2\n3,4\n", "y", "there are 2 rows with a value of y: at least 20 are needed"),
        ("y\n" + "1\n2\n" * 30, "y", "it has no column to learn from besides y"),
        ("x,y\n" + "1,2\n3,4,5\n" * 30, "y", "it cannot be read: Expected 2 fields in line 3, saw 3"),
        ("x,y\n" + "2020-01-01,3\n2021-01-01,4\n" * 30, "x", "x holds dates, and a target is a class or a number"),
    ],
)
def test_bad_tables(content: str, target: str | None, message: str, tmp_path: Path) -> None:
    """Every message names the file."""
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"^{path}: {message}"):
        load(path, target)


def test_bad_files(tmp_path: Path) -> None:
    for suffix in [*WRITERS, ".npy", ".npz", *(f".csv{end}" for end in (*COMPRESSED, ".zip"))]:
        (tmp_path / f"a{suffix}").write_bytes(b"\x00\x01\xff\xfe nonsense \x80" * 9)
        with pytest.raises(
            DataError, match=rf"a{suffix}: (it (cannot be read|holds no t)|reading Excel needs openpyxl)"
        ) as caught:
            load(tmp_path / f"a{suffix}", "y")
        assert "\n" not in str(caught.value)
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a.docx: it is none of CSV, TSV"):
        load(tmp_path / "a.docx", "y")
    with pytest.raises(DataError, match=r"there is no file digit: did you mean digits\?"):
        load("digit")
    with pytest.raises(DataError, match=r"there is no file nothing\.csv: bundled are digits"):
        load("nothing.csv")
    with pytest.raises(DataError, match=r"there is no file .*a\.cvs: did you mean .*a\.csv\?"):
        load(tmp_path / "a.cvs")
    with pytest.raises(DataError, match=r"is a folder; a study takes files, it has a.arff, a.arrow, a.csv, "):
        load(tmp_path)
    with pytest.raises(DataError, match=r"^https://example.org/a.csv is an address, and nothing is downloaded here"):
        load("https://example.org/a.csv", "y")


def test_the_example_of_the_readme() -> None:
    data = load(Path(__file__).parents[3] / "examples" / "penguins.csv", "species")
    assert data.describe() == "penguins.csv:species: 344 rows, 11 features, 3 classes"
    assert "missing is a category of its own in sex (11)" in data.notes


@pytest.mark.parametrize("sep", [",", "\t", " "])
def test_names_in_single_quotes(sep: str, tmp_path: Path) -> None:
    lines = [sep.join([str(i), "'a b'" if i % 3 and sep != " " else "'c'", str(i % 2)]) for i in range(60)]
    (tmp_path / "q.csv").write_text("\n".join([sep.join(["'x'", "'kind'", "'y'"]), *lines]))
    data = load(tmp_path / "q.csv", "y", options=Options(features=("x",)))
    assert (data.name, data.features, len(data)) == ("q.csv:y", 1, 60)
