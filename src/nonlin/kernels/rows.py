"""Rows: softmax and its kin, each row in three passes while it is in the cache.

The first pass finds the largest entry. The second computes the exponentials of the distances from it and sums them up, in
float64 or with what every addition rounds away. The third one scales the exponentials, or subtracts the logarithm of the sum.

Vectors run over the end of a row into the next one: what they read there is masked, and what they write there is written
again, for rows are done in order. Only the last rows of a block have nothing behind them, and move to a place with room.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from nonlin.arithmetic.lowering import lower, lower_condition
from nonlin.arithmetic.machine import fma
from nonlin.arithmetic.number import DOUBLE, EXACT, PLAIN_DOUBLE, SINGLE, Lanes, Number
from nonlin.formula.calculus import canonical, simplest
from nonlin.formula.expression import Application, Constant, Expression, Symbol, postorder, rebuild, substitute
from nonlin.formula.primitives import divide, exp, log1p, subtract
from nonlin.formula.rows import normal, row_max, row_sum, row_sum_but
from nonlin.kernels import threads
from nonlin.kernels.driver import restore_flags, save_flags
from nonlin.kernels.kernel import width_of
from nonlin.kernels.llvm import Code, FloatingBody, Module, Target, load, store
from nonlin.kernels.storage import STORAGES, Storage
from nonlin.kernels.ufunc import compiler

#: Exponentials of arguments down to this one are normal numbers, which a plainer body computes.
_MODERATE = {"float32": -80, "float64": -700}
#: So many rows have their logarithms taken at once, where they are short enough to stay in the cache so long.
TOGETHER = 8
_CACHED = 2**14
_TYPICAL = {"peak": 1.0, "temperature": 1.0, "rest": 0.0, "total": 1.0}
_MINUS_INFINITY = "0xFFF0000000000000"


@dataclass(frozen=True)
class Normalization:
    """What becomes of the entries of a row."""

    exponential: Expression
    """Of x, the largest entry ``peak`` and ``temperature``: what is summed up, 1 at the peak."""
    log_probability: Expression | None = None
    """Of the same and ``total``, the logarithm of the sum: the result, if it is not the exponential divided by the sum."""
    negated: bool = False
    """Whether x is the negative of what comes in."""


def find_normalization(formula: Expression) -> tuple[Normalization, str | None] | None:
    """Return how rows are normalized by a formula, and which parameter is the temperature; None if it is another one.

    Examples
    --------
    >>> import nonlin as nl
    >>> normalization, temperature = find_normalization(nl.softmin.formula)
    >>> print(normalization.exponential, normalization.negated, temperature)
    exp((x - peak)/temperature) True temperature
    """
    entries = frozenset({"x"})
    for negated in (False, True):
        found = normal(substitute(formula, {"x": -Symbol("x")}) if negated else formula, entries)
        if not isinstance(found, Application):
            return None
        exponential, distance = _shares(found), None
        if exponential is None:
            exponential, distance = _logarithms_of_shares(found)
        if exponential is None:
            continue
        named = rebuild(exponential, lambda node: Symbol("peak") if node is row_max(Symbol("x")) else node)
        temperatures = {n for n in postorder(named) if isinstance(n, Symbol)} - {Symbol("x"), Symbol("peak")}
        below = Symbol("x") - Symbol("peak")
        if len(temperatures) > 1 or named is not simplest(exp(below / next(iter(temperatures), Constant(1)))):
            continue
        name = next((symbol.name for symbol in temperatures), None)
        ours = {} if name is None else {name: Symbol("temperature")}
        log_probability = None if distance is None else substitute(named.arguments[0], ours) - Symbol("total")
        return Normalization(substitute(named, ours), log_probability, negated), name
    return None


def _shares(formula: Application) -> Expression | None:
    """Return the exponential that a formula divides by the sum of all."""
    if formula.primitive is divide and formula.arguments[1] is row_sum(formula.arguments[0]):
        return formula.arguments[0]
    return None


def _logarithms_of_shares(formula: Application) -> tuple[Expression | None, Expression | None]:
    """Return the exponential, and its exponent, of which a formula subtracts the logarithm of the sum of all."""
    if formula.primitive is subtract:
        distance, _ = formula.arguments
        exponential = exp(distance)
        for of in (Symbol("x"), exponential):
            if formula is distance - log1p(row_sum_but(exponential, of)):
                return exponential, distance
    return None, None


@dataclass(frozen=True)
class RowsKernel:
    """How rows are computed."""

    normalization: Normalization
    storage: Storage
    lanes: Lanes
    tempered: bool
    """Whether there is a temperature, in two parts, ``temperature`` and ``rest``."""

    @property
    def width(self) -> int:
        """Elements computed at once."""
        return width_of(self.lanes.element)

    @property
    def keeps_exponentials(self) -> bool:
        """Whether the result has room for the exponentials, which another pass scales."""
        return self.storage.name == self.lanes.element

    def _formula(self, formula: Expression) -> Expression:
        temperature = Symbol("temperature") + Symbol("rest") if self.tempered else Constant(1)
        return canonical(substitute(formula, {"temperature": temperature}))

    @cached_property
    def exponentials(self) -> tuple[Expression, Expression, Expression]:
        """Machine operations: when an entry is moderate, its exponential if it is, and that of any other."""
        formula = self._formula(self.normalization.exponential)
        assert isinstance(formula, Application)
        moderate = lower_condition(formula.arguments[0] >= _MODERATE[self.lanes.element], self.lanes)
        return moderate, lower(formula, self.lanes.for_moderate(), _TYPICAL), lower(formula, self.lanes, _TYPICAL)

    @cached_property
    def result(self) -> Expression:
        """Machine operations for an entry's result."""
        if self.normalization.log_probability is not None:
            # With a division there is one rounding too many to lose what it leaves over.
            lanes = replace(self.lanes, compensated=True) if self.tempered else self.lanes.for_moderate()
            return lower(self._formula(self.normalization.log_probability), lanes, _TYPICAL)
        exponential, inverse, rest = map(Symbol, ("exponential", "inverse", "inverse_rest"))
        return fma(exponential, inverse, exponential * rest)

    @property
    def sum_parts(self) -> int:
        """Of how many float64 numbers a sum consists: for float64 results, with one for what additions round away."""
        return 1 if self.lanes.element == "float32" else 2


