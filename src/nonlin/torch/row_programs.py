"""Formulas of rows spelled in PyTorch operations: four reductions, masks, infinite peaks and NaN."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from nonlin.formula.expression import Application, Expression
from nonlin.formula.finish import finished_row, portable
from nonlin.formula.operations import RowOperation
from nonlin.formula.primitives import Primitive
from nonlin.formula.rows import RowPrimitive, varies
from nonlin.torch.spelling import FUNCTIONS, TorchSpelling, function_of


def threshold(z: Tensor, dim: int) -> Tensor:
    """Return the t for which maximum(z - t, 0) has the sum 1."""
    z, top, ordered, k = _sorted(z, dim)
    among, size = _support(z, ordered, 1 + k * ordered > ordered.cumsum(dim), dim)
    return top + (torch.where(among, z, 0).sum(dim, keepdim=True) - 1) / size


def root_threshold(z: Tensor, dim: int) -> Tensor:
    """Return the t for which maximum(z - t, 0)**2 has the sum 1."""
    z, top, ordered, k = _sorted(z, dim)
    mean = ordered.cumsum(dim) / k
    spread = (ordered * ordered).cumsum(dim) - k * mean * mean
    among, size = _support(z, ordered, mean - torch.clamp((1 - spread) / k, min=0).sqrt() <= ordered, dim)
    mean = torch.where(among, z, 0).sum(dim, keepdim=True) / size
    spread = torch.where(among, z - mean, 0).square().sum(dim, keepdim=True)
    return top + mean - torch.clamp((1 - spread) / size, min=0).sqrt()


def _sorted(z: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    top = z.amax(dim, keepdim=True)
    z = torch.clamp(z - top, min=-2)  # no threshold is further than 1 below the largest entry
    shape = [1] * z.dim()
    shape[dim] = -1
    k = torch.arange(1, z.shape[dim] + 1, dtype=z.dtype, device=z.device).reshape(shape)
    return z, top, z.sort(dim, descending=True).values, k


def _support(z: Tensor, ordered: Tensor, positive: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return which entries are as large as the last of the ordered ones that are positive, and their number."""
    last = torch.clamp(positive.sum(dim, keepdim=True) - 1, min=0)
    among = z >= ordered.gather(dim, last)
    return among, torch.clamp(among.sum(dim, keepdim=True), min=1)


class _RowSpelling(TorchSpelling):
    """Writes formulas of rows, which lie along ``dim``; ``hidden`` says which entries take no part, if there is a mask."""

    def __init__(self, operation: RowOperation, names: dict[str, str], dtype: torch.dtype, *, masked: bool) -> None:
        super().__init__(names, dtype)
        self.entries, self.masked = operation.entries, masked
        lowest = str(torch.iinfo(dtype).min) if not dtype.is_floating_point else "-torch.inf"
        self.table = {
            **self.table,
            "row_max": lambda a: self.line(f"{self._seen(a, lowest)}.amax(dim, True)"),
            "row_sum": lambda a: self.line(f"{self._seen(a, '0')}.sum(dim, True)"),
            "row_sum_but": lambda a, of: self.table["row_sum"](self.call("where", self._peak(of), "0", a)),
            "row_threshold": lambda z, p: self.line(
                f"{'threshold' if float(p) == 1 else 'root_threshold'}({self._seen(z, '-torch.inf')}, dim)"
            ),
            "is_peak": self._peak,
        }

    def _seen(self, a: str, absent: str) -> str:
        return self.line(f"{a}.masked_fill(hidden, {absent})") if self.masked else a

    def _peak(self, of: str) -> str:
        if self.masked and self.dtype.is_floating_point:
            of = self.line(f"torch.clamp({of}, min={torch.finfo(self.dtype).min!r})")  # above what is hidden
        first = self.line(f"{self._seen(of, '-torch.inf')}.argmax(dim, True)")
        return self.line(f"torch.zeros_like({of}, dtype=torch.bool).scatter(dim, {first}, 1)")

    def constant(self, value: Fraction) -> str:
        return super().constant(value) if self.dtype.is_floating_point else f"({value.numerator})"

    def application(self, primitive: Primitive, arguments: tuple[str, ...], node: Application) -> str:
        if isinstance(primitive, RowPrimitive):
            first, *others = arguments
            if not varies(node.arguments[0], self.entries):
                first = self.line(f"{first} * torch.ones_like(x)")
            return self.table[primitive.name](first, *others)
        return super().application(primitive, arguments, node)


