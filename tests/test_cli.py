"""The command line, as a person and as a script use it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import nonlin as nl
from nonlin.cli import app
from nonlin.dialects import dialects

RUN = "import sys; from nonlin.cli import main; sys.argv[0] = 'nonlin'; main()"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "100", **environment}, prog_name="nonlin")


def shell(*arguments: str, code: str = RUN, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if mpmath was missing; facts take a second, and are tested elsewhere."""

    def facts(self: nl.Elementwise) -> Any:
        raise ImportError("facts are computed with mpmath")

    monkeypatch.setattr(nl.Elementwise, "facts", property(facts))


# --- list -------------------------------------------------------------------------------------------------------------


def test_list_has_every_activation_under_its_family() -> None:
    result = run("list")
    assert result.exit_code == 0
    family = ""
    found = {}
    for line in result.output.splitlines():
        if line and not line.startswith(" "):
            family = line.split()[0]
        elif line:
            found[line.split()[0]] = family
    own = {name for name, family in found.items() if family == "own"}  # of other tests
    assert found == {name: entry.family for name, entry in nl.activations.items() if entry.family != "own" or name in own}


def test_lines_that_are_piped_are_whole_and_end_with_a_word() -> None:
    lines = run("list", COLUMNS="40").output.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert any(line.strip() == f"leaky_relu        {nl.leaky_relu.summary}" for line in lines)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["bert"], set()),
        (["hardsilu"], {"hard_swish"}),
        (["GPT-2"], {"gelu_tanh"}),
        (["elu", "inverse", "square"], {"isrlu"}),
        (["--family", "Periodic", "snake"], {"snake", "snake_beta"}),
        (["--family", "self-gated", "pytorch_tanh"], {"gelu_tanh"}),
    ],
)
def test_words_search_in_names_aliases_and_summaries(words: list[str], names: set[str]) -> None:
    result = run("list", "--json", *words)
    assert result.exit_code == 0
    assert {entry["name"] for entry in json.loads(result.output)} == names


def test_list_as_json_has_what_the_registry_has() -> None:
    entry = next(e for e in json.loads(run("list", "--json").output) if e["name"] == "relu_squared")
    assert entry == {
        "name": "relu_squared",
        "family": "rectifiers",
        "aliases": list(nl.relu_squared.aliases),
        "summary": nl.relu_squared.summary,
    }


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_says_all_there_is_to_know() -> None:
    output = run("show", "LeakyReLU").output
    for expected in [
        "leaky_relu  rectifiers",
        "  source  Maas et al. 2013",
        "  f    where(x > 0, x, negative_slope*x)",
        "  f'   where(x > 0, 1, negative_slope)",
        "  f''  0",
        r"  f'   \begin{cases} 1 & x > 0",
        "  negative_slope  0.01",
        "  torch         F.leaky_relu(negative_slope=0.01), nn.LeakyReLU(negative_slope=0.01)",
        "  keras.layers  keras.layers.LeakyReLU(negative_slope=0.3)  (here 0.01)",
        "  onnx          LeakyRelu(alpha=0.01)",
        "  derivative at 0 is 1, here 0.01          jax",
        "gain                    1.41414",
        "  kinks                   slope jumps from 0.01 to 1 at 0",
        "leaky_relu: f(x)",
    ]:
        assert expected in output
    assert output.count("●") == 2


def test_show_as_json_is_strict_and_complete() -> None:
    record = json.loads(run("show", "leaky_relu", "--json", "--set", "negative_slope=0.5").output, parse_constant=pytest.fail)
    assert record["formula"] == str(nl.leaky_relu.formula)
    assert [d["of"] for d in record["derivatives"]] == ["f'", "f''"]
    assert record["parameters"]["negative_slope"] == {"default": 0.5, "bounds": {}, "learnable": False}
    assert record["frameworks"]["onnx"]["calls"] == ["LeakyRelu(alpha=0.01)"]
    assert record["frameworks"]["keras"]["defaults"] == {"negative_slope": 0.2}
    assert {"activation": "leaky_relu", "order": 1, "x": 0, "ours": 0.01, "theirs": 1, "backend": ""} in record["frameworks"][
        "jax"
    ]["differences"]
    assert record["facts"]["limits"] == {"left": "-inf", "right": "inf"}
    assert record["facts"]["lipschitz"] == 1
    assert record["facts"]["kinks"] == [{"x": 0, "order": 1, "left": 0.5, "right": 1}]


