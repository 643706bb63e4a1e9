"""Functions along an axis of tensors: compiled rows where they are in ordinary memory, and torch operations for all else.

Torch differentiates its operations itself. Of compiled rows it gets the slopes from the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.activation import get
from nonlin.axis import AxisFunction
from nonlin.kernels import rows
from nonlin.precision import get_precision
from nonlin.torch.addresses import PLAIN, address, check_memory
from nonlin.torch.memory import empty_like, has_memory
from nonlin.torch.spelling import DTYPE_NAMES


def _finite_peak(z: Tensor, dim: int, hidden: Tensor | None) -> Tensor:
    """Return rows whose largest entry is finite: infinite ones go there together, equal; hidden ones are at -inf."""
    if hidden is not None:
        z = z.masked_fill(hidden, -torch.inf)
    peak = z.detach().amax(dim, keepdim=True)
    shares = (z == peak) if hidden is None else (z == peak) & ~(hidden & ~hidden.all(dim, keepdim=True))
    limit = torch.zeros_like(z).masked_fill(~shares, -torch.inf)
    return torch.where(torch.isinf(peak), limit, z)


def _softmax(x: Tensor, dim: int, hidden: Tensor | None, temperature: float) -> Tensor:
    y = F.softmax(_finite_peak(_over(x, temperature), dim, hidden), dim)
    return y if hidden is None else y.masked_fill(hidden, 0)


def _softmin(x: Tensor, dim: int, hidden: Tensor | None, temperature: float) -> Tensor:
    return _softmax(-x, dim, hidden, temperature)


def _log_softmax(x: Tensor, dim: int, hidden: Tensor | None, temperature: float) -> Tensor:
    y = F.log_softmax(_finite_peak(_over(x, temperature), dim, hidden), dim)
    return y if hidden is None else y.masked_fill(hidden, -torch.inf)


def _over(x: Tensor, temperature: float) -> Tensor:
    return x if isinstance(temperature, (int, float)) and temperature == 1 else x / temperature


def _below_peak(x: Tensor, dim: int, hidden: Tensor | None, unit: float) -> Tensor:
    """Return the distances from the largest entry; no threshold is below -1, so that -2 is as good as any."""
    z = _finite_peak(x, dim, hidden)
    return torch.clamp(_over(z - z.detach().amax(dim, keepdim=True), unit), min=-2)


def _among(z: Tensor, ordered: Tensor, positive: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return which entries are as large as the last of the ordered ones that are positive, and their number."""
    last = torch.clamp(positive.sum(dim, keepdim=True) - 1, min=0)
    among = z >= ordered.gather(dim, last)
    return among, torch.clamp(among.sum(dim, keepdim=True), min=1)


def _ordered(z: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    ordered = z.detach().sort(dim, descending=True).values
    shape = [1] * z.dim()
    shape[dim] = -1
    return ordered, torch.arange(1, z.shape[dim] + 1, dtype=z.dtype, device=z.device).reshape(shape)


def _with_nan(result: Tensor, x: Tensor, dim: int, hidden: Tensor | None) -> Tensor:
    bad = torch.isnan(x if hidden is None else x.masked_fill(hidden, 0)).any(dim, keepdim=True)
    result = torch.where(bad, torch.nan, result)
    return result if hidden is None else result.masked_fill(hidden, 0)


def _sparsemax(x: Tensor, dim: int, hidden: Tensor | None, temperature: float) -> Tensor:
    z = _below_peak(x, dim, hidden, temperature)
    ordered, k = _ordered(z, dim)
    among, size = _among(z, ordered, 1 + k * ordered > ordered.cumsum(dim), dim)
    threshold = (torch.where(among, z, 0).sum(dim, keepdim=True) - 1) / size
    return _with_nan(torch.clamp(z - threshold, min=0), x, dim, hidden)


def _entmax15(x: Tensor, dim: int, hidden: Tensor | None, temperature: float) -> Tensor:
    z = _below_peak(x, dim, hidden, 2 * temperature)
    ordered, k = _ordered(z, dim)
    mean = ordered.cumsum(dim) / k
    spread = (ordered**2).cumsum(dim) - k * mean**2
    among, size = _among(z, ordered, mean - torch.clamp((1 - spread) / k, min=0).sqrt() <= ordered, dim)
    mean = torch.where(among, z, 0).sum(dim, keepdim=True) / size
    spread = torch.where(among, z - mean, 0).square().sum(dim, keepdim=True)
    root = torch.clamp(z - mean + torch.clamp((1 - spread) / size, min=0).sqrt(), min=0)
    return _with_nan(root * root, x, dim, hidden)


def _hardmax(x: Tensor, dim: int, hidden: Tensor | None) -> Tensor:
    z = x if hidden is None else x.masked_fill(hidden, -torch.inf)
    first = z.argmax(dim, keepdim=True)
    # 0*x for a gradient of 0 instead of none; at an infinite x that would be NaN.
    zeros = 0 * torch.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0)
    return _with_nan(zeros + torch.zeros_like(z).scatter(dim, first, 1.0), x, dim, hidden)


