"""Charts as SVG, drawn here and styled by the page's CSS: no script, no address, dark and light alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise

WIDTH = 440  # small enough that its text can be read on a phone, which shows it in full width
_ROW = 26
_LEFT = 104
_CHARACTER = 7.0  # width of a character, about


def _svg(height: float, title: str, *parts: str, width: float = WIDTH) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" class="{kind}"/>'


def _label(name: str, most: int = 14) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers between two numbers.

    Examples
    --------
    >>> ticks(0.93, 0.98)
    [0.93, 0.94, 0.95, 0.96, 0.97, 0.98]
    """
    span = high - low
    if not span > 0:
        return [low]
    raw = span / about
    power = 10 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * power - raw))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """A horizontal scale from values to places."""

    def __init__(self, values: Sequence[float], left: float, right: float) -> None:
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        margin = 0.04 * (high - low) or max(abs(high), 1e-3) * 0.05
        self.low, self.high = low - margin, high + margin
        self.left, self.right = left, right

    def __call__(self, value: float) -> float:
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.left + part * (self.right - self.left)

    def draw(self, top: float, bottom: float, write: Callable[[float], str]) -> str:
        parts = []
        for value in ticks(self.low, self.high):
            x = self(value)
            parts.append(_line(x, top, x, bottom, "grid") + _text(x, bottom + 16, write(value), anchor="middle", kind="tick"))
        return "".join(parts)


def dots(
    rows: Sequence[tuple[str, Sequence[float], tuple[float, float], bool]],
    write: Callable[[float], str],
    title: str,
    most: int = 6000,
) -> str:
    """Draw every run as a dot, with mean and interval.

    Parameters
    ----------
    rows : sequence of (name, scores, interval, leads)
    """
    height = _ROW * len(rows) + 34
    axis = _Axis([value for _, values, interval, _ in rows for value in (*values, *interval)], _LEFT, WIDTH - 12)
    parts = [axis.draw(4, height - 24, write)]
    every = max(1, math.ceil(sum(len(values) for _, values, _, _ in rows) / most))
    for number, (name, values, (low, high), leads) in enumerate(rows):
        y = _ROW * number + 17
        parts.append(_text(_LEFT - 10, y + 4, _label(name), anchor="end", kind="lead" if leads else ""))
        # Dots side by side rather than on top of one another: a fixed pattern, so that the same study draws the same page.
        places = "".join(
            f"M{axis(value):.1f} {y + 7 * math.sin(2.4 * i):.1f}h0" for i, value in enumerate(values) if i % every == 0
        )
        parts.append(f'<path d="{places}" class="dots{" on" if leads else ""}"/>')
        mean = sum(values) / len(values)
        parts.append(_line(axis(low), y, axis(high), y, "bar") + _line(axis(mean), y - 9, axis(mean), y + 9, "mean"))
    return _svg(height, title, *parts)


