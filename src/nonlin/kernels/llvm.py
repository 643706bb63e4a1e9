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


@dataclass(frozen=True)
class Body:
    """Straight-line code for a vector of elements."""

    operations: tuple[Expression, ...]
    """Machine operations for each result in floating lanes; the formulas themselves for integers."""
    lanes: Lanes | None
    """None computes in the integers that come in."""
    guard: Expression | None = None
    """What must hold for every element of the vector."""


@dataclass(frozen=True)
class Kernel:
    """What one compiled loop computes."""

    body: Body
    inputs: tuple[tuple[str, Storage], ...]
    """Name and storage of each operand, in order."""
    output: Storage
    """Storage of every result."""
    fast: Body | None = None
    """What is done instead of ``body`` where its guard holds."""
    may_overflow: bool = False
    """Whether a finite x can have an infinite result: NumPy is to be told when it happens."""
    may_be_invalid: bool = False
    """Whether an x that is not NaN can have a result that is."""


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


def _store(code: _Code, value: str, pointer: str, storage: Storage, element: str, width: int) -> None:
    """Convert lanes, rounding once, and store them."""
    raw = f"<{width} x {storage.llvm}>"
    if element == "double" and storage.llvm != "double":
        value = code.emit(f"fptrunc <{width} x double> {value} to <{width} x float>")
    if storage.name == "float16":
        value = code.emit(f"fptrunc <{width} x float> {value} to {raw}")
    elif storage.name == "bfloat16":
        value = _round_to_bfloat16(code, value, width)
    code.do(f"store {raw} {value}, ptr {pointer}, align {storage.size}")


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


def kernel_source(kernel: Kernel, target: Target) -> str:
    """Return the LLVM text of a module with the loop ``void loop(char **args, intp *dims, intp *steps, void *data)``.

    Vectors of contiguous elements are computed by a function ``run``; where operands are strided, and at the end, blocks of
    elements are gathered in buffers first and its results scattered, so that there is one body for everything.
    """
    writer = _Writer(kernel, target)
    functions = [writer.run(), writer.loop()]
    if kernel.fast is not None:
        functions.insert(0, writer.general())
    lines = sorted({line for block in writer.declarations for line in _split_declarations(block)})
    return "\n".join([f'target triple = "{target.triple}"', *lines, *functions, ""])


#: elements of a block that is gathered before it is computed
_BLOCK = 256


