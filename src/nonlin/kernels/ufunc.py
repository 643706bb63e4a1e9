"""Real ``numpy.ufunc`` objects whose loops are compiled from formulas at their first use.

A ufunc is made with every loop it will ever need, each pointing to the same few instructions that jump through a slot. The
slot leads to Python first, which compiles the loop and puts its address there; from then on calls run machine code only.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from nonlin.arithmetic.choice import Choice, Question, choose, choose_for_all, shortfall
from nonlin.arithmetic.lowering import interpret
from nonlin.arithmetic.number import DOUBLE, EXACT
from nonlin.arithmetic.promise import AccuracyWarning, promised_ulps
from nonlin.formula import primitives as p
from nonlin.formula.calculus import simplest
from nonlin.formula.expression import Application, Constant, Expression, forget, postorder, remembered, substitute
from nonlin.kernels.compiler import Compiler
from nonlin.kernels.driver import Driver
from nonlin.kernels.first_call import FirstCall, describe_results
from nonlin.kernels.kernel import FIXED, LOOP, OTHER, OUTSIDE, RESULTS, RUN, Kernel
from nonlin.kernels.storage import STORAGES, Storage, bits_of, overflow_threshold, round_to

_INTEGERS = "bhilq"
_UNSIGNED = "BHILQ"
_FLOATS = "efd"


@dataclass(frozen=True)
class Function:
    """What a ufunc computes: formulas of its operands, one for each result."""

    name: str
    formulas: tuple[Expression, ...]
    """In canonical form."""
    operands: tuple[str, ...]
    """Symbols in the order of the ufunc's operands."""
    typical: Mapping[str, float]
    """A usual value for each operand but x."""
    parameters: Mapping[str, float | None] = field(default_factory=dict)
    """Which of the operands are parameters, whose values shape the function, and their defaults."""
    exact: bool = False
    """Whether float32 results are computed in float64 lanes."""
    keeps_integers: bool = False
    """Whether integers stay integers."""
    narrow: bool = False
    """Whether all loops are for arrays of 16 bits and parameters in float32: a default of 1/6 is not rounded to 16 bits."""
    warns: bool = False
    """Whether to warn where the results are farther from the exact ones than is promised."""
    never_negative: bool = False
    """Whether all operands but x are known not to be negative, so that they fit an unsigned dtype."""
    doc: str = ""


@remembered
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
    nodes = [node for formula in function.formulas for node in postorder(formula)]
    if any(isinstance(node, Constant) and node.value < 0 for node in nodes):
        return False
    if len(function.operands) == 1:
        return True
    differences = {p.negative, p.subtract}
    return function.never_negative and not any(
        isinstance(node, Application) and node.primitive in differences for node in nodes
    )


def _loop_types(function: Function) -> list[str]:
    """List the dtype characters of every loop's operands and results, in the order in which NumPy tries them."""
    others, results = len(function.operands) - 1, len(function.formulas)
    if function.narrow:
        return [_narrow_types(function)]
    integers = "".join(a + b for a, b in zip(_INTEGERS, _UNSIGNED, strict=True))
    types = []
    if function.keeps_integers:
        kept = integers if _suits_unsigned(function) else _INTEGERS
        types += [c * (1 + others + results) for c in kept]
    types += [c + "d" * (others + results) for c in integers]
    types += [c * (1 + others + results) for c in _FLOATS]
    return types


def _narrow_types(function: Function) -> str:
    """List the dtype characters of operands and results where parameters are wider than the arrays of float16."""
    operands = "".join("f" if name in function.parameters else "e" for name in function.operands)
    return operands + "e" * len(function.formulas)


def _storage(character: str) -> str:
    return "bfloat16" if character == "bfloat16" else np.dtype(character).name


