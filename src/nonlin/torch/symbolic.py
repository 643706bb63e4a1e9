"""What ``torch.fx`` records: while it traces, a call becomes a node that makes the call again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.fx.proxy import Proxy

from nonlin.definition.layout import Gate, Halves


def node(called: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """Return what stands for the result of a call if an operand stands for a tensor, or None."""
    for operand in (*arguments, *keywords.values()):
        if isinstance(operand, Proxy):
            return operand.tracer.create_proxy("call_function", called, arguments, dict(keywords))
    return None


def split(name: str, x: Any, axis: int, gate: Gate) -> tuple[Any, Any]:
    """Return views of the halves of a tensor that a pair takes for its gate and its value."""
    halves = node(Halves.split, (name, x, axis, gate), {})
    return Halves.split(name, x, axis, gate) if halves is None else (halves[0], halves[1])
