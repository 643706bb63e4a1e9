"""Each of Keras' backends in a process of its own: what one saves the others load, models train, Keras' own tests pass."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROCESSES = Path(__file__).parents[1] / "keras_processes.py"
BACKENDS = ["numpy", *(name for name in ("torch", "jax", "tensorflow") if find_spec(name) and find_spec(f"nonlin.{name}"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them save."""
    return tmp_path_factory.mktemp("keras")


def run(backend: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend(backend: str, folder: Path) -> None:
    more = ["--mobilenet"] if os.environ.get("NONLIN_KERAS") == "all" else []
    done = run(backend, str(PROCESSES), str(folder), *more)
    assert done.returncode == 0, done.stderr


def test_the_first_loads_what_the_last_saved(folder: Path) -> None:
    load = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import keras_processes as p; p.load(pathlib.Path(sys.argv[2]))"
    )
    done = run(BACKENDS[0], "-W", "ignore", "-c", load, str(PROCESSES.parent), str(folder))
    assert done.returncode == 0, done.stderr


def test_a_backend_without_a_room_is_refused() -> None:
    code = "import keras; keras.backend.backend = lambda: 'openvino'; import nonlin.keras"
    done = run("numpy", "-W", "ignore", "-c", code)
    assert (
        "nonlin.keras computes on Keras' backends jax, numpy, tensorflow, torch, not on openvino: set KERAS_BACKEND"
        in done.stderr
    )
