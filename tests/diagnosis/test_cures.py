"""Cures: dry run by default; recycling leaves the function as it is; a diagnosis after it finds nothing."""

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.diagnosis import lsuv, recycle

X = torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def models() -> dict[str, nn.Sequential]:
    torch.manual_seed(0)
    return {
        "mlp": nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)),
        "cnn": nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)
        ),
    }


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_recycling_leaves_the_function_and_forgets_moments(name: str) -> None:
    model = models()[name]
    layers = [m for m in model if isinstance(m, (nn.Linear, nn.Conv2d))][:-1]
    with torch.no_grad():
        for layer in layers:
            layer.bias[[1, 3]] = -99.0
    optimizer = torch.optim.Adam(model.parameters(), 1e-6)
    for _ in range(3):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        optimizer.step()
    report = nl.diagnose(model, X)
    before = model.eval()(X)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    planned = recycle(model, report, optimizer=optimizer)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    done = recycle(model, report, optimizer=optimizer, apply=True)
    assert [c.layer for c in planned] == [c.layer for c in done]
    torch.testing.assert_close(model(X), before, rtol=1e-5, atol=1e-6)
    after = nl.diagnose(model, X)
    for layer in layers:
        assert not {1, 3} & {i for f in after.of("dead-units") if model[int(f.layer or 0)] is layer for i in f.units or ()}
        assert not optimizer.state[layer.weight]["exp_avg"][[1, 3]].any()


def test_lsuv_gives_every_layer_variance_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(10) for m in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 3))
    x = X.reshape(300, 64)
    assert not nl.diagnose(model, x).healthy
    state = {key: value.clone() for key, value in model.state_dict().items()}
    lsuv(model, x)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    lsuv(model, x, apply=True)
    with torch.no_grad():
        for i in range(0, 20, 2):
            assert model[: i + 1](x[:256]).std().item() == pytest.approx(1, abs=0.05)
    assert nl.diagnose(model, x).healthy
