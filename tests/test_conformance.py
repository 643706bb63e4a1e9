"""Every room over the whole registry against the oracle: values, slopes, limits, NaN, kinks, dtypes, masks, shapes."""

import math
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from mpmath import mp, mpf

import nonlin as nl
from backends import BFLOAT16, CHOSEN, EVERY, Array, Backend, backend
from entries import ELEMENTWISE, FLOATS, WHOLE, parameters
from nonlin.arithmetic.promise import CANCELLATION, largest_term
from nonlin.formula import Constant, canonical, substitute
from nonlin.formula.calculus import differentiate
from nonlin.formula.rows import RowReference, parts
from nonlin.formula.spelling import Reference
from nonlin.kernels.ufunc import is_integral
from oracle import ORACLE, resolve, ulp_error, value

PAIRS = {n: e for n, e in nl.activations.items() if isinstance(e, nl.Gated) and e.family != "own"}
ROWS = {n: e for n, e in nl.activations.items() if isinstance(e, nl.AxisFunction) and e.family != "own"}
ALL = {**ELEMENTWISE, **PAIRS, **ROWS}
REQUIRED: dict[str, dict[str, Any]] = {"maxout": {"groups": 2}, "threshold": {"threshold": 0.5, "value": -2.0}}

# Ordinary points, tails, where slopes are small, the ends, and points next to 0.
POINTS = [
    *(-0.7517, -1.2784, 0.3, -2.2, 2.699, -3.7, 5.3, -9.9, 12.0, 50.0, -50.0, -104.0, 1e4, -1e30),
    *(0.0, -0.0, 1e-20, -1e-8, math.inf, -math.inf, math.nan),
]
SPECIAL_KINKS = {"hard_sigmoid": "its kinks are at 1/(2*slope), next to which no float is"}


def over(names: Iterable[str]) -> pytest.MarkDecorator:
    """Backends x names, or some of them."""
    names = list(names)
    steps = {which: 1 if WHOLE else EVERY.get(which, 1) for which in CHOSEN}
    return pytest.mark.parametrize(("which", "name"), [(w, name) for w, step in steps.items() for name in names[::step]])


@cache
def the(which: str) -> Backend:
    return backend(which)


def points(name: str, dtype: str) -> Array:
    given = resolve(name, ORACLE[name].required)
    kinks = [] if name in SPECIAL_KINKS else [float(kink) for kink in ORACLE[name].kinks(given)]
    near = [math.nextafter(kink, side) for kink in kinks for side in (-math.inf, math.inf)]
    with np.errstate(over="ignore"):
        return np.unique(np.array([*POINTS, *kinks, *near]).astype(dtype), equal_nan=True)


@cache
def expected(name: str, order: int, dtype: str) -> list[mpf]:
    return [value(name, x, order, **parameters(name, FLOATS[dtype])) for x in points(name, dtype).tolist()]


@cache
def at_zero(name: str, order: int, dtype: str) -> mpf:
    return value(name, 0.0, order, **parameters(name, FLOATS[dtype]))


def largest(name: str, order: int, x: float, dtype: str) -> mpf:
    """How large the largest term is; where the terms cancel, an absolute error is promised."""
    given = {n: Constant(v) for n, v in parameters(name, FLOATS[dtype]).items()}
    terms = substitute(largest_term(ELEMENTWISE[name].derivative_formula(order)), given)
    with mp.workdps(50):
        return abs(Reference(mp, {"x": x})(terms))


def right(got: float, want: mpf, dtype: str, room: Backend) -> bool:
    if ulp_error(got, want, dtype) <= room.ulps[dtype]:
        return True
    return room.flushes and got == 0 and is_subnormal(want, dtype)


def is_subnormal(x: float | mpf, dtype: str) -> bool:
    return bool(0 < abs(x) < float(ml_dtypes.finfo(dtype).tiny))


def wrong(name: str, order: int, dtype: str, results: Array, room: Backend) -> list[str]:
    """Where results break the promise."""
    found: list[str] = []
    if name in room.exceptions:
        return found
    for x, got, want in zip(points(name, dtype).tolist(), results.tolist(), expected(name, order, dtype), strict=True):
        if right(got, want, dtype, room):
            continue
        if room.flushes and is_subnormal(x, dtype) and right(got, at_zero(name, order, dtype), dtype, room):
            continue
        close = math.isfinite(x) and math.isfinite(got) and abs(mpf(got) - want) <= room.cancelled[dtype]
        if close and abs(want) < CANCELLATION * largest(name, order, x, dtype):
            continue
        found.append(f"{dtype} order {order} at {x!r}: got {got!r}, want {mp.nstr(want, 12)}")
    return found


