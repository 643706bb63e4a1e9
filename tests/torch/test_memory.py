"""What is kept for backward, and that the gradients from it are right."""

import numpy as np
import pytest
import torch

import nonlin as nl
import nonlin.torch as nt
from nonlin.torch import elementwise, memory
from nonlin.torch.memory import Layout, is_dense, pack, plan, unpack
from torch_cases import ENTRIES, Saved, numbers, over_entries

ONE = {name: entry for name, entry in ENTRIES.items() if not isinstance(entry, nl.Gated)}
over_one = pytest.mark.parametrize("name", ONE)

#: Two slopes and no more; abs is piecewise linear, too, but has three: -1, 0 and 1.
TWO_SLOPES = (
    "relu leaky_relu prelu rrelu relu6 clipped_relu thresholded_relu threshold hard_tanh hard_sigmoid sparse_sigmoid"
    " hard_shrink soft_shrink"
).split()
#: Where memory="low" keeps the input all the same: the slope has no bounds and the output says too little.
NEEDS_INPUT = ["star_relu", "xielu", "gcu"]
CODED = ["rational", "sin", "snake", "snake_beta"]
SIZE = 4096


def call(name: str, x: torch.Tensor, memory: str) -> torch.Tensor:
    return elementwise.evaluate(ENTRIES[name], "x", 0, (x, *numbers(name).values()), memory)


def sample(dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(SIZE, generator=torch.Generator().manual_seed(0)) * 3).to(dtype).requires_grad_()


@over_entries
def test_exact_keeps_at_most_the_operands(name: str) -> None:
    arrays = [sample(torch.float32) for _ in ENTRIES[name].operands]
    with Saved() as saved:
        y = ENTRIES[name](*arrays, **numbers(name))
    bound = SIZE // 8 if name in TWO_SLOPES else 0
    kept = saved.bytes_beside(*arrays)
    assert kept == bound
    assert len(saved.tensors) <= len(arrays)
    assert y.grad_fn is not None


