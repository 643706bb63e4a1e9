"""Functions along an axis of tensors: compiled rows where they are in ordinary memory, and torch operations for all else.

Slopes are our own formulas, of any order: an operation on rows has derivatives that are such operations again.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.definition import AxisFunction
from nonlin.definition.base import instances
from nonlin.definition.layout import Groups
from nonlin.formula.operations import RowOperation
from nonlin.kernels import rows
from nonlin.kernels.precision import get_precision
from nonlin.kernels.reductions import compute as compute_rows, hidden_on
from nonlin.torch.addresses import PLAIN, address, check_memory
from nonlin.torch.elementwise import reduced
from nonlin.torch.memory import empty_like, has_memory
from nonlin.torch.row_programs import row_program
from nonlin.torch.spelling import DTYPE_NAMES
from nonlin.torch.symbolic import node, watched

# --- which operation ----------------------------------------------------------------------------------------------------------
# An operation is told by its path, the derivatives that lead to it: "" is the function itself, "vjp x" its transposed slope,
# "vjp x, jvp v0" how that changes with its first vector. A string is a constant for Dynamo.


def operation_of(entry: AxisFunction, path: str) -> RowOperation:
    """Return the operation at the end of a path."""
    operation = entry.operation
    for step in path.split(", ") if path else ():
        kind, operand = step.split()
        operation = getattr(operation, {"jvp": "jvp", "vjp": "vjp", "by": "by_parameter"}[kind])(operand)
    return operation


def _extended(path: str, kind: str, operand: str) -> str:
    return f"{path}, {kind} {operand}" if path else f"{kind} {operand}"


def _vectors(path: str) -> int:
    return path.count(",") + bool(path)


_program_names: dict[tuple[Any, ...], str] = {}
_programs: Any = types.ModuleType("nonlin.torch.row_programs_made")


def _program(key: str, path: str, dtype: torch.dtype, masked: bool) -> str:
    """Return under what name _programs has an operation's program; see the same in :mod:`nonlin.torch.elementwise`."""
    program = (key, path, dtype, masked)
    name = _program_names.get(program)
    if name is None:
        entry = instances[key]
        made = row_program(operation_of(entry, path), tuple(entry.parameters), dtype, masked=masked)
        name = _program_names[program] = f"program_{len(_program_names)}"
        setattr(_programs, name, made)
    return name


def _is_per_row(key: str, path: str) -> bool:
    operation = operation_of(instances[key], path)
    return operation.per_row and operation.side == "y"


def _keeps_integers(key: str) -> bool:
    return bool(instances[key].keeps_integers)


def _covered(key: str, path: str) -> float:
    masked = instances[key].masked
    return 0.0 if path or masked is None else masked


def _side(key: str, path: str) -> str:
    return operation_of(instances[key], path).side


for _constant in (_program, _is_per_row, _keeps_integers, _covered, _side):
    # What torch.compiler.assume_constant_result does, which would import Dynamo for it.
    setattr(_constant, "_dynamo_marked_constant", True)  # noqa: B010 - what is set is no attribute of functions


# --- computing ----------------------------------------------------------------------------------------------------------------


def _is_at_hand(*operands: Any) -> bool:
    """Whether all tensors are memory that our code can go over, and nobody but autograd watches what becomes of it."""
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return False
    if torch._C._are_functorch_transforms_active():
        return False
    return all(type(o) in PLAIN and has_memory(o) for o in operands if isinstance(o, Tensor))


def _result_dtype(entry: AxisFunction, operands: Sequence[Tensor]) -> torch.dtype:
    x, *vectors = operands
    dtype = x.dtype
    if not dtype.is_floating_point and (vectors or dtype is torch.bool or not _keeps_integers(entry.root.key)):
        dtype = torch.get_default_dtype()
    for vector in vectors:
        if vector.dtype.is_floating_point:
            dtype = torch.promote_types(dtype, vector.dtype)
    return dtype


