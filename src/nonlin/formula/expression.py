"""Expressions: immutable, shared nodes, and the tracing that makes them from a Python function.

An expression is a :class:`Symbol`, an exact :class:`Constant` or the application of a primitive to
arguments. Nodes are interned: the same formula built twice is the same object, so equality is identity,
common subexpressions are shared by construction, and every pass over an expression is memoised by node.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import _lru_cache_wrapper, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Never, TypeAlias, TypeVar
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from nonlin.formula.primitives import Primitive

T = TypeVar("T")
Number: TypeAlias = int | float | Fraction
#: Of so many nodes each pass over formulas keeps what it found.
REMEMBERED = 2**13
#: How much all passes together keep of formulas that may be gone: some 20 MB.
_MOST_REMEMBERED = 2**15
_passes: list[_lru_cache_wrapper[Any]] = []


def remembered(function: Callable[..., T]) -> _lru_cache_wrapper[T]:
    """Remember what a pass over formulas found, until so much is remembered that :func:`forget` ends it."""
    kept = lru_cache(maxsize=REMEMBERED)(function)
    _passes.append(kept)
    return kept


def forget() -> None:
    """Let go of what passes remember if it is much: a node that is a result keeps its formula from going.

    Called after each compilation, which costs more than to find again what was forgotten.
    """
    if sum(kept.cache_info().currsize for kept in _passes) > _MOST_REMEMBERED:
        for kept in _passes:
            kept.cache_clear()


class FormulaError(TypeError):
    """A Python function that cannot be read as a formula, with what to write instead."""


class _NoMethodError(FormulaError, AttributeError):
    """A method that arrays have and formulas have not."""


class Expression:
    """A node of a formula. Build one with Python's operators and the functions of :mod:`nonlin.formula`.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp
    >>> x = Symbol("x")
    >>> x * exp(x) is x * exp(x)
    True
    >>> print(x * exp(x) + 1)
    x*exp(x) + 1
    """

    __slots__ = ("__weakref__",)
    # NumPy must not swallow a symbol into an object array: array * symbol then reaches __rmul__ and its error.
    __array_ufunc__ = None
    _interned: ClassVar[WeakValueDictionary[Any, Expression]] = WeakValueDictionary()

    @property
    def arguments(self) -> tuple[Expression, ...]:
        """The nodes this one is applied to; empty for symbols and constants."""
        return ()

    @property
    def is_condition(self) -> bool:
        """Whether the node is a truth value, made by a comparison."""
        return False

    # --- Python's operators -------------------------------------------------------------------------------------

    def __add__(self, other: Operand) -> Expression:
        return _build("add", self, other)

    def __radd__(self, other: Operand) -> Expression:
        return _build("add", other, self)

    def __sub__(self, other: Operand) -> Expression:
        return _build("subtract", self, other)

    def __rsub__(self, other: Operand) -> Expression:
        return _build("subtract", other, self)

    def __mul__(self, other: Operand) -> Expression:
        return _build("multiply", self, other)

    def __rmul__(self, other: Operand) -> Expression:
        return _build("multiply", other, self)

    def __truediv__(self, other: Operand) -> Expression:
        return _build("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return _build("divide", other, self)

    def __neg__(self) -> Expression:
        return _build("negative", self)

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return _build("absolute", self)

    def __pow__(self, exponent: Operand) -> Expression:
        from nonlin.formula.primitives import power

        return power(self, exponent)

    def __rpow__(self, base: Operand) -> Expression:
        from nonlin.formula.primitives import power

        return power(base, self)

    def __lt__(self, other: Operand) -> Expression:
        return _build("less", self, other)

    def __le__(self, other: Operand) -> Expression:
        return _build("less_equal", self, other)

    def __gt__(self, other: Operand) -> Expression:
        return _build("greater", self, other)

    def __ge__(self, other: Operand) -> Expression:
        return _build("greater_equal", self, other)

    def __and__(self, other: Operand) -> Expression:
        return _build("logical_and", self, other)

    def __or__(self, other: Operand) -> Expression:
        return _build("logical_or", self, other)

    # --- what a formula cannot do, and what to write instead ------------------------------------------------------

    def __bool__(self) -> Never:
        raise FormulaError(
            f"the formula asks whether {self} is true, but x is a symbol while the formula is read: "
            "write where(condition, a, b) instead of `a if condition else b`, `and` or a chained comparison, "
            "and maximum(a, b), minimum(a, b) instead of max, min"
        )

    def __float__(self) -> Never:
        raise FormulaError(
            f"the formula needs {self} as a number, but x is a symbol while the formula is read: use nonlin.exp, "
            "nonlin.tanh and so on (or those of nonlin.formula) instead of the functions of math"
        )

    __int__ = __index__ = __complex__ = __float__

    def __array__(self, *_: object, **__: object) -> Never:
        raise FormulaError(
            f"a NumPy function was called on the symbol {self}: use the functions of nonlin.formula "
            "(exp, tanh, where, maximum, ...) instead of those of numpy"
        )

    def __iter__(self) -> Never:
        raise FormulaError(f"{self} is one symbol, not a sequence: a formula describes what happens to one element")

    def __getitem__(self, _: object) -> Never:
        self.__iter__()

    def __getattr__(self, name: str) -> Never:
        if name.startswith("_"):  # notebooks and copies ask for _repr_pretty_, __deepcopy__ and the like
            raise AttributeError(name)
        raise _NoMethodError(
            f"a formula has no .{name}(): use the functions of nonlin.formula, for example maximum(x, 0) or exp(x)"
        )

    # --- the rest ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        from nonlin.formula.text import text

        return text(self)

    def _repr_latex_(self) -> str:
        """Show the formula as mathematics in a notebook."""
        from nonlin.formula.typesetting import latex

        return f"${latex(self)}$"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (_records(self),)

    def __copy__(self) -> Expression:
        return self

    def __deepcopy__(self, _: object) -> Expression:
        return self


Operand: TypeAlias = Expression | Number


class Symbol(Expression):
    """A variable: the input ``x`` or a parameter.

    Parameters
    ----------
    name : str
        A Python identifier.
    positive : bool
        Whether it stands for numbers above zero only, so that forms apply which need that.
    """

    __slots__ = ("name", "positive")
    name: str
    positive: bool

    def __new__(cls, name: str, *, positive: bool = False) -> Symbol:
        node: Symbol = _intern(cls, (cls, name, positive), name=name, positive=positive)
        return node


class Constant(Expression):
    """An exact rational number.

    A Python float stands for the decimal that it prints as: ``1.702`` in a formula means 1702/1000, as in the paper it
    comes from, and each kernel rounds (or splits) it for its own arithmetic.

    Parameters
    ----------
    value : int, float, str, Decimal or Fraction
        ``"1.0507009873554804934"`` gives more digits than a float can.

    Raises
    ------
    FormulaError
        For NaN and the infinities, which are no numbers of a formula, and for what no float64 is near.
    """

    __slots__ = ("value",)
    value: Fraction

    def __new__(cls, value: Number | str | Decimal) -> Constant:
        exact = value if isinstance(value, Fraction) else _exact(value)
        if max(exact.numerator.bit_length(), exact.denominator.bit_length()) > _MOST_BITS:
            raise FormulaError(f"{_about(exact)} has more digits than a number of a formula can have")
        node: Constant = _intern(cls, (cls, exact), value=exact)
        return node


#: Python spells no whole numbers of more than 4,300 digits, and nothing that is computed needs a third of them.
_MOST_BITS = 14_000
_LARGEST = Fraction(sys.float_info.max)
_SMALLEST = Fraction(math.ulp(0.0))


def _exact(value: object) -> Fraction:
    """Return a number that a user gave as an exact one."""
    try:
        number: Any = repr(float(value)) if isinstance(value, float) else value
        if isinstance(number, str):
            with contextlib.suppress(InvalidOperation):  # a quotient is no decimal
                number = Decimal(number)
        # Written out, 1e999999999 would take a gigabyte.
        vast = isinstance(number, Decimal) and number and abs(number.adjusted()) > 2 * sys.float_info.max_10_exp
        exact = Fraction(0) if vast else Fraction(number)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError) as error:
        raise FormulaError(f"{value!r} is not a finite number and cannot stand in a formula") from error
    if vast or not _is_near_a_float(exact):
        about = f"a number of about 1e{number.adjusted()}" if vast else _about(exact)
        raise FormulaError(f"{about} cannot stand in a formula: no float64 is near it")
    return exact


def _is_near_a_float(value: Fraction) -> bool:
    return not value or _SMALLEST <= abs(value) <= _LARGEST


def rational_power(base: Fraction, exponent: int) -> Fraction | None:
    """Return a whole power of a number; None if it has too many digits, or no float64 is near it."""
    if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent) > _MOST_BITS:
        return base**exponent if abs(base) in (0, 1) else None
    power = base**exponent
    return power if _is_near_a_float(power) else None


def _about(value: Fraction) -> str:
    """Spell the order of magnitude of a number that may have too many digits to be spelled."""
    bits = abs(value.numerator).bit_length() - value.denominator.bit_length()
    return f"a number of about {'-' if value < 0 else ''}1e{round(bits * math.log10(2))}"


class Application(Expression):
    """A primitive applied to arguments. Made by the primitive itself, never directly."""

    __slots__ = ("_arguments", "_symbols", "primitive")
    primitive: Primitive
    _arguments: tuple[Expression, ...]
    _symbols: frozenset[str]

    def __new__(cls, primitive: Primitive, arguments: tuple[Expression, ...]) -> Application:
        key = (primitive.name, *arguments)
        node: Application = _intern(cls, key, primitive=primitive, _arguments=arguments, _symbols=symbols(*arguments))
        return node

    @property
    def arguments(self) -> tuple[Expression, ...]:
        return self._arguments

    @property
    def is_condition(self) -> bool:
        return self.primitive.is_condition


def _records(root: Expression) -> tuple[tuple[Any, ...], ...]:
    """List the nodes of a formula, arguments first and by their places in the list, for pickles as deep as no formula is."""
    places: dict[Expression, int] = {}
    records: list[tuple[Any, ...]] = []
    for node in postorder(root):
        places[node] = len(records)
        if isinstance(node, Application):
            records.append((node.primitive.name, *(places[argument] for argument in node.arguments)))
        elif isinstance(node, Constant):
            records.append((None, node.value.numerator, node.value.denominator))
        else:
            assert isinstance(node, Symbol)
            records.append((Symbol.__name__, node.name, node.positive))
    return tuple(records)


def _restore(records: tuple[tuple[Any, ...], ...]) -> Expression:
    from nonlin.formula.primitives import PRIMITIVES

    nodes: list[Expression] = []
    for kind, *parts in records:
        if kind is None:
            nodes.append(Constant(Fraction(*parts)))
        elif kind == Symbol.__name__:
            name, positive = parts
            nodes.append(Symbol(name, positive=positive))
        else:
            nodes.append(Application(PRIMITIVES[kind], tuple(nodes[place] for place in parts)))
    return nodes[-1]


_interning = threading.RLock()


def _intern(cls: type[Any], key: tuple[Any, ...], **slots: object) -> Any:
    node = Expression._interned.get(key)
    if node is None:
        # Two threads that build the same node must end up with one object, and setdefault of a weak dictionary is not atomic.
        with _interning:
            node = Expression._interned.get(key)
            if node is None:
                node = object.__new__(cls)
                for name, value in slots.items():
                    object.__setattr__(node, name, value)
                Expression._interned[key] = node
    return node


def _build(name: str, *operands: Operand) -> Expression:
    from nonlin.formula.primitives import PRIMITIVES

    return PRIMITIVES[name](*operands)


def as_expression(value: object, *, wanted: str = "a number or an expression") -> Expression:
    """Return ``value`` as an expression: expressions as they are, numbers as exact constants.

    Raises
    ------
    FormulaError
        If the value is neither.
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        hint = ""
        if isinstance(value, bool):
            hint = ": a comparison with == or != is decided in Python before the formula sees it, so write <= or >="
        elif type(value).__module__.split(".")[0] in ("numpy", "torch", "jax", "tensorflow"):
            hint = ": write the number itself, for example float(...)"
        raise FormulaError(f"a formula needs {wanted}, but got {value!r} of type {type(value).__name__}{hint}")
    return Constant(_exact(value))


