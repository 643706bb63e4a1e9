"""Elementwise activations of tensors: values and derivatives of any order, by our kernels or as torch operations."""

from __future__ import annotations

import contextvars
import itertools
import threading
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from nonlin.definition import Elementwise
from nonlin.definition.base import instances
from nonlin.formula.calculus import canonical, simplest
from nonlin.formula.expression import Symbol, substitute, symbols
from nonlin.formula.finish import with_nan
from nonlin.formula.primitives import multiply
from nonlin.kernels import big
from nonlin.kernels.precision import get_precision
from nonlin.kernels.ufunc import Function, compile_loop, is_integral, make_ufunc
from nonlin.torch.addresses import PLAIN, check_memory
from nonlin.torch.memory import INPUT, Layout, Memory, Plan, has_memory, plan as plan_for
from nonlin.torch.spelling import Program
from nonlin.torch.symbolic import node

_COMPUTES_IN = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_HAS_LOOP = (torch.float32, torch.float64)
_transforms_are_active = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


class _Quiet(threading.local):
    """Each thread's context in which NumPy says nothing about overflow, as torch never does."""

    def __init__(self) -> None:
        self.context = contextvars.copy_context()
        self.context.run(np.seterr, all="ignore")


_contexts = _Quiet()


class Operation:
    """A derivative of an activation, times gradients that come in: what a call, a backward pass or a tangent computes.

    Its operands are the incoming gradients ``dy_0``, ``dy_1``..., then those of the activation: arrays and parameters. Its
    own derivatives are operations again, so that there is no end to differentiating.

    Parameters
    ----------
    entry : Elementwise
    wrt : tuple of str
        What the activation is differentiated with respect to, one after the other.
    gradients : int
        How many incoming gradients there are.
    """

    def __init__(self, entry: Elementwise, wrt: tuple[str, ...] = (), gradients: int = 0) -> None:
        self.entry = entry
        self.wrt = wrt
        self.gradients = gradients
        self.key = " ".join(wrt)
        self.incoming = tuple(f"dy_{k}" for k in range(gradients))
        self.names = _names(entry, gradients)
        self.arrays = gradients + len(entry.operands)
        """How many of the operands decide the result's dtype; the others are parameters."""
        self.slope = entry.partial_derivative(*wrt)
        formula = self.slope
        for name in reversed(self.incoming):
            formula = multiply(Symbol(name), formula)
        self.formula = formula
        self.depends_on = frozenset(symbols(self.slope))
        self._ufuncs: dict[str, np.ufunc] = {}
        self._pulled: dict[int, Operation] = {}

    # --- calling ------------------------------------------------------------------------------------------------------------

    def __call__(self, *operands: Any, memory: Memory = "exact") -> Tensor:
        if _transforms_are_active():
            applied: Tensor = ElementwiseFunction.apply(self, *operands)  # type: ignore[no-untyped-call]
            return applied
        if forward_ad._current_level >= 0 or (torch.is_grad_enabled() and any(map(_requires_grad, operands))):
            plan = self._plan(operands, memory)
            if plan is not None:
                return _apply_economical(self, plan, *operands)  # type: ignore[no-any-return]
            return _apply(self, *operands)  # type: ignore[no-any-return]
        return self.compute(operands)

    def _plan(self, operands: Sequence[Any], memory: Memory) -> Plan | None:
        """Return what to keep for backward where x is the only tensor; otherwise it is all that the gradients need."""
        x, *others = operands
        if self.wrt or self.gradients or len(self.entry.operands) > 1 or forward_ad._current_level >= 0:
            return None
        if type(x) not in PLAIN or x.dtype not in _COMPUTES_IN or _modes() or _tracing() is not None:
            return None
        if others and any(isinstance(o, Tensor) for o in others):
            return None
        return plan_for(self.entry, tuple(map(float, others)), x.dtype, memory)

    def compute(self, operands: Sequence[Any]) -> Tensor:
        """Compute without recording anything for autograd."""
        self.check_memory(operands)
        if _modes() or _tracing() is not None or _transforms_are_active():
            return spelled(self.entry, self.key, self.gradients, operands)
        dtype = None
        for position, operand in enumerate(operands):
            if isinstance(operand, Tensor):
                if type(operand) not in PLAIN or not operand.is_cpu or operand.layout is not torch.strided:
                    return spelled(self.entry, self.key, self.gradients, operands)
                if dtype is None:
                    dtype = operand.dtype
                elif operand.dtype is not dtype:
                    return self._with_one_dtype(operands)
            elif position < self.arrays:
                return self._with_one_dtype(operands)
        if dtype not in _HAS_LOOP:
            return self._with_one_dtype(operands)
        arrays = []
        try:
            for position, operand in enumerate(operands):
                if isinstance(operand, Tensor):
                    if position >= self.arrays:
                        # A storage that numpy() has seen cannot be resized any more, which is how FSDP frees parameters.
                        operand = operand.detach().clone()
                    elif operand.requires_grad:
                        operand = operand.detach()
                    operand = operand.numpy()
                arrays.append(operand)
        except RuntimeError:  # a tensor without memory: what stands for many in torch's older vmap, which gradcheck uses
            return spelled(self.entry, self.key, self.gradients, operands)
        ufunc = self._ufuncs.get(get_precision())
        if ufunc is None:
            ufunc = self.ufunc(arrays[0].dtype)
        result = None
        if arrays[0].size >= big.MINIMUM:
            result = _contexts.context.run(big.evaluate, ufunc, tuple(arrays), None)
        if result is None:
            result = _contexts.context.run(ufunc, *arrays)
        return torch.from_numpy(result if type(result) is np.ndarray else np.asarray(result))

    def check_memory(self, operands: Sequence[Any]) -> None:
        """Raise a RuntimeError if an operand has lost its memory."""
        for name, operand in zip(self.names, operands, strict=True):
            check_memory(operand, self.entry.name, name)

    def ufunc(self, dtype: np.dtype[Any]) -> np.ufunc:
        """Return the compiled operation for the precision in force here."""
        precision = get_precision()
        name = "_".join((self.entry.name, *self.wrt, *self.incoming))
        typical = dict.fromkeys(self.incoming, 1.0) | self.entry._typical()
        defaults = {n: parameter.default for n, parameter in self.entry.parameters.items()}
        function = Function(name, (self.formula,), self.names, typical, defaults, exact=precision == "exact")
        ufunc = self._ufuncs.setdefault(precision, make_ufunc(function))
        compile_loop(ufunc, dtype)
        return ufunc

    def _with_one_dtype(self, operands: Sequence[Any]) -> Tensor:
        """Compute for operands that are not all tensors of one dtype with a kernel: integers, halves, numbers."""
        result = result_dtype(self.entry, self.gradients, operands)
        at_hand = all(type(o) in PLAIN and o.is_cpu for o in operands if isinstance(o, Tensor))
        if not result.is_floating_point and at_hand and not self.gradients and len({*self.wrt}) < 2:
            return self._of_integers(operands, result)
        computes_in = _COMPUTES_IN.get(result, torch.float64)
        device = next(o.device for o in operands if isinstance(o, Tensor))
        cast = [
            torch.as_tensor(o, dtype=computes_in, device=device)
            if position < self.arrays and not isinstance(o, Tensor)
            else _cast(o, computes_in)
            for position, o in enumerate(operands)
        ]
        return self.compute(cast).to(result)

    def _of_integers(self, operands: Sequence[Any], result: torch.dtype) -> Tensor:
        """Compute integers of integers, which float64 does not hold all, by NumPy's loops for them."""
        arrays = [o.detach().numpy() if isinstance(o, Tensor) else o for o in operands]
        ufunc = self.entry.derivative_ufunc(order=len(self.wrt), wrt=self.wrt[0] if self.wrt else "x")
        return torch.from_numpy(np.asarray(_contexts.context.run(ufunc, *arrays))).to(result)

    def program(self, computes_in: torch.dtype, names: Sequence[str], numbers: Mapping[str, float]) -> Program:
        """Return the operation of some tensors in torch operations; its other operands are numbers."""
        # What a constant slope passes on needs no x.
        formula = self.slope if self.gradients else with_nan(self.slope, self.entry.operands)
        if numbers:
            formula = simplest(substitute(formula, numbers))
        for name in reversed(self.incoming):
            formula = multiply(Symbol(name), formula)
        return Program(formula, names, computes_in, self.entry._typical())

    # --- derivatives -----------------------------------------------------------------------------------------------

    def pull(self, position: int) -> Operation:
        """Return the operation of one more incoming gradient that is its derivative for the operand at that position."""
        if position not in self._pulled:
            name = self.names[position]
            self._pulled[position] = operation(self.entry, (*self.wrt, name), self.gradients + 1)
        return self._pulled[position]

    @property
    def slope_operation(self) -> Operation:
        """The derivative with respect to x."""
        return operation(self.entry, (*self.wrt, "x"), self.gradients)

    def gradient(self, position: int, dy: Tensor, operands: Sequence[Any]) -> Tensor:
        """Multiply a gradient, or a tangent, by the derivative for one operand, differentiably."""
        if position < self.gradients:  # it is one factor of a product
            return self(*operands[:position], dy, *operands[position + 1 :])
        if position >= self.arrays:
            # A sum over many elements follows: it is rounded to 16 bits after that, not before.
            self.pull(position).check_memory((dy, *operands))
            dy, operands = _widened(dy), [_widened(o) for o in operands]
        return self.pull(position)(dy, *operands)

    def reduced_gradient(self, position: int, dy: Tensor, operands: Sequence[Any], like: Tensor | _Like) -> Tensor:
        """Return the gradient summed over the dimensions along which the operand was broadcast, in that operand's dtype."""
        rows = dy.shape[0] if dy.dim() else 0
        along_rows = len(like.shape) == dy.dim() and rows and like.shape[0] != 1
        if dy.numel() <= _BLOCK or along_rows or not _is_at_hand(dy, *operands):
            return reduced(self.gradient(position, dy, operands), like)
        # Block by block, so that no temporary array of the size of x goes through memory.
        step = max(1, _BLOCK * rows // dy.numel())
        total = torch.zeros(like.shape, dtype=torch.float64, device=dy.device)
        for start in range(0, rows, step):
            part = slice(start, start + step)
            given = [o[part] if isinstance(o, Tensor) and o.dim() == dy.dim() and o.shape[0] == rows else o for o in operands]
            total += reduced(self.gradient(position, dy[part], given), _Like(total))
        return total.to(like.dtype)

    def needed(self, wanted: Sequence[bool]) -> list[bool]:
        """Return which operands the derivatives for the wanted ones depend on."""
        names: set[str] = set()
        for position, is_wanted in enumerate(wanted):
            if not is_wanted:
                continue
            if position < self.gradients:
                names |= {n for n in self.incoming if n != self.incoming[position]} | self.depends_on
            else:
                names |= {*self.incoming} | self.pull(position).depends_on
        return [name in names for name in self.names]


# --- in torch operations ----------------------------------------------------------------------------------------------------
# Dynamo traces what stands here: plain functions of constants and tensors.

_program_names: dict[tuple[Any, ...], str] = {}
_programs: Any = types.ModuleType("nonlin.torch.programs")
_counter = itertools.count()


def _program(key: str, wrt: str, gradients: int, computes_in: torch.dtype, *numbers: float | None) -> str:
    """Return under what name _programs has the program of an operation: None stands for a tensor.

    Dynamo runs this while it traces. It takes nothing but constants for that, and an attribute of a module is what it looks up
    without a guard on everything else that is there.
    """
    program = (key, wrt, gradients, computes_in, numbers)
    name = _program_names.get(program)
    if name is None:
        found = operation(instances[key], tuple(wrt.split()), gradients)
        tensors = [n for n, number in zip(found.names, numbers, strict=True) if number is None]
        given = {n: number for n, number in zip(found.names, numbers, strict=True) if number is not None}
        name = _program_names[program] = f"program_{next(_counter)}"
        setattr(_programs, name, found.program(computes_in, tensors, given).function)
        weakref.finalize(instances[key], _forget_program, program)
    return name


def _forget_program(program: tuple[Any, ...]) -> None:
    delattr(_programs, _program_names.pop(program))


# What torch.compiler.assume_constant_result does, which would import Dynamo for it: a second that few sessions need.
_program._dynamo_marked_constant = True  # type: ignore[attr-defined]


def spelled(entry: Elementwise, wrt: str, gradients: int, operands: Sequence[Any]) -> Tensor:
    """Compute an operation in torch operations."""
    entry = entry.root
    arrays, names = gradients + len(entry.operands), _names(entry, gradients)
    result = result_dtype(entry, gradients, operands)
    computes_in = _COMPUTES_IN.get(result, torch.float64)
    if result is torch.float32 and not torch.compiler.is_compiling() and get_precision() == "exact":
        computes_in = torch.float64
    device = next(o.device for o in operands if isinstance(o, Tensor))
    numbers: list[float | None] = []
    tensors = []
    for position, operand in enumerate(operands):
        if isinstance(operand, Tensor):
            tensors.append(_cast(operand, computes_in))
            numbers.append(None)
        elif position < arrays:
            tensors.append(torch.as_tensor(operand, dtype=computes_in, device=device))
            numbers.append(None)
        elif torch.compiler.is_compiling() and not _is_constant(operand):
            tensors.append(torch.ones((), dtype=computes_in, device=device) * operand)  # torch.full would want a constant
            numbers.append(None)
        elif torch.compiler.is_compiling() or operand == entry.parameters[names[position]].default:
            numbers.append(float(operand))
        else:  # a program for each of its values would never go
            tensors.append(torch.full((), float(operand), dtype=computes_in, device=device))
            numbers.append(None)
    program = getattr(_programs, _program(entry.key, wrt, gradients, computes_in, *numbers))
    return _cast(program(*tensors), result)  # type: ignore[no-any-return]


def _is_constant(number: float) -> bool:
    """Whether a program that is being compiled is for this number only, and not for one that varies between its calls."""
    shapes = torch.fx.experimental.symbolic_shapes  # is there while something compiles, and takes a second otherwise
    return hasattr(shapes, "has_static_value") and shapes.has_static_value(number)


def traced(entry: Elementwise, wrt: str, operands: Sequence[Any]) -> Tensor:
    """Compute in a program that torch traces: a formula of torch operations, differentiated by our own formula once."""
    if torch.is_grad_enabled() and any(isinstance(o, Tensor) and o.requires_grad for o in operands):
        return Traced.apply(entry, wrt, *operands)  # type: ignore[no-any-return, no-untyped-call]
    return spelled(entry, wrt, 0, operands)


def result_dtype(entry: Elementwise, gradients: int, operands: Sequence[Any]) -> torch.dtype:
    """Return the dtype of an operation's result: parameters take no part in it.

    Raises
    ------
    TypeError
        If an operand is a complex tensor or one of another kind that is not real.
    """
    arrays = gradients + len(entry.operands)
    found: torch.dtype | None = None
    for position, operand in enumerate(operands):
        if not isinstance(operand, Tensor):
            continue
        if operand.dtype not in _COMPUTES_IN and operand.dtype not in _INTEGERS:
            name = _names(entry, gradients)[position]
            raise TypeError(f"{entry.name}: {name} must be real floating-point or integer, got {operand.dtype}")
        if position < arrays:
            found = operand.dtype if found is None else torch.promote_types(found, operand.dtype)
    if found is None:
        return torch.get_default_dtype()
    if found.is_floating_point:
        return found
    whole = found is not torch.bool and all(type(v) is int for v in operands[arrays:])
    return found if whole and _keeps_integers(entry.key) else torch.get_default_dtype()


def _keeps_integers(key: str) -> bool:
    return is_integral(canonical(instances[key].formula))


_keeps_integers._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _names(entry: Elementwise, gradients: int) -> tuple[str, ...]:
    return (*(f"dy_{k}" for k in range(gradients)), *entry.operands, *entry.parameters)


def operation(entry: Elementwise, wrt: tuple[str, ...] = (), gradients: int = 0) -> Operation:
    """Return the operation; an entry keeps its own."""
    entry, key = entry.root, (wrt if len(wrt) < 2 else tuple(sorted(wrt)), gradients)
    found = entry.rooms["torch"].get(key)
    if found is None:
        found = entry.rooms["torch"].setdefault(key, Operation(entry, key[0], gradients))
    return found  # type: ignore[no-any-return]


def _requires_grad(operand: Any) -> bool:
    return isinstance(operand, Tensor) and operand.requires_grad


def _cast(operand: Any, dtype: torch.dtype) -> Any:
    return operand.to(dtype) if isinstance(operand, Tensor) and operand.dtype is not dtype else operand


def _widened(operand: Any) -> Any:
    half = isinstance(operand, Tensor) and operand.dtype in (torch.float16, torch.bfloat16)
    return operand.float() if half else operand


#: Elements that are worked on at a time where a sum over them is all that is wanted: few enough for memory not to matter.
_BLOCK = 1 << 18


def _is_at_hand(*operands: Any) -> bool:
    """Whether all tensors lie in this machine's memory, and nothing is recorded of what is done with them."""
    tensors = [o for o in operands if isinstance(o, Tensor)]
    if torch.is_grad_enabled() and any(map(_requires_grad, tensors)):
        return False
    return not _modes() and not _transforms_are_active() and all(type(t) in PLAIN and has_memory(t) for t in tensors)


def reduced(gradient: Tensor, like: Tensor | _Like) -> Tensor:
    """Sum a gradient over the dimensions along which its operand was broadcast, and give it that operand's dtype."""
    if gradient.shape != like.shape:
        added = gradient.dim() - like.dim()
        spread = [d for d, size in enumerate(like.shape, added) if size == 1 and gradient.shape[d] != 1]
        gradient = gradient.sum([*range(added), *spread], keepdim=True)
        gradient = gradient.reshape(like.shape)
    return gradient if gradient.dtype is like.dtype else gradient.to(like.dtype)


class ElementwiseFunction(torch.autograd.Function):
    """An operation with its derivatives: reverse, forward and vectorized, to any order."""

    @staticmethod
    def forward(operation: Operation, *operands: Any) -> Tensor:
        return operation.compute(operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.operation, *operands = inputs
        tensors = tuple(o if isinstance(o, Tensor) else None for o in operands)
        ctx.numbers = tuple(None if isinstance(o, Tensor) else o for o in operands)
        needed = ctx.operation.needed(ctx.needs_input_grad[1:])
        ctx.like = tuple(None if t is None else _Like(t) for t in tensors)
        ctx.save_for_backward(*(t if keep else None for t, keep in zip(tensors, needed, strict=True)))
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        operation: Operation = ctx.operation
        operands = [n if t is None else t for t, n in zip(ctx.saved_tensors, ctx.numbers, strict=True)]
        # Where the derivative does not depend on an operand, anything of its shape will do.
        operands = [dy if o is None else o for o in operands]
        gradients: list[Tensor | None] = [None]
        for position, wanted in enumerate(ctx.needs_input_grad[1:]):
            gradient = None
            if wanted:
                gradient = operation.reduced_gradient(position, dy, operands, ctx.like[position])
            gradients.append(gradient)
        return tuple(gradients)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        operation: Operation = ctx.operation
        operands = [n if t is None else t for t, n in zip(ctx.saved_for_forward, ctx.numbers, strict=True)]
        total: Tensor | None = None
        for position, tangent in enumerate(tangents[1:]):
            if tangent is not None:
                part = operation.gradient(position, tangent, operands)
                total = part if total is None else total + part
        assert total is not None
        return total.to(result_dtype(operation.entry, operation.gradients, operands))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], operation: Operation, *operands: Any) -> tuple[Tensor, int]:
        moved = [
            operand if dim is None else operand.movedim(dim, 0) for operand, dim in zip(operands, in_dims[1:], strict=True)
        ]
        rank = max(o.dim() - (dim is not None) for o, dim in zip(moved, in_dims[1:], strict=True) if isinstance(o, Tensor))
        aligned = [
            o if dim is None else o.reshape(o.shape[0], *[1] * (rank - o.dim() + 1), *o.shape[1:])
            for o, dim in zip(moved, in_dims[1:], strict=True)
        ]
        return operation(*aligned), 0


