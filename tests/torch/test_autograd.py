"""Values and gradients of every entry, of every kind, to the second order."""

from typing import Any

import numpy as np
import pytest
import torch

import nonlin as nl
from torch_cases import DTYPES, ENTRIES, numbers, over_entries, points

# torch itself compiles its forward derivatives of a few operations with it.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")


@over_entries
def test_gradcheck(name: str) -> None:
    entry = ENTRIES[name]
    arrays = [x[:5] for x in points(name)]
    parameters = [torch.tensor(float(v), dtype=torch.float64) for v in numbers(name).values()]
    operands = tuple(o.clone().requires_grad_() for o in (*arrays, *parameters))

    def function(*operands: Any) -> Any:
        return entry(*operands)

    assert torch.autograd.gradcheck(
        function, operands, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(function, operands, check_fwd_over_rev=True, check_batched_grad=True)


@over_entries
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_those_of_numpy(name: str, dtype: torch.dtype) -> None:
    entry = ENTRIES[name]
    arrays = points(name, dtype)
    y = entry(*arrays, **numbers(name))
    assert y.dtype is dtype
    wide = [np.asarray(a.double()) for a in arrays]
    exact = torch.from_numpy(entry(*wide, **numbers(name)))
    torch.testing.assert_close(y.double(), exact, rtol=torch.finfo(dtype).eps * 1.5, atol=torch.finfo(dtype).eps * 0.6)


@pytest.mark.parametrize("name", ["gelu", "mish", "silu", "tanh"])
def test_a_slope_next_to_its_zero_is_still_times_the_gradient(name: str) -> None:
    """Where a polynomial takes the place of a slope whose terms cancel, what is multiplied with it must not get lost."""
    x = torch.linspace(-4, 1, 20_001).requires_grad_()
    gradient = torch.linspace(-3, 5, 20_001)
    (found,) = torch.autograd.grad(nl.get(name)(x), x, gradient)
    wide = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(nl.get(name)(wide), wide, gradient.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
