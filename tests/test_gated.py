"""Gated pairs: values and slopes against the oracle's, splitting one array, conventions, dtypes, errors."""

import math
import pickle
import re
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from mpmath import mp, mpf

import nonlin as nl
from entries import over_floats
from nonlin.formula import FormulaError, Symbol
from nonlin.formula.calculus import differentiate
from nonlin.formula.spelling import Reference
from oracle import ulp_error, value

# The oracle's name for what each pair does to its gate, and the half of an array that is its gate.
GATES = {
    "glu": ("sigmoid", "second"),
    "bilinear": ("identity", "first"),
    "reglu": ("relu", "first"),
    "geglu": ("gelu", "first"),
    "geglu_tanh": ("gelu_tanh", "first"),
    "swiglu": ("silu", "first"),
    "relu2_glu": ("relu_squared", "first"),
    "swiglu_clamped": ("swish", "even"),
}
PAIRS: dict[str, nl.Gated] = {n: e for n, e in nl.activations.items() if isinstance(e, nl.Gated) and e.family == "pairs"}
WRT = ("gate", "value")
POINTS = [-math.inf, -750.0, -30.0, -5.5, -1.3, -0.4, -1e-8, 0.0, 1e-20, 0.7, 2.5, 6.0, 7.0, 9.0, 104.0, math.inf]
VALUES = [-1e10, -7.5, -7.0, -1.0, 0.3, 2.0, 7.0, 8.0]

over_pairs = pytest.mark.parametrize("name", PAIRS)


def reference(name: str, x: float, v: float, order: int = 0, wrt: str = "gate", alpha: float = 1.702) -> mpf:
    """A derivative of a pair: a gate times something linear in the value, for swiglu_clamped between its limits."""
    if name not in GATES:  # not written here: what its formula means
        formula = differentiate(PAIRS[name].formula, "x" if wrt == "gate" else wrt, order)
        with mp.workdps(60):
            return Reference(mp, {"x": x, "value": v, **_defaults(name)})(formula)
    parameters, factor, slope, passes = {}, mpf(v), 1, True
    if name == "swiglu_clamped":
        parameters, factor, slope, passes = {"beta": alpha}, max(-7, min(7, mpf(v))) + 1, abs(v) <= 7, x <= 7
        x = min(x, 7.0)
    if wrt == "value" and order:
        order, factor = 0, mpf(slope if order == 1 else 0)
    return value(GATES[name][0], x, order, **parameters) * factor if factor and (passes or not order) else mpf(0)


def _defaults(name: str) -> dict[str, float]:
    return {parameter: p.default for parameter, p in PAIRS[name].parameters.items() if p.default is not None}


def test_the_table_of_gates_is_complete() -> None:
    assert {name: PAIRS[name].gate for name in GATES} == {name: gate for name, (_, gate) in GATES.items()}


@over_pairs
@pytest.mark.parametrize(("order", "wrt"), [(0, "gate"), (1, "gate"), (2, "gate"), (1, "value"), (2, "value")])
def test_float64_agrees_with_mpmath(name: str, order: int, wrt: str) -> None:
    for x, v in product(POINTS, VALUES):
        got = PAIRS[name].derivative(x, v, order=order, wrt=wrt)
        want = reference(name, x, v, order, wrt)
        # Near the slope's own zero what counts is its size there.
        assert ulp_error(got, want, "float64") <= 4 or abs(got - want) <= 1e-15 * abs(v), (x, v, want)


@over_pairs
def test_float32_is_within_three_ulps(name: str) -> None:
    alpha = float(np.float32(1.702))  # as for any ufunc, a number beside float32 arrays is one, too
    rng = np.random.default_rng(0)
    x, v = (rng.normal(size=300).astype(np.float32) * 4 for _ in "xv")
    for a, b, got in zip(x.tolist(), v.tolist(), PAIRS[name](x, v).tolist(), strict=True):
        assert ulp_error(got, reference(name, a, b, alpha=alpha), "float32") <= 3, (a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "gate"), [("geglu", nl.gelu), ("geglu_tanh", nl.gelu_tanh), ("swiglu", nl.silu)])
def test_a_value_of_one_gives_the_gate_alone(name: str, gate: nl.Elementwise, dtype: str) -> None:
    # To the bit: the gate is computed in the same arithmetic, no slower one.
    x = np.linspace(-8, 8, 4001).astype(dtype)
    np.testing.assert_array_equal(PAIRS[name](x, np.ones_like(x)), gate(x))