# Function.apply binds default arguments of forward by its signature at every call, which takes longer than the rest; without a
# functorch transform it then comes here.
_apply: Callable[..., Any] = super(torch.autograd.Function, ElementwiseFunction).apply


class Economical(torch.autograd.Function):
    """An activation that keeps what its plan says, which is less than its input."""

    @staticmethod
    def forward(ctx: Any, operation: Operation, plan: Plan, *operands: Any) -> Tensor:
        ctx.operation, ctx.plan, ctx.numbers = operation, plan, operands[1:]
        if plan is INPUT:
            ctx.save_for_backward(operands[0])
            return operation.compute(operands)
        y, kept = plan.forward(operation, operands)
        ctx.layout = Layout.of(y)
        ctx.save_for_backward(*kept)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        if ctx.plan is INPUT:
            operation: Operation = ctx.operation
            return None, None, operation.pull(0)(dy, *ctx.saved_tensors, *ctx.numbers), *(None for _ in ctx.numbers)
        twice = ctx.plan.kind in ("nothing", "bits")
        dx = (_economical_gradient if twice else _economical_gradient_once)(ctx, dy)
        return None, None, dx, *(None for _ in ctx.numbers)


def _economical_gradient(ctx: Any, dy: Tensor) -> Tensor:
    plan: Plan = ctx.plan
    return plan.gradient(ctx.operation.entry.name, dy, ctx.saved_tensors, ctx.layout, ctx.numbers)


