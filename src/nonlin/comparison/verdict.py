"""The verdict: what an analysis says, in sentences for somebody who has to decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nonlin.comparison.analysis import Analysis, Entry, Table
from nonlin.comparison.plan import PlanError, gather
from nonlin.comparison.running import MOST_RISING
from nonlin.comparison.statistics import Ranks, fewest_pairs
from nonlin.dialects import dialects


def join(names: Sequence[str]) -> str:
    """Write a list as a sentence does.

    Examples
    --------
    >>> join(["relu", "gelu", "mish"])
    'relu, gelu and mish'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def sentences(analysis: Analysis) -> list[str]:
    """Say what was left out, what was found over all data sets, then on each of them."""
    return summary(analysis) + [sentence for table in analysis.tables for sentence in verdict(table)]


def summary(analysis: Analysis) -> list[str]:
    """Say what holds for the whole study."""
    lines = [analysis.left_out] if analysis.left_out else []
    if analysis.missing:
        lines.append(
            f"The study is not finished: {analysis.missing:,} of {analysis.plan.runs:,} runs are still missing, and what "
            f"follows is not a verdict yet."
        )
    if analysis.overall is not None:
        lines.append(_overall(analysis.overall, analysis.across))
    return lines


def verdict(table: Table) -> list[str]:
    """Say what one table means, what decides first."""
    where = f"On {table.dataset['name']}"
    if not table.entries:
        if table.waiting:
            return [f"{where} no activation has been judged yet."]
        return [f"{where} every run failed: {next(iter(table.excluded.values()), 'no run finished')}."]
    return [
        *_below_the_baselines(table, where),
        *(() if _below_constant(table) and not table.waiting else _decision(table, where)),
        *_lost(table),
        *(() if table.leader.lost else _length(table)),
        *_edges(table),
    ]


def _below_the_baselines(table: Table, where: str) -> list[str]:
    """Say so if no network is better than a constant, or boosting better than all networks."""
    lines = []
    if _below_constant(table):
        without = table.score(float(table.baselines["constant"].mean()))
        lines.append(
            f"{where} no network is reliably better than a constant prediction ({table.metric.name} "
            f"{table.score(table.leader.mean)} at best, {without} without any network): there is nothing here that an "
            f"activation could decide."
        )
    for name, called in (("boosting", "Gradient boosting"), ("linear", "A linear model")):
        if _is_there(table, name):
            gap, (_, high) = table.against(name)
            if high < -table.region:
                lines.append(
                    f"{called} does clearly better than all networks{'' if lines else f' {where[0].lower()}{where[1:]}'}: "
                    f"{table.metric.name} {table.score(float(table.baselines[name].mean()))}, "
                    f"{table.difference(-gap, sign=True)} from the best of them."
                )
                break
    return lines


def _below_constant(table: Table) -> bool:
    if not _is_there(table, "constant"):
        return False
    gap, (low, _) = table.against("constant")
    return gap <= 0 or low <= 0


def _is_there(table: Table, name: str) -> bool:
    return name in table.baselines and bool(math.isfinite(float(table.baselines[name].mean())))


