"""JAX arrays: the same numbers as everywhere, under each of JAX's transformations."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")

import jax.numpy as jnp
from jax.test_util import check_grads

import nonlin as nl
from entries import ELEMENTWISE, WHOLE, parameters
from nonlin.definition import AxisFunction

EVERY = [name for name, entry in nl.activations.items() if entry.family != "own"]
ROWS = {name: entry for name, entry in nl.activations.items() if isinstance(entry, AxisFunction)}
#: JAX takes a fifth of a second to compile the program of each.
SAMPLE = sorted(ELEMENTWISE if WHOLE else {*list(ELEMENTWISE)[::5], "relu", "gelu", "elu", "step"})
X = np.concatenate([np.linspace(-9, 9, 61), [0.0, 1e-6, -1e-6, 30, -30, 85, -85]]).astype(np.float32)


def numbers(name: str) -> dict[str, float]:
    return {n: float(v) for n, v in parameters(name).items()}


def close(got: Any, want: Any, ulps: float = 8) -> None:
    """Within some ulps, and where terms cancel within what XLA's expm1 and tanh, of five ulps each, leave of them."""
    want = np.asarray(want)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=ulps * 2.0**-24, atol=2e-7, equal_nan=True)


@pytest.mark.parametrize("name", SAMPLE)
def test_values_and_slopes_are_those_of_numpy(name: str) -> None:
    entry, given = ELEMENTWISE[name], numbers(name)
    values, slopes = jax.jit(lambda x: (entry(x, **given), jax.vmap(jax.grad(lambda z: entry(z, **given)))(x)))(X)
    close(values, entry(X, **given), 40 if "sin" in str(entry.formula) else 8)
    close(slopes, entry.derivative(X, **given), 400 if "sin" in str(entry.formula) else 16)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "softplus"])
def test_xla_leaves_the_rests_of_exponents_what_they_are(name: str) -> None:
    # It takes (1 + b) - 1 to be b: written so, what the sum was rounded by is lost, and gelu_tanh has 9 ulp instead of 4.
    x = np.linspace(-9, 3, 100_001).astype(np.float32)
    entry = ELEMENTWISE[name]
    want = entry(x.astype(float))
    error = np.abs(np.asarray(jax.jit(entry)(x)).astype(float) - want) / np.spacing(np.abs(want).astype(np.float32))
    assert error.max() < 5
    np.testing.assert_array_equal(entry(jnp.asarray(x)), jax.jit(entry)(x))


@pytest.mark.parametrize("name", SAMPLE)
def test_infinities_and_nan(name: str) -> None:
    entry, given = ELEMENTWISE[name], numbers(name)
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    for order in (0, 1):
        got = entry.derivative(jnp.asarray(x), order=order, **given)
        with np.errstate(all="ignore"):
            want = entry.derivative(x, order=order, **given)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-18)


def applied(name: str) -> tuple[Callable[..., Any], int]:
    """An entry as a function of its arrays, and their number."""
    entry = nl.activations[name]
    given = rows_of(name)[0] if name in ROWS else numbers(name) if name in ELEMENTWISE else {}
    return (lambda *arrays, **more: entry(*arrays, **given, **more)), 1 if name in ROWS else len(entry.operands)


