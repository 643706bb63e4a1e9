"""Means of a formula and its derivatives for normal inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from nonlin.facts.evaluation import arithmetic, close, program
from nonlin.facts.pieces import Partition, Waves, centres
from nonlin.facts.records import Real
from nonlin.formula.expression import Expression

_DIGITS = 30
#: Of what an integral next to a singularity is made: its points lie closer to the end than so many digits of the end tell.
_DIGITS_BESIDE = 80


def moment(partition: Partition, power: int, order: int, scale: float) -> Real:
    """Return the mean of a power of a derivative for normal inputs with some standard deviation, or NaN."""
    mp = arithmetic(_DIGITS)
    deviation = abs(mp.mpf(scale))
    if not deviation:
        return mp.mpf(partition.at(arithmetic().mpf(0), order)) ** power
    ends = [-math.inf, *(end for piece in partition.pieces for end in (piece.low, piece.high)), math.inf]
    if any(a != b for a, b in zip(ends[::2], ends[1::2], strict=True)):
        return mp.nan  # somewhere the formula is no real number
    if any(math.isnan(value) for piece in partition.pieces for _, value in piece.samples(0)):
        return mp.nan
    waves = partition.waves
    if waves is not None and deviation > 100 * waves.shortest:
        return _mean_over_period(partition, waves, power, order, deviation)
    decades = (way * mp.mpf(10) ** k for k in range(-3, 7) for way in (1, -1))
    known = [*partition.cuts, *centres(partition.formula), *decades]
    for width in (12, 24, 48, 96, 192):
        known += [deviation * z for z in (-width, -8, -4, -2, -1, 0, 1, 2, 4, 8, width)]
        panels = [
            replace(panel, power=power, deviation=deviation) for panel in _panels(partition, order, known, width * deviation)
        ]
        sizes = [abs(panel(panel.low + panel.width * mp.mpf(k) / 8)) for panel in panels for k in (1, 3, 5, 7)]
        if max(sizes[0], sizes[-1]) <= 1e-25 * max(sizes) + 1e-40:
            return _integral(panels, max(sizes) * deviation or 1)
    return mp.nan


def period(partition: Partition, order: int = 0) -> Real | None:
    """Return the smallest period of a derivative, or None."""
    waves = partition.waves
    if waves is None:
        return None
    points = [arithmetic().mpf(x) / 7 for x in (-31, -12, -3, 1, 5, 17, 40)]
    for length in (waves.longest * fraction for fraction in (0.5, 1, 2, 3, 4, 5, 6)):
        values = [(partition.at(x, order), partition.at(x + length, order)) for x in points]
        if all(close(a, b) or (math.isnan(a) and math.isnan(b)) for a, b in values) and not all(
            math.isnan(a) for a, _ in values
        ):
            return length
    return None


def _mean_over_period(partition: Partition, waves: Waves, power: int, order: int, deviation: Real) -> Real:
    """Return the mean where a standard deviation is so many waves that all phases are equally probable."""
    length = period(partition, order)
    if length is None or 2 * math.pi * deviation < 10 * length:
        return arithmetic().nan
    points = [*partition.cuts, *(length * k / 16 for k in range(-8, 9))]
    panels = [replace(panel, power=power) for panel in _panels(partition, order, points, length / 2)]
    return _integral(panels, 1) / length


@dataclass(frozen=True)
class _Panel:
    """What is integrated between two points: a power of a formula, times a normal density if there is a deviation."""

    formula: Expression
    low: Real
    high: Real
    power: int = 1
    deviation: Real | None = None

    @property
    def width(self) -> Real:
        return self.high - self.low

    def __call__(self, x: Real, digits: int = _DIGITS) -> Real:
        mp = arithmetic(digits)
        value = program(self.formula, digits)(x) ** self.power
        if self.deviation is None:
            return value
        z = mp.mpf(x) / self.deviation
        return value * mp.exp(-z * z / 2) / (mp.sqrt(2 * mp.pi) * self.deviation)

    def halves(self) -> tuple[_Panel, _Panel]:
        middle = (self.low + self.high) / 2
        return replace(self, high=middle), replace(self, low=middle)

    def from_end(self, side: int) -> Callable[[Real], Real]:
        """Return what is integrated as a function of the distance from the lower or the upper end."""
        mp = arithmetic(_DIGITS_BESIDE)
        end = mp.mpf(self.high if side > 0 else self.low)
        return lambda distance: self(end - side * mp.mpf(distance), _DIGITS_BESIDE)


def _panels(partition: Partition, order: int, points: list[Real], bound: Real) -> Iterator[_Panel]:
    """Yield a derivative between neighbours of the points within bounds, as one smooth function each."""
    for low, high in pairwise(sorted({x for x in points if abs(x) <= bound})):
        piece = next((piece for piece in partition.pieces if piece.low < (low + high) / 2 < piece.high), None)
        if piece is not None:  # else the two are one point with different digits
            yield _Panel(piece.derivative(order), low, high)


def _integral(panels: list[_Panel], unit: Real) -> Real:
    """Return the sum of integrals of functions, each between two points; NaN if it does not converge.

    The unit is what is large for these functions: mpmath's error estimates are never above 1.
    """
    mp = arithmetic(_DIGITS)
    if not all(_integrable(panel.from_end(side), panel.width) for panel in panels for side in (-1, 1)):
        return mp.nan

    def gauss(panel: _Panel) -> tuple[_Panel, Real, Real]:
        ends = [mp.mpf(panel.low), mp.mpf(panel.high)]
        return panel, *mp.quad(lambda x: panel(x) / unit, ends, method="gauss-legendre", maxdegree=5, error=True)

    parts = list(map(gauss, panels))
    for halvings in range(9):
        size = sum(abs(value) for _, value, _ in parts)
        rough = [panel for panel, _, error in parts if not error <= 1e-22 * min(size, 100) + 1e-33 / unit]
        if not rough or len(rough) > 1000 or halvings == 8:
            break
        halves = [half for panel in rough for half in panel.halves()]
        parts = [part for part in parts if part[0] not in rough] + list(map(gauss, halves))
    if len(rough) > 20:
        return mp.nan
    # What is still rough has a singularity, at an end because formulas are cut there.
    beside = [(half.from_end(side), half.width) for panel in rough for half, side in zip(panel.halves(), (-1, 1), strict=True)]
    if not all(_integrable(function, width) for function, width in beside):
        return mp.nan
    ends = sum(mp.quad(lambda distance, f=f: mp.mpf(f(distance)) / unit, [0, width], maxdegree=7) for f, width in beside)
    total = sum(value for panel, value, _ in parts if panel not in rough) + ends
    return total * unit if not abs(total) <= 1e-20 * size else mp.mpf(0)


def _integrable(function: Callable[[Real], Real], width: Real) -> bool:
    """Whether a function of the distance from an end grows more slowly than 1/x towards it."""
    near, nearer = (abs(function(width * step)) * step for step in (1e-10, 1e-20))
    return bool(nearer <= near / 2)
