"""The objects underneath are real ufuncs: whatever NumPy promises for any ufunc holds for each of them."""

import itertools
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import nonlin as nl
from concurrency import at_once
from entries import ELEMENTWISE, FLOATS, ORDERS, POINTS, distinct, over_entries, parameters, typed
from nonlin.formula import Symbol, canonical, exp, sigmoid, where
from nonlin.kernels.storage import STREAMED
from nonlin.kernels.ufunc import Function, make_ufunc
from oracle import ulp_error, value

Array = np.ndarray[Any, Any]
SINGLE, DOUBLE = FLOATS["float32"], FLOATS["float64"]

#: Loops of every shape: floating and whole results, one operand and several. Each array behaviour runs over these and
#: all dtypes; a kernel differs from another of its shape only in the arithmetic between load and store.
SHAPES = ["silu", "relu", "leaky_relu", "hard_tanh"]
STORED = [*FLOATS.values(), *(np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64))]
over_shapes = pytest.mark.parametrize("name", SHAPES)
over_stored = pytest.mark.parametrize("dtype", STORED, ids=str)
#: Those whose results have the dtype of the input, so that they can be written over it.
KEPT = [
    (name, dtype)
    for name in SHAPES
    for dtype in STORED
    if dtype.kind not in "iu" or name == "relu" or (name != "silu" and dtype.kind == "i")
]
over_kept = pytest.mark.parametrize(("name", "dtype"), KEPT, ids=[f"{name}-{dtype}" for name, dtype in KEPT])


