"""A formula keeps the domain that it was written with: simplification gives it no values outside, nor do its derivatives."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import nonlin as nl
from nonlin.formula import Expression, Symbol, canonical, differentiate, exp, log, primitives as p, sqrt, where
from nonlin.formula.domain import domain, is_never_negative, is_positive
from nonlin.formula.spelling import Reference

x, a = Symbol("x"), Symbol("a")
INSIDE = [-3.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0]

#: Formulas of u that mean less than what they simplify to.
PARTIAL: dict[str, Callable[[Expression], Expression]] = {
    "sqrt(u)^2": lambda u: sqrt(u) ** 2,
    "sqrt(u)^3 sqrt(u)": lambda u: sqrt(u) ** 3 * sqrt(u),
    "u/sqrt(u)": lambda u: u / sqrt(u),
    "u/u": lambda u: u / u,
    "u^2/u": lambda u: u**2 / u,
    "(u^2 - u)/u": lambda u: (u**2 - u) / u,
    "1/(1/u)": lambda u: 1 / (1 / u),
    "log(u) - log(u)": lambda u: log(u) - log(u),
    "log(u)/log(u)": lambda u: log(u) / log(u),
    "exp(log(u))": lambda u: exp(log(u)),
    "expm1(log1p(u))": lambda u: p.expm1(p.log1p(u)),
    "u + log(u) - log(u)": lambda u: u + log(u) - log(u),
    "sqrt(u)/sqrt(u)": lambda u: sqrt(u) / sqrt(u),
    "where": lambda u: where(u > -0.5, sqrt(u) ** 2, u),
    "branch not taken": lambda u: where(u > 0, sqrt(u) ** 2, 2 * u),
    "x + sqrt(x^2 + x)": lambda u: u + sqrt(u**2 + u),
    "x/sqrt(1 + x^3)": lambda u: u / sqrt(1 + u * u**2),
    "log": lambda u: log(u),
    "u*sqrt(u)": lambda u: u**1.5,
    "log1p": lambda u: p.log1p(u),
}
ARGUMENTS: dict[str, Callable[[Expression], Expression]] = {
    "x": lambda x: x,
    "1 - x": lambda x: 1 - x,
    "2*x + 1": lambda x: 2 * x + 1,
    "x^2 - 1": lambda x: x**2 - 1,
    "tanh(x)": lambda x: p.tanh(x),
}


class Reals:
    """mpmath, but without complex numbers."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(mpmath.mp, name)
        if name in ("mpf", "nan", "pi"):
            return function

        def of_reals(*arguments: Any) -> Any:
            result = function(*arguments)
            if isinstance(result, mpf) and mpmath.isinf(result):
                raise ZeroDivisionError
            return mpmath.mp.nan if isinstance(result, mpmath.mpc) else result

        return of_reals


def meant(formula: Expression, at: float) -> float | None:
    """What the formula means, read as it is written; None at its singular points, where conventions decide."""
    with mpmath.workdps(60):
        try:
            return float(Reference(Reals(), {"x": mpf(at)})(formula))
        except ZeroDivisionError:
            return None


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow)")
@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("name", PARTIAL)
def test_values_outside_the_domain_are_nan(name: str, argument: str) -> None:
    made = nl.activation(lambda x: PARTIAL[name](ARGUMENTS[argument](x)), name="partial")
    got = made(np.array(INSIDE))
    slopes = made.derivative(np.array(INSIDE))
    for k, at in enumerate(INSIDE):
        want = meant(made.formula, at)
        if want is None:
            continue
        np.testing.assert_allclose(got[k], want, rtol=1e-12, atol=1e-300, err_msg=f"{made.formula} at {at}")
        if np.isnan(want):
            assert np.isnan(slopes[k]), f"the slope of {made.formula} at {at}"


def test_slopes_of_whole_and_half_powers_at_their_edge() -> None:
    three_halves, five_halves = (
        nl.activation(lambda x: x**1.5, name="three_halves"),
        nl.activation(lambda x: x**2.5, name="five_halves"),
    )
    assert three_halves.derivative(0.0) == 0
    assert five_halves.derivative(0.0) == five_halves.derivative(0.0, order=2) == 0
    even = nl.activation(lambda x: x * sqrt(abs(x)), name="even")
    np.testing.assert_allclose(even.derivative([-4.0, 0.0, 4.0]), [3, 0, 3])


@pytest.mark.parametrize("larger", [p.maximum, p.minimum])
def test_of_two_numbers_both_must_be_some(larger: p.Primitive) -> None:
    for first, second in ((sqrt(x), x), (x, log(x)), (sqrt(x), p.log1p(x)), (sqrt(x) - 1, sqrt(x))):
        for k, formula in enumerate((larger(first, second), larger(second, first), where(first > second, x, 2))):
            own = nl.Activation(f"own{k}", formula, parameters={})
            at = np.array([-3.0, -1.5, 0.25, 2.0])
            with np.errstate(invalid="ignore"):
                both = own(at), own.derivative(at)
            for values in both:
                assert np.isnan(values).tolist() == [True, True, False, False], formula


@pytest.mark.parametrize(
    ("formula", "condition"),
    [
        (x, "None"),
        (sqrt(x), "x >= 0"),
        (sqrt(1 + x**2) + log(exp(x) + 1), "None"),
        (p.log1p(x), "x >= -1"),
        (where(x > 1, sqrt(x - 1), x), "x - 1 >= 0 | x <= 1"),
        (where(x > 1, x, sqrt(1 - x)), "x > 1 | 1 - x >= 0"),
        (where((x > 1) & (x < 2), log(x), sqrt(-x)), "(x > 1) & (x < 2) & (x >= 0) | ((x <= 1) | (x >= 2)) & (-x >= 0)"),
        (sqrt(a), "None"),  # a parameter's bounds are checked where it is given
    ],
)
def test_domain(formula: Expression, condition: str) -> None:
    found = str(domain(formula))
    assert found.replace("(", "").replace(")", "") == condition.replace("(", "").replace(")", "")


def test_signs_that_a_form_shows() -> None:
    b = Symbol("b", positive=True)
    for node in (b, exp(x), 1 + x**2, b * exp(-x) / 2, p.maximum(x, b), sqrt(b + abs(x)), where(x > 0, b, 1)):
        assert is_positive(node), node
    for node in (x**2, abs(x) * b, sqrt(x), p.maximum(x, 0), x * x, (x**2) ** 3):
        assert is_never_negative(node), node
        assert not is_positive(node), node
    for node in (x, a, -b, x**3, x - 1, p.tanh(x), p.minimum(x, b)):
        assert not is_never_negative(node), node


def test_forms_that_ask_for_a_positive_number_apply_to_no_other() -> None:
    b = Symbol("b", positive=True)
    assert "half_hypot_sum" in str(canonical(x + sqrt(x**2 + b)))
    assert "half_hypot_sum" not in str(canonical(x + sqrt(x**2 + a)))
    assert "half_hypot_sum" not in str(canonical(x + sqrt(x**2 - 1)))
    negative = nl.activation(lambda x, b=nl.Parameter(1.0): x + sqrt(x**2 + b), name="hyperbola")
    np.testing.assert_allclose(negative([2.0, 5.0], b=-1.0), [2 + 3**0.5, 5 + 24**0.5])


def test_what_no_simplification_extended_is_left_as_it_is() -> None:
    for entry in nl.activations.values():
        if isinstance(entry, nl.Elementwise):
            for order in range(3):
                assert "nan" not in str(differentiate(entry.formula, order=order))
