"""A study under way: which runs a plan needs, which of them are there, and which come next."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from nonlin.comparison.budget import Budget
from nonlin.comparison.data import Dataset
from nonlin.comparison.engine import Engine, Job, Task
from nonlin.comparison.ledger import Ledger
from nonlin.comparison.plan import Cell, Field, Plan, Stack, key, versions
from nonlin.comparison.results import Ingredients, ingredients
from nonlin.comparison.splits import sampled, split

MOST_RISING = 0.1  # a larger share of curves that still rise at the end makes the training longer
MOST_STRETCH = 16

Row = Mapping[str, Any]
Setting = tuple[float, str]  # learning rate, gain


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes
    ----------
    done, total : int
        Runs.
    fresh : int
        Runs done by this process: the others were in the ledger.
    seconds_left : float
        NaN as long as nothing is known.
    stage : str
        What is done at present, in a word.
    analysis : callable
        Computes what the runs that are there say.
    """

    done: int
    total: int
    fresh: int
    seconds_left: float
    stage: str
    analysis: Callable[[], Any]


def chosen(rows: Iterable[Row]) -> dict[int, Setting]:
    """Choose the setting of each split by its tuning runs: seeds that are not judged, and validation rows of that split alone.

    The best mean validation score counts; among equal ones the least validation loss, then the place in the middle of all.
    What was given up at a rung is out.
    """
    found: dict[int, dict[Setting, list[Row]]] = {}
    for row in rows:
        found.setdefault(row["split"], {}).setdefault((row["learning_rate"], row["gain"]), []).append(row)

    def value(some: Sequence[Row]) -> tuple[float, float]:
        if any(row["ended"] == "rung" or row["validation"] is None for row in some):
            return -math.inf, -math.inf
        losses = [math.inf if row["validation_loss"] is None else row["validation_loss"] for row in some]
        return sum(row["validation"] for row in some) / len(some), -sum(losses) / len(some)

    picked = {}
    for part, by_setting in found.items():
        ordered = sorted(by_setting)
        middle_first = sorted(range(len(ordered)), key=lambda i: abs(i - (len(ordered) - 1) / 2))
        picked[part] = max((ordered[i] for i in middle_first), key=lambda setting: value(by_setting[setting]))
    return picked


