"""What has tripped others who look at networks while they run: each line of it a test."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

import nonlin as nl
import nonlin.torch as nt
from nonlin.diagnosis.data import DiagnosisError
from nonlin.diagnosis.health import Health
from nonlin.diagnosis.report import Report

N = 300
X = torch.randn(N, 16, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
CE = nn.CrossEntropyLoss()
PLANTED = [1, 4]


def dead(report: Report, layer: str) -> list[int]:
    return sorted(i for f in report.of("dead-units") if f.layer == layer for i in f.units or ())


class Net(nn.Module):
    """Two layers and a way to go through them; two units of the second cannot fire, all others of both can."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 2)
        self.act = nn.ReLU()
        with torch.no_grad():
            self.second.bias[PLANTED] = -99.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.second(self.act(self.first(x)))))


class InPlace(Net):
    """Traps 1 and 2: what was stored is overwritten, and a sum is made in place."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        y = self.second(x)
        y += 0.01 * x
        return self.last(self.act(y))


class Functions(Net):
    """Trap 4: functions and methods are no modules."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu_(self.second(self.first(x).relu())))


class OwnFunctions(Net):
    """Trap 4, with a function of ours."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nl.relu(self.second(F.relu(self.first(x), inplace=True))))


class Checkpointed(Net):
    """Trap 13: what is checkpointed is called again while gradients are computed."""

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(lambda x: self.act(self.first(x)), x, use_reentrant=False)
        return self.last(checkpoint(lambda x: self.act(self.second(x)), x, use_reentrant=False))


class Dropped(Net):
    """Trap 6: dropout makes zeros, and batch normalisation has statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(16), nn.Dropout(0.5)
        self.norm(2 * X + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.second(self.drop(self.act(self.norm(self.first(x)))))))


MODELS = (Net, InPlace, Functions, OwnFunctions, Checkpointed, Dropped)


@pytest.mark.parametrize("kind", MODELS)
def test_each_is_counted_once_and_the_model_is_left_alone(kind: type[Net]) -> None:
    """Also traps 5, 11 and 14: shared modules, gradients that accumulate, pickling; diagnosing twice doubles nothing."""
    model = kind().train()
    CE(model(X), Y).backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    reports = [nl.diagnose(model, X, Y, loss=CE) for _ in range(2)]
    for report in reports:
        assert [(row.layer, row.samples) for row in report.layers] == [("first", N), ("second", N)]
        assert dead(report, "second") == PLANTED
        assert dead(report, "first") == []
        assert not report.of("disconnected")
    assert str(reports[0]) == str(reports[1])
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    for before, p in zip(gradients, model.parameters(), strict=True):
        assert before is p.grad or (p.grad is not None and torch.equal(before, p.grad))  # type: ignore[arg-type]
    assert all(module.training for module in model.modules())
    pickle.loads(pickle.dumps(model))


