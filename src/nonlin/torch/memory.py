"""What is kept from a forward pass for the backward pass: at most one tensor, or much less.

``memory="exact"`` keeps the input, as torch does for most activations; where the slope has two values only (relu, leaky_relu,
relu6, hard_tanh, the shrinks...) it keeps one bit per element, where it has one, nothing. ``memory="low"`` keeps

* the output, which the next layer usually keeps anyway, for functions that never turn: elu, softplus, tanh, sigmoid...;
* the output and one bit per element, the side of the turn, for those with one minimum or maximum: gelu, silu, mish...;
* the slope in 8 bits where the output cannot be inverted: those of float16 and bfloat16 with a turn, and sin;
* the input where nothing else will do: where the slope has no bounds (gcu), and where a parameter learns.

The input comes back from the output by inversion of the formula, so that gradients are as good as the output's rounding
lets them be. Bits cannot say NaN: the gradient of an element that was NaN is then that of a finite one, as with torch.relu.
Gradients of ``memory="low"`` cannot be differentiated again. Compiled programs and functional transforms take no part in
this: what they keep is decided by torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nonlin.activation import Activation
from nonlin.formula import primitives as p
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import Application, Expression, substitute
from nonlin.kernels.lowering import constant_value
from nonlin.torch.spelling import condition_program

if TYPE_CHECKING:
    from nonlin.torch.elementwise import Operation

Memory: TypeAlias = Literal["exact", "low"]
Kind: TypeAlias = Literal["nothing", "bits", "output", "output and bit", "slope code", "input"]
Array: TypeAlias = npt.NDArray[Any]

_BLOCK = 1 << 16  # elements that are worked on at a time: copies of a whole tensor in float64 are what is to be saved
_HALVES = (torch.float16, torch.bfloat16)


# --- bits and codes: what compiled kernels will do, in NumPy and torch ----------------------------------------------------


def pack(mask: Tensor) -> Tensor:
    """Return a boolean tensor as one bit per element, in memory order."""
    flat = _flat(mask)
    if flat.is_cpu:
        return torch.from_numpy(np.packbits(flat.numpy(), bitorder="little"))
    padded = torch.nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % 8)).reshape(-1, 8)
    weights = torch.tensor([1 << k for k in range(8)], dtype=torch.uint8, device=flat.device)
    return (padded * weights).sum(1, dtype=torch.uint8)


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


def unpack(bits: Tensor, layout: Layout) -> Tensor:
    """Return the boolean tensor that :func:`pack` packed; it had this layout."""
    count = math.prod(layout.shape)
    if bits.is_cpu:
        flat = torch.from_numpy(np.unpackbits(bits.numpy(), count=count, bitorder="little").view(np.bool_))
    else:
        shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
        flat = ((bits[:, None] >> shifts) & 1).reshape(-1)[:count].bool()
    return flat.as_strided(layout.shape, layout.strides)


def multiply_by_bits(dy: Tensor, bits: Tensor, layout: Layout, zero: float, one: float) -> Tensor:
    """Multiply a gradient by one slope where a bit is 0 and by another one where it is 1."""
    mask = unpack(bits, layout)
    return torch.where(mask, dy if one == 1 else dy * one, 0.0 if zero == 0 else dy * zero)


def encode(slope: Tensor, low: float, high: float) -> Tensor:
    """Return slopes between two bounds in 8 bits."""
    return torch.clamp(torch.round((slope - low) * (255 / (high - low))), 0, 255).to(torch.uint8)


def multiply_by_code(dy: Tensor, code: Tensor, low: float, high: float) -> Tensor:
    """Multiply a gradient by encoded slopes."""
    slope = code.to(torch.float32) * ((high - low) / 255) + low
    return (dy.to(torch.float32) * slope).to(dy.dtype)


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


# --- what will do for an activation ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Plan:
    """What to keep for one activation with given parameters, and how to compute the gradient from it."""

    kind: Kind
    slopes: tuple[float, float] = (0.0, 0.0)
    """The slopes of bits 0 and 1, or the bounds of encoded ones."""
    condition: Any = None
    """The program of the bits."""
    turn: float = 0.0
    branches: tuple[tuple[Array, Array], ...] = ()
    """y in increasing order and the x it comes from, left and right of the turn."""

    def keep(self, operation: Operation, operands: Sequence[Any], y: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors to keep, in the layout of y."""
        x, layout = operands[0], Layout.of(y)
        if self.kind == "bits":
            wide = x.float() if x.dtype in _HALVES else x  # as the slope itself is computed
            return (pack(layout.copied(self.condition(wide))),)
        if self.kind == "output":
            return (y,)
        if self.kind == "output and bit":
            return (y, pack(layout.copied(x > self.turn)))
        if self.kind == "slope code":
            slope = operation.pull(0)(torch.ones_like(x), *operands)
            return (layout.copied(encode(slope.float(), *self.slopes)),)
        return ()

    def gradient(
        self, operation: Operation, dy: Tensor, kept: Sequence[Tensor], numbers: Sequence[float], layout: Layout
    ) -> Tensor:
        """Compute the gradient from what was kept."""
        if self.kind == "nothing":
            return dy * self.slopes[0]
        if self.kind == "bits":
            return multiply_by_bits(dy, kept[0], layout, *self.slopes)
        if self.kind == "slope code":
            return multiply_by_code(dy, kept[0], *self.slopes)
        return self._from_output(operation, dy, kept, numbers)

    def _from_output(self, operation: Operation, dy: Tensor, kept: Sequence[Tensor], numbers: Sequence[float]) -> Tensor:
        y = kept[0]
        layout = Layout.of(y)
        dy, dx = layout.copied(dy), torch.empty_like(y)
        flat_y, flat_dy, flat_dx = _flat(y), _flat(dy), _flat(dx)
        side = _flat(unpack(kept[1], layout)) if len(kept) > 1 else None
        for start in range(0, flat_y.numel(), _BLOCK):
            block = slice(start, start + _BLOCK)
            part = flat_y[block].double()
            x = self._inverse(part, None if side is None else side[block])
            value, slope = operation.compute((x, *numbers)), operation.slope_operation.compute((x, *numbers))
            # One step of Newton's method, where the tangent is steep enough to say something.
            step = (value - part) / slope
            x = torch.where((slope.abs() > 1e-4) & torch.isfinite(step), x - step, x)
            flat_dx[block] = flat_dy[block] * operation.slope_operation.compute((x, *numbers)).to(dy.dtype)
        return dx

    def _inverse(self, y: Tensor, side: Tensor | None) -> Tensor:
        """Return about the x that the outputs come from."""
        left = _interpolated(y, *self.branches[0])
        return left if side is None else torch.where(side, _interpolated(y, *self.branches[1]), left)