class Board:
    """The runs that a plan needs, and those of them that are there.

    Parameters
    ----------
    plan : Plan
    datasets : Mapping
        What the ledger says of each.
    identities : Mapping of str to str
        Of the activations.
    made : dict
        The versions.
    sizes : Mapping of str to int
        Rows that networks are trained on.
    rows : iterable of dict
        Of the ledger.
    """

    def __init__(
        self,
        plan: Plan,
        datasets: Mapping[str, Mapping[str, Any]],
        identities: Mapping[str, str],
        made: dict[str, str],
        sizes: Mapping[str, int],
        rows: Iterable[Row],
    ) -> None:
        self.plan = plan
        self._prints = {name: datasets[name]["fingerprint"] for name in plan.datasets}
        self._identities, self._made = identities, made
        self._limits = {name: plan.length(sizes[name]).limit for name in plan.datasets}
        self._keys: dict[Cell, str] = {}
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row["key"], []).append(row)

    def key(self, cell: Cell) -> str:
        """Return the key of a run."""
        if cell not in self._keys:
            identity = cell.activation if cell.kind == "baseline" else self._identities[cell.activation]
            self._keys[cell] = key(cell, self.plan, identity, self._prints[cell.dataset], self._made)
        return self._keys[cell]

    def limit(self, cell: Cell) -> int:
        """Return the most steps that a run may take."""
        return self._limits[cell.dataset]

    def row(self, cell: Cell) -> Row | None:
        """Return a run that is there: one with this limit, or one that a longer or shorter limit would not have changed."""
        for row in self._rows.get(self.key(cell), ()):
            if row["step_limit"] == self.limit(cell) or (row["ended"] != "limit" and row["steps"] <= self.limit(cell)):
                return {
                    **row,
                    "dataset": cell.dataset,
                    "activation": cell.activation,
                }  # it may have had another name when it was run
        return None

    def add(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Take in a new run."""
        row = {"step_limit": self.limit(cell), **vars(cell), **result}
        self._rows.setdefault(self.key(cell), []).append(row)

    def missing(self, stack: Stack) -> Stack | None:
        """Return what of a stack has to be run: what competes is run together."""
        members = tuple(m for m, cell in zip(stack.members, stack.cells, strict=True) if self.row(cell) is None)
        if not members:
            return None
        return stack if stack.kind == "tuning" else replace(stack, members=members)

    def tuning(self, dataset: str, activation: str) -> list[Stack]:
        """Return the stacks that choose the settings of an activation."""
        return [stack for stack in self.plan.tuning() if (stack.dataset, stack.activation) == (dataset, activation)]

    def judged(self, dataset: str, activation: str) -> Stack | None:
        """Return the stack that is judged; None as long as its settings are not chosen."""
        if len(self.plan.settings) < 2:
            return self.plan.judged(dataset, activation, dict.fromkeys(range(self.plan.splits), self.plan.settings[0]))
        rows = [self.row(cell) for stack in self.tuning(dataset, activation) for cell in stack.cells]
        if any(row is None for row in rows):
            return None
        return self.plan.judged(dataset, activation, chosen([row for row in rows if row is not None]))

    def stacks(self) -> list[Stack]:
        """Return all stacks that are known to be needed."""
        constant, others = (
            list(some) for _, some in groupby(self.plan.baselines(), lambda stack: stack.activation != "constant")
        )
        judged = (self.judged(dataset, name) for dataset in self.plan.datasets for name in self.plan.activations)
        # The small ones come last: they keep all workers busy until the end.
        return [*constant, *self.plan.tuning(), *filter(None, judged), *others]

    def rows(self) -> list[Row]:
        """Return all runs that are needed and there."""
        rows = [self.row(cell) for stack in self.stacks() for cell in stack.cells]
        return [row for row in rows if row is not None]

    def complete_seeds(self) -> int:
        """Return how many seeds there are that all activations have, on all data and splits."""
        found = {name: set[tuple[str, int, int]]() for name in self.plan.activations}
        for row in self.rows():
            if row["kind"] == "judged":
                found[row["activation"]].add((row["dataset"], row["seed"], row["split"]))
        common = set.intersection(*found.values())
        each = [(name, part) for name in self.plan.datasets for part in range(self.plan.splits)]
        complete = (all((name, seed, part) in common for name, part in each) for seed in range(self.plan.seeds))
        return next((seed for seed, there in enumerate(complete) if not there), self.plan.seeds)

    def rising(self) -> float:
        """Return which share of the judged curves had not turned when they had taken all steps."""
        ended = [row["ended"] for row in self.rows() if row["kind"] == "judged" and row["status"] != "failed"]
        return sum(how == "limit" for how in ended) / len(ended) if ended else 0.0


class Run:
    """Trains what is missing.

    Parameters
    ----------
    ledger : Ledger
    plan : Plan
    sets : Mapping of str to Dataset
    known : Field
    factories : Mapping of str to callable, or None
    runner : Engine
    progress : callable or None
    report : callable
        Returns what the runs that are there say.
    budget : Budget, optional
        Sizes the plan, and ends the study in time.
    may_lengthen : bool
        Whether the training may become longer than asked for where curves still rise.
    """

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        sets: Mapping[str, Dataset],
        known: Field,
        factories: Mapping[str, Any] | None,
        runner: Engine,
        progress: Callable[[Progress], None] | None,
        report: Callable[[], Any],
        budget: Budget | None = None,
        *,
        may_lengthen: bool = True,
    ) -> None:
        self._ledger, self._sets, self._known, self._factories, self._runner = ledger, sets, known, factories, runner
        self._progress, self._report, self._budget = progress, report, budget
        self._may_lengthen = may_lengthen and plan.steps is None and plan.epochs is None
        self._portable = known.portable()
        self._made: dict[str, Ingredients] = {}
        self._gains: dict[str, float] = ledger.get("gains") or {}
        self._tasks: deque[Task] = deque()
        self._under_way: dict[Stack, float] = {}
        self._begun = math.nan
        self._fresh = 0
        self._stage = ""
        self._set(plan)

    def _set(self, plan: Plan) -> None:
        """Take a plan, and queue what it needs and is not there."""
        self.plan = plan
        self._ledger.note("plan", plan.as_dict())
        identities = {label: self._known.identity(label) for label in self._known.entries}
        datasets = self._ledger.get("datasets")
        for name, data in self._sets.items():
            parts = split(sampled(data, plan.rows), plan.splits)
            datasets[name]["parts"] = parts[0].sizes
        self._ledger.note("datasets", datasets)
        sizes = {name: datasets[name]["parts"][0] for name in self._sets}
        self._board = Board(plan, datasets, identities, versions(), sizes, self._ledger.rows())
        self._tasks.clear()
        self._queue(self._board.stacks())

    def _queue(self, stacks: Iterable[Stack], *, first: bool = False) -> None:
        tasks = [(stack, self.plan) for stack in map(self._board.missing, stacks) if stack is not None]
        if first:
            self._tasks.extendleft(tasks[::-1])
        else:
            self._tasks.extend(tasks)

    def run(self) -> Plan:
        """Train; return the plan as it was in the end."""
        if self._budget is not None:
            self._stage = "measuring"
            self._tasks.clear()
            self._tasks.extend(self._budget.trial(self.plan, self._sets))
        else:
            while not self._tasks and self._goes_on():
                pass
        self._tell()
        job = Job(dict(self._sets), self._factories, self._ingredients)
        running = self._runner.run(job, self._tasks, self._started, self._is_over) if self._tasks else iter(())
        try:
            for task, results in running:
                self._take(task, results)
                self._tell()
                while not self._tasks and not self._under_way and self._goes_on():
                    pass
                if self._is_over():
                    break
        finally:
            close = getattr(running, "close", None)  # ends the workers at once, whatever ended us
            if close is not None:
                close()
        self._ledger.note("gains", self._gains)
        if self._budget is not None and (self._under_way or self._tasks):  # what is left is seeds that all activations have
            seeds = self._board.complete_seeds()
            self._set(replace(self.plan, seeds=max(1, seeds)))
        return self.plan

    def _is_over(self) -> bool:
        """Whether the study has to end now."""
        return self._budget is not None and self._stage == "" and self._budget.is_over()

    def _goes_on(self) -> bool:
        """Whether the plan has grown, now that all that it needed is there; it may be there already what it needs then."""
        if self._budget is not None:
            plan = self._budget.more(self.plan)
            if plan is not None:
                self._set(plan)
            return plan is not None
        if not self._may_lengthen or self.plan.stretch >= MOST_STRETCH or self._board.rising() <= MOST_RISING:
            return False
        self._set(replace(self.plan, stretch=2 * self.plan.stretch))
        return True

    def _take(self, task: Task, results: Sequence[dict[str, Any]]) -> None:
        stack, _ = task
        seconds = time.perf_counter() - self._under_way.pop(stack)
        if stack.kind == "trial":
            assert self._budget is not None
            self._budget.tried(stack, results, seconds)
            if not self._tasks and not self._under_way:
                self._stage = ""
                self._set(self._budget.sized(self.plan, self._sets))
                self._ledger.note("asked", {**self._ledger.get("asked"), "sized": True})
            return
        if stack.kind == "judged" and self._budget is not None:
            self._budget.took(stack, seconds)
        board, cells = self._board, stack.cells
        self._ledger.record(
            (board.key(cell), board.limit(cell), cell, result) for cell, result in zip(cells, results, strict=True)
        )
        for cell, result in zip(cells, results, strict=True):
            board.add(cell, result)
        self._fresh += len(results)
        if stack.kind == "tuning" and (judged := board.judged(stack.dataset, stack.activation)) is not None:
            self._queue([judged], first=True)

    def _started(self, task: Task, worker: str) -> None:
        stack, _ = task
        self._under_way[stack] = time.perf_counter()
        if math.isnan(self._begun) and stack.kind != "trial":
            self._begun = time.perf_counter()
        if stack.kind != "trial":
            self._ledger.start(map(self._board.key, stack.cells), worker)

    def _ingredients(self, stack: Stack) -> Ingredients | None:
        if stack.kind == "baseline":
            return None
        name = stack.activation
        if name not in self._made:
            self._made[name] = ingredients(self._portable[name], self.plan.gains)
            if "exact" in self.plan.gains:
                self._gains[name] = self._made[name].gains["exact"]
        return self._made[name]

    def _tell(self) -> None:
        if self._progress is None:
            return
        total = self.plan.runs
        left = self._work_left() if self._stage == "" else math.nan
        waiting = sum(len(stack.members) for stack, _ in self._tasks) + sum(len(stack.members) for stack in self._under_way)
        open_ = waiting + self.plan.seeds * self.plan.splits * self._not_yet_chosen()
        done = max(0, total - open_) if self._stage == "" else 0
        self._progress(Progress(done, total, self._fresh, left, self._stage, self._report))

    def _not_yet_chosen(self) -> int:
        """Return how many activations wait for their settings."""
        waiting = {(s.dataset, s.activation) for s in (*(s for s, _ in self._tasks), *self._under_way) if s.kind == "tuning"}
        return len(waiting)

    def _work_left(self) -> float:
        """Return about how many seconds are left: what is under way counts half."""
        if math.isnan(self._begun) or not self._fresh:
            return math.nan
        now = time.perf_counter()
        under_way = sum(len(stack.members) for stack in self._under_way)
        waiting = sum(len(stack.members) for stack, _ in self._tasks)
        waiting += self.plan.seeds * self.plan.splits * self._not_yet_chosen()
        speed = (self._fresh + under_way / 2) / max(now - self._begun, 1e-3)
        left = (waiting + under_way / 2) / speed
        return left if self._budget is None else min(left, self._budget.left())