@over_floats
@pytest.mark.parametrize("name", sorted(set(PAIRS) - {"swiglu_clamped"}))
def test_an_infinite_value_is_infinity_times_the_gate(name: str, dtype: np.dtype[Any]) -> None:
    x, ones = np.array([1, 3] * 20).astype(dtype), np.ones(40, dtype)
    np.testing.assert_array_equal(PAIRS[name](x, ones * math.inf), ones * math.inf)
    np.testing.assert_array_equal(PAIRS[name](x, ones * -math.inf), ones * -math.inf)
    gate = PAIRS[name](-x, ones)
    if gate.all():  # and not closed
        np.testing.assert_array_equal(PAIRS[name](-x, ones * math.inf), np.sign(gate) * ones * math.inf)


@over_floats
@over_pairs
def test_floating_dtypes_are_kept(name: str, dtype: np.dtype[Any]) -> None:
    x, v = np.linspace(-3, 3, 7).astype(dtype), np.linspace(2, -1, 7).astype(dtype)
    pair = PAIRS[name]
    exact = pair(x.astype(np.float64), v.astype(np.float64))
    for got in (pair(x, v), pair.derivative(x, v), pair.derivative(x, v, wrt="value"), pair(np.concatenate([x, v]))):
        assert got.dtype == dtype
    np.testing.assert_allclose(pair(x, v).astype(np.float64), exact, rtol=1e-2 if dtype.itemsize == 2 else 1e-6)


def test_integers_stay_integers_in_piecewise_linear_pairs() -> None:
    assert nl.reglu([2, -3], [4, 5]).tolist() == [8, 0]
    assert nl.reglu(np.int8([2]), np.int8([4])).dtype == np.int8
    assert nl.bilinear([2, -3], [4, 5]).dtype == np.int64
    assert nl.swiglu([2, -3], [4, 5]).dtype == np.float64


@over_pairs
def test_nan_in_either_operand_is_nan_out(name: str) -> None:
    x, v = np.array([math.nan, 1.0, math.nan]), np.array([1.0, math.nan, math.nan])
    for order, wrt in [(0, "gate"), *product((1, 2), WRT)]:
        assert np.isnan(PAIRS[name].derivative(x, v, order=order, wrt=wrt)).all(), (order, wrt)


@over_pairs
def test_a_gate_at_infinity_has_its_limit(name: str) -> None:
    pair, closed = PAIRS[name], name != "bilinear"
    assert pair(-math.inf, 2.0) == (0 if closed else -math.inf)
    assert pair.derivative(-math.inf, 2.0) == (0 if closed else 2)


def test_slopes_at_the_kinks_are_those_of_the_written_conditions() -> None:
    assert nl.reglu.derivative(0.0, 3.0) == 0
    assert nl.relu2_glu.derivative(0.0, 3.0) == 0
    # torch.clamp lets the gradient through at its limits.
    assert nl.swiglu_clamped.derivative(7.0, 1.0) == nl.swiglu_clamped.derivative(7.0, 1.0, limit=8.0)
    assert nl.swiglu_clamped.derivative(7.1, 1.0) == 0
    assert nl.swiglu_clamped.derivative(1.0, [-7.1, -7.0, 7.0], wrt="value").tolist() == [
        0.0,
        *2 * [nl.swish(1.0, 1.702)],
    ]


def test_derivatives_by_parameters() -> None:
    step, at = 1e-6, (1.5, 2.0)
    up, down = (nl.swiglu_clamped(*at, alpha=1.702 + d) for d in (step, -step))
    assert nl.swiglu_clamped.derivative(*at, wrt="alpha") == pytest.approx((up - down) / (2 * step), rel=1e-8)
    assert nl.swiglu_clamped.derivative(9.0, 2.0, wrt="limit") == pytest.approx(nl.swish.derivative(7.0, beta=1.702) * 3)


# One array split in halves


