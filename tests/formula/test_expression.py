"""The language: shared nodes, exact numbers, operators, tracing, substitution, text."""

import copy
import gc
import math
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from mpmath import mp

import nonlin as nl
from concurrency import at_once
from entries import ELEMENTWISE, over_entries, over_orders
from expressions import expressions, points, value
from nonlin import formula as language
from nonlin.formula import Constant, Expression, FormulaError, Symbol, canonical, exp, substitute, symbols, trace, where
from nonlin.formula.expression import Application, postorder
from nonlin.formula.primitives import PRIMITIVES, Primitive, nan
from nonlin.formula.text import decimal

x, a, b = map(Symbol, "xab")
pi = language.pi


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_equal_formulas_are_one_object() -> None:
    assert Symbol("x") is x
    assert Constant(2) is Constant(2.0) is Constant("2") is Constant(Fraction(4, 2))
    assert x * exp(x) + 1 is x * exp(x) + 1
    assert x + 1 is not 1 + x  # a formula reads as its author wrote it


def test_sharing_survives_collection() -> None:
    name = "collected"
    first = id(Symbol(name) * 2)
    del first
    gc.collect()
    assert Symbol(name) * 2 is Symbol(name) * 2


def test_threads_that_build_the_same_formula_get_one_object() -> None:
    def work(_: int) -> Expression:
        node: Expression = Symbol("fresh")
        for k in range(500):
            node = exp(node) + k
        return node

    first, *others = at_once(work)
    assert all(node is first for node in others)


@given(expressions)
@settings(max_examples=100)
def test_pickling_and_copying_keep_identity(formula: Expression) -> None:
    assert pickle.loads(pickle.dumps(formula)) is formula
    assert copy.copy(formula) is copy.deepcopy(formula) is formula


@pytest.mark.parametrize("primitive", PRIMITIVES.values(), ids=str)
def test_primitives_pickle_as_themselves(primitive: Primitive) -> None:
    assert pickle.loads(pickle.dumps(primitive)) is primitive
    assert copy.deepcopy(primitive) is primitive


@over_entries
def test_formulas_of_the_catalogue_pickle_as_themselves(name: str) -> None:
    for formula in (ELEMENTWISE[name].formula, ELEMENTWISE[name].derivative_formula()):
        assert pickle.loads(pickle.dumps(formula)) is formula


def test_expressions_are_immutable_in_use() -> None:
    with pytest.raises(FormulaError, match=r"a formula has no \.append\(\)"):
        x.append(1)
    with pytest.raises(AttributeError):
        x.other = 1  # type: ignore[attr-defined]


def test_a_shared_subformula_is_visited_once() -> None:
    shared = exp(x)
    node = shared
    for _ in range(60):
        node = node * node + 1
    assert len(list(postorder(node))) == 3 + 2 * 60
    assert substitute(node, {"x": a}) is not node
    assert symbols(node) == {"x"}


def test_a_long_formula_needs_no_deep_stack() -> None:
    node: Expression = x
    for k in range(5000):
        node = exp(node) + Constant(k)
    assert symbols(substitute(node, {"x": a})) == {"a"}


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "exact"),
    [
        (1.702, Fraction(1702, 1000)),
        (0.1, Fraction(1, 10)),
        (-1e-6, Fraction(-1, 10**6)),
        (1e300, Fraction(10**300)),
        (3, Fraction(3)),
        (Fraction(1, 3), Fraction(1, 3)),
        ("1.0507009873554804934193349852946", Fraction(10507009873554804934193349852946, 10**31)),
        (np.float64(0.1), Fraction(1, 10)),
    ],
)
def test_a_float_is_the_decimal_that_it_prints_as(number: Any, exact: Fraction) -> None:
    assert Constant(number).value == exact


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, "one", None])
def test_what_is_no_number_is_no_constant(number: Any) -> None:
    with pytest.raises(FormulaError, match=re.escape(f"{number!r} is not a finite number and cannot stand in a formula")):
        Constant(number)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(3), "3"),
        (Fraction(-3), "-3"),
        (Fraction(1, 2), "0.5"),
        (Fraction(1, 3), "1/3"),
        (Fraction(-1, 3), "-1/3"),
        (Fraction(1702, 1000), "1.702"),
        (Fraction(1, 10**6), "1/1000000"),
    ],
)
def test_decimal_spells_exactly_where_it_is_short(value: Fraction, text: str) -> None:
    assert decimal(value) == text


