"""An activation is one function in one file: a new one of each kind, in a copy of the source, is everywhere at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
NEW = {
    "rectifiers": '''

@activation(source="Tuesday")
def leaky_square(x, weight=Parameter(0.5, ge=0), aside=0.25):
    """Square above zero, a line below."""
    return where(x > 0, weight * x**2, aside * x)
''',
    "pairs": '''

@gated(source="Tuesday")
def glu2(gate, value):
    """Gated linear unit with a squared gate."""
    return sigmoid(gate) ** 2 * value
''',
    "along_axis": '''

@activation(along="axis", source="Tuesday")
def ranked(x):
    """The distance from the peak, in units of what there is of it together."""
    return (row_max(x) - x) / (1 + row_sum(row_max(x) - x))
''',
}
EVERYWHERE = """
import inspect, pickle
import numpy as np, torch, nonlin as nl, nonlin.torch as nt
x = torch.linspace(-2, 2, 6).requires_grad_()
for name, layer in (("leaky_square", "LeakySquare"), ("glu2", "Glu2"), ("ranked", "Ranked")):
    entry = getattr(nl, name)
    assert nl.get(name) is nl.activations[name] is pickle.loads(pickle.dumps(entry)) is entry, name
    assert getattr(nt, layer).__name__ == layer and layer in dir(nt)
    y = getattr(nt, layer)()(x)
    np.testing.assert_allclose(y.detach().numpy(), entry(x.detach().numpy()), rtol=1e-6)
    y.sum().backward()
    assert entry.latex() and entry.summary in entry.__doc__
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source and its tests with three functions more, and the stubs made anew."""
    place = tmp_path_factory.mktemp("copy")
    for folder in ("src", "tests", "tools"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, place)
    for family, text in NEW.items():
        with (place / "src" / "nonlin" / "catalogue" / f"{family}.py").open("a") as file:
            file.write(text)
    python(place, "tools/make_stubs.py")
    return place


def python(place: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(place / "src"), "PYTEST_ADDOPTS": ""}
    done = subprocess.run([sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_at_both_doors_and_in_the_list(copy: Path) -> None:
    python(copy, "-c", EVERYWHERE)
    listed = python(copy, "-c", "from nonlin.cli import main; main()", "list")
    for name in ("leaky_square", "glu2", "ranked"):
        assert name in listed
    core, torch = ((copy / "src" / "nonlin" / path).read_text() for path in ("__init__.pyi", "torch/__init__.pyi"))
    assert "\nleaky_square: Elementwise\n" in core
    assert "\nglu2: Gated\n" in core
    assert "\nranked: AxisFunction\n" in core
    for layer in ("LeakySquare(ElementwiseLayer)", "Glu2(GatedLayer)", "Ranked(AxisLayer)"):
        assert f"\nclass {layer}:\n" in torch


def test_the_tests_of_the_registry_run_over_it(copy: Path) -> None:
    files = ["tests/test_values.py", "tests/test_gated.py", "tests/test_axis.py", "tests/test_stubs.py"]
    chosen = "leaky_square or glu2 or ranked or stub or package_by_name or table or oracle"
    out = python(copy, "-m", "pytest", *files, "-q", "-k", chosen, "-n", "0", "-p", "no:cacheprovider")
    assert " passed" in out
    assert "failed" not in out
