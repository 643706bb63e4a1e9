"""Statistics of paired runs: how sure it is that one activation is better than another.

Runs of the same seed and split form a pair: the networks start from the same weights and see the same batches. Scores are
arrays with a row per split and a column per seed; a comparison resamples splits, then seeds within each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy  # its parts are loaded when they are used: workers, which need none, would wait two seconds for them

Array: TypeAlias = npt.NDArray[np.float64]

RESAMPLES = 2000
_MOST_SIMULATED = 240  # pairs of a simulated study
LEVEL = 0.05
FEWEST_PAIRS = 8  # of fewer, no resampling says how sure a mean is
MEANINGFUL = 0.75  # Bouthillier et al. 2021, arXiv:2103.03098: the upper end of the interval of P(A > B) must reach it


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes
    ----------
    difference : float
        Mean of the paired differences, A minus B.
    difference_interval : tuple of float
        95 % bootstrap interval; of a few pairs, that of a t distribution; NaN where all differences are the same.
    probability : float
        That A beats B in a pair; a draw counts half.
    probability_interval : tuple of float
        95 % bootstrap interval, of Clopper and Pearson where one wins each pair; NaN where there are few pairs or only draws.
    p : float
        Two-sided, of Wilcoxon's signed-rank test over the pairs.
    p_adjusted : float
        After Holm's correction for all comparisons of the study.
    """

    difference: float
    difference_interval: tuple[float, float]
    probability: float
    probability_interval: tuple[float, float]
    p: float
    p_adjusted: float

    @property
    def least(self) -> float:
        """The lower end of the difference's interval, or the difference where it is the same in each pair."""
        return self.difference if math.isnan(self.difference_interval[0]) else self.difference_interval[0]

    @property
    def better(self) -> bool:
        """A is better than B: in both the bootstrap and the corrected test."""
        return self.probability_interval[0] > 0.5 and self.difference > 0 and self.p_adjusted < LEVEL

    @property
    def worse(self) -> bool:
        """B is better than A."""
        return self.probability_interval[1] < 0.5 and self.difference < 0 and self.p_adjusted < LEVEL

    @property
    def meaningful(self) -> bool:
        """A is better than B, and that can be expected to show."""
        return self.better and self.probability_interval[1] > MEANINGFUL

    def equivalent(self, region: float) -> bool:
        """Whether the difference lies inside a region of practical equivalence, with 95 % confidence."""
        return -region < self.difference_interval[0] and self.difference_interval[1] < region


