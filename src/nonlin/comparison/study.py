"""Studies: :func:`compare` plans one, gets its missing runs trained, and judges what the ledger holds."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from nonlin.comparison.analysis import Analysis, analyse
from nonlin.comparison.budget import Budget
from nonlin.comparison.data import Dataset
from nonlin.comparison.engine import Engine, InProcess, Local, Ray
from nonlin.comparison.ledger import Ledger, LedgerError
from nonlin.comparison.metrics import DEFAULT, find
from nonlin.comparison.models import resolve
from nonlin.comparison.plan import DEFAULT_ACTIVATIONS, Field, Plan, PlanError, gather, versions
from nonlin.comparison.reading import Options, load
from nonlin.comparison.running import Board, Progress, Run
from nonlin.comparison.splits import in_order
from nonlin.definition import Elementwise
from nonlin.formula.expression import Application, postorder

MOST_ROWS = 20_000  # longer tables are sampled unless the user says how many rows


class StudyError(RuntimeError):
    """A study that cannot go on; the message is one sentence for the user."""


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

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """Open a study file and judge what it holds; nothing is trained.

        Parameters
        ----------
        path : path
            What ``study=`` of :func:`compare` or ``--study`` named; by default the command line's is ``DATA.study``.
        """
        return read(path)

    def table(self) -> Any:
        """Return the leaderboard as a pandas DataFrame, a row for each activation and data set, best first."""
        import pandas as pd

        rows = []
        for found in self.analysis.tables:
            sign = found.metric.sign
            for entry in found.entries:
                against = found.compared.get((entry.name, found.baseline))
                low, high = (sign * value for value in entry.interval[::sign])
                rows.append(
                    {
                        "dataset": found.dataset["name"],
                        "activation": entry.name,
                        "metric": found.metric.name,
                        "score": sign * entry.mean,
                        "low": low,
                        "high": high,
                        "group": entry.group,
                        "baseline": found.baseline,
                        "beats_baseline": 0.5 if against is None else against.probability,  # a tie with itself
                        "learning_rate": entry.usual[0],
                        "gain": entry.usual[1],
                        "steps": entry.steps,
                        "seconds": entry.seconds,
                        "dead": entry.dead,
                        "always_on": entry.always_on,
                        "saturated": entry.saturated,
                        "diverged": entry.diverged,
                        "flat": entry.flat,
                        "failed": entry.failed,
                        "runs": entry.runs,
                    }
                )
        return pd.DataFrame(rows)

    def html(self) -> str:
        """Return the report, one HTML page that needs nothing else."""
        from nonlin.comparison.report import render

        return render(self)

    def save(self, path: str | Path) -> None:
        """Write it in the form that the end of the name says.

        Parameters
        ----------
        path : path
            ``.html``: the report; ``.csv``, ``.tex``: the leaderboard; ``.json``: everything but the single runs.

        Raises
        ------
        ValueError
            If the name ends otherwise.
        """
        from nonlin.comparison.saving import write

        write(self, Path(path))

    def _repr_html_(self) -> str:
        """Return verdict and leaderboard, for a notebook."""
        from nonlin.comparison.notebook import summary

        return summary(self)

    def __repr__(self) -> str:
        return f"<study: {self.verdict}>"


def compare(
    data: Any,
    target: Any = None,
    *,
    activations: Iterable[str | Elementwise] | None = None,
    model: Callable[[Any], Any] | str | None = None,
    widths: int | Sequence[int] | None = None,
    depth: int | None = None,
    seeds: int | None = None,
    splits: int | None = None,
    learning_rates: Sequence[float] | None = None,
    gains: Sequence[str | float] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    weight_decay: float | None = None,
    normalisation: str | None = None,
    class_weights: str | None = None,
    metric: str | None = None,
    group: Any = None,
    time: Any = None,
    rows: int | None = None,
    budget: float | str | None = None,
    task: str | None = None,
    name: str | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    drop: str | Sequence[str] = (),
    features: str | Sequence[str] = (),
    categorical: str | Sequence[str] = (),
    engine: str | Engine = "local",
    address: str | None = None,
    workers: int | None = None,
    study: str | Path | None = None,
    region: float | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    command: str | Callable[[Plan], str] = "",
) -> Study:
    """Compare activations on data, honestly.

    Each activation gets its own learning rate and gain, chosen on validation data; it is judged on outer test folds, by seeds
    that had no part in the choice; runs are paired by seed and split. Each network is trained until its validation score has
    not been better for a while, and judged where it was best.

    Parameters
    ----------
    data : str, path, DataFrame, Mapping, torch Dataset, array_like, or list of names and paths
        The name of a bundled data set; a file, CSV, Excel, JSON, Parquet, Feather, ARFF, NPY or NPZ, compressed or not; a
        DataFrame of pandas, polars or Arrow; arrays by name, such as scikit-learn's Bunch; features. Several names or files
        make a study over several data sets; ``"houses.csv:price"`` is a file with its target.
    target : str or array_like, optional
        The column to predict, or its values.
    activations : iterable, optional
        Names, names with parameters such as ``"leaky_relu(negative_slope=0.2)"``, or activations, your own included; by default
        ten that are in wide use.
    model : callable or str, optional
        A ready one, ``"mlp"``, ``"resnet-mlp"``, ``"cnn"`` or ``"transformer"``, or what makes your own: takes a
        ``torch.nn.Module`` that applies the activation and may stand at any number of places, and returns a
        ``torch.nn.Module``. Features keep their shape. By default a multilayer perceptron, or a small convolutional network
        where each row is an image.
    widths, depth : int or sequence of int, optional
        Of the hidden layers: 64 and 3, or a width for each.
    seeds, splits : int, optional
        3 and 10.
    learning_rates : sequence of float, optional
        To choose from: 0.0003, 0.001, 0.003, 0.01 and 0.03.
    gains : sequence, optional
        To choose from: ``"exact"``, which is 1/sqrt(E f(z)^2), or numbers. For your own model the default is ``"own"``: its
        initialisation is left as it is.
    steps, epochs : int, optional
        The most that a network is trained, in optimiser steps or in passes over the training rows. By default sized to the
        data, and longer if more than a tenth of the validation curves still rise then.
    batch_size : int, optional
        64.
    weight_decay : float, optional
        Of AdamW; none by default.
    normalisation : {"none", "batch", "layer"}, optional
        Of the perceptron, before each activation.
    class_weights : {"none", "balanced"}, optional
        Weights of the loss.
    metric : str, optional
        ``"accuracy"``, ``"balanced accuracy"``, ``"AUC"`` or ``"log loss"``; ``"R2"`` or ``"MAE"``. What networks are chosen
        and judged by: accuracy and R² by default.
    group, time : str or array_like, optional
        A column of the table, or a value for each row with a target: rows of one group are never both trained and tested on;
        nothing is tested on rows older than those it was trained on.
    rows : int, optional
        Longer tables are sampled down to so many rows: 20,000 by default.
    budget : float or str, optional
        Seconds, or a time such as ``"30s"``, ``"5m"``, ``"1h"``. The study is sized to them by what it takes on these data, and
        ends in them.
    task : {"classification", "regression"}, optional
        By default told from the target.
    name : str, optional
        What verdict and report call the data.
    sep, decimal, encoding : str, optional
        Of a text file; found out where left out.
    drop, features, categorical : str or sequence of str, optional
        Columns to leave out; the only ones to learn from; those whose numbers are names.
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
    progress : bool or callable, optional
        By default a bar on a terminal and in a notebook; False for none, True for lines where there is neither. A function is
        told how far it is.
    command : str or callable, optional
        What the report says how to reproduce it; or what writes it, given the plan as it was in the end.

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
    from nonlin.comparison.terminal import watching  # which needs to know what a study is

    begun = perf_counter()  # the budget is for all of it
    seconds = _seconds(budget)
    columns = {what: column for what, column in (("group", group), ("time", time)) if isinstance(column, str)}
    values = {what: rows for what, rows in (("group", group), ("time", time)) if what not in columns}
    options = Options(sep, decimal, encoding, _names(drop), _names(features), _names(categorical), **columns)
    sets = {key: in_order(one, **values) for key, one in _datasets(data, target, task, name, options).items()}
    known = gather(
        DEFAULT_ACTIVATIONS if activations is None else [activations] if isinstance(activations, str) else activations
    )
    given: dict[str, Any] = {
        "activations": tuple(known.entries),
        "seeds": seeds,
        "splits": splits,
        "learning_rates": None if learning_rates is None else tuple(map(float, learning_rates)),
        "steps": steps,
        "epochs": epochs,
        "batch_size": batch_size,
        "weight_decay": weight_decay,
        "normalisation": normalisation,
        "class_weights": class_weights,
        "metric": None if metric is None else _metric(metric, sets),
        "rows": rows,
    }
    given = {name: value for name, value in given.items() if value is not None}
    fixed = set(given)
    given["datasets"] = tuple(sets)
    if rows is None and any(len(one) > MOST_ROWS for one in sets.values()):
        given["rows"] = MOST_ROWS
    factories, named = resolve(model, sets)
    if factories is None:
        if (listed := _widths(widths, depth)) is not None:
            given["widths"] = listed
        given["gains"] = tuple(str(gain) for gain in gains or ("exact",))
    else:
        if widths is not None or depth is not None:
            raise PlanError(f"{named} has its own widths and depth")
        if normalisation is not None:
            raise PlanError(f"{named} has its own normalisation")
        given["widths"], given["model"] = (), named
        given["gains"] = tuple(str(gain) for gain in gains or ("own",))
    plan = Plan(**given)
    runner = _engine(engine, address, workers)
    with ExitStack() as stack:
        if study is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nonlin-"))
        ledger = stack.enter_context(Ledger(Path(folder, "study.sqlite") if study is None else study))
        _check(ledger, sets, known)
        ledger.note("region", region)
        ledger.note(
            "activations", {label: known.identity(label) for label in known.entries} | (ledger.get("activations") or {})
        )
        ledger.note("operations", {label: _operations(entry) for label, entry in known.entries.items()})
        sizing = None
        if seconds is None:
            ledger.note("asked", None)
        else:
            asked = json.loads(json.dumps({"plan": plan.as_dict(), "budget": seconds}))
            before = ledger.get("asked")
            if before is not None and {name: before[name] for name in asked} == asked and before["sized"]:
                plan = Plan.from_dict(ledger.get("plan"))  # a study that goes on keeps its size
            else:
                ledger.note("asked", {**asked, "sized": False})
                sizing = Budget(seconds, begun, max(1, getattr(runner, "workers", 1)), fixed)
        run = Run(
            ledger,
            plan,
            sets,
            known,
            factories,
            runner,
            stack.enter_context(watching(progress)),
            lambda: read(ledger).analysis,
            sizing,
            may_lengthen=seconds is None,
        )
        plan = run.run()
        if command:
            ledger.note("command", command if isinstance(command, str) else command(plan))
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
    sizes = {name: datasets[name]["parts"][0] for name in plan.datasets}
    rows = Board(plan, datasets, source.get("activations"), made, sizes, source.rows()).rows()
    for name in plan.datasets:
        datasets[name]["metric"] = plan.metric or DEFAULT[datasets[name]["task"]]
    left_out = _left_out(plan, source.get("asked"), datasets)
    analysis = analyse(rows, plan, datasets, source.get("operations") or {}, source.get("region"), left_out)
    facts = {
        "versions": made,
        "gains": source.get("gains") or {},
        "command": source.get("command") or "",
        "study": str(path) if path else "",
        "interrupted": source.interrupted(),
        "seconds": sum(row["seconds"] or 0 for row in rows),
        "runs": len(rows),
    }
    return Study(analysis, plan, path, facts)


