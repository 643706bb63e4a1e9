"""From a formula to machine operations: rounding, limits at infinity and NaN included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache, reduce
from typing import Any, TypeAlias

import numpy as np

from nonlin.arithmetic.machine import ROUNDERS, copy_sign, fma, is_application, is_constant
from nonlin.arithmetic.mathematics import FUNCTIONS, GENERAL_COMBINATIONS, MODERATE_COMBINATIONS
from nonlin.arithmetic.number import Lanes, Number, where
from nonlin.formula import primitives as p
from nonlin.formula.calculus import canonical, match
from nonlin.formula.coefficients import CONSTANTS
from nonlin.formula.constants import constant_value
from nonlin.formula.expression import (
    Application,
    Constant,
    Expression,
    FormulaError,
    Symbol,
    postorder,
    remembered,
    substitute,
    symbols,
)
from nonlin.formula.limits import limit
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling

_Spelled: TypeAlias = Number | Expression  # conditions are plain expressions


class _Lowering(Spelling[_Spelled]):
    """Spells a formula in machine operations."""

    language = "machine operations"

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self._done: dict[Expression, _Spelled] = {}
        self.zero_has_won = False
        """Whether some product is 0 at a parameter of 0, even if x is NaN."""
        self.table = {
            "add": lambda a, b: a + b,
            "subtract": lambda a, b: a - b,
            "multiply": lambda a, b: a * b,
            "divide": lambda a, b: a / b,
            "negative": lambda a: -a,
            "less": lambda a, b: a < b,
            "less_equal": lambda a, b: a <= b,
            "greater": lambda a, b: a > b,
            "greater_equal": lambda a, b: a >= b,
            "logical_and": lambda a, b: a & b,
            "logical_or": lambda a, b: a | b,
            "where": where,
            "is_number": lambda a: absolute_is_number(a.high),
            "nan": lambda: Number(lanes, p.sqrt(Constant(-1))),
            **FUNCTIONS,
        }

    def memo(self) -> dict[Expression, _Spelled]:
        return self._done  # parts are spelled on their own too, and shared ones then as often as there are ways to them

    def symbol(self, name: str) -> Number:
        return Number(self.lanes, Symbol(name))

    def constant(self, value: Fraction) -> Number:
        return Number.constant(self.lanes, value)

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> _Spelled:
        exact = constant_value(node)
        if exact is not None:
            return self.constant(exact)
        combined = self._combined(node)
        if combined is not None:
            return combined
        if primitive is p.multiply and is_application(node.arguments[1], "where"):
            # Constants are multiplied with each other: 1.05*where(x > 0, x, 1.67*expm1(x)) rounds once less.
            factor = constant_value(node.arguments[0])
            if factor is not None:
                condition, *branches = node.arguments[1].arguments
                return self._number(p.where(condition, *(_scaled(factor, branch) for branch in branches)))
        gathered = _gather_x(node)
        if gathered is not node:
            return self._number(gathered)
        if primitive is p.integer_power:
            return _integer_power(arguments[0], int(node.arguments[1].value))
        if primitive is p.divide and is_application(node.arguments[1], "integer_power"):
            # a/b^n would be 0 where b^n overflows and the quotient is still a subnormal number.
            base, power = node.arguments[1].arguments
            inverse = self.constant(Fraction(1)) / self._number(base)
            dividend: Number = arguments[0]
            return dividend * _integer_power(inverse, int(power.value))
        if primitive is p.divide and not self.lanes.moderate and symbols(node.arguments[1]):
            # c*u^2/v as c*u*(u/v): the square may overflow where the quotient does not.
            square = next((f for f in _factors(node.arguments[0]) if is_application(f, "integer_power")), None)
            if square is not None:
                base, n = square.arguments
                others = [f for f in _factors(node.arguments[0]) if f is not square]
                return self._number(reduce(p.multiply, [*others, p.power(base, n - 1)]) * (base / node.arguments[1]))
        if primitive is p.multiply:
            product, second = arguments[0] * arguments[1], node.arguments[1]
            if is_application(second, "integer_power") and self._combined(second) is None:
                # c*x^n as ((c*x)*x)...: x^n alone may overflow where the product does not, and 0*inf is no number.
                base, power = second.arguments
                product = _integer_power(self._number(base), int(power.value), arguments[0])
            return self._zero_wins(product, arguments, node)
        if primitive is p.maximum or primitive is p.minimum:
            return _extreme(primitive is p.maximum, *arguments)
        if primitive is p.where:
            condition, a, b = node.arguments
            if is_application(condition, "greater") and condition.arguments == (a, b):
                return _extreme(True, *arguments[1:])
            if is_application(condition, "less") and condition.arguments == (a, b):
                return _extreme(False, *arguments[1:])
        return super().application(primitive, arguments, node)

    def _combined(self, node: Expression) -> Number | None:
        """Return what is computed together in fewer operations, if the node is that."""
        plain = self.lanes.moderate and not self.lanes.compensated
        for pattern, function in (*GENERAL_COMBINATIONS, *(MODERATE_COMBINATIONS if plain else ())):
            found = next(match(pattern, node, {}), None)
            if found is not None:
                return function(**{name: self._number(part) for name, part in found.items()})
        return None

    def _zero_wins(self, product: Number, factors: tuple[Number, Number], node: Application) -> Number:
        """A parameter of 0 makes a product 0 whatever x is, as the limit at infinity has it."""
        if self.lanes.moderate:
            return product
        for factor, other, of in zip(node.arguments, node.arguments[::-1], factors, strict=True):
            if "x" not in symbols(other):
                continue
            if symbols(factor) and "x" not in symbols(factor):
                self.zero_has_won = True
                return where(p.absolute(of.high) > 0, product, of)
            for parameter in sorted(symbols(factor) - {"x"}):
                if _vanishes(factor, parameter):  # sin(alpha*x), whatever x is
                    self.zero_has_won = True
                    product = where(p.absolute(self.symbol(parameter).high) > 0, product, 0)
        return product

    def _number(self, node: Expression) -> Number:
        number = self(node)
        assert isinstance(number, Number)
        return number


@remembered
def _vanishes(node: Expression, parameter: str) -> bool:
    """Whether an expression with x in it is 0 for every x when a parameter is 0."""
    try:
        return is_constant(canonical(substitute(node, {parameter: 0})), 0)
    except FormulaError:  # it divides by the parameter
        return False


def _gather_x(node: Application) -> Expression:
    """Multiply the factors with x first, and then by the others.

    x*sigmoid(x)*value: x*value may overflow where the product does not; and x*sigmoid(x) is better known than its factors.
    """
    with_x: list[Expression] = []
    others: list[Expression] = []
    for factor in _factors(node):
        (with_x if "x" in symbols(factor) or not symbols(factor) else others).append(factor)
    if not others or sum("x" in symbols(factor) for factor in with_x) < 2:
        return node
    return p.multiply(reduce(p.multiply, with_x), reduce(p.multiply, others))


def _scaled(factor: Fraction, node: Expression) -> Expression:
    """Multiply by a constant, which joins one that is there."""
    if is_application(node, "multiply"):
        inner = constant_value(node.arguments[0])
        if inner is not None:
            return Constant(factor * inner) * node.arguments[1]
    return Constant(factor) * node


def _factors(product: Expression) -> list[Expression]:
    factors, remaining = [], [product]
    while remaining:
        node = remaining.pop()
        if is_application(node, "multiply"):
            remaining += node.arguments[::-1]
        else:
            factors.append(node)
    return factors


def _integer_power(base: Number, n: int, factor: Number | None = None) -> Number:
    """Multiply ``factor``, if there is one, by the n-th power of the base, whose factors join one by one up to the third."""
    if factor is not None and n <= 3:
        for _ in range(n):
            factor = factor * base
        return factor
    result, square = factor, base
    while True:
        if n % 2:
            result = square if result is None else result * square
        n //= 2
        if not n:
            assert result is not None
            return result
        square = square * square


def _extreme(largest: bool, a: Number, b: Number) -> Number:
    # The processor's maximum returns its second operand if one is NaN: that must not be the constant of maximum(x, 0).
    if isinstance(b.high, Constant):
        a, b = b, a
    if a.lanes.compensated and b.low is not None:
        # At equal rounded values the one that is known exactly, or a clipped number could overshoot by its rest.
        return where(a >= b if largest else a <= b, a, b)
    return where(a > b if largest else a < b, a, b)


class _Interpreter(Spelling[Any]):
    """Runs machine operations in NumPy, one by one: to look at a kernel's behaviour before it is compiled."""

    language = "NumPy"

    def __init__(self, element: str, values: Mapping[str, Any], fused: bool) -> None:
        self.type = np.dtype(element).type
        self.values = values
        with_type = self.type
        longer = with_type if not fused else np.float64 if element == "float32" else np.longdouble
        self.table = {
            "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
            "negative": np.negative, "absolute": np.abs, "sqrt": np.sqrt, "rint": np.rint,
            "less": np.less, "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
            "logical_and": np.logical_and, "logical_or": np.logical_or, "where": np.where,
            "copy_sign": np.copysign,
            # Of float32 numbers the product is exact in float64: only its sum is rounded, twice. Of float64 numbers it is
            # nearly exact where there is a longer type.
            "fma": lambda a, b, c: (np.multiply(a, b, dtype=longer) + c).astype(with_type),
            "scale": self._scale,
            "power_of_two": self._power_of_two,
            "exponent": lambda a: with_type(0) * a + np.frexp(a)[1] - 1,
            "significand": lambda a: np.frexp(a)[0] * with_type(2),
            "lookup": lambda table, a: table[a.astype(int)],
            "library_sin": lambda a, b, c: np.where(np.abs(a) > c, np.sin(a), b),
            "library_cos": lambda a, b, c: np.where(np.abs(a) > c, np.cos(a), b),
        }  # fmt: skip

    def _scale(self, a: Any, n: Any) -> Any:
        lowest, highest = (-252, 254) if self.type is np.float32 else (-2044, 2046)
        if self.type is np.longdouble:
            n = n.astype(np.float64)
        held = np.nan_to_num(np.clip(n, lowest, highest)).astype(int)
        half = held // 2
        scaled = a * np.ldexp(self.type(1), half) * np.ldexp(self.type(1), held - half)
        return np.where(n < lowest, self.type(0), scaled)

    def _power_of_two(self, shifted: Any) -> Any:
        n = shifted - self.type(ROUNDERS["float32" if self.type is np.float32 else "float64"])
        return np.ldexp(self.type(1), np.nan_to_num(n, posinf=0, neginf=0).astype(int))

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def constant(self, value: Fraction) -> Any:
        return np.asarray(float(value), self.type)


