"""Finished formulas: forms, digits, special values, for every entry and for languages that have little."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from nonlin import activations
from nonlin.definition import Elementwise
from nonlin.formula import Symbol, exp, log, maximum, where
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import Application, Expression, postorder, substitute
from nonlin.formula.finish import ARITHMETIC, USUAL, evaluated, finished, functions_of, portable
from nonlin.formula.limits import limit
from nonlin.formula.primitives import PRIMITIVES, Primitive, absolute, erf, erfc, normal_cdf
from nonlin.formula.spelling import Reference

x, a = Symbol("x"), Symbol("a")
ELEMENTWISE = {name: entry for name, entry in activations.items() if type(entry) is Elementwise}
PRODUCT = [(name, order) for name in ELEMENTWISE for order in (0, 1)]
#: What no form of the argument mends. golu: the exponential of a rounded exponential. sqrt_softplus: the root of a number that
#: has underflowed. gcu, snake: next to the zeros of a wave.
HARD = {"golu": 200, "sqrt_softplus": np.inf, "gcu": np.inf, "snake": np.inf, "snake_beta": np.inf, "rational": 10, "isrlu": 10}


def formula_of(name: str, order: int) -> Expression:
    formula = ELEMENTWISE[name].formula
    return differentiate(formula, "x", order) if order else canonical(formula)


def typical(name: str) -> dict[str, float]:
    return dict(ELEMENTWISE[name]._typical())


def functions(formula: Expression) -> set[str]:
    return {node.primitive.name for node in postorder(formula) if isinstance(node, Application)}


@pytest.mark.parametrize(("name", "order"), PRODUCT)
def test_nothing_but_arithmetic_and_what_the_language_has(name: str, order: int) -> None:
    for available in (USUAL, frozenset({"sin", "cos", "arctan"})):
        result = finished(formula_of(name, order), "float32", available, typical(name))
        assert functions(result) <= ARITHMETIC | available


@pytest.mark.parametrize(("name", "order"), PRODUCT)
def test_tails_keep_their_digits_in_float32(name: str, order: int) -> None:
    points = np.concatenate([np.linspace(-101.37, -4.1, 1501), np.linspace(4.1, 100.93, 1501)]).astype(np.float32)
    formula, given = formula_of(name, order), typical(name)
    narrow = {n: np.float32(v) for n, v in given.items()} | {"x": points}
    wide = {n: np.asarray(v, np.float64) for n, v in narrow.items()}
    got = np.broadcast_to(evaluated(finished(formula, "float32", typical=given), "float32", narrow), points.shape)
    want = np.broadcast_to(evaluated(portable(formula), "float64", wide), points.shape)
    size = np.abs(want)
    counts = size > 2.0**-119  # below, exponentials are subnormal numbers of few digits
    ulps = np.abs(got.astype(np.float64) - want)[counts] / np.spacing(size[counts].astype(np.float32))
    assert not len(ulps) or ulps.max() < HARD.get(name, 8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "order"), PRODUCT)
def test_nan_at_nan_and_the_limits_at_infinity(name: str, order: int, dtype: Any) -> None:
    formula, given = formula_of(name, order), typical(name)
    values: dict[str, Any] = {n: np.asarray(v, dtype) for n, v in given.items()}
    result = finished(formula, dtype, typical=given)
    got = evaluated(result, dtype, values | {"x": np.array([np.nan, np.inf, -np.inf], dtype)})
    got = np.broadcast_to(got, (3,))
    assert np.isnan(got[0]) or "x" not in str(formula)
    plain = substitute(formula, given)
    for value, sign in zip(got[1:], (1, -1), strict=True):
        known = limit(plain, sign)
        if known is not None:
            np.testing.assert_allclose(value, float(known), rtol=1e-5, atol=1e-17)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n, entry in ELEMENTWISE.items() if entry.parameters])
def test_infinities_at_other_parameters_are_those_of_the_kernels(name: str, dtype: Any) -> None:
    entry, ends = ELEMENTWISE[name], np.array([np.inf, -np.inf], dtype)
    for order, scale in itertools.product((0, 1), (0.3, 1.25, 2.9, -0.6)):
        given = {n: scale * v for n, v in typical(name).items()}
        try:
            with np.errstate(invalid="ignore"):  # a wave has none
                want = entry.derivative(ends, order=order, **given)
        except ValueError:  # not allowed
            continue
        values = {n: np.asarray(v, dtype) for n, v in given.items()} | {"x": ends}
        got = evaluated(finished(formula_of(name, order), dtype, typical=typical(name)), dtype, values)
        np.testing.assert_allclose(np.broadcast_to(got, (2,)), want, rtol=1e-4, atol=1e-12, err_msg=f"{order} {given}")


@pytest.mark.parametrize("name", sorted(n for n, q in PRIMITIVES.items() if q.portable is not None and q.arity == 1))
def test_finished_primitives_in_float64_agree_with_the_reference(name: str) -> None:
    points = np.concatenate([np.linspace(-30, 30, 41), [1e-9, -1e-9, 1e-300, 0.3, -0.3, 0.999, -0.999, 1.001, 50, -50]])
    if name == "log1p":
        points = points[points > -1]
    formula = PRIMITIVES[name](x)
    got = evaluated(finished(formula, "float64", frozenset()), "float64", {"x": points})
    with mp.workdps(40):
        for at, value in zip(points, np.broadcast_to(got, points.shape), strict=True):
            want = Reference(mp, {"x": at})(formula)
            assert abs(value - want) <= 16 * 2**-53 * abs(want) + mp.mpf(2) ** -1070, (at, value, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [erf, erfc, normal_cdf], ids=str)
def test_a_language_without_error_functions_loses_nothing(function: Primitive, dtype: Any) -> None:
    points = np.concatenate([np.linspace(-12.9, 9, 301), np.geomspace(1e-6, 3, 60)]).astype(dtype)
    result = finished(function(x), dtype, frozenset())
    assert functions(result) <= ARITHMETIC
    with mp.workdps(40):
        for at, value in zip(points, evaluated(result, dtype, {"x": points}), strict=True):
            want = Reference(mp, {"x": float(at)})(function(x))
            assert abs(value - want) <= 6 * np.spacing(np.asarray(float(abs(want)), dtype)), (at, value, want)


def test_a_parameter_of_zero_makes_a_product_zero() -> None:
    beta = Symbol("beta")
    result = finished(beta * exp(x), "float32", typical={"beta": 1.0})
    assert evaluated(result, "float32", {"x": np.float32(np.inf), "beta": np.float32(0)}) == 0


def test_conditions_on_numbers_are_decided() -> None:
    formula = substitute(where((absolute(a) > 1) & (x > 0), maximum(a, 1), 3), {"a": -2})
    assert str(portable(formula)) == "where(x > 0, 1, 3)"


def test_the_domain_is_kept() -> None:
    got = evaluated(finished(log(x), "float64"), "float64", {"x": np.array([-1.0, 0.0, np.inf])})
    np.testing.assert_array_equal(got, [np.nan, -np.inf, np.inf])


def test_functions_of_a_table() -> None:
    assert functions_of(["exp", "tanh", "add"]) == {"tanh"}