@dataclass(frozen=True)
class Loop:
    """What one loop of a ufunc computes: a function for some dtypes."""

    function: Function
    types: tuple[str, ...]
    """NumPy's names of the dtypes of operands and results."""
    general: bool = False
    """Whether it takes any parameters. Otherwise it knows the defaults, and leaves other parameters to the general loop."""

    @property
    def fixed(self) -> dict[str, Fraction]:
        """The values of operands that it takes for granted."""
        return {} if self.general else _defaults(self.function, dict(self._inputs))

    @property
    def _inputs(self) -> tuple[tuple[str, Storage], ...]:
        operands = self.function.operands
        return tuple(zip(operands, (STORAGES[t] for t in self.types[: len(operands)]), strict=True))

    @property
    def outputs(self) -> tuple[Storage, ...]:
        """How the results are stored."""
        return tuple(STORAGES[t] for t in self.types[len(self.function.operands) :])

    def _questions(self) -> list[Question]:
        fixed = self.fixed
        if self.function.narrow:  # all digits of them: none of float32's is seen in 16 bits but where terms cancel
            fixed = {name: _as_written(self.function.parameters[name] or 0.0) for name in fixed}
        typical = {name: value for name, value in self.function.typical.items() if name not in fixed}
        return [
            Question(
                simplest(substitute(formula, fixed)) if fixed else formula,
                tuple(typical),
                tuple(typical.values()),
                self.types[-1],
                exact=self.function.exact,
                shaped=any(name in typical for name in self.function.parameters),
            )
            for formula in self.function.formulas
        ]

    def kernel(self) -> Kernel:
        """The kernel for ordinary inputs; all others are kept out by its guard, if it has one."""
        if self.outputs[0].is_integer:
            return Kernel(self.function.formulas, None, self._inputs, self.outputs)
        questions = self._questions()
        choice = choose(*questions)
        if self.function.warns:
            for question in questions:
                _warn_of_shortfall(self.function.name, question)
        overflows, invalid = zip(*map(_status, questions), strict=True)
        return self._kernel(choice, may_overflow=any(overflows), may_be_invalid=any(invalid))

    def outside(self) -> Kernel:
        """The kernel for the inputs that the guard of the other excludes."""
        # A vector of the other kernel may have no more than 8 elements.
        return self._kernel(choose_for_all(*self._questions()), widest=8)

    def _kernel(self, choice: Choice, **fields: Any) -> Kernel:
        return Kernel(choice.operations, choice.element, self._inputs, self.outputs, choice.guard, **fields)


@remembered
def _warn_of_shortfall(name: str, question: Question) -> None:
    """Warn, once, if a formula's results are not as right as is promised."""
    found = shortfall(question)
    if found is not None:
        error, x = found
        warnings.warn(
            f"{name}: errors of {error:.3g} ulp were seen in {question.output}, at x = {x:.6g}, where "
            f"{promised_ulps(question.formula, question.output):g} are promised; {name} = {question.formula}",
            AccuracyWarning,
            stacklevel=2,
        )


def _status(question: Question) -> tuple[bool, bool]:
    """Return whether a finite x can overflow the result's dtype, and whether an infinite one can have no limit."""
    lanes = DOUBLE if question.output == "float64" else EXACT
    largest = overflow_threshold(question.output)
    probes = np.array([largest, -largest, np.inf, -np.inf])
    # The threshold itself is the first that is not finite.
    probes[:2] = np.nextafter(probes[:2], 0)
    others = {name: np.full(4, value) for name, value in zip(question.names, question.typical, strict=True)}
    results = np.broadcast_to(interpret(question.lowered(lanes), lanes.element, {"x": probes, **others}), (4,))
    return bool((np.abs(results[:2]) >= largest).any()), bool(np.isnan(results[2:]).any())


def _defaults(function: Function, storages: Mapping[str, Storage]) -> dict[str, Fraction]:
    """Return the parameters' defaults as their operands hold them; nothing if one has none."""
    if any(value is None or storages[name].is_integer for name, value in function.parameters.items()):
        return {}
    return {name: round_to(storages[name], value) for name, value in function.parameters.items() if value is not None}


def _as_written(value: float) -> Fraction:
    """Return the number that a float was meant to be: 1/6, 0.01."""
    simple = Fraction(value).limit_denominator(100)
    return simple if float(simple) == value else Fraction(repr(float(value)))


