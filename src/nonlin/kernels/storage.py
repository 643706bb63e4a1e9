"""How arrays lie in memory: dtypes by name, their sizes, what they can hold."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

#: Results of so many bytes are not kept in the cache: no cache holds them until they are read.
STREAMED = 2**24
#: Bytes of a cache line.
LINE = 64


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


#: A table of float32 that is looked up, the same for all elements.
TABLE = Storage("table", "float", 0)
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


def bits_of(storage: Storage, value: Fraction) -> int:
    """Return a number's bits in a floating dtype that holds it."""
    if storage.name == "bfloat16":
        return int.from_bytes(struct.pack("<f", float(value)), "little") >> 16
    return int.from_bytes(struct.pack({2: "<e", 4: "<f", 8: "<d"}[storage.size], float(value)), "little")
