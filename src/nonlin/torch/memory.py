"""What is kept from a forward pass for the backward pass: at most one tensor, or much less.

``memory="exact"`` keeps the input, as torch does for most activations; where the slope has two values only (relu, leaky_relu,
relu6, hard_tanh, the shrinks...) it keeps one bit per element, where it has one, nothing. ``memory="low"`` keeps

* the output, which the next layer usually keeps anyway, for functions that never turn: elu, softplus, tanh, sigmoid...;
* the output and one bit per element, the side of the turn, for those with one minimum or maximum: gelu, silu, mish...;
* the slope in 8 bits where the output cannot be inverted: those of float16 and bfloat16 with a turn, and sin;
* the input where nothing else will do: where the slope has no bounds (gcu), where a parameter learns, and in float64.

The slope comes from the output by a formula, as 1 - y^2 for tanh, or by a table, so that gradients are as good as the output's
rounding lets them be. Bits cannot say NaN: the gradient of an element that was NaN is then that of a finite one, as with
torch.relu. Gradients of ``memory="low"`` cannot be differentiated again. Compiled programs and functional transforms take no
part in this: what they keep is decided by torch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nonlin.activation import Activation
from nonlin.formula import primitives as p
from nonlin.formula.calculus import canonical, differentiate, simplest, slope_by_value
from nonlin.formula.expression import Application, Constant, Expression, Symbol, substitute
from nonlin.formula.primitives import greater, where
from nonlin.kernels import memory as big_memory
from nonlin.kernels.inversion import CELLS, RANGE, SlopeTable, find_breaks
from nonlin.kernels.lowering import constant_value
from nonlin.kernels.passes import Pass, make_pass
from nonlin.precision import get_precision
from nonlin.torch.addresses import address, check_memory
from nonlin.torch.spelling import DTYPE_NAMES, program_of_x

if TYPE_CHECKING:
    from nonlin.torch.elementwise import Operation

Memory: TypeAlias = Literal["exact", "low"]
Kind: TypeAlias = Literal["nothing", "bits", "output", "output and bit", "slope code", "input"]
Array: TypeAlias = npt.NDArray[Any]

_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Layout:
    """Shape and strides of a tensor without gaps."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        return cls(tuple(tensor.shape), tensor.stride())

    def copied(self, tensor: Tensor) -> Tensor:
        """Return a tensor in this layout."""
        if tensor.stride() == self.strides:
            return tensor
        return torch.empty_strided(self.shape, self.strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


# --- bits and codes, in torch operations: for tensors that our passes cannot reach -------------------------------------------


def pack(mask: Tensor) -> Tensor:
    """Return a boolean tensor as one bit per element, in memory order."""
    flat = _flat(mask).to(torch.uint8)
    padded = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).reshape(-1, 8)
    weights = torch.tensor([1 << k for k in range(8)], dtype=torch.uint8, device=flat.device)
    return (padded * weights).sum(1, dtype=torch.uint8)


def unpack(bits: Tensor, layout: Layout) -> Tensor:
    """Return the boolean tensor that :func:`pack` packed; it had this layout."""
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    flat = ((bits[:, None] >> shifts) & 1).reshape(-1)[: math.prod(layout.shape)].bool()
    return flat.as_strided(layout.shape, layout.strides)


def _encode(slope: Tensor, low: float, high: float) -> Tensor:
    """Return slopes between two bounds in 8 bits."""
    return torch.clamp(torch.round((slope - low) * (255 / (high - low))), 0, 255).to(torch.uint8)


def _look_up(table: SlopeTable, y: Tensor, right: Tensor | None) -> Tensor:
    """Return the slopes where the outputs are y."""
    coefficients = torch.from_numpy(table.coefficients).to(y.device)
    y, slopes = y.float(), []
    for branch in table.branches:
        up_to, anchors, offsets, at_anchor = (
            torch.tensor([getattr(half, name) for half in branch], dtype=kind, device=y.device) for name, kind in _HALF.items()
        )
        half = torch.searchsorted(up_to[:-1], y)
        distance = (y.double() - anchors[half]).abs().float()
        significand, exponent = torch.frexp(torch.nan_to_num(distance).clamp(*RANGE))
        position = (2 * significand - 1) * CELLS
        whole = position.floor()
        cell = ((exponent - 1) * CELLS + whole).long() + offsets[half]
        first, second, third = coefficients[:, cell.clamp(max=coefficients.shape[1] - 1)]
        u = position - whole
        slopes.append(torch.where(distance > 0, first + u * (second + u * third), at_anchor[half]))
    slope = slopes[0] if right is None else torch.where(right, slopes[1], slopes[0])
    return torch.where(torch.isnan(y), y, slope)


