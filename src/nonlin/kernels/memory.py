"""Memory of big results: mappings on huge pages, used again when the last view of a result is gone.

A big array costs more to get than to fill: the system hands out its pages one by one, zeroed, at the first touch, and takes
them back when the array dies. So a freed buffer is kept, within a bound, and the next result of about that size takes it over.

What such a buffer held before is not cleared. A result overwrites all of it before anybody sees it; calls that leave parts
unwritten (``where=``) do not come here. An array from here has a ``base`` that owns its memory, and NumPy neither resizes it
in place nor reuses it for a temporary, as it does with arrays that own theirs.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
_MIB = 2**20
_HUGE_PAGE = 2 * _MIB
#: Smaller results are NumPy's affair: malloc keeps their memory itself (glibc up to 32 MB), so reuse gains nothing.
MINIMUM = 16 * _MIB
#: A buffer may be so much larger than what is asked for.
_SLACK = 1.25
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Statistics:
    """What the memory of big results is doing, in bytes and in numbers of arrays."""

    limit: int
    """So many bytes are kept for later at most."""
    kept: int
    """Bytes kept for later now."""
    lent: int
    """Bytes of results that are alive."""
    made: int
    """How many results got a new buffer."""
    reused: int
    """How many results got one that was used before."""


def _bytes(value: int | str) -> int:
    """Read a number of bytes: ``1000000``, ``"512M"``."""
    text = str(value).strip().upper().removesuffix("IB").removesuffix("B")
    digits, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS and text[-1:] else (text, "")
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not digits.strip().isdecimal():
        raise ValueError(f"limit must be a number of bytes of at least 0, such as 0, 1000000 or '512M', got {value!r}")
    return int(digits) * _UNITS[unit]


def _default_limit() -> int:
    given = os.environ.get("NONLIN_MEMORY_LIMIT")
    if given is not None:
        return _bytes(given)
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 2**33
    return min(512 * _MIB, memory // 16)


def _new(size: int) -> Array:
    """Return bytes in fresh memory, on huge pages where the platform has them; multiples of their size."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    # Private: a shared mapping is a file to the system, and on small pages. One page more, for a start on a page's border.
    try:
        mapping = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # no memory, or no mappings left
        return np.empty(size, np.uint8)
    with suppress(OSError):  # the system may be built without
        mapping.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(mapping, np.uint8)
    start = -whole.ctypes.data % _HUGE_PAGE
    return whole[start : start + size]


class _Lease:
    """Owns a buffer on behalf of a result: the base of the array, so it dies with the last view."""

    __slots__ = ("__array_interface__", "_buffer", "_pool")

    def __init__(self, buffer: Array, size: int, pool: _Pool) -> None:
        self._buffer, self._pool = buffer, pool
        interface = {"data": (buffer.ctypes.data, False), "shape": (size,), "typestr": "|u1", "version": 3}
        self.__array_interface__ = interface

    def __del__(self) -> None:
        self._pool.give_back(self._buffer)


class _Pool:
    """Buffers that are free, oldest first.

    The last view of a result may die anywhere: in another thread, or within a garbage collection that starts while this
    thread holds the lock. So giving back waits for nothing: it leaves the buffer at the door, and whoever has the lock, or
    gets it without waiting, takes it in.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._at_the_door: deque[Array] = deque()
        self._free: list[Array] = []
        self._lent = self._made = self._reused = 0

    def forget(self) -> None:
        """Start with nothing kept: in a child process, where writing to a free buffer would copy its pages from the parent's.

        Another thread may have held the lock when the child was forked off, and is not there to release it.
        """
        self._lock = threading.Lock()
        self._free = []
        while self._at_the_door:
            self._lent -= self._at_the_door.popleft().size

    def take(self, size: int) -> Array | None:
        """Return a buffer of at least that size, or None if it is so large that it would not be kept anyway."""
        size = -(-size // _HUGE_PAGE) * _HUGE_PAGE
        if size > self._limit:
            return None
        with self._lock:
            self._take_in()
            fitting = [k for k, buffer in enumerate(self._free) if size <= buffer.size <= size * _SLACK]
            found = self._free.pop(min(fitting, key=lambda k: self._free[k].size)) if fitting else None
            self._reused += found is not None
        if found is None:
            found = _new(size)
        with self._lock:
            self._lent += found.size
            self._made += not fitting
        self._settle()
        return found

    def give_back(self, buffer: Array) -> None:
        """Take over a buffer that nobody sees any more."""
        self._at_the_door.append(buffer)
        self._settle()

    def set_limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._take_in()
        self._settle()

    def clear(self) -> None:
        with self._lock:
            self._take_in()
            self._free.clear()
        self._settle()

    def statistics(self) -> Statistics:
        with self._lock:
            self._take_in()
            kept = sum(buffer.size for buffer in self._free)
            found = Statistics(self._limit, kept, self._lent, self._made, self._reused)
        self._settle()
        return found

    def _settle(self) -> None:
        """Take in what is at the door, unless somebody holds the lock: they come here once they have let it go."""
        while self._at_the_door and self._lock.acquire(blocking=False):
            try:
                self._take_in()
            finally:
                self._lock.release()

    def _take_in(self) -> None:
        while self._at_the_door:
            buffer = self._at_the_door.popleft()
            self._lent -= buffer.size
            self._free.append(buffer)
        kept = sum(buffer.size for buffer in self._free)
        while kept > self._limit:
            kept -= self._free.pop(0).size


_pool = _Pool(_default_limit())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array in C order whose entries are yet to be written; a big one from the buffers here."""
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size < MINIMUM:
        return np.empty(shape, dtype)
    pool = _pool
    buffer = pool.take(size)
    if buffer is None:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(buffer, size, pool)).view(dtype).reshape(shape)


def set_limit(limit: int | str) -> None:
    """Set how much memory of freed big results is kept for later ones; 0 leaves all memory to NumPy.

    The environment variable NONLIN_MEMORY_LIMIT sets it from the start. By default 512 MiB, or a sixteenth of the machine's
    memory if that is less.

    Parameters
    ----------
    limit : int or str
        Bytes, or text such as ``"512M"`` or ``"2G"``.

    Examples
    --------
    >>> import nonlin as nl
    >>> before = nl.memory.get_limit()
    >>> nl.memory.set_limit("1G")
    >>> nl.memory.get_limit()
    1073741824
    >>> nl.memory.set_limit(before)
    """
    _pool.set_limit(_bytes(limit))


def get_limit() -> int:
    """Return how many bytes of freed big results are kept at most."""
    return _pool.statistics().limit


def statistics() -> Statistics:
    """Return what the memory of big results is doing.

    Examples
    --------
    >>> import numpy as np
    >>> import nonlin as nl
    >>> x = np.zeros(2**22, np.float32)
    >>> nl.memory.clear()
    >>> y = nl.relu(x)
    >>> del y  # its memory is kept...
    >>> before = nl.memory.statistics()
    >>> z = nl.silu(x)  # ... and used again
    >>> nl.memory.statistics().reused - before.reused
    1
    """
    return _pool.statistics()


def clear() -> None:
    """Give all memory that is kept for later back to the system; results that are alive keep theirs."""
    _pool.clear()
