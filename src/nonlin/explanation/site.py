"""Writing the site: templates, one stylesheet, a few scripts; every file opens by double click."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from nonlin import wanted
from nonlin.charts import style
from nonlin.definition import activations
from nonlin.explanation.entries import Entry, family_title
from nonlin.explanation.javascript import language

#: The labs: page, title, and the question that each asks.
LABS = (
    ("layers", "Through the layers", "Why does a signal die in a deep network, and what keeps it alive?"),
    ("dying", "The dying ReLU", "How does a unit of a network die, and can it come back?"),
    ("choice", "ReLU or sigmoid", "Which of the two belongs where?"),
    ("spikes", "Spikes", "What has an activation function to do with a nerve cell?"),
    ("why", "Why non-linear", "What can a network do without an activation function?"),
    ("softmax", "What is softmax", "How do scores become probabilities?"),
)


class ExploreError(ValueError):
    """The site cannot be written; the message is one sentence."""


def write_site(out: Path, *extra: Any, accuracy: bool = False) -> dict[str, Path]:
    """Write the gallery, the explorer and the labs.

    Parameters
    ----------
    out : Path
        The folder, made where there is none.
    *extra : Activation
        Activations that are not in the catalogue.
    accuracy : bool
        Measure the errors of every function's kernels, which takes about a minute.

    Returns
    -------
    dict of str to Path
        The page of each activation, and of ``index`` and ``explorer``.

    Raises
    ------
    ExploreError
        If a package is missing, or the folder cannot be written to.
    """
    written = {}
    try:
        for name, text in pages(extra, accuracy=accuracy):
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if path.suffix == ".html":
                written[path.stem] = path
    except OSError as error:
        raise ExploreError(f"cannot write {error.filename or out}: {error.strerror or error}") from None
    return written


def pages(extra: Iterable[Any] = (), *, accuracy: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file of the site."""
    try:
        import jinja2
        import latex2mathml  # noqa: F401
        import mpmath  # noqa: F401
    except ImportError as error:
        raise ExploreError(f'the site needs {error.name}, which is missing: pip install "nonlin[explore]"') from None
    everything = (*(e for e in activations.values() if e.family != "own"), *extra)
    entries = [Entry(e, everything) for e in everything]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nonlin.explanation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"version": version("nonlin"), "labs": LABS}

    def render(template: str, depth: int, **values: Any) -> str:
        return environment.get_template(template).render(root="../" * depth, **values)

    order = [f for f in (*wanted.families(), "own") if any(e.activation.family == f for e in entries)]
    families = [
        (f, family_title(f) if f != "own" else "Your own", [e for e in entries if e.activation.family == f])
        for f in dict.fromkeys(order)
    ]
    yield "index.html", render("gallery.html", 0, families=families, count=len(entries))
    for entry in entries:
        yield f"entries/{entry.name}.html", render("entry.html", 1, entry=entry, accuracy=accuracy)
    yield "explorer.html", render("explorer.html", 0)
    for name, title, question in LABS:
        yield f"labs/{name}.html", render(f"lab_{name}.html", 1, name=name, title=title, question=question)
    yield "style.css", style() + _static("site.css")
    yield "language.js", language()
    yield "catalogue.js", catalogue(e for e in entries if e.is_curve)
    for script in sorted(p.name for p in (files("nonlin.explanation") / "static").iterdir() if p.name.endswith(".js")):
        yield script, _static(script)


def catalogue(entries: Iterable[Entry]) -> str:
    """Return every function of one number as a script."""
    lines = ['"use strict";', "const CATALOGUE = {};"]
    for entry in entries:
        record = json.dumps(entry.script(), ensure_ascii=False).replace("</", "<\\/")
        functions = ", ".join(entry.programs())
        lines.append(f"CATALOGUE[{json.dumps(entry.name)}] = {{...{record}, functions: [{functions}]}};")
    return "\n".join([*lines, ""])


def _static(name: str) -> str:
    return (files("nonlin.explanation") / "static" / name).read_text(encoding="utf-8")