def whole_parameters(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    values = {"leaky_relu": {"negative_slope": 2}, "hard_tanh": {"min_value": 0, "max_value": 5}}.get(name, {})
    return typed(values, dtype)


def numbers(count: int, dtype: np.dtype[Any]) -> Array:
    """Small numbers of both signs that every dtype holds."""
    return (np.arange(count) * 7 % 23 - (0 if dtype.kind == "u" else 11)).astype(dtype)


def one_by_one(name: str, x: Array) -> Array:
    """The results of an activation for each element alone."""
    given = whole_parameters(name, x.dtype)
    results = [nl.activations[name](item, **given) for item in x.ravel()]
    return np.array(results).reshape(x.shape)


def same(a: Array, b: Array) -> bool:
    """Equal in dtype, shape and every bit but the sign of NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


# --- what it is -------------------------------------------------------------------------------------------------------


@over_entries
def test_is_a_real_ufunc(name: str) -> None:
    f = ELEMENTWISE[name]
    for ufunc in (f.ufunc, f.derivative_ufunc()):
        assert isinstance(ufunc, np.ufunc)
        assert (ufunc.nin, ufunc.nout) == (1 + len(f.parameters), 1)
        assert {f"{c * ufunc.nin}->{c}" for c in "efd"} <= set(ufunc.types)
    assert f.ufunc.__name__ == name
    assert f.derivative_ufunc().__name__ == f"{name}_derivative"
    assert f.ufunc is f.ufunc


@over_entries
def test_ufunc_takes_arrays_and_parameters_in_order(name: str) -> None:
    given = parameters(name)
    x = np.linspace(-3, 3, 11)
    assert np.array_equal(ELEMENTWISE[name].ufunc(x, *given.values()), ELEMENTWISE[name](x, **given))


def test_documentation_and_names_say_what_it_is() -> None:
    assert "gelu(x)" in nl.gelu.ufunc.__doc__
    assert nl.gelu.derivative_ufunc(order=2).__name__ == "gelu_derivative2"
    assert nl.elu.derivative_ufunc(wrt="alpha").__name__ == "elu_derivative_alpha"


def test_one_operand_has_no_reduction() -> None:
    with pytest.raises(ValueError, match="reduce only supported for binary functions"):
        nl.gelu.ufunc.reduce([1.0, 2.0])
    assert nl.gelu.ufunc.identity is None


def test_outer_and_at() -> None:
    x, slopes = np.array([-1.0, 2.0]), np.array([0.5, 0.25, 0.0])
    assert np.array_equal(nl.leaky_relu.ufunc.outer(x, slopes), nl.leaky_relu(x[:, None], slopes))
    nl.relu.ufunc.at(x, [0])
    assert x.tolist() == [0.0, 2.0]


# --- out, where, dtype, casting, order, subok -------------------------------------------------------------------------


@over_entries
def test_out_is_filled_and_returned(name: str) -> None:
    x, given = np.linspace(-3, 3, 21), parameters(name)
    out = np.full(21, math.nan)
    for order in ORDERS:
        assert ELEMENTWISE[name].derivative(x, order=order, out=out, **given) is out
        assert np.array_equal(out, ELEMENTWISE[name].derivative(x, order=order, **given))
    assert ELEMENTWISE[name](x, out=(out,), **given) is out


def test_out_of_another_dtype_is_cast_safely_only() -> None:
    x = np.linspace(-3, 3, 21, dtype=np.float32)
    wide = nl.silu(x, out=np.empty(21))
    assert same(wide, nl.silu(x).astype(np.float64))
    with pytest.raises(TypeError, match=r"^silu: Cannot cast ufunc 'silu' output from dtype\('float64'\) to dtype\('int64'\)"):
        nl.silu(x.astype(np.float64), out=np.empty(21, np.int64))
    assert same(nl.silu(x.astype(np.float64), out=np.empty(21, np.float32)), nl.silu(x.astype(np.float64)).astype(np.float32))


def test_out_broadcasts_the_input() -> None:
    out = np.empty((3, 4))
    nl.relu(np.arange(-2.0, 2.0), out=out)
    assert out.tolist() == [[0.0, 0.0, 0.0, 1.0]] * 3


@pytest.mark.parametrize("count", [1, 7, 8, 16, 17, 100])
@over_shapes
def test_where_leaves_the_rest_of_out_alone(name: str, count: int) -> None:
    x = numbers(count, DOUBLE)
    mask = np.arange(count) % 3 == 0
    out = np.full(count, 99.0)
    nl.activations[name](x, out=out, where=mask)
    assert np.array_equal(out, np.where(mask, nl.activations[name](x), 99.0))


def test_where_does_not_look_at_what_is_masked() -> None:
    with np.errstate(all="raise"):
        out = nl.sin(np.array([1.0, math.inf]), out=np.zeros(2), where=[True, False])
    assert out[1] == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@over_entries
def test_dtype_chooses_the_arithmetic(name: str, dtype: type[np.floating]) -> None:
    x, given = np.arange(-2, 3, dtype=np.int8), parameters(name)
    chosen = ELEMENTWISE[name](x, dtype=dtype, **given)
    assert same(chosen, ELEMENTWISE[name](x.astype(dtype), **typed(given, np.dtype(dtype))))


def test_signature_chooses_the_loop() -> None:
    assert nl.relu([1, -1], signature="d->d").dtype == np.float64
    with pytest.raises(TypeError, match=r"^relu: No loop matching the specified signature"):
        nl.relu([1.0], signature="O->O")


def test_casting_is_obeyed() -> None:
    x = np.array([1.0, -1.0])
    with pytest.raises(TypeError, match=r"^relu: Cannot cast ufunc 'relu' input from dtype\('float64'\) to dtype\('float32'\)"):
        nl.relu(x, dtype=np.float32, casting="safe")
    assert nl.relu(x, dtype=np.float32, casting="same_kind").dtype == np.float32
    assert nl.relu(np.array([1.5, -1.0]), dtype=np.int64, casting="unsafe").tolist() == [1, 0]


def test_order_of_the_result() -> None:
    x = np.asfortranarray(np.ones((3, 4)))
    assert nl.silu(x).flags.f_contiguous
    assert nl.silu(x, order="C").flags.c_contiguous
    assert nl.silu(x.T, order="F").flags.f_contiguous


class Tagged(np.ndarray):
    """A subclass that must come back."""


def test_subclasses_come_back_unless_unwanted() -> None:
    x = np.array([-1.0, 2.0]).view(Tagged)
    assert type(nl.relu(x)) is Tagged
    assert type(nl.relu.derivative(x)) is Tagged
    assert type(nl.relu(x, subok=False)) is np.ndarray


# --- memory: strides, overlap, alignment, order of bytes --------------------------------------------------------------


def strided(make: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A layout: from contiguous numbers an equal array that lies in memory in another way."""

    def layout(x: Array) -> Array:
        laid = make(x)
        assert np.array_equal(laid, x)
        return laid

    return layout


def into(shape: Callable[[Array], tuple[int, ...]], index: Any) -> Callable[[Array], Array]:
    def make(x: Array) -> Array:
        base = np.zeros(shape(x), x.dtype)
        base[index][...] = x
        return base[index]

    return make


def unaligned(x: Array) -> Array:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype)
    view[:] = x
    assert x.itemsize == 1 or not view.flags.aligned
    return view


