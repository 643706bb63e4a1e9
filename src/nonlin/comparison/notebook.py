"""A study in a notebook: verdict and leaderboard where a cell ends, a bar while it runs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonlin.comparison.study import Study

_CELL = "padding:3px 12px 3px 0;text-align:right"


def summary(study: Study) -> str:
    """Return verdict and leaderboard as HTML that takes the notebook's own colours."""
    first, *others = study.analysis.verdict()
    parts = [f'<p style="font-size:1.15em;font-weight:600">{escape(first)}</p>', *(f"<p>{escape(line)}</p>" for line in others)]
    for table in study.analysis.tables:
        notes = [f"<li>{escape(str(note))}</li>" for note in table.dataset["notes"]]
        if notes:
            parts.append(f'<ul style="opacity:.75;font-size:.9em">{"".join(notes)}</ul>')
        head = [table.dataset["name"], table.metric.name, "95 % interval", "tie", "learning rate", "time", "diverged"]
        rows = []
        for entry in table.entries:
            leads = table.decidable and "a" in entry.group
            cells = [entry.name, table.score(entry.mean), table.interval(entry.interval)]
            cells += [entry.group if table.decidable else "", f"{entry.usual[0]:g}"]
            cells += [f"{1000 * entry.seconds:.0f} ms", f"{entry.diverged} of {entry.runs}"]
            rows.append(_row(cells, "td", "font-weight:600" if leads else ""))
        parts.append(f"<table>{_row(head, 'th', 'opacity:.75')}{''.join(rows)}</table>")
    parts.append('<p style="opacity:.75;font-size:.9em"><code>study.save("report.html")</code> writes the whole report.</p>')
    return f"<div>{''.join(parts)}</div>"


def _row(cells: list[str], kind: str, style: str) -> str:
    made = (
        f'<{kind} style="{_CELL}{";text-align:left" if number == 0 else ""};{style}">{escape(str(cell))}</{kind}>'
        for number, cell in enumerate(cells)
    )
    return f"<tr>{''.join(made)}</tr>"


class Line:
    """A line of a notebook's output that changes while a study runs, and is gone when it has ended."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html: Any = HTML
        self._handle: Any = display(HTML("starting"), display_id=True)

    def show(self, done: int, total: int, text: str) -> None:
        """Show how far it is."""
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        self._handle.update(self._html(f"training {bar} {done} of {total} {escape(text)}"))

    def clear(self) -> None:
        """Take it away."""
        self._handle.update(self._html(""))
