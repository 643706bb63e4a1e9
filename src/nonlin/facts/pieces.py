"""Pieces: a formula cut where one of its conditions switches, so that each piece is one smooth formula without choices.

The extremes, zeros and turning points of a piece are roots of its derivatives, and what happens at a cut is a comparison of two
pieces. Roots are looked for on a grid that is dense around zero and around the cuts and reaches from 1e-6 to 1e6, and between
any two turning points. Where a formula has waves, the grid follows these instead: a few of them around zero, and some far away
that stand for all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise

from nonlin.facts.evaluation import arithmetic, close, evaluate, evaluate_exactly, program, sign
from nonlin.facts.limits import End, approach
from nonlin.facts.records import Real
from nonlin.facts.roots import root_between, roots_among, with_all_digits
from nonlin.formula import primitives as p
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import REMEMBERED, Application, Expression, as_expression, postorder, rebuild, symbols

#: What is zero where its first argument is, and only there.
_AS_ZERO = (p.negative, p.integer_power, p.sqrt, p.divide, p.absolute)
_CHOICES = (p.maximum, p.minimum, p.absolute, p.sign, p.softsign)


@lru_cache(maxsize=REMEMBERED)
def with_choices(formula: Expression) -> Expression:
    """Spell everything that has a kink with ``where``; what is chosen among must be numbers."""

    def change(node: Expression) -> Expression:
        if isinstance(node, Application) and node.primitive in _CHOICES and node.primitive.portable is not None:
            chosen = with_choices(as_expression(node.primitive.portable(*node.arguments)))
            a, b = (*node.arguments, as_expression(0))[:2]
            return p.where((a > b) | (a <= b), chosen, p.nan)
        return node

    return rebuild(formula, change)


def _chosen(formula: Expression, x: Real) -> Expression:
    """Return the formula that holds around x, without choices."""
    evaluated = program(formula)
    truth = dict(zip(evaluated.nodes, evaluated.values(x), strict=True))

    def needed(node: Expression) -> tuple[Expression, ...]:
        if isinstance(node, Application) and node.primitive is p.where:
            condition, a, b = node.arguments
            return (a,) if truth[condition] else (b,)
        return node.arguments

    done: dict[Expression, Expression] = {}
    stack = [formula]
    while stack:
        node = stack[-1]
        missing = [part for part in needed(node) if part not in done]
        if missing:
            stack += missing
            continue
        parts = [done[part] for part in needed(node)]
        if not isinstance(node, Application):
            done[node] = node
        else:
            done[node] = parts[0] if node.primitive is p.where else node.primitive(*parts)
        stack.pop()
    return done[formula]


def _switches(formula: Expression) -> Iterator[Expression]:
    """Yield what is zero where a condition switches or the formula is singular; inner conditions first."""
    for node in postorder(formula):
        if isinstance(node, Application):
            arguments = node.arguments
            if node.is_condition and len(arguments) == 2 and not arguments[0].is_condition:
                yield from _zero_factors(arguments[0] - arguments[1])
            elif node.primitive is p.divide:
                yield from _zero_factors(arguments[1])
            elif node.primitive in (p.sqrt, p.log):
                yield from _zero_factors(arguments[0])
            elif node.primitive is p.log1p:
                yield from _zero_factors(1 + arguments[0])


def _zero_factors(node: Expression) -> Iterator[Expression]:
    """Yield the factors of which one is zero where the whole is: their roots are simpler than its own."""
    factors = [node]
    while factors:
        factor = factors.pop()
        if isinstance(factor, Application) and factor.primitive is p.multiply:
            factors += factor.arguments[::-1]
        elif isinstance(factor, Application) and factor.primitive in _AS_ZERO:
            factors.append(factor.arguments[0])
        elif symbols(factor):
            yield factor


@dataclass(frozen=True)
class Waves:
    """The periods of sines and cosines in a formula; those whose argument is not linear count as waves of period 4."""

    shortest: Real
    longest: Real

    @property
    def window(self) -> Real:
        """How far from zero they are followed."""
        return 2.25 * self.longest


@lru_cache(maxsize=REMEMBERED)
def waves_of(formula: Expression) -> Waves | None:
    """Return the waves of a formula, or None if it has none."""
    mp = arithmetic()
    periods = []
    for node in postorder(formula):
        if isinstance(node, Application) and node.primitive in (p.sin, p.cos) and symbols(node):
            slope = differentiate(node.arguments[0])
            frequency = abs(program(slope)(0)) if not symbols(slope) else mp.pi / 2
            if frequency:  # not that of an argument which is constant between its jumps
                periods.append(2 * mp.pi / frequency)
    return Waves(min(periods), max(periods)) if periods else None


@lru_cache(maxsize=REMEMBERED)
def centres(formula: Expression) -> tuple[Real, ...]:
    """Return points around which something happens, to judge by what is written: 20 for tanh(x - 20)."""
    found = set()
    for node in postorder(formula):
        if isinstance(node, Application) and node.primitive in (p.add, p.subtract):
            slope = differentiate(node)
            if not symbols(slope) and program(slope)(0) != 0:
                found.add(-program(node)(0) / program(slope)(0))
    return tuple(found)


@cache
def _steps(per_decade: int) -> tuple[Real, ...]:
    """Return numbers from 1e-6 to 1e6."""
    return tuple(arithmetic().mpf(10) ** (j / per_decade) for j in range(-6 * per_decade, 6 * per_decade + 1))


def _grid(formula: Expression, low: Real, high: Real) -> list[Real]:
    """Return points inside an interval, dense where the formula does what is interesting."""
    mp, waves = arithmetic(), waves_of(formula)
    points = {mp.mpf(0), *(way * step for step in _steps(16) for way in (1, -1))}
    if waves is not None:
        points = {x for x in points if abs(x) < waves.window}
        spacing = waves.shortest / 48
        count = min(int(waves.window / spacing), 2000)
        points.update(spacing * k for k in range(-count, count + 1))
        far = max(mp.mpf(10) ** 6, 100 * waves.window)
        points.update(way * (far + spacing * k) for k in range(min(count, 100)) for way in (1, -1))
    middles = set(centres(formula))
    if mp.isinf(high - low):
        middles |= {low, high} - {-mp.inf, mp.inf}
    else:
        points.update(low + (high - low) * k / 32 for k in range(1, 32))
    for middle in middles - {0}:
        points.update({middle, *(middle + way * step for step in _steps(8) for way in (1, -1))})
    # Next to an end, which may be singular, a function is known no better than the end.
    low, high = (end if math.isinf(end) else end + way * _MARGIN * max(1, abs(end)) for end, way in ((low, 1), (high, -1)))
    return sorted(x for x in points if low < x < high)


def _followed(formula: Expression, grid: list[Real]) -> list[Real]:
    """Leave out points between which waves become too short to be followed: sin(1/x) has thousands of them below 0.001."""
    slopes = [program(slope) for slope in _changing_frequencies(formula)]
    if not slopes:
        return grid
    steps = [min(b - a, c - b) for a, b, c in zip(grid, grid[1:], grid[2:], strict=False)]
    kept = [x for x, step in zip(grid[1:-1], steps, strict=True) if not any(abs(slope(x)) * step > 2 for slope in slopes)]
    return kept or grid


@lru_cache(maxsize=REMEMBERED)
def _changing_frequencies(formula: Expression) -> tuple[Expression, ...]:
    """Return the frequencies of waves whose length depends on x."""
    slopes = (
        differentiate(node.arguments[0])
        for node in postorder(formula)
        if isinstance(node, Application) and node.primitive in (p.sin, p.cos) and symbols(node)
    )
    return tuple(slope for slope in slopes if symbols(slope))


_MARGIN = 1e-30


class Piece:
    """A formula without choices, and the open interval on which it holds."""

    def __init__(self, formula: Expression, low: Real, high: Real) -> None:
        self.low = low
        self.high = high
        grid = _grid(formula, low, high)
        self._grid = _followed(formula, grid)
        self.crowded = len(self._grid) < len(grid) - 2
        """Whether there are places with waves that are too short to be followed."""
        self._formula = formula
        self._changes: dict[int, tuple[list[Real], list[Real]]] = {}
        self._samples: dict[int, list[tuple[Real, Real]]] = {}

    @cached_property
    def middle(self) -> Real:
        """A point inside, where the formula is a real number if it is one at any point of the grid."""
        half = len(self._grid) // 2
        outwards = sorted(range(len(self._grid)), key=lambda k: abs(k - half))
        value = program(self._formula)
        return next((self._grid[k] for k in outwards if not math.isnan(value(self._grid[k]))), self._grid[half])

    @property
    def some_points(self) -> list[Real]:
        """A few points inside, most of them where the grid is dense."""
        return self._grid[:: max(1, len(self._grid) // 9)]

    @property
    def is_real(self) -> bool:
        """Whether the formula is a real number somewhere inside."""
        return not math.isnan(program(self._formula)(self.middle))

    def derivative(self, order: int) -> Expression:
        """Return the formula of a derivative."""
        return differentiate(self._formula, order=order)

    def at(self, x: Real, order: int = 0) -> Real:
        """Return the value of a derivative at x, which may be an end of the interval."""
        if order > 2:  # the formulas of high derivatives can become very long
            return arithmetic().diff(program(self.derivative(0)), x, order)
        if x in (self.low, self.high):
            return evaluate_exactly(self.derivative(order), x)
        return evaluate(self.derivative(order), x)

    def samples(self, order: int) -> list[tuple[Real, Real]]:
        """Return points in ascending order, of the grid and where a derivative turns, with its values."""
        if order not in self._samples:
            constant = not symbols(self.derivative(order))
            value = self.at(self.middle, order)
            samples = {x: value if constant else self.at(x, order) for x in self._grid}
            turns = self.roots(order + 1) if order < 2 and not constant else []
            samples.update((x, self.at(x, order)) for x in turns)
            points = sorted(samples)
            for before, x, after in zip(points, points[1:], points[2:], strict=False):
                # A double root is known to half of its digits only, so its value there is not quite zero.
                if x in turns and abs(samples[x]) <= 1e-40 * max(abs(samples[before]), abs(samples[after])):
                    samples[x] = value * 0
            self._samples[order] = [(x, samples[x]) for x in points]
        return self._samples[order]

    def reaches(self, side: int) -> bool:
        """Whether the formula is a real number next to an end; of endless pieces one stands for many."""
        end = self.high if side > 0 else self.low
        return not math.isnan(program(self._formula)(end - side * max(1, abs(end)) * _MARGIN))

    def approached(self, side: int, order: int = 0) -> End:
        """Return what a derivative does on the way to an end: -1 for the lower, 1 for the upper."""
        return approach(self.derivative(order), self.high if side > 0 else self.low, side)

    def signs(self, order: int) -> set[int]:
        """Return the signs that a derivative takes."""
        return {sign(value) for _, value in self.samples(order)} - {0}

    def constant(self, order: int = 0) -> bool:
        """Whether a derivative is constant."""
        return all(value == 0 for _, value in self.samples(order + 1))

    def roots(self, order: int = 0) -> list[Real]:
        """Return the points inside where a derivative is zero, without staying so."""
        return self._sign_changes(order)[0]

    def breaks(self, order: int = 0) -> list[Real]:
        """Return the points inside where a derivative changes its sign in a pole or a jump."""
        return self._sign_changes(order)[1]

    def _sign_changes(self, order: int) -> tuple[list[Real], list[Real]]:
        if order not in self._changes:
            self._changes[order] = self._find_sign_changes(order)
        return self._changes[order]

    def _find_sign_changes(self, order: int) -> tuple[list[Real], list[Real]]:
        if order < 2:
            slope = self.derivative(order + 1)
            if not symbols(slope):
                steepness = program(slope)(0)
                root = -self.at(arithmetic().mpf(0), order) / steepness if steepness else self.low
                return ([root] if self.low < root < self.high else []), []
        return roots_among(self.samples(order), lambda x: self.at(x, order))

    def slope_falls_to(self, level: float, low: Real, high: Real) -> Real:
        """Return the point between two others where the absolute slope passes a level."""
        return root_between(lambda x: abs(self.at(x, 1)) - level, low, high)


@dataclass(frozen=True)
class Station:
    """A point or an open interval of the domain, and the values at its ends: limits, or None, of an interval."""

    low: Real
    high: Real
    first: Real | None
    last: Real | None

    @property
    def is_point(self) -> bool:
        """Whether it is a single point."""
        return bool(self.low == self.high)


class Partition:
    """A formula, cut where one of its conditions switches or it is singular.

    Attributes
    ----------
    formula : Expression
        As it was given: its derivatives are what convention says at a kink.
    cuts : list of mpf
        In ascending order, each known to all digits.
    endless : bool
        Whether there are infinitely many cuts, of which the ones around zero are made.
    pieces : list of Piece
        What lies between the cuts; those on which the formula is not a real number are left out.
    """

    def __init__(self, formula: Expression) -> None:
        self.formula = formula
        self._choices = with_choices(canonical(formula))
        self.waves = waves_of(formula)
        ends, self.endless = self._ends()
        self.cuts = ends[1:-1]
        self.pieces: list[Piece] = []
        for gap in [Piece(self._choices, low, high) for low, high in pairwise(ends)]:
            if gap.is_real:
                # With endless cuts, of which those around zero are made, the choices stay in the outermost pieces.
                whole = self.endless and math.isinf(gap.high - gap.low)
                self.pieces.append(gap if whole else Piece(_chosen(self._choices, gap.middle), gap.low, gap.high))
        if not self.pieces:
            raise ValueError(f"{formula} is nowhere a real number")

    def _ends(self) -> tuple[list[Real], bool]:
        """Return where pieces end, and whether there are infinitely many such points."""
        infinity = arithmetic().inf
        ends, endless = [-infinity, infinity], False
        for switch in dict.fromkeys(_switches(self._choices)):
            found = []
            for gap in [Piece(switch, low, high) for low, high in pairwise(ends)]:
                chosen = _chosen(switch, gap.middle)
                found += [(x, chosen) for x in Piece(chosen, gap.low, gap.high).roots()]
            waves = waves_of(switch)
            near = [(x, chosen) for x, chosen in found if waves is None or abs(x) <= waves.window]
            endless = endless or len(near) < len(found)
            new = [(x, chosen) for x, chosen in near if not any(close(x, end) for end in ends)]
            ends = sorted([*ends, *(with_all_digits(x, chosen) for x, chosen in new)])
        return ends, endless

    @cached_property
    def joints(self) -> list[tuple[Piece, Piece]]:
        """The pairs of pieces that meet."""
        return [
            (left, right)
            for left, right in pairwise(self.pieces)
            if left.high == right.low and left.reaches(1) and right.reaches(-1)
        ]

    @property
    def edges(self) -> list[tuple[Piece, int]]:
        """The pieces that end, on the side that is given, with a point of the domain beyond which there is none."""
        joints = {left.high for left, _ in self.joints}
        ends = [(piece, side, x) for piece in self.pieces for side, x in ((-1, piece.low), (1, piece.high))]
        return [(piece, side) for piece, side, x in ends if x in self.cuts and x not in joints and self.is_defined(x)]

    @cached_property
    def stations(self) -> list[Station]:
        """The pieces and the cuts at which the formula has a value, in order."""
        at_cuts = [Station(x, x, self.at(x), self.at(x)) for x in self.cuts if self.is_defined(x)]
        pieces = [Station(o.low, o.high, self.limit(o, -1), self.limit(o, 1)) for o in self.pieces]
        return sorted([*at_cuts, *pieces], key=lambda station: (station.low, station.high))

    @property
    def window(self) -> Real:
        """How far from zero places are told one by one."""
        return math.inf if self.waves is None else self.waves.window

    def is_far(self, x: Real) -> bool:
        """Whether a point is beyond those that are told one by one."""
        return bool(abs(x) > self.window)

    def is_defined(self, x: Real) -> bool:
        """Whether the formula has a value at a point."""
        return not math.isnan(self.at(x))

    def at(self, x: Real, order: int = 0) -> Real:
        """Return the value of a derivative anywhere, at a kink by convention."""
        formula = with_choices(differentiate(self.formula, order=order))
        return evaluate_exactly(formula, x) if x in self.cuts else evaluate(formula, x)

    def end(self, piece: Piece, side: int, order: int = 0) -> End:
        """Return what a derivative does at an end of a piece: -1 for the lower, 1 for the upper."""
        point = piece.high if side > 0 else piece.low
        value = arithmetic().nan if math.isinf(point) else piece.at(point, order)
        return End(value, value) if arithmetic().isfinite(value) else piece.approached(side, order)

    def limit(self, piece: Piece, side: int, order: int = 0) -> Real | None:
        """Return the limit of a derivative at an end of a piece, or None."""
        return self.end(piece, side, order).limit

    def sides(self, left: Piece, right: Piece, order: int) -> tuple[Real, Real]:
        """Return the limits of a derivative from both sides where two pieces meet, NaN for none."""
        before, after = self.limit(left, 1, order), self.limit(right, -1, order)
        return arithmetic().nan if before is None else before, arithmetic().nan if after is None else after
