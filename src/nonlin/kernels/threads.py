"""Slices of big arrays on several threads, with the results, warnings and errors of one call.

NumPy lets other threads run while a ufunc's loop does, so Python's own threads are enough. They sleep while there is nothing
to do, and a slice whose thread has not begun by the time the caller is done with its own is done by the caller, so that a busy
machine costs no waiting.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.kernels.storage import STREAMED

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Array: TypeAlias = npt.NDArray[Any]
#: Below so many elements one thread is faster: waking another one takes as long as relu on half a million.
MINIMUM = 2**21
#: Slices have at least so many elements...
_SLICE = 2**20
#: ... and there are up to four for each thread, for threads that progress unevenly, where none becomes too small to stream.
_SLICES_PER_THREAD = 4
#: the floating-point conditions in NumPy's order: name in errstate, bit in its status, words in its messages
_CONDITIONS = (
    ("divide", 1, "divide by zero"),
    ("over", 2, "overflow"),
    ("under", 4, "underflow"),
    ("invalid", 8, "invalid value"),
)


def _default() -> int:
    """As many as there are processors for this process, unless an environment variable says otherwise.

    OMP_NUM_THREADS counts, too: those who start many processes on one machine (joblib, Dask, Ray, a job scheduler) set it in
    each of them.
    """
    for name in ("NONLIN_NUM_THREADS", "OMP_NUM_THREADS"):
        given = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP takes a list, a number for each level of nesting
        if given.isdecimal() and int(given) > 0:
            return int(given)
        if given and name.startswith("NONLIN"):
            raise ValueError(f"{name} must be a whole number of at least 1, got {given!r}")
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Threads:
    """The threads, started when they are first needed; the caller's own is one of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.forget()

    def forget(self) -> None:
        """Start anew: a child process has none of its parent's threads, and maybe a lock that nobody will release."""
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def submit(self, work: Callable[[], None]) -> Future[None] | None:
        """Have another thread do it, or return None where none can be started any more: the interpreter is going down."""
        from concurrent.futures import ThreadPoolExecutor  # brings logging along, which importing nonlin need not

        with self._lock:
            size = max(1, self.count - 1)  # the count may have changed since the caller looked
            if self._pool is None or self._size != size:
                if self._pool is not None:
                    self._pool.shutdown(wait=False)
                self._pool, self._size = ThreadPoolExecutor(size, thread_name_prefix="nonlin"), size
            try:
                return self._pool.submit(work)
            except RuntimeError:
                return None


_threads = _Threads(_default())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.forget)