@over_pairs
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_one_array_is_split_along_an_axis(name: str, axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    first, second = np.split(x, 2, axis=axis)
    even, odd = (np.take(x, range(start, x.shape[axis], 2), axis=axis) for start in (0, 1))
    pair = PAIRS[name]
    expected = {"first": pair(first, second), "second": pair(second, first), "even": pair(even, odd)}
    for gate, want in expected.items():
        np.testing.assert_array_equal(pair(x, axis=axis, gate=gate), want)
    np.testing.assert_array_equal(pair(x, axis=axis), expected[pair.gate])
    np.testing.assert_array_equal(pair.derivative(x, axis=axis, wrt="value"), _halves_slope(pair, x, axis))


def _halves_slope(pair: nl.Gated, x: np.ndarray[Any, Any], axis: int) -> Any:
    parts = {"first": np.split(x, 2, axis=axis), "second": np.split(x, 2, axis=axis)[::-1]}
    parts["even"] = [np.take(x, range(start, x.shape[axis], 2), axis=axis) for start in (0, 1)]
    return pair.derivative(*parts[pair.gate], wrt="value")


def test_splitting_agrees_with_the_frameworks() -> None:
    # torch.nn.functional.glu([0., 1., 2., 3.]) is [0, 1] * sigmoid([2, 3]).
    x = [0.0, 1.0, 2.0, 3.0]
    assert nl.glu(x).tolist() == nl.glu(x, None).tolist() == nl.glu(x=x, value=None).tolist()
    assert nl.glu(x).tolist() == pytest.approx([0.0, 1 / (1 + math.exp(-3))], rel=1e-15)
    # gpt-oss: x_glu, x_linear = x[..., ::2], x[..., 1::2]; x_glu*sigmoid(1.702*x_glu)*(x_linear + 1), both clamped.
    want = [1 / (1 + math.exp(-1.702)) * 3, 7 / (1 + math.exp(-1.702 * 7)) * 8]
    assert nl.swiglu_clamped([1.0, 2.0, 8.0, 9.0]).tolist() == pytest.approx(want, rel=1e-15)


@pytest.mark.parametrize("x", [np.arange(12.0)[::2], np.arange(12.0)[::-1], np.arange(6.0).astype(">f8"), range(6)])
def test_strided_and_other_sequences(x: Any) -> None:
    plain = np.array(list(x), np.float64)
    np.testing.assert_array_equal(nl.swiglu(x), nl.swiglu(plain[: len(plain) // 2], plain[len(plain) // 2 :]))


def test_zero_size() -> None:
    assert nl.swiglu(np.zeros((3, 0))).shape == (3, 0)
    assert nl.swiglu(np.zeros((0, 4))).shape == (0, 2)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.sampled_from(sorted(PAIRS)))
def test_a_pair_is_its_gate_times_its_value(xs: list[float], name: str) -> None:
    x = np.array(xs)
    if name != "swiglu_clamped":  # which is not linear in its value
        np.testing.assert_allclose(PAIRS[name](x, 4.0), 4 * PAIRS[name](x, 1.0), rtol=1e-15, atol=1e-307)
    np.testing.assert_array_equal(PAIRS[name](np.tile(x, 2), gate="second"), PAIRS[name](x, x))


# It is a ufunc


def test_operands_broadcast() -> None:
    assert nl.swiglu(np.ones((3, 1)), np.ones(4)).shape == (3, 4)
    assert nl.swiglu(1.0, 2.0) == nl.silu(1.0) * 2
    assert isinstance(nl.swiglu.ufunc, np.ufunc)
    assert nl.swiglu.derivative_ufunc(wrt="value").nin == 2


def test_out_and_where() -> None:
    out = np.full(2, 9.0)
    assert nl.reglu([1.0, 2.0, 3.0, 4.0], out=out) is out
    assert out.tolist() == [3.0, 8.0]
    nl.reglu(np.array([1.0, 1.0]), np.array([5.0, 6.0]), out=out, where=np.array([True, False]))
    assert out.tolist() == [5.0, 8.0]


def test_pandas_series_come_back() -> None:
    a, b = pd.Series([1.0, -2.0], index=["p", "q"]), pd.Series([3.0, 4.0], index=["p", "q"])
    got = nl.reglu(a, b)
    assert isinstance(got, pd.Series)
    assert got.to_dict() == {"p": 3.0, "q": 0.0}


def test_a_pair_composes_into_a_formula() -> None:
    x, y = Symbol("x"), Symbol("y")
    assert nl.reglu(x, 2 * y) is nl.relu(x) * (2 * y)
    assert nl.swiglu.derivative(x, y, wrt="value") is nl.silu.derivative_formula(0)


# Its face


def test_formula_and_latex() -> None:
    assert str(nl.swiglu.formula) == "x*sigmoid(x)*value"
    assert nl.swiglu.derivative_formula(wrt="value") is nl.silu.derivative_formula(0)
    assert nl.swiglu.latex(order=1, wrt="value") == nl.silu.latex()
    assert nl.glu.latex() == nl.sigmoid.latex() + r" \, \mathrm{value}"


def test_signature_and_documentation() -> None:
    assert repr(nl.glu) == "<activation glu(x, value=None, *, axis=-1, gate='second')>"
    assert "limit=7.0, alpha=1.702, *, axis" in repr(nl.swiglu_clamped)
    assert "by default 'even'" in nl.swiglu_clamped.__doc__
    assert nl.get("SwiGLU") is nl.swiglu
    assert all(pair.source for pair in PAIRS.values())


def test_other_defaults_keep_the_gate() -> None:
    mild = nl.swiglu_clamped.with_(limit=2.0)
    assert isinstance(mild, nl.Gated)
    assert mild.gate == "even"
    # Not ==: defaults have kernels of their own, whose last digit may differ.
    assert mild(3.0, 1.0) == pytest.approx(nl.swiglu_clamped(3.0, 1.0, limit=2.0), rel=1e-15)


def test_pickle() -> None:
    assert pickle.loads(pickle.dumps(nl.glu)) is nl.glu
    mild = pickle.loads(pickle.dumps(nl.swiglu_clamped.with_(limit=2.0)))
    assert (mild.gate, mild(3.0, 1.0)) == ("even", nl.swiglu_clamped.with_(limit=2.0)(3.0, 1.0))


def test_a_pair_of_ones_own(registry: Any) -> None:
    @nl.gated(gate="second", source="me")
    def sin_glu(gate, value, omega=1.0):  # type: ignore[no-untyped-def]
        return nl.sin(gate, omega) * value

    assert nl.get("sin_glu") is sin_glu
    assert sin_glu([2.0, 1.0], omega=2.0) == [2 * math.sin(2)]
    assert sin_glu.derivative(1.0, 2.0) == pytest.approx(2 * math.cos(1))


# Errors


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nl.swiglu(np.ones((2, 3))), ValueError, "swiglu: axis 1 of x of shape (2, 3) has odd length 3, so no"),
        (lambda: nl.glu(np.ones((2, 4)), axis=2), ValueError, "glu: axis 2 is out of range for x of shape (2, 4)"),
        (lambda: nl.glu(np.ones(4), axis=1.5), TypeError, "glu: axis must be an integer, got 1.5"),
        (lambda: nl.glu(1.0), ValueError, "glu: x is a single number and has no axis"),
        (
            lambda: nl.glu([1.0, 2.0], gate="both"),
            ValueError,
            "glu: gate must be one of first, second, even, got 'both'",
        ),
        (lambda: nl.glu([1.0], [2.0], axis=0), TypeError, "glu: axis says how to split one array, but x and value are"),
        (lambda: nl.glu([1.0], [2.0], gate="first"), TypeError, "glu: gate says how to split one array"),
        (lambda: nl.glu.derivative([1.0, 2.0], wrt="b"), ValueError, "glu: wrt must be one of gate, value, got 'b'"),
        (lambda: nl.glu(), TypeError, "glu needs x"),
        (lambda: nl.glu(1j, 2.0), TypeError, "glu: x must be real floating-point or integer, got complex128"),
        (lambda: nl.glu(["a", "b"]), TypeError, "glu: x must be real floating-point or integer, got <U1"),
        (
            lambda: nl.glu(np.ones(2), np.ones(3)),
            ValueError,
            "glu: operands do not broadcast together: x (2,), value (3,)",
        ),
        (lambda: nl.swiglu_clamped(1.0, 1.0, limit=-1), ValueError, "swiglu_clamped: limit must be >= 0, got -1"),
        (lambda: nl.glu(Symbol("x")), FormulaError, "glu needs a value beside x: only an array can be split in halves"),
        (lambda: nl.glu.facts, ValueError, "glu has no facts: it is a function of two arrays; its gate has"),
        (lambda: nl.gated()(lambda a: a), FormulaError, "<lambda>(a): a gated pair is a function of a gate and then"),
        (lambda: nl.gated()(lambda a, value, axis=1.0: a), FormulaError, "axis and gate say how to split an array"),
    ],
)
def test_errors_say_what_is_wrong(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_precision_exact_rounds_once() -> None:
    rng = np.random.default_rng(1)
    x, v = (rng.normal(size=200).astype(np.float32) for _ in "xv")
    with nl.precision("exact"):
        got = nl.swiglu(x, v)
    wants = (reference("swiglu", a, b) for a, b in zip(x.tolist(), v.tolist(), strict=True))
    assert max(ulp_error(g, w, "float32") for g, w in zip(got.tolist(), wants, strict=True)) <= 0.501


@over_pairs
@pytest.mark.parametrize(("order", "wrt"), [(0, "gate"), (1, "gate"), (1, "value")])
def test_no_number_in_either_array_is_none_in_the_result(name: str, order: int, wrt: str) -> None:
    places = np.array([-np.inf, -2.0, 0.0, 2.0, np.inf])
    nowhere = np.full(5, np.nan)
    with np.errstate(all="ignore"):
        assert np.isnan(PAIRS[name].derivative(places, nowhere, order=order, wrt=wrt)).all()
        assert np.isnan(PAIRS[name].derivative(nowhere, places, order=order, wrt=wrt)).all()
