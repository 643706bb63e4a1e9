"""Which error of a result is within the promise: README's numbers, and precisely what they are said of.

A result r is right if it differs from the exact result R of the written formula, at exactly the input and parameters given,
by at most

* 2 units of the last place of R in float32 and float64, 0.51 in float16, 0.5001 in float32 under ``nl.precision("exact")``;
* next to a zero of the function where terms cancel, that is |R| < T/32 for the largest term T of the sum that R is, and R
  changes its sign (or nearly vanishes) within twice the distance of Newton's step: 6e-8 max(1, T) in float32 and float16,
  and 2^-51 max(1, T) in float64;
* what no arithmetic that the library has could avoid: S, the most that a relative error of 1 in an inner result would do
  to R, times 2^-49 (float32 results can be computed in float64), or times 2^-90 for float64 results (pairs of numbers).

Half an ulp more is allowed for formulas with gelu or mish, as promised. A parameter's default is a decimal, and may be taken
as that or as the nearest number of the arithmetic. Conditions are decided exactly, except that operands which had to be
rounded (|a - b| within 8 roundings of their largest term, or below the smallest number) may fall on either side.

An input is *ordinary* if it is 0 or its size is from 2^-20 to 2^10, *extreme* if it is any other finite number, and
*special* if it is infinite or NaN. The promise is the same for all of them; a failure is told with its class.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from mpmath import mp, mpf

from fuzz.exact import Answer, Question, alternatives, answer
from fuzz.formulas import Formula
from oracle import ulp_error


@dataclass(frozen=True)
class Promise:
    """What is promised of a kind of result."""

    dtype: str
    ulps: float
    beside_zero: float
    """The absolute error where terms of size 1 cancel."""
    finest: float
    """The rounding error of the finest arithmetic there is for it, with a margin."""
    exact: bool = False

    @property
    def unit(self) -> float:
        return -11.0 if self.dtype == "float16" else -24.0 if self.dtype == "float32" and not self.exact else -53.0

    @property
    def smallest(self) -> float:
        return -149.0 if self.dtype != "float64" else -1074.0


PROMISES = {
    "float16": Promise("float16", 0.51, 6e-8, 2.0**-49),
    "float32": Promise("float32", 2.0, 6e-8, 2.0**-49),
    "float64": Promise("float64", 2.0, 2.0**-51, 2.0**-90),
    "exact": Promise("float32", 0.5001, 0.0, 2.0**-49, exact=True),
}
HARDER = ("normal_cdf", "erf", "erfc", "tanh")
MORE_FOR_HARDER = 0.5


@dataclass(frozen=True)
class Wrong:
    """A result that is not right."""

    x: float
    got: float
    right: str
    ulps: float

    @property
    def place(self) -> str:
        if not math.isfinite(self.x):
            return "special"
        return "ordinary" if self.x == 0 or 2.0**-20 <= abs(self.x) <= 2.0**10 else "extreme"

    def __str__(self) -> str:
        return f"at x={self.x!r} ({self.place}): got {self.got!r}, right is {self.right}, {self.ulps:.4g} ulp"


class Judge:
    """Judges results of one derivative of one formula in one dtype.

    Parameters
    ----------
    formula : Formula
    kind : str
        A key of `PROMISES`.
    order : int
    variable : str
    parameters : dict of str to Fraction, optional
        Values other than the defaults, exactly.
    """

    def __init__(
        self, formula: Formula, kind: str, order: int, variable: str, parameters: dict[str, Fraction] | None = None
    ) -> None:
        self.formula, self.kind, self.order, self.variable = formula, kind, order, variable
        self.tree = formula.tree.expanded
        self.promise = PROMISES[kind]
        given = formula.defaults if parameters is None else parameters
        self.parameters = [tuple(given.items())]
        if parameters is None:
            single = "float64" if self.promise.dtype == "float64" else "float32"
            nearest = tuple((name, Fraction(float(np.dtype(single).type(float(value))))) for name, value in given.items())
            self.parameters += [nearest] if nearest != self.parameters[0] else []
        self.ulps = self.promise.ulps
        if kind == "float32" and any(self.tree.has(name) for name in HARDER):
            self.ulps += MORE_FOR_HARDER

    def question(self, x: float, parameters: tuple[tuple[str, Fraction], ...]) -> Question:
        return Question(self.tree, x, parameters, self.order, self.variable)

    def look(self, x: float, got: float) -> Wrong | None:
        """Return what is wrong with a result, or None."""
        wrong = None
        for parameters in self.parameters:
            question = self.question(x, parameters)
            found = answer(question, unit=self.promise.unit, smallest=self.promise.smallest)
            wrong = self._compare(question, found, x, got)
            if wrong is None:
                return None
            if any(d.doubtful for d in found.decisions.values()):
                for other in alternatives(question, found):
                    if self._compare(question, other, x, got) is None:
                        return None
        return wrong

    def _compare(self, question: Question, found: Answer, x: float, got: float) -> Wrong | None:
        if not found.right:
            return None
        errors = [ulp_error(got, right, self.promise.dtype) for right in found.right]
        best = min(range(len(errors)), key=errors.__getitem__)
        if errors[best] <= self.ulps:
            return None
        right = found.right[best]
        if math.isfinite(got) and mp.isfinite(right):
            error = abs(mpf(got) - right)
            allowed = self.promise.finest * _power_of_two(found.rounded)
            terms = _power_of_two(found.terms)
            if self.promise.beside_zero and 32 * abs(right) < terms and self._beside_zero(question, right):
                allowed = max(allowed, self.promise.beside_zero * max(1, terms))
            if error <= allowed:
                return None
        texts = " or ".join(dict.fromkeys(mp.nstr(value, 18) for value in found.right))
        return Wrong(x, got, texts, errors[best])

    def _beside_zero(self, question: Question, right: mpf) -> bool:
        step = max(abs(question.x), 2.0**-60) * 1e-9
        beside = self._number(question, question.x + step)
        if beside is None or beside == right:
            return False
        with mp.workprec(300):
            away = float(2 * right * mp.mpf(step) / (beside - right))
            across = self._number(question, question.x - away)
        return across is not None and bool(across * right <= 0 or abs(across) < abs(right) / 64)

    def _number(self, question: Question, x: float) -> mpf | None:
        found = answer(Question(question.tree, x, question.parameters, question.order, question.variable))
        return found.right[0] if len(found.right) == 1 and mp.isfinite(found.right[0]) else None


def _power_of_two(exponent: float) -> mpf:
    return mpf(0) if exponent == -math.inf else mpf(2) ** max(-1e6, min(exponent, 1e6))


def points(formula: Formula, dtype: str, seed: int) -> np.ndarray[Any, Any]:
    """Return inputs of a dtype: special and extreme ones, random ones, and what lies next to the formula's turns."""
    kind = np.finfo(dtype)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], 24)
    biggest = float(kind.maxexp)
    drawn = [
        *rng.uniform(-3, 3, 6), *rng.uniform(-12, 12, 4), *(signs[:4] * rng.uniform(1, 2, 4) * 2.0 ** rng.integers(-18, 8, 4)),
        *(signs[4:7] * 2.0 ** rng.integers(-12, 9, 3)), *(signs[7:9] * rng.uniform(12, 120, 2)),
        *(signs[9:12] * rng.uniform(1, 2, 3) * 2.0 ** rng.uniform(float(kind.minexp) - kind.nmant, biggest - 1, 3)),
    ]  # fmt: skip
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0]
    ends = [
        float(kind.max),
        -float(kind.max),
        float(kind.tiny),
        float(kind.smallest_subnormal),
        -float(kind.smallest_subnormal),
    ]
    turns = formula.turns()
    chosen = rng.permutation(turns)[:5] if turns else []
    with np.errstate(all="ignore"):
        near = np.array(chosen, dtype)
        around = [near, np.nextafter(near, kind.max.dtype.type(np.inf)), np.nextafter(near, kind.max.dtype.type(-np.inf))]
        beside = [near * np.dtype(dtype).type(1 + s * 2.0**-k) for s in (-1, 1) for k in (3, 7)]
        everything = np.concatenate([np.array([*special, *rng.permutation(ends)[:2], *drawn], dtype), *around, *beside])
    bits = everything.view(f"u{everything.itemsize}")
    return everything[np.sort(np.unique(bits, return_index=True)[1])]
