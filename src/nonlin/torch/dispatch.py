"""What ``nonlin.gelu(tensor)`` comes to: the door for calls whose operands are tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from nonlin.activation import Activation
from nonlin.axis import check_axis
from nonlin.gated import Gate
from nonlin.torch import elementwise
from nonlin.torch.addresses import check_memory
from nonlin.torch.axis import (
    evaluate_along_axis as evaluate_along_axis,
    product_along_axis as product_along_axis,
)


def evaluate(entry: Activation, wrt: str, order: int, operands: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor:
    """Compute an elementwise activation, or a derivative, of tensors.

    Raises
    ------
    TypeError
        If there is a keyword for ufuncs, which take arrays.
    """
    if keywords:
        raise TypeError(f"{entry.name}: {next(iter(keywords))}= is for NumPy arrays, not for tensors")
    return elementwise.evaluate(entry, wrt, order, operands)


def split(name: str, x: Tensor, dim: int, gate: Gate) -> tuple[Tensor, Tensor]:
    """Return the gate and the value that one tensor holds.

    Raises
    ------
    ValueError
        If there is no such axis or gate, or the axis has odd length.
    """
    if gate not in get_args(Gate):
        raise ValueError(f"{name}: gate must be one of {', '.join(get_args(Gate))}, got {gate!r}")
    dim = check_axis(name, tuple(x.shape), dim)
    if not torch.compiler.is_compiling():
        check_memory(x, name, "x")
    size = x.shape[dim]
    if size % 2:
        raise ValueError(f"{name}: axis {dim} of x of shape {tuple(x.shape)} has odd length {size}, so no halves")
    if gate == "even":
        pairs = x.reshape(*x.shape[:dim], size // 2, 2, *x.shape[dim + 1 :])
        return pairs.select(dim + 1, 0), pairs.select(dim + 1, 1)
    first, second = x.narrow(dim, 0, size // 2), x.narrow(dim, size // 2, size // 2)
    return (first, second) if gate == "first" else (second, first)
