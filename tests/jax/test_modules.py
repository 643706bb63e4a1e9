"""Modules of Flax NNX and Equinox: made from the registry, as natural there as their own."""

from __future__ import annotations

import copy
import pickle
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")

import jax.numpy as jnp

import nonlin as nl

X = jnp.linspace(-2, 2, 12, dtype=jnp.float32).reshape(3, 4)
LIBRARIES = {"nnx": "flax", "equinox": "equinox"}
over_libraries = pytest.mark.parametrize("library", LIBRARIES)
#: How many channels X has where each of them has its channels.
CHANNELS = {"nnx": 4, "equinox": 3}


def room(library: str) -> Any:
    package = LIBRARIES[library]
    pytest.importorskip(package, reason=f"{package} is not installed")
    return import_module(f"nonlin.jax.{library}")


def required(entry: Any) -> dict[str, int]:
    return {name: 2 for name, parameter in entry.parameters.items() if parameter.default is None}


def gradient(library: str, module: Any, x: Any) -> list[Any]:
    """The gradients of all that is learned."""
    if library == "nnx":
        from flax import nnx

        return jax.tree.leaves(nnx.grad(lambda m, z: (m(z) ** 2).sum())(module, x))
    import equinox

    return jax.tree.leaves(equinox.filter_grad(lambda m, z: (m(z) ** 2).sum())(module, x))


@over_libraries
def test_every_entry_has_a_class(library: str) -> None:
    modules, offered = room(library), dir(room(library))
    for entry in nl.activations.values():
        made = modules.layer(entry)
        assert made.__name__ in offered
        assert getattr(modules, made.__name__).entry is entry
        made(**required(entry))
    with pytest.raises(AttributeError, match=f"module 'nonlin.jax.{library}' has no attribute 'ReLUU'"):
        _ = modules.ReLUU


@over_libraries
@pytest.mark.parametrize("name", ["gelu", "leaky_relu", "swiglu", "softmax", "maxout"])
def test_a_module_is_its_function(library: str, name: str) -> None:
    entry = nl.activations[name]
    np.testing.assert_array_equal(room(library).layer(entry)(**required(entry))(X), entry(X, **required(entry)))


@over_libraries
@pytest.mark.parametrize("name", ["prelu", "swish", "softplus", "snake", "softmax", "swiglu_clamped"])
def test_parameters_learn_within_their_bounds(library: str, name: str) -> None:
    entry = nl.activations[name]
    module = room(library).layer(entry)(learnable=True)
    for parameter, record in entry.parameters.items():
        np.testing.assert_allclose(module.value_of(parameter), record.default, rtol=2e-7)
    gradients = gradient(library, module, X)
    assert len(gradients) == len(entry.parameters)
    assert all(np.isfinite(g) and g.dtype == jnp.float32 and not g.weak_type for g in gradients)
    if name in ("prelu", "swish"):  # which have no bounds: what is learned is the parameter itself
        (parameter,) = entry.parameters
        wanted = (2 * entry(X) * entry.derivative(X, wrt=parameter)).sum()
        np.testing.assert_allclose(gradients[0], wanted, rtol=1e-5)


@over_libraries
def test_channels(library: str) -> None:
    modules = room(library)
    module = modules.PReLU(channels=CHANNELS[library])
    assert module.value_of("negative_slope").shape == (CHANNELS[library],)
    np.testing.assert_array_equal(module(X), nl.prelu(X))
    (slopes,) = gradient(library, module, X)
    lost = jnp.where(X < 0, 2 * 0.25 * X * X, 0).sum(0 if library == "nnx" else 1)
    np.testing.assert_allclose(slopes, lost, rtol=1e-5)
    with pytest.raises(
        ValueError, match=re.escape(f"PReLU: negative_slope has {CHANNELS[library]} channels, but x of shape (2,)")
    ):
        module(X[0, :2])


@over_libraries
def test_own_functions_and_dialects_are_pickled_and_copied(library: str) -> None:
    layer = room(library).layer
    own = nl.activation(lambda x, a=nl.Parameter(1.0, gt=0, learnable=True): x * nl.tanh(a * x), name="tuesday_module")
    for module in (layer(own)(), layer(nl.dialect("keras.layers").leaky_relu)(), layer("prelu")(0.5), layer("rrelu")()):
        for other in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
            assert repr(type(other).entry) == repr(type(module).entry)
            if "RReLU" not in type(module).__name__:
                np.testing.assert_array_equal(other(X), module(X))


