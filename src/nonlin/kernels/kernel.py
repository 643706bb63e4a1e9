"""A kernel: the code that computes results for whole vectors of contiguous elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from nonlin.formula.expression import Application, Expression, postorder
from nonlin.kernels.llvm import Body, Code, FloatingBody, IntegerBody, Module, Target, load, load_mask, store
from nonlin.kernels.storage import BITS, TABLE, Storage, overflow_threshold

#: What a loop's ``data`` points to: addresses, where its results are (see nonlin.kernels.first_call), and then the bits of the
#: operands' values that a kernel takes for granted.
LOOP, OTHER, RUN, OUTSIDE, RESULTS, FIXED = range(6)


#: About how many cycles an operation's result takes to come; 1 where nothing else is said. A processor that waits for one has
#: room to begin with the next elements only as far as its schedulers reach: these are then better done side by side.
_LATENCY = {"add": 3, "subtract": 3, "multiply": 3, "fma": 4, "divide": 11, "sqrt": 14}
#: Below so many cycles of the longest chain for each operation it has enough to do with a few elements.
_WAITING = 1.5
#: A chain so long is worth four times as many elements, if the operations are not too many: intermediate results would have to
#: be put down in memory, and compiling takes longer.
_LONG = 52
_MANY = 60
#: So few operations do not pay for going round a loop.
_FEW = 16


def width_of(element: str | None) -> int:
    """How many elements are computed at once."""
    return 8 if element == "float64" else 16


@dataclass(frozen=True)
class Kernel:
    """What is computed for a vector of elements, in straight-line code."""

    operations: tuple[Expression, ...]
    """Machine operations for each result in floating lanes; the formulas themselves for integers."""
    element: str | None
    """Type of the lanes: ``float32`` or ``float64``; None computes in the integers that come in."""
    inputs: tuple[tuple[str, Storage], ...]
    """Name and storage of each operand, in order."""
    outputs: tuple[Storage, ...]
    """Storage of each result."""
    guard: Expression | None = None
    """What must hold for an element; one for which it does not is computed by another kernel."""
    may_overflow: bool = False
    """Whether a finite x can have an infinite result: NumPy is to be told when it happens."""
    may_be_invalid: bool = False
    """Whether an x that is not NaN can have a result that is."""

    widest: int = 64
    """Elements computed at once, at most."""

    @cached_property
    def width(self) -> int:
        """Elements computed at once."""
        width = width_of(self.element)
        if self.element is not None:
            count, chain = self._count_and_chain()
            if count <= _FEW:
                width *= 2
            elif chain >= _WAITING * count:
                width *= 4 if chain >= _LONG and count <= _MANY else 2
        return min(self.widest, width)

    def _count_and_chain(self) -> tuple[int, int]:
        """Return the number of operations, and the cycles of the longest chain of them that wait for each other."""
        ready: dict[Expression, int] = {}
        nodes = dict.fromkeys(node for result in self.operations for node in postorder(result))
        for node in nodes:
            ready[node] = max((ready[argument] for argument in node.arguments), default=0)
            if isinstance(node, Application):
                ready[node] += _LATENCY.get(node.primitive.name, 1)
        count = sum(isinstance(node, Application) for node in nodes)
        return count, max(ready[result] for result in self.operations)


class KernelModule(Module):
    """Writes a kernel as a function over whole vectors of contiguous elements."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        super().__init__(target, tuple(storage for _, storage in kernel.inputs), kernel.outputs)
        self.kernel = kernel

    def _load_inputs(self, places: list[str]) -> Body:
        kernel = self.kernel
        writer: Body
        if kernel.element is None:
            writer = IntegerBody(kernel.width, kernel.outputs[0], {})
        else:
            writer = FloatingBody(kernel.width, "float" if kernel.element == "float32" else "double", {})
        writer.values = {
            name: place if storage is TABLE else load(self.code, place, storage, writer.element, writer.width)
            for (name, storage), place in zip(kernel.inputs, places, strict=False)
        }
        return writer

    def _take_lines(self, writer: Body) -> None:
        """Move what the writer has written so far into the function."""
        self.code.lines += writer.lines[writer.taken :]
        writer.taken = len(writer.lines)
        self.declarations |= writer.declarations

    def _store_results(self, writer: Body, results: list[str], places: list[str], *, streamed: bool = False) -> None:
        for result, place, storage in zip(results, places[len(self.operands) :], self.results, strict=True):
            store(self.code, result, place, storage, writer.element, writer.width, streamed=streamed)

    def outside(self) -> str:
        """Write ``void outside(char **places, void *data, intp count)``: elements that another kernel's guard excludes."""
        code, kernel = self.code, self.kernel
        for k, name in enumerate(self.pointers):
            code.do(f"{name} = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %places, i64 {k}')}")
        code.do("br label %part")
        code.label("part")
        code.do("%i = phi i64 [0, %0], [%next, %part]")
        places = [self.place(name, "%i", s.size, s) for name, s in zip(self.pointers, self.storages, strict=True)]
        writer = self._load_inputs(places)
        results = [writer(operations) for operations in kernel.operations]
        self._take_lines(writer)
        self._store_results(writer, results, places)
        code.do(f"%next = add i64 %i, {kernel.width}")
        code.do(f"br i1 {code.emit('icmp slt i64 %next, %count')}, label %part, label %end")
        code.label("end")
        return self.text("void @outside(ptr %places, ptr %data, i64 %count)")

    def run(self, *, streamed: bool = False) -> str:
        """Write ``run``: ``count`` elements, whole vectors; operand k moves on by ``%step{k}`` bytes an element."""
        code, kernel = self.code, self.kernel
        spare = [code.emit(f"alloca <{kernel.width} x {storage.llvm}>") for storage in self.results]
        listed = code.emit(f"alloca [{len(self.pointers)} x ptr]")
        code.do("br label %pass")
        code.label("pass")
        code.do("%i = phi i64 [0, %0], [%next, %done]")
        paces = [f"%step{k}" for k in range(len(self.operands))]
        steps = [*paces, *(str(storage.size) for storage in self.results)]
        places = [
            self.place(name, "%i", step, storage)
            for name, step, storage in zip(self.pointers, steps, self.storages, strict=True)
        ]
        writer = self._load_inputs(places)
        guard = None if kernel.guard is None else writer(kernel.guard)
        results = [writer(operations) for operations in kernel.operations]
        self._take_lines(writer)
        if guard is None:
            code.do("br label %done")
            code.label("done")
        else:
            results = self._outside_guard(writer, guard, results, [*places[: len(self.operands)], *spare], listed)
        if isinstance(writer, FloatingBody) and (kernel.may_overflow or kernel.may_be_invalid):
            self.declarations |= note_status(code, kernel, writer, writer.values["x"], results, "%status")
        self._store_results(writer, results, places, streamed=streamed)
        code.do(f"%next = add i64 %i, {kernel.width}")
        code.do(f"br i1 {code.emit('icmp slt i64 %next, %count')}, label %pass, label %end")
        code.label("end")
        if streamed:
            code.do("fence seq_cst")  # such stores are ordered by nothing else
        pointers, numbers = [*self.pointers, "%status", "%data"], ["%count", *paces]
        arguments = [*(f"ptr {name}" for name in pointers), *(f"i64 {name}" for name in numbers)]
        return self.text(f"void @run({', '.join(arguments)})")

    def _holds_for_all(self, writer: Body, mask: str) -> str:
        """Write the test whether a mask is set for every lane."""
        code, width, bits = self.code, writer.width, 32 if writer.element == "float" else 64
        if self.target.has_mask_registers:
            reduce = f"i1 @llvm.vector.reduce.and.v{width}i1"
            self.declarations.add(f"declare {reduce}({writer.mask})")
            return code.emit(f"call {reduce}({writer.mask} {mask})")
        # As lanes, and by halves until they fit a register of 256 bits: LLVM would pack a longer mask step by step.
        lanes = code.emit(f"sext {writer.mask} {mask} to <{width} x i{bits}>")
        while width * bits > 256:
            width //= 2
            low, high = (
                code.emit(
                    f"shufflevector <{2 * width} x i{bits}> {lanes}, <{2 * width} x i{bits}> poison, "
                    f"<{width} x i32> <{', '.join(f'i32 {k}' for k in range(start, start + width))}>"
                )
                for start in (0, width)
            )
            lanes = code.emit(f"and <{width} x i{bits}> {low}, {high}")
        mask = code.emit(f"icmp slt <{width} x i{bits}> {lanes}, zeroinitializer")
        return code.emit(f"icmp eq i{width} {code.emit(f'bitcast <{width} x i1> {mask} to i{width}')}, -1")

    def _outside_guard(self, writer: Body, guard: str, results: list[str], places: list[str], listed: str) -> list[str]:
        """Compute every element by the kernel that its own value asks for, whatever stands beside it."""
        code = self.code
        inside = self._holds_for_all(writer, guard)
        code.do(f"br i1 {inside}, label %done, label %outside")
        code.label("outside")
        for k, place in enumerate(places):
            code.do(f"store ptr {place}, ptr {code.emit(f'getelementptr ptr, ptr {listed}, i64 {k}')}")
        code.do(f"call void {self.cell(OUTSIDE)}(ptr {listed}, ptr %data, i64 {writer.width})")
        mixed = []
        for result, place, storage in zip(results, places[len(self.operands) :], self.results, strict=True):
            if storage is BITS:
                kind, other = writer.mask, load_mask(code, place, writer.width)
            else:
                kind, other = writer.vector, load(code, place, storage, writer.element, writer.width)
            chosen = code.emit(f"select {writer.mask} {guard}, {kind} {result}, {kind} {other}")
            mixed.append((kind, result, chosen))
        code.do("br label %done")
        code.label("done")
        return [code.emit(f"phi {kind} [{result}, %pass], [{chosen}, %outside]") for kind, result, chosen in mixed]