# --- what is asked for ----------------------------------------------------------------------------------------------------


def _names(columns: str | Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _seconds(budget: float | str | None) -> float | None:
    """Read a time: 90, 90s, 5m, 1h.

    Examples
    --------
    >>> _seconds("1.5m"), _seconds(20)
    (90.0, 20.0)
    """
    if budget is None:
        return None
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*(s|sec|seconds?|m|min|minutes?|h|hours?)?\s*", str(budget))
    found = float(match[1]) * {"m": 60, "h": 3600}.get((match[2] or "s")[0], 1) if match else 0.0
    if not 0 < found < 1e7:
        raise PlanError(f"a budget is a time such as 60s, 5m or 1h; got {budget!r}")
    return found


def _datasets(data: Any, target: Any, task: str | None, name: str | None, options: Options) -> dict[str, Dataset]:
    several = isinstance(data, (list, tuple)) and data and all(isinstance(item, (str, Path, Dataset)) for item in data)
    if several and len(data) > 1 and name is not None:
        raise PlanError(f"a name is for one data set, and there are {len(data)}")
    loaded = [load(item, target, task=task, name=name, options=options) for item in (data if several else [data])]
    sets: dict[str, Dataset] = {}
    for one in loaded:
        if one.name in sets:
            raise PlanError(f"{one.name} stands twice among the data sets")
        sets[one.name] = one
    return sets


def _metric(name: str, sets: Mapping[str, Dataset]) -> str:
    try:
        metric = find(name)
    except KeyError as error:
        raise PlanError(str(error.args[0])) from None
    for one in sets.values():
        if one.task != metric.task:
            raise PlanError(f"{metric.name} is for {metric.task}, and {one.name} is {one.task}")
    return metric.name


def _left_out(plan: Plan, asked: Mapping[str, Any] | None, datasets: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what a budget or the length of a table has left out."""
    parts = []
    if asked is not None:
        full = Plan.from_dict(asked["plan"])
        for name, what in (("learning_rates", "learning rates"), ("splits", "splits"), ("seeds", "seeds")):
            have, wanted = (len(v) if isinstance(v, tuple) else v for v in (getattr(plan, name), getattr(full, name)))
            if have < wanted:
                parts.append(f"{have} of {wanted} {what}")
        if plan.steps is not None and full.steps is None:
            parts.append(f"at most {plan.steps:,} steps of training")
    for name in plan.datasets:
        if plan.rows is not None and plan.rows < datasets[name]["rows"]:
            which = f" of {name}" if len(plan.datasets) > 1 else ""
            parts.append(f"{plan.rows:,} of {datasets[name]['rows']:,} rows{which}, drawn at random (--rows takes more)")
    why = "" if asked is None else f"Sized to {asked['budget']:g} s: "
    if not parts:
        return f"{why}nothing was left out, {plan.seeds} seeds." if why else ""
    return f"{why or 'Not all was used: '}{'; '.join(parts)}."


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


def _operations(entry: Elementwise) -> int:
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
        "notes": list(one.notes),
        "fingerprint": one.fingerprint,
    }
