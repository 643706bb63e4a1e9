"""Training: the stacked program and the loop take the same steps, and what goes wrong is a result."""

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.comparison.plan import Plan, Stack
from nonlin.comparison.reading import load
from nonlin.comparison.results import ingredients
from nonlin.comparison.training import WIDEST_STACK, initial, tables, train, train_loop, train_stack


def stack(activation: str = "relu", rate: float = 3e-3, seeds: int = 3, splits: int = 2, gain: str = "exact") -> Stack:
    return Stack("d", activation, rate, gain, tuple((seed, part) for seed in range(seeds) for part in range(splits)))


def plan(**changes: Any) -> Plan:
    return dataclasses.replace(Plan(seeds=3, splits=2, epochs=4, widths=(16, 16)), **changes)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_default_dtype(dtype)


@pytest.mark.parametrize(
    ("activation", "data", "dtype"),
    [
        *product(["relu", "gelu", "tanh", "leaky_relu", "selu"], ["iris", "diabetes"], [torch.float64]),
        ("mish", "digits", torch.float64),
        *product(["relu"], ["iris", "diabetes", "digits"], [torch.float32]),
    ],
)
def test_stacked_equals_looped(activation: str, data: str, dtype: torch.dtype) -> None:
    """In float64 rounding is too small to matter, and all is the same; in float32 it moves rows of half-trained networks."""
    dataset = load(data)
    made = ingredients(nl.get(activation), "exact")
    shared = tables(dataset, 2)
    targets = shared.targets if dataset.classes else shared.targets.to(dtype)
    shared = dataclasses.replace(shared, features=shared.features.to(dtype), targets=targets)
    torch.set_default_dtype(dtype)
    stacked = train_stack(stack(activation), plan(), made, shared)
    looped = train_loop(stack(activation), plan(), made, shared)
    exact = dtype == torch.float64
    for a, b in zip(stacked, looped, strict=True):
        if exact and dataset.classes:
            assert (a.score, a.validation, a.curve) == (b.score, b.validation, b.curve)
        assert a.score == pytest.approx(b.score, abs=1e-9 if exact else 0.02)
        assert a.loss == pytest.approx(b.loss, rel=1e-5 if exact else 1e-2)
        assert a.status == b.status
        assert a.health["start"]["rms_gradient"] == pytest.approx(b.health["start"]["rms_gradient"], rel=1e-4)
        if exact:
            assert a.health["end"]["dead"] == b.health["end"]["dead"]


def test_a_member_does_not_depend_on_its_stack() -> None:
    dataset = load("iris")
    made = ingredients(nl.relu, "exact")
    shared = tables(dataset, 2)
    whole = train_stack(stack(), plan(), made, shared)
    alone = train_stack(dataclasses.replace(stack(), members=((2, 1),)), plan(), made, shared)[0]
    assert whole[-1].score == alone.score
    assert whole[-1].loss == pytest.approx(alone.loss, rel=1e-5)


def test_runs_are_paired() -> None:
    """The same seed and split: the same weights but for the gain; another seed or split: others."""
    one, same = initial([4, 8, 3], 1.0, 5, 0), initial([4, 8, 3], 2.0, 5, 0)
    assert torch.equal(one[0], same[0])
    assert torch.equal(2 * one[1], same[1])
    assert not torch.equal(one[0], initial([4, 8, 3], 1.0, 6, 0)[0])
    assert not torch.equal(one[0], initial([4, 8, 3], 1.0, 5, 1)[0])


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "sigmoid", "selu"])
def test_the_exact_gain_keeps_the_second_moment_with_depth(name: str) -> None:
    dataset = load(np.random.default_rng(0).normal(size=(600, 256)), np.arange(600) % 2)
    deep = plan(widths=(256,) * 6, epochs=1, splits=1)
    made = ingredients(nl.get(name), "exact")
    found = train_stack(stack(name, 1e-6, seeds=2, splits=1), deep, made, tables(dataset, 1))
    rms = np.mean([result.health["start"]["rms_z"] for result in found], axis=0)
    assert rms == pytest.approx(np.ones(6), abs=0.15)


