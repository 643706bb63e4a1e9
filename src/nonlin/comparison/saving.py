"""Files that a study is saved as: the end of the name says which."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nonlin.comparison.study import Study


def plain(value: Any) -> Any:
    """Return what JSON has for a value: infinities and nan as strings, records as objects."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _json(study: Study) -> str:
    return json.dumps(plain(study.as_dict()), indent=2, allow_nan=False) + "\n"


def _csv(study: Study) -> str:
    return str(study.table().to_csv(index=False))


def _tex(study: Study) -> str:
    """Write the leaderboard as LaTeX with booktabs' rules; who ties with the leader stands in bold."""
    lines = []
    for table in study.analysis.tables:
        lines += [
            f"% {table.dataset['name']}: {' '.join(study.verdict.split())}",
            r"\begin{tabular}{lrrr}",
            r"\toprule",
            rf"activation & {_escaped(table.metric.name)} & 95\,\% interval & learning rate \\",
            r"\midrule",
        ]
        for entry in table.entries:
            name = _escaped(entry.name)
            shown = rf"\textbf{{{name}}}" if table.decidable and entry in table.tied else name
            score, interval = _escaped(table.score(entry.mean)), _escaped(table.interval(entry.interval))
            lines.append(rf"{shown} & {score} & {interval} & {entry.usual[0]:g} \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, "\\" + character)
    return text.replace("²", "$^2$").replace(" \\%", r"\,\%")


_WRITERS: dict[str, Callable[[Study], str]] = {
    ".html": lambda study: study.html(),
    ".htm": lambda study: study.html(),
    ".csv": _csv,
    ".json": _json,
    ".tex": _tex,
}


def check_suffix(path: Path) -> None:
    """Make sure that there is such a form.

    Raises
    ------
    ValueError
        If there is none; the message is one sentence.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"a study is saved as .html, .csv, .json or .tex, not as {path.name}")


def write(study: Study, path: Path) -> None:
    """Write a study in the form that the end of the name says."""
    check_suffix(path)
    path.write_text(_WRITERS[path.suffix.lower()](study), encoding="utf-8")
