"""The report and the terminal: complete, self-contained, readable without a script."""

import math
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from nonlin.comparison import compare
from nonlin.comparison.analysis import analyse
from nonlin.comparison.plan import Plan
from nonlin.comparison.running import chosen
from nonlin.comparison.study import Study
from nonlin.comparison.terminal import show
from nonlin.comparison.verdict import verdict
from studies import SMALL

SECTIONS = [
    "What to do",
    "What was compared",
    "Leaderboard",
    "Every run",
    "Learning rate × activation",
    "Paired differences",
    "Gradient and variance by depth",
    "Would more seeds help?",
    "The price of less tuning",
    "Protocol",
    "Commands",
]


def row(activation: str, seed: int, part: int, score: float | None, rate: float = 1e-3, **changes: Any) -> dict[str, Any]:
    health = {name: [0, 0] for name in ("dead", "always_on", "negative_only", "saturated", "non_finite")}
    profile = {**health, "samples": 9, "units": [8, 8], "rms_z": [1, 1], "variance_z": [1, 1.5], "rms_gradient": [0.1, 0.2]}
    base = dict(dataset="d", activation=activation, kind="judged", learning_rate=rate, gain="exact", seed=seed, split=part)
    base |= dict(score=score, validation=score, validation_loss=0.1, steps=200, best=100, ended="turned", status="ok")
    base |= dict(seconds=0.1, error="", health={"start": profile, "end": profile})
    return base | changes


def baseline(name: str, *scores: float) -> list[dict[str, Any]]:
    return [row(name, 0, part, score, rate=0.0, kind="baseline", health={}) for part, score in enumerate(scores)]


def about(metric: str = "accuracy") -> dict[str, Any]:
    return dict(name="d", rows=99, features=4, task="classification", classes=2, metric=metric, notes=[], fingerprint="f")


def study_of(scores: dict[str, np.ndarray], metric: str = "accuracy", **changes: Any) -> Study:
    splits, seeds = next(iter(scores.values())).shape
    plan = Plan(activations=tuple(scores), learning_rates=(1e-3,), seeds=seeds, splits=splits, datasets=("d",))
    rows = [row(n, s, p, float(v[p, s]), **changes) for n, v in scores.items() for p in range(splits) for s in range(seeds)]
    shift = -1.2 if metric == "log loss" else 0.0  # the ledger holds what more of is better
    for name, level in (("constant", 0.5), ("linear", 0.9), ("boosting", 0.9)):
        rows += baseline(name, *[level + shift] * splits)
    analysis = analyse(rows, plan, {"d": about(metric)})
    facts = {"versions": {"torch": "2"}, "gains": {}, "command": "", "study": "", "interrupted": 0, "seconds": 1.0, "runs": 1}
    return Study(analysis, plan, None, facts)