def source_of(operation: RowOperation, parameters: tuple[str, ...], dtype: torch.dtype, *, masked: bool) -> str:
    """Write a function of x, the vectors and the parameters, of ``hidden`` and of ``dim``."""
    names = {"x": "x", **{name: f"p_{name}" for name in parameters}}
    spelling = _RowSpelling(operation, names, dtype, masked=masked)
    head = []
    if dtype.is_floating_point:
        head += [f"lost = torch.isnan(x){' & ~hidden' if masked else ''}"]
        if operation.is_coupled:
            head += ["lost = lost.any(dim, True)"]
        elif operation.side == "y" and operation.count > 1:
            head += [f"lost = torch.cat([lost] * {operation.count}, dim)"]
    if operation.limit and dtype.is_floating_point:
        far, peak = ("-torch.inf", "amax") if operation.limit > 0 else ("torch.inf", "amin")
        head += [f"x = x.masked_fill(hidden, {far})"] * masked
        head += [
            f"peak = x.{peak}(dim, True)",
            f"shares = (x == peak){' & ~(hidden & ~hidden.all(dim, True))' if masked else ''}",
            f"x = torch.where(torch.isinf(peak), torch.zeros_like(x).masked_fill(~shares, {far}), x)",
        ]
    for name, side in operation.vectors:
        symbols = operation.symbols_of(name, side)
        if masked:
            covered = "hidden" if side == "x" else "hidden.all(dim, True)" if operation.per_row else None
            covered = covered or f"torch.cat([hidden] * {len(symbols)}, dim)"
            head += [f"v_{name} = v_{name}.masked_fill({covered}, 0)"]
        if len(symbols) > 1:
            head += [f"{', '.join(f'v_{s}' for s in symbols)} = v_{name}.chunk({len(symbols)}, dim)"]
        names |= {symbol: f"v_{symbol}" for symbol in symbols}
    rowwise = operation.per_row and operation.side == "y"
    results = [spelling(_finished(result, dtype)) for result in operation.finished]
    shape = "x.amax(dim, True)" if rowwise else "x"
    full = [
        spelling.line(f"torch.full_like({shape}, {r})" if spelling.is_literal(r) else f"{r} + torch.zeros_like({shape})")
        if (not varies(result, operation.entries) and not rowwise) or spelling.is_literal(r)
        else r
        for r, result in zip(results, operation.finished, strict=True)
    ]
    tail = [f"result = {full[0]}" if len(full) == 1 else f"result = torch.cat([{', '.join(full)}], dim)"]
    if dtype.is_floating_point:
        tail += ["result = torch.where(lost, torch.nan, result)"]
    arguments = ["x", *(f"v_{name}" for name, _ in operation.vectors), *(f"p_{name}" for name in parameters)]
    body = "\n".join(f"    {line}" for line in [*head, *spelling.lines, *tail])
    return f"def program({', '.join(arguments)}, hidden, dim):\n{body}\n    return result\n"


def _finished(formula: Expression, dtype: torch.dtype) -> Expression:
    if not dtype.is_floating_point:
        return portable(formula, FUNCTIONS)
    return finished_row(formula, "float64" if dtype is torch.float64 else "float32", FUNCTIONS)


def row_program(
    operation: RowOperation, parameters: tuple[str, ...], dtype: torch.dtype, *, masked: bool
) -> Callable[..., Tensor]:
    """Return an operation as a function in torch operations."""
    source = source_of(operation, parameters, dtype, masked=masked)
    return function_of(source, threshold=threshold, root_threshold=root_threshold)
