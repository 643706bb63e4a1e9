"""Facts: what can be computed about a function of x from its formula alone.

The formula is cut into pieces where a condition in it switches, so that each piece is one smooth formula without
choices. The extremes, zeros and turning points of a piece are then roots of its derivatives, and what happens at a
cut is a comparison of two pieces. Numbers are mpmath's with 50 digits; roots are looked for on a grid that is dense
around zero and around the cuts and reaches from 1e-6 to 1e6, and between any two turning points. Where a formula has
waves, the grid follows these instead: a few of them around zero, and some far away that stand for all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import combinations, pairwise
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from nonlin.formula import primitives as p
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import REMEMBERED, Application, Expression, Symbol, as_expression, postorder, rebuild, symbols
from nonlin.formula.spelling import Reference

T = TypeVar("T")
Real: TypeAlias = Any
"""An mpmath number: mpmath has no types."""
_Panel: TypeAlias = tuple[Callable[[Real], Real], Real, Real]
"""A function and the two points between which it is integrated."""

_DIGITS = 50
_MANY_DIGITS = 100  # to tell a small number from a rounding error
_FAR_DIGITS = 650  # at 1e200, (x + sqrt(x^2 + 4))/2 cancels 400 digits
_MOMENT_DIGITS = 30
_HIGHEST_ORDER = 6  # a function whose derivatives up to this one are continuous counts as smooth

# --- what the answers are made of -------------------------------------------------------------------------------------


def _short(value: Real) -> str:
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
        return f"{'(['[self.low_closed]}{_short(self.low)}, {_short(self.high)}{')]'[self.high_closed]}"


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
        parts = [*map(str, self.intervals), *map(_short, points)] or ["nowhere"]
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
        where = f"at {self.where}" if self.attained else f"approached at {', '.join(map(_short, self.approached))}"
        return f"{_short(self.value)} {where}"


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
        left, right = ("none" if limit is None else _short(limit) for limit in (self.left, self.right))
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
        Its limits from both sides.
    """

    x: Real
    order: int
    left: Real
    right: Real

    def __str__(self) -> str:
        what = ("value", "slope", "second derivative", "third derivative")
        name = what[self.order] if self.order < len(what) else f"derivative of order {self.order}"
        if self.left == self.right:
            return f"{name} is not its limit {_short(self.left)} at {_short(self.x)}"
        return f"{name} jumps from {_short(self.left)} to {_short(self.right)} at {_short(self.x)}"


# --- numbers ----------------------------------------------------------------------------------------------------------


class _Arithmetic:
    """mpmath with a fixed number of digits, and without its trouble with double exponentials.

    mpmath has no overflow: exp(-exp(1e6)) takes as long as a million digits do. An argument beyond 10^1000 is as good
    as 10^1000 itself, as long as nothing oscillates.
    """

    def __init__(self, digits: int) -> None:
        import mpmath

        self._context = mpmath.mp.clone()
        self._context.dps = digits

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._context, name)
        guarded: Any = plain
        if name in ("exp", "expm1", "cosh", "sech", "tanh", "erf", "erfc"):
            # Without gmpy2, erfc fails from 10^154.
            most = self._context.mpf(10) ** (100 if name in ("erf", "erfc") else 1000)
            lowest, highest = plain(-most), plain(most)

            def guarded(a: Real) -> Real:
                return highest if a > most else lowest if a < -most else plain(a)

        elif name in ("sin", "cos"):
            most = self._context.mpf(10) ** 1000

            def guarded(a: Real) -> Real:
                return plain(a) if abs(a) < most else self._context.nan

        setattr(self, name, guarded)
        return guarded


_made = cache(_Arithmetic)


def _arithmetic(digits: int = _DIGITS) -> _Arithmetic:
    return _made(digits)


def _close(a: Real, b: Real) -> bool:
    return bool(a == b or abs(a - b) <= 1e-40 + 1e-30 * min(abs(a), abs(b)) < math.inf)


