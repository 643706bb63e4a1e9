"""Formulas as LaTeX mathematics."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from nonlin.formula.expression import Application, Constant, Expression
from nonlin.formula.primitives import Primitive
from nonlin.formula.rows import RowPrimitive
from nonlin.formula.spelling import Spelling
from nonlin.formula.text import decimal

_GREEK = frozenset("alpha beta gamma delta epsilon lambda mu nu omega phi psi rho sigma tau theta".split())
_TALL = (r"\frac", r"\tfrac", r"\begin")
_INDICES = "ijklmn"
_FRACTION = 25  # what is tall multiplies as it stands, but an exponent beside it needs brackets
_DELIMITED = frozenset({"divide", "sqrt", "where", "maximum", "minimum", "absolute"})


def _name(name: str) -> str:
    head, _, rest = name.partition("_")
    head = {"lambd": r"\lambda", "eps": r"\varepsilon", "temperature": "T"}.get(head, f"\\{head}" if head in _GREEK else head)
    if len(head) > 1 and not head.startswith("\\"):
        return r"\mathrm{" + name.replace("_", r"\_") + "}"
    return f"{head}_{{{_name(rest) if rest in _GREEK else rest}}}" if rest else head


class Latex(Spelling[tuple[str, int]]):
    """Spells each node as its LaTeX and the precedence with which that binds."""

    language = "LaTeX"

    def __init__(self, entries: Collection[str] = (), index: str = _INDICES[0]) -> None:
        self.table = {}
        self.entries = entries
        self.index = index

    def symbol(self, name: str) -> tuple[str, int]:
        return _name(f"{name}_{self.index}" if name in self.entries else name), 100

    def constant(self, value: Fraction) -> tuple[str, int]:
        spelled = decimal(value)
        if "/" in spelled:
            sign = "-" if value < 0 else ""
            spelled = rf"{sign}\tfrac{{{abs(value.numerator)}}}{{{value.denominator}}}"
        elif "e" in spelled:
            digits, exponent = spelled.split("e")
            spelled = rf"{digits} \cdot 10^{{{int(exponent)}}}"
        return spelled, 15 if value < 0 else _FRACTION if "/" in decimal(value) else 100

    def application(self, primitive: Primitive, arguments: tuple[tuple[str, int], ...], node: Application) -> tuple[str, int]:
        binds = primitive.precedence
        if isinstance(primitive, RowPrimitive):
            return self._of_row(primitive, node), binds
        if primitive.symbol is None or primitive.name in _DELIMITED:
            # Where a template repeats its argument inside a sum, the argument must not be a sum itself.
            loose = primitive.name in _DELIMITED or "(" in primitive.latex or primitive.name in ("exp", "expm1")
            parts = [a if loose or b > 10 else rf"\left({a}\right)" for a, b in arguments]
            return primitive.latex.format(*parts), _FRACTION if primitive.latex.startswith(_TALL) else binds
        if primitive.name == "multiply":
            return self._product(node, arguments), binds
        parts = []
        for position, (spelled, inner) in enumerate(arguments):
            tight = binds + 1 if (position and primitive.name == "subtract") or primitive.name == "integer_power" else binds
            needs = position == 0 or primitive.name != "integer_power"
            parts.append(rf"\left({spelled}\right)" if needs and inner < tight else spelled)
        return primitive.latex.format(*parts), binds

    def _of_row(self, primitive: RowPrimitive, node: Application) -> str:
        """Spell an operation on all entries, which have an index of their own."""
        index = _INDICES[_INDICES.index(self.index) + 1]
        first, *others = node.arguments
        spelled = [Latex(self.entries, index)(first), *map(Latex(), others)]  # where something is largest needs no index
        parts = [part if binds > 15 else rf"\left({part}\right)" for part, binds in spelled]
        return primitive.latex.format(*parts, own=self.index, index=index)

    def _product(self, node: Application, arguments: tuple[tuple[str, int], ...]) -> str:
        left, right = (a if b >= 20 else rf"\left({a}\right)" for a, b in arguments)
        dot = isinstance(node.arguments[0], Constant) and right[:1].isdigit()
        return rf"{left} \cdot {right}" if dot else rf"{left} \, {right}"


def latex(expression: Expression, entries: Collection[str] = ()) -> str:
    r"""Return the formula as LaTeX.

    Parameters
    ----------
    expression : Expression
    entries : collection of str
        Symbols that are written with an index, for they differ from entry to entry of a row.

    Examples
    --------
    >>> from nonlin.formula import Symbol, latex, sigmoid
    >>> print(latex(Symbol("x") * sigmoid(1.702 * Symbol("x"))))
    x \, \sigma(1.702 \, x)
    """
    return Latex(entries)(expression)[0]
