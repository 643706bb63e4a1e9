"""The code on the pages computes what the page shows."""

from typing import Any

import numpy as np
import pytest

import nonlin as nl
from entries import WHOLE
from nonlin.explanation.entries import Entry

X = np.array([-3.0, -0.7, 0.2, 1.3, 4.0])
ENTRIES = [name for name, entry in nl.activations.items() if entry.family != "own"]


def done(name: str, title: str, **given: Any) -> dict[str, Any]:
    """What the code of a framework leaves behind."""
    entry = Entry(nl.get(name))
    vars(entry)["gain"] = 1.5 if entry.is_curve else None  # facts take their time
    code = dict(entry.code).get(title)
    if code is None:
        pytest.skip(f"{title} has no {name}")
    space = dict(given)
    exec(code, space)
    return space


def wanted(name: str) -> Any:
    entry = Entry(nl.get(name))
    return entry.activation(X, *entry.defaults.values())


CURVES = [name for name in ENTRIES if Entry(nl.get(name)).is_curve]


@pytest.mark.parametrize("name", ENTRIES)
def test_numpy(name: str) -> None:
    space = done(name, "NumPy", x=X[:4], value=X[:4])
    assert np.isfinite(space["y"]).all()


@pytest.mark.parametrize("name", [name for name in CURVES if name != "rrelu"])  # it is random
def test_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    space = done(name, "PyTorch", x=torch.tensor(X), inputs=8, outputs=4)
    got = space["y"] if "y" in space else space["activation"].double()(torch.tensor(X))
    np.testing.assert_allclose(got.detach().numpy(), wanted(name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.skipif(not WHOLE, reason="the code of JAX and Keras takes minutes")
def test_jax_and_keras(name: str) -> None:
    jax = pytest.importorskip("jax")
    keras = pytest.importorskip("keras")
    x = jax.numpy.asarray(X, "float32")
    with np.errstate(all="ignore"):
        want = wanted(name)
    if "JAX" in dict(Entry(nl.get(name)).code):
        np.testing.assert_allclose(done(name, "JAX", x=x)["y"], want, rtol=1e-4, atol=1e-5)
    space = done(name, "Keras", x=x, units=4)
    got = space["y"] if "y" in space else space["layer"].activation(keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-4, atol=1e-5)
