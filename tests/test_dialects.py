"""The tables of dialects; compared with the frameworks themselves where these are installed."""

import importlib
import importlib.util
import inspect
import math
import os
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from nonlin.dialects import Call, Dialect, dialects, find

over_dialects = pytest.mark.parametrize("dialect", dialects(), ids=lambda d: d.name)

# --- every name is found ----------------------------------------------------------------------------------------------

# As the frameworks list them.
LISTS = {
    "torch.nn": """
        Threshold ReLU RReLU Hardtanh ReLU6 Sigmoid Hardsigmoid Tanh SiLU Mish Hardswish ELU CELU SELU GLU
        GELU Hardshrink LeakyReLU LogSigmoid Softplus Softshrink MultiheadAttention PReLU Softsign
        Tanhshrink Softmin Softmax Softmax2d LogSoftmax Identity
    """,
    "torch.nn.functional": """
        threshold relu relu6 elu selu celu leaky_relu prelu rrelu glu gelu logsigmoid hardshrink tanhshrink
        softsign softplus softmin softmax gumbel_softmax log_softmax softshrink tanh sigmoid hardsigmoid
        hardtanh hardswish silu mish
    """,
    "keras.activations": """
        celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
        linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
        softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
    """,
    "keras.layers": """
        Activation ELU LeakyReLU PReLU ReLU Softmax
    """,
    "keras2": """
        elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish tanh
        LeakyReLU PReLU ThresholdedReLU
    """,
    "jax.nn": """
        celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu log1mexp
        log_sigmoid log_softmax logmeanexp logsumexp mish one_hot relu relu6 selu sigmoid silu soft_sign
        softmax softplus sparse_plus sparse_sigmoid squareplus standardize swish tanh dot_product_attention
        get_scaled_dot_general_config scaled_dot_general scaled_matmul
    """,
    "tensorflow.nn": """
        crelu elu gelu leaky_relu log_softmax relu relu6 selu sigmoid silu softmax softplus softsign swish
        tanh
    """,
    "onnx": """
        Abs Atan Celu Clip Elu Erf Gelu HardSigmoid HardSwish Hardmax Identity LeakyRelu LogSoftmax Mish
        PRelu Relu Selu Shrink Sigmoid Sin Softmax Softplus Softsign SwiGLU Swish Tanh ThresholdedRelu
    """,
    "transformers": """
        gelu gelu_10 gelu_fast gelu_new gelu_python gelu_pytorch_tanh gelu_python_tanh gelu_accurate
        hardswish laplace leaky_relu linear mish quick_gelu relu relu2 relu6 sigmoid silu sqrtsoftplus swish
        tanh prelu xielu
    """,
    "timm": """
        silu swish mish relu relu6 leaky_relu elu prelu celu selu gelu gelu_tanh quick_gelu sigmoid tanh
        hard_sigmoid hard_swish hard_mish identity hardsigmoid hardswish
    """,
}
NO_ENTRY = {
    "Activation": "a layer that takes the name of any activation",
    "MultiheadAttention": "not an activation, though torch lists it with them",
    "Softmax2d": "softmax along the channels: nl.softmax with axis=-3",
    "Shrink": "two functions in one, told apart by its bias: hard_shrink and soft_shrink, see the dialect",
    "exponential": "exp, a function to write formulas with: nl.exp",
    "gelu_10": "a GELU cut off at -10 and 10 for quantization: a formula of hard_tanh and gelu",
    "gumbel_softmax": "random: it draws samples",
    "log1mexp": "a helper of numerics, not an activation",
    "logmeanexp": "a reduction",
    "logsumexp": "a reduction",
    "one_hot": "an encoding",
    "standardize": "a normalization",
    "dot_product_attention": "attention",
    "get_scaled_dot_general_config": "a helper of matrix products",
    "scaled_dot_general": "a matrix product",
    "scaled_matmul": "a matrix product",
}


@pytest.mark.parametrize(("where", "name"), [(where, name) for where, names in LISTS.items() for name in names.split()])
def test_a_frameworks_name_is_found_or_has_a_reason_not_to_be(where: str, name: str) -> None:
    found = nl.activations.find(name) is not None
    assert found != (name in NO_ENTRY), f"{where}: {name}"


def test_every_reason_is_needed() -> None:
    assert set(NO_ENTRY) <= {name for names in LISTS.values() for name in names.split()}


