"""Slices on threads: the same bits, warnings and errors as one call, whoever else is at work."""

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from concurrency import at_once
from entries import ELEMENTWISE, FLOATS, over_entries, over_floats, parameters, typed
from nonlin.kernels import big, memory, threads
from nonlin.kernels.threads import _Threads

Array = np.ndarray[Any, Any]
COUNT = 2**11 + 77
SLICES = 7  # that many numbers on two threads: six of 320, and the rest


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is for big arrays begins at small ones; two threads."""
    monkeypatch.setattr(memory, "MINIMUM", 2**10)
    monkeypatch.setattr(threads, "MINIMUM", 2**9)
    monkeypatch.setattr(threads, "_SLICE", 2**8)
    monkeypatch.setattr(threads, "STREAMED", 2**9)
    monkeypatch.setattr(big, "MINIMUM", 2**9)
    monkeypatch.setattr(threads, "_threads", _Threads(2))


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[slice, int]]:
    """The slices of each call that is shared out, and the number of threads."""
    seen: list[tuple[slice, int]] = []
    share = threads._share

    def spy(work: Callable[[slice], None], pieces: list[slice], count: int) -> None:
        seen.extend((piece, count) for piece in pieces)
        share(work, pieces, count)

    monkeypatch.setattr(threads, "_share", spy)
    return seen


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def inputs(dtype: Any = np.float32, count: int = COUNT) -> Array:
    x = np.linspace(-9, 9, count)
    x[3::101] *= 1e3
    x[5::97] *= 1e-6
    return x.astype(dtype)


# --- the same results -------------------------------------------------------------------------------------------------


@over_floats
@over_entries
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_equals_one_thread_bit_by_bit(name: str, dtype: np.dtype[Any], order: int, pieces: list[Any]) -> None:
    entry = ELEMENTWISE[name]
    x, given = inputs(dtype), typed(parameters(name, dtype), dtype)
    expected = entry.derivative_ufunc(order=order)(x, *given.values())
    out = np.empty_like(x)
    results = [entry.derivative(x, order=order, **given), entry.derivative(x, order=order, out=out, **given)]
    assert results[1] is out
    assert all(same_bits(result, expected) for result in results)
    assert len(pieces) == 2 * SLICES
    pieces.clear()
    nl.set_num_threads(1)
    assert same_bits(entry.derivative(x, order=order, **given), expected)
    assert not pieces


@pytest.mark.parametrize("name", ["silu", "gelu", "relu", "elu"])
def test_exact_equals_one_thread(name: str, pieces: list[Any]) -> None:
    x = inputs()
    with nl.precision("exact"):
        expected = nl.activations[name].ufunc(x, *parameters(name).values())
        assert same_bits(nl.activations[name](x), expected)
    assert len(pieces) == SLICES


@pytest.mark.parametrize("name", ["swiglu", "reglu", "swiglu_clamped"])
def test_gated_pairs(name: str, pieces: list[Any]) -> None:
    pair, gate, value = nl.activations[name], inputs(), inputs()[::-1].copy()
    defaults = [p.default for p in pair.parameters.values()]
    assert same_bits(pair(gate, value), pair.ufunc(gate, value, *defaults))
    assert same_bits(pair.derivative(gate, value, wrt="value"), pair.derivative_ufunc(wrt="value")(gate, value, *defaults))
    assert len(pieces) == 2 * SLICES


@pytest.mark.parametrize("shape", [(COUNT,), (7, 300), (2, 3, 400), (1, 2000), (2000, 1)])
def test_shapes(shape: tuple[int, ...], pieces: list[Any]) -> None:
    x = inputs(count=int(np.prod(shape))).reshape(shape)
    assert same_bits(nl.silu(x), nl.silu.ufunc(x))
    assert pieces


@over_floats
def test_a_kernel_that_no_call_has_compiled_yet(dtype: np.dtype[Any], pieces: list[Any]) -> None:
    fresh, x = nl.mish.with_(), inputs(dtype)
    fresh(x.astype(np.float32)[:5])
    with np.errstate(all="raise"):
        assert same_bits(fresh(x), nl.mish.ufunc(x))
        assert same_bits(fresh.derivative(x), nl.mish.derivative_ufunc()(x))
    assert len(pieces) == 2 * SLICES


def test_in_place(pieces: list[Any]) -> None:
    x = inputs()
    expected = nl.silu.ufunc(x)
    assert nl.silu(x, out=x) is x
    assert same_bits(x, expected)
    assert pieces


def test_parameters_as_numbers_and_arrays(pieces: list[Any]) -> None:
    x, slope = inputs(), np.linspace(0, 1, COUNT, dtype=np.float32)
    u = nl.leaky_relu.ufunc
    for given in (0.3, 2, np.float32(0.3), np.array(0.3, np.float32), slope):
        pieces.clear()
        assert same_bits(nl.leaky_relu(x, given), u(x, given))
        assert len(pieces) == SLICES


def test_several_results(pieces: list[Any]) -> None:
    x, out = inputs(), (inputs(), inputs())
    for results in (nl.silu.value_and_derivative(x), nl.silu.value_and_derivative(x, out=out)):
        assert same_bits(results[0], nl.silu.ufunc(x))
        assert same_bits(results[1], nl.silu.derivative_ufunc()(x))
    assert results[0] is out[0]
    assert results[1] is out[1]
    assert len(pieces) == 2 * SLICES


PLAIN: dict[str, Callable[[Array], tuple[Any, Any]]] = {
    "strides": lambda x: (nl.silu(x[::2]), nl.silu.ufunc(x[::2])),
    "Fortran order": lambda x: (nl.silu(x[:2000].reshape(2, -1).T), nl.silu.ufunc(x[:2000].reshape(2, -1).T)),
    "broadcasting": lambda x: (nl.leaky_relu(x, np.ones((2, 1), "f")), nl.leaky_relu.ufunc(x, np.ones((2, 1), "f"))),
    "another dtype beside": lambda x: (nl.leaky_relu(x, np.float64(0.3)), nl.leaky_relu.ufunc(x, np.float64(0.3))),
    "where": lambda x: (nl.silu(x, where=x > 0, out=x * 2), nl.silu.ufunc(x, where=x > 0, out=x * 2)),
    "dtype": lambda x: (nl.silu(x, dtype=float), nl.silu.ufunc(x, dtype=float)),
    "out of another dtype": lambda x: (nl.silu(x, out=np.zeros(COUNT)), nl.silu.ufunc(x, out=np.zeros(COUNT))),
    "another order of bytes": lambda x: (nl.silu(x.astype(">f4")), nl.silu.ufunc(x.astype(">f4"))),
    "integers": lambda x: (nl.relu(x.astype(int)), nl.relu.ufunc(x.astype(int))),
    "integers that become floats": lambda x: (nl.silu(x.astype(int)), nl.silu.ufunc(x.astype(int))),
    "a subclass": lambda x: (nl.silu(x.view(np.matrix)), nl.silu.ufunc(x.view(np.matrix))),
    "not aligned": lambda x: (nl.silu(unaligned(x)), nl.silu.ufunc(unaligned(x))),
    "few numbers": lambda x: (nl.silu(x[:100]), nl.silu.ufunc(x[:100])),
    "none": lambda x: (nl.silu(x[:0]), nl.silu.ufunc(x[:0])),
    "a list": lambda x: (nl.silu(x.tolist()), nl.silu.ufunc(x.tolist())),
}


def unaligned(x: Array) -> Array:
    whole = np.zeros(x.nbytes + 1, np.uint8)
    moved = whole[1:].view(x.dtype)
    moved[:] = x
    return moved


@pytest.mark.parametrize("make", PLAIN.values(), ids=list(PLAIN))
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_everything_else_is_numpys(make: Callable[[Array], tuple[Any, Any]], pieces: list[Any]) -> None:
    got, expected = make(inputs())
    assert type(got) is type(expected)
    assert same_bits(got, expected)
    assert got.flags.f_contiguous == expected.flags.f_contiguous
    assert not pieces


@pytest.mark.parametrize("shift", [1, 13, 500])
def test_overlap_in_part(shift: int, pieces: list[Any]) -> None:
    for source, target in ((slice(None, -shift), slice(shift, None)), (slice(shift, None), slice(None, -shift))):
        x = inputs()
        expected = nl.silu.ufunc(x[source].copy())
        nl.silu(x[source], out=x[target])
        assert same_bits(x[target], expected)
    assert not pieces


def test_out_that_is_a_parameter_too(pieces: list[Any]) -> None:
    x, slope = inputs(), np.linspace(0, 1, COUNT, dtype=np.float32)
    expected = nl.leaky_relu.ufunc(x, slope)
    assert nl.leaky_relu(x, slope, out=slope) is slope
    assert same_bits(slope, expected)
    single = np.array(0.5, np.float32)
    assert same_bits(nl.leaky_relu(x, single, out=np.empty_like(x)), nl.leaky_relu.ufunc(x, 0.5))


def test_out_that_cannot_be_written() -> None:
    out = np.empty(COUNT, np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        nl.silu(inputs(), out=out)


# --- floating-point errors --------------------------------------------------------------------------------------------


def overflowing() -> Array:
    """Overflows in the first and in the last slice."""
    x = inputs()
    x[[2, 3, -2]] = 3e38
    return x


def outcome(call: Callable[[], Any]) -> list[Any]:
    """What a call warns of, raises and hands to the handler of NumPy's floating-point errors."""
    found: list[Any] = []

    class Handler:
        def __call__(self, *what: Any) -> None:
            found.append(what)

        def write(self, what: str) -> None:
            found.append(what)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            with np.errstate(call=Handler()):
                call()
        except (FloatingPointError, NameError) as error:
            found.append((type(error), str(error)))
    return found + [(w.category, str(w.message)) for w in warned]