def _number(name: str, parts: int) -> Number:
    """A float64 number of one or two parts."""
    return Number(DOUBLE, Symbol(name), Symbol(f"{name}_rest") if parts == 2 else None)


def _named(name: str, parts: list[str]) -> dict[str, str]:
    """Its values."""
    return dict(zip((name, f"{name}_rest"), parts, strict=False))


def _sum(parts: int, *, term_parts: int) -> list[Expression]:
    """Machine operations that add a term to a sum."""
    total = _number("sum", parts) + _number("term", term_parts)
    if parts == 1:
        return [total.high]
    assert total.low is not None
    return [total.high, total.low]


class RowsModule(Module):
    """Writes ``rows``: so many rows of so many elements, with room for a vector more behind the last one."""

    def __init__(self, kernel: RowsKernel, target: Target) -> None:
        super().__init__(target, (kernel.storage,), (kernel.storage,))
        self.kernel, self.width, self.storage = kernel, kernel.width, kernel.storage
        self.lane = STORAGES[kernel.lanes.element]
        self.vector, self.mask = f"<{self.width} x {self.lane.llvm}>", f"<{self.width} x i1>"
        self._lines: list[str] = []

    def _spell(self, operations: list[Expression], values: dict[str, str], width: int = 0, element: str = "") -> list[str]:
        """Write operations where the code stands now."""
        body = FloatingBody(width or self.width, element or self.lane.llvm, values)
        body.lines = self._lines  # which counts the names
        before = len(self._lines)
        results = [body(operation) for operation in operations]
        self.code.lines += self._lines[before:]
        self.declarations |= body.declarations
        return results

    def _splat(self, scalar: str, element: str = "", width: int = 0) -> str:
        element, width = element or self.lane.llvm, width or self.width
        vector = f"<{width} x {element}>"
        first = self.code.emit(f"insertelement {vector} poison, {element} {scalar}, i32 0")
        return self.code.emit(f"shufflevector {vector} {first}, {vector} poison, <{width} x i32> zeroinitializer")

    def _constant(self, number: str) -> str:
        return "<" + ", ".join([f"{self.lane.llvm} {number}"] * self.width) + ">"

    def _select(self, condition: str, a: str, b: str) -> str:
        return self.code.emit(f"select {self.mask} {condition}, {self.vector} {a}, {self.vector} {b}")

    def _compare(self, how: str, a: str, b: str) -> str:
        return self.code.emit(f"fcmp {how} {self.vector} {a}, {b}")

    def _entries(self, row: str, index: str) -> str:
        """Load the vector of entries at an index."""
        x = load(self.code, self.place(row, index, self.storage.size), self.storage, self.lane.llvm, self.width)
        if self.kernel.tempered:  # halved, as the temperature is: twice the largest number is no number
            x = self.code.emit(f"fmul {self.vector} {x}, {self._constant('0.5')}")
        return self.code.emit(f"fneg {self.vector} {x}") if self.kernel.normalization.negated else x

    def _entries_or(self, other: str, row: str, loop: _Loop) -> str:
        """Load the vector of entries where a loop is; those behind the end of the row are another number."""
        code, name = self.code, loop.name
        entries = self._entries(row, loop.index)
        left = code.emit(f"sub i64 %size, {loop.index}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 {left}, {self.width}')}, label %{name}.tail, label %{name}.body")
        code.label(f"{name}.tail")
        places = "<" + ", ".join(f"i32 {lane}" for lane in range(self.width)) + ">"
        limit = self._splat(code.emit(f"trunc i64 {left} to i32"), "i32")
        inside = self._select(code.emit(f"icmp slt <{self.width} x i32> {places}, {limit}"), entries, other)
        code.do(f"br label %{name}.body")
        code.label(f"{name}.body")
        return code.emit(f"phi {self.vector} [{entries}, %{name}], [{inside}, %{name}.tail]")

    def _reduce(self, what: str, element: str, vector: str) -> str:
        """Write the reduction of a vector to one number."""
        kind = {"float": "f32", "double": "f64"}.get(element, element)
        name = f"{element} @llvm.vector.reduce.{what}.v{self.width}{kind}"
        self.declarations.add(f"declare {name}(<{self.width} x {element}>)")
        flags = "nnan " if what == "fmax" else ""
        return self.code.emit(f"call {flags}{name}(<{self.width} x {element}> {vector})")

    def _fold(self, sums: list[str]) -> list[str]:
        """Add up the lanes of a sum, the upper half to the lower one again and again."""
        code, width = self.code, self.width
        while width > 1:
            vector, width = f"<{width} x double>", width // 2
            halves = []
            for first in (0, width):
                lanes = ", ".join(f"i32 {lane}" for lane in range(first, first + width))
                shuffle = f"{vector} poison, <{width} x i32> <{lanes}>"
                halves.append([code.emit(f"shufflevector {vector} {part}, {shuffle}") for part in sums])
            values = _named("sum", halves[0]) | _named("term", halves[1])
            sums = self._spell(_sum(len(sums), term_parts=len(sums)), values, width, "double")
        return sums

    def text_of_rows(self) -> str:
        """Write ``rows``."""
        code = self.code
        flags = save_flags(code, self.target)
        self._row_bytes = code.emit(f"mul i64 %size, {self.storage.size}")
        self._surplus = code.emit(f"and i64 {code.emit('sub i64 0, %size')}, {self.width - 1}")
        scalars = {}
        if self.kernel.tempered:
            scalars = {name: self._splat(self._narrowed(f"%{name}")) for name in ("temperature", "rest")}
        waiting = _Waiting(code, self.lane)
        blocks = _Loop(code, "block", "0", "%together", limit="%rows")
        last = code.emit(f"call i64 @llvm.smin.i64(i64 {code.emit(f'add i64 {blocks.index}, %together')}, i64 %rows)")
        self.declarations.add("declare i64 @llvm.smin.i64(i64, i64)")
        self._first_passes(scalars, blocks.index, last, waiting)
        if self.kernel.normalization.log_probability is not None:
            waiting.replace_sums(self._logarithms)
            self._last_pass(scalars, blocks.index, last, waiting)
        blocks.end()
        # Entries far below the peak, comparisons with NaN, and what is read behind a row concern nobody.
        self.declarations |= restore_flags(code, self.target, flags)
        pointers, numbers = ("in0", "out0", "exponentials"), ("exponentials_step", "rows", "size", "together")
        arguments = [*(f"ptr %{name}" for name in pointers), *(f"i64 %{name}" for name in numbers)]
        return self.text(f"void @rows({', '.join(arguments)}, double %temperature, double %rest)")

    def _first_passes(self, scalars: dict[str, str], first: str, last: str, waiting: _Waiting) -> None:
        """Write all passes over some rows but the one that subtracts logarithms."""
        rows = _Loop(self.code, "row", "block", 1, start=first, limit=last)
        x, out = (self.place(pointer, rows.index, self._row_bytes) for pointer in ("%in0", "%out0"))
        kept = self.place("%exponentials", rows.index, "%exponentials_step")
        highest = self._peak(x)
        level, peak = self._level("levelled", "peak.done", x, out, highest)
        sums, ones = self._weigh(level, kept, {**scalars, "peak": self._splat(peak)})
        if self.kernel.normalization.log_probability is None:
            self._scale(kept, out, sums)
        else:
            waiting.put(self.code.emit(f"sub i64 {rows.index}, {first}"), x, highest, self._others(sums, ones))
        rows.end()

    def _last_pass(self, scalars: dict[str, str], first: str, last: str, waiting: _Waiting) -> None:
        """Write the subtraction of the logarithms from the rows that wait for it."""
        rows = _Loop(self.code, "result", "row.done", 1, start=first, limit=last)
        x, highest, total = waiting.get(self.code.emit(f"sub i64 {rows.index}, {first}"))
        out = self.place("%out0", rows.index, self._row_bytes)
        # Once more: the result of the row before has run over what was written there.
        x, peak = self._level("again", "result", x, out, highest)
        self._subtract(x, out, {**scalars, "peak": self._splat(peak), "total": self._splat(self._narrowed(total))})
        rows.end()

    def _narrowed(self, double: str) -> str:
        """Round a double to a lane's type."""
        return double if self.lane.llvm == "double" else self.code.emit(f"fptrunc double {double} to {self.lane.llvm}")

    def _peak(self, x: str) -> str:
        """Write the search for the largest entry, which is not NaN; -inf where all are."""
        lowest = self._constant(_MINUS_INFINITY)
        loop = _Loop(self.code, "peak", "row", self.width, [(self.vector, lowest)])
        entries, (largest,) = self._entries_or(lowest, x, loop), loop.carried
        largest = self._select(self._compare("ogt", entries, largest), entries, largest)
        loop.end([largest])
        return self._reduce("fmax", self.lane.llvm, largest)

    def _level(self, name: str, before: str, x: str, out: str, peak: str) -> tuple[str, str]:
        """Write the limit of a row whose peak is infinite: those entries are equal, and the others nothing beside them.

        Returns the row, which is the result's then, and its peak; the code goes on in block ``name``.
        """
        code, lane = self.code, self.lane.llvm
        infinite = code.emit(f"fcmp uno {lane} {code.emit(f'fsub {lane} {peak}, {peak}')}, 0.0")
        code.do(f"br i1 {infinite}, label %{name}.endless, label %{name}")
        code.label(f"{name}.endless")
        ends, zeros = self._splat(peak), self._constant("0.0")
        loop = _Loop(code, f"{name}.each", f"{name}.endless", self.width)
        entries = self._entries(x, loop.index)
        at_end = self._compare("oeq", entries, ends)
        number = self._compare("ord", entries, entries)
        entries = self._select(at_end, zeros, self._select(number, self._constant(_MINUS_INFINITY), entries))
        if self.kernel.normalization.negated:
            entries = code.emit(f"fneg {self.vector} {entries}")
        store(code, entries, self.place(out, loop.index, self.storage.size), self.storage, lane, self.width)
        loop.end()
        code.do(f"br label %{name}")
        code.label(name)
        x = code.emit(f"phi ptr [{x}, %{before}], [{out}, %{loop.name}.done]")
        return x, code.emit(f"phi {lane} [{peak}, %{before}], [0.0, %{loop.name}.done]")

    def _weigh(self, x: str, kept: str, scalars: dict[str, str]) -> tuple[list[str], str]:
        """Write the exponentials and their sum; for a logarithm the sum of all below the peak, and the number of the others."""
        code, kernel, wide, counters = self.code, self.kernel, f"<{self.width} x double>", f"<{self.width} x i32>"
        counts = kernel.normalization.log_probability is not None
        zeros = "zeroinitializer"
        carried = [(wide, zeros)] * kernel.sum_parts + [(counters, zeros)] * counts
        loop = _Loop(code, "weigh", "levelled", self.width, carried)
        # Behind the end of the row there are as many peaks more, and are subtracted from the sum again.
        values = {**scalars, "x": self._entries_or(scalars["peak"], x, loop)}
        condition, moderate, general = kernel.exponentials
        (guard,) = self._spell([condition], values)
        all_moderate = self._reduce("and", "i1", guard)
        code.do(f"br i1 {all_moderate}, label %moderate, label %general")
        came = []
        for name, operations in (("moderate", moderate), ("general", general)):
            code.label(name)
            came.append(f"[{self._spell([operations], values)[0]}, %{name}]")
            code.do("br label %weighed")
        code.label("weighed")
        exponential = code.emit(f"phi {self.vector} {', '.join(came)}")
        counted = []
        if counts:
            top = self._compare("oge", values["x"], scalars["peak"])
            more = code.emit(f"sext {self.mask} {top} to {counters}")  # -1 for each
            counted = [code.emit(f"sub {counters} {loop.carried[-1]}, {more}")]
            exponential = self._select(top, self._constant("0.0"), exponential)
        else:
            store(code, exponential, self.place(kept, loop.index, self.lane.size), self.lane, self.lane.llvm, self.width)
        if self.lane.llvm == "float":
            exponential = code.emit(f"fpext {self.vector} {exponential} to {wide}")
        values = {**_named("sum", loop.carried[: kernel.sum_parts]), "term": exponential}
        sums = self._spell(_sum(kernel.sum_parts, term_parts=1), values, 0, "double")
        loop.end([*sums, *counted])
        sums = self._fold(sums)
        if counts:
            count = code.emit(f"sext i32 {self._reduce('add', 'i32', counted[0])} to i64")
            return sums, self._as_vector(code.emit(f"sub i64 {count}, {self._surplus}"))
        surplus = self._as_vector(code.emit(f"sub i64 0, {self._surplus}"))
        return self._spell(_sum(len(sums), term_parts=1), {**_named("sum", sums), "term": surplus}, 1, "double"), ""

    def _as_vector(self, integer: str) -> str:
        return self._splat(self.code.emit(f"sitofp i64 {integer} to double"), "double", 1)

    def _scale(self, kept: str, out: str, sums: list[str]) -> None:
        """Write the division of the exponentials by their sum: products with its reciprocal and what that leaves over."""
        code = self.code
        quotient = 1 / _number("sum", len(sums))
        assert quotient.low is not None
        parts = self._spell([quotient.high, quotient.low], _named("sum", sums), 1, "double")
        inverse, rest = map(self._scalar, parts)
        if self.lane.llvm == "float":
            rounded = self._narrowed(inverse)
            rest = code.emit(f"fsub double {inverse}, {code.emit(f'fpext float {rounded} to double')}")
            inverse, rest = rounded, self._narrowed(rest)
        scalars = {"inverse": self._splat(inverse), "inverse_rest": self._splat(rest)}
        loop = _Loop(code, "scale", "weigh.done", self.width)
        exponential = load(code, self.place(kept, loop.index, self.lane.size), self.lane, self.lane.llvm, self.width)
        self._finish(out, loop, {**scalars, "exponential": exponential})

    def _others(self, sums: list[str], ones: str) -> str:
        """Write the sum of all entries but one that is largest, which may be tiny."""
        others = _number("sum", len(sums)) + (_number("ones", 1) - 1)
        (result,) = self._spell([others.rounded()], {**_named("sum", sums), "ones": ones}, 1, "double")
        return self._scalar(result)

    def _logarithms(self, others: str) -> str:
        """Write log(1 + the sum of the others), for several rows at once."""
        lanes = EXACT if self.lane.llvm == "float" else DOUBLE
        return self._spell([lower(canonical(log1p(Symbol("x"))), lanes, {})], {"x": others}, TOGETHER, "double")[0]

    def _subtract(self, x: str, out: str, values: dict[str, str]) -> None:
        """Write the subtraction of the logarithm of the sum."""
        loop = _Loop(self.code, "subtract", "again", self.width)
        self._finish(out, loop, {**values, "x": self._entries(x, loop.index)})

    def _scalar(self, vector: str) -> str:
        return self.code.emit(f"extractelement <1 x double> {vector}, i32 0")

    def _finish(self, out: str, loop: _Loop, values: dict[str, str]) -> None:
        (result,) = self._spell([self.kernel.result], values)
        place = self.place(out, loop.index, self.storage.size)
        store(self.code, result, place, self.storage, self.lane.llvm, self.width)
        loop.end()