# --- the mapping ------------------------------------------------------------------------------------------------------


@over_dialects
def test_every_row_is_an_entry_and_a_default_is_a_parameter_that_differs(dialect: Dialect) -> None:
    for name in dialect:
        entry = dialect[name]
        assert getattr(dialect, name) is entry
        assert isinstance(entry, type(nl.activations[entry.name]))
        for call in dialect.calls[name]:
            assert set(call.parameters) <= {*getattr(entry, "parameters", ()), "axis", "where"}, call
    for name, defaults in dialect.defaults.items():
        for parameter, default in defaults.items():
            assert default != nl.activations[name].parameters[parameter].default


def test_defaults_are_the_frameworks() -> None:
    slopes = {name: float(nl.dialect(name).leaky_relu(-1.0)) for name in ("torch", "keras", "keras.layers", "jax", "onnx")}
    assert slopes == {"torch": -0.01, "keras": -0.2, "keras.layers": -0.3, "jax": -0.01, "onnx": -0.01}
    assert nl.dialect("keras.layers").prelu(-1.0) == 0
    assert nl.dialect("onnx").hard_sigmoid(1.0) == nl.dialect("keras2").hard_sigmoid(1.0) == 0.7
    assert nl.dialect("keras").hard_sigmoid is nl.hard_sigmoid


def test_a_name_means_what_the_framework_means_by_it() -> None:
    assert nl.dialect("jax").gelu is nl.dialect("keras.ops").gelu is nl.gelu_tanh
    assert nl.dialect("torch").gelu is nl.dialect("keras").gelu is nl.dialect("tensorflow").gelu is nl.gelu
    assert nl.dialect("jax").swish is nl.silu
    assert nl.dialect("onnx").swish is nl.swish
    assert nl.dialect("onnx")["Shrink"] is nl.hard_shrink


@pytest.mark.parametrize("name", ["nn.Hardtanh", "F.hardtanh", "Hardtanh", "hard_tanh", "HARDTANH"])
def test_names_are_found_as_in_code(name: str) -> None:
    assert nl.dialect("torch")[name] is nl.hard_tanh
    assert name in nl.dialect("torch")


def test_a_dialect_is_found_by_its_other_names() -> None:
    assert nl.dialect("PyTorch") is nl.dialect("torch")
    assert nl.dialect("tf") is nl.dialect("tensorflow")


@pytest.mark.parametrize(
    ("spelled", "name", "slope"),
    [
        ("nn.LeakyReLU", "leaky_relu", 0.01),
        ("torch.nn.functional.leaky_relu", "leaky_relu", 0.01),
        ("keras.layers.LeakyReLU", "leaky_relu", 0.3),
        ("tf.keras.activations.leaky_relu", "leaky_relu", 0.2),
        ("tensorflow.nn.leaky_relu", "leaky_relu", 0.2),
        ("jax.nn.gelu", "gelu_tanh", None),
        ("F.softplus", "softplus", None),
    ],
)
def test_a_full_name_is_found_with_its_defaults(spelled: str, name: str, slope: float | None) -> None:
    found = find(spelled)
    assert found.name == name
    assert slope is None or found.parameters["negative_slope"].default == slope


@pytest.mark.parametrize("spelled", ["relu", "Relu", "nn.Linear", "gelu.forward", ""])
def test_other_names_are_not_found(spelled: str) -> None:
    assert find(spelled) is None


def test_what_is_unknown_is_said() -> None:
    known = ", ".join(d.name for d in dialects())
    with pytest.raises(KeyError, match=re.escape(f"there is no dialect 'theano': nonlin knows {known}")):
        nl.dialect("theano")
    with pytest.raises(KeyError, match=r"^jax has no activation 'leakyrelu6' that is known here; did you mean leaky_relu\?$"):
        nl.dialect("jax")["leakyrelu6"]
    with pytest.raises(AttributeError, match=r"^keras has no activation 'snake' that is known here$"):
        _ = nl.dialect("keras").snake
    assert "snake" not in nl.dialect("keras")
    assert 3 not in nl.dialect("keras")


