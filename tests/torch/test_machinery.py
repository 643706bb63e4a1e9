"""What torch does with functions and layers: compile, export, transform, cast, lay out."""

import os
import shutil
from typing import Any

import pytest
import torch
from torch import nn

import nonlin as nl
import nonlin.torch as nt
from torch_cases import ENTRIES, numbers, over_entries, points

NAMES = [name for name, entry in nl.activations.items() if entry.family != "own"]
ARGUMENTS = {"threshold": (0.1, 0.2), "maxout": (2,)}
over_names = pytest.mark.parametrize("name", NAMES)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),  # Dynamo's own doing
]


def make(name: str, **keywords: Any) -> nn.Module:
    return nt.layer(name)(*ARGUMENTS.get(name, ()), **keywords).eval()


def sample(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 2


def close(a: torch.Tensor, b: torch.Tensor, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# --- compile and export ---------------------------------------------------------------------------------------------------


@over_names
@pytest.mark.parametrize("learnable", [False, True])
def test_compile_without_graph_breaks(name: str, learnable: bool) -> None:
    entry = nl.activations[name]
    if learnable and not (isinstance(entry, nl.Activation) and entry.parameters and name != "prelu"):
        pytest.skip("nothing to learn")
    torch._dynamo.reset()
    module = make(name, learnable=True) if learnable else make(name)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x, x2 = sample(4, 6).requires_grad_(), sample(4, 6).requires_grad_()
    y, y2 = compiled(x), module(x2)
    close(y, y2)
    y.sin().sum().backward()
    mine = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    y2.sin().sum().backward()
    close(x.grad, x2.grad)
    for a, b in zip(mine, [p.grad for p in module.parameters()], strict=True):
        close(a, b, atol=2e-5)


def test_functions_compile_without_graph_breaks() -> None:
    celu = nl.celu.with_(alpha=2.0)

    def function(x: torch.Tensor) -> torch.Tensor:
        y = nl.leaky_relu(x, negative_slope=0.2) + nl.gelu.derivative(x) + nl.softmax(x)
        return nl.swiglu(y) + celu(y[..., :3])

    torch._dynamo.reset()
    x = sample(4, 6)
    close(torch.compile(function, fullgraph=True, backend="aot_eager")(x), function(x))


@pytest.mark.skipif(not (shutil.which("g++") or os.environ.get("CXX")), reason="Inductor needs a C++ compiler on a CPU")
@pytest.mark.parametrize("name", ["gelu", "mish", "swiglu", "snake"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductor(name: str) -> None:
    torch._dynamo.reset()
    module = make(name)
    x, x2 = sample(16, 64).requires_grad_(), sample(16, 64).requires_grad_()
    y, y2 = torch.compile(module, fullgraph=True)(x), module(x2)
    close(y, y2)
    y.sin().sum().backward()
    y2.sin().sum().backward()
    close(x.grad, x2.grad)


@over_names
def test_export(name: str) -> None:
    module, x = make(name), sample(4, 6)
    batch = torch.export.Dim("batch", min=2, max=1024)
    exported = torch.export.export(module, (x,), dynamic_shapes={"x": {0: batch}} if not _two(name) else None)
    close(exported.module()(x), module(x))
    if not _two(name):
        close(exported.module()(sample(9, 6)), module(sample(9, 6)))
    again = torch.export.export(module, (x,), strict=True)
    close(again.module()(x), module(x))


def _two(name: str) -> bool:
    """Whether forward takes more than x, so that dynamic shapes would have to be given for that, too."""
    return not isinstance(nl.activations[name], nl.Activation) or isinstance(nl.activations[name], nl.Gated)


#: torch's own export of these, and of nothing else, is one operator.
ONE_OPERATOR = {
    "gelu": "Gelu", "mish": "Mish", "hard_swish": "HardSwish", "elu": "Elu", "selu": "Selu", "celu": "Celu",
    "leaky_relu": "LeakyRelu", "prelu": "PRelu", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh",
}  # fmt: skip


@over_names
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # the exporter's own doing
def test_onnx(name: str, tmp_path: Any) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module, x = make(name), sample(4, 6)
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    operators = [node.op_type for node in program.model.graph]
    if name in ONE_OPERATOR:
        assert ONE_OPERATOR[name] in operators
        assert len([o for o in operators if o not in ("Constant", "Identity", "Reshape", "Unsqueeze", "Expand")]) == 1
    program.save(tmp_path / "layer.onnx")
    session = runtime.InferenceSession(tmp_path / "layer.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), module(x).detach(), rtol=1e-6, atol=1e-6)


# --- functional transforms ------------------------------------------------------------------------------------------------


@over_entries
def test_functional_transforms(name: str) -> None:
    entry, given = ENTRIES[name], numbers(name)
    x, *others = (o.flatten() for o in points(name))
    x = x[: len(others[0])] if others else x

    def function(x: torch.Tensor) -> torch.Tensor:
        return entry(x, *others, **given)

    def scalar(x: torch.Tensor) -> torch.Tensor:
        return function(x).sum()

    slope = entry.derivative(x, *others, **given)
    curvature = entry.derivative(x, *others, order=2, **given)
    torch.testing.assert_close(torch.func.grad(scalar)(x), slope)
    torch.testing.assert_close(torch.func.jvp(function, (x,), (torch.full_like(x, 2),))[1], 2 * slope)
    torch.testing.assert_close(torch.func.hessian(scalar)(x), curvature.diag())
    torch.testing.assert_close(torch.func.jacfwd(torch.func.grad(scalar))(x), curvature.diag())
    batch = torch.stack([x, 2 * x, -x])
    torch.testing.assert_close(torch.func.vmap(function)(batch), function(batch))
    torch.testing.assert_close(torch.func.vmap(function, in_dims=1, out_dims=1)(batch.T.contiguous()), function(batch).T)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(scalar))(batch), entry.derivative(batch, *others, **given))


@over_entries
def test_vmap_over_parameters(name: str) -> None:
    entry, given = ENTRIES[name], numbers(name)
    if not given:
        pytest.skip("it has no parameters")
    arrays = [o.flatten()[:4] for o in points(name)]
    values = [torch.tensor([v, v * 1.25], dtype=torch.float64) for v in map(float, given.values())]
    in_dims = (*(None for _ in arrays), *(0 for _ in values))
    got = torch.func.vmap(lambda *operands: entry(*operands), in_dims=in_dims)(*arrays, *values)
    for k in range(2):
        torch.testing.assert_close(got[k], entry(*arrays, *(v[k] for v in values)))


# --- dtypes and layouts ---------------------------------------------------------------------------------------------------


@over_names
def test_autocast_keeps_the_dtype(name: str) -> None:
    module = make(name)
    linear = nn.Linear(6, 6)
    x = sample(4, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = linear(x)
        y = module(hidden)
    assert hidden.dtype is torch.bfloat16
    assert y.dtype is torch.bfloat16
    if y.requires_grad and name != "hardmax":
        y.sum().backward()
        assert linear.weight.grad is not None


@over_entries
def test_channels_last_is_kept(name: str) -> None:
    x = sample(2, 6, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    operands = (x,) * len(ENTRIES[name].operands)
    y = ENTRIES[name](*operands, **numbers(name))
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.sum().backward()
    torch.testing.assert_close(y, ENTRIES[name](*(o.detach().contiguous() for o in operands), **numbers(name)))


@over_entries
def test_kernels_and_torch_operations_agree(name: str) -> None:
    """In the tails and at special values, too."""
    special = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0]
    grid = [s * v for v in (1e-30, 1e-3, 0.3, 1.7, 5.0, 14.0, 40.0, 88.0, 120.0, 1e4, 1e10, 1e20, 1e30) for s in (-1, 1)]
    x = torch.tensor(special + grid)
    entry, given = ENTRIES[name], numbers(name)
    others = [torch.full_like(x, 0.7) for _ in entry.operands[1:]]
    waves = name in ("sin", "gcu", "snake", "snake_beta")
    for order in (0, 1):
        y = entry.derivative(x, *others, order=order, **given)
        spelled = entry.derivative(Fake(x), *map(Fake, others), order=order, **given).plain
        finite = torch.isfinite(y) & torch.isfinite(spelled)
        # What a wave is that far out, nobody can tell from a float32; what underflows inside of a root is lost.
        compared = finite & (x.abs() < 1e4) if waves else finite & (x != -120) if name == "sqrt_softplus" else finite
        torch.testing.assert_close(spelled[compared], y[compared], rtol=1e-4, atol=1e-6 if order else 1e-25)
        ends = ~finite & (x.abs() != 1e20)
        torch.testing.assert_close(spelled[ends], y[ends], equal_nan=True)


class Fake(torch.Tensor):
    """A tensor of another kind, for which there are no kernels."""

    @staticmethod
    def __new__(cls, plain: torch.Tensor) -> "Fake":
        return torch.Tensor._make_subclass(cls, plain)

    @property
    def plain(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)
