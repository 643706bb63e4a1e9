"""Drawings: what is where, in characters."""

from collections.abc import Sequence

import numpy as np
import pytest

from nonlin.charts.terminal import ASCII, BRAILLE, Alphabet, beside, draw, labels, sample, ticks

over_alphabets = pytest.mark.parametrize("alphabet", [BRAILLE, ASCII], ids=["braille", "ascii"])
LINE = [-1.0, 1.0]


def is_curve(character: str, alphabet: Alphabet) -> bool:
    return character in alphabet.cells and character != " "


@over_alphabets
@pytest.mark.parametrize(("width", "height"), [(20, 4), (37, 9), (80, 16), (141, 30)])
def test_every_line_is_as_wide_as_asked(width: int, height: int, alphabet: Alphabet) -> None:
    lines = draw(LINE, LINE, width=width, height=height, title="a title", marks=[(0, 0)], alphabet=alphabet)
    assert [len(line) for line in lines] == [width] * (height + 3)
    assert len(draw(LINE, LINE, width=width, height=height, alphabet=alphabet)) == height + 2


def test_braille_dots_are_where_unicode_has_them() -> None:
    lines = draw([1, 1, 2, 2], [1, 2, np.nan, 1], width=13, height=1)
    assert lines[0].endswith("⡇        ⢀")  # a column of dots, and a point alone
    assert draw([1, 2], [1, 2], width=11, height=1)[0][3:] == "⣀⡠⠤⠤⠖⠒⠊⠉"


def test_ascii_holds_two_points_in_a_cell() -> None:
    lines = draw([0, 1, 1], [0, 0, 1], width=12, height=2, alphabet=ASCII)
    assert lines[0][-1] == ":"
    assert lines[1][-8:] == ".......:"


def test_a_kink_and_its_mark_are_where_they_belong() -> None:
    x = np.linspace(-4, 4, 200)
    lines = draw(x, np.maximum(x, 0), width=40, height=8, marks=[(0, 0), (9, 9)])
    (row,) = [i for i, line in enumerate(lines) if "●" in line]
    assert row == 7
    assert lines[row].index("●") == lines[row + 1].index("┬", 15)  # above the tick at 0
    assert "0" in lines[row + 2][lines[row].index("●") - 1 : lines[row].index("●") + 2]


@over_alphabets
def test_a_gap_stays_open(alphabet: Alphabet) -> None:
    x, y = sample(np.sign, -1, 1, breaks=[0.0])
    lines = draw(x, y, width=40, height=11, marks=[(0.0, 0.0)], alphabet=alphabet)[:-2]
    rows = [i for i, line in enumerate(lines) if any(is_curve(c, alphabet) for c in line[6:])]
    assert rows == [0, 10]
    assert alphabet.mark in lines[5]


def test_the_lines_of_zero_are_under_the_curve_and_cross() -> None:
    lines = draw(LINE, [-5.0, -5.0], width=30, height=5)  # a constant is drawn in the middle
    assert sum("┊" in line for line in lines) == 4
    lines = draw(LINE, [-1.0, 1.0], width=31, height=5, alphabet=ASCII)
    assert "+" not in lines[2][6:].replace("-", "")  # the curve itself goes through the crossing
    assert draw([1, 2], [1, 2], width=30, height=5)[0].count("┊") == 0  # zero is not in the picture


def test_what_is_not_finite_is_left_out() -> None:
    lines = draw([0, 1, 2, 3], [0, np.inf, np.nan, 1], width=30, height=5)
    assert len(lines) == 7
    with pytest.raises(ValueError, match=r"^there is no finite point to draw$"):
        draw([0, 1], [np.nan, np.inf])


def test_too_narrow_is_said() -> None:
    with pytest.raises(ValueError, match=r"^a drawing needs at least 14 characters of width, got 10$"):
        draw(LINE, LINE, width=10)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (-4, 4, 4, [-4, -2, 0, 2, 4]),
        (-0.17, 4.0, 5, [0, 1, 2, 3, 4]),
        (0, 1, 2, [0, 0.5, 1]),
        (1000, 5000, 4, [1000, 2000, 3000, 4000, 5000]),
        (-1e-3, 1e-3, 4, [-1e-3, -5e-4, 0, 5e-4, 1e-3]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, expected: Sequence[float]) -> None:
    assert ticks(low, high, most) == pytest.approx(expected)


def test_labels_have_the_decimals_they_need() -> None:
    assert labels([0.0, 0.25]) == ["0.00", "0.25"]
    assert labels([-1.0, 2.0]) == ["-1", "2"]
    assert labels([0.0, 2e5]) == ["0", "200000"]
    assert labels([0.0, 1e9]) == ["0", "1e+09"]
    assert labels([]) == []


def test_samples_come_close_to_a_jump_from_both_sides() -> None:
    x, y = sample(lambda x: np.where(x > 1, 5.0, x), -2, 2, breaks=[1.0, 7.0])
    gap = int(np.flatnonzero(np.isnan(y))[0])
    assert np.isnan(y).sum() == 1
    assert x[gap] == 1
    assert y[gap - 1] == pytest.approx(1)
    assert y[gap + 1] == 5
    assert (np.diff(x) > 0).all()


def test_drawings_side_by_side_may_differ_in_height() -> None:
    assert beside(["abc"], ["d", "ef"], gap=1) == ["abc d ", "    ef"]
    assert beside([], ["a"], gap=1) == [" a"]