@pytest.mark.usefixtures("no_facts")
@pytest.mark.parametrize("name", [name for name, entry in nl.activations.items() if entry.family != "own"])
def test_every_activation_is_shown(name: str) -> None:
    result = run("show", name)
    assert result.exit_code == 0, result.output
    entry = nl.activations[name]
    assert f"{entry.summary}\n" in result.output
    assert f"f{'':{7 if isinstance(entry, nl.Gated) else 2}}" in result.output
    for dialect in dialects():
        assert (f"\n  {dialect.name} " in result.output) == (name in dialect.calls)
    elementwise = isinstance(entry, nl.Elementwise) and entry.operands == ("x",)
    assert (f"{name}: f(x)" in result.output) == (elementwise and name != "threshold")


@pytest.mark.usefixtures("no_facts")
def test_without_mpmath_there_are_no_facts_and_no_marks() -> None:
    output = run("show", "relu").output
    assert "  none  facts are computed with mpmath\n" in output
    assert "relu: f(x)" in output
    assert "●" not in output
    result = run("show", "relu", "--json")
    assert (result.exit_code, result.stderr) == (1, "nonlin: facts are computed with mpmath\n")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("softmax", "softmax is a function of a whole row: there is no curve to draw"),
        ("swiglu", "swiglu is a function of two arrays: there is no curve to draw"),
        ("threshold", "threshold can be drawn when threshold and value are given: --set threshold=... --set value=..."),
    ],
)
def test_where_there_is_no_curve_it_is_said(name: str, why: str, tmp_path: Path) -> None:
    result = run("show", name)
    assert result.exit_code == 0
    assert result.output.endswith(f"\n{why}\n")
    result = run("show", name, "--png", str(tmp_path / "a.png"))
    assert (result.exit_code, result.stderr) == (2, f"nonlin: {why}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_gated_pair_has_derivatives_by_gate_and_value() -> None:
    output = run("show", "reglu").output
    assert f"  d/dgate   {nl.reglu.derivative_formula(wrt='gate')}\n" in output
    assert "  d/dvalue  where(x > 0, x, 0)\n" in output


@pytest.mark.usefixtures("no_facts")
def test_a_frameworks_full_name_comes_with_its_default() -> None:
    assert "  negative_slope  0.3\n" in run("show", "keras.layers.LeakyReLU").output
    assert run("show", "jax.nn.gelu").output.startswith("gelu_tanh  ")


@pytest.mark.usefixtures("no_facts")
def test_order_counts_derivatives() -> None:
    assert "f'(x)" not in run("show", "tanh", "--order", "0").output
    output = run("show", "tanh", "--order", "4").output
    assert all(f"{label}(x)" in output for label in ["f'", "f''", "f'''", "f^(4)"])


@pytest.mark.usefixtures("no_facts")
@pytest.mark.parametrize("columns", [30, 80, 140])
def test_the_drawing_is_as_wide_as_the_terminal(columns: int) -> None:
    lines = run("show", "tanh", "--order", "2", COLUMNS=str(columns)).output.splitlines()
    drawing = lines[next(i for i, line in enumerate(lines) if "tanh: f(x)" in line) :]
    assert columns - 12 <= max(map(len, drawing)) <= columns
    assert sum("(x)" in line for line in drawing) == {30: 3, 80: 2, 140: 1}[columns]


@pytest.mark.usefixtures("no_facts")
def test_the_range_is_where_the_function_bends_unless_it_is_given() -> None:
    def ticks(*arguments: str) -> list[str]:
        return run("show", *arguments, "--order", "0").output.splitlines()[-1].split()

    assert ticks("gelu")[:: len(ticks("gelu")) - 1] == ["-4", "4"]
    assert ticks("softcap")[-1] in {"50", "60", "80"}
    assert ticks("hard_tanh", "--set", "max_value=20")[-1] in {"20", "30"}
    assert ticks("sin")[-1] in {"5", "6"}
    assert ticks("gelu", "--range", "-1", "2")[-1] in {"2", "2.0"}


def test_plain_is_ascii_and_colours_are_for_terminals() -> None:
    assert run("show", "abs", "--plain").output.isascii()
    assert "\x1b" not in run("show", "abs").output
    assert "\x1b[36m" in run("show", "abs", FORCE_COLOR="1").output
    assert "\x1b[36m" not in run("show", "abs", FORCE_COLOR="1", NO_COLOR="1").output
    assert "\x1b" not in run("show", "abs", "--plain", FORCE_COLOR="1").output


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 3, 4])
def test_png_is_written(order: int, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture"
    result = run("show", "hard_shrink", "--png", str(path), "--order", str(order))
    assert result.exit_code == 0, result.output
    assert result.output.endswith(f"drawing written to {path}\n")
    assert "●" not in result.output
    assert path.read_bytes().startswith(b"\x89PNG")


def test_png_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "nowhere" / "a.png"
    result = run("show", "relu", "--png", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"nonlin: cannot write {path}: No such file or directory\n"


def test_without_matplotlib_the_command_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("show", "relu", "--png", str(tmp_path / "a.png"))
    expected = "nonlin: --png needs matplotlib, which is missing: pip install matplotlib\n"
    assert (result.exit_code, result.stderr) == (1, expected)


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("show geluu", 2, "there is no activation 'geluu': did you mean gelu"),
        ("show rectifiers", 2, "rectifiers is a family: nonlin list --family rectifiers has its members"),
        ("show qqqqqqqq", 2, "there is no activation 'qqqqqqqq': nonlin.activations has all names"),
        ("show elu --set alpha=-1", 2, "elu: alpha must be >= 0, got -1"),
        ("show elu --set alhpa=1", 2, "elu has no parameter 'alhpa' (it has: alpha); did you mean alpha?"),
        ("show relu --set alpha=1", 2, "relu has no parameter 'alpha' (it has: none)"),
        ("show elu --set alpha=one", 2, "elu: alpha must be a finite number, got 'one'"),
        ("show elu --set alpha=inf", 2, "elu: alpha must be a finite number, got 'inf'"),
        ("show elu --set alpha", 2, "--set takes a parameter and a number, as in --set alpha=2, got 'alpha'"),
        ("show elu --range 2 1", 2, "--range takes two finite numbers, the smaller one first, got 2 1"),
        ("show elu --range 0 inf", 2, "--range takes two finite numbers, the smaller one first, got 0 inf"),
        (
            "show softmax --set temperature=2",
            2,
            "softmax takes its parameters when it is called; there is nothing to set",
        ),
        ("show relu --range -inf 1", 2, "--range takes two finite numbers, the smaller one first, got -inf 1"),
        ("show tanh --range -1e308 1e308", 2, "--range takes two finite numbers, the smaller one first, got -1e+308 "),
        ("list zzzz yyyy", 1, "no activation has 'zzzz' and 'yyyy' in its name, aliases or description"),
        ("list --family smoth", 2, "there is no family 'smoth': the families are rectifiers, "),
    ],
)
def test_an_error_is_one_sentence(arguments: str, code: int, message: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == code
    assert result.stderr.startswith(f"nonlin: {message}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.usefixtures("no_facts")
def test_where_nothing_is_finite_it_is_said() -> None:
    result = run("show", "relu_squared", "--range", "1e200", "2e200")
    expected = "nonlin: relu_squared: there is no finite value between 1e+200 and 2e+200\n"
    assert (result.exit_code, result.stderr) == (2, expected)


def test_the_version_and_examples_are_told() -> None:
    assert run("--version").output == f"nonlin {nl.__version__}\n"
    assert "nonlin show gelu" in run("--help").output
    for command in ("list", "show"):
        examples = [line.strip() for line in run(command, "-h").output.splitlines() if re.match(r" +nonlin (list|show)", line)]
        assert len(examples) >= 4


# --- in a process of its own ------------------------------------------------------------------------------------------


def test_a_reader_that_has_enough_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", RUN, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) in (0, 1)
    process.stderr.close()


def test_a_terminal_without_unicode_gets_ascii() -> None:
    done = shell("show", "relu", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"relu: f(x)" in done.stdout
    assert done.stdout.isascii()


def test_list_and_help_load_and_compile_nothing() -> None:
    code = (
        "import sys; import nonlin.cli, nonlin.kernels.ufunc as u\n"
        "u.make_ufunc = None\n"
        "from typer.testing import CliRunner\n"
        "for a in (['list'], ['--help'], ['--version']):\n"
        "    assert CliRunner().invoke(nonlin.cli.app, a).exit_code == 0\n"
        "print(*{'mpmath', 'matplotlib', 'scipy', 'pandas', 'torch', 'jax'} & set(sys.modules))\n"
    )
    done = shell(code=code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_extra_it_says_how_to_get_it(missing: str) -> None:
    done = shell(code=f"import sys; sys.modules[{missing!r}] = None; {RUN}")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"nonlin: the command line needs {missing}, which is missing: pip install rich typer"
    ]


@pytest.mark.parametrize(("end", "code", "said"), [("", 0, "No fault found"), (", nn.Softmax(-1)", 3, "leave the softmax out")])
def test_diagnose_says_what_is_wrong_by_its_exit_code(tmp_path: Path, end: str, code: int, said: str) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n"
        "def make(features, outputs):\n"
        f"    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, outputs){end})\n"
    )
    options = ["--data", "iris", "--scale", "--loss", "CrossEntropyLoss", "--report", str(tmp_path / "net.html")]
    result = run("diagnose", f"{file}:make", *options)
    assert (result.exit_code, said in result.output) == (code, True), result.output
    assert "<h1>" in (tmp_path / "net.html").read_text()