_HALF = {"up_to": torch.float32, "anchor": torch.float64, "offset": torch.int64, "at_anchor": torch.float32}


def _flat(tensor: Tensor) -> Tensor:
    """Return the elements in memory order, as a view if they lie without gaps."""
    if tensor.is_contiguous():
        return tensor.reshape(-1)
    if is_dense(tensor):
        return tensor.as_strided((tensor.numel(),), (1,))
    return tensor.contiguous().reshape(-1)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements lie in memory without gaps or overlaps, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def empty_like(tensor: Tensor) -> Tensor:
    """Return an empty tensor of the same shape, strides and dtype; a big one in memory that has been used before."""
    if tensor.nbytes < big_memory.MINIMUM:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    buffer = torch.from_numpy(big_memory.empty((tensor.nbytes,), np.dtype(np.uint8)))
    return buffer.view(tensor.dtype).as_strided(tensor.shape, tensor.stride())


def has_memory(tensor: Tensor) -> bool:
    """Whether compiled code can go over the elements as they lie in memory.

    Not so for one that stands for many in torch's older vmap, nor for a view whose signs are turned when it is read.
    """
    if not tensor.is_cpu or tensor.dtype not in DTYPE_NAMES or tensor.layout is not torch.strided:
        return False
    return not torch._C._functorch.is_legacy_batchedtensor(tensor) and not tensor.is_neg()