@pytest.mark.parametrize("over", ["ignore", "warn", "raise", "call", "log"])
def test_errstate_is_the_callers(over: Any, pieces: list[Any]) -> None:
    x = overflowing()
    with np.errstate(over=over):
        got = outcome(lambda: nl.relu_squared(x))
        assert len(pieces) == SLICES
        assert got == outcome(lambda: nl.relu_squared.ufunc(x))
    assert (got == []) == (over == "ignore")
    assert len(got) <= 1


@pytest.mark.parametrize("over", ["call", "log"])
def test_no_handler(over: Any) -> None:
    x = overflowing()

    def told(call: Callable[[Array], Any]) -> str:
        with np.errstate(over=over, call=None), pytest.raises(NameError) as caught:
            call(x)
        return str(caught.value)

    assert told(nl.relu_squared) == told(nl.relu_squared.ufunc)


def test_print() -> None:
    code = """
import numpy as np
import nonlin as nl
x = np.full(2**21, 3e38, np.float32)
nl.set_num_threads({n})
with np.errstate(over="print"):
    nl.relu_squared(x)
"""
    one, two = (started(code.format(n=n)).stderr.strip() for n in (1, 2))
    assert one == two == "Warning: overflow encountered in relu_squared"


def test_no_warning_that_is_not_deserved(pieces: list[Any]) -> None:
    x = overflowing()
    with np.errstate(all="raise"):
        for name in ("relu", "silu", "gelu", "tanh", "softplus"):
            nl.activations[name](x)
    assert pieces


