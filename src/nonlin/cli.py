"""The command line: ``nonlin list``, ``show``, ``compare``, ``report``, ``diagnose`` and ``explore``."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import inspect
import json
import math
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, NoReturn

try:
    import typer
    from rich.console import Console
    from rich.text import Text
except ImportError as error:  # the cli extra
    missing = str(error.name).partition(".")[0]
    raise SystemExit(f"nonlin: the command line needs {missing}, which is missing: pip install rich typer") from None

import numpy as np

import nonlin
from nonlin import wanted
from nonlin.charts.terminal import ASCII, BRAILLE, Alphabet, Floats, beside, draw, sample
from nonlin.comparison.plan import DEFAULT_ACTIVATIONS
from nonlin.comparison.reading.bundled import BUNDLED
from nonlin.comparison.saving import plain
from nonlin.definition import Elementwise, Parameter, activations
from nonlin.dialects import Dialect, dialects
from nonlin.facts import UnknownFactError
from nonlin.wanted import key

app = typer.Typer(
    name="nonlin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? and goes on
    app(prog_name="nonlin")


def _fail(message: str, code: int = 2) -> NoReturn:
    """End with one sentence."""
    typer.echo(f"nonlin: {message}", err=True)
    raise typer.Exit(code)


def _console(*, plain: bool = False) -> Console:
    return Console(highlight=False, markup=False, emoji=False, color_system=None if plain else "auto")


def _print_rows(console: Console, rows: Iterable[tuple[str, str]], style: str) -> None:
    """Print labels and texts, which are wrapped where they are read on a terminal."""
    rows = list(rows)
    indent = 4 + max(len(label) for label, _ in rows)
    for label, text in rows:
        wrapped = textwrap.wrap(text, max(console.width - indent, 20), break_on_hyphens=False) or [""]
        line = Text("  ").append(label, style).append(" " * (indent - 2 - len(label)))
        line.append(f"\n{'':{indent}}".join(wrapped) if console.is_terminal else text)
        line.rstrip()
        console.print(line, soft_wrap=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"nonlin {nonlin.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Elementwise functions: which there are, what they are like, which to use.

    \b
    Examples:
      nonlin list                all activations, by family
      nonlin list swish          those with "swish" in name or description
      nonlin show gelu           formula, derivatives, facts, a drawing
      nonlin compare digits      which activation for this data
      nonlin diagnose net.py:make --data digits    is this network alive
      nonlin explore             a gallery, an explorer and labs, in the browser
      nonlin show --help         more about a command
    """  # noqa: D301 - a backspace keeps click from filling the lines that follow


def _complete_activations(incomplete: str) -> list[str]:
    """Complete the last of several names: the shell takes them for one word."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*activations, *wanted.families()) if name.startswith(last)]


def _complete_data(incomplete: str) -> list[str]:
    files = sorted(str(path) for path in Path().glob(f"{incomplete}*") if not path.name.startswith("."))
    return [name for name in BUNDLED if name.startswith(incomplete)] + files


# --- nonlin list ------------------------------------------------------------------------------------------------------


@app.command("list")
def list_(
    words: Annotated[
        list[str] | None, typer.Argument(help="Only those with all of these words in name, aliases or description.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only those of a family.", metavar="FAMILY")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the activations by family, or search them.

    \b
    Examples:
      nonlin list
      nonlin list swish
      nonlin list --family periodic
      nonlin list tanh --json
    """  # noqa: D301
    families = wanted.families()
    if family is not None and key(family) not in map(key, families):
        _fail(f"there is no family {family!r}: the families are {', '.join(families)}")
    found = [
        entry
        for entry in activations.values()
        if (family is None or key(entry.family) == key(family)) and _has(entry, words or ())
    ]
    if as_json:
        typer.echo(json.dumps([_summary(entry) for entry in found], indent=2))
    elif not found:
        _fail(f"no activation has {' and '.join(map(repr, words or ()))} in its name, aliases or description", 1)
    else:
        _print_list(found, families)


def _has(entry: Any, words: Iterable[str]) -> bool:
    names = " ".join([entry.name, *entry.aliases])
    text = f"{names} {names.replace('_', '')} {entry.summary}".lower()
    return all(word.lower() in text for word in words)


