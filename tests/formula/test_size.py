"""Formulas of any size: what is done with one takes as long as it has nodes, not as it would be long if written out.

A formula of thirty nodes can stand for a million, and thousands of nodes can stand on top of each other. Whatever took a step
for each way through such a formula, or a call of Python for each level, would never end or would raise RecursionError here.
"""

import copy
import pickle
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nonlin as nl
from nonlin.arithmetic.lowering import lower
from nonlin.arithmetic.number import DOUBLE, EXACT, SINGLE
from nonlin.cli import app
from nonlin.formula import (
    Constant,
    Expression,
    FormulaError,
    Symbol,
    absolute,
    canonical,
    differentiate,
    exp,
    latex,
    maximum,
    sigmoid,
    sin,
    substitute,
    tanh,
    where,
)
from nonlin.formula.expression import postorder
from nonlin.formula.primitives import PRIMITIVES, exp_residual, softsign, tanh_shrink

x = Symbol("x")

#: Each makes a formula one level larger.
SHARED: dict[str, Callable[[Expression, int], Expression]] = {
    "square": lambda y, k: y * y + x,
    "power": lambda y, k: (y + 1) ** 2 - y,
    "gate": lambda y, k: y * sigmoid(y),
    "wave": lambda y, k: sin(y) * y / 2,
    "quotient": lambda y, k: y / (1 + y),
    "choice": lambda y, k: where(y > 0, y, tanh(y)),
    "condition": lambda y, k: where((y > 0) & (y < k), y + 1, absolute(y)),
    "maximum": lambda y, k: maximum(y, tanh(y) + 1),
    "softsign": lambda y, k: softsign(y) + y,
}
DEEP: dict[str, Callable[[Expression, int], Expression]] = {
    "sums": lambda y, k: y + exp(k * x),
    "functions": lambda y, k: tanh(y),
    "repeated in LaTeX": lambda y, k: exp_residual(tanh_shrink(softsign(y))),
    "choices": lambda y, k: where(x > k, y, k - x),
    "quotients": lambda y, k: x / (k + y),
}


def grown(step: Callable[[Expression, int], Expression], levels: int) -> Expression:
    y: Expression = x
    for k in range(1, levels + 1):
        y = step(y, k)
    return y


def count(formula: Expression) -> int:
    return sum(1 for _ in postorder(formula))


over_shared = pytest.mark.parametrize("step", SHARED.values(), ids=SHARED)
over_all = pytest.mark.parametrize("step", (SHARED | DEEP).values(), ids=SHARED | DEEP)


@over_all
@pytest.mark.parametrize("spell", [str, repr, latex, Expression._repr_latex_])
def test_what_is_written_is_as_long_as_the_formula_is_large(
    step: Callable[[Expression, int], Expression], spell: Callable[[Expression], str]
) -> None:
    formula = grown(step, 300)
    assert len(spell(formula)) < 60 * count(formula)


@over_all
def test_pickles_and_copies_are_as_large_as_the_formula(step: Callable[[Expression, int], Expression]) -> None:
    formula = grown(step, 1700)
    pickled = pickle.dumps(formula)
    assert len(pickled) < 40 * count(formula)
    assert pickle.loads(pickled) is copy.copy(formula) is copy.deepcopy(formula) is formula
    assert pickle.loads(pickle.dumps([formula, {"again": formula}])) == [formula, {"again": formula}]


@over_shared
def test_text_with_names_is_read_back(step: Callable[[Expression, int], Expression]) -> None:
    formula = grown(step, 12)
    *assignments, result = str(formula).split("; ")
    assert assignments
    space: dict[str, Any] = {**PRIMITIVES, "x": x}
    for assignment in assignments:
        exec(assignment, space)
    assert eval(result, space) is formula


def test_names_are_not_those_of_symbols() -> None:
    y: Expression = Symbol("t1")
    for _ in range(12):
        y = y * y + Symbol("u7")
    assert str(y).startswith("v1 = t1*t1 + u7; v2 = v1*v1 + u7; ")
    assert latex(y).startswith(r"\begin{aligned} v_{1} &= ")


def test_short_formulas_are_written_out() -> None:
    assert str(grown(SHARED["square"], 2)) == "(x*x + x)*(x*x + x) + x"
    for activation in nl.activations.values():
        if isinstance(activation, nl.Elementwise):
            assert ";" not in str(differentiate(activation.formula, order=2))


@over_shared
@pytest.mark.parametrize(
    "work",
    [
        canonical,
        differentiate,
        lambda f: substitute(f, {"x": tanh(x)}),
        lambda f: lower(canonical(f), SINGLE.for_moderate(), {}),
        lambda f: lower(canonical(f), EXACT, {}),
        lambda f: lower(canonical(f), DOUBLE, {}),
    ],
    ids=["canonical", "differentiate", "substitute", "lower moderate", "lower exact", "lower double"],
)
def test_work_on_shared_formulas_stays_shared(
    step: Callable[[Expression, int], Expression], work: Callable[[Expression], Expression]
) -> None:
    """Twice as many levels make the result not more than about eight times as large: no formula is opened level by level."""
    small, large = (count(work(grown(step, levels))) for levels in (8, 16))
    assert large < 9 * small


