"""The slope of a function from its output, by a table: what backward needs where only the output was kept.

Between its turns and kinks a function can be inverted, so its slope is a function of its output y. As such it may go with the
root of y (beside a turn) or with y*log(y) (where an exponential tail ends), but always beside one of the ends of such a piece,
so the table is even in the logarithm of the distance from the nearer end: 64 parabolas for each power of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.arithmetic.lowering import interpret, lower
from nonlin.arithmetic.machine import exponent, fma, larger, lookup, rint, significand, smaller
from nonlin.arithmetic.number import PLAIN_DOUBLE
from nonlin.formula import primitives as p
from nonlin.formula.calculus import simplest
from nonlin.formula.expression import Application, Constant, Expression, Symbol, as_expression, postorder, symbols

Array: TypeAlias = npt.NDArray[np.float64]
Ufunc: TypeAlias = Callable[..., Any]

#: Parabolas for each power of two.
CELLS = 64
#: The powers of two from the smallest distance on, and below the largest, at which outputs of float32 lie.
_NEAREST, _FARTHEST = -30, 40
#: All distances are taken to be within these.
RANGE = 2.0**_NEAREST, 2.0**_FARTHEST - 2.0**20
_FAR = 1e15


@dataclass(frozen=True)
class Half:
    """One side of an end of a piece: outputs whose nearer end it is."""

    anchor: float
    up_to: float
    """The largest output that belongs to it."""
    offset: int
    """What to add to 64 times the logarithm of the distance to get the number of a cell."""
    at_anchor: float
    """The slope where the output is that end."""


@dataclass
class SlopeTable:
    """The slope of a function of one array as a function of its output.

    Between its breaks the function must rise or fall throughout; only their outputs are looked at.

    Parameters
    ----------
    value, slope : callable
        The function and its derivative, of float64 arrays.
    breaks : sequence of float
        In increasing order the x at which the function turns, or its slope jumps or bends.
    turn : float, optional
        The one of them at which the function turns. A condition then says on which side of it x was.

    Raises
    ------
    ValueError
        If the function rises to one break and falls to another one, is constant, or its slope has no bounds.
    """

    value: Ufunc
    slope: Ufunc
    breaks: Sequence[float]
    turn: float | None = None
    coefficients: npt.NDArray[np.float32] = field(init=False)
    """A row for each of the parabolas' coefficients, the constant first; a column for each cell."""
    branches: list[list[Half]] = field(init=False)
    """Left of the turn and right of it; one if there is no turn. In increasing order of outputs."""

    def __post_init__(self) -> None:
        cells: list[Array] = []
        ends = [-np.inf, *self.breaks, np.inf]
        if len(ends) == 2 and np.isinf(self.value(np.array(ends))).all():
            ends[1:1] = [0.0]  # something to measure distances from: where the slope of an odd function may vanish
        if self.turn is None:
            self.branches = [self._branch(ends, cells)]
        else:
            self.branches = [
                self._branch([x for x in ends if x <= self.turn], cells),
                self._branch([x for x in ends if x >= self.turn], cells),
            ]
        self.coefficients = np.concatenate(cells, axis=1).astype(np.float32)
        if not np.isfinite(self.coefficients).all():
            raise ValueError("the slope has no bounds")

    # --- making the table ---------------------------------------------------------------------------------------------

    def _branch(self, ends: Sequence[float], cells: list[Array]) -> list[Half]:
        """Tabulate a stretch on which the function rises or falls throughout; its cells come after those that are there."""
        with np.errstate(all="ignore"):
            y = self.value(np.array(ends))
            inside = [(np.clip(a, -_FAR, _FAR) + np.clip(b, -_FAR, _FAR)) / 2 for a, b in pairwise(ends)]
            flat = [y[k] == y[k + 1] == self.value(np.float64(x)) for k, x in enumerate(inside)]
            slopes = self.slope(np.array(ends))
        at_anchor = [
            0.0 if any(flat[max(k - 1, 0) : k + 1]) or ends[k] == self.turn else float(slope) for k, slope in enumerate(slopes)
        ]
        if not ((y[:-1] <= y[1:]).all() or (y[:-1] >= y[1:]).all()):
            raise ValueError("the function does not rise or fall throughout")
        halves: list[Half] = []
        for k, piece in enumerate(pairwise(ends)):
            if not flat[k]:
                halves += self._piece(piece, (float(y[k]), float(y[k + 1])), at_anchor[k : k + 2], cells)
        if not halves:
            raise ValueError("the function is constant")
        return sorted(halves, key=lambda half: half.up_to)

    def _piece(
        self, x: tuple[float, float], y: tuple[float, float], at_ends: Sequence[float], cells: list[Array]
    ) -> Iterator[Half]:
        """Tabulate the function between two ends."""
        finite = np.isfinite(y)
        if not finite.any():
            raise ValueError("a piece has no end")
        middle = sum(y) / 2 if finite.all() else np.nan
        for near, far, slope in ((0, 1, at_ends[0]), (1, 0, at_ends[1])):
            if not finite[near]:
                continue
            anchor, rises = y[near], y[near] < y[far]
            extent = abs(middle - anchor) if finite.all() else 2.0**_FARTHEST
            # The first power of two beyond all distances.
            last = min(max(int(np.frexp(extent)[1]), _NEAREST + 1), _FARTHEST)
            offset = sum(part.shape[1] for part in cells) - _NEAREST * CELLS
            cells.append(self._tabulate(x, y, anchor, 1 if rises else -1, last))
            yield Half(anchor, (middle if finite.all() else np.inf) if rises else anchor, offset, slope)

    def _tabulate(self, x: tuple[float, float], y: tuple[float, float], anchor: float, sign: int, last: int) -> Array:
        """Return the parabolas for outputs at distances below ``2**last`` from one end."""
        positions = np.arange((last - _NEAREST) * 2 * CELLS + 1)  # the ends of cells, and their middles
        powers, places = np.divmod(positions, 2 * CELLS)
        distance = np.ldexp(1 + places / (2 * CELLS), powers + _NEAREST)
        slopes = self.slope(self._inverse(np.clip(anchor + sign * distance, min(y), max(y)), x, rising=y[0] < y[1]))
        first, middle, second = slopes[:-1:2], slopes[1::2], slopes[2::2]
        with np.errstate(invalid="ignore"):  # slopes without bounds are found out in the end
            bend = 2 * (first - 2 * middle + second)
            return np.stack([first, second - first - bend, bend])

    def _inverse(self, y: Array, between: tuple[float, float], *, rising: bool) -> Array:
        """Return where the function has some values, by bisection."""
        # In a variable that resolves large x and small x alike.
        low, high = (np.full(y.shape, np.arcsinh(np.clip(end, -_FAR, _FAR))) for end in between)
        for _ in range(50):
            middle = (low + high) / 2
            below = (self.value(np.sinh(middle)) < y) == rising
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(np.clip(np.sinh((low + high) / 2), *between))

    # --- using it ------------------------------------------------------------------------------------------------------

    def operations(self) -> Expression:
        """Return the slope as machine operations.

        Their symbols are ``y``, ``table`` for the coefficients, and ``bits`` if the function turns: 1 right of the turn.
        """
        y = Symbol("y")
        anchor = self._chosen(y, lambda half: _single(half.anchor))
        rest = self._chosen(y, lambda half: half.anchor - _single(half.anchor))
        offset = self._chosen(y, lambda half: half.offset)
        at_anchor = self._chosen(y, lambda half: half.at_anchor)
        distance = p.absolute((y - anchor) - rest)
        # Held where there are cells, whatever the output is, and also if it is NaN: there is other memory beside the table.
        held = smaller(larger(distance, as_expression(RANGE[0])), as_expression(RANGE[1]))
        position = fma(significand(held), Constant(Fraction(CELLS)), Constant(Fraction(-CELLS)))
        whole = rint(position - Fraction(1, 2))
        count = self.coefficients.shape[1]
        cell = smaller(fma(exponent(held), Constant(Fraction(CELLS)), whole) + offset, Constant(Fraction(count - 1)))
        u, table = position - whole, Symbol("table")
        first, second, third = (lookup(table, cell + k * count) for k in range(3))
        slope = p.where(distance > 0, fma(fma(third, u, second), u, first), at_anchor)
        return p.where(p.absolute(y) >= 0, slope, y)

    def _chosen(self, y: Expression, of: Callable[[Half], float]) -> Expression:
        """Return a property of the half that an output belongs to."""
        chosen = []
        for branch in self.branches:
            *others, last = branch
            result = as_expression(of(last))
            for half in reversed(others):
                value = as_expression(of(half))
                result = result if value == result else p.where(y <= half.up_to, value, result)
            chosen.append(result)
        right = chosen[-1]
        return right if chosen[0] == right else p.where(Symbol("bits") > 0, right, chosen[0])


