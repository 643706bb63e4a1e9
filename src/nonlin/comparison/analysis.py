"""From runs to what they say of each activation: judged on test folds, by seeds that had no part in choosing a setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from nonlin.comparison.metrics import METRICS, Metric
from nonlin.comparison.plan import Plan
from nonlin.comparison.statistics import (
    FEWEST_PAIRS,
    Array,
    Comparison,
    Ranks,
    Spread,
    compare_all,
    expected_best,
    fewest_pairs,
    holm,
    mean_interval,
    ranks,
    seeds_needed,
    smallest_difference,
    spread,
    t_interval,
    tie_groups,
    wilcoxon,
)

Row = Mapping[str, Any]
Setting = tuple[float, str]  # learning rate, gain


@dataclass
class Entry:
    """One activation on one data set.

    Attributes
    ----------
    scores : ndarray, shape (splits, seeds)
        Test scores of the judged runs, each at the setting that was chosen for its split.
    chosen : dict of Setting to int
        How many splits each setting was chosen for.
    settings : dict of Setting to float
        Mean validation score of the runs that chose; a setting that was given up on the way with what it had reached.
    given_up : dict of Setting to int
        For how many of the splits it was.
    edge : float
        Learning rate at an edge of the grid that is better than its neighbour by more than noise; NaN if there is none.
    group : str
        Letters of its tie groups; empty if no run of it can be compared.
    seconds : float
        CPU time of training one network.
    steps : float
        How many steps the judged runs took, the mean.
    rising : int
        Judged runs whose validation curve had not turned when they had taken all steps.
    dead, always_on, saturated, negative_only : float
        Mean share of hidden units where the network was best.
    lost : str
        Why none of its judged runs is a result: ``diverged``, ``flat``, or empty.
    diverged, flat, failed, runs : int
        Over all settings.
    depth : dict of str to list of float
        Medians by layer.
    price : list of float
        How much validation score is lost, on average, if only so many settings, drawn at random, are tried.
    """

    name: str
    scores: Array
    chosen: dict[Setting, int]
    settings: dict[Setting, float]
    given_up: dict[Setting, int]
    edge: float
    seconds: float
    steps: float
    rising: int
    dead: float
    always_on: float
    negative_only: float
    saturated: float
    lost: str
    diverged: int
    flat: int
    failed: int
    runs: int
    errors: list[str]
    depth: dict[str, list[float]]
    price: list[float]
    operations: int = 0
    group: str = ""
    interval: tuple[float, float] = (math.nan, math.nan)

    @property
    def mean(self) -> float:
        """Mean test score."""
        return float(self.scores.mean())

    @property
    def usual(self) -> Setting:
        """The setting that was chosen most often."""
        return max(self.chosen, key=lambda setting: self.chosen[setting])


@dataclass
class Table:
    """The comparison on one data set.

    Attributes
    ----------
    dataset : dict
        What the ledger says of the data.
    entries : list of Entry
        Best first.
    compared : dict
        Every pair, in both directions.
    region : float
        Of practical equivalence.
    metric : Metric
    excluded : dict of str to str
        Activations of which no run finished, with the reason.
    pairs : int
        Seeds times splits that all activations have.
    waiting : list of str
        Activations of the plan that have no judged run yet.
    baselines : dict of str to ndarray
        Test scores of what is no network, by split.
    """

    dataset: dict[str, Any]
    entries: list[Entry]
    compared: dict[tuple[str, str], Comparison]
    baseline: str
    region: float
    metric: Metric
    excluded: dict[str, str] = field(default_factory=dict)
    pairs: int = 0
    waiting: list[str] = field(default_factory=list)
    baselines: dict[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def leader(self) -> Entry:
        """The activation with the best mean."""
        return self.entries[0]

    @property
    def tied(self) -> list[Entry]:
        """The leader and all that it is not better than by what matters."""
        return [entry for entry in self.entries if "a" in entry.group]

    @property
    def recommended(self) -> Entry:
        """The cheapest of these: the one that takes the least arithmetic, value and derivative.

        Not the one with the least time: activations are a small part of training, and the times of one busy hour differ by more
        than they do, so that the same study would recommend another one each time.
        """
        return min(self.tied, key=lambda entry: (entry.operations, entry.seconds))

    def score(self, value: float, digits: int = 2) -> str:
        """Write a score."""
        return self.metric.write(value, digits) if math.isfinite(value) else "–"

    def difference(self, value: float, *, sign: bool = False) -> str:
        """Write a difference of scores."""
        return self.metric.write_difference(value, sign=sign) if math.isfinite(value) else "–"

    def size(self, difference: float) -> str:
        """Write by how much one is better than another, whether more or less of the metric is better."""
        return self.difference(self.metric.sign * difference)

    def interval(self, interval: tuple[float, float]) -> str:
        """Write an interval of scores, the smaller number first."""
        low, high = interval[:: self.metric.sign]
        return f"{self.score(low)} – {self.score(high)}".replace(" % –", " –") if math.isfinite(low) else "–"

    def against(self, name: str) -> tuple[float, tuple[float, float]]:
        """Return by how much the leader is better than a baseline, split by split, with its interval."""
        gap = self.leader.scores.mean(axis=1) - self.baselines[name]
        return float(gap.mean()), t_interval(gap)

    @property
    def decidable(self) -> bool:
        """Whether a difference between these runs could be significant at all."""
        enough = self.pairs >= fewest_pairs(self.comparisons) and not self.all_the_same
        return enough and math.isfinite(self.detectable)

    @property
    def all_the_same(self) -> bool:
        """Whether all that is compared scores the same in each pair."""
        scores = [entry.scores for entry in self.entries if not entry.lost]
        return all(bool((one == scores[0]).all()) for one in scores)

    @property
    def rising(self) -> float:
        """The share of judged curves that had not turned."""
        count = sum(entry.scores.size for entry in self.entries)
        return sum(entry.rising for entry in self.entries) / count if count else 0.0

    def spread(self, name: str) -> Spread:
        """Return what makes the differences between the leader and another activation differ."""
        return spread(self.leader.scores - self[name].scores)

    def needed(self, name: str) -> int | None:
        """Return how many seeds would tell an activation from the leader, if their difference is what it looks like."""
        gap = self.leader.mean - self[name].mean
        shape = self.leader.scores.shape
        return seeds_needed(gap, self.detectable, self.spread(name), (shape[0], shape[1]))

    @cached_property
    def detectable(self) -> float:
        """The smallest difference from the leader that these runs find in four of five cases."""
        others = [entry for entry in self.entries[1:] if not entry.lost]
        if not others or self.pairs < FEWEST_PAIRS:
            return math.inf
        spreads = [self.spread(entry.name) for entry in others]
        typical = Spread(float(np.median([s.seeds for s in spreads])), float(np.median([s.splits for s in spreads])), 1.0)
        shape = self.leader.scores.shape
        return smallest_difference(typical, (shape[0], shape[1]), self.comparisons)

    @property
    def comparisons(self) -> int:
        """How many pairs of activations there are."""
        count = sum(not entry.lost for entry in self.entries)
        return max(1, count * (count - 1) // 2)


@dataclass
class Analysis:
    """What a study found.

    Attributes
    ----------
    plan : Plan
    tables : list of Table
        One for each data set.
    overall : Ranks or None
        Over several data sets.
    across : dict
        Wilcoxon's test over the data sets for each pair, with Holm's correction.
    missing : int
        Runs of the plan that are not there yet.
    left_out : str
        What a budget or the length of a table has left out, in words.
    """

    plan: Plan
    tables: list[Table]
    overall: Ranks | None
    across: dict[tuple[str, str], float]
    missing: int
    left_out: str = ""

    def verdict(self) -> list[str]:
        """Say in words what was found."""
        from nonlin.comparison.verdict import sentences

        return sentences(self)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "verdict": self.verdict(),
            "plan": self.plan.as_dict(),
            "missing": self.missing,
            "datasets": [_table_dict(table) for table in self.tables],
            "overall": None if self.overall is None else asdict(self.overall),
        }


def _table_dict(table: Table) -> dict[str, Any]:
    def setting(of: Setting) -> str:
        return f"{of[0]:g}" + (f", gain {of[1]}" if of[1] not in ("exact", "own") else "")

    by_setting = ("chosen", "settings", "given_up")
    entries = []
    for entry in table.entries:
        record = {name: value for name, value in vars(entry).items() if name not in ("scores", *by_setting)}
        record |= {"mean": table.metric.sign * entry.mean, "scores": (table.metric.sign * entry.scores).tolist()}
        record |= {name: {setting(s): v for s, v in getattr(entry, name).items()} for name in by_setting}
        against = table.compared.get((entry.name, table.baseline))
        record["against_baseline"] = None if against is None else asdict(against)
        entries.append(record)
    pairs = [{"a": a, "b": b, **asdict(found)} for (a, b), found in table.compared.items()]
    return {
        "dataset": table.dataset,
        "leader": table.leader.name if table.entries else None,
        "tied": [entry.name for entry in table.tied],
        "recommended": table.recommended.name if table.tied else None,
        "baselines": {name: (table.metric.sign * scores).tolist() for name, scores in table.baselines.items()},
        "still_rising": table.rising,
        "baseline": table.baseline,
        "region_of_practical_equivalence": table.region,
        "smallest_detectable_difference": table.detectable if math.isfinite(table.detectable) else None,
        "activations": entries,
        "pairs": pairs,
        "excluded": table.excluded,
    }


# --- judging --------------------------------------------------------------------------------------------------------------


def analyse(
    rows: Iterable[Row],
    plan: Plan,
    datasets: Mapping[str, dict[str, Any]],
    operations: Mapping[str, int] | None = None,
    region: float | None = None,
    left_out: str = "",
) -> Analysis:
    """Judge the runs of a plan.

    Parameters
    ----------
    rows : iterable of dict
        As :meth:`~nonlin.comparison.ledger.Ledger.rows` returns them; some may still be missing.
    plan : Plan
    datasets : Mapping
        What is to be known about each data set, above all the metric.
    operations : Mapping of str to int, optional
        What value and derivative cost.
    region : float, optional
        Of practical equivalence; by default that of the metric.
    left_out : str, optional
        What a budget or the length of a table has left out, in words.
    """
    found: dict[str, dict[str, dict[str, list[Row]]]] = {}
    count = 0
    for row in rows:
        found.setdefault(row["dataset"], {}).setdefault(row["kind"], {}).setdefault(row["activation"], []).append(row)
        count += 1
    tables = [_table(datasets[name], plan, found[name], operations or {}, region) for name in plan.datasets if name in found]
    overall, across = _over_all(tables)
    return Analysis(plan, tables, overall, across, plan.runs - count, left_out)


def _table(
    dataset: dict[str, Any],
    plan: Plan,
    by_kind: Mapping[str, Mapping[str, Sequence[Row]]],
    operations: Mapping[str, int],
    region: float | None,
) -> Table:
    metric = METRICS[dataset["metric"]]
    judged, tuning = by_kind.get("judged", {}), by_kind.get("tuning", {})
    # A pair is a pair only if all activations have it.
    there = [{(row["seed"], row["split"]) for row in some} for some in judged.values()]
    common = set.intersection(*there) if there else set()
    splits = sorted({part for _, part in common})
    seeds = [seed for seed in range(plan.seeds) if all((seed, part) in common for part in splits)]
    baselines = {
        name: np.array([{row["split"]: row["score"] for row in some}.get(part, math.nan) for part in splits], np.float64)
        for name, some in by_kind.get("baseline", {}).items()
    }
    constant = dict(zip(splits, baselines.get("constant", np.full(len(splits), math.nan)), strict=True))
    entries, excluded, waiting = [], {}, []
    for name in plan.activations:
        runs = {(row["seed"], row["split"]): row for row in judged.get(name, ())}
        every = [*runs.values(), *tuning.get(name, ())]
        if every and all(row["status"] == "failed" for row in every):
            excluded[name] = every[0]["error"]
        elif not runs or not seeds:
            waiting.append(name)
        else:
            some = [[runs[seed, part] for seed in seeds] for part in splits]
            entries.append(_entry(name, some, tuning.get(name, ()), constant, operations.get(name, 0)))
    scores = {entry.name: entry.scores for entry in entries if not entry.lost}
    compared = compare_all(scores)
    size = metric.region if region is None else region
    if metric.relative and region is None:
        size *= abs(float(np.nanmean(list(constant.values())))) if constant else 1.0
    groups = tie_groups(scores, compared, size)
    for entry in entries:
        entry.group = groups.get(entry.name, "")
        entry.interval = mean_interval(entry.scores)
    entries.sort(key=lambda entry: (bool(entry.lost), -entry.mean))
    baseline = "relu" if "relu" in scores else (plan.activations[0] if plan.activations[0] in scores else "")
    pairs = len(splits) * len(seeds)
    return Table(dataset, entries, compared, baseline, size, metric, excluded, pairs, waiting, baselines)


def _entry(
    name: str, judged: Sequence[Sequence[Row]], tuning: Sequence[Row], constant: Mapping[int, float], operations: int
) -> Entry:
    runs = [row for some in judged for row in some]
    every = [*runs, *tuning]
    # What failed scores like a constant prediction.
    scores = np.array(
        [[constant[r["split"]] if r["score"] is None else r["score"] for r in some] for some in judged], np.float64
    )
    chosen: dict[Setting, int] = {}
    for first, *_ in judged:
        setting = (first["learning_rate"], first["gain"])
        chosen[setting] = chosen.get(setting, 0) + 1
    by_setting: dict[Setting, dict[int, list[Row]]] = {}
    for row in tuning or runs:
        by_setting.setdefault((row["learning_rate"], row["gain"]), {}).setdefault(row["split"], []).append(row)
    settings = sorted(by_setting)
    parts = sorted({row["split"] for row in tuning or runs})
    validation = np.array(
        [[_mean([row["validation"] for row in by_setting[s].get(part, ())]) for part in parts] for s in settings], np.float64
    )
    healthy = [row["health"]["end"] for row in runs if row["health"]]

    def share(what: str) -> float:
        shares = [sum(health[what]) / sum(health["units"]) for health in healthy if sum(health["units"])]
        return float(np.mean(shares)) if shares else math.nan

    # Of the least time for a step: whatever else the machine did can only have added to it.
    per_step = min((row["seconds"] / row["steps"] for row in every if row["steps"] and row["seconds"]), default=0.0)
    steps = float(np.mean([row["steps"] for row in runs]))
    statuses = {row["status"] for row in runs}
    complete = validation[:, np.isfinite(validation).all(axis=0)]
    price = np.mean([expected_best(column, column) for column in complete.T], axis=0) if complete.size else np.zeros(1)
    return Entry(
        name=name,
        scores=scores,
        chosen=chosen,
        settings={setting: _mean(validation[i]) for i, setting in enumerate(settings)},
        given_up={s: sum(any(r["ended"] == "rung" for r in some) for some in by_setting[s].values()) for s in settings},
        edge=_edge(settings, validation),
        seconds=per_step * steps,
        steps=steps,
        rising=sum(row["ended"] == "limit" for row in runs),
        dead=share("dead"),
        always_on=share("always_on"),
        negative_only=share("negative_only"),
        saturated=share("saturated"),
        lost="" if "ok" in statuses else "diverged" if "diverged" in statuses else "flat",
        diverged=sum(row["status"] == "diverged" for row in every),
        flat=sum(row["status"] == "flat" for row in runs),
        failed=sum(row["status"] == "failed" for row in every),
        runs=len(every),
        errors=sorted({row["error"] for row in every if row["error"]}),
        depth=_depth(runs),
        price=(price[-1] - price).tolist(),
        operations=operations,
    )


def _edge(settings: Sequence[Setting], validation: Array) -> float:
    """Return the learning rate at an edge of the grid that is best, and better than the next one by more than noise."""
    best: dict[float, Array] = {}
    for (rate, _), values in zip(settings, validation, strict=True):
        best[rate] = np.fmax(best.get(rate, np.full(len(values), -math.inf)), values)
    rates = sorted(best)
    if len(rates) < 2:
        return math.nan
    means = {rate: _mean(best[rate]) for rate in rates}
    for edge, inner in ((rates[0], rates[1]), (rates[-1], rates[-2])):
        gap = best[edge] - best[inner]
        if means[edge] == max(means.values()) and t_interval(gap[np.isfinite(gap)])[0] > 0:
            return edge
    return math.nan


def _mean(values: Iterable[float | None]) -> float:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _depth(runs: Sequence[Row]) -> dict[str, list[float]]:
    """Return medians by layer of the profiles of runs that observed the same number of layers."""
    found: dict[str, list[float]] = {}
    for when in ("start", "end"):
        for what in ("rms_gradient", "variance_z"):
            rows = [row["health"][when][what] for row in runs if row["health"]]
            deepest = max(map(len, rows), default=0)
            table = np.array([row for row in rows if len(row) == deepest], np.float64)  # None becomes NaN
            if table.size:
                with np.errstate(all="ignore"):
                    masked = np.ma.masked_invalid(table)
                    found[f"{what}_{when}"] = np.ma.median(masked, axis=0).filled(np.nan).tolist()
    return found


def _over_all(tables: Sequence[Table]) -> tuple[Ranks | None, dict[tuple[str, str], float]]:
    """Rank over data sets, of the activations that all of them have."""
    if len(tables) < 2:
        return None, {}
    names = [entry.name for entry in tables[0].entries if all(any(e.name == entry.name for e in t.entries) for t in tables)]
    if len(names) < 2:
        return None, {}
    scores = np.array([[table[name].mean for name in names] for table in tables])
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    adjusted = holm([wilcoxon(scores[:, i] - scores[:, j]) for i, j in pairs])
    return ranks(scores, names), {(names[i], names[j]): p for (i, j), p in zip(pairs, adjusted, strict=True)}
