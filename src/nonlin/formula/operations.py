"""What is computed of rows: formulas of x, vectors and parameters, and their derivatives, which are such formulas again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal, TypeAlias

from nonlin.formula import primitives as p
from nonlin.formula.expression import Application, Expression, Symbol, postorder, symbols
from nonlin.formula.rows import (
    Linear,
    RowPrimitive,
    concatenate,
    finish,
    is_shift_invariant,
    linearize,
    parts,
    peak_of,
    row_sum,
)

Side: TypeAlias = Literal["x", "y"]
"""Whether something is as long as the row that comes in, or as the one that goes out."""

Path: TypeAlias = tuple[tuple[str, str], ...]
"""How an operation comes from a function: ("jvp", "x"), ("vjp", "v0"), ("by", "temperature"), one after the other."""


@dataclass(frozen=True)
class RowOperation:
    """A formula of rows, or a derivative of it in the direction of some vectors."""

    formula: Expression
    """Of ``x`` alone, and parameters."""
    results: tuple[Expression, ...]
    """What is computed: of x and the vectors, one formula for each part of a row that is put together of several."""
    vectors: tuple[tuple[str, Side], ...] = ()
    """Names of the vectors, and how long they are."""
    side: Side = "y"
    """How long the result is."""
    per_row: bool = False
    """Whether the function has one result for each row rather than one for each entry."""

    @classmethod
    def of(cls, formula: Expression, *, per_row: bool = False) -> RowOperation:
        """Return the value of a formula of rows as an operation."""
        return cls(formula, parts(formula), per_row=per_row)

    # --- what it is of ----------------------------------------------------------------------------------------------------

    @cached_property
    def count(self) -> int:
        """Of how many parts a row that goes out is put together."""
        return len(parts(self.formula))

    def symbols_of(self, name: str, side: Side) -> tuple[str, ...]:
        """Return the symbols that stand for a vector: one for each part of it."""
        return (name,) if side == "x" or self.count == 1 else tuple(f"{name}_{k}" for k in range(self.count))

    def length(self, side: Side, size: int) -> int:
        """Return how many numbers there are on a side, if x has so many."""
        return size if side == "x" else 1 if self.per_row else size * self.count

    @property
    def entries(self) -> frozenset[str]:
        """The symbols that differ from entry to entry."""
        names = [n for name, side in self.vectors if side == "x" or not self.per_row for n in self.symbols_of(name, side)]
        return frozenset({"x", *names})

    @cached_property
    def is_coupled(self) -> bool:
        """Whether a result depends on other entries than its own."""
        return any(
            isinstance(node, Application) and isinstance(node.primitive, RowPrimitive) and node.primitive is not concatenate
            for node in postorder(self.formula)
        )

    @cached_property
    def limit(self) -> int:
        """1 if only differences of x count, so that a row with infinite entries has a limit; -1 if they do of -x; or 0."""
        of = peak_of(self.formula)
        sign = {Symbol("x"): 1, -Symbol("x"): -1}.get(of, 0) if of is not None else 0
        return sign if sign and is_shift_invariant(self.formula, frozenset({"x"})) else 0

    @cached_property
    def finished(self) -> tuple[Expression, ...]:
        """The results in the form that keeps their digits."""
        names = [n for name, side in self.vectors for n in self.symbols_of(name, side)]
        return tuple(finish(result, names, self.entries) for result in self.results)

    # --- derivatives --------------------------------------------------------------------------------------------------------

    def _next(self) -> str:
        return f"v{len(self.vectors)}"

    def _with(self, name: str, side: Side) -> RowOperation:
        return RowOperation(self.formula, self.results, (*self.vectors, (name, side)), self.side, self.per_row)

    def _side_of(self, operand: str) -> Side:
        return "x" if operand == "x" else dict(self.vectors)[operand]

    @cached_property
    def _derived(self) -> dict[tuple[str, str], RowOperation]:
        return {}

    def _kept(self, kind: str, operand: str, make: Callable[[str], RowOperation]) -> RowOperation:
        """Return a derivative; an operation keeps its own."""
        if (kind, operand) not in self._derived:
            self._derived[kind, operand] = make(operand)
        return self._derived[kind, operand]

    def along(self, path: Path) -> RowOperation:
        """Return the operation that a path of derivatives leads to."""
        operation = self
        for kind, operand in path:
            by: dict[str, Callable[[str], RowOperation]]
            by = {"jvp": operation.jvp, "vjp": operation.vjp, "by": operation.by_parameter}
            operation = by[kind](operand)
        return operation

    def jvp(self, operand: str = "x") -> RowOperation:
        """Return the derivative by x or a vector, applied to one more vector like it."""
        return self._kept("jvp", operand, self._jvp)

    def vjp(self, operand: str = "x") -> RowOperation:
        """Return the transpose of the derivative by x or a vector, applied to one more vector like the result."""
        return self._kept("vjp", operand, self._vjp)

    def by_parameter(self, name: str) -> RowOperation:
        """Return the derivative by a parameter times one more vector like the result: summed up, it is the gradient."""
        return self._kept("by", name, self._by_parameter)

    def _jvp(self, operand: str) -> RowOperation:
        side = self._side_of(operand)
        more = self._with(self._next(), side)
        pairs = zip(self.symbols_of(operand, side), self.symbols_of(self._next(), side), strict=True)
        by = [(symbol, Symbol(v)) for symbol, v in pairs]
        results = tuple(
            reduce(p.add, [self._linear(result, symbol, more).jvp(v) for symbol, v in by]) for result in self.results
        )
        return RowOperation(self.formula, results, more.vectors, self.side, self.per_row)

    def _vjp(self, operand: str) -> RowOperation:
        side = self._side_of(operand)
        more = self._with(self._next(), self.side)
        given = [Symbol(n) for n in self.symbols_of(self._next(), self.side)]
        in_row = self.per_row and self.side == "y"
        results = []
        for symbol in self.symbols_of(operand, side):
            linear = [self._linear(result, symbol, more) for result in self.results]
            if self.per_row and side == "y":  # of a number for the row: there is but the direct part
                products = [part.direct * g for part, g in zip(linear, given, strict=True)]
                results.append(reduce(p.add, products if in_row else map(row_sum, products)))
            else:
                pulled = [part.vjp(g, per_row=in_row) for part, g in zip(linear, given, strict=True)]
                results.append(reduce(p.add, pulled))
        return RowOperation(self.formula, tuple(results), more.vectors, side, self.per_row)

    def _by_parameter(self, name: str) -> RowOperation:
        more = self._with(self._next(), self.side)
        given = self.symbols_of(self._next(), self.side)
        results = tuple(
            self._linear(result, name, more).direct * Symbol(g) for result, g in zip(self.results, given, strict=True)
        )
        return RowOperation(self.formula, results, more.vectors, self.side, self.per_row)

    @staticmethod
    def _linear(result: Expression, symbol: str, of: RowOperation) -> Linear:
        return linearize(result, symbol, of.entries)

    @cached_property
    def depends_on(self) -> frozenset[str]:
        """The symbols that the finished results depend on."""
        return symbols(*self.finished)