def read_only(x: Array) -> Array:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def in_a_record(x: Array) -> Array:
    table = np.zeros(len(x), [("byte", np.uint8), ("x", x.dtype)])
    table["x"] = x
    return table["x"]


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.copy,
    "every second": into(lambda x: (2 * len(x),), np.s_[::2]),
    "every fifth": into(lambda x: (5 * len(x),), np.s_[3::5]),
    "backwards": into(lambda x: (len(x),), np.s_[::-1]),
    "backwards by three": into(lambda x: (3 * len(x),), np.s_[::-3]),
    "a column": into(lambda x: (len(x), 3), np.s_[:, 1]),
    "unaligned": unaligned,
    "a field of a record": in_a_record,
    "read-only": read_only,
}
over_layouts = pytest.mark.parametrize("layout", LAYOUTS)


@over_layouts
@over_stored
@over_shapes
def test_memory_layout_does_not_matter(name: str, dtype: np.dtype[Any], layout: str) -> None:
    x = numbers(45, dtype)
    given = whole_parameters(name, dtype)
    assert same(nl.activations[name](LAYOUTS[layout](x), **given), nl.activations[name](x, **given))


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "read-only"])
@over_shapes
def test_memory_layout_of_out_does_not_matter(name: str, layout: str) -> None:
    x = numbers(45, SINGLE)
    out = LAYOUTS[layout](np.zeros(45, SINGLE))
    nl.activations[name](x, out=out)
    assert np.array_equal(out, nl.activations[name](x))


@over_stored
@over_shapes
def test_every_small_size(name: str, dtype: np.dtype[Any]) -> None:
    """Whole vectors, partial last ones, and none."""
    given = whole_parameters(name, dtype)
    whole = numbers(40, dtype)
    expected = one_by_one(name, whole)
    for count in range(41):
        assert same(nl.activations[name](whole[:count], **given), expected[:count])


@pytest.mark.parametrize("make", [np.ndarray.copy, lambda x: x[:0].copy(), lambda x: x[::2], lambda x: x[::-1]])
@over_kept
def test_nothing_is_written_beyond_the_ends(name: str, dtype: np.dtype[Any], make: Callable[[Array], Array]) -> None:
    given = whole_parameters(name, dtype)
    for count in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33):
        x = make(numbers(count, dtype))
        memory = np.full(len(x) + 64, 77).astype(dtype)
        nl.activations[name](x, out=memory[32 : 32 + len(x)], **given)
        assert same(memory[32 : 32 + len(x)], nl.activations[name](x, **given))
        assert (memory[:32] == 77).all()
        assert (memory[32 + len(x) :] == 77).all()


def test_gaps_between_strided_results_are_not_written() -> None:
    memory = np.full(100, 77.0)
    nl.silu(numbers(33, DOUBLE), out=memory[1::3])
    assert (memory[np.arange(100) % 3 != 1] == 77.0).all()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="wants mmap and mprotect of Linux")
