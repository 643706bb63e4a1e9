"""Formulas of rows: their derivatives of first and second order against mpmath, their digits, text and LaTeX."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from mpmath import mp, mpf

from nonlin.formula import (
    Expression,
    FormulaError,
    Symbol,
    exp,
    is_peak,
    latex,
    log1p,
    maximum,
    row_max,
    row_sum,
    row_sum_but,
    row_threshold,
    sqrt,
    tanh,
    where,
)
from nonlin.formula.primitives import PRIMITIVES
from nonlin.formula.rows import (
    RowPrimitive,
    RowReference,
    finish,
    is_of_rows,
    is_shift_invariant,
    is_zero,
    linearize,
    normal,
    varies,
)

ENTRIES = frozenset({"x", "dx", "dy", "dz"})
X, T, DX, DY, DZ = map(Symbol, ("x", "t", "dx", "dy", "dz"))


def softmax(x: Expression, t: Expression) -> Expression:
    e = exp((x - row_max(x)) / t)
    return e / row_sum(e)


def log_softmax(x: Expression, t: Expression) -> Expression:
    z = (x - row_max(x)) / t
    return z - log1p(row_sum_but(exp(z), x))


def entmax(x: Expression, t: Expression) -> Expression:
    z = (x - row_max(x)) / (2 * t)
    return maximum(z - row_threshold(z, 2), 0) ** 2


def sparsemax(x: Expression, t: Expression) -> Expression:
    z = (x - row_max(x)) / t
    return maximum(z - row_threshold(z, 1), 0)


def standardized(x: Expression, t: Expression) -> Expression:
    centred = x - row_sum(x) / row_sum(1)
    return centred / sqrt(row_sum(centred**2) / row_sum(1) + t)


FORMULAS: dict[str, Callable[[Expression, Expression], Expression]] = {
    "softmax": softmax,
    "softmin": lambda x, t: softmax(-x, t),
    "softmax of tanh": lambda x, t: softmax(tanh(x), t),
    "gated softmax": lambda x, t: x * softmax(x, t),
    "log_softmax": log_softmax,
    "sparsemax": sparsemax,
    "entmax15": entmax,
    "hardmax": lambda x, t: where(is_peak(x), 1, 0) / t,
    "from the peak": lambda x, t: (x - row_max(x)) / t,
    "standardized": standardized,
    "log of the sum": lambda x, t: row_max(x) + log1p(row_sum_but(exp(x - row_max(x)), x)) * t,
}
ROWS = [[0.3, -0.4, 1.9, 0.8, -1.1], [0.0, 60.0, -3.0, 2.5, 1.25], [2.0, -1.5], [0.7]]
VECTORS = [[0.6, -1.3, 0.25, 2.1, -0.4], [1.4, 0.3, -0.8, 0.9, 1.7], [-0.2, 1.1, 0.5, -1.9, 0.75]]
STEP = mpf(10) ** -25

over_formulas = pytest.mark.parametrize("name", FORMULAS)


def value(formula: Expression, x: list[Any], **others: Any) -> list[Any]:
    with mp.workdps(90):
        result = RowReference(mp, {"t": 0.75, "x": x, **others})(formula)
        return result if isinstance(result, list) else [result] * len(x)


def slope(function: Callable[[Any], list[Any]]) -> list[Any]:
    with mp.workdps(90):
        return [(a - b) / (2 * STEP) for a, b in zip(function(STEP), function(-STEP), strict=True)]


def moved(x: list[float], by: list[float], h: Any) -> list[Any]:
    return [mpf(a) + h * mpf(b) for a, b in zip(x, by, strict=True)]


def dot(a: list[Any], b: list[Any]) -> Any:
    return mp.fsum(mpf(p) * mpf(q) for p, q in zip(a, b, strict=True))


def close(got: list[Any], want: list[Any]) -> bool:
    return all(abs(a - b) <= mpf(10) ** -15 * (1 + abs(b)) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("x", ROWS, ids=str)
@over_formulas
def test_first_derivatives_are_those_of_the_reference(name: str, x: list[float]) -> None:
    formula, (v, g, _) = FORMULAS[name](X, T), (vector[: len(x)] for vector in VECTORS)
    derivative = linearize(formula, "x", ENTRIES)
    want = slope(lambda h: value(formula, moved(x, v, h)))
    for form in (derivative.jvp(DX), finish(derivative.jvp(DX), ("dx",), ENTRIES)):
        assert close(value(form, x, dx=v), want)
    for form in (derivative.vjp(DY), finish(derivative.vjp(DY), ("dy",), ENTRIES)):
        assert close([dot(value(form, x, dy=g), v)], [dot(want, g)])
    by_t = finish(linearize(formula, "t", ENTRIES).direct, (), ENTRIES)
    assert close(value(by_t, x), slope(lambda h: value(formula, x, t=mpf(0.75) + h)))


@pytest.mark.parametrize("x", ROWS, ids=str)
@over_formulas
def test_second_derivatives_are_those_of_the_first(name: str, x: list[float]) -> None:
    v, g, h = (vector[: len(x)] for vector in VECTORS)
    first = linearize(FORMULAS[name](X, T), "x", ENTRIES).vjp(DY)
    derivative = linearize(first, "x", ENTRIES)
    want = slope(lambda step: value(first, moved(x, v, step), dy=g))
    tangent = finish(derivative.jvp(DX), ("dx", "dy"), ENTRIES)
    assert close(value(tangent, x, dx=v, dy=g), want)
    transposed = finish(derivative.vjp(DZ), ("dy", "dz"), ENTRIES)
    assert close([dot(value(transposed, x, dy=g, dz=h), v)], [dot(want, h)])
    # The first derivative is linear in its vector: by it, it is the jvp.
    by_vector = linearize(first, "dy", ENTRIES).vjp(DZ)
    assert close([dot(value(by_vector, x, dz=h), g)], [dot(value(first, x, dy=g), h)])


@pytest.mark.parametrize("primitive", [p for p in PRIMITIVES.values() if isinstance(p, RowPrimitive)], ids=str)
def test_records_are_complete(primitive: RowPrimitive) -> None:
    assert pickle.loads(pickle.dumps(primitive)) is primitive
    assert primitive.latex.format(*"uv"[: primitive.arity], own="i", index="j")
    assert primitive.partials is None
    assert (primitive.weight is None) == (not primitive.reduces)


def test_levels() -> None:
    assert varies(X, ENTRIES)
    assert varies(where(is_peak(X), 1, 0), ENTRIES)
    assert not varies(row_sum(X) * T, ENTRIES)
    assert is_of_rows(X - row_max(X))
    assert not is_of_rows(exp(X))


def test_shifts_are_recognized() -> None:
    invariant = {name for name, formula in FORMULAS.items() if is_shift_invariant(formula(X, T), ENTRIES)}
    assert invariant == {"softmax", "softmin", "log_softmax", "sparsemax", "entmax15", "hardmax", "from the peak"}


def test_what_shifts_a_row_drops_out() -> None:
    # Nothing is left of the derivative of the peak that is subtracted: the exponentials are their own weights.
    assert [w for _, w in linearize(softmax(X, T), "x", ENTRIES).terms] == [exp((X - row_max(X)) / T)]
    assert is_zero(linearize(softmax(X, T), "x", ENTRIES).vjp(DY) - linearize(softmax(X, T), "x", ENTRIES).jvp(DY), ENTRIES)


def test_at_the_peak_what_cancels_is_cancelled_before() -> None:
    gradient = finish(linearize(log_softmax(X, T), "x", ENTRIES).vjp(DY), ("dy",), ENTRIES)
    x, g = [0.0, 60.0, -3.0], [0.0, 1.0, 0.0]
    with mp.workdps(15):  # as if in float64
        got = RowReference(mp, {"t": 1, "x": x, "dy": g})(gradient)[1]
        assert got == pytest.approx(math.exp(-60) + math.exp(-63), rel=1e-14)


def test_sums_are_brought_into_normal_form() -> None:
    assert normal(row_sum(T * X / 2), ENTRIES) is normal(T / 2 * row_sum(X), ENTRIES)
    assert normal(row_max(X + T), ENTRIES) is normal(row_max(X) + T, ENTRIES)
    assert row_sum(0) is normal(row_sum(X - X), ENTRIES)


def test_text_latex_and_pickle() -> None:
    formula = softmax(X, T)
    assert str(formula) == "exp((x - row_max(x))/t)/row_sum(exp((x - row_max(x))/t))"
    assert latex(formula, ("x",)) == (
        r"\frac{e^{\frac{x_{i} - \max_{j} x_{j}}{t}}}{\sum_{j} e^{\frac{x_{j} - \max_{k} x_{k}}{t}}}"
    )
    assert latex(where(is_peak(X), 1, 0), ("x",)).startswith(r"\begin{cases} 1 & i = \arg\max_{j} x_{j}")
    assert latex(row_sum_but(exp(X), X), ("x",)) == r"\sum_{j \ne \arg\max x} e^{x_{j}}"
    assert pickle.loads(pickle.dumps(formula)) is formula


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(FormulaError, match="row_threshold takes a power of 1 or 2, got 3"):
        row_threshold(X, 3)
    with pytest.raises(FormulaError, match=r"row_sum got the condition x > 0: write where\(x > 0, 1, 0\)"):
        row_sum(X > 0)
