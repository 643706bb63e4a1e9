"""nonlin.diagnose: planted faults are found exactly, healthy models raise no alarm, and the model is left as it was."""

import copy
import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import nonlin as nl
import nonlin.torch as nt
from nonlin.diagnosis.data import DiagnosisError
from nonlin.diagnosis.report import Report
from nonlin.diagnosis.rules import CURES
from nonlin.torch import symbolic

N = 400
X = torch.randn(N, 16, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
CE = nn.CrossEntropyLoss()


def mlp(activation: type[nn.Module] = nn.ReLU, depth: int = 2, width: int = 32, **keywords: object) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(16 if i == 0 else width, width), activation(**keywords)]
    return nn.Sequential(*layers, nn.Linear(width, 3))


class Functional(nn.Module):
    """The same activation by function, method and shared module."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.third, self.last = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.first(x))
        x = self.act(self.second(x))
        return self.last(F.relu(self.third(x)).relu())


def plant(layer: nn.Module, units: list[int], bias: float) -> None:
    with torch.no_grad():
        layer.bias[units] = bias  # type: ignore[index]


def units(report: Report, rule: str, layer: str) -> list[int]:
    return sorted(i for f in report.of(rule) if f.layer == layer for i in f.units or ())


def alarms(report: Report) -> set[str]:
    return {f.rule for f in report.findings if f.severity != "info"}


@pytest.mark.parametrize("layer", [nn.ReLU, nt.ReLU])
def test_planted_units_are_found_exactly(layer: type[nn.Module]) -> None:
    model = mlp(layer)
    before = nl.diagnose(model, X, Y)
    plant(model[0], [3, 5, 30], -99.0)
    plant(model[2], [0, 7], 99.0)
    report = nl.diagnose(model, X, Y)
    assert units(report, "dead-units", "0") == sorted({3, 5, 30, *units(before, "dead-units", "0")})
    assert set(units(report, "always-on-units", "2")) >= {0, 7}
    assert not alarms(report)
    finding = next(f for f in report.of("dead-units") if f.layer == "0")
    assert finding.n == N
    assert finding.bound == pytest.approx(1 - 0.05 ** (1 / N))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid])
def test_saturated_units(activation: type[nn.Module]) -> None:
    model = mlp(activation)
    plant(model[2], [1, 2, 31], 50.0)
    assert units(nl.diagnose(model, X, Y), "saturated-units", "2") == [1, 2, 31]


def test_a_nan_is_not_dead() -> None:
    model = mlp()
    plant(model[2], [4], float("nan"))
    report = nl.diagnose(model, X, Y)
    assert units(report, "non-finite", "2") == [4]
    assert 4 not in units(report, "dead-units", "2")
    json.loads(report.as_json())


def test_functions_methods_and_shared_modules_are_sites() -> None:
    model = Functional()
    plant(model.second, [6], -99.0)
    plant(model.third, [1], -99.0)
    report = nl.diagnose(model, X)
    assert [(row.layer, row.place) for row in report.layers[:3]] == [
        ("first", "act"),
        ("second", "act (call 2)"),
        ("third", "Functional"),
    ]
    assert 6 in units(report, "dead-units", "second")
    assert 1 in units(report, "dead-units", "third")
    assert report.coverage["observed"] == len(report.layers) == 4


class Ours(nn.Module):
    """Functions of ours, called in forward."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], width: int = 8, made: int = 8) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.last = nn.Linear(16, width), nn.Linear(made, 8), nn.Linear(8, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(nl.leaky_relu(self.second(self.function(self.first(x))), negative_slope=0.2))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", ["relu", "mish", "gelu_tanh", "relu6"])
def test_functions_of_ours_are_sites(name: str, frozen: bool) -> None:
    model = Ours(nl.get(name)).requires_grad_(not frozen)
    plant(model.first, [2, 5], -99.0)
    report = nl.diagnose(model, X)
    assert [(row.layer, row.activation) for row in report.layers] == [("first", name), ("second", "leaky_relu")]
    assert {2, 5} <= set(units(report, "dead-units", "first"))
    assert np.isnan(report.layers[0].gradient) == frozen
    assert not symbolic.watchers