def planted(**shifts: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    common = 0.95 + random.normal(0, 0.004, (3, 10))
    return {name: common + random.normal(0, 0.002, (3, 10)) + shift for name, shift in shifts.items()}


@pytest.fixture(scope="module")
def page() -> str:
    return compare("wine", **{**SMALL, "seeds": 3, "splits": 4}, workers=0).html()


def test_the_page_is_self_contained(page: str) -> None:
    assert len(page.encode()) < 300_000
    assert not re.search(r"https?:|//\w|url\(|@import|<script|<link|<img|<iframe|\bon\w+=", page)
    assert "prefers-color-scheme:dark" in page
    assert 'name="viewport"' in page


def test_all_sections_in_order(page: str) -> None:
    assert re.findall(r"<h2>(.*?)</h2>", page) == SECTIONS
    assert page.index('class="verdict"') < page.index("Leaderboard")


def test_each_chart_is_well_formed_and_named(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 9
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label") or root.get("aria-hidden")  # a thumbnail stands above its name
        numbers = re.findall(r"-?\d+\.?\d*", " ".join(p.get("d", "") for p in root.iter("path")))
        assert all(math.isfinite(float(number)) for number in numbers)
        assert "nan" not in drawing


def test_tags_are_balanced(page: str) -> None:
    tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "path", "rect", "circle"):
                tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("path", "rect", "circle"):
                assert tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert tags == []


def test_names_are_escaped() -> None:
    page = study_of(planted(**{"relu": 0.0, "<b>&": 0.0})).html()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_a_large_study_stays_small() -> None:
    random = np.random.default_rng(0)
    scores = {f"activation{i}": random.normal(0.9, 0.01, (10, 100)) for i in range(10)}
    assert len(study_of(scores).html().encode()) < 300_000


@pytest.mark.parametrize(
    ("shifts", "said"),
    [
        (dict(relu=0.0, gelu=0.0, sigmoid=-0.02), r"relu and gelu|gelu and relu"),
        (dict(relu=0.0, gelu=0.0, sigmoid=-0.02), r"Clearly worse: sigmoid \(-(1\.9|2\.0)\d points\)\."),
        (dict(relu=0.0, gelu=-0.006), r"On d relu is best, with accuracy 9\d\.\d\d %: better than gelu, the next, by 0\.[567]"),
        (dict(relu=0.0, gelu=-0.0055), r"A little worse: gelu"),
        (dict(relu=0.0, gelu=-0.004), r"all activations tie: relu and gelu cannot be told apart"),  # it makes no difference
        (dict(relu=0.0), "there was nothing to compare it with"),
    ],
)
def test_verdicts(shifts: dict[str, float], said: str) -> None:
    assert re.search(said, study_of(planted(**shifts)).verdict)


def test_the_cheapest_of_those_that_tie_is_recommended() -> None:
    plan = Plan(activations=("gelu", "relu", "tanh"), learning_rates=(1e-3,), seeds=10, splits=3, datasets=("d",))
    scores = planted(gelu=0.0005, relu=0.0, tanh=0.0)
    costs = dict(gelu=0.15, relu=0.11, tanh=0.1)  # times are shown, and not what decides
    rows = [row(n, s, p, v[p, s], seconds=costs[n]) for n, v in scores.items() for p in range(3) for s in range(10)]
    table = analyse(rows, plan, {"d": about()}, {"gelu": 30, "relu": 4, "tanh": 12}).tables[0]
    assert table.recommended.name == "relu"
    assert "take relu, the cheapest of them" in verdict(table)[0]


def test_failed_and_diverged_runs_are_kept_and_counted() -> None:
    plan = Plan(activations=("relu", "tanh", "gelu"), learning_rates=(1e-3,), seeds=2, splits=3, datasets=("d",))
    rows = [row("relu", s, p, 0.9) for p in range(3) for s in range(2)]
    rows += [row("tanh", s, p, 0.9, status="diverged" if s else "flat") for p in range(3) for s in range(2)]
    bad = dict(score=None, validation=None, status="failed", error="boom", health={}, seconds=0.0)
    rows += [row("gelu", s, p, 0.9) | (bad if (s, p) == (0, 0) else {}) for p in range(3) for s in range(2)]
    rows += [row("gelu", s, p, 0.9, status="flat") for p in range(3) for s in range(2) if (s, p) == (1, 1)]
    analysis = analyse([*rows, *baseline("constant", 0.25, 0.25, 0.25)], plan, {"d": about()})
    table = analysis.tables[0]
    assert table["gelu"].scores[0, 0] == 0.25  # what a constant prediction scores
    assert (table["tanh"].diverged, table["gelu"].failed, table["gelu"].errors) == (3, 1, ["boom"])
    text = " ".join(analysis.verdict())
    assert "No result: tanh diverged in all runs that count; nothing is said of it." in text
    assert "Runs that did not learn: gelu 1 of 6." in text
    assert "Runs that failed: gelu 1 of 6 (boom)." in text


def test_a_setting_is_chosen_by_the_tuning_runs_of_the_split() -> None:
    random = np.random.default_rng(0)
    rates, rows = (1e-4, 1e-3, 1e-2), []
    for part in range(3):
        for rate in rates:
            given_up = rate == rates[part]
            rows += [
                row("relu", s, part, 0, rate, validation=random.normal() + 9 * given_up, ended="rung" if given_up else "turned")
                for s in (7, 8)
            ]
    picked = chosen(rows)
    for part in range(3):
        means = {r: np.mean([x["validation"] for x in rows if (x["split"], x["learning_rate"]) == (part, r)]) for r in rates}
        del means[rates[part]]  # given up: out, whatever it had reached
        assert picked[part] == (max(means, key=means.__getitem__), "exact")
    # Among equal scores the smaller loss decides, then the middle.
    same = [
        row("relu", 7, 0, 0, rate, validation=0.9, validation_loss=loss)
        for rate, loss in zip(rates, (0.2, 0.3, 0.1), strict=True)
    ]
    assert chosen(same)[0] == (1e-2, "exact")
    assert chosen([x | {"validation_loss": 0.1} for x in same])[0] == (1e-3, "exact")


@pytest.mark.parametrize(("gap", "said"), [(0.01, True), (0.0, False)])
def test_the_best_at_the_edge_is_said_if_it_is_better_by_more_than_noise(gap: float, said: bool) -> None:
    plan = Plan(activations=("relu", "tanh"), learning_rates=(1e-3, 1e-2), seeds=6, splits=3, datasets=("d",))
    scores = planted(relu=0.0, tanh=0.0)
    random = np.random.default_rng(1)
    rows = [row(n, s, p, v[p, s], rate=1e-2) for n, v in scores.items() for p in range(3) for s in range(6)]
    rows += [
        row(n, 7, p, None, r, kind="tuning", validation=0.9 + (r == 1e-2) * gap + random.normal() * 1e-3)
        for n in scores
        for p in range(3)
        for r in (1e-3, 1e-2)
    ]
    text = " ".join(analyse(rows, plan, {"d": about()}).verdict())
    assert ("Best at the edge of the learning rates by more than noise: relu (0.01) and tanh (0.01)" in text) == said


# --- what a verdict must not say --------------------------------------------------------------------------------------


def test_no_power_is_not_a_tie() -> None:
    """Few pairs, or scores that are all the same: nothing is told apart, nothing is recommended, no interval has width 0."""
    few = study_of({name: scores[:, :2] for name, scores in planted(relu=0.0, gelu=0.0).items()})
    same = study_of({name: np.full((3, 10), 0.97) for name in ("relu", "gelu")})
    for study, said in (
        (few, "6 paired runs are too few to tell anything apart"),
        (same, "all activations score the same in each of 30 paired runs (accuracy 97.00 %): too few to tell"),
    ):
        assert said in study.verdict
        assert "tie:" not in study.verdict
        assert "take " not in study.verdict
        page = study.html()
        assert "What to do" not in page
        assert "found in four of five" not in page
    entry = same.analysis.tables[0].entries[0]
    assert np.isnan(entry.interval).all()
    assert "97.00 – 97.00" not in same.html()
    assert "(1.00–1.00)" not in same.html()


def test_many_activations_need_many_pairs() -> None:
    """Eight pairs can tell two activations apart, but not one of 45 differences after Holm's correction."""
    random = np.random.default_rng(0)
    two = study_of({f"a{i}": 0.9 + random.normal(0, 0.003, (4, 2)) + 0.03 * i for i in range(2)})
    assert "a1 is best" in two.verdict
    ten = study_of({f"a{i}": 0.9 + random.normal(0, 0.003, (4, 2)) + 0.03 * (i == 9) for i in range(10)})
    assert "8 paired runs are too few to tell anything apart" in ten.verdict
    assert "at least 11 are needed, and this is not a tie" in ten.verdict


@pytest.mark.parametrize("status", ["diverged", "flat"])
def test_what_never_gave_a_result_does_not_tie(status: str) -> None:
    scores = planted(relu=0.0, gelu=0.0)
    study = study_of(scores, status=status)
    assert "tie" not in study.verdict
    how = "diverged in all runs that count" if status == "diverged" else "did not learn: never better than a constant"
    assert f"No result: relu and gelu {how}" in study.verdict or f"No result: gelu and relu {how}" in study.verdict
    study.html()


def test_networks_below_the_baselines() -> None:
    plan = Plan(activations=("relu", "gelu"), learning_rates=(1e-3,), seeds=10, splits=3, datasets=("d",))
    rows = [row(n, s, p, v[p, s]) for n, v in planted(relu=0.0, gelu=0.0).items() for p in range(3) for s in range(10)]
    rows += baseline("constant", 0.96, 0.965, 0.96) + baseline("boosting", 0.99, 0.991, 0.99)
    rows += baseline("linear", 0.9, 0.9, 0.9)
    first, second, third, *more = analyse(rows, plan, {"d": about()}).verdict()
    assert first.startswith("On d no network is reliably better than a constant prediction (accuracy 95.")
    assert second.startswith("Gradient boosting does clearly better than all networks: accuracy 99.03 %, +4.")
    assert third.startswith("Long enough")  # and nobody is best among what is no answer
    assert not more


@pytest.mark.parametrize("gap", [0.02, 0.1, 0.3])
def test_a_difference_without_spread_is_no_tie_and_no_certainty(gap: float) -> None:
    """Rounding made some of them spread, and decided."""
    base = planted(relu=0.0)["relu"]
    found = study_of({"relu": base, "gelu": base - gap})
    first, second, *_ = found.analysis.verdict()
    assert first.endswith(f"better than gelu, the next, by {100 * gap:.2f} points (the same in each pair).")
    assert second == f"Clearly worse: gelu (-{100 * gap:.2f} points)."
    low, high = found.analysis.tables[0].compared["relu", "gelu"].probability_interval
    assert (low, high) == (pytest.approx(0.025 ** (1 / 30)), 1.0)


def test_curves_that_still_rise_are_said() -> None:
    assert (
        "Too short: 100 % of the validation curves still rose" in study_of(planted(relu=0.0, gelu=0.0), ended="limit").verdict
    )
    assert "Long enough: every validation curve had turned" in study_of(planted(relu=0.0, gelu=0.0)).verdict


def test_a_metric_of_which_less_is_better() -> None:
    scores = {name: value - 1.2 for name, value in planted(relu=0.0, gelu=-0.05).items()}
    study = study_of(scores, metric="log loss")
    assert re.search(
        r"relu is best, with log loss 0\.2[45]\d: better than gelu, the next, by 0\.05\d \(95 %: 0\.0[45]", study.verdict
    )
    assert re.search(r"Clearly worse: gelu \(\+0\.05\d\)", study.verdict) or re.search(r"gelu \(\+0\.05", study.verdict)
    for drawing in re.findall(r"<svg.*?</svg>", study.html(), re.DOTALL):
        ElementTree.fromstring(drawing)
    shown = study.table().set_index("activation")
    assert (shown["low"] < shown["score"]).all()
    assert (shown["score"] < shown["high"]).all()
    assert (shown["score"] > 0).all()


def test_the_box_says_what_to_type() -> None:
    page = study_of(planted(leaky_relu=0.0, sigmoid=-0.02)).html()
    box = page[page.index("What to do") : page.index("Leaderboard")]
    assert "torch.nn.LeakyReLU(negative_slope=0.01)" in box
    assert "keras.layers.LeakyReLU(negative_slope=0.01)" in box
    assert "learning rate of about 0.001" in box
    assert "With sigmoid, the last of them, you would lose about" in box


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_fits(width: int) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, file=None)
    with console.capture() as capture:
        show(console, study_of(planted(relu=0.0, leaky_relu=0.0, sigmoid=-0.02)))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert any("leaky_relu" in line and "…" not in line for line in lines)
    assert "not varied, each with its value in the report: model, " in " ".join(lines).replace("  ", " ")
