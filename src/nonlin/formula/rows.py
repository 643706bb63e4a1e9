"""Rows: formulas of all entries along an axis.

An expression is either per *entry* (``x``, ``exp(x)``) or per *row* (``row_max(x)``, a parameter). Four reductions lead from
entries to their row, and :data:`is_peak` tells the largest entry from the others. The derivative of a reduction is a weighted
sum, so that the derivative of a formula of rows, applied to a vector ``v``, is ``d*v`` and a sum of ``u*row_sum(w*v)``. Its
transpose is the same with ``u`` and ``w`` exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from nonlin.formula import primitives as p
from nonlin.formula.algebra import simplify, split, split_sum
from nonlin.formula.calculus import chain_rule, simplest
from nonlin.formula.expression import (
    Application,
    Constant,
    Expression,
    FormulaError,
    Operand,
    Symbol,
    postorder,
    rebuild,
    substitute,
    symbols,
)
from nonlin.formula.primitives import PRIMITIVES, Primitive
from nonlin.formula.spelling import Reference

Entries: TypeAlias = frozenset[str]
"""Names of the symbols that differ from entry to entry; all others are one number for a row."""


# --- the reductions -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class RowPrimitive(Primitive):
    """An operation on all the entries of a row. Its ``reference`` is called with lists of numbers."""

    weight: Callable[..., Operand] | None = None
    """From the arguments w, such that the derivative is the sum of w times the derivative of the first argument."""
    reduces: bool = True
    """Whether the result is one number for the row; otherwise it is one for each entry."""


def _row_primitive(name: str, arity: int, reference: Callable[..., Any], latex: str, **fields: Any) -> RowPrimitive:
    PRIMITIVES[name] = record = RowPrimitive(name, arity, reference, latex, **fields)
    return record


def _reference_threshold(mp: Any, z: Sequence[Any], power: Any) -> Any:
    """Find the threshold by bisection, whatever the power."""
    low, high = max(z) - 1, max(z)
    for _ in range(mp.prec + 8):
        middle = (low + high) / 2
        if mp.fsum(max(a - middle, mp.mpf(0)) ** int(power) for a in z) > 1:
            low = middle
        else:
            high = middle
    return low


def _threshold_weight(z: Expression, power: Expression) -> Expression:
    above = z - row_threshold(z, power)
    weight = p.maximum(above, 0) if power is Constant(2) else p.where(above > 0, 1, 0)
    return weight / row_sum(weight)


def _checked_threshold(z: Expression, power: Expression) -> None:
    if power not in (Constant(1), Constant(2)):
        raise FormulaError(f"row_threshold takes a power of 1 or 2, got {power}")


row_max: RowPrimitive = _row_primitive(
    "row_max", 1, lambda mp, a: max(a), r"\max_{{{index}}} {0}",
    weight=lambda a: p.where(is_peak(a), 1, 0), doc="The largest entry; its derivative is that of the first largest one.",
)  # fmt: skip
row_sum: RowPrimitive = _row_primitive(
    "row_sum", 1, lambda mp, a: mp.fsum(a), r"\sum_{{{index}}} {0}", precedence=12,
    weight=lambda a: 1, simplify=lambda a: a if a is Constant(0) else None, doc="The sum of the entries.",
)  # fmt: skip
_row_sum_but: RowPrimitive = _row_primitive(
    "row_sum_but", 2, lambda mp, a, of: mp.fsum(a[: (k := of.index(max(of)))]) + mp.fsum(a[k + 1 :]),
    r"\sum_{{{index} \ne \arg\max {1}}} {0}", precedence=12,
    weight=lambda a, of: p.where(is_peak(of), 0, 1), simplify=lambda a, of: a if a is Constant(0) else None,
)  # fmt: skip
row_threshold: RowPrimitive = _row_primitive(
    "row_threshold", 2, _reference_threshold, r"\tau_{1}({0})", weight=_threshold_weight, simplify=_checked_threshold,
    doc="The number t for which maximum(z - t, 0)**p has the sum 1; p is 1 or 2.",
)  # fmt: skip
is_peak: RowPrimitive = _row_primitive(
    "is_peak", 1, lambda mp, a: [k == a.index(max(a)) for k in range(len(a))], r"{own} = \arg\max_{{{index}}} {0}",
    precedence=5, is_condition=True, reduces=False, doc="Whether the entry is the first largest one.",
)  # fmt: skip


concatenate: RowPrimitive = _row_primitive(
    "concatenate", 2, lambda mp, a, b: [*a, *b], r"\left({0},\ {1}\right)", reduces=False,
    doc="One row after the other: a formula's last step, which makes the axis as many times as long.",
)  # fmt: skip


def parts(formula: Expression) -> tuple[Expression, ...]:
    """Return the formulas whose results stand one after the other along the axis."""
    if isinstance(formula, Application) and formula.primitive is concatenate:
        return tuple(part for argument in formula.arguments for part in parts(argument))
    return (formula,)


def row_sum_but(a: Operand, of: Operand | None = None) -> Expression:
    """Return the sum of all entries but the largest one.

    Beside an entry that is 1, as the largest exponential of a softmax is, the sum of all others keeps its digits.

    Parameters
    ----------
    a : Expression
    of : Expression, optional
        What is largest there; a itself by default.
    """
    return _row_sum_but(a, a if of is None else of)


def is_of_rows(expression: Expression) -> bool:
    """Whether a formula needs to know the whole row."""
    return any(isinstance(node, Application) and isinstance(node.primitive, RowPrimitive) for node in postorder(expression))


def varies(node: Expression, entries: Entries) -> bool:
    """Whether an expression may differ from entry to entry."""
    if isinstance(node, Symbol):
        return node.name in entries
    if not isinstance(node, Application):
        return False
    if isinstance(node.primitive, RowPrimitive):
        return not node.primitive.reduces
    return bool(symbols(node) & entries) and any(varies(argument, entries) for argument in node.arguments)


class RowReference(Reference):
    """The meaning of a formula of rows: in mpmath, an entry's value is a list, a row's a number.

    Parameters
    ----------
    context : module
        ``mpmath.mp`` or another mpmath context.
    values : Mapping[str, number or sequence of numbers]
        A number for each parameter, and a sequence of them for what differs from entry to entry.
    """

    def __init__(self, context: Any, values: Mapping[str, Any]) -> None:
        numbers = {name: value for name, value in values.items() if not isinstance(value, Sequence)}
        super().__init__(context, numbers)
        self.values |= {n: [context.mpf(a) for a in value] for n, value in values.items() if n not in numbers}
        self.size = max((len(value) for value in self.values.values() if isinstance(value, list)), default=1)

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        if isinstance(primitive, RowPrimitive):
            rows = [arguments[0] if isinstance(arguments[0], list) else [arguments[0]] * self.size, *arguments[1:]]
            return primitive.reference(self.context, *rows)
        if not any(isinstance(argument, list) for argument in arguments):
            return super().application(primitive, arguments, node)
        rows = [argument if isinstance(argument, list) else [argument] * self.size for argument in arguments]
        return [primitive.reference(self.context, *entry) for entry in zip(*rows, strict=True)]


# --- normal form --------------------------------------------------------------------------------------------------------------


def normal(root: Expression, entries: Entries) -> Expression:
    """Return an equal formula in normal form: what is the same for a whole row stands outside of its sums."""

    def change(node: Expression) -> Expression:
        if not isinstance(node, Application):
            return node
        first = node.arguments[0] if node.arguments else node
        if node.primitive is row_sum:
            outside, inside = _split(first, entries)
            return node if outside is Constant(1) else outside * row_sum(inside)
        if node.primitive in (row_max, is_peak, _row_sum_but):
            *others, of = node.arguments
            moving, shift = split_sum(of, lambda factor: varies(factor, entries))
            if shift is Constant(0):
                return node
            return row_max(moving) + shift if node.primitive is row_max else node.primitive(*others, moving)
        return _one_choice(_without_choice(node))

    while True:
        simpler = simplest(rebuild(root, change))
        if simpler is root:
            return root
        root = simpler


def _split(product: Expression, entries: Entries) -> tuple[Expression, Expression]:
    """Split a product into what is the same for a whole row and what is not."""
    if isinstance(product, Application) and product.primitive is p.where and Constant(0) in product.arguments[1:]:
        condition, a, b = product.arguments
        outside, inside = _split(a if b is Constant(0) else b, entries)
        return outside, p.where(condition, inside, 0) if b is Constant(0) else p.where(condition, 0, inside)
    return split(product, lambda factor: not varies(factor, entries))


def _without_choice(node: Application) -> Expression:
    """``where(a > 0, maximum(a, 0)*b, 0)`` is ``maximum(a, 0)*b``."""
    if node.primitive is p.where and node.arguments[2] is Constant(0):
        condition, product, _ = node.arguments
        assert isinstance(condition, Application)
        if condition.primitive is p.greater and condition.arguments[1] is Constant(0):
            highest = p.maximum(*condition.arguments)
            if split(product, lambda factor: factor is not highest)[1] is not Constant(1):
                return product
    return node


def _one_choice(node: Expression) -> Expression:
    """Make one choice of the sum of two by the same condition."""
    if isinstance(node, Application) and node.primitive in (p.add, p.subtract):
        first, second = node.arguments
        if all(isinstance(a, Application) and a.primitive is p.where for a in (first, second)):
            (condition, *ours), (other, *theirs) = first.arguments, second.arguments
            if condition is other:
                return p.where(condition, *(node.primitive(a, b) for a, b in zip(ours, theirs, strict=True)))
    return node


# --- what is zero -------------------------------------------------------------------------------------------------------------

_Monomial: TypeAlias = frozenset[tuple[Expression, int]]
_Polynomial: TypeAlias = dict[_Monomial, Fraction]
_MOST_TERMS = 300


class _TooManyTermsError(Exception):
    """A polynomial is not worth being multiplied out."""


def is_zero(expression: Expression, entries: Entries) -> bool:
    """Whether a formula multiplied out is zero. What it cannot tell is taken for not zero."""
    try:
        return not _polynomial(normal(expression, entries), entries)
    except _TooManyTermsError:
        return False


def _polynomial(node: Expression, entries: Entries, *, opened: bool = True) -> _Polynomial:
    """Multiply out; choices and sums over rows are opened, too, if asked for."""
    if isinstance(node, Constant):
        return {frozenset(): node.value} if node.value else {}
    if isinstance(node, Application):
        primitive, arguments = node.primitive, node.arguments
        if primitive is p.negative:
            return _times({frozenset(): Fraction(-1)}, _polynomial(arguments[0], entries, opened=opened))
        if primitive is p.add or primitive is p.subtract:
            a, b = (_polynomial(argument, entries, opened=opened) for argument in arguments)
            return _plus(a, _times({frozenset(): Fraction(1 if primitive is p.add else -1)}, b))
        if primitive is p.multiply:
            return _times(*(_polynomial(argument, entries, opened=opened) for argument in arguments))
        if primitive is p.divide:
            above, below = (_polynomial(argument, entries, opened=opened) for argument in arguments)
            if len(below) == 1:
                ((powers, coefficient),) = below.items()
                return _times(above, {frozenset((base, -n) for base, n in powers): 1 / coefficient})
            return _times(above, {frozenset({(arguments[1], -1)}): Fraction(1)})
        if primitive is p.integer_power:
            assert isinstance(arguments[1], Constant)
            power: _Polynomial = {frozenset(): Fraction(1)}
            for _ in range(int(arguments[1].value)):
                power = _times(power, _polynomial(arguments[0], entries, opened=opened))
            return power
        if primitive is p.where and opened:
            condition, yes, no = arguments
            if yes is not Constant(1) or no is not Constant(0):
                chosen = _polynomial(p.where(condition, 1, 0), entries)
                others = _plus({frozenset(): Fraction(1)}, _times({frozenset(): Fraction(-1)}, chosen))
                return _plus(_times(chosen, _polynomial(yes, entries)), _times(others, _polynomial(no, entries)))
        if primitive is row_sum and opened:
            return _summed(_polynomial(arguments[0], entries), entries)
    return {frozenset({(node, 1)}): Fraction(1)}


def _summed(terms: _Polynomial, entries: Entries) -> _Polynomial:
    """Sum up each term, with what is the same for the whole row outside."""
    total: _Polynomial = {}
    for powers, coefficient in terms.items():
        inside = sorted((item for item in powers if varies(item[0], entries)), key=str)
        outside = powers.difference(inside)
        product: Expression = Constant(1)
        for base, n in inside:
            product = product * p.power(base, n)
        total = _plus(total, _times({outside: coefficient}, {frozenset({(row_sum(simplify(product)), 1)}): Fraction(1)}))
    return total


def _plus(a: _Polynomial, b: _Polynomial) -> _Polynomial:
    total = {powers: a.get(powers, Fraction(0)) + b.get(powers, Fraction(0)) for powers in {**a, **b}}
    return {powers: coefficient for powers, coefficient in total.items() if coefficient}


def _times(a: _Polynomial, b: _Polynomial) -> _Polynomial:
    if len(a) * len(b) > _MOST_TERMS:
        raise _TooManyTermsError
    total: _Polynomial = {}
    for powers, first in a.items():
        for others, second in b.items():
            merged = dict(powers)
            for base, n in others:
                merged[base] = merged.get(base, 0) + n
            total = _plus(total, {_reduced(merged): first * second})
    return total


def _reduced(powers: dict[Expression, int]) -> _Monomial:
    """Drop what is 1: a choice between 1 and 0 is its own square, and one beside what is 0 with it is of no use."""
    kept = {}
    for base, n in powers.items():
        if isinstance(base, Application) and base.primitive is p.where and n > 0:
            condition = base.arguments[0]
            positive = isinstance(condition, Application) and condition.primitive is p.greater
            if positive and p.maximum(*condition.arguments) in powers and condition.arguments[1] is Constant(0):
                continue
            n = 1
        if n:
            kept[base] = n
    return frozenset(kept.items())


# --- derivatives --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linear:
    """The derivative of a formula of rows: ``direct*v`` plus the sum of ``u*row_sum(w*v)`` over the terms (u, w)."""

    direct: Expression
    terms: tuple[tuple[Expression, Expression], ...] = ()

    def times(self, factor: Expression) -> Linear:
        return Linear(self.direct * factor, tuple((u * factor, w) for u, w in self.terms))

    def jvp(self, v: Expression) -> Expression:
        """Apply it to a vector."""
        total = self.direct * v
        for u, w in self.terms:
            total = total + u * row_sum(w * v)
        return total

    def vjp(self, g: Expression, *, per_row: bool = False) -> Expression:
        """Apply its transpose to a vector; with ``per_row`` the formula has one result for each row, and so has g."""
        total = self.direct * g
        for u, w in self.terms:
            total = total + w * (u * g if per_row else row_sum(u * g))
        return total


def linearize(formula: Expression, wrt: str, entries: Entries) -> Linear:
    """Return the derivative of a formula with respect to what differs from entry to entry, or to a parameter.

    Of a parameter there is one for all entries: the derivative is then ``direct`` alone.
    """
    of: dict[Expression, Linear] = {}
    for node in postorder(_plain(formula)):
        if isinstance(node, Symbol):
            of[node] = Linear(Constant(int(node.name == wrt)))
        elif not isinstance(node, Application) or node.is_condition:
            of[node] = Linear(Constant(0))
        elif isinstance(node.primitive, RowPrimitive):
            of[node] = _reduced_linear(node, of[node.arguments[0]], wrt in entries)
        else:
            inner = [of[argument] for argument in node.arguments]
            of[node] = _chained(node, inner)
    return _merged(of[_plain(formula)], entries)


def _reduced_linear(node: Application, inner: Linear, is_entry: bool) -> Linear:
    assert isinstance(node.primitive, RowPrimitive)
    assert node.primitive.weight is not None
    if inner.direct is Constant(0) and not inner.terms:
        return inner
    weight = _as_expression(node.primitive.weight(*node.arguments))
    if not is_entry:
        return Linear(row_sum(weight * inner.direct))
    own = () if inner.direct is Constant(0) else ((Constant(1), weight * inner.direct),)
    return Linear(Constant(0), own + tuple((row_sum(weight * u), w) for u, w in inner.terms))


def _as_expression(value: Operand) -> Expression:
    return value if isinstance(value, Expression) else Constant(value)


def _chained(node: Application, inner: Sequence[Linear]) -> Linear:
    direct = chain_rule(node, [part.direct for part in inner])
    terms: list[tuple[Expression, Expression]] = []
    for position, part in enumerate(inner):
        for u, w in part.terms:
            slopes: list[Expression] = [Constant(0)] * len(inner)
            slopes[position] = u
            terms.append((chain_rule(node, slopes), w))
    return Linear(direct, tuple(terms))


def _merged(linear: Linear, entries: Entries) -> Linear:
    """Merge terms with the same weights, and drop what is zero: what only shifts a row often is."""
    merged: dict[Expression, Expression] = {}
    for u, w in linear.terms:
        if is_zero(u, entries):
            continue
        outside, inside = _split(normal(w, entries), entries)
        merged[inside] = merged.get(inside, Constant(0)) + u * outside
    terms = ((normal(u, entries), w) for w, u in merged.items() if not is_zero(u, entries))
    return Linear(normal(linear.direct, entries), tuple(terms))


def _plain(formula: Expression) -> Expression:
    """Write the sum of all but the largest entry as what it is of the sum of all, where that is known."""
    return rebuild(formula, lambda node: _whole(node) if isinstance(node, Application) else node)


def _whole(node: Application) -> Expression:
    if node.primitive is not _row_sum_but:
        return node
    a, of = node.arguments
    largest = at_peak(a, of)
    return row_sum(a) - largest if isinstance(largest, Constant) else node


# --- digits -------------------------------------------------------------------------------------------------------------------

#: Values at 0, where the largest entry's distance from itself is.
_AT_ZERO = {p.exp: 1, p.expm1: 0, p.log1p: 0, p.tanh: 0, p.sin: 0, p.cos: 1}


def peak_of(formula: Expression) -> Expression | None:
    """Return what the formula's only peak is the peak of, or None if there is none, or several."""
    found = {
        node.arguments[-1]
        for node in postorder(formula)
        if isinstance(node, Application) and node.primitive in (row_max, is_peak, _row_sum_but)
    }
    return found.pop() if len(found) == 1 else None