@pytest.mark.parametrize(
    ("formula", "folded"),
    [
        (Constant(2) + 3, 5),
        (Constant(2) - 3, -1),
        (Constant(2) * 3, 6),
        (Constant(2) / 3, Fraction(2, 3)),
        (Constant(2) ** 10, 1024),
        (Constant(2) ** -2, Fraction(1, 4)),
        (-Constant(2), -2),
        (x + 0, x),
        (0 + x, x),
        (x - 0, x),
        (0 - x, -x),
        (x * 1, x),
        (1 * x, x),
        (x * 0, 0),
        (0 * x, 0),
        (x / 1, x),
        (0 / x, 0),
        (-(0 - x), x),
        (+x, x),
        (x**0, 1),
        (x**1, x),
        ((x**2) ** 3, x**6),
        ((-x) ** 2, x**2),
        ((-x) ** 3, -(x**3)),
        (x**0.5, language.sqrt(x)),
        (x**1.5, x * language.sqrt(x)),
        (x**-1, 1 / x),
        (where(x > 0, a, a), a),
    ],
)
def test_constants_zeros_and_ones_are_folded(formula: Expression, folded: Any) -> None:
    assert formula is (folded if isinstance(folded, Expression) else Constant(folded))


@pytest.mark.parametrize(
    ("reflected", "formula"),
    [
        (2 + x, Constant(2) + x),
        (2 - x, Constant(2) - x),
        (2 * x, Constant(2) * x),
        (2 / x, Constant(2) / x),
        (0.5 * x, Constant("0.5") * x),
        (Fraction(1, 3) * x, Constant(Fraction(1, 3)) * x),
        (x < 2, x < 2),
        (x <= 2, x <= 2),
        (x > 2, x > 2),
        (abs(x), language.absolute(x)),
    ],
)
def test_numbers_may_stand_on_either_side(reflected: Expression, formula: Expression) -> None:
    assert reflected is formula


# --- what a node knows ------------------------------------------------------------------------------------------------


def test_arguments_and_conditions() -> None:
    assert (x.arguments, Constant(1).arguments, (x + a).arguments) == ((), (), (x, a))
    assert (x < a).is_condition
    assert ((x < a) & (x > b)).is_condition
    assert not where(x < a, 1, 2).is_condition
    assert isinstance(exp(x), Application)
    assert exp(x).primitive is PRIMITIVES["exp"]
    assert repr(x) == "<Symbol x>"
    assert repr(exp(x)) == "<Application exp(x)>"
    assert exp(x)._repr_latex_() == "$e^{x}$"


def test_symbols_are_found_in_several_formulas() -> None:
    assert symbols(x * a, exp(b)) == {"x", "a", "b"}
    assert symbols(pi + 1) == frozenset()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda: bool(x > 0), "the formula asks whether x > 0 is true"),
        (lambda: float(x), "the formula needs x as a number"),
        (lambda: int(x), "the formula needs x as a number"),
        (lambda: complex(x), "the formula needs x as a number"),
        (lambda: range(x), "the formula needs x as a number"),
        (lambda: list(x), "x is one symbol, not a sequence"),
        (lambda: x[0], "x is one symbol, not a sequence"),
        (lambda: np.asarray(x), "a NumPy function was called on the symbol x"),
        (lambda: x.mean(), "a formula has no .mean(): use the functions of nonlin.formula"),
        (lambda: x + None, "a formula needs add to be given numbers or expressions, but got None of type NoneType"),
        (lambda: x * np.float32(2), "a formula needs multiply to be given numbers or expressions"),
        (lambda: where(True, x, 0), "a comparison with == or != is decided in Python before the formula sees it"),
        (lambda: exp(), "exp takes 1 argument(s), got 0"),
        (lambda: x / 0, "the formula divides x by zero"),
        (lambda: x**a, "x**a has an exponent that varies: write exp(exponent*log(base))"),
        (lambda: exp(x > 0), "exp got the condition x > 0: write where(x > 0, 1, 0) for a number"),
        (lambda: (x > 0) & a, "logical_and needs a condition such as x > 0, got a"),
    ],
)
def test_what_a_formula_cannot_do_says_what_to_write(operation: Callable[[], Any], message: str) -> None:
    with pytest.raises(FormulaError, match=re.escape(message)):
        operation()


def test_arrays_do_not_swallow_symbols() -> None:
    for operation in (lambda: np.ones(2) * x, lambda: np.float64(2) * x):
        try:
            result = operation()
        except FormulaError:
            continue
        assert result is 2 * x


# --- substitution and tracing -----------------------------------------------------------------------------------------


