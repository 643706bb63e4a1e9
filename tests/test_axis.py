"""Axis functions: values and Jacobians against mpmath, masks, infinities, dtypes, layouts, errors."""

import itertools
import math
import pickle
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from mpmath import mp, mpf

import nonlin as nl
from entries import FLOATS, INTEGERS, over_floats
from nonlin.definition.decorator import define
from nonlin.definition.layout import Groups, Rows
from nonlin.formula import FormulaError, Symbol
from nonlin.formula.rows import RowReference, parts
from oracle import ulp_error

Array = np.ndarray[Any, Any]
Row = Sequence[mpf]
INF, NAN = math.inf, math.nan
DIGITS = 60

# References: of a row of mpmath numbers, straight from the definitions. Thresholds come by bisection, not by sorting.


def _softmax(x: Row) -> list[mpf]:
    e = [mp.exp(a) for a in x]
    return [a / mp.fsum(e) for a in e]


def _log_softmax(x: Row) -> list[mpf]:
    others = [mp.fsum(mp.exp(b - a) for j, b in enumerate(x) if j != i) for i, a in enumerate(x)]
    return [-mp.log1p(a) for a in others]


def _thresholded(x: Row, power: int) -> list[mpf]:
    low, high = max(x) - 1, max(x)
    for _ in range(4 * DIGITS):
        middle = (low + high) / 2
        if mp.fsum(max(a - middle, mpf(0)) ** power for a in x) > 1:
            low = middle
        else:
            high = middle
    return [max(a - low, mpf(0)) ** power for a in x]


def _hardmax(x: Row) -> list[mpf]:
    return [mpf(int(i == x.index(max(x)))) for i in range(len(x))]


REFERENCES: dict[str, Callable[[Row], list[mpf]]] = {
    "softmax": _softmax,
    "softmin": lambda x: _softmax([-a for a in x]),
    "log_softmax": _log_softmax,
    "sparsemax": lambda x: _thresholded(x, 1),
    "entmax15": lambda x: _thresholded([a / 2 for a in x], 2),
    "hardmax": _hardmax,
    "maxout": lambda x: [max(x[k : k + 2]) for k in range(0, len(x), 2)],
    "crelu": lambda x: [max(a, 0) for a in x] + [max(-a, 0) for a in x],
}


def _meaning(entry: nl.AxisFunction, x: Row) -> list[mpf]:
    defaults = {name: parameter.default for name, parameter in entry.parameters.items()}
    meaning = RowReference(mp, {"x": list(x), **defaults})
    return [a for part in parts(entry.formula) for a in meaning(part)]


# A function that is not written above is held to what its formula means.
for _name, _entry in nl.activations.items():
    if isinstance(_entry, nl.AxisFunction) and _entry.family == "along_axis":
        REFERENCES.setdefault(_name, partial(_meaning, _entry))
FUNCTIONS: dict[str, nl.AxisFunction] = {name: nl.activations[name] for name in REFERENCES}
ARGUMENTS: dict[str, dict[str, Any]] = {"maxout": {"groups": 2}}
SHARES = ("softmax", "softmin", "sparsemax", "entmax15", "hardmax")  # not negative, and 1 together
MASKED = (*SHARES, "log_softmax")
TEMPERED = ("softmax", "softmin", "log_softmax", "sparsemax", "entmax15")
ROUNDED = ("softmax", "softmin", "log_softmax", "entmax15", "sparsemax")
COMPILED = ("softmax", "softmin", "log_softmax")

over_functions = pytest.mark.parametrize("name", REFERENCES)
over_masked = pytest.mark.parametrize("name", MASKED)
over_shares = pytest.mark.parametrize("name", SHARES)
rows = arrays(np.float64, st.integers(1, 12), elements=st.floats(-40, 40))


def call(name: str, x: Any, method: str = "__call__", *vector: Any, **more: Any) -> Any:
    return getattr(FUNCTIONS[name], method)(x, *vector, **ARGUMENTS.get(name, {}), **more)


def reference(name: str, x: Array, temperature: float = 1.0) -> list[mpf]:
    with mp.workdps(DIGITS):
        return REFERENCES[name]([mpf(float(a)) / mpf(temperature) for a in x])


def worst_ulps(name: str, x: Array, **temperature: float) -> float:
    got, wants = call(name, x, **temperature).astype(np.float64), reference(name, x, **temperature)
    return max(ulp_error(g, w, x.dtype.name) for g, w in zip(got.tolist(), wants, strict=True))


def sample(n: int, scale: float, dtype: str = "float64") -> Array:
    return (np.random.default_rng(n).normal(size=n) * scale).astype(dtype)


