"""Formulas as LaTeX mathematics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction

from nonlin.formula.expression import Application, Constant, Expression, symbols
from nonlin.formula.primitives import Primitive
from nonlin.formula.rows import RowPrimitive, concatenate
from nonlin.formula.text import decimal
from nonlin.formula.written import Written, shared_parts

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


class Latex(Written):
    """Formulas as mathematics."""

    language = "LaTeX"

    def __init__(self, names: Mapping[Expression, str], entries: Collection[str] = (), index: str = _INDICES[0]) -> None:
        super().__init__(names)
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

    def written_out(self, primitive: Primitive, arguments: tuple[tuple[str, int], ...], node: Application) -> tuple[str, int]:
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

    def assigned(self, name: str, spelled: str, node: Application) -> tuple[str, str]:
        of_entry = f",{self.index}" if symbols(node) & set(self.entries) else ""
        index = f"{name[0]}_{{{name[1:]}{of_entry}}}"
        return index, rf"{index} &\iff {spelled}" if node.is_condition else f"{index} &= {spelled}"

    def _of_row(self, primitive: Primitive, node: Application) -> str:
        """Spell an operation on all entries, which have an index of their own."""
        index = _INDICES[_INDICES.index(self.index) + 1]
        first, *others = node.arguments
        if primitive is concatenate:
            spelled = [(self(argument)[0], 100) for argument in node.arguments]
        else:  # where something is largest needs no index
            of_entries, of_row = Latex(self.names, self.entries, index), Latex(self.names)
            spelled = [of_entries(first), *map(of_row, others)]
            self.assignments += [*of_entries.assignments, *of_row.assignments]
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
    spelling = Latex(shared_parts(expression, _repeats), entries)
    whole = spelling(expression)[0]
    if not spelling.assignments:
        return whole
    return r"\begin{aligned} " + r" \\ ".join([*spelling.assignments, f"& {whole}"]) + r" \end{aligned}"


def _repeats(node: Application) -> tuple[int, ...]:
    return tuple(node.primitive.latex.count(f"{{{k}}}") for k in range(len(node.arguments)))