PAIRS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str, int]] = {
    "geglu": (nl.geglu, "gelu", 3),
    "second": (lambda x: nl.reglu(x, gate="second"), "relu", 11),
    "even": (lambda x: nl.swiglu(x, gate="even"), "silu", 6),
    "layer": (nt.ReGLU(), "relu", 3),
    "torch": (F.glu, "sigmoid", 11),
    "by hand": (lambda x: F.relu(x.chunk(2, -1)[1]) * x[:, :8], "relu", 11),
}


@pytest.mark.parametrize("name", list(PAIRS))
def test_of_a_pair_the_gate_is_judged(name: str) -> None:
    """Its units are the layer's; planted is the fourth of eight."""
    function, gate, planted = PAIRS[name]
    model = Ours(function, width=16)
    plant(model.first, [planted], -999.0)
    report = nl.diagnose(model, X)
    row = report.layers[0]
    assert (row.layer, row.activation, row.units) == ("first", gate, 8)
    assert row.gradient > 0
    rule = "saturated-units" if gate == "sigmoid" else "dead-units"
    assert planted in units(report, rule, "first")
    assert report.followers["first"] is None


class ByHand(nn.Module):
    """Layers written as products, as in a book, and relu called in forward."""

    def __init__(self, like: nn.Sequential) -> None:
        super().__init__()
        linear = [layer for layer in like if isinstance(layer, nn.Linear)]
        self.weights = nn.ParameterList([layer.weight.detach().T.clone() for layer in linear])
        self.biases = nn.ParameterList([layer.bias.detach().clone() for layer in linear])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[:-1]:
            x = (x @ weight + bias).relu()
        return torch.matmul(x, self.weights[-1]) + self.biases[-1]


def test_products_with_parameters_are_layers() -> None:
    like = mlp(depth=10, width=64)
    want, found = nl.diagnose(like, X, Y, loss=CE), nl.diagnose(ByHand(like), X, Y, loss=CE)
    assert [(f.rule, f.severity, f.units, f.cause) for f in want.findings] == [
        (f.rule, f.severity, f.units, f.cause) for f in found.findings
    ]


def test_slopes_and_rows_are_no_sites() -> None:
    model = Ours(lambda x: nl.softmax(x) * nl.gelu.derivative(x) + nl.bilinear(x, x))
    assert [row.activation for row in nl.diagnose(model, X).layers] == ["leaky_relu"]


@pytest.mark.parametrize("norm", [False, True])
def test_a_channel_is_a_unit(norm: bool) -> None:
    torch.manual_seed(0)
    between = nn.BatchNorm2d(6) if norm else nn.Identity()
    model = nn.Sequential(nn.Conv2d(1, 6, 3), between, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 9, 2))
    plant(model[1] if norm else model[0], [2], -99.0)
    report = nl.diagnose(model, torch.randn(64, 1, 8, 8))
    assert units(report, "dead-units", "0") == [2]
    assert report.layers[0].units == 6
    assert not alarms(report)