def test_the_table_is_complete() -> None:
    entries = {n for n, e in nl.activations.items() if isinstance(e, nl.AxisFunction) and e.family == "along_axis"}
    assert entries == set(REFERENCES)
    assert len(nl.activations) >= 65


# Values


@pytest.mark.parametrize("temperature", [1.0, 0.3, 25.0])
@pytest.mark.parametrize(("n", "scale"), [(1, 1.0), (3, 1e-3), (7, 1.0), (30, 20.0), (200, 0.01), (200, 300.0)])
@pytest.mark.parametrize("name", TEMPERED)
def test_float64_agrees_with_mpmath(name: str, n: int, scale: float, temperature: float) -> None:
    x = sample(n, scale)
    if name in ("sparsemax", "entmax15"):  # an entry just above the threshold has the rounding error of the others
        wants = [float(w) for w in reference(name, x, temperature)]
        np.testing.assert_allclose(call(name, x, temperature=temperature), wants, rtol=0, atol=4e-16)
    else:
        assert worst_ulps(name, x, temperature=temperature) <= 3


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ROUNDED)
def test_narrower_dtypes_are_rounded_once(name: str, dtype: str) -> None:
    for n, scale in ((5, 1.0), (100, 0.1), (60, 15.0)):
        x = sample(n, scale).astype(FLOATS[dtype])
        fast = 2 if name in COMPILED else 0.501
        assert worst_ulps(name, x) <= (0.51 if dtype != "float32" else fast)
        with nl.precision("exact"):
            assert worst_ulps(name, x) <= (0.5001 if name in COMPILED else 0.501)


# Compiled rows, and the same function with a mask that hides nothing, which NumPy computes: one answer.

over_ways = pytest.mark.parametrize("way", [{}, {"where": True}], ids=["compiled", "NumPy"])


