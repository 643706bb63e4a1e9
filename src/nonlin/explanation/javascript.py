"""JavaScript as one more language: finished formulas as functions of double-precision numbers.

The page needs the language twice: spelled here, the catalogue's functions; and as data, the primitives with their partial
derivatives, so that a visitor's own formula is differentiated by the same rules.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from nonlin.formula.calculus import STABLE_FACTORS, STABLE_FORMS
from nonlin.formula.expression import Application, Constant, Expression, Symbol, as_expression, postorder, symbols
from nonlin.formula.finish import finished, functions_of
from nonlin.formula.primitives import PRIMITIVES, Primitive, is_number, where
from nonlin.formula.spelling import Spelling

#: The primitives that JavaScript has, or that the page defines; each spelling binds tightly.
TABLE: Mapping[str, str] = {
    "add": "({0} + {1})",
    "subtract": "({0} - {1})",
    "multiply": "({0} * {1})",
    "divide": "({0} / {1})",
    "negative": "(-{0})",
    "less": "({0} < {1})",
    "less_equal": "({0} <= {1})",
    "greater": "({0} > {1})",
    "greater_equal": "({0} >= {1})",
    "logical_and": "({0} && {1})",
    "logical_or": "({0} || {1})",
    "where": "({0} ? {1} : {2})",
    "is_number": "(!isNaN({0}))",
    "nan": "NaN",
    "pi": "Math.PI",
    "maximum": "Math.max({0}, {1})",
    "minimum": "Math.min({0}, {1})",
    "absolute": "Math.abs({0})",
    "sign": "Math.sign({0})",
    "arctan": "Math.atan({0})",
    **{name: f"Math.{name}({{0}})" for name in "sqrt exp expm1 log log1p sin cos tanh".split()},
    "erfc": "erfc({0})",
    "erf": "erf({0})",
}
FUNCTIONS = functions_of(TABLE)
#: What JavaScript itself has of them.
_NATIVE = FUNCTIONS - {"erf", "erfc"}


class JavaScript(Spelling[str]):
    """Spells formulas as expressions; what is used several times is computed once, on a line of its own."""

    language = "JavaScript"

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self.table = {name: template.format for name, template in TABLE.items()}
        self.names = names or {}
        self.lines: list[str] = []
        self._uses: Counter[Expression] = Counter()

    def symbol(self, name: str) -> str:
        return self.names.get(name, name)

    def constant(self, value: Fraction) -> str:
        number = repr(float(value)).removesuffix(".0")
        return number if value >= 0 else f"({number})"

    def application(self, primitive: Primitive, arguments: tuple[str, ...], node: Application) -> str:
        spelled = super().application(primitive, arguments, node)
        if self._uses[node] < 2 or not arguments:
            return spelled
        self.lines.append(f"const t{len(self.lines)} = {spelled};")
        return f"t{len(self.lines) - 1}"

    def __call__(self, expression: Expression) -> str:
        for node in postorder(expression):
            self._uses.update(node.arguments)
        return super().__call__(expression)


def function(formula: Expression, names: Sequence[str]) -> str:
    """Return a finished formula as an arrow function.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp
    >>> x = Symbol("x")
    >>> print(function(x * exp(-x), ("x",)))
    (x) => (x * Math.exp((-x)))
    """
    # A parameter must not be called like a name of the language.
    ours = {name: name if name == "x" else f"p_{name}" for name in names}
    spelling = JavaScript(ours)
    result = spelling(formula)
    arguments = ", ".join(ours.values())
    if not spelling.lines:
        return f"({arguments}) => {result}"
    return f"({arguments}) => {{ {' '.join(spelling.lines)} return {result}; }}"


def program(formula: Expression, typical: Mapping[str, float], functions: frozenset[str] = FUNCTIONS) -> str:
    """Return a formula of x and some parameters, finished, as an arrow function of x and the parameters in their order."""
    program = finished(formula, "float64", functions, typical)
    if "x" not in symbols(formula):
        x = Symbol("x")
        program = where(is_number(x), program, x)
    return function(program, ("x", *typical))


# --- formulas as data -----------------------------------------------------------------------------------------------------


def tree(expression: Expression) -> Any:
    """Return an expression as nested lists: ``["multiply", "x", ["exp", "x"]]``, numbers as they are, ``"+v"`` above zero.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp
    >>> tree(Symbol("x") * exp(2 * Symbol("x")))
    ['multiply', 'x', ['exp', ['multiply', 2, 'x']]]
    """
    if isinstance(expression, Constant):
        value = expression.value
        return value.numerator if value.denominator == 1 else float(value)
    if isinstance(expression, Symbol):
        return f"+{expression.name}" if expression.positive else expression.name
    assert isinstance(expression, Application)
    return [expression.primitive.name, *map(tree, expression.arguments)]


_ARGUMENTS = tuple(Symbol(name) for name in "abc")


def _record(primitive: Primitive) -> dict[str, Any]:
    """Return what the page needs to know of a primitive."""
    given = _ARGUMENTS[: primitive.arity]
    conditions = {"logical_and": (0, 1), "logical_or": (0, 1), "where": (0,)}.get(primitive.name, ())
    record: dict[str, Any] = {
        "arity": primitive.arity,
        "code": TABLE.get(primitive.name, f"{primitive.name}({', '.join(f'{{{k}}}' for k in range(primitive.arity))})"),
        "symbol": primitive.symbol,
        "binds": primitive.precedence,
        "isCondition": primitive.is_condition,
        "conditions": conditions,
    }
    # Choices and powers have a chain rule of their own, in Python as in the page.
    if primitive.partials is not None and primitive.name not in ("where", "maximum", "minimum", "integer_power"):
        record["partials"] = [tree(as_expression(partial)) for partial in primitive.partials(*given)]
    return {key: value for key, value in record.items() if value not in (None, False, ())}


def language() -> str:
    """Return the language as a script: the primitives that JavaScript lacks, and all of them as data."""
    elementwise = {name: primitive for name, primitive in PRIMITIVES.items() if type(primitive) is Primitive}
    lacking = {n: q for n, q in elementwise.items() if TABLE.get(n, n).startswith(n) and n != "integer_power"}
    defined = [f"const {name} = {program(primitive(Symbol('x')), {}, _NATIVE)};" for name, primitive in lacking.items()]
    records = {name: _record(primitive) for name, primitive in elementwise.items()}
    forms = {
        "STABLE_FORMS": [[tree(pattern), tree(form)] for pattern, form in STABLE_FORMS],
        "STABLE_FACTORS": [[tree(pattern), tree(form)] for pattern, form in STABLE_FACTORS],
    }
    lines = [*defined, f"const PRIMITIVES = {json.dumps(records)};"]
    lines += [f"const {name} = {json.dumps(value)};" for name, value in forms.items()]
    return "\n".join(['"use strict";', *lines, ""])