def interpret(operations: Expression, element: str, values: Mapping[str, Any], *, fused: bool = True) -> Any:
    """Run machine operations in NumPy, one by one; those that multiply and add round once only if they are ``fused``."""
    dtype = np.dtype(element)
    with np.errstate(all="ignore"):
        return _Interpreter(element, {name: np.asarray(value, dtype) for name, value in values.items()}, fused)(operations)


def lower(formula: Expression, lanes: Lanes, parameters: Mapping[str, float]) -> Expression:
    """Return machine operations that compute the formula in the lanes' arithmetic.

    Parameters
    ----------
    formula : Expression
        In canonical form. Its input is the symbol ``x``.
    lanes : Lanes
    parameters : Mapping[str, float]
        A typical value for every other symbol: where the plain operations give NaN at an infinite x although the function
        has a limit, that is seen with these.
    """
    return _lower(formula, lanes, tuple(parameters.items()))


def lower_condition(condition: Expression, lanes: Lanes) -> Expression:
    """Return machine operations for a condition."""
    lowered = _Lowering(lanes)(condition)
    assert isinstance(lowered, Expression)
    return lowered


@lru_cache(maxsize=64)
def _lower(formula: Expression, lanes: Lanes, parameters: tuple[tuple[str, float], ...]) -> Expression:
    lowering = _Lowering(lanes)
    number = lowering(formula)
    assert isinstance(number, Number)
    operations = number.rounded()
    if not lanes.compensated:
        operations = _contract(operations)
    if lanes.moderate:
        return operations
    if "x" not in symbols(operations):
        return _keep_nan(operations)
    operations = _mend_special_values(
        _mend_overflow(operations, formula, lanes, dict(parameters)), formula, lanes, dict(parameters)
    )
    return _keep_nan(operations) if lowering.zero_has_won else operations


