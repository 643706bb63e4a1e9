"""What the answers are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Real: TypeAlias = Any
"""An mpmath number: mpmath has no types."""


UNKNOWN = "unknown"


class SearchEndedError(Exception):
    """What is looked for cannot be told; the message says why."""


class UnknownFactError(ValueError):
    """A fact that was not found; the message says which and why."""


def short(value: Real) -> str:
    """Spell a number with six digits."""
    return f"{float(value):.6g}"


@dataclass(frozen=True)
class Interval:
    """An interval of the real line; an infinite end is open."""

    low: Real
    high: Real
    low_closed: bool = False
    high_closed: bool = False

    @property
    def nearest(self) -> Real:
        """The point nearest to zero, or one inside next to an open end that is."""
        if self.low < 0 < self.high:
            return type(self.low)(0)
        end, closed, inwards = (self.low, self.low_closed, 1) if self.low >= 0 else (self.high, self.high_closed, -1)
        return end if closed else end + inwards * min(self.high - self.low, 2) / 2

    def __str__(self) -> str:
        return f"{'(['[self.low_closed]}{short(self.low)}, {short(self.high)}{')]'[self.high_closed]}"


@dataclass(frozen=True)
class Places:
    """Where on the real line something holds: at points, and on intervals.

    Attributes
    ----------
    points : tuple of mpf
        With 40 digits: ``mpmath.nstr(point, 30)`` shows more than ``float(point)`` keeps.
    intervals : tuple of Interval
    endless : bool
        Whether there are infinitely many points, of which the ones around zero are listed.
    """

    points: tuple[Real, ...] = ()
    intervals: tuple[Interval, ...] = ()
    endless: bool = False

    def __bool__(self) -> bool:
        return bool(self.points or self.intervals or self.endless)

    def __str__(self) -> str:
        points = sorted(sorted(self.points, key=abs)[:3]) if self.endless else self.points
        parts = [*map(str, self.intervals), *map(short, points)] or ["nowhere"]
        return ", ".join(parts) + (", ... (infinitely many)" if self.endless else "")


@dataclass(frozen=True)
class Bound:
    """A least upper or greatest lower bound.

    Attributes
    ----------
    value : mpf
        With 40 digits; may be infinite.
    where : Places
        Where it is attained.
    approached : tuple of mpf
        Where it is only approached: infinite ends, and jumps.
    """

    value: Real
    where: Places
    approached: tuple[Real, ...]

    @property
    def attained(self) -> bool:
        """Whether the function takes this value anywhere."""
        return bool(self.where)

    @property
    def x(self) -> Real:
        """The place nearest to zero where it is attained, or else approached; inside, for an interval that is open there."""
        return min((*self.where.points, *(i.nearest for i in self.where.intervals)) or self.approached, key=abs)

    def __str__(self) -> str:
        where = f"at {self.where}" if self.attained else f"approached at {', '.join(map(short, self.approached))}"
        return f"{short(self.value)} {where}"


@dataclass(frozen=True)
class Range:
    """The smallest interval with all values of the function."""

    infimum: float
    supremum: float
    infimum_attained: bool
    supremum_attained: bool

    def __str__(self) -> str:
        return str(Interval(self.infimum, self.supremum, self.infimum_attained, self.supremum_attained))


@dataclass(frozen=True)
class Limits:
    """Limits at -inf and at +inf; None where there is none."""

    left: float | None
    right: float | None

    def __str__(self) -> str:
        left, right = ("none" if limit is None else short(limit) for limit in (self.left, self.right))
        return f"{left} at -inf, {right} at inf"


@dataclass(frozen=True)
class Kink:
    """A point where the function or one of its derivatives jumps.

    Attributes
    ----------
    x : mpf
    order : int
        Of the lowest derivative that jumps: 0 for the value, 1 for the slope.
    left, right : mpf
        Its limits from both sides; NaN where there is none.
    """

    x: Real
    order: int
    left: Real
    right: Real

    def __str__(self) -> str:
        what = ("value", "slope", "second derivative", "third derivative")
        name = what[self.order] if self.order < len(what) else f"derivative of order {self.order}"
        if self.left != self.left or self.right != self.right:
            return f"{name} has no limit at {short(self.x)}"
        if self.left == self.right:
            return f"{name} is not its limit {short(self.left)} at {short(self.x)}"
        return f"{name} jumps from {short(self.left)} to {short(self.right)} at {short(self.x)}"


def words(fact: Any) -> str:
    """Say a fact."""
    if fact is None or fact == ():
        return "none"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, tuple) and isinstance(fact[0], bool):
        return " and ".join(end for end, holds in zip(("at -inf", "at inf"), fact, strict=True) if holds) or "no"
    return "; ".join(map(str, fact)) if isinstance(fact, tuple) else str(fact)
