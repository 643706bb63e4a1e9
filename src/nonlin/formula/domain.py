"""Where a formula means a number: what its square roots, logarithms and quotients ask of their arguments.

Simplification may not give a formula values that it was written without: ``sqrt(x)**2`` is x, but not below zero, and the slope
of ``log(x)`` is 1/x, but not there either. Edges belong to the domain, as in IEEE 754: ``log(0)`` is minus infinity, ``1/0``
infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from nonlin.formula import primitives as p
from nonlin.formula.expression import Application, Constant, Expression, Symbol, postorder, remembered, symbols

Normal: TypeAlias = Callable[[Expression], Expression]

#: What has the sign of its argument's exponential, or of a density: never zero, nor below.
_POSITIVE = frozenset({"exp", "sigmoid", "sech", "softplus", "normal_cdf", "erfc", "tanh_softplus", "sech_softplus"})
_POSITIVE |= {"reciprocal_hypot", "half_hypot_sum", "pi"}
_NEVER_NEGATIVE = frozenset({"absolute", "sqrt", "exp_residual"})
#: A condition, and the one that holds where it does not.
_OPPOSITE = {"less": p.greater_equal, "less_equal": p.greater, "greater": p.less_equal, "greater_equal": p.less}


@remembered
def is_positive(node: Expression) -> bool:
    """Whether the form of an expression says that it is above zero wherever it is a number."""
    if isinstance(node, Constant):
        return node.value > 0
    if isinstance(node, Symbol):
        return node.positive
    assert isinstance(node, Application)
    name, arguments = node.primitive.name, node.arguments
    if name in _POSITIVE:
        return True
    if name in ("multiply", "divide", "minimum"):
        return all(map(is_positive, arguments))
    if name == "add":
        return any(map(is_positive, arguments)) and all(map(is_never_negative, arguments))
    if name == "maximum":
        return any(map(is_positive, arguments))
    if name == "where":
        return all(map(is_positive, arguments[1:]))
    return name in ("sqrt", "integer_power", "absolute") and is_positive(arguments[0])


@remembered
def is_never_negative(node: Expression) -> bool:
    """Whether the form of an expression says that it is not below zero wherever it is a number."""
    if isinstance(node, Constant):
        return node.value >= 0
    if is_positive(node):
        return True
    if not isinstance(node, Application):
        return False
    name, arguments = node.primitive.name, node.arguments
    if name in _NEVER_NEGATIVE:
        return True
    if name == "integer_power":
        assert isinstance(arguments[1], Constant)
        return arguments[1].value % 2 == 0 or is_never_negative(arguments[0])
    if name in ("add", "divide", "minimum"):
        return all(map(is_never_negative, arguments))
    if name == "multiply":
        return arguments[0] is arguments[1] or all(map(is_never_negative, arguments))
    if name == "maximum":
        return any(map(is_never_negative, arguments))
    return name == "where" and all(map(is_never_negative, arguments[1:]))


@remembered
def domain(formula: Expression) -> Expression | None:
    """Return the condition under which no square root and no logarithm is taken of too small a number; None if it always holds.

    Examples
    --------
    >>> from nonlin.formula import Symbol, log, sqrt, where
    >>> from nonlin.formula.domain import domain
    >>> x = Symbol("x")
    >>> print(domain(log(1 - x) + sqrt(x)))
    (1 - x >= 0) & (x >= 0)
    >>> print(domain(where(x > 1, sqrt(x - 1), x)))
    (x - 1 >= 0) | (x <= 1)
    """
    return _domain(formula, certain=False)


@remembered
def _domain(formula: Expression, *, certain: bool) -> Expression | None:
    """Return the domain; a certain one leaves out what makes no NaN: what is only compared, one of two in a maximum."""
    found: dict[Expression, Expression | None] = {}
    for node in postorder(formula):
        found[node] = None
        if not isinstance(node, Application):
            continue
        inner = [found[argument] for argument in node.arguments]
        if node.primitive is p.where:
            condition, first, second = inner
            outside = node.arguments[2] is p.nan
            chosen = _both(node.arguments[0], first) if outside else _chosen(node.arguments[0], first, second)
            found[node] = chosen if certain else _both(condition, chosen)
        elif certain and node.primitive in (p.maximum, p.minimum):
            found[node] = inner[0] if inner[0] is inner[1] else None
        elif not (certain and node.is_condition):
            for one in (*inner, _asked(node)):
                found[node] = _both(found[node], one)
    return found[formula]


def keep_domain(written: Expression, computed: Expression, normal: Normal) -> Expression:
    """Return ``computed``, but NaN where it has a value although ``written`` has none.

    Parameters
    ----------
    written, computed : Expression
    normal : callable
        Brings an expression into the form in which ``computed`` has it.
    """
    wanted = domain(written)
    if wanted is None:
        return computed
    certain, wanted = _domain(computed, certain=True), normal(wanted)
    if certain is domain(computed):
        if _demands(written, normal) <= _demands(computed, normal):
            return computed
    elif certain is not None and normal(certain) is wanted:
        return computed
    kept = any(node.primitive is p.where and node.arguments[::2] == (wanted, p.nan) for node in _nodes(computed))
    return computed if kept else p.where(wanted, computed, p.nan)


def keep_divisors(written: Expression, computed: Expression, normal: Normal) -> Expression:
    """Return ``computed``, but NaN where something is zero that only ``written`` divides by: x/x is 1 everywhere but at 0.

    The parameters are those of :func:`keep_domain`.
    """
    for divisor in sorted(_divisors(written, normal) - _divisors(computed, normal), key=str):
        computed = p.where(p.absolute(divisor) > 0, computed, p.nan)
    return computed


def _demands(formula: Expression, normal: Normal) -> set[Expression]:
    """Return what single square roots and logarithms want not to be negative, wherever in the formula they stand."""
    asking = [node for node in _nodes(formula) if _asked(node) is not None]
    wanted = {normal(1 + node.arguments[0] if node.primitive is p.log1p else node.arguments[0]) for node in asking}
    return {argument for argument in wanted if not is_never_negative(argument)}


def _divisors(formula: Expression, normal: Normal) -> set[Expression]:
    """Return what depends on x, may be zero, and is divided by."""
    # In the normal form of a quotient a sum has lost the number that divides all of it.
    inverses = [normal(1 / node.arguments[1]) for node in _nodes(formula) if node.primitive is p.divide and symbols(node)]
    quotients = [node for inverse in inverses for node in _nodes(inverse) if node.primitive is p.divide]
    return set().union(*(_factors(node.arguments[1]) for node in quotients))


def _nodes(formula: Expression) -> Iterator[Application]:
    return (node for node in postorder(formula) if isinstance(node, Application))


def _factors(node: Expression) -> set[Expression]:
    if "x" not in symbols(node) or is_positive(node):
        return set()
    if isinstance(node, Application) and node.primitive in (
        p.multiply,
        p.divide,
        p.negative,
        p.integer_power,
        p.sqrt,
        p.absolute,
    ):
        return set().union(*map(_factors, node.arguments))
    return {node}


def _asked(node: Application) -> Expression | None:
    """Return what one operation asks of its argument."""
    if node.primitive not in (p.sqrt, p.log, p.log1p) or "x" not in symbols(node):
        return None
    (argument,) = node.arguments
    if node.primitive is p.log1p:
        return None if is_never_negative(argument) or is_never_negative(1 + argument) else argument >= -1
    return None if is_never_negative(argument) else argument >= 0


def _both(a: Expression | None, b: Expression | None) -> Expression | None:
    return b if a is None else a if b is None or a is b else a & b


def _chosen(condition: Expression, a: Expression | None, b: Expression | None) -> Expression | None:
    """Return what is asked by the branch that is taken, where a is asked by the first and b by the second."""
    if a is b:
        return a
    where_not = _negated(condition)
    if a is None:
        return condition | b if b is not None else None
    return a | where_not if b is None else (condition & a) | (where_not & b)


def _negated(condition: Expression) -> Expression:
    assert isinstance(condition, Application)
    name, arguments = condition.primitive.name, condition.arguments
    if name in _OPPOSITE:
        return _OPPOSITE[name](*arguments)
    a, b = map(_negated, arguments)
    return a | b if name == "logical_and" else a & b