class _Program:
    """A formula of x, ready to be evaluated many times: what :class:`Reference` means, without its walk over the nodes.

    Outside the domain of a logarithm or a square root and at a pole the value is NaN.
    """

    def __init__(self, formula: Expression, digits: int) -> None:
        self.arithmetic = _arithmetic(digits)
        self.nodes = sorted(postorder(formula), key=lambda node: bool(symbols(node)))
        constant = Reference(self.arithmetic, {})
        self.start = [constant(node) for node in self.nodes if not symbols(node)]
        index = {node: i for i, node in enumerate(self.nodes)}
        self.steps = [
            (_tolerant(node.primitive), [index[a] for a in node.arguments]) if isinstance(node, Application) else None
            for node in self.nodes[len(self.start) :]
        ]
        self.result = index[formula]

    def values(self, x: Real) -> list[Any]:
        """Return the value of every node."""
        arithmetic, values = self.arithmetic, list(self.start)
        x = arithmetic.mpf(x)
        for step in self.steps:
            if step is None:
                values.append(x)
                continue
            reference, arguments = step
            try:
                value = reference(arithmetic, *[values[a] for a in arguments])
            except ZeroDivisionError:
                value = arithmetic.nan
            values.append(arithmetic.nan if isinstance(value, arithmetic.mpc) else value)
        return values

    def __call__(self, x: Real) -> Real:
        return self.values(x)[self.result]


def _tolerant(primitive: p.Primitive) -> Callable[..., Any]:
    """Return the meaning of a primitive; a comparison takes what differs by rounding errors only for equal.

    The tie at a kink decides about the derivative there, and not every kink is a number with finitely many digits.
    """
    if not primitive.is_condition or primitive in (p.logical_and, p.logical_or):
        return primitive.reference

    def compare(mp: Any, a: Real, b: Real) -> bool:
        return bool(primitive.reference(mp, b if abs(a - b) <= 1e-40 * max(1, abs(b)) else a, b))

    return compare


@lru_cache(maxsize=REMEMBERED)
def _program(formula: Expression, digits: int = _DIGITS) -> _Program:
    return _Program(formula, digits)


def _evaluate(formula: Expression, x: Real) -> Real:
    """Return the value at x, or 0 for what is nothing but rounding errors."""
    value = _program(formula)(x)
    if abs(value) < 1e-15:
        better = _program(formula, _MANY_DIGITS)(x)
        if not abs(value - better) <= 1e-3 * abs(better):
            return value * 0
    return value


def _root(function: Callable[[Real], Real], low: Real, high: Real) -> Real:
    """Return the root between two points at which the signs differ."""
    rising = function(high) > 0
    for _ in range(20):  # until a secant means something: in a tail one end may be a million digits below the other
        middle = (low + high) / 2
        low, high = (low, middle) if (function(middle) > 0) == rising else (middle, high)
    find = _arithmetic().findroot
    return find(function, (low, high), solver="anderson", tol=1e-47, maxsteps=200, verify=False)


def _roots(points: list[tuple[Real, Real]], function: Callable[[Real], Real]) -> list[Real]:
    """Return the roots among and between points, each given with its value, where the function does not stay zero."""
    found: list[Real] = []
    last: tuple[Real, Real] | None = None
    zeros: list[Real] = []
    for x, value in points:
        if value == 0:
            zeros.append(x)
        elif value == value:
            if last is not None and len(zeros) == 1:
                found += zeros
            elif last is not None and (last[1] > 0) != (value > 0):
                found.append(_root(function, last[0], x))
            last, zeros = (x, value), []
    return found


@lru_cache(maxsize=REMEMBERED)
def _approach(formula: Expression, point: Real, side: int) -> tuple[Real | None, Real | None]:
    """Return the limits inferior and superior of a formula on the way to a point, which may be infinite.

    Parameters
    ----------
    formula : Expression
    point : mpf
    side : int
        1 if the way leads upwards, -1 if it leads downwards.

    Returns
    -------
    tuple of mpf
        They differ where the function oscillates beyond all bounds; one is None where it oscillates otherwise.
    """
    program = _program(formula, _FAR_DIGITS)
    mp = program.arithmetic
    rounds = []
    for magnitude in (50, 100, 200):
        # Irrational, so that sin(pi*x) does not look like zero.
        steps = [mp.mpf(10) ** magnitude * mp.sqrt(k) for k in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)]
        values = [program(side * step if math.isinf(point) else point - side / step) for step in steps]
        if any(mp.isnan(value) for value in values):
            return None, None
        rounds.append((min(values), max(values)))
    near = _arithmetic()
    sizes = [max(abs(low), abs(high)) for low, high in rounds]
    # Logarithms, which change least, double or halve from one round to the next. Only a double exponential gets below
    # 10^-10000, and there its argument may have been replaced by a constant.
    if sizes[0] > 1.5 * sizes[1] > 1.5**2 * sizes[2] or sizes[2] < mp.mpf(10) ** -10000:
        return near.mpf(0), near.mpf(0)
    (low, high), before = rounds[-1], rounds[-2]
    if max(abs(high - low), abs(high - before[1]), abs(low - before[0])) <= 1e-15 * abs(low):
        return near.mpf(low) + 0, near.mpf(low) + 0
    ends = [_growth([r[i] for r in rounds]) for i in (0, 1)]
    return ends[0], ends[1]


