"""What a diagnosis found, as text, JSON, SARIF, a page or a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

from nonlin.charts import style, svg

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


@dataclass
class Finding:
    """One thing that was found.

    Attributes
    ----------
    rule : str
        Which rule found it, such as ``dead-units``.
    severity : {"info", "warning", "error"}
    layer : str or None
        The qualified name of the module whose units these are.
    message : str
    units : list of int or None
    n : int or None
        In how many independent samples.
    bound : float or None
        The most that a unit can fire which fired in none of the samples, with 95 % confidence.
    cause : str or None
        The rule that found what this comes from.
    cures : list of str
        What helps, the best first.
    """

    rule: str
    severity: Severity
    layer: str | None
    message: str
    units: list[int] | None = None
    n: int | None = None
    bound: float | None = None
    cause: str | None = None
    cures: list[str] = field(default_factory=list)


@dataclass
class LayerRow:
    """What was seen of the units of one activation site."""

    layer: str
    place: str
    activation: str
    units: int
    samples: int
    dead: int
    always_on: int
    rare: int
    saturated: int
    non_finite: int
    dormant: int
    rms_z: float
    spread_z: float
    gradient: float


@dataclass
class Report:
    """The findings about a model, root causes first.

    Attributes
    ----------
    findings : list of Finding
    layers : list of LayerRow
        In the order of the first pass.
    coverage : dict
        ``sites`` and ``observed``, how many activation sites there are and were seen; ``not_observed``, which were not, why.
    samples : int
    followers : dict
        By layer: the layer that alone takes its units, if there is one.
    """

    findings: list[Finding]
    layers: list[LayerRow]
    coverage: dict[str, Any]
    samples: int
    followers: dict[str, str | None] = field(default_factory=dict)

    @property
    def severity(self) -> Severity | None:
        """The worst that was found."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default=None)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found that is worse than ``info``."""
        return self.severity in (None, "info")

    def of(self, rule: str) -> list[Finding]:
        """Return the findings of a rule."""
        return [finding for finding in self.findings if finding.rule == rule]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, ready for JSON."""
        return {
            "findings": [_plain(asdict(finding)) for finding in self.findings],
            "layers": [_plain(asdict(row)) for row in self.layers],
            "coverage": _plain(self.coverage),
        }

    def as_json(self) -> str:
        """Return :meth:`as_dict` as JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)

    def as_frame(self) -> Any:
        """Return the findings as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=list(Finding.__dataclass_fields__))

    def as_floats(self) -> dict[str, float]:
        """Return a flat dict of floats, for anything that logs: TensorBoard, W&B, MLflow."""
        found = {f"findings/{severity}": float(sum(f.severity == severity for f in self.findings)) for severity in SEVERITIES}
        for row in self.layers:
            for name in ("dead", "always_on", "rare", "saturated", "non_finite", "dormant"):
                found[f"{row.place}/{name}"] = getattr(row, name) / max(row.units, 1)
            found |= {f"{row.place}/rms_z": row.rms_z, f"{row.place}/gradient": row.gradient}
        return found

    def as_sarif(self) -> dict[str, Any]:
        """Return the findings in SARIF 2.1, which CI services show."""
        level = {"info": "note", "warning": "warning", "error": "error"}
        rules = sorted({finding.rule for finding in self.findings})
        results = [
            {
                "ruleId": finding.rule,
                "level": level[finding.severity],
                "message": {"text": finding.message},
                "locations": [{"logicalLocations": [{"fullyQualifiedName": finding.layer or "model", "kind": "module"}]}],
            }
            for finding in self.findings
        ]
        driver = {"name": "nonlin diagnose", "rules": [{"id": rule} for rule in rules]}
        return {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        }

    # --- in words -----------------------------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        worse = [finding for finding in self.findings if finding.severity != "info"]
        if not worse:
            return "No fault found." if self.layers else "No fault found, but no activation was seen either."
        roots = [finding for finding in worse if finding.cause is None]
        rest = len(worse) - len(roots)
        what = "it" if len(roots) == 1 else "them"
        more = f"; {rest} more {'finding comes' if rest == 1 else 'findings come'} from {what}" if rest else ""
        names = list(dict.fromkeys(finding.rule for finding in roots))
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return f"{'Cause' if len(roots) == 1 else 'Causes'} of trouble: {listed}{more}."

    @property
    def notes(self) -> list[str]:
        """What is worth no alarm, in a line for each rule."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.severity == "info":
                found.setdefault(finding.rule, []).append(finding)
        lines = []
        for rule, ones in found.items():
            counts = [f"{f.layer}: {len(f.units)}" if f.units is not None else str(f.layer) for f in ones[:8]]
            counts += [f"and {len(ones) - 8} more"] if len(ones) > 8 else []
            lines.append(
                f"{rule}: {ones[0].layer}: {ones[0].message}" if len(ones) == 1 else f"{rule}: units in {', '.join(counts)}"
            )
        return lines

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "activation", "units", "dead", "always on", "rare", "saturated", "rms z", "gradient"]
        layers = [row.layer for row in self.layers]
        rows = [
            [
                row.layer,
                row.activation if layers.count(row.layer) == 1 else f"{row.activation} in {row.place}",
                str(row.units),
                *(str(n) if n else "-" for n in (row.dead, row.always_on, row.rare, row.saturated)),
                f"{row.rms_z:.2g}",
                "-" if math.isnan(row.gradient) else f"{row.gradient:.2g}",
            ]
            for row in self.layers
        ]
        return head, rows

    def __str__(self) -> str:
        head, rows = self._rows()
        lines = [self.headline, ""]
        if rows:
            widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
            for row in [head, *rows]:
                cells = [f"{c:<{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True))]
                lines.append("  ".join(cells).rstrip())
            lines.append("")
        for finding in (f for f in self.findings if f.severity != "info"):
            where = f" {finding.layer}:" if finding.layer else ""
            why = f" (from {finding.cause})" if finding.cause else ""
            lines.append(f"{finding.severity} {finding.rule}:{where} {finding.message}{why}")
            if finding.cause is None:
                lines += [f"    -> {cure}" for cure in finding.cures]
        lines += [f"info {note}" for note in self.notes]
        lines.append(self.covered)
        return "\n".join(lines)

    @property
    def covered(self) -> str:
        """Say what was looked at."""
        sites, seen, missed = self.coverage["sites"], self.coverage["observed"], self.coverage["not_observed"]
        text = f"{seen} of {sites} activation sites observed, in {self.samples:,} samples"
        return text + ("; not seen: " + "; ".join(f"{name} ({why})" for name, why in missed.items()) if missed else "") + "."

    def __repr__(self) -> str:
        return str(self)

    # --- as a page ----------------------------------------------------------------------------------------------------------

    def _body(self) -> str:
        head, rows = self._rows()
        verdict = f'<div class="verdict"><p>{escape(self.headline)}</p><p>{escape(self.covered)}</p></div>'
        parts = ["<h1>Is this network alive?</h1>", verdict]
        for finding in (f for f in self.findings if f.severity != "info"):
            where = f"<code>{escape(finding.layer)}</code>: " if finding.layer else ""
            why = f"; it comes from <b>{escape(finding.cause)}</b>" if finding.cause else ""
            cures = "".join(f"<li>{escape(cure)}</li>" for cure in finding.cures) if finding.cause is None else ""
            title = f"{finding.severity}: {finding.rule}"
            parts.append(
                f"<h3>{title}</h3><p>{where}{escape(finding.message)}{why}.</p>" + (f"<ol>{cures}</ol>" if cures else "")
            )
        if self.notes:
            parts.append("<h3>worth a note</h3><ul>" + "".join(f"<li>{escape(note)}</li>" for note in self.notes) + "</ul>")
        if rows:
            parts.append(
                '<h2>Layers</h2><div class="scroll" tabindex="0" role="region" aria-label="Layers"><table>'
                + _tr(head, "th")
                + "".join(_tr(r, "td") for r in rows)
            )
            parts.append("</table></div>")
        if len(self.layers) > 1:
            signal = {"signal": [row.spread_z for row in self.layers], "gradient": [row.gradient for row in self.layers]}
            drawn = svg.lines(signal, "Signal and gradient by depth", "activation site", lambda v: f"{v:.0e}", logarithmic=True)
            parts.append(f"<h2>Signal and gradient by depth</h2><figure>{drawn}</figure>")
        return "".join(parts)

    def _repr_html_(self) -> str:
        return self._body()

    def as_html(self) -> str:
        """Return a page without scripts or addresses."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>Diagnosis</title><style>{style()}</style></head><body><main>{self._body()}</main></body></html>"
        )

    def save(self, path: str | Path) -> None:
        """Write it to a file: .html, .json, .sarif, .csv or .txt."""
        path = Path(path)
        texts = {
            ".html": self.as_html,
            ".json": self.as_json,
            ".sarif": lambda: json.dumps(self.as_sarif(), indent=2),
            ".csv": lambda: self.as_frame().to_csv(index=False),
            ".txt": lambda: f"{self}\n",
        }
        if path.suffix not in texts:
            raise ValueError(f"a diagnosis is written to {', '.join(texts)}, not to {path.name!r}")
        path.write_text(texts[path.suffix](), encoding="utf-8")


def _tr(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