# --- what will do for an activation ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Plan:
    """What to keep for one activation with given parameters, and how to compute the gradient from it."""

    kind: Kind
    formula: Expression | None = None
    """In canonical form, parameters put in."""
    slopes: tuple[float, float] = (0.0, 0.0)
    """The slopes of bits 0 and 1, or the bounds of encoded ones."""
    condition: Expression | None = None
    """What the bits say."""
    slope: Expression | None = None
    """The slope as a formula of the output, which is its x."""
    table: SlopeTable | None = None
    """The slope from the output, where there is no formula."""

    # --- forward --------------------------------------------------------------------------------------------------------

    def forward(self, operation: Operation, operands: Sequence[Any]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the output, and the tensors to keep, in its layout."""
        x = operands[0]
        if self.kind in ("bits", "output and bit", "slope code") and has_memory(x):
            check_memory(x, operation.entry.name, "x")  # before torch reads it
            x = x if is_dense(x) else x.contiguous()
            y = empty_like(x)
            size = x.numel() if self.kind == "slope code" else -(-x.numel() // 8)
            kept = torch.empty(size, dtype=torch.uint8, device=x.device)
            run = _forward_pass(self, DTYPE_NAMES[x.dtype], exact=get_precision() == "exact")
            run([address(tensor, operation.entry.name, "x") for tensor in (x, y, kept)], x.numel())
            return y, (y, kept) if self.kind == "output and bit" else (kept,)
        y = operation.compute(operands)
        return y, self._keep(operation, operands, y)

    def _keep(self, operation: Operation, operands: Sequence[Any], y: Tensor) -> tuple[Tensor, ...]:
        x, *numbers = operands
        layout = Layout.of(y)
        wide = x.float() if x.dtype in _HALVES else x  # as the slope itself is computed
        if self.kind == "output":
            return (y,)
        if self.condition is not None:
            bits = pack(layout.copied(program_of_x(self.condition)(wide)))
            return (bits,) if self.kind == "bits" else (y, bits)
        if self.kind == "slope code":
            slope = operation.pull(0)(torch.ones_like(wide), wide, *numbers)
            return (layout.copied(_encode(slope.float(), *self.slopes)),)
        return ()

    # --- backward -------------------------------------------------------------------------------------------------------

    def gradient(self, owner: str, dy: Tensor, kept: Sequence[Tensor], layout: Layout) -> Tensor:
        """Compute the gradient from what was kept by the activation of that name."""
        check_memory(dy, owner, "the gradient")
        for tensor in kept:
            check_memory(tensor, owner, "what was kept for backward")
        if self.kind == "nothing":
            return dy * self.slopes[0]
        if has_memory(dy) and not (dy.requires_grad and torch.is_grad_enabled()):
            dy = layout.copied(dy)
            dx = empty_like(dy)
            if self.table is not None:
                kept = (*kept, torch.from_numpy(self.table.coefficients))
            places = [address(tensor, owner, "what was kept for backward") for tensor in (dy, *kept, dx)]
            _backward_pass(self, DTYPE_NAMES[dy.dtype])(places, dy.numel())
            return dx
        if self.kind == "bits":
            mask, (zero, one) = unpack(kept[0], layout), self.slopes
            return torch.where(mask, dy if one == 1 else dy * one, 0.0 if zero == 0 else dy * zero)
        if self.kind == "slope code":
            low, high = self.slopes
            slope = kept[0].to(torch.float32) * ((high - low) / 255) + low
        elif self.slope is not None:
            slope = program_of_x(self.slope)(kept[0].float())
        else:
            assert self.table is not None
            slope = _look_up(self.table, kept[0], unpack(kept[1], layout) if len(kept) > 1 else None)
        return (dy.to(slope.dtype) * slope).to(dy.dtype)


@cache
def _forward_pass(plan: Plan, dtype: str, *, exact: bool) -> Pass:
    """Return the pass from x to the output and what is kept beside it."""
    assert plan.formula is not None
    if plan.kind == "slope code":
        low, high = plan.slopes
        code = (differentiate(plan.formula) - low) * (255 / (high - low)) + Fraction(1, 2)
        return make_pass((("x", dtype),), ((plan.formula, dtype), (code, "uint8")), exact=exact)
    assert plan.condition is not None
    return make_pass((("x", dtype),), ((plan.formula, dtype), (plan.condition, "bits")), exact=exact)


@cache
def _backward_pass(plan: Plan, dtype: str) -> Pass:
    """Return the pass from dy and what was kept to dx."""
    dy, bits, code = map(Symbol, ("dy", "bits", "code"))
    if plan.kind == "bits":
        zero, one = (Constant(slope) * dy for slope in plan.slopes)
        return make_pass((("dy", dtype), ("bits", "bits")), ((where(bits > 0, one, zero), dtype),))
    if plan.kind == "slope code":
        low, high = plan.slopes
        return make_pass((("dy", dtype), ("code", "uint8")), ((dy * (code * ((high - low) / 255) + low), dtype),))
    if plan.slope is not None:
        return make_pass((("dy", dtype), ("x", dtype)), ((simplest(dy * plan.slope), dtype),))
    assert plan.table is not None
    sides = () if plan.table.turn is None else (("bits", "bits"),)
    return make_pass((("dy", dtype), ("y", dtype), *sides, ("table", "table")), ((dy * plan.table.operations(), dtype),))


_plans: dict[tuple[Any, ...], Plan] = {}
INPUT = Plan("input")


def plan(entry: Activation, numbers: tuple[float, ...], dtype: torch.dtype, memory: Memory) -> Plan:
    """Return what to keep for an activation whose parameters are numbers."""
    width = "half" if dtype in _HALVES else "double" if dtype is torch.float64 else "single"
    key = (entry.serial, numbers, width, memory)
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = _make_plan(entry, dict(zip(entry.parameters, numbers, strict=True)), width, memory)
    return found


def _make_plan(entry: Activation, numbers: Mapping[str, float], width: str, memory: Memory) -> Plan:
    if len(entry.operands) > 1:
        return INPUT
    formula = canonical(substitute(entry.formula, numbers))
    slope = differentiate(formula)
    levels = _levels(slope)
    if levels is not None and len(levels) == 1:
        return Plan("nothing", slopes=(float(min(levels)),) * 2)
    if levels is not None and len(levels) == 2:
        zero, one = sorted(levels, key=lambda level: (level != 0, abs(level)))
        condition = _is_level(slope, one)
        if isinstance(condition, Expression):
            return Plan("bits", formula, (float(zero), float(one)), condition)
    if memory == "exact" or width == "double":
        return INPUT
    return _low_plan(entry, formula, tuple(numbers.values()), half=width == "half")


def _levels(slope: Expression) -> set[Fraction] | None:
    """Return the values of a slope that has only a few, or None."""
    value = constant_value(slope)
    if value is not None:
        return {value}
    if isinstance(slope, Application) and slope.primitive is p.where:
        a, b = _levels(slope.arguments[1]), _levels(slope.arguments[2])
        return None if a is None or b is None else a | b
    if isinstance(slope, Application) and slope.primitive is p.multiply:
        factor, rest = constant_value(slope.arguments[0]), _levels(slope.arguments[1])
        return None if factor is None or rest is None else {factor * level for level in rest}
    return None


_OPPOSITE = {p.less: p.greater_equal, p.less_equal: p.greater, p.greater: p.less_equal, p.greater_equal: p.less}


def _is_level(slope: Expression, level: Fraction) -> Expression | bool:
    """Return the condition that a slope of two values has the given one."""
    if not (isinstance(slope, Application) and constant_value(slope) is None):
        return constant_value(slope) == level
    if slope.primitive is p.multiply:
        factor = constant_value(slope.arguments[0])
        return _is_level(slope.arguments[1], level / factor) if factor else level == 0
    condition, a, b = slope.arguments
    first, second = _is_level(a, level), _is_level(b, level)
    if first is second:
        return first
    opposite = _opposite(condition)
    if isinstance(first, Expression) and isinstance(second, Expression):
        return p.logical_or(p.logical_and(condition, first), p.logical_and(opposite, second))
    if first is True or second is True:
        known, other = (condition, second) if first is True else (opposite, first)
        return known if other is False else p.logical_or(known, other)
    known, other = (condition, first) if second is False else (opposite, second)
    return p.logical_and(known, other)


def _opposite(condition: Expression) -> Expression:
    assert isinstance(condition, Application)
    a, b = condition.arguments
    if condition.primitive is p.logical_and:
        return p.logical_or(_opposite(a), _opposite(b))
    if condition.primitive is p.logical_or:
        return p.logical_and(_opposite(a), _opposite(b))
    return _OPPOSITE[condition.primitive](a, b)


# --- plans for less memory, from samples of the function ------------------------------------------------------------------

_FAR = 1e6


def _low_plan(entry: Activation, formula: Expression, numbers: tuple[float, ...], *, half: bool) -> Plan:
    x = np.unique(np.concatenate([np.linspace(-200, 200, 160_001), *(s * np.geomspace(1e-6, _FAR, 4000) for s in (-1, 1))]))

    def value(x: Array) -> Any:
        return entry.derivative_ufunc(order=0)(x, *numbers)

    def slope(x: Array) -> Any:
        return entry.derivative_ufunc()(x, *numbers)

    with np.errstate(all="ignore"):
        slopes = slope(x)
        turns = list(_turns(x, slopes))
        made: list[Plan] = []
        by_output = None if turns else slope_by_value(formula)
        if by_output is not None:
            plan = Plan("output", formula, slope=by_output)
            if _holds(plan, entry, numbers):  # before a table is made
                return plan
        if len(turns) <= 1 and not (turns and half):
            turn = _bisect(slope, *turns[0]) if turns else None
            condition = None if turn is None else greater(Symbol("x"), turn)
            breaks = {*find_breaks(formula, x), *([] if turn is None else [turn])}
            with contextlib.suppress(ValueError):
                table = SlopeTable(value, slope, sorted(breaks), turn)
                made.append(Plan("output" if turn is None else "output and bit", formula, condition=condition, table=table))
    # The largest slopes of the sample must be those of the function: those that grow towards its ends have no bounds.
    bounds = float(np.nanmin(slopes)), float(np.nanmax(slopes))
    if max(map(abs, bounds)) < _STEEPEST:
        made.append(Plan("slope code", formula, bounds))
    return next((plan for plan in made if _holds(plan, entry, numbers)), INPUT)


_STEEPEST = 16.0
_ALLOWED = {"output": 1e-5, "output and bit": 1e-3, "slope code": _STEEPEST / 255}


def _holds(plan: Plan, entry: Activation, numbers: tuple[float, ...]) -> bool:
    """Whether a plan gives the right gradients on a sample: one that waves has more turns than were found, for example."""
    from nonlin.torch.elementwise import operation

    generator = np.random.default_rng(0)
    points = [
        generator.normal(0, 3, 4000),
        generator.uniform(-50, 50, 4000),
        *(s * np.geomspace(1e-3, 1e5, 2000) for s in (-1, 1)),
    ]
    x = torch.from_numpy(np.concatenate(points)).float()
    of = operation(entry)
    with torch.no_grad():
        y, kept = plan.forward(of, (x, *numbers))
        exact = of.pull(0)(torch.ones_like(x), x, *numbers)
        error = plan.gradient(entry.name, torch.ones_like(x), kept, Layout.of(y)) - exact
    return bool((error.abs() <= _ALLOWED[plan.kind] * torch.clamp(exact.abs(), min=1)).all())


def _turns(x: Array, slopes: Array) -> Iterator[tuple[float, float]]:
    """Yield intervals in which a slope changes its sign."""
    known = np.flatnonzero(slopes != 0)
    signs = np.sign(slopes[known])
    for k in np.flatnonzero(signs[1:] != signs[:-1]):
        yield float(x[known[k]]), float(x[known[k + 1]])


def _bisect(slope: Callable[[Any], Any], low: float, high: float) -> float:
    rising = slope(np.float64(high)) > 0
    for _ in range(80):
        middle = (low + high) / 2
        if (slope(np.float64(middle)) > 0) == rising:
            high = middle
        else:
            low = middle
    return high if abs(high) > 1e-15 else 0.0