def at_peak(formula: Expression, of: Expression, vectors: Collection[str] = ()) -> Expression | None:
    """Return the formula at the entry where ``of`` is largest; None where ``of`` is not plainly x or -x.

    Sums over ``vectors`` are split into the term of the peak and the others.
    """
    sign = -1 if isinstance(of, Application) and of.primitive is p.negative else 1
    x = of.arguments[0] if sign < 0 else of
    if not isinstance(x, Symbol):
        return None
    done: dict[Expression, Expression] = {x: sign * row_max(of)}
    for node in _outside_reductions(formula):
        if node in done:
            continue
        if not isinstance(node, Application) or (isinstance(node.primitive, RowPrimitive) and node.primitive.reduces):
            done[node] = _without_peak(node, of) if symbols(node) & {*vectors} else node
            continue
        arguments = [done.get(argument, argument) for argument in node.arguments]
        if node.primitive is p.where and arguments[0] is is_peak(of):
            done[node] = arguments[1]
        elif isinstance(node.primitive, RowPrimitive):
            done[node] = node
        else:
            new = simplify(node.primitive(*arguments))
            if isinstance(new, Application) and new.arguments == (Constant(0),):
                new = Constant(_AT_ZERO[new.primitive]) if new.primitive in _AT_ZERO else new
            done[node] = new
    return done[formula]


