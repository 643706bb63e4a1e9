"""Machine operations as LLVM code: vectors of lanes, written out as the text of the intermediate representation."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from nonlin.formula.expression import Application, Expression
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling
from nonlin.kernels.storage import BITS, Storage


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

    @property
    def has_mask_registers(self) -> bool:
        """Whether masks are bits in registers of their own, as with AVX-512."""
        return "+avx512f" in self.features


class Code:
    """Lines of a function, with fresh names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declarations: set[str] = set()
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


class Module:
    """Writes a module of one function."""

    def __init__(self, target: Target, inputs: tuple[Storage, ...], outputs: tuple[Storage, ...]) -> None:
        self.target = target
        self.operands, self.results = inputs, outputs
        self.storages = [*inputs, *outputs]
        self.inputs = [f"%in{k}" for k in range(len(inputs))]
        self.outputs = [f"%out{k}" for k in range(len(outputs))]
        self.pointers = [*self.inputs, *self.outputs]
        self.code = Code()
        self.declarations = self.code.declarations

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


_COMPARE = {"less": "olt", "less_equal": "ole", "greater": "ogt", "greater_equal": "oge"}
_COMPARE_INTEGER = {"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge"}


class Body(Spelling[str]):
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


class FloatingBody(Body):
    """Lanes of floats or doubles."""

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
        return self.as_floats(self.integer("shl", self.as_integers(shifted), self.integer_splat(self.mantissa)))

    def emit_exponent(self, a: str) -> str:
        biased = self.integer("lshr", self.as_integers(a), self.integer_splat(self.mantissa))
        whole = self.integer("sub", biased, self.integer_splat(self.bias))
        return self.emit(f"sitofp {self.integers} {whole} to {self.vector}")

    def emit_significand(self, a: str) -> str:
        digits = self.integer("and", self.as_integers(a), self.integer_splat(2**self.mantissa - 1))
        return self.as_floats(self.integer("or", digits, self.integer_splat(self.bias << self.mantissa)))

    def emit_lookup(self, table: str, a: str) -> str:
        places = f"<{self.width} x i32>"
        index = self.emit(f"fptosi {self.vector} {a} to {places}")
        pointers = self.emit(f"getelementptr float, ptr {table}, {places} {index}")
        found, name = f"<{self.width} x float>", f"@llvm.masked.gather.v{self.width}f32.v{self.width}p0"
        self.declarations.add(f"declare {found} {name}(<{self.width} x ptr>, i32, {self.mask}, {found})")
        every = self.splat("true", "i1")
        return self.emit(f"call {found} {name}(<{self.width} x ptr> {pointers}, i32 4, {self.mask} {every}, {found} poison)")

    def _library(self, name: str, a: str, b: str, limit: str) -> str:
        helper = f"@large_{name}"
        self.declarations.add(_library_helper(name, self.width, self.element))
        return self.emit(f"call {self.vector} {helper}({self.vector} {a}, {self.vector} {b}, {self.vector} {limit})")

    def emit_library_sin(self, a: str, b: str, limit: str) -> str:
        return self._library("sin", a, b, limit)

    def emit_library_cos(self, a: str, b: str, limit: str) -> str:
        return self._library("cos", a, b, limit)


class IntegerBody(Body):
    """Lanes of integers, as they come."""

    binary: ClassVar[Mapping[str, str]] = {"add": "add", "subtract": "sub", "multiply": "mul"}

    def __init__(self, width: int, storage: Storage, values: Mapping[str, str]) -> None:
        super().__init__(width, storage.llvm, values)
        self.order = "s" if storage.signed else "u"

    def constant(self, value: Fraction) -> str:
        return self.splat(str(int(value)))

    def compare(self, name: str, a: str, b: str) -> str:
        return self.emit(f"icmp {self.order}{_COMPARE_INTEGER[name]} {self.vector} {a}, {b}")

    def emit_is_number(self, a: str) -> str:
        return self.compare("less_equal", a, a)  # always, and LLVM knows

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


def load_mask(code: Code, pointer: str, width: int) -> str:
    """Load a vector of conditions."""
    return code.emit(f"bitcast i{width} {code.emit(f'load i{width}, ptr {pointer}, align 1')} to <{width} x i1>")


def load(code: Code, pointer: str, storage: Storage, element: str, width: int) -> str:
    """Load a vector and convert it to lanes."""
    raw = f"<{width} x {storage.llvm}>"
    if storage is BITS:
        return code.emit(f"uitofp {raw} {load_mask(code, pointer, width)} to <{width} x {element}>")
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


def store(code: Code, value: str, pointer: str, storage: Storage, element: str, width: int, *, streamed: bool = False) -> None:
    """Convert lanes, rounding once, and store them; streamed, around the cache, at an address that is a multiple of LINE."""
    raw = f"<{width} x {storage.llvm}>"
    if storage is BITS:
        code.do(f"store i{width} {code.emit(f'bitcast {raw} {value} to i{width}')}, ptr {pointer}, align 1")
        return
    if storage.is_integer and not element.startswith("i"):
        value = _whole(code, value, storage, element, width)
    elif element == "double" and storage.llvm != "double":
        value = code.emit(f"fptrunc <{width} x double> {value} to <{width} x float>")
    if storage.name == "float16":
        value = code.emit(f"fptrunc <{width} x float> {value} to {raw}")
    elif storage.name == "bfloat16":
        value = _round_to_bfloat16(code, value, width)
    how = f"align {width * storage.size}, !nontemporal !0" if streamed else f"align {storage.size}"
    code.do(f"store {raw} {value}, ptr {pointer}, {how}")


def _whole(code: Code, value: str, storage: Storage, element: str, width: int) -> str:
    """Round lanes towards zero to an integer dtype, held in its range; what is not a number becomes the smallest."""
    lanes, raw, size = f"<{width} x {element}>", f"<{width} x {storage.llvm}>", 8 * storage.size
    low, high = (-(2 ** (size - 1)), 2 ** (size - 1) - 1) if storage.signed else (0, 2**size - 1)
    if size > 16:
        raise ValueError(f"{storage.name} holds more than the lanes can say")
    for comparison, bound in (("ogt", low), ("olt", high)):
        bounds = "<" + ", ".join([f"{element} {float(bound)!r}"] * width) + ">"
        inside = code.emit(f"fcmp {comparison} {lanes} {value}, {bounds}")
        value = code.emit(f"select <{width} x i1> {inside}, {lanes} {value}, {lanes} {bounds}")
    wide = code.emit(f"fptosi {lanes} {value} to <{width} x i32>")
    return code.emit(f"trunc <{width} x i32> {wide} to {raw}")


def _round_to_bfloat16(code: Code, value: str, width: int) -> str:
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


def _split_declarations(block: str) -> list[str]:
    """Split off the declarations in front of a helper function, so that each stands in the module once."""
    lines = block.split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith("define")), len(lines))
    rest = "\n".join(lines[first:])
    return [*lines[:first], rest] if rest else lines