def _summary(entry: Any) -> dict[str, Any]:
    return {"name": entry.name, "family": entry.family, "aliases": list(entry.aliases), "summary": entry.summary}


def _print_list(entries: list[Any], families: list[str]) -> None:
    console = _console()
    width = max(len(entry.name) for entry in entries)
    for number, family in enumerate(f for f in families if any(entry.family == f for entry in entries)):
        doc = getattr(sys.modules.get(f"nonlin.catalogue.{family}"), "__doc__", None) or ""
        about = doc.partition("\n")[0].rpartition(": ")[2]
        console.print(
            Text("\n" if number else "").append(family, "bold").append(f"  {about}" if about else "", "dim"), soft_wrap=True
        )
        _print_rows(console, [(f"{e.name:<{width}}", e.summary) for e in entries if e.family == family], "cyan")


# --- nonlin show ------------------------------------------------------------------------------------------------------


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="Its name, an alias, or a framework's name for it; NAME(parameter=value); FILE.py:NAME.",
            metavar="NAME",
            autocompletion=_complete_activations,
        ),
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Give a parameter a value; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(help="Write and draw derivatives up to this order; by default, 2 are written, 1 is drawn.", min=0, max=6),
    ] = None,
    between: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", help="Where to draw; by default, where it bends.", metavar="LOW HIGH"),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write the drawing to this file (needs matplotlib).", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Draw in ASCII, without colours.")] = False,
) -> None:
    """Show an activation: formula, derivatives, parameters, what frameworks say, facts, largest errors, a drawing.

    \b
    Examples:
      nonlin show gelu
      nonlin show elu --set alpha=2 --order 3
      nonlin show keras.layers.LeakyReLU
      nonlin show softcap --range -100 100
      nonlin show gelu --png gelu.png
      nonlin show gelu --json
    """  # noqa: D301
    entry = _entry(name, settings or ())
    if between is not None and not (between[0] < between[1] and math.isfinite(between[1] - between[0])):
        _fail(f"--range takes two finite numbers, the smaller one first, got {between[0]:g} {between[1]:g}")
    if as_json:
        typer.echo(json.dumps(_record(entry, 2 if order is None else order), indent=2, allow_nan=False))
        return
    console = _console(plain=plain)
    drawn = 1 if order is None else order
    if png is not None:  # before all else: it may fail
        _write_png(png, _curves(entry, drawn, between) or _fail(_why_no_drawing(entry)))
    _print_words(console, entry, 2 if order is None else order)
    if png is not None:
        console.print(f"\ndrawing written to {png}", soft_wrap=True)
    elif curves := _curves(entry, drawn, between):
        unicode = not plain and console.encoding.lower().startswith("utf")
        _print_drawing(console, curves, BRAILLE if unicode else ASCII)
    else:
        console.print(f"\n{_why_no_drawing(entry)}", style="dim", soft_wrap=True)


def _entry(name: str, settings: Iterable[str]) -> Any:
    """Return an activation with the parameters that are set."""
    try:
        _, entry = wanted.look_up(name)
        values = {}
        for setting in settings:
            parameter, equals, value = (part.strip() for part in setting.partition("="))
            if not equals or not parameter:
                _fail(f"--set takes a parameter and a number, as in --set alpha=2, got {setting!r}")
            values[parameter] = wanted.number(entry.name, parameter, value)
        return wanted.with_values(entry, values)
    except wanted.WantedError as error:
        _fail(str(error))


def _is_elementwise(entry: Any) -> bool:
    return isinstance(entry, Elementwise) and entry.operands == ("x",)


def _missing(entry: Any) -> list[str]:
    return [name for name, parameter in entry.parameters.items() if parameter.default is None]


def _derivatives(entry: Any, order: int) -> list[tuple[str, str, str]]:
    """Return label, formula and LaTeX of the derivatives that there are."""
    if _is_elementwise(entry):
        orders = range(1, order + 1)
        return [(_prime(n), str(entry.derivative_formula(n)), entry.latex(n)) for n in orders]
    if isinstance(entry, Elementwise) and order:
        arrays = ("gate", *entry.operands[1:])
        return [(f"d/d{a}", str(entry.derivative_formula(wrt=a)), entry.latex(1, wrt=a)) for a in arrays]
    return []