@over_ways
@pytest.mark.parametrize("temperature", [1.0, 0.3, 25.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", COMPILED)
def test_two_ulps_whatever_the_row(name: str, dtype: str, temperature: float, way: dict[str, bool]) -> None:
    rng = np.random.default_rng(0)
    for n, scale in itertools.product((1, 2, 7, 8, 9, 31, 33), (1e-3, 1.0, 20.0, 300.0)):
        x = (rng.normal(size=(3, n)) * scale).astype(dtype)
        for row, result in zip(x, call(name, x, temperature=temperature, **way).tolist(), strict=True):
            wants = reference(name, row, temperature)
            # In float64 NumPy divides by the temperature and by the sum one after the other.
            assert max(map(ulp_error, result, wants, [dtype] * n)) <= (4 if way and dtype == "float64" else 2), (n, scale)


@over_ways
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tails(dtype: str, way: dict[str, bool]) -> None:
    bottom = -740 if dtype == "float64" else -102  # where results are subnormal
    for tail in ([bottom, bottom + 1.3], [bottom / 2, bottom / 7.3], [-1e-30, -20.5, -37.1], [-17.0] * 40):
        x = np.array([0.0, *tail, *2 * [bottom - 30]]).astype(dtype)
        for name, row in (("softmax", x), ("softmin", -x), ("log_softmax", x), ("softmax", x - 13), ("log_softmax", x + 1.1)):
            wants = reference(name, row)
            assert max(map(ulp_error, call(name, row, **way).tolist(), wants, [dtype] * len(x))) <= 2, (name, tail)


@over_ways
@over_floats
@pytest.mark.parametrize("name", COMPILED)
def test_each_row_is_on_its_own(name: str, dtype: np.dtype[Any], way: dict[str, bool]) -> None:
    # Whatever its neighbours are, and wherever it stands: vectors run over the ends of rows.
    odd = [[NAN], [INF], [-INF], [INF, 1, -INF, INF], [-INF, 0, NAN], [-700.0, 3, 80], [0.0, -90, -1e4]]
    for n in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 100):
        ordinary = np.random.default_rng(n).normal(size=(9, n)) * 10
        x = np.concatenate([ordinary, [np.resize(row, n) for row in odd], ordinary[:2]]).astype(dtype)
        together = call(name, x, **way)
        alone = np.array([call(name, row, **way) for row in x])
        transposed = call(name, np.asfortranarray(x.T), axis=0, **way).T
        apart = call(name, np.repeat(x, 2, axis=1)[:, ::2], **way)
        for other in (alone, transposed, apart):  # as float64, for NaN of bfloat16 is not NaN to NumPy's testing
            np.testing.assert_array_equal(other.astype(np.float64), together.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", COMPILED)
def test_both_ways_agree(name: str, dtype: str) -> None:
    x = (np.random.default_rng(0).normal(size=(40, 1000)) * 8).astype(dtype)
    x[3:9, ::7], x[20, 5], x[21, 6], x[22] = -INF, INF, NAN, -INF
    got, want = call(name, x), call(name, x, where=True)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=0)


@over_floats
@pytest.mark.parametrize("name", COMPILED)
def test_nothing_is_said_about_rounding_or_infinities(name: str, dtype: np.dtype[Any]) -> None:
    x = np.array([[1, 2, -1e4], [INF, 1, -INF], [NAN, 1, 2], [-INF] * 3, [6e4, -6e4, 0]]).astype(dtype)
    with np.errstate(all="raise"):
        call(name, x)
        call(name, x, temperature=0.01)


@pytest.mark.parametrize("name", COMPILED)
def test_empty_rows_and_none(name: str) -> None:
    for shape in ((0,), (3, 0), (0, 3), (2, 0, 3)):
        assert call(name, np.empty(shape, np.float32)).shape == shape


def test_long_rows_lose_no_digits() -> None:
    x = sample(100_000, 1.0)
    total = mp.fsum(mp.exp(a) for a in x.tolist())
    got = nl.softmax(x), nl.log_softmax(x)
    for i in range(0, len(x), 9973):
        assert ulp_error(got[0][i], mp.exp(x[i]) / total, "float64") <= 3
        assert ulp_error(got[1][i], mpf(x[i]) - mp.log(total), "float64") <= 2
    np.testing.assert_allclose(nl.softmax(x.astype(np.float32)).sum(dtype=np.float64), 1, rtol=1e-8)


def test_log_softmax_keeps_its_digits_where_softmax_has_none() -> None:
    assert nl.log_softmax([0.0, -800.0]).tolist() == [0.0, -800.0]
    assert nl.log_softmax([0.0, -50.0])[0] == pytest.approx(-math.exp(-50), rel=1e-15)


def test_extreme_entries_do_not_overflow() -> None:
    x = np.array([1.7e308, -1.7e308, 1e308])
    for name in SHARES:
        assert call(name, x).tolist() == ([0.0, 1.0, 0.0] if name == "softmin" else [1.0, 0.0, 0.0])
    assert nl.softmax([1.0, 2.0], temperature=1e-300).tolist() == [0.0, 1.0]


def test_known_values() -> None:
    assert nl.sparsemax([0.5, 0.25, -3.0]).tolist() == [0.625, 0.375, 0.0]
    assert nl.entmax15([1.0, 1.0, -5.0]).tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert nl.hardmax([1.0, 3.0, 3.0]).tolist() == [0.0, 1.0, 0.0]
    assert nl.maxout([1, 5, 3, 2], 2).tolist() == [5, 3]
    assert nl.crelu([[1.0, -2.0]]).tolist() == [[1.0, 0.0, 0.0, 2.0]]
    assert nl.crelu([[1.0, -2.0]], axis=0).tolist() == [[1.0, 0.0], [0.0, 2.0]]


# Properties


@given(rows, st.sampled_from(SHARES))
def test_shares_are_not_negative_and_sum_to_one(x: Array, name: str) -> None:
    y = call(name, x)
    assert (y >= 0).all()
    assert y.sum() == pytest.approx(1, rel=1e-14)


@given(rows, st.integers(-100, 100), st.sampled_from(MASKED))
def test_a_shift_changes_nothing(x: Array, shift: int, name: str) -> None:
    x = np.round(x * 1024) / 1024  # so that the shift is exact
    np.testing.assert_array_equal(call(name, x + shift), call(name, x))


@given(rows, st.randoms(), st.sampled_from(TEMPERED))
def test_order_does_not_matter(x: Array, random: Any, name: str) -> None:
    order = random.sample(range(len(x)), len(x))
    np.testing.assert_allclose(call(name, x[order]), call(name, x)[order], rtol=1e-13, atol=1e-15)


@given(rows)
def test_sparsemax_is_the_projection_onto_the_simplex(x: Array) -> None:
    # What makes it so (Karush, Kuhn and Tucker): x - y is one number on the support, and x is not above it elsewhere.
    y = nl.sparsemax(x)
    threshold = (x - y)[y > 0]
    assert np.ptp(threshold) <= 1e-14 * max(1, np.abs(x).max())
    assert (x[y == 0] <= threshold.max() + 1e-14).all()


@given(rows)
def test_entmax15_has_one_threshold(x: Array) -> None:
    y = nl.entmax15(x)
    threshold = (x / 2 - np.sqrt(y))[y > 0]
    assert np.ptp(threshold) <= 1e-13 * max(1, np.abs(x).max())
    assert (x[y == 0] / 2 <= threshold.max() + 1e-13).all()


@given(rows)
def test_relations_between_them(x: Array) -> None:
    np.testing.assert_array_equal(nl.softmin(x), nl.softmax(-x))
    np.testing.assert_allclose(np.exp(nl.log_softmax(x)), nl.softmax(x), rtol=1e-13)
    np.testing.assert_allclose(nl.softmax(x, temperature=2.0), nl.softmax(x / 2), rtol=1e-14)
    sizes = [np.count_nonzero(f(x)) for f in (nl.hardmax, nl.sparsemax, nl.entmax15, nl.softmax)]
    assert sizes == sorted(sizes)


# Infinities and NaN


@pytest.mark.parametrize(
    ("x", "shares"),
    [
        ([INF, 0.0], [1.0, 0.0]),
        ([INF, 0.0, INF], [0.5, 0.0, 0.5]),
        ([INF, -INF], [1.0, 0.0]),
        ([-INF, 0.0, 0.0], [0.0, 0.5, 0.5]),
        ([-INF, -INF], [0.5, 0.5]),
        ([INF], [1.0]),
    ],
)
def test_infinite_entries_have_the_limit(x: list[float], shares: list[float]) -> None:
    for name in ("softmax", "sparsemax", "entmax15"):
        assert call(name, x).tolist() == pytest.approx(shares, rel=1e-15, abs=0)
        assert call(name, x, temperature=0.5).tolist() == pytest.approx(shares, rel=1e-15, abs=0)
    assert nl.softmin([-a for a in x]).tolist() == shares
    assert nl.hardmax(x).tolist() == _hardmax(x)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(nl.log_softmax(x), np.log(shares))


@over_functions
def test_nan_makes_its_row_nan_and_no_other(name: str) -> None:
    x = np.array([[1.0, NAN, INF, 2.0], [1.0, 2.0, 4.0, 3.0], [-INF, 0.0, 1.0, NAN]])
    y = call(name, x)
    np.testing.assert_array_equal(y[1], call(name, x[1]))
    if name == "maxout":
        assert np.isnan(y).tolist() == [[True, False], [False, False], [False, True]]
    elif name == "crelu":
        assert np.isnan(y[0]).tolist() == 2 * [False, True, False, False]
    else:
        assert np.isnan(y[[0, 2]]).all()
    for product, v in (("jvp", np.ones_like(x)), ("vjp", np.ones_like(y))):
        nan = np.isnan(call(name, x, product, v))
        assert nan.any(axis=1).tolist() == [True, False, True]
        assert nan[[0, 2]].all() or name in ("maxout", "crelu")


# Masks


@given(arrays(np.float64, (3, 5), elements=st.floats(-9, 9)), arrays(bool, (3, 5)), st.sampled_from(MASKED))
def test_masked_entries_take_no_part(x: Array, mask: Array, name: str) -> None:
    y = call(name, np.where(mask, x, NAN), where=mask)
    absent = -INF if name == "log_softmax" else 0.0
    assert (y[~mask] == absent).all()
    gradient = call(name, np.where(mask, x, INF), "vjp", np.where(mask, x, NAN), where=mask)
    assert (gradient[~mask] == 0).all()
    for row, chosen, result, slope in zip(x, mask, y, gradient, strict=True):
        np.testing.assert_allclose(result[chosen], call(name, row[chosen]), rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(slope[chosen], call(name, row[chosen], "vjp", row[chosen]), rtol=1e-13, atol=1e-13)


@over_masked
def test_a_row_masked_altogether_gives_zeros(name: str) -> None:
    x, mask = np.array([[1.0, INF], [3.0, 3.0]]), np.array([[False], [True]])
    y = call(name, x, where=mask)
    assert y[0].tolist() == 2 * [-INF if name == "log_softmax" else 0.0]
    np.testing.assert_array_equal(y[1], call(name, x[1]))
    for product in ("vjp", "jvp"):
        assert call(name, x, product, np.full((2, 2), NAN), where=False).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_mask_tells_minus_infinity_from_absence() -> None:
    assert nl.softmax([-INF, -INF, 5.0], where=[True, False, False]).tolist() == [1.0, 0.0, 0.0]


def test_a_mask_along_another_axis() -> None:
    x, mask = sample(12, 1.0).reshape(3, 4), np.array([[True], [False], [True]])
    y = nl.softmax(x, axis=0, where=mask)
    assert (y[1] == 0).all()
    np.testing.assert_allclose(y[[0, 2]], nl.softmax(x[[0, 2]], axis=0), rtol=1e-15)


# Jacobians


def jacobian(name: str, x: Array, **more: float) -> Array:
    """The matrix, a column from each product with a unit vector."""
    return call(name, np.tile(x, (len(x), 1)), "jvp", np.eye(len(x)), **more).T


def reference_jacobian(name: str, x: Array, temperature: float) -> Array:
    step = mpf(10) ** -20
    with mp.workdps(2 * DIGITS):
        columns = []
        for j in range(len(x)):
            ends = [[mpf(float(a)) + s * step * (i == j) for i, a in enumerate(x)] for s in (1, -1)]
            up, down = (REFERENCES[name]([a / mpf(temperature) for a in end]) for end in ends)
            columns.append([float((a - b) / (2 * step)) for a, b in zip(up, down, strict=True)])
    return np.array(columns).T


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@over_functions
def test_the_jacobian_is_that_of_the_reference(name: str, temperature: float) -> None:
    more = {"temperature": temperature} if name in TEMPERED else {}
    for x in (sample(6, 1.0), sample(6, 0.2), sample(8, 10.0)):
        got, want = jacobian(name, x, **more), reference_jacobian(name, x, temperature if more else 1.0)
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)


@settings(max_examples=50)
@given(arrays(np.float64, (2, 6), elements=st.floats(-5, 5)), st.sampled_from(sorted(REFERENCES)), st.integers(0, 9))
def test_vjp_is_the_transpose_of_jvp(x: Array, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dx = rng.normal(size=x.shape)
    forward = call(name, x, "jvp", dx)
    dy = rng.normal(size=forward.shape)
    backward = call(name, x, "vjp", dy)
    np.testing.assert_allclose((forward * dy).sum(-1), (backward * dx).sum(-1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("product", ["jvp", "vjp"])
def test_saturated_rows_keep_the_digits_of_their_gradient(name: str, product: str) -> None:
    x, v = np.array([0.0, 60.0, -3.0]), np.array([0.5, 1.0, 0.25])
    with mp.workdps(DIGITS):
        p = _softmax([mpf(a) for a in x.tolist()])
        mean = mp.fsum(map(mp.fmul, p, v.tolist()))
        want = {
            "softmax": [float(a * (b - mean)) for a, b in zip(p, v.tolist(), strict=True)],
            "log_softmax": [float(b - (mean if product == "jvp" else a * sum(v))) for a, b in zip(p, v.tolist(), strict=True)],
        }[name]
    np.testing.assert_allclose(call(name, x, product, v), want, rtol=1e-14)
    # The gradient of cross entropy, one-hot less softmax.
    assert nl.log_softmax.vjp(x, [0.0, 1.0, 0.0])[1] == pytest.approx(math.exp(-60) + math.exp(-63), rel=1e-14)


def test_conventions_at_kinks() -> None:
    assert nl.maxout.jvp([2.0, 2.0], [3.0, 4.0], 2).tolist() == [3.0]
    assert nl.maxout.vjp([2.0, 2.0], [3.0], 2).tolist() == [3.0, 0.0]
    assert nl.crelu.vjp([0.0], [1.0, 1.0]).tolist() == [0.0]
    assert nl.hardmax.vjp([1.0, 2.0], [1.0, 1.0]).tolist() == [0.0, 0.0]


def test_vectors_broadcast_and_promote() -> None:
    x = np.ones((2, 4), np.float32)
    assert nl.softmax.vjp(x, np.float32(1.0)).dtype == np.float32
    assert nl.softmax.vjp(x, np.arange(4.0)).dtype == np.float64
    assert nl.softmax.jvp([1, 2], [1, 0]).dtype == np.float64
    assert nl.maxout.vjp(x, np.ones((2, 2)), 2).shape == (2, 4)
    assert nl.crelu.jvp(x, np.ones(4), axis=0).shape == (4, 4)


# Dtypes


@over_floats
@over_functions
def test_floating_dtypes_are_kept(name: str, dtype: np.dtype[Any]) -> None:
    x = np.linspace(-2, 2, 8).reshape(2, 4).astype(dtype)
    y = call(name, x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(float), call(name, x.astype(float)), rtol=1e-2)
    assert call(name, x, "jvp", x).dtype == dtype
    assert call(name, x, "vjp", y).dtype == dtype


def test_a_difference_from_the_peak_is_no_selection() -> None:
    spread = define(lambda x: (nl.row_max(x) - x) / (1 + nl.row_sum(nl.row_max(x) - x)), name="spread", layout=Rows())
    assert spread([1, 0, 1, 1]).tolist() == [0, 0.5, 0, 0]
    assert define(lambda x: nl.row_max(x) - x, name="below", layout=Rows())([3, 1]).tolist() == [0, 2]
    assert not define(lambda x: nl.row_max(x) * x, name="product", layout=Rows()).keeps_integers


@pytest.mark.parametrize("dtype", [*INTEGERS, np.dtype(bool)], ids=str)
@over_functions
def test_integers_become_float64_unless_only_selected(name: str, dtype: np.dtype[Any]) -> None:
    x = np.array([1, 0, 1, 1]).astype(dtype)
    y = call(name, x)
    kept = np.dtype(np.int8) if dtype.kind == "b" else dtype
    assert y.dtype == (kept if name in ("maxout", "crelu") else np.float64)
    np.testing.assert_array_equal(y, call(name, x.astype(np.float64)))


def test_selection_keeps_large_integers() -> None:
    x = np.array([2**53, 2**53 + 1, -5, -6])
    assert nl.maxout(x, 2).tolist() == [2**53 + 1, -5]
    assert nl.crelu(x).tolist() == [2**53, 2**53 + 1, 0, 0, 0, 0, 5, 6]


# Layouts and kinds of arrays


@settings(max_examples=60)
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.floats(-5, 5)), st.data())
def test_any_axis_of_any_shape(x: Array, data: Any) -> None:
    name, axis = (
        data.draw(st.sampled_from(sorted(set(REFERENCES) - {"maxout"}))),
        data.draw(st.integers(-x.ndim, x.ndim - 1)),
    )
    want = np.apply_along_axis(FUNCTIONS[name], axis, x)
    for layout in (x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1].copy()[::-1], x.astype(">f8")):
        got = call(name, layout, axis=axis)
        np.testing.assert_array_equal(got, want)
        assert got.flags.c_contiguous


@over_functions
def test_blocks_of_rows_join(name: str) -> None:
    x = sample(400_000, 1.0).reshape(100, 1000, 4)
    y = call(name, x)
    for where in ((0, 0), (57, 123), (99, 999)):
        np.testing.assert_array_equal(y[where], call(name, x[where]))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4), (2, 0, 4)])