@over_shapes
def test_nothing_is_read_beyond_the_ends(name: str) -> None:
    """Input and output end where a page begins that must not be touched: a process that touches it dies."""
    code = f"""
import ctypes, mmap, numpy as np, nonlin as nl
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.PAGESIZE
def guarded():
    memory = mmap.mmap(-1, 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert libc.mprotect(ctypes.c_void_p(address + page), page, 0) == 0
    return memory
for dtype in (np.float16, np.float32, np.float64, np.int8):
    x, y = (np.frombuffer(guarded(), dtype, page // np.dtype(dtype).itemsize) for _ in range(2))
    for count in range(1, 40):
        nl.{name}(x[-count:], out=y[-count:], casting="unsafe")
        nl.{name}(x[-2 * count :: 2][:count], out=y[-count:], casting="unsafe")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@over_kept
def test_in_place(name: str, dtype: np.dtype[Any]) -> None:
    x = numbers(45, dtype)
    given = whole_parameters(name, dtype)
    expected = nl.activations[name](x, **given)
    assert nl.activations[name](x, out=x, **given) is x
    assert same(x, expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.s_[:-1], np.s_[1:]),
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:-13], np.s_[13:]),
        (np.s_[13:], np.s_[:-13]),
        (np.s_[:], np.s_[::-1]),
        (np.s_[::2], np.s_[:50]),
        (np.s_[:50], np.s_[::2]),
    ],
    ids=str,
)
@over_shapes
def test_overlapping_views_count_as_apart(name: str, source: slice, target: slice) -> None:
    memory = numbers(100, SINGLE)
    expected = nl.activations[name](memory[source].copy())
    nl.activations[name](memory[source], out=memory[target])
    assert np.array_equal(memory[target], expected)


def test_a_transposed_matrix_onto_itself() -> None:
    memory = numbers(100, DOUBLE).reshape(10, 10)
    expected = nl.silu(memory.T.copy())
    nl.silu(memory.T, out=memory)
    assert np.array_equal(memory, expected)


@pytest.mark.parametrize("name", ["silu", "relu"])
def test_many_dimensions(name: str) -> None:
    x = numbers(2 * 3 * 4 * 5, DOUBLE).reshape(2, 3, 4, 5)
    expected = one_by_one(name, x)
    views: list[tuple[Array, Array]] = [
        (x, expected),
        (x.T, expected.T),
        (x.transpose(2, 0, 3, 1), expected.transpose(2, 0, 3, 1)),
        (x[:, ::-1, 1:3, ::2], expected[:, ::-1, 1:3, ::2]),
        (np.asfortranarray(x), expected),
        (x[..., None], expected[..., None]),
        (np.broadcast_to(x[:, :1], x.shape), np.broadcast_to(expected[:, :1], x.shape)),
    ]
    for view, want in views:
        assert np.array_equal(nl.activations[name](view), want)


@over_shapes
def test_zero_strides(name: str) -> None:
    x = np.broadcast_to(np.float64(-2.0), (5, 19))
    assert x.strides == (0, 0)
    assert np.array_equal(nl.activations[name](x), np.full((5, 19), nl.activations[name](-2.0)))


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n, d in KEPT if d.itemsize > 1 and d.isbuiltin == 1], ids=str)
def test_byte_swapped_arrays(name: str, dtype: np.dtype[Any]) -> None:
    x = numbers(45, dtype)
    swapped = x.astype(x.dtype.newbyteorder())
    given = whole_parameters(name, x.dtype)
    assert np.array_equal(nl.activations[name](swapped, **given), nl.activations[name](x, **given))
    out = np.empty_like(swapped)
    nl.activations[name](x, out=out, **given)
    assert np.array_equal(out, nl.activations[name](x, **given))


def test_big_arrays_in_buffered_chunks() -> None:
    """NumPy casts in chunks of its own: 8192 elements, and less at the end."""
    x = np.tile(np.arange(-100, 100, dtype=np.int8), 100)
    assert np.array_equal(nl.silu(x, dtype=np.float32), np.tile(nl.silu(np.arange(-100, 100), dtype=np.float32), 100))


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["relu", "elu", "silu"])
def test_results_too_big_for_a_cache(name: str, dtype: type[np.floating], offset: int) -> None:
    """They are written by other instructions, which ask for an alignment."""
    ufunc, defaults = ELEMENTWISE[name].ufunc, ELEMENTWISE[name]._defaults
    count = STREAMED // np.dtype(dtype).itemsize + 1234
    x = numbers(count + 8, np.dtype(dtype))[offset : offset + count]
    small = np.concatenate([ufunc(part, *defaults) for part in np.array_split(x, 50)])
    out = np.empty(count + 8, dtype)[3 - offset :][:count]
    assert np.array_equal(ufunc(x, *defaults, out=out), small)
    assert np.array_equal(ufunc(x, *defaults, out=x), small)


# --- what it may be called with ---------------------------------------------------------------------------------------


@over_shapes
def test_scalars_lists_and_tuples(name: str) -> None:
    f = nl.activations[name]
    expected = f(np.array([-1.0, 2.0]))
    assert np.array_equal(f([-1.0, 2.0]), expected)
    assert np.array_equal(f((-1.0, 2.0)), expected)
    assert np.array_equal(f([[-1.0], [2.0]]), expected[:, None])
    for one in (-1.0, np.float64(-1.0), np.array(-1.0)):
        result = f(one)
        assert type(result) is np.float64
        assert result == expected[0]


@over_stored
def test_numpy_scalars_keep_their_type(dtype: np.dtype[Any]) -> None:
    assert type(nl.relu(dtype.type(3))) is dtype.type


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
@over_shapes
def test_empty_arrays(name: str, shape: tuple[int, ...]) -> None:
    result = nl.activations[name](np.empty(shape, np.float32))
    assert (result.shape, result.dtype) == (shape, np.float32)


def test_masked_arrays_stay_masked() -> None:
    x = np.ma.masked_array([-1.0, 2.0, math.inf], mask=[False, False, True])
    result = nl.relu(x)
    assert isinstance(result, np.ma.MaskedArray)
    assert result.mask.tolist() == [False, False, True]
    assert result.compressed().tolist() == [0.0, 2.0]


class Answers:
    """Not an array, but it knows about ufuncs."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        return ufunc.__name__, method, len(inputs), keywords


