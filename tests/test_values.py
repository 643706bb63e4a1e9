"""Value, first and second derivative of every entry in float64 against mpmath, on the whole grid."""

import math

import numpy as np
import pytest
from mpmath import mp, mpf

from entries import ELEMENTWISE, POINTS, distinct, evaluate, over_entries, over_orders, parameters
from oracle import ORACLE, WRITTEN, ulp_error, value

ULPS = 4
# Where a function or a derivative passes through zero, no sum of rounded terms is right to its own last place. There
# the error is measured in units of what the function is an eighth of x to either side: only where it changes its sign
# between the two, so that tails, which do not, are held to their own last place however small they are.
NEARBY = (0.875, 1.125)

EXCEPTIONS: dict[tuple[str, int], tuple[list[float], str]] = {
    **{
        ("hard_sigmoid", order): (
            [-3.0, 3.0],
            "the double nearest to 1/6 is a little smaller, so the oracle's kinks lie just beyond; here they are kinks",
        )
        for order in (0, 1)
    },
}


def near_sign_change(name: str, x: float, order: int, got: float, want: mpf, **given: float) -> bool:
    around = [value(name, x * factor, order, **given) for factor in NEARBY]
    if mp.sign(around[0]) * mp.sign(around[1]) >= 0:
        return False
    unit = mp.ldexp(max(map(abs, around)), -52)
    return bool(abs(got - want) <= ULPS * unit)


def failures(name: str, order: int, points: list[float], **other: float) -> list[str]:
    given = parameters(name, **other)
    xs = distinct(points)
    with np.errstate(all="ignore"):  # what may warn is the matter of test_conventions.py
        results = evaluate(name, xs, order, **other)
    found = []
    for x, got in zip(xs.tolist(), results.tolist(), strict=True):
        want = value(name, x, order, **given)
        ulps = ulp_error(got, want, "float64")
        finite = math.isfinite(x) and math.isfinite(got) and abs(x) < 1e308
        if ulps > ULPS and not (finite and near_sign_change(name, x, order, got, want, **given)):
            found.append(f"x={x!r}: got {got!r}, want {mp.nstr(want, 20)}, {ulps:.3g} ulp")
    return found


def test_the_oracle_knows_no_other_entry() -> None:
    assert set(ELEMENTWISE) >= WRITTEN


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name != "rational"])  # its defaults are fitted
def test_defaults_are_those_of_the_oracle(name: str) -> None:
    own = {key: p.default for key, p in ELEMENTWISE[name].parameters.items() if p.default is not None}
    record = ORACLE[name]
    assert own.keys() == record.parameters.keys()
    assert set(ELEMENTWISE[name].parameters) == record.parameters.keys() | record.required.keys()
    assert own == {key: pytest.approx(parameters(name)[key], rel=1e-15) for key in own}


@over_orders
@over_entries
def test_float64_agrees_with_mpmath(name: str, order: int) -> None:
    excepted, _ = EXCEPTIONS.get((name, order), ([], ""))
    assert not failures(name, order, [x for x in POINTS if x not in excepted])


# Values at which a formula degenerates (0 times infinity, a sign that turns a limit round), and ordinary ones.
OTHER_PARAMETERS: list[tuple[str, dict[str, float]]] = [
    *[(name, {"negative_slope": slope}) for name in ("leaky_relu", "prelu") for slope in (0.0, -1.0, 2.0)],
    ("rrelu", {"lower": -1.0, "upper": 1.0}),
    ("clipped_relu", {"max_value": 0.0}),
    ("thresholded_relu", {"theta": 0.0}),
    ("star_relu", {"scale": 0.0, "bias": 1.0}),
    ("star_relu", {"scale": -1.0, "bias": 0.5}),
    ("hard_tanh", {"min_value": 0.0, "max_value": 0.0}),
    ("hard_tanh", {"min_value": -2.0, "max_value": 3.0}),
    *[("softplus", {"beta": beta}) for beta in (0.25, 2.0)],
    *[("squareplus", {"b": b}) for b in (1e-6, 0.25)],
    ("smelu", {"beta": 2.0}),
    *[("elu", {"alpha": alpha}) for alpha in (0.0, 2.0)],
    *[("celu", {"alpha": alpha}) for alpha in (-1.0, 0.5, 2.0)],
    ("isrlu", {"alpha": 4.0}),
    *[("swish", {"beta": beta}) for beta in (0.0, -1.0, 2.0)],
    ("laplace", {"mu": 0.0, "sigma": 1.0}),
    ("xielu", {"alpha_p": 0.0}),
    *[("xielu", {"alpha_n": alpha}) for alpha in (0.0, 0.25, 0.5)],
    ("xielu", {"eps": 0.0}),
    ("softcap", {"cap": 1.0}),
    ("hard_sigmoid", {"slope": 0.25}),
    *[("dyt", {"alpha": alpha, "shift": 1.0}) for alpha in (0.0, -1.0)],
    ("dyt", {"scale": 0.0, "shift": 1.0}),
    ("hard_shrink", {"lambd": 0.0}),
    ("soft_shrink", {"lambd": 0.0}),
    *[("sin", {"omega": omega}) for omega in (0.0, -1.0, 30.0)],
    *[("snake", {"alpha": alpha}) for alpha in (0.5, -2.0)],
    *[("snake_beta", {"alpha": alpha, "beta": beta}) for alpha, beta in ((0.0, -1.0), (2.0, 3.0))],
]


def spelled(name: str, other: dict[str, float]) -> str:
    return f"{name}({', '.join(f'{key}={value:g}' for key, value in other.items())})"


@over_orders
@pytest.mark.parametrize(("name", "other"), OTHER_PARAMETERS, ids=[spelled(*case) for case in OTHER_PARAMETERS])
def test_float64_agrees_with_mpmath_at_other_parameters(name: str, other: dict[str, float], order: int) -> None:
    assert not failures(name, order, POINTS, **other)
