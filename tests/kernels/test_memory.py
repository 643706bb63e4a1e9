"""Memory of big results: used again once the last view is gone, never before, and within the bound."""

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from concurrency import at_once
from nonlin.kernels import big, memory

Array = np.ndarray[Any, Any]
SINGLE = np.dtype(np.float32)
PAGE = 2**21
SIZE = PAGE // 4  # float32 numbers that fill one buffer


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> memory._Pool:
    """A pool of our own, for arrays that are small enough for quick tests."""
    made = memory._Pool(8 * PAGE)
    monkeypatch.setattr(memory, "_pool", made)
    monkeypatch.setattr(memory, "MINIMUM", 2**12)
    monkeypatch.setattr(big, "MINIMUM", 2**10)
    return made


def address(array: Array) -> int:
    return array.__array_interface__["data"][0]


def inputs(count: int = SIZE) -> Array:
    return np.linspace(-3, 3, count, dtype=np.float32)


def test_a_freed_buffer_is_used_again() -> None:
    x = inputs()
    y = nl.relu(x)
    first = address(y)
    del y
    z = nl.silu(x)
    assert address(z) == first
    assert (memory.statistics().made, memory.statistics().reused) == (1, 1)


def test_starts_on_a_huge_page() -> None:
    assert address(memory.empty((SIZE,), SINGLE)) % PAGE == 0 or not hasattr(memory.mmap, "MADV_HUGEPAGE")


VIEWS: dict[str, Callable[[Array], Any]] = {
    "slice": lambda y: y[5:7],
    "reshaped": lambda y: y.reshape(2, -1)[1],
    "memoryview": lambda y: memoryview(y),
    "from its interface": lambda y: np.asarray(memoryview(y)),
    "DLPack": lambda y: np.from_dlpack(y),
    "in a container": lambda y: {"deep": [y[::2]]},
    "subclass": lambda y: y.view(np.ma.MaskedArray),
    "bytes of it": lambda y: y.view(np.uint8)[-1:],
    "its base": lambda y: y.base,
    "its owner": lambda y: np.asarray(y.base.base),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=list(VIEWS))
def test_no_buffer_is_used_again_while_a_view_of_it_lives(make: Callable[[Array], Any]) -> None:
    x = inputs()
    y = nl.relu(x)
    first = address(y)
    view = make(y)
    del y
    gc.collect()
    others = [nl.relu(x) for _ in range(3)]
    assert first not in map(address, others)
    assert memory.statistics().lent == 4 * PAGE
    del view, others
    gc.collect()
    assert memory.statistics().lent == 0
    assert first in [address(nl.relu(x)) for _ in range(4)] or memory.statistics().kept == 4 * PAGE


def test_a_view_in_a_cycle_keeps_it_until_the_collector_comes() -> None:
    x = inputs()
    y = nl.relu(x)
    cycle: list[Any] = [y]
    cycle.append(cycle)
    del y
    assert memory.statistics().lent == PAGE
    del cycle
    gc.collect()
    assert memory.statistics().lent == 0


def test_results_overwrite_what_was_there() -> None:
    x = inputs()
    y = nl.identity(x)
    y.fill(np.nan)
    del y
    assert np.array_equal(nl.relu(x), np.maximum(x, 0))
    assert memory.statistics().reused == 1


def test_what_is_left_unwritten_does_not_come_from_here() -> None:
    x = inputs()
    nl.relu(x, where=x > 0, out=None)
    nl.relu(x, dtype=np.float64)
    assert memory.statistics().made == 0


