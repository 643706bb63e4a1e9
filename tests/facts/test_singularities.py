"""Facts where a formula is singular: wherever that is, the same as at 0, and what a dense evaluation shows."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from nonlin.facts import UnknownFactError, facts_of
from nonlin.facts.evaluation import Work
from nonlin.formula import Expression, Symbol, absolute, arctan, cos, exp, log, maximum, sin, sqrt, tanh, where

x = Symbol("x")
Function = Callable[[Any], Any]

#: Functions of z that are singular at 0 or close to it.
SINGULAR: dict[str, Function] = {
    "logarithm": log,
    "pole": lambda z: 1 / z,
    "double pole": lambda z: z**-2,
    "pole of a root": lambda z: 1 / sqrt(z),
    "root": sqrt,
    "half circle": lambda z: sqrt(1 - z**2),
    "two poles": lambda z: 1 / (z**2 - 2),
    "logarithm of the distance": lambda z: log(absolute(z)),
    "jump": lambda z: arctan(1 / z),
    "essential singularity": lambda z: exp(1 / z),
    "turning point": lambda z: z * log(z),
    "hole": lambda z: z**2 / z,
    "a branch": lambda z: where(z > 0, 1 / z, tanh(z)),
    "vertical slope": lambda z: sqrt(maximum(z, 0)),
}
SHIFTS = {"1": 1, "-2.5": -2.5, "1/3": x * 0 + 1 / 3, "sqrt(2)": sqrt(2 + 0 * x), "40": 40}
MOVED = (
    "range",
    "bounded",
    "limits",
    "monotone",
    "convexity",
    "smoothness",
    "lipschitz",
    "saturates",
    "derivative_from_output",
)


@pytest.mark.parametrize("name", SINGULAR)
def test_a_singularity_elsewhere_is_like_one_at_zero(name: str) -> None:
    f = SINGULAR[name]
    shift = random.Random(name).choice(list(SHIFTS.values()))
    here, there = facts_of(f(x)), facts_of(f(x - shift))
    assert {fact: str(getattr(there, fact)) for fact in MOVED} == {fact: str(getattr(here, fact)) for fact in MOVED}
    with mp.workdps(40):
        distance = facts_of(x - shift).zeros.points[0]
        for places, moved in (
            (here.zeros.points, there.zeros.points),
            ([kink.x for kink in here.kinks], [kink.x for kink in there.kinks]),
        ):
            assert len(places) == len(moved)
            assert all(abs(a + distance - b) < 1e-30 for a, b in zip(places, moved, strict=True))
    assert [(kink.order, str(kink.left), str(kink.right)) for kink in there.kinks] == [
        (kink.order, str(kink.left), str(kink.right)) for kink in here.kinks
    ]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (log(1 + x), {"range": "(-inf, inf)", "lipschitz": "inf", "convexity": "concave", "kinks": "none"}),
        (1 / (x - 1), {"range": "(-inf, inf)", "zeros": "nowhere", "kinks": "value jumps from -inf to inf at 1"}),
        (sqrt(1 - x**2), {"range": "[0, 1]", "lipschitz": "inf", "smoothness": "C0", "zeros": "-1, 1"}),
        (1 / sin(x), {"range": "(-inf, inf)", "period": str(2 * math.pi), "mean": "nan"}),
        (1 / sin(x) ** 2, {"range": "[1, inf)", "zeros": "nowhere"}),
        (log(sin(x)), {"range": "(-inf, 0]", "zeros": "-4.71239, 1.5708, 7.85398, ... (infinitely many)"}),
        (sin(x) / cos(x), {"range": "(-inf, inf)", "monotone": "none", "period": str(math.pi)}),
        (sin(1 / (x - 1)), {"range": "[-1, 1]", "kinks": "value has no limit at 1", "lipschitz": "inf"}),
        (1 / sqrt(absolute(x - 1)), {"range": "(0, inf)", "second_moment": "nan"}),
    ],
    ids=str,
)
def test_facts_of_singular_formulas(formula: Expression, expected: dict[str, str]) -> None:
    table = facts_of(formula).table(*expected)
    assert {fact.replace(" ", "_"): words for fact, words in table.items()} == expected


def test_what_is_not_found_is_said() -> None:
    facts = facts_of(x * sin(exp(x / 7)))
    facts._work = Work(5_000)
    with pytest.raises(UnknownFactError, match=r"^the steepest of x\*sin\(exp\(x/7\)\) is unknown: it was not found"):
        _ = facts.steepest
    assert facts.as_dict()["steepest"] == "unknown"
    assert "steepest               unknown" in repr(facts)


# Random compositions against many values


def compositions(count: int) -> list[tuple[str, Function, float]]:
    """Functions with a singularity somewhere, and where."""
    draw = random.Random(5)
    outer: dict[str, Function] = {
        "itself": lambda y, _: y,
        "tanh": lambda y, _: tanh(y),
        "sum": lambda y, x: y + x / 2,
        "product": lambda y, x: x * y,
        "multiple": lambda y, _: 3 - 2 * y,
        "larger": lambda y, x: maximum(y, x),
        "exponential": lambda y, _: exp(-(y**2)),
    }  # type: ignore[dict-item]
    found = []
    for _ in range(count):
        (inner, f), (around, g) = draw.choice(list(SINGULAR.items())), draw.choice(list(outer.items()))
        place, scale = draw.choice([-3.25, -1.0, 0.7, 1.0, 2.5, 12.0]), draw.choice([1, -1, 2.5])
        name = f"{around} of {inner} at {place}, scaled by {scale}"
        found.append((name, lambda x, f=f, g=g, place=place, scale=scale: g(f(scale * (x - place)), x), place))
    return found


CASES = compositions(24)


@pytest.mark.parametrize(("function", "place"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_facts_agree_with_many_values(function: Function, place: float) -> None:
    formula = function(x)
    found = facts_of(formula)
    near = np.concatenate([np.geomspace(1e-9, 1e3, 2500), 1 - np.geomspace(1e-9, 1e-1, 500), [1.0]])
    points = np.unique(np.concatenate([place - near, place + near, np.linspace(-8, 8, 3001), -near, near]))
    with np.errstate(all="ignore"):
        values = numerically(formula, points)
    real = np.isfinite(values)
    points, values, joined = points[real], values[real], np.diff(np.flatnonzero(real)) == 1
    slack = 1e-6 * (1 + np.abs(values))
    low, high = found.range.infimum, found.range.supremum
    assert np.all((values >= low - slack) & (values <= high + slack))
    for bound, reached in ((low, values.min()), (high, values.max())):
        # Logarithms grow slowly, and some bounds are only approached.
        assert abs(reached) > 5 if math.isinf(bound) else abs(reached - bound) < 0.01, (bound, reached)
    rises = np.diff(values)
    if found.monotone is not None:
        direction = -1 if "decreasing" in found.monotone else 1
        assert np.all(direction * rises >= -slack[1:])
    else:
        assert np.any(rises > 0)
        assert np.any(rises < 0)
    with np.errstate(over="ignore"):
        slopes = np.abs(rises / np.diff(points))
    resolved = joined & (np.diff(points) > 1e-7)
    assert np.all(slopes[resolved] <= found.lipschitz * 1.001 + 1e-3)
    assert np.max(slopes) > (15 if math.isinf(found.lipschitz) else 0.98 * found.lipschitz - 1e-3)
    zeros = [*map(float, found.zeros.points), *(float(end) for i in found.zeros.intervals for end in (i.low, i.high))]
    zeros += [float(kink.x) for kink in found.kinks if kink.order == 0]
    for k in np.flatnonzero(joined & (np.sign(values[:-1]) * np.sign(values[1:]) < 0)):
        assert any(points[k] <= zero <= points[k + 1] for zero in zeros), points[k]


def numerically(formula: Expression, points: Any) -> Any:
    """Evaluate a formula in NumPy, as its text stands."""
    return eval(str(formula), {**vars(np), "x": points})
