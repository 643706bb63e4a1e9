"""What is made here can be sent to another process, with all that it knows; ufuncs as NumPy's own."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from entries import ELEMENTWISE

_LOAD = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    for item, arguments, want in pickle.load(file):
        np.testing.assert_array_equal(np.asarray(item(*arguments)), want)
print("loaded")
"""


def load_elsewhere(items: list[tuple[Any, tuple[Any, ...], Any]], folder: Path, *, setup: str = "") -> None:
    """Have another process load what is callable, call it, and compare."""
    file = folder / "items.pickle"
    file.write_bytes(pickle.dumps(items))
    run = subprocess.run([sys.executable, "-c", setup + _LOAD, str(file)], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "loaded", run.stderr[-2000:]


def defaults(entry: nl.Activation) -> tuple[float, ...]:
    return tuple(0.5 if p.default is None else p.default for p in entry.parameters.values())


X = np.linspace(-3, 3, 7)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ufuncs_come_back_as_the_same_object(name: str) -> None:
    entry = ELEMENTWISE[name]
    for ufunc in (entry.ufunc, entry.derivative_ufunc(), entry.derivative_ufunc(order=2)):
        assert pickle.loads(pickle.dumps(ufunc)) is ufunc
    for wrt in entry.parameters:
        assert pickle.loads(pickle.dumps(entry.derivative_ufunc(wrt=wrt))) is entry.derivative_ufunc(wrt=wrt)


def test_those_of_numpy_are_left_alone() -> None:
    assert pickle.loads(pickle.dumps(np.exp)) is np.exp


def test_ufuncs_in_another_process(tmp_path: Path) -> None:
    items: list[tuple[Any, tuple[Any, ...], Any]] = []
    for name in ("gelu", "leaky_relu", "softplus", "relu"):
        entry = ELEMENTWISE[name]
        for ufunc in (entry.ufunc, entry.derivative_ufunc()):
            arguments = (X, *defaults(entry))
            items.append((ufunc, arguments, ufunc(*arguments)))
    with nl.precision("exact"):
        exact = nl.gelu.ufunc
    items.append((exact, (X.astype(np.float32),), exact(X.astype(np.float32))))
    steep = nl.leaky_relu.with_(negative_slope=0.2)
    items.append((steep.ufunc, (X, 0.2), steep(X)))
    own = nl.activation(lambda x, a=2.0: x * nl.sigmoid(a * x), name="sent")
    items.append((own.ufunc, (X, 2.0), own(X)))
    load_elsewhere(items, tmp_path)


def test_dask_sends_them_to_its_processes() -> None:
    array = pytest.importorskip("dask.array")
    got = nl.gelu(array.from_array(X, chunks=3)).compute(scheduler="processes", num_workers=1)
    np.testing.assert_array_equal(got, nl.gelu(X))


@nl.activation(source="a notebook", aliases=("sent2", "sent_too"), name="sent_with_all")
def _sent(x: Any, beta: Any = nl.Parameter(1.0, gt=0, learnable=True)) -> Any:
    """Swish.

    With a second paragraph.
    """
    return x * nl.sigmoid(beta * x)


def test_an_activation_of_ones_own_keeps_everything() -> None:
    again = pickle.loads(pickle.dumps(_sent.with_(beta=1.0)))
    assert again is not _sent
    for field in ("name", "formula", "parameters", "source", "aliases", "family", "doc", "summary", "__doc__", "__module__"):
        assert getattr(again, field) == getattr(_sent, field), field


def test_what_is_made_with_other_defaults_keeps_its_documentation() -> None:
    steep = nl.leaky_relu.with_(negative_slope=0.2)
    assert steep.doc == nl.leaky_relu.doc
    assert steep.aliases == nl.leaky_relu.aliases
    assert pickle.loads(pickle.dumps(steep)).parameters == steep.parameters