class _Loop:
    """A loop from block ``name`` to ``name.end``, with values that it carries along: types and first values."""

    def __init__(
        self,
        code: Code,
        name: str,
        before: str,
        step: int | str,
        carried: Sequence[tuple[str, str]] = (),
        *,
        start: str = "0",
        limit: str = "%size",
    ) -> None:
        self.name, self._code, self._before, self._step, self._limit = name, code, before, step, limit
        self.index = f"%{name}.i"
        self.carried = [f"%{name}.{k}" for k in range(len(carried))]
        self._first = carried
        code.do(f"br label %{name}")
        code.label(name)
        code.do(f"{self.index} = phi i64 [{start}, %{before}], [{self.index}.next, %{name}.end]")
        self._at = len(code.lines)
        code.lines += [""] * len(carried)  # until it is known what comes next

    def end(self, values: Sequence[str] = ()) -> None:
        """End the loop with the next values; the code goes on in ``name.done``."""
        code, name = self._code, self.name
        code.do(f"br label %{name}.end")
        code.label(f"{name}.end")
        for k, (value, (kind, first)) in enumerate(zip(values, self._first, strict=True)):
            phi = f"{self.carried[k]} = phi {kind} [{first}, %{self._before}], [{value}, %{name}.end]"
            code.lines[self._at + k] = f"  {phi}"
        code.do(f"{self.index}.next = add i64 {self.index}, {self._step}")
        again = code.emit(f"icmp slt i64 {self.index}.next, {self._limit}")
        code.do(f"br i1 {again}, label %{name}, label %{name}.done")
        code.label(f"{name}.done")