def test_results_are_ordinary_arrays() -> None:
    x = inputs(SIZE // 2).reshape(4, -1)
    y = nl.relu(x)
    assert type(y) is np.ndarray
    assert (y.shape, y.dtype, y.strides) == (x.shape, x.dtype, x.strides)
    assert y.flags.c_contiguous
    assert y.flags.aligned
    assert y.flags.writeable
    y[0, 0] = 5
    assert y.max() == 5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_floating_dtype(dtype: str) -> None:
    import ml_dtypes

    x = inputs(2**14).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    y = nl.relu(x)
    assert y.dtype == x.dtype
    assert np.array_equal(y, np.maximum(x, x.dtype.type(0)))
    assert memory.statistics().lent == PAGE


# --- the bound --------------------------------------------------------------------------------------------------------


def test_at_most_the_limit_is_kept() -> None:
    x = inputs()
    results = [nl.relu(x) for _ in range(12)]
    assert memory.statistics().lent == 12 * PAGE
    results.clear()
    assert memory.statistics().kept == 8 * PAGE
    nl.memory.set_limit(3 * PAGE)
    assert memory.statistics().kept == 3 * PAGE


def test_zero_leaves_all_memory_to_numpy() -> None:
    nl.memory.set_limit(0)
    y = nl.relu(inputs())
    assert y.flags.owndata
    del y
    found = memory.statistics()
    assert (found.kept, found.lent, found.made, found.reused) == (0, 0, 0, 0)


def test_numpy_steps_in_where_nothing_can_be_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(memory.mmap, "mmap", fail)
    x = inputs()
    assert np.array_equal(nl.relu(x), np.maximum(x, 0))
    assert memory.statistics().kept == PAGE


def test_a_child_keeps_nothing_but_counts_what_lives(pool: memory._Pool) -> None:
    y, _ = nl.relu(inputs()), nl.silu(inputs())
    del _
    pool.forget()
    assert (pool.statistics().kept, pool.statistics().lent) == (0, PAGE)
    del y
    assert (pool.statistics().kept, pool.statistics().lent) == (PAGE, 0)


def test_what_would_not_be_kept_is_numpys() -> None:
    assert nl.relu(inputs(9 * SIZE)).flags.owndata


def test_clear_gives_everything_back_but_what_lives() -> None:
    x = inputs()
    y, z = nl.relu(x), nl.silu(x)
    del z
    nl.memory.clear()
    found = nl.memory.statistics()
    assert (found.kept, found.lent) == (0, PAGE)
    assert np.array_equal(y, np.maximum(x, 0))


def test_a_buffer_that_is_much_too_large_stays_free() -> None:
    for count in (4 * SIZE, SIZE):
        nl.relu(inputs(count))
    assert memory.statistics().reused == 0


@pytest.mark.parametrize(("given", "wanted"), [(0, 0), ("512M", 2**29), ("2 GiB", 2**31), ("64kb", 2**16), (10**6, 10**6)])
def test_the_limit_is_read_as_one_writes_it(given: int | str, wanted: int) -> None:
    nl.memory.set_limit(given)
    assert nl.memory.get_limit() == wanted


@pytest.mark.parametrize("given", [-1, 1.5, True, "", "M", "a lot", "-5M", None])
def test_what_is_no_limit_is_told_so(given: Any) -> None:
    with pytest.raises(ValueError, match=r"limit must be a number of bytes of at least 0, such as 0, 1000000 or '512M', got "):
        nl.memory.set_limit(given)


def run(code: str, **environment: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_the_environment_sets_it_from_the_start() -> None:
    assert run("import nonlin as nl; print(nl.memory.get_limit())", NONLIN_MEMORY_LIMIT="3M") == str(3 * 2**20)


# --- threads, children, the end ---------------------------------------------------------------------------------------


def test_many_threads_never_share_a_buffer(pool: memory._Pool) -> None:
    x = inputs(2**13)

    def work(k: int) -> None:
        for turn in range(60):
            mine = memory.empty(x.shape, x.dtype)
            mine.fill(k * 1000 + turn)
            view = mine[::3]
            del mine
            assert (view == k * 1000 + turn).all()

    at_once(work)
    found = pool.statistics()
    assert found.lent == 0
    assert found.kept == min(found.made, 8) * PAGE
    assert not pool._at_the_door


def test_a_result_may_die_while_the_lock_is_held(pool: memory._Pool) -> None:
    """As in a garbage collection that starts in the middle of taking a buffer."""
    y: Array | None = memory.empty((SIZE,), SINGLE)
    with pool._lock:
        y = None
        assert y is None
        assert len(pool._at_the_door) == 1
    assert pool.statistics().kept == PAGE


def test_a_result_may_die_in_another_thread() -> None:
    results = [nl.relu(inputs())]
    thread = threading.Thread(target=results.clear)
    thread.start()
    thread.join()
    assert memory.statistics().kept == PAGE


def _in_the_child(connection: Any, y: Array) -> None:
    x = inputs()
    fresh = [nl.relu(x) for _ in range(3)]
    connection.send((float(y.sum()), [float(f.sum()) for f in fresh], address(y) in map(address, fresh)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")  # by JAX, where another test has imported it
def test_a_forked_child_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the pool that knows of forks
    monkeypatch.setattr(memory, "MINIMUM", 2**12)
    monkeypatch.setattr(big, "MINIMUM", 2**10)
    x = inputs()
    y, z = nl.relu(x), nl.silu(x)
    del z
    expected = float(y.sum())
    forked = multiprocessing.get_context("fork")
    here, there = forked.Pipe()
    with memory._pool._lock:  # as another thread might
        child = forked.Process(target=_in_the_child, args=(there, y))
        child.start()
    assert here.poll(60)
    assert here.recv() == (expected, [expected] * 3, False)
    child.join(60)
    assert child.exitcode == 0
    assert float(y.sum()) == expected


def test_results_may_outlive_everything_at_the_end() -> None:
    code = """
import atexit, sys
import numpy as np
import nonlin as nl
y = nl.relu(np.ones(2**23, np.float32))
sys.kept_to_the_end = [y[:5], [nl.silu(np.ones(2**23, np.float32))]]
sys.kept_to_the_end.append(sys.kept_to_the_end)
print(nl.memory.statistics().lent > 0)
"""
    assert run(code, NONLIN_MEMORY_LIMIT="512M") == "True"
