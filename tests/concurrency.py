"""Many threads at the same place at the same time."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(work: Callable[[int], T], count: int = 8) -> list[T]:
    """The results of ``work(0)``, ``work(1)``..., each in a thread of its own, all let go at the same moment."""
    gate = threading.Barrier(count)

    def wait_and_work(k: int) -> T:
        gate.wait(60)
        return work(k)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that they interrupt each other often
    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(wait_and_work, range(count)))
    finally:
        sys.setswitchinterval(before)
