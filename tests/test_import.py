"""Law 2: importing the package loads no framework, and nothing that only some users have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNWANTED = (
    "torch jax flax equinox keras tensorflow pandas matplotlib scipy mpmath dask xarray ml_dtypes rich typer sklearn pyarrow "
    "ray cloudpickle"
).split()


def run(code: str, *path: Path) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str, *path: Path) -> set[str]:
    """Which of the unwanted packages are in ``sys.modules`` after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}} & set({UNWANTED!r}))"
    return set(run(code, *path).split())


@pytest.mark.parametrize(
    "statement",
    [
        "import nonlin",
        "import nonlin as nl; nl.gelu([1.0]); nl.gelu.derivative(1.0); nl.get('silu')",
        "import nonlin as nl; nl.elu.formula, nl.elu.latex(), nl.elu.ufunc, repr(nl.activations), nl.elu.__doc__",
        "import nonlin as nl\ntry: nl.gelu('text')\nexcept TypeError: pass",
    ],
    ids=["import", "use", "inspect", "error"],
)
def test_no_framework_is_loaded(statement: str) -> None:
    assert loaded_by(statement) == set()


@pytest.mark.parametrize("name", UNWANTED)
def test_the_check_can_fail(name: str, tmp_path: Path) -> None:
    """A package of that name, made up where it is not installed, is seen when something imports it."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / "culprit.py").write_text(f"import {name}\n")
    assert name in loaded_by("import nonlin, culprit", tmp_path)


def test_the_first_line_of_the_readme() -> None:
    code = "import nonlin as nl; print(nl.relu(5), nl.relu(-3), nl.relu([1, -2, 3]))"
    assert run(code) == "5 0 [1 0 3]\n"


def test_bfloat16_works_when_ml_dtypes_comes_later() -> None:
    code = """
import nonlin as nl
nl.silu(1.0)
import ml_dtypes, numpy as np
x = np.ones(2, ml_dtypes.bfloat16)
print(nl.silu(x).dtype, nl.leaky_relu(-x, 0.5), nl.silu.derivative(x).dtype)
"""
    assert run(code) == "bfloat16 [-0.5 -0.5] bfloat16\n"


def test_no_module_hides_behind_something_of_its_name() -> None:
    """``import nonlin.facts`` gives the module and not what its package has by that name."""
    code = """
import sys, nonlin, nonlin.definition.decorator, nonlin.facts, nonlin.cli
hidden = []
for name, module in list(sys.modules.items()):
    package, _, own = name.rpartition(".")
    if package.startswith("nonlin") and getattr(sys.modules[package], own) is not module:
        hidden.append(name)
print(hidden)
"""
    assert run(code) == "[]\n"