def test_objects_with_array_ufunc_are_asked() -> None:
    assert nl.gelu(Answers()) == ("gelu", "__call__", 1, {})
    assert nl.gelu.derivative(Answers()) == ("gelu_derivative", "__call__", 1, {})
    assert nl.leaky_relu(Answers(), negative_slope=2.0) == ("leaky_relu", "__call__", 2, {})
    assert nl.leaky_relu(1.0, negative_slope=Answers())[0] == "leaky_relu"


class Convertible:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array([-1.0, 2.0])


def test_objects_with_array_are_converted() -> None:
    assert nl.relu(Convertible()).tolist() == [0.0, 2.0]


def test_array_ufunc_none_is_refused() -> None:
    class Refuses:
        __array_ufunc__ = None

    with pytest.raises(TypeError, match=r"^relu: "):
        nl.relu(Refuses())


# --- parameters are operands ------------------------------------------------------------------------------------------


def test_parameters_broadcast() -> None:
    x, slopes = np.array([[-1.0, -2.0, 3.0]]), np.array([[0.5], [0.25]])
    assert nl.leaky_relu(x, slopes).tolist() == [[-0.5, -1.0, 3.0], [-0.25, -0.5, 3.0]]
    assert nl.leaky_relu(-1.0, slopes).tolist() == [[-0.5], [-0.25]]
    assert np.array_equal(nl.leaky_relu.derivative(x, slopes), np.where(x > 0, 1.0, slopes))


@pytest.mark.parametrize("layout", ["every second", "backwards", "a column", "unaligned", "read-only"])
@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if ELEMENTWISE[name].parameters])
def test_parameters_may_have_any_layout(name: str, layout: str) -> None:
    count = 21
    x = numbers(count, DOUBLE) / 4
    # Not 1 times: the defaults have loops of their own, whose last digit may differ.
    values = {key: v * np.linspace(1.125, 1.5, count) for key, v in parameters(name).items()}
    laid = {key: LAYOUTS[layout](v) for key, v in values.items()}
    alone = [ELEMENTWISE[name](x[i], **{key: v[i] for key, v in values.items()}) for i in range(count)]
    assert np.array_equal(ELEMENTWISE[name](x, **laid), alone)


def test_a_parameter_may_be_the_input_itself() -> None:
    x = numbers(33, DOUBLE)
    assert np.array_equal(nl.leaky_relu(x, x), np.where(x > 0, x, x * x))


def test_dtype_of_a_parameter_counts_unless_it_is_a_python_number() -> None:
    x = np.ones(3, np.float32)
    assert nl.leaky_relu(x, 0.2).dtype == np.float32
    assert nl.leaky_relu(x, np.float64(0.2)).dtype == np.float64
    assert nl.leaky_relu(x.astype(ml_dtypes.bfloat16), 0.2).dtype == ml_dtypes.bfloat16


