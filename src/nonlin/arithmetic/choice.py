"""Which arithmetic computes a formula fast enough and well enough: measured on the formula itself before it is compiled.

A kernel computes moderate inputs (nearly all that occur) without care for the ends of the exponent range, behind a guard, and
leaves the others to a general body. For each of the two the cheapest arithmetic is taken that holds the promised accuracy on a
sample of inputs, so that the promise covers formulas nobody has looked at: float32 is fastest, keeping what every operation
rounds away costs about as much again, and so do float64 lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.arithmetic.lowering import guard_of, interpret, lower, lower_condition
from nonlin.arithmetic.machine import is_application
from nonlin.arithmetic.number import COMPENSATED, DOUBLE, EXACT, PLAIN_DOUBLE, SHORT, SINGLE, Lanes
from nonlin.arithmetic.patch import Patch, fit_patch
from nonlin.arithmetic.promise import CANCELLED_ERROR, HARDER_ULPS, cancels, is_harder, largest_term, promised_ulps
from nonlin.formula.expression import Application, Constant, Expression, Symbol, postorder, remembered, symbols
from nonlin.formula.primitives import absolute, logical_and, logical_or, maximum, minimum

Array = npt.NDArray[np.float64]

#: Promised are 2 ulp for all inputs (the worst of a sample is a little less), results of 16 bits rounded from float32 (40 of
#: whose ulps are 0.005 of their own), and nearly always correctly rounded ones.
_ULPS = {"single": 1.6, "half": 40.0, "exact": 1e-4, "double": 1.7}
#: Half an ulp less is allowed on a sample where the error of an argument grows with it, so that the worst are rare.
_RARER_ULPS = 0.5
#: A little more than allowed is looked into: around so many of the worst inputs, at these relative distances from them, errors
#: up to so many more ulps are still within the promise.
_UNDECIDED = 0.3
_LOOKED_INTO = 64
_AROUND = (np.arange(512) * (5**0.5 / 2) % 1 - 0.5) * 2.0**-9
#: How large the arguments of exponentials may be for moderate inputs; the largest that will do is taken.
_LIMITS = (80, 40, 16)
#: Exact results that are so close to one of a few zeros are computed with rests.
_BESIDE = 2.0**-10
_FEW_ZEROS = 4
#: The sample has more points at these relative distances from zeros and edges, of which there are so many at most.
_NEIGHBOURS = np.concatenate([[0, 2.0**-53, 2.0**-24, 2.0**-23], np.geomspace(2.0**-20, 0.6, 300)])
_NEIGHBOURS = np.sort(np.concatenate([_NEIGHBOURS, -_NEIGHBOURS]))
#: A kink is where the arithmetic puts it.
_BESIDE_EDGES = np.abs(_NEIGHBOURS) >= 2.0**-20
_MOST_EDGES = 8
#: With many values of the parameters every so manieth point has to do, for ordinary and for unusual ones.
_EVERY = 8, 16
#: What may compute each kind of result, the fastest first.
_CANDIDATES = {
    "single": (SINGLE, COMPENSATED, EXACT),
    "half": (SINGLE, COMPENSATED, EXACT),
    "exact": (EXACT, DOUBLE),
    "double": (PLAIN_DOUBLE, DOUBLE),
}
_TOUCHING = 1e-3
#: What a body without a guard is tried on besides the sample.
_LARGEST = float(np.finfo(np.float32).max)
_SPECIAL = np.array([0.0, -0.0, 2.0**-149, -(2.0**-149), _LARGEST, -_LARGEST, np.inf, -np.inf, np.nan])
#: Inputs that a guard should let through.
_USUAL = np.linspace(-12, 12, 25)
#: A patch reaches so many times as far from a zero as the sample shows that it must.
_MARGIN = 2.5
#: So often it is made larger.
_PATCHINGS = 3
#: Ordinary parameters are so many powers of two larger or smaller than the defaults at most; so many sets of them are tried.
_ORDINARY = 3
_ORDINARY_ROWS = 12
#: Others are so many times as large.
_UNUSUAL = np.array([0, 2.0**-10, 3 * 2.0**9, -7 * 2.0**12, 2.0**-40, -(2.0**-41), 2.0**40, 2.0**-90, 2.0**90])


def _float32_sample() -> Array:
    ordinary, large = np.geomspace(1e-6, 200, 700), np.geomspace(200, 3e4, 900)
    sizes = np.concatenate([[3e-44, 8.6e-41, 1e-38, 1e-30], ordinary, large, np.geomspace(3e4, 3e38, 100)])
    powers = np.ldexp(1.0, np.arange(-24, 25))
    sizes = np.concatenate([sizes, powers, powers * (1 - 2.0**-24), powers * (1 + 2.0**-23)])
    # Most where the results are neither trivial nor tiny, and where an exponential meets the resolution of 1.
    around = np.linspace(-10, 10, 6001), np.linspace(-20, 20, 2801), np.linspace(-150, 150, 801)
    sample = np.concatenate([sizes, -sizes, *around])
    return _distinct(sample.astype(np.float32)).astype(np.float64)


def _float64_sample() -> Array:
    single = _float32_sample()[::5]
    # The digits that float32 has not.
    return np.concatenate([single, single * (1 + 2.0**-25 * (np.arange(len(single)) * (5**0.5 / 2) % 1))])


def _float16_sample() -> Array:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    dense = np.abs(every[np.isfinite(every)]) >= 2**-4
    finite = every[np.isfinite(every)].astype(np.float64)
    return _distinct(np.concatenate([finite[dense & (np.abs(finite) <= 16)], finite[::37]]))


def _single(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the distinct values in order; np.unique would import numpy.ma first, which takes as long as all the rest."""
    ordered = np.sort(values)
    return np.asarray(ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])])


