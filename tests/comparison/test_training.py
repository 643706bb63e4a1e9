"""Training: the stacked program and the loop take the same steps, and what goes wrong is a result."""

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.comparison.plan import Member, Plan, Stack
from nonlin.comparison.reading import load
from nonlin.comparison.results import ingredients
from nonlin.comparison.training import WIDEST_STACK, initial, tables, train, train_loop, train_stack


def stack(activation: str = "relu", rate: float = 3e-3, seeds: int = 3, splits: int = 2, gain: str = "exact") -> Stack:
    members = tuple(Member(rate, gain, seed, part) for seed in range(seeds) for part in range(splits))
    return Stack("d", activation, "judged", members)


def plan(**changes: Any) -> Plan:
    return dataclasses.replace(Plan(seeds=3, splits=2, epochs=4, widths=(16, 16)), **changes)


def run(stacked: Stack, how: Plan, made: Any, data: Any, factory: Any = None) -> list[dict[str, Any]]:
    return train(stacked, how, made, {"d": data}, None if factory is None else {"d": factory})


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_default_dtype(dtype)


def of(name: str, how: Plan, dtype: torch.dtype = torch.float32) -> Any:
    shared = tables(load(name), how)
    targets = shared.targets if shared.is_classes else shared.targets.to(dtype)
    weights = None if shared.weights is None else shared.weights.to(dtype)
    return dataclasses.replace(shared, features=shared.features.to(dtype), targets=targets, weights=weights)


@pytest.mark.parametrize(
    ("activation", "data", "dtype", "changes"),
    [
        *product(["relu", "gelu", "tanh", "leaky_relu", "selu"], ["iris", "diabetes"], [torch.float64], [{}]),
        ("mish", "digits", torch.float64, {}),
        *product(["relu"], ["iris", "diabetes", "digits"], [torch.float32], [{}]),
        *product(
            ["gelu"],
            ["iris", "diabetes"],
            [torch.float64],
            [{"weight_decay": 0.1}, {"class_weights": "balanced"}, {"epochs": None, "steps": 300}],
        ),
        ("relu", "iris", torch.float64, {"metric": "log loss"}),
        ("relu", "diabetes", torch.float64, {"metric": "MAE"}),
    ],
)
@pytest.mark.parametrize("kind", ["judged", "tuning"])
def test_stacked_equals_looped(activation: str, data: str, dtype: torch.dtype, changes: dict[str, Any], kind: str) -> None:
    """In float64 rounding is too small to matter, and all is the same; in float32 it moves rows of half-trained networks."""
    how = plan(**changes)
    made = ingredients(nl.get(activation), ["exact"])
    torch.set_default_dtype(dtype)
    shared = of(data, how, dtype)
    members = tuple(Member(rate, "exact", seed, part) for seed in range(2) for part in range(2) for rate in (1e-2, 1e-3, 3e-3))
    several = Stack("d", activation, kind, members)
    stacked = train_stack(several, how, made, shared)
    looped = train_loop(several, how, made, shared)
    exact = dtype == torch.float64
    for a, b in zip(stacked, looped, strict=True):
        if exact:
            assert (a.steps, a.best, a.ended) == (b.steps, b.best, b.ended)
            assert a.curve == pytest.approx(b.curve, abs=1e-6)
        if kind == "judged":
            assert a.score == pytest.approx(b.score, abs=1e-9 if exact else 0.04)
            assert a.health["start"]["rms_gradient"] == pytest.approx(b.health["start"]["rms_gradient"], rel=1e-4)
            if exact:
                assert a.health["end"]["dead"] == b.health["end"]["dead"]
        else:
            assert np.isnan(a.score)
            assert np.isnan(b.score)
        assert a.loss == pytest.approx(b.loss, rel=1e-5 if exact else 1e-2)
        assert a.status == b.status