def note_status(code: Code, kernel: Kernel, body: FloatingBody, x: str, results: list[str], status: str) -> set[str]:
    """Set bits in ``status`` where finite operands overflow, or an x that is not NaN gives NaN."""
    threshold = overflow_threshold(kernel.outputs[0].name)
    if body.element == "float" and kernel.outputs[0].name == "float32":
        threshold = math.inf  # in lanes of the same type the result has overflowed already
    infinity = body.splat("0x7FF0000000000000")
    limit = infinity if threshold == math.inf else body.constant(Fraction(threshold))
    bits: list[tuple[int, str]] = []
    for result in results:
        if kernel.may_overflow:
            over = body.emit(f"fcmp oge {body.vector} {body.emit_absolute(result)}, {limit}")
            for value in body.values.values():
                finite = body.emit(f"fcmp olt {body.vector} {body.emit_absolute(value)}, {infinity}")
                over = body.emit(f"and {body.mask} {over}, {finite}")
            bits.append((1, over))
        if kernel.may_be_invalid:
            number = body.emit(f"fcmp ord {body.vector} {x}, {x}")
            lost = body.emit(f"fcmp uno {body.vector} {result}, {result}")
            bits.append((2, body.emit(f"and {body.mask} {number}, {lost}")))
    code.lines += body.lines[body.taken :]
    body.taken = len(body.lines)
    reduce = f"i1 @llvm.vector.reduce.or.v{body.width}i1"
    for bit, mask in bits:
        seen = code.emit(f"call {reduce}({body.mask} {mask})")
        value = code.emit(f"select i1 {seen}, i32 {bit}, i32 0")
        before = code.emit(f"load i32, ptr {status}")
        code.do(f"store i32 {code.emit(f'or i32 {before}, {value}')}, ptr {status}")
    return body.declarations | {f"declare {reduce}({body.mask})"}