def _contract(operations: Expression) -> Expression:
    """Fuse each sum with a product, and each product with a reciprocal, that nothing else needs.

    Not for compensated arithmetic: what it computes depends on every rounding.
    """
    uses = Counter(argument for node in postorder(operations) for argument in node.arguments)
    fused: dict[Expression, Expression] = {}

    def product(node: Expression) -> tuple[Expression, Expression] | None:
        """Return the factors of a product, or of a negated one."""
        if uses[node] != 1:
            return None
        if is_application(node, "negative") and is_application(node.arguments[0], "multiply") and uses[node.arguments[0]] == 1:
            a, b = node.arguments[0].arguments
            return -fused[a], fused[b]
        return (fused[node.arguments[0]], fused[node.arguments[1]]) if is_application(node, "multiply") else None

    for node in postorder(operations):
        fused[node] = node
        if not isinstance(node, Application):
            continue
        arguments = tuple(fused[a] for a in node.arguments)
        if node.primitive in (p.add, p.subtract):
            (a, b), minus = node.arguments, node.primitive is p.subtract
            if factors := product(a):
                fused[node] = fma(*factors, -arguments[1] if minus else arguments[1])
                continue
            if factors := product(b):
                fused[node] = fma(-factors[0] if minus else factors[0], factors[1], arguments[0])
                continue
        if node.primitive is p.multiply:
            for one, other in (node.arguments, node.arguments[::-1]):
                if is_application(one, "divide") and uses[one] == 1 and is_constant(one.arguments[0], 1):
                    fused[node] = fused[other] / fused[one.arguments[1]]
                    break
            else:
                fused[node] = node.primitive(*arguments)
            continue
        if arguments != node.arguments:
            fused[node] = node.primitive(*arguments)
    return fused[operations]


