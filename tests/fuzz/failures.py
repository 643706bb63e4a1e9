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
    # Sines of rounded arguments, in float64 and next to an edge of the domain.
    "slope of the sine of a square": ("numbers", case("sin(x * x)", -187.8819370751959, kind="float64", order=1)),
    "sine with a frequency": ("numbers", case("nl.sin(x, omega=30)", -158.62343094441775, kind="float64")),
    "cosine of a logarithm next to its pole": ("numbers", case("cos(log1p(nl.selu(x)))", -0.8411741256713867)),
    # NaN was passed over.
    "slope of the larger one outside the domain": ("numbers", case("maximum(sqrt(x), x)", -1.0, kind="float64", order=1)),
    "slope outside the domain at infinity": ("numbers", case("sqrt(nl.elu(x, alpha=3))", -INF, order=1)),
    # Limits at infinity.
    "slope of telu of a cube": ("numbers", case("nl.telu(x * x ** 2)", -INF, order=1)),
    "slope of a quotient": ("numbers", case("x / softplus(x ** 4)", INF, order=1)),
    "power times exponential": ("numbers", case("x ** -2 * exp(nl.tanh_shrink(x))", INF)),
    "power by a tail": ("numbers", case("x ** -2 / erfc(x)", INF)),
    # Inner results that are too large or too small.
    "reciprocal of a subnormal number": ("numbers", case("tanh(x) ** -1", 5e-324, kind="float64")),
    "cosine of a huge power": ("numbers", case("cos(x ** 1.5)", 2.3639153363965384e249, kind="float64")),
    "snake at the largest number": ("numbers", case("nl.snake(x, alpha=-2)", -1.7976931348623157e308, kind="float64")),
    # decimal's exception.
    "root of what folds to a negative number": ("numbers", case("(1 - where(pi < x, pi, pi)) ** 0.5", 0.5)),
    "slope of the identity at NaN": ("torch", case("x", math.nan, kind="float64", order=1)),
    "facts of log(1 + x)": ("facts", case("log(1 + x)")),
    "facts of a pole at 1": ("facts", case("1 / (x - 1)")),
    "facts of a half circle": ("facts", case("sqrt(1 - x ** 2)")),
    "facts of a choice in a sine": ("facts", case("sin(where(x <= a, a, b))", a="1", b="2")),
}
