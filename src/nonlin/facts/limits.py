"""Limits: what a formula tends to on the way to a point or to infinity, seen from far along that way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

from nonlin.facts.evaluation import FAR_DIGITS, arithmetic, program, sign
from nonlin.facts.records import Real, SearchEndedError
from nonlin.formula.expression import REMEMBERED, Application, Expression, Symbol, postorder, rebuild, substitute, symbols

#: How far along the way, as powers of ten.
_ROUNDS = {"far": (50, 100, 200), "near": (40, 80, 160)}
#: Stands for a part of a formula.
_PART = Symbol("part")


@dataclass(frozen=True)
class End:
    """What a function does on the way to a point.

    Attributes
    ----------
    low, high : mpf or None
        Limits inferior and superior. They differ where the function oscillates beyond all bounds; one is None where it
        oscillates otherwise.
    oscillates : bool
    seen : tuple of mpf
        The smallest and the largest value that were met, if it oscillates.
    """

    low: Real | None
    high: Real | None
    oscillates: bool = False
    seen: tuple[Real, ...] = ()

    @property
    def limit(self) -> Real | None:
        """The limit, if there is one."""
        return self.low if self.low == self.high else None


@lru_cache(maxsize=REMEMBERED)
def approach(formula: Expression, point: Real, side: int) -> End:
    """Return what a formula does on the way to a point, which may be infinite and else is known to all its digits.

    Parameters
    ----------
    formula : Expression
    point : mpf
    side : int
        1 if the way leads upwards, -1 if it leads downwards.

    Raises
    ------
    SearchEndedError
        If the function settles so slowly that its limit cannot be told.
    """
    evaluated = program(formula, FAR_DIGITS)
    mp = evaluated.arithmetic
    endless = math.isinf(point)
    point = point if endless else mp.mpf(point)
    rounds = []
    for magnitude in _ROUNDS["far" if endless else "near"]:
        # Irrational, so that sin(pi*x) does not look like zero.
        steps = [mp.mpf(10) ** magnitude * mp.sqrt(k) for k in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)]
        rounds.append([evaluated(side * step if endless else point - side / step) for step in steps])
        if any(mp.isnan(value) for value in rounds[-1]):
            return End(None, None, oscillates=True)
    near = arithmetic()
    sizes = [max(map(abs, values)) for values in rounds]
    # Logarithms, which change least, double or halve from one round to the next. Only a double exponential gets below
    # 10^-10000, and there its argument may have been replaced by a constant.
    if sizes[0] > 1.5 * sizes[1] > 1.5**2 * sizes[2] or sizes[2] < mp.mpf(10) ** -10000:
        return End(near.mpf(0), near.mpf(0))
    lows, highs = list(map(min, rounds)), list(map(max, rounds))
    low, high = lows[-1], highs[-1]
    if max(abs(high - low), abs(high - highs[-2]), abs(low - lows[-2])) <= 1e-15 * abs(low):
        return End(near.mpf(low) + 0, near.mpf(low) + 0)
    directions = {sign(b - a) for a, b in pairwise(value for values in rounds for value in values)}
    if len(directions - {0}) > 1:
        return End(_growth(lows), _growth(highs), oscillates=True, seen=(near.mpf(min(lows)), near.mpf(max(highs))))
    growth = _growth([values[0] for values in rounds])
    if growth is None:
        # log(log(x)) gains as much each time that log(x) doubles, and something like 1/log(x) less and less.
        first, second = (b[0] - a[0] for a, b in pairwise(rounds))
        if abs(second) < 0.9 * abs(first):
            return _by_parts(formula, point, side)
        growth = sign(second) * near.inf
    return End(growth, growth)


def _replaced(part: Expression, node: Expression) -> Expression:
    return _PART if node is part else node


def _by_parts(formula: Expression, point: Real, side: int) -> End:
    """Return what a formula does that depends on x by one part only, which tends to infinity: arctan(log(x))."""
    for part in postorder(formula):
        if isinstance(part, Application) and symbols(part) and part is not formula:
            rest = rebuild(formula, partial(_replaced, part))
            inner = approach(part, point, side).limit if symbols(rest) == {_PART.name} else None
            if inner is not None and math.isinf(inner):
                return approach(substitute(rest, {_PART.name: Symbol("x")}), inner, sign(inner))
    raise SearchEndedError("a limit is approached too slowly to be told")


def _growth(values: list[Real]) -> Real | None:
    """Return the infinity that three values on the way to a limit point at, or None."""
    for direction in (1, -1):
        first, second, third = (direction * value for value in values)
        if third > 1.5 * second > 0 and second > 1.5 * first:
            return direction * arithmetic().inf
    return None
