"""Elementwise activations: calls, derivatives, and the ufuncs underneath."""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nonlin.definition.base import Activation, instances
from nonlin.definition.layout import ENTRIES, UFUNC_KEYWORDS
from nonlin.definition.parameter import COMPARISONS, Parameter
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import Expression, substitute
from nonlin.formula.finish import with_nan
from nonlin.formula.typesetting import latex
from nonlin.frameworks import room
from nonlin.kernels import big
from nonlin.kernels.precision import Precision, get_precision, precision
from nonlin.kernels.ufunc import Function, add_bfloat16, compile_loop, is_integral, make_ufunc

if TYPE_CHECKING:
    from nonlin.accuracy import Accuracy
    from nonlin.facts import Facts

_DEFAULT_DTYPE = np.dtype(np.float64)
_ARRAY = np.ndarray
_FIRST = 1  # compared by identity: True equals 1, too
_SmallCall: TypeAlias = Callable[[Any, dict[str, Any]], Any]
_NUMBERS = frozenset({int, float})
_OUT = frozenset({"out"})


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


class Elementwise(Activation, layout=ENTRIES):
    """An elementwise activation function: each entry of an array on its own.

    Made by the decorator :func:`nonlin.activation`; the catalogue's stand in ``nonlin`` by name.

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
        super().__init__(name, formula, **fields)
        self._ufuncs: dict[tuple[str, tuple[int, ...], str, bool], np.ufunc] = {}
        # By precision and dtype, what evaluates the value or the first derivative of one small array: see _small_call.
        self._values: dict[tuple[str, np.dtype[Any]], _SmallCall] = {}
        self._slopes: dict[tuple[str, np.dtype[Any]], _SmallCall] = {}
        self._defaults = tuple(p.default for p in self.parameters.values() if p.default is not None)
        # A call with so many arguments and nothing else takes the defaults, which need no check.
        self._only_operands = len(self.operands) if len(self._defaults) == len(self.parameters) else -1

    # --- calling ----------------------------------------------------------------------------------------------------

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Evaluate the function; see its own documentation."""
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
        if takes_defaults and keywords.keys() <= UFUNC_KEYWORDS:
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
            elif name in UFUNC_KEYWORDS:
                rest[name] = value
            else:
                raise TypeError(self._unknown(name))
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
                sign, holds = COMPARISONS[kind]
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

    def partial_derivative(self, *wrt: str) -> Expression:
        """Return the formula of a derivative by symbols, one after the other; of several arrays, NaN where any of them is."""
        formula = self.formula if wrt else canonical(self.formula)
        for name in sorted({*wrt}, key=lambda n: (n != "x", n)):
            formula = differentiate(formula, name, wrt.count(name))
        # Of one array programs and kernels see to NaN themselves: a constant slope is not to need x for that.
        return with_nan(formula, self.operands) if len(self.operands) > 1 else formula

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
        from nonlin.facts import facts_of

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


def _restore_ufunc(entry: Elementwise, wrt: str, orders: tuple[int, ...], in_force: Precision, narrow: bool) -> np.ufunc:
    with precision(in_force):
        return entry._ufunc(wrt, orders, narrow=narrow)


copyreg.pickle(np.ufunc, _reduce_ufunc)


def _one_or_all(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)
