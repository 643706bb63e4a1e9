"""Bounds of a formula and of its derivatives, and where they are attained or approached."""

from __future__ import annotations

from nonlin.facts.evaluation import arithmetic, close, public, sign
from nonlin.facts.pieces import Partition, Piece
from nonlin.facts.records import Bound, Interval, Places, Real, SearchEndedError


def bounds_of(partition: Partition, order: int = 0, *, size: bool = False) -> tuple[Bound, Bound]:
    """Return the infimum and the supremum of a derivative, or of its size."""
    taken: list[tuple[Real, Real | Piece]] = [(partition.at(x, order), x) for x in partition.cuts if partition.is_defined(x)]
    neared: list[tuple[Real, Real]] = []
    for piece in partition.pieces:
        if piece.constant(order):
            taken.append((piece.at(piece.middle, order), piece))
            continue
        known = dict(piece.samples(order))
        taken += [(known[x], x) for x in piece.roots(order + 1)]
        neared += _around_breaks(piece, order)
        for side, point in ((-1, piece.low), (1, piece.high)):
            end = partition.end(piece, side, order)
            neared += [(value, point) for value in (end.low, end.high) if value is not None]
    taken = [(value, place) for value, place in taken if arithmetic().isfinite(value)]
    if size:
        taken = [(abs(value), place) for value, place in taken]
        neared = [(abs(value), point) for value, point in neared]
    # What is taken far out and not near zero is what waves reach in the end.
    infinity, far = arithmetic().inf, partition.is_far
    neared += [(value, x) for value, x in taken if not isinstance(x, Piece) and far(x)]
    neared = [(value, sign(x) * infinity if far(x) else x) for value, x in neared]
    values = [value for value, _ in (*taken, *neared)]
    if not values:
        raise SearchEndedError("it oscillates without end")
    # Next to a kink a value may be off by what counts as a tie.
    low, high = (best if abs(best) > 1e-39 else best * 0 for best in (min(values), max(values)))
    _check_oscillation(partition, order, size, low, high)
    return _bound(partition, low, taken, neared), _bound(partition, high, taken, neared)


def _around_breaks(piece: Piece, order: int) -> list[tuple[Real, Real]]:
    """Return what a derivative nears at poles and jumps inside a piece: of endless ones not each is a cut."""
    neared = []
    for x in {*piece.breaks(order), *piece.breaks(order + 1)}:
        for way in (1, -1):
            near, nearer = (piece.at(x + way * max(1, abs(x)) * step, order) for step in (1e-10, 1e-20))
            if arithmetic().isnan(nearer):
                continue
            is_pole = abs(nearer) > 1.5 * abs(near)
            neared.append((sign(nearer) * arithmetic().inf if is_pole else nearer, x))
    return neared


def _check_oscillation(partition: Partition, order: int, size: bool, low: Real, high: Real) -> None:
    """Refuse bounds that something may exceed where waves become too short to be followed.

    Raises
    ------
    SearchEndedError
    """
    for piece in partition.pieces:
        for side in (-1, 1):
            end = partition.end(piece, side, order) if piece.crowded and not piece.constant(order) else None
            if end is None or not end.seen:
                continue
            seen = tuple(map(abs, end.seen)) if size else end.seen
            if (end.low is None and min(seen) < low) or (end.high is None and max(seen) > high):
                raise SearchEndedError("it oscillates without end")


def _bound(partition: Partition, best: Real, taken: list[tuple[Real, Real | Piece]], neared: list[tuple[Real, Real]]) -> Bound:
    where = places(partition, [place for value, place in taken if close(value, best)])
    if where.points or where.intervals:
        return Bound(public(best), where, ())
    return Bound(public(best), Places(), tuple(map(public, sorted({x for v, x in neared if close(v, best)}))))


def places(partition: Partition, members: list[Real | Piece]) -> Places:
    """Join points and whole pieces."""
    points = sorted({m for m in members if not isinstance(m, Piece)})
    intervals: list[Interval] = []
    for piece in partition.pieces:
        if piece in members:
            joined = intervals.pop() if intervals and intervals[-1].high == piece.low in points else None
            low, low_closed = (joined.low, joined.low_closed) if joined else (piece.low, piece.low in points)
            intervals.append(Interval(low, piece.high, low_closed, piece.high in points))
    isolated = [x for x in points if not any(i.low <= x <= i.high for i in intervals)]
    near = [x for x in isolated if not partition.is_far(x)]
    # Endless cuts are made around zero only.
    at_cuts = partition.endless and sum(x in partition.cuts for x in near) > 2
    crowded = any(piece.crowded and piece.low < x < piece.high for piece in partition.pieces for x in near)
    return Places(
        tuple(map(public, near)),
        tuple(Interval(public(i.low), public(i.high), i.low_closed, i.high_closed) for i in intervals),
        endless=crowded or at_cuts or len(near) < len(isolated),
    )
