"""Curves as lines of text: arrays in, strings out.

A cell of braille holds 2 x 4 dots, so that 40 cells draw 80 points side by side. Where a terminal has no Unicode, a
cell of ASCII holds one point above another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Alphabet:
    """The characters to draw with.

    Attributes
    ----------
    dots : tuple of tuple of int
        The bit of each dot of a cell, by row and column.
    cells : str
        The character of each set of bits.
    mark, vertical, horizontal, crossing : str
        A marked point, and the lines x = 0 and y = 0.
    frame, y_tick, corner, floor, x_tick : str
        The axes at the left and at the bottom.
    """

    dots: tuple[tuple[int, ...], ...]
    cells: str
    mark: str
    vertical: str
    horizontal: str
    crossing: str
    frame: str
    y_tick: str
    corner: str
    floor: str
    x_tick: str


BRAILLE = Alphabet(
    dots=((0, 3), (1, 4), (2, 5), (6, 7)),  # as Unicode numbers them
    cells=" " + "".join(map(chr, range(0x2801, 0x2900))),
    mark="●",
    vertical="┊",
    horizontal="┈",
    crossing="┼",
    frame="│",
    y_tick="┤",
    corner="└",
    floor="─",
    x_tick="┬",
)
ASCII = Alphabet(
    dots=((0,), (1,)),
    cells=" '.:",
    mark="o",
    vertical="|",
    horizontal="-",
    crossing="+",
    frame="|",
    y_tick="+",
    corner="+",
    floor="-",
    x_tick="+",
)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from an interval: multiples of 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> from nonlin.charts.terminal import ticks
    >>> ticks(-0.3, 4.1, 6)
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= most)
    return [step * k + 0.0 for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """Spell ticks, all with the decimals that the finest one needs.

    Examples
    --------
    >>> from nonlin.charts.terminal import labels
    >>> labels([-0.5, 0.0, 1.0])
    ['-0.5', '0.0', '1.0']
    """
    if max(map(abs, values), default=0) >= 1e5:
        return [f"{value:g}" for value in values]
    decimals = max((len(f"{value:.6g}".partition(".")[2]) for value in values if "e" not in f"{value:.6g}"), default=0)
    return [f"{value:.{decimals}f}" for value in values]


def sample(
    function: Callable[[Floats], Any], low: float, high: float, *, count: int = 1000, breaks: Iterable[float] = ()
) -> tuple[Floats, Floats]:
    """Evaluate a function on an interval, with a gap (NaN) wherever it may jump.

    Parameters
    ----------
    function : callable
        Of an array.
    low, high : float
    count : int
    breaks : iterable of float
        Where it may jump: the values there are left out, those beside it are taken from very near.

    Examples
    --------
    >>> import numpy as np
    >>> from nonlin.charts.terminal import sample
    >>> x, y = sample(np.sign, -1, 1, count=4, breaks=[0.0])
    >>> print(y)
    [-1. -1. -1. nan  1.  1.  1.]
    """
    inside = sorted({float(b) for b in breaks if low < b < high})
    near = (high - low) * 1e-9
    x = np.linspace(low, high, count)
    for b in inside:
        x = np.append(x[np.abs(x - b) >= near], [b - near, b, b + near])
    x.sort()
    y = np.array(function(x), np.float64)
    y[np.isin(x, inside)] = np.nan
    return x, y


def draw(
    x: ArrayLike,
    y: ArrayLike,
    *,
    width: int = 80,
    height: int = 16,
    title: str = "",
    marks: Iterable[tuple[float, float]] = (),
    alphabet: Alphabet = BRAILLE,
) -> list[str]:
    """Draw a curve with its axes.

    Parameters
    ----------
    x, y : array_like
        Points of the curve, in the order in which a line connects them. NaN is a gap.
    width, height : int
        Of the drawing in characters; the height without the title and the two lines of the axis of x.
    title : str
    marks : iterable of (float, float)
        Points to make visible.
    alphabet : Alphabet
        ``BRAILLE`` or ``ASCII``.

    Returns
    -------
    list of str
        Lines, each as long as the width says.

    Raises
    ------
    ValueError
        If no point is finite, or the width is too small for the axes.

    Examples
    --------
    >>> from nonlin.charts.terminal import ASCII, draw
    >>> for line in draw([-2, 0, 2], [0, 0, 2], width=24, height=5, title="relu", alphabet=ASCII):
    ...     print(line.rstrip())
       relu
    2 +          |        .'
      |          |     ..'
      |          |    :
      |          | .''
    0 +...........'---------
      ++---------+---------+
      -2         0         2
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        raise ValueError("there is no finite point to draw")
    (left, right), (bottom, top) = _span(x[finite], 0.0), _span(y[finite], 0.02)
    y_ticks = ticks(bottom, top, max(2, height // 3))
    y_labels = labels(y_ticks)
    margin = max(map(len, y_labels), default=0) + 2
    columns = width - margin
    if columns < 8:
        raise ValueError(f"a drawing needs at least {margin + 8} characters of width, got {width}")
    dots = (height * len(alphabet.dots), columns * len(alphabet.dots[0]))
    across = (x - left) / (right - left) * (dots[1] - 1)
    down = (top - y) / (top - bottom) * (dots[0] - 1)

    def cell(value: float, low: float, high: float, number: int, count: int) -> int:
        return int(round((value - low) / (high - low) * (number - 1)) * count // number)

    def column(value: float) -> int:
        return cell(value, left, right, dots[1], columns)

    def row(value: float) -> int:
        return cell(value, top, bottom, dots[0], height)

    lines = _characters(_rasterized(across, down, dots), alphabet)
    if left <= 0 <= right:
        _underlay(lines, ((i, column(0.0)) for i in range(height)), alphabet.vertical)
    if bottom <= 0 <= top:
        _underlay(lines, ((row(0.0), j) for j in range(columns)), alphabet.horizontal, alphabet.vertical, alphabet.crossing)
    for mark_x, mark_y in marks:
        if left <= mark_x <= right and bottom <= mark_y <= top:
            lines[row(mark_y)][column(mark_x)] = alphabet.mark

    at_row = {row(tick): label for tick, label in zip(y_ticks, y_labels, strict=True)}
    drawn = [
        f"{at_row.get(i, ''):>{margin - 2}} {alphabet.y_tick if i in at_row else alphabet.frame}{''.join(line)}"
        for i, line in enumerate(lines)
    ]
    x_ticks = ticks(left, right, max(2, columns // 7))
    floor, below = [alphabet.floor] * columns, [" "] * (columns + margin)
    for tick, label in zip(x_ticks, labels(x_ticks), strict=True):
        floor[column(tick)] = alphabet.x_tick
        start = min(max(margin + column(tick) - (len(label) - 1) // 2 - label.startswith("-"), 0), width - len(label))
        below[start : start + len(label)] = label
    drawn += [" " * (margin - 1) + alphabet.corner + "".join(floor), "".join(below)]
    head = [(" " * margin + title)[:width].ljust(width)] if title else []
    return head + drawn


def beside(left: Sequence[str], right: Sequence[str], gap: int = 2) -> list[str]:
    """Put two drawings next to each other.

    Examples
    --------
    >>> from nonlin.charts.terminal import beside
    >>> beside(["ab", "cd"], ["e"])
    ['ab  e', 'cd   ']
    """
    widths = [max(map(len, lines), default=0) for lines in (left, right)]
    pairs = zip_longest(left, right, fillvalue="")
    return [f"{a:<{widths[0]}}{'':{gap}}{b:<{widths[1]}}" for a, b in pairs]


def _span(values: Floats, padding: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # a constant is drawn in the middle
        return low - 1, high + 1
    return low - padding * (high - low), high + padding * (high - low)


def _rasterized(across: Floats, down: Floats, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the dots that the line through some points hits."""
    hit = np.zeros(shape, np.bool_)
    points = np.column_stack([down, across])
    finite = np.isfinite(across) & np.isfinite(down)
    joined = [
        np.linspace(a, b, int(np.abs(b - a).max()) + 2)
        for (a, b), both in zip(pairwise(points), finite[1:] & finite[:-1], strict=True)
        if both
    ]
    i, j = np.rint(np.concatenate([points[finite], *joined])).astype(int).T
    hit[i, j] = True
    return hit


def _characters(hit: NDArray[np.bool_], alphabet: Alphabet) -> list[list[str]]:
    rows, columns = len(alphabet.dots), len(alphabet.dots[0])
    bits = sum(hit[i::rows, j::columns].astype(int) << alphabet.dots[i][j] for i in range(rows) for j in range(columns))
    return [[alphabet.cells[b] for b in line] for line in np.asarray(bits)]


def _underlay(
    lines: list[list[str]], places: Iterable[tuple[int, int]], character: str, crossed: str = "", crossing: str = ""
) -> None:
    """Draw a line where there is nothing yet."""
    for i, j in places:
        if lines[i][j] == crossed:
            lines[i][j] = crossing
        elif lines[i][j] == " ":
            lines[i][j] = character
