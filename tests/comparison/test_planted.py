"""Planted truths: whole studies, tuning and early stopping in the loop, of simulated networks whose quality is known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nonlin.comparison.analysis import Table, analyse
from nonlin.comparison.plan import Member, Plan
from nonlin.comparison.running import chosen
from nonlin.comparison.training import _follow

ROWS = 1294  # that digits are trained on
STUDIES = 40
BETWEEN_SPLITS, BETWEEN_SEEDS, BETWEEN_CHECKS = 0.006, 0.004, 0.002
Quality = Callable[[float, int], float]  # of a learning rate after so many steps


def climbing(best: float = 0.97, turn: float = np.inf) -> Quality:
    """A curve that climbs, faster with larger rates, to what the rate allows, and falls after a while."""

    def quality(rate: float, step: int) -> float:
        top = best - 0.004 * np.log10(rate / 5e-3) ** 2
        return top - 0.5 * np.exp(-step * rate / 0.15) - 4e-5 * max(0.0, step - turn)

    return quality


class Simulated:
    """What is trained, without training."""

    def __init__(self, study: int, number: int, quality: Quality, members: Sequence[Member]) -> None:
        self.quality, self.members, self.trained, self.step = quality, members, list(range(len(members))), 0
        self.test = np.zeros(len(members))
        common = [np.random.default_rng((study, 1, m.seed, m.split)).normal(0, 0.003) for m in members]
        common += np.array([np.random.default_rng((study, 2, m.split)).normal(0, BETWEEN_SPLITS) for m in members])
        self.random = [np.random.default_rng((study, 3, number, m.seed, m.split, int(1e6 * m.learning_rate))) for m in members]
        self.own = np.array(common) + [random.normal(0, BETWEEN_SEEDS) for random in self.random]

    def now(self, i: int, rows: int) -> float:
        score = self.quality(self.members[i].learning_rate, self.step) + self.own[i] + self.random[i].normal(0, BETWEEN_CHECKS)
        return float(np.round(np.clip(score, 0.1, 1) * rows) / rows)

    def train(self, steps: int) -> list[float]:
        self.step += steps
        return [0.1] * len(self.trained)

    def validate(self) -> tuple[list[float], list[float]]:
        scores = [self.now(i, 320) for i in self.trained]
        return scores, [1 - score for score in scores]

    def keep(self, places: Sequence[int]) -> None:
        for place in places:
            self.test[self.trained[place]] = self.now(self.trained[place], 180)

    def go_on(self, places: Sequence[int]) -> None:
        self.trained = [self.trained[place] for place in places]

    def seconds(self) -> list[float]:
        return [0.0] * len(self.members)


def study(number: int, qualities: Sequence[Quality], **changes: Any) -> Table:
    """Simulate a study and judge it."""
    plan = Plan(activations=tuple(f"f{i}" for i in range(len(qualities))), datasets=("d",), **changes)
    length = plan.length(ROWS)
    rows: list[dict[str, Any]] = []

    def run(stack: Any, quality: Quality, which: int) -> list[dict[str, Any]]:
        networks = Simulated(number, which, quality, stack.members)
        courses = _follow(networks, stack.members, length, compete=stack.kind == "tuning")
        found = []
        for cell, course, test in zip(stack.cells, courses, networks.test, strict=True):
            result = dict(status="ok", score=None if stack.kind == "tuning" else float(test), seconds=0.0, error="", health={})
            result |= {name: getattr(course, name) for name in ("validation", "validation_loss", "steps", "best", "ended")}
            found.append(vars(cell) | result)
        return found

    for which, quality in enumerate(qualities):
        tuning = [row for stack in plan.tuning() if stack.activation == f"f{which}" for row in run(stack, quality, which)]
        rows += tuning + run(plan.judged("d", f"f{which}", chosen(tuning)), quality, which)
    return analyse(rows, plan, {"d": dict(name="d", metric="accuracy", notes=[])}).tables[0]


@pytest.mark.parametrize(
    "qualities", [[climbing()] * 2, [climbing()] * 5, [climbing(), climbing(turn=400), climbing(turn=900)]]
)
def test_what_is_alike_ties(qualities: list[Quality]) -> None:
    """Also if one overfits early and another never: each is judged where it is best."""
    false = sum(len(study(number, qualities).tied) < len(qualities) for number in range(STUDIES))
    assert false / STUDIES <= 0.05


def test_one_point_is_found() -> None:
    found = [study(number, [climbing(), climbing(), climbing(0.955)]) for number in range(20)]
    assert np.mean([[entry.name for entry in table.entries if entry.group != "a"] == ["f2"] for table in found]) >= 0.9


def test_four_times_the_length_gives_the_same_verdict() -> None:
    qualities = [climbing(), climbing(turn=300), climbing(0.95)]
    for number in range(5):
        once, more = (study(number, qualities, steps=steps) for steps in (2100, 8400))
        assert [(e.name, e.group) for e in once.entries] == [(e.name, e.group) for e in more.entries]
        assert once.rising <= 0.1