@over_one
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_keeps_the_output_and_a_bit_or_a_code(name: str, dtype: torch.dtype) -> None:
    x = sample(dtype)
    with Saved() as saved:
        y = call(name, x, "low")
    kept = saved.bytes_beside(y)
    if name in NEEDS_INPUT:
        assert kept == x.nbytes
    elif name in CODED:
        assert kept == SIZE
    else:
        assert kept <= (SIZE // 8 if dtype is torch.float32 else SIZE)


#: The information limit: next to a turn the output hardly depends on the input. Beside it, the rounding of the dtype.
LIMITS = {"nothing": 0.0, "bits": 1e-7, "output": 1e-6, "output and bit": 4e-4, "slope code": 4.5e-3, "input": 2e-6}


@over_one
@pytest.mark.parametrize("memory", ["exact", "low"])
def test_gradients_from_what_is_kept(name: str, memory: str) -> None:
    x = sample(torch.float32)
    y = call(name, x, memory)
    torch.testing.assert_close(y, call(name, x.detach(), memory), rtol=3e-7, atol=1e-7)
    y.sum().backward()
    exact = ENTRIES[name].derivative(x.detach().double(), **numbers(name))
    kind = plan(ENTRIES[name], tuple(map(float, numbers(name).values())), x.dtype, memory).kind
    assert (x.grad.double() - exact).abs().max() <= LIMITS[kind] * max(1, exact.abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ["relu", "hard_tanh", "gelu", "hard_swish", "elu", "tanh_shrink", "sin"])
def test_torch_operations_do_the_same_as_passes(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what tensors on other devices get."""
    x = sample(dtype)
    x.data[:4] = torch.tensor([torch.inf, -torch.inf, 0, torch.nan])
    y = call(name, x, "low")
    y.sum().backward()
    monkeypatch.setattr(memory, "has_memory", lambda tensor: False)
    other = x.detach().requires_grad_()
    other_y = call(name, other, "low")
    other_y.sum().backward()
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(y, other_y, rtol=step, atol=1e-7, equal_nan=True)
    kind = plan(ENTRIES[name], tuple(map(float, numbers(name).values())), dtype, "low").kind
    close = torch.isclose(x.grad, other.grad, rtol=2 * step, atol=2e-6, equal_nan=True)
    if kind == "slope code":  # halfway between two codes either will do
        assert (~close).sum() <= 4
    else:
        assert close.all()


@pytest.mark.parametrize("memory", ["exact", "low"])
@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_views_whose_signs_are_turned_when_they_are_read(name: str, memory: str) -> None:
    x = torch._neg_view(torch.linspace(-4, 3, 9))
    assert x.is_neg()
    given, dy = x.detach().requires_grad_(), torch._neg_view(torch.ones(9))
    y = call(name, given, memory)
    y.backward(dy)
    plain = x.resolve_neg()
    torch.testing.assert_close(y, ENTRIES[name](plain))
    torch.testing.assert_close(given.grad, -ENTRIES[name].derivative(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_gradients_from_the_output_and_a_bit_are_at_the_information_limit(name: str) -> None:
    x = torch.linspace(-8, 8, 1_000_001).requires_grad_()
    call(name, x, "low").sum().backward()
    exact = ENTRIES[name].derivative(x.detach().double())
    error = (x.grad.double() - exact).abs()
    assert error.max() <= 3e-4
    assert error.sort().values[int(0.999 * len(error))] <= 6e-5


@pytest.mark.parametrize("memory", ["exact", "low"])
@pytest.mark.parametrize("name", ["relu", "gelu", "elu"])
def test_layouts(name: str, memory: str) -> None:
    base = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    for x in (
        base.to(memory_format=torch.channels_last),
        base.transpose(1, 3),
        base[:, :, ::2],
        base[:, :1].expand(2, 3, 5, 7),
    ):
        given = x.detach().requires_grad_()
        y = call(name, given, memory)
        dy = torch.randn(y.shape)
        y.backward(dy)
        exact = dy.double() * ENTRIES[name].derivative(x.double(), **numbers(name))
        torch.testing.assert_close(given.grad.double(), exact, atol=1e-4, rtol=1e-5)


def test_bits_come_back() -> None:
    for count in (0, 1, 7, 8, 9, 100):
        mask = torch.arange(count) % 3 == 0
        assert torch.equal(unpack(pack(mask), Layout.of(mask)), mask)
    assert is_dense(torch.empty(2, 3, 4).permute(2, 0, 1))
    assert not is_dense(torch.empty(4, 6)[:, ::2])


def test_low_is_not_differentiated_twice() -> None:
    x = torch.randn(5).requires_grad_()
    dy = torch.ones(5, requires_grad=True)
    (slope,) = torch.autograd.grad(call("gelu", x, "low"), x, dy, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        slope.sum().backward()


@pytest.mark.parametrize("on_passes", [True, False])
@pytest.mark.parametrize("memory_", ["exact", "low"])
@pytest.mark.parametrize("name", [name for name in ONE if ONE[name].parameters])
def test_gradients_with_other_parameters(name: str, memory_: str, on_passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share one plan, whose parameters are operands."""
    if not on_passes:
        monkeypatch.setattr(memory, "has_memory", lambda tensor: False)
    values = {n: float(np.float32(1.25 * v)) for n, v in numbers(name).items()}
    x = sample(torch.float32)
    y = elementwise.evaluate(ONE[name], "x", 0, (x, *values.values()), memory_)
    dy = torch.linspace(-1, 2, SIZE)
    y.backward(dy)
    torch.testing.assert_close(y, ONE[name](x.detach(), **values), rtol=3e-7, atol=1e-7)
    exact = dy * ONE[name].derivative(x.detach().double(), **values)
    torch.testing.assert_close(x.grad.double(), exact, rtol=2e-6, atol=2e-6)


def test_parameters_that_stay_get_a_plan_of_their_own() -> None:
    elu = nl.Activation("own_elu", nl.elu.formula, parameters=nl.elu.parameters)
    kinds = [plan(elu, (0.7,), torch.float32, "low").kind for _ in range(20)]
    assert kinds == ["input"] * 15 + ["output"] * 5
    assert plan(elu, (1.0,), torch.float32, "low").kind == "output"
    assert plan(nl.leaky_relu, (0.7,), torch.float32, "exact").kind == "bits"
    assert plan(nl.leaky_relu.with_(negative_slope=0.2), (0.2,), torch.float32, "low") is plan(
        nl.leaky_relu, (0.3,), torch.float32, "low"
    )


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "identity", "step", "hard_tanh", "abs", "sin", "gelu", "tanh"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_gradient_of_nan_is_nan(name: str, dtype: torch.dtype) -> None:
    for size in (5, 70, 3000):
        for keeps in ("exact", "low"):
            x = torch.linspace(-3, 3, size).to(dtype)
            x[size // 2] = torch.nan
            x.requires_grad_()
            (dx,) = torch.autograd.grad(nt.layer(name)(memory=keeps)(x), x, torch.ones_like(x))
            assert torch.equal(dx.isnan(), x.isnan())