def find_zeros(x: Array, y: Array) -> Array:
    """Return about where a function, sampled at sorted points, crosses or touches zero, between -inf and inf.

    The zero at the origin does not count: no terms cancel where a function is small because its argument is.
    """
    known = np.flatnonzero(y != 0)
    x_known, y_known = x[known], y[known]
    crossed = (np.sign(y_known[:-1]) != np.sign(y_known[1:])) & (np.sign(x_known[:-1]) == np.sign(x_known[1:]))
    # Touched: small, and much larger on both sides.
    size = np.abs(y_known)
    left, right = (size[np.searchsorted(x_known, x_known + step).clip(0, len(size) - 1)] for step in (-1, 1))
    touched = (size < _TOUCHING) & (4 * size < left) & (4 * size < right) & (np.abs(x_known) > 0.1)
    return np.sort(np.concatenate([[-np.inf, np.inf], x_known[:-1][crossed], x_known[touched]]))


def _ulp(y: Array, dtype: str) -> Array:
    kind = np.finfo(dtype)
    return np.asarray(np.ldexp(1.0, np.maximum(np.frexp(y)[1] - 1, kind.minexp) - kind.nmant))


@dataclass(frozen=True)
class Question:
    """What a loop is to compute, and how well."""

    formula: Expression
    """In canonical form."""
    names: tuple[str, ...]
    """Symbols besides x."""
    typical: tuple[float, ...]
    """Usual values of them."""
    output: str
    """NumPy's name of the result's dtype."""
    exact: bool = False
    """Whether float32 results must be correctly rounded but for a few inputs in billions."""
    shaped: bool = False
    """Whether some of the symbols are parameters: the results must be right at all of their values."""

    def rows(self) -> tuple[Array, Array]:
        """Return values of the symbols besides x, a row for each set: ordinary ones, and of all sizes."""
        typical = np.array(self.typical, np.float32).astype(np.float64)
        sizes = np.where(typical == 0, 1, typical)
        count = len(typical)
        spread = np.arange(1, _ORDINARY_ROWS * count + 1).reshape(-1, count) * (5**0.5 / 2) % 1 * 2 - 1
        signs = np.where(np.arange(_ORDINARY_ROWS * count).reshape(-1, count) % 3 == 2, -1, 1)
        ordinary = np.concatenate([[typical], typical * 2 ** (0.99 * _ORDINARY * spread) * signs])
        zero = np.where(typical == 0, spread * 2**_ORDINARY, 0)
        ordinary[1:] += zero
        unusual = [
            row for k in range(count) for row in np.where(np.arange(count) == k, _UNUSUAL[:, np.newaxis] * sizes, typical)
        ]
        both = spread[:8].copy()
        return _single(ordinary), _single(np.array([*unusual, *(sizes * np.exp2(60 * both) * signs[:8])]))

    def is_ordinary(self) -> list[Expression]:
        """Return the conditions that hold for ordinary values of the symbols besides x."""
        conditions = []
        for name, value in zip(self.names, map(abs, self.typical), strict=True):
            size = absolute(Symbol(name))
            conditions.append(size <= Constant(Fraction((value or 1.0) * 2.0**_ORDINARY)))
            conditions += [size >= Constant(Fraction(value * 2.0**-_ORDINARY))] if value else []
        return conditions

    def lowered(self, lanes: Lanes) -> Expression:
        """Return the formula as operations of such lanes."""
        return lower(self.formula, lanes, dict(zip(self.names, self.typical, strict=True)))