class _Waiting:
    """Rows that wait for the logarithms of their sums: where they are, their peaks, their sums."""

    def __init__(self, code: Code, lane: Storage) -> None:
        self._code = code
        self._kinds = {"ptr": 8, lane.llvm: lane.size, "sum": 8}
        self._rooms = {key: self._code.emit(f"alloca [{TOGETHER} x i64], align 64") for key in self._kinds}
        self._code.do(f"store <{TOGETHER} x double> zeroinitializer, ptr {self._rooms['sum']}, align 64")

    def _places(self, position: str) -> list[tuple[str, str]]:
        places = []
        for key, size in self._kinds.items():
            offset = self._code.emit(f"mul i64 {position}, {size}")
            place = self._code.emit(f"getelementptr i8, ptr {self._rooms[key]}, i64 {offset}")
            places.append(("double" if key == "sum" else key, place))
        return places

    def put(self, position: str, *values: str) -> None:
        """Note a row, its peak and its sum."""
        for (kind, place), value in zip(self._places(position), values, strict=True):
            self._code.do(f"store {kind} {value}, ptr {place}")

    def get(self, position: str) -> list[str]:
        """Load a row, its peak and its sum, or what has replaced it."""
        return [self._code.emit(f"load {kind}, ptr {place}") for kind, place in self._places(position)]

    def replace_sums(self, function: Callable[[str], str]) -> None:
        """Replace all sums at once."""
        vector, room = f"<{TOGETHER} x double>", self._rooms["sum"]
        result = function(self._code.emit(f"load {vector}, ptr {room}, align 64"))
        self._code.do(f"store {vector} {result}, ptr {room}, align 64")