@pytest.mark.parametrize("name", EVERY if WHOLE else [*SAMPLE[::4], "swiglu"])
def test_gradients_of_both_modes_to_the_second_order(name: str) -> None:
    function, count = applied(name)
    with jax.enable_x64(True):
        x = jnp.asarray([-1.73, -0.62, 0.41, 1.27, 2.9, 0.1], jnp.float64)
        assert function(*[x] * count).dtype == jnp.float64
        check_grads(function, (x, x[::-1])[:count], order=2, modes=("fwd", "rev"), rtol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_programs_in_float32_hold_nothing_of_float64(name: str) -> None:
    x = jnp.asarray([[0.5, -1.25, 3], [2, 0, 1]], jnp.float32)
    function, count = applied(name)
    masks = {"where": x > 0} if name in ROWS and rows_of(name)[1] else {}
    with jax.enable_x64(True):
        program = jax.make_jaxpr(jax.value_and_grad(lambda *a: function(*a, **masks).sum()))(*[x] * count)
    assert "f64" not in str(program)


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "swish", "softplus", "prelu"])
def test_parameters_are_differentiated_and_broadcast(name: str) -> None:
    entry = ELEMENTWISE[name]
    (parameter,) = entry.parameters
    slopes = jnp.asarray([[0.1], [0.3]], jnp.float32)
    assert entry(X, **{parameter: slopes}).shape == (2, len(X))
    np.testing.assert_array_equal(entry.with_(**{parameter: 0.3})(X), entry(X, **{parameter: 0.3}))
    got = jax.grad(lambda s: entry(X[:40], **{parameter: s}).sum())(jnp.float32(0.3))
    want = entry.derivative(X[:40].astype(float), wrt=parameter, **{parameter: 0.3}).sum()
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_transformations() -> None:
    x = jnp.asarray(X[:9])
    np.testing.assert_allclose(jax.vmap(nl.gelu)(x), nl.gelu(x), rtol=1e-6)
    _, last = jax.lax.scan(lambda carry, z: (nl.tanh(carry + z), carry), jnp.float32(0), x)
    assert last.shape == x.shape
    slope = jax.grad(jax.checkpoint(lambda z: nl.mish(z).sum()))(x)
    np.testing.assert_allclose(slope, nl.mish.derivative(x), rtol=1e-5)
    hessian = jax.hessian(lambda z: nl.silu(z).sum())(x)
    np.testing.assert_allclose(jnp.diag(hessian), nl.silu.derivative(x, order=2), rtol=1e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "softplus", "hard_tanh"])
def test_dtypes(name: str) -> None:
    entry = ELEMENTWISE[name]
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        got = entry(jnp.asarray(X, dtype))
        assert got.dtype == dtype
        want = entry(np.asarray(jnp.asarray(X, dtype), np.float32))
        np.testing.assert_allclose(np.asarray(got, np.float32), want, rtol=float(jnp.finfo(dtype).eps), atol=1e-7)
    assert jax.eval_shape(entry, 1.5).weak_type
    assert jax.eval_shape(jax.grad(entry), 1.5).weak_type
    assert entry(jnp.arange(-3, 4)).dtype == (jnp.int32 if name in ("relu", "hard_tanh") else jnp.float32)


def test_no_promotion_is_needed() -> None:
    x = jnp.asarray(X[:24]).reshape(4, 6)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for name in ("gelu", "elu", "swiglu", *ROWS):
            function, count = applied(name)
            jax.make_jaxpr(jax.grad(lambda *a, function=function: function(*a).sum()))(*[x] * count)
        jax.make_jaxpr(lambda z: (nl.leaky_relu(z.astype(jnp.bfloat16), 0.1), nl.softmax(z, where=z > 0, temperature=0.5)))(x)


def test_numbers_that_are_no_operands_are_those_of_other_frameworks() -> None:
    # Of laplace's sigma, the digits that float32 has no place for are a hundred ulp of the result.
    x = np.linspace(-2.5, 2.5, 501).astype(np.float32)
    np.testing.assert_allclose(nl.laplace(jnp.asarray(x)), nl.laplace(x), rtol=8 * 2.0**-24)


def test_a_branch_that_is_not_taken_leaves_no_nan() -> None:
    guarded = nl.activation(lambda x: nl.where(x > 0, nl.log(x), 0), name="guarded")
    assert jax.grad(guarded)(-1.0) == 0
    assert jax.grad(nl.elu)(1e30) == 1
    assert np.isfinite(jax.grad(jax.grad(nl.softplus))(-1e30))


@pytest.mark.parametrize("name", ["swiglu", "geglu", "glu", "reglu"])
def test_pairs(name: str) -> None:
    entry, a, b = nl.activations[name], X[:20], X[20:40]
    close(entry(jnp.asarray(a), jnp.asarray(b)), entry(a, b))
    close(entry(jnp.asarray(X[:40])), entry(X[:40]))
    gate, value = jax.grad(lambda g, v: entry(g, v).sum(), argnums=(0, 1))(jnp.asarray(a), jnp.asarray(b))
    close(gate, entry.derivative(a, b, wrt=entry.operands[0]), 16)
    close(value, entry.derivative(a, b, wrt=entry.operands[1]), 16)


# --- along an axis ----------------------------------------------------------------------------------------------------------


