"""Processes of our own in which Python finds the modules that this process does."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as ``python -m`` does, without looking for modules in the folder that we are in.

    A folder may hold a ``torch/`` or a ``random.py`` that has nothing to do with Python's: with :func:`environment`, it is
    where to look only if it is so here.

    Examples
    --------
    >>> from nonlin.processes import command
    >>> command("nonlin.comparison.worker")[1:]
    ['-P', '-m', 'nonlin.comparison.worker']
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, with the folders of its modules and with other variables."""
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}