def test_a_number_that_does_not_fit() -> None:
    messages = []
    for n in (1, 2):
        nl.set_num_threads(n)
        with pytest.raises(TypeError, match="leaky_relu") as caught:
            nl.leaky_relu(inputs(), negative_slope=10**400)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_an_error_in_a_slice_ends_it_all() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(piece: slice) -> None:
        begun.append(piece.start)
        if len(begun) == 3:
            gate.set()
            raise RuntimeError("no")
        gate.wait(10)

    with pytest.raises(RuntimeError, match="no"):
        threads._share(work, [slice(k, k + 1) for k in range(100)], 3)
    assert len(begun) < 10


# --- how many ---------------------------------------------------------------------------------------------------------


def test_as_many_threads_as_told(pieces: list[Any]) -> None:
    for n in (1, 2, 3, 7):
        pieces.clear()
        nl.set_num_threads(n)
        assert nl.get_num_threads() == n
        nl.silu(inputs())
        assert {count for _, count in pieces} == ({n} if n > 1 else set())


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", None])
def test_what_is_no_number_of_threads(n: Any) -> None:
    with pytest.raises(ValueError, match="n must be a whole number of at least 1, got "):
        nl.set_num_threads(n)


def test_slices_stay_large_enough_to_go_around_the_cache(monkeypatch: pytest.MonkeyPatch, pieces: list[Any]) -> None:
    monkeypatch.setattr(threads, "STREAMED", 2**12)
    for count, wanted in ((2**10, [512] * 2), (2**11, [1024] * 2), (2**12, [1024] * 4), (2**14, [2048] * 8)):
        pieces.clear()
        nl.silu(inputs(count=count))
        assert [piece.stop - piece.start for piece, _ in pieces] == wanted


