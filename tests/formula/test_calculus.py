"""Derivatives and stable forms against mpmath, which differentiates numerically."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from mpmath import mp, mpf

from entries import ELEMENTWISE, over_entries, parameters
from expressions import expressions, points, value
from nonlin import formula as language
from nonlin.formula import (
    Constant,
    Expression,
    FormulaError,
    Symbol,
    canonical,
    differentiate,
    exp,
    expm1,
    maximum,
    minimum,
    sigmoid,
    softplus,
    sqrt,
    stabilize,
    symbols,
    tanh,
    where,
)
from nonlin.formula.calculus import STABLE_FORMS, slope_by_value
from nonlin.formula.primitives import PRIMITIVES, Primitive
from nonlin.formula.rows import RowPrimitive
from nonlin.formula.spelling import Reference

x, a, b = map(Symbol, "xab")
positive = Symbol("c", positive=True)

#: Arguments of primitives that are not defined everywhere; of the others any number will do.
DOMAINS: dict[str, tuple[tuple[float, float], ...]] = {
    "sqrt": ((0.01, 9),),
    "log": ((0.01, 9),),
    "log1p": ((-0.9, 9),),
    "divide": ((-5, 5), (0.1, 5)),
    "integer_power": ((-3, 3), (2, 2)),
}
SAMPLES = [0.0371, 0.2113, 0.4687, 0.7219, 0.9431]
SMOOTH = [p for p in PRIMITIVES.values() if p.partials is not None and p.arity and p.name != "where"]
PORTABLE = [p for p in PRIMITIVES.values() if p.portable is not None]
RISING = [p for p in PRIMITIVES.values() if p.slope_by_value is not None]


def arguments(primitive: Primitive) -> list[tuple[mpf, ...]]:
    domain = DOMAINS.get(primitive.name, ((-5, 5),) * primitive.arity)
    shifted = [SAMPLES[k:] + SAMPLES[:k] for k in range(primitive.arity)]
    return [
        tuple(mpf(low) + (mpf(high) - low) * t for (low, high), t in zip(domain, sample, strict=True))
        for sample in zip(*shifted, strict=True)
    ]


def close(got: Any, want: Any, digits: int = 20) -> bool:
    return bool(abs(got - want) <= mpf(10) ** -digits * max(1, abs(want)))


def at(formula: Expression | float, values: dict[str, Any]) -> Any:
    return Reference(mp, values)(formula if isinstance(formula, Expression) else Constant(formula))


def slope(formula: Expression, name: str, values: dict[str, Any]) -> Any:
    return mp.diff(lambda t: at(formula, values | {name: t}), mpf(values[name]))


# --- primitives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("primitive", SMOOTH, ids=str)
def test_partials_agree_with_numerical_differentiation(primitive: Primitive) -> None:
    with mp.workdps(50):
        for values in arguments(primitive):
            names = dict(zip("uvw", values, strict=False))
            given: list[Any] = [Symbol(name) for name in names]
            if primitive.name == "integer_power":
                given[1] = Constant(int(values[1]))
            partials = primitive.partials(*given)  # type: ignore[misc]
            for k, partial in enumerate(partials):
                if isinstance(given[k], Constant):
                    continue
                wanted = mp.diff(lambda *t: primitive.reference(mp, *t), values, tuple(int(i == k) for i in range(len(values))))
                assert close(at(partial, names), wanted), (values, k)


@pytest.mark.parametrize("comparison", ["less", "less_equal", "greater", "greater_equal"])
def test_partials_of_a_choice_are_those_of_the_chosen_branch(comparison: str) -> None:
    formula = where(PRIMITIVES[comparison](x, a), x**2, 3 * x)
    for position in (-1, 0, 1):
        chosen = at(where(PRIMITIVES[comparison](x, a), 1, 0), {"x": position, "a": 0})
        assert at(differentiate(formula), {"x": position, "a": 0}) == (2 * position if chosen else 3)


@pytest.mark.parametrize("primitive", PORTABLE, ids=str)
def test_portable_forms_agree_with_the_reference(primitive: Primitive) -> None:
    """To the digits of float64: some are series."""
    with mp.workdps(50):
        for values in arguments(primitive):
            for scale in (1, mpf(1) / 7):
                names = {name: value * scale for name, value in zip("uvw", values, strict=False)}
                form = primitive.portable(*map(Symbol, names))  # type: ignore[misc]
                want = primitive.reference(mp, *names.values())
                assert abs(at(form, names) - want) <= abs(want) * mpf(10) ** -16


@pytest.mark.parametrize("primitive", RISING, ids=str)
def test_slopes_by_value_agree_with_numerical_differentiation(primitive: Primitive) -> None:
    with mp.workdps(50):
        for values in arguments(primitive):
            by_value = primitive.slope_by_value(Symbol("v"))  # type: ignore[misc]
            wanted = mp.diff(lambda t: primitive.reference(mp, t), values[0])
            assert close(at(by_value, {"v": primitive.reference(mp, *values)}), wanted), values


@pytest.mark.parametrize("primitive", [p for p in PRIMITIVES.values() if not isinstance(p, RowPrimitive)], ids=str)
def test_records_are_complete(primitive: Primitive) -> None:
    assert PRIMITIVES[primitive.name] is primitive
    assert repr(primitive) == f"<primitive {primitive.name}>"
    assert primitive.latex.format(*"uvw"[: primitive.arity])
    assert primitive.is_condition == (primitive.partials is None and primitive.arity > 0)


def test_ties_of_maximum_and_minimum_take_the_second_argument() -> None:
    for extreme in (maximum, minimum):
        formula = differentiate(extreme(2 * x, 3 * x))
        assert at(formula, {"x": 0}) == 3
    assert at(differentiate(language.absolute(x)), {"x": 0}) == 0


# --- differentiation --------------------------------------------------------------------------------------------------


@given(expressions, points)
@settings(max_examples=150)
def test_derivatives_of_random_formulas(formula: Expression, values: dict[str, float]) -> None:
    with mp.workdps(60):
        assume(abs(value(formula, values)) < 1e20)
        for name in sorted(symbols(formula)):
            got = value(differentiate(formula, name), values)
            wanted = slope(formula, name, values)
            assume(mp.isfinite(wanted) and abs(wanted) < 1e20)
            assert close(got, wanted, 15)


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if ELEMENTWISE[name].parameters])
def test_derivatives_by_parameters(name: str) -> None:
    f, given = ELEMENTWISE[name], parameters(name)
    with mp.workdps(50):
        for point in (-3.3, -0.7, -0.21, 0.37, 1.9, 6.4):
            values = {"x": point, **given}
            for parameter in given:
                got = at(f.derivative_formula(wrt=parameter), values)
                assert close(got, slope(f.formula, parameter, values)), (point, parameter)


@over_entries
def test_third_derivatives_of_the_catalogue(name: str) -> None:
    f, given = ELEMENTWISE[name], parameters(name)
    with mp.workdps(60):
        for point in (-0.71, 1.9):
            wanted = mp.diff(lambda t: at(f.formula, {"x": t, **given}), mpf(point), 3)
            assert close(at(f.derivative_formula(3), {"x": point, **given}), wanted, 15), point


def test_order_zero_is_the_canonical_form() -> None:
    assert differentiate(x * exp(x) - x, order=0) is canonical(x * exp(x) - x)


def test_what_does_not_depend_on_a_symbol_has_slope_zero() -> None:
    assert differentiate(exp(a), "x") is Constant(0)
    assert differentiate(Constant(3)) is Constant(0)
    assert differentiate(where(x > 0, 1, 0)) is Constant(0)
    assert differentiate(x, "x", 2) is Constant(0)


@pytest.mark.parametrize("order", [-1, 1.0, True, "1", None])
def test_orders_are_whole_numbers(order: Any) -> None:
    with pytest.raises(ValueError, match=f"^order must be a whole number of at least 0, got {order!r}$"):
        differentiate(x, order=order)


@pytest.mark.parametrize(
    ("formula", "derivative"),
    [
        (sigmoid(x), "sigmoid(x)*sigmoid(-x)"),
        (x * sigmoid(x), "sigmoid(x)*(1 + x*sigmoid(-x))"),
        (tanh(x), "sech(x)**2"),
        (1 / (1 + exp(-x)), "sigmoid(x)*sigmoid(-x)"),
        (language.log(1 + exp(x)), "sigmoid(x)"),
        (-language.log(1 + exp(-x)), "sigmoid(-x)"),
        (where(x > 0, x, a * (exp(x) - 1)), "where(x > 0, 1, a*exp(x))"),
        (maximum(x, 0) ** 2, "where(x > 0, 2*maximum(x, 0), 0)"),
    ],
)
def test_derivatives_come_in_their_stable_form(formula: Expression, derivative: str) -> None:
    assert str(differentiate(formula)) == derivative


def test_higher_derivatives_share_their_parts() -> None:
    """A formula that grew by the product rule alone would have hundreds of nodes."""
    assert len(str(differentiate(x * sigmoid(x), order=4))) < 1500


# --- stable forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pattern", "replacement"), STABLE_FORMS, ids=[str(form) for form, _ in STABLE_FORMS])
def test_stable_forms_are_identities(pattern: Expression, replacement: Expression) -> None:
    assert symbols(replacement) <= symbols(pattern)
    with mp.workdps(80):
        for u in (-7.3, -1.9, -0.31, 0.043, 0.77, 2.6, 8.1):
            positive = "log(" in str(pattern) and "exp" not in str(pattern) and "sigmoid" not in str(pattern)
            for v in (0.013, 1.7, 6.3):
                values = {"u": abs(u) if positive else u, "v": v}
                assert close(at(pattern, values), at(replacement, values), 60), values


@pytest.mark.parametrize(("pattern", "replacement"), STABLE_FORMS, ids=[str(form) for form, _ in STABLE_FORMS])
def test_stable_forms_are_found_in_either_order(pattern: Expression, replacement: Expression) -> None:
    inner = sigmoid(3 * x) + a**2
    for form in (pattern, _turned(pattern)):
        there = language.substitute(form, {"u": inner, "v": 1 + b**2})
        wanted = language.substitute(replacement, {"u": inner, "v": 1 + b**2})
        assert canonical(there) is canonical(wanted)


def _turned(form: Expression) -> Expression:
    """The formula with the two sides of its outermost sum or product swapped."""
    if getattr(form, "primitive", None) in (PRIMITIVES["add"], PRIMITIVES["multiply"]):
        return form.primitive(*form.arguments[::-1])  # type: ignore[attr-defined]
    return form


@given(expressions, points)
@settings(max_examples=150)
def test_canonical_form_keeps_the_value(formula: Expression, values: dict[str, float]) -> None:
    with mp.workdps(350):
        wanted = value(formula, values)
        try:
            simpler = canonical(formula)
        except FormulaError:  # it divides by what turns out to be zero
            assume(False)
        assert close(value(simpler, values), wanted)


@given(expressions)
@settings(max_examples=150)
def test_canonical_form_is_final(formula: Expression) -> None:
    try:
        simpler = canonical(formula)
    except FormulaError:
        assume(False)
    assert canonical(simpler) is simpler
    assert stabilize(simpler) is simpler


@over_entries
def test_canonical_form_of_the_catalogue_keeps_the_value(name: str) -> None:
    f, given = ELEMENTWISE[name], parameters(name)
    with mp.workdps(400):
        for point in (-20.3, -2.3, -1e-9, 0.37, 1.9, 40.1):
            values = {"x": point, **given}
            assert close(at(canonical(f.formula), values), at(f.formula, values), 60)


@pytest.mark.parametrize(
    ("textbook", "stable"),
    [
        (exp(x) - 1, "expm1(x)"),
        (x * tanh(language.log(1 + exp(x))), "x*tanh_softplus(x)"),
        ((1 + language.erf(x / sqrt(2))) / 2, "normal_cdf(x)"),
        (x / (1 + exp(-x)), "x*sigmoid(x)"),
        (x / sqrt(1 + positive * x**2), "algebraic_sigmoid(x*sqrt(c))/sqrt(c)"),
        (x - tanh(x), "tanh_shrink(x)"),
        (language.log(sigmoid(x)), "-softplus(-x)"),
        (x / 2 * (1 + tanh(x / 2)), "x*sigmoid(x)"),
    ],
)
def test_textbook_formulas_become_stable(textbook: Expression, stable: str) -> None:
    assert str(canonical(textbook)) == stable


def test_names_in_patterns_do_not_capture_those_of_a_formula() -> None:
    u, v = Symbol("u", positive=True), Symbol("v")
    assert canonical(exp(v) - 1) is language.expm1(v)
    assert str(canonical(v / sqrt(1 + u * v**2))) == "algebraic_sigmoid(v*sqrt(u))/sqrt(u)"


# --- slopes by the value ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    [
        3 * where(x > 0, x, 2 * expm1(x / 2)),
        -softplus(-x),
        1 - (2 - tanh(3 * x)) / 4,
        where(x >= 1, 2 * x - 1, x),
        where(x > 1, x, 1),
        where(x > sqrt(2), x, sqrt(2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("point", [-0.4, 0.0, 1.0, 1.7])
def test_slope_by_value(formula: Expression, point: float) -> None:
    slope = slope_by_value(canonical(formula))
    assert slope is not None
    assert close(at(slope, {"x": at(formula, {"x": mpf(point)})}), at(differentiate(formula), {"x": mpf(point)}), 13)


@pytest.mark.parametrize(
    "formula", [x * sigmoid(x), tanh(softplus(x)), x + tanh(x), where(x > sigmoid(x), x, tanh(x))], ids=str
)
def test_functions_of_which_no_slope_by_value_is_known(formula: Expression) -> None:
    assert slope_by_value(canonical(formula)) is None