def guard_of(limit: int, *operations: Expression) -> Expression | None:
    """Return the condition under which operations in moderate arithmetic mean what they say; None if they always do.

    Every argument of an exponential is at most ``limit`` in size, and every operand at most 2**60.
    """
    exponents = [
        node.arguments[0].arguments[:2]
        for result in operations
        for node in postorder(result)
        if is_application(node, "power_of_two") and is_application(node.arguments[0], "fma")  # else it is constant
    ]
    if not exponents:
        return None
    bounds: dict[Expression, Fraction] = {}
    conditions = []
    for argument, over_log2 in dict.fromkeys(exponents):
        assert isinstance(over_log2, Constant)
        scale = (over_log2.value * CONSTANTS["log(2)"]).limit_denominator(2**10)  # 1 but for a factor that has joined
        monomial = _monomial(argument)
        if monomial is None:
            bound = _bound_on_x(argument, limit / abs(scale))
            if bound is not None:
                bounds[Symbol("x")] = min(bound, bounds.get(Symbol("x"), _LARGEST_OPERAND))
                continue
            conditions.append(_size(argument) <= Constant(limit / abs(scale)))
            continue
        # |c x^k| <= limit is a condition on x itself.
        factor, x, degree = scale * monomial[0], *monomial[1:]
        size = min(limit / abs(factor), _LARGEST_OPERAND**2)
        bounds[x] = min(Fraction(float(size) ** (1 / degree)), bounds.get(x, _LARGEST_OPERAND))
    operands = (Symbol(name) for name in sorted(frozenset().union(*map(symbols, operations))))
    conditions += [p.absolute(x) <= Constant(bounds.get(x, _LARGEST_OPERAND)) for x in operands]
    return reduce(p.logical_and, dict.fromkeys(conditions))


_LARGEST_OPERAND = Fraction(2**60)