class _Writer:
    """Writes the functions of a kernel's module."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel = kernel
        self.target = target
        self.operands = [storage for _, storage in kernel.inputs]
        self.results = len(kernel.body.operations)
        self.storages = [*self.operands, *[kernel.output] * self.results]
        self.width = self.width_of(kernel.fast or kernel.body)
        self.declarations: set[str] = set()
        self.attributes = f'"target-cpu"="{target.cpu}" "target-features"="{target.features}"'
        self.inputs = [f"%in{k}" for k in range(len(self.operands))]
        self.outputs = [f"%out{k}" for k in range(self.results)]
        pointers = ", ".join(f"ptr {name}" for name in [*self.inputs, *self.outputs, "%status"])
        self.signature = pointers

    @staticmethod
    def width_of(body: Body) -> int:
        """Elements that a body computes at once."""
        return 8 if body.lanes is not None and body.lanes.element == "float64" else 16

    def _body(self, body: Body, values: dict[str, str]) -> _Body:
        """Return a writer for a body's lanes."""
        width = self.width_of(body)
        if body.lanes is None:
            return _IntegerBody(width, self.kernel.output, values)
        return _FloatingBody(width, "float" if body.lanes.element == "float32" else "double", values)

    def _load_inputs(self, code: _Code, body: Body, places: list[str]) -> _Body:
        writer = self._body(body, {})
        writer.values = {
            name: _load(code, place, storage, writer.element, writer.width)
            for (name, storage), place in zip(self.kernel.inputs, places, strict=False)
        }
        return writer

    def _take_lines(self, code: _Code, writer: _Body) -> None:
        """Move what the writer has written so far into the function."""
        code.lines += writer.lines[writer.taken :]
        writer.taken = len(writer.lines)
        self.declarations |= writer.declarations

    def _store_results(self, code: _Code, writer: _Body, results: list[str], places: list[str]) -> None:
        for result, place in zip(results, places[len(self.operands) :], strict=True):
            _store(code, result, place, self.kernel.output, writer.element, writer.width)

    def _places(self, code: _Code, index: str, steps: list[str] | None = None) -> list[str]:
        """Return the addresses of elements number ``index`` in every operand and result."""
        names = [*self.inputs, *self.outputs]
        places = []
        for k, (name, storage) in enumerate(zip(names, self.storages, strict=True)):
            step = str(storage.size) if steps is None or k >= len(steps) else steps[k]
            places.append(code.emit(f"getelementptr i8, ptr {name}, i64 {code.emit(f'mul i64 {index}, {step}')}"))
        return places

    def general(self) -> str:
        """Write ``general``: one vector, whatever its elements are."""
        code, body = _Code(), self.kernel.body
        code.do("br label %part")
        code.label("part")
        code.do("%i = phi i64 [0, %0], [%next, %part]")
        places = self._places(code, "%i")
        writer = self._load_inputs(code, body, places)
        results = [writer(operations) for operations in body.operations]
        self._take_lines(code, writer)
        self._store_results(code, writer, results, places)
        code.do(f"%next = add i64 %i, {writer.width}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %next, {self.width}')}, label %part, label %end")
        code.label("end")
        pointers = ", ".join(f"ptr {name}" for name in [*self.inputs, *self.outputs])
        return code.function(f"internal void @general({pointers}) noinline {self.attributes}")

    def run(self) -> str:
        """Write ``run``: ``count`` elements, whole vectors; operand k moves on by ``%step{k}`` bytes an element."""
        code, kernel = _Code(), self.kernel
        body = kernel.fast or kernel.body
        spare = [code.emit(f"alloca <{self.width} x {kernel.output.llvm}>") for _ in self.outputs]
        code.do("br label %pass")
        code.label("pass")
        code.do("%i = phi i64 [0, %0], [%next, %done]")
        places = self._places(code, "%i", [f"%step{k}" for k in range(len(self.operands))])
        writer = self._load_inputs(code, body, places)
        guard = None if body.guard is None else writer(body.guard)
        results = [writer(operations) for operations in body.operations]
        self._take_lines(code, writer)
        if guard is None:
            code.do("br label %done")
            code.label("done")
        else:
            reduce = f"i1 @llvm.vector.reduce.and.v{self.width}i1"
            self.declarations.add(f"declare {reduce}({writer.mask})")
            code.do(f"br i1 {code.emit(f'call {reduce}({writer.mask} {guard})')}, label %done, label %outside")
            # Every element is computed by the body that its own value asks for, whatever stands beside it.
            code.label("outside")
            arguments = [*places[: len(self.operands)], *spare]
            code.do(f"call void @general({', '.join(f'ptr {place}' for place in arguments)})")
            mixed = []
            for result, place in zip(results, spare, strict=True):
                other = _load(code, place, kernel.output, writer.element, self.width)
                mixed.append(code.emit(f"select {writer.mask} {guard}, {writer.vector} {result}, {writer.vector} {other}"))
            code.do("br label %done")
            code.label("done")
            results = [
                code.emit(f"phi {writer.vector} [{result}, %pass], [{other}, %outside]")
                for result, other in zip(results, mixed, strict=True)
            ]
        if isinstance(writer, _FloatingBody) and (kernel.may_overflow or kernel.may_be_invalid):
            self.declarations |= _note_status(code, kernel, writer, writer.values["x"], results, "%status")
        self._store_results(code, writer, results, places)
        code.do(f"%next = add i64 %i, {self.width}")
        code.do(f"br i1 {code.emit('icmp slt i64 %next, %count')}, label %pass, label %end")
        code.label("end")
        steps = "".join(f", i64 %step{k}" for k in range(len(self.operands)))
        return code.function(f"internal void @run({self.signature}, i64 %count{steps}) noinline {self.attributes}")

    def _call_run(self, code: _Code, places: list[str], count: str, steps: list[str]) -> None:
        arguments = [*(f"ptr {place}" for place in [*places, "%status"]), *(f"i64 {n}" for n in [count, *steps])]
        code.do(f"call void @run({', '.join(arguments)})")

    def loop(self) -> str:
        """Write ``loop``, which NumPy calls."""
        code, width, inputs = _Code(), self.width, len(self.operands)
        buffers = [code.emit(f"alloca [{_BLOCK} x {storage.llvm}], align 64") for storage in self.storages]
        flags = _save_flags(code, self.target)
        code.do("%status = alloca i32, align 4")
        code.do("store i32 0, ptr %status")
        count = code.emit("load i64, ptr %dims")
        steps, fits = [], []
        for k, (name, storage) in enumerate(zip([*self.inputs, *self.outputs], self.storages, strict=True)):
            code.do(f"{name} = load ptr, ptr {code.emit(f'getelementptr ptr, ptr %args, i64 {k}')}")
            steps.append(code.emit(f"load i64, ptr {code.emit(f'getelementptr i64, ptr %steps, i64 {k}')}"))
            fits.append(code.emit(f"icmp eq i64 {steps[k]}, {storage.size}"))
        last = code.emit(f"sub i64 {count}, 1")
        code.do(f"br i1 {code.emit(f'icmp sgt i64 {count}, 0')}, label %spread, label %end")
        # An operand that does not move is spread over a vector once.
        code.label("spread")
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
        self._call_run(code, [*starts, *self.outputs], whole, paces)
        code.do("br label %rest")
        code.label("rest")
        code.do(f"br i1 {code.emit(f'icmp slt i64 {whole}, {count}')}, label %block, label %end")
        # Blocks: gathered, the last one filled up with its last element, computed, scattered.
        code.label("block")
        code.do(f"%start = phi i64 [{whole}, %rest], [%after, %scattered]")
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
            source = code.emit(f"getelementptr i8, ptr {self.inputs[k]}, i64 {code.emit(f'mul i64 {position}, {steps[k]}')}")
            item = code.emit(f"load {storage.llvm}, ptr {source}, align 1")
            code.do(f"store {storage.llvm} {item}, ptr {code.emit(f'getelementptr {storage.llvm}, ptr {buffers[k]}, i64 %j')}")
        code.do("%j1 = add i64 %j, 1")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %j1, {full}')}, label %gather, label %gathered")
        code.label("gathered")
        self._call_run(code, buffers, full, [str(storage.size) for storage in self.operands])
        code.do("br label %scatter")
        code.label("scatter")
        code.do("%k = phi i64 [0, %gathered], [%k1, %scatter]")
        position = code.emit("add i64 %start, %k")
        for k in range(inputs, len(self.storages)):
            storage = self.storages[k]
            item = code.emit(f"load {storage.llvm}, ptr {code.emit(f'getelementptr {storage.llvm}, ptr {buffers[k]}, i64 %k')}")
            offset = code.emit(f"mul i64 {position}, {steps[k]}")
            to = code.emit(f"getelementptr i8, ptr {self.outputs[k - inputs]}, i64 {offset}")
            code.do(f"store {storage.llvm} {item}, ptr {to}, align 1")
        code.do("%k1 = add i64 %k, 1")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %k1, {size}')}, label %scatter, label %scattered")
        code.label("scattered")
        code.do(f"%after = add i64 %start, {size}")
        code.do(f"br i1 {code.emit(f'icmp slt i64 %after, {count}')}, label %block, label %end")
        code.label("end")
        # Lanes that are computed and discarded, and comparisons with NaN, set status bits that NumPy would report.
        self.declarations |= _restore_flags(code, self.target, flags)
        if self.kernel.may_overflow:
            _raise_status(code, "%status", 1, "fmul", "0x7E37E43C8800759C", "0x7E37E43C8800759C")  # 1e300 * 1e300
        if self.kernel.may_be_invalid:
            _raise_status(code, "%status", 2, "fsub", "0x7FF0000000000000", "0x7FF0000000000000")  # inf - inf
        return code.function(f"void @loop(ptr %args, ptr %dims, ptr %steps, ptr %data) {self.attributes}")


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

    def _machine(self, *, jit: bool) -> Any:
        found = self._binding.Target.from_triple(self.target.triple)
        return found.create_target_machine(cpu=self.target.cpu, features=self.target.features, opt=2, jit=jit)

    def assembly(self, kernel: Kernel) -> str:
        """Return the machine code as text."""
        module = self._binding.parse_assembly(kernel_source(kernel, self.target))
        module.verify()
        return str(self._machine(jit=False).emit_assembly(module))

    def compile(self, kernel: Kernel) -> int:
        """Compile a kernel and return the address of its loop, valid for the life of the process."""
        return self.compile_text(kernel_source(kernel, self.target))

    def compile_text(self, source: str) -> int:
        """Compile a module and return the address of its function ``loop``."""
        module = self._binding.parse_assembly(source)
        engine = self._binding.create_mcjit_compiler(module, self._machine(jit=True))
        engine.finalize_object()
        self._engines.append(engine)
        return int(engine.get_function_address("loop"))