@over(ELEMENTWISE)
def test_values_and_slopes(which: str, name: str) -> None:
    room, entry = the(which), ELEMENTWISE[name]
    found = []
    sampled = WHOLE or list(ELEMENTWISE).index(name) % 8 == 0
    for dtype, orders in (("float32", (0, 1, 2) if sampled else (0, 1)), ("float64", (0, 1) if sampled else ())):
        if dtype not in room.dtypes:
            continue
        xs, given = room.array(points(name, dtype)), parameters(name, FLOATS[dtype])
        for order in orders:
            with np.errstate(all="ignore"):
                results = room.numpy(entry.derivative(xs, order=order, **given))
            assert results.dtype == dtype
            found += wrong(name, order, dtype, results, room)
    assert not found, "\n".join(found)


@over(ELEMENTWISE)
def test_the_frameworks_own_gradient_is_the_slope(which: str, name: str) -> None:
    room, entry = the(which), ELEMENTWISE[name]
    if room.gradient is None:
        pytest.skip(f"{which} differentiates nothing")
    x, given = points(name, "float32"), parameters(name, FLOATS["float32"])
    slopes = room.numpy(room.gradient(lambda a: entry(a, **given), room.array(x)))
    # What backward keeps of x may be a bit. The value there is NaN already.
    slopes = np.where(np.isnan(x), x, slopes)
    found = wrong(name, 1, "float32", slopes, room)
    assert not found, "\n".join(found)


def defaults(entry: Any) -> dict[str, float]:
    return {name: p.default for name, p in entry.parameters.items() if p.default is not None}


def near(got: float, want: mpf, scale: mpf, dtype: str, room: Backend) -> bool:
    """Whether a result is right to so many units of itself, or of the terms that it is a sum of."""
    unit = float(ml_dtypes.finfo(dtype).eps) * scale
    return right(got, want, dtype, room) or abs(mpf(got) - want) <= room.ulps[dtype] * unit


@over(PAIRS)
def test_pairs(which: str, name: str) -> None:
    room, pair = the(which), PAIRS[name]
    x, v = (a.ravel().astype(np.float32) for a in np.meshgrid([-30.0, -2.5, -0.3, 0.0, 0.7, 6.5, 8.0], [-9.0, -0.4, 1.5, 7.5]))
    for order, wrt in ((0, "gate"), (1, "gate"), (1, "value"), (2, "gate")):
        formula = differentiate(pair.formula, "x" if wrt == "gate" else wrt, order)
        got = room.numpy(pair.derivative(room.array(x), room.array(v), order=order, wrt=wrt))
        for a, b, result in zip(x.tolist(), v.tolist(), got.tolist(), strict=True):
            with mp.workdps(60):
                given = {n: float(np.float32(p)) for n, p in defaults(pair).items()}
                want = Reference(mp, {"x": a, "value": b, **given})(formula)
            assert near(result, want, mpf(1), "float32", room), (order, wrt, a, b, result, want)
    whole = np.stack([x, v], -1) if pair.gate == "even" else np.stack([x, v], -2)
    whole = whole.reshape(-1) if pair.gate == "even" else (whole if pair.gate == "first" else whole[::-1]).reshape(-1)
    halves, two = pair(room.array(whole.copy())), pair(room.array(x), room.array(v))
    np.testing.assert_array_equal(room.numpy(halves), room.numpy(two))


# --- along an axis ------------------------------------------------------------------------------------------------------

SAMPLES = {
    "ordinary": np.array([0.3, -1.2, 2.5, 0.9, -0.1, 1.1]),
    "saturated": np.array([40.0, -60.0, 3.0, 39.5, 0.3, -2.0]),
    "ties": np.array([1.0, 1.0, -1.0, 1.0, 0.5, 0.5]),
    "one peak far off": np.array([200.0, 0.2, 1.0, -3.0, 5.0, 100.0]),
}
SEEN = np.array([True, False, True, True, False, True])


def meaning(entry: nl.AxisFunction, x: list[mpf]) -> list[mpf]:
    """What the formula means of a row, or of each group."""
    size = REQUIRED.get(entry.name, {}).get("groups")
    rows = [x] if size is None else [x[k : k + size] for k in range(0, len(x), size)]
    results = []
    for row in rows:
        spelled = RowReference(mp, {"x": row, **defaults(entry)})
        for part in parts(entry.formula):
            result = spelled(part)
            results += result if isinstance(result, list) else [result]
    return results


