"""Activations: a formula with a name, parameters and a source; the decorator that makes them; the registry that knows them."""

from __future__ import annotations

import copyreg
import difflib
import inspect
import itertools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload
from weakref import WeakValueDictionary

import numpy as np

from nonlin.definition import Definition
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import (
    Application,
    Constant,
    Expression,
    FormulaError,
    Symbol,
    postorder,
    substitute,
    symbols,
    trace,
)
from nonlin.formula.latex import latex
from nonlin.formula.rows import is_of_rows
from nonlin.frameworks import FRAMEWORKS, room
from nonlin.kernels import big
from nonlin.kernels.ufunc import Function, add_bfloat16, compile_loop, is_integral, make_ufunc
from nonlin.layout import ENTRIES, Halves, Layout, Rows
from nonlin.precision import Precision, get_precision, precision

if TYPE_CHECKING:
    from nonlin.accuracy import Accuracy
    from nonlin.formula.facts import Facts

Bound: TypeAlias = float | str | None
_DEFAULT_DTYPE = np.dtype(np.float64)
_ARRAY = np.ndarray
_FIRST = 1  # compared by identity: True equals 1, too
_SmallCall: TypeAlias = Callable[[Any, dict[str, Any]], Any]
_NUMBERS = frozenset({int, float})
_OUT = frozenset({"out"})
_UFUNC_KEYWORDS = frozenset({"out", "where", "dtype", "casting", "order", "subok", "signature"})
_COMPARISONS: Mapping[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "gt": (">", lambda value, bound: value > bound),
    "ge": (">=", lambda value, bound: value >= bound),
    "lt": ("<", lambda value, bound: value < bound),
    "le": ("<=", lambda value, bound: value <= bound),
    "ne": ("!=", lambda value, bound: value != bound),
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of an activation: its default and what values it may take.

    Parameters
    ----------
    default : int, float or None
        None means that the caller has to give it.
    gt, ge, lt, le, ne : float or str, optional
        Bounds: greater than, at least, less than, at most, not equal. The name of another parameter stands for its value.
    learnable : bool
        Whether layers learn it unless told otherwise.

    Examples
    --------
    >>> import nonlin as nl
    >>> nl.elu.parameters["alpha"]
    Parameter(1.0, ge=0)
    """

    default: int | float | None = None
    gt: Bound = None
    ge: Bound = None
    lt: Bound = None
    le: Bound = None
    ne: Bound = None
    learnable: bool = False

    def __init__(
        self,
        default: int | float | None = None,
        *,
        gt: Bound = None,
        ge: Bound = None,
        lt: Bound = None,
        le: Bound = None,
        ne: Bound = None,
        learnable: bool = False,
    ) -> None:
        for name, value in locals().copy().items():
            if name != "self":
                if isinstance(value, int):
                    Constant(value)  # an error if no float64 is near it: what it is compared with, or becomes, is one
                object.__setattr__(self, name, value)

    @property
    def bounds(self) -> dict[str, float | str]:
        """The bounds that are set, by name."""
        found = {name: getattr(self, name) for name in _COMPARISONS}
        return {name: bound for name, bound in found.items() if bound is not None}

    def describe(self) -> str:
        """Say in words what is allowed: ``>= 0 and < 1``."""
        return " and ".join(f"{_COMPARISONS[name][0]} {bound}" for name, bound in self.bounds.items())

    def excludes_zero(self) -> bool:
        """Whether the bounds rule out zero."""
        b = {name: bound for name, bound in self.bounds.items() if not isinstance(bound, str)}
        return b.get("ne") == 0 or b.get("gt", -1) >= 0 or b.get("ge", -1) > 0 or b.get("lt", 1) <= 0 or b.get("le", 1) < 0

    def is_positive(self) -> bool:
        """Whether the bounds leave numbers above zero only."""
        b = {name: bound for name, bound in self.bounds.items() if not isinstance(bound, str)}
        return b.get("gt", -1) >= 0 or b.get("ge", -1) > 0

    def __repr__(self) -> str:
        parts = [] if self.default is None else [repr(self.default)]
        parts += [f"{name}={bound!r}" for name, bound in self.bounds.items()]
        if self.learnable:
            parts.append("learnable=True")
        return f"Parameter({', '.join(parts)})"


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas"


def _is_bfloat16(operand: Any) -> bool:
    dtype = getattr(operand, "dtype", None)
    # NumPy puts a dtype's name together anew each time, its kind is there.
    return getattr(dtype, "kind", None) == "V" and getattr(dtype, "name", None) == "bfloat16"


def _is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether it is a dtype of floating-point numbers, in this machine's order of bytes, that results keep."""
    return (dtype.char in "efd" and dtype.isnative) or dtype.name == "bfloat16"


def _is_narrow(operands: tuple[Any, ...]) -> bool:
    """Whether they are an array of 16 bits and arrays of its dtype, or numbers, which then need not be rounded to it."""
    dtype = getattr(operands[0], "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.itemsize != 2 or not _is_floating(dtype):
        return False
    return all(type(operand) in _NUMBERS or getattr(operand, "dtype", None) == dtype for operand in operands[1:])


#: Every activation that there is, by its key.
instances: WeakValueDictionary[str, Any] = WeakValueDictionary()
_serials = itertools.count()


def kept_by_rooms() -> dict[str, dict[Any, Any]]:
    """Return what the rooms of frameworks keep about an activation, by the framework's name: nothing yet."""
    return {framework.name: {} for framework in FRAMEWORKS}


def numbered(entry: Any) -> str:
    """Give an activation the key by which it is found among all instances.

    It is a string because Dynamo takes a number that changes from call to call for one that varies.
    """
    key = str(next(_serials))
    instances[key] = entry
    return key


class Activation:
    """An elementwise activation function: a formula, and everything that follows from it.

    Made by the decorator :func:`activation`; the catalogue's stand in ``nonlin`` by name.

    Attributes
    ----------
    name : str
    formula : Expression
        The formula as its author wrote it.
    operands : tuple of str
        Names of the arrays it takes: ``("x",)``, or two for a gated pair.
    parameters : Mapping[str, Parameter]
    source : str
        Where the formula comes from.
    aliases : tuple of str
    family : str
    root : Activation
        What this is with other defaults, or itself: all that is compiled for one is compiled for the other.

    Examples
    --------
    >>> import nonlin as nl
    >>> print(nl.elu(-1.0), nl.elu(-1.0, alpha=2.0))
    -0.6321205588285577 -1.2642411176571153
    >>> print(nl.elu.formula)
    where(x > 0, x, alpha*expm1(x))
    >>> print(nl.elu.derivative(-1.0), nl.elu.derivative(-1.0, wrt="alpha"))
    0.36787944117144233 -0.6321205588285577
    """

    def __init__(self, name: str, formula: Expression, **fields: Any) -> None:
        self.definition = definition = Definition(name, formula, **fields)
        self.name = self.__name__ = self.__qualname__ = name
        self.formula = formula
        self.operands = operands = definition.operands
        self.parameters: Mapping[str, Parameter] = MappingProxyType(dict(definition.parameters))
        self.layout = definition.layout
        self.source = definition.source
        self.aliases = definition.aliases
        self.family = definition.family
        self.doc = inspect.cleandoc(definition.doc)
        self.summary = self.doc.partition("\n")[0]
        self.__module__ = definition.module
        self.__doc__ = _documentation(self, self.doc)
        self.__signature__ = _signature(self)
        self._ufuncs: dict[tuple[str, tuple[int, ...], str, bool], np.ufunc] = {}
        self.root: Activation = self
        self.rooms = kept_by_rooms()
        self.key = numbered(self)
        # By precision and dtype, what evaluates the value or the first derivative of one small array: see _small_call.
        self._values: dict[tuple[str, np.dtype[Any]], _SmallCall] = {}
        self._slopes: dict[tuple[str, np.dtype[Any]], _SmallCall] = {}
        self._defaults = tuple(p.default for p in self.parameters.values() if p.default is not None)
        # A call with so many arguments and nothing else takes the defaults, which need no check.
        self._only_operands = len(operands) if len(self._defaults) == len(self.parameters) else -1

    # --- calling ----------------------------------------------------------------------------------------------------

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if len(arguments) == 1 and type(x := arguments[0]) is _ARRAY:
            small = self._values.get((get_precision(), x.dtype))
            if small is not None and (result := small(x, keywords)) is not None:
                return result
        return self._evaluate("x", (0,), arguments, keywords)

    def derivative(self, *arguments: Any, order: int = 1, wrt: str = "x", **keywords: Any) -> Any:
        """Evaluate a derivative.

        Parameters
        ----------
        *arguments, **keywords
            As for the activation itself.
        order : int
            How often to differentiate.
        wrt : str
            Name of the operand or parameter to differentiate with respect to.

        Returns
        -------
        array_like
            Of the same kind and dtype as the value. At a kink the derivative of the branch that the formula's condition
            selects there; at an infinite x the limit.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.relu.derivative([-1.0, 0.0, 2.0]))
        [0. 0. 1.]
        """
        if len(arguments) == 1 and type(x := arguments[0]) is _ARRAY and order is _FIRST and wrt == "x":
            small = self._slopes.get((get_precision(), x.dtype))
            if small is not None and (result := small(x, keywords)) is not None:
                return result
        if type(order) is not int:  # True and 1.0 would find the kernel of order 1
            raise ValueError(f"order must be a whole number of at least 0, got {order!r}")
        return self._evaluate(wrt, (order,), arguments, keywords)

    def value_and_derivative(self, *arguments: Any, wrt: str = "x", **keywords: Any) -> Any:
        """Evaluate the activation and its first derivative at once: what they have in common is computed once.

        Parameters
        ----------
        *arguments, **keywords
            As for the activation itself; ``out`` is a pair.
        wrt : str
            Name of the operand or parameter to differentiate with respect to.

        Returns
        -------
        tuple
            The value and the derivative.

        Examples
        --------
        >>> import nonlin as nl
        >>> y, slope = nl.softplus.value_and_derivative([-1.0, 0.0])
        >>> print(y, slope)
        [0.31326169 0.69314718] [0.26894142 0.5       ]
        """
        return self._evaluate(wrt, (0, 1), arguments, keywords)

    def _evaluate(self, wrt: str, orders: tuple[int, ...], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Evaluate the derivatives of some orders; the value, that of order 0, among them."""
        takes_defaults = len(arguments) == self._only_operands
        if takes_defaults and keywords.keys() <= _UFUNC_KEYWORDS:
            arguments += self._defaults
        else:
            arguments, keywords = self._bind(arguments, keywords)
        if isinstance(arguments[0], Expression) or any(isinstance(value, Expression) for value in arguments[1:]):
            if keywords:
                raise TypeError(f"{self.name}: {next(iter(keywords))}= is for arrays, not for a symbol")
            return _one_or_all([self._compose(wrt, order, arguments) for order in orders])
        framework = room(self.name, arguments)
        if framework is not None:
            return _one_or_all([framework.evaluate(self, wrt, order, arguments, keywords) for order in orders])
        precision = get_precision()
        narrow = bool(self.parameters) and keywords.keys() <= _OUT and _is_narrow(arguments)
        found = self._ufuncs.get((wrt, orders, precision, narrow))
        ufunc = self._ufunc(wrt, orders, narrow=narrow) if found is None else found
        if found is None:
            compile_loop(ufunc, getattr(arguments[0], "dtype", _DEFAULT_DTYPE))
        if "ml_dtypes" in sys.modules and any(map(_is_bfloat16, arguments)):
            arguments = self._with_bfloat16(ufunc, arguments, wrt, orders, narrow=narrow)
        if (
            takes_defaults
            and len(self.operands) == 1
            and orders in ((0,), (1,))
            and wrt == "x"
            and type(arguments[0]) is _ARRAY
        ):
            dtype = arguments[0].dtype
            # Another thread may have set another precision meanwhile.
            if _is_floating(dtype) and self._ufuncs.get((wrt, orders, precision, narrow)) is ufunc:
                given = np.dtype(np.float32) if narrow else dtype
                (self._slopes if orders[0] else self._values)[precision, dtype] = self._small_call(ufunc, given)
        return self._apply(ufunc, arguments, keywords)

    def _small_call(self, ufunc: np.ufunc, dtype: np.dtype[Any]) -> _SmallCall:
        """Return what evaluates a ufunc of one array at the defaults, in that dtype, or returns None for other calls.

        NumPy's own functions take half a microsecond on few numbers. That is also what looking at the arguments costs, so
        there is only what a call of this kind needs: the defaults are numbers of that dtype already, and a call without
        stars and keywords is cheaper than one with them.
        """
        defaults = tuple(np.asarray(default, dtype) for default in self._defaults)
        count, first = len(defaults), defaults[0] if defaults else None

        def call(x: Any, keywords: dict[str, Any]) -> Any:
            if x.size >= big.MINIMUM:
                return None
            try:
                if not keywords:
                    return ufunc(x) if not count else ufunc(x, first) if count == 1 else ufunc(x, *defaults)
                if len(keywords) == 1 and type(out := keywords.get("out")) is _ARRAY:
                    return ufunc(x, out) if not count else ufunc(x, first, out) if count == 1 else ufunc(x, *defaults, out)
            except (TypeError, ValueError, OverflowError) as error:
                raise self._explained(error, (x, *defaults)) from error
            return None

        return call

    def _apply(self, ufunc: np.ufunc, operands: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        try:
            x = operands[0]
            if type(x) is _ARRAY and x.size >= big.MINIMUM and keywords.keys() <= _OUT and _is_floating(x.dtype):
                result = big.evaluate(ufunc, operands, keywords.get("out"))
                if result is not None:
                    return result
            return ufunc(*operands, **keywords)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._explained(error, operands) from error

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort arguments into the ufunc's operands, checked, and its keywords."""
        names = (*self.operands, *self.parameters)
        if len(arguments) > len(names):
            raise TypeError(f"{self.name} takes {', '.join(names)}: {len(arguments)} positional arguments are too many")
        given = dict(zip(names, arguments, strict=False))
        rest = {}
        for name, value in keywords.items():
            if name in given:
                raise TypeError(f"{self.name} got {name} twice")
            if name in names:
                given[name] = value
            elif name in _UFUNC_KEYWORDS:
                rest[name] = value
            else:
                raise TypeError(unknown_keyword(self, name))
        for name in self.operands:
            if name not in given:
                raise TypeError(f"{self.name} needs {name}")
        for name, parameter in self.parameters.items():
            if name not in given:
                if parameter.default is None:
                    raise TypeError(f"{self.name} needs {name}: it has no default")
                given[name] = parameter.default
        self.check(**{name: given[name] for name in self.parameters})
        return tuple(given[name] for name in names), rest

    def check(self, **values: Any) -> None:
        """Check parameter values against their bounds.

        Raises
        ------
        ValueError
            If one is out of bounds: the message names the activation, the parameter, what is allowed and what came.
        """
        for name, value in values.items():
            parameter = self.parameters[name]
            for kind, bound in parameter.bounds.items():
                limit = values.get(bound) if isinstance(bound, str) else bound
                sign, holds = _COMPARISONS[kind]
                if limit is None or isinstance(value, Expression) or isinstance(limit, Expression):
                    continue
                if type(value) in _NUMBERS and type(limit) in _NUMBERS:
                    is_allowed = holds(value, limit)  # without NumPy, which takes longer than a small array does
                elif isinstance(value, (int, float, np.ndarray, np.generic, list, tuple)) or _is_pandas(value):
                    is_allowed = np.all(holds(np.asarray(value), limit))
                else:
                    continue  # an array of a library that computes later is not looked into
                if not is_allowed:
                    what = f"{sign} {bound}" + (f" = {limit}" if isinstance(bound, str) else "")
                    raise ValueError(f"{self.name}: {name} must be {what}, got {value}")

    def _compose(self, wrt: str, order: int, operands: tuple[Any, ...]) -> Expression:
        formula = self.formula if order == 0 else differentiate(self.formula, wrt, order)
        return substitute(formula, dict(zip((*self.operands, *self.parameters), operands, strict=True)))

    def _with_bfloat16(
        self, ufunc: np.ufunc, operands: tuple[Any, ...], wrt: str, orders: tuple[int, ...], *, narrow: bool
    ) -> tuple[Any, ...]:
        """Make sure of the ufunc's loop for bfloat16, and give Python numbers beside such arrays the parameters' dtype."""
        add_bfloat16(ufunc, self.root._function(wrt, orders, narrow=narrow))
        # NumPy knows weak scalars for its own dtypes only.
        dtype = np.float32 if narrow else sys.modules["ml_dtypes"].bfloat16
        return tuple(np.asarray(o, dtype) if isinstance(o, (int, float)) else o for o in operands)

    def _explained(self, error: Exception, operands: tuple[Any, ...]) -> Exception:
        """Return the error that says what this call got wrong."""
        names = (*self.operands, *self.parameters)
        for name, operand in zip(names, operands, strict=False):
            try:
                dtype = np.asarray(operand).dtype
            except ValueError as ragged:
                return ValueError(f"{self.name}: {name} is no array: {ragged}")
            if dtype.kind not in "biuf" or dtype.itemsize > 8:
                return TypeError(f"{self.name}: {name} must be real floating-point or integer, got {dtype}")
        if "broadcast" in str(error):
            shapes = ", ".join(f"{n} {np.shape(o)}" for n, o in zip(names, operands, strict=False))
            return ValueError(f"{self.name}: operands do not broadcast together: {shapes} ({error})")
        # Not type(error): NumPy's own classes take more than a sentence.
        return (ValueError if isinstance(error, ValueError) else TypeError)(f"{self.name}: {error}")

    # --- what follows from the formula -------------------------------------------------------------------------------

    @property
    def ufunc(self) -> np.ufunc:
        """The ``numpy.ufunc`` underneath, whose operands are the arrays and then the parameters, unchecked."""
        return self.derivative_ufunc(order=0)

    def derivative_ufunc(self, *, order: int = 1, wrt: str = "x") -> np.ufunc:
        """Return the ``numpy.ufunc`` of a derivative."""
        return self._ufunc(wrt, (order,))

    def _ufunc(self, wrt: str, orders: tuple[int, ...], *, narrow: bool = False) -> np.ufunc:
        key = (wrt, orders, get_precision(), narrow)
        if key not in self._ufuncs:
            if wrt not in (*self.operands, *self.parameters):
                names = ", ".join((*self.operands, *self.parameters))
                raise ValueError(f"{self.name}: wrt must be one of {names}, got {wrt!r}")
            is_root = self.root is self
            made = make_ufunc(self._function(wrt, orders, narrow=narrow)) if is_root else None
            self._ufuncs.setdefault(key, made or self.root._ufunc(wrt, orders, narrow=narrow))
        return self._ufuncs[key]

    def _function(self, wrt: str, orders: tuple[int, ...], *, narrow: bool = False) -> Function:
        name, order = self.name, orders[-1]
        if order:
            name += "_with" * (len(orders) > 1) + "_derivative" + (str(order) if order > 1 else "")
            name += "" if wrt == "x" else f"_{wrt}"
        names = (*self.operands, *self.parameters)
        formulas = tuple(differentiate(self.formula, wrt, order) for order in orders)
        doc = f"{name}({', '.join(names)})\n\n{self.__doc__}"
        return Function(
            name,
            formulas,
            names,
            self._typical(),
            {name: parameter.default for name, parameter in self.parameters.items()},
            exact=get_precision() == "exact",
            narrow=narrow,
            warns=self.family == "own",
            # A derivative has the dtype of the value.
            keeps_integers=all(map(is_integral, (canonical(self.formula), *formulas))),
            never_negative=all(max(b for b in _lower_bounds(p)) >= 0 for p in self.parameters.values()),
            doc=doc,
        )

    def _typical(self) -> dict[str, float]:
        others = dict.fromkeys(self.operands[1:], 1.0)
        return others | {name: 1.0 if p.default is None else float(p.default) for name, p in self.parameters.items()}

    def derivative_formula(self, order: int = 1, wrt: str = "x") -> Expression:
        """Return the formula of a derivative, in the stable form that is computed."""
        return differentiate(self.formula, wrt, order)

    def latex(self, order: int = 0, wrt: str = "x") -> str:
        r"""Return the formula, or that of a derivative, as LaTeX.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.silu.latex())
        x \, \sigma(x)
        """
        return latex(self.formula if order == 0 else self.derivative_formula(order, wrt))

    @property
    def facts(self) -> Facts:
        """Properties computed from the formula at the default parameters: range, limits, minimum, gain and more.

        Raises
        ------
        ImportError
            If mpmath is not installed.
        """
        from nonlin.formula.facts import facts_of

        missing = [name for name, parameter in self.parameters.items() if parameter.default is None]
        if missing:
            raise ValueError(f"{self.name} has no facts before {', '.join(missing)} is given: see with_()")
        return facts_of(substitute(self.formula, {n: p.default for n, p in self.parameters.items()}))  # type: ignore[misc]

    @property
    def accuracy(self) -> Accuracy:
        """The errors of the results at the default parameters, promised and measured, by dtype and order of the derivative.

        Measuring takes a second or so. The precision in force counts.

        Examples
        --------
        >>> import nonlin as nl
        >>> nl.relu.accuracy["float32", 1].measured
        0.0
        """
        from nonlin.accuracy import accuracy_of

        return accuracy_of(self)

    def with_(self, **defaults: float) -> Activation:
        """Return this activation with other defaults.

        Examples
        --------
        >>> import nonlin as nl
        >>> steep = nl.leaky_relu.with_(negative_slope=0.2)
        >>> print(steep(-1.0))
        -0.2
        """
        check_known(self, defaults)
        values = {name: defaults.get(name, parameter.default) for name, parameter in self.parameters.items()}
        changed = replace(self.definition, parameters=changed_parameters(self.parameters, defaults))
        self.check(**{name: value for name, value in values.items() if value is not None})
        made = type(self)(**vars(changed))
        made.root = self.root
        return made

    def __repr__(self) -> str:
        return f"<activation {self.name}{self.__signature__}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self)


def with_defaults(root: Activation, defaults: Mapping[str, float]) -> Activation:
    """Return an activation with other defaults: what pickled ones come back by."""
    return root.with_(**defaults)


def _lower_bounds(parameter: Parameter) -> list[float]:
    return [-1.0, *(b for b in (parameter.gt, parameter.ge) if isinstance(b, (int, float)))]


_reduce_by_name: Callable[[np.ufunc], Any] = copyreg.dispatch_table[np.ufunc]


def _reduce_ufunc(ufunc: np.ufunc) -> Any:
    """Pickle a ufunc of an activation by what it was made of; NumPy would look for a module that has it by its name."""
    for entry in list(instances.values()):
        for key, made in list(getattr(entry, "_ufuncs", {}).items()):
            if made is ufunc:
                return _restore_ufunc, (entry.root, *key)
    return _reduce_by_name(ufunc)


def _restore_ufunc(entry: Activation, wrt: str, orders: tuple[int, ...], in_force: Precision, narrow: bool) -> np.ufunc:
    with precision(in_force):
        return entry._ufunc(wrt, orders, narrow=narrow)


copyreg.pickle(np.ufunc, _reduce_ufunc)


def changed_parameters(parameters: Mapping[str, Parameter], defaults: Mapping[str, float]) -> dict[str, Parameter]:
    """Return parameters with other defaults."""
    return {name: Parameter(defaults.get(name, p.default), **p.bounds, learnable=p.learnable) for name, p in parameters.items()}


def check_known(of: Any, names: Iterable[str]) -> None:
    """Raise a TypeError if one of the names is none of an activation's parameters."""
    for name in names:
        if name not in of.parameters:
            raise TypeError(unknown_keyword(of, name))


def unknown_keyword(of: Any, name: str) -> str:
    """Say which parameters there are."""
    own = ", ".join(of.parameters) or "none"
    near = difflib.get_close_matches(name, of.parameters, 1)
    return f"{of.name} has no parameter {name!r} (it has: {own})" + (f"; did you mean {near[0]}?" if near else "")


def reduced(entry: Any) -> tuple[Any, ...]:
    """Return what pickle keeps of an entry: the name of one of the catalogue's, all that there is to know of any other."""
    if entry.root is not entry:
        return with_defaults, (entry.root, {n: p.default for n, p in entry.parameters.items() if p.default is not None})
    if entry.family != "own" and activations.find(entry.name) is entry:
        return get, (entry.name,)
    return restore, (entry.definition,)


def restore(definition: Definition) -> Any:
    """Return the entry of a definition: the registered one if it is the same."""
    registered: Any = activations.get(definition.name)
    return registered if getattr(registered, "definition", None) == definition else made_of(definition)


def made_of(definition: Definition) -> Any:
    """Make what a definition describes; its layout says of which class."""
    if isinstance(definition.layout, Rows):
        from nonlin.axis import AxisFunction

        return AxisFunction(**vars(definition))
    if isinstance(definition.layout, Halves):
        from nonlin.gated import Gated

        return Gated(**vars(definition))
    return Activation(**vars(definition))


def _signature(of: Activation) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [inspect.Parameter(name, kind) for name in of.operands]
    required_first = sorted(of.parameters.items(), key=lambda item: item[1].default is not None)
    for name, parameter in required_first:
        default = inspect.Parameter.empty if parameter.default is None else parameter.default
        own.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(own)


def _one_or_all(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)


def _documentation(of: Activation, doc: str) -> str:
    lines = [inspect.cleandoc(doc) or of.name, "", f"    {of.name} = {of.formula}", "", "Parameters", "----------"]
    lines += [f"{name} : array_like" for name in of.operands]
    for name, parameter in of.parameters.items():
        default = "" if parameter.default is None else f", default {parameter.default}"
        allowed = f", {parameter.describe()}" if parameter.bounds else ""
        lines.append(f"{name} : array_like{default}{allowed}")
    lines += ["out, where, dtype, casting, order, subok", "    As for any ``numpy.ufunc``."]
    if of.source:
        lines += ["", "References", "----------", of.source]
    return "\n".join(lines)


# --- what is wrong with a definition is said when it is made -----------------------------------------------------------


def check_definition(of: Any) -> None:
    """Raise FormulaError if the formula uses an unknown symbol, reserved names, or divides by what may be zero."""
    along = isinstance(of.layout, Rows)
    if is_of_rows(of.formula) and not along:
        raise FormulaError(f'{of.name} looks at a whole row: it is made by activation(along="axis")')
    reserved = (_UFUNC_KEYWORDS | {"wrt"}) & {*of.operands, *of.parameters}
    if reserved:
        raise FormulaError(f"{of.name}: {min(reserved)!r} means something else in a call; rename the parameter")
    stray = symbols(of.formula) - {*of.operands, *of.parameters}
    if stray:
        raise FormulaError(f"{of.name} uses the symbol {min(stray)!r}, which is not one of its parameters")
    defaults = {name: parameter.default for name, parameter in of.parameters.items() if parameter.default is not None}
    of.check(**defaults)
    of.layout.check_formula(of.name, of.formula)
    for formula in (of.formula,) if along else (of.formula, canonical(of.formula), differentiate(of.formula)):
        for node in postorder(formula):
            if isinstance(node, Application) and node.primitive.name == "divide":
                culprit = _may_be_zero(node.arguments[1], of.parameters)
                if culprit is not None:
                    default = of.parameters[culprit].default
                    given = "" if default is None else f"{default}, "
                    raise FormulaError(
                        f"{of.name} divides by {node.arguments[1]}, and {culprit} may be 0: "
                        f"declare {culprit}=Parameter({given}gt=0) or Parameter({given}ne=0)"
                    )


def _may_be_zero(divisor: Expression, parameters: Mapping[str, Parameter]) -> str | None:
    """Return a parameter that makes the divisor zero when it is zero itself, and may be."""
    if isinstance(divisor, Symbol):
        bounds = parameters.get(divisor.name)
        return None if bounds is None or bounds.excludes_zero() else divisor.name
    if not isinstance(divisor, Application):
        return None
    if divisor.primitive.name in ("multiply", "divide", "sqrt", "negative", "integer_power", "absolute"):
        inner = divisor.arguments[:1] if divisor.primitive.name in ("divide", "integer_power") else divisor.arguments
        return next((found for a in inner if (found := _may_be_zero(a, parameters)) is not None), None)
    return None


# --- the registry ----------------------------------------------------------------------------------------------------------


class Registry(Mapping[str, Any]):
    """Every activation by its name; a read-only mapping. Look one up by any of its names with :func:`get`."""

    def __init__(self) -> None:
        self._entries: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{len(self)} activations: {', '.join(self)}>"

    def add(self, entry: Any) -> None:
        """Register an activation under its name and aliases; the user's own may be defined anew, the catalogue's may not."""
        with self._lock:
            for name in (entry.name, *entry.aliases):
                holder = self.find(name)
                if holder is not None and not (holder.family == "own" and holder.name == entry.name):
                    raise ValueError(f"{entry.name}: the name {name!r} belongs to {holder.name}; choose another one")
            # New dictionaries: another thread may be walking over the old ones.
            kept = {plain: name for plain, name in self._names.items() if name != entry.name}
            self._entries = self._entries | {entry.name: entry}
            self._names = kept | dict.fromkeys(map(_plain, (entry.name, *entry.aliases)), entry.name)

    def find(self, name: str) -> Any:
        """Return the entry of that name or alias, whatever its capitals and underscores, or None."""
        return self._entries.get(self._names.get(_plain(name), ""))

    def nearest(self, name: str) -> list[str]:
        """Return the names most like one that is unknown."""
        plain = difflib.get_close_matches(_plain(name), self._names, 3, 0.5)
        return list(dict.fromkeys(self._names[p] for p in plain))


#: How code spells the place of a torch function. Other libraries' are not among them: jax.nn.gelu is our gelu_tanh.
_TORCH_PLACES = ("torch.nn.functional.", "torch.nn.", "torch.", "nn.functional.", "nn.", "F.")


def _plain(name: str) -> str:
    for place in _TORCH_PLACES:
        name = name.removeprefix(place)
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


activations = Registry()


def get(name: Any) -> Any:
    """Return an activation by its name, an alias, or a name that a framework uses for it.

    Parameters
    ----------
    name : str or activation
        Capitals, underscores and hyphens do not matter: ``"LeakyReLU"``, ``"gelu_new"``, ``"hardswish"``. An activation is
        returned as it is.

    Raises
    ------
    KeyError
        If there is none; the message lists the nearest names.

    Examples
    --------
    >>> import nonlin as nl
    >>> nl.get("SiLU") is nl.silu
    True
    """
    if not isinstance(name, str):
        if hasattr(name, "formula") or hasattr(name, "family"):
            return name
        raise TypeError(f"get needs a name, got {name!r}")
    entry = activations.find(name)
    if entry is None:
        near = activations.nearest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "nonlin.activations has all names"
        raise UnknownActivationError(f"there is no activation {name!r}: {hint}")
    return entry


class UnknownActivationError(KeyError):
    """A KeyError whose message prints as it is, without quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


@overload
def activation(function: Callable[..., Any], /) -> Activation: ...
@overload
def activation(
    *,
    source: str = ...,
    aliases: tuple[str, ...] = ...,
    name: str | None = ...,
) -> Callable[[Callable[..., Any]], Activation]: ...
@overload
def activation(
    *,
    source: str = ...,
    aliases: tuple[str, ...] = ...,
    name: str | None = ...,
    along: Literal["axis"] | None = ...,
    masked: float | None = ...,
    layout: Layout | None = ...,
) -> Callable[[Callable[..., Any]], Any]: ...
def activation(
    function: Callable[..., Any] | None = None,
    /,
    *,
    source: str = "",
    aliases: tuple[str, ...] = (),
    name: str | None = None,
    along: Literal["axis"] | None = None,
    masked: float | None = None,
    layout: Layout | None = None,
) -> Any:
    """Make an activation from a Python function that reads like its formula.

    The function runs once, on symbols. Use Python's arithmetic and comparisons, ``nonlin.where``, the functions of
    :mod:`nonlin.formula` and other activations.

    Parameters
    ----------
    function : callable
        Its first argument is the input. Arguments with a default are parameters: a number, or a :class:`Parameter` with
        bounds.
    source : str
        Where the formula comes from.
    aliases : tuple of str
        Other names.
    name : str, optional
        The name; by default the function's.
    along : {"axis"}, optional
        The function is one of all the entries along an axis: besides x it uses what ``row_max``, ``row_sum`` and their kin
        make of them.
    masked : float, optional
        What becomes of the entries that a mask leaves out, for a function along an axis. Without it there is no mask.
    layout : Layout, optional
        Which entries of an array belong together, where there is more to say: ``Groups("groups")``, ``Halves("second")``.

    Returns
    -------
    Activation, AxisFunction or Gated

    Raises
    ------
    FormulaError
        If the function cannot be read as a formula, or divides by a parameter that may be zero.

    Examples
    --------
    >>> import nonlin as nl
    >>> @nl.activation
    ... def shifted_relu(x, shift=1.0):
    ...     return nl.maximum(x, -shift)
    >>> print(shifted_relu([-3.0, 2.0]), shifted_relu.derivative([-3.0, 2.0]))
    [-1.  2.] [0. 1.]
    >>> @nl.activation(along="axis")
    ... def centred(x):
    ...     return x - nl.row_sum(x) / nl.row_sum(1)
    >>> print(centred([[1.0, 3.0], [5.0, 5.0]]))
    [[-1.  1.]
     [ 0.  0.]]
    """
    if along not in (None, "axis"):
        raise ValueError(f"activation: along must be 'axis', got {along!r}")
    if along and layout is not None and not isinstance(layout, Rows):
        raise ValueError(f"activation: a function along an axis has no layout {layout}")
    if masked is not None and not (along or isinstance(layout, Rows)):
        raise ValueError("activation: masked is for functions along an axis")
    chosen = layout or (Rows() if along else ENTRIES)

    def make(function: Callable[..., Any]) -> Any:
        made = define(function, source=source, aliases=aliases, name=name, layout=chosen, masked=masked)
        activations.add(made)
        return made

    return make if function is None else make(function)


def define(function: Callable[..., Any], *, layout: Layout = ENTRIES, name: str | None = None, **fields: Any) -> Any:
    """Make an activation as :func:`activation` does, without registering it."""
    own_name = name or function.__name__.rstrip("_")
    operands, parameters = [], {}
    for argument in inspect.signature(function).parameters.values():
        if argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise FormulaError(f"{own_name} takes {argument}: an activation names its parameters one by one")
        default = argument.default
        if default is inspect.Parameter.empty:
            operands.append(argument.name)
        elif isinstance(default, Parameter):
            parameters[argument.name] = default
        elif isinstance(default, (int, float)) and not isinstance(default, bool):
            parameters[argument.name] = Parameter(default)
        else:
            raise FormulaError(f"{own_name}: the default of {argument.name} must be a number or a Parameter, got {default!r}")
    if not operands:
        raise FormulaError(f"{own_name} has no input: its first argument, without a default, is x")
    layout.check_arguments(own_name, tuple(operands), tuple(parameters))
    positive = frozenset(name for name, parameter in parameters.items() if parameter.is_positive())
    formula = trace(function, (*operands, *parameters), positive)
    # The input is called x in every formula, whatever its author calls it.
    given = operands[0]
    if given != "x":
        if "x" in (*operands, *parameters):
            raise FormulaError(f"{own_name}: its first argument is the input, so no other one can be called x")
        formula = substitute(formula, {given: Symbol("x")})
    module = function.__module__ or "__main__"
    family = module.removeprefix("nonlin.catalogue.") if module.startswith("nonlin.catalogue.") else "own"
    definition = Definition(
        own_name,
        formula,
        ("x", *operands[1:]),
        parameters,
        layout,
        family=family,
        doc=inspect.getdoc(function) or "",
        module=module,
        **fields,
    )
    made = made_of(definition)
    if family == "own":  # the catalogue is checked by a test, not at every import
        try:
            check_definition(made)
        except FormulaError as error:
            raise error if own_name in str(error) else FormulaError(f"{own_name}: {error}") from None
    return made