def resample(shape: tuple[int, int], resamples: int = RESAMPLES, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return indices into flattened scores, a row per resample: splits are drawn, then seeds within each."""
    random = np.random.default_rng(seed)
    splits, seeds = shape
    rows = random.integers(0, splits, (resamples, splits, 1))
    return (rows * seeds + random.integers(0, seeds, (resamples, splits, seeds))).reshape(resamples, -1)


def _counts(drawn: npt.NDArray[np.int64]) -> Array:
    """Return how often each score stands in each resample: means of resamples are products with it, the fastest by far.

    Sums of such numbers, times scores of 0, 1/2 and 1, are exact, so that a chance of 0.5 is not above 0.5.
    """
    resamples, pairs = drawn.shape
    places = drawn + pairs * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * pairs).reshape(resamples, pairs).astype(np.float64)


def interval(values: Array, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of a bootstrap distribution."""
    low, high = np.quantile(values, [level / 2, 1 - level / 2])
    return float(low), float(high)


def mean_interval(scores: Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean; of a few values, that of a t distribution.

    Values that are all the same say nothing about how much others would differ: NaN.

    Examples
    --------
    >>> mean_interval(np.array([[1.0, 1.0, 1.0]]))
    (nan, nan)
    """
    values = scores.ravel()
    if not np.ptp(values) > 0:
        return math.nan, math.nan
    if len(values) < FEWEST_PAIRS:
        return t_interval(values)
    return interval(values[resample(scores.shape, seed=seed)].mean(axis=1))


def t_interval(values: Array) -> tuple[float, float]:
    """Return the 95 % interval of a mean by the t distribution; NaN for values that do not differ.

    Examples
    --------
    >>> low, high = t_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    if len(values) < 2 or not np.ptp(values) > 0:
        return math.nan, math.nan
    half = float(scipy.stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def wilcoxon(differences: npt.ArrayLike, alternative: str = "two-sided") -> float:
    """Return the p-value of Wilcoxon's signed-rank test; without a difference that is not zero, 1.

    Zeros are dropped, as Wilcoxon did. The distribution is exact for up to 50 differences without ties, else normal.

    Examples
    --------
    >>> wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0])
    0.0625
    """
    values = np.asarray(differences, np.float64).ravel()
    values = values[values != 0]
    if not len(values):
        return 1.0
    ties = len(np.unique(np.abs(values))) < len(values)
    method = "exact" if not ties and len(values) <= 50 else "approx"
    return float(scipy.stats.wilcoxon(values, alternative=alternative, method=method).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method.

    Examples
    --------
    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted.tolist()


def _chance_interval(wins: Array, drawn: Array) -> tuple[float, float]:
    """Return the bootstrap interval of a chance; where each pair was won, or lost, that of Clopper and Pearson.

    No resample of such pairs has another, and yet some would be lost among more of them. Nothing but draws says nothing: NaN.
    """
    if np.ptp(wins) > 0:
        return interval(drawn @ wins / len(wins))
    if wins[0] == 0.5:
        return math.nan, math.nan
    least = float((LEVEL / 2) ** (1 / len(wins)))
    return (least, 1.0) if wins[0] == 1 else (0.0, 1 - least)


def compare_all(scores: Mapping[str, Array]) -> dict[tuple[str, str], Comparison]:
    """Compare each pair of activations.

    Parameters
    ----------
    scores : Mapping of str to ndarray
        Test scores of paired runs, a row per split and a column per seed, the same shape for all.

    Returns
    -------
    dict
        In both directions.
    """
    names = list(scores)
    if not names:
        return {}
    drawn = _counts(resample(next(iter(scores.values())).shape))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    differences = {pair: scores[pair[0]].ravel() - scores[pair[1]].ravel() for pair in pairs}
    p = [wilcoxon(differences[pair]) for pair in pairs]
    found = {}
    for pair, raw, adjusted in zip(pairs, p, holm(p), strict=True):
        difference = differences[pair]
        wins = (np.sign(difference) + 1) / 2
        low = high = chance_low = chance_high = math.nan
        spreads = np.ptp(difference) > 1e-9 * np.abs(difference).max()  # by more than rounding
        if len(difference) < FEWEST_PAIRS:
            low, high = t_interval(difference)
        else:
            if spreads:
                low, high = interval(drawn @ difference / len(difference))
            chance_low, chance_high = _chance_interval(wins, drawn)
        mean, chance = float(difference.mean()), float(wins.mean())
        found[pair] = Comparison(mean, (low, high), chance, (chance_low, chance_high), raw, adjusted)
        found[pair[::-1]] = Comparison(-mean, (-high, -low), 1 - chance, (1 - chance_high, 1 - chance_low), raw, adjusted)
    return found


def tie_groups(
    scores: Mapping[str, Array], compared: Mapping[tuple[str, str], Comparison], region: float = 0.0
) -> dict[str, str]:
    """Give each activation the letters of the groups that it belongs to; within a group none is better than another.

    Group ``a`` has the leader, the best mean, and all that it is not better than by at least the region of practical
    equivalence. Each further group starts with the best activation that is in none yet.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> base = random.normal(0, 1, (3, 10))
    >>> scores = {name: base + random.normal(shift, 0.1, (3, 10)) for name, shift in dict(x=1, y=1, z=0).items()}
    >>> tie_groups(scores, compare_all(scores))
    {'x': 'a', 'y': 'a', 'z': 'b'}
    """
    order = sorted(scores, key=lambda name: -float(scores[name].mean()))
    letters = dict.fromkeys(order, "")
    number = 0
    for leader in order:
        if letters[leader]:
            continue
        letter = chr(ord("a") + number) if number < 26 else f"({number})"
        number += 1
        for name in order[order.index(leader) :]:
            found = None if name == leader else compared[leader, name]
            if found is None or not found.better or found.difference < region:
                letters[name] += letter
    return {name: letters[name] for name in scores}


# --- power ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """What makes paired differences differ.

    Attributes
    ----------
    seeds : float
        Standard deviation between seeds of a split.
    splits : float
        Standard deviation between splits beyond what seeds explain.
    p : float
        Of the F test that splits add nothing.
    """

    seeds: float
    splits: float
    p: float


def spread(differences: npt.ArrayLike) -> Spread:
    """Tell the variance between splits from that between seeds, by a one-way analysis of variance.

    Examples
    --------
    >>> found = spread([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]])
    >>> round(found.seeds, 3), round(found.splits, 2), found.p < 0.01
    (1.0, 7.05, True)
    """
    values = np.asarray(differences, np.float64)
    splits, seeds = values.shape
    if seeds < 2:
        return Spread(float(values.std(ddof=1)) if splits > 1 else math.nan, 0.0, 1.0)
    within = float(values.var(axis=1, ddof=1).mean())
    if splits < 2:
        return Spread(math.sqrt(within), 0.0, 1.0)
    between = seeds * float(values.mean(axis=1).var(ddof=1))
    p = float(scipy.stats.f.sf(between / within, splits - 1, splits * (seeds - 1))) if within > 0 else float(between == 0)
    return Spread(math.sqrt(within), math.sqrt(max(0.0, (between - within) / seeds)), p)


def power(difference: float, of: Spread, shape: tuple[int, int], comparisons: int = 1, studies: int = 400) -> float:
    """Return how often a difference is found: by simulating studies and judging them by the rule of :class:`Comparison`.

    Parameters
    ----------
    difference : float
    of : Spread
    shape : tuple of int
        Splits and seeds.
    comparisons : int
        For Holm's correction at its strictest.

    Examples
    --------
    >>> power(1.0, Spread(1.0, 0.0, 1.0), (3, 10)) > 0.9
    True
    """
    random = np.random.default_rng(0)  # always the same studies, so that power grows with the difference
    noise = random.normal(0, 1, (studies, *shape)) * of.seeds + random.normal(0, 1, (studies, shape[0], 1)) * of.splits
    return _power(difference, noise, resample(shape, 500), comparisons)


def _power(difference: float, noise: Array, drawn: npt.NDArray[np.int64], comparisons: int) -> float:
    values = (noise + difference).reshape(len(noise), -1)
    pairs = values.shape[1]
    if 2.0 ** (1 - pairs) * comparisons > LEVEL:  # not even a difference in every single pair would be significant
        return 0.0
    p = scipy.stats.wilcoxon(values, axis=1, method="exact" if pairs <= 50 else "approx").pvalue
    hopeful = values[(p * comparisons < LEVEL) & (values.mean(axis=1) > 0)]
    chances = (hopeful > 0) @ _counts(drawn).T / pairs
    return float(np.sum(np.quantile(chances, LEVEL / 2, axis=1) > 0.5) / len(noise)) if len(hopeful) else 0.0


def smallest_difference(of: Spread, shape: tuple[int, int], comparisons: int = 1, wanted: float = 0.8) -> float:
    """Return the smallest difference that is found with the given power; infinite if none is.

    Examples
    --------
    >>> 0.5 < smallest_difference(Spread(1.0, 0.0, 1.0), (3, 10)) < 1.0
    True
    >>> smallest_difference(Spread(1.0, 0.0, 1.0), (1, 3))
    inf
    """
    splits, seeds = shape
    most = max(2, _MOST_SIMULATED // splits)
    if seeds > most:  # fewer seeds with less noise have means that vary as much
        of, shape = Spread(of.seeds * math.sqrt(most / seeds), of.splits, of.p), (splits, most)
    scale = math.hypot(of.seeds, of.splits)
    if not scale > 0:
        return 0.0 if scale == 0 else math.inf
    random = np.random.default_rng(0)
    noise = random.normal(0, 1, (400, *shape)) * of.seeds + random.normal(0, 1, (400, shape[0], 1)) * of.splits
    drawn = resample(shape, 500)
    low, high = 0.0, 20 * scale
    if _power(high, noise, drawn, comparisons) < wanted:
        return math.inf
    for _ in range(11):
        middle = (low + high) / 2
        if _power(middle, noise, drawn, comparisons) < wanted:
            low = middle
        else:
            high = middle
    return high


def seeds_needed(difference: float, detectable: float, of: Spread, shape: tuple[int, int]) -> int | None:
    """Return how many seeds would find a difference, given what is found now; None where only more splits would.

    The variance of the mean difference has a part that falls with the seeds, and one that falls with the splits alone.

    Examples
    --------
    >>> seeds_needed(0.25, 0.5, Spread(1.0, 0.0, 1.0), (3, 10))
    40
    >>> seeds_needed(0.25, 0.5, Spread(1.0, 1.0, 0.0), (3, 10))
    """
    splits, seeds = shape
    if difference <= 0 or not math.isfinite(detectable) or detectable <= 0:
        return None
    now = of.splits**2 / splits + of.seeds**2 / (splits * seeds)
    left = now * (difference / detectable) ** 2 - of.splits**2 / splits
    return math.ceil(of.seeds**2 / splits / left - 1e-9) if left > 0 else None


# --- many data sets -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranks:
    """Ranks over several data sets (Demšar 2006).

    Attributes
    ----------
    mean : dict of str to float
        1 is best.
    p : float
        Friedman's test that all are alike.
    critical_difference : float
        Nemenyi's: mean ranks that differ by less cannot be told apart.
    blocks : int
        How many data sets, or splits and seeds.
    """

    mean: dict[str, float]
    p: float
    critical_difference: float
    blocks: int


def ranks(table: npt.ArrayLike, names: Sequence[str]) -> Ranks:
    """Rank the columns of a table of scores, a row per data set.

    Examples
    --------
    >>> found = ranks([[3, 2, 1], [3, 1, 2], [3, 2, 1], [3, 2, 1]], ["a", "b", "c"])
    >>> found.mean
    {'a': 1.0, 'b': 2.25, 'c': 2.75}
    >>> round(found.p, 3), round(found.critical_difference, 3)
    (0.039, 1.657)
    """
    scores = np.asarray(table, np.float64)
    blocks, k = scores.shape
    rank = scipy.stats.rankdata(-scores, axis=1)
    p = 1.0
    if k > 2 and blocks > 1 and np.ptp(rank):
        p = float(scipy.stats.friedmanchisquare(*scores.T).pvalue)
    elif k == 2:
        p = wilcoxon(scores[:, 0] - scores[:, 1])
    critical = nemenyi(k, blocks)
    return Ranks(dict(zip(names, rank.mean(axis=0).tolist(), strict=True)), p, critical, blocks)


def nemenyi(treatments: int, blocks: int, level: float = LEVEL) -> float:
    """Return Nemenyi's critical difference of mean ranks.

    Examples
    --------
    >>> round(nemenyi(4, 14), 3)  # Demšar 2006, section 3.2.2: 2.569 * sqrt(4*5/(6*14)) = 1.25
    1.254
    """
    if treatments < 2:
        return 0.0
    q = float(scipy.stats.studentized_range.ppf(1 - level, treatments, np.inf)) / math.sqrt(2)
    return q * math.sqrt(treatments * (treatments + 1) / (6 * blocks))


# --- tuning ---------------------------------------------------------------------------------------------------------------


def fewest_pairs(comparisons: int) -> int:
    """Return of how many pairs at least one of so many differences can be significant at all.

    Examples
    --------
    >>> fewest_pairs(1), fewest_pairs(45)
    (8, 11)
    """
    # All differences of one sign have p = 2^(1 - pairs) in Wilcoxon's test.
    return max(FEWEST_PAIRS, math.ceil(1 + math.log2(comparisons / LEVEL)))


def expected_best(validation: npt.ArrayLike, test: npt.ArrayLike) -> Array:
    """Return the expected test score of the best of n settings by validation, for n = 1 to all of them.

    The n settings are drawn without replacement; the one with the best validation score is kept.

    Examples
    --------
    >>> expected_best([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]).round(3).tolist()
    [2.0, 2.667, 3.0]
    """
    order = np.argsort(np.asarray(validation, np.float64), kind="stable")
    sorted_test = np.asarray(test, np.float64)[order]
    count = len(order)
    position = np.arange(count)
    chosen = [scipy.special.comb(position, n - 1) / scipy.special.comb(count, n) for n in range(1, count + 1)]
    return np.array([float(np.sum(sorted_test * weights)) for weights in chosen])
