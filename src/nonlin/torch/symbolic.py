"""Calls that are looked at instead of made: nodes that ``torch.fx`` records, and what a model calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx.proxy import Proxy

from nonlin.definition.layout import Gate, Halves

#: Who watches a model makes the calls of functions of ours: given an entry, its operands and what computes the result.
watchers: list[Callable[[Any, Sequence[Any], Callable[[], Any]], Any]] = []


def watched(entry: Any, operands: Sequence[Any], compute: Callable[[], Any]) -> Any:
    """Compute the result of a call, in sight of who watches."""
    if torch.compiler.is_compiling() or not watchers:
        return compute()
    return watchers[-1](entry, operands, compute)


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