def _decision(table: Table, where: str) -> list[str]:
    """Say who is best, who ties and who is worse, as far as these runs can tell."""
    compared = [entry for entry in table.entries if not entry.lost]
    if not compared:
        return []
    leader = table.leader
    reached = f"{table.metric.name} {table.score(leader.mean)}"
    if table.waiting:
        return [f"{join(table.waiting)} {_has(table.waiting)} not been judged yet, so nothing is said of the others."]
    if len(compared) == 1:
        alone = "" if len(table.entries) + len(table.excluded) > 1 else "; there was nothing to compare it with"
        return [f"{where} {leader.name} reaches {reached}{alone}."]
    spread = f"{table.score(compared[-1].mean)} to {table.score(leader.mean)}"
    if table.all_the_same:
        same = f"score the same in each of {table.pairs} paired runs ({reached})"
        return [f"{where} all activations {same}: too few to tell, or too easy a question."]
    if not table.decidable:
        need = fewest_pairs(table.comparisons)
        more = f"at least {need} are needed" if table.pairs < need else "their scores differ too much from pair to pair"
        few = f"{table.pairs} paired runs are too few to tell anything apart ({table.metric.name} {spread})"
        return [f"{where} {few}: {more}, and this is not a tie; more --splits or --seeds would tell."]
    tied = table.tied
    lines = []
    if len(tied) == 1:
        second = compared[1]
        found = table.compared[leader.name, second.name]
        low, high = (table.size(value) for value in found.difference_interval)
        sure = "the same in each pair" if math.isnan(found.difference_interval[0]) else f"95 %: {low} to {high}"
        lines.append(
            f"{where} {leader.name} is best, with {reached}: better than {second.name}, the next, by "
            f"{table.size(found.difference)} ({sure})."
        )
    else:
        spread = f"{table.score(tied[-1].mean)} to {table.score(tied[0].mean)}"
        everything = "all activations tie: " if len(tied) == len(table.entries) else ""
        lines.append(
            f"{where} {everything}{join([entry.name for entry in tied])} cannot be told apart "
            f"({table.metric.name} {spread}): take {table.recommended.name}, the cheapest of them."
        )
    worse = [entry for entry in compared if entry not in tied]
    clear = [entry for entry in worse if table.compared[leader.name, entry.name].least > table.region]
    slight = [entry for entry in worse if entry not in clear]
    for how, group in (("A little worse", slight), ("Clearly worse", clear)):
        if group:
            named = [
                f"{e.name} ({table.difference(-table.compared[leader.name, e.name].difference, sign=True)})" for e in group
            ]
            lines.append(f"{how}: {join(named)}.")
    return lines


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _lost(table: Table) -> list[str]:
    """Say who has no result, and whose runs were no results."""
    lines = []

    def said(how: str, beginning: str, count: Callable[[Entry], int], of: Callable[[Entry], int]) -> None:
        whole = [entry.name for entry in table.entries if entry.lost == how]
        if whole:
            what = "diverged in all runs that count" if how == "diverged" else "did not learn: never better than a constant"
            lines.append(f"No result: {join(whole)} {what}; nothing is said of {'it' if len(whole) == 1 else 'them'}.")
        some = [f"{e.name} {count(e)} of {of(e)}" for e in table.entries if count(e) and not e.lost]
        if some:
            lines.append(f"{beginning}: {join(some)}.")

    said("diverged", "Runs that diverged, at all settings", lambda e: e.diverged, lambda e: e.runs)
    said("flat", "Runs that did not learn", lambda e: e.flat, lambda e: e.scores.size)
    trouble = [f"{e.name} {e.failed} of {e.runs} ({e.errors[0]})" for e in table.entries if e.failed]
    trouble += [f"{name} all ({error})" for name, error in table.excluded.items()]
    if trouble:
        lines.append(f"Runs that failed: {'; '.join(trouble)}.")
    return lines


def _length(table: Table) -> list[str]:
    """Say how many curves had turned, and what that means."""
    if table.rising <= 0:
        return ["Long enough: every validation curve had turned before the training ended."]
    share = f"{100 * table.rising:.0f} %" if table.rising >= 0.005 else "under 1 %"
    if table.rising <= MOST_RISING:
        return [f"Long enough: all but {share} of the validation curves had turned before the training ended."]
    return [f"Too short: {share} of the validation curves still rose at the end; more --steps may change the order."]


def _edges(table: Table) -> list[str]:
    """Say for whom the best learning rate lies outside the grid."""
    names = [f"{entry.name} ({entry.edge:g})" for entry in table.entries if math.isfinite(entry.edge)]
    if not names:
        return []
    return [f"Best at the edge of the learning rates by more than noise: {join(names)}; wider --learning-rates may help."]


@dataclass(frozen=True)
class Advice:
    """What to do, for somebody who has just met activations.

    Attributes
    ----------
    code : list of (str, str)
        What to type, by framework.
    sentences : list of str
        What is lost otherwise, and how sure that is.
    """

    code: list[tuple[str, str]]
    sentences: list[str]