def _prime(order: int) -> str:
    return "f" + "'" * order if order < 4 else f"f^({order})"


# --- in words


def _print_words(console: Console, entry: Any, order: int) -> None:
    console.print(Text(entry.name, "bold cyan").append(f"  {entry.family}", "dim"))
    console.print(entry.summary, soft_wrap=not console.is_terminal)
    about = {"also": ", ".join(entry.aliases), "source": entry.source}
    if any(about.values()):
        _print_rows(console, [(label, text) for label, text in about.items() if text], "dim")

    formulas = [("f", str(entry.formula), entry.latex()), *_derivatives(entry, order)]
    _print_section(console, "formula", [(label, text) for label, text, _ in formulas])
    _print_section(console, "LaTeX", [(label, latex) for label, _, latex in formulas])
    _print_section(console, "parameters", [(name, _described(p)) for name, p in entry.parameters.items()])
    has = [dialect for dialect in dialects() if entry.name in dialect.calls]
    _print_section(console, "frameworks", [(dialect.name, _in_dialect(dialect, entry.name)) for dialect in has])
    where: dict[str, list[str]] = {}
    for dialect in has:
        for difference in dialect.differences(entry.name):
            where.setdefault(str(difference), []).append(dialect.name)
    _print_section(console, "where numbers differ", [(text, ", ".join(names)) for text, names in where.items()])
    _print_section(console, "facts", _facts(entry, console.width))
    _print_section(console, "largest errors", entry.accuracy.rows() if _is_elementwise(entry) and not _missing(entry) else [])


