"""Facts: what can be computed about a function of x from its formula alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from itertools import combinations, pairwise
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from nonlin.facts.evaluation import Work, arithmetic, close, public, sign
from nonlin.facts.extremes import bounds_of, places
from nonlin.facts.moments import moment, period
from nonlin.facts.pieces import Partition, Piece
from nonlin.facts.records import (
    UNKNOWN,
    Bound,
    Kink,
    Limits,
    Places,
    Range,
    Real,
    SearchEndedError,
    UnknownFactError,
    words,
)
from nonlin.formula.expression import REMEMBERED, Expression, Symbol, symbols

T = TypeVar("T")

_HIGHEST_ORDER = 6  # a function whose derivatives up to this one are continuous counts as smooth
_MOST_OPERATIONS = 1_000_000
_lock = RLock()


class _Fact(cached_property[T]):
    """A property that is computed once, by one thread, and with a bound on how much is computed."""

    if not TYPE_CHECKING:  # the types are those of cached_property

        def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
            if instance is None:
                return self
            with instance._known(self.attrname):
                return super().__get__(instance, owner)


class Facts:
    """Properties of a function of x, computed from its formula when they are asked for. Made by :func:`facts_of`.

    Numbers are floats, correct to the last digits; places (``minimum.x``, ``zeros.points``) and bounds are numbers of
    mpmath with 40 digits, of which ``mpmath.nstr(x, 30)`` shows as many as wanted. Where the formula is not a real
    number, as outside the domain of a logarithm or a square root, it is left out of account.

    A fact that cannot be told (a limit is approached too slowly, waves have no end), or that takes more than a million
    operations to find, raises UnknownFactError.

    Examples
    --------
    >>> import nonlin as nl
    >>> print(nl.relu.facts.range, nl.relu.facts.zeros, nl.relu.facts.kinks[0], sep="; ")
    [0, inf); (-inf, 0]; slope jumps from 0 to 1 at 0
    >>> nl.gelu.facts.minimum.x
    mpf('-0.75179152469356446')
    """

    def __init__(self, formula: Expression) -> None:
        unknown = symbols(formula) - {"x"}
        if unknown:
            raise ValueError(f"facts need a number for {', '.join(sorted(unknown))} in {formula}")
        self.formula = formula
        self._work = Work(_MOST_OPERATIONS)

    # --- values -------------------------------------------------------------------------------------------------------

    @_Fact
    def range(self) -> Range:
        """The smallest interval with all values, closed where the bound is attained."""
        low, high = self._bounds
        return Range(float(low.value), float(high.value), low.attained, high.attained)

    @_Fact
    def minimum(self) -> Bound | None:
        """The smallest value and where it is taken; None if it is not."""
        return self._bounds[0] if self._bounds[0].attained else None

    @_Fact
    def maximum(self) -> Bound | None:
        """The largest value and where it is taken; None if it is not."""
        return self._bounds[1] if self._bounds[1].attained else None

    @_Fact
    def bounded(self) -> bool:
        """Whether all values lie between two numbers."""
        return math.isfinite(self.range.infimum) and math.isfinite(self.range.supremum)

    @_Fact
    def limits(self) -> Limits:
        """The limits at -inf and inf."""
        return self._limits(0)

    @_Fact
    def slope_limits(self) -> Limits:
        """The limits of the derivative at -inf and inf."""
        return self._limits(1)

    @_Fact
    def zeros(self) -> Places:
        """Where the value is zero."""
        partition = self._partition
        members: list[Real | Piece] = [x for x in partition.cuts if partition.at(x) == 0]
        for piece in partition.pieces:
            if not piece.constant():
                members += piece.roots()
            elif piece.at(piece.middle) == 0:
                members.append(piece)
        return places(partition, members)

    @_Fact
    def fixed_points(self) -> Places:
        """Where the value is x itself."""
        return facts_of(self.formula - Symbol("x")).zeros

    # --- shape --------------------------------------------------------------------------------------------------------

    @_Fact
    def monotone(self) -> str | None:
        """'increasing' or 'decreasing', 'strictly' so if no two values are equal, 'constant', or None."""
        partition = self._partition
        signs = {direction for piece in partition.pieces for direction in piece.signs(1)}
        strictly = not any(piece.constant() for piece in partition.pieces)
        for left, right in pairwise(partition.stations):
            if left.last is None or right.first is None:
                return None
            step = _step(left.last, right.first)
            signs |= {step} - {0}
            strictly = strictly and not (step == 0 and left.is_point and right.is_point)
        if not signs:
            return "constant"
        if len(signs) > 1:
            return None
        direction = {1: "increasing", -1: "decreasing"}[signs.pop()]
        return f"strictly {direction}" if strictly else direction

    @_Fact
    def convexity(self) -> str | None:
        """'convex', 'concave', 'linear' if it is both, or None if it is neither or its domain is no interval."""
        partition = self._partition
        if not self.continuous or any(left.high != right.low for left, right in pairwise(partition.stations)):
            return None
        if any(left.is_point == right.is_point for left, right in pairwise(partition.stations)):
            return None  # a point is missing
        signs = {direction for piece in partition.pieces for direction in piece.signs(2)}
        for joint in partition.joints:
            before, after = partition.sides(*joint, 1)
            signs |= {sign(after - before)} - {0}
        if len(signs) > 1:
            return None
        return {1: "convex", -1: "concave"}[signs.pop()] if signs else "linear"

    @_Fact
    def symmetry(self) -> str | None:
        """'odd' if f(-x) = -f(x), 'even' if f(-x) = f(x), or None."""
        partition = self._partition
        opposite = {x: next((cut for cut in partition.cuts if close(cut, -x)), -x) for x in partition.cuts}
        points = [*(arithmetic().mpf(x) / 8 for x in (0, 1, 3, 7, 13, 29, 61, 127, 1001))]
        points += [x for piece in partition.pieces for x in piece.some_points]
        opposite |= {x: -x for x in points}
        values = [(partition.at(x), partition.at(y)) for x, y in opposite.items()]
        pairs = [(a, b) for a, b in values if not math.isnan(a) or not math.isnan(b)]
        if all(close(a, b) for a, b in pairs):
            return "even"
        return "odd" if all(close(a, -b) for a, b in pairs) else None

    @_Fact
    def period(self) -> float | None:
        """The smallest P with f(x + P) = f(x), or None."""
        length = period(self._partition)
        return None if length is None else float(length)

    @_Fact
    def kinks(self) -> tuple[Kink, ...]:
        """Where the value or a derivative jumps, with the lowest one that does."""
        partition, found = self._partition, []
        for joint in partition.joints:
            x = joint[0].high
            for order in range(_HIGHEST_ORDER + 1):
                left, right = partition.sides(*joint, order)
                continuous = close(left, right) and (order > 0 or close(left, partition.at(x)))
                if not continuous or math.isinf(left):
                    found.append(Kink(public(x), order, public(left), public(right)))
                    break
        return tuple(found)

    @_Fact
    def smoothness(self) -> str:
        """'discontinuous', 'C0' if the value is continuous, 'C1' if the slope is too, and so on, or 'C-infinity'.

        Where the domain ends with a point that belongs to it, derivatives that are continuous have a finite limit there.
        """
        orders = [kink.order for kink in self.kinks]
        orders += [order for order in map(self._order_at_edge, self._partition.edges) if order is not None]
        order = min(orders, default=None)
        return "C-infinity" if order is None else f"C{order - 1}" if order else "discontinuous"

    def _order_at_edge(self, edge: tuple[Piece, int]) -> int | None:
        """Return the order of the lowest derivative that does not go on to the end of the domain."""
        partition, (piece, side) = self._partition, edge
        value = partition.at(piece.high if side > 0 else piece.low)
        for order in range(_HIGHEST_ORDER + 1):
            limit = partition.limit(piece, side, order) if order < 3 else piece.approached(side, order).limit
            if limit is None or math.isinf(limit) or (order == 0 and not close(limit, value)):
                return order
        return None

    @_Fact
    def continuous(self) -> bool:
        """Whether the value jumps nowhere."""
        return self.smoothness != "discontinuous"

    @_Fact
    def piecewise_linear(self) -> bool:
        """Whether the slope is constant between the kinks."""
        return all(piece.constant(1) for piece in self._partition.pieces)

    # --- slope --------------------------------------------------------------------------------------------------------

    @_Fact
    def steepest(self) -> Bound:
        """The supremum of the absolute slope, and where it is attained or approached."""
        return bounds_of(self._partition, 1, size=True)[1]

    @_Fact
    def lipschitz(self) -> float:
        """The Lipschitz constant: the largest absolute slope, inf if there is no largest one or the value jumps.

        Across a hole in the domain the value may change faster than the function does anywhere.
        """
        slopes = [self.steepest.value]
        for left, right in pairwise(self._partition.stations):
            if left.last is None or right.first is None:
                return math.inf
            if not close(left.last, right.first):
                width = right.low - left.high
                slopes.append(abs(right.first - left.last) / width if width else math.inf)
        return float(max(slopes))

    @_Fact
    def saturates(self) -> tuple[bool, bool]:
        """Whether the value levels off towards -inf and inf: it has a finite limit there, and the slope the limit 0."""
        limits, slopes = self.limits, self.slope_limits
        left, right = (
            value is not None and math.isfinite(value) and slope == 0
            for value, slope in ((limits.left, slopes.left), (limits.right, slopes.right))
        )
        return left, right

    def saturation(self, level: float = 0.05) -> tuple[float | None, float | None]:
        """Return where the function is saturated: beyond which x the slope stays small.

        Parameters
        ----------
        level : float
            What is small, as a part of the largest absolute slope; where that is unbounded, of the slope's root mean
            square for standard normal inputs.

        Returns
        -------
        tuple of float or None
            It is saturated below the first and above the second number; None for an end without saturation.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(*(round(x, 3) for x in nl.tanh.facts.saturation()))
        -2.178 2.178
        """
        steepest = float(self.steepest.value)
        small = level * (steepest if math.isfinite(steepest) else math.sqrt(self.slope_second_moment))
        if math.isnan(small):
            return None, None
        saturates = self.saturates
        with self._known("saturation"):
            left, right = (self._outermost(side, small) if saturates[side > 0] else None for side in (-1, 1))
        return left, right

    @_Fact
    def derivative_from_output(self) -> bool:
        """Whether the value alone tells the slope: no two points share the value but not the slope."""
        partition = self._partition
        levels = [(partition.at(x), partition.at(x, 1)) for x in partition.cuts if partition.is_defined(x)]
        stretches = []  # with a slope where it is constant: what is steep in the same way may share values
        for piece in partition.pieces:
            if piece.constant():
                levels.append((piece.at(piece.middle), 0))
                continue
            ends = [partition.limit(piece, side) for side in (-1, 1)]
            if None in ends:
                return False
            slope = piece.at(piece.middle, 1) if piece.constant(1) else None
            if piece.breaks(0) or piece.breaks(1):
                return False
            values = [ends[0], *(piece.at(x) for x in piece.roots(1)), ends[1]]
            stretches += [(min(pair), max(pair), slope) for pair in pairwise(values)]
        for (low, high, slope), (low_2, high_2, slope_2) in combinations(stretches, 2):
            if _below(max(low, low_2), min(high, high_2)) and (slope is None or slope != slope_2):
                return False
        for value, level_slope in levels:
            if any(_below(low, value) and _below(value, high) and slope != level_slope for low, high, slope in stretches):
                return False
        return not any(close(a, b) and not close(slope, other) for (a, slope), (b, other) in combinations(levels, 2))

    # --- under a standard normal --------------------------------------------------------------------------------------

    def moment(self, power: int = 2, order: int = 0, scale: float = 1.0) -> float:
        """Return the mean of a power of the value, or of a derivative, for normal inputs.

        Parameters
        ----------
        power : int
        order : int
            Of the derivative; 0 for the value. Jumps of a derivative's antiderivative count for nothing.
        scale : float
            Standard deviation of the input.

        Returns
        -------
        float
            NaN if the mean does not exist, or if waves are too short to integrate over them one by one.

        Examples
        --------
        >>> import nonlin as nl
        >>> nl.relu.facts.moment(2)
        0.5
        """
        with self._known("moment"):
            return float(moment(self._partition, power, order, scale))

    @_Fact
    def mean(self) -> float:
        """The mean for standard normal inputs."""
        return float(self._moments[0])

    @_Fact
    def second_moment(self) -> float:
        """The mean square for standard normal inputs."""
        return float(self._moments[1])

    @_Fact
    def variance(self) -> float:
        """The variance for standard normal inputs."""
        mean, square = self._moments
        variance = square - mean**2
        return 0.0 if abs(variance) <= 1e-25 * square else float(variance)

    @_Fact
    def gain(self) -> float:
        """What to multiply weights by so that the mean square of a layer's outputs stays 1: 1/sqrt(second_moment)."""
        return _inverse_root(self.second_moment)

    @_Fact
    def centred_gain(self) -> float:
        """What to multiply weights by so that the variance of a layer's outputs stays 1: 1/sqrt(variance)."""
        return _inverse_root(self.variance)

    @_Fact
    def slope_mean(self) -> float:
        """The mean of the slope for standard normal inputs."""
        return self.moment(1, 1)

    @_Fact
    def slope_second_moment(self) -> float:
        """The mean square of the slope for standard normal inputs: how much of a gradient's square comes through."""
        return self.moment(2, 1)

    # --- all of them --------------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return every fact by its name; one that is not known is the string ``"unknown"``."""
        return {name: self._told(name) for name, fact in vars(Facts).items() if isinstance(fact, _Fact)}

    def _told(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except UnknownFactError:
            return UNKNOWN

    def table(self, *names: str) -> dict[str, str]:
        """Return every fact, or those of some names, in words."""
        facts = {name: self._told(name) for name in names} if names else self.as_dict()
        return {name.replace("_", " "): words(fact) for name, fact in facts.items()}

    def __repr__(self) -> str:
        return "\n".join([f"facts of {self.formula}", *(f"  {name:<22} {fact}" for name, fact in self.table().items())])

    # --- how they are found -------------------------------------------------------------------------------------------

    @contextmanager
    def _known(self, name: str) -> Iterator[None]:
        """Find a fact, or say that it is unknown. One thread does: mpmath keeps its precision where all threads see it."""
        with _lock, self._work.counted():
            try:
                yield
            except SearchEndedError as error:
                raise UnknownFactError(f"the {name.replace('_', ' ')} of {self.formula} is unknown: {error}") from error

    @cached_property
    def _partition(self) -> Partition:
        return Partition(self.formula)

    def _limits(self, order: int) -> Limits:
        first, last = self._partition.pieces[0], self._partition.pieces[-1]
        ends = ((first, first.low, -1), (last, last.high, 1))
        limits = [self._partition.limit(piece, side, order) if math.isinf(point) else None for piece, point, side in ends]
        left, right = (None if limit is None else float(limit) for limit in limits)
        return Limits(left, right)

    @cached_property
    def _bounds(self) -> tuple[Bound, Bound]:
        return bounds_of(self._partition)

    @cached_property
    def _moments(self) -> tuple[Real, Real]:
        return moment(self._partition, 1, 0, 1), moment(self._partition, 2, 0, 1)

    def _outermost(self, side: int, small: float) -> float:
        """Return the point on a side beyond which the slope is small; the other end if it is small everywhere."""
        for piece in self._partition.pieces[::-side]:
            ends = [(x, self._partition.limit(piece, s, 1)) for x, s in ((piece.low, -1), (piece.high, 1))]
            outer = side * math.inf
            for x, slope in [ends[0], *piece.samples(1), ends[1]][::-side]:
                if slope is not None and abs(slope) > small:
                    # At the end of a piece the slope jumps.
                    return float(x if math.isinf(outer) else piece.slope_falls_to(small, *sorted((x, outer))))
                outer = x
        return -side * math.inf


def _step(before: Real, after: Real) -> int:
    """Return the direction of a step, 0 if there is none."""
    return 0 if close(before, after) else sign(after - before)


def _below(a: Real, b: Real) -> bool:
    return bool(a < b and not close(a, b))


def _inverse_root(square: float) -> float:
    return 1 / math.sqrt(square) if square else math.inf


@lru_cache(maxsize=REMEMBERED)
def facts_of(formula: Expression) -> Facts:
    """Return the facts of a function of x.

    Parameters
    ----------
    formula : Expression
        Its only symbol is x: parameters are substituted.

    Returns
    -------
    Facts
        Each fact is computed when it is asked for the first time.

    Raises
    ------
    ImportError
        If mpmath is not installed.
    ValueError
        If the formula has other symbols than x.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp
    >>> from nonlin.facts import facts_of
    >>> x = Symbol("x")
    >>> print(facts_of(x * exp(-x)).maximum)
    0.367879 at 1
    """
    try:
        import mpmath  # noqa: F401
    except ImportError as error:
        raise ImportError('facts are computed with mpmath: pip install "nonlin[cli]"') from error
    return Facts(formula)