def test_a_dialect_is_read_only_and_prints_its_names() -> None:
    jax = nl.dialect("jax")
    with pytest.raises(TypeError):
        jax["relu"] = nl.gelu  # type: ignore[index]
    assert repr(jax).startswith(f"<dialect jax (JAX 0.10, also Flax) of {len(jax)} activations: ")
    assert "leaky_relu" in dir(jax)
    assert len(jax) == len(list(jax))


def test_calls_are_spelled_with_the_frameworks_names_and_defaults() -> None:
    assert nl.dialect("torch").spell("leaky_relu") == [
        "F.leaky_relu(negative_slope=0.01)",
        "nn.LeakyReLU(negative_slope=0.01)",
    ]
    assert nl.dialect("onnx").spell("leaky_relu") == ["LeakyRelu(alpha=0.01)"]
    assert nl.dialect("jax").spell("gelu") == ["jax.nn.gelu(approximate=False)"]
    assert nl.dialect("torch").spell("threshold")[0] == "F.threshold(threshold, value)"
    assert nl.dialect("jax").spell("snake") == []


def test_differences_are_sentences() -> None:
    assert [str(d) for d in nl.dialect("jax").differences("leaky_relu")] == [
        "derivative at 0 is 1, here 0.01",
        "derivative at nan is a number, here nan",
    ]
    assert str(nl.dialect("keras").differences("hard_tanh")[0]) == "derivative at -1 is 1 on JAX and TensorFlow, here 0"


@over_dialects
def test_a_difference_is_one(dialect: Dialect) -> None:
    for d in dialect.differences():
        assert d.ours == d.ours or d.theirs is None or d.theirs == d.theirs, d
        assert d.ours != d.theirs


# --- the frameworks themselves ----------------------------------------------------------------------------------------

X = np.array([-math.inf, -6, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 6, math.inf, math.nan], np.float32)
GIVEN = {"threshold": {"threshold": 1.0, "value": 2.0}}  # what has no default
NO_KERNEL = {"Swish": "onnxruntime 1.31 has none"}
RANDOM = {"nn.RReLU"}  # unless told that this is evaluation, which is what ours is
COARSE = {"xielu": 0.1}  # transformers keeps its parameters in bfloat16


def by_torch(f: Callable[[Any], Any]) -> Any:
    import torch

    x = torch.tensor(X, requires_grad=True)
    y = f(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach().numpy(), slope.numpy()


def by_jax(f: Callable[[Any], Any]) -> Any:
    import jax

    return np.asarray(jax.jit(f)(X)), np.asarray(jax.jit(jax.grad(lambda x: f(x).sum()))(X))


def by_tensorflow(f: Callable[[Any], Any]) -> Any:
    import tensorflow as tf

    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        y = f(x + 0)
    return y.numpy(), tf.convert_to_tensor(tape.gradient(y, x)).numpy()


BY = {"torch": by_torch, "jax": by_jax, "tensorflow": by_tensorflow}
BACKENDS = {"torch": "torch", "jax": "JAX", "tensorflow": "TensorFlow"}


def by_onnx(call: Call, parameters: dict[str, float]) -> Any:
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(X)])]
    more = {**call.fixed, **parameters} if call.name in ("Clip", "PRelu") else {}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in more.items()]
    attributes = {} if more else {**call.fixed, **parameters}
    node = helper.make_node(call.name, ["x", *more], ["y"], **attributes)
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(X)])]
    graph = helper.make_graph([node], "test", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0], None


def resolve(dialect: Dialect, call: Call) -> Any:
    """Return what the framework has under a name in the table."""
    roots = {"keras2": "tf_keras", "transformers": "transformers.activations", "jax": "jax.nn"}
    module = importlib.import_module(roots.get(dialect.name, dialect.name.partition(".")[0]))
    if dialect.name == "transformers":
        return module.ACT2FN[call.name]
    path = call.name.split(".")
    if dialect.name.startswith("keras"):
        path = [*{"keras": ["activations"], "keras2": []}.get(dialect.name, dialect.name.split(".")[1:]), *path]
    if dialect.name == "torch":
        path = {"torch": [], "nn": ["nn"], "F": ["nn", "functional"]}[path[0]] + path[1:]
    found = module
    for name in path:
        found = getattr(found, name)
    return found