def _growth(values: list[Real]) -> Real | None:
    """Return the infinity that three values on the way to a limit point at, or None."""
    for sign in (1, -1):
        first, second, third = (sign * value for value in values)
        if third > 1.5 * second > 0 and second > 1.5 * first:
            return sign * _arithmetic().inf
    return None


# --- pieces -----------------------------------------------------------------------------------------------------------

_CHOICES = (p.maximum, p.minimum, p.absolute, p.sign, p.softsign)


@lru_cache(maxsize=REMEMBERED)
def _with_choices(formula: Expression) -> Expression:
    """Spell everything that has a kink with ``where``."""

    def change(node: Expression) -> Expression:
        if isinstance(node, Application) and node.primitive in _CHOICES and node.primitive.portable is not None:
            return _with_choices(as_expression(node.primitive.portable(*node.arguments)))
        return node

    return rebuild(formula, change)


def _chosen(formula: Expression, x: Real) -> Expression:
    """Return the formula that holds around x, without choices."""
    program = _program(formula)
    truth = dict(zip(program.nodes, program.values(x), strict=True))
    done: dict[Expression, Expression] = {}

    def choose(node: Expression) -> Expression:
        if node not in done:
            if isinstance(node, Application) and node.primitive is p.where:
                condition, a, b = node.arguments
                done[node] = choose(a if truth[condition] else b)
            elif isinstance(node, Application):
                done[node] = node.primitive(*map(choose, node.arguments))
            else:
                done[node] = node
        return done[node]

    return choose(formula)


def _switches(formula: Expression) -> Iterator[Expression]:
    """Yield what is zero where a condition switches or the formula is singular; inner conditions first."""
    for node in postorder(formula):
        if isinstance(node, Application):
            arguments = node.arguments
            if node.is_condition and not arguments[0].is_condition:
                yield arguments[0] - arguments[1]
            elif node.primitive is p.divide:
                yield arguments[1]
            elif node.primitive in (p.sqrt, p.log):
                yield arguments[0]
            elif node.primitive is p.log1p:
                yield 1 + arguments[0]


@dataclass(frozen=True)
class _Waves:
    """The periods of sines and cosines in a formula; those whose argument is not linear count as waves of period 4."""

    shortest: Real
    longest: Real

    @property
    def window(self) -> Real:
        """How far from zero they are followed."""
        return 2.25 * self.longest


@lru_cache(maxsize=REMEMBERED)
def _waves(formula: Expression) -> _Waves | None:
    mp = _arithmetic()
    periods = []
    for node in postorder(formula):
        if isinstance(node, Application) and node.primitive in (p.sin, p.cos) and symbols(node):
            slope = differentiate(node.arguments[0])
            periods.append(mp.mpf(4) if symbols(slope) else 2 * mp.pi / abs(_program(slope)(0)))
    return _Waves(min(periods), max(periods)) if periods else None


@lru_cache(maxsize=REMEMBERED)
def _centres(formula: Expression) -> tuple[Real, ...]:
    """Return points around which something happens, to judge by what is written: 20 for tanh(x - 20)."""
    found = set()
    for node in postorder(formula):
        if isinstance(node, Application) and node.primitive in (p.add, p.subtract):
            slope = differentiate(node)
            if not symbols(slope) and _program(slope)(0) != 0:
                found.add(-_program(node)(0) / _program(slope)(0))
    return tuple(found)


@cache
def _steps(per_decade: int) -> tuple[Real, ...]:
    """Return numbers from 1e-6 to 1e6."""
    return tuple(_arithmetic().mpf(10) ** (j / per_decade) for j in range(-6 * per_decade, 6 * per_decade + 1))


def _grid(formula: Expression, low: Real, high: Real) -> list[Real]:
    """Return points inside an interval, dense where the formula does what is interesting."""
    mp, waves = _arithmetic(), _waves(formula)
    points = {mp.mpf(0), *(sign * step for step in _steps(16) for sign in (1, -1))}
    if waves is not None:
        points = {x for x in points if abs(x) < waves.window}
        spacing = waves.shortest / 48
        count = min(int(waves.window / spacing), 2000)
        points.update(spacing * k for k in range(-count, count + 1))
        far = max(mp.mpf(10) ** 6, 100 * waves.window)
        points.update(sign * (far + spacing * k) for k in range(min(count, 100)) for sign in (1, -1))
    centres = set(_centres(formula))
    if mp.isinf(high - low):
        centres |= {low, high} - {-mp.inf, mp.inf}
    else:
        points.update(low + (high - low) * k / 32 for k in range(1, 32))
    for centre in centres - {0}:
        points.update({centre, *(centre + sign * step for step in _steps(8) for sign in (1, -1))})
    return sorted(x for x in points if low < x < high)