def test_slices_cover_everything_once() -> None:
    for count in (2**9, COUNT, 2**13 + 1):
        seen = np.zeros(count, int)

        def work(piece: slice, seen: Array = seen) -> None:
            seen[piece] += 1

        length = 300
        threads._share(work, [slice(s, s + length) for s in range(0, count, length)], 4)
        assert (seen == 1).all()


def started(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    without = {k: v for k, v in os.environ.items() if k not in ("NONLIN_NUM_THREADS", "OMP_NUM_THREADS")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**without, **environment})


def test_the_environment_sets_it_from_the_start() -> None:
    code = "import os, nonlin as nl; print(nl.get_num_threads(), len(os.sched_getaffinity(0)))"
    if not hasattr(os, "sched_getaffinity"):
        code = "import os, nonlin as nl; print(nl.get_num_threads(), os.cpu_count())"
    default, processors = started(code).stdout.split()
    assert default == processors
    assert started(code, NONLIN_NUM_THREADS="3").stdout.split()[0] == "3"
    assert started(code, OMP_NUM_THREADS="5,2").stdout.split()[0] == "5"
    assert started(code, OMP_NUM_THREADS="5", NONLIN_NUM_THREADS="3").stdout.split()[0] == "3"
    assert (
        "NONLIN_NUM_THREADS must be a whole number of at least 1, got 'many'" in started(code, NONLIN_NUM_THREADS="many").stderr
    )


def test_no_thread_is_started_before_it_is_needed() -> None:
    code = """
import threading, sys
import numpy as np
import nonlin as nl
nl.relu(np.ones(2**16, np.float32))
print(threading.active_count(), "concurrent.futures.thread" in sys.modules)
nl.set_num_threads(3)
nl.relu(np.ones(2**23, np.float32))
print(threading.active_count() > 1)
"""
    done = started(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "False", "True"]


def test_at_the_end_of_the_process() -> None:
    """When no thread can be started any more, the calling one does it all."""
    code = """
import atexit
import numpy as np
x = np.linspace(-1, 1, 2**22, dtype=np.float32)
def late():
    print(np.array_equal(nl.relu(x), np.maximum(x, 0)))
atexit.register(late)
import nonlin as nl
nl.set_num_threads(4)
nl.relu(x)
"""
    done = started(code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True", "")


# --- others at work ---------------------------------------------------------------------------------------------------


def test_many_callers_at_once() -> None:
    nl.set_num_threads(4)
    x = inputs()
    expected = nl.silu.ufunc(x)

    def work(k: int) -> bool:
        return all(same_bits(nl.silu(x), expected) for _ in range(20))

    assert all(at_once(work))


def test_the_number_changes_while_others_work() -> None:
    x = inputs()
    expected = nl.silu.ufunc(x)

    def work(k: int) -> bool:
        good = True
        for turn in range(20):
            if k < 2:
                nl.set_num_threads(1 + (turn + k) % 5)
            good &= same_bits(nl.silu(x), expected)
        return good

    assert all(at_once(work, 4))


def _in_the_child(connection: Any) -> None:
    x = inputs()
    connection.send(same_bits(nl.silu(x), nl.silu.ufunc(x)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")  # by JAX, where another test has imported it
def test_a_forked_child_starts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the threads that know of forks
    monkeypatch.setattr(threads, "MINIMUM", 2**9)
    monkeypatch.setattr(threads, "_SLICE", 2**8)
    monkeypatch.setattr(big, "MINIMUM", 2**9)
    monkeypatch.setattr(threads._threads, "count", 3)
    nl.silu(inputs())  # so that there are threads that the child will not have
    forked = multiprocessing.get_context("fork")
    here, there = forked.Pipe()
    with threads._threads._lock:  # as another thread might
        child = forked.Process(target=_in_the_child, args=(there,))
        child.start()
    assert here.poll(60)
    assert here.recv() is True
    child.join(60)
    assert child.exitcode == 0


def test_all_dtypes_are_tried() -> None:
    assert set(FLOATS) == {"float16", "bfloat16", "float32", "float64"}