def forest(
    rows: Sequence[tuple[str, float, tuple[float, float], bool]],
    region: float,
    write: Callable[[float], str],
    title: str,
) -> str:
    """Draw differences with their intervals, and the region of practical equivalence."""
    height = _ROW * len(rows) + 34
    axis = _Axis([0, region, -region, *(v for _, _, interval, _ in rows for v in interval)], _LEFT, WIDTH - 12)
    left, right = axis(-region), axis(region)
    parts = [
        f'<rect x="{left:.1f}" y="2" width="{right - left:.1f}" height="{height - 26}" class="region"/>',
        axis.draw(4, height - 24, write),
        _line(axis(0), 2, axis(0), height - 24, "zero"),
    ]
    for number, (name, value, (low, high), leads) in enumerate(rows):
        y = _ROW * number + 17
        parts.append(_text(_LEFT - 10, y + 4, _label(name), anchor="end", kind="lead" if leads else ""))
        parts.append(_line(axis(low), y, axis(high), y, "whisker"))
        parts.append(f'<circle cx="{axis(value):.1f}" cy="{y}" r="4.5" class="point{" on" if leads else ""}"/>')
    return _svg(height, title, *parts)


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    marked: Sequence[int],
    write: Callable[[float], str],
    title: str,
) -> str:
    """Draw a table as a map: the better the darker; a frame around what was chosen most in each row."""
    width = (WIDTH - _LEFT - 6) / max(len(columns), 1)
    height = _ROW * len(rows) + 26
    finite = sorted(v for row in values for v in row if math.isfinite(v))
    # From the lower quartile: one value far below all others must not make them look the same.
    high = finite[-1] if finite else 1.0
    low = finite[len(finite) // 4] if finite else 0.0
    parts = [
        _text(_LEFT + width * (i + 0.5), 15, _label(name, max(4, int(width / _CHARACTER))), anchor="middle", kind="tick")
        for i, name in enumerate(columns)
    ]
    for number, name in enumerate(rows):
        y = 22 + _ROW * number
        parts.append(_text(_LEFT - 10, y + 17, _label(name), anchor="end"))
        for i, value in enumerate(values[number]):
            x = _LEFT + width * i
            share = 0.0 if not math.isfinite(value) else 1.0 if high <= low else min(max((value - low) / (high - low), 0), 1)
            frame = " chosen" if marked[number] == i else ""
            parts.append(
                f'<rect x="{x + 1.5:.1f}" y="{y + 1.5}" width="{width - 3:.1f}" height="{_ROW - 3}" rx="3" '
                f'class="cell{frame}" style="fill-opacity:{0.06 + 0.5 * share:.2f}"/>'
            )
            shown = write(value) if math.isfinite(value) else "failed"
            parts.append(_text(x + width / 2, y + 17, shown, anchor="middle", kind="number"))
    return _svg(height, title, *parts)


def lines(
    series: Mapping[str, Sequence[float]],
    title: str,
    across: str,
    write: Callable[[float], str],
    *,
    logarithmic: bool = False,
    start: int = 1,
    width: float = WIDTH,
    xs: Sequence[float] | None = None,
) -> str:
    """Draw a line for each name, named at its end."""
    height, top, bottom, left = 250.0, 12.0, 206.0, 58.0
    right = width - 104
    usable = {n: [v if math.isfinite(v) and (v > 0 or not logarithmic) else math.nan for v in vs] for n, vs in series.items()}
    finite = [v for vs in usable.values() for v in vs if math.isfinite(v)]
    if not finite:
        return ""
    place = (lambda v: math.log10(v)) if logarithmic else (lambda v: v)
    low, high = place(min(finite)), place(max(finite))
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1e-3)
    low, high = low - margin, high + margin
    count = max(len(vs) for vs in usable.values())
    positions = list(xs) if xs is not None else [float(start + i) for i in range(count)]
    first, last = positions[0], positions[-1]

    def x_of(i: int) -> float:
        return left + (positions[i] - first) / ((last - first) or 1) * (right - left)

    def y_of(value: float) -> float:
        return bottom - (place(value) - low) / (high - low) * (bottom - top)

    marks = ticks(low, high, 4)
    if logarithmic:
        whole = [10.0**e for e in range(math.ceil(low), math.floor(high) + 1)]
        every = max(1, math.ceil(len(whole) / 6))
        marks = whole[::every] if len(whole) > 1 else [10**mark for mark in marks]
    parts = []
    for mark in marks:
        parts.append(_line(left, y_of(mark), right, y_of(mark), "grid"))
        parts.append(_text(left - 6, y_of(mark) + 4, write(mark), anchor="end", kind="tick"))
    step = max(1, math.ceil(count / 8))
    parts += [_text(x_of(i), bottom + 16, f"{positions[i]:g}", anchor="middle", kind="tick") for i in range(0, count, step)]
    parts.append(_text((left + right) / 2, height - 10, across, anchor="middle", kind="tick"))
    ends = []
    for number, (name, values) in enumerate(usable.items()):
        points = [(x_of(i), y_of(v)) for i, v in enumerate(values) if math.isfinite(v)]
        if not points:
            continue
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="{path}" class="line c{number % 10}{" dash" if number >= 10 else ""}"/>')
        if count < 20:
            parts.append(f'<path d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)}" class="knot c{number % 10}"/>')
        ends.append((points[-1][1], points[-1][0], number, name))
    # Names must not lie on one another: each is moved below the one above it, then all up if they leave the drawing.
    ends.sort()
    ys = [y for y, *_ in ends]
    for above, below in pairwise(range(len(ys))):
        ys[below] = max(ys[below], ys[above] + 14.5)
    over = max(0.0, (ys[-1] if ys else 0) - bottom - 6)
    for i in reversed(range(len(ys))):
        ceiling = ys[i + 1] - 14.5 if i + 1 < len(ys) else ys[i] - over
        ys[i] = min(ys[i], ceiling)
    for y, (at, x, number, name) in zip(ys, ends, strict=True):
        parts.append(f'<path d="M{x + 4:.1f} {at:.1f}L{right + 10:.1f} {y:.1f}h6" class="leader c{number % 10}"/>')
        parts.append(_text(right + 19, y + 4, _label(name, 12), kind="tick"))
    return _svg(height, title, *parts, width=width)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    *,
    span: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, float]] = (),
) -> str:
    """Draw functions of one variable over the same stretch, with the axes where they are 0.

    Parameters
    ----------
    series : Mapping of str to (xs, ys)
        NaN and infinity are gaps.
    title : str
    span : (float, float), optional
        Of the values that are shown; by default all.
    marks : sequence of (x, y)
        Points to make visible.
    """
    height, left, right, top, bottom = 260.0, 44.0, WIDTH - 10.0, 10.0, 232.0
    across = [x for xs, _ in series.values() for x in xs]
    if span is None:
        finite = [y for _, ys in series.values() for y in ys if math.isfinite(y)]
        span = (min(finite, default=0.0), max(finite, default=0.0))
    margin = 0.05 * (span[1] - span[0]) or 1.0
    low, high = span[0] - margin, span[1] + margin

    def x_of(x: float) -> float:
        return left + (x - min(across)) / (max(across) - min(across)) * (right - left)

    def y_of(y: float) -> float:
        return bottom - (y - low) / (high - low) * (bottom - top)

    parts = []
    for x in ticks(min(across), max(across), 6):
        parts.append(_line(x_of(x), top, x_of(x), bottom, "grid" if x else "axis"))
        parts.append(_text(x_of(x), bottom + 17, f"{x:g}", anchor="middle", kind="tick"))
    for y in ticks(low, high, 5):
        parts.append(_line(left, y_of(y), right, y_of(y), "grid" if y else "axis"))
        parts.append(_text(left - 6, y_of(y) + 4, f"{y:g}", anchor="end", kind="tick"))
    for number, (xs, ys) in enumerate(series.values()):
        # What lies outside is left out, so that a line may end at the frame but not run along it.
        drawn = [(x_of(x), y_of(y)) if low <= y <= high else None for x, y in zip(xs, ys, strict=True)]
        path, down = "", False
        for point in drawn:
            if point is not None:
                path += f"{'L' if down else 'M'}{point[0]:.1f} {point[1]:.1f}"
            down = point is not None
        if path:
            parts.append(f'<path d="{path}" class="line c{number % 10}"/>')
    parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="4" class="point on"/>' for x, y in marks if low <= y <= high]
    return _svg(height, title, *parts)


