"""Keras' models: the same findings as of the same weights in torch, on each backend. Each backend has a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from entries import WHOLE

pytest.importorskip("keras")
BACKENDS = ("torch", "jax", "tensorflow") if WHOLE else ("torch",)
X = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)

BUILD = """
import json, os, sys
from pathlib import Path
import keras, numpy as np
import nonlin as nl, nonlin.keras as nk

folder = Path(sys.argv[1])
held = np.load(folder / "weights.npz")
layers = [keras.Input((16,))]
for i in range(10):
    layers += [keras.layers.Dense(32, "relu")] if i % 3 else [keras.layers.Dense(32), nk.ReLU()]
model = keras.Sequential([*layers, keras.layers.Dense(3)])
model.set_weights([held[f"arr_{i}"] for i in range(len(held.files) - 2)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
report = nl.diagnose(model, held["X"], held["Y"], loss=loss)
(folder / "found.json").write_text(report.as_json())
if keras.backend.backend() != "torch":
    sys.exit()  # the rest is the same there, and takes a process each
probabilities = nl.diagnose(model, held["X"], held["Y"], loss=keras.losses.SparseCategoricalCrossentropy())
assert probabilities.of("wrong-output-activation"), probabilities
try:
    nl.diagnose(model, np.zeros((3, 5), "float32"))
except ValueError as error:
    assert "the model cannot run on data of shape (3, 5)" in str(error), error
else:
    raise AssertionError("no error")

# As a model of another backend is, from a folder whose modules are not Python's.
from nonlin.diagnosis.keras import diagnose_elsewhere
sys.path[:] = filter(None, sys.path)
(folder / "random.py").write_text("raise SystemExit('imported from the folder')")
os.chdir(folder)
elsewhere = diagnose_elsewhere(model, held["X"], held["Y"], loss, None, 10_000)
assert elsewhere.as_dict() == report.as_dict()
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_findings_are_those_of_the_same_weights_in_torch(backend: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for size in [16] + [32] * 9:
        layers += [nn.Linear(size, 32), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(32, 3))
    with torch.no_grad():
        model[2].bias[[4, 7]] = -1.0
    want = nl.diagnose(model, X, Y, loss=nn.CrossEntropyLoss()).as_dict()

    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    weights = [w.detach().numpy() for layer in linear for w in (layer.weight.T, layer.bias)]
    np.savez(tmp_path / "weights.npz", *weights, X=X, Y=Y)
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())

    assert want["findings"][0]["rule"] == "initialisation-mismatch"
    for key in ("rule", "severity", "units", "n", "bound", "cause"):
        assert [f[key] for f in found["findings"]] == [f[key] for f in want["findings"]], key
    for key in ("activation", "units", "dead", "always_on", "rare", "saturated"):
        assert [row[key] for row in found["layers"]] == [row[key] for row in want["layers"]], key
    for key in ("rms_z", "gradient"):
        assert [row[key] for row in found["layers"]] == pytest.approx([row[key] for row in want["layers"]], rel=1e-3)
    assert "ExactGain('relu')" in found["findings"][0]["cures"][0]
