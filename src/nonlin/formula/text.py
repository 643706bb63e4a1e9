"""Formulas as Python text, the way they are typed."""

from __future__ import annotations

from fractions import Fraction

from nonlin.formula.expression import Application, Expression
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling


def decimal(value: Fraction) -> str:
    """Spell an exact number: as a decimal if it has a short one, as a quotient if that is shorter."""
    if value.denominator == 1:
        return str(value.numerator)
    as_float = repr(float(value))
    if "e" not in as_float and Fraction(as_float) == value:
        return as_float
    quotient = f"{value.numerator}/{value.denominator}"
    return quotient if len(quotient) <= 12 else as_float


class Text(Spelling[tuple[str, int]]):
    """Spells each node as its text and the precedence with which that binds."""

    language = "text"

    def __init__(self) -> None:
        self.table = {}

    def symbol(self, name: str) -> tuple[str, int]:
        return name, 100

    def constant(self, value: Fraction) -> tuple[str, int]:
        spelled = decimal(value)
        return spelled, 15 if value < 0 else 20 if "/" in spelled else 100

    def application(self, primitive: Primitive, arguments: tuple[tuple[str, int], ...], node: Application) -> tuple[str, int]:
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


def text(expression: Expression) -> str:
    """Return the formula as Python text."""
    return Text()(expression)[0]
