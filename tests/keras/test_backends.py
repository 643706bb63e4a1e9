"""Each of Keras' backends in a process of its own: what one saves the others load, models train, Keras' own tests pass."""

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest

import nonlin.keras
from entries import WHOLE

PROCESSES = Path(__file__).parents[1] / "keras_processes.py"
BACKENDS = ["numpy", *(name for name in ("torch", "jax", "tensorflow") if find_spec(name) and find_spec(f"nonlin.{name}"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them save."""
    return tmp_path_factory.mktemp("keras")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend(backend: str, folder: Path) -> None:
    # Without what pytest is told in CI, which is not for the suite that the process runs.
    given = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment = given | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    more = ["--all"] if WHOLE else []
    command = [sys.executable, str(PROCESSES), str(folder), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("registry")
def test_all_that_was_saved_is_loaded_here(folder: Path) -> None:
    import keras_processes  # which defines activations of its own

    keras_processes.load(folder)


def test_a_backend_without_a_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    said = "computes on Keras' backends jax, numpy, tensorflow, torch, not on openvino: set KERAS_BACKEND"
    with pytest.raises(ImportError, match=said):
        importlib.reload(nonlin.keras)
