"""``nonlin compare`` and ``nonlin report`` as a person and as a script use them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nonlin.cli import app
from nonlin.comparison.plan import DEFAULT_ACTIVATIONS
from nonlin.comparison.reading.bundled import BUNDLED
from nonlin.definition import Registry

FAST = "-a relu,tanh --seeds 2 --splits 2 --epochs 2 --learning-rates 0.001,0.01 --workers 0".split()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "120"}, prog_name="nonlin")


def test_a_study(folder: Path) -> None:
    result = run("compare", "iris", *FAST)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("On iris ")
    assert result.stdout.splitlines()[-1] == "report: iris.html"
    assert result.stderr == ""  # no progress where nobody looks
    assert (folder / "iris.study").exists()
    page = (folder / "iris.html").read_text(encoding="utf-8")
    (folder / "iris.html").unlink()
    again = run("report", "iris.study")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[0] == result.stdout.splitlines()[0]
    assert (folder / "iris.html").read_text(encoding="utf-8") == page


def test_files_of_one_name_in_two_folders_have_a_study_each(folder: Path) -> None:
    rows = "\n".join(f"{i % 7},{i % 2}" for i in range(60))
    for i, place in enumerate(["here", "there"]):
        (folder / place).mkdir()
        (folder / place / "my.csv").write_text(f"x,y\n{i},1\n{rows}\n")
        arguments = ["compare", f"{place}/my.csv", "--target", "y", *FAST]
        assert run(*arguments).exit_code == 0
        assert run(*arguments).exit_code == 0  # and finds its own again
    assert len(list(folder.glob("my-*.study"))) == len(list(folder.glob("my-*.html"))) == 2


def test_a_pipe_gets_whole_lines() -> None:
    result = CliRunner().invoke(app, ["compare", "iris", *FAST], env={"COLUMNS": "60"})
    assert "…" not in result.stdout
    assert "95 % interval" in result.stdout


def test_json(folder: Path) -> None:
    result = run("compare", "diabetes", *FAST, "--json", "--report", "r.html", "--study", "s.study")
    record = json.loads(result.stdout)
    assert record["datasets"][0]["leader"] in ("relu", "tanh")
    assert record["datasets"][0]["dataset"]["metric"] == "R²"
    assert record["plan"]["seeds"] == 2
    assert (folder / "r.html").exists()
    assert json.loads(run("report", "s.study", "--json").stdout)["verdict"] == record["verdict"]


def test_a_csv_with_an_activation_from_a_file(folder: Path, registry: Registry) -> None:
    rows = "\n".join(f"{i % 7},{'abc'[i % 3]},{i % 2}" for i in range(60))
    (folder / "my.csv").write_text(f"x,kind,y\n{rows}\n")
    (folder / "mine.py").write_text(
        "import nonlin as nl\n@nl.activation\ndef bent(x, a=0.3):\n    return nl.where(x > 0, x, a * x)\n"
    )
    arguments = ["compare", "my.csv", "--target", "y", *FAST[2:], "-a", "relu,mine.py:bent", "-a", "elu(alpha=0.5)"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "made one-hot: kind (3)" in result.stdout
    for name in ("bent", "elu(alpha=0.5)"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("nothing.csv", "there is no file nothing.csv: bundled are digits"),
        ("digit", "there is no file digit: did you mean digits?"),
        ("bad.csv", "bad.csv: which column is the target? --target one of a, b"),
        ("bad.csv --target c", "bad.csv: there is no column 'c': it has a, b"),
        ("bad.csv --target b", "bad.csv: b has one value only (1): there is nothing to learn"),
        ("iris --target y", "iris is bundled and has its target already"),
        ("iris -a rulu", "there is no activation 'rulu': did you mean"),
        ("iris -a none.py:f", "there is no file none.py"),
        ("iris -a empty.py:f", "empty.py has no activation 'f'"),
        ("iris --seeds 0", "seeds must be a whole number of at least 1, got 0"),
        ("iris --widths many", "--widths takes numbers, such as --widths 64,32; got many"),
        ("iris --learning-rates fast", "--learning-rates takes numbers, such as --learning-rates 0.001,0.01; got fast"),
        ("iris --budget soon", "a budget is a time such as 60s, 5m or 1h; got 'soon'"),
        ("iris --engine dask", "the engine is local or ray, not 'dask'"),
        ("iris --study bad.csv", "bad.csv is no study file, or a damaged one"),
        ("iris --study no/where.study", "cannot open no/where.study: No such file or directory"),
        ("", "which data? A file and --target COLUMN, or a bundled name: nonlin compare --list has them"),
        ("bad.csv:a bad.csv:b", "bad.csv: it has no column to learn from besides a; left out: b (one value only)"),
        ("bad.csv --target a --drop c", "bad.csv: --drop: there is no column 'c': it has b"),
        ("bad.csv --target a --sep :::", "columns are separated by one character"),
        ("iris --drop a", "iris is bundled and read already: leave out --drop"),
        (".", ". is a folder; a study takes files, it has bad.csv"),
        ("http://example.org/a.csv --target y", "http://example.org/a.csv is an address, and nothing is downloaded here"),
        ("iris --report no/where.html", "cannot write no/where.html: there is no folder no"),
        (f"iris --report {'r' * 300}.html", f"cannot write {'r' * 300}.html: File name too long"),
        ("iris --report r.pdf", "a study is saved as .html, .csv, .json or .tex, not as r.pdf"),
        ("iris --model foo", "there is no model 'foo': ready ones are "),
        ("iris --model empty.py:cnn", "empty.py has no function 'cnn'"),
        ("iris --task guess", "the task is classification or regression, not 'guess'"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(arguments: str, sentence: str, folder: Path) -> None:
    (folder / "bad.csv").write_text("a,b\n" + "1,1\n2,1\n" * 400)
    (folder / "empty.py").write_text("")
    result = run("compare", *arguments.split())
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"nonlin: {sentence}")
    assert not list(folder.glob("*.html"))


def test_report_of_nothing() -> None:
    result = run("report", "none.study")
    assert (result.exit_code, result.stderr) == (2, "nonlin: there is no study none.study\n")


def test_a_report_that_cannot_be_written_is_said_before_training(folder: Path) -> None:
    (folder / "r.html").mkdir()
    result = run("compare", "iris", *FAST, "--report", "r.html")
    assert (result.exit_code, result.stderr) == (2, "nonlin: cannot write r.html: it is a folder\n")
    assert not list(folder.glob("*.study"))


def table(folder: Path, name: str = "my.csv") -> None:
    rows = "\n".join(f"{i},{i % 7},{'abc'[i % 3]},{i % 2},{i * 13 % 37}" for i in range(60))
    (folder / name).write_text(f",x,kind,y,price\n{rows}\n")


def test_two_targets_of_a_file_have_a_study_each(folder: Path) -> None:
    table(folder)
    for target in ("y", "price"):
        result = run("compare", "my.csv", "--target", target, *FAST)
        assert result.exit_code == 0, result.output
        assert f"On my.csv:{target} " in result.stdout
        assert f"my.csv:{target}: left out: Unnamed: 0 (numbers of the rows)" in result.stdout
    assert {path.name for path in folder.glob("*.study")} == {"my-y.study", "my-price.study"}
    result = run("compare", "my.csv", "--target", "y", "--drop", "kind", *FAST)  # other data: another study
    assert result.exit_code == 0, result.output
    assert len(list(folder.glob("my-y-*.study"))) == 1


def test_rows_are_split_by_a_column(folder: Path) -> None:
    table(folder)
    result = run("compare", "my.csv", "--target", "price", "--group", "x", *FAST)
    assert result.exit_code == 0, result.output
    assert "no group of rows is both trained and tested on (7 groups)" in result.stdout
    assert "for all" not in result.stdout  # of one comparison
    assert next(folder.glob("my-price-*.study"))


def test_several_files_with_a_target_each(folder: Path) -> None:
    table(folder)
    table(folder, "other.csv")
    result = run("compare", "my.csv:kind", "other.csv:price", *FAST)
    assert result.exit_code == 0, result.output
    assert "On my.csv:kind " in result.stdout
    assert "On other.csv:price " in result.stdout
    assert (folder / "my-kind-other-price.html").exists()


def test_a_model_from_a_file(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "from torch import nn\ndef small(activation):\n    return nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 3))\n"
    )
    result = run("compare", "iris", *FAST, "--model", "mine.py:small", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["plan"]["model"].startswith("small [")


@pytest.mark.parametrize("suffix", ["html", "csv", "json", "tex"])
def test_the_report_has_the_form_that_its_name_says(suffix: str, folder: Path) -> None:
    result = run("compare", "iris", *FAST, "--report", f"r.{suffix}")
    assert result.exit_code == 0, result.output
    start = {"html": "<!doctype html>", "csv": "dataset,activation,", "json": '{\n  "verdict"', "tex": "% iris: On iris"}
    assert (folder / f"r.{suffix}").read_text(encoding="utf-8").startswith(start[suffix])


def test_a_family_is_a_word_for_activations() -> None:
    result = run("compare", "iris", *FAST[2:], "-a", "periodic,relu", "--json")
    assert json.loads(result.stdout)["plan"]["activations"] == ["sin", "snake", "snake_beta", "gcu", "relu"]


def test_what_there_is_to_choose_from() -> None:
    listed, helped = run("compare", "--list").stdout, run("compare", "--help").stdout.replace("│", " ")
    for name in (*BUNDLED, *DEFAULT_ACTIVATIONS):
        assert name in listed
        assert name in helped
    assert "  rectifiers  relu, leaky_relu, " in listed


@pytest.mark.parametrize("missing", ["torch", "scipy", "sklearn"])
def test_without_its_extra_it_says_how_to_get_it(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from nonlin.cli import main; sys.argv[1:] = ['compare', 'iris']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.decode().count("\n") == 1
    assert "missing: pip install" in done.stderr.decode()


def test_the_help_loads_no_framework() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; import nonlin.cli\n"
        "assert CliRunner().invoke(nonlin.cli.app, ['compare', '--help']).exit_code == 0\n"
        "print(*{'torch', 'scipy', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=True)
    assert done.stdout.strip() == b""