def product(entry: nl.AxisFunction, x: list[mpf], which: str, vector: list[mpf]) -> list[mpf]:
    """The Jacobian by central differences of 60 digits, times a vector, or a vector times it."""
    step = mpf(10) ** -25
    columns = []
    for k in range(len(x)):
        ends = [meaning(entry, [a + sign * step * (j == k) for j, a in enumerate(x)]) for sign in (1, -1)]
        columns.append([(up - down) / (2 * step) for up, down in zip(*ends, strict=True)])
    if which == "jvp":
        return [mp.fsum(c[i] * v for c, v in zip(columns, vector, strict=True)) for i in range(len(columns[0]))]
    return [mp.fsum(a * b for a, b in zip(c, vector, strict=True)) for c in columns]


@pytest.mark.parametrize("sample", SAMPLES)
@over(ROWS)
def test_rows_and_their_products(which: str, name: str, sample: str) -> None:
    room, entry, given = the(which), ROWS[name], REQUIRED.get(name, {})
    x = SAMPLES[sample].astype(np.float32)
    with mp.workdps(70):
        row = [mpf(float(a)) for a in x]
        wants = meaning(entry, row)
    got = room.numpy(entry(room.array(x), **given))
    assert all(near(g, w, mpf(0), "float32", room) for g, w in zip(got.tolist(), wants, strict=True)), (got, wants)
    if sample == "ties" and name in ("hardmax", "maxout", "sparsemax", "entmax15"):
        return  # a kink
    for method, length in (("jvp", len(x)), ("vjp", len(wants))):
        v = np.linspace(-1, 2, length).astype(np.float32)
        with mp.workdps(70):
            products = product(entry, row, method, [mpf(float(a)) for a in v])
        got = room.numpy(getattr(entry, method)(room.array(x), room.array(v), **given))
        assert all(near(g, w, mpf(2), "float32", room) for g, w in zip(got.tolist(), products, strict=True)), method


@over([name for name, entry in ROWS.items() if entry.masked is not None])
def test_masked_entries_take_no_part(which: str, name: str) -> None:
    room, entry = the(which), ROWS[name]
    x = SAMPLES["ordinary"].astype(np.float32)
    got = room.numpy(entry(room.array(x), where=room.array(SEEN)))
    alone = room.numpy(entry(room.array(x[SEEN])))
    assert (got[~SEEN] == entry.masked).all()
    np.testing.assert_allclose(got[SEEN], alone, rtol=4 * np.finfo(np.float32).eps)
    nothing = room.numpy(entry(room.array(x), where=room.array(np.zeros(6, bool))))
    assert (nothing == entry.masked).all()


@pytest.mark.parametrize("row", [[math.nan, 0.0], [0.0, math.inf], [-math.inf, 1.0], [-math.inf, -math.inf], [math.inf] * 2])
@over(ROWS)
def test_rows_at_infinity_are_those_of_numpy(which: str, name: str, row: list[float]) -> None:
    room, entry, given = the(which), ROWS[name], REQUIRED.get(name, {})
    x = np.array(row, np.float32)
    np.testing.assert_allclose(room.numpy(entry(room.array(x), **given)), entry(x, **given), rtol=1e-6)


# --- what holds for all ---------------------------------------------------------------------------------------------------


def call(name: str, room: Backend, x: Array) -> Array:
    function = partial(ALL[name], **REQUIRED.get(name, {}))
    with np.errstate(all="ignore"):
        return room.numpy(function(room.array(x), room.array(x)) if name in PAIRS else function(room.array(x)))


def keeps_integers(name: str) -> bool:
    entry = ALL[name]
    if name in ROWS:
        return bool(entry.keeps_integers)
    return is_integral(canonical(substitute(entry.formula, {n: Constant(v) for n, v in defaults(entry).items()})))


@over(ALL)
def test_dtypes(which: str, name: str) -> None:
    room = the(which)
    x = np.array([[1, 2], [3, 1]])
    compiles = which == "numpy" and not WHOLE and name not in ROWS  # half a second; test_conventions.py has them, too
    for dtype in ("float32",) if compiles else room.dtypes:
        assert call(name, room, x.astype(ml_dtypes.bfloat16 if dtype == BFLOAT16 else dtype)).dtype.name == dtype
    kept = {"int32", room.integers} if any(isinstance(v, float) for v in REQUIRED.get(name, {}).values()) else None
    wanted = kept or ({"int32"} if keeps_integers(name) else {room.integers})
    assert call(name, room, x.astype(np.int32)).dtype.name in wanted


@over(ALL)
def test_shapes(which: str, name: str) -> None:
    room = the(which)
    for shape in ((0,), (2, 0), (0, 2), (1, 2), (2, 1, 4)):
        result = call(name, room, np.ones(shape, np.float32)).shape
        if name not in ROWS:
            assert result == shape
        else:
            assert result[:-1] == shape[:-1]
    if name not in ROWS:
        assert call(name, room, np.float32([0.5])[0:1].reshape(())).shape == ()