def test_each_network_is_judged_where_its_validation_score_is_best() -> None:
    how = plan(epochs=None, steps=600, widths=(32, 32))
    shared = of("diabetes", how)
    found = train_stack(stack(rate=1e-2), how, ingredients(nl.relu, ["exact"]), shared)
    length = how.length(len(shared.parts[0].train))
    for result in found:
        curve = np.array(result.curve)
        assert result.validation == pytest.approx(curve.max(), rel=1e-5)
        assert result.best == length.interval * (1 + curve.argmax())
        assert result.ended == "turned"
        assert result.steps - result.best == length.patience
    # A longer limit changes nothing of what has turned, nor does the company of others.
    longer = train_stack(
        stack(rate=1e-2), plan(epochs=None, steps=2400, widths=(32, 32)), ingredients(nl.relu, ["exact"]), shared
    )
    for one, other in zip(found, longer, strict=True):
        assert (one.score, one.curve) == (other.score, other.curve)


def test_settings_compete_within_their_split_alone() -> None:
    how = plan(epochs=None, steps=400, splits=3)
    made, shared = ingredients(nl.tanh, ["exact"]), of("iris", how)
    rates = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2)
    members = tuple(Member(rate, "exact", seed, part) for part in range(3) for rate in rates for seed in (7, 8))
    whole = train_stack(Stack("d", "tanh", "tuning", members), how, made, shared)
    length = how.length(len(shared.parts[0].train))
    for part in range(3):
        ended = [(m.learning_rate, r.ended, r.steps) for m, r in zip(members, whole, strict=True) if m.split == part]
        given_up = {rate for rate, how_, _ in ended if how_ == "rung"}
        assert len(given_up) == 3  # of five, three are left at the first rung, then two
        assert {1e-5, 1e-4} <= given_up
        assert {steps for _, how_, steps in ended if how_ == "rung"} <= set(length.rungs)
    alone = train_stack(Stack("d", "tanh", "tuning", members[10:20]), how, made, shared)
    assert [(r.ended, r.steps, r.curve) for r in whole[10:20]] == [(r.ended, r.steps, r.curve) for r in alone]


def test_a_member_does_not_depend_on_its_stack() -> None:
    made, shared = ingredients(nl.relu, ["exact"]), of("iris", plan())
    whole = train_stack(stack(), plan(), made, shared)
    alone = train_stack(dataclasses.replace(stack(), members=stack().members[-1:]), plan(), made, shared)[0]
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
    made = ingredients(nl.get(name), ["exact"])
    found = train_stack(stack(name, 1e-6, seeds=2, splits=1), deep, made, tables(dataset, deep))
    rms = np.mean([result.health["start"]["rms_z"] for result in found], axis=0)
    assert rms == pytest.approx(np.ones(6), abs=0.15)


def test_it_learns() -> None:
    made = ingredients(nl.relu, ["exact"])
    found = run(stack(seeds=2), plan(epochs=100), made, load("iris"))
    assert all(result["score"] > 0.85 for result in found)
    found = run(stack(seeds=2), plan(epochs=60), made, load("diabetes"))
    assert all(0.2 < result["score"] < 0.7 for result in found)