def postorder(*roots: Expression, below: Callable[[Expression], bool] | None = None) -> Iterator[Expression]:
    """Yield every node below the roots once, arguments before the nodes that use them.

    Parameters
    ----------
    *roots : Expression
    below : callable, optional
        Whether to go on to the arguments of a node.
    """
    seen: set[Expression] = set()
    stack: list[tuple[Expression, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if below is None or below(node):
                stack.extend((argument, False) for argument in reversed(node.arguments))


def symbols(*roots: Expression) -> frozenset[str]:
    """Return the names of the symbols that the expressions depend on."""
    names: frozenset[str] = frozenset()
    for root in roots:
        if isinstance(root, Symbol):
            names |= {root.name}
        elif isinstance(root, Application):
            names |= root._symbols
    return names


def rebuild(root: Expression, change: Callable[[Expression], Expression], *, kept: Iterable[Expression] = ()) -> Expression:
    """Build ``root`` anew from its leaves, passing every node, its arguments already changed, through ``change``.

    What is to be kept stays as it is, with all that is below it.
    """
    done: dict[Expression, Expression] = {node: node for node in kept}
    for node in postorder(root, below=lambda node: node not in done):
        if node in done:
            continue
        new = node
        if isinstance(node, Application):
            arguments = tuple(done[argument] for argument in node.arguments)
            if arguments != node.arguments:
                new = node.primitive(*arguments)
        done[node] = change(new)
    return done[root]


def substitute(root: Expression, values: Mapping[str, Operand]) -> Expression:
    """Replace symbols by expressions or numbers.

    Examples
    --------
    >>> from nonlin.formula import Symbol, substitute
    >>> print(substitute(Symbol("beta") * Symbol("x"), {"beta": 2}))
    2*x
    """
    done: dict[Expression, Expression] = {}
    for node in postorder(root):
        if isinstance(node, Symbol):
            done[node] = as_expression(values.get(node.name, node))
        elif isinstance(node, Application):
            # What comes of it may be a symbol of a value, which stays: -x with x = -x is x.
            arguments = tuple(done[argument] for argument in node.arguments)
            done[node] = node if arguments == node.arguments else node.primitive(*arguments)
        else:
            done[node] = node
    return done[root]


def trace(function: Callable[..., object], names: tuple[str, ...], positive: frozenset[str] = frozenset()) -> Expression:
    """Run ``function`` once on symbols and return the expression it computes.

    Parameters
    ----------
    function : callable
        Takes as many positional arguments as there are names.
    names : tuple of str
        Names of the symbols.
    positive : frozenset of str
        Those of them that stand for numbers above zero.

    Raises
    ------
    FormulaError
        If the function does something that a formula cannot: the message says what to write instead.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        result = function(*(Symbol(n, positive=n in positive) for n in names))
        if result is None:
            raise FormulaError("it returns nothing: is a `return` missing?")
        expression = as_expression(result, wanted="its function to return a number or an expression")
    except FormulaError as error:
        raise FormulaError(f"{name} cannot be read as a formula: {error}") from error.__cause__
    except (TypeError, ValueError, AttributeError) as error:
        raise FormulaError(
            f"{name} cannot be read as a formula: {type(error).__name__}: {error}; a formula uses Python's arithmetic, "
            "comparisons and the functions of nonlin.formula"
        ) from error
    if expression.is_condition:
        raise FormulaError(f"{name} returns the condition {expression}: write where({expression}, 1, 0) for a number")
    return expression