def test_checkpoints_of_the_older_kind_are_one_sentence() -> None:
    class Reentrant(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(checkpoint(lambda x: self.act(self.second(x)), self.act(self.first(x)), use_reentrant=True))

    with pytest.raises(DiagnosisError, match="cannot be differentiated: When use_reentrant=True"):
        nl.diagnose(Reentrant(), X, Y, loss=CE)


def test_compiled_models_are_looked_at_eagerly() -> None:
    """Trap 3: hooks set after compilation never fire, and a second model may run the first one's code."""
    for _ in range(2):
        model = Net()
        compiled = torch.compile(model, backend="eager")
        compiled(X)
        assert dead(nl.diagnose(compiled, X, Y), "second") == PLANTED


def test_what_is_inside_torch_is_said_not_to_be_seen() -> None:
    """Trap 4: coverage is no lie."""
    report = nl.diagnose(nn.LSTM(16, 8, batch_first=True), torch.randn(20, 5, 16))
    assert report.coverage["observed"] == 0
    assert "LSTM" in report.covered
    assert report.headline == "No fault found, but no activation was seen either."


@pytest.mark.parametrize("evaluated", [False, True])
def test_the_encoder_s_fast_path_is_no_hole(evaluated: bool) -> None:
    """Trap 4: in evaluation the layer of transformers runs past its own activation."""
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).train(not evaluated)
    with torch.no_grad():
        model.layers[1].linear1.bias[PLANTED] = -99.0
    report = nl.diagnose(model, torch.randn(40, 5, 16))
    assert [row.layer for row in report.layers] == ["layers.0.linear1", "layers.1.linear1"]
    assert dead(report, "layers.1.linear1") == PLANTED


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision(dtype: torch.dtype) -> None:
    """Trap 10: what a scaler would do to gradients is not seen, for the loss is our own call."""
    with torch.autocast("cpu", dtype=dtype):
        report = nl.diagnose(Net(), X, Y, loss=CE)
    assert dead(report, "second") == PLANTED
    assert report.healthy
    assert report.layers[0].gradient == pytest.approx(nl.diagnose(Net(), X, Y, loss=CE).layers[0].gradient, rel=0.1)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_off_they_are_there_all_the_same(mode: type[torch.no_grad]) -> None:
    model, want = Net(), nl.diagnose(Net(), X, Y, loss=CE).layers[0].gradient
    with mode():
        assert nl.diagnose(model, X, Y, loss=CE).layers[0].gradient == pytest.approx(want)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layer", [nn.ReLU, nt.ReLU])
def test_a_channel_is_a_unit_in_any_memory_format(layer: type[nn.Module], layout: torch.memory_format) -> None:
    """Trap 8."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), layer(), nn.Flatten(), nn.Linear(8 * 36, 2)).to(memory_format=layout)
    with torch.no_grad():
        model[0].bias[PLANTED] = -99.0
    report = nl.diagnose(model, torch.randn(N, 1, 8, 8).to(memory_format=layout))
    assert report.layers[0].units == 8
    assert dead(report, "0") == PLANTED


def test_a_nan_is_no_dead_unit() -> None:
    """Trap 7: it is not above 0 either."""
    model = Net()
    with torch.no_grad():
        model.second.bias[7] = torch.nan
    report = nl.diagnose(model, X)
    assert dead(report, "second") == PLANTED
    assert [f.units for f in report.of("non-finite") if f.layer == "second" and f.units] == [[7]]


def test_nothing_is_fetched_from_a_device_while_units_are_counted() -> None:
    """Trap 15: of tensors without values nothing can be fetched."""
    health = Health(nl.relu)
    z = torch.empty(64, 8, device="meta")
    health.update(z, z, slope=z, output=z)


def test_units_are_judged_by_the_data_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 12: a unit that is dead on one rank's share may fire on another's."""
    model = Net()
    with torch.no_grad():
        model.first.weight[3], model.first.bias[3] = torch.eye(16)[0], -X[:, 0].max() + 1e-3  # fires in one sample
    share = int(X[:, 0].argmax() < N // 2)  # that which does not have it
    shares, kept = X.split(N // 2), []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat, group: kept.append(flat.clone()))
    assert 3 not in dead(nl.diagnose(model, shares[1 - share], group=True), "first")
    others = iter(kept)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat, group: flat.add_(next(others)))
    assert 3 in dead(nl.diagnose(model, shares[share]), "first")
    found, want = nl.diagnose(model, shares[share], group=True), nl.diagnose(model, X)
    assert dead(found, "second") == dead(want, "second") == PLANTED
    assert 3 not in dead(found, "first")
    assert {f.n for f in found.of("dead-units")} == {N}
    for a, b in zip(found.layers, want.layers, strict=True):
        assert (a.dead, a.always_on, a.rare) == (b.dead, b.always_on, b.rare)
        assert a.rms_z == pytest.approx(b.rms_z)