def test_divergence_is_a_result_and_stays_with_its_member(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(stack(rate=1e15), plan(), ingredients(nl.relu_squared, ["exact"]), load("iris"))
    assert {result["status"] for result in found} == {"diverged"}
    # Members of one stack do not touch: poison one and train on.
    made, shared = ingredients(nl.relu, ["exact"]), of("iris", plan())
    clean = train_stack(stack(), plan(), made, shared)
    real = initial

    def poisoned(sizes: Any, gain: float, seed: int, part: int) -> list[torch.Tensor]:
        weights = real(sizes, gain, seed, part)
        if (seed, part) == (1, 0):
            weights[0][0, 0] = torch.nan
        return weights

    monkeypatch.setattr("nonlin.comparison.training.initial", poisoned)
    found_ = train_stack(stack(), plan(), made, shared)
    assert [result.status for result in found_] == [r.status if i != 2 else "diverged" for i, r in enumerate(clean)]
    assert found_[2].score == pytest.approx(shared.constant["test"][0])
    assert [result.score for i, result in enumerate(found_) if i != 2] == [r.score for i, r in enumerate(clean) if i != 2]


def test_what_learns_nothing_has_not_diverged() -> None:
    """Noise is learned by heart: no better than a constant on other rows, and no number grows without bound."""
    random = np.random.default_rng(0)
    noise = load(random.normal(size=(120, 5)), random.normal(size=120), name="noise")
    found = run(stack(rate=1e-2), plan(epochs=60), ingredients(nl.relu, ["exact"]), noise)
    assert "diverged" not in {result["status"] for result in found}
    slow = run(stack(rate=1e-9), plan(), ingredients(nl.relu, ["exact"]), load("diabetes"))
    assert {result["status"] for result in slow} == {"flat"}


def test_what_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(type(nl.relu), "__call__", broken)
    for widths in ((16,), (WIDEST_STACK + 1,)):  # stacked and in a loop
        found = run(stack(), plan(widths=widths), ingredients(nl.relu, ["exact"]), load("iris"))
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
    made = ingredients(nl.relu, ["own"])
    found = run(stack(gain="own", seeds=2), plan(widths=(), model="cnn", epochs=20), made, images(), cnn)
    assert {result["status"] for result in found} == {"ok"}
    assert np.mean([result["score"] for result in found]) > 0.5
    assert [result["health"]["end"]["units"] for result in found] == [[4, 12]] * 4
    again = run(stack(gain="own", seeds=1), plan(widths=(), model="cnn", epochs=20), made, images(), cnn)
    assert [r["loss"] for r in found[:2]] == [r["loss"] for r in again]


def test_an_own_model_may_be_drawn_anew_with_the_gain() -> None:
    made = ingredients(nl.tanh, ["exact"])
    found = run(stack("tanh"), plan(widths=(), model="cnn"), made, images(), cnn)
    assert {result["status"] for result in found} == {"ok"}


@pytest.mark.parametrize(
    ("factory", "error"),
    [
        (lambda activation: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "the model must return 10 numbers per row"),
        (lambda activation: 5, "the model factory must return a torch.nn.Module, got int"),
    ],
)
def test_bad_models(factory: Any, error: str) -> None:
    found = run(stack(gain="own"), plan(widths=(), model="x"), ingredients(nl.relu, ["own"]), images(), factory)
    assert {result["status"] for result in found} == {"failed"}
    assert error in found[0]["error"]


def test_what_does_not_say_where_its_units_are_is_not_observed() -> None:
    class Odd(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.activation, self.last = activation, nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.activation(x.flatten(1) * 2))  # type: ignore[no-any-return]

    found = run(stack(gain="own"), plan(widths=(), model="x", epochs=1), ingredients(nl.relu, ["own"]), images(), Odd)
    assert found[0]["health"]["end"]["units"] == []


def test_wide_networks_go_through_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import nonlin.comparison.training as training

    called = []
    monkeypatch.setattr(training, "train_loop", lambda *a: called.append(a) or [])
    made = ingredients(nl.relu, ["exact"])
    run(stack(seeds=1, splits=1), plan(widths=(129,)), made, load("iris"))
    run(stack(seeds=1, splits=1), plan(normalisation="batch"), made, load("iris"))
    assert len(called) == 2


@pytest.mark.parametrize("normalisation", ["batch", "layer"])
def test_normalised_networks_learn(normalisation: str) -> None:
    found = run(stack(seeds=1), plan(normalisation=normalisation, epochs=60), ingredients(nl.relu, ["exact"]), load("iris"))
    assert {result["status"] for result in found} == {"ok"}
    assert [result["health"]["end"]["units"] for result in found] == [[16, 16]] * 2