def _group(entry: AxisFunction, x: Tensor, dim: int, numbers: Sequence[Any]) -> int:
    """Return how many neighbours belong together, 0 for all that there are."""
    if not isinstance(entry.layout, Groups):
        return 0
    return entry.layout.length(entry.name, tuple(x.shape), dim, dict(zip(entry._checked, numbers, strict=True)))


def _opened(x: Tensor, dim: int, group: int) -> Tensor:
    return x.reshape(*x.shape[:dim], x.shape[dim] // group, group, *x.shape[dim + 1 :]) if group else x


def compute(
    entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, operands: Sequence[Tensor], numbers: Sequence[Any]
) -> Tensor:
    """Compute an operation of x and its vectors without recording anything for autograd."""
    dtype = _result_dtype(entry, operands)
    x = operands[0]
    group = _group(entry, x, dim, numbers)
    if not x.numel():
        return x.new_empty(_empty_shape(entry, path, x, dim, group), dtype=dtype)
    plain = all(isinstance(number, (int, float)) or number.dim() == 0 for number in numbers)
    if not torch.compiler.is_compiling() and plain and _is_at_hand(hidden, *operands, *numbers):
        return _in_numpy(entry, path, dim, hidden, operands, numbers, group).to(dtype)
    return spelled(entry, path, dim, hidden, operands, numbers)


def _empty_shape(entry: AxisFunction, path: str, x: Tensor, dim: int, group: int) -> tuple[int, ...]:
    if _side(entry.root.key, path) == "x":
        return tuple(x.shape)
    width = x.shape[dim] // group if group else x.shape[dim] * entry.operation.count
    return (*x.shape[:dim], width, *x.shape[dim + 1 :])


def _in_numpy(
    entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, operands: Sequence[Tensor], numbers: Any, group: int
) -> Tensor:
    """Compute in our own code, in float64 or integers."""
    operation = operation_of(entry, path)
    x = operands[0]
    length = group or x.shape[dim]
    working = torch.float64 if _result_dtype(entry, operands).is_floating_point else x.dtype
    sides = ["x", *(side for _, side in operation.vectors)]
    lines = [_as_rows(o.detach(), dim, operation.length(side, length)) for o, side in zip(operands, sides, strict=True)]
    covered = None if hidden is None else _as_rows(hidden, dim, length)
    out = torch.empty(len(lines[0]), operation.length(operation.side, length), dtype=working, device="cpu")
    result = out.numpy()
    values = dict(zip(entry.parameters, map(float, numbers), strict=True))
    step = max(1, _BLOCK // max(length, out.shape[1]))
    for start in range(0, len(out), step):
        block = slice(start, start + step)
        here = None if covered is None else covered[block].numpy()
        part = compute_rows(operation, [a[block].to(working, copy=True).numpy() for a in lines], here, values)
        absent = hidden_on(operation, operation.side, here)
        result[block] = part if absent is None else np.where(absent, part.dtype.type(_covered(entry.root.key, path)), part)
    shape = _empty_shape(entry, path, x, dim, group)
    moved = (*shape[:dim], *shape[dim + 1 :], shape[dim])
    return out.reshape(moved).movedim(-1, dim).contiguous()


_BLOCK = 1 << 15


def _as_rows(x: Tensor, dim: int, length: int) -> Tensor:
    return (x if dim == x.dim() - 1 else x.movedim(dim, -1)).reshape(-1, length)


def spelled(
    entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, operands: Sequence[Tensor], numbers: Sequence[Any]
) -> Tensor:
    """Compute an operation of x and its vectors in torch operations."""
    dtype = _result_dtype(entry, operands)
    x = operands[0]
    group = _group(entry, x, dim, numbers)
    computes_in = dtype
    if dtype.is_floating_point:
        # float64 keeps the digits of the distances from the peak; where it is slow or does not exist, float32 has to do.
        wide = dtype in (torch.float32, torch.float64) and x.device.type in ("cpu", "meta")
        computes_in = torch.float64 if wide or dtype is torch.float64 else torch.float32
    given = [
        o.to(computes_in).unsqueeze(dim + 1) if group and o.shape != x.shape else _opened(o.to(computes_in), dim, group)
        for o in operands
    ]
    masked = None if hidden is None else _opened(hidden, dim, group)
    one = torch.ones((), dtype=computes_in, device=x.device)  # torch.full would make Dynamo take a number for a constant
    values = [n.to(computes_in) if isinstance(n, Tensor) else one * n for n in numbers]
    program = getattr(_programs, _program(entry.root.key, path, computes_in, hidden is not None))
    result: Tensor = program(*given, *values, masked, dim + 1 if group else dim)
    if group:
        result = result.squeeze(dim + 1) if _is_per_row(entry.root.key, path) else result.reshape(x.shape)
    elif hidden is not None:
        times = result.shape[dim] // x.shape[dim]
        covering = hidden if times == 1 else torch.cat([hidden] * times, dim)
        result = result.masked_fill(covering, _covered(entry.root.key, path))
    return result.to(dtype)


# --- normalizations in compiled rows ----------------------------------------------------------------------------------------


def _normalized(
    name: str, normalization: rows.Normalization, x: Tensor, dim: int, temperature: float, hidden: Tensor | None
) -> Tensor:
    last = dim == x.dim() - 1
    given = x if hidden is None else _with_finite_peak(x, dim, hidden, -1 if normalization.negated else 1)
    given = (given if last else given.movedim(dim, -1)).detach().contiguous()  # its memory has been looked at
    dtype, size = DTYPE_NAMES[x.dtype], given.shape[-1]
    y = empty_like(given)
    shape = given.numel() // size, size
    exact = get_precision() == "exact"
    rows.run(normalization, dtype, address(given, name, "x"), address(y, name, "y"), shape, temperature, exact=exact)
    y = y if last else y.movedim(-1, dim).contiguous()
    if hidden is not None:
        y.masked_fill_(hidden, 0 if normalization.log_probability is None else -torch.inf)
    return y


def _with_finite_peak(x: Tensor, dim: int, hidden: Tensor, sign: int) -> Tensor:
    """Return rows with hidden entries at the far end, which no other is where the far end is the peak."""
    far = -sign * torch.inf
    x = x.detach().masked_fill(hidden, far)
    return torch.where((x.amax(dim, True) if sign > 0 else x.amin(dim, True)) == far, torch.where(hidden, far, 0.0), x)


class _Normalized(torch.autograd.Function):
    """A normalization of rows whose slopes come from its result."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, name: str, found: rows.Normalization, dim: int, temperature: float, hidden: Tensor | None
    ) -> Tensor:
        y = _normalized(name, found, x, dim, temperature, hidden)
        ctx.save_for_backward(y, hidden)
        ctx.owner, ctx.normalization, ctx.dim, ctx.temperature = name, found, dim, temperature
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        y, hidden = ctx.saved_tensors
        check_memory(dy, ctx.owner, "the gradient")
        check_memory(y, ctx.owner, "what was kept for backward")
        check_memory(hidden, ctx.owner, "the mask kept for backward")
        if hidden is not None:
            dy = dy.masked_fill(hidden, 0)
        dx = (_pull_of_shares if ctx.normalization.log_probability is None else _pull_of_logarithms)(dy, y, ctx.dim)
        if hidden is not None:
            dx = dx.masked_fill(hidden, 0)
        scale = (-1 if ctx.normalization.negated else 1) / ctx.temperature
        return (dx if scale == 1 else dx * scale), None, None, None, None, None


def _pull_of_shares(dy: Tensor, y: Tensor, dim: int) -> Tensor:
    """Pull a gradient back through softmax. Only differences of it count: from its entry at the peak they keep their digits."""
    at_peak = dy.gather(dim, y.argmax(dim, True))
    return torch._softmax_backward_data(dy - at_peak, y, dim, y.dtype)


def _pull_of_logarithms(dy: Tensor, y: Tensor, dim: int) -> Tensor:
    """Pull a gradient back through log_softmax: dy - exp(y)*sum(dy), at the peak without the difference of two equal terms."""
    first = y.argmax(dim, True)
    dx = torch._log_softmax_backward_data(dy, y, dim, y.dtype)
    top = y.gather(dim, first)
    others = dy.scatter(dim, first, 0.0).sum(dim, True)
    return dx.scatter(dim, first, -(dy.gather(dim, first) * torch.expm1(top) + torch.exp(top) * others))


# Past torch's own apply, which binds default arguments by a signature at every call; no functorch transform comes here.
_apply_normalized: Any = super(torch.autograd.Function, _Normalized).apply


def _compiled(entry: AxisFunction, x: Tensor, dim: int, hidden: Tensor | None, numbers: Sequence[Any]) -> Tensor | None:
    """Normalize the rows of a tensor in compiled code, or return None where there is none for it."""
    if entry.normalization is None or not x.numel() or not x.is_floating_point() or forward_ad._current_level >= 0:
        return None
    normalization, parameter = entry.normalization
    temperature = 1.0 if parameter is None else numbers[tuple(entry._checked).index(parameter)]
    if not isinstance(temperature, (int, float)) or not _is_at_hand(x, hidden):
        return None
    if not rows.can_temper(float(temperature), DTYPE_NAMES[x.dtype], exact=get_precision() == "exact"):
        return None
    if torch.is_grad_enabled() and x.requires_grad:
        return _apply_normalized(x, entry.name, normalization, dim, float(temperature), hidden)  # type: ignore[no-any-return]
    return _normalized(entry.name, normalization, x, dim, float(temperature), hidden)


# --- slopes -------------------------------------------------------------------------------------------------------------------


def _gradients(
    entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, operands: Sequence[Any], wanted: Sequence[bool], dy: Tensor
) -> list[Tensor | None]:
    """Return the gradients of x, the vectors and the parameters from that of the result."""
    count = 1 + _vectors(path)
    arrays, numbers = operands[:count], operands[count:]
    names = ["x", *(f"v{k}" for k in range(count - 1)), *entry._checked]
    gradients: list[Tensor | None] = []
    for position, (name, wants) in enumerate(zip(names, wanted, strict=True)):
        if not wants:
            gradients.append(None)
            continue
        kind = "vjp" if position < count else "by"
        found = run(entry, _extended(path, kind, name), dim, hidden, (*arrays, dy), numbers)
        gradients.append(reduced(found, operands[position]))
    return gradients


class _Rows(torch.autograd.Function):
    """An operation on rows with its derivatives: reverse, forward and vectorized, to any order."""

    @staticmethod
    def forward(entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, *operands: Any) -> Tensor:
        count = 1 + _vectors(path)
        return compute(entry, path, dim, hidden, operands[:count], operands[count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.entry, ctx.path, ctx.dim, hidden, *operands = inputs
        ctx.numbers = [None if isinstance(o, Tensor) else o for o in operands]
        tensors = [o if isinstance(o, Tensor) else None for o in operands]
        ctx.save_for_backward(hidden, *tensors)
        ctx.save_for_forward(hidden, *tensors)

    @staticmethod
    def _operands(ctx: Any, saved: tuple[Any, ...]) -> tuple[Tensor | None, list[Any]]:
        hidden, *tensors = saved
        return hidden, [n if t is None else t for t, n in zip(tensors, ctx.numbers, strict=True)]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        hidden, operands = _Rows._operands(ctx, ctx.saved_tensors)
        check_memory(hidden, ctx.entry.name, "the mask kept for backward")
        for name, tensor in (("the gradient", dy), *((f"operand {k} kept for backward", o) for k, o in enumerate(operands))):
            check_memory(tensor, ctx.entry.name, name)
        return None, None, None, None, *_gradients(ctx.entry, ctx.path, ctx.dim, hidden, operands, ctx.needs_input_grad[4:], dy)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        hidden, operands = _Rows._operands(ctx, ctx.saved_for_forward)
        count = 1 + _vectors(ctx.path)
        arrays, numbers = tuple(operands[:count]), operands[count:]
        names = ["x", *(f"v{k}" for k in range(count - 1)), *ctx.entry._checked]
        total: Tensor | None = None
        for position, (name, tangent) in enumerate(zip(names, tangents[4:], strict=True)):
            if tangent is None:
                continue
            kind = "jvp" if position < count else "by"
            if kind == "by":
                like = run(ctx.entry, ctx.path, ctx.dim, hidden, arrays, numbers)
                tangent = tangent * torch.ones_like(like)
            part = run(ctx.entry, _extended(ctx.path, kind, name), ctx.dim, hidden, (*arrays, tangent), numbers)
            total = part if total is None else total + part
        assert total is not None
        return total

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, *operands: Any
    ) -> tuple[Tensor, int]:
        size = info.batch_size

        def first(tensor: Any, at: int | None) -> Any:
            if not isinstance(tensor, Tensor):
                return tensor
            return tensor.expand(size, *tensor.shape) if at is None else tensor.movedim(at, 0)

        count = 1 + _vectors(path)
        arrays = [first(o, at) for o, at in zip(operands[:count], in_dims[4:], strict=False)]
        numbers = [
            n if at is None else n.movedim(at, 0).reshape(size, *[1] * (arrays[0].dim() - 1))
            for n, at in zip(operands[count:], in_dims[4 + count :], strict=True)
        ]
        return run(entry, path, dim + 1, first(hidden, in_dims[3]), arrays, numbers), 0


_apply_rows: Any = super(torch.autograd.Function, _Rows).apply


class _TracedRows(torch.autograd.Function):
    """The same for Dynamo, which takes no function with a jvp or vmap of its own."""

    @staticmethod
    def forward(entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, *operands: Any) -> Tensor:
        count = 1 + _vectors(path)
        return spelled(entry, path, dim, hidden, operands[:count], operands[count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        entry, path, dim, hidden, *operands = inputs
        ctx.entry, ctx.path, ctx.dim, ctx.masked = entry, path, dim, hidden is not None
        ctx.numbers = [None if isinstance(o, Tensor) else o for o in operands]
        tensors = [o for o in operands if isinstance(o, Tensor)]
        ctx.save_for_backward(*([hidden] if hidden is not None else []), *tensors)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        saved = list(ctx.saved_tensors)
        hidden = saved.pop(0) if ctx.masked else None
        operands = [saved.pop(0) if n is None else n for n in ctx.numbers]
        count = 1 + _vectors(ctx.path)
        names = ["x", *[f"v{k}" for k in range(count - 1)], *ctx.entry._checked]
        gradients: list[Tensor | None] = [None, None, None, None]
        for position, name in enumerate(names):
            gradient = None
            if ctx.needs_input_grad[position + 4]:
                path = _extended(ctx.path, "vjp" if position < count else "by", name)
                found = spelled(ctx.entry, path, ctx.dim, hidden, (*operands[:count], dy), operands[count:])
                gradient = reduced(found, operands[position])
            gradients.append(gradient)
        return tuple(gradients)


# --- what is called -----------------------------------------------------------------------------------------------------------


def run(
    entry: AxisFunction, path: str, dim: int, hidden: Tensor | None, arrays: Sequence[Tensor], numbers: Sequence[Any]
) -> Tensor:
    """Compute an operation of x and its vectors, differentiably."""
    recorded = torch.is_grad_enabled() and any(isinstance(o, Tensor) and o.requires_grad for o in (*arrays, *numbers))
    if torch.compiler.is_compiling():
        if recorded:
            return _TracedRows.apply(entry, path, dim, hidden, *arrays, *numbers)  # type: ignore[no-any-return, no-untyped-call]
        return spelled(entry, path, dim, hidden, arrays, numbers)
    if torch._C._get_tracing_state() is not None:
        return spelled(entry, path, dim, hidden, arrays, numbers)
    if torch._C._are_functorch_transforms_active():
        return _Rows.apply(entry, path, dim, hidden, *arrays, *numbers)  # type: ignore[no-any-return, no-untyped-call]
    if not path:
        compiled = _compiled(entry, arrays[0], dim, hidden, numbers)
        if compiled is not None:
            return compiled
    if recorded or forward_ad._current_level >= 0:
        return _apply_rows(entry, path, dim, hidden, *arrays, *numbers)  # type: ignore[no-any-return]
    return compute(entry, path, dim, hidden, arrays, numbers)


def along_axis(
    entry: AxisFunction, x: Tensor, dim: int, where: Tensor | None, numbers: Sequence[Any], path: str = "", *vectors: Tensor
) -> Tensor:
    """Apply a function along an axis, or a derivative of it to vectors.

    Raises
    ------
    TypeError
        If x is complex, or ``where`` is not boolean.
    ValueError
        If the axis has a length that the function has no use for.
    """
    if not torch.compiler.is_compiling():
        for name, tensor in (("x", x), ("where", where), *(("a vector", v) for v in vectors)):
            check_memory(tensor, entry.name, name)
    for tensor in (x, *vectors):
        if tensor.is_complex():
            raise TypeError(f"{entry.name}: x must be real floating-point or integer, got {tensor.dtype}")
    hidden = None
    if where is not None:
        if where.dtype is not torch.bool:
            raise TypeError(f"{entry.name}: where must be boolean, True for what takes part, got {where.dtype}")
        hidden = ~where.expand(x.shape)
    if torch.compiler.is_compiling() and torch.onnx.is_in_onnx_export() and not path and hidden is None:
        operator = _ONE_OPERATOR.get(entry.name) if entry.family != "own" else None
        if operator is not None:
            (temperature,) = numbers
            distance = x if temperature == 1 else (x - x.amax(dim, True)) / temperature
            return operator(distance, dim)  # type: ignore[no-any-return]
    _group(entry, x, dim, numbers)  # says what is wrong with the axis
    if not x.is_floating_point() and (path or x.dtype is torch.bool or not _keeps_integers(entry.root.key)):
        x = x.to(torch.get_default_dtype())
    return run(entry, path, dim, hidden, (x, *vectors), numbers)


#: What becomes one ONNX operator.
_ONE_OPERATOR: Mapping[str, Any] = {"softmax": F.softmax, "log_softmax": F.log_softmax}


def _tensor(x: Any) -> Tensor:
    """Return x as a tensor; one that is a tensor stays where it is, whatever the default device."""
    return x if isinstance(x, Tensor) else torch.as_tensor(x)


def evaluate_along_axis(entry: AxisFunction, given: Mapping[str, Any]) -> Tensor:
    """Apply an axis function to what a call of it was given."""
    if given["out"] is not None:
        raise TypeError(f"{entry.name}: out= is for NumPy arrays, not for tensors")
    called = node(entry, (), given)
    if called is not None:
        return called  # type: ignore[no-any-return]
    numbers = [given[name] for name in entry._checked]
    x = _tensor(given["x"])
    return watched(  # type: ignore[no-any-return]
        entry, (x,), lambda: along_axis(entry, x, given["axis"], given.get("where"), numbers)
    )


def product_along_axis(entry: AxisFunction, given: Mapping[str, Any], which: str) -> Tensor:
    """Multiply the Jacobian by a vector, or a vector by it."""
    called = node(entry.jvp if which == "dx" else entry.vjp, (), given)
    if called is not None:
        return called  # type: ignore[no-any-return]
    x, dim, numbers = _tensor(given["x"]), given["axis"], [given[name] for name in entry._checked]
    v = torch.as_tensor(given[which], device=x.device)
    shape = tuple(x.shape) if which == "dx" else _empty_shape(entry, "", x, dim, _group(entry, x, dim, numbers))
    path = "jvp x" if which == "dx" else "vjp x"
    return along_axis(entry, x, dim, given.get("where"), numbers, path, v.expand(shape))