# --- errors leave out alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda out: nl.leaky_relu(np.ones(4), np.ones(3), out=out),
            ValueError,
            r"^leaky_relu: operands do not broadcast together: x \(4,\), negative_slope \(3,\)",
        ),
        (lambda out: nl.relu(np.ones(3), out=out), ValueError, r"^relu: operands do not broadcast together: x \(3,\)"),
        (lambda out: nl.relu(np.ones((2, 4)), out=out), ValueError, r"^relu: .*non-broadcastable output operand"),
        (lambda out: nl.gelu(np.ones(4, complex), out=out), TypeError, "^gelu: x must be real"),
        (lambda out: nl.elu(np.ones(4), alpha=-1.0, out=out), ValueError, "^elu: alpha must be >= 0, got -1.0"),
        (lambda out: nl.elu(np.ones(4), alpha=[1, 1, 1, -1], out=out), ValueError, "^elu: alpha must be >= 0"),
        (lambda out: nl.relu(np.ones(4), out=out, dtype=complex), TypeError, "^relu: "),
        (lambda out: nl.relu(np.ones(4), out=out, casting="no", dtype=np.float32), TypeError, "^relu: Cannot cast"),
        (lambda out: nl.relu(np.ones(4), out=out, where=np.ones(3, bool)), ValueError, "^relu: "),
        (lambda out: nl.relu(np.ones(4), out=out, order="Z"), ValueError, "^relu: "),
    ],
)
def test_errors_write_nothing(call: Callable[[Array], Any], error: type[Exception], message: str) -> None:
    out = np.full(4, 77.0)
    with pytest.raises(error, match=message):
        call(out)
    assert out.tolist() == [77.0] * 4


def test_read_only_out_is_refused() -> None:
    out = read_only(np.full(4, 77.0))
    with pytest.raises(ValueError, match=r"^relu: output array is read-only"):
        nl.relu(np.ones(4), out=out)
    assert out.tolist() == [77.0] * 4


# --- threads and processes --------------------------------------------------------------------------------------------


def fresh_ufunc(name: str) -> np.ufunc:
    x = Symbol("x")
    return make_ufunc(Function(name, (canonical(where(x > 0, x, x * exp(x))),), ("x",), {}, exact=False))


def test_first_calls_from_many_threads_agree() -> None:
    """All threads come to uncompiled loops at once."""
    x = np.linspace(-3, 3, 1001)
    ufuncs = [fresh_ufunc(f"racing{i}") for i in range(3)]

    def work(k: int) -> list[tuple[np.dtype[Any], bytes]]:
        results = [ufuncs[(i + k) % 3](x.astype(dtype)) for dtype in (np.float32, np.float64) for i in range(3)]
        return [(result.dtype, result.tobytes()) for result in results]

    seen = set(itertools.chain.from_iterable(at_once(work)))
    assert {dtype for dtype, _ in seen} == {SINGLE, DOUBLE}
    assert len(seen) == 2


def test_activations_made_by_threads_share_one_ufunc(registry: object) -> None:
    @nl.activation
    def shared_by_threads(x):  # type: ignore[no-untyped-def]
        return x * exp(-x * x)

    assert len({id(ufunc) for ufunc in at_once(lambda _: shared_by_threads.ufunc)}) == 1


