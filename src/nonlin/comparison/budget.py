"""A budget: a study that is sized to a time by what the data at hand take, uses that time, and ends in it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nonlin.comparison.data import Dataset
from nonlin.comparison.engine import Task
from nonlin.comparison.plan import Length, Member, Plan, PlanError, Stack
from nonlin.comparison.splits import sampled, split

USED = 0.96  # of the budget: what comes after the last run differs by some seconds
FINISH = 2.5  # seconds for judging and the report, and for what was before
TYPICAL = 24  # checks that a network takes before it stops
CARE = 1.3  # a study that turns out slower than its trial would have no verdict; what turns out faster gets more seeds
MOST_SEEDS = 100

#: Splits and seeds, from the usual to the least that says anything: twelve pairs.
_PAIRS = ((10, 3), (10, 2), (8, 2), (6, 2))
_TRIED = 15  # networks that are trained at once to measure: the time it takes is missing afterwards
_APART = 100  # steps by which long trials are longer than short ones: fewer would take no time that can be told from noise
_ROWS = (10_000, 5_000, 2_000, 1_000)
_CHECKS = (60, 30)  # limits of training


def steps_of(settings: int, length: Length) -> float:
    """Return about how many steps the networks take that compete for one split.

    Examples
    --------
    >>> steps_of(5, Plan().length(1294))  # five up to the first rung, three up to the second, then two
    1470.0
    """
    typical = min(TYPICAL * length.interval, length.limit)
    if settings < 2:
        return 0.0
    total, left, before = 0.0, settings, 0
    for rung in length.rungs:
        total += left * max(0, min(rung, typical) - before)
        before, left = min(rung, typical), max(2, (left + 1) // 2)
    return total + left * (typical - before)


class Budget:
    """A time, and what has been learned about how long things take.

    Parameters
    ----------
    seconds : float
    begun : float
        When the study began, by :func:`time.perf_counter`.
    lanes : int
        How many stacks are trained at once.
    fixed : set of str
        What of the plan the user has said.
    """

    def __init__(self, seconds: float, begun: float, lanes: int, fixed: set[str]) -> None:
        self.seconds, self.begun, self.lanes, self.fixed = seconds, begun, lanes, fixed
        self._trials: dict[str, dict[int, list[float]]] = {}  # wall seconds of a network by its steps, by data set
        self._warm_ups: set[Stack] = set()
        self._judged = [0.0, 0]  # wall seconds, networks

    def left(self) -> float:
        """Return how many seconds there are for runs."""
        return self.begun + USED * self.seconds - FINISH - time.perf_counter()

    def is_over(self) -> bool:
        """Whether the study has to end now, whatever is under way."""
        return time.perf_counter() > self.begun + 1.05 * self.seconds - FINISH / 2

    # --- measuring

    def trial(self, plan: Plan, sets: Mapping[str, Dataset]) -> list[Task]:
        """Return what is trained to measure.

        The first round starts workers and prepares data. The other two are of different lengths, some checks apart: what they
        differ by is what steps take, and the rest is what a network takes once.
        """
        parts = range(max(1, min(plan.splits, _TRIED // len(plan.settings))))
        members = tuple(Member(*setting, 0, part) for part in parts for setting in plan.settings)
        tasks: list[Task] = []
        for round_ in range(3):
            for name, data in sets.items():
                interval = plan.length(train_rows(data, plan)).interval
                more = interval * max(1, _APART // interval) if round_ == 2 else 0
                short = replace(plan, steps=interval // 2 + more, epochs=None)
                for lane in range(self.lanes):
                    activation = plan.activations[(2 + lane) % len(plan.activations)]
                    seeded = tuple(member._replace(seed=lane + self.lanes * round_) for member in members)
                    tasks.append((Stack(name, activation, "trial", seeded[: 1 if round_ == 0 else None]), short))
        self._warm_ups = {stack for stack, _ in tasks[: len(tasks) // 3]}
        return tasks

    def tried(self, stack: Stack, results: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """Take in how long a trial took."""
        if results[0]["status"] == "failed":
            raise PlanError(f"the trial run failed: {results[0]['error']}")
        if stack not in self._warm_ups:
            steps = max(result["steps"] for result in results)
            by_steps = self._trials.setdefault(stack.dataset, {})
            by_steps.setdefault(steps, []).append(seconds / len(results) / self.lanes)

    def _costs(self, dataset: str) -> tuple[float, float]:
        """Return how many wall seconds a network takes once, and how many for each step."""
        (few, *_, many) = sorted(self._trials[dataset].items())
        short, long = _usual(few[1]), _usual(many[1])
        # On a machine that others use the longer one may have been the faster: then steps take all of it.
        per_step = (long - short) / (many[0] - few[0]) if long > short else long / many[0]
        return max(0.0, short - few[0] * per_step), per_step

    def took(self, stack: Stack, seconds: float) -> None:
        """Take in how long networks took that are judged."""
        self._judged[0] += seconds / self.lanes
        self._judged[1] += len(stack.members)

    # --- sizing

    def sized(self, plan: Plan, sets: Mapping[str, Dataset]) -> Plan:
        """Return the largest plan that fits."""
        left = self.left()
        for candidate in self._candidates(plan, sets):
            takes = self._takes(candidate, sets)
            if takes <= left:
                return candidate
        raise PlanError(
            f"a budget of {self.seconds:g} s cannot hold the least study of {len(plan.activations)} activations on "
            f"{', '.join(sets)} that says anything, {candidate.seeds * candidate.splits} pairs of runs at the best of "
            f"{len(candidate.settings)} settings: about {1.1 * (takes + self.seconds - left):.0f} s would, or fewer activations"
        )

    def _candidates(self, plan: Plan, sets: Mapping[str, Dataset]) -> Iterator[Plan]:
        """Yield plans from the one that was asked for down to the least: seeds and splits go first, rows last."""
        longest = max(len(sampled(data, plan.rows)) for data in sets.values())
        rates = tuple(sorted(plan.learning_rates))
        for rows in (plan.rows, *(count for count in _ROWS if count < longest)):
            for checks in (None, *_CHECKS):
                for some in (rates, rates[1:-1] if len(rates) > 3 else rates):
                    for splits, seeds in _PAIRS:
                        change: dict[str, Any] = {"rows": rows, "learning_rates": some, "splits": splits, "seeds": seeds}
                        if checks is not None and "epochs" not in self.fixed:
                            one = replace(plan, rows=rows, splits=splits if "splits" not in self.fixed else plan.splits)
                            change["steps"] = checks * max(one.length(train_rows(data, one)).interval for data in sets.values())
                        yield replace(plan, **{name: value for name, value in change.items() if name not in self.fixed})

    def _takes(self, plan: Plan, sets: Mapping[str, Dataset]) -> float:
        """Estimate how many seconds a plan takes."""
        total = 0.25 * len(plan.activations)  # facts and kernels
        for name, data in sets.items():
            rows = train_rows(data, plan)
            length = plan.length(rows)
            judged = min(TYPICAL * length.interval, length.limit)
            steps = steps_of(len(plan.settings), length) * plan.tuning_seeds + plan.seeds * judged
            networks = plan.seeds + (len(plan.settings) * plan.tuning_seeds if len(plan.settings) > 1 else 0)
            once, per_step = self._costs(name)
            # Lanes without an activation of their own stand still in the last round: three activations take two lanes twice.
            rounds = math.ceil(len(plan.activations) * len(sets) / self.lanes) * self.lanes / len(sets)
            total += rounds * plan.splits * (networks * once + steps * per_step)
            total += plan.splits * (0.3 + 3e-6 * rows * data.features * data.outputs**0.5) / self.lanes  # baselines
        return CARE * total

    # --- using what is left

    def more(self, plan: Plan) -> Plan | None:
        """Return a plan with as many more seeds as fit into the time that is left; None if none does."""
        if "seeds" in self.fixed or not self._judged[1]:
            return None
        per_seed = self._judged[0] / self._judged[1] * len(plan.datasets) * len(plan.activations) * plan.splits
        extra = min(int(self.left() / per_seed), MOST_SEEDS - plan.seeds)
        return replace(plan, seeds=plan.seeds + extra) if extra > 0 else None


def _usual(times: Sequence[float]) -> float:
    """Return the mean of times, but for those of a worker's first stack, which take as long as all that it loads."""
    return statistics.fmean(time for time in times if time <= 3 * min(times))


def train_rows(dataset: Dataset, plan: Plan) -> int:
    """Return how many rows a network is trained on."""
    return len(split(sampled(dataset, plan.rows), plan.splits)[0].train)