def _maxout(x: Tensor, dim: int, hidden: None, groups: int) -> Tensor:
    if groups % 1 or x.shape[dim] % groups:
        raise ValueError(f"cannot be divided into groups of {groups}: it has {x.shape[dim]} entries")
    grouped = x.reshape(*x.shape[:dim], x.shape[dim] // int(groups), int(groups), *x.shape[dim + 1 :])
    return grouped.gather(dim + 1, grouped.argmax(dim + 1, keepdim=True)).squeeze(dim + 1)


def _crelu(x: Tensor, dim: int, hidden: None) -> Tensor:
    return torch.cat([F.relu(x), F.relu(-x)], dim)


_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "softmax": _softmax,
    "softmin": _softmin,
    "log_softmax": _log_softmax,
    "sparsemax": _sparsemax,
    "entmax15": _entmax15,
    "hardmax": _hardmax,
    "maxout": _maxout,
    "crelu": _crelu,
}
_KEEP_INTEGERS = ("maxout", "crelu")

# --- compiled rows --------------------------------------------------------------------------------------------------------


def _has_rows(x: Tensor) -> bool:
    """Whether a tensor is memory that compiled code can go over, and nobody but autograd watches what becomes of it."""
    if type(x) not in PLAIN or not x.numel() or not has_memory(x):
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return False
    return not torch._C._are_functorch_transforms_active() and forward_ad._current_level < 0


def _normalized(name: str, normalization: rows.Normalization, x: Tensor, dim: int, temperature: float) -> Tensor:
    last = dim == x.dim() - 1
    given = (x if last else x.movedim(dim, -1)).detach().contiguous()  # its memory has been looked at
    dtype, size = DTYPE_NAMES[x.dtype], given.shape[-1]
    y = empty_like(given)
    shape = given.numel() // size, size
    exact = get_precision() == "exact"
    rows.run(normalization, dtype, address(given, name, "x"), address(y, name, "y"), shape, temperature, exact=exact)
    return y if last else y.movedim(-1, dim).contiguous()


