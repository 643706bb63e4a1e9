"""Formulas as Python text, the way they are typed."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

from nonlin.formula.expression import Application, Expression
from nonlin.formula.primitives import Primitive
from nonlin.formula.written import Written, shared_parts

_DIGITS = Context(prec=17)


def decimal(value: Fraction) -> str:
    """Spell an exact number: as a decimal if it has a short one, as a quotient if that is shorter."""
    longest = max(value.numerator.bit_length(), value.denominator.bit_length())
    if value.denominator == 1 and longest <= 1024:
        return str(value.numerator)
    if longest > 1024:
        rounded = _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize()
        as_float = repr(float(rounded))
        return as_float if Decimal(as_float) == rounded else f"{rounded:e}"
    as_float = repr(float(value))
    if "e" not in as_float and Fraction(as_float) == value:
        return as_float
    quotient = f"{value.numerator}/{value.denominator}"
    return quotient if len(quotient) <= 12 else as_float


class Text(Written):
    """Formulas as they are typed."""

    language = "text"

    def symbol(self, name: str) -> tuple[str, int]:
        return name, 100

    def constant(self, value: Fraction) -> tuple[str, int]:
        spelled = decimal(value)
        return spelled, 15 if value < 0 else 20 if "/" in spelled else 100

    def written_out(self, primitive: Primitive, arguments: tuple[tuple[str, int], ...], node: Application) -> tuple[str, int]:
        operator, binds = primitive.symbol, primitive.precedence
        if operator is None:
            return (f"{primitive.name}({', '.join(a for a, _ in arguments)})" if arguments else primitive.name), 100
        if primitive.arity == 1:
            ((inner, inner_binds),) = arguments
            return operator + (inner if inner_binds >= binds else f"({inner})"), binds
        (left, left_binds), (right, right_binds) = arguments
        # Python reads equal operators from the left, and powers from the right.
        left = left if left_binds > binds or (left_binds == binds and operator != "**") else f"({left})"
        right = right if right_binds > binds else f"({right})"
        space = "" if operator in ("*", "/", "**") else " "
        return f"{left}{space}{operator}{space}{right}", binds

    def assigned(self, name: str, spelled: str, node: Application) -> tuple[str, str]:
        return name, f"{name} = {spelled}"


def text(expression: Expression) -> str:
    """Return the formula as Python text.

    Examples
    --------
    >>> from nonlin.formula import Symbol
    >>> y = Symbol("x")
    >>> print(y * y + 1)
    x*x + 1
    >>> for _ in range(15):
    ...     y = y * y + 1
    >>> str(y)[:60]  # written out it would be a thousand times as long
    't1 = x*x + 1; t2 = t1*t1 + 1; t3 = t2*t2 + 1; t4 = t3*t3 + 1'
    """
    names = shared_parts(expression, lambda node: (1,) * len(node.arguments))
    spelling = Text(names)
    whole = spelling(expression)[0]
    return "; ".join([*spelling.assignments, whole])