def test_tokens_and_padding() -> None:
    """Samples count, not tokens; what only fills a row is no firing."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    x, mask = torch.randn(50, 6, 8), torch.ones(50, 6, dtype=torch.bool)
    mask[:, 4:] = False
    plant(layer.linear1, [3], -99.0)
    report = nl.diagnose(layer, x, mask=mask)
    assert 3 in units(report, "dead-units", "linear1")
    assert report.layers[0].samples == 50

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 2)

        def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return F.relu(self.inner(tokens)).sum((1, 2))

    model = Tokens()
    with torch.no_grad():
        model.inner.weight.zero_()
        model.inner.weight[0, 0] = 1.0
        model.inner.bias[:] = torch.tensor([0.0, 1.0])
    x = torch.full((20, 3, 8), -1.0)
    x[:, 2] = 1.0  # only what fills the row would fire
    real = torch.tensor([[1, 1, 0]]).repeat(20, 1)
    assert units(nl.diagnose(model, {"tokens": x, "attention_mask": real}), "dead-units", "inner") == [0]


def snapshot(model: nn.Module) -> tuple[object, ...]:
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    return copy.deepcopy(model.state_dict()), [m.training for m in model.modules()], grads, hooks, torch.get_rng_state()


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)  # type: ignore[arg-type]
    if isinstance(a, dict):
        return all(same(v, b[k]) for k, v in a.items())  # type: ignore[index]
    if isinstance(a, (list, tuple)):
        return all(map(same, a, b))  # type: ignore[call-overload]
    return a == b


class Failing(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        raise self.error


@pytest.mark.parametrize("error", [None, ZeroDivisionError("no"), KeyboardInterrupt(), RuntimeError("shapes")])
def test_the_model_is_left_as_it_was(error: BaseException | None) -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 3))
    model(X).sum().backward()
    model[3].eval()
    if error is not None:
        model.append(Failing(error))
    before, global_hooks = snapshot(model), len(nn.modules.module._global_forward_hooks)
    if error is None:
        nl.diagnose(model, X, Y, loss=CE)
    else:
        with pytest.raises(DiagnosisError if isinstance(error, RuntimeError) else type(error)):
            nl.diagnose(model, X, Y, loss=CE)
    assert same(before, snapshot(model))
    assert len(nn.modules.module._global_forward_hooks) == global_hooks


def test_deep_default_initialisation_is_the_cause() -> None:
    report = nl.diagnose(mlp(depth=10, width=64), X, Y, loss=CE)
    assert "initialisation-mismatch" in alarms(report)
    worse = [f for f in report.findings if f.severity != "info"]
    assert worse[0].rule == "initialisation-mismatch"
    assert all(f.cause == "initialisation-mismatch" for f in worse[1:])
    nt.init_(model := mlp(depth=10, width=64))
    assert not alarms(nl.diagnose(model, X, Y, loss=CE))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 60) -> None:
    for step in range(steps):
        rows = torch.randint(N, (64,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        CE(model(X[rows]), Y[rows]).backward()
        optimizer.step()


STUCK = {
    "initialisation-mismatch": (nn.ReLU, 10, 64, torch.optim.SGD, 0.05),
    "vanishing-gradient": (nn.Sigmoid, 8, 64, torch.optim.SGD, 0.05),
    "born-dead": (nn.ReLU, 12, 2, torch.optim.SGD, 0.05),
    "learning-rate-too-high": (nn.ReLU, 3, 64, torch.optim.Adam, 0.3),
}


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("rule", list(STUCK))
def test_the_cause_is_named_after_training_that_failed(rule: str, given: bool) -> None:
    """Who asks has trained the network already: its weights are those that it began with, or those that the steps made."""
    activation, depth, width, kind, rate = STUCK[rule]
    model = mlp(activation, depth, width)
    train(model, optimizer := kind(model.parameters(), lr=rate))  # type: ignore[call-arg]
    report = nl.diagnose(model, X, Y, loss=CE, optimizer=optimizer if given else None)
    worse = [f for f in report.findings if f.severity != "info"]
    assert worse[0].rule == rule
    assert {f.rule for f in worse if f.cause is None} == {rule}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.SELU, nn.LeakyReLU, nn.ELU])
def test_healthy_models_raise_no_alarm(activation: type[nn.Module]) -> None:
    model = mlp(activation, depth=3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    assert not alarms(nl.diagnose(model, X, Y, loss=CE, optimizer=optimizer))


def _autoencoder() -> Report:
    """After a bottleneck and with inputs above 0, most units of a fresh layer may be silent."""
    torch.manual_seed(0)
    x = torch.rand(300, 64)
    sizes = [64, 32, 8, 32]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(32, 64), nn.Sigmoid())
    with torch.no_grad():
        model[4].bias[:20] = -0.35
    report = nl.diagnose(model, x, x, loss=nn.MSELoss())
    assert len(units(report, "dead-units", "4")) > 16
    return report


def _siren() -> Report:
    """Weights suit an activation whose parameter is not the default."""
    torch.manual_seed(0)
    act = nt.layer("sin")
    model = nn.Sequential(nn.Linear(2, 64), act(omega=30.0), nn.Linear(64, 64), act(omega=30.0), nn.Linear(64, 1))
    with torch.no_grad():
        model[0].weight.uniform_(-0.5, 0.5)
        for layer in (model[2], model[4]):
            layer.weight.uniform_(-((6 / 64) ** 0.5) / 30, (6 / 64) ** 0.5 / 30)
    return nl.diagnose(model, 2 * torch.rand(300, 2) - 1)


def _momentum() -> Report:
    """A step is a step: what momentum adds up depends on whether gradients agree."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.99)
    return nl.diagnose(model, X, Y, loss=CE, optimizer=optimizer)


def _zero_head() -> Report:
    """A last layer of zeros is a way to begin: the first step gives all others their gradient."""
    model = mlp()
    nn.init.zeros_(model[4].weight)
    return nl.diagnose(model, X, Y, loss=CE)