def rows_of(name: str) -> tuple[dict[str, Any], bool]:
    return ({"groups": 3} if name == "maxout" else {}), "where" in str(ROWS[name].__signature__)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_rows_are_those_of_numpy(name: str, masked: bool) -> None:
    given, takes_masks = rows_of(name)
    if masked and not takes_masks:
        return
    draw = np.random.default_rng(1)
    x = (3 * draw.standard_normal((4, 6, 2))).astype(np.float32)
    given |= {"axis": 1} | ({"where": draw.random(x.shape) > 0.3} if masked else {})
    want = ROWS[name](x, **given)
    close(ROWS[name](jnp.asarray(x), **given), want)
    g = draw.standard_normal(want.shape).astype(np.float32)
    pulled = jax.vjp(lambda z: ROWS[name](z, **given), jnp.asarray(x))[1](jnp.asarray(g))[0]
    np.testing.assert_allclose(pulled, ROWS[name].vjp(x, dy=g, **given), rtol=2e-5, atol=1e-6)
    pushed = jax.jvp(lambda z: ROWS[name](z, **given), (jnp.asarray(x),), (jnp.asarray(x),))[1]
    np.testing.assert_allclose(pushed, ROWS[name].jvp(x, dx=x, **given), rtol=2e-5, atol=1e-6)


def test_rows_under_transformations_and_with_a_learned_temperature() -> None:
    x = jnp.asarray(X[:12]).reshape(3, 4)
    np.testing.assert_allclose(jax.jit(jax.vmap(nl.softmax))(x), nl.softmax(x), rtol=1e-6)
    with jax.enable_x64(True):
        wide = jnp.asarray(X[20:32], jnp.float64).reshape(3, 4)
        check_grads(lambda z, t: nl.softmax(z, temperature=t), (wide, 1.3), order=2, modes=("fwd", "rev"), rtol=1e-4)
    np.testing.assert_array_equal(nl.softmax(jnp.asarray([jnp.inf, 0, jnp.inf])), [0.5, 0, 0.5])
    assert nl.softmax(jnp.zeros((2, 0))).shape == (2, 0)


def test_an_own_function_of_rows() -> None:
    @nl.activation(along="axis", masked=0)
    def share(x, sharpness=nl.Parameter(2.0, gt=0)):  # type: ignore[no-untyped-def]
        e = nl.exp(sharpness * (x - nl.row_max(x)))
        return e / nl.row_sum(e)

    x = X[:10]
    close(share(jnp.asarray(x)), share(x))
    jacobian = jax.jacobian(share)(jnp.asarray(x))
    np.testing.assert_allclose(jacobian @ x, share.jvp(x, dx=x), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("registry")
def test_what_is_compiled_of_an_own_function_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where another test has imported nonlin.keras, Keras keeps what is registered, as the registry does.
    monkeypatch.setattr(nl.activations, "watchers", [])

    def used() -> list[weakref.ref[Any]]:
        own = nl.activation(lambda x, a=nl.Parameter(1.5): nl.tanh(a * x), name="dropped")
        row = nl.activation(lambda x: nl.exp(x) / nl.row_sum(nl.exp(x)), along="axis", masked=0, name="dropped_row")
        for entry in (own, row):
            jax.grad(lambda x, entry=entry: entry(x)[0])(jnp.ones(3))
            entry(jnp.ones(3))
            nl.activations._entries.pop(entry.name)
            nl.activations._names.pop(entry.name, None)
        return [weakref.ref(own), weakref.ref(row)]

    left = used()
    gc.collect()
    assert [entry() for entry in left] == [None, None]


# --- bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: nl.gelu(x + 1j), "gelu: x must be real floating-point or integer, got complex64"),
        (lambda x: nl.gelu(x, out=np.zeros(3)), "gelu: out= is for NumPy arrays, not for JAX's"),
        (lambda x: nl.softmax(x, where=x), "softmax: where must be boolean, True for what takes part, got float32"),
        (lambda x: nl.softmax(x, axis=3), "axis"),
        (lambda x: nl.leaky_relu(x, negative_slope="a"), "leaky_relu"),
        (lambda x: nl.maxout(x, groups=2), "cannot be divided into groups of 2"),
    ],
)
def test_what_is_wrong_is_said(call: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call(jnp.asarray(X[:3]))
