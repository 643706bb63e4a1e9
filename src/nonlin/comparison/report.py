"""The report: one HTML page that needs no other file, no address and no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.charts import style, svg
from nonlin.charts.terminal import sample
from nonlin.comparison.analysis import Setting, Table
from nonlin.comparison.plan import PlanError, gather
from nonlin.comparison.statistics import Spread, ranks, smallest_difference
from nonlin.comparison.terminal import baseline_scores, chance, duration, percent
from nonlin.comparison.verdict import join, more_seeds, recommendation, summary, verdict

if TYPE_CHECKING:
    from nonlin.comparison.study import Study

_MOST_NUMBERS = 3000  # of single scores in the table below the dots; more make the page too large to send around


def render(study: Study) -> str:
    """Write a study as an HTML page."""
    tables = study.analysis.tables
    names = join([str(table.dataset["name"]) for table in tables]) or "no data"
    parts = [f"<h1>nonlin compare · {escape(names)}</h1>", _verdict(study)]
    if study.analysis.overall is not None:
        parts.append(_overall(study))
    drawn = _contestants(study)
    if len(tables) > 1:
        parts.append(drawn)
    for table in tables:
        sections = (_leaderboard, _dots, _heat, _differences, _depth, _seeds, _tuning)
        content = "".join(section(table) for section in sections) if table.entries else ""
        content = (_box(table) if table.entries else "") + (drawn if len(tables) == 1 else "") + content
        if len(tables) > 1:  # a part of the page for each, closed: the answer over all comes first
            name = escape(str(table.dataset["name"]))
            content = f"<details class='part'><summary>{name}</summary>{_sentences(verdict(table))}{content}</details>"
        parts.append(content)
    parts += [_protocol(study), _commands(study)]
    title = f"Which activation for {names}?"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style()}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def ordered(sign: int, interval: tuple[float, float]) -> tuple[float, float]:
    """Return an interval of scores in the metric's own sign, the smaller number first."""
    low, high = interval[::sign]
    return sign * low, sign * high


def _heading(text: str, about: str = "") -> str:
    return f"<h2>{escape(text)}</h2>" + (f'<p class="soft">{escape(about)}</p>' if about else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], leading: Iterable[bool] = ()) -> str:
    marks = list(leading)
    lines = []
    for number, row in enumerate(rows):
        mark = ' class="on"' if number < len(marks) and marks[number] else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _figure(drawing: str, caption: str = "") -> str:
    if not drawing:
        return ""
    return f"<figure>{drawing}" + (f"<figcaption>{escape(caption)}</figcaption>" if caption else "") + "</figure>"


# --- the ten sections -----------------------------------------------------------------------------------------------------


def _verdict(study: Study) -> str:
    found = study.analysis
    several = len(found.tables) > 1
    lines = summary(found) if several else found.verdict()
    notes = "".join(
        f'<p class="soft">{escape(str(table.dataset["name"]))}: {escape(str(note))}</p>'
        for table in found.tables
        for note in table.dataset["notes"]
    )
    return f'<div class="verdict">{_sentences(lines)}</div>{notes}'


