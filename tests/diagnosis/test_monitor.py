"""The monitor sees what training does, at some steps, and leaves no trace."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import nonlin as nl
from nonlin.diagnosis import Monitor
from nonlin.diagnosis.report import Report

X = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )


def train(model: nn.Module, steps: int, rate: float = 1e-3) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for step in range(steps):
        rows = torch.randint(256, (32,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X[rows]), Y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_training_is_the_same_and_counts_go_by_windows() -> None:
    model, alone = network(), network()
    with torch.no_grad():
        for m in (model, alone):
            m[3].bias[[2, 9]] = -99.0
    torch.manual_seed(3)
    want = train(alone, 50)
    torch.manual_seed(3)
    reports: list[Report] = []
    with Monitor(model, every=5, window=4, callback=reports.append) as monitor:
        model.eval()(X)
        assert train(model.train(), 50) == want
        assert monitor.step == 50
    assert [entry["step"] for entry in monitor.history] == [21, 41, 50]
    assert monitor.report is reports[-1]
    assert [r.samples for r in reports] == [128, 128, 64]
    for report in reports:
        assert [(row.layer, row.units) for row in report.layers] == [("0", 32), ("3", 32)]
        assert {2, 9} <= {i for f in report.of("dead-units") if f.layer == "3" for i in f.units or ()}
        assert all(row.gradient > 0 for row in report.layers)
    assert all(isinstance(value, float) for value in monitor.history[0].values())
    assert not hooks(model)


def test_it_says_when_a_network_is_being_killed() -> None:
    model = network()
    with Monitor(model, every=2, window=10) as monitor:
        train(model, 20)
        train(model, 80, rate=0.5)
    assert monitor.history[0]["findings/warning"] == 0
    assert monitor.report is not None
    assert next(f.rule for f in monitor.report.findings) == "learning-rate-too-high"


def test_copies_and_pickles_of_a_watched_model_are_not_watched() -> None:
    model = network()
    with Monitor(model, every=1) as monitor, monitor:
        train(model, 2)
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            train(copied, 3)
        assert monitor.step == 2
    assert not hooks(model)


def test_an_exception_leaves_nothing_behind() -> None:
    model = network()
    before = len(nn.modules.module._global_forward_hooks)
    with pytest.raises(RuntimeError, match="shapes"), Monitor(model, every=1) as monitor:
        model(torch.zeros(4, 3))
    assert len(nn.modules.module._global_forward_hooks) == before
    assert torch.overrides._get_current_function_mode() is None
    assert monitor.report is None
    assert not hooks(model)


@pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning")  # Dynamo does
def test_compiled_models_and_functions_of_ours() -> None:
    class Ours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(16, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(nl.gelu(self.first(x)))

    compiled = torch.compile(Ours(), backend="eager")
    with Monitor(compiled, every=3) as monitor:
        train(compiled, 7)
    assert monitor.report is not None
    assert [(row.layer, row.activation) for row in monitor.report.layers] == [("first", "gelu")]


def test_memory_is_of_the_units() -> None:
    """Neither batches nor looks take any, and what was seen of a batch is gone with it."""

    def held(batch: int, looks: int) -> int:
        model = network()
        with Monitor(model, every=1, window=100) as monitor:
            for _ in range(looks):
                model(torch.randn(batch, 16)).sum().backward()
            sites = monitor._probe.sites.values()
            return sum(value.numel() for site in sites for value in site.health._sums.values())

    assert held(8, 2) == held(512, 2) == held(8, 20) < 64 * 16


@pytest.mark.parametrize("name", ["every", "window"])
@pytest.mark.parametrize("value", [0, 2.5, True])
def test_arguments(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"Monitor: {name} must be an integer of at least 1, got {value}"):
        Monitor(network(), **{name: value})
