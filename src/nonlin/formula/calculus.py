"""Derivatives, and the rewriting that makes a formula as written accurate in floating point."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from nonlin.formula import primitives as p
from nonlin.formula.algebra import simplify, without
from nonlin.formula.domain import is_positive, keep_divisors, keep_domain
from nonlin.formula.expression import (
    Application,
    Constant,
    Expression,
    FormulaError,
    Symbol,
    as_expression,
    postorder,
    rebuild,
    remembered,
    substitute,
    symbols,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def differentiate(expression: Expression, symbol: str = "x", order: int = 1) -> Expression:
    """Return the derivative of a formula.

    Parameters
    ----------
    expression : Expression
    symbol : str
        Name of the variable: the input or a parameter.
    order : int
        How often to differentiate; 0 returns the formula itself in its canonical form.

    Returns
    -------
    Expression
        At a kink the derivative of the branch that the formula's condition selects there.

    Raises
    ------
    ValueError
        If ``order`` is negative or not whole.

    Examples
    --------
    >>> from nonlin.formula import Symbol, differentiate, sigmoid
    >>> print(differentiate(sigmoid(Symbol("x"))))
    sigmoid(x)*sigmoid(-x)
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 0:
        raise ValueError(f"order must be a whole number of at least 0, got {order!r}")
    result = canonical(expression)
    for _ in range(order):
        # Stable forms of a slope are for evaluating it, not for differentiating it again: 1 + algebraic_sigmoid(x) has the
        # simpler slope of the two. Those by a parameter may have lost terms that cancel, so that they are the simpler ones.
        slopes = [simplify(_derivative(result, symbol))]
        if symbol != "x" and result is not expression:
            slopes.append(simplify(_derivative(simplest(result), symbol)))
        result = min(slopes, key=lambda slope: sum(1 for _ in postorder(slope)))
    return keep_domain(expression, simplest(result), simplest)


def slope_by_value(formula: Expression) -> Expression | None:
    """Return the derivative of a formula of x as a formula of its value.

    Parameters
    ----------
    formula : Expression
        In canonical form, of ``x`` alone. It must rise throughout; that is not looked at.

    Returns
    -------
    Expression or None
        With ``x`` for the value. Exact mathematically; where the value saturates it cancels. None if none was found: found are
        those of functions that are, piece by piece, one primitive between two linear functions.

    Examples
    --------
    >>> from nonlin.formula import Symbol, expm1, tanh, where
    >>> from nonlin.formula.calculus import slope_by_value
    >>> x = Symbol("x")
    >>> print(slope_by_value(where(x > 0, x, expm1(x))))
    where(x > 0, 1, 1 + x)
    >>> print(slope_by_value(tanh(x)))
    (1 - x)*(1 + x)
    """
    slope = _slope_by_value(formula, Symbol("x"))
    return None if slope is None else simplest(slope)


_ORDERS = (p.less, p.less_equal, p.greater, p.greater_equal)


def _slope_by_value(node: Expression, value: Expression) -> Expression | None:
    """Return the derivative of a node that has some value."""
    if not symbols(node):
        return Constant(0)
    if not isinstance(node, Application):
        return Constant(1)
    arguments = node.arguments
    if node.primitive is p.where:
        condition, *branches = arguments
        slopes = [_slope_by_value(branch, value) for branch in branches]
        if not (isinstance(condition, Application) and condition.primitive in _ORDERS):
            return None
        (x, edge), (first, second) = condition.arguments, slopes
        if not isinstance(x, Symbol) or symbols(edge) or first is None or second is None:
            return None
        # Where the branches meet they are equal, and one of the two is often a plain number.
        at_edge = [substitute(branch, {x.name: edge}) for branch in branches]
        known = next((level for level in at_edge if isinstance(level, Constant)), at_edge[1])
        return p.where(condition.primitive(value, known), first, second)
    if node.primitive.slope_by_value is not None:
        inner = simplify(_derivative(arguments[0], "x"))
        return None if symbols(inner) else as_expression(node.primitive.slope_by_value(value)) * inner
    for k, argument in enumerate(arguments):
        others = arguments[:k] + arguments[k + 1 :]
        if any(map(symbols, others)):
            continue
        if node.primitive is p.negative:
            slope = _slope_by_value(argument, -value)
            return None if slope is None else -slope
        if node.primitive is p.add:
            return _slope_by_value(argument, value - others[0])
        if node.primitive is p.subtract:
            slope = _slope_by_value(argument, value + others[0] if k == 0 else others[0] - value)
            return slope if slope is None or k == 0 else -slope
        if node.primitive is p.multiply:
            slope = _slope_by_value(argument, value / others[0])
            return None if slope is None else others[0] * slope
        if node.primitive is p.divide and k == 0:
            slope = _slope_by_value(argument, value * others[0])
            return None if slope is None else slope / others[0]
    return None


