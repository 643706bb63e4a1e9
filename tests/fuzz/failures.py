"""Formulas that once failed, minimised: by cause, with the points at which they did."""

import math

from fuzz.cases import Case
from fuzz.formulas import Formula, read

INF = math.inf


def case(
    text: str, *at: float, kind: str = "float32", order: int = 0, wrt: str = "x", given: str = "", **parameters: str
) -> Case:
    """Make a case from text: parameters by name, as "default" or "default, bounds"; given ones as "a=1, b=2"."""
    declared = tuple((name, *map(str.strip, f"{value},".split(",")[:2])) for name, value in parameters.items())
    values = tuple(tuple(map(str.strip, part.split("="))) for part in given.split(",") if part)
    return Case(Formula(read(text), declared), kind, order, wrt, values, at=at)  # type: ignore[arg-type]


#: By name: the check that fails, and the case.
FAILURES: dict[str, tuple[str, Case]] = {
    # A rest that is NaN (0/0, inf - inf) was taken for -1/4.
    "rest of a root at 0": ("numbers", case("sigmoid(sqrt(absolute(x)))", 0.0)),
    "rest of a quotient at infinity": ("numbers", case("exp(1 / x)", INF, -INF)),
    "rest of a quotient at infinity, half": ("numbers", case("sigmoid(1 / nl.selu(x))", INF, kind="float16")),
    # A stable form was applied where its condition does not hold.
    "half_hypot_sum of a root": ("numbers", case("x + sqrt(x ** 2 + x)", -2.0, -1.5, 1.0)),
    # Simplification extended the domain.
    "square of a root": ("numbers", case("sqrt(x) ** 2", -1.0, 0.0, 2.0)),
    "smaller than what is no number": ("numbers", case("minimum(log(x), x)", -1.0, 0.5)),
    # Slopes at an edge of the domain, limits at infinity.
    "slope of x**1.5": ("numbers", case("x ** 1.5", 0.0, order=1)),
    "exp(x)/x": ("numbers", case("exp(x) / x", INF, -INF)),
    "slope of a maximum at infinity": ("numbers", case("maximum(x, 2 * x)", INF, -INF, order=1)),
    "log(x)/x": ("numbers", case("log(x) / x", INF)),
    "condition at infinity": ("numbers", case("where(x ** 2.5 <= x, 1, x)", INF)),
    # A root's argument rounded next to a function's turning point, and tails of rounded arguments.
    "cosine of a square": ("numbers", case("cos(x * x)", -91.96, kind="float64")),
    # A default parameter was rounded to 16 bits.
    "half of hard_sigmoid": (
        "numbers",
        case("minimum(maximum(a * x + 0.5, 0), 1)", -3.0, kind="float16", a="0.16666666666666666"),
    ),
}
