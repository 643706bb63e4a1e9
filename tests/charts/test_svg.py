"""Charts as SVG: well formed, whatever the numbers."""

import math
from xml.etree import ElementTree

from nonlin.charts import svg


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((0, 1), (-3.7, 12.2), (0.961, 0.9702), (5, 5)):
        found = svg.ticks(low, high)
        assert found
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
        assert len(found) <= 11


def test_charts_survive_odd_values() -> None:
    nan = math.nan
    for drawing in (
        svg.lines({"a": [1.0, nan, 0.0], "b": [nan, nan, nan]}, "t", "x", str, logarithmic=True),
        svg.lines({f"name{i}": [1.0, 1.0] for i in range(12)}, "t", "x", str),
        svg.dots([("a", [0.5], (0.5, 0.5), True)], str, "t"),
        svg.forest([("a", 0.0, (0.0, 0.0), True)], 0.0, str, "t"),
        svg.heat(["a"], ["1"], [[nan]], [0], str, "t"),
        svg.curves({"a": ([-1.0, 0.0, 1.0], [nan, math.inf, nan]), "b": ([-1.0, 1.0], [2.0, 2.0])}, "t", marks=[(0.0, 2.0)]),
        svg.critical_difference({"a": 1.0, "b": 2.0}, 9.0, "t"),
    ):
        assert "nan" not in drawing.replace("name", "")
        assert "inf" not in drawing
        ElementTree.fromstring(drawing)
    assert svg.lines({"a": [nan]}, "t", "x", str) == ""


def test_a_curve_ends_at_the_frame() -> None:
    drawing = svg.curves({"f": ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 9.0, 1.0])}, "t", span=(0.0, 2.0))
    assert drawing.count('class="line') == 1
    assert drawing.partition('class="line')[0].rpartition('d="')[2].count("M") == 2
