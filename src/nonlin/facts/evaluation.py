"""Formulas of x in mpmath: at many points with 50 digits, and where it matters with many more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from nonlin.facts.records import Real, SearchEndedError
from nonlin.formula import primitives as p
from nonlin.formula.expression import REMEMBERED, Application, Expression, postorder, symbols
from nonlin.formula.spelling import Reference

DIGITS = 50
MANY_DIGITS = 100  # to tell a small number from a rounding error
FAR_DIGITS = 650  # at 1e200, (x + sqrt(x^2 + 4))/2 cancels 400 digits


class Work:
    """How much is computed before a fact counts as unknown.

    Counted are operations on numbers of 50 digits; those on longer ones count several times. A million of them take three to
    ten seconds.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.done = 0

    def spend(self, operations: int) -> None:
        """Count operations.

        Raises
        ------
        SearchEndedError
            If there were too many.
        """
        self.done += operations
        if self.done > self.most:
            raise SearchEndedError(f"it was not found with {self.most:,} operations, which is where the search ends")

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is computed within here, and not outside."""
        global _work
        before, _work = _work, self
        try:
            yield
        finally:
            _work = before


_work = Work(2**62)


class Arithmetic:
    """mpmath with a fixed number of digits, and without its trouble with double exponentials.

    mpmath has no overflow: exp(-exp(1e6)) takes as long as a million digits do. An argument beyond 10^1000 is as good
    as 10^1000 itself, as long as nothing oscillates.
    """

    def __init__(self, digits: int) -> None:
        import mpmath

        self._context = mpmath.mp.clone()
        self._context.dps = digits

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._context, name)
        guarded: Any = plain
        if name in ("exp", "expm1", "cosh", "sech", "tanh", "erf", "erfc"):
            # Without gmpy2, erfc fails from 10^154.
            most = self._context.mpf(10) ** (100 if name in ("erf", "erfc") else 1000)
            lowest, highest = plain(-most), plain(most)

            def guarded(a: Real) -> Real:
                return highest if a > most else lowest if a < -most else plain(a)

        elif name in ("sin", "cos"):
            most = self._context.mpf(10) ** 1000

            def guarded(a: Real) -> Real:
                return plain(a) if abs(a) < most else self._context.nan

        setattr(self, name, guarded)
        return guarded


_made = cache(Arithmetic)


def arithmetic(digits: int = DIGITS) -> Arithmetic:
    """Return mpmath with so many digits, the same one each time."""
    return _made(digits)


def close(a: Real, b: Real) -> bool:
    """Whether two numbers are equal but for rounding errors."""
    return bool(a == b or abs(a - b) <= 1e-40 + 1e-30 * min(abs(a), abs(b)) < math.inf)


def sign(value: Real) -> int:
    """Return the sign; 0 for NaN."""
    return int(value > 0) - int(value < 0)


def public(value: Real) -> Real:
    """Return a number that belongs to mpmath's own context, with the digits that are promised."""
    import mpmath

    return mpmath.mp.make_mpf((+value)._mpf_)


class Program:
    """A formula of x, ready to be evaluated many times: what :class:`Reference` means, without its walk over the nodes.

    Outside the domain of a logarithm or a square root and at a pole the value is NaN.

    Parameters
    ----------
    formula : Expression
    digits : int
    """

    def __init__(self, formula: Expression, digits: int) -> None:
        self.arithmetic = arithmetic(digits)
        #: What is smaller than that, beside what it is the difference of, is nothing but rounding errors.
        self.tolerance = self.arithmetic.mpf(10) ** (-digits * 4 // 5)
        self.nodes = sorted(postorder(formula), key=lambda node: bool(symbols(node)))
        constant = Reference(self.arithmetic, {})
        self.start = [constant(node) for node in self.nodes if not symbols(node)]
        index = {node: i for i, node in enumerate(self.nodes)}
        self.steps = [
            (self._meaning(node.primitive), [index[a] for a in node.arguments]) if isinstance(node, Application) else None
            for node in self.nodes[len(self.start) :]
        ]
        self.result = index[formula]
        self._price = len(self.steps) * max(1, digits // 60)

    def _meaning(self, primitive: p.Primitive) -> Callable[..., Any]:
        """Return the meaning of a primitive; a comparison takes what differs by rounding errors only for equal.

        The tie at a kink decides about the derivative there, and not every kink is a number with finitely many digits.
        """
        reference, tolerance = primitive.reference, self.tolerance
        if not primitive.is_condition or primitive in (p.logical_and, p.logical_or):
            return reference

        def compare(mp: Any, a: Real, b: Real) -> bool:
            return bool(reference(mp, b if abs(a - b) <= tolerance * max(1, abs(b)) else a, b))

        return compare

    def values(self, x: Real) -> list[Any]:
        """Return the value of every node."""
        _work.spend(self._price)
        mp, values = self.arithmetic, list(self.start)
        x = mp.mpf(x)
        for step in self.steps:
            if step is None:
                values.append(x)
                continue
            meaning, arguments = step
            try:
                value = meaning(mp, *[values[a] for a in arguments])
            except ZeroDivisionError:
                value = mp.nan
            values.append(mp.nan if isinstance(value, mp.mpc) else value)
        return values

    def __call__(self, x: Real) -> Real:
        """Return the value of the formula."""
        return self.values(x)[self.result]


#: How large a function is around the zeros that it has elsewhere than at 0.
_BESIDE: dict[p.Primitive, Callable[..., Any]] = {
    p.sin: lambda a: max(1, abs(a)),
    p.cos: lambda a: max(1, abs(a)),
    p.log: lambda a: 1,
    p.log1p: lambda a: 0,
}


def _larger(a: Real, b: Real) -> Real:
    return max(abs(a), abs(b))


class ExactProgram(Program):
    """A formula of x that is evaluated where some of its parts are zero, at a number that is known to all its digits.

    What is zero there but for rounding errors is zero: sin(x)/cos(x) has no value at pi/2, and sqrt(2 - x**2) is 0 at the root.
    """

    def _meaning(self, primitive: p.Primitive) -> Callable[..., Any]:
        meaning, tolerance = super()._meaning(primitive), self.tolerance
        if primitive not in (p.add, p.subtract, *_BESIDE):
            return meaning
        size = _BESIDE.get(primitive, _larger)

        def snapped(mp: Any, *arguments: Real) -> Real:
            value = meaning(mp, *arguments)
            if mp.isinf(value):
                return mp.nan  # log(0) is no number
            return value * 0 if abs(value) <= tolerance * size(*arguments) else value

        return snapped


@lru_cache(maxsize=REMEMBERED)
def program(formula: Expression, digits: int = DIGITS) -> Program:
    """Return the program of a formula."""
    return Program(formula, digits)


@lru_cache(maxsize=REMEMBERED)
def exact_program(formula: Expression) -> Program:
    """Return the program of a formula for numbers that are known to all their digits."""
    return ExactProgram(formula, FAR_DIGITS)


def evaluate(formula: Expression, x: Real) -> Real:
    """Return the value at x, or 0 for what is nothing but rounding errors."""
    value = program(formula)(x)
    if abs(value) < 1e-15:
        better = program(formula, MANY_DIGITS)(x)
        if not abs(value - better) <= 1e-3 * abs(better):
            return value * 0
    return value


def evaluate_exactly(formula: Expression, x: Real) -> Real:
    """Return the value at a number that is known to all its digits."""
    return arithmetic().mpf(exact_program(formula)(x))