class _Piece:
    """A formula without choices, and the open interval on which it holds."""

    def __init__(self, formula: Expression, low: Real, high: Real) -> None:
        self.low = low
        self.high = high
        self._grid = _grid(formula, low, high)
        self._formula = formula
        self._roots: dict[int, list[Real]] = {}
        self._samples: dict[int, list[tuple[Real, Real]]] = {}

    @property
    def middle(self) -> Real:
        """A point inside."""
        return self._grid[len(self._grid) // 2]

    def derivative(self, order: int) -> Expression:
        """Return the formula of a derivative."""
        return differentiate(self._formula, order=order)

    def at(self, x: Real, order: int = 0) -> Real:
        """Return the value of a derivative at x, which may be an end of the interval."""
        if order > 2:  # the formulas of high derivatives can become very long
            return _arithmetic().diff(_program(self.derivative(0)), x, order)
        return _evaluate(self.derivative(order), x)

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

    def signs(self, order: int) -> set[int]:
        """Return the signs that a derivative takes."""
        return {_sign(value) for _, value in self.samples(order)} - {0}

    def constant(self, order: int = 0) -> bool:
        """Whether a derivative is constant."""
        return all(value == 0 for _, value in self.samples(order + 1))

    def roots(self, order: int = 0) -> list[Real]:
        """Return the points inside where a derivative is zero, without staying so."""
        if order not in self._roots:
            self._roots[order] = self._find_roots(order)
        return self._roots[order]

    def _find_roots(self, order: int) -> list[Real]:
        if order < 2:
            slope = self.derivative(order + 1)
            if not symbols(slope):
                steepness = _program(slope)(0)
                root = -self.at(0, order) / steepness if steepness else self.low
                return [root] if self.low < root < self.high else []
        return _roots(self.samples(order), lambda x: self.at(x, order))

    def slope_falls_to(self, level: float, low: Real, high: Real) -> Real:
        """Return the point between two others where the absolute slope passes a level."""
        return _root(lambda x: abs(self.at(x, 1)) - level, low, high)


def _pieces(formula: Expression) -> list[_Piece]:
    """Cut a formula where one of its conditions switches; pieces on which it is not a real number are left out."""
    mp = _arithmetic()
    formula = _with_choices(canonical(formula))
    cuts, endless = [-mp.inf, mp.inf], False
    for switch in filter(symbols, _switches(formula)):
        gaps = [_Piece(switch, low, high) for low, high in pairwise(cuts)]
        found = [x for gap in gaps for x in _Piece(_chosen(switch, gap.middle), gap.low, gap.high).roots()]
        waves = _waves(switch)
        near = [x for x in found if waves is None or abs(x) <= waves.window]
        endless = endless or len(near) < len(found)
        cuts = sorted([*cuts, *(x for x in near if not any(_close(x, cut) for cut in cuts))])
    pieces = []
    for gap in [_Piece(formula, low, high) for low, high in pairwise(cuts)]:
        if not mp.isnan(_program(formula)(gap.middle)):
            # With endless cuts, of which those around zero are made, the choices stay in the outermost pieces.
            whole = endless and mp.isinf(gap.high - gap.low)
            pieces.append(gap if whole else _Piece(_chosen(formula, gap.middle), gap.low, gap.high))
    if not pieces:
        raise ValueError(f"{formula} is nowhere a real number")
    return pieces


# --- facts ------------------------------------------------------------------------------------------------------------


class _Fact(cached_property[T]):
    """A property that is computed once, and by one thread: mpmath keeps its precision where all threads see it."""

    lock = RLock()

    if not TYPE_CHECKING:  # the types are those of cached_property

        def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
            with self.lock:
                return super().__get__(instance, owner)


class Facts:
    """Properties of a function of x, computed from its formula when they are asked for. Made by :func:`facts_of`.

    Numbers are floats, correct to the last digits; places (``minimum.x``, ``zeros.points``) and bounds are numbers of
    mpmath with 40 digits, of which ``mpmath.nstr(x, 30)`` shows as many as wanted. Where the formula is not a real
    number, as outside the domain of a logarithm or a square root, it is left out of account.

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
        places: list[Real | _Piece] = [x for x in self._cuts if self._at(x) == 0]
        for piece in self._pieces:
            if not piece.constant():
                places += piece.roots()
            elif piece.at(piece.middle) == 0:
                places.append(piece)
        return self._places(places)

    @_Fact
    def fixed_points(self) -> Places:
        """Where the value is x itself."""
        return facts_of(self.formula - Symbol("x")).zeros

    # --- shape --------------------------------------------------------------------------------------------------------

    @_Fact
    def monotone(self) -> str | None:
        """'increasing' or 'decreasing', 'strictly' so if no two values are equal, 'constant', or None."""
        signs = {sign for piece in self._pieces for sign in piece.signs(1)}
        for left, right in self._joints:
            before, after = self._sides(left, right, 0)
            value = self._at(left.high)
            if math.isnan(value) or math.isnan(before) or math.isnan(after):
                return None
            signs |= {_sign(value - before), _sign(after - value)} - {0}
        if not signs:
            return "constant"
        if len(signs) > 1:
            return None
        direction = {1: "increasing", -1: "decreasing"}[signs.pop()]
        return direction if any(piece.constant() for piece in self._pieces) else f"strictly {direction}"

    @_Fact
    def convexity(self) -> str | None:
        """'convex', 'concave', 'linear' if it is both, or None if it is neither."""
        if not self.continuous:
            return None
        signs = {sign for piece in self._pieces for sign in piece.signs(2)}
        for joint in self._joints:
            before, after = self._sides(*joint, 1)
            signs |= {_sign(after - before)} - {0}
        if len(signs) > 1:
            return None
        return {1: "convex", -1: "concave"}[signs.pop()] if signs else "linear"

    @_Fact
    def symmetry(self) -> str | None:
        """'odd' if f(-x) = -f(x), 'even' if f(-x) = f(x), or None."""
        points = [*self._cuts, *(_arithmetic().mpf(x) / 8 for x in (0, 1, 3, 7, 13, 29, 61, 127, 1001))]
        pairs = [(a, b) for a, b in ((self._at(x), self._at(-x)) for x in points) if not math.isnan(a) or not math.isnan(b)]
        if all(_close(a, b) for a, b in pairs):
            return "even"
        return "odd" if all(_close(a, -b) for a, b in pairs) else None

    @_Fact
    def period(self) -> float | None:
        """The smallest P with f(x + P) = f(x), or None."""
        period = self._period(0)
        return None if period is None else float(period)

    @_Fact
    def kinks(self) -> tuple[Kink, ...]:
        """Where the value or a derivative jumps, with the lowest one that does."""
        found = []
        for joint in self._joints:
            x = joint[0].high
            for order in range(_HIGHEST_ORDER + 1):
                left, right = self._sides(*joint, order)
                continuous = _close(left, right) and (order > 0 or _close(left, self._at(x)))
                if not continuous or math.isinf(left):
                    found.append(Kink(_public(x), order, _public(left), _public(right)))
                    break
        return tuple(found)

    @_Fact
    def smoothness(self) -> str:
        """'discontinuous', 'C0' if the value is continuous, 'C1' if the slope is too, and so on, or 'C-infinity'."""
        order = min((kink.order for kink in self.kinks), default=None)
        return "C-infinity" if order is None else f"C{order - 1}" if order else "discontinuous"

    @_Fact
    def continuous(self) -> bool:
        """Whether the value jumps nowhere."""
        return self.smoothness != "discontinuous"

    @_Fact
    def piecewise_linear(self) -> bool:
        """Whether the slope is constant between the kinks."""
        return all(piece.constant(1) for piece in self._pieces)

    # --- slope --------------------------------------------------------------------------------------------------------

    @_Fact
    def steepest(self) -> Bound:
        """The supremum of the absolute slope, and where it is attained or approached."""
        return self._bounds_of(1, size=True)[1]

    @_Fact
    def lipschitz(self) -> float:
        """The Lipschitz constant: the largest absolute slope, inf if there is no largest one or the value jumps."""
        return float(self.steepest.value) if self.continuous else math.inf

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
        with _Fact.lock:
            left, right = (self._outermost(side, small) if self.saturates[side > 0] else None for side in (-1, 1))
        return left, right

    @_Fact
    def derivative_from_output(self) -> bool:
        """Whether the value alone tells the slope: no two points share the value but not the slope."""
        levels = [(self._at(x), self._at(x, 1)) for x in self._cuts]
        stretches = []  # with a slope where it is constant: what is steep in the same way may share values
        for piece in self._pieces:
            if piece.constant():
                levels.append((piece.at(piece.middle), 0))
                continue
            ends = [self._limit(piece, side) for side in (-1, 1)]
            if None in ends:
                return False
            slope = piece.at(piece.middle, 1) if piece.constant(1) else None
            values = [ends[0], *(piece.at(x) for x in piece.roots(1)), ends[1]]
            stretches += [(min(pair), max(pair), slope) for pair in pairwise(values)]
        for (low, high, slope), (low_2, high_2, slope_2) in combinations(stretches, 2):
            if _below(max(low, low_2), min(high, high_2)) and (slope is None or slope != slope_2):
                return False
        for value, level_slope in levels:
            if any(_below(low, value) and _below(value, high) and slope != level_slope for low, high, slope in stretches):
                return False
        return not any(_close(a, b) and not _close(slope, other) for (a, slope), (b, other) in combinations(levels, 2))

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
        with _Fact.lock:
            return float(self._moment(power, order, scale))

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
        """Return every fact by its name."""
        names = [name for name, fact in vars(Facts).items() if isinstance(fact, _Fact)]
        return {name: getattr(self, name) for name in names}

    def table(self, *names: str) -> dict[str, str]:
        """Return every fact, or those of some names, in words."""
        facts = {name: getattr(self, name) for name in names} if names else self.as_dict()
        return {name.replace("_", " "): _words(fact) for name, fact in facts.items()}

    def __repr__(self) -> str:
        return "\n".join([f"facts of {self.formula}", *(f"  {name:<22} {fact}" for name, fact in self.table().items())])

    # --- how they are found -------------------------------------------------------------------------------------------

    @cached_property
    def _pieces(self) -> list[_Piece]:
        return _pieces(self.formula)

    @cached_property
    def _cuts(self) -> list[Real]:
        return sorted({end for piece in self._pieces for end in (piece.low, piece.high) if not math.isinf(end)})

    @cached_property
    def _window(self) -> Real:
        """How far from zero places are told one by one."""
        waves = _waves(self.formula)
        return math.inf if waves is None else waves.window

    @cached_property
    def _bounds(self) -> tuple[Bound, Bound]:
        return self._bounds_of(0)

    def _at(self, x: Real, order: int = 0) -> Real:
        """Return the value of a derivative anywhere, at a kink by convention."""
        return _evaluate(_with_choices(differentiate(self.formula, order=order)), x)

    def _ends(self, piece: _Piece, side: int, order: int = 0) -> tuple[Real | None, Real | None]:
        """Return the limits inferior and superior at an end of a piece: -1 for the lower, 1 for the upper."""
        point = piece.high if side > 0 else piece.low
        value = _arithmetic().nan if math.isinf(point) else piece.at(point, order)
        return (value, value) if _arithmetic().isfinite(value) else _approach(piece.derivative(order), point, side)

    def _limit(self, piece: _Piece, side: int, order: int = 0) -> Real | None:
        low, high = self._ends(piece, side, order)
        return low if low == high else None

    def _limits(self, order: int) -> Limits:
        ends = ((self._pieces[0], self._pieces[0].low, -1), (self._pieces[-1], self._pieces[-1].high, 1))
        limits = [self._limit(piece, side, order) if math.isinf(point) else None for piece, point, side in ends]
        left, right = (None if limit is None else float(limit) for limit in limits)
        return Limits(left, right)

    @cached_property
    def _joints(self) -> list[tuple[_Piece, _Piece]]:
        """The pairs of pieces that meet."""
        return [(left, right) for left, right in pairwise(self._pieces) if left.high == right.low]

    def _sides(self, left: _Piece, right: _Piece, order: int) -> tuple[Real, Real]:
        """Return the limits of a derivative from both sides where two pieces meet, NaN for none."""
        before, after = self._limit(left, 1, order), self._limit(right, -1, order)
        return _arithmetic().nan if before is None else before, _arithmetic().nan if after is None else after

    def _bounds_of(self, order: int, *, size: bool = False) -> tuple[Bound, Bound]:
        """Return the infimum and the supremum of a derivative, or of its size."""
        taken: list[tuple[Real, Real | _Piece]] = [(self._at(x, order), x) for x in self._cuts]
        neared: list[tuple[Real, Real]] = []
        for piece in self._pieces:
            if piece.constant(order):
                taken.append((piece.at(piece.middle, order), piece))
                continue
            known = dict(piece.samples(order))
            taken += [(known[x], x) for x in piece.roots(order + 1)]
            for side, point in ((-1, piece.low), (1, piece.high)):
                neared += [(value, point) for value in self._ends(piece, side, order) if value is not None]
        taken = [(value, place) for value, place in taken if _arithmetic().isfinite(value)]
        if size:
            taken = [(abs(value), place) for value, place in taken]
            neared = [(abs(value), point) for value, point in neared]
        # What is taken far out and not near zero is what waves reach in the end.
        neared += [(v, _sign(x) * _arithmetic().inf) for v, x in taken if not isinstance(x, _Piece) and self._far(x)]
        values = [value for value, _ in (*taken, *neared)]
        # Next to a kink a value may be off by what counts as a tie.
        extremes = (best if abs(best) > 1e-39 else best * 0 for best in (min(values), max(values)))
        low, high = (self._bound(best, taken, neared) for best in extremes)
        return low, high

    def _bound(self, best: Real, taken: list[tuple[Real, Real | _Piece]], neared: list[tuple[Real, Real]]) -> Bound:
        where = self._places([place for value, place in taken if _close(value, best)])
        if where.points or where.intervals:
            return Bound(_public(best), where, ())
        return Bound(_public(best), Places(), tuple(map(_public, sorted({x for v, x in neared if _close(v, best)}))))

    def _far(self, x: Real) -> bool:
        return bool(abs(x) > self._window)

    def _places(self, members: list[Real | _Piece]) -> Places:
        """Join points and whole pieces."""
        points = sorted({m for m in members if not isinstance(m, _Piece)})
        intervals: list[Interval] = []
        for piece in self._pieces:
            if piece in members:
                joined = intervals.pop() if intervals and intervals[-1].high == piece.low in points else None
                low, low_closed = (joined.low, joined.low_closed) if joined else (piece.low, piece.low in points)
                intervals.append(Interval(low, piece.high, low_closed, piece.high in points))
        isolated = [x for x in points if not any(i.low <= x <= i.high for i in intervals)]
        return Places(
            tuple(_public(x) for x in isolated if not self._far(x)),
            tuple(Interval(_public(i.low), _public(i.high), i.low_closed, i.high_closed) for i in intervals),
            endless=any(map(self._far, isolated)),
        )

    def _outermost(self, side: int, small: float) -> float:
        """Return the point on a side beyond which the slope is small; the other end if it is small everywhere."""
        for piece in self._pieces[::-side]:
            ends = [(x, self._limit(piece, s, 1)) for x, s in ((piece.low, -1), (piece.high, 1))]
            outer = side * math.inf
            for x, slope in [ends[0], *piece.samples(1), ends[1]][::-side]:
                if slope is not None and abs(slope) > small:
                    # At the end of a piece the slope jumps.
                    return float(x if math.isinf(outer) else piece.slope_falls_to(small, *sorted((x, outer))))
                outer = x
        return -side * math.inf

    @cached_property
    def _moments(self) -> tuple[Real, Real]:
        return self._moment(1, 0, 1), self._moment(2, 0, 1)

    def _moment(self, power: int, order: int, scale: float) -> Real:
        mp = _arithmetic(_MOMENT_DIGITS)
        deviation = abs(mp.mpf(scale))
        if not deviation:
            return mp.mpf(self._at(0, order)) ** power
        ends = [-math.inf, *(end for piece in self._pieces for end in (piece.low, piece.high)), math.inf]
        if any(a != b for a, b in zip(ends[::2], ends[1::2], strict=True)):
            return mp.nan  # somewhere the formula is no real number
        waves = _waves(self.formula)
        if waves is not None and deviation > 100 * waves.shortest:
            return self._mean_over_period(power, order, deviation)
        known = [*self._cuts, *_centres(self.formula), *(sign * mp.mpf(10) ** k for k in range(-3, 7) for sign in (1, -1))]
        for width in (12, 24, 48, 96, 192):
            known += [deviation * z for z in (-width, -8, -4, -2, -1, 0, 1, 2, 4, 8, width)]
            panels = [
                (_density(value, deviation, power), low / deviation, high / deviation)
                for value, low, high in self._panels(order, known, width * deviation)
            ]
            sizes = [abs(f(a + (b - a) * mp.mpf(k) / 8)) for f, a, b in panels for k in (1, 3, 5, 7)]
            if max(sizes[0], sizes[-1]) <= 1e-25 * max(sizes) + 1e-40:
                return _integral(panels, max(sizes) or 1)
        return mp.nan

    def _mean_over_period(self, power: int, order: int, deviation: Real) -> Real:
        """Return the mean where a standard deviation is so many waves that all phases are equally probable."""
        period = self._period(order)
        if period is None or 2 * math.pi * deviation < 10 * period:
            return _arithmetic().nan
        points = [*self._cuts, *(period * k / 16 for k in range(-8, 9))]
        panels = [(_power(value, power), low, high) for value, low, high in self._panels(order, points, period / 2)]
        return _integral(panels, 1) / period

    def _panels(self, order: int, points: list[Real], bound: Real) -> Iterator[_Panel]:
        """Yield a derivative between neighbours of the points within bounds, as one smooth function each."""
        for low, high in pairwise(sorted({x for x in points if abs(x) <= bound})):
            piece = next(piece for piece in self._pieces if piece.low < (low + high) / 2 < piece.high)
            yield _program(piece.derivative(order), _MOMENT_DIGITS), low, high

    def _period(self, order: int) -> Real | None:
        waves = _waves(self.formula)
        if waves is not None:
            points = [_arithmetic().mpf(x) / 7 for x in (-31, -12, -3, 1, 5, 17, 40)]
            for period in (waves.longest * fraction for fraction in (0.5, 1, 2, 3, 4, 5, 6)):
                if all(_close(self._at(x, order), self._at(x + period, order)) for x in points):
                    return period
        return None


def _sign(value: Real) -> int:
    return int(value > 0) - int(value < 0)


def _below(a: Real, b: Real) -> bool:
    return bool(a < b and not _close(a, b))


def _inverse_root(square: float) -> float:
    return 1 / math.sqrt(square) if square else math.inf


def _density(function: Callable[[Real], Real], deviation: Real, power: int) -> Callable[[Real], Real]:
    """Return what to integrate for the mean of a power of a function of normal inputs."""
    mp = _arithmetic(_MOMENT_DIGITS)
    root = mp.sqrt(2 * mp.pi)
    return lambda z: function(deviation * z) ** power * mp.exp(-z * z / 2) / root


def _power(function: Callable[[Real], Real], power: int) -> Callable[[Real], Real]:
    return lambda x: function(x) ** power


def _integral(panels: list[_Panel], unit: Real) -> Real:
    """Return the sum of integrals of functions, each between two points; NaN if it does not converge.

    The unit is what is large for these functions: mpmath's error estimates are never above 1.
    """
    mp = _arithmetic(_MOMENT_DIGITS)

    def gauss(panel: _Panel) -> tuple[_Panel, Real, Real]:
        function, low, high = panel
        return panel, *mp.quad(lambda z: function(z) / unit, [low, high], method="gauss-legendre", maxdegree=5, error=True)

    parts = list(map(gauss, panels))
    for halvings in range(9):
        size = sum(abs(value) for _, value, _ in parts)
        rough = [panel for panel, _, error in parts if error > 1e-22 * min(size, 100) + 1e-33 / unit]
        if not rough or len(rough) > 1000 or halvings == 8:
            break
        halves = [half for f, a, b in rough for half in ((f, a, (a + b) / 2), (f, (a + b) / 2, b))]
        parts = [part for part in parts if part[0] not in rough] + list(map(gauss, halves))
    if len(rough) > 20:
        return mp.nan
    # What is still rough has a singularity, at an end because formulas are cut there.
    ends = [mp.quad(f, [a, b], maxdegree=7) / unit if _integrable(f, a, b) else mp.nan for f, a, b in rough]
    total = sum(value for panel, value, _ in parts if panel not in rough) + sum(ends)
    return total * unit if not abs(total) <= 1e-20 * size else mp.mpf(0)


def _integrable(function: Callable[[Real], Real], low: Real, high: Real) -> bool:
    """Whether a function grows more slowly than 1/x towards both ends of an interval."""
    for end, way in ((low, high - low), (high, low - high)):
        near, nearer = (abs(function(end + way * step)) * step for step in (1e-10, 1e-20))
        if not nearer <= near / 2:
            return False
    return True


def _public(value: Real) -> Real:
    """Return a number that belongs to mpmath's own context, with all its digits."""
    import mpmath

    return mpmath.mp.make_mpf(value._mpf_)


def _words(fact: Any) -> str:
    if fact is None or fact == ():
        return "none"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, tuple) and isinstance(fact[0], bool):
        return " and ".join(end for end, holds in zip(("at -inf", "at inf"), fact, strict=True) if holds) or "no"
    return "; ".join(map(str, fact)) if isinstance(fact, tuple) else str(fact)


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
    >>> from nonlin.formula.facts import facts_of
    >>> x = Symbol("x")
    >>> print(facts_of(x * exp(-x)).maximum)
    0.367879 at 1
    """
    try:
        import mpmath  # noqa: F401
    except ImportError as error:
        raise ImportError('facts are computed with mpmath: pip install "nonlin[cli]"') from error
    return Facts(formula)