def _print_section(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        console.print(Text(f"\n{title}", "bold"))
        _print_rows(console, rows, "dim")


def _described(parameter: Parameter) -> str:
    default = "no default" if parameter.default is None else _number(parameter.default)
    learned = "learned by default" if parameter.learnable else ""
    return ", ".join(filter(None, [default, parameter.describe(), learned]))


def _in_dialect(dialect: Dialect, name: str) -> str:
    """Say how a framework spells an activation, and what to know about its defaults."""
    ours, theirs = activations[name].parameters, dialect.defaults.get(name, {})
    call = dialect.calls[name][0]
    tacit = [f"{p} = {_number(theirs.get(p, ours[p].default))}" for p in ours if p not in call.parameters]
    notes = [f"always {', '.join(tacit)}"] if tacit and not call.fixed else []
    notes += [f"here {_number(ours[p].default)}" for p in theirs]
    return ", ".join(dialect.spell(name)) + (f"  ({'; '.join(notes)})" if notes else "")


def _facts(entry: Any, width: int) -> list[tuple[str, str]]:
    """Return the facts, two short ones in a row."""
    if not _is_elementwise(entry) or _missing(entry):
        return []
    try:
        facts = [(name.replace("_", " "), _fact(v)) for name, v in entry.facts.as_dict().items() if v is not None]
    except ImportError as error:
        return [("none", str(error))]
    label = max(len(name) for name, _ in facts)
    half = (width - 6) // 2 - label - 2
    short = [fact for fact in facts if len(fact[1]) <= half]
    pairs = zip_longest(short[: (len(short) + 1) // 2], short[(len(short) + 1) // 2 :], fillvalue=("", ""))
    rows = [(a, f"{b:<{half}}  {c:<{label}}  {d}".rstrip()) for (a, b), (c, d) in pairs]
    return [(f"{name:<{label}}", text) for name, text in facts if len(text) > half] + rows


def _number(value: Any) -> str:
    return "none" if value is None else f"{value:.6g}"


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], bool):
        return "{} at -inf, {} at inf".format(*map(_fact, value))
    if isinstance(value, tuple):
        return "; ".join(map(_fact, value)) or "none"
    return _number(value) if isinstance(value, float) else str(value)


# --- as data


def _record(entry: Any, order: int) -> dict[str, Any]:
    derivatives = [{"of": label, "formula": text, "latex": latex} for label, text, latex in _derivatives(entry, order)]
    parameters = {
        name: {"default": p.default, "bounds": p.bounds, "learnable": p.learnable} for name, p in entry.parameters.items()
    }
    frameworks = {
        dialect.name: {
            "version": dialect.title,
            "calls": dialect.spell(entry.name),
            "defaults": dict(dialect.defaults.get(entry.name, {})),
            "differences": [plain(d) for d in dialect.differences(entry.name)],
        }
        for dialect in dialects()
        if entry.name in dialect.calls
    }
    record = _summary(entry) | {"source": entry.source, "formula": str(entry.formula), "latex": entry.latex()}
    record |= {"derivatives": derivatives, "parameters": parameters, "frameworks": frameworks}
    if _is_elementwise(entry) and not _missing(entry):
        try:
            record["facts"] = plain(entry.facts.as_dict())
        except ImportError as error:
            _fail(str(error), 1)
    return record


# --- as a drawing


@dataclasses.dataclass(frozen=True)
class _Curve:
    title: str
    x: Floats
    y: Floats
    marks: list[tuple[float, float]]


def _why_no_drawing(entry: Any) -> str:
    if not isinstance(entry, Elementwise):
        return f"{entry.name} is a function of a whole row: there is no curve to draw"
    if not _is_elementwise(entry):
        return f"{entry.name} is a function of two arrays: there is no curve to draw"
    settings = " ".join(f"--set {name}=..." for name in _missing(entry))
    return f"{entry.name} can be drawn when {' and '.join(_missing(entry))} are given: {settings}"


def _curves(entry: Any, order: int, between: tuple[float, float] | None) -> list[_Curve]:
    """Sample the function and its derivatives; nothing where there is no curve."""
    if not _is_elementwise(entry) or _missing(entry):
        return []
    low, high = between or _interval(entry)
    try:
        kinks = entry.facts.kinks
    except (ImportError, UnknownFactError):  # a jump is drawn as a steep line then
        kinks = ()
    curves = []
    for n in range(order + 1):
        # A jump of the next derivative is a corner in this one.
        places = [float(kink.x) for kink in kinks if kink.order <= n + 1]
        with np.errstate(all="ignore"):
            x, y = sample(partial(entry.derivative, order=n), low, high, breaks=places)
            marks = [(place, float(entry.derivative(place, order=n))) for place in places if low < place < high]
        title = f"{_prime(n)}(x)" if n else f"{entry.name}: f(x)"
        if not np.isfinite(y).any():
            _fail(f"{entry.name}: there is no finite value between {low:g} and {high:g}")
        curves.append(_Curve(title, x, y, marks))
    return curves


def _interval(entry: Any) -> tuple[float, float]:
    """Return an interval around zero with 90 % of the function's bends, or a small one if it never stops bending."""
    x = np.linspace(-128, 128, 16385)
    with np.errstate(all="ignore"):
        bends = np.abs(np.diff(np.nan_to_num(entry.derivative(x))))
        for reach in (4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100):
            if bends[np.abs(x[1:]) <= reach / 1.3].sum() >= 0.9 * bends.sum():
                return -reach, reach
    return -6, 6


def _print_drawing(console: Console, curves: list[_Curve], alphabet: Alphabet) -> None:
    gap, available = 2, max(console.width, 24)
    abreast = min(len(curves), max(1, (available + gap) // 36), 3 if available >= 120 else 2)
    width = min((available + gap) // abreast - gap, 76)
    height = max(8, min(18, width * 2 // 5))
    for start in range(0, len(curves), abreast):
        lines: list[str] = []
        for curve in curves[start : start + abreast]:
            drawn = draw(curve.x, curve.y, width=width, height=height, title=curve.title, marks=curve.marks, alphabet=alphabet)
            lines = beside(lines, drawn, gap) if lines else drawn
        console.print()
        for line in lines:
            text = Text(line.rstrip())
            if alphabet is BRAILLE:  # whose characters are of use for nothing else
                text.highlight_regex(r"[\u2801-\u28ff]+", "cyan")
                text.highlight_regex(alphabet.mark, "bold yellow")
            console.print(text, no_wrap=True, overflow="ignore", crop=False)


def _write_png(path: Path, curves: list[_Curve]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        _fail("--png needs matplotlib, which is missing: pip install matplotlib", 1)
    columns = 2 if len(curves) == 4 else min(len(curves), 3)
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(4.4 * columns, 3.4 * rows), layout="constrained")
    for axes, curve in zip(figure.subplots(rows, columns, squeeze=False).flat, curves, strict=False):
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.axvline(0, color="0.8", linewidth=0.8)
        axes.plot(curve.x, curve.y, linewidth=2)
        if curve.marks:
            axes.plot(*zip(*curve.marks, strict=True), "o", color="C1", markersize=5)
        axes.set_title(curve.title)
        axes.set_xlim(curve.x[0], curve.x[-1])
        axes.spines[["top", "right"]].set_visible(False)
    for axes in figure.axes[len(curves) :]:
        axes.set_visible(False)
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        _fail(f"cannot write {path}: {error.strerror or error}", 1)


# --- nonlin explore ---------------------------------------------------------------------------------------------------


@app.command()
def explore(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Open the page of this one: a name, an alias, FILE.py:NAME. [the gallery]",
            metavar="NAME",
            autocompletion=_complete_activations,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")] = Path("nonlin-site"),
    opened: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    accuracy: Annotated[bool, typer.Option("--accuracy", help="Measure the kernels' errors, too: a minute.")] = False,
) -> None:
    """Write a gallery of all activations, an explorer and labs as a site that needs no server, and open it.

    \b
    Examples:
      nonlin explore
      nonlin explore gelu
      nonlin explore mine.py:tuesday --out site --no-open
    """  # noqa: D301
    from nonlin.explanation import ExploreError, write_site

    entry = None if name is None else _entry(name, ())
    own = [entry] if entry is not None and entry.family == "own" else []
    typer.echo("computing facts and formulas: half a minute...", err=True)
    try:
        written = write_site(out, *own, accuracy=accuracy)
    except ExploreError as error:
        _fail(str(error), 1)
    page = written["index" if entry is None else entry.name]
    typer.echo(page)
    if opened:
        typer.launch(page.resolve().as_uri())


# --- nonlin compare ---------------------------------------------------------------------------------------------------


def _comparison() -> Any:
    """Import what the compare extra is for."""
    # torch is for the workers, so this process does not import it; better to know before they start.
    for needed in ("torch", "scipy", "pandas", "cloudpickle", "mpmath"):
        if importlib.util.find_spec(needed) is None:
            _fail(f'comparing needs {needed}, which is missing: pip install "nonlin[compare]"', 1)
    import nonlin.comparison.terminal

    return nonlin.comparison


def _words(values: Iterable[str] | None) -> list[str]:
    """Split at commas that are in no brackets."""
    return [word.strip() for value in values or () for word in re.split(r",(?![^()]*\))", value) if word.strip()]


def _numbers(values: Iterable[str] | None, option: str, kind: type) -> list[Any] | None:
    words = _words(values)
    try:
        return [kind(word) for word in words] or None
    except ValueError:
        _fail(f"{option} takes numbers, such as {option} {'0.001,0.01' if kind is float else '64,32'}; got {', '.join(words)}")


def _own_model(text: str | None) -> Any:
    """Return a ready model's name, or what FILE.py:FUNCTION stands for."""
    try:
        return wanted.model(text) if text is not None and wanted.is_in_file(text) else text
    except wanted.WantedError as error:
        _fail(str(error))


def _check_writable(page: Path) -> None:
    """Make sure of the report's place before training for it."""
    from nonlin.comparison.saving import check_suffix

    try:
        check_suffix(page)
    except ValueError as error:
        _fail(str(error))
    folder = page.parent
    if not folder.is_dir():
        _fail(f"cannot write {page}: there is no folder {folder}")
    try:  # to open it tells more than its permissions do
        there = page.exists()
        page.open("ab").close()
        if not there:
            page.unlink()
    except OSError as error:
        why = "it is a folder" if isinstance(error, IsADirectoryError) else error.strerror or error
        _fail(f"cannot write {page}: {why}")


def _reproduce(arguments: list[str], plan: Any) -> str:
    """Return the command that makes the same study whatever the machine: a budget's place is taken by what came of it."""
    kept: list[str] = []
    for argument in arguments:
        if kept and kept[-1] == "--budget":
            kept.pop()
        elif not argument.startswith("--budget="):
            kept.append(argument)
    for option, value in plan.options():
        if not any(argument.partition("=")[0] == option for argument in kept):
            kept += [option, value]
    return shlex.join(["nonlin", *kept])


def _study_name(data: Iterable[str], target: str | None, read: Mapping[str, Any]) -> str:
    """Name a study after data and target; a hash tells files in other folders, and data that are read otherwise."""
    from nonlin.comparison.reading import split_target

    pairs = [split_target(item, target) for item in data]
    parts = [Path(file).stem.removesuffix(".tar") for file, _ in pairs]
    parts = [part.partition(".")[0] or part for part in parts]  # data.csv.gz
    goals = [str(goal) for _, goal in pairs if goal]
    names = [f"{part}-{goal}" if goal else part for part, (_, goal) in zip(parts, pairs, strict=True)]
    name = "-".join([*parts, goals[0]] if goals and len({*goals}) == 1 and len(goals) == len(parts) else names)
    name = re.sub(r"[^\w.-]+", "_", name)[:80]
    folders = [str(path.parent.resolve()) for path in (Path(file) for file, _ in pairs) if path.parent != Path()]
    rest = [*folders, *(f"{key}={value}" for key, value in read.items() if value)]
    return f"{name}-{hashlib.sha256(chr(0).join(rest).encode()).hexdigest()[:6]}" if rest else name


def _print_choices() -> None:
    """Print what there is to choose from without a file."""
    console = _console()
    console.print(Text("bundled data", "bold"))
    _print_rows(console, [(name, data.about) for name, data in BUNDLED.items()], "cyan")
    console.print(Text("\nactivations by default", "bold"))
    _print_rows(console, [("", ", ".join(DEFAULT_ACTIVATIONS))], "")
    console.print(Text("\nfamilies, each a word for -a", "bold"))
    _print_rows(
        console, [(family, ", ".join(names)) for family in wanted.families() if (names := wanted.members(family))], "cyan"
    )


@app.command()
def compare(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Bundled data ({', '.join(BUNDLED)}) or files (CSV, Excel, JSON, Parquet, Feather, ARFF, NPY, NPZ, also "
            "compressed); FILE:COLUMN is a file with a target of its own.",
            metavar="DATA...",
            autocompletion=_complete_data,
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.", metavar="COLUMN")] = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression; told from the target.", metavar="TASK")
    ] = None,
    activations: Annotated[
        list[str] | None,
        typer.Option(
            "--activations",
            "-a",
            help=f"Names, NAME(parameter=value), FILE.py:NAME, families; by default {', '.join(DEFAULT_ACTIVATIONS)}.",
            metavar="NAME,...",
            autocompletion=_complete_activations,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="mlp, resnet-mlp, cnn, transformer, or FILE.py:FUNCTION. [mlp; cnn for images]", metavar="MODEL"),
    ] = None,
    widths: Annotated[
        list[str] | None, typer.Option(help="Of the hidden layers: one for all, or each.", metavar="N,...")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Number of hidden layers. [3]", metavar="N")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds that are judged. [3]", metavar="N")] = None,
    splits: Annotated[int | None, typer.Option(help="Test folds. [10]", metavar="N")] = None,
    learning_rates: Annotated[
        list[str] | None, typer.Option(help="To choose from. [0.0003,0.001,0.003,0.01,0.03]", metavar="X,...")
    ] = None,
    gains: Annotated[
        list[str] | None, typer.Option(help="Initialisation gains to choose from: exact, or numbers. [exact]", metavar="X,...")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="The most that a network is trained. [sized to the data]", metavar="N")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="The same in passes over the training rows.", metavar="N")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="accuracy, balanced-accuracy, AUC, log-loss; R2, MAE. [accuracy or R2]", metavar="METRIC"),
    ] = None,
    class_weights: Annotated[str | None, typer.Option(help="none or balanced. [none]", metavar="WEIGHTS")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW. [0]", metavar="X")] = None,
    normalisation: Annotated[
        str | None, typer.Option(help="none, batch or layer, before each activation. [none]", metavar="KIND")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Longer tables are sampled. [20000]", metavar="N")] = None,
    budget: Annotated[str | None, typer.Option(help="Size the study to a time: 60s, 5m.", metavar="TIME")] = None,
    engine: Annotated[str, typer.Option(help="local or ray.", metavar="ENGINE")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster.", metavar="ADDRESS")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one for each core.", metavar="N")] = None,
    study: Annotated[
        Path | None, typer.Option(help="Where runs are kept, and found again. [DATA.study]", metavar="FILE")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where the report is written: .html, .csv, .json or .tex. [DATA.html]", metavar="FILE")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Columns to leave out.", metavar="COLUMN,...")] = None,
    features: Annotated[list[str] | None, typer.Option(help="The only columns to learn from.", metavar="COLUMN,...")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="Columns whose numbers are names.", metavar="COLUMN,...")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Rows of one group are never both trained and tested on.", metavar="COLUMN")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="What is tested on comes after what was trained on.", metavar="COLUMN")
    ] = None,
    sep: Annotated[str | None, typer.Option(help="What separates columns of a text; found out.", metavar="CHARACTER")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal point or comma; found out.", metavar="CHARACTER")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text; found out.", metavar="NAME")] = None,
    list_choices: Annotated[bool, typer.Option("--list", help="List bundled data, default activations, families.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare activations on data: which is best, how sure is that, what does it cost.

    Each gets its own learning rate, chosen on validation data; each is judged on test folds, in paired runs. What has been
    trained is kept in the study file: a command that was stopped goes on where it was.

    \b
    Examples:
      nonlin compare digits
      nonlin compare houses.csv --target price
      nonlin compare digits -a relu,gelu,mine.py:tuesday --seeds 20
      nonlin compare digits wine iris --budget 5m
      nonlin compare iris.csv:species houses.xlsx:price
      nonlin compare sales.csv --target sold --time day
      nonlin compare images.npz --model mine.py:cnn
    """  # noqa: D301
    if list_choices:
        _print_choices()
        return
    if not data:
        _fail("which data? A file and --target COLUMN, or a bundled name: nonlin compare --list has them")
    comparison = _comparison()
    from nonlin.comparison.terminal import show as show_study

    read: dict[str, Any] = {"drop": _words(drop), "features": _words(features), "categorical": _words(categorical)}
    read |= {"group": group, "time": time, "sep": sep, "decimal": decimal, "encoding": encoding, "task": task}
    file = study or Path(f"{_study_name(data, target, read)}.study")
    page = report or Path(f"{file.with_suffix('') if file.suffix == '.study' else file}.html")
    if report is not None or file.parent.is_dir():  # what is wrong with the study's place is said of the study
        _check_writable(page)
    again = shlex.join(["nonlin", *sys.argv[1:]])
    console = _console()
    try:
        found = comparison.compare(
            data[0] if len(data) == 1 else data,
            target,
            activations=_words(activations) or None,
            model=_own_model(model),
            widths=_numbers(widths, "--widths", int),
            depth=depth,
            seeds=seeds,
            splits=splits,
            learning_rates=_numbers(learning_rates, "--learning-rates", float),
            gains=_words(gains) or None,
            steps=steps,
            epochs=epochs,
            metric=metric,
            class_weights=class_weights,
            weight_decay=weight_decay,
            normalisation=normalisation,
            rows=rows,
            budget=budget,
            engine=engine,
            address=address,
            workers=workers,
            study=file,
            command=lambda plan: _reproduce(sys.argv[1:], plan),
            **read,
        )
    except (comparison.DataError, comparison.PlanError) as error:
        _fail(str(error))
    except comparison.LedgerError as error:
        _fail(str(error))
    except comparison.StudyError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; {file} keeps what was finished. To go on: {again}", err=True)
        raise typer.Exit(130) from None
    _show_study(found, page, console, as_json, show_study)


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="A study file.", metavar="STUDY")],
    out: Annotated[Path | None, typer.Option("--report", help="Where to write. [STUDY.html]", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a study again, and write its report anew; nothing is trained.

    \b
    Examples:
      nonlin report digits.study
      nonlin report digits.study --report digits.html
    """  # noqa: D301
    comparison = _comparison()
    from nonlin.comparison.terminal import show as show_study

    try:
        found = comparison.read(study)
    except comparison.LedgerError as error:
        _fail(str(error))
    _show_study(found, out or study.with_suffix(".html"), _console(), as_json, show_study)


def _show_study(found: Any, page: Path, console: Console, as_json: bool, show_study: Any) -> None:
    problem = None
    try:  # before anything is printed: a reader that has enough must not cost the report
        found.save(page)
    except OSError as error:
        problem = f"cannot write {page}: {error.strerror or error}"
    if as_json:
        typer.echo(json.dumps(plain(found.as_dict()), indent=2, allow_nan=False))
    else:
        show_study(console, found)
    if problem:
        _fail(problem, 1)
    if not as_json:
        console.print(f"report: {page}", soft_wrap=True)


# --- nonlin diagnose --------------------------------------------------------------------------------------------------


@app.command()
def diagnose(
    model: Annotated[str, typer.Argument(help="FILE.py:NAME, a module or a function that makes one.", metavar="FILE.py:NAME")],
    data: Annotated[
        str,
        typer.Option(
            help=f"Bundled data ({', '.join(BUNDLED)}) or a file, as for nonlin compare.",
            metavar="DATA",
            autocompletion=_complete_data,
        ),
    ],
    target: Annotated[str | None, typer.Option(help="The column to predict.", metavar="COLUMN")] = None,
    loss: Annotated[str | None, typer.Option(help="A loss of torch.nn: CrossEntropyLoss.", metavar="NAME")] = None,
    weights: Annotated[Path | None, typer.Option(help="A state_dict to load into the model.", metavar="FILE")] = None,
    scale: Annotated[bool, typer.Option("--scale", help="Standardise the features first.")] = False,
    out: Annotated[
        Path | None, typer.Option("--report", help="Write .html, .json, .sarif, .csv or .txt.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Diagnose a PyTorch or Keras network: is it alive, how sure is that, why, and what helps.

    Exit code 0 if nothing is worse than a note, 1 for warnings, 3 for errors.

    \b
    Examples:
      nonlin diagnose net.py:make --data digits
      nonlin diagnose net.py:make --data houses.csv --target price --loss MSELoss
      nonlin diagnose net.py:net --data digits --weights net.pt --report net.html
    """  # noqa: D301
    _comparison()
    import torch

    from nonlin.comparison import DataError
    from nonlin.comparison.data import as_they_are, prepare
    from nonlin.comparison.reading import load
    from nonlin.diagnosis.data import DiagnosisError
    from nonlin.diagnosis.diagnosing import diagnose as look

    try:
        found = load(data, target)
        features, goals = (prepare(found, np.arange(len(found))).features if scale else as_they_are(found)), found.target
        network = _network(model, found.features, found.outputs)
        if weights is not None and not isinstance(network, torch.nn.Module):
            _fail("--weights takes a state_dict, which is PyTorch's: load those of a model of Keras where it is made")
        if weights is not None:
            network.load_state_dict(torch.load(weights, weights_only=True))
        kind = None if loss is None else getattr(torch.nn, loss, None)
        if loss is not None and kind is None:
            _fail(f"--loss takes a loss of torch.nn, such as CrossEntropyLoss; there is no torch.nn.{loss}")
        seen = look(network, features, goals, loss=None if kind is None else kind())
        if out is not None:
            seen.save(out)
    except (DataError, DiagnosisError, ValueError) as error:
        _fail(str(error))
    except (OSError, RuntimeError) as error:
        _fail(str(error).partition("\n")[0], 1)
    typer.echo(seen.as_json() if as_json else str(seen))
    raise typer.Exit({"warning": 1, "error": 3}.get(seen.severity or "", 0))


def _network(text: str, features: int, outputs: int) -> Any:
    """Return the module that FILE.py:NAME is, or makes; a function may ask for the numbers of features and outputs."""
    import torch

    from nonlin.diagnosis.sites import is_keras

    if not wanted.is_in_file(text):
        _fail(f"the model must be FILE.py:NAME, got {text!r}")
    try:
        found = wanted.from_file(text)
    except wanted.WantedError as error:
        _fail(str(error))
    if callable(found) and not isinstance(found, torch.nn.Module) and not is_keras(found):
        known = {"features": features, "outputs": outputs, "classes": outputs}
        asked = [name for name, p in inspect.signature(found).parameters.items() if p.default is p.empty]
        strange = [name for name in asked if name not in known]
        if strange:
            _fail(f"{text} wants {strange[0]}: a function that makes a model may ask for features and outputs, nothing else")
        found = found(**{name: known[name] for name in asked})
    if not isinstance(found, torch.nn.Module) and not is_keras(found):
        what = "not there" if found is None else f"a {type(found).__name__}"
        _fail(f"{text} is {what}, not a torch.nn.Module or a model of Keras")
    return found
