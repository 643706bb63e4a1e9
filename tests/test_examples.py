"""The examples run."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from entries import WHOLE

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "from_scratch": (),
    "keras_sequential": ("keras", "torch"),
    "keras_functional": ("keras", "torch"),
    "torch_module": ("torch",),
    "jax_example": ("jax",),
    "is_it_alive": ("sklearn", "torch"),  # in tests a quick form of it
    "one_network": ("sklearn", "torch"),  # and takes what else is installed; in tests two ways unless they are whole
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs(name: str) -> None:
    for package in NEEDS[name]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ
    quick = {"one_network": ["torch", "keras jax"], "is_it_alive": ["--quick"]}
    fewer = [] if WHOLE else quick.get(name, [])
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / f"{name}.py"), *fewer]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