def thumbnail(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Draw a function without labels, as large on both axes, for beside its name."""
    half = max(abs(xs[0]), abs(xs[-1]))
    width, height = 160.0, 100.0
    high = max((abs(y) for y in ys if math.isfinite(y)), default=1.0)
    high = min(max(high, 0.05 * half), half)

    def place(x: float, y: float) -> str:
        return f"{width / 2 * (1 + x / half):.1f} {height / 2 - 0.46 * height * y / high:.1f}"

    path, down = "", False
    for x, y in zip(xs, ys, strict=True):
        inside = abs(y) <= 1.05 * high
        path += f"{'L' if down else 'M'}{place(x, y)}" if inside else ""
        down = inside
    axes = _line(0, height / 2, width, height / 2, "axis") + _line(width / 2, 0, width / 2, height, "axis")
    return f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true">{axes}<path d="{path}" class="line c0"/></svg>'


def critical_difference(mean: Mapping[str, float], width_of_one: float, title: str) -> str:
    """Draw mean ranks on an axis; a bar joins those that differ by less than the critical difference."""
    names = sorted(mean, key=lambda name: mean[name])
    k = len(names)
    if k < 2:
        return ""
    left, right = 130.0, WIDTH - 130.0

    def x_of(rank: float) -> float:
        return left + (rank - 1) / (k - 1) * (right - left)

    cliques: list[tuple[int, int]] = []
    for i in range(k):
        j = max(j for j in range(i, k) if mean[names[j]] - mean[names[i]] <= width_of_one)
        if j > i and not any(a <= i and j <= b for a, b in cliques):
            cliques.append((i, j))
    axis_y = 44.0
    first_label = axis_y + 16 + 7 * len(cliques)
    half = (k + 1) // 2
    height = first_label + 18 * half + 4
    parts = [_line(left, axis_y, right, axis_y, "axis")]
    for rank in range(1, k + 1):
        parts.append(_line(x_of(rank), axis_y - 4, x_of(rank), axis_y, "axis"))
        parts.append(_text(x_of(rank), axis_y - 8, str(rank), anchor="middle", kind="tick"))
    if width_of_one < k - 1:
        end = left + width_of_one / (k - 1) * (right - left)
        parts.append(
            _line(left, 12, end, 12, "clique") + _text(end + 6, 16, f"critical difference {width_of_one:.2f}", kind="tick")
        )
    for number, (i, j) in enumerate(cliques):
        y = axis_y + 9 + 7 * number
        parts.append(_line(x_of(mean[names[i]]) - 3, y, x_of(mean[names[j]]) + 3, y, "clique"))
    for number, name in enumerate(names):
        on_left = number < half
        y = first_label + 18 * (number if on_left else k - 1 - number) + 8
        x = x_of(mean[name])
        end = left - 14 if on_left else right + 14
        parts.append(f'<path d="M{x:.1f} {axis_y}V{y:.1f}H{end:.1f}" class="stem"/>')
        shown = f"{_label(name, 12)} {mean[name]:.1f}"
        parts.append(_text(end + (-4 if on_left else 4), y + 4, shown, anchor="end" if on_left else "start"))
    return _svg(height, title, *parts)
