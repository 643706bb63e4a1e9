"""Whatever happens while a loop compiles: the caller gets the exception, and results are NaN or what they should be."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import nonlin as nl
from nonlin.formula import Expression, exp
from nonlin.kernels import passes, ufunc
from nonlin.kernels.passes import make_pass


class LuckError(RuntimeError):
    """One that no code of ours knows."""


ERRORS = [LuckError("no luck"), ValueError("no value"), MemoryError("no memory"), KeyboardInterrupt("stop")]


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: BaseException) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        yield


def fresh() -> nl.Activation:
    return nl.activation(lambda x: x * exp(x), name="called_first")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_an_error_in_a_first_call_reaches_the_caller(dtype: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    function, x = fresh().ufunc, np.arange(-92, 8).astype(dtype)
    with failing(monkeypatch, ufunc.Loop, "kernel", error):
        for _ in range(3):  # not only the first time
            out = np.zeros(100, x.dtype if x.dtype.kind == "f" else np.float64)
            with pytest.raises(type(error), match=str(error)) as caught:
                function(x, out=out)
            assert caught.value is error
            assert np.isnan(out).all()
    np.testing.assert_allclose(function(x).astype(float), np.float64(x) * np.exp(np.float64(x)), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_function_itself_raises_every_time(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    function = fresh()
    with failing(monkeypatch, ufunc.Loop, "kernel", error):
        for _ in range(3):
            with pytest.raises(type(error), match=str(error)):
                function(np.linspace(-1, 1, 10))
    assert function(0.0) == 0


def test_results_in_place_and_strided_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    function = fresh().ufunc
    with failing(monkeypatch, ufunc.Loop, "kernel", ERRORS[0]):
        x = np.arange(10.0)
        with pytest.raises(LuckError):
            function(x, out=x)
        np.testing.assert_array_equal(x, np.arange(10.0))
        out = np.zeros((4, 6), np.float32)
        with pytest.raises(LuckError):
            function(np.ones((4, 3), np.float32), out=out[:, ::2])
        assert np.isnan(out[:, ::2]).all()
        assert (out[:, 1::2] == 0).all()


def test_an_error_while_the_part_outside_the_guard_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    function, x = fresh().ufunc, np.array([1.0, 1e4, -2.0] * 20)
    function(x[:1])
    out = np.zeros(60)
    with failing(monkeypatch, ufunc.Loop, "outside", ERRORS[0]), pytest.raises(LuckError):
        function(x, out=out)
    assert np.isnan(out[1::3]).all()
    np.testing.assert_allclose(np.delete(out, slice(1, None, 3)), np.tile([np.e, -2 * np.exp(-2)], 20))


def test_an_error_while_a_pass_compiles_what_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    x_ = nl.formula.Symbol("x")
    both: Expression = x_ * exp(x_) * nl.formula.sigmoid(x_ / 3)
    operands, results = (("x", "float32"),), ((both, "float32"), (x_ > 0, "bits"))
    work = make_pass(operands, results)
    x, out, bits = np.array([1, 1e30] * 32, np.float32), np.zeros(64, np.float32), np.zeros(8, np.uint8)
    places = (x.ctypes.data, out.ctypes.data, bits.ctypes.data)
    with failing(monkeypatch, passes.Pass, "compile_outside", ERRORS[0]), pytest.raises(LuckError):
        work(places, 64)
    assert np.isnan(out[1::2]).all()
    work(places, 64)
    assert (out[1::2] == np.inf).all()


_INJECTION = """
import random, sys
import numpy as np
import nonlin as nl
from nonlin.formula import cos, exp, log1p, sigmoid, sqrt, tanh

random.seed(20261125)
errors = [ValueError("luck"), RuntimeError("luck"), KeyboardInterrupt("luck"), MemoryError("luck"), SystemExit("luck")]
shapes = [lambda x, c: exp(c * x), lambda x, c: sigmoid(c * x) * x, lambda x, c: tanh(c + x), lambda x, c: sqrt(c + x * x),
          lambda x, c: log1p(exp(x - c)), lambda x, c: cos(c * x) / (1 + x * x)]
raised = 0
for call in range(200):
    c = 1 + random.randrange(10**6) / 10**6
    shape = shapes[call % len(shapes)]
    function = nl.activation(lambda x: shape(x, c), name=f"injected{call}").ufunc
    x = np.linspace(-400, 400, 101).astype(["f4", "f8"][call % 2])
    out = np.full(101, 7, x.dtype)
    left, error = int(10 ** random.uniform(0, 4.6)), errors[call % len(errors)]

    def strike(frame, event, argument):
        global left
        left -= 1
        if left == 0:
            sys.setprofile(None)
            raise error

    seen = None
    try:
        sys.setprofile(strike)
        try:
            function(x, out=out)
        finally:
            sys.setprofile(None)
    except BaseException as caught:
        seen = caught
        assert type(caught) is type(error), repr(caught)
        raised += 1
    with np.errstate(all="ignore"):
        right = function(x)
    assert np.isfinite(right[50]) and right.dtype == x.dtype
    untouched, spoiled, done = out == 7, np.isnan(out), (out == right) | (np.isnan(out) & np.isnan(right))
    assert (untouched | spoiled | done).all(), (call, seen, out)
    assert seen is not None or done.all(), (call, out)
print("raised", raised)
"""


def test_errors_at_random_points_of_200_first_calls() -> None:
    run = subprocess.run([sys.executable, "-c", _INJECTION], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout.split()[-1]) > 50, run.stdout