def _outside_reductions(root: Expression) -> Iterator[Expression]:
    """Yield the nodes that stand in no reduction, arguments first."""
    seen: set[Expression] = set()

    def visit(node: Expression) -> Iterator[Expression]:
        if node in seen:
            return
        seen.add(node)
        if not (isinstance(node, Application) and isinstance(node.primitive, RowPrimitive)):
            for argument in node.arguments:
                yield from visit(argument)
        yield node

    yield from visit(root)


def is_shift_invariant(formula: Expression, entries: Entries) -> bool:
    """Whether the formula only depends on differences of x, as written."""
    shift = Symbol("shift")  # no parameter: the formula is looked at alone
    moved = normal(substitute(formula, {"x": Symbol("x") + shift}), entries)
    return shift.name not in symbols(moved)


def finish(formula: Expression, vectors: Sequence[str], entries: Entries) -> Expression:
    """Return an equal formula that keeps its digits where a row is saturated, with one entry far above all others.

    Only differences matter of a vector to which a constant can be added: it is taken relative to its entry at the peak. Where
    one cannot, the formula is written anew for the peak, so that what cancels there is cancelled before it is computed.
    """
    of = peak_of(formula)
    if of is None or at_peak(of, of) is None:
        return normal(formula, entries)
    formula = normal(formula, entries)
    relative, others = {}, []
    for name in vectors:
        v = Symbol(name)
        if is_zero(substitute(formula, {name: 1}), entries):
            relative[name] = v - row_sum(p.where(is_peak(of), v, 0))
        elif name in symbols(formula):
            others.append(name)
    there = None
    if others and varies(formula, entries):
        there = at_peak(formula, of, others)
        there = None if there is at_peak(formula, of) else there
    formula = _beside_one(substitute(formula, relative), of, entries)
    if there is None:
        return formula
    there = _fraction(_beside_one(substitute(there, relative), of, entries), entries)
    return p.where(is_peak(of), there, formula)