def _interpolated(y: Tensor, ys: Array, xs: Array) -> Tensor:
    if y.is_cpu:
        return torch.from_numpy(np.interp(y.numpy(), ys, xs))
    knots, values = (torch.as_tensor(a, device=y.device) for a in (ys, xs))
    right = torch.searchsorted(knots, y).clamp(1, len(ys) - 1)
    y0, y1, x0, x1 = knots[right - 1], knots[right], values[right - 1], values[right]
    return x0 + ((y - y0) / (y1 - y0)).clamp(0, 1) * (x1 - x0)


_plans: dict[tuple[Any, ...], Plan] = {}
INPUT = Plan("input")


def plan(entry: Activation, numbers: tuple[float, ...], dtype: torch.dtype, memory: Memory) -> Plan:
    """Return what to keep for an activation whose parameters are numbers."""
    key = (entry.serial, numbers, dtype in _HALVES, memory)
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = _make_plan(entry, dict(zip(entry.parameters, numbers, strict=True)), *key[2:])
    return found


def _make_plan(entry: Activation, numbers: Mapping[str, float], half: bool, memory: Memory) -> Plan:
    if len(entry.operands) > 1:
        return INPUT
    formula = canonical(substitute(entry.formula, numbers)) if numbers else entry.formula
    slope = differentiate(formula)
    levels = _levels(slope)
    if levels is not None and len(levels) == 1:
        return Plan("nothing", (float(min(levels)),) * 2)
    if levels is not None and len(levels) == 2:
        zero, one = sorted(levels, key=lambda level: (level != 0, abs(level)))
        condition = _is_level(slope, one)
        if isinstance(condition, Expression):
            return Plan("bits", (float(zero), float(one)), condition_program(condition))
    return INPUT if memory == "exact" else _low_plan(entry, tuple(numbers.values()), half)


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