@dataclass(frozen=True)
class Choice:
    """Machine operations that answer some questions together."""

    element: str
    """Type of the lanes: ``float32`` or ``float64``."""
    operations: tuple[Expression, ...]
    guard: Expression | None = None
    """What an input must fulfil."""


def choose(*questions: Question) -> Choice:
    """Choose the operations for moderate inputs; if nothing is gained by keeping others out, for all inputs."""
    guarded = [question for question in questions if _needs_guard(question)]
    found = {question: choose_moderate(question) for question in guarded}
    moderate = {question: answer for question, answer in found.items() if answer is not None}
    if not moderate or len(moderate) < len(guarded):
        return choose_for_all(*questions)
    chosen = [moderate[q].arithmetic if q in moderate else choose_general(q).for_moderate() for q in questions]
    choice = _choice(questions, chosen)
    limits = [answer.limit for answer in moderate.values() if answer.limit is not None]
    guard = guard_of(min(limits), *choice.operations) if limits else None
    ordinary = dict.fromkeys(c for question in moderate if question.shaped for c in question.is_ordinary())
    guard = reduce(logical_and, ordinary, guard) if guard is not None else None
    for zero in sorted({zero for answer in moderate.values() for zero in answer.zeros}):
        beside = absolute(Symbol("x") - zero) >= _BESIDE
        guard = beside if guard is None else guard & beside
    return replace(choice, guard=guard)


def choose_for_all(*questions: Question) -> Choice:
    """Choose the operations for inputs of any size."""
    return _choice(questions, [choose_general(question) for question in questions])


def _choice(questions: Sequence[Question], chosen: Sequence[Arithmetic]) -> Choice:
    """Lower each formula in its own arithmetic where they have lanes of one type, or all in the most careful one."""
    careful = max((arithmetic.lanes for arithmetic in chosen), key=lambda lanes: (lanes.goal, lanes.compensated))
    operations = tuple(
        (arithmetic if arithmetic.lanes.element == careful.element else Arithmetic(careful)).lowered(question)
        for question, arithmetic in zip(questions, chosen, strict=True)
    )
    return Choice(careful.element, operations)


def _needs_guard(question: Question) -> bool:
    return guard_of(1, question.lowered(SINGLE.for_moderate())) is not None


@dataclass(frozen=True)
class Arithmetic:
    """How a formula is computed."""

    lanes: Lanes
    patches: tuple[Patch, ...] = ()

    def for_moderate(self) -> Arithmetic:
        """The same behind a guard."""
        return replace(self, lanes=self.lanes.for_moderate())

    def lowered(self, question: Question) -> Expression:
        """Return the formula as machine operations."""
        return reduce(lambda operations, patch: patch.over(operations), self.patches, question.lowered(self.lanes))