@cache
def compiler() -> Compiler:
    """The compiler for this processor."""
    return Compiler()


@dataclass(frozen=True)
class _Slot:
    """Where a loop's machine code will be found; the code goes when this goes."""

    loop: Loop
    cells: Any
    """Addresses, as :mod:`nonlin.kernels.kernel` numbers them."""
    other: _Slot | None
    """That of the loop for other parameters."""

    @property
    def address(self) -> int:
        """What NumPy hands to the loop as its data."""
        return ctypes.addressof(self.cells)


class _Loops:
    """The slots of all loops, and the way from an uncompiled one to its code."""

    def __init__(self) -> None:
        self._slots: WeakValueDictionary[int, _Slot] = WeakValueDictionary()
        self._lock = threading.RLock()
        self._first = FirstCall(self.compile)
        self._first_outside = FirstCall(self._compile_outside)

    @cached_property
    def _entries(self) -> dict[int, int]:
        """The code in each cell before there is any other."""
        return {
            LOOP: compiler().compile_text(self._first.loop(), "loop", self),
            OUTSIDE: compiler().compile_text(self._first_outside.outside(), "outside", self),
        }

    @cached_property
    def jump(self) -> int:
        """The address of the instructions that jump to what a slot holds."""
        return compiler().compile_text(_JUMP, "loop", self)

    def slot(self, loop: Loop) -> _Slot:
        """Make a slot, which lives as long as somebody holds it."""
        inputs = len(loop.function.operands)
        cells = (ctypes.c_void_p * (FIXED + inputs))()
        for number, entry in self._entries.items():
            cells[number] = entry
        cells[RESULTS] = describe_results(inputs, loop.outputs)
        other = None
        if not loop.general and loop.function.parameters:
            other = self.slot(replace(loop, general=True))
            cells[OTHER] = other.address
        slot = _Slot(loop, cells, other)
        self._slots[slot.address] = slot
        return slot

    def compile(self, data: int) -> None:
        """Compile the loop of a slot, unless it is compiled."""
        slot = self._slots[data]
        # Whatever the caller has NumPy do about floating-point errors is not meant for ours.
        with self._lock, np.errstate(all="ignore"):
            if slot.cells[LOOP] == self._entries[LOOP]:
                kernel, fixed = slot.loop.kernel(), slot.loop.fixed
                for k, (name, storage) in enumerate(kernel.inputs):
                    if name in fixed:
                        slot.cells[FIXED + k] = bits_of(storage, fixed[name])
                slot.cells[RUN] = compiler().compile_run(kernel, slot)
                # Last: what is interrupted before this begins anew.
                slot.cells[LOOP] = compiler().loop(driver_of(kernel, fixed))
                forget()

    def _compile_outside(self, data: int) -> None:
        slot = self._slots[data]
        with self._lock, np.errstate(all="ignore"):
            if slot.cells[OUTSIDE] == self._entries[OUTSIDE]:
                slot.cells[OUTSIDE] = compiler().compile_outside(slot.loop.outside(), slot)


def driver_of(kernel: Kernel, fixed: Mapping[str, Fraction]) -> Driver:
    """Describe the loop that drives a kernel."""
    return Driver(
        tuple(storage for _, storage in kernel.inputs),
        kernel.outputs,
        kernel.width,
        tuple(name in fixed for name, _ in kernel.inputs),
        kernel.may_overflow,
        kernel.may_be_invalid,
    )


_JUMP = """
define void @loop(ptr %args, ptr %dims, ptr %steps, ptr %data) {
  %loop = load ptr, ptr %data ; cell number LOOP
  tail call void %loop(ptr %args, ptr %dims, ptr %steps, ptr %data)
  ret void
}
"""
_loops = _Loops()


