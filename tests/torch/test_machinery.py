"""What torch does with functions and layers: compile, export, transform, cast, lay out."""

import os
import shutil
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import nonlin as nl
import nonlin.torch as nt
from torch_cases import ENTRIES, numbers, over_entries, points

NAMES = [name for name, entry in nl.activations.items() if entry.family != "own"]
ARGUMENTS = {"threshold": (0.1, 0.2), "maxout": (2,)}
over_names = pytest.mark.parametrize("name", NAMES)
#: Exporters take seconds for a program, whatever is in it: one for each family of the catalogue.
FAMILIES = {
    family: [name for name in NAMES if nl.activations[name].family == family]
    for family in dict.fromkeys(nl.activations[name].family for name in NAMES)
}
over_families = pytest.mark.parametrize("family", FAMILIES)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),  # Dynamo's own doing
]


def make(name: str, **keywords: Any) -> nn.Module:
    return nt.layer(name)(*ARGUMENTS.get(name, ()), **keywords).eval()


class Several(nn.Module):
    """Layers side by side, each applied to the same input."""

    def __init__(self, names: list[str], **keywords: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: make(name, **keywords) for name in names})
        self.eval()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: layer(x) for name, layer in self.layers.items()}


def sample(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 2


def close(a: torch.Tensor, b: torch.Tensor, rtol: float = 2e-5, atol: float = 2e-6, name: str = "") -> None:
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}")


# --- compile and export ---------------------------------------------------------------------------------------------------


@over_families
@pytest.mark.parametrize("learnable", [False, True])
def test_compile_without_graph_breaks(family: str, learnable: bool) -> None:
    names = [name for name in FAMILIES[family] if not learnable or has_something_to_learn(name)]
    torch._dynamo.reset()
    module = Several(names, **({"learnable": True} if learnable else {}))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x, x2 = sample(4, 6).requires_grad_(), sample(4, 6).requires_grad_()
    y, y2 = compiled(x), module(x2)
    for name in names:
        close(y[name], y2[name], name=name)
        gradients = [
            torch.autograd.grad(of[name].sin().sum(), [at, *module.layers[name].parameters()], retain_graph=True)
            for of, at in ((y, x), (y2, x2))
        ]
        for a, b in zip(*gradients, strict=True):
            close(a, b, atol=2e-5, name=name)


def has_something_to_learn(name: str) -> bool:
    entry = nl.activations[name]
    return isinstance(entry, nl.Elementwise) and bool(entry.parameters) and name != "prelu"


def test_functions_compile_without_graph_breaks() -> None:
    celu = nl.celu.with_(alpha=2.0)

    def function(x: torch.Tensor) -> torch.Tensor:
        y = nl.leaky_relu(x, negative_slope=0.2) + nl.gelu.derivative(x) + nl.softmax(x)
        return nl.swiglu(y) + celu(y[..., :3])

    torch._dynamo.reset()
    x = sample(4, 6)
    close(torch.compile(function, fullgraph=True, backend="aot_eager")(x), function(x))


def test_rows_with_parameters_compile_without_graph_breaks() -> None:
    tempered = [
        name for name in NAMES if isinstance(nl.activations[name], nl.AxisFunction) and "temperature" in parameters(name)
    ]

    def function(x: torch.Tensor) -> list[torch.Tensor]:
        results = [nl.activations[name](x, temperature=0.3) for name in tempered]
        return [*results, nl.softmax(x, axis=0, temperature=2), nl.maxout(x, 3), nl.maxout(x, groups=2, axis=0)]

    torch._dynamo.reset()
    x = sample(4, 6)
    for got, wanted in zip(torch.compile(function, fullgraph=True, backend="eager")(x), function(x), strict=True):
        close(got, wanted)


def parameters(name: str) -> Any:
    return nl.activations[name].parameters


def test_one_function_compiles_for_many_entries() -> None:
    torch._dynamo.reset()
    x = sample(4, 6)
    for name in ("leaky_relu", "elu", "prelu", "softmax", "swiglu", "glu", "sparsemax"):  # no more than Dynamo's limit
        entry = nl.activations[name]
        close(torch.compile(lambda z, e=entry: e(z), fullgraph=True, backend="eager")(x), entry(x), name=name)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("leaky_relu", "negative_slope"), ("softmax", "temperature")],
)
def test_a_number_that_varies_is_an_operand_of_one_program(name: str, parameter: str) -> None:
    def function(x: torch.Tensor, number: float) -> torch.Tensor:
        return nl.activations[name](x, **{parameter: number})

    torch._dynamo.reset()
    programs = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, backend=programs)
    for number in (0.5, 0.75, 0.8, 2.5, 3.25):
        inputs = [sample(4, 6).requires_grad_() for _ in range(2)]
        outputs = [call(x, number) for call, x in zip((compiled, function), inputs, strict=True)]
        close(*outputs)
        close(*(torch.autograd.grad(y.sin().sum(), x)[0] for y, x in zip(outputs, inputs, strict=True)))
    assert programs.frame_count == 2  # at the second call it is seen that the number varies


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


