"""An activation where a notebook's cell ends: formula, curve and facts."""

from __future__ import annotations

from html import escape
from typing import Any

from nonlin.charts import cell_style
from nonlin.explanation.entries import Entry

_NAME = "nonlin-activation"
_CELL = "text-align:left;padding:2px 14px 2px 0"


def summary(activation: Any) -> str:
    """Return what is to be known of an activation as HTML that takes the notebook's own colours; it typesets the LaTeX."""
    entry = Entry(activation)
    source = f' <span style="opacity:.7">{escape(activation.source)}</span>' if activation.source else ""
    parts = [
        f"<p><b>{escape(activation.name)}</b> {escape(activation.summary)}{source}</p>",
        f"<p>$${escape(activation.latex())}$$</p>",
    ]
    rows = entry.parameters
    if entry.is_curve:
        try:
            key = '<span style="color:#3b82f6">the function</span> and <span style="color:#e5484d">its slope</span>'
            parts.append(f'<div style="max-width:440px">{entry.drawing(orders=(0, 1))}{key}</div>')
            rows = rows + entry.facts
        except ImportError as error:  # facts need mpmath
            parts.append(f"<p>{escape(str(error))}</p>")
    cells = "".join(f'<tr><th style="{_CELL}">{escape(a)}</th><td style="{_CELL}">{escape(b)}</td></tr>' for a, b in rows)
    return f'<div class="{_NAME}"><style>{cell_style(_NAME)}</style>{"".join(parts)}<table>{cells}</table></div>'
