"""Functions along an axis give the numbers of the NumPy ones."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import nonlin as nl
import nonlin.torch

NAMES = [name for name, entry in nl.activations.items() if isinstance(entry, nl.AxisFunction) and entry.family != "own"]
MASKED = [name for name in NAMES if "where" in nl.activations[name].__signature__.parameters]
over_names = pytest.mark.parametrize("name", NAMES)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),  # Dynamo's own doing
]


def arguments(name: str) -> dict[str, float]:
    return {"groups": 2} if name == "maxout" else {}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 6, 4))


@over_names
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_values_and_products(name: str, axis: int, x: np.ndarray) -> None:
    x = x[:2] if name == "maxout" else x
    entry, given = nl.activations[name], arguments(name)
    y = entry(x, axis=axis, **given)
    torch.testing.assert_close(entry(torch.from_numpy(x), axis=axis, **given), torch.from_numpy(y))
    dx, dy = np.cos(np.arange(x.size)).reshape(x.shape), np.sin(np.arange(y.size)).reshape(y.shape)
    tensors = [torch.from_numpy(a) for a in (x, dx, dy)]
    jvp = entry.jvp(tensors[0], tensors[1], axis=axis, **given)
    vjp = entry.vjp(tensors[0], tensors[2], axis=axis, **given)
    torch.testing.assert_close(jvp, torch.from_numpy(entry.jvp(x, dx, axis=axis, **given)))
    torch.testing.assert_close(vjp, torch.from_numpy(entry.vjp(x, dy, axis=axis, **given)))


@pytest.mark.parametrize("name", MASKED)
def test_infinities_nan_and_masks(name: str) -> None:
    rows = [[1, math.inf, 2], [math.inf, math.inf, 0], [-math.inf] * 3, [-math.inf, 0, 1], [math.nan, 0, 1], [3, 4, 5]]
    x = np.array(rows, float)
    where = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    entry = nl.activations[name]
    for mask in (None, where):
        expected = torch.from_numpy(entry(x, where=mask))
        got = entry(torch.from_numpy(x), where=None if mask is None else torch.from_numpy(mask))
        torch.testing.assert_close(got, expected, equal_nan=True)


@over_names
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(name: str, dtype: torch.dtype, x: np.ndarray) -> None:
    narrow = torch.from_numpy(x).to(dtype)
    y = nl.activations[name](narrow, **arguments(name))
    assert y.dtype is dtype
    exact = nl.activations[name](narrow.double(), **arguments(name))
    torch.testing.assert_close(y.double(), exact, rtol=torch.finfo(dtype).eps * 4, atol=torch.finfo(dtype).eps)


@over_names
def test_gradcheck(name: str, x: np.ndarray) -> None:
    z = torch.from_numpy(x[:2]).requires_grad_()

    def function(z: torch.Tensor) -> torch.Tensor:
        return nl.activations[name](z, **arguments(name))

    assert torch.autograd.gradcheck(function, (z,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, (z,))


COMPILED = ["softmax", "softmin", "log_softmax"]


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_rows_and_torch_operations_agree(name: str, dtype: torch.dtype, temperature: float) -> None:
    entry = nl.activations[name]
    for shape, dim in (((5, 33), -1), ((3, 7, 10), 1), ((4, 1), 1), ((40,), 0), ((2, 0), 0)):
        x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 6).to(dtype)
        for given in (x, x.transpose(0, -1).contiguous().transpose(0, -1)):
            recorded = given.clone().requires_grad_()
            compiled = [entry(z, axis=dim, temperature=temperature) for z in (given, recorded)]
            ones = torch.ones(shape, dtype=torch.bool)
            operations = [
                entry(given, axis=dim, temperature=temperature, where=ones),
                torch.func.vmap(lambda row, d=dim: entry(row, axis=d, temperature=temperature))(given[None])[0],
            ]
            want = torch.from_numpy(entry(given.double().numpy(), axis=dim, temperature=temperature))
            eps, smallest = torch.finfo(dtype).eps, torch.finfo(dtype).smallest_normal
            for got in compiled:
                assert got.dtype is dtype
                torch.testing.assert_close(got.double(), want, rtol=2 * eps, atol=2 * eps * smallest)
            for got in operations:  # torch rounds the distance from the peak, and 1 + the sum of the others
                assert got.dtype is dtype
                torch.testing.assert_close(got.double(), want, rtol=200 * eps, atol=eps)
            dy = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
            (got,) = torch.autograd.grad(compiled[1], recorded, dy)
            want = entry.vjp(given.double(), dy.double(), axis=dim, temperature=temperature)
            torch.testing.assert_close(got.double(), want, rtol=20 * eps, atol=20 * eps)


@pytest.mark.parametrize("name", COMPILED)
def test_rows_in_big_tensors_and_parameters(name: str) -> None:
    x = torch.randn(1 << 12, 1 << 11)
    entry, parameter = nl.activations[name], torch.nn.Parameter(x[:2])
    torch.testing.assert_close(entry(x), entry(x.double()).float(), rtol=4e-7, atol=0)
    entry(parameter).square().sum().backward()
    assert parameter.grad is not None
    with torch.no_grad():
        assert not entry(parameter).requires_grad
    with nl.precision("exact"):
        torch.testing.assert_close(entry(x[:9]), entry(x[:9].double()).float(), rtol=0, atol=0)


def test_bad_input() -> None:
    with pytest.raises(TypeError, match=r"softmax: x must be real floating-point or integer, got torch\.complex64"):
        nl.softmax(torch.zeros(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"maxout: axis 0 of x of shape \(5,\) cannot be divided into groups of 2"):
        nl.maxout(torch.zeros(5), 2)
    with pytest.raises(ValueError, match=r"softmax: axis 1 is out of range for x of shape \(5,\)"):
        nl.softmax(torch.zeros(5), axis=1)


@over_names
def test_rows_without_entries(name: str) -> None:
    for shape, axis in (((3, 0), -1), ((0, 3), 0), ((0, 4), -1)):
        for x in (torch.zeros(shape), torch.zeros(shape).requires_grad_()):
            y = nl.activations[name](x, axis=axis, **arguments(name))
            assert tuple(y.shape) == nl.activations[name](np.zeros(shape), axis=axis, **arguments(name)).shape


ODD = [[math.inf, 0, math.inf], [math.nan, 0, 1], [-math.inf] * 3, [math.inf, -math.inf, 2], [0, 60, -3]]


def ways(entry: nl.AxisFunction, **given: float) -> dict[str, object]:
    """Every way to the gradient of a function along the last axis."""

    def recorded(x: torch.Tensor, dy: torch.Tensor, **more: object) -> torch.Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(entry(x, **given, **more), x, dy)[0]

    def pulled(x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        return torch.func.vjp(lambda z: entry(z, **given), x)[1](dy)[0]

    compiled = torch.compile(lambda z: entry(z, **given), backend="aot_eager", fullgraph=True)
    return {
        "autograd": recorded,
        "masked": lambda x, dy: recorded(x, dy, where=torch.ones(x.shape, dtype=torch.bool)),
        "vjp": lambda x, dy: entry.vjp(x, dy, **given),
        "vmap": lambda x, dy: torch.func.vmap(pulled)(x, dy),
        "compiled": lambda x, dy: torch.autograd.grad(compiled(z := x.clone().requires_grad_()), z, dy)[0],
    }


@pytest.mark.parametrize("name", MASKED)
def test_slopes_are_the_same_whatever_the_way(name: str) -> None:
    x, dy = np.array(ODD), np.tile([0.5, 1.0, 0.25], (len(ODD), 1))
    want = torch.from_numpy(nl.activations[name].vjp(x, dy))
    for way, pull in ways(nl.activations[name]).items():
        got = pull(torch.from_numpy(x), torch.from_numpy(dy))  # type: ignore[operator]
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-40, equal_nan=True, msg=lambda m, w=way: f"{w}: {m}")


@pytest.mark.parametrize("temperature", [0.3, 25.0])
@pytest.mark.parametrize("name", COMPILED)
def test_two_ulps_however_it_is_computed(name: str, temperature: float) -> None:
    entry, generator = nl.activations[name], torch.Generator().manual_seed(0)
    compiled = torch.compile(lambda z: entry(z, temperature=temperature), backend="aot_eager", fullgraph=True)
    for centre, scale in ((1000.0, 4.0), (0.0, 20.0)):
        x = torch.randn(4, 50, generator=generator) * scale + centre
        want = entry(x.double().numpy(), temperature=temperature)
        spacing = np.spacing(np.abs(want).astype(np.float32)).astype(float)
        for got in (
            entry(x, temperature=temperature),
            entry(x, temperature=temperature, where=torch.ones_like(x, dtype=torch.bool)),
            torch.func.vmap(lambda row: entry(row, temperature=temperature))(x),
            compiled(x),
        ):
            assert (np.abs(got.double().numpy() - want) / spacing).max() <= 2


def test_hidden_entries_get_nothing_of_hardmax() -> None:
    x, where = torch.tensor([5.0, -math.inf, -math.inf]), torch.tensor([False, True, True])
    assert nl.hardmax(x, where=where).tolist() == [0.0, 1.0, 0.0]


def test_small_integers_and_booleans() -> None:
    x = torch.tensor([3, 200], dtype=torch.uint8)
    assert nl.crelu(x).tolist() == [3, 200, 0, 0]
    assert nl.maxout(x, 2).tolist() == [200]
    assert nl.crelu(torch.tensor([2**53 + 1, -5])).tolist() == [2**53 + 1, 0, 0, 5]
    assert nl.crelu(torch.tensor([True, False])).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_a_row_function_of_ones_own(registry: object) -> None:
    @nl.activation(along="axis", masked=0)
    def standardized(x, eps=nl.Parameter(1e-5, ge=0)):  # type: ignore[no-untyped-def]
        centred = x - nl.row_sum(x) / nl.row_sum(1)
        return centred / nl.sqrt(nl.row_sum(centred**2) / nl.row_sum(1) + eps)

    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    eps = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        return standardized(x, eps=eps)

    assert torch.autograd.gradcheck(function, (x, eps), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, (x, eps))
    want = torch.nn.functional.layer_norm(x, (5,), eps=0.1)
    compiled = torch.compile(lambda z: standardized(z, eps=0.1), backend="aot_eager", fullgraph=True)
    layer = nonlin.torch.layer(standardized)(eps=0.1)
    for got in (standardized(x, eps=0.1), torch.func.vmap(lambda r: standardized(r, eps=0.1))(x), compiled(x), layer(x)):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    half = torch.tensor([True, True, True, False, False])
    torch.testing.assert_close(standardized(x, where=half)[:, :3], standardized(x[:, :3]), rtol=1e-12, atol=1e-12)


OWN = """
import pickle, sys, nonlin as nl, nonlin.torch as nt
@nl.activation(along="axis", masked=0, source="me", aliases=("apart",))
def my_distances(x, unit=nl.Parameter(1.0, ne=0)):
    "Distances from the peak."
    return (x - nl.row_max(x)) / unit
