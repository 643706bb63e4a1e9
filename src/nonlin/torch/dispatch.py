"""What ``nonlin.gelu(tensor)`` comes to: the door for calls whose operands are tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from nonlin.definition import Elementwise
from nonlin.definition.layout import Gate
from nonlin.torch import elementwise, symbolic
from nonlin.torch.axis import (
    evaluate_along_axis as evaluate_along_axis,
    product_along_axis as product_along_axis,
)


def evaluate(entry: Elementwise, wrt: str, order: int, operands: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor:
    """Compute an elementwise activation, or a derivative, of tensors.

    Raises
    ------
    TypeError
        If there is a keyword for ufuncs, which take arrays.
    """
    if keywords:
        raise TypeError(f"{entry.name}: {next(iter(keywords))}= is for NumPy arrays, not for tensors")
    if order or not symbolic.watchers:  # nothing is made for nobody: most calls end here
        return elementwise.evaluate(entry, wrt, order, operands)
    return symbolic.watched(entry, operands, lambda: elementwise.evaluate(entry, wrt, order, operands))  # type: ignore[no-any-return]


def split(entry: Elementwise, x: Tensor, axis: int, gate: Gate) -> tuple[Tensor, Tensor]:
    """Return views of the halves of a tensor that a pair takes for its gate and its value."""
    return symbolic.split(entry.name, x, axis, gate)