@over_functions
def test_zero_size(name: str, shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    y = call(name, x)
    width = {"maxout": shape[-1] // 2, "crelu": 2 * shape[-1]}.get(name, shape[-1])
    assert (y.shape, y.dtype) == ((*shape[:-1], width), np.float32)
    assert call(name, x, "vjp", y).shape == shape


@over_functions
def test_the_input_is_left_alone(name: str) -> None:
    x = sample(8, 1.0)
    x.flags.writeable = False
    more = {"where": np.arange(8) % 2 == 0} if name in MASKED else {}
    before = x.copy()
    call(name, x, **more)
    call(name, x, "jvp", x, **more)
    np.testing.assert_array_equal(x, before)


def test_out() -> None:
    x = sample(6, 1.0).reshape(2, 3)
    out = np.empty((2, 3), np.float32)
    assert nl.softmax(x, out=out) is out
    np.testing.assert_allclose(out, nl.softmax(x), rtol=1e-6)
    want = nl.softmax(x, axis=0)
    np.testing.assert_array_equal(nl.softmax(x, axis=0, out=x), want)


def test_pandas_keeps_its_labels() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 0.0]}, index=["p", "q"])
    got = nl.softmax(frame, axis=1)
    assert isinstance(got, pd.DataFrame)
    assert got.loc["p"].to_dict() == {"a": 0.5, "b": 0.5}
    series = nl.softmax(frame["a"])
    assert isinstance(series, pd.Series)
    assert (series.name, series.index.tolist()) == ("a", ["p", "q"])
    assert isinstance(nl.crelu(frame), np.ndarray)  # twice as many columns as labels