def _single(number: float) -> float:
    return float(np.float32(number))


def find_breaks(formula: Expression, x: Array) -> list[float]:
    """Return where a formula of ``x`` changes its branch, in increasing order.

    Parameters
    ----------
    formula : Expression
        In canonical form.
    x : ndarray
        Increasing points between any two of which a branch changes once at most.
    """
    exact: set[float] = set()
    found: set[float] = set()
    for node in postorder(formula):
        if not isinstance(node, Application) or not symbols(node):
            continue
        if node.primitive in (p.less, p.less_equal, p.greater, p.greater_equal, p.maximum, p.minimum):
            a, b = node.arguments
        elif node.primitive in (p.absolute, p.sign):
            a, b = node.arguments[0], Constant(Fraction(0))
        else:
            continue
        if isinstance(a, Symbol) and isinstance(b, Constant):
            exact.add(float(b.value))
        else:
            found.update(_sign_changes(lower(simplest(a - b), PLAIN_DOUBLE, {}), x))
    # One that is found by search may be another one again, nearly.
    breaks = sorted(exact)
    for point in sorted(found):
        if not any(abs(point - known) <= 1e-12 * max(1, abs(known)) for known in breaks):
            breaks.append(point)
    return sorted(breaks)


def _sign_changes(operations: Expression, x: Array) -> Iterator[float]:
    def signs(x: Array) -> Any:
        return np.sign(np.broadcast_to(interpret(operations, "float64", {"x": x}), x.shape))

    first = signs(x)
    for k in np.flatnonzero(first[1:] != first[:-1]):
        low, high = x[k], x[k + 1]
        for _ in range(6):  # each time a thousandth
            points = np.linspace(low, high, 1001)
            inside = signs(points)
            change = int(np.argmax(inside != inside[0]))
            low, high = points[change - 1], points[change]
        yield float(high) if abs(high) > 1e-14 else 0.0
