"""A study on the terminal: a progress bar, the verdict, the leaderboard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as RichTable
from rich.text import Text

from nonlin.comparison.analysis import Table
from nonlin.comparison.notebook import Line
from nonlin.comparison.running import Progress as Progressed
from nonlin.comparison.statistics import FEWEST_PAIRS
from nonlin.comparison.study import Study
from nonlin.comparison.verdict import more_seeds

_LEADERS_EVERY = 10.0  # seconds: judging all runs that are there takes time from the workers
_NOTEBOOK_EVERY = 0.5  # seconds


class Pace:
    """How fast a study goes, in words; and who leads."""

    def __init__(self) -> None:
        self._begun = self._judged = time.monotonic()
        self.left = self.rate = self.leaders = ""

    def update(self, progress: Progressed) -> None:
        """Take in how far it is."""
        now = time.monotonic()
        is_open = progress.done < progress.total
        if is_open and math.isfinite(progress.seconds_left):
            self.left = f"{duration(progress.seconds_left)} left"
            self.rate = f"{progress.fresh / (now - self._begun):.1f} runs/s"
            if now - self._judged > _LEADERS_EVERY:
                self.leaders = leaders(progress)
                self._judged = time.monotonic()
        else:
            self.left = progress.stage or ("starting" if is_open else "judging")
            self.rate = ""


class Bar:
    """A progress bar with time left, rate and the current leader group, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._pace = Pace()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[leaders]}", style="cyan"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, left="starting", rate="", leaders="")
        self._bar.start()

    def show(self, progress: Progressed) -> None:
        """Show how far it is."""
        pace = self._pace
        pace.update(progress)
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            left=pace.left,
            rate=pace.rate,
            leaders=pace.leaders,
        )

    def close(self) -> None:
        """Take it away."""
        self._bar.stop()


class _InNotebook:
    def __init__(self) -> None:
        self._pace, self._line, self._shown = Pace(), Line(), 0.0

    def show(self, progress: Progressed) -> None:
        if time.monotonic() - self._shown < _NOTEBOOK_EVERY and progress.done < progress.total:
            return
        self._shown = time.monotonic()
        self._pace.update(progress)
        words = " · ".join(filter(None, [self._pace.left, self._pace.rate, self._pace.leaders]))
        self._line.show(progress.done, progress.total, words)

    def close(self) -> None:
        self._line.clear()


class _Lines:
    """A line for each tenth, where there is neither terminal nor notebook."""

    def __init__(self, console: Console) -> None:
        self._pace, self._console, self._tenth = Pace(), console, -1

    def show(self, progress: Progressed) -> None:
        self._pace.update(progress)
        tenth = 10 * progress.done // max(progress.total, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            self._console.print(f"training {progress.done}/{progress.total} {self._pace.left}".rstrip(), soft_wrap=True)

    def close(self) -> None:
        pass


@contextmanager
def watching(progress: Callable[[Progressed], None] | bool | None) -> Iterator[Callable[[Progressed], None] | None]:
    """Give what is to be told how far a study is: the user's function, or what suits where it runs.

    Parameters
    ----------
    progress : callable or bool, optional
        None: a bar on a terminal and in a notebook, nothing in a pipe; True: lines there; False: nothing anywhere.
    """
    if callable(progress) or progress is False:
        yield progress or None
        return
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if console.is_jupyter:
        shown: Bar | _InNotebook | _Lines = _InNotebook()
    elif console.is_terminal:
        shown = Bar(console)
    elif progress:
        shown = _Lines(console)
    else:
        yield None
        return
    try:
        yield shown.show
    finally:
        shown.close()


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
            style = "yellow" if str(note).startswith("careful") else "dim"
            console.print(Text(f"{table.dataset['name']}: {note}", style), soft_wrap=not console.is_terminal)
        if table.entries:
            console.print()
            console.print(_leaderboard(table, console.width))
            for sentence in more_seeds(table):
                console.print(Text(sentence, "dim"), soft_wrap=not console.is_terminal)
    console.print()
    constants = ", ".join(name for name, _ in study.plan.constants())
    console.print(Text(f"not varied, each with its value in the report: {constants}", "dim"), soft_wrap=not console.is_terminal)


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