def test_it_learns() -> None:
    found = train(stack(seeds=2), plan(epochs=100), ingredients(nl.relu, "exact"), load("iris"))
    assert all(result["score"] > 0.85 for result in found)
    found = train(stack(seeds=2), plan(epochs=60), ingredients(nl.relu, "exact"), load("diabetes"))
    assert all(0.2 < result["score"] < 0.7 for result in found)
    assert [len(result["loss"]) for result in found] == [60] * 4


def test_divergence_is_a_result_and_stays_with_its_member() -> None:
    found = train(stack(rate=1e15), plan(), ingredients(nl.relu_squared, "exact"), load("iris"))
    assert {result["status"] for result in found} == {"diverged"}
    # Members of one stack do not touch: poison one and train on.
    shared = tables(load("iris"), 2)
    made = ingredients(nl.relu, "exact")
    clean = train_stack(stack(), plan(), made, shared)
    real = initial

    def poisoned(sizes: Any, gain: float, seed: int, part: int) -> list[torch.Tensor]:
        weights = real(sizes, gain, seed, part)
        if (seed, part) == (1, 0):
            weights[0][0, 0] = torch.nan
        return weights

    import nonlin.comparison.training as training

    training.initial = poisoned  # type: ignore[assignment]
    try:
        found_ = train_stack(stack(), plan(), made, shared)
    finally:
        training.initial = real
    assert [result.status for result in found_] == ["ok", "ok", "diverged", "ok", "ok", "ok"]
    assert found_[2].score == pytest.approx(shared.constant[0])
    assert [result.score for i, result in enumerate(found_) if i != 2] == [r.score for i, r in enumerate(clean) if i != 2]


def test_what_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(type(nl.relu), "__call__", broken)
    for widths in ((16,), (WIDEST_STACK + 1,)):  # stacked and in a loop
        found = train(stack(), plan(widths=widths), ingredients(nl.relu, "exact"), load("iris"))
        assert {(result["status"], result["error"]) for result in found} == {("failed", "ZeroDivisionError: on purpose")}


def cnn(activation: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        activation,
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 12),
        activation,
        nn.Linear(12, 10),
    )


def images() -> Any:
    digits = load("digits")
    return load(digits.numeric.reshape(-1, 1, 8, 8)[:400], digits.target[:400], name="images")


def test_an_own_model_with_channels() -> None:
    made = ingredients(nl.relu, "own")
    found = train(stack(gain="own", seeds=2), plan(widths=(), model="cnn", epochs=20), made, images(), cnn)
    assert {result["status"] for result in found} == {"ok"}
    assert np.mean([result["score"] for result in found]) > 0.5
    assert [result["health"]["end"]["units"] for result in found] == [[4, 12]] * 4
    again = train(stack(gain="own", seeds=1), plan(widths=(), model="cnn", epochs=20), made, images(), cnn)
    assert [r["loss"] for r in found[:2]] == [r["loss"] for r in again]


def test_an_own_model_may_be_drawn_anew_with_the_gain() -> None:
    made = ingredients(nl.tanh, "exact")
    found = train(stack("tanh"), plan(widths=(), model="cnn"), made, images(), cnn)
    assert {result["status"] for result in found} == {"ok"}


@pytest.mark.parametrize(
    ("factory", "error"),
    [
        (lambda activation: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "the model must return 10 numbers per row"),
        (lambda activation: 5, "the model factory must return a torch.nn.Module, got int"),
    ],
)
def test_bad_models(factory: Any, error: str) -> None:
    found = train(stack(gain="own"), plan(widths=(), model="x"), ingredients(nl.relu, "own"), images(), factory)
    assert {result["status"] for result in found} == {"failed"}
    assert error in found[0]["error"]


def test_what_does_not_say_where_its_units_are_is_not_observed() -> None:
    class Odd(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.activation, self.last = activation, nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.activation(x.flatten(1) * 2))  # type: ignore[no-any-return]

    found = train(stack(gain="own"), plan(widths=(), model="x", epochs=1), ingredients(nl.relu, "own"), images(), Odd)
    assert found[0]["health"]["end"]["units"] == []


def test_wide_networks_go_through_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import nonlin.comparison.training as training

    called = []
    monkeypatch.setattr(training, "train_loop", lambda *a: called.append(a) or [])
    train(stack(seeds=1, splits=1), plan(widths=(129,)), ingredients(nl.relu, "exact"), load("iris"))
    assert len(called) == 1