def _sentences(lines: Iterable[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _box(table: Table) -> str:
    """Say in plain words what to do: what to type, with which learning rate, what it costs to do otherwise."""
    advice = recommendation(table)
    if advice is None:
        return ""
    typed = "".join(f"<dt>{escape(where)}</dt><dd><code>{escape(code)}</code></dd>" for where, code in advice.code)
    words = _sentences(advice.sentences)
    terms = (
        "An activation is the function between the layers of a network, such as ReLU. The learning rate is how far each step "
        "of training goes; it matters more than the activation, and each activation was tried with several."
    )
    return f'<div class="box"><h2>What to do</h2><dl>{typed}</dl>{words}<p class="soft">{terms}</p></div>'


def _contestants(study: Study) -> str:
    """Draw the functions that were compared; those of the user's own that this process does not know are left out."""
    drawings = []
    for label in study.plan.activations:
        try:
            (entry,) = gather([label]).entries.values()
        except PlanError:
            continue
        with np.errstate(all="ignore"):
            x, y = sample(entry, -4, 4, count=60)
        drawings.append(f"<figure>{svg.thumbnail(x.tolist(), y.tolist())}<figcaption>{escape(label)}</figcaption></figure>")
    if not drawings:
        return ""
    return _heading("What was compared", "Each function from -4 to 4.") + f'<div class="small">{"".join(drawings)}</div>'


def _leaderboard(table: Table) -> str:
    beats = f"beats {table.baseline}" if table.baseline else ""
    head = ["activation", table.metric.name, "tie", "rate", "95 % interval", beats]
    rows = [
        (
            entry.name + (" ←" if table.decidable and entry is table.recommended and len(table.tied) > 1 else ""),
            table.score(entry.mean),
            entry.group if table.decidable else "",
            f"{entry.usual[0]:g}",
            table.interval(entry.interval),
            chance(table, entry.name),
        )
        for entry in table.entries
    ]
    rows += [(f"({name})", score, "", "", "", "") for name, score in baseline_scores(table)]
    about = (
        f"Mean {table.metric.name} on rows that no network was trained or chosen on, over {table.pairs} paired runs: the same "
        "starting weights and the same batches for every activation. The interval holds the true mean in 95 % of studies. "
        f"Beats: in how many of the pairs, with its interval. Activations that share a letter cannot be told apart by what "
        "matters; ← is the cheapest of the best. Rate: the learning rate that was chosen most often. In brackets: no networks, "
        "on the same rows; what is not above them is no answer."
    )
    health = [
        (
            entry.name,
            f"{entry.steps:,.0f}",
            f"{1000 * entry.seconds:.0f} ms",
            percent(entry.dead),
            percent(entry.always_on),
            percent(entry.saturated),
            f"{entry.diverged} of {entry.runs}",
            f"{entry.flat} of {entry.scores.size}",
            f"{entry.failed} of {entry.runs}",
        )
        for entry in table.entries
    ]
    terms = (
        "Steps of training until nothing got better, and the CPU time of one network. Dead: hidden units that are active on no "
        "training row; always on: active on all; saturated: flat on at least 95 %, of bounded activations. Diverged: the loss "
        "grew without bound; did not learn: never better than a constant prediction."
    )
    columns = ["activation", "steps", "time", "dead", "always on", "saturated", "diverged", "did not learn", "failed"]
    leading = [table.decidable and "a" in entry.group for entry in table.entries]
    return (
        _heading("Leaderboard", about)
        + _table(head, rows, leading)
        + _details("Cost and health", f'<p class="soft">{terms}</p>' + _table(columns, health, leading))
    )


def _dots(table: Table) -> str:
    sign = table.metric.sign
    rows = [
        (entry.name, (sign * entry.scores).ravel().tolist(), ordered(sign, entry.interval), "a" in entry.group)
        for entry in table.entries
    ]
    drawing = svg.dots(rows, lambda v: table.score(sign * v, 1).replace(" %", ""), f"{table.metric.name} of every run")
    unit = " in percent" if table.metric.percent else ""
    numbers = ""
    if sum(entry.scores.size for entry in table.entries) <= _MOST_NUMBERS:
        lines = [
            (entry.name, str(i + 1), " ".join(table.score(v, 1).replace(" %", "") for v in row))
            for entry in table.entries
            for i, row in enumerate(entry.scores)
        ]
        numbers = _details("All scores", _table(["activation", "split", "by seed"], lines))
    caption = (
        f"Test {table.metric.name}{unit}: a dot for each run, the mean, and its 95 % interval. Blue: the leader and all that "
        "ties."
    )
    return _heading("Every run") + _figure(drawing, caption) + numbers


def _setting(setting: Setting) -> str:
    rate, gain = setting
    return f"{rate:g}" + (f" × {gain}" if gain not in ("exact", "own") else "")


def _heat(table: Table) -> str:
    settings = sorted({setting for entry in table.entries for setting in entry.settings})
    values = [[entry.settings.get(setting, math.nan) for setting in settings] for entry in table.entries]
    marked = [max(range(len(settings)), key=lambda i, e=entry: e.chosen.get(settings[i], 0)) for entry in table.entries]  # type: ignore[misc]
    columns = [_setting(setting) for setting in settings]
    names = [entry.name for entry in table.entries]
    drawing = svg.heat(
        names, columns, values, marked, lambda v: table.score(v, 1), "Validation score by learning rate and activation"
    )
    rows = [
        [entry.name, *(f"{table.score(v)} / {entry.chosen.get(s, 0)} / {entry.given_up[s]}" for s, v in entry.settings.items())]
        for entry in table.entries
    ]
    about = (
        f"Mean validation {table.metric.name} of the runs that choose the rate, by seeds that are not judged; framed: chosen "
        "for most splits. The worse half of the rates is given up on the way, twice, and counts with what it had reached."
    )
    details = _details(
        "Validation, splits it was chosen for, splits it was given up for", _table(["activation", *columns], rows)
    )
    return _heading("Learning rate × activation", about) + _figure(drawing) + details


def _differences(table: Table) -> str:
    leader = table.leader
    entries = [entry for entry in table.entries if not entry.lost]
    if len(entries) < 2 or not table.decidable:
        return ""
    found = [(entry, table.compared[entry.name, leader.name]) for entry in entries[1:]]
    sign, unit = table.metric.sign, abs(table.metric.scale)
    points = "points" if table.metric.percent else table.metric.name
    drawing = svg.forest(
        [(e.name, sign * c.difference, ordered(sign, c.difference_interval), "a" in e.group) for e, c in found],
        table.region,
        lambda v: f"{unit * v:+.3g}" if v else "0",
        f"Difference from {leader.name}",
    )
    rows = [
        (
            entry.name,
            table.difference(c.difference, sign=True),
            " to ".join(table.difference(v, sign=True) for v in c.difference_interval[::sign]),
            f"{1 - c.probability:.2f} ({1 - c.probability_interval[1]:.2f}–{1 - c.probability_interval[0]:.2f})",
            f"{c.p:.2g}",
            f"{c.p_adjusted:.2g}",
            ("worse" if -c.difference >= table.region else "worse, by less than matters")
            if c.worse
            else "equivalent"
            if c.equivalent(table.region)
            else "not decided",
        )
        for entry, c in found
    ]
    head = [
        "against " + leader.name,
        "difference",
        "95 % interval",
        f"{leader.name} wins a pair",
        "Wilcoxon p",
        "Holm",
        "decision",
    ]
    blocks = np.stack([entry.scores.ravel() for entry in entries], axis=1)
    ranked = ranks(blocks, [entry.name for entry in entries])
    diagram = svg.critical_difference(ranked.mean, ranked.critical_difference, "Critical difference diagram of mean ranks")
    return (
        _heading("Paired differences", f"From {leader.name}, over the same seeds and splits, in {points}.")
        + _figure(drawing, f"Shaded: differences of at most {table.size(table.region)}, which make none in practice.")
        + _details("Numbers", _table(head, rows))
        + _figure(
            diagram,
            f"Mean rank over the {ranked.blocks} paired runs, 1 is best; a bar joins what Nemenyi's test does not tell apart "
            f"(Friedman p = {ranked.p:.2g}). Runs of one data set are no independent data sets: read it as a description.",
        )
    )


def _depth(table: Table) -> str:
    titles = {
        "rms_gradient_start": "Gradient before training",
        "rms_gradient_end": "Gradient after training",
        "variance_z_start": "Variance before training",
        "variance_z_end": "Variance after training",
    }
    if not any(entry.depth for entry in table.entries):
        return ""
    parts = [
        _heading(
            "Gradient and variance by depth",
            "Medians over runs: RMS of dL/dz per sample, and variance of the pre-activations z, by hidden layer. Flat before "
            "training is what an initialisation should give; a line that falls towards layer 1 is a gradient that vanishes.",
        )
    ]
    for key, title in titles.items():
        series = {entry.name: entry.depth[key] for entry in table.entries if entry.depth.get(key)}
        parts.append(f"<h3>{title}</h3>" + _figure(svg.lines(series, title, "hidden layer", _short, logarithmic=True)))
    deepest = max(len(v) for entry in table.entries for v in entry.depth.values())
    rows = [
        [entry.name, titles[key].lower(), *(_short(v) for v in entry.depth[key])]
        for entry in table.entries
        for key in titles
        if key in entry.depth
    ]
    head = ["activation", "", *(str(i + 1) for i in range(deepest))]
    return "".join(parts) + _details("Numbers", _table(head, rows))


def _short(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.3g}"


def _seeds(table: Table) -> str:
    sentences = _sentences(more_seeds(table))
    if not sentences:
        return ""
    entries = [entry for entry in table.entries if not entry.lost]
    splits, seeds = table.leader.scores.shape
    spreads = [table.spread(entry.name) for entry in entries[1:]]
    typical = Spread(float(np.median([s.seeds for s in spreads])), float(np.median([s.splits for s in spreads])), 1.0)
    counts = sorted({max(2, seeds // 2), seeds, 2 * seeds, 4 * seeds})
    found = [smallest_difference(typical, (splits, count), table.comparisons) for count in counts]
    scale = abs(table.metric.scale)
    series = {"all pairs": [scale * v for v in found]}
    drawing = ""
    if sum(map(math.isfinite, found)) > 1:
        drawing = svg.lines(
            series, "Smallest difference that is found", "seeds", lambda v: f"{v:.3g}", xs=[float(count) for count in counts]
        )
    shown = [(str(count), table.size(v) if math.isfinite(v) else "none") for count, v in zip(counts, found, strict=True)]
    rows = []
    for entry in entries[1:]:
        of = table.spread(entry.name)
        needed = table.needed(entry.name)
        rows.append(
            (
                entry.name,
                table.size(table.leader.mean - entry.mean),
                table.size(of.seeds),
                table.size(of.splits),
                "told apart" if "a" not in entry.group else str(needed) if needed else "more splits",
            )
        )
    unit = " in points" if scale == 100 else ""
    return (
        _heading("Would more seeds help?")
        + sentences
        + _figure(drawing, f"The smallest difference{unit} found in four of five simulated studies, by number of seeds.")
        + _details(
            "Numbers",
            _table(["seeds", "found"], shown)
            + _table(["against the leader", "gap", "sd of seeds", "sd of splits", "seeds needed"], rows),
        )
    )


def _tuning(table: Table) -> str:
    series = {entry.name: [abs(table.metric.scale) * v for v in entry.price] for entry in table.entries}
    if max(len(values) for values in series.values()) < 2:
        return _heading("Tuning", "Only one setting was tried, so nothing was tuned.")
    title = "The price of less tuning"
    rows = [(entry.name, *(table.size(v) for v in entry.price)) for entry in table.entries]
    head = ["activation", *(f"{i + 1} tried" for i in range(max(map(len, series.values()))))]
    unit = "points of " if table.metric.percent else ""
    about = (
        f"How much validation score, in {unit}{table.metric.name}, is lost on average by who tries only so many of the "
        "settings, drawn at random, and keeps the best. A line that falls steeply is an activation whose learning rate matters."
    )
    drawing = svg.lines(series, title, "settings tried", _short)
    return _heading(title, about) + _figure(drawing) + _details("Numbers", _table(head, rows))


def _overall(study: Study) -> str:
    overall = study.analysis.overall
    assert overall is not None
    diagram = svg.critical_difference(overall.mean, overall.critical_difference, "Critical difference diagram over data sets")
    order = sorted(overall.mean, key=lambda name: overall.mean[name])
    rows = [
        [name, f"{overall.mean[name]:.2f}", *(table.score(table[name].mean) for table in study.analysis.tables)]
        for name in order
    ]
    head = ["activation", "mean rank", *(str(table.dataset["name"]) for table in study.analysis.tables)]
    about = f"Mean ranks over {overall.blocks} data sets, 1 is best. Friedman p = {overall.p:.2g}."
    return _heading("Over all data sets", about) + _figure(diagram) + _table(head, rows)


def _protocol(study: Study) -> str:
    plan = study.plan
    rows: list[tuple[str, str]] = []
    for table in study.analysis.tables:
        one: dict[str, Any] = table.dataset
        parts = one.get("parts") or []
        what = f"{one['classes']} classes" if one["classes"] else "regression"
        split = f"; {parts[0]:,} to train, {parts[1]:,} to validate, {parts[2]:,} to test" if parts else ""
        rows.append(
            (f"data: {one['name']}", f"{one['rows']:,} rows, {one['features']} features, {what}{split}; {one['fingerprint']}")
        )
    rates = ", ".join(f"{rate:g}" for rate in sorted(plan.learning_rates))
    rows += [
        ("varied", f"{len(plan.activations)} activations: {', '.join(plan.activations)}"),
        ("tuned for each", f"learning rate ({rates})" + (f", gain ({', '.join(plan.gains)})" if len(plan.gains) > 1 else "")),
        ("repeated", f"{plan.seeds} seeds × {plan.splits} splits; {plan.runs:,} runs in all"),
        ("chosen", f"for each split, on its validation rows, by {plan.tuning_seeds} seed(s) that are not judged"),
        ("judged", "on test folds that no choice has seen; runs paired by seed and split: same weights, same batches"),
        (
            "better means",
            "P(A beats B) above 0.5 with its whole 95 % interval, Wilcoxon p < 0.05 after Holm, and more than the region",
        ),
        *((f"not varied: {name}", text) for name, text in plan.constants()),
    ]
    gains = study.facts.get("gains") or {}
    if gains and "exact" in plan.gains:
        rows.append(("gains", ", ".join(f"{name} {gain:.4g}" for name, gain in gains.items() if name in plan.activations)))
    rows += [
        ("versions", ", ".join(f"{name} {version}" for name, version in study.facts["versions"].items())),
        ("work", f"{study.facts['runs']:,} runs, {duration(study.facts['seconds'])} of CPU time to train"),
    ]
    if study.facts["interrupted"] > 0:
        rows.append(("interrupted", f"{study.facts['interrupted']} runs were started more than once"))
    card = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return _heading("Protocol") + f"<dl>{card}</dl>"


def _commands(study: Study) -> str:
    command = study.facts.get("command") or "nonlin.compare(...), from Python"
    lines = [f"# reproduce, or go on where it stopped\n{command}"]
    if study.facts.get("study"):
        lines.append(f"# this page again, without training\nnonlin report {study.facts['study']}")
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    return _heading("Commands") + f"<pre>{escape(chr(10).join(lines))}</pre>" + f'<p class="soft">Written on {today}.</p>'
