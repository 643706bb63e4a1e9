"""One bit per element: conditions packed eight to a byte, and products that read them.

The slope of a piecewise-linear function takes two values; which of them is all that its backward pass has to know. The passes
here work on memory that their caller owns, contiguous, and know nothing of the array library that it comes from.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache

from nonlin.formula.expression import Constant, Expression, Symbol
from nonlin.formula.primitives import where
from nonlin.kernels.kernel import Kernel, width_of
from nonlin.kernels.lowering import lower_condition
from nonlin.kernels.number import PLAIN_DOUBLE, SINGLE, Lanes
from nonlin.kernels.storage import BITS, LINE, STORAGES, STREAMED, Storage
from nonlin.kernels.ufunc import compiler


def pack(condition: Expression, dtype: str, x: int, bits: int, count: int) -> None:
    """Write whether a condition holds for each element, the first one in the lowest bit.

    Parameters
    ----------
    condition : Expression
        Of the symbol ``x``.
    dtype : str
        NumPy's name of the floating dtype of x.
    x, bits : int
        Addresses: of ``count`` elements, and of ``ceil(count/8)`` bytes.
    count : int

    Examples
    --------
    >>> import numpy as np
    >>> from nonlin.formula import Symbol
    >>> from nonlin.kernels.bits import pack
    >>> x, bits = np.array([-1.0, 2.0, 3.0]), np.empty(1, np.uint8)
    >>> pack(Symbol("x") > 0, "float64", x.ctypes.data, bits.ctypes.data, 3)
    >>> print(bits)
    [6]
    """
    storage = STORAGES[dtype]
    function = _packing(condition, storage)
    _run(function, function, (storage,), BITS, (x,), bits, count)


def multiply(dtype: str, dy: int, bits: int, slopes: tuple[float, float], dx: int, count: int) -> None:
    """Multiply each element by the first slope where its bit is 0, and by the second one where it is 1.

    A slope of 0 gives 0, whatever the element is.

    Parameters
    ----------
    dtype : str
        NumPy's name of the floating dtype of dy and dx.
    dy, bits, dx : int
        Addresses.
    slopes : tuple of float
    count : int
        Number of elements.

    Examples
    --------
    >>> import numpy as np
    >>> from nonlin.kernels.bits import multiply
    >>> dy, dx, bits = np.array([1.0, 2.0, np.inf]), np.empty(3), np.array([0b011], np.uint8)
    >>> multiply("float64", dy.ctypes.data, bits.ctypes.data, (0.0, 1.0), dx.ctypes.data, 3)
    >>> print(dx)
    [1. 2. 0.]
    """
    storage = STORAGES[dtype]
    streamed = count * storage.size >= STREAMED and dx % LINE == 0 and dx != dy
    function, plain = (_multiplying(slopes, storage, way) for way in (streamed, False))
    _run(function, plain, (storage, BITS), storage, (dy, bits), dx, count)


def _lanes_of(storage: Storage) -> Lanes:
    return PLAIN_DOUBLE if storage.name == "float64" else SINGLE


@lru_cache(maxsize=256)
def _packing(condition: Expression, storage: Storage) -> Callable[..., None]:
    lanes = _lanes_of(storage)
    return _compiled(Kernel((lower_condition(condition, lanes),), lanes.element, (("x", storage),), (BITS,)))


@lru_cache(maxsize=256)
def _multiplying(slopes: tuple[float, float], storage: Storage, streamed: bool) -> Callable[..., None]:
    lanes = _lanes_of(storage)
    dy = Symbol("dy")
    zero, one = (Constant(slope) * dy for slope in slopes)
    product = where(Symbol("bits") > 0, one, zero)
    return _compiled(Kernel((product,), lanes.element, (("dy", storage), ("bits", BITS)), (storage,)), streamed=streamed)


def _compiled(kernel: Kernel, *, streamed: bool = False) -> Callable[..., None]:
    pointers, numbers = len(kernel.inputs) + 3, len(kernel.inputs) + 1
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers)
    return prototype(compiler().compile_run(kernel, streamed=streamed))


def _run(
    function: Callable[..., None],
    plain: Callable[..., None],
    inputs: tuple[Storage, ...],
    output: Storage,
    places: Sequence[int],
    result: int,
    count: int,
) -> None:
    """Run a pass over whole vectors, and a plain one over what is left, in a vector's room of its own."""
    width = width_of(_lanes_of(inputs[0]).element)
    steps = [storage.size for storage in inputs]
    whole = count - count % width
    if whole:
        function(*places, result, None, None, whole, *steps)
    left = count - whole
    if not left:
        return
    rooms = [ctypes.create_string_buffer(width * 8) for _ in places]
    for room, place, storage in zip(rooms, places, inputs, strict=True):
        ctypes.memmove(room, place + storage.bytes_of(whole), storage.bytes_of(left))
    last = ctypes.create_string_buffer(width * 8)
    plain(*rooms, last, None, None, width, *steps)
    ctypes.memmove(result + output.bytes_of(whole), last, output.bytes_of(left))