def test_xarray_keeps_its_coordinates() -> None:
    x = xr.DataArray(np.ones((2, 2)), {"y": [3, 4]}, ["y", "z"])
    got = nl.softmax(x)
    assert isinstance(got, xr.DataArray)
    assert (got.dims, got["y"].values.tolist()) == (("y", "z"), [3, 4])


def test_a_subclass_comes_back() -> None:
    class Mine(np.ndarray[Any, Any]):
        pass

    assert type(nl.softmax(np.ones(3).view(Mine))) is Mine


# Its face


def test_signatures_and_documentation() -> None:
    assert repr(nl.softmax) == "<axis function softmax(x, axis=-1, *, temperature=1.0, where=None, out=None)>"
    assert repr(nl.maxout) == "<axis function maxout(x, groups, axis=-1, *, out=None)>"
    assert "temperature : number, default 1.0, > 0 and < inf" in nl.softmax.__doc__
    assert "the others become -inf" in nl.log_softmax.__doc__
    assert nl.get("LogSoftmax") is nl.log_softmax
    assert nl.softmax.summary.startswith("Turns a row into probabilities")
    assert r"\frac" in nl.softmax.latex()
    assert pickle.loads(pickle.dumps(nl.softmax)) is nl.softmax


def test_positional_arguments() -> None:
    x = sample(6, 1.0).reshape(2, 3)
    np.testing.assert_array_equal(nl.softmax(x, 0), nl.softmax(x, axis=0))
    np.testing.assert_array_equal(nl.maxout(x, 2, 0), x.max(axis=0, keepdims=True))
    np.testing.assert_array_equal(nl.softmax.vjp(x, x, 0), nl.softmax.vjp(x, dy=x, axis=0))
    np.testing.assert_array_equal(nl.softmax(x=x), nl.softmax(x))