@lru_cache(maxsize=64)
def _bound_on_x(argument: Expression, limit: Fraction) -> Fraction | None:
    """Return the bound on ``|x|`` up to which an argument keeps within a limit, if it exceeds that at every larger x."""
    if symbols(argument) != {"x"} or any(is_application(node, "power_of_two") for node in postorder(argument)):
        return None  # of an exponential's exponential the bits are those of one type of lanes

    def keeps(sizes: Any) -> Any:
        below, above = (np.abs(interpret(argument, "float64", {"x": sign * sizes})) for sign in (-1, 1))
        return (below <= float(limit)) & (above <= float(limit))

    low, high = 2.0**-30, float(_LARGEST_OPERAND)
    for _ in range(6):
        sizes = np.geomspace(low, high, 241)
        kept = keeps(sizes)
        count = int(np.count_nonzero(kept))
        if not 0 < count < len(sizes) or not kept[:count].all():
            return None
        low, high = float(sizes[count - 1]), float(sizes[count])
    return Fraction(low)


def _size(node: Expression) -> Expression:
    while is_application(node, "negative") or is_application(node, "absolute"):
        (node,) = node.arguments
    return p.absolute(node)


def _monomial(node: Expression) -> tuple[Fraction, Symbol, int] | None:
    """Return c, x and k of operations whose size is about that of ``c*x^k``, or None if they are no such thing."""
    factor, symbol, degree = Fraction(1), None, 0
    remaining = [node]
    while remaining:
        node = remaining.pop()
        if isinstance(node, Constant) and node.value:
            factor *= node.value
        elif isinstance(node, Symbol) and symbol in (None, node):
            symbol, degree = node, degree + 1
        elif isinstance(node, Application) and node.primitive in (p.negative, p.absolute, p.multiply):
            remaining += node.arguments
        elif is_application(node, "where") and any(isinstance(bound, Constant) for bound in node.arguments[1:]):
            remaining += (part for part in node.arguments[1:] if not isinstance(part, Constant))  # held in bounds
        else:
            return None
    return None if symbol is None else (factor, symbol, degree)


def _keep_nan(operations: Expression) -> Expression:
    x = Symbol("x")
    return p.where(absolute_is_number(x), operations, x)


def absolute_is_number(x: Expression) -> Expression:
    """Return the condition that x is not NaN."""
    return p.absolute(x) >= 0


#: From here on x is taken so many powers of two smaller, where something overflows that is divided back.
_FAR = Fraction(2**960)
_STEP = Fraction(2**480)


def _mend_overflow(operations: Expression, formula: Expression, lanes: Lanes, parameters: Mapping[str, float]) -> Expression:
    """Compute f(x) as 2^k*f(x/2^k) or f(x/2^k) where x is huge and plain operations overflow: log(1 + exp(2*x))/2.

    Only where f is found to be about linear or constant there. A wave of an argument beyond the largest number is that of a
    smaller one: no digit of it is known. Narrower lanes that overflow are not chosen.
    """
    if lanes.element != "float64" or not lanes.compensated:
        return operations
    x, largest = Symbol("x"), Constant(lanes.largest)
    sizes = np.outer([1, 0.3, 1e-4, -1, -0.3, -1e-4], np.ones(3)).ravel() * float(lanes.largest)
    values = {"x": sizes, **{name: np.tile([value, 64 * value, value / 64], 6) for name, value in parameters.items()}}
    plain, exact = (np.broadcast_to(interpret(operations, kind, values), sizes.shape) for kind in ("float64", "longdouble"))
    lost = ~np.isfinite(plain) & (np.abs(exact) < float(lanes.largest))
    if not lost.any():
        return operations
    less = substitute(operations, {"x": x * Constant(1 / _STEP)})
    more = less * Constant(_STEP)
    waves = {"sin", "cos"} & {node.primitive.name for node in postorder(formula) if isinstance(node, Application)}
    for other in (more, less):
        results = np.broadcast_to(interpret(other, "float64", values), sizes.shape)
        if np.allclose(results[lost], exact[lost].astype(float), rtol=1e-12):
            less = other
            break
    else:
        if not waves:
            return operations
    far = (p.absolute(x) >= Constant(_FAR)) & (p.absolute(x) <= largest)
    return p.where(p.absolute(operations) <= largest, operations, p.where(far, less, operations))