@pytest.mark.parametrize("diagnosed", [_autoencoder, _siren, _momentum, _zero_head])
def test_what_looks_odd_and_is_healthy(diagnosed: Callable[[], Report]) -> None:
    assert not alarms(diagnosed())


def test_max_pooling_does_not_hide_the_initialisation() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, width in enumerate([8] * 8):
        layers += [nn.Conv2d(width if i else 1, width, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i % 3 == 2 else []
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 3))
    report = nl.diagnose(model, torch.randn(100, 1, 8, 8))
    assert report.findings[0].rule == "initialisation-mismatch"


def _softmax() -> nn.Module:
    return nn.Sequential(mlp(), nn.Softmax(-1))


STATIC = {
    "wrong-output-activation": lambda: nl.diagnose(_softmax(), X, Y, loss=CE),
    "unscaled-input": lambda: nl.diagnose(mlp(), X * 100, Y, loss=CE),
    "constant-input": lambda: nl.diagnose(mlp(), torch.ones(N, 16), Y, loss=CE),
    "missing-activation": lambda: nl.diagnose(nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 3)), X, Y, loss=CE),
    "excessive-dropout": lambda: nl.diagnose(Ours(lambda x: F.dropout(nl.relu(x), 0.9, training=False)), X, Y, loss=CE),
    "learning-rate-too-high": lambda: nl.diagnose(m := mlp(), X, Y, loss=CE, optimizer=torch.optim.Adam(m.parameters(), 0.5)),
    "frozen-layer": lambda: nl.diagnose(_frozen(), X, Y, loss=CE),
    "tied-units": lambda: nl.diagnose(_tied(), X, Y, loss=CE),
    "disconnected": lambda: nl.diagnose(_disconnected(), X, Y, loss=CE),
    "wrong-loss": lambda: nl.diagnose(nn.Sequential(nn.Linear(16, 1)), X, X[:, 0], loss=nn.MSELoss()),
    "non-finite": lambda: nl.diagnose(mlp(), torch.where(X > 3, torch.nan, X), Y, loss=CE),
    "batch-norm-statistics": lambda: nl.diagnose(_stale(), X, Y, loss=CE),
    "exploding-gradient": lambda: nl.diagnose(_scaled(12.0), X, Y, loss=CE),
    "variance-explosion": lambda: nl.diagnose(_scaled(12.0), X, Y, loss=CE),
    "born-dead": lambda: nl.diagnose(mlp(depth=8, width=2), X, Y, loss=CE),
}


#: What is told, but is no alarm by itself, or is one only of whole layers.
TOLD: dict[str, Callable[[], Report]] = {
    "dead-units": lambda: nl.diagnose(_planted([0, 5], -99.0), X, Y),
    "always-on-units": lambda: nl.diagnose(_planted([0, 5], 99.0), X, Y),
    "rare-units": lambda: nl.diagnose(_rare(), X, Y),
    "dormant-units": lambda: nl.diagnose(_rare(), X, Y),
    "gradient-dead": lambda: nl.diagnose(_unheard(), X, Y, loss=CE),
    "saturated-units": lambda: nl.diagnose(_planted([0, 5], 99.0, nn.Tanh), X, Y),
    "vanishing-gradient": lambda: nl.diagnose(mlp(nn.Sigmoid, depth=8), X, Y, loss=CE),
    "variance-collapse": lambda: nl.diagnose(mlp(depth=10, width=64), X, Y, loss=CE),
    "initialisation-mismatch": lambda: nl.diagnose(mlp(depth=10, width=64), X, Y, loss=CE),
    "float16-overflow": lambda: nl.diagnose(_half(), X.half(), Y, loss=CE),
}


