"""Algebra: products and sums in a normal form, so that derivatives are short and share what they can.

A product is a rational coefficient times powers of bases; a sum is a list of products with equal ones merged and the factors
that all of them share taken out. Taking out the shared factor also keeps accuracy: the slope of silu becomes
``sigmoid(x)*(1 + x*sigmoid(-x))``, a single underflowing factor instead of a sum of two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce

from nonlin.formula import primitives as p
from nonlin.formula.expression import (
    Application,
    Constant,
    Expression,
    Symbol,
    postorder,
    rational_power,
    rebuild,
    remembered,
    symbols,
)

Powers = dict[Expression, int]
_SUMS = frozenset({p.add, p.subtract})
_PRODUCTS = frozenset({p.multiply, p.divide, p.integer_power})


@remembered
def simplify(expression: Expression) -> Expression:
    """Return an equal expression with products and sums in normal form.

    Examples
    --------
    >>> from nonlin.formula import Symbol, sigmoid
    >>> from nonlin.formula.algebra import simplify
    >>> x = Symbol("x")
    >>> print(simplify(sigmoid(x) + x * 2 * sigmoid(x) / 2))
    sigmoid(x)*(1 + x)
    """
    return rebuild(expression, _normal)


def split(product: Expression, belongs: Callable[[Expression], bool]) -> tuple[Expression, Expression]:
    """Split a product into that of the factors that belong together, numbers among them, and that of the others.

    Examples
    --------
    >>> from nonlin.formula import Symbol
    >>> from nonlin.formula.algebra import split
    >>> x, t = Symbol("x"), Symbol("t")
    >>> print(*split(2 * x / t, lambda factor: factor is t))
    2/t x
    """
    coefficient, powers = _factors(product)
    own = {base: exponent for base, exponent in powers.items() if belongs(base)}
    others = {base: exponent for base, exponent in powers.items() if base not in own}
    return _product(coefficient, own), _product(Fraction(1), others)


def split_sum(total: Expression, belongs: Callable[[Expression], bool]) -> tuple[Expression, Expression]:
    """Split a sum into that of the terms with a factor that belongs, and that of the others.

    Examples
    --------
    >>> from nonlin.formula import Symbol
    >>> from nonlin.formula.algebra import split_sum
    >>> x, t = Symbol("x"), Symbol("t")
    >>> print(*split_sum(1 + 2 * x * t - t, lambda factor: factor is x), sep=", ")
    2*x*t, 1 - t
    """
    own: list[tuple[Fraction, Powers]] = []
    others: list[tuple[Fraction, Powers]] = []
    for term in _terms(total):
        (own if any(map(belongs, term[1])) else others).append(term)
    return _sum(own) if own else Constant(0), _sum(others) if others else Constant(0)


def _normal(node: Expression) -> Expression:
    if not isinstance(node, Application):
        return node
    if node.primitive in _SUMS:
        return _normal_sum(node)
    if node.primitive in _PRODUCTS or node.primitive is p.negative:
        return _into_choice(*_factors(node))
    if node.primitive is p.where:
        return _normal_choice(node)
    return node


@remembered
def _factors(root: Expression) -> tuple[Fraction, Powers]:
    """Split a product into its rational coefficient and the powers of its other factors."""
    found: dict[Expression, tuple[Fraction, Powers]] = {}
    for node in postorder(root, below=_is_product):
        found[node] = _own_factors(node, [found[argument] for argument in node.arguments] if _is_product(node) else [])
    return found[root]


def _is_product(node: Expression) -> bool:
    return isinstance(node, Application) and (node.primitive in _PRODUCTS or node.primitive is p.negative)


def _own_factors(node: Expression, parts: list[tuple[Fraction, Powers]]) -> tuple[Fraction, Powers]:
    """Split a product whose arguments are split already."""
    if isinstance(node, Constant):
        return node.value, {}
    if isinstance(node, Application):
        if node.primitive is p.negative:
            ((coefficient, powers),) = parts
            return -coefficient, powers
        if node.primitive is p.multiply or node.primitive is p.divide:
            sign = 1 if node.primitive is p.multiply else -1
            (left, powers), (right, others) = parts
            return left * right**sign, _merge(powers, others, sign)
        if node.primitive is p.integer_power:
            (coefficient, powers), (exponent, _) = parts
            power = rational_power(coefficient, int(exponent))
            # (2*x)**5000 is no 2**5000*x**5000: neither of the two is a number.
            if power is None:
                return Fraction(1), {node.arguments[0]: int(exponent)}
            return power, _merge({}, powers, int(exponent))
        if node.primitive in _SUMS:
            # A sum with a rational content, 2*a + 2*b, hands it to the product: the rest is then found equal elsewhere.
            content, primitive_part = _content(node)
            return content, {primitive_part: 1}
    return Fraction(1), {node: 1}


def _merge(powers: Powers, others: Powers, times: int) -> Powers:
    result = dict(powers)
    for base, exponent in others.items():
        result[base] = result.get(base, 0) + times * exponent
    for base in [b for b in result if isinstance(b, Application) and b.primitive is p.sqrt]:
        # sqrt(a)*sqrt(a) is a, likewise in a denominator, and a/sqrt(a) is sqrt(a).
        inner = base.arguments[0]
        whole = int(result[base] / 2)
        if result[base] < 0 < result.get(inner, 0):
            whole = -min(-(result[base] // 2), result[inner])
        if whole:
            result[base] -= 2 * whole
            result[inner] = result.get(inner, 0) + whole
    for base in [b for b in result if isinstance(b, Application) and b.primitive is p.sign]:
        # a*sign(a) is |a|.
        inner = base.arguments[0]
        pairs = min(result[base], result.get(inner, 0))
        if pairs > 0:
            result[base] -= pairs
            result[inner] -= pairs
            size = p.absolute(inner)
            result[size] = result.get(size, 0) + pairs
    return {base: exponent for base, exponent in result.items() if exponent}


def without(node: Expression, factor: Expression) -> Expression | None:
    """Return what a product is multiplied by besides a factor that is itself a product, or None if it is not all there.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp, sqrt
    >>> from nonlin.formula.algebra import without
    >>> x, b = Symbol("x"), Symbol("b")
    >>> print(without(2 * x * exp(x) / b, x / sqrt(b)))
    2*exp(x)/sqrt(b)
    """
    coefficient, powers = _factors(node)
    content, wanted = _factors(factor)
    powers = dict(powers)
    for base, exponent in wanted.items():
        sign = 1 if exponent > 0 else -1
        while powers.get(base, 0) * sign < exponent * sign:
            # b is sqrt(b)*sqrt(b)
            inner = base.arguments[0] if isinstance(base, Application) and base.primitive is p.sqrt else None
            if inner is None or powers.get(inner, 0) * sign < 1:
                return None
            powers[inner] -= sign
            powers[base] = powers.get(base, 0) + 2 * sign
        powers[base] -= exponent
    return _product(coefficient / content, {base: exponent for base, exponent in powers.items() if exponent})


def _into_choice(coefficient: Fraction, powers: Powers) -> Expression:
    """Build a product; one with a factor that is 0 on one side of a condition is 0 there, even where the rest is infinite."""
    for base, exponent in powers.items():
        if exponent > 0 and isinstance(base, Application) and base.primitive is p.where:
            condition, a, b = base.arguments
            sides = [_is_zero(a), _is_zero(b)]
            if any(sides):
                inner, others = _factors(p.power(b if sides[0] else a, exponent))
                rest = _merge({other: e for other, e in powers.items() if other is not base}, others, 1)
                product = _into_choice(coefficient * inner, rest)
                return p.where(condition, Constant(0), product) if sides[0] else p.where(condition, product, Constant(0))
    return _product(coefficient, powers)


def _is_zero(node: Expression) -> bool:
    return isinstance(node, Constant) and node.value == 0


def _order(base: Expression) -> int:
    return 0 if isinstance(base, Symbol) else 1


def _product(coefficient: Fraction, powers: Powers) -> Expression:
    """Build a product: one constant in front, then symbols, then the rest; divisors together."""
    for base in [b for b in powers if isinstance(b, Constant)]:
        coefficient *= base.value ** powers[base]
        powers = {b: e for b, e in powers.items() if b is not base}
    if not coefficient:
        return Constant(0)
    fixed = {base: e for base, e in powers.items() if not symbols(base)}
    moving = sorted((item for item in powers.items() if item[0] not in fixed), key=lambda item: _order(item[0]))
    above = [p.power(base, e) for base, e in moving if e > 0]
    below = [p.power(base, -e) for base, e in moving if e < 0]
    if above and not fixed and _is_plain_quotient(coefficient):
        # x/6 is rounded once, x times a rounded 1/6 twice.
        above[0] = above[0] / coefficient.denominator
        coefficient *= coefficient.denominator
    constant = _quotient(
        [p.power(base, e) for base, e in fixed.items() if e > 0],
        [p.power(base, -e) for base, e in fixed.items() if e < 0],
        abs(coefficient),
    )
    numerator = reduce(p.multiply, [constant, *above])
    result = numerator / reduce(p.multiply, below) if below else numerator
    return -result if coefficient < 0 else result


def _is_plain_quotient(value: Fraction) -> bool:
    dyadic = value.denominator & (value.denominator - 1) == 0
    return not dyadic and value.denominator <= 100 and abs(value.numerator) <= 100


def _quotient(above: list[Expression], below: list[Expression], coefficient: Fraction) -> Expression:
    if not above and not below:
        return Constant(coefficient)
    return _multiplied(coefficient.numerator, above) / _multiplied(coefficient.denominator, below)


def _multiplied(first: int, others: list[Expression]) -> Expression:
    product: Expression = Constant(Fraction(first))
    return reduce(p.multiply, others, product)


def _terms(root: Expression) -> list[tuple[Fraction, Powers]]:
    """List the products whose sum the node is."""
    terms = []
    open_terms = [(Fraction(1), root)]
    while open_terms:
        times, node = open_terms.pop()
        if isinstance(node, Application) and node.primitive in _SUMS:
            left, right = node.arguments
            open_terms += [(times if node.primitive is p.add else -times, right), (times, left)]
        elif isinstance(node, Application) and node.primitive is p.negative:
            open_terms.append((-times, node.arguments[0]))
        else:
            coefficient, powers = _factors(node)
            terms.append((coefficient * times, powers))
    return terms


def _opened(terms: list[tuple[Fraction, Powers]]) -> list[tuple[Fraction, Powers]]:
    """Multiply out a sum times a number where another term is like one of its own: 2*(1 + x**2) + x**2 is 2 + 3*x**2."""
    kinds = [frozenset(powers.items()) for _, powers in terms]
    result = []
    for k, (coefficient, powers) in enumerate(terms):
        (base, exponent), *others = powers.items() or [(Constant(1), 0)]
        if exponent == 1 and not others and isinstance(base, Application) and base.primitive in _SUMS:
            inner = _collect(base)
            if any(frozenset(own.items()) in (*kinds[:k], *kinds[k + 1 :]) for _, own in inner):
                result += [(coefficient * part, own) for part, own in inner]
                continue
        result.append((coefficient, powers))
    return result


@remembered
def _collect(node: Expression) -> list[tuple[Fraction, Powers]]:
    merged: dict[frozenset[tuple[Expression, int]], tuple[Fraction, Powers]] = {}
    for coefficient, powers in _opened(_terms(node)):
        key = frozenset(powers.items())
        merged[key] = (merged[key][0] + coefficient if key in merged else coefficient, powers)
    return [term for term in merged.values() if term[0]]


@remembered
def _content(node: Expression) -> tuple[Fraction, Expression]:
    """Split a sum of at least two terms into its content, if all coefficients have the same size, and the rest."""
    terms = _collect(node)
    sizes = {abs(coefficient) for coefficient, _ in terms}
    if len(sizes) != 1 or len(terms) < 2:
        return Fraction(1), node
    size = sizes.pop() if terms[0][0] > 0 else -sizes.pop()
    if size == 1:
        return Fraction(1), node
    return size, _sum([(coefficient / size, powers) for coefficient, powers in terms])


def _sum(terms: list[tuple[Fraction, Powers]]) -> Expression:
    # Begin with a positive term where there is one: 1 - x rather than -x + 1.
    ordered = sorted(terms, key=lambda term: term[0] < 0) if terms[0][0] < 0 else terms
    total: Expression | None = None
    for coefficient, powers in ordered:
        if total is None:
            total = _product(coefficient, powers)
        elif coefficient < 0:
            total = total - _product(-coefficient, powers)
        else:
            total = total + _product(coefficient, powers)
    return Constant(0) if total is None else total


def _shared(terms: list[tuple[Fraction, Powers]]) -> Powers:
    shared: Mapping[Expression, int] = terms[0][1]
    for _, powers in terms[1:]:
        shared = {base: min(e, powers[base], key=abs) for base, e in shared.items() if base in powers and e * powers[base] > 0}
    return dict(shared)


def _normal_sum(node: Application) -> Expression:
    terms = _collect(node)
    if not terms:
        return Constant(0)
    if len(terms) == 1:
        return _product(*terms[0])
    moved = _into_branches(terms)
    if moved is not None:
        return moved
    shared = _shared(terms)
    if not shared:
        return _sum(terms)
    rest = _sum([(coefficient, _merge(powers, shared, -1)) for coefficient, powers in terms])
    content, rest = _content(rest) if isinstance(rest, Application) and rest.primitive in _SUMS else (Fraction(1), rest)
    return _product(content, {**shared, rest: 1})


def _into_branches(terms: list[tuple[Fraction, Powers]]) -> Expression | None:
    """Add a number to the branches of a choice between a number and something else, of which it may be a part: exp(x) - 1."""
    if len(terms) != 2:
        return None
    for (number, none), (coefficient, powers) in (terms, terms[::-1]):
        (base, exponent), *others = powers.items() or [(Constant(1), 0)]
        if none or others or exponent != 1 or not (isinstance(base, Application) and base.primitive is p.where):
            continue
        condition, *branches = base.arguments
        if any(isinstance(branch, Constant) for branch in branches):
            return p.where(condition, *(simplify(coefficient * branch + number) for branch in branches))
    return None


def _normal_choice(node: Application) -> Expression:
    condition, a, b = node.arguments
    # The inner choice by the same condition is already made: where(c, where(c, p, q), r) is where(c, p, r).
    if isinstance(a, Application) and a.primitive is p.where and a.arguments[0] is condition:
        a = a.arguments[1]
    if isinstance(b, Application) and b.primitive is p.where and b.arguments[0] is condition:
        b = b.arguments[2]
    return p.where(condition, a, b)
