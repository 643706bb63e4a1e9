"""Functions along an axis: what they do to one row, and everything around it - axes, dtypes, masks, infinities."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.activation import Parameter, activations, get, room
from nonlin.formula.expression import Expression, FormulaError
from nonlin.kernels import memory, rows as compiled_rows
from nonlin.kernels.rows import Normalization
from nonlin.precision import get_precision

Array: TypeAlias = npt.NDArray[Any]
Rows: TypeAlias = Callable[..., Array]
_BLOCK = 1 << 15  # elements that are worked on at a time: a few float64 copies of them fit the cache
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def check_axis(name: str, shape: tuple[int, ...], axis: Any) -> int:
    """Return an axis counted from the front, or raise a TypeError or ValueError that names the function."""
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name}: axis must be an integer, got {axis!r}") from None
    if not shape:
        raise ValueError(f"{name}: x is a single number and has no axis")
    if not -len(shape) <= index < len(shape):
        raise ValueError(f"{name}: axis {index} is out of range for x of shape {shape}")
    return index % len(shape)


def _is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.char in "efd" or dtype.name == "bfloat16"  # float8, whose kind is f, too, is none of ours


class AxisFunction:
    """A function of all the entries along an axis, such as softmax.

    Made by the decorator :func:`along_axis`; the catalogue's stand in ``nonlin`` by name. Its derivative is a matrix
    for each row, the Jacobian. It is never built: :meth:`jvp` multiplies it by a vector, :meth:`vjp` a vector by it.

    Floating dtypes are kept. Rows are computed in float64 and rounded once; those of softmax, softmin and log_softmax in
    float32, within 2 ulp, unless :func:`nonlin.precision` asks for exact results. Integers become float64, or stay integers
    where the function only selects among them. NaN in a row makes the row NaN.

    Attributes
    ----------
    name : str
    formula : str
    parameters : Mapping[str, Parameter]
    source : str
        Where the formula comes from.
    aliases : tuple of str
    family : str

    Examples
    --------
    >>> import numpy as np
    >>> import nonlin as nl
    >>> print(nl.softmax([[1.0, 1.0], [0.0, np.inf]]))
    [[0.5 0.5]
     [0.  1. ]]
    >>> print(nl.softmax([1.0, 2.0, 1.0], where=[True, False, True]))
    [0.5 0.  0.5]
    >>> print(nl.softmax.vjp([1.0, 1.0], [1.0, 0.0]))
    [ 0.25 -0.25]
    """

    operands = ("x",)

    def __init__(
        self,
        function: Rows,
        *,
        formula: str,
        latex: str,
        jacobian: Rows,
        transposed: Rows | None,
        width: Callable[..., int] | None,
        masked: float | None,
        keeps_integers: bool,
        sign: int,
        normalization: Normalization | None,
        source: str,
        aliases: tuple[str, ...],
    ) -> None:
        self.name = self.__name__ = self.__qualname__ = function.__name__
        self.formula = formula
        self.source = source
        self.aliases = aliases
        self.__module__ = function.__module__
        self.family = function.__module__.removeprefix("nonlin.catalogue.") if _is_catalogue(function) else "own"
        self._latex = latex
        self._function = function
        self._jacobian = jacobian
        self._transposed = transposed or jacobian
        self._width = width
        self._masked = masked
        self._keeps_integers = keeps_integers
        self._sign = sign
        self._normalization = normalization
        self.parameters: Mapping[str, Parameter] = MappingProxyType(_parameters(function))
        self.__signature__ = _signature(self)
        # What the signature says, in plain tuples and dicts: faster at every call, and torch's compiler can follow.
        _, *takes = self.__signature__.parameters.values()
        self._names = tuple(p.name for p in takes)
        self._positional = tuple(p.name for p in takes if p.kind is _POSITIONAL)
        self._checked = dict(self.parameters)
        self._defaults: dict[str, Any] = {p.name: p.default for p in takes if p.default is not p.empty}
        doc = inspect.getdoc(function) or ""
        self.summary = doc.partition("\n")[0]
        self.__doc__ = _documentation(self, doc)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Apply the function; see its own documentation."""
        given = self._bind(arguments, keywords)
        framework = room((given["x"],))
        if framework is not None:
            return framework.evaluate_along_axis(self, given)
        x = self._operand("x", given["x"])
        if x.dtype == bool and self._keeps_integers:
            x = x.astype(np.int8)
        dtype = x.dtype.newbyteorder("=") if _is_floating(x.dtype) or self._keeps_integers else np.dtype(np.float64)
        result = self._normalized(given, x, dtype)
        if result is None:
            result = self._over_rows(self._function, given, x, None, dtype, self._size(given, x.shape[given["axis"]]))
        return _hand_over(self.name, result, given["x"], given["out"])

    def jvp(self, *arguments: Any, **keywords: Any) -> Any:
        """Multiply the Jacobian by a vector: the change of the result when x changes by dx.

        Parameters
        ----------
        x, dx : array_like
            dx broadcasts to the shape of x.
        *arguments, **keywords
            As for the function itself.

        Returns
        -------
        ndarray
            Of the shape of the result, in the dtype that x and dx promote to.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.log_softmax.jvp([0.0, 0.0], [1.0, 0.0]))
        [ 0.5 -0.5]
        """
        return self._product("dx", self._jacobian, arguments, keywords)

    def vjp(self, *arguments: Any, **keywords: Any) -> Any:
        """Multiply a vector by the Jacobian: from the gradient of the result, dy, that of x.

        Parameters
        ----------
        x, dy : array_like
            dy broadcasts to the shape of the result. What it is at masked entries does not matter.
        *arguments, **keywords
            As for the function itself.

        Returns
        -------
        ndarray
            Of the shape of x, in the dtype that x and dy promote to.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.log_softmax.vjp([0.0, 0.0], [1.0, 0.0]))
        [ 0.5 -0.5]
        """
        return self._product("dy", self._transposed, arguments, keywords)

    def latex(self) -> str:
        r"""Return the formula as LaTeX.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.hardmax.latex())
        e_{\arg\max x}
        """
        return self._latex

    # --- what is given ------------------------------------------------------------------------------------------------

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any], *more: str) -> dict[str, Any]:
        names = ("x", *more, *self._positional)
        given = {**self._defaults, **dict(zip(names, arguments, strict=False)), **keywords}
        if (
            len(arguments) > len(names)
            or given.keys() ^ {"x", *more, *self._names}
            or {*names[: len(arguments)]} & keywords.keys()
        ):
            x, *rest = self.__signature__.parameters.values()
            signature = inspect.Signature((x, *(inspect.Parameter(name, _POSITIONAL) for name in more), *rest))
            try:  # Python says what is wrong
                signature.bind(*arguments, **keywords)
            except TypeError as error:
                raise TypeError(f"{self.name}: {error}; it takes {signature}") from None
        if isinstance(given["x"], Expression):
            raise FormulaError(f"{self.name} is a function of a whole row; a formula says what becomes of one element")
        x = given["x"]
        given["axis"] = check_axis(self.name, tuple(x.shape if hasattr(x, "shape") else np.shape(x)), given["axis"])
        for name, parameter in self._checked.items():
            if given[name] is not parameter.default:
                self._check(name, parameter, given[name])
        return given

    def _check(self, name: str, parameter: Parameter, value: Any) -> None:
        is_number = type(value) in (int, float)  # without NumPy, whose functions Dynamo takes for torch's
        if not is_number and (np.ndim(value) or np.asarray(value).dtype.kind not in "iuf"):
            raise TypeError(f"{self.name}: {name} must be a number, got {value!r}")
        for kind, limit in parameter.bounds.items():  # gt, ge... are the names of Python's comparisons, too
            if not getattr(operator, kind)(value, limit):
                raise ValueError(f"{self.name}: {name} must be {parameter.describe()}, got {value}")

    def _operand(self, name: str, value: Any) -> Array:
        array = np.asarray(value)
        if not _is_floating(array.dtype) and array.dtype.kind not in "biu":
            raise TypeError(f"{self.name}: {name} must be real floating-point or integer, got {array.dtype}")
        return array

    def _mask(self, where: Any, shape: tuple[int, ...]) -> Array | None:
        if where is None:
            return None
        mask = np.asarray(where)
        if mask.dtype != bool:
            raise TypeError(f"{self.name}: where must be boolean, True for what takes part, got {mask.dtype}")
        return self._broadcast("where", mask, shape)

    def _broadcast(self, name: str, array: Array, shape: tuple[int, ...]) -> Array:
        try:
            return np.broadcast_to(array, shape)
        except ValueError:
            raise ValueError(f"{self.name}: {name} of shape {array.shape} does not broadcast to {shape}") from None

    def _size(self, given: Mapping[str, Any], size: int) -> int:
        """Return the length of the axis in the result."""
        if self._width is None:
            return size
        try:
            return self._width(size, *self._values(given))
        except ValueError as error:
            shape = np.shape(given["x"])
            raise ValueError(f"{self.name}: axis {given['axis']} of x of shape {shape} {error}") from None

    def _values(self, given: Mapping[str, Any]) -> list[Any]:
        return [given[name] for name in self.parameters]

    # --- over all rows ------------------------------------------------------------------------------------------------

    def _product(self, name: str, product: Rows, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        given = self._bind(arguments, keywords, name)
        framework = room((given["x"],))
        if framework is not None:
            return framework.product_along_axis(self, given, name)
        x, v = self._operand("x", given["x"]), self._operand(name, given[name])
        axis, size = given["axis"], x.shape[given["axis"]]
        width = self._size(given, size)
        lengths = {"dx": (size, width), "dy": (width, size)}[name]
        v = self._broadcast(name, v, (*x.shape[:axis], lengths[0], *x.shape[axis + 1 :]))
        dtype = np.result_type(*(a.dtype if _is_floating(a.dtype) else np.float64 for a in (x, v)))

        def rows(x: Array, v: Array, *values: Any) -> Array:
            return product(x, self._sign * v, *values)

        result = self._over_rows(rows, given, x, v, dtype, lengths[1], masked=0.0)
        return _hand_over(self.name, result, given["x"], given["out"])

    def _normalized(self, given: Mapping[str, Any], x: Array, dtype: np.dtype[Any]) -> Array | None:
        """Normalize rows in compiled code, or return None where there is none for what is given."""
        if self._normalization is None or given["where"] is not None or not x.size:
            return None
        temperature, name, exact = float(given["temperature"]), _name(dtype), get_precision() == "exact"
        if not compiled_rows.can_temper(temperature, name, exact=exact):
            return None
        axis = given["axis"]
        rows = np.ascontiguousarray(_as_rows(x, axis), dtype)
        if not rows.flags.aligned:
            rows = rows.copy()
        last = axis == x.ndim - 1
        result = memory.empty(x.shape if last else (*x.shape[:axis], *x.shape[axis + 1 :], x.shape[axis]), dtype)
        places = rows.ctypes.data, result.ctypes.data
        compiled_rows.run(self._normalization, name, *places, rows.shape, temperature, exact=exact)
        return _with_axis(result, axis)

    def _over_rows(
        self,
        function: Rows,
        given: Mapping[str, Any],
        x: Array,
        v: Array | None,
        dtype: np.dtype[Any],
        width: int,
        masked: float | None = None,
    ) -> Array:
        """Apply a function of rows, their vectors if there are any, and the parameters."""
        axis, values = given["axis"], self._values(given)
        mask = self._mask(given["where"], x.shape) if "where" in given else None
        covered: Any = self._masked if masked is None else masked
        working = dtype if dtype.kind in "iu" else np.dtype(np.float64)
        result = np.empty((*x.shape[:axis], *x.shape[axis + 1 :], width), dtype)
        if result.size and x.size:
            rows, vectors, masks = (None if a is None else _as_rows(a, axis) for a in (x, v, mask))
            assert rows is not None
            out = result.reshape(-1, width)
            step = max(1, _BLOCK // max(rows.shape[1], width))
            for block in (slice(start, start + step) for start in range(0, len(rows), step)):
                part = rows[block].astype(working)
                if self._sign < 0:
                    np.negative(part, out=part)
                hidden = None if masks is None else ~masks[block]
                if self._masked is not None:
                    part = _with_finite_peak(part, hidden)
                operands = [part]
                if vectors is not None:
                    vector = vectors[block].astype(np.float64)
                    operands.append(vector if hidden is None else np.where(hidden, 0, vector))
                with np.errstate(over="ignore", invalid="ignore"):  # far below the peak; NaN, or an infinite dy
                    outcome = function(*operands, *values)
                out[block] = outcome if hidden is None else np.where(hidden, covered, outcome)
        return _with_axis(result, axis)

    def __repr__(self) -> str:
        return f"<axis function {self.name}{self.__signature__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return get, (self.name,)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name  # which NumPy puts together anew each time


def _as_rows(array: Array, axis: int) -> Array:
    last = array if axis == array.ndim - 1 else np.moveaxis(array, axis, -1)
    return last.reshape(-1, array.shape[axis])


def _with_axis(rows: Array, axis: int) -> Array:
    return rows if axis == rows.ndim - 1 else np.ascontiguousarray(np.moveaxis(rows, -1, axis))


def _with_finite_peak(x: Array, hidden: Array | None) -> Array:
    """Return the rows with hidden entries at -inf, and as the limit says where the largest of the others is infinite.

    A row with +inf in it, or with nothing but -inf, is what its largest entries are when they go there together, equal.
    """
    if hidden is not None:
        x[hidden] = -np.inf
    peak = x.max(axis=-1, keepdims=True)
    endless = np.isinf(peak)
    if endless.any():
        shares = x == peak
        if hidden is not None:
            # A row that is hidden altogether is spared the division by nothing; what comes of it is hidden later.
            shares &= ~hidden | hidden.all(axis=-1, keepdims=True)
        x = np.where(endless, np.where(shares, 0.0, -np.inf), x)
    return x


def _hand_over(name: str, result: Array, x: Any, out: Any) -> Any:
    """Put the result into ``out``, or make it the kind of array that x is: a subclass, a DataFrame."""
    if out is not None:
        if not isinstance(out, np.ndarray) or out.shape != result.shape:
            came = f"one of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise ValueError(f"{name}: out must be an array of shape {result.shape}, got {came}")
        if not np.can_cast(result.dtype, out.dtype, "same_kind"):
            raise TypeError(f"{name}: out of dtype {out.dtype} cannot hold results of dtype {result.dtype}")
        out[...] = result
        return out
    if type(x) is np.ndarray or result.shape != np.shape(x):
        return result
    if hasattr(x, "__array_wrap__"):
        return x.__array_wrap__(result)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(x, (pandas.Series, pandas.DataFrame)):
        return type(x)(result, *x.axes).__finalize__(x)
    return result


# --- making one -------------------------------------------------------------------------------------------------------


def _is_catalogue(function: Rows) -> bool:
    return function.__module__.startswith("nonlin.catalogue.")


def _parameters(function: Rows) -> dict[str, Parameter]:
    _, *rest = inspect.signature(function).parameters.values()
    for argument in rest:
        if not isinstance(argument.default, Parameter):
            raise FormulaError(f"{function.__name__}: the default of {argument.name} must be a Parameter")
    return {argument.name: argument.default for argument in rest}


def _signature(of: AxisFunction) -> inspect.Signature:
    """x, parameters that have to be given, axis; then by keyword only the other parameters, where and out."""
    required = [inspect.Parameter(n, _POSITIONAL) for n, p in of.parameters.items() if p.default is None]
    optional: dict[str, Any] = {n: p.default for n, p in of.parameters.items() if p.default is not None}
    optional |= {"out": None} if of._masked is None else {"where": None, "out": None}
    return inspect.Signature(
        [
            inspect.Parameter("x", _POSITIONAL),
            *required,
            inspect.Parameter("axis", _POSITIONAL, default=-1),
            *(inspect.Parameter(name, _KEYWORD, default=default) for name, default in optional.items()),
        ]
    )


def _documentation(of: AxisFunction, doc: str) -> str:
    lines = [doc, "", f"    {of.name} = {of.formula}", "", "Parameters", "----------", "x : array_like"]
    for name, parameter in of.parameters.items():
        default = "" if parameter.default is None else f", default {parameter.default}"
        lines.append(f"{name} : number{default}, {parameter.describe()}")
    lines += ["axis : int", "    The axis that the function runs along; the last one by default."]
    if of._masked is not None:
        masked = "0" if of._masked == 0 else of._masked
        lines += ["where : array_like of bool, optional", f"    Entries that take part; the others become {masked}."]
    lines += ["out : ndarray, optional", "    Where to put the result."]
    return "\n".join([*lines, "", "References", "----------", of.source] if of.source else lines)


def along_axis(
    *,
    formula: str,
    latex: str,
    jacobian: Rows,
    transposed: Rows | None = None,
    width: Callable[..., int] | None = None,
    masked: float | None = None,
    keeps_integers: bool = False,
    sign: int = 1,
    normalization: Normalization | None = None,
    source: str = "",
    aliases: tuple[str, ...] = (),
) -> Callable[[Rows], AxisFunction]:
    r"""Make an axis function from a Python function of rows.

    The function gets an array of two dimensions, a row of float64 in each of its lines, and the parameters, which are
    its other arguments and have a :class:`Parameter` for a default.

    Parameters
    ----------
    formula, latex : str
        How a reader would write it.
    jacobian : callable
        From rows, as many vectors and the parameters, the products of the Jacobian and the vectors.
    transposed : callable, optional
        The same for the transposed Jacobian, if it is another one.
    width : callable, optional
        From the length of a row and the parameters, that of its result, if it is another one.
    masked : float, optional
        What masked entries become. The function must not change when a row is shifted: it gets rows with masked
        entries at -inf and the largest entry finite. Without it there is no mask, and rows come as they are.
    keeps_integers : bool
        Whether the function only selects among its entries, and gets integers as they are.
    sign : {1, -1}
        With -1 the function is of -x.
    normalization : Normalization, optional
        The function for the compiler, if its one parameter is a temperature and it normalizes the exponentials of a row.
    source : str
        Where the formula comes from.
    aliases : tuple of str
        Other names.

    Returns
    -------
    callable
        A decorator that returns an :class:`AxisFunction`.

    Examples
    --------
    >>> import nonlin as nl
    >>> @nl.along_axis(
    ...     formula="x - mean(x)",
    ...     latex=r"x - \bar x",
    ...     jacobian=lambda x, v: v - v.mean(-1, keepdims=True),
    ... )
    ... def centred(x):
    ...     return x - x.mean(-1, keepdims=True)
    >>> print(centred([[1, 2, 3], [4, 5, 6]], axis=0))
    [[-1.5 -1.5 -1.5]
     [ 1.5  1.5  1.5]]
    """

    def make(function: Rows) -> AxisFunction:
        made = AxisFunction(
            function,
            formula=formula,
            latex=latex,
            jacobian=jacobian,
            transposed=transposed,
            width=width,
            masked=masked,
            keeps_integers=keeps_integers,
            sign=sign,
            normalization=normalization,
            source=source,
            aliases=aliases,
        )
        activations.add(made)
        return made

    return make
