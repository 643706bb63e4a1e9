"""A study on the terminal: a progress bar, the verdict, the leaderboard."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as RichTable
from rich.text import Text

from nonlin.comparison.analysis import Table, more_seeds
from nonlin.comparison.study import Progress as Progressed, Study

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
        left = rate = ""
        if progress.fresh and progress.done < progress.total:
            speed = progress.fresh / (now - self._begun)
            left = f"{duration((progress.total - progress.done) / speed)} left"
            rate = f"{speed:.1f} runs/s"
            if now - self._judged > _LEADERS_EVERY:
                self._leaders = leaders(progress)
                self._judged = time.monotonic()
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            left=left or ("starting" if progress.done < progress.total else "judging"),
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
    return f"{found.probability:.2f} ({low:.2f}–{high:.2f})"


def _leaderboard(table: Table, width: int) -> RichTable:
    made = RichTable(box=None, pad_edge=False, header_style="dim")
    wide = width >= 104  # an interval is the first thing to go where there is no room
    made.add_column(table.dataset["name"], no_wrap=True)
    made.add_column(table.metric, justify="right", no_wrap=True)
    if wide:
        made.add_column("95 % interval", justify="right", no_wrap=True)
    made.add_column(f"beats {table.baseline}" if table.baseline else "", justify="right", no_wrap=True)
    made.add_column("tie", no_wrap=True)
    for title in ("ms", "dead", "satur.", "diverged" if wide else "div.", "rate"):
        made.add_column(title, justify="right", no_wrap=True)
    for entry in table.entries:
        low, high = (table.score(value) for value in entry.interval)
        usual = max(entry.chosen, key=lambda setting: entry.chosen[setting])[0]
        cells = [table.score(entry.mean)]
        cells += [f"{low} – {high}".replace(" % –", " –")] if wide else []
        cells += [
            chance(table, entry.name),
            entry.group,
            f"{1000 * entry.seconds:.0f}",
            percent(entry.dead),
            percent(entry.saturated),
            str(entry.diverged),
            f"{usual:g}",
        ]
        style = "bold cyan" if entry is table.recommended else "cyan" if "a" in entry.group else ""
        made.add_row(Text(entry.name, style), *cells)
    return made
