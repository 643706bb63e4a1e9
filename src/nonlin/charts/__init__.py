"""Drawings and their look: SVG for pages, characters for terminals, one stylesheet for every page."""

from functools import cache
from importlib.resources import files


@cache
def style() -> str:
    """Return the stylesheet of every page.

    Examples
    --------
    >>> "prefers-color-scheme:dark" in style()
    True
    """
    return _read("style.css") + _read("drawings.css")


def cell_style(name: str) -> str:
    """Return the look of drawings in an element of a class, on a page whose colours are not known: a notebook's cell."""
    colours = "--ink:currentColor;--soft:#7f8a98;--faint:#7f8a9840;--accent:#3b82f6;--good:#3b82f6;--mark:#d18b00"
    return f".{name}{{{colours};{_read('drawings.css')}}}"


def _read(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")
