"""Machine operations: what a processor does with floating-point numbers, as primitives of the language.

The mathematics of a kernel is written with these and with the arithmetic, comparisons, ``where``, ``sqrt`` and ``absolute``
of formulas, every operation rounding once. Formulas themselves do not use them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nonlin.formula.expression import Application, Constant, Expression
from nonlin.formula.primitives import Primitive, greater, less, where

MACHINE: dict[str, Primitive] = {}


def _machine(name: str, arity: int, reference: Any, simplify: Any = None, doc: str = "") -> Primitive:
    MACHINE[name] = record = Primitive(name, arity, reference, rf"\mathrm{{{name}}}", simplify=simplify, doc=doc)
    return record


def _simplify_fma(a: Expression, b: Expression, c: Expression) -> Expression | None:
    for factor, other in ((a, b), (b, a)):
        if isinstance(factor, Constant):
            if factor.value == 0:
                return c
            if factor.value == 1:
                return other + c
    if isinstance(c, Constant) and c.value == 0:
        return a * b
    return None


fma = _machine("fma", 3, lambda mp, a, b, c: a * b + c, _simplify_fma, "a*b + c, rounded once.")
rint = _machine("rint", 1, lambda mp, a: mp.nint(a), doc="The nearest whole number, ties to even.")
scale = _machine(
    "scale",
    2,
    lambda mp, a, n: a * mp.mpf(2) ** int(n),
    lambda a, n: a if isinstance(n, Constant) and n.value == 0 else None,
    doc="""a * 2**n for a whole n held as a float, rounded once also where the result is subnormal.

    Zero when n is far below the exponent range, *whatever a is*: n then comes from an exponential, which outweighs even an
    infinite a (x*exp(x) at -inf).""",
)
#: 1.5 * 2**23 and 1.5 * 2**52: added to a number they leave it rounded to a whole one, in the low bits of the sum. The bias of
#: the exponent comes along, so that these bits are those of an exponent.
ROUNDERS = {"float32": Fraction(3 * 2**22 + 127), "float64": Fraction(3 * 2**51 + 1023)}
power_of_two = _machine(
    "power_of_two",
    1,
    lambda mp, a: mp.mpf(2) ** int(a - ROUNDERS["float64"]),
    doc="2**n, a normal number, from n + ROUNDERS[...].",
)
copy_sign = _machine("copy_sign", 2, lambda mp, a, b: -abs(a) if b < 0 else abs(a), doc="|a| with the sign of b.")
exponent = _machine(
    "exponent", 1, lambda mp, a: mp.mpf(mp.frexp(a)[1] - 1), doc="The whole n with 1 <= |a|/2**n < 2, for a normal a > 0."
)
significand = _machine("significand", 1, lambda mp, a: mp.frexp(a)[0] * 2, doc="a/2**exponent(a), for a normal a > 0.")
lookup = _machine("lookup", 2, lambda mp, table, a: table[int(a)], doc="The number at a whole place a of a table in memory.")
#: sine and cosine of arguments too large for the range reduction in vector code; the platform's own library then.
library_sin = _machine("library_sin", 3, lambda mp, a, b, c: mp.sin(a), doc="sin(a) where |a| > c, b elsewhere.")
library_cos = _machine("library_cos", 3, lambda mp, a, b, c: mp.cos(a), doc="cos(a) where |a| > c, b elsewhere.")


def larger(a: Expression, b: Expression) -> Expression:
    """The larger one, and ``b`` if either is NaN."""
    return where(greater(a, b), a, b)


def smaller(a: Expression, b: Expression) -> Expression:
    """The smaller one, and ``b`` if either is NaN."""
    return where(less(a, b), a, b)


def polynomial(x: Expression, coefficients: tuple[Fraction | float, ...]) -> Expression:
    """Evaluate a polynomial; the constant term comes first.

    Pairs of terms are summed apart, and then by Horner's scheme: a chain of half the length keeps a processor twice as busy.
    """
    if len(coefficients) < 4:
        return horner(x, coefficients)
    square = x * x
    pairs = [horner(x, coefficients[k : k + 2]) for k in range(0, len(coefficients), 2)]
    result = pairs.pop()
    while pairs:
        result = fma(result, square, pairs.pop())
    return result


def horner(x: Expression, coefficients: tuple[Fraction | float, ...]) -> Expression:
    """Evaluate a polynomial by Horner's scheme; the constant term comes first."""
    result: Expression = Constant(Fraction(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        result = fma(result, x, Constant(Fraction(coefficient)))
    return result


def is_constant(node: Expression, value: int) -> bool:
    """Whether the node is that number."""
    return isinstance(node, Constant) and node.value == value


def is_application(node: Expression, name: str) -> bool:
    """Whether the node applies the primitive of that name."""
    return isinstance(node, Application) and node.primitive.name == name
