"""Real ``numpy.ufunc`` objects whose loops are compiled from formulas at their first use.

A ufunc is made with every loop it will ever need, each pointing to the same few instructions that jump through a slot. The
slot leads to Python first, which compiles the loop and puts its address there; from then on calls run machine code only.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nonlin.formula import primitives as p
from nonlin.formula.expression import Application, Constant, Expression, postorder
from nonlin.kernels.choice import choose
from nonlin.kernels.llvm import STORAGES, Body, Compiler, Kernel, overflow_threshold
from nonlin.kernels.lowering import guard_of, interpret, lower
from nonlin.kernels.number import Lanes

_INTEGERS = "bhilq"
_UNSIGNED = "BHILQ"
_FLOATS = "efd"
_LOOP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_POINTER = ctypes.sizeof(ctypes.c_void_p)


@dataclass(frozen=True)
class Function:
    """What a ufunc computes: a formula of its operands."""

    name: str
    formula: Expression
    """In canonical form."""
    operands: tuple[str, ...]
    """Symbols in the order of the ufunc's operands."""
    typical: Mapping[str, float]
    """A usual value for each operand but x."""
    parameters: tuple[str, ...] = ()
    """Which of the operands are parameters, whose values shape the function."""
    exact: bool = False
    """Whether float32 results are computed in float64 lanes."""
    keeps_integers: bool = False
    """Whether integers stay integers."""
    never_negative: bool = False
    """Whether all operands but x are known not to be negative, so that they fit an unsigned dtype."""
    doc: str = ""


@cache
def is_integral(formula: Expression) -> bool:
    """Whether integers stay integers: piecewise linear, with whole constants."""
    degree: dict[Expression, int] = {}
    for node in postorder(formula):
        if isinstance(node, Constant):
            if node.value.denominator != 1:
                return False
            degree[node] = 0
        elif not isinstance(node, Application):
            degree[node] = 1 if node.name == "x" else 0
        else:
            inner = [degree[a] for a in node.arguments]
            if node.primitive not in _INTEGRAL:
                return False
            degree[node] = sum(inner) if node.primitive is p.multiply else max(inner, default=0)
            if degree[node] > 1:
                return False
    return True


_INTEGRAL = frozenset(
    {
        p.add, p.subtract, p.multiply, p.negative, p.where, p.maximum, p.minimum, p.absolute, p.sign,
        p.less, p.less_equal, p.greater, p.greater_equal, p.logical_and, p.logical_or,
    }
)  # fmt: skip


def _suits_unsigned(function: Function) -> bool:
    # What an unsigned type cannot hold: a negative constant, the negative of a parameter, a parameter that is negative.
    nodes = list(postorder(function.formula))
    if any(isinstance(node, Constant) and node.value < 0 for node in nodes):
        return False
    if len(function.operands) == 1:
        return True
    differences = {p.negative, p.subtract}
    return function.never_negative and not any(
        isinstance(node, Application) and node.primitive in differences for node in nodes
    )


def _loop_types(function: Function) -> list[str]:
    """List the dtype characters of every loop's operands and result, in the order in which NumPy tries them."""
    others = len(function.operands) - 1
    integers = "".join(a + b for a, b in zip(_INTEGERS, _UNSIGNED, strict=True))
    types = []
    if function.keeps_integers:
        kept = integers if _suits_unsigned(function) else _INTEGERS
        types += [c * (others + 2) for c in kept]
    types += [c + "d" * (others + 1) for c in integers]
    types += [c * (others + 2) for c in _FLOATS]
    return types


def _storage(character: str) -> str:
    return "bfloat16" if character == "bfloat16" else np.dtype(character).name


def _status(operations: Expression, lanes: Lanes, output: str, typical: Mapping[str, float]) -> tuple[bool, bool]:
    """Return whether a finite x can overflow the output's dtype, and whether an infinite one can have no limit."""
    largest = overflow_threshold(output)
    with np.errstate(over="ignore"):
        probes = np.array([largest, -largest, np.inf, -np.inf]).astype(lanes.element)
    # The threshold itself is not finite in the narrow dtypes' own lanes.
    probes[:2] = np.nextafter(probes[:2], probes.dtype.type(0))
    values = {"x": probes, **{name: np.full(4, value) for name, value in typical.items()}}
    results = np.broadcast_to(interpret(operations, lanes.element, values), (4,))
    return bool((np.abs(results[:2].astype(float)) >= largest).any()), bool(np.isnan(results[2:]).any())


def make_kernel(function: Function, types: Sequence[str]) -> Kernel:
    """Describe the loop of a ufunc for the given dtype names of its operands and result."""
    storages = [STORAGES[t] for t in types]
    inputs, output = tuple(zip(function.operands, storages[:-1], strict=True)), storages[-1]
    if output.is_integer:
        return Kernel(Body((function.formula,), None), inputs, output)
    typical = function.typical
    shaped = bool(function.parameters)
    choice = choose(function.formula, tuple(typical), tuple(typical.values()), output.name, exact=function.exact, shaped=shaped)
    operations = lower(function.formula, choice.lanes, typical)
    status = _status(operations, choice.lanes, output.name, typical)
    fast = None
    if choice.fast is not None:
        moderate = lower(function.formula, choice.fast, typical)
        fast = Body((moderate,), choice.fast, guard_of(moderate, choice.limit))
    return Kernel(Body((operations,), choice.lanes), inputs, output, fast, *status)


