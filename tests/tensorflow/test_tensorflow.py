"""TensorFlow's tensors: the same numbers as everywhere, eager, in graphs and compiled by XLA, under each kind of derivative."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # which instructions its build uses is no news
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

import nonlin as nl
from backends import LOST, backend
from entries import ELEMENTWISE, WHOLE, excused, parameters
from nonlin.definition import AxisFunction

ROWS = {name: entry for name, entry in nl.activations.items() if isinstance(entry, AxisFunction)}
#: A few entries of each kind.
SAMPLE, SAMPLE_OF_ROWS, SAVED = (
    ["relu", "gelu", "elu", "gaussian"],
    ["softmax", "sparsemax", "maxout", "crelu"],
    ["mish", "swiglu"],
)
if WHOLE:
    SAMPLE, SAMPLE_OF_ROWS = list(ELEMENTWISE), list(ROWS)
    SAVED = [name for name, entry in nl.activations.items() if entry.family != "own"]
POINTS = np.concatenate([np.linspace(-9, 9, 61), np.linspace(-80, 80, 31), [0.0, 1e-6, -1e-6, 1e30, -1e30]]).astype(np.float32)
FEW = np.array([-1.7, -0.6, 0.4, 2.9])
ROOM = backend("tensorflow")
TINY = np.finfo(np.float32).tiny


def close(got: Any, want: Any, ulps: float = 8) -> None:
    """Within some ulps; where terms cancel or TensorFlow flushes subnormal numbers to 0, within what that leaves."""
    assert got.dtype.as_numpy_dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=ulps * 2.0**-24, atol=6e-8, equal_nan=True)


@pytest.mark.parametrize("mode", ["eager", "xla"])
@pytest.mark.parametrize("name", [name for name in SAMPLE if name not in LOST])
def test_values_and_slopes_to_the_last_digits(name: str, mode: str) -> None:
    entry, given = ELEMENTWISE[name], {n: float(np.float32(v)) for n, v in parameters(name).items()}
    x = np.concatenate([POINTS, [np.nan, np.inf, -np.inf]]).astype(np.float32)
    for order in (0, 1):

        def call(z: Any, order: int = order) -> Any:
            return entry.derivative(z, order=order, **given)

        got = (tf.function(call, jit_compile=True) if mode == "xla" else call)(tf.constant(x)).numpy().astype(float)
        with np.errstate(all="ignore"):
            want = entry.derivative(x.astype(float), order=order, **given)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        infinite = np.isinf(want) | (np.abs(want) > np.finfo(np.float32).max)
        np.testing.assert_array_equal(got[infinite], np.sign(want[infinite]) * np.inf)
        rest = ~infinite & ~np.isnan(want)
        x_there, got, want = x[rest], got[rest], want[rest]
        # A result of less than 2^24 of the least normal number may come of terms that are flushed.
        unit = np.spacing(np.maximum(np.abs(want), 2.0**24 * TINY).astype(np.float32)).astype(float)
        error = np.abs(got - want)
        cancelled = excused(entry, order, x_there.astype(float), want, error, given, ROOM.cancelled["float32"])
        bad = (error > ROOM.ulps["float32"] * unit) & ~cancelled
        assert not bad.any(), (x_there[bad][:4], got[bad][:4], want[bad][:4])


@pytest.mark.parametrize("name", SAMPLE)
def test_derivatives_of_all_kinds(name: str) -> None:
    entry, given = ELEMENTWISE[name], parameters(name)
    x = tf.constant(FEW)
    first, second = (entry.derivative(FEW, order=order, **given) for order in (1, 2))

    def slopes(z: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(z)
                y = entry(z, **given)
            slope = inner.gradient(y, z)
        return slope, outer.gradient(slope, z)

    for run in (slopes, tf.function(slopes)):
        slope, curvature = run(x)
        np.testing.assert_allclose(slope, first, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(curvature, second, rtol=1e-11, atol=1e-13)
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as forward:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = entry(x, **given)
        slope = tape.gradient(y, x)
    np.testing.assert_allclose(forward.jvp(y), first, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(forward.jvp(slope), second, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "swish", "prelu"])
def test_learned_parameters_broadcast(name: str) -> None:
    entry = ELEMENTWISE[name]
    (parameter,) = entry.parameters
    slopes = tf.Variable([[0.1], [0.3]])
    with tf.GradientTape() as tape:
        y = entry(tf.constant(POINTS), **{parameter: slopes})
    assert y.shape == (2, len(POINTS))
    want = entry.derivative(POINTS[:61].astype(float), wrt=parameter, **{parameter: slopes.numpy().astype(float)})
    with tf.GradientTape() as tape:
        y = entry(tf.constant(POINTS[:61]), **{parameter: slopes})
    np.testing.assert_allclose(tape.gradient(y, slopes), want.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(entry(tf.constant(FEW), **{parameter: 0.1}), entry(FEW, **{parameter: 0.1}), rtol=1e-15)
    # Another default is another number in the program.
    other = entry.with_(**{parameter: 0.75})
    close(other(tf.constant(POINTS[:61])), other(POINTS[:61]))


@pytest.mark.parametrize("name", ["relu", "gelu", "hard_tanh"])
def test_dtypes(name: str) -> None:
    entry = ELEMENTWISE[name]
    for dtype in (tf.float16, tf.bfloat16, tf.float32, tf.float64):
        x = tf.cast(POINTS[:61], dtype)
        assert entry(x).dtype == dtype
        want = entry(x.numpy().astype(float))
        np.testing.assert_allclose(entry(x).numpy().astype(float), want, rtol=float(np.finfo(np.float16).eps) * 8, atol=1e-6)
        assert entry.derivative(tf.Variable(x)).dtype == dtype
    for kind in (tf.int8, tf.uint8, tf.int32, tf.int64):
        y = entry(tf.constant([0, 3, 100], kind))
        assert y.dtype == (tf.float32 if name == "gelu" else kind)
        np.testing.assert_allclose(y.numpy(), entry(np.array([0.0, 3, 100])), rtol=1e-6)


@pytest.mark.usefixtures("registry")
def test_no_warning_of_retracing() -> None:
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    tf.get_logger().addHandler(handler)
    try:
        for k in range(8):
            own = nl.activation(lambda x, a=nl.Parameter(1.5): nl.tanh(a * x), name=f"retraced_{k}")
            for length in (1, 2, 3):
                own(tf.zeros(length), a=float(length))
                nl.softmax(tf.zeros((length, 2)), temperature=float(length))
    finally:
        tf.get_logger().removeHandler(handler)
    assert not seen


def test_a_branch_that_is_not_taken_leaves_no_nan() -> None:
    guarded = nl.activation(lambda x: nl.where(x > 0, nl.log(x), 0), name="guarded")
    x = tf.Variable([-1.0, 2.0])
    with tf.GradientTape() as tape:
        y = guarded(x)
    np.testing.assert_allclose(tape.gradient(y, x), [0, 0.5])


@pytest.mark.parametrize("name", ["swiglu", "reglu"])
def test_pairs(name: str) -> None:
    entry, a, b = nl.activations[name], POINTS[:20], POINTS[20:40]
    close(entry(tf.constant(a), tf.constant(b)), entry(a, b))
    gate, value = tf.Variable(a), tf.Variable(b)
    with tf.GradientTape() as tape:
        y = entry(gate, value)
    for got, wrt in zip(tape.gradient(y, [gate, value]), ("gate", "value"), strict=True):
        close(got, entry.derivative(a, b, wrt=wrt), 16)
    unknown = tf.function(entry, input_signature=[tf.TensorSpec([None, None], tf.float32)])
    close(unknown(POINTS[None, :40]), entry(POINTS[None, :40]))


# --- along an axis ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", SAMPLE_OF_ROWS)
def test_rows_are_those_of_numpy(name: str, masked: bool) -> None:
    entry, given = ROWS[name], {"groups": 3} if name == "maxout" else {}
    if masked and entry.masked is None:
        return
    draw = np.random.default_rng(1)
    x = (3 * draw.standard_normal((4, 6, 2))).astype(np.float32)
    given |= {"axis": 1} | ({"where": draw.random(x.shape) > 0.3} if masked else {})
    want = entry(x, **given)
    close(entry(tf.constant(x), **given), want)
    if not masked:
        close(tf.function(lambda z: entry(z, **given), input_signature=[tf.TensorSpec([None, 6, 2])])(x), want)
    g = draw.standard_normal(want.shape).astype(np.float32)
    z = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = entry(z, **given)
    pulled = tape.gradient(y, z, output_gradients=g)
    np.testing.assert_allclose(pulled, entry.vjp(x, dy=g, **given), rtol=2e-5, atol=1e-6)
    with tf.autodiff.ForwardAccumulator(z, tf.constant(x)) as forward:
        y = entry(z, **given)
    np.testing.assert_allclose(forward.jvp(y), entry.jvp(x, dx=x, **given), rtol=2e-5, atol=1e-6)


def test_a_learned_temperature_and_second_derivatives_of_rows() -> None:
    x, temperature = tf.Variable([[0.3, -1.2, 2.0]], dtype=tf.float64), tf.Variable(1.3, dtype=tf.float64)
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            y = nl.softmax(x, temperature=temperature)[0, 0]
        gradient, by_temperature = inner.gradient(y, [x, temperature])
    np.testing.assert_allclose(nl.softmax(x, temperature=0.1), nl.softmax(x.numpy(), temperature=0.1), rtol=1e-14)
    e = 1e-5
    ahead, behind = (nl.softmax.vjp(x.numpy() + np.array([[h, 0, 0]]), [[1.0, 0, 0]], temperature=1.3) for h in (e, -e))
    np.testing.assert_allclose(outer.jacobian(gradient, x)[0, :, 0, 0], ((ahead - behind) / (2 * e))[0], rtol=1e-8)
    ahead, behind = (nl.softmax(x.numpy(), temperature=1.3 + h)[0, 0] for h in (e, -e))
    np.testing.assert_allclose(by_temperature, (ahead - behind) / (2 * e), rtol=1e-8)
    assert outer.gradient(by_temperature, temperature) is not None
    np.testing.assert_allclose(nl.softmax.vjp(x, [[1, 0, 0]]), nl.softmax.vjp(x.numpy(), [[1, 0, 0]]))
    np.testing.assert_allclose(nl.softmax.jvp(x, [[1, 0, 0]]), nl.softmax.jvp(x.numpy(), [[1, 0, 0]]))
    np.testing.assert_array_equal(nl.softmax(tf.constant([np.inf, 0, np.inf])), [0.5, 0, 0.5])
    assert nl.softmax(tf.zeros((2, 0))).shape == (2, 0)


# --- a model that is saved --------------------------------------------------------------------------------------------------


def test_a_saved_model_keeps_values_and_gradients(tmp_path: Path) -> None:
    module = tf.Module()
    module.slope = tf.Variable(0.3)

    def call(x: Any) -> list[Any]:
        results = [nl.softmax(nl.gelu(nl.leaky_relu(x, module.slope)))]
        for name in SAVED:
            given = parameters(name) if name in ELEMENTWISE else {"groups": 2} if name == "maxout" else {}
            results.append(nl.activations[name](x, **given))
        return results

    module.call = tf.function(call, input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    tf.saved_model.save(module, tmp_path, options=tf.saved_model.SaveOptions(experimental_custom_gradients=True))
    loaded = tf.saved_model.load(tmp_path)
    x = tf.constant([FEW], tf.float32)
    found = []
    for one in (module, loaded):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            results = one.call(x)
            firsts = [y[:, 0] for y in results]
        found.append([*results, *(tape.gradient(y, x) for y in firsts), tape.gradient(firsts[0], one.slope)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)


# --- bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: nl.gelu(tf.complex(x, x)), "gelu: x must be real floating-point or integer, got complex64"),
        (lambda x: nl.gelu(tf.constant(["a"])), "gelu: x must be real floating-point or integer, got string"),
        (lambda x: nl.gelu(tf.RaggedTensor.from_row_lengths(x, [1, 2])), "gelu: of tensorflow it takes tensorflow.Tensor"),
        (lambda x: nl.softmax(tf.sparse.from_dense(x)), "softmax: of tensorflow it takes tensorflow.Tensor"),
        (lambda x: nl.gelu(x, out=np.zeros(3)), "gelu: out= is for NumPy arrays, not for TensorFlow's tensors"),
        (lambda x: nl.softmax(x, where=x), "softmax: where must be boolean, True for what takes part, got float32"),
        (lambda x: nl.softmax(x, axis=3), "softmax: axis 3 is out of range for x of shape (3,)"),
        (lambda x: nl.leaky_relu(x, negative_slope="a"), "leaky_relu: negative_slope must be real"),
        (lambda x: nl.maxout(x, groups=2), "cannot be divided into groups of 2"),
        (lambda x: nl.glu(x), "glu: axis 0 of x of shape (3,) has odd length 3"),
    ],
)
def test_what_is_wrong_is_said(call: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call(tf.constant([1.0, 2.0, 3.0]))
