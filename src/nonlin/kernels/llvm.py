"""Machine operations as LLVM code: vectors of lanes, and the loop that a NumPy ufunc calls.

The text of the intermediate representation is written directly; llvmlite only parses and compiles it.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from nonlin.formula.expression import Application, Expression
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling
from nonlin.kernels.number import Lanes


@dataclass(frozen=True)
class Storage:
    """How an array's elements lie in memory."""

    name: str
    """NumPy's name of the dtype."""
    llvm: str
    size: int
    signed: bool = True

    @property
    def is_integer(self) -> bool:
        """Whether the dtype holds integers."""
        return self.name.startswith(("int", "uint"))

    def bytes_of(self, count: int) -> int:
        """How many bytes so many elements take."""
        return -(-count // 8) if self is BITS else count * self.size


#: Conditions, one bit each, the first in the lowest bit of a byte.
BITS = Storage("bits", "i1", 0)

STORAGES: dict[str, Storage] = {
    "float16": Storage("float16", "half", 2),
    "bfloat16": Storage("bfloat16", "i16", 2),
    "float32": Storage("float32", "float", 4),
    "float64": Storage("float64", "double", 8),
    **{
        f"{'' if signed else 'u'}int{bits}": Storage(f"{'' if signed else 'u'}int{bits}", f"i{bits}", bits // 8, signed)
        for bits in (8, 16, 32, 64)
        for signed in (True, False)
    },
}


def width_of(lanes: Lanes | None) -> int:
    """How many elements are computed at once, at most."""
    return 8 if lanes is not None and lanes.element == "float64" else 16


@dataclass(frozen=True)
class Kernel:
    """What is computed for a vector of elements, in straight-line code."""

    operations: tuple[Expression, ...]
    """Machine operations for each result in floating lanes; the formulas themselves for integers."""
    lanes: Lanes | None
    """None computes in the integers that come in."""
    inputs: tuple[tuple[str, Storage], ...]
    """Name and storage of each operand, in order."""
    output: Storage
    """Storage of every result."""
    guard: Expression | None = None
    """What must hold for an element; one for which it does not is computed by another kernel."""
    may_overflow: bool = False
    """Whether a finite x can have an infinite result: NumPy is to be told when it happens."""
    may_be_invalid: bool = False
    """Whether an x that is not NaN can have a result that is."""

    widest: int = 16
    """Elements computed at once, at most."""

    @property
    def width(self) -> int:
        """Elements computed at once."""
        return min(self.widest, width_of(self.lanes))


@dataclass(frozen=True)
class Driver:
    """What a loop has to know of its kernel, whatever it computes: many kernels share one."""

    inputs: tuple[Storage, ...]
    output: Storage
    results: int
    width: int
    fixed: tuple[bool, ...]
    """Of which operands the kernel takes the value for granted."""
    may_overflow: bool
    may_be_invalid: bool


def overflow_threshold(storage: str) -> float:
    """Return the magnitude from which on results are infinite in a dtype."""
    if storage == "float64":
        return math.inf
    largest, half_step = {
        "float32": (3.4028234663852886e38, 2.0**103),
        "bfloat16": (3.3895313892515355e38, 2.0**119),
        "float16": (65504.0, 16.0),
    }[storage]
    return largest + half_step


def round_to(storage: Storage, value: float) -> Fraction:
    """Return a number as a floating dtype holds it."""
    if storage.name == "float16":
        return Fraction(struct.unpack("<e", struct.pack("<e", value))[0])
    if storage.name == "bfloat16":
        bits = int.from_bytes(struct.pack("<f", value), "little")
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000  # to nearest, ties to even
        return Fraction(struct.unpack("<f", bits.to_bytes(4, "little"))[0])
    return Fraction(struct.unpack("<f", struct.pack("<f", value))[0] if storage.name == "float32" else value)


_COMPARE = {"less": "olt", "less_equal": "ole", "greater": "ogt", "greater_equal": "oge"}
_COMPARE_INTEGER = {"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge"}


class _Body(Spelling[str]):
    """Writes the straight-line code of a kernel; a spelling is the name of a value."""

    language = "LLVM"
    binary: ClassVar[Mapping[str, str]]

    def __init__(self, width: int, element: str, values: Mapping[str, str]) -> None:
        self.width = width
        self.element = element
        self.vector = f"<{width} x {element}>"
        self.mask = f"<{width} x i1>"
        self.values = values
        self.lines: list[str] = []
        self.taken = 0
        """How many of the lines stand in a function already."""
        self.declarations: set[str] = set()
        self.table = {}
        self._spelled: dict[Expression, str] = {}

    def memo(self) -> dict[Expression, str]:
        return self._spelled

    def emit(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def symbol(self, name: str) -> str:
        return self.values[name]

    def splat(self, scalar: str, element: str | None = None) -> str:
        return "<" + ", ".join([f"{element or self.element} {scalar}"] * self.width) + ">"

    def application(self, primitive: Primitive, arguments: tuple[str, ...], node: Application) -> str:
        name = primitive.name
        if name in self.binary:
            return self.emit(f"{self.binary[name]} {self.vector} {arguments[0]}, {arguments[1]}")
        if name in ("logical_and", "logical_or"):
            return self.emit(f"{name.removeprefix('logical_')} {self.mask} {arguments[0]}, {arguments[1]}")
        if name in _COMPARE:
            return self.compare(name, *arguments)
        if name == "where":
            condition, a, b = arguments
            return self.emit(f"select {self.mask} {condition}, {self.vector} {a}, {self.vector} {b}")
        method = getattr(self, f"emit_{name}", None)
        return method(*arguments) if method is not None else super().application(primitive, arguments, node)

    def compare(self, name: str, a: str, b: str) -> str:
        raise NotImplementedError  # pragma: no cover


class _FloatingBody(_Body):
    binary: ClassVar[Mapping[str, str]] = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv"}

    def __init__(self, width: int, element: str, values: Mapping[str, str]) -> None:
        super().__init__(width, element, values)
        self.bits, self.mantissa, self.bias = (32, 23, 127) if element == "float" else (64, 52, 1023)
        self.integers = f"<{width} x i{self.bits}>"

    def constant(self, value: Fraction) -> str:
        return self.splat(_hexadecimal(value, self.element))

    def compare(self, name: str, a: str, b: str) -> str:
        return self.emit(f"fcmp {_COMPARE[name]} {self.vector} {a}, {b}")

    def intrinsic(self, name: str, *arguments: str) -> str:
        full = f"@llvm.{name}.v{self.width}f{self.bits}"
        self.declarations.add(f"declare {self.vector} {full}({', '.join([self.vector] * len(arguments))})")
        return self.emit(f"call {self.vector} {full}({', '.join(f'{self.vector} {a}' for a in arguments)})")

    def emit_negative(self, a: str) -> str:
        return self.emit(f"fneg {self.vector} {a}")

    def emit_absolute(self, a: str) -> str:
        return self.intrinsic("fabs", a)

    def emit_sqrt(self, a: str) -> str:
        return self.intrinsic("sqrt", a)

    def emit_rint(self, a: str) -> str:
        return self.intrinsic("nearbyint", a)

    def emit_fma(self, a: str, b: str, c: str) -> str:
        return self.intrinsic("fma", a, b, c)

    def emit_copy_sign(self, a: str, b: str) -> str:
        return self.intrinsic("copysign", a, b)

    def integer_splat(self, value: int) -> str:
        return self.splat(str(value), f"i{self.bits}")

    def integer(self, operation: str, a: str, b: str) -> str:
        return self.emit(f"{operation} {self.integers} {a}, {b}")

    def as_integers(self, a: str) -> str:
        return self.emit(f"bitcast {self.vector} {a} to {self.integers}")

    def as_floats(self, a: str) -> str:
        return self.emit(f"bitcast {self.integers} {a} to {self.vector}")

    def emit_scale(self, a: str, n: str) -> str:
        # 2^n as the product of two normal powers of two, since n may lie beyond the range of one; the second
        # multiplication is then the one rounding of a subnormal result.
        lowest, highest = -2 * (self.bias - 1), 2 * self.bias
        low, high = self.constant(Fraction(lowest)), self.constant(Fraction(highest))
        vanishes = self.compare("less", n, low)
        held = self.emit(f"select {self.mask} {vanishes}, {self.vector} {low}, {self.vector} {n}")
        above = self.compare("greater", held, high)
        held = self.emit(f"select {self.mask} {above}, {self.vector} {high}, {self.vector} {held}")
        # Adding 1.5*2^mantissa leaves the whole number n in the low bits.
        magic = Fraction(3 * 2 ** (self.mantissa - 1))
        shifted = self.emit(f"fadd {self.vector} {held}, {self.constant(magic)}")
        offset = int.from_bytes(_pack(magic, self.element), "little") - 2 * self.bias
        whole = self.integer("sub", self.as_integers(shifted), self.integer_splat(offset))
        first = self.integer("lshr", whole, self.integer_splat(1))
        second = self.integer("sub", whole, first)
        one, two = (self.as_floats(self.integer("shl", part, self.integer_splat(self.mantissa))) for part in (first, second))
        scaled = self.emit(f"fmul {self.vector} {self.emit(f'fmul {self.vector} {a}, {one}')}, {two}")
        return self.emit(f"select {self.mask} {vanishes}, {self.vector} {self.constant(Fraction(0))}, {self.vector} {scaled}")

    def emit_power_of_two(self, shifted: str) -> str:
        n = self.integer("shl", self.as_integers(shifted), self.integer_splat(self.mantissa))
        return self.as_floats(self.integer("add", n, self.integer_splat(self.bias << self.mantissa)))

    def emit_exponent(self, a: str) -> str:
        biased = self.integer("lshr", self.as_integers(a), self.integer_splat(self.mantissa))
        whole = self.integer("sub", biased, self.integer_splat(self.bias))
        return self.emit(f"sitofp {self.integers} {whole} to {self.vector}")

    def emit_significand(self, a: str) -> str:
        digits = self.integer("and", self.as_integers(a), self.integer_splat(2**self.mantissa - 1))
        return self.as_floats(self.integer("or", digits, self.integer_splat(self.bias << self.mantissa)))

    def _library(self, name: str, a: str, b: str, limit: str) -> str:
        helper = f"@large_{name}"
        self.declarations.add(_library_helper(name, self.width, self.element))
        return self.emit(f"call {self.vector} {helper}({self.vector} {a}, {self.vector} {b}, {self.vector} {limit})")

    def emit_library_sin(self, a: str, b: str, limit: str) -> str:
        return self._library("sin", a, b, limit)

    def emit_library_cos(self, a: str, b: str, limit: str) -> str:
        return self._library("cos", a, b, limit)


class _IntegerBody(_Body):
    binary: ClassVar[Mapping[str, str]] = {"add": "add", "subtract": "sub", "multiply": "mul"}

    def __init__(self, width: int, storage: Storage, values: Mapping[str, str]) -> None:
        super().__init__(width, storage.llvm, values)
        self.order = "s" if storage.signed else "u"

    def constant(self, value: Fraction) -> str:
        return self.splat(str(int(value)))

    def compare(self, name: str, a: str, b: str) -> str:
        return self.emit(f"icmp {self.order}{_COMPARE_INTEGER[name]} {self.vector} {a}, {b}")

    def emit_negative(self, a: str) -> str:
        return self.emit(f"sub {self.vector} zeroinitializer, {a}")


def _pack(value: Fraction, element: str) -> bytes:
    return struct.pack("<f" if element == "float" else "<d", float(value))


def bits_of(storage: Storage, value: Fraction) -> int:
    """Return a number's bits in a floating dtype that holds it."""
    if storage.name == "bfloat16":
        return int.from_bytes(struct.pack("<f", float(value)), "little") >> 16
    return int.from_bytes(struct.pack({2: "<e", 4: "<f", 8: "<d"}[storage.size], float(value)), "little")


def _hexadecimal(value: Fraction, element: str) -> str:
    # LLVM writes floats, too, as the bits of the equal double.
    rounded = struct.unpack("<f", _pack(value, element))[0] if element == "float" else float(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"


def _library_helper(name: str, width: int, element: str) -> str:
    vector = f"<{width} x {element}>"
    double = element == "double"
    widen = "" if double else "  %wide = fpext float %lane to double\n"
    narrow = "" if double else "  %result = fptrunc double %exact to float\n"
    lane, result = ("%lane", "%exact") if double else ("%wide", "%result")
    bits = 32 if element == "float" else 64
    return f"""declare {vector} @llvm.fabs.v{width}f{bits}({vector})
declare i1 @llvm.vector.reduce.or.v{width}i1(<{width} x i1>)
declare double @{name}(double)
define internal {vector} @large_{name}({vector} %a, {vector} %b, {vector} %limit) noinline {{
  %size = call {vector} @llvm.fabs.v{width}f{bits}({vector} %a)
  %large = fcmp ogt {vector} %size, %limit
  %any = call i1 @llvm.vector.reduce.or.v{width}i1(<{width} x i1> %large)
  br i1 %any, label %each, label %done
each:
  %i = phi i32 [0, %0], [%next, %skip]
  %now = phi {vector} [%b, %0], [%then, %skip]
  %is = extractelement <{width} x i1> %large, i32 %i
  br i1 %is, label %call, label %skip
call:
  %lane = extractelement {vector} %a, i32 %i
{widen}  %exact = call double @{name}(double {lane})
{narrow}  %with = insertelement {vector} %now, {element} {result}, i32 %i
  br label %skip
skip:
  %then = phi {vector} [%now, %each], [%with, %call]
  %next = add i32 %i, 1
  %end = icmp eq i32 %next, {width}
  br i1 %end, label %done, label %each
done:
  %all = phi {vector} [%b, %0], [%then, %skip]
  ret {vector} %all
}}"""


class _Code:
    """Lines of a function, with fresh names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def emit(self, text: str) -> str:
        self.count += 1
        name = f"%t{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def function(self, head: str) -> str:
        """Close the code as a function that returns nothing."""
        return "\n".join([f"define {head} {{", *self.lines, "  ret void", "}"])


def _load(code: _Code, pointer: str, storage: Storage, element: str, width: int) -> str:
    """Load a vector and convert it to lanes."""
    raw = f"<{width} x {storage.llvm}>"
    if storage is BITS:
        mask = code.emit(f"bitcast i{width} {code.emit(f'load i{width}, ptr {pointer}, align 1')} to {raw}")
        return code.emit(f"uitofp {raw} {mask} to <{width} x {element}>")
    lanes = f"<{width} x {element}>"
    value = code.emit(f"load {raw}, ptr {pointer}, align {storage.size}")
    if storage.name == "bfloat16":
        wide = f"<{width} x i32>"
        value = code.emit(f"zext {raw} {value} to {wide}")
        value = code.emit(f"shl {wide} {value}, <{', '.join(['i32 16'] * width)}>")
        raw = f"<{width} x float>"
        value = code.emit(f"bitcast {wide} {value} to {raw}")
    elif storage.is_integer:
        if not element.startswith("i"):
            value = code.emit(f"{'si' if storage.signed else 'ui'}tofp {raw} {value} to {lanes}")
        return value
    elif storage.name == "float16" and element == "double":
        # Through float: a direct conversion would be a call to a library that is not there.
        value = code.emit(f"fpext {raw} {value} to <{width} x float>")
        raw = f"<{width} x float>"
    if raw == lanes:
        return value
    return code.emit(f"{'fpext' if storage.name != 'float64' else 'fptrunc'} {raw} {value} to {lanes}")


def _store(
    code: _Code, value: str, pointer: str, storage: Storage, element: str, width: int, *, streamed: bool = False
) -> None:
    """Convert lanes, rounding once, and store them; streamed, around the cache, at an address that is a multiple of LINE."""
    raw = f"<{width} x {storage.llvm}>"
    if storage is BITS:
        code.do(f"store i{width} {code.emit(f'bitcast {raw} {value} to i{width}')}, ptr {pointer}, align 1")
        return
    if element == "double" and storage.llvm != "double":
        value = code.emit(f"fptrunc <{width} x double> {value} to <{width} x float>")
    if storage.name == "float16":
        value = code.emit(f"fptrunc <{width} x float> {value} to {raw}")
    elif storage.name == "bfloat16":
        value = _round_to_bfloat16(code, value, width)
    how = f"align {width * storage.size}, !nontemporal !0" if streamed else f"align {storage.size}"
    code.do(f"store {raw} {value}, ptr {pointer}, {how}")


def _round_to_bfloat16(code: _Code, value: str, width: int) -> str:
    wide = f"<{width} x i32>"

    def splat(number: int) -> str:
        return f"<{', '.join([f'i32 {number}'] * width)}>"

    bits = code.emit(f"bitcast <{width} x float> {value} to {wide}")
    last = code.emit(f"and {wide} {code.emit(f'lshr {wide} {bits}, {splat(16)}')}, {splat(1)}")
    carried = code.emit(f"add {wide} {code.emit(f'add {wide} {bits}, {splat(0x7FFF)}')}, {last}")
    quiet = code.emit(f"or {wide} {bits}, {splat(0x400000)}")
    nan = code.emit(f"fcmp uno <{width} x float> {value}, {value}")
    chosen = code.emit(f"select <{width} x i1> {nan}, {wide} {quiet}, {wide} {carried}")
    return code.emit(f"trunc {wide} {code.emit(f'lshr {wide} {chosen}, {splat(16)}')} to <{width} x i16>")


@dataclass(frozen=True)
class Target:
    """The processor that code is made for."""

    triple: str
    cpu: str
    features: str = ""

    @property
    def is_x86(self) -> bool:
        """Whether it is an x86-64."""
        return self.triple.startswith("x86_64")

    @property
    def is_arm64(self) -> bool:
        """Whether it is an AArch64."""
        return self.triple.startswith(("aarch64", "arm64"))


#: Elements of a block that is gathered before it is computed, or moved on past the cache after.
_BLOCK = 512
#: Results of so many bytes are not kept in the cache: no cache holds them until they are read.
STREAMED = 2**24
LINE = 64

#: What a loop's ``data`` points to: addresses, and then the bits of the operands' values that a kernel takes for granted.
LOOP, OTHER, RUN, OUTSIDE, FIXED = range(5)


class _Module:
    """Writes a module of one function."""

    def __init__(self, target: Target, inputs: tuple[Storage, ...], output: Storage, results: int) -> None:
        self.target = target
        self.operands, self.output = inputs, output
        self.storages = [*inputs, *[output] * results]
        self.inputs = [f"%in{k}" for k in range(len(inputs))]
        self.outputs = [f"%out{k}" for k in range(results)]
        self.pointers = [*self.inputs, *self.outputs]
        self.declarations: set[str] = set()
        self.code = _Code()

    def text(self, head: str) -> str:
        """Return the module's text."""
        attributes = f'"target-cpu"="{self.target.cpu}" "target-features"="{self.target.features}"'
        lines = sorted({line for block in self.declarations for line in _split_declarations(block)})
        function = self.code.function(f"{head} {attributes}")
        return "\n".join([f'target triple = "{self.target.triple}"', *lines, function, "!0 = !{i32 1}", ""])

    def place(self, pointer: str, index: str, step: str | int, storage: Storage | None = None) -> str:
        """Return the address of an element; of bits, that of the byte."""
        if storage is BITS:
            return self.code.emit(f"getelementptr i8, ptr {pointer}, i64 {self.code.emit(f'lshr i64 {index}, 3')}")
        return self.code.emit(f"getelementptr i8, ptr {pointer}, i64 {self.code.emit(f'mul i64 {index}, {step}')}")

    def cell(self, number: int | str, kind: str = "ptr") -> str:
        """Load what ``data`` holds."""
        return self.code.emit(f"load {kind}, ptr {self.code.emit(f'getelementptr ptr, ptr %data, i64 {number}')}")


class _KernelModule(_Module):
    """Writes a kernel as a function over whole vectors of contiguous elements."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        super().__init__(target, tuple(storage for _, storage in kernel.inputs), kernel.output, len(kernel.operations))
        self.kernel = kernel

    def _load_inputs(self, places: list[str]) -> _Body:
        kernel = self.kernel
        writer: _Body
        if kernel.lanes is None:
            writer = _IntegerBody(kernel.width, kernel.output, {})
        else:
            writer = _FloatingBody(kernel.width, "float" if kernel.lanes.element == "float32" else "double", {})
        writer.values = {
            name: _load(self.code, place, storage, writer.element, writer.width)
            for (name, storage), place in zip(kernel.inputs, places, strict=False)
        }
        return writer

    def _take_lines(self, writer: _Body) -> None:
        """Move what the writer has written so far into the function."""
        self.code.lines += writer.lines[writer.taken :]
        writer.taken = len(writer.lines)
        self.declarations |= writer.declarations

    def _store_results(self, writer: _Body, results: list[str], places: list[str], *, streamed: bool = False) -> None:
        for result, place in zip(results, places[len(self.operands) :], strict=True):
            _store(self.code, result, place, self.output, writer.element, writer.width, streamed=streamed)

    def outside(self) -> str:
        """Write ``void outside(char **places, void *data, intp count)``: elements that another kernel's guard excludes."""
        code, kernel = self.code, self.kernel
        for k, name in enumerate(self.pointers):
            code.do(f"{name} = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %places, i64 {k}')}")
        code.do("br label %part")
        code.label("part")
        code.do("%i = phi i64 [0, %0], [%next, %part]")
        places = [self.place(name, "%i", s.size) for name, s in zip(self.pointers, self.storages, strict=True)]
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
        spare = [code.emit(f"alloca <{kernel.width} x {self.output.llvm}>") for _ in self.outputs]
        listed = code.emit(f"alloca [{len(self.pointers)} x ptr]")
        code.do("br label %pass")
        code.label("pass")
        code.do("%i = phi i64 [0, %0], [%next, %done]")
        steps: list[str | int] = [*(f"%step{k}" for k in range(len(self.operands))), *[self.output.size] * len(self.outputs)]
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
        if isinstance(writer, _FloatingBody) and (kernel.may_overflow or kernel.may_be_invalid):
            self.declarations |= _note_status(code, kernel, writer, writer.values["x"], results, "%status")
        self._store_results(writer, results, places, streamed=streamed)
        code.do(f"%next = add i64 %i, {kernel.width}")
        code.do(f"br i1 {code.emit('icmp slt i64 %next, %count')}, label %pass, label %end")
        code.label("end")
        if streamed:
            code.do("fence seq_cst")  # such stores are ordered by nothing else
        return self.text(f"void @run({_run_signature(len(self.operands), len(self.outputs))})")

    def _outside_guard(self, writer: _Body, guard: str, results: list[str], places: list[str], listed: str) -> list[str]:
        """Compute every element by the kernel that its own value asks for, whatever stands beside it."""
        code = self.code
        reduce = f"i1 @llvm.vector.reduce.and.v{writer.width}i1"
        self.declarations.add(f"declare {reduce}({writer.mask})")
        code.do(f"br i1 {code.emit(f'call {reduce}({writer.mask} {guard})')}, label %done, label %outside")
        code.label("outside")
        for k, place in enumerate(places):
            code.do(f"store ptr {place}, ptr {code.emit(f'getelementptr ptr, ptr {listed}, i64 {k}')}")
        code.do(f"call void {self.cell(OUTSIDE)}(ptr {listed}, ptr %data, i64 {writer.width})")
        mixed = []
        for result, place in zip(results, places[len(self.operands) :], strict=True):
            other = _load(code, place, self.output, writer.element, writer.width)
            mixed.append(code.emit(f"select {writer.mask} {guard}, {writer.vector} {result}, {writer.vector} {other}"))
        code.do("br label %done")
        code.label("done")
        return [
            code.emit(f"phi {writer.vector} [{result}, %pass], [{other}, %outside]")
            for result, other in zip(results, mixed, strict=True)
        ]


def _run_signature(inputs: int, results: int, prefix: str = "%") -> str:
    names = [*(f"in{k}" for k in range(inputs)), *(f"out{k}" for k in range(results)), "status", "data"]
    numbers = ["count", *(f"step{k}" for k in range(inputs))]
    return ", ".join([*(f"ptr {prefix}{name}" for name in names), *(f"i64 {prefix}{name}" for name in numbers)])


class _DriverModule(_Module):
    """Writes the loop that NumPy calls: ``void loop(char **args, intp *dims, intp *steps, void *data)``.

    Contiguous and unmoving operands go to the kernel's ``run`` as they are. Strided ones, and what is left at the end, are
    gathered in buffers first and the results scattered.
    """

    def __init__(self, driver: Driver, target: Target) -> None:
        super().__init__(target, driver.inputs, driver.output, driver.results)
        self.driver = driver

    def _call_run(self, places: list[str], count: str, steps: list[str]) -> None:
        pointers = [*places, "%status", "%data"]
        arguments = [*(f"ptr {pointer}" for pointer in pointers), *(f"i64 {number}" for number in [count, *steps])]
        self.code.do(f"call void %run({', '.join(arguments)})")

    def _leave_unless_fixed(self, count: str, steps: list[str]) -> None:
        """Write the call of another loop for operands that have not the values taken for granted."""
        code = self.code
        known, single = "true", code.emit(f"icmp eq i64 {count}, 1")
        for k, storage in enumerate(self.operands):
            if self.driver.fixed[k]:
                kind = f"i{8 * storage.size}"
                item = code.emit(f"load {kind}, ptr {self.inputs[k]}, align 1")
                same = code.emit(f"icmp eq {kind} {item}, {self.cell(FIXED + k, kind)}")
                still = code.emit(f"or i1 {single}, {code.emit(f'icmp eq i64 {steps[k]}, 0')}")
                known = code.emit(f"and i1 {known}, {code.emit(f'and i1 {same}, {still}')}")
        code.do(f"br i1 {known}, label %fixed, label %other")
        code.label("other")
        data = self.cell(OTHER)
        code.do(f"call void {code.emit(f'load ptr, ptr {data}')}(ptr %args, ptr %dims, ptr %steps, ptr {data})")
        code.do("ret void")

    def _pays_to_stream(self, whole: str) -> str:
        """Write the condition under which results go around the cache."""
        code, size = self.code, self.output.size
        pays = code.emit(f"icmp sge i64 {whole}, {STREAMED // size}")
        address = code.emit(f"ptrtoint ptr {self.outputs[0]} to i64")
        aligned = code.emit(f"icmp eq i64 {code.emit(f'and i64 {address}, {size - 1}')}, 0")
        pays = code.emit(f"and i1 {pays}, {aligned}")
        for name in self.inputs:
            # In place the lines are in the cache already, and what is computed twice below would be wrong.
            pays = code.emit(f"and i1 {pays}, {code.emit(f'icmp ne ptr {name}, {self.outputs[0]}')}")
        return pays

    def _stream(self, places: list[str], whole: str, steps: list[str], buffer: str) -> str:
        """Write blocks computed in a buffer and moved on with stores that do not read the lines they replace.

        Returns how many elements are done when control leaves for ``rest`` from ``streamed``.
        """
        code, size = self.code, self.output.size
        code.label("stream")
        self._call_run(places, str(max(self.driver.width, LINE // size)), steps)  # up to the first element that is aligned
        address = code.emit(f"ptrtoint ptr {self.outputs[0]} to i64")
        skipped = code.emit(f"and i64 {code.emit(f'sub i64 0, {address}')}, {LINE - 1}")
        first = code.emit(f"udiv i64 {skipped}, {size}")
        final = code.emit(f"sub i64 {whole}, {_BLOCK}")
        code.do("br label %ahead")
        code.label("ahead")
        code.do(f"%at = phi i64 [{first}, %stream], [%onward, %moved]")
        here = [self.place(place, "%at", step) for place, step in zip(places, [*steps, str(size)], strict=True)]
        self._call_run([*here[:-1], buffer], str(_BLOCK), steps)
        code.do("br label %move")
        code.label("move")
        code.do("%m = phi i64 [0, %ahead], [%m1, %move]")
        line = f"<{LINE // 4} x i32>"
        item = code.emit(f"load {line}, ptr {self.place(buffer, '%m', 1)}, align {LINE}")
        code.do(f"store {line} {item}, ptr {self.place(here[-1], '%m', 1)}, align {LINE}, !nontemporal !0")
        code.do(f"%m1 = add i64 %m, {LINE}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %m1, {_BLOCK * size}')}, label %move, label %moved")
        code.label("moved")
        code.do(f"%onward = add i64 %at, {_BLOCK}")
        code.do(f"br i1 {code.emit(f'icmp sle i64 %onward, {final}')}, label %ahead, label %streamed")
        code.label("streamed")
        code.do("fence seq_cst")  # such stores are ordered by nothing else
        code.do("br label %rest")
        return "%onward"

    def loop(self) -> str:
        """Write ``loop``."""
        code, width = self.code, self.driver.width
        buffers = [code.emit(f"alloca [{_BLOCK} x {storage.llvm}], align 64") for storage in self.storages]
        flags = _save_flags(code, self.target)
        code.do("%status = alloca i32, align 4")
        code.do("store i32 0, ptr %status")
        count = code.emit("load i64, ptr %dims")
        code.do(f"%run = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %data, i64 {RUN}')}")
        steps, fits = [], []
        for k, (name, storage) in enumerate(zip(self.pointers, self.storages, strict=True)):
            code.do(f"{name} = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %args, i64 {k}')}")
            steps.append(code.emit(f"load i64, ptr {code.emit(f'getelementptr i64, ptr %steps, i64 {k}')}"))
            fits.append(code.emit(f"icmp eq i64 {steps[k]}, {storage.size}"))
        last = code.emit(f"sub i64 {count}, 1")
        code.do(f"br i1 {code.emit(f'icmp sgt i64 {count}, 0')}, label %spread, label %end")
        code.label("spread")
        if any(self.driver.fixed):
            self._leave_unless_fixed(count, steps)
        else:
            code.do("br label %fixed")
        code.label("fixed")
        # An operand that does not move is spread over a vector once.
        starts, paces = [], []
        for k, storage in enumerate(self.operands):
            constant = code.emit(f"icmp eq i64 {steps[k]}, 0")
            item = code.emit(f"load {storage.llvm}, ptr {self.inputs[k]}, align 1")
            vector = f"<{width} x {storage.llvm}>"
            spread = code.emit(f"insertelement {vector} poison, {storage.llvm} {item}, i32 0")
            spread = code.emit(f"shufflevector {vector} {spread}, {vector} poison, <{width} x i32> zeroinitializer")
            code.do(f"store {vector} {spread}, ptr {buffers[k]}, align {storage.size}")
            starts.append(code.emit(f"select i1 {constant}, ptr {buffers[k]}, ptr {self.inputs[k]}"))
            paces.append(code.emit(f"select i1 {constant}, i64 0, i64 {storage.size}"))
            fits[k] = code.emit(f"or i1 {fits[k]}, {constant}")
        direct = fits[0]
        for fit in fits[1:]:
            direct = code.emit(f"and i1 {direct}, {fit}")
        whole = code.emit(f"select i1 {direct}, i64 {code.emit(f'and i64 {count}, {-width}')}, i64 0")
        code.do(f"br i1 {code.emit(f'icmp sgt i64 {whole}, 0')}, label %direct, label %rest")
        code.label("direct")
        streams = self.driver.results == 1
        if streams:
            code.do(f"br i1 {self._pays_to_stream(whole)}, label %stream, label %plain")
            streamed = self._stream([*starts, *self.outputs], whole, paces, buffers[-1])
            code.label("plain")
        self._call_run([*starts, *self.outputs], whole, paces)
        code.do("br label %rest")
        code.label("rest")
        came = f", [{streamed}, %streamed]" if streams else ""
        done = code.emit(f"phi i64 [0, %fixed], [{whole}, %{'plain' if streams else 'direct'}]{came}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 {done}, {count}')}, label %block, label %end")
        self._blocks(buffers, steps, count, last, done)
        code.label("end")
        # Lanes that are computed and discarded, and comparisons with NaN, set status bits that NumPy would report.
        self.declarations |= _restore_flags(code, self.target, flags)
        if self.driver.may_overflow:
            _raise_status(code, "%status", 1, "fmul", "0x7E37E43C8800759C", "0x7E37E43C8800759C")  # 1e300 * 1e300
        if self.driver.may_be_invalid:
            _raise_status(code, "%status", 2, "fsub", "0x7FF0000000000000", "0x7FF0000000000000")  # inf - inf
        return self.text("void @loop(ptr %args, ptr %dims, ptr %steps, ptr %data)")

    def _blocks(self, buffers: list[str], steps: list[str], count: str, last: str, done: str) -> None:
        """Write the way of all other elements: gathered, the last block filled up, computed, scattered."""
        code, width, inputs = self.code, self.driver.width, len(self.operands)
        code.label("block")
        code.do(f"%start = phi i64 [{done}, %rest], [%after, %scattered]")
        left = code.emit(f"sub i64 {count}, %start")
        small = code.emit(f"icmp slt i64 {left}, {_BLOCK}")
        size = code.emit(f"select i1 {small}, i64 {left}, i64 {_BLOCK}")
        full = code.emit(f"and i64 {code.emit(f'add i64 {size}, {width - 1}')}, {-width}")
        code.do("br label %gather")
        code.label("gather")
        code.do("%j = phi i64 [0, %block], [%j1, %gather]")
        position = code.emit("add i64 %start, %j")
        inside = code.emit(f"icmp slt i64 {position}, {last}")
        position = code.emit(f"select i1 {inside}, i64 {position}, i64 {last}")
        for k, storage in enumerate(self.operands):
            item = code.emit(f"load {storage.llvm}, ptr {self.place(self.inputs[k], position, steps[k])}, align 1")
            code.do(f"store {storage.llvm} {item}, ptr {self.place(buffers[k], '%j', storage.size)}")
        code.do("%j1 = add i64 %j, 1")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %j1, {full}')}, label %gather, label %gathered")
        code.label("gathered")
        self._call_run(buffers, full, [str(storage.size) for storage in self.operands])
        code.do("br label %scatter")
        code.label("scatter")
        code.do("%k = phi i64 [0, %gathered], [%k1, %scatter]")
        position = code.emit("add i64 %start, %k")
        kind = self.output.llvm
        for k, name in enumerate(self.outputs, inputs):
            item = code.emit(f"load {kind}, ptr {self.place(buffers[k], '%k', self.output.size)}")
            code.do(f"store {kind} {item}, ptr {self.place(name, position, steps[k])}, align 1")
        code.do("%k1 = add i64 %k, 1")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %k1, {size}')}, label %scatter, label %scattered")
        code.label("scattered")
        code.do(f"%after = add i64 %start, {size}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %after, {count}')}, label %block, label %end")


# --- floating-point status ------------------------------------------------------------------------------------------------


def _save_flags(code: _Code, target: Target) -> str:
    if target.is_x86:
        flags = code.emit("alloca i32, align 4")
        code.do(f"call void @llvm.x86.sse.stmxcsr(ptr {flags})")
        return flags
    return code.emit("call i64 @llvm.aarch64.get.fpsr()") if target.is_arm64 else ""


def _restore_flags(code: _Code, target: Target, flags: str) -> set[str]:
    if target.is_x86:
        code.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {flags})")
        return {"declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)"}
    if target.is_arm64:
        code.do(f"call void @llvm.aarch64.set.fpsr(i64 {flags})")
        return {"declare i64 @llvm.aarch64.get.fpsr()\ndeclare void @llvm.aarch64.set.fpsr(i64)"}
    return set()


def _note_status(code: _Code, kernel: Kernel, body: _FloatingBody, x: str, results: list[str], status: str) -> set[str]:
    """Set bits in ``status`` where a finite x overflows, or one that is not NaN gives NaN."""
    threshold = overflow_threshold(kernel.output.name)
    if body.element == "float" and kernel.output.name == "float32":
        threshold = math.inf  # in lanes of the same type the result has overflowed already
    infinity = body.splat("0x7FF0000000000000")
    limit = infinity if threshold == math.inf else body.constant(Fraction(threshold))
    bits: list[tuple[int, str]] = []
    for result in results:
        if kernel.may_overflow:
            finite = body.emit(f"fcmp olt {body.vector} {body.emit_absolute(x)}, {infinity}")
            over = body.emit(f"fcmp oge {body.vector} {body.emit_absolute(result)}, {limit}")
            bits.append((1, body.emit(f"and {body.mask} {finite}, {over}")))
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


def _raise_status(code: _Code, status: str, bit: int, operation: str, a: str, b: str) -> None:
    """Do an operation that sets a status bit, if it was noted."""
    before = code.emit(f"load i32, ptr {status}")
    noted = code.emit(f"icmp ne i32 {code.emit(f'and i32 {before}, {bit}')}, 0")
    code.do(f"br i1 {noted}, label %raise{bit}, label %quiet{bit}")
    code.label(f"raise{bit}")
    slot = code.emit("alloca double")
    code.do(f"store volatile double {a}, ptr {slot}")
    value = code.emit(f"load volatile double, ptr {slot}")
    result = code.emit(f"{operation} double {value}, {b}")
    code.do(f"store volatile double {result}, ptr {slot}")
    code.do(f"br label %quiet{bit}")
    code.label(f"quiet{bit}")


def _split_declarations(block: str) -> list[str]:
    """Split off the declarations in front of a helper function, so that each stands in the module once."""
    lines = block.split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith("define")), len(lines))
    rest = "\n".join(lines[first:])
    return [*lines[:first], rest] if rest else lines


class Compiler:
    """Compiles kernels for one processor.

    Parameters
    ----------
    target : Target, optional
        The processor; by default the one this runs on, or the one that the environment variable NONLIN_CPU names in LLVM's
        terms, for example ``x86-64-v3``.
    """

    def __init__(self, target: Target | None = None) -> None:
        from llvmlite import binding

        self._binding = binding
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        cpu = os.environ.get("NONLIN_CPU")
        if target is None and cpu:
            target = Target(binding.get_process_triple(), cpu)
        elif target is None:
            features = binding.get_host_cpu_features()
            # 512-bit registers where they are: LLVM avoids them by default for code that uses them only now and then.
            features["prefer-256-bit"] = False
            target = Target(binding.get_process_triple(), binding.get_host_cpu_name(), features.flatten())
        else:  # for another kind of processor
            binding.initialize_all_targets()
            binding.initialize_all_asmprinters()
        self.target = target
        self._engines: list[Any] = []
        self._loops: dict[Driver, int] = {}

    def _machine(self, *, jit: bool) -> Any:
        found = self._binding.Target.from_triple(self.target.triple)
        return found.create_target_machine(cpu=self.target.cpu, features=self.target.features, opt=2, jit=jit)

    def assembly(self, kernel: Kernel) -> str:
        """Return the machine code of a kernel as text."""
        module = self._binding.parse_assembly(_KernelModule(kernel, self.target).run())
        module.verify()
        return str(self._machine(jit=False).emit_assembly(module))

    def compile_run(self, kernel: Kernel, *, streamed: bool = False) -> int:
        """Compile a kernel for whole vectors and return the address of its ``run``, valid for the life of the process.

        A streamed one writes around the cache, to results that begin at a multiple of 64 bytes.
        """
        return self.compile_text(_KernelModule(kernel, self.target).run(streamed=streamed), "run")

    def compile_outside(self, kernel: Kernel) -> int:
        """Compile a kernel for what another one's guard excludes and return the address of its ``outside``."""
        return self.compile_text(_KernelModule(kernel, self.target).outside(), "outside")

    def loop(self, driver: Driver) -> int:
        """Return the address of the loop that drives such kernels."""
        if driver not in self._loops:
            self._loops[driver] = self.compile_text(_DriverModule(driver, self.target).loop(), "loop")
        return self._loops[driver]

    def compile_text(self, source: str, name: str) -> int:
        """Compile a module and return the address of a function."""
        module = self._binding.parse_assembly(source)
        engine = self._binding.create_mcjit_compiler(module, self._machine(jit=True))
        engine.finalize_object()
        self._engines.append(engine)
        return int(engine.get_function_address(name))
