"""Numbers that a formula is written with although no fraction is one of them, such as sqrt(2/pi), to sixty digits."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

from nonlin.formula.expression import Constant, Expression, FormulaError, remembered, symbols
from nonlin.formula.spelling import Spelling

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651")
_DIGITS = Context(prec=60, traps=[])  # what has no value is NaN, and computed at run time


class _Constants(Spelling[Decimal]):
    """Exact arithmetic's stand-in for numbers such as sqrt(2/pi): sixty digits."""

    language = "decimal arithmetic"

    def __init__(self) -> None:
        self.table = {
            "add": _DIGITS.add,
            "subtract": _DIGITS.subtract,
            "multiply": _DIGITS.multiply,
            "divide": _DIGITS.divide,
            "negative": _DIGITS.minus,
            "integer_power": _DIGITS.power,
            "sqrt": _DIGITS.sqrt,
            "exp": _DIGITS.exp,
            "log": _DIGITS.ln,
            "pi": lambda: _DIGITS.plus(PI),
        }

    def symbol(self, name: str) -> Decimal:
        raise FormulaError(f"{name} is no constant")

    def constant(self, value: Fraction) -> Decimal:
        return _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))


@remembered
def constant_value(node: Expression) -> Fraction | None:
    """Return the value of an expression without symbols to sixty digits, or None if it has to be computed at run time.

    Examples
    --------
    >>> from nonlin.formula import Symbol, pi, sqrt
    >>> from nonlin.formula.constants import constant_value
    >>> round(float(constant_value(sqrt(2 / pi))), 6), constant_value(Symbol("x"))
    (0.797885, None)
    """
    if isinstance(node, Constant):
        return node.value
    if symbols(node):
        return None
    try:
        value = _Constants()(node)
    except FormulaError:
        return None
    return Fraction(value) if value.is_finite() else None
