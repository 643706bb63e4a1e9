"""Which arithmetic computes a formula fast enough and well enough: measured on the formula itself before it is compiled.

A kernel computes moderate inputs (nearly all that occur) without care for the ends of the exponent range, behind a guard, and
leaves the others to a general body. For each of the two the cheapest arithmetic is taken that holds the promised accuracy on a
sample of inputs, so that the promise covers formulas nobody has looked at: float32 is fastest, keeping what every operation
rounds away costs about as much again, and so do float64 lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.formula.expression import Application, Expression, Symbol, postorder, symbols
from nonlin.formula.primitives import absolute
from nonlin.kernels.lowering import guard_of, interpret, lower
from nonlin.kernels.machine import is_application
from nonlin.kernels.number import COMPENSATED, DOUBLE, EXACT, PLAIN_DOUBLE, SINGLE, Lanes

Array = npt.NDArray[np.float64]

#: Promised are 2 ulp for all inputs (the worst of a sample is a little less), results of 16 bits rounded from float32 (40 of
#: whose ulps are 0.005 of their own), and nearly always correctly rounded ones.
_ULPS = {"single": 1.6, "half": 40.0, "exact": 1e-4, "double": 1.7}
#: Half an ulp more is promised for gelu and mish: where the functions are part of a formula that they are made of.
_HARDER_ULPS = 0.5
_HARDER = ("normal_cdf", "tanh_softplus")
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
#: What may compute each kind of result, the fastest first.
_CANDIDATES = {
    "single": (SINGLE, COMPENSATED, EXACT),
    "half": (SINGLE, COMPENSATED, EXACT),
    "exact": (EXACT, DOUBLE),
    "double": (PLAIN_DOUBLE, DOUBLE),
}
#: Next to a zero of the function terms cancel, and the promise is an absolute error instead: 2.5e-7 for all inputs.
_NEAR_ZERO_ERROR = 1.9e-7
_NEAR_ZERO = 2.0
_TOUCHING = 1e-3


def _float32_sample() -> Array:
    ordinary, large = np.geomspace(1e-6, 200, 700), np.geomspace(200, 3e4, 900)
    sizes = np.concatenate([[3e-44, 8.6e-41, 1e-38, 1e-30], ordinary, large, np.geomspace(3e4, 3e38, 100)])
    # Most where the results are neither trivial nor tiny, and where an exponential meets the resolution of 1.
    around = np.linspace(-10, 10, 6001), np.linspace(-20, 20, 2801), np.linspace(-150, 150, 801)
    sample = np.concatenate([sizes, -sizes, *around])
    return _distinct(sample.astype(np.float32)).astype(np.float64)


def _float16_sample() -> Array:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    dense = np.abs(every[np.isfinite(every)]) >= 2**-4
    finite = every[np.isfinite(every)].astype(np.float64)
    return _distinct(np.concatenate([finite[dense & (np.abs(finite) <= 16)], finite[::37]]))


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


def near_zeros(x: Array, zeros: Array) -> npt.NDArray[np.bool_]:
    """Mark the points that lie within 2 of one of the zeros."""
    following = np.searchsorted(zeros, x).clip(1, len(zeros) - 1)
    return np.asarray(np.minimum(x - zeros[following - 1], zeros[following] - x) <= _NEAR_ZERO)


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
    """Whether some of the symbols are parameters: at other values than these a plainer arithmetic might not do."""

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
    found = {question: choose_moderate_lanes(question) for question in guarded}
    moderate = {question: answer for question, answer in found.items() if answer is not None}
    if not moderate or len(moderate) < len(guarded):
        return choose_for_all(*questions)
    chosen = [moderate[q].lanes if q in moderate else choose_lanes(q).for_moderate() for q in questions]
    choice = _choice(questions, chosen)
    guard = guard_of(min(answer.limit for answer in moderate.values()), *choice.operations)
    for zero in sorted({zero for answer in moderate.values() for zero in answer.zeros}):
        beside = absolute(Symbol("x") - zero) >= _BESIDE
        guard = beside if guard is None else guard & beside
    return replace(choice, guard=guard)


def choose_for_all(*questions: Question) -> Choice:
    """Choose the operations for inputs of any size."""
    return _choice(questions, [choose_lanes(question) for question in questions])


def _choice(questions: Sequence[Question], chosen: Sequence[Lanes]) -> Choice:
    """Lower each formula in its own arithmetic where they have lanes of one type, or all in the most careful one."""
    careful = max(chosen, key=lambda lanes: (lanes.goal, lanes.compensated))
    operations = tuple(
        question.lowered(lanes if lanes.element == careful.element else careful)
        for question, lanes in zip(questions, chosen, strict=True)
    )
    return Choice(careful.element, operations)


def _needs_guard(question: Question) -> bool:
    return guard_of(1, question.lowered(SINGLE.for_moderate())) is not None


@cache
def choose_lanes(question: Question) -> Lanes:
    """Choose the arithmetic for inputs of any size."""
    if "x" not in symbols(question.formula):
        return DOUBLE if question.output == "float64" else EXACT if question.exact else SINGLE
    return _sample(question).lanes()


@dataclass(frozen=True)
class Moderate:
    """An arithmetic for moderate inputs, and which these are."""

    lanes: Lanes
    limit: int
    """What :func:`~nonlin.kernels.lowering.guard_of` is told."""
    zeros: tuple[float, ...] = ()
    """Where terms cancel more than this arithmetic can bear: inputs next to these are not moderate."""


@cache
def choose_moderate_lanes(question: Question) -> Moderate | None:
    """Choose a faster arithmetic for moderate inputs; None if there is none."""
    return _sample(question).moderate_lanes() if _needs_guard(question) else None  # without exponentials nothing is gained


def _cost(operations: Expression, lanes: Lanes) -> int:
    """Estimate the time that a body takes: twice as many vectors hold the same elements as float64, and divide slower."""
    slow, vectors = (8, 2) if lanes.element == "float64" else (4, 1)
    nodes = [node for node in postorder(operations) if isinstance(node, Application)]
    return vectors * sum(slow if node.primitive.name in ("divide", "sqrt") else 1 for node in nodes)


def _is_steep(node: Expression) -> bool:
    """Whether a tail is taken of a rounded argument: exp(exp(...)), normal_cdf((x - mu)/sigma)."""
    if is_application(node, "exp"):
        return any(is_application(inner, "exp") for inner in postorder(node.arguments[0]))
    is_tail = is_application(node, "normal_cdf") or is_application(node, "erf")
    return is_tail and isinstance(node.arguments[0], Application)


def _is_harder(node: Expression) -> bool:
    return isinstance(node, Application) and node.primitive.name in _HARDER and isinstance(node.arguments[0], Symbol)


@lru_cache(maxsize=8)
def _sample(question: Question) -> _Sample:
    return _Sample(question)


class _Sample:
    """A formula on a sample of inputs: what its results should be, and what errors they may have."""

    def __init__(self, question: Question) -> None:
        self.formula, self.shaped = question.formula, question.shaped
        self.parameters = parameters = dict(zip(question.names, question.typical, strict=True))
        kinds = {"float64": "double", "float32": "exact" if question.exact else "single"}
        self.kind = kinds.get(question.output, "exact" if question.exact else "half")
        # Results of one kind of lanes are judged by those of another, which has to be finer.
        judge, self.finer = (DOUBLE, "longdouble") if self.kind == "double" else (EXACT, "float64")
        self.judge = lower(self.formula, judge, parameters)
        self.x = _float16_sample() if self.kind == "half" else _float32_sample()
        if self.kind == "double":
            self.x = self.x[::5]
        self.want = self._wanted(self.x)
        self.zeros = find_zeros(self.x, self.want)
        self.allowed = _ULPS[self.kind]
        if self.kind == "single" and any(_is_harder(node) for node in postorder(self.formula)):
            self.allowed += _HARDER_ULPS
        if self.kind == "single" and any(map(_is_steep, postorder(self.formula))):
            self.allowed -= _RARER_ULPS

    def _run(self, operations: Expression, element: str, x: Array, *, fused: bool = True) -> Array:
        others = {name: np.full(x.shape, np.float32(value), np.float64) for name, value in self.parameters.items()}
        return np.broadcast_to(interpret(operations, element, {"x": x, **others}, fused=fused), x.shape)

    def _wanted(self, x: Array) -> Array:
        # A result of 40 bits does not ask for more than float64's, and a longer type is slow.
        return self._run(self.judge, self.finer, x, fused=self.kind == "double")

    def lanes(self) -> Lanes:
        """The cheapest arithmetic that will do for any input."""
        if self.kind == "double":
            return DOUBLE
        if self.kind == "exact":
            # Next to a zero, where terms cancel, only compensated lanes are right enough.
            return DOUBLE if len(self.zeros) > 2 else EXACT
        everywhere = np.ones(self.x.shape, bool)
        bodies = {lanes: lower(self.formula, lanes, self.parameters) for lanes in (SINGLE, COMPENSATED, EXACT)}
        cheapest = sorted(bodies, key=lambda lanes: _cost(bodies[lanes], lanes))
        return next(lanes for lanes in cheapest if lanes is EXACT or self._holds(lanes, bodies[lanes], everywhere).all())

    def moderate_lanes(self) -> Moderate | None:
        """The cheapest arithmetic that will do for moderate inputs, and what moderate is."""
        candidates = _CANDIDATES[self.kind]
        if self.shaped:
            candidates = (self.lanes(),)
        elif self.kind == "exact" and len(self.zeros) > 2:
            # A sample hardly ever meets the inputs next to a zero, of which exact results ask most.
            found = self._exact_beside_zeros()
            if found is not None:
                return found
            candidates = (self.lanes(),)
        # The first one is the cheapest; which of the others is depends on the formula.
        for group in (candidates[:1], candidates[1:]):
            bodies = {lanes: lower(self.formula, lanes.for_moderate(), self.parameters) for lanes in group}
            for lanes in sorted(bodies, key=lambda lanes: _cost(bodies[lanes], lanes)):
                limit = self._limit(lanes, bodies[lanes], np.ones(self.x.shape, bool))
                if limit is not None:
                    return Moderate(lanes.for_moderate(), limit)
        return None

    def _limit(self, lanes: Lanes, body: Expression, among: npt.NDArray[np.bool_]) -> int | None:
        """Return the largest limit up to which a body keeps what is promised, among some of the points."""
        guards = {limit: guard_of(limit, body) for limit in _LIMITS}
        inside = {n: among & self._run(g, lanes.element, self.x).astype(bool) for n, g in guards.items() if g is not None}
        if not inside:
            return None
        holds = self._holds(lanes, body, inside[_LIMITS[0]])
        return next((limit for limit in _LIMITS if holds[inside[limit]].all()), None)

    def _exact_beside_zeros(self) -> Moderate | None:
        """Return float64 without rests if that is right everywhere but next to the zeros."""
        found = {x: self._zero_after(x) for x in self.zeros[1:-1]}
        known = sorted({zero for zero in found.values() if zero is not None})
        # Points beside a crossing look as if the function touched zero there.
        touched = [x for x in found if all(abs(x - zero) > 16 * _BESIDE for zero in known)]
        if touched or len(known) > _FEW_ZEROS:
            return None
        body = lower(self.formula, PLAIN_DOUBLE.for_moderate(), self.parameters)
        # Near a zero the judge is not fine enough either, so there it is another one.
        near = 64 * _BESIDE
        limit = self._limit(PLAIN_DOUBLE, body, np.abs(self.x[:, None] - known).min(axis=1) >= near)
        distances = np.geomspace(_BESIDE, near, 500)
        x = np.concatenate([zero + sign * distances for zero in known for sign in (-1, 1)])
        want = self._run(lower(self.formula, DOUBLE, self.parameters), "longdouble", x)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.abs(self._run(body, "float64", x) / want - 1)
        if limit is None or not (errors <= _ULPS["exact"] * 2.0**-24).all():
            return None
        return Moderate(PLAIN_DOUBLE.for_moderate(), limit, tuple(known))

    def _zero_after(self, x: float) -> float | None:
        """Return the zero between a point of the sample and the next, or None if the function only touches it there."""
        low, high = x, self.x[np.searchsorted(self.x, x, side="right")]
        for _ in range(3):  # each time a hundredth
            points = np.linspace(low, high, 101)
            signs = np.sign(self._wanted(points))
            change = np.flatnonzero(signs[1:] != signs[:-1])
            if len(change) != 1 or signs[0] * signs[-1] >= 0:
                return None
            low, high = points[change[0]], points[change[0] + 1]
        return float(np.float32(high))

    def _holds(self, lanes: Lanes, operations: Expression, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Where a kind of lanes keeps what is promised, among some of the points."""
        errors = self._errors(operations, lanes.element, self.x, self.want)
        holds = errors <= self.allowed
        if self.kind == "single":
            undecided = np.flatnonzero(among & ~holds & (errors <= self.allowed + _UNDECIDED))
            worst = self.x[undecided[np.argsort(errors[undecided])[-_LOOKED_INTO:]]]
            holds[undecided] = self._hold_around(worst, lanes, operations)
        return holds

    def _hold_around(self, x: Array, lanes: Lanes, operations: Expression) -> bool:
        """Whether lanes keep what is promised around some points."""
        if not x.size:
            return True
        around = np.outer(x, 1 + _AROUND).ravel().astype(np.float32).astype(np.float64)
        errors = self._errors(operations, lanes.element, around, self._wanted(around))
        return bool((errors <= self.allowed + _UNDECIDED).all())

    def _errors(self, operations: Expression, element: str, x: Array, want: Array) -> Array:
        """Errors in ulp; 0 where NaN is right, and next to a zero where the absolute error is small."""
        got = self._run(operations, element, x)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(got - want).astype(np.float64)
            ulps = error / _ulp(want, "float64" if self.kind == "double" else "float32")
            right = (got == want.astype(got.dtype)) | (np.isnan(got) & np.isnan(want))
        if self.kind == "single":
            right |= near_zeros(x, self.zeros) & (error <= _NEAR_ZERO_ERROR)
        return np.where(right, 0, ulps)