def test_an_axis_function_of_ones_own(registry: Any) -> None:
    @nl.activation(along="axis", masked=0, source="me")
    def from_peak(x, unit=nl.Parameter(1.0, ne=0)):  # type: ignore[no-untyped-def]
        """Distances."""
        return (x - nl.row_max(x)) / unit

    assert from_peak([[1, 2], [3, 3]], unit=2).tolist() == [[-0.5, 0.0], [0.0, 0.0]]
    assert from_peak([1.0, 2.0, 5.0], where=[True, True, False]).tolist() == [-1.0, 0.0, 0.0]
    assert from_peak.jvp([1.0, 2.0], [5.0, 7.0]).tolist() == [-2.0, 0.0]
    assert from_peak.vjp([1.0, 2.0], [5.0, 7.0]).tolist() == [5.0, -5.0]
    assert (from_peak.family, nl.get("from_peak")) == ("own", from_peak)
    assert from_peak.with_(unit=2.0)([1.0, 3.0]).tolist() == [-1.0, 0.0]
    assert nl.along_axis(name="from_peak")(lambda x: x - nl.row_max(x))([1, 2]).tolist() == [-1, 0]
    with pytest.raises(TypeError, match="unexpected keyword argument 'mask'"):
        from_peak([1.0], mask=True)


