"""Spelling a formula in another language: a table over the primitives and a few methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, ClassVar, Generic, TypeVar

from nonlin.formula.expression import Application, Constant, Expression, FormulaError, Symbol, as_expression, postorder
from nonlin.formula.primitives import Primitive

T = TypeVar("T")


class Spelling(ABC, Generic[T]):
    """Turns expressions into values of type ``T``: text, mpmath numbers, machine code, tensors...

    A language is a subclass with a ``table`` from primitive names to functions of the arguments' spellings, and the two
    methods for the leaves. A primitive that the table lacks is spelled in its portable form.
    """

    language: ClassVar[str]
    """What error messages call the target."""
    table: Mapping[str, Callable[..., T]]

    @abstractmethod
    def symbol(self, name: str) -> T:
        """Spell a variable."""

    @abstractmethod
    def constant(self, value: Fraction) -> T:
        """Spell an exact number."""

    def application(self, primitive: Primitive, arguments: tuple[T, ...], node: Application) -> T:
        """Spell a primitive applied to spelled arguments."""
        spell = self.table.get(primitive.name)
        if spell is not None:
            return spell(*arguments)
        if primitive.portable is None:
            raise FormulaError(f"{self.language} has no spelling for {primitive.name}")
        return self(as_expression(primitive.portable(*node.arguments)))

    def __call__(self, expression: Expression) -> T:
        """Spell an expression; shared nodes are spelled once."""
        done: dict[Expression, T] = self.memo()
        for node in postorder(expression):
            if node in done:
                continue
            if isinstance(node, Symbol):
                done[node] = self.symbol(node.name)
            elif isinstance(node, Constant):
                done[node] = self.constant(node.value)
            else:
                assert isinstance(node, Application)
                done[node] = self.application(node.primitive, tuple(done[a] for a in node.arguments), node)
        return done[expression]

    def memo(self) -> dict[Expression, T]:
        """Return the table of nodes already spelled; a subclass may keep one across calls."""
        return {}


class Reference(Spelling[Any]):
    """The meaning of a formula: its value in mpmath, at mpmath's current working precision.

    Parameters
    ----------
    context : module
        ``mpmath.mp`` or another mpmath context.
    values : Mapping[str, number]
        A value for every symbol, converted exactly.
    """

    language = "mpmath"

    def __init__(self, context: Any, values: Mapping[str, Any]) -> None:
        self.context = context
        self.values = {name: context.mpf(value) for name, value in values.items()}
        self.table = {}

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def constant(self, value: Fraction) -> Any:
        return self.context.mpf(value.numerator) / value.denominator

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        return primitive.reference(self.context, *arguments)
