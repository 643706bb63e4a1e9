"""The statistics: against published numbers, against other libraries where they are installed, and on simulated studies."""

import numpy as np
import pytest
from scipy import stats

from nonlin.comparison.statistics import (
    Spread,
    compare_all,
    expected_best,
    holm,
    nemenyi,
    power,
    ranks,
    seeds_needed,
    smallest_difference,
    spread,
    tie_groups,
    wilcoxon,
)

SEED_SD, GRID = 0.004, 600  # digits: seeds differ by 0.4 points, a test fold has about 600 rows


def study(
    random: np.random.Generator, fields: int, planted: float = 0.0, splits: int = 3, seeds: int = 10
) -> dict[str, np.ndarray]:
    """Scores of activations that are all alike, but for the last one, which is worse by what is planted."""
    common = 0.97 + random.normal(0, 0.006, (splits, 1)) + random.normal(0, 0.003, (splits, seeds))
    scores = {}
    for i in range(fields):
        own = common + random.normal(0, SEED_SD, (splits, seeds)) - (planted if i == fields - 1 else 0)
        scores[f"f{i}"] = np.round(own * GRID) / GRID
    return scores


@pytest.mark.parametrize("fields", [2, 10])
def test_the_same_activation_under_several_names_ties(fields: int) -> None:
    """In at least 95 % of simulated studies nobody is told apart, however many names there are."""
    random = np.random.default_rng(1)
    ties = 0
    for _ in range(studies := 120):
        scores = study(random, fields)
        groups = tie_groups(scores, compare_all(scores))
        ties += all("a" in letters for letters in groups.values())
    assert ties / studies >= 0.95


@pytest.mark.parametrize("fields", [2, 10])
def test_a_planted_difference_is_found_at_the_stated_power(fields: int) -> None:
    random = np.random.default_rng(2)
    of = Spread(SEED_SD * 2**0.5, 0.0, 1.0)
    pairs = fields * (fields - 1) // 2
    planted = smallest_difference(of, (3, 10), pairs)
    found = 0
    for _ in range(studies := 120):
        scores = study(random, fields, planted)
        found += compare_all(scores)["f0", f"f{fields - 1}"].better
    # 80 % is stated; three standard errors of 120 studies are 11 %.
    assert 0.68 <= found / studies <= 0.92


def test_one_point_is_found() -> None:
    random = np.random.default_rng(3)
    of = Spread(SEED_SD * 2**0.5, 0.0, 1.0)
    assert power(0.01, of, (3, 10), comparisons=45) > 0.99
    found = [compare_all(study(random, 10, 0.01))["f0", "f9"].better for _ in range(50)]
    assert np.mean(found) >= 0.95


def test_comparisons_are_antisymmetric() -> None:
    compared = compare_all(study(np.random.default_rng(0), 3, 0.01))
    a, b = compared["f0", "f2"], compared["f2", "f0"]
    assert a.difference == -b.difference
    assert a.probability == 1 - b.probability
    assert a.difference_interval == (-b.difference_interval[1], -b.difference_interval[0])
    assert a.better == b.worse
    assert a.p == b.p


def test_identical_scores_tie_without_a_warning() -> None:
    same = np.full((3, 4), 0.5)
    compared = compare_all({"a": same, "b": same.copy()})
    assert compared["a", "b"].probability == 0.5
    assert compared["a", "b"].p == 1
    assert tie_groups({"a": same, "b": same}, compared) == {"a": "a", "b": "a"}


def test_equivalence_needs_the_whole_interval() -> None:
    base = np.random.default_rng(0).normal(0.9, 0.01, (3, 10))
    close = compare_all({"a": base, "b": base + np.random.default_rng(1).normal(0, 1e-4, (3, 10))})["a", "b"]
    assert close.equivalent(0.005)
    assert not close.equivalent(1e-6)


def test_wilcoxon_as_scipy_has_it() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.3, 1, 30)
    assert wilcoxon(values) == stats.wilcoxon(values).pvalue
    assert wilcoxon(values, "greater") == stats.wilcoxon(values, alternative="greater").pvalue


def test_holm() -> None:
    """The example of Holm's method in R: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_demsar_2006() -> None:
    """Section 3.2.2 and table 6: AUC of C4.5 and three variants on 14 data sets; Friedman 9.28, critical difference 1.25."""
    table = [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.9751, 0.975),
        (0.957, 0.978, 0.946, 0.970),
    ]
    found = ranks(table, ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"])
    assert found.mean == pytest.approx({"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}, abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.p < 0.05
    assert nemenyi(5, 30) == pytest.approx(2.728 * (30 / 180) ** 0.5, abs=2e-3)


@pytest.mark.filterwarnings("ignore")  # autorank's and its plotting libraries' own
def test_ranks_as_autorank_has_them() -> None:
    autorank = pytest.importorskip("autorank")
    import pandas as pd

    random = np.random.default_rng(5)
    scores = pd.DataFrame(
        {name: random.exponential(1, 25) + shift for name, shift in {"a": 0, "b": 0.1, "c": 0.8, "d": 1.5}.items()}
    )
    theirs = autorank.autorank(scores, alpha=0.05, verbose=False, force_mode="nonparametric")
    ours = ranks(scores.to_numpy(), list(scores.columns))
    assert ours.mean == pytest.approx(theirs.rankdf["meanrank"].to_dict())
    assert ours.critical_difference == pytest.approx(theirs.cd, abs=1e-3)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_spread_recovers_its_parts() -> None:
    random = np.random.default_rng(0)
    found = spread(random.normal(0, 1, (200, 20)) + random.normal(0, 2, (200, 1)))
    assert found.seeds == pytest.approx(1, rel=0.05)
    assert found.splits == pytest.approx(2, rel=0.15)
    assert spread(random.normal(0, 1, (3, 10))).p > 0.05


def test_what_cannot_be_found_is_infinite() -> None:
    assert smallest_difference(Spread(1.0, 0.0, 1.0), (1, 5)) == np.inf
    assert smallest_difference(Spread(1.0, 0.0, 1.0), (3, 3), comparisons=45) == np.inf
    assert seeds_needed(0.1, np.inf, Spread(1.0, 0.0, 1.0), (3, 3)) is None


def test_expected_best_by_simulation() -> None:
    random = np.random.default_rng(0)
    validation, test = random.normal(0, 1, 6), random.normal(0, 1, 6)
    exact = expected_best(validation, test)
    for n in (1, 3, 6):
        drawn = [random.choice(6, n, replace=False) for _ in range(4000)]
        assert exact[n - 1] == pytest.approx(np.mean([test[d[np.argmax(validation[d])]] for d in drawn]), abs=0.05)