def test_substitution_is_simultaneous() -> None:
    assert substitute(x + a * b, {"x": a, "a": x}) is a + x * b
    assert substitute(x * a, {"a": 2.5}) is x * Constant("2.5")
    assert substitute(x * a, {"a": 0}) is Constant(0)
    assert substitute(exp(a), {"c": 1}) is exp(a)
    assert substitute(1 + x**2, {"x": 3}) is Constant(10)
    with pytest.raises(FormulaError, match="the formula divides x by zero"):
        substitute(x / a, {"a": 0})


def test_trace_runs_the_function_once() -> None:
    calls = []

    def function(u, v):  # type: ignore[no-untyped-def]
        calls.append((u, v))
        return u * v

    assert trace(function, ("x", "a")) is x * a
    assert calls == [(x, a)]


@pytest.mark.parametrize("number", [2, 0.5, Fraction(1, 3)])
def test_a_number_is_a_formula(number: Any) -> None:
    assert trace(lambda x: number, ("x",)) is Constant(number)


def test_errors_of_tracing_name_the_function_and_keep_their_cause() -> None:
    def clumsy(x):  # type: ignore[no-untyped-def]
        return x % 2

    with pytest.raises(FormulaError, match=r"^clumsy cannot be read as a formula: TypeError: .*; a formula uses") as caught:
        trace(clumsy, ("x",))
    assert isinstance(caught.value.__cause__, TypeError)


def test_errors_that_are_no_matter_of_formulas_come_through() -> None:
    def missing(x):  # type: ignore[no-untyped-def]
        return undefined_name * x  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NameError, match="undefined_name"):
        trace(missing, ("x",))


# --- text -------------------------------------------------------------------------------------------------------------

SPACE = {name: primitive for name, primitive in PRIMITIVES.items() if primitive.arity} | {"pi": pi, "nan": nan}


def read(text: str, formula: Expression) -> Expression:
    """What Python makes of a formula's text, but for 1/3, which it would divide before the formula sees it."""
    exact = re.sub(r"(?<![\w.)*/])(\d+)/(\d+)(?!\.?\d)", r"Constant('\1/\2')", text)
    result = eval(
        exact, {**SPACE, "Constant": Constant, **{node.name: node for node in postorder(formula) if isinstance(node, Symbol)}}
    )
    return result if isinstance(result, Expression) else Constant(result)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (x + a - b, "x + a - b"),
        (x - (a + b), "x - (a + b)"),
        (x - (a - b), "x - (a - b)"),
        (x * a / b, "x*a/b"),
        (x / (a * b), "x/(a*b)"),
        (x / (a / b), "x/(a/b)"),
        ((x + a) * b, "(x + a)*b"),
        (-x * a, "(-x)*a"),
        (-(x * a), "-x*a"),
        (x * -a, "x*(-a)"),
        (-(x + a), "-(x + a)"),
        (x**2, "x**2"),
        ((x + 1) ** 2, "(x + 1)**2"),
        (-(x**2), "-x**2"),
        (exp(x) ** 2, "exp(x)**2"),
        (x + -1, "x + -1"),
        (where(x > 0, x, 0), "where(x > 0, x, 0)"),
        (where((x > 0) & (x < 1), x, a), "where((x > 0) & (x < 1), x, a)"),
        (where((x > 0) | ((x < 1) & (a <= b)), x, a), "where((x > 0) | (x < 1) & (a <= b), x, a)"),
        (language.maximum(x, 0), "maximum(x, 0)"),
        (2 / pi, "2/pi"),
    ],
)
def test_text_reads_as_it_is_typed(formula: Expression, text: str) -> None:
    assert str(formula) == text
    assert canonical(read(text, formula)) is canonical(formula)  # -x*a is (-x)*a to Python


#: Its constants have 32 digits, and its text those of a float.
ROUNDED = ("selu",)


@over_orders
@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name not in ROUNDED])
def test_text_of_the_catalogue_is_read_as_the_same_formula(name: str, order: int) -> None:
    formula = ELEMENTWISE[name].derivative_formula(order) if order else ELEMENTWISE[name].formula
    assert canonical(read(str(formula), formula)) is canonical(formula)


@given(expressions, points)
@settings(max_examples=150)
def test_text_of_random_formulas_is_read_as_an_equal_one(formula: Expression, values: dict[str, float]) -> None:
    again = read(str(formula), formula)
    with mp.workdps(350):
        wanted = value(formula, values)
        # A constant without a short spelling is rounded to a float's digits.
        assert abs(value(again, values) - wanted) <= 1e-9 * max(1, abs(wanted))


def test_every_public_function_of_the_language_is_a_primitive_or_made_of_them() -> None:
    for name in "exp expm1 log log1p maximum minimum normal_cdf sqrt where cos erfc".split():
        assert getattr(nl, name) is getattr(language, name)