@nl.gated(gate="even", aliases=("mine",))
def my_pair(gate, value, omega=2.0):
    "A pair."
    return nl.sin(gate, omega) * value
made = my_distances, my_pair, nt.layer(my_distances)(unit=2.0), nt.layer(my_pair)(), my_distances.with_(unit=4.0)
sys.stdout.buffer.write(pickle.dumps(made))
"""


def test_ones_own_are_found_in_another_process() -> None:
    sent = subprocess.run([sys.executable, "-W", "ignore", "-c", OWN], capture_output=True, check=True).stdout
    distances, pair, layer, paired, coarse = pickle.loads(sent)
    assert (distances.source, distances.aliases, distances.summary) == ("me", ("apart",), "Distances from the peak.")
    assert (pair.gate, pair.aliases, pair.summary) == ("even", ("mine",), "A pair.")
    x = torch.tensor([1.0, 3.0])
    assert distances(x).tolist() == [-2.0, 0.0]
    assert layer(x).tolist() == [-1.0, 0.0]
    assert coarse(x).tolist() == [-0.5, 0.0]
    assert paired(x).tolist() == pair(x).tolist()


@pytest.mark.parametrize("name", MASKED)
def test_what_masked_rows_keep_may_have_lost_its_memory(name: str) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, True, False, True])
    recorded = nl.activations[name](x.clone().requires_grad_(), where=mask)
    for position, kept in enumerate(recorded.grad_fn.saved_tensors):
        y = nl.activations[name](x.clone().requires_grad_(), where=mask)
        tensor = y.grad_fn.saved_tensors[position]
        if kept is not None and tensor.untyped_storage().resizable():
            tensor.untyped_storage().resize_(0)
            with pytest.raises(RuntimeError, match=rf"{name}: .* kept for backward of shape .* has lost its memory"):
                y.backward(torch.ones_like(y))