@remembered
def canonical(expression: Expression) -> Expression:
    """Return the form that everything computed is derived from: stable, in normal form."""
    return keep_divisors(expression, keep_domain(expression, simplest(expression), simplest), simplest)


@remembered
def simplest(expression: Expression) -> Expression:
    """Return the stable form in normal form of an expression that nobody wrote: its domain may grow where factors cancel."""
    while True:
        simpler = simplify(stabilize(expression))
        if simpler is expression:
            return expression
        expression = simpler


@remembered
def _derivative(root: Expression, symbol: str) -> Expression:
    zero, one = Constant(0), Constant(1)
    derivative: dict[Expression, Expression] = {}
    for node in postorder(root):
        if isinstance(node, Symbol):
            derivative[node] = one if node.name == symbol else zero
        elif node is p.nan:
            derivative[node] = node
        elif not isinstance(node, Application) or node.is_condition:
            derivative[node] = zero
        else:
            derivative[node] = chain_rule(node, [derivative[a] for a in node.arguments])
    return derivative[root]


def chain_rule(node: Application, inner: Sequence[Expression]) -> Expression:
    """Return the derivative of a node from those of its arguments."""
    zero = Constant(0)
    if all(slope is zero for slope in inner):
        return zero
    if node.primitive is p.where:
        # One choice between the two slopes rather than a sum of two choices.
        return p.where(node.arguments[0], inner[1], inner[2])
    if node.primitive is p.maximum or node.primitive is p.minimum:
        a, b = node.arguments
        return p.where(a > b if node.primitive is p.maximum else a < b, inner[0], inner[1])
    if node.primitive.partials is None:
        raise FormulaError(f"{node.primitive.name} has no derivative")
    total: Expression = zero
    for partial, slope in zip(node.primitive.partials(*node.arguments), inner, strict=True):
        if slope is not zero:
            total = total + slope * partial
    return total


# --- stable forms -------------------------------------------------------------------------------------------------------

_u = Symbol("u")
_v = Symbol("v")
_positive = Symbol("v", positive=True)