def test_axis_functions_compose(registry: Any) -> None:
    @nl.activation(along="axis")
    def gated_softmax(x, temperature=nl.Parameter(1.0, gt=0)):  # type: ignore[no-untyped-def]
        return x * nl.softmax(nl.tanh(x), temperature=temperature)

    x = sample(7, 1.0)
    np.testing.assert_allclose(gated_softmax(x, temperature=0.5), x * nl.softmax(np.tanh(x), temperature=0.5), rtol=1e-15)


# Errors


def own(function: Any, layout: Any = None) -> Any:
    return nl.activation(along="axis", layout=layout)(function)


POOLED = "maxout: axis 1 of x of shape (2, 5) cannot be divided into groups of 2: it has 5 entries"


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: nl.softmax(1.0), ValueError, "softmax: x is a single number and has no axis"),
        (lambda: nl.softmax(np.ones((2, 3)), axis=2), ValueError, "softmax: axis 2 is out of range for x of shape"),
        (lambda: nl.softmax([1.0], axis=(0,)), TypeError, "softmax: axis must be an integer, got (0,)"),
        (lambda: nl.softmax([1j]), TypeError, "softmax: x must be real floating-point or integer, got complex128"),
        (lambda: nl.softmax(["a"]), TypeError, "softmax: x must be real floating-point or integer, got <U1"),
        (lambda: nl.softmax([None]), TypeError, "softmax: x must be real floating-point or integer, got object"),
        (lambda: nl.softmax(np.ones(2, np.longdouble)), TypeError, "got float128"),
        (lambda: nl.softmax(np.ones(2, ml_dtypes.float8_e5m2)), TypeError, "got float8_e5m2"),
        (lambda: nl.softmax(np.ones(2, "m8[s]")), TypeError, "got timedelta64[s]"),
        (lambda: nl.softmax([1.0], temperature=0), ValueError, "softmax: temperature must be > 0 and < inf, got 0"),
        (lambda: nl.softmax([1.0], temperature=NAN), ValueError, "softmax: temperature must be > 0 and < inf, got nan"),
        (lambda: nl.softmax([1.0], temperature=[1.0]), TypeError, "softmax: temperature must be a number, got [1.0]"),
        (lambda: nl.softmax([1.0], temperature="hot"), TypeError, "softmax: temperature must be a number, got 'hot'"),
        (lambda: nl.softmax([1.0, 2.0], where=[1, 0]), TypeError, "where must be boolean, True for what takes part"),
        (lambda: nl.softmax([1.0, 2.0], where=[True] * 3), ValueError, "where of shape (3,) does not broadcast to"),
        (lambda: nl.softmax(), TypeError, "softmax: missing a required argument: 'x'; it takes (x, axis=-1"),
        (lambda: nl.softmax([1.0], dim=0), TypeError, "softmax: got an unexpected keyword argument 'dim'; it"),
        (lambda: nl.softmax([1.0], -1, 2.0), TypeError, "softmax: too many positional arguments"),
        (lambda: nl.softmax([1.0], x=[1.0]), TypeError, "softmax: multiple values for argument 'x'"),
        (lambda: nl.softmax.vjp([1.0]), TypeError, "softmax: missing a required argument: 'dy'; it takes (x, dy"),
        (lambda: nl.softmax.vjp([1.0], [1.0, 2.0]), ValueError, "softmax: dy of shape (2,) does not broadcast to (1,)"),
        (lambda: nl.softmax.jvp([1.0], ["a"]), TypeError, "softmax: dx must be real floating-point or integer"),
        (lambda: nl.maxout(np.ones((2, 5)), 2), ValueError, POOLED),
        (lambda: nl.maxout([1.0, 2.0], 0), ValueError, "maxout: groups must be >= 1, got 0"),
        (lambda: nl.maxout([1.0, 2.0]), TypeError, "maxout: missing a required argument: 'groups'"),
        (lambda: nl.softmax([1.0, 2.0], out=np.empty(3)), ValueError, "out must be an array of shape (2,), got one of"),
        (lambda: nl.softmax([1.0, 2.0], out=[0, 0]), ValueError, "out must be an array of shape (2,), got list"),
        (lambda: nl.softmax([1.0], out=np.empty(1, int)), TypeError, "softmax: out of dtype int64 cannot hold results"),
        (lambda: nl.activation(lambda x: nl.softmax(x)), FormulaError, "<lambda> looks at a whole row: it is made by"),
        (lambda: nl.softmax(Symbol("x"), axis=0), FormulaError, "softmax: a formula is of the axis that it is called along"),
        (lambda: nl.maxout(Symbol("x"), 2), FormulaError, "maxout makes its axis shorter, and cannot be part of a formula"),
        (lambda: own(lambda x, y: x), FormulaError, "<lambda> takes x, y: a function along an axis is of one array"),
        (lambda: own(lambda x, axis=1: x), FormulaError, "<lambda>: 'axis' means something else in a call; rename the"),
        (lambda: own(lambda x: nl.concatenate(x, x) + 1), FormulaError, "<lambda>: concatenate puts rows together, and"),
        (lambda: own(lambda x, t=1.0: x / t), FormulaError, "<lambda> divides by t, and t may be 0: declare"),
        (lambda: own(lambda x, n=2: x, layout=Groups("n")), FormulaError, "<lambda>: a group has one result, such as row_"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(wrong: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        wrong()


# What is missing


def test_masked_arrays_keep_their_mask_and_what_lies_beneath_takes_no_part() -> None:
    x = np.ma.masked_array([[1.0, 9.0, 3.0], [4.0, 5.0, 6.0]], [[0, 1, 0], [0, 0, 0]])
    for name in MASKED:
        y = call(name, x)
        np.testing.assert_array_equal(y.mask, x.mask)
        np.testing.assert_array_equal(y.data[0, [0, 2]], call(name, [1.0, 3.0]))
        np.testing.assert_array_equal(call(name, x, "vjp", np.ones((2, 3))).mask, x.mask)
    assert nl.crelu(x).mask.tolist() == [2 * [False, True, False], 6 * [False]]
    assert nl.maxout(np.ma.masked_array([1, 2, 3, 9], [0, 1, 1, 1]), 2).tolist() == [1, None]


def test_nullable_columns_keep_their_dtype_and_what_is_missing() -> None:
    frame = pd.DataFrame({"a": pd.array([1.0, None], "Float64"), "b": pd.array([1, 2], "Int64")})
    got = nl.softmax(frame, axis=1)
    assert [str(dtype) for dtype in got.dtypes] == ["Float64", "Float64"]
    assert got.isna().to_numpy().tolist() == [[False, False], [True, False]]
    assert got["b"].tolist() == [0.5, 1.0]
    series = nl.sparsemax(pd.Series([1, None, 1], dtype="Float32"))
    assert (str(series.dtype), series.isna().tolist()) == ("Float32", [False, True, False])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_do_not_overflow_before_they_are_divided(dtype: str) -> None:
    top = float(np.finfo(dtype).max) * 0.9
    x = np.array([top, -top], dtype)
    for temperature in (10.0, top / 8):
        wants = {name: reference(name, x, temperature=temperature) for name in COMPILED}
        for name in COMPILED:
            got = call(name, x, temperature=temperature)
            assert max(map(ulp_error, got.tolist(), wants[name], [dtype] * 2)) <= 2, (name, temperature)
