"""One pass over memory that computes several things for each element: values, conditions as bits, products with what was kept.

What a ufunc is to NumPy's arrays, a pass is to memory that its caller owns, contiguous, and whatever library it comes from. Its
results may be of different kinds, which a ufunc's are not: a value beside one bit.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from nonlin.arithmetic.choice import Choice, Question, choose, choose_for_all
from nonlin.arithmetic.lowering import lower_condition
from nonlin.arithmetic.number import PLAIN_DOUBLE, SINGLE
from nonlin.formula.expression import Application, Constant, Expression, symbols
from nonlin.formula.primitives import add, multiply, subtract
from nonlin.kernels import threads
from nonlin.kernels.first_call import FirstCall, describe_results
from nonlin.kernels.kernel import FIXED, OUTSIDE, RESULTS, Kernel
from nonlin.kernels.storage import BITS, LINE, STORAGES, STREAMED, TABLE, Storage
from nonlin.kernels.ufunc import compiler

Field: TypeAlias = tuple[str, str]
"""A symbol, and what its array holds: NumPy's name of a dtype, or ``"bits"``; ``"table"`` is one that operations look up in.
A ``"number"`` is no array but the same for every element."""
Result: TypeAlias = tuple[Expression, str]
"""What is computed, and the dtype that it is written in, or ``"bits"``."""


#: those that somebody holds
_made: WeakValueDictionary[Any, Pass] = WeakValueDictionary()


def make_pass(operands: tuple[Field, ...], results: tuple[Result, ...], *, exact: bool = False) -> Pass:
    """Return a pass, compiled.

    Parameters
    ----------
    operands : tuple of (str, str)
        Symbol and dtype of each array that is read.
    results : tuple of (Expression, str)
        Formula and dtype of each array that is written. A formula of ``x`` in canonical form is computed as well as a ufunc
        would; one without ``x`` stands for machine operations as they are. For ``"bits"`` it is a condition, whose first
        element goes to the lowest bit of a byte. In an integer dtype results are rounded towards zero, and held in its range.
    exact : bool
        Whether float32 results are correctly rounded but for a few inputs in billions.

    Examples
    --------
    >>> import numpy as np
    >>> from nonlin.formula import Symbol
    >>> from nonlin.kernels.passes import make_pass
    >>> x, y, bits = np.array([-1.0, 2.0, 3.0]), np.empty(3), np.empty(1, np.uint8)
    >>> both = make_pass((("x", "float64"),), ((2 * Symbol("x"), "float64"), (Symbol("x") > 0, "bits")))
    >>> both([x.ctypes.data, y.ctypes.data, bits.ctypes.data], 3)
    >>> print(y, bits)
    [-2.  4.  6.] [6]
    """
    key = (operands, results, exact)
    found = _made.get(key)
    if found is None:
        found = _made[key] = Pass(operands, results, exact)
    return found


#: every pass by the address of its cells
_passes: WeakValueDictionary[int, Pass] = WeakValueDictionary()
_first = FirstCall(lambda data: _passes[data].compile_outside())


@cache
def _first_outside() -> int:
    return compiler().compile_text(_first.outside(), "outside", _first)


class Pass:
    """Goes once over some arrays; see :func:`make_pass`."""

    def __init__(self, operands: tuple[Field, ...], results: tuple[Result, ...], exact: bool) -> None:
        self._element = "float64" if any(dtype == "float64" for _, dtype in (*operands, *results)) else "float32"
        self._numbers = [k for k, (_, dtype) in enumerate(operands) if dtype == "number"]
        self._inputs = tuple((name, _storage(self._element if dtype == "number" else dtype)) for name, dtype in operands)
        self._outputs = tuple(_storage(dtype) for _, dtype in results)
        # As they move on from element to element: numbers stay where they are, as a table does.
        moving = [TABLE if dtype == "number" else _storage(dtype) for _, dtype in operands]
        self._moving = [*moving, *self._outputs]
        self._results, self._exact = results, exact
        # What a kernel finds behind its ``data``: here no more than the way to what it does not compute itself.
        self._cells = (ctypes.c_void_p * FIXED)()
        self._cells[OUTSIDE] = _first_outside()
        self._cells[RESULTS] = describe_results(len(self._inputs), self._outputs)
        _passes[ctypes.addressof(self._cells)] = self
        self._lock = threading.Lock()
        with np.errstate(all="ignore"):  # whatever the caller does about errors is not meant for a sample of inputs
            self._kernel = self._kernel_of(choose)
        self._width = self._kernel.width
        self._sizes = [storage.size for storage in moving]
        self._run: dict[bool, Callable[..., None]] = {}
        self._compiled(streamed=False)

    def __call__(self, places: Sequence[int | float], count: int) -> None:
        """Go over so many elements.

        Parameters
        ----------
        places : sequence of int or float
            Addresses of the operands, or the values of numbers, and then addresses of the results; bits take ``ceil(count/8)``
            bytes. A result may lie where an operand of the same dtype does, and overlap with nothing else.
        count : int
        """
        kind = ctypes.c_float if self._element == "float32" else ctypes.c_double
        rooms = {k: (kind * self._width)(*[places[k]] * self._width) for k in self._numbers}
        addresses = [ctypes.addressof(rooms[k]) if k in rooms else int(place) for k, place in enumerate(places)]
        threads.share(lambda piece: self._over(addresses, piece), count)

    def _kernel_of(self, choose: Callable[..., Choice], **fields: Any) -> Kernel:
        names = tuple(name for name, _ in self._inputs if name != "x")
        questions = {
            inner: Question(inner, names, (1.0,) * len(names), _question_dtype(dtype), exact=self._exact)
            for inner, dtype in ((_inside(formula, dtype), dtype) for formula, dtype in self._results)
            if dtype != "bits" and "x" in symbols(inner)
        }
        choice = choose(*questions.values()) if questions else Choice(self._element, ())
        lowered = dict(zip(questions, choice.operations, strict=True))
        plain = SINGLE if choice.element == "float32" else PLAIN_DOUBLE
        operations = tuple(
            lower_condition(formula, plain) if dtype == "bits" else _around(formula, lowered)
            for formula, dtype in self._results
        )
        return Kernel(operations, choice.element, self._inputs, self._outputs, choice.guard, **fields)

    def _compiled(self, *, streamed: bool) -> Callable[..., None]:
        if streamed not in self._run:  # by several threads at once it is compiled as often; any of them will do
            pointers, numbers = len(self._inputs) + len(self._outputs) + 2, len(self._inputs) + 1
            prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers)
            self._run[streamed] = prototype(compiler().compile_run(self._kernel, self, streamed=streamed))
        return self._run[streamed]

    def compile_outside(self) -> None:
        """Compile the kernel for what the guard of the other excludes."""
        with self._lock, np.errstate(all="ignore"):
            # A vector of the other kernel may have no more than 8 elements.
            self._cells[OUTSIDE] = compiler().compile_outside(self._kernel_of(choose_for_all, widest=8), self)

    def _over(self, places: Sequence[int], piece: slice) -> None:
        """Go over whole vectors, and then over what is left, in a vector's room of its own."""
        storages = self._moving
        here = [place + storage.bytes_of(piece.start) for place, storage in zip(places, storages, strict=True)]
        count = piece.stop - piece.start
        whole = count - count % self._width
        if whole:
            run = self._compiled(streamed=self._pays_to_stream(here, whole))
            run(*here, None, self._cells, whole, *self._sizes)
        left = count - whole
        if not left:
            return
        rooms = [ctypes.create_string_buffer(self._width * 8) for _ in storages]
        there = [place + storage.bytes_of(whole) for place, storage in zip(here, storages, strict=True)]
        lengths = [storage.bytes_of(left) for storage in storages]
        inputs = len(self._inputs)
        for room, place, length in zip(rooms[:inputs], there, lengths, strict=False):
            ctypes.memmove(room, place, length)
        given = [place if s is TABLE else room for place, room, s in zip(there, rooms, storages, strict=True)]
        self._compiled(streamed=False)(*given, None, self._cells, self._width, *self._sizes)
        for room, place, length in zip(rooms[inputs:], there[inputs:], lengths[inputs:], strict=True):
            ctypes.memmove(place, room, length)

    def _pays_to_stream(self, places: Sequence[int], count: int) -> bool:
        """Whether the results go around the cache: they are too big for it, begin at a line, and do not lie in it already."""
        read, written = places[: len(self._inputs)], places[len(self._inputs) :]
        return all(
            storage is BITS or (place % LINE == 0 and place not in read)
            for storage, place in zip(self._outputs, written, strict=True)
        ) and any(storage.bytes_of(count) >= STREAMED for storage in self._outputs)


def _inside(formula: Expression, dtype: str) -> Expression:
    """Return a formula without the constants that become whole numbers of it: it may be one that is computed fast."""
    whole = dtype != "bits" and STORAGES[dtype].is_integer
    while whole and isinstance(formula, Application) and formula.primitive in (add, subtract, multiply):
        parts = [part for part in formula.arguments if not isinstance(part, Constant)]
        if len(parts) > 1:
            break
        (formula,) = parts
    return formula


def _around(formula: Expression, lowered: Mapping[Expression, Expression]) -> Expression:
    """Return a formula with the operations that are known for what is inside it."""
    if formula in lowered or not isinstance(formula, Application) or "x" not in symbols(formula):
        return lowered.get(formula, formula)
    return formula.primitive(*(_around(argument, lowered) for argument in formula.arguments))


def _storage(dtype: str) -> Storage:
    return {"bits": BITS, "table": TABLE}.get(dtype) or STORAGES[dtype]


@cache
def _question_dtype(dtype: str) -> str:
    return "float32" if STORAGES[dtype].is_integer else dtype