# --- running it ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Compiled:
    """A compiled function over rows, and what its caller has to know."""

    function: Callable[..., None]
    kernel: RowsKernel
    size: int
    """Bytes of an element."""
    kept: int
    """Bytes of an exponential for which there has to be a place, if the result is none."""


@lru_cache(maxsize=64)
def _compiled(normalization: Normalization, dtype: str, exact: bool, tempered: bool) -> _Compiled:
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 4, *[ctypes.c_double] * 2)
    kernel = RowsKernel(normalization, STORAGES[dtype], _lanes(dtype, exact), tempered)
    made = compiler()
    function = prototype(made.compile_text(RowsModule(kernel, made.target).text_of_rows(), "rows", kernel))
    kept = 0 if kernel.keeps_exponentials else STORAGES[kernel.lanes.element].size
    return _Compiled(function, kernel, kernel.storage.size, kept)


def _lanes(dtype: str, exact: bool) -> Lanes:
    return PLAIN_DOUBLE if dtype == "float64" else EXACT if exact else SINGLE


def can_temper(temperature: float, dtype: str, *, exact: bool = False) -> bool:
    """Whether a temperature is a normal number in the arithmetic for a dtype."""
    if temperature == 1:
        return True
    kind = np.finfo(_lanes(dtype, exact).element)
    return 4 * float(kind.tiny) <= temperature <= float(kind.max) / 4


