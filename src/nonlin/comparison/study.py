"""Studies: :func:`compare` plans one, gets its missing runs trained, and judges what the ledger holds."""

from __future__ import annotations

import hashlib
import inspect
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nonlin.activation import Activation
from nonlin.comparison.analysis import Analysis, analyse
from nonlin.comparison.data import Dataset, constant_score, split
from nonlin.comparison.engine import Engine, InProcess, Job, Local, Ray
from nonlin.comparison.ledger import Ledger, LedgerError
from nonlin.comparison.plan import (
    DEFAULT_ACTIVATIONS,
    Cell,
    Field,
    Plan,
    PlanError,
    Stack,
    gather,
    key,
    shrink,
    versions,
)
from nonlin.comparison.reading import load
from nonlin.comparison.results import Ingredients, ingredients
from nonlin.formula.expression import Application, postorder


class StudyError(RuntimeError):
    """A study that cannot go on; the message is one sentence for the user."""


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes
    ----------
    done, total : int
        Runs.
    fresh : int
        Runs done by this process: the others were in the ledger.
    analysis : callable
        Computes what the runs that are there say.
    """

    done: int
    total: int
    fresh: int
    analysis: Callable[[], Analysis]


@dataclass
class Study:
    """A finished study.

    Attributes
    ----------
    analysis : Analysis
    plan : Plan
    path : Path or None
        Of its ledger; None if it was kept nowhere.
    facts : dict
        What the report tells besides: data, versions, machine, times, command.
    """

    analysis: Analysis
    plan: Plan
    path: Path | None
    facts: dict[str, Any]

    @property
    def verdict(self) -> str:
        """What was found, in words."""
        return " ".join(self.analysis.verdict())

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the single runs, for JSON."""
        return {**self.analysis.as_dict(), **self.facts}

    def table(self) -> Any:
        """Return the leaderboard as a pandas DataFrame."""
        import pandas as pd

        rows = [
            {
                "dataset": found.dataset["name"],
                "activation": entry.name,
                "score": entry.mean,
                "low": entry.interval[0],
                "high": entry.interval[1],
                "group": entry.group,
                "seconds": entry.seconds,
                "dead": entry.dead,
                "saturated": entry.saturated,
                "diverged": entry.diverged,
                "failed": entry.failed,
            }
            for found in self.analysis.tables
            for entry in found.entries
        ]
        return pd.DataFrame(rows)

    def html(self) -> str:
        """Return the report, one HTML page that needs nothing else."""
        from nonlin.comparison.report import render

        return render(self)

    def save(self, path: str | Path) -> None:
        """Write the report."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def __repr__(self) -> str:
        return f"<study: {self.verdict}>"


def compare(
    data: Any,
    target: Any = None,
    *,
    activations: Iterable[str | Activation] | None = None,
    model: Callable[[Any], Any] | None = None,
    widths: int | Sequence[int] | None = None,
    depth: int | None = None,
    seeds: int | None = None,
    splits: int | None = None,
    learning_rates: Sequence[float] | None = None,
    gains: Sequence[str | float] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    budget: float | None = None,
    task: str | None = None,
    engine: str | Engine = "local",
    address: str | None = None,
    workers: int | None = None,
    study: str | Path | None = None,
    region: float | None = None,
    progress: Callable[[Progress], None] | None = None,
    command: str = "",
) -> Study:
    """Compare activations on data, honestly.

    Each activation gets its own learning rate and gain, chosen on validation data; it is judged on outer test folds, by seeds
    that had no part in the choice; runs are paired by seed and split.

    Parameters
    ----------
    data : str, path, DataFrame, array_like, or list of names and paths
        The name of a bundled data set; a CSV, TSV, Parquet or NPZ file; a DataFrame; features. Several names or files make a
        study over several data sets.
    target : str or array_like, optional
        The column to predict, or its values.
    activations : iterable, optional
        Names, names with parameters such as ``"leaky_relu(negative_slope=0.2)"``, or activations, your own included; by default
        ten that are in wide use.
    model : callable, optional
        Makes your own model: takes a ``torch.nn.Module`` that applies the activation and may stand at any number of places, and
        returns a ``torch.nn.Module``. Features keep their shape. By default a multilayer perceptron.
    widths, depth : int or sequence of int, optional
        Of the hidden layers: 64 and 3, or a width for each.
    seeds, splits : int, optional
        10 and 3.
    learning_rates : sequence of float, optional
        To choose from: 0.001, 0.003 and 0.01.
    gains : sequence, optional
        To choose from: ``"exact"``, which is 1/sqrt(E f(z)^2), or numbers. For your own model the default is ``"own"``: its
        initialisation is left as it is.
    epochs, batch_size : int, optional
        25 and 64.
    budget : float, optional
        Seconds; sizes the study, by seeds first.
    task : {"classification", "regression"}, optional
        By default told from the target.
    engine : {"local", "ray"} or Engine
        Processes of this machine, or a Ray cluster.
    address : str, optional
        Of the Ray cluster.
    workers : int, optional
        Processes; one for each core by default, 0 for none besides this one.
    study : path, optional
        The ledger. A study that was interrupted goes on there; finished runs are not run again. By default nothing is kept.
    region : float, optional
        Of practical equivalence, in units of the score: 0.005 of accuracy or 0.01 of R² by default.
    progress : callable, optional
        Is told how far it is.
    command : str, optional
        What the report says how to reproduce it.

    Returns
    -------
    Study

    Raises
    ------
    DataError, PlanError, LedgerError
        If the data, the plan or the study file cannot be used; the message is one sentence.

    Examples
    --------
    >>> import nonlin
    >>> found = nonlin.compare("iris", activations=["relu", "tanh"], seeds=2, epochs=2, workers=0)
    >>> len(found.table())
    2
    """
    begun = time.perf_counter()  # the budget is for all of it
    sets = _datasets(data, target, task)
    known = gather(
        DEFAULT_ACTIVATIONS if activations is None else [activations] if isinstance(activations, str) else activations
    )
    given: dict[str, Any] = {
        "activations": tuple(known.entries),
        "seeds": seeds,
        "splits": splits,
        "learning_rates": None if learning_rates is None else tuple(map(float, learning_rates)),
        "epochs": epochs,
        "batch_size": batch_size,
        "datasets": tuple(sets),
    }
    if model is None:
        given["widths"] = _widths(widths, depth)
        given["gains"] = tuple(str(gain) for gain in gains or ("exact",))
    else:
        if widths is not None or depth is not None:
            raise PlanError("your own model has its own widths and depth")
        given["widths"], given["model"] = (), _model_name(model)
        given["gains"] = tuple(str(gain) for gain in gains or ("own",))
    plan = Plan(**{name: value for name, value in given.items() if value is not None})
    if len(sets) > 1 and model is not None:
        raise PlanError("your own model goes with one data set at a time")
    if budget is not None and not 0 < budget < 1e7:
        raise PlanError(f"a budget is a time in seconds, got {budget:g}")
    runner = _engine(engine, address, workers)
    with ExitStack() as stack:
        if study is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nonlin-"))
        ledger = stack.enter_context(Ledger(Path(folder, "study.sqlite") if study is None else study))
        _check(ledger, sets, known)
        if budget is not None:
            fixed = {name for name, value in given.items() if value is not None}
            plan = _sized(plan, budget, begun, ledger, sets, known, model, runner, fixed)
        ledger.note("plan", plan.as_dict())
        ledger.note("region", region)
        ledger.note(
            "activations", {label: known.identity(label) for label in known.entries} | (ledger.get("activations") or {})
        )
        ledger.note("operations", {label: _operations(entry) for label, entry in known.entries.items()})
        if command:
            ledger.note("command", command)
        _run(ledger, plan, sets, known, model, runner, progress)
        return read(ledger, None if study is None else Path(study))


def read(source: Ledger | str | Path, path: Path | None = None) -> Study:
    """Judge what a study's file holds; nothing is trained.

    Parameters
    ----------
    source : path
        Of the study.
    """
    if not isinstance(source, Ledger):
        with Ledger(source, writable=False) as ledger:
            return read(ledger, Path(source))
    record = source.get("plan")
    if record is None:
        raise LedgerError(f"{source.path} holds no plan: the study was interrupted before it began")
    plan = Plan.from_dict(record)
    datasets = {name: dict(value) for name, value in source.get("datasets").items()}
    made = versions_of(source)
    identities = source.get("activations")
    wanted = {
        key(cell, plan, identities[cell.activation], datasets[cell.dataset]["fingerprint"], made)
        for stack in plan.stacks()
        for cell in stack.cells
    }
    rows = [row for row in source.rows() if row["key"] in wanted]
    for row in rows:  # the same data may have had another name when it was run
        row["dataset"] = row["dataset"] if row["dataset"] in plan.datasets else plan.datasets[0]
    analysis = analyse(rows, plan, datasets, source.get("operations") or {}, source.get("region"))
    facts = {
        "versions": made,
        "gains": source.get("gains") or {},
        "command": source.get("command") or "",
        "study": str(path) if path else "",
        "interrupted": len(source.attempts()) - len(source.finished()),
        "seconds": sum(row["seconds"] or 0 for row in rows),
        "runs": len(rows),
    }
    return Study(analysis, plan, path, facts)


# --- what is asked for ----------------------------------------------------------------------------------------------------


def _datasets(data: Any, target: Any, task: str | None) -> dict[str, Dataset]:
    several = isinstance(data, (list, tuple)) and data and all(isinstance(item, (str, Path, Dataset)) for item in data)
    loaded = [load(item, target, task=task) for item in (data if several else [data])]
    sets: dict[str, Dataset] = {}
    for one in loaded:
        if one.name in sets:
            raise PlanError(f"{one.name} stands twice among the data sets")
        sets[one.name] = one
    return sets


def _widths(widths: int | Sequence[int] | None, depth: int | None) -> tuple[int, ...] | None:
    if depth is not None and not 1 <= depth <= 200:
        raise PlanError(f"depth must be from 1 to 200 hidden layers, got {depth}")
    if widths is None:
        return None if depth is None else (64,) * depth
    listed = (widths,) if isinstance(widths, int) else tuple(widths)
    if len(listed) == 1:
        return listed * (3 if depth is None else depth)
    if depth is not None and depth != len(listed):
        raise PlanError(f"{len(listed)} widths and a depth of {depth} contradict each other")
    return listed


def _model_name(model: Callable[[Any], Any]) -> str:
    """Name a model with a hash of its code: another code is another model."""
    try:
        code = inspect.getsource(model)
    except (OSError, TypeError):
        code = getattr(getattr(model, "__code__", None), "co_code", b"").hex() or repr(type(model))
    name = getattr(model, "__qualname__", type(model).__qualname__).rpartition(".")[2]
    return f"{name} [{hashlib.sha256(code.encode()).hexdigest()[:8]}]"


def _engine(engine: str | Engine, address: str | None, workers: int | None) -> Engine:
    if workers is not None and workers < 0:
        raise PlanError(f"the number of workers cannot be negative, got {workers}")
    if engine == "local":
        if address is not None:
            raise PlanError("an address is for --engine ray")
        return InProcess() if workers == 0 else Local(workers)
    if engine == "ray":
        return Ray(address, workers)
    if isinstance(engine, str):
        raise PlanError(f"the engine is local or ray, not {engine!r}")
    return engine


#: Instructions of a CPU; whatever else there is, such as exp, is made of some ten of them at least.
_SIMPLE = frozenset(
    "add subtract multiply divide negative less less_equal greater greater_equal logical_and logical_or where maximum minimum "
    "absolute sign integer_power".split()
)


def _operations(entry: Activation) -> int:
    """Return what value and derivative of an activation cost, in simple operations."""
    nodes = {node for formula in (entry.formula, entry.derivative_formula()) for node in postorder(formula)}
    return sum(1 if node.primitive.name in _SIMPLE else 10 for node in nodes if isinstance(node, Application))


# --- what the file holds --------------------------------------------------------------------------------------------------


def versions_of(ledger: Ledger) -> dict[str, str]:
    """Return the versions a study was made with."""
    return dict(ledger.get("versions") or {})


def _check(ledger: Ledger, sets: Mapping[str, Dataset], known: Field) -> None:
    """Refuse a study of other data, versions or activations; write down those of a new one."""
    now = versions()
    before = versions_of(ledger)
    there = ledger.get("datasets") or {}
    way_out = f"choose another --study file, or move {ledger.path} away"
    if before and before != now:
        changed = [f"{name} {before.get(name, 'none')} (now {now[name]})" for name in now if before.get(name) != now[name]]
        raise LedgerError(
            f"{ledger.path} was made with {', '.join(changed)}, so its runs do not compare with new ones: {way_out}"
        )
    for name, one in sets.items():
        other = there.get(name)
        if other is None and there and len(sets) == 1:
            raise LedgerError(f"{ledger.path} is a study of {', '.join(there)}, not of {name}: {way_out}")
        if other is not None and other["fingerprint"] != one.fingerprint:
            raise LedgerError(
                f"{ledger.path} is a study of other data under the name {name} "
                f"({other['rows']} rows, here {len(one)}): {way_out}"
            )
    for label, identity in (ledger.get("activations") or {}).items():
        if label in known.entries and known.identity(label) != identity:
            raise LedgerError(f"in {ledger.path} {label} has another formula or other parameters: rename yours, or {way_out}")
    if not before:
        ledger.note("versions", now)
    described = {name: _described(one) for name, one in sets.items()}
    if {**there, **described} != there:
        ledger.note("datasets", {**there, **described})


def _described(one: Dataset) -> dict[str, Any]:
    return {
        "name": one.name,
        "rows": len(one),
        "features": one.features,
        "task": one.task,
        "classes": len(one.classes),
        "metric": one.metric,
        "notes": list(one.notes),
        "fingerprint": one.fingerprint,
        "constant": [],
    }


# --- running --------------------------------------------------------------------------------------------------------------


def _run(
    ledger: Ledger,
    plan: Plan,
    sets: Mapping[str, Dataset],
    known: Field,
    model: Any,
    runner: Engine,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Train what is missing."""
    described = ledger.get("datasets")
    for name, one in sets.items():
        parts = split(one, plan.splits)
        described[name]["constant"] = [constant_score(one, part) for part in parts]
        described[name]["parts"] = [len(parts[0].train), len(parts[0].validation), len(parts[0].test)]
    ledger.note("datasets", described)
    prints = {name: one.fingerprint for name, one in sets.items()}
    identities = {label: known.identity(label) for label in known.entries}
    made = versions()

    def key_of(cell: Cell) -> str:
        return key(cell, plan, identities[cell.activation], prints[cell.dataset], made)

    finished = ledger.finished()
    missing = []
    for stack in plan.stacks():
        members = tuple(m for m, cell in zip(stack.members, stack.cells, strict=True) if key_of(cell) not in finished)
        if members:
            missing.append(replace(stack, members=members))
    portable = known.portable()
    gains: dict[str, float] = ledger.get("gains") or {}
    cache: dict[tuple[str, str], Ingredients] = {}

    def made_of(stack: Stack) -> Ingredients:
        place = stack.activation, stack.gain
        if place not in cache:
            cache[place] = ingredients(portable[stack.activation], stack.gain)
            if stack.gain == "exact":
                gains[stack.activation] = cache[place].gain
        return cache[place]

    total, fresh = plan.runs, 0
    done = total - sum(len(stack.members) for stack in missing)

    def tell() -> None:
        if progress is not None:
            progress(Progress(done, total, fresh, lambda: read(ledger).analysis))

    def record(stack: Stack, results: Sequence[dict[str, Any]]) -> None:
        nonlocal done, fresh
        ledger.record((key_of(cell), cell, result) for cell, result in zip(stack.cells, results, strict=True))
        done += len(results)
        fresh += len(results)
        tell()

    tell()
    if missing:
        job = Job(plan, dict(sets), model, made_of)
        running = runner.run(job, missing, lambda stack, worker: ledger.start(map(key_of, stack.cells), worker))
        try:
            for stack, results in running:
                record(stack, results)
        finally:
            close = getattr(running, "close", None)  # ends the workers at once, whatever ended us
            if close is not None:
                close()
    ledger.note("gains", gains)


