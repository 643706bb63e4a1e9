"""One small network in PyTorch, JAX and Keras on three backends, from the same weights and batches: the same predictions.

python examples/one_network.py              # all that are installed, each in a process of its own
python examples/one_network.py keras torch  # one of them, here
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import nonlin as nl

WAYS = {"torch": ["torch"], "jax": ["jax"]} | {
    f"keras {backend}": ["keras", backend] for backend in ("torch", "jax", "tensorflow")
}
RATE, BATCH, HIDDEN = 0.5, 64, 32

pixels, labels = load_digits(return_X_y=True)
pixels = (pixels / 16).astype(np.float32)
labels = labels.astype(np.int32)


def weights() -> list[np.ndarray]:
    """Two layers' weights; the first ones have the gain that GELU needs."""
    random = np.random.default_rng(0)
    first = random.normal(0, nl.gelu.facts.gain / 64**0.5, (64, HIDDEN))
    second = random.normal(0, 1 / HIDDEN**0.5, (HIDDEN, 10))
    return [w.astype(np.float32) for w in (first, np.zeros(HIDDEN), second, np.zeros(10))]


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(pixels) - BATCH + 1, BATCH):
        yield pixels[start : start + BATCH], labels[start : start + BATCH]


def in_torch() -> np.ndarray:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(64, HIDDEN), torch.nn.Identity(), torch.nn.Linear(HIDDEN, 10))
    first, bias, second, other = map(torch.from_numpy, weights())
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (first.T, bias, second.T, other), strict=True):
            parameter.copy_(value)
    model[1].forward = nl.gelu  # or nonlin.torch.GELU() in the second place
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    for x, y in batches():
        optimizer.zero_grad()
        rows = nl.log_softmax(model(torch.from_numpy(x)))
        loss = -rows[torch.arange(len(y)), torch.from_numpy(y).long()].mean()
        loss.backward()
        optimizer.step()
    return model(torch.from_numpy(pixels)).detach().numpy()


def in_jax() -> np.ndarray:
    import jax
    import jax.numpy as jnp

    def network(w: list[jax.Array], x: jax.Array) -> jax.Array:
        return nl.gelu(x @ w[0] + w[1]) @ w[2] + w[3]

    def loss(w: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        return -nl.log_softmax(network(w, x))[jnp.arange(len(y)), y].mean()

    slope = jax.jit(jax.grad(loss))
    w = [jnp.asarray(one) for one in weights()]
    for x, y in batches():
        w = [one - RATE * d for one, d in zip(w, slope(w, x, y), strict=True)]
    return np.asarray(network(w, jnp.asarray(pixels)))


def in_keras() -> np.ndarray:
    import keras

    import nonlin.keras  # noqa: F401 - lets a string name an activation

    layers = [keras.layers.Dense(HIDDEN, activation="nonlin>gelu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.set_weights(weights())
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    whole = len(pixels) // BATCH * BATCH
    model.fit(pixels[:whole], labels[:whole], batch_size=BATCH, shuffle=False, epochs=1, verbose=0)
    return np.asarray(keras.ops.convert_to_numpy(model(pixels)))


def loss_of(logits: np.ndarray) -> float:
    return float(-nl.log_softmax(logits.astype(float))[np.arange(len(labels)), labels].mean())


def main(names: list[str]) -> None:
    chosen = {name: WAYS[name] for name in names or WAYS}
    installed = {name: way for name, way in chosen.items() if all(map(find_spec, way))}
    with tempfile.TemporaryDirectory() as folder:
        for name, way in installed.items():
            environment = os.environ | ({"KERAS_BACKEND": way[1]} if way[0] == "keras" else {})
            command = [sys.executable, __file__, "--here", way[0], str(Path(folder) / f"{name}.npy")]
            subprocess.run(command, env=environment, check=True)
        results = {name: np.load(Path(folder) / f"{name}.npy") for name in installed}
    losses = {name: loss_of(logits) for name, logits in results.items()}
    first = next(iter(results.values()))
    for name, logits in results.items():
        same = np.array_equal(logits.argmax(1), first.argmax(1))
        print(f"{name:16} loss {losses[name]:.7f}   {'the same' if same else 'OTHER'} {len(labels)} predictions")
        assert same, name
    assert max(losses.values()) - min(losses.values()) < 1e-5, losses


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        _, _, way, file = sys.argv
        np.save(file, {"torch": in_torch, "jax": in_jax, "keras": in_keras}[way]())
    else:
        main(sys.argv[1:])