def run(
    normalization: Normalization,
    dtype: str,
    x: int,
    out: int,
    shape: tuple[int, int],
    temperature: float = 1.0,
    *,
    exact: bool = False,
) -> None:
    """Normalize rows, on several threads if there are many.

    Parameters
    ----------
    normalization : Normalization
    dtype : str
        NumPy's name of the floating dtype of x and out.
    x, out : int
        Addresses of contiguous elements, which do not overlap.
    shape : tuple of int
        The number of rows and that of the elements of each, neither of them 0.
    temperature : float
        One that :func:`can_temper` says yes to.
    exact : bool
        Whether float32 and narrower results are computed in float64.
    """
    made = _compiled(normalization, dtype, exact, temperature != 1)
    count, size = shape
    width, bytes_of_row = made.kernel.width, size * made.size
    high = temperature if temperature == 1 else float(np.dtype(made.kernel.lanes.element).type(temperature))
    halved = (high / 2, (temperature - high) / 2)  # as the entries are then
    numbers = (size, max(1, min(TOGETHER, _CACHED // size)), *halved)

    def compute(x: int, out: int, kept: int | None, count: int) -> None:
        # Exponentials that the result has no room for lie in the same place for every row.
        made.function(x, out, out if kept is None else kept, bytes_of_row if kept is None else 0, count, *numbers)

    def work(rows: slice) -> None:
        room = ctypes.create_string_buffer((size + width) * made.kept) if made.kept else None
        kept = None if room is None else ctypes.addressof(room)
        first, count = rows.start * bytes_of_row, rows.stop - rows.start
        # The last rows, whose vectors run over what is behind them, need a place with room.
        last = min(count, -(-(-size % width) // size))
        if count > last:
            compute(x + first, out + first, kept, count - last)
        if last:
            here, length = first + (count - last) * bytes_of_row, last * bytes_of_row
            given, result = (ctypes.create_string_buffer(length + width * made.size) for _ in range(2))
            ctypes.memmove(given, x + here, length)
            compute(ctypes.addressof(given), ctypes.addressof(result), kept, last)
            ctypes.memmove(out + here, result, length)

    threads.share_rows(work, count, size)