def _without_peak(node: Expression, of: Expression) -> Expression:
    """Split a sum into the term of the peak and the others."""
    if isinstance(node, Application) and node.primitive is row_sum:
        largest = at_peak(node.arguments[0], of)
        if largest is not None:
            return largest + row_sum(p.where(is_peak(of), 0, node.arguments[0]))
    return node


def _beside_one(formula: Expression, of: Expression, entries: Entries) -> Expression:
    """Write sums whose largest term is a number as that and the sum of the others."""

    def change(node: Expression) -> Expression:
        if isinstance(node, Application) and node.primitive is row_sum and not isinstance(node.arguments[0], Constant):
            largest = at_peak(node.arguments[0], of)
            if isinstance(largest, Constant) and largest.value:
                return largest + row_sum_but(node.arguments[0], of)
        return node

    return simplest(rebuild(normal(formula, entries), change))


def _fraction(formula: Expression, entries: Entries) -> Expression:
    """Return a formula as one fraction multiplied out, if terms cancel that way."""
    above, below = _over_common(formula)
    try:
        terms = _polynomial(above, entries, opened=False)
    except _TooManyTermsError:
        return formula
    total: Expression = Constant(0)
    for powers, coefficient in terms.items():
        product: Expression = Constant(coefficient)
        for base, n in sorted(powers, key=str):
            product = product * p.power(base, n)
        total = total + product
    return simplest(total / below)


def _over_common(node: Expression) -> tuple[Expression, Expression]:
    """Return numerator and denominator of sums and products."""
    if isinstance(node, Application):
        primitive = node.primitive
        if primitive is p.negative:
            above, below = _over_common(node.arguments[0])
            return -above, below
        if primitive in (p.add, p.subtract, p.multiply, p.divide):
            (a, b), (c, d) = (_over_common(argument) for argument in node.arguments)
            if primitive is p.multiply:
                return a * c, b * d
            if primitive is p.divide:
                return a * d, b * c
            b, d = simplify(b), simplify(d)
            shared = simplify(d / b)  # one denominator often divides the other
            if not (isinstance(shared, Application) and shared.primitive is p.divide):
                return (a * shared + c if primitive is p.add else a * shared - c), d
            shared = simplify(b / d)
            if not (isinstance(shared, Application) and shared.primitive is p.divide):
                return (a + c * shared if primitive is p.add else a - c * shared), b
            return (a * d + c * b if primitive is p.add else a * d - c * b), b * d
    return node, Constant(1)