class _Parts:
    """What a ufunc was made from: NumPy keeps pointers into it."""

    def __init__(self, memory: tuple[Any, ...], slots: dict[tuple[str, ...], _Slot]) -> None:
        self.memory = memory  # every slot is in it: two of the integer dtypes have one name
        self.slots = slots
        """Those of the loops, by the dtype names of operands and results."""
        self.signature_of_bfloat16: Any = None


class _UfuncObject(ctypes.Structure):
    """The beginning of a ufunc in memory, as NumPy's ``ufuncobject.h`` has it."""

    _fields_ = (
        ("head", ctypes.c_byte * object.__basicsize__),
        *((name, ctypes.c_int) for name in ("nin", "nout", "nargs", "identity")),
        *((name, ctypes.c_void_p) for name in ("functions", "data")),
        *((name, ctypes.c_int) for name in ("ntypes", "reserved")),
        *((name, ctypes.c_void_p) for name in ("name", "types", "doc", "ptr", "obj")),
    )


#: by the address of the ufunc
_parts: WeakValueDictionary[int, _Parts] = WeakValueDictionary()
#: those of ufuncs that live as long as the process
_kept_alive: list[_Parts] = []


def _give(ufunc: np.ufunc, parts: _Parts) -> None:
    """Have a ufunc hold its parts until it dies: in ``obj``, where those of ``np.frompyfunc`` hold their function."""
    _parts[id(ufunc)] = parts
    loops, data = parts.memory[:2]
    found = _UfuncObject.from_address(id(ufunc))
    as_known = (found.nin, found.nout, found.nargs, found.functions, found.data, found.ntypes, found.obj) == (
        *(ufunc.nin, ufunc.nout, ufunc.nargs),
        *(ctypes.addressof(loops), ctypes.addressof(data), len(loops), None),
    )
    if not as_known:  # another NumPy, or another Python
        _kept_alive.append(parts)
        return
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(parts))
    found.obj = id(parts)


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
    loops = (ctypes.c_void_p * count)(*[_loops.jump] * count)
    slots = [_loops.slot(Loop(function, signature)) for signature in names]
    data = (ctypes.c_void_p * count)(*(slot.address for slot in slots))
    characters = bytes(np.dtype(c).num for signature in types for c in signature)
    name, doc = function.name.encode(), function.doc.encode()
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_int] * 4,
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int,
    )(_api()[1])  # fmt: skip
    no_identity = -1
    ufunc: np.ufunc = make(loops, data, characters, count, operands, len(function.formulas), no_identity, name, doc, 0)
    _give(ufunc, _Parts((loops, data, characters, name, doc, slots), dict(zip(names, slots, strict=True))))
    if "ml_dtypes" in sys.modules:
        add_bfloat16(ufunc, function)
    return ufunc


def compile_loop(ufunc: np.ufunc, dtype: np.dtype[Any]) -> None:
    """Compile the loop for arrays and results of one dtype ahead of its first call."""
    for names, slot in list(_parts[id(ufunc)].slots.items()):
        if names[0] == names[-1] == dtype.name:
            _loops.compile(slot.address)


def add_bfloat16(ufunc: np.ufunc, function: Function) -> None:
    """Give a ufunc a loop for ``ml_dtypes.bfloat16``, unless it has one: ml_dtypes may be imported after it was made."""
    parts = _parts[id(ufunc)]
    if parts.signature_of_bfloat16 is not None:
        return
    number = np.dtype(sys.modules["ml_dtypes"].bfloat16).num
    types = ["bfloat16"] * ufunc.nargs
    if function.narrow:
        types = [_storage("bfloat16" if character == "e" else character) for character in _narrow_types(function)]
    signature = (ctypes.c_int * ufunc.nargs)(*(number if t == "bfloat16" else np.dtype(t).num for t in types))
    parts.signature_of_bfloat16 = signature
    register = ctypes.PYFUNCTYPE(
        ctypes.c_int, ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
    )(_api()[2])
    slot = parts.slots[tuple(types)] = _loops.slot(Loop(function, tuple(types)))
    register(ufunc, number, _loops.jump, ctypes.cast(signature, ctypes.c_void_p), slot.address)