def recommendation(table: Table) -> Advice | None:
    """Return what to do; None where these runs do not say."""
    compared = [entry for entry in table.entries if not entry.lost]
    if table.waiting or not compared or _below_constant(table) or not (table.decidable or len(compared) == 1):
        return None
    best = table.recommended
    rate = best.usual[0]
    others = [entry for entry in table.tied if entry is not best]
    lines = [f"Use {best.name}, with Adam and a learning rate of about {rate:g}."]
    if others:
        lines.append(f"{join([entry.name for entry in others])} would do as well here; {best.name} takes the least arithmetic.")
    worse = [entry for entry in compared if entry not in table.tied]
    if worse:
        last = worse[-1]
        lines.append(f"With {last.name}, the last of them, you would lose about {table.size(best.mean - last.mean)}.")
    if best.price[0] > 0:
        lines.append(
            f"With a learning rate drawn at random from the {len(best.price)} that were tried, you would lose about "
            f"{table.size(best.price[0])}."
        )
    if table.decidable:
        lines.append(
            f"How sure: in {table.pairs} paired runs, differences of {table.size(table.detectable)} and more between two "
            f"activations are found in four of five studies; smaller ones may exist, and other data may differ."
        )
    return Advice(_code(best.name, rate), lines)


def _code(label: str, rate: float) -> list[tuple[str, str]]:
    """Say what to type for an activation in PyTorch and Keras."""
    try:
        ((_, entry),) = gather([label]).entries.items()
    except PlanError:  # the user's own, which this process does not know
        return [("learning rate", f"{rate:g}")]

    def call(dialect: str, of: str = "") -> str:
        for one in dialects_by_name[dialect].calls.get(entry.name, ()):
            if one.name.startswith(of):
                values = {theirs: entry.parameters[ours].default for ours, theirs in one.parameters.items()}
                given = ", ".join(f"{name}={value!r}" for name, value in {**one.fixed, **values}.items())
                return f"{one.name}({given})"
        return ""

    dialects_by_name = {dialect.name: dialect for dialect in dialects()}
    layer = call("torch", "nn.")
    found = [
        ("PyTorch", f"torch.{layer}" if layer else f"nonlin.get({entry.name!r})  # a function of tensors"),
        ("", f"torch.optim.Adam(model.parameters(), lr={rate:g})"),
    ]
    function, own_layer = call("keras"), call("keras.layers")
    if own_layer:
        found.append(("Keras", f"keras.layers.{own_layer}"))
    elif function.endswith("()"):
        found.append(("Keras", f'keras.layers.Dense(64, activation="{function[:-2]}")'))
    if own_layer or function.endswith("()"):
        found.append(("", f"keras.optimizers.Adam({rate:g})"))
    return found


def more_seeds(table: Table) -> list[str]:
    """Say whether more seeds would help, or more splits."""
    compared = [entry for entry in table.entries if not entry.lost]
    if len(compared) < 2 or not table.decidable:
        return []
    found = f"a difference of {table.size(table.detectable)} from the leader is found in four of five studies"
    corrected = f", corrected for all {table.comparisons} comparisons" if table.comparisons > 1 else ""
    lines = [f"With {table.pairs} paired runs, {found}{corrected}."]
    by_seeds: list[str] = []
    by_splits: list[str] = []
    for entry in table.tied[1:]:
        gap = table.leader.mean - entry.mean
        if gap >= table.region:
            seeds = table.needed(entry.name)
            (by_splits if seeds is None else by_seeds).append(
                entry.name if seeds is None else f"{entry.name} ({table.size(gap)}: about {seeds} seeds)"
            )
    if by_seeds:
        lines.append(
            f"More seeds could tell {join(by_seeds)} from {table.leader.name}, if the difference is what it looks like."
        )
    if by_splits:
        lines.append(f"To tell {join(by_splits)} from {table.leader.name}, more splits would help; seeds alone would not.")
    if len(table.tied) > 1 and not (by_seeds or by_splits):
        lines.append(
            f"More runs would not change what to do: all means that tie lie within {table.size(table.region)} of the "
            f"leader's, the region of practical equivalence."
        )
    if torn := [entry.name for entry in compared[1:] if table.spread(entry.name).p < 0.01]:
        lines.append(
            f"The splits disagree about {join(torn)} against {table.leader.name} by more than the seeds explain: what holds "
            f"for these rows may not for others."
        )
    return lines


def _overall(overall: Ranks, across: Mapping[tuple[str, str], float]) -> str:
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