@pytest.mark.filterwarnings("ignore::nonlin.AccuracyWarning")  # polynomials of a degree of thousands
@pytest.mark.parametrize("levels", [15, 40])
def test_a_shared_formula_is_an_activation_like_any_other(
    levels: int, registry: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    formula = grown(lambda y, k: (y * y + x) / 4, levels)
    shared = nl.activation(name="shared")(lambda x: substitute(formula, {"x": x}))
    x0 = np.array([0.5])
    expected = 0.5
    for _ in range(levels):
        expected = (expected * expected + 0.5) / 4
    assert shared(x0)[0] == pytest.approx(expected, rel=1e-13)
    assert len(str(shared.formula)) < 40 * levels
    monkeypatch.setitem(sys.modules, "mpmath", None)  # facts are another matter
    result = CliRunner().invoke(app, ["show", "shared"])
    assert result.exit_code == 0, repr(result.exception)


def test_messages_about_shared_formulas_end() -> None:
    y = grown(SHARED["square"], 40)
    for ask in (bool, float, iter, np.asarray, lambda y: y**x, lambda y: y / 0, lambda y: (y > 0) + 1, lambda y: y.clip(0)):
        with pytest.raises(FormulaError) as error:
            ask(y)
        assert len(str(error.value)) < 3000


# Numbers of any size


HUGE: dict[str, Any] = {
    "whole": 10**400,
    "too long for Python": 10**5000,
    "negative": -(10**5000),
    "fraction": Fraction(10**5000, 3),
    "tiny fraction": Fraction(1, 10**5000),
    "tinier than float64": Fraction(1, 10**330),
    "beyond float64": 2**1024,
}
WRITTEN = ["1e400", "1e5000", "-1e400", "1e-400", "1e999999999999", "1e-999999999999", "1" * 5000, "1/0", "", "one", "1e"]
DECIMALS = [Decimal("1e400"), Decimal("-1e-400"), Decimal("1e999999"), Decimal("inf"), Decimal("nan"), Decimal("snan")]


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE)
def test_a_number_that_no_float_is_near_is_refused_in_a_sentence(number: Any) -> None:
    sentence = r"^a number of about -?1e-?\d+ cannot stand in a formula: no float64 is near it$"
    for use in (
        lambda: x + number, lambda: number * x, lambda: x / number, lambda: number / x, lambda: x > number,
        lambda: maximum(x, number), lambda: x ** number, lambda: substitute(x, {"x": number}),
    ):  # fmt: skip
        with pytest.raises(FormulaError, match=sentence):
            use()
    with pytest.raises(FormulaError, match=r"cannot be read as a formula: a number of about"):
        nl.activation(lambda x: number * x)


@pytest.mark.parametrize("number", [*WRITTEN, *DECIMALS], ids=lambda number: repr(number)[:20])
def test_written_numbers_too(number: Any) -> None:
    with pytest.raises(FormulaError, match=r"cannot stand in a formula"):
        Constant(number)


@pytest.mark.parametrize("number", [10**400, 10**5000, -(10**5000)], ids=["400", "5000", "-5000"])
def test_parameters_are_such_numbers_too(number: int) -> None:
    for use in (lambda: nl.Parameter(number), lambda: nl.Parameter(1, le=number), lambda: nl.elu.with_(alpha=number)):
        with pytest.raises(FormulaError, match=r"no float64 is near it$"):
            use()


@pytest.mark.parametrize(
    ("number", "spelled"),
    [
        (1.7e308, "17" + "0" * 307),
        (5e-324, "5e-324"),
        (-2.2e-308, "-2.2e-308"),
        (Fraction(10**320 + 1, 10**320), "1.0"),
        (Decimal("0.30"), "0.3"),
        ("1_000.5", "1000.5"),
    ],
)
def test_numbers_at_the_ends_of_the_range_are_spelled(number: Any, spelled: str) -> None:
    assert str(Constant(number)) == spelled
    assert latex(Constant(number))


def test_results_of_simplification_may_leave_the_range() -> None:
    assert str(canonical(1e300 * x * 1e300)) == "1e+600*x"
    assert re.fullmatch(r"10\^\{-600\}|.*10\^\{-600\}.*", latex(canonical(1e-300 * x * 1e-300)))


def test_powers_that_are_no_numbers_are_not_worked_out(registry: object) -> None:
    assert canonical((2 * x) ** 5000) is (2 * x) ** 5000
    assert str(Constant(2) ** 10**9 * x) == "2**1000000000*x"
    assert Constant(-1) ** (10**12 + 1) is Constant(-1)
    half = nl.activation(name="half")(lambda x: (2 * x) ** 5000)
    assert half(0.5) == 1
    assert half(0.4) == 0
