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
    return (files(__name__) / "style.css").read_text(encoding="utf-8")