#: Textbook forms that cancel, overflow or lose their tails, and the equal forms that do not. ``u`` and ``v`` stand for any
#: expression, ``_positive`` for one that is known to be above zero; sums and products match in either order.
STABLE_FORMS: tuple[tuple[Expression, Expression], ...] = (
    (p.exp(_u) - 1, p.expm1(_u)),
    (1 + p.expm1(_u), p.exp(_u)),
    (p.expm1(_u) - _u, p.exp_residual(_u)),
    (p.log(1 + _u), p.log1p(_u)),
    (p.log1p(p.exp(_u)), p.softplus(_u)),
    (p.log(p.exp(_u)), _u),
    (p.exp(p.log(_u)), _u),
    (p.log1p(p.expm1(_u)), _u),
    (p.expm1(p.log1p(_u)), _u),
    (p.exp(_u) / (1 + p.exp(_u)), p.sigmoid(_u)),
    (_v / (1 + p.exp(_u)), _v * p.sigmoid(-_u)),
    (1 - p.sigmoid(_u), p.sigmoid(-_u)),
    (1 + 2 * p.cos(_u) * p.sin(_u), p.power(p.cos(_u) + p.sin(_u), 2)),
    (p.sigmoid(_u) - p.sigmoid(-_u), p.tanh(_u / 2)),
    (p.log(p.sigmoid(_u)), -p.softplus(-_u)),
    (1 + p.tanh(_u), 2 * p.sigmoid(2 * _u)),
    (1 - p.tanh(_u), 2 * p.sigmoid(-2 * _u)),
    (1 - p.power(p.tanh(_u), 2), p.power(p.sech(_u), 2)),
    (_u - p.tanh(_u), p.tanh_shrink(_u)),
    (p.tanh(p.softplus(_u)), p.tanh_softplus(_u)),
    (p.sech(p.softplus(_u)), p.sech_softplus(_u)),
    (1 - p.erf(_u), p.erfc(_u)),
    (1 + p.erf(_u), 2 * p.normal_cdf(p.sqrt(2) * _u)),
    (p.erfc(_u), 2 * p.normal_cdf(-(p.sqrt(2) * _u))),
    (1 - p.normal_cdf(_u), p.normal_cdf(-_u)),
    (_u / (1 + p.absolute(_u)), p.softsign(_u)),
    (_u / p.sqrt(1 + p.power(_u, 2)), p.algebraic_sigmoid(_u)),
    (1 / p.sqrt(1 + p.power(_u, 2)), p.reciprocal_hypot(_u)),
    (_u / p.sqrt(1 + _positive * p.power(_u, 2)), p.algebraic_sigmoid(p.sqrt(_positive) * _u) / p.sqrt(_positive)),
    (_u + p.sqrt(p.power(_u, 2) + _positive), 2 * p.sqrt(_positive) * p.half_hypot_sum(_u / p.sqrt(_positive))),
    (1 + p.algebraic_sigmoid(_u), 2 * p.half_hypot_sum(_u) * p.reciprocal_hypot(_u)),
    (1 - p.algebraic_sigmoid(_u), 2 * p.half_hypot_sum(-_u) * p.reciprocal_hypot(_u)),
    (p.sqrt(p.power(_u, 2)), p.absolute(_u)),
    (1 - p.power(p.reciprocal_hypot(_u), 2), p.power(p.algebraic_sigmoid(_u), 2)),
    (p.power(p.reciprocal_hypot(_u), 2) - 1, -p.power(p.algebraic_sigmoid(_u), 2)),
)

#: The same for factors, which may stand anywhere in a product.
STABLE_FACTORS: tuple[tuple[Expression, Expression], ...] = (
    (_u * p.reciprocal_hypot(_u), p.algebraic_sigmoid(_u)),
    (p.half_hypot_sum(-_u) * p.half_hypot_sum(_u), Constant(Fraction(1, 4))),
)

_size = p.absolute(_u)
#: f(u) - u*f'(u), which is what the slope of b*f(x/b) by b, or that of f(b*x)/b, is made of: f, f', and a form that does not
#: cancel where f is about linear, or saturated.
SCALED: tuple[tuple[Expression, Expression, Expression], ...] = (
    (p.softplus(_u), p.sigmoid(_u), p.softplus(-_size) + _size * p.sigmoid(-_size)),
    (p.algebraic_sigmoid(_u), p.power(p.reciprocal_hypot(_u), 3), p.power(p.algebraic_sigmoid(_u), 3)),
    (p.softsign(_u), 1 / p.power(1 + _size, 2), p.softsign(_u) * p.absolute(p.softsign(_u))),
    (
        p.expm1(_u),
        p.exp(_u),
        p.where(_u < -1, (1 - _u) * p.exp(_u) - 1, -(p.exp(_u) * p.exp_residual(-_u))),
    ),
    (
        p.tanh(_u),
        p.power(p.sech(_u), 2),
        p.where(
            _size < 1,
            _u * p.power(p.tanh(_u), 2) - p.tanh_shrink(_u),
            p.tanh(_u) - 4 * _u * p.sigmoid(2 * _u) * p.sigmoid(-2 * _u),
        ),
    ),
)