def _planted(where: list[int], bias: float, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    model = mlp(activation)
    plant(model[0], where, bias)
    return model


def _rare() -> nn.Module:
    """The first unit fires in three of the 400 samples, where the first feature is largest."""
    model = mlp()
    with torch.no_grad():
        model[0].weight[0] = torch.eye(16)[0]
        model[0].bias[0] = -X[:, 0].sort().values[-4]
    return model


def _unheard() -> nn.Module:
    """Nothing listens to the first two units of the second layer."""
    model = mlp()
    with torch.no_grad():
        model[4].weight[:, :2] = 0
    return model


def _half() -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[2].weight.mul_(60_000)
    return model.half()


def test_every_rule_has_a_test() -> None:
    assert set(CURES) == {*STATIC, *TOLD}


@pytest.mark.parametrize("rule", list(TOLD))
def test_each_rule_tells(rule: str) -> None:
    findings = TOLD[rule]().of(rule)
    assert findings
    if rule in ("rare-units", "dormant-units"):
        assert 0 in (findings[0].units or [])
    if rule == "gradient-dead":
        assert [f.units for f in findings if f.layer == "2"] == [[0, 1]]


def _frozen() -> nn.Module:
    model = mlp()
    model[2].requires_grad_(False)
    return model


def _tied() -> nn.Module:
    model = mlp()
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.zeros_(model[0].bias)
    return model


def _disconnected() -> nn.Module:
    model = mlp()
    model.register_module("head", None)
    model.spare = nn.Linear(4, 4)
    model.forward = lambda x: nn.Sequential(*list(model)[:5])(x)  # type: ignore[method-assign]
    return model


def _stale() -> nn.Module:
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model[1].running_mean.fill_(30.0)
    model[1].num_batches_tracked.fill_(9)
    return model


def _scaled(factor: float) -> nn.Module:
    model = mlp(depth=8)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(factor)
    return model


@pytest.mark.parametrize("rule", list(STATIC))
def test_each_rule_finds_its_fault(rule: str) -> None:
    report = STATIC[rule]()
    assert rule in alarms(report)
    roots = {f.rule for f in report.findings if f.severity != "info" and f.cause is None}
    assert rule in roots or all(f.cause for f in report.of(rule))


BAD = {
    "the model has lazy layers": lambda: nl.diagnose(nn.Sequential(nn.LazyLinear(8), nn.ReLU()), X),
    "the model is on the meta device": lambda: nl.diagnose(mlp().to("meta"), X),
    "the model cannot run on data of shape (256, 4)": lambda: nl.diagnose(mlp(), torch.zeros(300, 4)),
    "the loader or array is empty": lambda: nl.diagnose(mlp(), torch.zeros(0, 16)),
    "the model must be a torch.nn.Module, got str": lambda: nl.diagnose("model", X),
    "the data must be a tensor, an array, a DataLoader or batches, got int": lambda: nl.diagnose(mlp(), 3),
    "the loss needs a target": lambda: nl.diagnose(mlp(), X, loss=CE),
    "the data have 400 rows, and the target 7": lambda: nl.diagnose(mlp(), X, Y[:7], loss=CE),
}


@pytest.mark.parametrize("message", list(BAD))
def test_bad_input_is_one_sentence(message: str) -> None:
    with pytest.raises(DiagnosisError) as raised:
        BAD[message]()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_forms_of_data_and_wrapped_models_are_the_same() -> None:
    model = mlp()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=100, shuffle=True)
    want = nl.diagnose(model, X, Y).as_dict()["layers"]
    for report in (
        nl.diagnose(model, loader),
        nl.diagnose(model, X.numpy().astype(np.float64), Y.numpy()),
        nl.diagnose(nn.DataParallel(model), (X, Y)),
        nl.diagnose(model, [(X[:100], Y[:100]), (X[100:], Y[100:])]),
    ):
        for a, b in zip(want, report.as_dict()["layers"], strict=True):
            for key, value in a.items():
                assert b[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-2)), key


def test_renderings_and_assert_healthy() -> None:
    report = nl.diagnose(_softmax(), X, Y, loss=CE)
    assert "leave the softmax out of the model" in str(report)
    assert report.severity == "error"
    assert "<h1>" in report._repr_html_()
    assert "http" not in report.as_html()
    assert report.as_sarif()["runs"][0]["results"][0]["ruleId"] == "wrong-output-activation"
    assert list(report.as_frame().columns)[:3] == ["rule", "severity", "layer"]
    assert set(map(type, report.as_floats().values())) == {float}
    assert set(report.as_dict()) == {"findings", "layers", "coverage"}
    nl.assert_healthy(_softmax(), X, Y, loss=CE, ignore=["wrong-output-activation"])
    with pytest.raises(AssertionError, match="wrong-output-activation"):
        nl.assert_healthy(_softmax(), X, Y, loss=CE)
    with pytest.raises(ValueError, match="there is no rule 'dead'"):
        nl.assert_healthy(mlp(), X, ignore=["dead"])
