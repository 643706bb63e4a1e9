"""Machine code, ufuncs and what they were made from go when nobody holds them any more."""

import gc
import sys
import weakref

import ml_dtypes
import numpy as np
import pytest
import torch

import nonlin as nl
import nonlin.torch
from nonlin.formula import Symbol
from nonlin.kernels.ufunc import _kept_alive, _parts, compiler
from torch_calls import in_a_process_of_its_own

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own forward derivatives
X = np.linspace(-3, 3, 50, dtype=np.float32)


def use(constant: float) -> "weakref.ref[nl.Activation]":
    """Make an activation and have everything compiled for it that there is."""
    x = Symbol("x")
    own = nl.Activation("own", x * nl.sigmoid(constant * x), parameters={})
    own(X), own.derivative(X), own.value_and_derivative(X), own(X * 1e30), own(X.astype(ml_dtypes.bfloat16))
    with nl.precision("exact"):
        own(X)
    given = torch.from_numpy(X).requires_grad_()
    for memory in ("exact", "low"):
        layer = nl.torch.layer(own)(memory=memory)
        layer(given).sum().backward()
    torch.func.vmap(own)(given.detach()[None])
    torch.func.jvp(own, (given.detach(),), (given.detach(),))
    return weakref.ref(own)


def test_what_belongs_to_an_activation_goes_with_it() -> None:

    use(0.9)  # what all share is made once
    gc.collect()
    engines, ufuncs = len(compiler()._engines), len(_parts)
    assert not _kept_alive
    for k in range(3):
        gone = use(1.1 + k / 10)
        assert len(compiler()._engines) > engines
        gc.collect()
        assert gone() is None
    assert (len(compiler()._engines), len(_parts)) == (engines, ufuncs)


def test_a_ufunc_outlives_its_activation() -> None:
    x = Symbol("x")
    ufunc = nl.Activation("own", x * nl.sigmoid(2.5 * x), parameters={}).ufunc
    gc.collect()
    np.testing.assert_allclose(ufunc(X), X / (1 + np.exp(-2.5 * X)), rtol=1e-6)
    del ufunc
    gc.collect()


def test_every_loop_stays() -> None:
    """Two integer dtypes have one name."""
    x = Symbol("x")
    own = nl.Activation("own", nl.maximum(x, 3), parameters={})
    for character in "bBhHiIlLqQefd":
        assert own(np.ones(3, character)).tolist() == [3, 3, 3], character


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_formulas_that_are_gone_leave_nothing_behind() -> None:
    in_a_process_of_its_own("compiled_and_dropped.py")