def measure(dialect: Dialect, call: Call, parameters: dict[str, float], backend: str) -> Any:
    theirs = {call.parameters[name]: float(value) for name, value in parameters.items() if name in call.parameters}
    if dialect.name == "onnx":
        return by_onnx(call, theirs)
    function = resolve(dialect, call)
    if inspect.isclass(function):
        layer = function(**call.fixed, **{k: v for k, v in theirs.items() if k != "alpha_initializer"})
        if dialect.name == "torch":
            return BY[backend](layer)
        layer.build((None, 1))  # Keras: the first axis is the batch
        return BY[backend](lambda x: layer(x[:, None])[:, 0])
    if call.name == "F.prelu":
        import torch

        return BY[backend](lambda x: function(x, torch.tensor([theirs["weight"]])))
    return BY[backend](lambda x: function(x, **call.fixed, **theirs))


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Import the framework of a dialect, and say what computes there."""
    name = request.getfixturevalue("dialect").name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        if not name.startswith("keras"):
            pytest.importorskip(name)
            return name if name in BACKENDS else "torch"
        installed = [b for b in BACKENDS if importlib.util.find_spec(b)]
        chosen = os.environ.get("KERAS_BACKEND") or [*installed, ""][0]
        monkeypatch.setenv("KERAS_BACKEND", chosen)
        pytest.importorskip("tf_keras" if name == "keras2" else "keras")
        return "tensorflow" if name == "keras2" else chosen


LISTED = {
    "torch.nn": ("torch.nn.modules.activation", lambda module: module.__all__),
    "keras.activations": ("keras", lambda keras: set(dir(keras.activations)) - {"get", "serialize", "deserialize"}),
    "jax.nn": ("jax.nn", lambda nn: set(dir(nn)) - {"initializers"}),
    "transformers": ("transformers.activations", lambda module: module.ACT2FN),
}


@pytest.mark.parametrize(
    ("where", "dialect"),
    [(where, nl.dialect(where.partition(".")[0])) for where in LISTED],
    ids=list(LISTED),
)
def test_the_lists_are_complete(where: str, dialect: Dialect, backend: str) -> None:
    name, listed = LISTED[where]
    module = importlib.import_module(name)
    assert {n for n in listed(module) if not n.startswith("_")} <= set(LISTS[where].split())


@over_dialects
def test_signatures_have_these_parameters_and_defaults(dialect: Dialect, backend: str) -> None:
    for name in dialect if dialect.name not in ("onnx", "transformers") else ():
        parameters = getattr(nl.activations[name], "parameters", {})
        for call in dialect.calls[name]:
            try:
                signature = inspect.signature(resolve(dialect, call))
            except ValueError:
                continue  # compiled code without one
            for ours, theirs in call.parameters.items():
                default = signature.parameters[theirs].default
                if ours in parameters and isinstance(default, (int, float)):
                    assert default == dialect.defaults.get(name, {}).get(ours, parameters[ours].default), call
            for theirs in call.fixed:
                assert theirs in signature.parameters, call


@over_dialects
def test_numbers_are_the_frameworks(dialect: Dialect, backend: str) -> None:
    wrong = []
    for name, calls in dialect.calls.items():
        entry = nl.activations[name]  # the name may be another one's there
        if not (isinstance(entry, nl.Elementwise) and entry.operands == ("x",)):
            continue
        entry = entry.with_(**dialect.defaults.get(name, {}))
        given = GIVEN.get(name, {})
        values = {p: given.get(p, parameter.default) for p, parameter in entry.parameters.items()}
        for call in calls:
            if call.name in NO_KERNEL or call.name in RANDOM:
                continue
            for order, theirs in enumerate(measure(dialect, call, values, backend)):
                if theirs is None:
                    continue
                with np.errstate(invalid="ignore"):  # sin(inf)
                    ours = entry.derivative(X, order=order, **given)
                known = {
                    d.x: d.theirs
                    for d in dialect.differences(name)
                    if d.order == order and (not d.backend or BACKENDS[backend] in d.backend.split(" and "))
                }
                for x, a, b in zip(X.tolist(), theirs.tolist(), ours.tolist(), strict=True):
                    key = next((k for k in known if k == x or (k != k and x != x)), None)
                    wanted = b if key is None else known[key]
                    if wanted is not None and not np.isclose(a, wanted, COARSE.get(name, 1e-4), 1e-6, equal_nan=True):
                        wrong.append(f"{call} order {order} at {x}: {a}, not {wanted}")
    assert not wrong, "\n".join(wrong)
