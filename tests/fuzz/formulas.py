"""Random formulas as trees of their own: what they say in Python, and roughly what they are, for finding points worth a look.

A tree is made without the language. `Formula.code` is what a user would type, and `Formula.define` runs just that.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special

import nonlin as nl


@dataclass(frozen=True)
class Tree:
    """An operation and what it is applied to; a leaf has a value: a number as it is typed, or a parameter's name."""

    operation: str
    arguments: tuple["Tree", ...] = ()
    value: str = ""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.operation, self.arguments, self.value))

    def __str__(self) -> str:
        parts = [str(argument) for argument in self.arguments]
        if self.operation in OPERATORS:
            return f"({parts[0]} {OPERATORS[self.operation]} {parts[1]})"
        if self.operation == "negative":
            return f"(-{parts[0]})"
        if self.operation == "power":
            return f"({parts[0]} ** {self.value})"
        if self.operation in ("number", "parameter"):
            return self.value
        if self.operation in ("x", "pi"):
            return self.operation
        if self.operation in CATALOGUE:
            names = CATALOGUE[self.operation].parameters
            given = (f"{name}={part}" for name, part in zip(names, parts[1:], strict=True))
            return f"{self.operation}({', '.join([parts[0], *given])})"
        return f"{self.operation}({', '.join(parts)})"

    def nodes(self) -> Iterator["Tree"]:
        """Yield the tree and everything below it."""
        yield self
        for argument in self.arguments:
            yield from argument.nodes()

    @cached_property
    def expanded(self) -> "Tree":
        """The same without functions of the catalogue."""
        arguments = tuple(argument.expanded for argument in self.arguments)
        if self.operation in CATALOGUE:
            return CATALOGUE[self.operation].meaning(*arguments).expanded
        return Tree(self.operation, arguments, self.value)

    @property
    def exact(self) -> Fraction:
        """The number that a leaf stands for: a float in a formula means the decimal that it prints as."""
        return Fraction(self.value)

    def has(self, operation: str) -> bool:
        return any(node.operation == operation for node in self.nodes())


OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "and": "&", "or": "|",
}  # fmt: skip
COMPARISONS = ("less", "less_equal", "greater", "greater_equal")
FUNCTIONS = "absolute sign sqrt exp expm1 log log1p sin cos arctan sigmoid tanh sech softplus erf erfc normal_cdf".split()