@over_families
def test_export(family: str) -> None:
    module, x = Several(FAMILIES[family]), sample(4, 6)
    batch = torch.export.Dim("batch", min=2, max=1024)
    exported = torch.export.export(module, (x,), dynamic_shapes={"x": {0: batch}})
    again = torch.export.export(module, (x,), strict=True)
    for program, given in ((exported, x), (exported, sample(9, 6)), (again, x)):
        got, wanted = program.module()(given), module(given)
        for name in FAMILIES[family]:
            close(got[name], wanted[name], name=name)


#: torch's own export of these, and of nothing else, is one operator.
ONE_OPERATOR = {
    "gelu": "Gelu", "mish": "Mish", "hard_swish": "HardSwish", "elu": "Elu", "selu": "Selu", "celu": "Celu",
    "leaky_relu": "LeakyRelu", "prelu": "PRelu", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh",
}  # fmt: skip


@over_families
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # the exporter's own doing
def test_onnx(family: str, tmp_path: Any) -> None:
    # Its optimizer loses the bounds of one Clip when it merges those of several.
    run_in_onnx(FAMILIES[family], tmp_path, optimize=False)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_onnx_operators(tmp_path: Any) -> None:
    for name, output in run_in_onnx(list(ONE_OPERATOR), tmp_path, optimize=True).items():
        assert operators_behind(output) == [ONE_OPERATOR[name]], name


def run_in_onnx(names: list[str], folder: Any, *, optimize: bool) -> dict[str, Any]:
    """Compare exported layers with themselves; return the values in the graph that are their outputs."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module, x = Several(names), sample(4, 6)
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False, optimize=optimize)
    outputs = dict(zip(names, program.model.graph.outputs, strict=True))
    program.save(folder / "layers.onnx")
    session = runtime.InferenceSession(folder / "layers.onnx", providers=["CPUExecutionProvider"])
    results = session.run([output.name for output in outputs.values()], {session.get_inputs()[0].name: x.numpy()})
    for (name, wanted), got in zip(module(x).items(), results, strict=True):
        close(torch.from_numpy(got), wanted.detach(), rtol=1e-6, atol=1e-6, name=name)
    return outputs


def operators_behind(value: Any) -> list[str]:
    """List what computes a value of an ONNX graph, but for constants and their shapes."""
    node = value.producer()
    if node is None or node.op_type in ("Constant", "Reshape", "Unsqueeze", "Expand"):
        return []
    found = [] if node.op_type == "Identity" else [node.op_type]
    return [*(name for given in node.inputs if given is not None for name in operators_behind(given)), *found]


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


OWN_ARGUMENTS = {"threshold": {"threshold": 0.1, "value": 0.2}, "maxout": {"groups": 2}, "clipped_relu": {"max_value": 1.3}}


def is_plain(name: str) -> bool:
    return isinstance(nl.activations[name], nl.Activation) and not isinstance(nl.activations[name], nl.Gated)


def calls(name: str) -> list[Any]:
    """Every way to call an entry with one tensor."""
    entry, given = nl.activations[name], OWN_ARGUMENTS.get(name, {})
    ways = [
        make(name),
        nn.Sequential(nn.Linear(6, 6), make(name)),
        lambda z: nl.leaky_relu(entry(z, **given), negative_slope=0.3),
    ]
    if isinstance(entry, nl.AxisFunction):
        ways += [lambda z: entry(z, axis=0, **given), lambda z: entry.jvp(z, torch.ones(6), **given)]
        ways += [lambda z: entry.vjp(z, 1.0, **given), make(name, dim=0)]
    elif isinstance(entry, nl.Gated):
        ways += [lambda z: entry(z, z), lambda z: entry(z, gate="even", axis=0), lambda z: entry.derivative(z, wrt="value")]
        ways += [nn.Sequential(make(name, dim=0, gate="even"))]
    else:
        ways += [lambda z: entry.derivative(z, **given)]
    return ways


@pytest.mark.parametrize("name", ["relu", "gelu", "elu", "prelu", *(n for n in NAMES if not is_plain(n))])
def test_fx_makes_a_node(name: str) -> None:
    x, entry = sample(4, 6), nl.activations[name]
    targets = [entry, *(getattr(entry, method) for method in ("derivative", "jvp", "vjp") if hasattr(entry, method))]
    for call in calls(name):
        graph = torch.fx.symbolic_trace(call)
        assert any(node.op == "call_function" and node.target in targets for node in graph.graph.nodes)
        assert torch.equal(graph(x), call(x))


def test_fx_where_it_cannot_tell_what_is_given() -> None:
    layer, x = nt.SwiGLU(dim=0), sample(4, 6)
    with pytest.raises(
        torch.fx.proxy.TraceError, match=r"SwiGLU: torch.fx cannot tell whether value will be given, and the layer"
    ):
        torch.fx.symbolic_trace(layer)
    assert torch.equal(torch.fx.symbolic_trace(layer, concrete_args={"value": None})(x, None), layer(x))


@over_families
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # it notes that shapes are looked at
def test_torchscript_traces_torch_operations(family: str) -> None:
    for keywords in ({}, {"learnable": True}):
        names = [name for name in FAMILIES[family] if not keywords or has_something_to_learn(name)]
        if not names:
            continue
        module = Several(names, **keywords)
        traced = torch.jit.trace(module, (sample(4, 6),), strict=False, check_trace=False)
        assert "PythonOp" not in str(traced.inlined_graph)
        x = -1.5 * sample(4, 6)
        results = traced(x)
        for name, wanted in module(x).items():
            close(results[name], wanted, name=name)