class _Normalized(torch.autograd.Function):
    """A normalization of rows whose slopes come from its result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, normalization: rows.Normalization, dim: int, temperature: float) -> Tensor:
        y = _normalized(name, normalization, x, dim, temperature)
        ctx.save_for_backward(y)
        ctx.owner, ctx.normalization, ctx.dim, ctx.temperature = name, normalization, dim, temperature
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        check_memory(dy, ctx.owner, "the gradient")
        check_memory(y, ctx.owner, "what was kept for backward")
        logarithm = ctx.normalization.log_probability is not None
        pull = torch._log_softmax_backward_data if logarithm else torch._softmax_backward_data
        dx = pull(dy, y, ctx.dim, y.dtype)
        scale = (-1 if ctx.normalization.negated else 1) / ctx.temperature
        return (dx if scale == 1 else dx * scale), None, None, None, None


# Past torch's own apply, which binds default arguments by a signature at every call; no functorch transform comes here.
_apply: Callable[..., Any] = super(torch.autograd.Function, _Normalized).apply


def _compiled(name: str, x: Tensor, dim: int, temperature: Any) -> Tensor | None:
    """Normalize the rows of a tensor in compiled code, or return None where there is none for it."""
    normalization = get(name)._normalization
    if normalization is None or not isinstance(temperature, (int, float)) or not _has_rows(x):
        return None
    temperature = float(temperature)
    if not rows.can_temper(temperature, DTYPE_NAMES[x.dtype], exact=get_precision() == "exact"):
        return None
    if torch.is_grad_enabled() and x.requires_grad:
        return _apply(x, name, normalization, dim, temperature)  # type: ignore[no-any-return]
    return _normalized(name, normalization, x, dim, temperature)


# --- what is called -------------------------------------------------------------------------------------------------------


def along_axis(name: str, x: Tensor, dim: int, where: Tensor | None, values: Mapping[str, Any]) -> Tensor:
    """Apply a function along an axis.

    Raises
    ------
    TypeError
        If x is complex, or ``where`` is not boolean.
    ValueError
        If the axis has a length that the function has no use for.
    NotImplementedError
        If it is a user's own: its rows are NumPy arrays.
    """
    function = _FUNCTIONS.get(name)
    if function is None:
        raise NotImplementedError(f"{name} is written for NumPy rows: torch does not know it")
    if not torch.compiler.is_compiling():
        check_memory(x, name, "x")
        check_memory(where, name, "where")
    if x.is_complex():
        raise TypeError(f"{name}: x must be real floating-point or integer, got {x.dtype}")
    hidden = None
    if where is not None:
        if where.dtype is not torch.bool:
            raise TypeError(f"{name}: where must be boolean, True for what takes part, got {where.dtype}")
        hidden = ~where.expand(x.shape)
    dtype = x.dtype
    if not dtype.is_floating_point and name not in _KEEP_INTEGERS:
        x, dtype = x.to(torch.get_default_dtype()), torch.get_default_dtype()
    if not x.shape[dim] and name not in _KEEP_INTEGERS:
        return x.clone()  # rows without entries
    if hidden is None and not torch.compiler.is_compiling():
        compiled = _compiled(name, x, dim, values.get("temperature"))
        if compiled is not None:
            return compiled
    half = dtype in (torch.float16, torch.bfloat16) and name not in _KEEP_INTEGERS
    try:
        result = function(x.float() if half else x, dim, hidden, **values)
    except ValueError as error:
        raise ValueError(f"{name}: axis {dim} of x of shape {tuple(x.shape)} {error}") from None
    return result.to(dtype)


def evaluate_along_axis(entry: AxisFunction, given: Mapping[str, Any]) -> Tensor:
    """Apply an axis function to what a call of it was given."""
    if given["out"] is not None:
        raise TypeError(f"{entry.name}: out= is for NumPy arrays, not for tensors")
    values = {name: given[name] for name in entry._checked}
    return along_axis(entry.name, given["x"], given["axis"], given.get("where"), values)


def product_along_axis(entry: AxisFunction, given: Mapping[str, Any], which: str) -> Tensor:
    """Multiply the Jacobian by a vector, or a vector by it."""
    for argument in ("x", which, "where"):
        check_memory(given.get(argument), entry.name, argument)

    def function(x: Tensor) -> Tensor:
        return evaluate_along_axis(entry, {**given, "x": x})

    if which == "dx":
        return torch.func.jvp(function, (given["x"],), (given["dx"].expand(given["x"].shape),))[1]  # type: ignore[no-any-return]
    y, pull, *_ = torch.func.vjp(function, given["x"])
    return pull(given["dy"].expand(y.shape))[0]  # type: ignore[no-any-return]
