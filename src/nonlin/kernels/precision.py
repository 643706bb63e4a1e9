"""How float32 is computed: fast, in float32, or exact, in float64 and rounded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["fast", "exact"]
_current: ContextVar[Precision | None] = ContextVar("nonlin_precision", default=None)


def _checked(value: str) -> Precision:
    if value == "fast":
        return "fast"
    if value == "exact":
        return "exact"
    raise ValueError(f"precision must be 'fast' or 'exact', got {value!r}")


_default: Precision = _checked(os.environ.get("NONLIN_PRECISION", "fast"))


def set_precision(value: Precision) -> None:
    """Set the precision for the whole process; the environment variable NONLIN_PRECISION sets it from the start.

    Parameters
    ----------
    value : {"fast", "exact"}
        ``"fast"`` computes float32 in float32, within 2 ulp. ``"exact"`` computes it in float64 and rounds once: correctly
        rounded but for a few inputs in billions, and the same bits on every processor. float64 itself is not affected.
    """
    global _default
    _default = _checked(value)


def get_precision() -> Precision:
    """Return the precision in force here."""
    return _current.get() or _default


@contextmanager
def precision(value: Precision) -> Iterator[None]:
    """Compute float32 with another precision inside a ``with`` block, in this thread or task only.

    Parameters
    ----------
    value : {"fast", "exact"}
        As for :func:`set_precision`.

    Examples
    --------
    >>> import numpy as np
    >>> import nonlin as nl
    >>> with nl.precision("exact"):
    ...     y = nl.gelu(np.float32(-5.0))
    >>> print(y == np.float32(nl.gelu(-5.0)))
    True
    """
    token = _current.set(_checked(value))
    try:
        yield
    finally:
        _current.reset(token)