def test_nnx_jit_split_optimizer_and_dtypes() -> None:
    modules = room("nnx")
    import optax
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(4, 8, rngs=rngs)
            self.activation = modules.SnakeBeta(channels=8, rngs=rngs)
            self.last = nnx.Linear(8, 1, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.last(self.activation(self.first(x)))

    network = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.sgd(0.01), wrt=nnx.Param)

    @nnx.jit
    def step(network: Network, optimizer: nnx.Optimizer[Network], x: Any) -> Any:
        loss, gradients = nnx.value_and_grad(lambda n: ((n(x) - 1) ** 2).mean())(network)
        optimizer.update(network, gradients)
        return loss

    losses = [step(network, optimizer, X) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert not np.allclose(network.activation.alpha[...], 1)
    graph, state = nnx.split(network)
    np.testing.assert_array_equal(nnx.merge(graph, state)(X), network(X))
    assert state["activation"]["alpha"][...].shape == (8,)
    half = modules.PReLU(param_dtype=jnp.bfloat16)
    assert half.negative_slope[...].dtype == jnp.bfloat16
    assert half(X).dtype == X.dtype
    assert modules.PReLU()(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert "negative_slope=Param(" in repr(modules.PReLU())


def test_nnx_randomized() -> None:
    modules = room("nnx")
    from flax import nnx

    module = modules.RReLU(rngs=nnx.Rngs(0))
    first, second = module(X), module(X)
    assert not np.array_equal(first, second)
    share = (first / X)[X < 0]
    assert (share >= 1 / 8 - 1e-6).all()
    assert (share <= 1 / 3 + 1e-6).all()
    module.eval()
    np.testing.assert_array_equal(module(X), nl.rrelu(X))
    drawn = [module(X, deterministic=False, rngs=nnx.Rngs(1)) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    assert not np.array_equal(drawn[0], first)
    with pytest.raises(ValueError, match="RReLU: slopes are drawn in training, which takes rngs=, here or when it is made"):
        modules.RReLU()(X)


def test_equinox_jit_serialisation_and_sequential(tmp_path: Path) -> None:
    modules = room("equinox")
    import equinox

    key = jax.random.key(0)
    linear = equinox.nn.Linear(4, 3, key=key)
    network = equinox.nn.Sequential([linear, modules.Snake(channels=3), equinox.nn.Lambda(nl.gelu), modules.RReLU()])
    got = equinox.filter_jit(jax.vmap(lambda x: network(x, key=key)))(X)
    assert got.shape == (3, 3)
    quiet = equinox.nn.inference_mode(network)
    changed = equinox.tree_at(lambda n: n[1].alpha.raw, quiet, jnp.asarray([0.1, 0.2, 0.3], jnp.float32))
    equinox.tree_serialise_leaves(tmp_path / "network.eqx", changed)
    loaded = equinox.tree_deserialise_leaves(tmp_path / "network.eqx", quiet)
    np.testing.assert_array_equal(jax.vmap(loaded)(X), jax.vmap(changed)(X))
    with pytest.raises(ValueError, match="RReLU: slopes are drawn in training, which takes key="):
        modules.RReLU()(X)
    assert repr(modules.PReLU()) == "PReLU(negative_slope=f32[], channel_axis=0)"
    assert equinox.tree_equal(modules.PReLU(), modules.PReLU())
    assert modules.PReLU(dtype=jnp.float16).negative_slope.dtype == jnp.float16


@over_libraries
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.ELU(-1.0), "ELU: alpha must be >= 0, got -1.0"),
        (lambda m: m.ELU("a"), "ELU: alpha must be a number, got 'a'"),
        (lambda m: m.ELU(beta=1), "ELU: got an unexpected keyword argument 'beta'; it takes (alpha"),
        (lambda m: m.ELU(0.0, learnable=True), "ELU: alpha cannot be learned from 0.0, the end of what is allowed: >= 0"),
        (lambda m: m.ELU(learnable="beta"), "ELU has no parameter 'beta' to learn (it has: alpha)"),
        (lambda m: m.ELU(channels=3), "ELU: channels=3 needs learnable parameters"),
        (lambda m: m.PReLU(channels=0), "PReLU: channels must be a whole number of at least 1, got 0"),
        (lambda m: m.GELU()("a"), "GELU: x must be an array of real numbers, got str"),
    ],
)
def test_what_is_wrong_is_said(library: str, call: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        call(room(library))


@over_libraries
def test_a_library_that_is_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = LIBRARIES[library]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"nonlin.jax.{library}", raising=False)
    with pytest.raises(ImportError, match=re.escape(f"which is not installed: pip install 'nonlin[{package}]'")):
        import_module(f"nonlin.jax.{library}")