@remembered
def choose_general(question: Question) -> Arithmetic:
    """Choose the arithmetic for inputs of any size."""
    if "x" not in symbols(question.formula):
        return Arithmetic(DOUBLE if question.output == "float64" else EXACT if question.exact else SINGLE)
    return _sample(question).general()


@dataclass(frozen=True)
class Moderate:
    """An arithmetic for moderate inputs, and which these are."""

    arithmetic: Arithmetic
    limit: int | None
    """What :func:`~nonlin.arithmetic.lowering.guard_of` is told; None if every input is moderate."""
    zeros: tuple[float, ...] = ()
    """Where terms cancel more than this arithmetic can bear: inputs next to these are not moderate."""


@remembered
def choose_moderate(question: Question) -> Moderate | None:
    """Choose a faster arithmetic for moderate inputs; None if there is none."""
    return _sample(question).moderate() if _needs_guard(question) else None  # without exponentials nothing is gained


def _cost(operations: Expression, lanes: Lanes) -> int:
    """Estimate the time that a body takes: twice as many vectors hold the same elements as float64, and divide slower."""
    slow, vectors = (8, 2) if lanes.element == "float64" else (4, 1)
    nodes = [node for node in postorder(operations) if isinstance(node, Application)]
    return vectors * sum(slow if node.primitive.name in ("divide", "sqrt") else 1 for node in nodes)


def _as_condition(node: Expression) -> Expression | None:
    """Return the comparison that a node makes, if it does."""
    if not isinstance(node, Application):
        return None
    if node.primitive in (maximum, minimum):
        return node.arguments[0] > node.arguments[1]
    if node.primitive is absolute:
        return node.arguments[0] > 0
    return node if node.is_condition and node.primitive not in (logical_and, logical_or) else None


def _is_steep(node: Expression) -> bool:
    """Whether a tail is taken of a rounded argument: exp(exp(...)), normal_cdf((x - mu)/sigma)."""
    if is_application(node, "exp"):
        return any(is_application(inner, "exp") for inner in postorder(node.arguments[0]))
    is_tail = is_application(node, "normal_cdf") or is_application(node, "erf")
    return is_tail and isinstance(node.arguments[0], Application)


@lru_cache(maxsize=8)
def _sample(question: Question) -> _Sample:
    return _Sample(question)


@dataclass(frozen=True)
class _Points:
    """Values of x and of the other symbols, in float64."""

    values: Mapping[str, Array]

    @property
    def x(self) -> Array:
        return self.values["x"]

    def __getitem__(self, which: Any) -> _Points:
        return _Points({name: values[which] for name, values in self.values.items()})

    def around(self, factors: npt.NDArray[Any]) -> _Points:
        """Return points that have each x times each factor, in float32."""
        repeated = {name: np.repeat(values, len(factors)) for name, values in self.values.items()}
        return _Points(repeated | {"x": _single(np.outer(self.x, factors).ravel())})


def shortfall(question: Question) -> tuple[float, float] | None:
    """Return the largest error of a formula that no arithmetic here keeps the promise for, and where it is; else None."""
    sample = _sample(question) if "x" in symbols(question.formula) and not question.shaped else None
    if sample is None or choose_general(question) != Arithmetic({"double": DOUBLE, "single": EXACT}.get(sample.kind, SINGLE)):
        return None
    points, lanes, want = sample.points, DOUBLE, sample.want
    if sample.kind == "single":
        points, lanes = points[::4], EXACT
        want = sample._run(lower(question.formula, DOUBLE, sample.parameters), "float64", points)
    errors = sample._errors(lower(question.formula, lanes, sample.parameters), "float64", points, want)
    errors[~np.isfinite(want)] = 0
    worst = int(np.nanargmax(errors))
    promised = promised_ulps(question.formula, question.output)
    return (float(errors[worst]), float(points.x[worst])) if errors[worst] > promised else None


def sample_of(question: Question) -> Array:
    """Return inputs on which a formula without other symbols is judged."""
    return _sample(question).points.x


