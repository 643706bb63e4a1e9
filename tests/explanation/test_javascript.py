"""The functions of the pages give Python's numbers."""

import math
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from nonlin.explanation.entries import Entry
from nonlin.explanation.javascript import language
from pages import literal, needs_node, run, static

CURVES = [name for name, entry in nl.activations.items() if Entry(entry).is_curve and entry.family != "own"]
FAR = [10.0**k for k in range(-300, 301, 20)] + [0.1, 1.7, 5.3, 17.9, 36.7, 88.2, 130.0, 350.0, 700.0, 744.0, 800.0]
GRID = [math.nan, math.inf, -math.inf, 0.0, *np.linspace(-9.7, 9.9, 197).tolist(), *FAR, *(-x for x in FAR)]


def settings(entry: Entry) -> list[list[float]]:
    """The defaults, and others that are allowed."""
    other = {name: value * 1.25 for name, value in entry.defaults.items()}
    try:
        entry.activation.check(**other)
    except ValueError:
        return [list(entry.defaults.values())]
    return [list(values.values()) for values in (entry.defaults, other)][: 2 if other else 1]


@pytest.fixture(scope="module")
def computed() -> dict[str, Any]:
    parts = [language(), f"const grid = [{', '.join(map(literal, GRID))}]; const found = {{}};"]
    for name in CURVES:
        entry = Entry(nl.get(name))
        given = f"[{', '.join('[' + ', '.join(map(literal, s)) + ']' for s in settings(entry))}]"
        parts.append(f"found.{name} = [{', '.join(entry.programs())}].map(f => {given}.map(p => grid.map(x => f(x, ...p))));")
    return dict(run("\n".join([*parts, "answer(found);"])))


#: Where the page may be farther off: entries, orders, from which |x| on, whether at the defaults too, and why.
EXCUSED: tuple[tuple[str, tuple[int, ...], float, bool, str], ...] = (
    ("swish snake snake_beta isrlu", (0, 1, 2), math.inf, False, "finished formulas know the limits of the defaults"),
    ("sin snake snake_beta", (0, 1, 2), 1e15, False, "the rounding of alpha*x is more than a wave"),
    ("rational", (2,), 1e20, True, "terms cancel far out"),
    ("sqrt_softplus", (0, 1, 2), 690.0, True, "exp(x), whose root counts, is subnormal or taken for 0"),
)


def excused(name: str, order: int, *, is_default: bool) -> Any:
    x = np.abs(GRID)
    found = np.zeros(len(x), bool)
    for names, orders, beyond, always, _ in EXCUSED:
        if name in names.split() and order in orders and (always or not is_default):
            found |= x >= beyond
    return found


@needs_node
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", CURVES)
def test_the_page_computes_what_python_does(name: str, order: int, computed: dict[str, Any]) -> None:
    entry = Entry(nl.get(name))
    for number, (values, got) in enumerate(zip(settings(entry), computed[name][order], strict=True)):
        with np.errstate(all="ignore"):
            want = nl.get(name).derivative(np.array(GRID), *values, order=order)
        counts = ~excused(name, order, is_default=number == 0)
        got, want = np.array(got, float)[counts], want[counts]
        # Next to a zero of the function terms cancel.
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15, err_msg=f"{name}{values}")
        # In the tails all digits count that are no subnormal ones.
        tail = (np.abs(want) < 1e-30) & (np.abs(GRID)[counts] > 1)
        np.testing.assert_allclose(got[tail], want[tail], rtol=1e-13, atol=1e-316, err_msg=f"{name}{values}")


@needs_node
def test_the_normal_distribution() -> None:
    mpmath = pytest.importorskip("mpmath")
    points = np.linspace(-26, 26, 521).tolist()
    script = f"answer([{', '.join(map(literal, points))}].map(x => [erf(x), erfc(x), normal_cdf(x)]));"
    for x, got in zip(points, run(language() + script), strict=True):
        want = [mpmath.erf(x), mpmath.erfc(x), mpmath.ncdf(x)]
        for value, exact in zip(got, want, strict=True):
            assert abs(value - exact) <= 1.5e-15 * abs(exact), (x, value, exact)


@needs_node
def test_rounding_to_other_formats() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.normal(size=300) * 10.0 ** generator.integers(-44, 39, 300), [65519.0, 65520.0, 0.0, -1e-9]])
    points = ", ".join(map(literal, x.tolist()))
    got = run(
        f'{static("numbers.js")} answer(["float16", "bfloat16", "float32"].map(f => [{points}].map(x => rounded(x, f))));'
    )
    with np.errstate(over="ignore"):
        for values, dtype in zip(got, (np.float16, ml_dtypes.bfloat16, np.float32), strict=True):
            np.testing.assert_array_equal(np.array(values, float), x.astype(dtype).astype(np.float64))
