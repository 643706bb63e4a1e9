"""A study on the terminal: a progress bar, the verdict, the leaderboard."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as RichTable
from rich.text import Text

from nonlin.comparison.analysis import Table
from nonlin.comparison.running import Progress as Progressed
from nonlin.comparison.statistics import FEWEST_PAIRS
from nonlin.comparison.study import Study
from nonlin.comparison.verdict import more_seeds

_LEADERS_EVERY = 10.0  # seconds: judging all runs that are there takes time from the workers


class Bar:
    """A progress bar with time left, rate and the current leader group; nothing where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = self._judged = time.monotonic()
        self._leaders = ""
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[leaders]}", style="cyan"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, left="starting", rate="", leaders="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, progress: Progressed) -> None:
        """Show how far it is."""
        if self._bar.disable:
            return
        now = time.monotonic()
        open_ = progress.done < progress.total
        left = f"{duration(progress.seconds_left)} left" if math.isfinite(progress.seconds_left) and open_ else ""
        rate = f"{progress.fresh / (now - self._begun):.1f} runs/s" if left else ""
        if left and now - self._judged > _LEADERS_EVERY:
            self._leaders = leaders(progress)
            self._judged = time.monotonic()
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            left=left or progress.stage or ("starting" if open_ else "judging"),
            rate=rate,
            leaders=self._leaders,
        )


def leaders(progress: Progressed) -> str:
    """Name those who lead so far."""
    tables = progress.analysis().tables
    if len(tables) != 1 or not tables[0].entries:
        return ""
    names = [entry.name for entry in tables[0].tied]
    return "leading: " + (", ".join(names) if len(names) < 4 else f"{', '.join(names[:3])} + {len(names) - 3}")


def duration(seconds: float) -> str:
    """Write a time.

    Examples
    --------
    >>> duration(75), duration(9.4), duration(7300)
    ('1:15', '9 s', '2:01:40')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show(console: Console, study: Study) -> None:
    """Print the verdict, then the leaderboard of each data set."""
    if not console.is_terminal:  # a file has room for a table
        console.width = max(console.width, 120)
    for sentence in study.analysis.verdict():
        console.print(Text(sentence, "bold"), soft_wrap=not console.is_terminal)
    for table in study.analysis.tables:
        for note in table.dataset["notes"]:
            console.print(Text(f"{table.dataset['name']}: {note}", "dim"), soft_wrap=not console.is_terminal)
        if table.entries:
            console.print()
            console.print(_leaderboard(table, console.width))
            for sentence in more_seeds(table):
                console.print(Text(sentence, "dim"), soft_wrap=not console.is_terminal)
    console.print()
    console.print(Text(f"not varied: {_constants(study)}", "dim"), soft_wrap=not console.is_terminal)


def _constants(study: Study) -> str:
    return "; ".join(f"{name}: {text}" for name, text in study.plan.constants())


def percent(share: float) -> str:
    """Write a share of units.

    Examples
    --------
    >>> percent(0.0), percent(0.0004), percent(0.125)
    ('0', '<0.1 %', '12.5 %')
    """
    if not math.isfinite(share):
        return "–"
    if share == 0:
        return "0"
    return "<0.1 %" if share < 0.0005 else f"{100 * share:.1f} %"


def chance(table: Table, name: str) -> str:
    """Write the probability that an activation beats the baseline, with its interval."""
    found: Any = table.compared.get((name, table.baseline))
    if found is None:
        return "baseline" if name == table.baseline else "–"
    low, high = found.probability_interval
    if not math.isfinite(low):
        return f"{found.probability:.2f} (too few)" if table.pairs < FEWEST_PAIRS else f"{found.probability:.2f}"
    return f"{found.probability:.2f} ({low:.2f}–{high:.2f})"


def _leaderboard(table: Table, width: int) -> RichTable:
    made = RichTable(box=None, pad_edge=False, header_style="dim")
    wide = width >= 104  # an interval is the first thing to go where there is no room
    made.add_column(table.dataset["name"], no_wrap=True)
    made.add_column(table.metric.name, justify="right", no_wrap=True)
    if wide:
        made.add_column("95 % interval", justify="right", no_wrap=True)
    made.add_column(f"beats {table.baseline}" if table.baseline else "", justify="right", no_wrap=True)
    made.add_column("tie" if table.decidable else "", no_wrap=True)
    for title in ("steps", "ms", "dead", "satur.", "diverged" if wide else "div.", "rate"):
        made.add_column(title, justify="right", no_wrap=True)
    for entry in table.entries:
        cells = [table.score(entry.mean)]
        cells += [table.interval(entry.interval)] if wide else []
        cells += [
            chance(table, entry.name),
            entry.group if table.decidable else "",
            f"{entry.steps:.0f}",
            f"{1000 * entry.seconds:.0f}",
            percent(entry.dead),
            percent(entry.saturated),
            str(entry.diverged),
            f"{entry.usual[0]:g}",
        ]
        leads = table.decidable and "a" in entry.group
        style = "bold cyan" if leads and entry is table.recommended else "cyan" if leads else ""
        made.add_row(Text(entry.name, style), *cells)
    for name, scores in baseline_scores(table):
        made.add_row(Text(f"({name})", "dim"), scores, style="dim")
    return made


def baseline_scores(table: Table) -> list[tuple[str, str]]:
    """Return name and score of what is no network, the best first."""
    means = {name: float(np.nanmean(scores)) for name, scores in table.baselines.items() if np.isfinite(scores).any()}
    return [(name, table.score(means[name])) for name in sorted(means, key=lambda name: -means[name])]