class _Sample:
    """A formula on a sample of inputs: what its results should be, and what errors they may have."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.formula, self.shaped = question.formula, question.shaped
        self.parameters = parameters = dict(zip(question.names, question.typical, strict=True))
        kinds = {"float64": "double", "float32": "exact" if question.exact else "single"}
        self.kind = kinds.get(question.output, "exact" if question.exact else "half")
        # Results of one kind of lanes are judged by those of another, which has to be finer.
        judge, self.finer = (DOUBLE, "longdouble") if self.kind == "double" else (EXACT, "float64")
        self.judge = lower(self.formula, judge, parameters)
        samples = {"half": _float16_sample, "double": _float64_sample}
        x = _distinct(samples.get(self.kind, _float32_sample)())
        if self.shaped:
            self.points, self.ordinary = self._shapes(x)
            self.want = self._wanted(self.points)
            self.zeros = np.array([-np.inf, np.inf])
        else:
            self.points, self.ordinary = self._at(x), np.ones(x.shape, bool)
            self.want = self._wanted(self.points)
            self.zeros = find_zeros(x, self.want)
            if self.kind != "half":
                self._look_closer()
        self.allowed = _ULPS[self.kind]
        if self.kind == "single" and is_harder(self.formula):
            self.allowed += HARDER_ULPS
        if self.kind == "single" and any(map(_is_steep, postorder(self.formula))):
            self.allowed -= _RARER_ULPS

    def _at(self, x: Array) -> _Points:
        """Return points with the usual values of the other symbols."""
        return _Points({"x": x, **{n: np.full(x.shape, np.float32(v), np.float64) for n, v in self.parameters.items()}})

    def _shapes(self, x: Array) -> tuple[_Points, npt.NDArray[np.bool_]]:
        """Return points with many values of the other symbols, and which of them are ordinary."""
        rows = self.question.rows()
        sizes = [len(x[:: _EVERY[k]]) for k in range(2)]
        columns = [
            np.concatenate([np.repeat(r[:, k], n) for r, n in zip(rows, sizes, strict=True)]) for k in range(rows[0].shape[1])
        ]
        tiled = np.concatenate([np.tile(x[:: _EVERY[k]], len(rows[k])) for k in range(2)])
        ordinary = np.arange(len(tiled)) < len(rows[0]) * sizes[0]
        return _Points({"x": tiled, **dict(zip(self.parameters, np.ascontiguousarray(columns), strict=True))}), ordinary

    def _run(self, operations: Expression, element: str, points: _Points, *, fused: bool = True) -> Array:
        return np.broadcast_to(interpret(operations, element, points.values, fused=fused), points.x.shape)

    def _wanted(self, points: _Points) -> Array:
        # A result of 40 bits does not ask for more than float64's, and a longer type is slow.
        return self._run(self.judge, self.finer, points, fused=self.kind == "double")

    def _wanted_at(self, x: Array) -> Array:
        return self._wanted(self._at(x))

    def _look_closer(self) -> None:
        """Add points where most goes wrong: around zeros, on both sides of every condition, at the edges of the domain."""
        around = [np.outer(self.crossings, 1 + _NEIGHBOURS), np.outer(self._edges(), 1 + _NEIGHBOURS[_BESIDE_EDGES])]
        closer = np.concatenate([points.ravel() for points in around])
        if not closer.size:
            return
        closer = closer if self.kind == "double" else _single(closer)
        x = np.concatenate([self.points.x, closer])
        order = np.argsort(x, kind="stable")
        self.points, self.want = self._at(x[order]), np.concatenate([self.want, self._wanted_at(closer)])[order]
        self.ordinary = np.ones(x.shape, bool)

    def _edges(self) -> list[float]:
        """Return about where conditions change, or the function begins or ceases to be defined, but for 0."""
        nodes = dict.fromkeys(map(_as_condition, postorder(self.formula)))
        conditions = [lower_condition(node, EXACT) for node in nodes if node is not None and "x" in symbols(node)]

        def is_undefined(x: Array) -> Any:
            return np.isnan(self._wanted_at(x))

        def holds(condition: Expression) -> Callable[[Array], Any]:
            return lambda x: self._run(condition, "float64", self._at(x)).astype(bool)

        edges = []
        for test in (is_undefined, *map(holds, conditions)):
            sides = test(self.points.x)
            for k in np.flatnonzero(sides[1:] != sides[:-1])[:_FEW_ZEROS]:
                low, high = self.points.x[k], self.points.x[k + 1]
                for _ in range(5):  # each time a hundredth
                    points = np.linspace(low, high, 101)
                    first = int(np.argmax(test(points) != sides[k]))
                    low, high = points[max(first - 1, 0)], points[first]
                edges += [float(high)] if high else []
        return list(dict.fromkeys(edges))[:_MOST_EDGES]

    def general(self) -> Arithmetic:
        """The cheapest arithmetic that will do for any input."""
        if self.kind == "double":
            return Arithmetic(DOUBLE)
        if self.kind == "exact":
            # Next to a zero, where terms cancel, only compensated lanes are right enough.
            return Arithmetic(DOUBLE if self.shaped or len(self.zeros) > 2 else EXACT)
        everywhere = np.ones(self.want.shape, bool)
        for arithmetic, body in self._bodies((SINGLE, COMPENSATED, EXACT)):
            if arithmetic.lanes is EXACT or self._holds(arithmetic.lanes, body, everywhere).all():
                return arithmetic
        raise AssertionError  # EXACT is the last resort

    def moderate(self) -> Moderate | None:
        """The cheapest arithmetic that will do for moderate inputs, and what moderate is."""
        candidates = _CANDIDATES[self.kind]
        if self.kind == "exact" and self.shaped:
            candidates = (self.general().lanes,)
        elif self.kind == "exact" and len(self.zeros) > 2:
            # A sample hardly ever meets the inputs next to a zero, of which exact results ask most.
            found = self._exact_beside_zeros()
            if found is not None:
                return found
            candidates = (self.general().lanes,)
        if self._needs_no_guard(candidates[0]):
            return Moderate(Arithmetic(candidates[0].without_guard()), None)
        if candidates[0] is SINGLE and self._pays_to_shorten():
            candidates = (SHORT, *candidates)
        for arithmetic, body in self._bodies(tuple(lanes.for_moderate() for lanes in candidates)):
            limit = self._limit(arithmetic.lanes, body, self.ordinary)
            if limit is not None and (not arithmetic.lanes.short or self._is_rare_outside(guard_of(limit, body))):
                return Moderate(arithmetic, limit)
        return None

    def _pays_to_shorten(self) -> bool:
        """Whether some exponential takes less with log(2) in one piece, and may: where the limit is the lowest."""
        plain, short = (lower(self.formula, lanes.for_moderate(), self.parameters) for lanes in (SINGLE, SHORT))
        return self.kind == "single" and short is not plain and self._is_rare_outside(guard_of(_LIMITS[-1], short))

    def _is_rare_outside(self, guard: Expression | None) -> bool:
        """Whether a guard lets pass nearly all that comes: four deviations of normal numbers three times as wide."""
        return guard is None or bool(self._run(guard, "float32", self._at(_USUAL)).all())

    def _needs_no_guard(self, lanes: Lanes) -> bool:
        """Whether an arithmetic keeps what is promised for every input where exponentials hold their arguments in bounds."""
        body = lower(self.formula, lanes.without_guard(), self.parameters)
        if self.parameters or lanes.compensated or body is lower(self.formula, lanes.for_moderate(), self.parameters):
            return False
        everywhere = np.ones(self.want.shape, bool)
        right = self._errors(body, lanes.element, self._at(_SPECIAL), self._wanted_at(_SPECIAL)) <= self.allowed
        return bool(right.all() and self._holds(lanes, body, everywhere).all())

    def _bodies(self, candidates: tuple[Lanes, ...]) -> Iterator[tuple[Arithmetic, Expression]]:
        """Yield what may compute the formula, and its operations: the fastest lanes, and then the others by their cost."""
        # Those are the cheapest; which of the others is depends on the formula.
        fastest = sum(lanes.element == "float32" and not lanes.compensated for lanes in candidates) or 1
        for group in (*((lanes,) for lanes in candidates[:fastest]), candidates[fastest:]):
            bodies = {lanes: lower(self.formula, lanes, self.parameters) for lanes in group}
            for lanes in sorted(bodies, key=lambda lanes: _cost(bodies[lanes], lanes)):
                yield Arithmetic(lanes), bodies[lanes]
                # A patch is a function of x alone: of a slope times a gradient, it would be the slope without the gradient.
                if lanes.element == "float32" and self.kind == "single" and not self.question.names:
                    yield from self._patched(lanes, bodies[lanes])

    def _patched(self, lanes: Lanes, body: Expression) -> Iterator[tuple[Arithmetic, Expression]]:
        """Yield the same lanes with patches where they break the promise, if it is next to zeros only."""
        zeros = np.array(self.crossings)
        reach = np.zeros(zeros.shape)
        guard = guard_of(_LIMITS[-1], body) if lanes.moderate else None
        inside = self.ordinary if guard is None else self._run(guard, lanes.element, self.points).astype(bool)
        patched, patches = body, tuple[Patch, ...]()
        for _ in range(_PATCHINGS):
            points = self.points.x[inside & ~self._holds(lanes, patched, inside)]
            if not points.size or not zeros.size:
                return
            nearest = np.abs(points[:, np.newaxis] - zeros).argmin(axis=1)
            needed = np.zeros(zeros.shape)
            np.maximum.at(needed, nearest, np.abs(points - zeros[nearest]))
            if (needed > np.abs(zeros) / 2).any() or (needed[needed > 0] <= reach[needed > 0]).any():
                return  # elsewhere, or within a patch
            reach = np.where(needed > 0, np.minimum(_MARGIN * needed, np.abs(zeros) / 2), reach)
            found = [fit_patch(self._wanted_at, zeros[k], reach[k]) for k in np.flatnonzero(reach)]
            patches = tuple(patch for patch in found if patch is not None)
            if len(patches) < len(found):
                return
            patched = reduce(lambda operations, patch: patch.over(operations), patches, body)
            yield Arithmetic(lanes, patches), patched

    def _limit(self, lanes: Lanes, body: Expression, among: npt.NDArray[np.bool_]) -> int | None:
        """Return the largest limit up to which a body keeps what is promised, among some of the points."""
        guards = {limit: guard_of(limit, body) for limit in _LIMITS}
        inside = {n: among & self._run(g, lanes.element, self.points).astype(bool) for n, g in guards.items() if g is not None}
        if not inside:
            return None
        errors = self._errors(body, lanes.element, self.points, self.want)
        keeps = (limit for limit in _LIMITS if self._holds(lanes, body, inside[limit], errors)[inside[limit]].all())
        return next(keeps, None)

    def _exact_beside_zeros(self) -> Moderate | None:
        """Return float64 without rests if that is right everywhere but next to the zeros."""
        known = sorted({float(np.float32(zero)) for zero in self.crossings})
        # Points beside a crossing look as if the function touched zero there.
        touched = [x for x in self.zeros[1:-1] if all(abs(x - zero) > 16 * _BESIDE for zero in known)]
        if touched or len(known) > _FEW_ZEROS:
            return None
        body = lower(self.formula, PLAIN_DOUBLE.for_moderate(), self.parameters)
        # Near a zero the judge is not fine enough either, so there it is another one.
        near = 64 * _BESIDE
        limit = self._limit(PLAIN_DOUBLE, body, np.abs(self.points.x[:, None] - known).min(axis=1) >= near)
        distances = np.geomspace(_BESIDE, near, 500)
        points = self._at(np.concatenate([zero + sign * distances for zero in known for sign in (-1, 1)]))
        want = self._run(lower(self.formula, DOUBLE, self.parameters), "longdouble", points)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.abs(self._run(body, "float64", points) / want - 1)
        if limit is None or not (errors <= _ULPS["exact"] * 2.0**-24).all():
            return None
        return Moderate(Arithmetic(PLAIN_DOUBLE.for_moderate()), limit, tuple(known))

    @cached_property
    def crossings(self) -> list[float]:
        """Where the function crosses zero nearest to 0, in order."""
        nearest = sorted(self.zeros[1:-1], key=abs)[: 2 * _FEW_ZEROS]  # each may be found twice
        found = sorted(zero for zero in map(self._zero_after, nearest) if zero is not None)
        return [zero for k, zero in enumerate(found) if k == 0 or zero - found[k - 1] > 1e-9 * abs(zero)]

    def _zero_after(self, x: float) -> float | None:
        """Return the zero between a point of the sample and the next, or None if the function only touches it there."""
        others = np.flatnonzero((self.points.x > x) & (self.want != 0))
        if not others.size:
            return None
        low, high = x, self.points.x[others[0]]
        for _ in range(3):  # each time a hundredth
            points = np.linspace(low, high, 101)
            values = self._wanted_at(points)
            signs = np.sign(values)
            if signs[0] * signs[-1] >= 0:
                return None
            if not signs.all():
                return float(points[signs == 0][0])
            change = np.flatnonzero(signs[1:] != signs[:-1])
            if len(change) != 1:
                return None
            before = change[0]
            low, high = points[before], points[before + 1]
        # So close that the function is a straight line.
        below, above = np.abs(values[before : before + 2].astype(np.float64))
        return float(low + (high - low) * below / (below + above))

    def _holds(
        self, lanes: Lanes, operations: Expression, among: npt.NDArray[np.bool_], errors: Array | None = None
    ) -> npt.NDArray[np.bool_]:
        """Where a kind of lanes keeps what is promised, among some of the points."""
        if errors is None:
            errors = self._errors(operations, lanes.element, self.points, self.want)
        holds = errors <= self.allowed
        if self.kind == "single" and not lanes.short:  # of those the largest errors are rare
            undecided = np.flatnonzero(among & ~holds & (errors <= self.allowed + _UNDECIDED))
            worst = self.points[undecided[np.argsort(errors[undecided])[-_LOOKED_INTO:]]]
            # One that breaks the promise by itself decides.
            if (holds | ~among)[errors > self.allowed + _UNDECIDED].all():
                holds[undecided] = self._hold_around(worst, lanes, operations)
        return holds

    def _hold_around(self, points: _Points, lanes: Lanes, operations: Expression) -> bool:
        """Whether lanes keep what is promised around some points."""
        if not points.x.size:
            return True
        around = points.around(1 + _AROUND)
        errors = self._errors(operations, lanes.element, around, self._wanted(around))
        return bool((errors <= self.allowed + _UNDECIDED).all())

    def _errors(self, operations: Expression, element: str, points: _Points, want: Array) -> Array:
        """Errors in ulp; 0 where NaN is right, and where terms cancel and the absolute error is small."""
        got = self._run(operations, element, points)
        dtype = "float64" if self.kind == "double" else "float32"
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(got - want).astype(np.float64)
            ulps = error / _ulp(want, dtype)
            right = (got == want.astype(got.dtype)) | (np.isnan(got) & np.isnan(want))
        if self.shaped:
            right |= ~np.isfinite(want)  # perhaps no values that the parameters may have
        ulps[right] = 0
        if self.kind in ("single", "double"):
            small = np.flatnonzero((ulps > self.allowed) & (error <= CANCELLED_ERROR[dtype]))
            ulps[small[cancels(want[small], self._run(self.largest_term, "float64", points[small]))]] = 0
        return ulps

    @cached_property
    def largest_term(self) -> Expression:
        """Operations of float64 for the size of the formula's largest term."""
        return lower(largest_term(self.formula), EXACT, self.parameters)
