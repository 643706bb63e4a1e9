"""Slopes of functions from their outputs."""

from typing import Any

import numpy as np
import pytest

import nonlin as nl
from nonlin.arithmetic.inversion import SlopeTable, find_breaks
from nonlin.formula import Expression, Symbol, absolute, exp
from nonlin.formula.calculus import canonical
from nonlin.formula.expression import substitute
from nonlin.kernels.passes import make_pass

GRID = np.unique(np.concatenate([np.linspace(-50, 50, 5001), *(s * np.geomspace(1e-4, 1e6, 500) for s in (-1, 1))]))
#: Functions by name, with the x at which they turn.
TURNS = {
    "tanh": None, "sigmoid": None, "softplus": None, "softsign": None, "elu": None, "selu": None, "relu_squared": None,
    "tanh_shrink": None, "arctan": None, "log_sigmoid": None,
    "gelu": -0.751791524693564457, "silu": -1.278464542761073795, "mish": -1.192431214515495212, "hard_swish": -1.5,
}  # fmt: skip


def formula_of(name: str) -> Expression:
    entry = nl.get(name)
    return canonical(substitute(entry.formula, {n: p.default for n, p in entry.parameters.items()}))


def table_of(name: str, turn: float | None) -> SlopeTable:
    entry = nl.get(name)
    breaks = {*find_breaks(formula_of(name), GRID), *([] if turn is None else [turn])}
    return SlopeTable(entry, entry.derivative, sorted(breaks), turn)


@pytest.mark.parametrize("name", TURNS)
def test_slopes_are_right_to_the_information_limit(name: str) -> None:
    turn = TURNS[name]
    table, entry = table_of(name, turn), nl.get(name)
    x = np.random.default_rng(0).normal(0, 4, 100_000).astype(np.float32)
    x[:6] = [0, -0.0, np.inf, -np.inf, 3e38, -3e38]
    with np.errstate(over="ignore"):
        y, exact = entry(x), entry.derivative(x.astype(float))
    operands: list[Any] = [y, table.coefficients]
    fields = [("y", "float32"), ("table", "table")]
    if turn is not None:
        operands.append(np.packbits(x > turn, bitorder="little"))
        fields.append(("bits", "bits"))
    got = np.empty_like(y)
    make_pass(tuple(fields), ((table.operations(), "float32"),))([a.ctypes.data for a in (*operands, got)], x.size)
    seen = np.abs(exact) < 1e3  # relu_squared has no bounds
    error = np.abs(got - exact)[seen] / np.maximum(1, np.abs(exact[seen]))
    assert error.max() <= (3e-6 if turn is None else 2e-4)
    assert np.quantile(error, 0.999) <= (3e-7 if turn is None else 1e-5)


def test_what_is_no_number_stays_so() -> None:
    table = table_of("tanh", None)
    y, got = np.array([np.nan, 0.5, -np.nan, np.inf], np.float32), np.empty(4, np.float32)
    places = [y.ctypes.data, table.coefficients.ctypes.data, got.ctypes.data]
    make_pass((("y", "float32"), ("table", "table")), ((table.operations(), "float32"),))(places, 4)
    assert np.isnan(got).tolist() == [True, False, True, False]
    assert got[1] == pytest.approx(0.75)


def test_functions_that_cannot_be_inverted() -> None:
    with pytest.raises(ValueError, match="does not rise or fall throughout"):
        SlopeTable(np.abs, np.sign, [0.0])
    with pytest.raises(ValueError, match="constant"):
        SlopeTable(np.zeros_like, np.zeros_like, [])
    with pytest.raises(ValueError, match="no bounds"):
        SlopeTable(np.cbrt, lambda x: np.where(np.abs(x) < 1e-5, np.inf, 1.0), [0.0])


def test_breaks() -> None:
    x = Symbol("x")
    assert find_breaks(formula_of("hard_swish"), GRID) == [-3.0, 3.0]
    assert find_breaks(canonical(nl.tanh(x)), GRID) == []
    assert find_breaks(canonical(nl.where(2 * x - 1 < exp(0 * x), x, x * x)), GRID) == pytest.approx([1.0])
    assert find_breaks(canonical(absolute(x + 0.25)), GRID) == [-0.25]
