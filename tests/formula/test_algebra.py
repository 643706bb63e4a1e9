"""Products and sums in normal form: short, shared, and equal to what they were."""

import pytest
from hypothesis import assume, given, settings
from mpmath import mp

from entries import over_entries
from expressions import expressions, points, value
from nonlin import activations
from nonlin.formula import Constant, Expression, FormulaError, Symbol, absolute, exp, pi, sigmoid, sqrt, tanh, where
from nonlin.formula.algebra import simplify

x, a, b = map(Symbol, "xab")


@pytest.mark.parametrize(
    ("formula", "normal"),
    [
        # sums
        (x + x, "2*x"),
        (x - x, "0"),
        (x + a - x, "a"),
        (2 * x + 3 * x - x, "4*x"),
        (x + 1 + x + 2, "2*x + 3"),
        (-x + 1, "1 - x"),
        (1 - (x - 1), "2 - x"),
        (2 * (a + 3 * x**2) + x**2, "2*a + 7*x**2"),
        (2 * (a + 3 * x**2) + x, "2*(a + 3*x**2) + x"),
        # products
        (x * x, "x**2"),
        (x * x**2 * x, "x**4"),
        (x * 2 * x / 2, "x**2"),
        (x / x, "1"),
        (x * a / x, "a"),
        (x**3 / x, "x**2"),
        (x / x**3, "1/x**2"),
        (-x * -a, "x*a"),
        (-x * a, "-x*a"),
        (2 * (3 * x), "6*x"),
        (x / (2 / a), "0.5*x*a"),
        (x * 0, "0"),
        # roots
        (sqrt(a) * sqrt(a), "a"),
        (1 / (sqrt(a) * sqrt(a)), "1/a"),
        (sqrt(a) ** 3, "a*sqrt(a)"),
        # what all terms share stands before them
        (sigmoid(x) + x * sigmoid(x), "sigmoid(x)*(1 + x)"),
        (2 * a * x + 2 * b * x, "2*x*(a + b)"),
        (x * exp(x) - exp(x), "exp(x)*(x - 1)"),
        # constants come first, in one factor
        (x * 2 / pi * 3, "6/pi*x"),
        (exp(x) * x * 2, "2*x*exp(x)"),
        # a choice that is already made
        (where(x > 0, where(x > 0, x, a), b), "where(x > 0, x, b)"),
        (where(x > 0, x, where(x > 0, a, b)), "where(x > 0, x, b)"),
        (where(x > 0, x + x, x - x), "where(x > 0, 2*x, 0)"),
    ],
    ids=str,
)
def test_normal_form(formula: Expression, normal: str) -> None:
    assert str(simplify(formula)) == normal


def test_the_order_of_terms_and_factors_does_not_hide_what_cancels() -> None:
    assert simplify(x * a - a * x) is Constant(0)
    assert str(simplify(x * a + a * x)) in ("2*x*a", "2*a*x")
    assert simplify(tanh(x) * exp(x) - exp(x) * tanh(x)) is Constant(0)
    assert simplify((x + a) * b - b * (x + a)) is Constant(0)


def test_a_sum_divided_by_itself_is_one() -> None:
    assert simplify((x + a) / (x + a)) is Constant(1)
    assert simplify((2 * x + 2 * a) / (x + a)) is Constant(2)


def test_division_by_what_is_zero_is_refused() -> None:
    with pytest.raises(FormulaError, match="divides 1 by zero"):
        simplify(1 / (x - x))


def test_functions_are_left_alone() -> None:
    assert simplify(exp(absolute(x))) is exp(absolute(x))


@given(expressions, points)
@settings(max_examples=150)
def test_normal_form_keeps_the_value(formula: Expression, values: dict[str, float]) -> None:
    with mp.workdps(350):
        wanted = value(formula, values)
        try:
            simpler = simplify(formula)
        except FormulaError:  # it divides by what turns out to be zero
            assume(False)
        assert abs(value(simpler, values) - wanted) <= 1e-20 * max(1, abs(wanted))


@given(expressions)
@settings(max_examples=150)
def test_normal_form_is_reached(formula: Expression) -> None:
    try:
        simpler = simplify(formula)
    except FormulaError:
        assume(False)
    assert simplify(simplify(simpler)) is simplify(simpler)


@over_entries
def test_derivatives_of_the_catalogue_are_in_normal_form(name: str) -> None:
    for order in (1, 2):
        derivative = activations[name].derivative_formula(order)
        assert simplify(derivative) is derivative