def _low_plan(entry: Activation, numbers: tuple[float, ...], half: bool) -> Plan:
    value, slope = entry.derivative_ufunc(order=0), entry.derivative_ufunc()
    x = np.unique(np.concatenate([np.linspace(-200, 200, 160_001), *(s * np.geomspace(1e-6, _FAR, 4000) for s in (-1, 1))]))
    with np.errstate(all="ignore"):
        slopes = slope(x, *numbers)
    turns = list(_turns(x, slopes))
    x = np.unique(np.concatenate([x, *_near_flat_pieces(x, slopes)]))
    bounds = float(np.nanmin(slopes)), float(np.nanmax(slopes))
    made: list[Plan] = []
    if not turns:
        made.append(Plan("output", branches=(_branch(value, numbers, x),)))
    elif len(turns) == 1 and not half:
        turn = _bisect(slope, numbers, *turns[0])
        near = np.geomspace(1e-6, 1, 2000)
        sides = [np.unique([*x[x < turn], *(turn - near), turn]), np.unique([*x[x > turn], *(turn + near), turn])]
        made.append(Plan("output and bit", turn=turn, branches=tuple(_branch(value, numbers, side) for side in sides)))
    # The largest slopes of the sample must be those of the function: those that grow towards its ends have no bounds.
    if max(map(abs, bounds)) < _STEEPEST:
        made.append(Plan("slope code", bounds))
    return next((plan for plan in made if _holds(plan, entry, numbers)), INPUT)


_STEEPEST = 16.0
_ALLOWED = {"output": 1e-5, "output and bit": 1e-3, "slope code": _STEEPEST / 255}


def _holds(plan: Plan, entry: Activation, numbers: tuple[float, ...]) -> bool:
    """Whether a plan gives the right gradients on a sample: one that waves has more turns than any table of ours has knots."""
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
        y, exact = of(x, *numbers), of.pull(0)(torch.ones_like(x), x, *numbers)
        kept = plan.keep(of, (x, *numbers), y)
        error = plan.gradient(of, torch.ones_like(x), kept, numbers, Layout.of(y)) - exact
    return bool((error.abs() <= _ALLOWED[plan.kind] * torch.clamp(exact.abs(), min=1)).all())


def _near_flat_pieces(x: Array, slopes: Array) -> Iterator[Array]:
    """Yield more points where a piece with slope 0 begins or ends: beside it the slope may go with the root of the output."""
    is_flat = slopes == 0
    for k in np.flatnonzero(is_flat[1:] != is_flat[:-1])[:8]:
        low, high = x[k], x[k + 1]
        yield np.linspace(low, high, 200)
        yield from (edge + sign * np.geomspace(1e-9, 1, 4000) for edge in (low, high) for sign in (-1, 1))


def _turns(x: Array, slopes: Array) -> Iterator[tuple[float, float]]:
    """Yield intervals in which a slope changes its sign."""
    known = np.flatnonzero(slopes != 0)
    signs = np.sign(slopes[known])
    for k in np.flatnonzero(signs[1:] != signs[:-1]):
        yield float(x[known[k]]), float(x[known[k + 1]])


def _bisect(slope: Any, numbers: tuple[float, ...], low: float, high: float) -> float:
    rising = slope(high, *numbers) > 0
    for _ in range(80):
        middle = (low + high) / 2
        if (slope(middle, *numbers) > 0) == rising:
            high = middle
        else:
            low = middle
    return high if abs(high) > 1e-15 else 0.0


def _branch(value: Any, numbers: tuple[float, ...], x: Array) -> tuple[Array, Array]:
    """Return strictly increasing outputs and where they come from."""
    with np.errstate(all="ignore"):
        y = value(x, *numbers)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if y[-1] < y[0]:
        x, y = x[::-1], y[::-1]
    # Where the output has saturated, what is nearest to the middle is as good as any.
    new = np.concatenate([[True], np.diff(np.maximum.accumulate(y)) > 0])
    return np.ascontiguousarray(y[new]), np.ascontiguousarray(x[new])