def _sized(
    plan: Plan,
    budget: float,
    begun: float,
    ledger: Ledger,
    sets: Mapping[str, Dataset],
    known: Field,
    model: Any,
    runner: Engine,
    fixed: set[str],
) -> Plan:
    """Size a plan to a time: measured by training one stack of a few epochs, once; a study that goes on keeps its size."""
    asked = {**plan.as_dict(), "budget": budget}
    before = ledger.get("sized")
    asked_text = repr(sorted(asked.items()))
    if before is not None and before["asked"] == asked_text:
        return Plan.from_dict(before["plan"])
    epochs = max(1, min(3, plan.epochs))
    trial = replace(plan, epochs=epochs, activations=plan.activations[:1])
    # All workers at once: they take turns on busy cores, and each other's share of the memory.
    lanes = max(1, getattr(runner, "workers", 1))
    stacks = [stack for name in sets for stack in islice((s for s in trial.stacks() if s.dataset == name), lanes)]
    portable = known.portable()
    job = Job(trial, dict(sets), model, lambda stack: ingredients(portable[stack.activation], stack.gain))
    tried = time.perf_counter()
    spent: dict[str, list[float]] = {name: [] for name in sets}
    for stack, results in runner.run(job, stacks, lambda stack, worker: None):
        spent[stack.dataset] += [result["seconds"] for result in results]
        if results[0]["status"] == "failed":
            raise StudyError(f"the trial run failed: {results[0]['error']}")
    seconds = sum(statistics.fmean(each) for each in spent.values()) / epochs * plan.epochs * plan.runs / len(sets)
    now = time.perf_counter()
    # Workers start once more; facts and kernels of each activation are computed; the report takes a moment.
    left = budget - (now - begun) - (now - tried) - 3 - 0.2 * len(plan.activations)
    seconds *= 1.35 / lanes  # validation, health, smooth activations, waiting for the last stack

    def takes(one: Plan) -> float:
        """Estimate its time: a step of a stack takes as long as the work on six networks, and the work."""
        members, measured = (each.seeds * each.splits for each in (one, plan))
        return seconds * one.runs / plan.runs * (1 + 6 / members) / (1 + 6 / measured)

    factor = max(left, 1.0) / seconds
    while takes(sized := shrink(plan, factor, fixed)) > left and factor > 1e-6:
        factor *= 0.9
    ledger.note("sized", {"asked": asked_text, "plan": sized.as_dict()})
    return sized