# --- the catalogue, as papers define it, in trees ----------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    meaning: Callable[..., Tree]
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values that a parameter may be given in a formula."""


X = Tree("x")
PI = Tree("pi")


def number(value: float | str) -> Tree:
    return Tree("number", (), str(value))


def operation(name: str) -> Callable[..., Tree]:
    def build(*arguments: Any) -> Tree:
        return Tree(name, tuple(a if isinstance(a, Tree) else number(a) for a in arguments))

    return build


add, subtract, multiply, divide, negative = map(operation, "add subtract multiply divide negative".split())
less, greater, where, maximum, minimum = map(operation, "less greater where maximum minimum".split())
exp, expm1, tanh, sin, cos, erf, absolute = map(operation, "exp expm1 tanh sin cos erf absolute".split())
sigmoid, softplus, normal_cdf, sqrt = map(operation, "sigmoid softplus normal_cdf sqrt".split())


def power(base: Tree, exponent: str | int) -> Tree:
    return Tree("power", (base,), str(exponent))


def _clipped(u: Tree, low: float, high: float) -> Tree:
    return minimum(maximum(u, low), high)


def _hard_sigmoid(u: Tree) -> Tree:
    return minimum(maximum(add(divide(u, 6), 0.5), 0), 1)


def _gelu_tanh(u: Tree) -> Tree:
    inner = multiply(sqrt(divide(2, PI)), add(u, multiply("0.044715", power(u, 3))))
    return multiply(multiply(0.5, u), add(1, tanh(inner)))


def _selu(u: Tree) -> Tree:
    scale, alpha = "1.0507009873554804934193349852946", "1.6732632423543772848170429916717"
    return multiply(scale, where(greater(u, 0), u, multiply(alpha, expm1(u))))


CATALOGUE: dict[str, Entry] = {
    "nl.relu": Entry(lambda u: maximum(u, 0)),
    "nl.relu6": Entry(lambda u: _clipped(u, 0, 6)),
    "nl.leaky_relu": Entry(lambda u, a: where(greater(u, 0), u, multiply(a, u)), {"negative_slope": ("0.2", "-1", "0.01")}),
    "nl.relu_squared": Entry(lambda u: power(maximum(u, 0), 2)),
    "nl.hard_tanh": Entry(lambda u: _clipped(u, -1, 1)),
    "nl.hard_shrink": Entry(lambda u: where(greater(absolute(u), 0.5), u, 0)),
    "nl.soft_shrink": Entry(
        lambda u, a: where(greater(u, a), subtract(u, a), where(less(u, negative(a)), add(u, a), 0)), {"lambd": ("0.5", "2")}
    ),
    "nl.hard_swish": Entry(lambda u: multiply(u, _hard_sigmoid(u))),
    "nl.softsign": Entry(lambda u: divide(u, add(1, absolute(u)))),
    "nl.gaussian": Entry(lambda u: exp(negative(power(u, 2)))),
    "nl.tanh_shrink": Entry(lambda u: subtract(u, tanh(u))),
    "nl.silu": Entry(lambda u: multiply(u, sigmoid(u))),
    "nl.swish": Entry(lambda u, b: multiply(u, sigmoid(multiply(b, u))), {"beta": ("0.5", "2", "-1.25")}),
    "nl.gelu": Entry(lambda u: multiply(u, normal_cdf(u))),
    "nl.gelu_tanh": Entry(_gelu_tanh),
    "nl.quick_gelu": Entry(lambda u: multiply(u, sigmoid(multiply("1.702", u)))),
    "nl.mish": Entry(lambda u: multiply(u, tanh(softplus(u)))),
    "nl.serf": Entry(lambda u: multiply(u, erf(softplus(u)))),
    "nl.lisht": Entry(lambda u: multiply(u, tanh(u))),
    "nl.telu": Entry(lambda u: multiply(u, tanh(exp(u)))),
    "nl.elu": Entry(lambda u, a: where(greater(u, 0), u, multiply(a, expm1(u))), {"alpha": ("0.5", "1", "3")}),
    "nl.celu": Entry(lambda u, a: where(greater(u, 0), u, multiply(a, expm1(divide(u, a)))), {"alpha": ("0.5", "2")}),
    "nl.selu": Entry(_selu),
    "nl.isrlu": Entry(
        lambda u, a: where(greater(u, 0), u, divide(u, sqrt(add(1, multiply(a, power(u, 2)))))), {"alpha": ("0.5", "4")}
    ),
    "nl.squareplus": Entry(lambda u, b: divide(add(u, sqrt(add(power(u, 2), b))), 2), {"b": ("4", "0.25", "1e-6")}),
    "nl.sin": Entry(lambda u, w: sin(multiply(w, u)), {"omega": ("2", "30")}),
    "nl.snake": Entry(lambda u, a: add(u, divide(power(sin(multiply(a, u)), 2), a)), {"alpha": ("0.5", "-2", "3")}),
    "nl.gcu": Entry(lambda u: multiply(u, cos(u))),
    "nl.log_sigmoid": Entry(lambda u: negative(softplus(negative(u)))),
}

# --- from text ---------------------------------------------------------------------------------------------------------

_OPERATORS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.BitAnd: "and", ast.BitOr: "or"}
_COMPARED = {ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal"}


def read(text: str) -> Tree:
    """Read a formula as Python would."""

    def tree(node: Any) -> Tree:
        match node:
            case ast.Name(id=("x" | "pi") as name):
                return Tree(name)
            case ast.Name(id=name):
                return Tree("parameter", (), name)
            case ast.Constant(value=value):
                return number(value)
            case ast.BinOp(left, ast.Pow(), right):
                return Tree("power", (tree(left),), str(ast.literal_eval(right)))
            case ast.BinOp(left, operator, right):
                return Tree(_OPERATORS[type(operator)], (tree(left), tree(right)))
            case ast.UnaryOp(ast.USub(), operand):
                return Tree("negative", (tree(operand),))
            case ast.Compare(left, [operator], [right]):
                return Tree(_COMPARED[type(operator)], (tree(left), tree(right)))
            case ast.Call(ast.Attribute(ast.Name("nl"), name), [argument], keywords):
                given = {keyword.arg: tree(keyword.value) for keyword in keywords}
                return Tree(f"nl.{name}", (tree(argument), *(given[p] for p in CATALOGUE[f"nl.{name}"].parameters)))
            case ast.Call(ast.Name(id=name), arguments):
                return Tree(name, tuple(map(tree, arguments)))
        raise AssertionError(ast.dump(node))

    return tree(ast.parse(text, mode="eval").body)


# --- a formula with its parameters ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Formula:
    """What is defined: a tree, and its parameters' defaults and bounds."""

    tree: Tree
    parameters: tuple[tuple[str, str, str], ...] = ()
    """Name, default and bounds, each as it is typed."""

    @property
    def defaults(self) -> dict[str, Fraction]:
        return {name: Fraction(default) for name, default, _ in self.parameters}

    @property
    def code(self) -> str:
        used = sorted({n.operation for n in self.tree.nodes()} & {*FUNCTIONS, "pi", "where", "maximum", "minimum"})
        names = [f"from nonlin.formula import {', '.join(used)}"] if used else []
        given = [
            f"{name}=nl.Parameter({', '.join(filter(None, (default, bounds)))})" for name, default, bounds in self.parameters
        ]
        head = f"def fuzzed({', '.join(['x', *given])}):"
        return "\n".join(["import nonlin as nl", *names, "", "@nl.activation", head, f"    return {self.tree}"])

    def define(self) -> nl.Activation:
        namespace: dict[str, Any] = {"__name__": "fuzzed"}
        exec(self.code, namespace)
        made: nl.Activation = namespace["fuzzed"]
        return made

    # --- points worth a look ------------------------------------------------------------------------------------------

    def turns(self) -> list[float]:
        """Return about where something happens: conditions switch, the domain ends, a divisor or the result is zero."""
        grid = np.unique(np.concatenate([np.linspace(-12, 12, 961), *(s * np.geomspace(1e-3, 300, 300) for s in (-1, 1))]))
        found: set[float] = set()
        for node in dict.fromkeys(self.tree.expanded.nodes()):
            arguments = node.arguments
            if node.operation in (*COMPARISONS, "maximum", "minimum"):
                switch = subtract(*arguments)
            elif node.operation in ("absolute", "sign", "sqrt", "log") or (node.operation == "power" and "/" in node.value):
                switch = arguments[0]
            elif node.operation == "log1p":
                switch = add(1, arguments[0])
            elif node.operation == "divide":
                switch = arguments[1]
            elif node == self.tree.expanded:
                switch = node
            else:
                continue
            found.update(self._crossings(switch, grid))
        return sorted(found)

    def rough(self, tree: Tree, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Evaluate a tree in float64 as it stands: NumPy, and SciPy for what NumPy lacks."""
        values = {name: float(default) for name, default in self.defaults.items()}
        with np.errstate(all="ignore"):
            return np.broadcast_to(_rough(tree.expanded, x, values), x.shape)

    def _crossings(self, switch: Tree, grid: np.ndarray[Any, Any]) -> list[float]:
        signs = np.sign(self.rough(switch, grid))
        exact = grid[signs == 0][:8]
        low = np.flatnonzero(signs[:-1] * signs[1:] < 0)[:12]
        a, b = grid[low], grid[low + 1]
        sign = signs[low]
        for _ in range(60):
            middle = (a + b) / 2
            same = np.sign(self.rough(switch, middle)) == sign
            a, b = np.where(same, middle, a), np.where(same, b, middle)
        return [*exact, *b]


_ROUGH: dict[str, Callable[..., Any]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "negative": np.negative,
    "less": np.less, "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "and": np.logical_and, "or": np.logical_or, "where": np.where, "maximum": np.maximum, "minimum": np.minimum,
    "absolute": np.abs, "sign": np.sign, "sqrt": np.sqrt, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "arctan": np.arctan, "sigmoid": special.expit, "tanh": np.tanh,
    "sech": lambda a: 1 / np.cosh(a), "softplus": lambda a: np.logaddexp(0, a), "erf": special.erf, "erfc": special.erfc,
    "normal_cdf": special.ndtr,
}  # fmt: skip


def _rough(tree: Tree, x: np.ndarray[Any, Any], values: Mapping[str, float]) -> Any:
    if tree.operation == "x":
        return x
    if tree.operation == "pi":
        return np.pi
    if tree.operation == "number":
        return np.float64(tree.exact)
    if tree.operation == "parameter":
        return np.float64(values[tree.value])
    arguments = [_rough(argument, x, values) for argument in tree.arguments]
    if tree.operation == "power":
        return np.power(arguments[0], float(tree.exact))
    return _ROUGH[tree.operation](*arguments)


# --- strategies -------------------------------------------------------------------------------------------------------

PARAMETERS = ("a", "b")
#: Defaults that every dtype has exactly, decimals that none has, and extreme ones.
DEFAULTS = ("1", "0.5", "2", "0.25", "1.5", "3", "0.1", "0.01", "30", "1e-6")
SIGNED = (*DEFAULTS, "-1", "-0.5", "0")
NUMBERS = ("1", "2", "0.5", "3", "-1", "0.1", "1.702", "0.044715", "4", "10", "-2", "1e-3", "100")
EXPONENTS = ("2", "3", "-1", "0.5", "1.5", "4", "-2", "-0.5", "2.5", "5")


def _varies(tree: Tree) -> bool:
    """Whether Python leaves the arithmetic to the formula: that of two numbers it does itself, in floats."""
    return tree.operation != "number"


leaves = st.one_of(
    st.just(X), st.just(X), st.just(X), st.sampled_from(NUMBERS).map(number),
    st.sampled_from(PARAMETERS).map(lambda name: Tree("parameter", (), name)), st.just(PI),
)  # fmt: skip
varying_leaves = leaves.filter(_varies)
_BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum")
#: What a tree may be at its top, the simplest first; what is wanted more often stands there twice.
_SHAPES = ("function", "binary", "catalogue", "power", "binary", "where", "function", "negative", "product", "catalogue")


@st.composite
def _trees(draw: st.DrawFn, budget: int, *, varies: bool = False) -> Tree:
    """Draw a tree with at most so many operations."""
    if budget <= 0:
        return draw(varying_leaves if varies else leaves)
    shape = draw(st.sampled_from(_SHAPES))
    rest = budget - 1

    def inner(share: int = 1, *, varies: bool = True) -> Tree:
        return draw(_trees(rest // share, varies=varies))

    if shape in ("binary", "product"):
        name = "multiply" if shape == "product" else draw(st.sampled_from(_BINARY))
        first = draw(st.integers(0, rest))
        pair = [draw(_trees(first, varies=True)), draw(_trees(rest - first))]
        return Tree(name, tuple(pair if draw(st.booleans()) else pair[::-1]))
    if shape == "where":
        compared = [Tree(draw(st.sampled_from(COMPARISONS)), (inner(3), inner(6, varies=False))) for _ in range(2)]
        joined = draw(st.sampled_from(["first", "first", "first", "and", "or"]))
        condition = compared[0] if joined == "first" else Tree(joined, tuple(compared))
        return Tree("where", (condition, inner(2), inner(2, varies=False)))
    if shape == "catalogue":
        name = draw(st.sampled_from(sorted(CATALOGUE)))
        given = [number(draw(st.sampled_from(values))) for values in CATALOGUE[name].parameters.values()]
        return Tree(name, (inner(), *given))
    if shape == "power":
        return power(inner(), draw(st.sampled_from(EXPONENTS)))
    return Tree("negative" if shape == "negative" else draw(st.sampled_from(FUNCTIONS)), (inner(),))


trees = st.integers(1, 8).flatmap(_trees).filter(lambda tree: tree.has("x"))


@st.composite
def formulas(draw: st.DrawFn) -> Formula:
    tree = draw(trees)
    named = sorted({node.value for node in tree.nodes() if node.operation == "parameter"})
    bounds = draw(st.sampled_from(["", "gt=0", "ne=0"]))
    values = {"": SIGNED, "gt=0": DEFAULTS, "ne=0": SIGNED[:-1]}[bounds]
    return Formula(tree, tuple((name, draw(st.sampled_from(values)), bounds) for name in named))