_economical_gradient_once = once_differentiable(_economical_gradient)
_apply_economical: Callable[..., Any] = super(torch.autograd.Function, Economical).apply


class Traced(torch.autograd.Function):
    """The same for Dynamo, which takes no function with a jvp or vmap of its own."""

    @staticmethod
    def forward(entry: Elementwise, wrt: str, *operands: Any) -> Tensor:
        return spelled(entry, wrt, 0, operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        entry, wrt, *operands = inputs
        ctx.entry, ctx.wrt = entry, wrt
        ctx.numbers = [None if isinstance(o, Tensor) else o for o in operands]
        ctx.save_for_backward(*[o for o in operands if isinstance(o, Tensor)])

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        saved = list(ctx.saved_tensors)
        operands = [saved.pop(0) if n is None else n for n in ctx.numbers]
        names = _names(ctx.entry, 0)
        gradients: list[Tensor | None] = [None, None]
        for position, operand in enumerate(operands):
            gradient = None
            if ctx.needs_input_grad[position + 2]:
                wrt = " ".join(sorted([*ctx.wrt.split(), names[position]]))
                given = [dy, *operands]
                if position >= len(ctx.entry.operands):
                    given = [_widened(o) for o in given]
                gradient = reduced(spelled(ctx.entry, wrt, 1, given), operand)
            gradients.append(gradient)
        return tuple(gradients)


class _Like:
    """Shape and dtype of a tensor that need not be kept."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype = tensor.shape, tensor.dtype

    def dim(self) -> int:
        return len(self.shape)


def is_recorded(*operands: Tensor) -> bool:
    """Whether autograd records what is done with some tensors, and nothing else does."""
    if torch.compiler.is_compiling() or _transforms_are_active() or forward_ad._current_level >= 0:
        return False
    plain = all(type(o) in PLAIN for o in operands) and not _modes() and _tracing() is None
    return plain and torch.is_grad_enabled() and any(map(_requires_grad, operands))


def is_watched(tensor: Tensor) -> bool:
    """Whether a slope of what is done with a tensor may be asked for."""
    return tensor.requires_grad or forward_ad._current_level >= 0 or _transforms_are_active()


#: torch's own, whose values are the same to the last bit; for few elements they are the fastest.
_SAME: dict[str, Callable[..., Tensor]] = {"relu": torch.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu}
_FEW = 1024
#: torch's functions that become one ONNX operator. The programs of softplus and log_sigmoid keep their tails instead.
_ONE_OPERATOR: dict[str, Callable[..., Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": F.prelu,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "mish": F.mish,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def evaluate(entry: Elementwise, wrt: str, order: int, operands: Sequence[Any], memory: Memory = "exact") -> Tensor:
    """Compute an activation, or a derivative, of tensors."""
    if torch.compiler.is_compiling():
        known = order == 0 and entry.family != "own" and entry.name in _ONE_OPERATOR
        if known and torch.onnx.is_in_onnx_export():
            if entry.name == "prelu":
                slope = operands[1]
                # F.prelu wants the slopes in one dimension, and channels along the axis after the first.
                if isinstance(slope, Tensor) and slope.numel() in (1, *slope.shape[1:2]):
                    return F.prelu(operands[0], slope.reshape(-1))
            elif not any(map(_is_tensor, operands[1:])):
                return _ONE_OPERATOR[entry.name](*operands)
        return traced(entry, " ".join([wrt] * order), operands)
    called = node(entry.derivative if order else entry, tuple(operands), {"order": order, "wrt": wrt} if order else {})
    if called is not None:
        return called  # type: ignore[no-any-return]
    operands = [o if type(o) in _NUMBERS or isinstance(o, Tensor) else _of_numpy(o, operands) for o in operands]
    if _tracing() is not None:  # TorchScript knows torch's operations only, and differentiates them itself
        return spelled(entry, " ".join([wrt] * order), 0, operands)
    x = operands[0]
    same = _SAME.get(entry.name) if order == 0 and entry.family != "own" else None
    if same is not None and type(x) is Tensor and x.is_floating_point() and x.numel() <= _FEW and not is_watched(x):
        # The slope of leaky_relu: 0*inf is 0 here.
        if len(operands) == 1:
            check_memory(x, entry.name, "x")
            return same(x)
        if not isinstance(operands[1], Tensor) and operands[1] != 0:
            check_memory(x, entry.name, "x")
            return same(x, operands[1])
    return operation(entry, (wrt,) * order)(*operands, memory=memory)


_NUMBERS = (int, float)


def _of_numpy(operand: Any, operands: Sequence[Any]) -> Any:
    """Return an array or a list beside tensors as a tensor on their device, a single number as one of Python's."""
    array = np.asarray(operand)
    if array.dtype.kind not in "biuf":  # what it is, result_dtype would not see
        raise TypeError(f"what is given beside tensors must be real numbers, got {array.dtype}")
    if not array.ndim:
        return array.item()
    beside = next(o for o in operands if isinstance(o, Tensor))
    keeps = array.dtype.kind == "f" and beside.is_floating_point()  # float64 is NumPy's default and nobody's wish
    return torch.tensor(array, dtype=beside.dtype if keeps else None, device=beside.device)


def _is_tensor(operand: Any) -> bool:
    return isinstance(operand, Tensor)
