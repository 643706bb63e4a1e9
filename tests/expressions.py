"""Random formulas, and their values in mpmath."""

import math
from fractions import Fraction
from typing import Any

from hypothesis import assume, strategies as st
from mpmath import fp, mp

from nonlin import formula as language
from nonlin.formula import Constant, Expression, FormulaError, Symbol, substitute
from nonlin.formula.calculus import STABLE_FORMS
from nonlin.formula.primitives import PRIMITIVES
from nonlin.formula.spelling import Reference

UNARY = (
    "negative absolute sign exp expm1 sin cos arctan reciprocal_hypot sigmoid tanh sech softplus tanh_shrink "
    "tanh_softplus sech_softplus softsign algebraic_sigmoid half_hypot_sum exp_residual erf erfc normal_cdf"
).split()
COMPARISONS = "less less_equal greater greater_equal".split()


def divided(a: Expression, b: Expression) -> Expression:
    try:
        return a / b
    except FormulaError:  # by zero
        return a


def root(a: Expression) -> Expression:
    return language.sqrt(1 + a**2)


def logarithm(a: Expression) -> Expression:
    return language.log(1 + language.exp(a))


def chosen(comparison: str, a: Expression, b: Expression, c: Expression, d: Expression) -> Expression:
    # Python decides a comparison of two numbers by itself.
    left = Symbol("x") if isinstance(a, Constant) else a
    return language.where(PRIMITIVES[comparison](left, b), c, d)


def textbook_form(index: int, u: Expression, v: Expression) -> Expression:
    return substitute(STABLE_FORMS[index][0], {"u": u, "v": 1 + v**2})


def extended(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    binary = [PRIMITIVES[name] for name in ("add", "subtract", "multiply", "maximum", "minimum")]
    return st.one_of(
        st.builds(lambda f, a, b: f(a, b), st.sampled_from(binary), inner, inner),
        st.builds(divided, inner, inner),
        st.builds(lambda a, n: a**n, inner, st.sampled_from([2, 3, 4])),
        st.builds(lambda f, a: PRIMITIVES[f](a), st.sampled_from(UNARY), inner),
        st.builds(root, inner),
        st.builds(logarithm, inner),
        st.builds(chosen, st.sampled_from(COMPARISONS), inner, inner, inner, inner),
        st.builds(textbook_form, st.integers(0, len(STABLE_FORMS) - 1), inner, inner),
    )


numbers = st.builds(
    Constant,
    st.one_of(
        st.integers(-5, 5),
        st.sampled_from([0.5, 0.25, 1.702, 0.044715, -0.1]),
        st.builds(Fraction, st.integers(1, 9), st.integers(1, 9)),
    ),
)
leaves = st.one_of(st.sampled_from([Symbol(name) for name in "xab"]), numbers, st.just(language.pi))
expressions = st.recursive(leaves, extended, max_leaves=6)
# Points between kinks: no formula above changes its branch there but by rare chance.
points = st.fixed_dictionaries(
    {
        name: st.integers(-3000, 3000).map(lambda n, beside=beside: n / 1000 + beside)
        for name, beside in {"x": 0.000317, "a": 0.000543, "b": 0.000761}.items()
    }
)


def value(formula: Expression, values: dict[str, Any]) -> Any:
    """A formula's value at mpmath's working precision; gives up the example where it is undefined or beyond float64."""
    try:
        rough = Reference(fp, values)(formula)
    except (ZeroDivisionError, OverflowError, ValueError, TypeError):
        assume(False)
    assume(not isinstance(rough, complex) and math.isfinite(rough))
    try:
        return mp.mpf(Reference(mp, values)(formula))
    except (ZeroDivisionError, TypeError):  # TypeError: a complex number
        assume(False)
