"""The decorator, the calls and the registry: what they make, and what they say when something is wrong."""

import copy
import inspect
import math
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from concurrency import at_once
from entries import ELEMENTWISE, over_entries, parameters
from nonlin.definition import Registry
from nonlin.definition.decorator import check_definition, define
from nonlin.formula import (
    Expression,
    FormulaError,
    Symbol,
    absolute,
    differentiate,
    exp,
    log1p,
    maximum,
    minimum,
    sqrt,
    tanh,
    where,
)

pytestmark = pytest.mark.usefixtures("registry")
x = Symbol("x")
X = np.linspace(-3, 3, 41)


# --- a user's own -----------------------------------------------------------------------------------------------------


def bent(x, bend=nl.Parameter(0.5, gt=0), shift=0.0):  # type: ignore[no-untyped-def]
    """Bent identity, moved.

    More about it.
    """
    return bend * (sqrt(x**2 + 1) - 1) + x + shift


def test_own_activation_gets_value_derivatives_and_latex() -> None:
    f = nl.activation(source="Tuesday", aliases=("bowed",))(bent)
    np.testing.assert_allclose(f(X), 0.5 * (np.sqrt(X**2 + 1) - 1) + X, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(f(X, bend=2.0, shift=1.0), 2 * (np.sqrt(X**2 + 1) - 1) + X + 1, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(f.derivative(X), 0.5 * X / np.sqrt(X**2 + 1) + 1, rtol=1e-14)
    np.testing.assert_allclose(f.derivative(X, order=2), 0.5 * (X**2 + 1) ** -1.5, rtol=1e-14)
    np.testing.assert_allclose(f.derivative(X, wrt="bend"), np.sqrt(X**2 + 1) - 1, rtol=1e-14, atol=1e-15)
    assert f.latex() == r"\mathrm{bend} \, \left(\sqrt{x^{2} + 1} - 1\right) + x + \mathrm{shift}"
    assert r"\sqrt" in f.latex(order=1)
    assert (f.ufunc.nin, f(X.astype(np.float32)).dtype) == (3, np.float32)


def test_own_activation_is_documented() -> None:
    f = nl.activation(source="Tuesday", aliases=("bowed",))(bent)
    assert (f.name, f.__name__, f.family, f.source, f.aliases) == ("bent", "bent", "own", "Tuesday", ("bowed",))
    assert f.operands == ("x",)
    assert dict(f.parameters) == {"bend": nl.Parameter(0.5, gt=0), "shift": nl.Parameter(0.0)}
    assert str(inspect.signature(f)) == "(x, bend=0.5, shift=0.0)"
    assert repr(f) == "<activation bent(x, bend=0.5, shift=0.0)>"
    assert f.summary == "Bent identity, moved."
    for line in ("More about it.", "bend : array_like, default 0.5, > 0", "shift : array_like, default 0.0", "Tuesday"):
        assert line in str(f.__doc__)
    assert nl.get("bent") is nl.get("Bowed") is nl.activations["bent"] is f


def test_decorator_works_with_and_without_brackets() -> None:
    @nl.activation
    def plain_brackets(x):  # type: ignore[no-untyped-def]
        return 2 * x

    @nl.activation()
    def empty_brackets(x):  # type: ignore[no-untyped-def]
        return 2 * x

    assert plain_brackets(2.0) == empty_brackets(2.0) == 4.0
    assert plain_brackets.formula is empty_brackets.formula


def test_name_may_be_given() -> None:
    @nl.activation(name="lambda")
    def _(x):  # type: ignore[no-untyped-def]
        return -x

    assert nl.get("lambda")(2.0) == -2.0


def test_a_trailing_underscore_avoids_keywords() -> None:
    def pass_(x):  # type: ignore[no-untyped-def]
        return x

    assert define(pass_).name == "pass"


def test_first_argument_may_have_any_name() -> None:
    f = define(lambda t, beta=2.0: beta * t, name="renamed")
    assert f.operands == ("x",)
    assert str(f.formula) == "beta*x"
    assert f(x=3.0) == f.derivative(1.0) * 3.0 == 6.0


def test_two_inputs() -> None:
    f = define(lambda x, gate: x * tanh(gate), name="gated")
    assert f.operands == ("x", "gate")
    assert f(2.0, 1.0) == pytest.approx(2 * math.tanh(1))
    assert f.derivative(2.0, 0.5, wrt="gate") == pytest.approx(2 / math.cosh(0.5) ** 2)


def test_a_constant_is_an_activation() -> None:
    f = define(lambda x: 2, name="two")
    assert f(X).tolist() == [2.0] * len(X)
    assert f.derivative(X).tolist() == [0.0] * len(X)
    assert np.isnan(f(math.nan))


def test_define_does_not_register() -> None:
    assert define(bent).name not in nl.activations


# --- what cannot be read as a formula ---------------------------------------------------------------------------------


def if_on_x(x):  # type: ignore[no-untyped-def]
    return x if x > 0 else 0


def chained(x):  # type: ignore[no-untyped-def]
    return where(0 < x < 1, x, 0)


def negation(x):  # type: ignore[no-untyped-def]
    return where(not x > 0, x, 0)


def loop(x):  # type: ignore[no-untyped-def]
    return sum(t for t in x)


def no_return(x):  # type: ignore[no-untyped-def]
    x * 2


TRUTH = (
    "x is a symbol while the formula is read: write where(condition, a, b) instead of `a if condition else b`, `and` "
    "or a chained comparison, and maximum(a, b), minimum(a, b) instead of max, min"
)
NUMBER = (
    "x is a symbol while the formula is read: use nonlin.exp, nonlin.tanh and so on (or those of nonlin.formula) "
    "instead of the functions of math"
)
LANGUAGE = "a formula uses Python's arithmetic, comparisons and the functions of nonlin.formula"
UNREADABLE: dict[str, tuple[Callable[..., Any], str]] = {
    "if": (if_on_x, f"if_on_x cannot be read as a formula: the formula asks whether x > 0 is true, but {TRUTH}"),
    "max": (lambda x: max(x, 0), f"the formula asks whether x < 0 is true, but {TRUTH}"),
    "and": (lambda x: where((x > 0) and (x < 1), x, 0), f"the formula asks whether x > 0 is true, but {TRUTH}"),
    "chained comparison": (chained, f"the formula asks whether x > 0 is true, but {TRUTH}"),
    "not": (negation, f"the formula asks whether x > 0 is true, but {TRUTH}"),
    "math": (lambda x: math.exp(x), f"the formula needs x as a number, but {NUMBER}"),
    "float": (lambda x: float(2 * x), f"the formula needs 2*x as a number, but {NUMBER}"),
    "int": (lambda x: int(x), f"the formula needs x as a number, but {NUMBER}"),
    "ufunc": (lambda x: np.exp(x), f"operand 'Symbol' does not support ufuncs (__array_ufunc__=None); {LANGUAGE}"),
    "numpy": (
        lambda x: np.where(x > 0, x, 0),
        "a NumPy function was called on the symbol x > 0: use the functions of nonlin.formula",
    ),
    "array": (
        lambda x: x * np.array([1.0]),
        "multiply to be given numbers or expressions, but got array([1.]) of type ndarray: write the number itself",
    ),
    "loop": (loop, "x is one symbol, not a sequence: a formula describes what happens to one element"),
    "index": (lambda x: x[0], "x is one symbol, not a sequence: a formula describes what happens to one element"),
    "method": (
        lambda x: x.clip(0, 1),
        "a formula has no .clip(): use the functions of nonlin.formula, for example maximum(x, 0) or exp(x)",
    ),
    "floor division": (lambda x: x // 2, f"unsupported operand type(s) for //: 'Symbol' and 'int'; {LANGUAGE}"),
    "nothing": (no_return, "no_return cannot be read as a formula: it returns nothing: is a `return` missing?"),
    "condition": (lambda x: x > 0, "returns the condition x > 0: write where(x > 0, 1, 0) for a number"),
    "condition as a number": (
        lambda x: (x > 0) * x,
        "multiply got the condition x > 0: write where(x > 0, 1, 0) for a number",
    ),
    "number as a condition": (lambda x: where(x, 1, 0), "where needs a condition such as x > 0, got x"),
    "number beside a condition": (
        lambda x: where((x > 0) & x, 1, 0),
        "logical_and needs a condition such as x > 0, got x",
    ),
    "equality": (
        lambda x: where(x == 0, 1, x),
        "a comparison with == or != is decided in Python before the formula sees it, so write <= or >=",
    ),
    "text": (
        lambda x: "x",
        "a formula needs its function to return a number or an expression, but got 'x' of type str",
    ),
    "text inside": (
        lambda x: x + "1",
        "a formula needs add to be given numbers or expressions, but got '1' of type str",
    ),
    "NaN": (lambda x: x + math.nan, "nan is not a finite number and cannot stand in a formula"),
    "infinity": (lambda x: minimum(x, math.inf), "inf is not a finite number and cannot stand in a formula"),
    "exponent that varies": (lambda x: 2**x, "2**x has an exponent that varies: write exp(exponent*log(base))"),
    "fractional exponent": (lambda x: x**0.3, "x**0.3 has a fractional exponent: write exp(0.3*log(base))"),
    "division by zero": (lambda x: x / 0, "the formula divides x by zero"),
    "too many arguments": (lambda x: exp(x, x), "exp takes 1 argument(s), got 2"),
    "inner parameter": (lambda x: nl.elu(x, alpha=-1), "elu: alpha must be >= 0, got -1"),
    "inner keyword": (lambda x: nl.elu(x, beta=1), "elu has no parameter 'beta' (it has: alpha)"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_formula_is_refused_with_what_to_write(case: str) -> None:
    function, message = UNREADABLE[case]
    with pytest.raises(FormulaError, match=re.escape(message)) as caught:
        nl.activation(name="faulty")(function)
    assert function.__name__ in str(caught.value)
    assert "faulty" not in nl.activations


def test_a_formula_that_is_undefined_after_simplification_is_refused() -> None:
    with pytest.raises(FormulaError, match=r"^faulty.*divides 1 by zero"):
        define(lambda x: 1 / (x - x), name="faulty")


ILL_DEFINED: dict[str, tuple[Callable[..., Any], str]] = {
    "no input": (lambda: 1, "faulty has no input: its first argument, without a default, is x"),
    "only parameters": (lambda a=1.0: a, "faulty has no input: its first argument, without a default, is x"),
    "*args": (lambda x, *more: x, "faulty takes *more: an activation names its parameters one by one"),
    "**keywords": (lambda x, **more: x, "faulty takes **more: an activation names its parameters one by one"),
    "text as default": (lambda x, a="1": x, "faulty: the default of a must be a number or a Parameter, got '1'"),
    "bool as default": (lambda x, a=True: x, "faulty: the default of a must be a number or a Parameter, got True"),
    "None as default": (lambda x, a=None: x, "faulty: the default of a must be a number or a Parameter, got None"),
    "x as parameter": (
        lambda y, x=1.0: x * y,
        "faulty: its first argument is the input, so no other one can be called x",
    ),
    "unknown symbol": (
        lambda x: x * Symbol("gamma"),
        "faulty uses the symbol 'gamma', which is not one of its parameters",
    ),
    "division by a parameter": (
        lambda x, beta=1.0: x / beta,
        "faulty divides by beta, and beta may be 0: declare beta=Parameter(1.0, gt=0) or Parameter(1.0, ne=0)",
    ),
    "division by a product": (
        lambda x, beta=nl.Parameter(1.0, ge=0): x / (2 * beta),
        "faulty divides by 2*beta, and beta may be 0: declare beta=Parameter(1.0, gt=0) or Parameter(1.0, ne=0)",
    ),
    "division by a root": (
        lambda x, beta=nl.Parameter(): x / sqrt(beta),
        "faulty divides by sqrt(beta), and beta may be 0: declare beta=Parameter(gt=0) or Parameter(ne=0)",
    ),
    "division in the derivative": (
        lambda x, beta=1.0: sqrt(beta * x),
        "and beta may be 0: declare beta=Parameter(1.0, gt=0) or Parameter(1.0, ne=0)",
    ),
}


@pytest.mark.parametrize("case", ILL_DEFINED)
def test_ill_defined_activations_are_refused(case: str) -> None:
    function, message = ILL_DEFINED[case]
    with pytest.raises(FormulaError, match=re.escape(message)):
        nl.activation(name="faulty")(function)
    assert "faulty" not in nl.activations


@pytest.mark.parametrize("reserved", ["out", "where", "dtype", "casting", "order", "subok", "signature", "wrt"])
def test_names_with_a_meaning_in_calls_are_reserved(reserved: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def faulty(x, {reserved}=1.0): return x * {reserved}", space)
    with pytest.raises(FormulaError, match=f"^faulty: '{reserved}' means something else in a call; rename the parameter$"):
        define(space["faulty"])


def test_a_default_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^faulty: alpha must be >= 0, got -1\.0$"):
        define(lambda x, alpha=nl.Parameter(-1.0, ge=0): alpha * x, name="faulty")


@pytest.mark.parametrize("bound", [dict(gt=0), dict(ge=1), dict(lt=0), dict(le=-1), dict(ne=0)], ids=str)
def test_division_is_allowed_where_bounds_exclude_zero(bound: dict[str, float]) -> None:
    default = -2.0 if "lt" in bound or "le" in bound else 2.0
    f = define(lambda x, beta=nl.Parameter(default, **bound): x / beta, name="divided")
    assert f(6.0) == 6 / default


# --- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nl.gelu(), TypeError, "gelu needs x"),
        (lambda: nl.elu(alpha=1.0), TypeError, "elu needs x"),
        (lambda: nl.threshold(1.0), TypeError, "threshold needs threshold: it has no default"),
        (lambda: nl.threshold(1.0, 0.5), TypeError, "threshold needs value: it has no default"),
        (lambda: nl.gelu(1.0, 2.0), TypeError, "gelu takes x: 2 positional arguments are too many"),
        (lambda: nl.elu(1.0, 1.0, 1.0), TypeError, "elu takes x, alpha: 3 positional arguments are too many"),
        (lambda: nl.elu(1.0, x=1.0), TypeError, "elu got x twice"),
        (lambda: nl.elu(1.0, 1.0, alpha=1.0), TypeError, "elu got alpha twice"),
        (lambda: nl.gelu(1.0, slope=1.0), TypeError, "gelu has no parameter 'slope' (it has: none)"),
        (
            lambda: nl.leaky_relu(1.0, negativ_slope=1.0),
            TypeError,
            "leaky_relu has no parameter 'negativ_slope' (it has: negative_slope); did you mean negative_slope?",
        ),
        (lambda: nl.elu(1.0, alpha=-1), ValueError, "elu: alpha must be >= 0, got -1"),
        (lambda: nl.elu(1.0, alpha=[1.0, -1.0]), ValueError, "elu: alpha must be >= 0, got [1.0, -1.0]"),
        (lambda: nl.elu(1.0, alpha=math.nan), ValueError, "elu: alpha must be >= 0, got nan"),
        (lambda: nl.softplus(1.0, beta=0), ValueError, "softplus: beta must be > 0, got 0"),
        (lambda: nl.celu(1.0, alpha=0.0), ValueError, "celu: alpha must be != 0, got 0.0"),
        (lambda: nl.xielu(1.0, eps=1e-3), ValueError, "xielu: eps must be <= 0, got 0.001"),
        (
            lambda: nl.hard_tanh(1.0, min_value=2, max_value=1),
            ValueError,
            "hard_tanh: max_value must be >= min_value = 2, got 1",
        ),
        (lambda: nl.hard_tanh(1.0, min_value=2), ValueError, "hard_tanh: max_value must be >= min_value = 2, got 1"),
        (lambda: nl.elu.derivative(1.0, alpha=-1), ValueError, "elu: alpha must be >= 0, got -1"),
        (lambda: nl.elu.derivative(1.0, wrt="beta"), ValueError, "elu: wrt must be one of x, alpha, got 'beta'"),
        (lambda: nl.gelu.derivative(1.0, wrt="X"), ValueError, "gelu: wrt must be one of x, got 'X'"),
        (lambda: nl.gelu.derivative(1.0, order=-1), ValueError, "order must be a whole number of at least 0, got -1"),
        (lambda: nl.gelu.derivative(1.0, order=1.5), ValueError, "order must be a whole number of at least 0, got 1.5"),
        (lambda: nl.gelu.latex(order=-1), ValueError, "order must be a whole number of at least 0, got -1"),
        (lambda: nl.elu.with_(beta=1.0), TypeError, "elu has no parameter 'beta' (it has: alpha)"),
        (lambda: nl.elu.with_(alpha=-1.0), ValueError, "elu: alpha must be >= 0, got -1.0"),
        (
            lambda: nl.threshold.facts,
            ValueError,
            "threshold has no facts before threshold, value is given: see with_()",
        ),
        (lambda: nl.gelu("text"), TypeError, "gelu: x must be real floating-point or integer, got <U4"),
        (lambda: nl.elu(1.0, alpha="1"), TypeError, "elu: alpha must be real floating-point or integer, got <U1"),
        (lambda: nl.elu(1.0, alpha=1j), TypeError, "elu: alpha must be real floating-point or integer, got complex128"),
        (lambda: nl.gelu([1.0, [2.0]]), ValueError, "gelu: "),
        (
            lambda: nl.leaky_relu(np.ones((2, 3)), np.ones(2)),
            ValueError,
            "leaky_relu: operands do not broadcast together: x (2, 3), negative_slope (2,)",
        ),
    ],
)
def test_wrong_calls_are_explained(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


@over_entries
def test_every_bound_is_checked_by_value_and_derivative(name: str) -> None:
    f, given = ELEMENTWISE[name], parameters(name)
    for key, parameter in f.parameters.items():
        for kind, bound in parameter.bounds.items():
            limit = given[bound] if isinstance(bound, str) else bound
            outside = {"gt": limit, "ge": limit - 1, "lt": limit, "le": limit + 1, "ne": limit}[kind]
            for order in (0, 1):
                with pytest.raises(ValueError, match=f"^{name}: {key} must be .*, got {outside}"):
                    f.derivative(1.0, order=order, **(given | {key: outside}))


@over_entries
def test_every_way_to_pass_parameters_is_the_same(name: str) -> None:
    f, given = ELEMENTWISE[name], parameters(name)
    expected = f(X, *given.values())
    assert np.array_equal(f(X, **given), expected)
    assert np.array_equal(f(x=X, **given), expected)
    if all(p.default is not None for p in f.parameters.values()):
        assert np.array_equal(f(X), f(X, **{key: p.default for key, p in f.parameters.items()}))


@pytest.mark.parametrize("order", [1.0, True])
def test_orders_are_checked_where_the_derivative_is_known_already(order: Any) -> None:
    nl.gelu.derivative(1.0)
    with pytest.raises(ValueError, match=f"order must be a whole number of at least 0, got {order}"):
        nl.gelu.derivative(1.0, order=order)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_order_of_a_derivative_is_any(order: int) -> None:
    sine = [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin][order]
    np.testing.assert_allclose(nl.sin.derivative(X, order=order), sine(X), rtol=1e-13, atol=1e-15)


def test_derivative_with_respect_to_a_parameter() -> None:
    assert nl.leaky_relu.derivative([-2.0, 0.0, 3.0], wrt="negative_slope").tolist() == [-2.0, 0.0, 0.0]
    assert nl.threshold.derivative([0.0, 1.0], 0.5, -2.0, wrt="value").tolist() == [1.0, 0.0]
    assert nl.star_relu.derivative([-1.0, 2.0], wrt="bias").tolist() == [1.0, 1.0]


def test_derivative_formula_and_latex_are_those_that_are_computed() -> None:
    assert nl.sigmoid.derivative_formula() is differentiate(nl.sigmoid.formula)
    assert nl.elu.derivative_formula(wrt="alpha") is differentiate(nl.elu.formula, "alpha")
    assert nl.sigmoid.latex(order=1) == r"\sigma(x) \, \sigma(-x)"


# The first call for a dtype finds out what the later ones go to directly.


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@over_entries
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_the_second_call_equals_the_first(name: str, dtype: Any, order: int) -> None:
    entry = ELEMENTWISE[name].with_(**parameters(name))  # which nobody has called yet
    small, out = X.astype(dtype), np.empty(X.shape, dtype)
    calls = [
        lambda: entry.derivative(small, order=order),
        lambda: entry.derivative(small, order=order, out=out),
        lambda: entry.derivative(small, order=order, out=(np.empty_like(out),)),
        lambda: entry.derivative(small, order=order, out=None),
        *([lambda: entry(small), lambda: entry(small, out=out)] if order == 0 else []),
    ]
    expected = calls[0]()
    for call in calls * 2:
        result = call()
        assert (result.dtype, result.tobytes()) == (expected.dtype, expected.tobytes())
    assert calls[1]() is out


@pytest.mark.parametrize("name", ["relu", "elu", "hard_tanh"])
def test_later_calls_go_wrong_like_the_first(name: str) -> None:
    entry, small = nl.activations[name].with_(), X.astype(np.float32)
    wrong: list[Callable[[], Any]] = [
        lambda: entry(small, out=np.empty(3, np.float32)),
        lambda: entry(small, out=np.empty(X.shape, int)),
        lambda: entry(small, out="there"),
        lambda: entry(small, wher=True),
        lambda: entry.derivative(small, order=True),
        lambda: entry.derivative(small, wrt="y"),
    ]

    def told() -> list[str]:
        messages = []
        for call in wrong:
            with pytest.raises((TypeError, ValueError)) as caught:
                call()
            messages.append(f"{caught.type.__name__}: {caught.value}")
        return messages

    first = told()
    entry(small)
    entry.derivative(small)
    assert told() == first


def test_later_calls_follow_the_precision() -> None:
    small = np.linspace(-6, -5, 50, dtype=np.float32)
    fast, exact = nl.gelu.ufunc(small), nl.gelu.ufunc(small.astype(float)).astype(np.float32)
    assert not np.array_equal(fast, exact)
    for _ in range(2):
        assert np.array_equal(nl.gelu(small), fast)
        with nl.precision("exact"):
            assert np.array_equal(nl.gelu(small), exact)


# --- composing --------------------------------------------------------------------------------------------------------


def test_calling_an_activation_on_a_symbol_composes() -> None:
    assert nl.relu(x) is nl.relu.formula
    assert nl.gelu(2 * x) is 2 * x * nl.normal_cdf(2 * x)
    assert nl.elu(x, alpha=2) is where(x > 0, x, 2 * nl.expm1(x))
    assert nl.elu(x, alpha=Symbol("a")) is where(x > 0, x, Symbol("a") * nl.expm1(x))
    assert nl.leaky_relu(1, negative_slope=Symbol("a")) is where(nl.formula.Constant(1) > 0, 1, Symbol("a"))
    assert nl.silu.derivative(x) is nl.silu.derivative_formula()
    assert nl.elu.derivative(x, wrt="alpha", alpha=3) is where(x > 0, 0, nl.expm1(x))


def test_a_composed_activation_computes_the_composition() -> None:
    f = define(lambda x, beta=nl.Parameter(1.5, gt=0): x * nl.tanh(nl.softplus(x, beta=beta)), name="tuesday")
    expected = X * np.tanh(np.log1p(np.exp(1.5 * X)) / 1.5)
    np.testing.assert_allclose(f(X), expected, rtol=1e-14, atol=1e-16)
    h = 1e-6
    np.testing.assert_allclose(f.derivative(X), (f(X + h) - f(X - h)) / (2 * h), rtol=1e-7, atol=1e-9)


def test_arrays_cannot_stand_in_a_formula() -> None:
    with pytest.raises(FormulaError, match="write the number itself"):
        nl.leaky_relu(x, negative_slope=np.array([0.5, 0.25]))


# --- with_, copying, pickling -----------------------------------------------------------------------------------------


def test_with_changes_defaults_of_a_copy() -> None:
    steep = nl.leaky_relu.with_(negative_slope=0.5)
    assert (steep(-1.0), nl.leaky_relu(-1.0)) == (-0.5, -0.01)
    assert steep.derivative(-1.0) == 0.5
    assert steep.formula is nl.leaky_relu.formula
    assert repr(steep) == "<activation leaky_relu(x, negative_slope=0.5)>"
    assert nl.get("leaky_relu") is nl.leaky_relu


def test_with_keeps_bounds_and_gives_what_had_no_default() -> None:
    f = nl.threshold.with_(threshold=0.5, value=-2.0)
    assert f([0.0, 1.0]).tolist() == [-2.0, 1.0]
    assert nl.elu.with_(alpha=2.0).parameters["alpha"] == nl.Parameter(2.0, ge=0)
    with pytest.raises(ValueError, match=r"^elu: alpha must be >= 0, got -1"):
        nl.elu.with_(alpha=2.0)(1.0, alpha=-1)


@over_entries
def test_catalogue_pickles_and_copies_as_itself(name: str) -> None:
    f = ELEMENTWISE[name]
    assert pickle.loads(pickle.dumps(f)) is f
    assert copy.copy(f) is f
    assert copy.deepcopy([f])[0] is f


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
@pytest.mark.parametrize("make", [lambda: nl.elu.with_(alpha=2.0), lambda: define(bent, source="Tuesday")])
def test_unregistered_activations_pickle_and_copy_by_value(
    make: Callable[[], nl.Activation], duplicate: Callable[[Any], Any]
) -> None:
    f = make()
    f(X)  # compiled ufuncs are no part of it
    again = duplicate(f)
    assert again.formula is f.formula
    fields = ("name", "operands", "parameters", "source", "family", "summary")
    assert [getattr(again, field) for field in fields] == [getattr(f, field) for field in fields]
    assert np.array_equal(again(X), f(X))
    assert again.__signature__ == f.__signature__


def test_registered_own_activations_pickle_by_name() -> None:
    f = nl.activation(bent)
    assert pickle.loads(pickle.dumps(f)) is f


def test_expressions_inside_containers_copy_as_themselves() -> None:
    formula = nl.mish.formula
    assert copy.deepcopy({"formula": formula})["formula"] is formula


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gelu", "gelu"),
        ("GELU", "gelu"),
        ("LeakyReLU", "leaky_relu"),
        ("leaky-relu", "leaky_relu"),
        ("leaky relu", "leaky_relu"),
        ("hardswish", "hard_swish"),
        ("hard_silu", "hard_swish"),
        ("gelu_new", "gelu_tanh"),
        ("relu2", "relu_squared"),
        ("heaviside", "step"),
        ("linear", "identity"),
        ("tanhexp", "telu"),
        ("swish", "swish"),
    ],
)
def test_get_by_name_or_alias(name: str, expected: str) -> None:
    assert nl.get(name) is nl.activations[expected] is getattr(nl, expected)


def test_get_returns_activations_as_they_are() -> None:
    assert nl.get(nl.gelu) is nl.gelu
    other = nl.elu.with_(alpha=2.0)
    assert nl.get(other) is other


@pytest.mark.parametrize("wrong", [5, None, 1.5, ["gelu"], math.exp])
def test_get_needs_a_name(wrong: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(f"get needs a name, got {wrong!r}")):
        nl.get(wrong)


@pytest.mark.parametrize(("wrong", "near"), [("gelo", "gelu"), ("leekyrelu", "leaky_relu"), ("sigmoyd", "sigmoid")])
def test_unknown_names_get_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(KeyError) as caught:
        nl.get(wrong)
    message = str(caught.value)
    assert message.startswith(f"there is no activation {wrong!r}: did you mean ")
    assert near in re.split(r" or |\?| ", message)
    assert message.endswith("?")


def test_hopeless_names_get_the_registry() -> None:
    with pytest.raises(KeyError) as caught:
        nl.get("qqqqqqqq")
    assert str(caught.value) == "there is no activation 'qqqqqqqq': nonlin.activations has all names"


def test_registry_is_a_read_only_mapping() -> None:
    assert isinstance(nl.activations, Mapping)
    assert "gelu" in nl.activations
    assert "GELU" not in nl.activations
    assert len(list(nl.activations)) == len(nl.activations)
    assert repr(nl.activations).startswith(f"<{len(nl.activations)} activations: ")
    with pytest.raises(TypeError, match="does not support item assignment"):
        nl.activations["mine"] = nl.gelu  # type: ignore[index]
    with pytest.raises(TypeError, match="support item deletion"):
        del nl.activations["gelu"]  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        nl.activations["mine"]
    with pytest.raises(TypeError):
        nl.gelu.parameters["alpha"] = nl.Parameter(1.0)  # type: ignore[index]


@pytest.mark.parametrize(
    ("own", "aliases", "holder", "name"),
    [
        ("gelu", (), "gelu", "gelu"),
        ("GeLU", (), "gelu", "GeLU"),
        ("hard_silu", (), "hard_swish", "hard_silu"),
        ("mine", ("relu2",), "relu_squared", "relu2"),
        ("mine", ("fresh", "tanh"), "tanh", "tanh"),
    ],
)
def test_names_of_the_catalogue_are_taken(own: str, aliases: tuple[str, ...], holder: str, name: str) -> None:
    before = dict(nl.activations)
    with pytest.raises(ValueError, match=f"^{own}: the name '{name}' belongs to {holder}; choose another one$"):
        nl.activation(name=own, aliases=aliases)(lambda x: x)
    assert dict(nl.activations) == before
    with pytest.raises(KeyError):
        nl.get("fresh")


def test_own_activations_may_be_defined_anew() -> None:
    old = nl.activation(name="mine", aliases=("my_old",))(lambda x: x)
    new = nl.activation(name="mine", aliases=("my_new",))(lambda x: 2 * x)
    assert nl.get("mine") is nl.get("my_new") is new
    assert (old(3.0), new(3.0)) == (3.0, 6.0)
    assert pickle.loads(pickle.dumps(old))(3.0) == 3.0


def test_an_alias_of_another_own_activation_is_taken() -> None:
    nl.activation(name="mine", aliases=("shared",))(lambda x: x)
    with pytest.raises(ValueError, match=r"^yours: the name 'shared' belongs to mine; choose another one$"):
        nl.activation(name="yours", aliases=("shared",))(lambda x: x)


# --- parameters -------------------------------------------------------------------------------------------------------


def test_parameter_describes_itself() -> None:
    parameter = nl.Parameter(0.5, ge=0, lt=1, learnable=True)
    assert repr(parameter) == "Parameter(0.5, ge=0, lt=1, learnable=True)"
    assert parameter.describe() == ">= 0 and < 1"
    assert parameter.bounds == {"ge": 0, "lt": 1}
    assert parameter == nl.Parameter(0.5, ge=0, lt=1, learnable=True) != nl.Parameter(0.5, ge=0, lt=1)
    assert repr(nl.Parameter()) == "Parameter()"
    assert pickle.loads(pickle.dumps(parameter)) == parameter


@pytest.mark.parametrize(
    ("bounds", "excluded"),
    [
        ({}, False),
        ({"gt": 0}, True),
        ({"ge": 0}, False),
        ({"ge": 1}, True),
        ({"gt": -1}, False),
        ({"lt": 0}, True),
        ({"le": 0}, False),
        ({"le": -1}, True),
        ({"ne": 0}, True),
        ({"ne": 1}, False),
        ({"ge": "other"}, False),
    ],
)
def test_parameter_knows_whether_it_may_be_zero(bounds: dict[str, Any], excluded: bool) -> None:
    assert nl.Parameter(**bounds).excludes_zero() is excluded


# --- the catalogue ----------------------------------------------------------------------------------------------------


@over_entries
def test_definitions_of_the_catalogue_are_sound(name: str) -> None:
    check_definition(ELEMENTWISE[name])


@over_entries
def test_entries_stand_in_the_package_by_name_and_alias(name: str) -> None:
    f = ELEMENTWISE[name]
    assert getattr(nl, name) is f is nl.get(name)
    assert all(nl.get(alias) is f for alias in f.aliases)
    assert (f.name, f.__name__, f.__module__.partition(".")[0]) == (name, name, "nonlin")
    assert f.family == f.__module__.removeprefix("nonlin.catalogue.")
    assert f.summary.endswith((".", ":")) or ". " in f.summary
    assert isinstance(f.formula, Expression)
    assert f.latex()
    assert f"{name} = {f.formula}" in str(f.__doc__)


def test_nothing_defined_here_stays_in_the_registry(registry: Registry) -> None:
    assert not [name for name, f in registry.items() if f.__module__ == __name__]


def test_threads_may_define_activations(registry: Registry) -> None:
    def work(k: int) -> None:
        nl.activation(name=f"threaded{k}")(lambda x: maximum(absolute(x), log1p(exp(x))) * (k + 1))

    at_once(work)
    assert [registry[f"threaded{k}"](2.0) / registry["threaded0"](2.0) for k in range(8)] == pytest.approx(range(1, 9))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over_entries
def test_value_and_derivative_at_once(name: str, dtype: type) -> None:
    entry, given = nl.get(name), parameters(name)
    x = np.array([-np.inf, -300, -41.5, -3.2, -0.7, -1e-8, 0, 0.3, 0.9, 2.6, 17.7, 250, np.inf, np.nan], dtype)
    arrays = [x] if len(entry.operands) == 1 else [x, np.full_like(x, 1.5)]
    with np.errstate(all="ignore"):
        y, slope = entry.value_and_derivative(*arrays, **given)
        expected = entry(*arrays, **given), entry.derivative(*arrays, **given)
    step = np.finfo(dtype).eps
    assert y.dtype == slope.dtype == dtype
    np.testing.assert_allclose(y, expected[0], rtol=3 * step, atol=2 * step)
    np.testing.assert_allclose(slope, expected[1], rtol=3 * step, atol=2 * step)


def test_value_and_derivative_take_what_the_value_takes() -> None:
    assert nl.relu.value_and_derivative(3) == (3, 1)
    y, slope = nl.reglu.value_and_derivative([1.0, -2.0, 3.0, 4.0], wrt="value")
    assert (y.tolist(), slope.tolist()) == ([3.0, 0.0], [1.0, 0.0])
    x = Symbol("x")
    assert nl.tanh.value_and_derivative(x) == (nl.tanh(x), nl.tanh.derivative(x))
    out = np.empty(2), np.empty(2)
    assert nl.elu.value_and_derivative([1.0, -1.0], alpha=2.0, out=out)[1] is out[1]
    assert out[1].tolist() == [1.0, 2 * np.exp(-1.0)]
    with pytest.raises(ValueError, match="wrt must be one of x, alpha"):
        nl.elu.value_and_derivative(1.0, wrt="beta")
