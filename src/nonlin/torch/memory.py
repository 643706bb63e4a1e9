"""What is kept from a forward pass for the backward pass: at most one tensor, or much less.

``memory="exact"`` keeps the input, as torch does for most activations; where the slope has two values only (relu, leaky_relu,
relu6, hard_tanh, the shrinks...) it keeps one bit per element, where it has one, nothing. ``memory="low"`` keeps

* the output, which the next layer usually keeps anyway, for functions that never turn: elu, softplus, tanh, sigmoid...;
* the output and one bit per element, the side of the turn, for those with one minimum or maximum: gelu, silu, mish...;
* the slope in 8 bits where the output cannot be inverted: those of float16 and bfloat16 with a turn, and sin;
* the input where nothing else will do: where the slope has no bounds (gcu), where a parameter learns, and in float64.

The slope comes from the output by a formula, as 1 - y^2 for tanh, or by a table, so that gradients are as good as the output's
rounding lets them be. Where parameters are not the defaults, all but bits begin with the sixteenth call: a value that changes
at every step has no time to pay for them. Where an element is NaN, one bit more per element says which, so that its gradient is
NaN. Gradients of ``memory="low"`` cannot be differentiated again. Compiled programs and functional transforms take no part in
this: what they keep is decided by torch.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nonlin.arithmetic.inversion import CELLS, RANGE, SlopeTable, find_breaks
from nonlin.arithmetic.lowering import interpret
from nonlin.definition import Elementwise
from nonlin.formula import primitives as p
from nonlin.formula.calculus import canonical, differentiate, simplest, slope_by_value
from nonlin.formula.constants import constant_value
from nonlin.formula.expression import Application, Constant, Expression, Symbol, substitute, symbols
from nonlin.formula.primitives import greater, where
from nonlin.kernels import memory as big_memory
from nonlin.kernels.passes import Field, Pass, Result, make_pass
from nonlin.kernels.precision import get_precision
from nonlin.torch.addresses import address, check_memory
from nonlin.torch.spelling import DTYPE_NAMES, program_of

if TYPE_CHECKING:
    from nonlin.torch.elementwise import Operation

Memory: TypeAlias = Literal["exact", "low"]
Kind: TypeAlias = Literal["nothing", "bits", "output", "output and bit", "slope code", "input"]
Array: TypeAlias = npt.NDArray[Any]

_HALVES = (torch.float16, torch.bfloat16)
#: What cannot say that an element was NaN, with the number of tensors that it keeps where none was.
_BLIND: Mapping[str, int] = {"nothing": 0, "bits": 1, "slope code": 1}


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
    """What to keep for one activation, and how to compute the gradient from it."""

    kind: Kind
    formula: Expression | None = None
    """In canonical form; parameters that are not among the names have been put in."""
    names: tuple[str, ...] = ()
    """Parameters whose values come with each call."""
    levels: tuple[Expression, Expression] = (Constant(0), Constant(0))
    """The slopes of bits 0 and 1."""
    bounds: tuple[float, float] = (0.0, 0.0)
    """Those of encoded slopes."""
    condition: Expression | None = None
    """What the bits say."""
    slope: Expression | None = None
    """The slope as a formula of the output, which is its x."""
    table: SlopeTable | None = None
    """The slope from the output, where there is no formula."""
    passes: dict[Any, Pass] = field(default_factory=dict)
    """What is compiled, which goes when the plan goes."""

    def _numbers(self, values: Sequence[Any]) -> list[float]:
        """Return the parameters' values that come with a call."""
        return list(map(float, values)) if self.names else []

    def _level(self, bit: int, values: Sequence[Any]) -> float:
        """Return the slope of bit 0 or 1."""
        given = dict(zip(self.names, self._numbers(values), strict=True))
        return float(interpret(self.levels[bit], "float64", given))

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
            run = self._forward_pass(DTYPE_NAMES[x.dtype], exact=get_precision() == "exact")
            numbers = [torch.empty(-(-x.numel() // 8), dtype=torch.uint8, device=x.device)] if self.kind in _BLIND else []
            place, *others = (address(tensor, operation.entry.name, "x") for tensor in (x, y, kept, *numbers))
            run([place, *self._numbers(operands[1:]), *others], x.numel())
            if numbers and not bool((numbers[0] == 255).all()):
                return y, (kept, *numbers)
            return y, (y, kept) if self.kind == "output and bit" else (kept,)
        y = operation.compute(operands)
        beside = self._keep(operation, operands, y)
        if self.kind in _BLIND and bool((missing := torch.isnan(y)).any()):
            beside = (*beside, pack(Layout.of(y).copied(~missing)))
        return y, beside

    def _keep(self, operation: Operation, operands: Sequence[Any], y: Tensor) -> tuple[Tensor, ...]:
        x, *numbers = operands
        layout = Layout.of(y)
        wide = x.float() if x.dtype in _HALVES else x  # as the slope itself is computed
        if self.kind == "output":
            return (y,)
        if self.condition is not None:
            given = (torch.full((), number, dtype=wide.dtype, device=x.device) for number in self._numbers(numbers))
            bits = pack(layout.copied(program_of(self.condition, ("x", *self.names))(wide, *given)))
            return (bits,) if self.kind == "bits" else (y, bits)
        if self.kind == "slope code":
            slope = operation.pull(0)(torch.ones_like(wide), wide, *numbers)
            return (layout.copied(_encode(slope.float(), *self.bounds)),)
        return ()

    # --- backward -------------------------------------------------------------------------------------------------------

    def gradient(self, owner: str, dy: Tensor, kept: Sequence[Tensor], layout: Layout, values: Sequence[Any] = ()) -> Tensor:
        """Compute the gradient from what was kept by the activation of that name; its parameters have the values."""
        check_memory(dy, owner, "the gradient")
        for tensor in kept:
            check_memory(tensor, owner, "what was kept for backward")
        if len(kept) > _BLIND.get(self.kind, len(kept)):
            *kept, numbers = kept
            return torch.where(unpack(numbers, layout), self.gradient(owner, dy, kept, layout, values), torch.nan)
        if self.kind == "nothing":
            return dy * self._level(0, values)
        if has_memory(dy) and not (dy.requires_grad and torch.is_grad_enabled()):
            dy = layout.copied(dy)
            dx = empty_like(dy)
            if self.table is not None:
                kept = (*kept, torch.from_numpy(self.table.coefficients))
            *places, last = (address(tensor, owner, "what was kept for backward") for tensor in (dy, *kept, dx))
            self._backward_pass(DTYPE_NAMES[dy.dtype])([*places, *self._numbers(values), last], dy.numel())
            return dx
        if self.kind == "bits":
            mask, zero, one = unpack(kept[0], layout), self._level(0, values), self._level(1, values)
            return torch.where(mask, dy if one == 1 else dy * one, 0.0 if zero == 0 else dy * zero)
        if self.kind == "slope code":
            low, high = self.bounds
            slope = kept[0].to(torch.float32) * ((high - low) / 255) + low
        elif self.slope is not None:
            slope = program_of(self.slope, ("x",))(kept[0].float())
        else:
            assert self.table is not None
            slope = _look_up(self.table, kept[0], unpack(kept[1], layout) if len(kept) > 1 else None)
        return (dy.to(slope.dtype) * slope).to(dy.dtype)

    # --- passes ---------------------------------------------------------------------------------------------------------

    def _forward_pass(self, dtype: str, *, exact: bool) -> Pass:
        """Return the pass from x and parameters to the output and what is kept beside it."""
        found = self.passes.get((dtype, exact))
        if found is None:
            assert self.formula is not None
            operands = (("x", dtype), *((name, "number") for name in self.names))
            if self.kind == "slope code":
                low, high = self.bounds
                code = (differentiate(self.formula) - low) * (255 / (high - low)) + Fraction(1, 2)
                beside: list[Result] = [(code, "uint8")]
            else:
                assert self.condition is not None
                beside = [(self.condition, "bits")]
            if self.kind in _BLIND:
                beside.append((p.is_number(Symbol("x")), "bits"))
            found = self.passes[dtype, exact] = make_pass(operands, ((self.formula, dtype), *beside), exact=exact)
        return found

    def _backward_pass(self, dtype: str) -> Pass:
        """Return the pass from dy, what was kept and parameters to dx."""
        found = self.passes.get(dtype)
        if found is None:
            operands, dx = self._backward(dtype)
            found = self.passes[dtype] = make_pass((("dy", dtype), *operands), ((dx, dtype),))
        return found

    def _backward(self, dtype: str) -> tuple[tuple[Field, ...], Expression]:
        """Return the operands of that pass beside dy, and what it computes."""
        dy, bits, code = map(Symbol, ("dy", "bits", "code"))
        if self.kind == "bits":
            zero, one = (level * dy for level in self.levels)
            return (("bits", "bits"), *((name, "number") for name in self.names)), where(bits > 0, one, zero)
        if self.kind == "slope code":
            low, high = self.bounds
            return (("code", "uint8"),), dy * (code * ((high - low) / 255) + low)
        if self.slope is not None:
            return (("x", dtype),), simplest(dy * self.slope)
        assert self.table is not None
        sides: tuple[Field, ...] = () if self.table.turn is None else (("bits", "bits"),)
        return (("y", dtype), *sides, ("table", "table")), dy * self.table.operations()


INPUT = Plan("input")
#: After so many calls with the same parameters that are no defaults they get a plan of their own...
_USED = 16
#: ... and so many such values are remembered.
_REMEMBERED = 64


class Plans:
    """The plans of one activation, which go when it goes.

    There is one for the default parameters and one for all others, whose values are operands. Where the latter keeps the
    input, and less memory is asked for, parameters that stay the same for a while get one of their own: it takes long to make.
    """

    def __init__(self, entry: Elementwise) -> None:
        self._entry = entry
        self._defaults = tuple(p.default for p in entry.parameters.values())
        self._made: dict[Any, Plan] = {}
        self._used: OrderedDict[Any, int] = OrderedDict()
        self._own: OrderedDict[Any, Plan] = OrderedDict()

    def find(self, numbers: tuple[float, ...], dtype: torch.dtype, memory: Memory) -> Plan:
        """Return what to keep where the parameters are numbers."""
        width = "half" if dtype in _HALVES else "double" if dtype is torch.float64 else "single"
        kind = (width, memory, numbers == self._defaults)
        found = self._made.get(kind)
        if found is None:
            if kind[-1]:
                given = dict(zip(self._entry.parameters, numbers, strict=True))
                found = _make_plan(self._entry, given, width, memory)
            else:
                found = _plan_of_levels(self._entry, canonical(self._entry.formula), tuple(self._entry.parameters)) or INPUT
            found = self._made.setdefault(kind, found)
        if found is INPUT and memory == "low" and not kind[-1] and width != "double":
            return self._of_its_own(numbers, width)
        return found

    def _of_its_own(self, numbers: tuple[float, ...], width: str) -> Plan:
        key = (numbers, width)
        found = self._own.get(key)
        if found is None:
            used = self._used.pop(key, 0) + 1
            if used < _USED:
                self._used[key] = used
                while len(self._used) > _REMEMBERED:
                    self._used.popitem(last=False)
                return INPUT
            found = _make_plan(self._entry, dict(zip(self._entry.parameters, numbers, strict=True)), width, "low")
            self._own[key] = found
            while len(self._own) > _REMEMBERED:
                self._own.popitem(last=False)
        return found


def plan(entry: Elementwise, numbers: tuple[float, ...], dtype: torch.dtype, memory: Memory) -> Plan:
    """Return what to keep for an activation whose parameters are numbers."""
    plans = entry.root.rooms["torch"].get("plans")
    if plans is None:
        plans = entry.root.rooms["torch"].setdefault("plans", Plans(entry.root))
    return plans.find(numbers, dtype, memory)  # type: ignore[no-any-return]


def _make_plan(entry: Elementwise, numbers: Mapping[str, float], width: str, memory: Memory) -> Plan:
    if len(entry.operands) > 1:
        return INPUT
    formula = canonical(substitute(entry.formula, numbers))
    found = _plan_of_levels(entry, formula, ())
    if found is not None:
        return found
    if memory == "exact" or width == "double":
        return INPUT
    return _low_plan(entry, formula, tuple(numbers.values()), half=width == "half")


def _plan_of_levels(entry: Elementwise, formula: Expression, names: tuple[str, ...]) -> Plan | None:
    """Return a plan for a slope that has one value or two, or None."""
    if len(entry.operands) > 1:
        return None
    tree = _levels(differentiate(formula))
    if tree is None:
        return None
    levels = sorted(tree.leaves(), key=_order)
    if len(levels) == 1:
        return Plan("nothing", formula, names, (levels[0], levels[0]))
    if len(levels) == 2:
        condition = tree.condition(levels[1])
        if isinstance(condition, Expression):
            return Plan("bits", formula, names, (levels[0], levels[1]), condition=condition)
    return None


def _order(level: Expression) -> tuple[Any, ...]:
    """Numbers come first, and 0 before all."""
    value = constant_value(level)
    return (1, 0, 0, str(level)) if value is None else (0, value != 0, abs(value), str(level))


@dataclass(frozen=True)
class _Levels:
    """A slope whose values do not depend on x: one of them, or a condition and what holds if it is true and if it is not."""

    level: Expression | None = None
    condition_: Expression | None = None
    branches: tuple[_Levels, ...] = ()

    def leaves(self) -> set[Expression]:
        """Return the values."""
        if self.level is not None:
            return {self.level}
        return self.branches[0].leaves() | self.branches[1].leaves()

    def condition(self, level: Expression) -> Expression | bool:
        """Return the condition that the slope has a value."""
        if self.level is not None:
            return self.level is level
        assert self.condition_ is not None
        condition, opposite = self.condition_, _opposite(self.condition_)
        first, second = (branch.condition(level) for branch in self.branches)
        if first is second:
            return first
        if isinstance(first, Expression) and isinstance(second, Expression):
            return p.logical_or(p.logical_and(condition, first), p.logical_and(opposite, second))
        if first is True or second is True:
            known, other = (condition, second) if first is True else (opposite, first)
            return known if other is False else p.logical_or(known, other)
        known, other = (condition, first) if second is False else (opposite, second)
        return p.logical_and(known, other)


_ONE = Constant(1)


def _levels(slope: Expression, factor: Expression = _ONE) -> _Levels | None:
    """Return a slope times a factor as its values and the conditions for them, or None."""
    if "x" not in symbols(slope):
        return _Levels(simplest(factor * slope))
    if not isinstance(slope, Application):
        return None
    if slope.primitive is p.where:
        condition, *branches = slope.arguments
        if not _can_be_opposed(condition):
            return None
        made = [_levels(branch, factor) for branch in branches]
        return None if made[0] is None or made[1] is None else _Levels(None, condition, (made[0], made[1]))
    if slope.primitive is p.multiply:
        for other, inner in (slope.arguments, slope.arguments[::-1]):
            if "x" not in symbols(other):
                return _levels(inner, factor * other)
    return None


_OPPOSITE = {p.less: p.greater_equal, p.less_equal: p.greater, p.greater: p.less_equal, p.greater_equal: p.less}


def _can_be_opposed(condition: Expression) -> bool:
    if not isinstance(condition, Application):
        return False
    if condition.primitive in (p.logical_and, p.logical_or):
        return all(map(_can_be_opposed, condition.arguments))
    return condition.primitive in _OPPOSITE


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


def _low_plan(entry: Elementwise, formula: Expression, numbers: tuple[float, ...], *, half: bool) -> Plan:
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
        made.append(Plan("slope code", formula, bounds=bounds))
    return next((plan for plan in made if _holds(plan, entry, numbers)), INPUT)


_STEEPEST = 16.0
_ALLOWED = {"output": 1e-5, "output and bit": 1e-3, "slope code": _STEEPEST / 255}


def _holds(plan: Plan, entry: Elementwise, numbers: tuple[float, ...]) -> bool:
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