def set_num_threads(n: int) -> None:
    """Set how many threads work on a big array; 1 keeps everything in the calling thread.

    The environment variable NONLIN_NUM_THREADS sets it from the start. By default as many as OMP_NUM_THREADS says, or else as
    the process has processors. Arrays of fewer than two million elements are never split; results do not depend on it.

    Parameters
    ----------
    n : int

    Examples
    --------
    >>> import nonlin as nl
    >>> before = nl.get_num_threads()
    >>> nl.set_num_threads(2)
    >>> nl.get_num_threads()
    2
    >>> nl.set_num_threads(before)
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number of at least 1, got {n!r}")
    _threads.count = n


def get_num_threads() -> int:
    """Return how many threads work on a big array."""
    return _threads.count


def run(ufunc: np.ufunc, operands: Sequence[Any], results: Sequence[Array]) -> None:
    """Evaluate a ufunc into big arrays, in slices on several threads if there are any.

    Parameters
    ----------
    ufunc : numpy.ufunc
    operands : sequence of array or number
        Arrays of the shape of the results in C order, and numbers. They overlap with results nowhere or wholly.
    results : sequence of array
        In C order.
    """
    if _busy(results[0].size) < 2:
        ufunc(*operands, out=tuple(results))
        return
    flat = [o.reshape(-1) if isinstance(o, np.ndarray) and o.ndim else o for o in operands]
    targets = [result.reshape(-1) for result in results]
    status: list[int] = []

    def work(piece: slice) -> None:
        # Not the caller's way of dealing with floating-point errors: it hears of them once, at the end.
        with np.errstate(all="call", call=_note(status)):
            given = (o[piece] if isinstance(o, np.ndarray) and o.ndim else o for o in flat)
            ufunc(*given, out=tuple(target[piece] for target in targets))

    share(work, results[0].size)
    if status:
        _report(ufunc, status)


def share_rows(work: Callable[[slice], None], rows: int, size: int) -> None:
    """Do rows of so many elements, in slices on several threads if there are any and enough to do."""
    count = min(_threads.count, rows, rows * size // (MINIMUM // 2))
    if count < 2:
        work(slice(0, rows))
        return
    length = -(-rows // (count * _SLICES_PER_THREAD))
    _share(work, [slice(start, min(start + length, rows)) for start in range(0, rows, length)], count)


def _note(status: list[int]) -> Callable[[str, int], None]:
    return lambda _, flag: status.append(flag)


def _busy(size: int) -> int:
    """Return how many threads work on so many elements."""
    return min(_threads.count, size // (MINIMUM // 2))


def share(work: Callable[[slice], None], size: int) -> None:
    """Do some work on elements 0 to size - 1, in slices on several threads if they are many.

    Parameters
    ----------
    work : callable
        Of a slice, whose ends are numbers. It begins at a multiple of 64.
    size : int
        Number of elements, of about four bytes each.

    Raises
    ------
    BaseException
        Whatever the work on any slice raises.
    """
    count = _busy(size)
    if count < 2:
        work(slice(0, size))
        return
    each = min(_SLICES_PER_THREAD, max(1, 4 * size // (count * STREAMED)))
    length = max(_SLICE, -(-size // (count * each)))
    length += -length % 64  # whole cache lines
    _share(work, [slice(start, min(start + length, size)) for start in range(0, size, length)], count)


def _share(work: Callable[[slice], None], pieces: list[slice], count: int) -> None:
    """Do all pieces, this thread and ``count - 1`` others each taking the next one; raise what any of them raised."""
    left, active = iter(pieces), 0
    changed = threading.Condition()
    errors: list[BaseException] = []

    def take_pieces() -> None:
        nonlocal active
        while True:
            with changed:
                piece = None if errors else next(left, None)
                if piece is None:
                    return
                active += 1
            try:
                work(piece)
            except BaseException as error:  # noqa: BLE001 - the caller raises it, whatever it is
                errors.append(error)
            finally:
                with changed:
                    active -= 1
                    changed.notify_all()

    others = [_threads.submit(take_pieces) for _ in range(count - 1)]
    take_pieces()
    # Nobody may write to the result once the caller has it. One who has not begun will find nothing left.
    with changed:
        changed.wait_for(lambda: not active)
    for other in others:
        if other is not None:
            other.cancel()
    if errors:
        raise errors[0]


def _report(ufunc: np.ufunc, status: list[int]) -> None:
    """Do what the caller's errstate says about the conditions of all slices together, as NumPy does after one loop."""
    flags = 0
    for flag in status:
        flags |= flag
    settings = np.geterr()
    for name, bit, words in _CONDITIONS:
        if not flags & bit:
            continue
        mode = settings[name]  # type: ignore[literal-required]
        message = f"{words} encountered in {ufunc.__name__}"
        if mode == "warn":
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        elif mode == "raise":
            raise FloatingPointError(message)
        elif mode == "print":
            sys.stderr.write(f"Warning: {message}\n")
        elif mode in ("call", "log"):
            handler: Any = np.geterrcall()
            if handler is None:  # NumPy's own words, two spaces and all
                call, place = ("python callback", " ") if mode == "call" else ("log", "")
                what = "function" if mode == "call" else "object with write method"
                raise NameError(f"{call} specified for {words} (in {place}{ufunc.__name__}) but no {what} found.")
            if mode == "call":
                handler(words, flags)
            else:
                handler.write(f"Warning: {message}\n")