@cache
def compiler() -> Compiler:
    """The compiler for this processor."""
    return Compiler()


@dataclass
class _Slot:
    """Where a loop's machine code will be found."""

    function: Function
    types: tuple[str, ...]
    address: ctypes.c_void_p
    compiled: Callable[..., None] | None = None


class _Loops:
    """The slots of all loops, and the way from an uncompiled one to its code."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.RLock()
        self._enter = _LOOP(self._first_call)
        self._jump = 0

    def slot(self, function: Function, types: tuple[str, ...]) -> int:
        """Make a slot and return its address, which NumPy hands to the loop as its data."""
        cell = ctypes.c_void_p(ctypes.cast(self._enter, ctypes.c_void_p).value)
        address = ctypes.addressof(cell)
        self._slots[address] = _Slot(function, types, cell)
        return address

    def jump(self) -> int:
        """The address of the instructions that jump to what a slot holds."""
        with self._lock:
            if not self._jump:
                self._jump = compiler().compile_text(_JUMP)
            return self._jump

    def compile(self, data: int) -> Callable[..., None]:
        """Compile the loop of a slot, unless it is compiled, and return it."""
        slot = self._slots[data]
        # Whatever the caller has NumPy do about floating-point errors is not meant for ours.
        with self._lock, np.errstate(all="ignore"):
            if slot.compiled is None:
                address = compiler().compile(make_kernel(slot.function, slot.types))
                slot.compiled = _LOOP(address)
                slot.address.value = address
            return slot.compiled

    def _first_call(self, args: int, dims: int, steps: int, data: int) -> None:
        self.compile(data)(args, dims, steps, data)


_JUMP = """
define void @loop(ptr %args, ptr %dims, ptr %steps, ptr %data) {
  %loop = load ptr, ptr %data
  tail call void %loop(ptr %args, ptr %dims, ptr %steps, ptr %data)
  ret void
}
"""
_loops = _Loops()
#: NumPy keeps pointers into what a ufunc was made from, and a ufunc lives as long as the process.
_kept_alive: list[Any] = []
_with_bfloat16: set[np.ufunc] = set()
#: the slots of each ufunc's loops, by the dtype names of operands and result
_slots: dict[np.ufunc, dict[tuple[str, ...], int]] = {}


@cache
def _api() -> Any:
    from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(get(_multiarray_umath._UFUNC_API, None), ctypes.POINTER(ctypes.c_void_p))


def make_ufunc(function: Function) -> np.ufunc:
    """Return a ``numpy.ufunc`` for a function; nothing is compiled before its first call."""
    types = _loop_types(function)
    count, operands = len(types), len(function.operands)
    names = [tuple(_storage(c) for c in signature) for signature in types]
    loops = (ctypes.c_void_p * count)(*[_loops.jump()] * count)
    slots = [_loops.slot(function, signature) for signature in names]
    data = (ctypes.c_void_p * count)(*slots)
    characters = bytes(np.dtype(c).num for signature in types for c in signature)
    name, doc = function.name.encode(), function.doc.encode()
    _kept_alive.append((loops, data, characters, name, doc))
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_int] * 4,
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int,
    )(_api()[1])  # fmt: skip
    no_identity = -1
    ufunc: np.ufunc = make(loops, data, characters, count, operands, 1, no_identity, name, doc, 0)
    _slots[ufunc] = dict(zip(names, slots, strict=True))
    if "ml_dtypes" in sys.modules:
        add_bfloat16(ufunc, function)
    return ufunc


def compile_loop(ufunc: np.ufunc, dtype: np.dtype[Any]) -> None:
    """Compile the loop for operands of one dtype ahead of its first call.

    An error can leave from here; from inside a loop, where the first call would compile it, none can.
    """
    slot = _slots[ufunc].get((dtype.name,) * (ufunc.nin + 1))
    if slot is not None:
        _loops.compile(slot)


def add_bfloat16(ufunc: np.ufunc, function: Function) -> None:
    """Give a ufunc a loop for ``ml_dtypes.bfloat16``, unless it has one: ml_dtypes may be imported after it was made."""
    if ufunc in _with_bfloat16:
        return
    _with_bfloat16.add(ufunc)
    number = np.dtype(sys.modules["ml_dtypes"].bfloat16).num
    count = len(function.operands) + 1
    signature = (ctypes.c_int * count)(*[number] * count)
    register = ctypes.PYFUNCTYPE(
        ctypes.c_int, ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
    )(_api()[2])
    slot = _loops.slot(function, ("bfloat16",) * count)
    _kept_alive.append(signature)
    register(ufunc, number, _loops.jump(), ctypes.cast(signature, ctypes.c_void_p), slot)
