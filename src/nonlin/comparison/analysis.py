"""From runs to a verdict: settings chosen on validation data, judged on test folds by seeds that had no part in the choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from nonlin.comparison.plan import Plan
from nonlin.comparison.statistics import (
    Array,
    Comparison,
    Ranks,
    Spread,
    as_table,
    compare_all,
    expected_best,
    holm,
    mean_interval,
    ranks,
    seeds_needed,
    smallest_difference,
    spread,
    tie_groups,
    wilcoxon,
)

REGION = {"accuracy": 0.005, "R²": 0.01}  # differences inside it make no difference in practice

Row = Mapping[str, Any]
Setting = tuple[float, str]  # learning rate, gain


@dataclass
class Entry:
    """One activation on one data set.

    Attributes
    ----------
    scores : ndarray, shape (splits, seeds)
        Test scores at the chosen settings.
    chosen : dict of Setting to int
        How many of these runs each setting was chosen for.
    settings : dict of Setting to float
        Mean validation score.
    group : str
        Letters of its tie groups.
    seconds : float
        CPU time of training one network, that of the fastest.
    dead, always_on, saturated, negative_only : float
        Mean share of hidden units after training.
    diverged, failed, runs : int
        Over all settings.
    depth : dict of str to list of float
        Medians by layer.
    """

    name: str
    scores: Array
    chosen: dict[Setting, int]
    settings: dict[Setting, float]
    tests: dict[Setting, float]
    seconds: float
    dead: float
    always_on: float
    negative_only: float
    saturated: float
    diverged: int
    failed: int
    runs: int
    errors: list[str]
    depth: dict[str, list[float]]
    expected: list[float]
    operations: int = 0
    group: str = ""
    interval: tuple[float, float] = (math.nan, math.nan)

    @property
    def mean(self) -> float:
        """Mean test score."""
        return float(self.scores.mean())


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
    excluded : dict of str to str
        Activations of which no run finished, with the reason.
    """

    dataset: dict[str, Any]
    entries: list[Entry]
    compared: dict[tuple[str, str], Comparison]
    baseline: str
    region: float
    excluded: dict[str, str] = field(default_factory=dict)
    pairs: int = 0

    def __getitem__(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def leader(self) -> Entry:
        """The activation with the best mean."""
        return self.entries[0]

    @property
    def tied(self) -> list[Entry]:
        """The leader and all that it is not better than."""
        return [entry for entry in self.entries if "a" in entry.group]

    @property
    def recommended(self) -> Entry:
        """The cheapest of these: the one that takes the least arithmetic, value and derivative.

        Not the one with the least time: activations are a small part of training, and the times of one busy hour differ by more
        than they do, so that the same study would recommend another one each time.
        """
        return min(self.tied, key=lambda entry: (entry.operations, entry.seconds))

    @property
    def metric(self) -> str:
        """What a score is."""
        return str(self.dataset["metric"])

    def score(self, value: float, digits: int = 2) -> str:
        """Write a score."""
        return f"{100 * value:.{digits}f} %" if self.metric == "accuracy" else f"{value:.{digits + 1}f}"

    def difference(self, value: float, *, sign: bool = False) -> str:
        """Write a difference of scores."""
        plus = "+" if sign else ""
        return f"{100 * value:{plus}.2f} points" if self.metric == "accuracy" else f"{value:{plus}.3f}"

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
        if len(self.entries) < 2 or self.pairs < 2:
            return math.inf
        spreads = [self.spread(entry.name) for entry in self.entries[1:]]
        typical = Spread(float(np.median([s.seeds for s in spreads])), float(np.median([s.splits for s in spreads])), 1.0)
        shape = self.leader.scores.shape
        return smallest_difference(typical, (shape[0], shape[1]), self.comparisons)

    @property
    def comparisons(self) -> int:
        """How many pairs of activations there are."""
        return max(1, len(self.entries) * (len(self.entries) - 1) // 2)


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
    """

    plan: Plan
    tables: list[Table]
    overall: Ranks | None
    across: dict[tuple[str, str], float]
    missing: int

    def verdict(self) -> list[str]:
        """Say in words what was found: a sentence or a few for each data set, then over all of them."""
        lines = [sentence for table in self.tables for sentence in verdict(table)]
        if self.overall is not None:
            lines.append(_overall_verdict(self.overall, self.across))
        if self.missing:
            lines.append(f"{self.missing} of {self.plan.runs} runs are still missing: this is what the others say.")
        return lines

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

    entries = []
    for entry in table.entries:
        record = {name: value for name, value in vars(entry).items() if name not in ("scores", "chosen", "settings", "tests")}
        record |= {"mean": entry.mean, "scores": entry.scores.tolist()}
        record |= {name: {setting(s): v for s, v in getattr(entry, name).items()} for name in ("chosen", "settings", "tests")}
        against = table.compared.get((entry.name, table.baseline))
        record["against_baseline"] = None if against is None else asdict(against)
        entries.append(record)
    pairs = [{"a": a, "b": b, **asdict(found)} for (a, b), found in table.compared.items()]
    return {
        "dataset": table.dataset,
        "leader": table.leader.name if table.entries else None,
        "tied": [entry.name for entry in table.tied],
        "recommended": table.recommended.name if table.entries else None,
        "baseline": table.baseline,
        "region_of_practical_equivalence": table.region,
        "smallest_detectable_difference": table.detectable if math.isfinite(table.detectable) else None,
        "activations": entries,
        "pairs": pairs,
        "excluded": table.excluded,
    }


# --- choosing -------------------------------------------------------------------------------------------------------------


def analyse(
    rows: Iterable[Row],
    plan: Plan,
    datasets: Mapping[str, dict[str, Any]],
    operations: Mapping[str, int] | None = None,
    region: float | None = None,
) -> Analysis:
    """Judge the runs of a plan.

    Parameters
    ----------
    rows : iterable of dict
        As :meth:`~nonlin.comparison.ledger.Ledger.rows` returns them; some may still be missing.
    plan : Plan
    datasets : Mapping
        What is to be known about each data set: metric, score of a constant prediction by split.
    operations : Mapping of str to int, optional
        What value and derivative cost.
    region : float, optional
        Of practical equivalence; by default half a point of accuracy or 0.01 of R².
    """
    found: dict[str, dict[str, dict[Setting, dict[tuple[int, int], Row]]]] = {}
    count = 0
    for row in rows:
        setting = (row["learning_rate"], row["gain"])
        cells = found.setdefault(row["dataset"], {}).setdefault(row["activation"], {}).setdefault(setting, {})
        cells[row["seed"], row["split"]] = row
        count += 1
    tables = [
        _table(datasets[name], plan, found.get(name, {}), operations or {}, region) for name in plan.datasets if found.get(name)
    ]
    overall, across = _over_all(tables)
    return Analysis(plan, tables, overall, across, plan.runs - count)


def _table(
    dataset: dict[str, Any],
    plan: Plan,
    by_activation: Mapping[str, Mapping[Setting, Mapping[tuple[int, int], Row]]],
    operations: Mapping[str, int],
    region: float | None,
) -> Table:
    # A pair is a pair only if all activations have it.
    there = [cells.keys() for settings in by_activation.values() for cells in settings.values()]
    common = set.intersection(*map(set, there))
    splits = sorted({part for _, part in common})
    seeds = [seed for seed in range(plan.seeds) if all((seed, part) in common for part in splits)]
    entries, excluded = [], {}
    for name in plan.activations:
        settings = by_activation.get(name)
        if not settings:
            continue
        every = [row for cells in settings.values() for row in cells.values()]
        if all(row["status"] == "failed" for row in every):
            excluded[name] = every[0]["error"]
            continue
        entries.append(_entry(name, dataset, settings, splits, seeds, operations.get(name, 0)))
    scores = {entry.name: entry.scores for entry in entries}
    compared = compare_all(scores)
    groups = tie_groups(scores, compared)
    for entry in entries:
        entry.group = groups[entry.name]
        entry.interval = mean_interval(entry.scores)
    entries.sort(key=lambda entry: -entry.mean)
    baseline = "relu" if "relu" in scores else (plan.activations[0] if plan.activations[0] in scores else "")
    size = REGION[dataset["metric"]] if region is None else region
    return Table(dataset, entries, compared, baseline, size, excluded, len(splits) * len(seeds))


def _entry(
    name: str,
    dataset: dict[str, Any],
    settings: Mapping[Setting, Mapping[tuple[int, int], Row]],
    splits: Sequence[int],
    seeds: Sequence[int],
    operations: int,
) -> Entry:
    ordered = sorted(settings, key=lambda setting: (setting[0], setting[1]))
    constant = dataset["constant"]

    def values(setting: Setting, what: str) -> Array:
        cells = settings[setting]
        # What failed scores like a constant prediction, and is never chosen while something else worked.
        instead = {part: constant[part] if what == "score" else -math.inf for part in splits}
        filled = {
            place: instead[place[1]] if row[what] is None or row["status"] == "failed" else row[what]
            for place, row in cells.items()
            if place[1] in instead
        }
        return as_table(filled, splits, seeds)

    validation = np.stack([values(setting, "validation") for setting in ordered])
    test = np.stack([values(setting, "score") for setting in ordered])
    picked = choose(validation)
    scores = np.take_along_axis(test, picked[None], axis=0)[0]
    runs = [settings[ordered[picked[i, j]]][seed, part] for i, part in enumerate(splits) for j, seed in enumerate(seeds)]
    every = [row for cells in settings.values() for row in cells.values()]
    healthy = [row["health"]["end"] for row in runs if row["health"]]

    def share(what: str) -> float:
        shares = [sum(health[what]) / sum(health["units"]) for health in healthy if sum(health["units"])]
        return float(np.mean(shares)) if shares else math.nan

    with np.errstate(all="ignore"):
        curves = [expected_best(validation[:, i, j], test[:, i, j]) for i in range(len(splits)) for j in range(len(seeds))]
        return Entry(
            name=name,
            scores=scores,
            chosen={setting: int(np.count_nonzero(picked == i)) for i, setting in enumerate(ordered)},
            settings={setting: _mean(validation[i]) for i, setting in enumerate(ordered)},
            tests={setting: _mean(test[i]) for i, setting in enumerate(ordered)},
            # The least: whatever else the machine did can only have added to it.
            seconds=min((row["seconds"] for row in every if row["seconds"]), default=0.0),
            dead=share("dead"),
            always_on=share("always_on"),
            negative_only=share("negative_only"),
            saturated=share("saturated"),
            diverged=sum(row["status"] == "diverged" for row in every),
            failed=sum(row["status"] == "failed" for row in every),
            runs=len(every),
            errors=sorted({row["error"] for row in every if row["error"]}),
            depth=_depth(runs),
            expected=np.mean(curves, axis=0).tolist(),
            operations=operations,
        )


def _mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def choose(validation: Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose a setting for each run by the other seeds of its split.

    Parameters
    ----------
    validation : ndarray, shape (settings, splits, seeds)

    Returns
    -------
    ndarray of int, shape (splits, seeds)
        So no seed has a part in choosing what it is judged at; a single one has to choose for itself. Other splits have no
        part either: their validation rows are test rows here.

    Examples
    --------
    >>> choose(np.array([[[0.9, 0.1, 0.1]], [[0.2, 0.2, 0.2]]]))
    array([[1, 0, 0]])
    """
    seeds = validation.shape[2]
    # A run that failed must lose, but -inf minus -inf is no number.
    filled = np.where(np.isfinite(validation), validation, -1e9)
    others = filled if seeds == 1 else (filled.sum(axis=2, keepdims=True) - filled) / (seeds - 1)
    return np.asarray(np.argmax(others, axis=0), np.int64)


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


# --- in words -------------------------------------------------------------------------------------------------------------


def join(names: Sequence[str]) -> str:
    """Write a list as a sentence does.

    Examples
    --------
    >>> join(["relu", "gelu", "mish"])
    'relu, gelu and mish'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def verdict(table: Table) -> list[str]:
    """Say what one table means."""
    what = f"On {table.dataset['name']}"
    if not table.entries:
        return [f"{what} every run failed: {next(iter(table.excluded.values()), 'no run finished')}."]
    tied = table.tied
    lines = []
    if len(table.entries) == 1:
        reached = f"{table.metric} {table.score(table.leader.mean)}"
        lines.append(f"{what} {table.leader.name} reaches {reached}; there was nothing to compare it with.")
    elif len(tied) == 1:
        second = table.entries[1]
        found = table.compared[table.leader.name, second.name]
        low, high = (table.difference(value) for value in found.difference_interval)
        lines.append(
            f"{what} {table.leader.name} is best, with {table.metric} {table.score(table.leader.mean)}: "
            f"better than {second.name}, the next, by {table.difference(found.difference)} (95 %: {low} to {high})."
        )
    else:
        spread = f"{table.score(tied[-1].mean)} to {table.score(tied[0].mean)}"
        everything = "all activations tie: " if len(tied) == len(table.entries) else ""
        lines.append(
            f"{what} {everything}{join([entry.name for entry in tied])} cannot be told apart "
            f"({table.metric} {spread}): take {table.recommended.name}, the cheapest of them."
        )
    worse = [entry for entry in table.entries if entry not in tied]
    clear = [entry for entry in worse if table.compared[table.leader.name, entry.name].difference_interval[0] > table.region]
    slight = [entry for entry in worse if entry not in clear]
    for group, how in ((slight, "a little worse"), (clear, "clearly worse")):
        if group:
            named = [
                f"{e.name} ({table.difference(-table.compared[table.leader.name, e.name].difference, sign=True)})"
                for e in group
            ]
            lines.append(f"{'Clearly worse' if how.startswith('clear') else 'A little worse'}: {join(named)}.")
    trouble = [f"{e.name} {e.diverged} of {e.runs}" for e in table.entries if e.diverged]
    if trouble:
        lines.append(f"Runs that diverged, at all settings: {join(trouble)}.")
    trouble = [f"{e.name} {e.failed} of {e.runs} ({e.errors[0]})" for e in table.entries if e.failed]
    trouble += [f"{name} all ({error})" for name, error in table.excluded.items()]
    if trouble:
        lines.append(f"Runs that failed: {'; '.join(trouble)}.")
    if len(table.entries) > 1 and not math.isfinite(table.detectable):
        lines.append(f"{table.pairs} paired runs are too few for any of {table.comparisons} differences to be significant.")
    elif edge := _at_the_edge(table):
        lines.append(edge)
    return lines


def _at_the_edge(table: Table) -> str:
    """Say for whom the best learning rate may lie outside the grid."""
    names = []
    for entry in table.entries:
        rates = sorted({rate for rate, _ in entry.settings})
        if len(rates) < 2:
            continue
        usual = max(entry.chosen, key=lambda setting: entry.chosen[setting])[0]
        if usual in (rates[0], rates[-1]) and len(rates) > 1:
            names.append(f"{entry.name} ({usual:g})")
    return (
        f"Best at the edge of the learning rates that were tried: {join(names)}; wider --learning-rates may help."
        if names
        else ""
    )


def more_seeds(table: Table) -> list[str]:
    """Say whether more seeds would help, or more splits."""
    if len(table.entries) < 2:
        return []
    lines = []
    if math.isfinite(table.detectable):
        lines.append(
            f"With {table.pairs} paired runs, a difference of {table.difference(table.detectable)} from the leader is found in "
            f"four of five studies, corrected for all {table.comparisons} comparisons."
        )
    else:
        lines.append(
            f"{table.pairs} paired runs do not reliably find a difference of any size, corrected for all {table.comparisons} "
            f"comparisons: fewer activations, more seeds or more splits would."
        )
    by_seeds: list[str] = []
    by_splits: list[str] = []
    for entry in table.tied[1:]:
        gap = table.leader.mean - entry.mean
        if gap >= table.region:
            seeds = table.needed(entry.name)
            (by_splits if seeds is None else by_seeds).append(
                entry.name if seeds is None else f"{entry.name} ({table.difference(gap)}: about {seeds} seeds)"
            )
    if by_seeds:
        lines.append(
            f"More seeds could tell {join(by_seeds)} from {table.leader.name}, if the difference is what it looks like."
        )
    if by_splits:
        lines.append(f"To tell {join(by_splits)} from {table.leader.name}, more splits would help; seeds alone would not.")
    if len(table.tied) > 1 and not (by_seeds or by_splits):
        lines.append(
            f"More runs would not change what to do: all means that tie lie within {table.difference(table.region)} of the "
            f"leader's, the region of practical equivalence."
        )
    if torn := [entry.name for entry in table.entries[1:] if table.spread(entry.name).p < 0.01]:
        lines.append(
            f"The splits disagree about {join(torn)} against {table.leader.name} by more than the seeds explain: what holds "
            f"for these rows may not for others. More splits (--splits 10 --seeds 3) would say more than more seeds."
        )
    return lines


def _overall_verdict(overall: Ranks, across: Mapping[tuple[str, str], float]) -> str:
    best = min(overall.mean, key=lambda name: overall.mean[name])
    near = [name for name, rank in overall.mean.items() if rank - overall.mean[best] < overall.critical_difference]
    near.sort(key=lambda name: overall.mean[name])
    if overall.p >= 0.05:
        return (
            f"Over {overall.blocks} data sets no activation ranks reliably better than another (Friedman p = {overall.p:.2g})."
        )
    significant = sum(p < 0.05 for p in across.values())
    return (
        f"Over {overall.blocks} data sets {best} ranks best ({overall.mean[best]:.2f}); {join(near)} lie within Nemenyi's "
        f"critical difference of {overall.critical_difference:.2f}; {significant} of {len(across)} pairs differ by "
        f"Wilcoxon's test with Holm's correction."
    )
