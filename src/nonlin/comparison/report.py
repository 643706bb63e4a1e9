"""The report."""

from __future__ import annotations

from typing import Any


def render(study: Any) -> str:
    return "<p>" + study.verdict