def _mend_special_values(
    operations: Expression, formula: Expression, lanes: Lanes, parameters: Mapping[str, float]
) -> Expression:
    """Make sure of NaN at NaN, and of the limits at both infinities.

    At infinity the plain operations can give NaN (inf/inf, 0*inf), and something else than the limit where they compare (x and
    2*x are equal there) or where one of several infinities is the larger.
    """
    x = Symbol("x")
    # A little below the largest number, so that a factor of the formula does not overflow at once.
    bound = Fraction(2) ** (lanes.largest.numerator.bit_length() - 20)
    huge = [float(bound) / divisor for divisor in (1, 2, 3, 7, 23, 101, 1009)]
    probes = np.array([np.nan, np.inf, -np.inf, *huge, *(-h for h in huge)], lanes.element)
    others = {name: np.full(probes.shape, value) for name, value in parameters.items()}
    results = np.broadcast_to(interpret(operations, lanes.element, {"x": probes, **others}), probes.shape)
    nan, infinite, near = results[0], results[1:3].astype(float), results[3:].reshape(2, len(huge)).astype(float)
    plain, goes_on = substitute(formula, parameters), _goes_on(formula, near, infinite)
    known = [None if goes_on else limit(plain, sign) for sign in (1, -1)]
    wrong = [found is not None and not _is_close(at, found) for at, found in zip(infinite, known, strict=True)]
    for end, sign in enumerate((1, -1)):
        found = known[end]
        if not any(wrong) or found is None:
            continue
        beyond = x > Constant(lanes.largest) if sign > 0 else x < Constant(-lanes.largest)
        if parameters:
            # Other parameters may have other limits: what is computed for the largest x says which.
            held = substitute(operations, {"x": p.where(beyond, Constant(sign * bound), x)})
            held = p.where(beyond & (p.absolute(held) > Constant(2**64)), copy_sign(x, held), held)
            held = p.where(beyond & (p.absolute(held) < Constant(Fraction(1, 2**64))), Constant(0), held)
            if _is_close(interpret(held, lanes.element, {"x": probes, **others})[1 + end], found):
                operations = held
        elif wrong[end]:
            operations = p.where(beyond, _number_at(found, lanes), operations)
    return operations if np.isnan(nan) else _keep_nan(operations)


_EXPONENTIALS = frozenset({"sigmoid", "sech", "softplus", "expm1", "tanh_softplus", "sech_softplus", "normal_cdf"})
#: What an exponential outweighs in the end.
_ENDLESS = frozenset({"integer_power", "divide"})


def _goes_on(formula: Expression, near: Any, infinite: Any) -> bool:
    """Whether what the operations give at both infinities is where their values at the largest numbers lead."""
    kinds = [node.primitive.name for node in postorder(formula) if isinstance(node, Application)]
    exponentials = kinds.count("exp") + len(_EXPONENTIALS & {*kinds})
    if exponentials > 1 or (exponentials and not _ENDLESS.isdisjoint(kinds)):
        return False  # exponents are held at bounds, where an exponential no longer makes up for another, or for a power
    for values, at in zip(near, infinite, strict=True):
        if np.isnan(values).any() or np.isnan(at):
            return False
        if np.isinf(at) and not ((np.abs(values) > 1e25).all() and (np.sign(values) == np.sign(at)).all()):
            return False
        if np.isfinite(at) and not np.allclose(values, at, rtol=1e-5, atol=1e-25):
            return False
    return True


def _is_close(value: float, known: Fraction | float) -> bool:
    return value == known or bool(np.isclose(value, float(known), rtol=1e-5, atol=1e-25))


def _number_at(known: Fraction | float, lanes: Lanes) -> Expression:
    """Return a limit as a machine number; an infinite one is as large as x, which is infinite there."""
    if isinstance(known, Fraction):
        return Constant(lanes.round(known))
    size = p.absolute(Symbol("x"))
    return size if known > 0 else -size