def _in_the_child(connection: Any, old: np.ufunc, new: np.ufunc) -> None:
    connection.send([old(-1.5), new(-1.5)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")  # by JAX, where another test has imported it
def test_a_forked_child_can_call_and_compile() -> None:
    old, new = fresh_ufunc("before_fork"), fresh_ufunc("after_fork")
    expected = old(-1.5)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_in_the_child, args=(there, old, new))
    child.start()
    assert here.poll(60)
    assert here.recv() == [expected, expected]
    child.join(60)
    assert child.exitcode == 0


# --- precision --------------------------------------------------------------------------------------------------------


def random_singles(seed: int, count: int) -> Array:
    """Numbers of every size where something happens, and ordinary ones."""
    generator = np.random.default_rng(seed)
    sizes = np.exp2(generator.uniform(-30, 8, count))
    ordinary = generator.normal(scale=3, size=count)
    return np.concatenate([sizes, -sizes, ordinary, distinct(POINTS)]).astype(np.float32)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@over_entries
def test_exact_is_float64_rounded_once(name: str) -> None:
    with np.errstate(all="ignore"):
        x = random_singles(len(name), 1000)
        given = typed(parameters(name, SINGLE), SINGLE)
        wide = typed(parameters(name, SINGLE), DOUBLE)
        for order in (0, 1):
            with nl.precision("exact"):
                exact = ELEMENTWISE[name].derivative(x, order=order, **given)
            expected = ELEMENTWISE[name].derivative(x.astype(np.float64), order=order, **wide).astype(np.float32)
            differs = ~((exact == expected) | (np.isnan(exact) & np.isnan(expected)))
            # Lanes for float32 carry fewer digits than those for float64: near a tie the two may round apart.
            wanted = [value(name, float(v), order, **parameters(name, SINGLE)) for v in x[differs]]
            errors = [ulp_error(y, w, "float32") for y, w in zip(exact[differs], wanted, strict=True)]
            assert max(errors, default=0.0) <= 0.5001


@pytest.mark.parametrize(("name", "zero"), [("gelu", -0.7517915), ("silu", -1.2784646), ("mish", -1.1924312)])
def test_exact_slopes_next_to_their_zero(name: str, zero: float) -> None:
    distances = np.concatenate([np.geomspace(1e-7, 0.1, 60), [0, 2**-10, 2**-10 * 1.001, 2**-10 * 0.999]])
    x = np.concatenate([zero - distances, zero + distances]).astype(np.float32)
    with nl.precision("exact"):
        slopes = ELEMENTWISE[name].derivative(x)
    errors = [ulp_error(slope, value(name, float(at), 1), "float32") for slope, at in zip(slopes, x, strict=True)]
    assert max(errors) <= 0.5001


def test_precision_is_fast_by_default_and_leaves_float64_alone() -> None:
    assert nl.get_precision() == "fast"
    x = np.linspace(-9, 9, 2001)
    with nl.precision("exact"):
        assert nl.get_precision() == "exact"
        exact = nl.gelu(x)
    assert nl.get_precision() == "fast"
    assert np.array_equal(exact, nl.gelu(x))


def test_precision_makes_a_difference() -> None:
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    with nl.precision("exact"):
        exact = nl.gelu(x)
    assert not np.array_equal(exact, nl.gelu(x))
    np.testing.assert_allclose(exact, nl.gelu(x), rtol=1e-6)


def test_precision_ends_with_the_block_even_by_an_error() -> None:
    with pytest.raises(ZeroDivisionError), nl.precision("exact"), nl.precision("fast"):
        1 / 0  # noqa: B018
    assert nl.get_precision() == "fast"


def test_precision_of_a_block_is_that_of_its_thread(process_precision: None) -> None:
    with nl.precision("exact"):
        assert at_once(lambda _: nl.get_precision(), 1) == ["fast"]
    nl.set_precision("exact")
    assert at_once(lambda _: nl.get_precision(), 1) == ["exact"]


def test_precision_of_the_process_yields_to_a_block(process_precision: None) -> None:
    nl.set_precision("exact")
    with nl.precision("fast"):
        assert nl.get_precision() == "fast"
    assert nl.get_precision() == "exact"


@pytest.mark.parametrize("wrong", ["Exact", "", None, 64])
def test_unknown_precision_is_refused(wrong: Any) -> None:
    message = f"precision must be 'fast' or 'exact', got {wrong!r}"
    with pytest.raises(ValueError, match=message):
        nl.set_precision(wrong)
    with pytest.raises(ValueError, match=message), nl.precision(wrong):
        pass
    assert nl.get_precision() == "fast"


def start(setting: str) -> subprocess.CompletedProcess[str]:
    code = "import nonlin; print(nonlin.get_precision())"
    environment = {**os.environ, "NONLIN_PRECISION": setting}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


def test_environment_sets_precision() -> None:
    assert start("exact").stdout == "exact\n"
    assert "ValueError: precision must be 'fast' or 'exact', got 'sloppy'" in start("sloppy").stderr


@pytest.mark.parametrize("rate", [1e-320, 1e-30, 1e30])
def test_an_exponential_of_a_tiny_or_huge_multiple(rate: float) -> None:
    rising = make_ufunc(Function("rising", (canonical(sigmoid(rate * Symbol("x"))),), ("x",), {}))
    x = np.array([-3.0, 0.0, 2.0])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(rising(x), 1 / (1 + np.exp(-rate * x)), rtol=1e-15)