@remembered
def stabilize(expression: Expression) -> Expression:
    """Replace textbook forms by equal ones that keep their accuracy in floating point.

    Examples
    --------
    >>> from nonlin.formula import Symbol, erf, exp, log, sqrt, tanh
    >>> from nonlin.formula.calculus import stabilize
    >>> x = Symbol("x")
    >>> print(stabilize(x * tanh(log(1 + exp(x)))))
    x*tanh_softplus(x)
    >>> print(stabilize((1 + erf(x)) / 2))
    2*normal_cdf(sqrt(2)*x)/2
    """
    return rebuild(expression, _stable_node)


def _stable_node(node: Expression) -> Expression:
    changed = True
    while changed:
        changed = False
        for pattern, replacement in STABLE_FORMS:
            found = next(match(pattern, node, {}), None)
            if found is not None:
                # The replacement may open the way for another form, at its root or below, as far as it is new.
                node = rebuild(substitute(replacement, found), _stable_node, kept=found.values())
                changed = True
                break
    if isinstance(node, Application) and node.primitive in (p.multiply, p.divide):
        return _stable_product(node)
    if isinstance(node, Application) and node.primitive in (p.add, p.subtract):
        return _stable_scaling(node)
    return node


def _stable_product(node: Application) -> Expression:
    for pattern, replacement in STABLE_FACTORS:
        assert isinstance(pattern, Application)
        for argument in _arguments(node, pattern.arguments[1]):
            rest = without(node, substitute(pattern, {"u": argument}))
            if rest is not None:
                return rest * substitute(replacement, {"u": argument})
    return node


def _stable_scaling(node: Application) -> Expression:
    minus = -1 if node.primitive is p.subtract else 1
    for value, slope, form in SCALED:
        for (first, second), sign in ((node.arguments, 1), (node.arguments[::-1], minus)):
            for argument in _arguments(first, value):
                if isinstance(argument, Application) and argument.primitive is p.negative and _is_size(argument.arguments[0]):
                    continue  # such a form itself
                found = {"u": argument}
                rest = without(first, substitute(value, found))
                if rest is not None and simplify(rest * argument * substitute(slope, found) + minus * second) is Constant(0):
                    return stabilize(sign * rest * substitute(form, found))
    return node


def _is_size(node: Expression) -> bool:
    return isinstance(node, Application) and node.primitive is p.absolute


def _arguments(node: Expression, function: Expression) -> Iterator[Expression]:
    """Yield the arguments of a function among the factors of a product."""
    assert isinstance(function, Application)
    if isinstance(node, Application):
        if node.primitive is function.primitive:
            yield node.arguments[0]
        elif node.primitive in (p.multiply, p.divide, p.negative, p.integer_power):
            for argument in node.arguments:
                yield from _arguments(argument, function)


def match(pattern: Expression, node: Expression, found: Mapping[str, Expression]) -> Iterator[Mapping[str, Expression]]:
    """Yield the ways to bind the symbols of ``pattern`` so that it equals ``node``."""
    if isinstance(pattern, Symbol):
        if pattern.positive and not is_positive(node):
            return
        if pattern.name not in found:
            yield {**found, pattern.name: node}
        elif found[pattern.name] is node:
            yield found
        return
    if not isinstance(pattern, Application):
        if pattern is node:
            yield found
        return
    if not isinstance(node, Application) or node.primitive is not pattern.primitive:
        return
    orders = [node.arguments]
    if pattern.primitive in (p.add, p.multiply):
        orders.append(node.arguments[::-1])
    for arguments in orders:
        yield from _match_all(pattern.arguments, arguments, found)


def _match_all(
    patterns: tuple[Expression, ...], nodes: tuple[Expression, ...], found: Mapping[str, Expression]
) -> Iterator[Mapping[str, Expression]]:
    if not patterns:
        yield found
        return
    for bound in match(patterns[0], nodes[0], found):
        yield from _match_all(patterns[1:], nodes[1:], bound)
