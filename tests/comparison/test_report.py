"""The report and the terminal: complete, self-contained, readable without a script."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from nonlin.comparison import compare, svg
from nonlin.comparison.analysis import analyse, choose, verdict
from nonlin.comparison.plan import Plan
from nonlin.comparison.study import Study
from nonlin.comparison.terminal import show
from studies import SMALL

SECTIONS = [
    "Leaderboard",
    "Every run",
    "Learning rate × activation",
    "Paired differences",
    "Gradient and variance by depth",
    "Would more seeds help?",
    "Expected best against tuning budget",
    "Protocol",
    "Commands",
]


def row(activation: str, seed: int, part: int, score: float, rate: float = 1e-3, **changes: Any) -> dict[str, Any]:
    health = {name: [0, 0] for name in ("dead", "always_on", "negative_only", "saturated", "non_finite")}
    profile = {**health, "samples": 9, "units": [8, 8], "rms_z": [1, 1], "variance_z": [1, 1.5], "rms_gradient": [0.1, 0.2]}
    base = dict(dataset="d", activation=activation, learning_rate=rate, gain="exact", seed=seed, split=part, status="ok")
    base |= dict(score=score, validation=score, seconds=0.1, error="", health={"start": profile, "end": profile})
    return base | changes


def study_of(scores: dict[str, np.ndarray], metric: str = "accuracy", **changes: Any) -> Study:
    splits, seeds = next(iter(scores.values())).shape
    plan = Plan(activations=tuple(scores), learning_rates=(1e-3,), seeds=seeds, splits=splits, datasets=("d",))
    rows = [row(n, s, p, float(v[p, s]), **changes) for n, v in scores.items() for p in range(splits) for s in range(seeds)]
    dataset = dict(name="d", rows=99, features=4, task="classification", classes=2, metric=metric, notes=[], fingerprint="f")
    analysis = analyse(rows, plan, {"d": {**dataset, "constant": [0.5] * splits}})
    facts = {"versions": {"torch": "2"}, "gains": {}, "command": "", "study": "", "interrupted": 0, "seconds": 1.0, "runs": 1}
    return Study(analysis, plan, None, facts)


def planted(**shifts: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    common = 0.95 + random.normal(0, 0.004, (3, 10))
    return {name: common + random.normal(0, 0.002, (3, 10)) + shift for name, shift in shifts.items()}


@pytest.fixture(scope="module")
def page() -> str:
    return compare("digits", **{**SMALL, "seeds": 3}, workers=0).html()


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
        assert root.get("aria-label")
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
        (dict(relu=0.0, gelu=-0.004), r"On d relu is best, with accuracy 9\d\.\d\d %: better than gelu, the next, by 0\.[34]"),
        (dict(relu=0.0, gelu=-0.004), r"A little worse: gelu"),
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
    dataset = dict(name="d", metric="accuracy", notes=[], constant=[0.5] * 3)
    table = analyse(rows, plan, {"d": dataset}, {"gelu": 30, "relu": 4, "tanh": 12}).tables[0]
    assert table.recommended.name == "relu"
    assert "take relu, the cheapest of them" in verdict(table)[0]


def test_failed_and_diverged_runs_are_kept_and_counted() -> None:
    plan = Plan(activations=("relu", "tanh", "gelu"), learning_rates=(1e-3,), seeds=2, splits=3, datasets=("d",))
    rows = [row("relu", s, p, 0.9) for p in range(3) for s in range(2)]
    rows += [row("tanh", s, p, 0.9, status="diverged" if s else "ok") for p in range(3) for s in range(2)]
    bad = dict(score=None, validation=None, status="failed", error="boom", health={}, seconds=0.0)
    rows += [row("gelu", s, p, 0.9) | (bad if (s, p) == (0, 0) else {}) for p in range(3) for s in range(2)]
    analysis = analyse(rows, plan, {"d": dict(name="d", metric="accuracy", notes=[], constant=[0.25] * 3)})
    table = analysis.tables[0]
    assert table["gelu"].scores[0, 0] == 0.25  # what a constant prediction scores
    assert (table["tanh"].diverged, table["gelu"].failed, table["gelu"].errors) == (3, 1, ["boom"])
    text = " ".join(analysis.verdict())
    assert "Runs that diverged, at all settings: tanh 3 of 6." in text
    assert "Runs that failed: gelu 1 of 6 (boom)." in text


def test_a_setting_is_chosen_by_the_other_seeds_of_the_split() -> None:
    random = np.random.default_rng(0)
    validation = random.normal(size=(4, 3, 5))
    picked = choose(validation)
    for part in range(3):
        for seed in range(5):
            others = np.delete(validation[:, part], seed, axis=1).mean(axis=1)
            assert picked[part, seed] == others.argmax()
    # What a seed itself saw changes nothing of its own choice, nor of other splits'.
    changed = validation.copy()
    changed[:, 1, 2] = random.normal(size=4) * 100
    assert choose(changed)[1, 2] == picked[1, 2]
    np.testing.assert_array_equal(choose(changed)[[0, 2]], picked[[0, 2]])


def test_the_best_at_the_edge_is_said() -> None:
    plan = Plan(activations=("relu", "tanh"), learning_rates=(1e-3, 1e-2), seeds=6, splits=3, datasets=("d",))
    scores = planted(relu=0.0, tanh=0.0)
    rows = [
        row(n, s, p, v[p, s] + (r == 1e-2) * 0.01, rate=r)
        for n, v in scores.items()
        for p in range(3)
        for s in range(6)
        for r in (1e-3, 1e-2)
    ]
    text = " ".join(analyse(rows, plan, {"d": dict(name="d", metric="accuracy", notes=[], constant=[0.1] * 3)}).verdict())
    assert "Best at the edge of the learning rates that were tried: relu (0.01) and tanh (0.01)" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_fits(width: int) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, file=None)
    with console.capture() as capture:
        show(console, study_of(planted(relu=0.0, leaky_relu=0.0, sigmoid=-0.02)))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert any("leaky_relu" in line and "…" not in line for line in lines)
    assert "not varied: model: multilayer perceptron" in " ".join(lines).replace("  ", " ")


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((0, 1), (-3.7, 12.2), (0.961, 0.9702), (5, 5)):
        found = svg.ticks(low, high)
        assert found
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
        assert len(found) <= 11


def test_charts_survive_odd_values(tmp_path: Path) -> None:
    nan = math.nan
    for drawing in (
        svg.lines({"a": [1.0, nan, 0.0], "b": [nan, nan, nan]}, "t", "x", str, logarithmic=True),
        svg.lines({f"name{i}": [1.0, 1.0] for i in range(12)}, "t", "x", str),
        svg.dots([("a", [0.5], (0.5, 0.5), True)], str, "t"),
        svg.forest([("a", 0.0, (0.0, 0.0), True)], 0.0, str, "t"),
        svg.heat(["a"], ["1"], [[nan]], [0], str, "t"),
        svg.critical_difference({"a": 1.0, "b": 2.0}, 9.0, "t"),
    ):
        assert "nan" not in drawing.replace("name", "")
        ElementTree.fromstring(drawing)
    assert svg.lines({"a": [nan]}, "t", "x", str) == ""
