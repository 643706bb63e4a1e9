"""Functions along an axis: calls, axes, masks, arrays of all kinds, and the products with their Jacobian."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.containers import unwrapped, wrapped
from nonlin.definition.base import Activation
from nonlin.definition.layout import Groups, Rows, check_axis, shape_of
from nonlin.definition.parameter import Parameter
from nonlin.formula.calculus import canonical
from nonlin.formula.expression import Application, Expression, FormulaError, Symbol, postorder, rebuild, substitute, symbols
from nonlin.formula.operations import RowOperation, Side
from nonlin.formula.rows import parts, row_max
from nonlin.formula.typesetting import latex
from nonlin.frameworks import room
from nonlin.kernels import memory, rows as compiled_rows
from nonlin.kernels.precision import get_precision
from nonlin.kernels.reductions import compute, hidden_on, with_finite_peak
from nonlin.kernels.rows import Normalization, find_normalization
from nonlin.kernels.ufunc import is_integral

Array: TypeAlias = npt.NDArray[Any]
_BLOCK = 1 << 15  # elements that are worked on at a time: a few float64 copies of them fit the cache
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.char in "efd" or dtype.name == "bfloat16"  # float8, whose kind is f, too, is none of ours


class AxisFunction(Activation, layout=Rows()):
    """A function of all the entries along an axis, such as softmax.

    Made by the decorator :func:`nonlin.activation` with ``along="axis"``; the catalogue's stand in ``nonlin`` by name. Its
    derivative is a matrix for each row, the Jacobian. It is never built: :meth:`jvp` multiplies it by a vector, :meth:`vjp` a
    vector by it.

    Floating dtypes are kept. Rows are computed in float64 and rounded once; those of softmax, softmin and log_softmax in
    float32, within 2 ulp, unless :func:`nonlin.precision` asks for exact results. Integers become float64, or stay integers
    where the function only selects among them. NaN in a row makes the row NaN. What is missing (a masked entry, NA) takes no
    part, as if ``where`` had left it out.

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

    layout: Rows
    _kind = "axis function"

    def __init__(self, name: str, formula: Expression, **fields: Any) -> None:
        super().__init__(name, formula, **fields)
        # What the signature says, in plain tuples and dicts: faster at every call, and torch's compiler can follow.
        _, *takes = self.__signature__.parameters.values()
        self._names = tuple(p.name for p in takes)
        self._positional = tuple(p.name for p in takes if p.kind is _POSITIONAL)
        self._checked = dict(self.parameters)
        self._defaults: dict[str, Any] = {p.name: p.default for p in takes if p.default is not p.empty}

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Apply the function; see its own documentation."""
        given = self._bind(arguments, keywords)
        if isinstance(given["x"], Expression):
            return self._compose(given)
        framework = room(self.name, (given["x"], given.get("where"), *self._values(given).values()))
        if framework is not None:
            return framework.evaluate_along_axis(self, given)
        x, hidden = self._taken(given)
        if x.dtype == bool and self.keeps_integers:
            x = x.astype(np.int8)
        dtype = x.dtype.newbyteorder("=") if _is_floating(x.dtype) or self.keeps_integers else np.dtype(np.float64)
        result = self._normalized(given, x, hidden, dtype)
        if result is None:
            result = self._over_rows(self.operation, given, (x,), hidden, dtype)
        return self._handed_over(self.operation, result, given, hidden)

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
        return self._product("dx", self.operation.jvp(), arguments, keywords)

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
        return self._product("dy", self.operation.vjp(), arguments, keywords)

    # --- what follows from the formula ------------------------------------------------------------------------------------

    def latex(self) -> str:
        r"""Return the formula as LaTeX, with indices for the entries of a row.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.maxout.latex())
        \max_{j} x_{j}
        """
        return latex(self.formula, self.operands)

    @cached_property
    def operation(self) -> RowOperation:
        """The function as an operation on rows, whose derivatives are others."""
        if self.root is not self:
            return self.root.operation
        return RowOperation.of(self.formula, per_row=isinstance(self.layout, Groups))

    @cached_property
    def keeps_integers(self) -> bool:
        """Whether the function only selects among its entries."""
        peaks = {n: n.arguments[0] for n in postorder(self.formula) if isinstance(n, Application) and n.primitive is row_max}
        formulas = [*peaks.values()]
        for stand_in in (Symbol("x"), Symbol("peak")):  # a product of x and a peak is one of two entries; a difference is no 0
            put = dict.fromkeys(peaks, stand_in)
            formulas += [rebuild(part, lambda node, put=put: put.get(node, node)) for part in parts(self.formula)]  # type: ignore[misc]
        return symbols(self.formula) <= {"x"} and all(map(is_integral, map(canonical, formulas)))

    @cached_property
    def normalization(self) -> tuple[Normalization, str | None] | None:
        """How compiled rows compute the function, and which parameter is the temperature; None if they do not."""
        return None if isinstance(self.layout, Groups) else find_normalization(self.formula)

    def check(self, **values: Any) -> None:
        """Check parameter values against their bounds."""
        for name, value in values.items():
            self._check(name, self.parameters[name], value)

    def _compose(self, given: Mapping[str, Any]) -> Expression:
        if given["axis"] != -1 or given.get("where") is not None or given["out"] is not None:
            raise FormulaError(f"{self.name}: a formula is of the axis that it is called along, and of all entries there")
        if isinstance(self.layout, Groups):
            raise FormulaError(f"{self.name} makes its axis shorter, and cannot be part of a formula")
        return substitute(self.formula, {"x": given["x"], **self._values(given)})

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
        x = given["x"]
        if not isinstance(x, Expression):
            given["axis"] = check_axis(self.name, shape_of(x), given["axis"])
        for name, parameter in self._checked.items():
            if given[name] is not parameter.default:
                self._check(name, parameter, given[name])
        return given

    def _check(self, name: str, parameter: Parameter, value: Any) -> None:
        if isinstance(value, Expression):
            return
        is_number = type(value) in (int, float)  # without NumPy, whose functions Dynamo takes for torch's
        if not is_number and room(self.name, (value,)) is not None and not shape_of(value):
            return  # what a tensor holds is not looked into
        if not is_number and (np.ndim(value) or np.asarray(value).dtype.kind not in "iuf"):
            raise TypeError(f"{self.name}: {name} must be a number, got {value!r}")
        for kind, limit in parameter.bounds.items():  # gt, ge... are the names of Python's comparisons, too
            if not getattr(operator, kind)(value, limit):
                raise ValueError(f"{self.name}: {name} must be {parameter.describe()}, got {value}")

    def _operand(self, name: str, value: Any) -> tuple[Array, Array | None]:
        """Return an operand's numbers, and which of them are missing."""
        array, missing = unwrapped(value)
        if not _is_floating(array.dtype) and array.dtype.kind not in "biu":
            raise TypeError(f"{self.name}: {name} must be real floating-point or integer, got {array.dtype}")
        return array, missing

    def _taken(self, given: Mapping[str, Any]) -> tuple[Array, Array | None]:
        """Return x, and which of its entries take no part, None if all do."""
        x, hidden = self._operand("x", given["x"])
        where = given.get("where")
        if where is not None:
            mask = np.asarray(where)
            if mask.dtype != bool:
                raise TypeError(f"{self.name}: where must be boolean, True for what takes part, got {mask.dtype}")
            out = ~self._broadcast("where", mask, x.shape)
            hidden = out if hidden is None else hidden | out
        return x, hidden

    def _broadcast(self, name: str, array: Array, shape: tuple[int, ...]) -> Array:
        try:
            return np.broadcast_to(array, shape)
        except ValueError:
            raise ValueError(f"{self.name}: {name} of shape {array.shape} does not broadcast to {shape}") from None

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: given[name] for name in self.parameters}

    # --- over all rows ------------------------------------------------------------------------------------------------

    def _product(
        self, name: Literal["dx", "dy"], product: RowOperation, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        given = self._bind(arguments, keywords, name)
        framework = room(self.name, (given["x"], given[name], given.get("where"), *self._values(given).values()))
        if framework is not None:
            return framework.product_along_axis(self, given, name)
        (x, hidden), (v, _) = self._taken(given), self._operand(name, given[name])
        shape = (x.shape, self._shape_of(self.operation, given, x.shape))[name == "dy"]
        v = self._broadcast(name, v, shape)
        dtype = np.result_type(*(a.dtype if _is_floating(a.dtype) else np.float64 for a in (x, v)))
        result = self._over_rows(product, given, (x, v), hidden, dtype)
        return self._handed_over(product, result, given, hidden)

    def _shape_of(self, operation: RowOperation, given: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a result, from that of x."""
        if operation.side == "x":
            return shape
        axis = given["axis"]
        width = shape[axis] * operation.count
        if operation.per_row:
            width //= self.layout.length(self.name, shape, axis, self._values(given))
        return (*shape[:axis], width, *shape[axis + 1 :])

    def _normalized(self, given: Mapping[str, Any], x: Array, hidden: Array | None, dtype: np.dtype[Any]) -> Array | None:
        """Normalize rows in compiled code, or return None where there is none for what is given."""
        if self.normalization is None or not x.size:
            return None
        normalization, parameter = self.normalization
        temperature = 1.0 if parameter is None else float(given[parameter])
        name, exact = _name(dtype), get_precision() == "exact"
        if not compiled_rows.can_temper(temperature, name, exact=exact):
            return None
        axis = given["axis"]
        rows = np.ascontiguousarray(_as_rows(x, axis), dtype)
        if hidden is not None:
            seen = rows.copy() if rows.base is not None or rows is x else rows
            sign = -1 if normalization.negated else 1
            with np.errstate(invalid="ignore"):  # ml_dtypes' maximum says so of NaN
                rows = with_finite_peak(seen, _as_rows(hidden, axis), sign).astype(dtype, copy=False)
        if not rows.flags.aligned:
            rows = rows.copy()
        last = axis == x.ndim - 1
        result = memory.empty(x.shape if last else (*x.shape[:axis], *x.shape[axis + 1 :], x.shape[axis]), dtype)
        places = rows.ctypes.data, result.ctypes.data
        compiled_rows.run(normalization, name, *places, rows.shape, temperature, exact=exact)
        if hidden is not None:
            np.copyto(result.reshape(rows.shape), self._covered(self.operation), where=_as_rows(hidden, axis))
        return _with_axis(result, axis)

    def _covered(self, operation: RowOperation) -> float:
        """Return what results become that belong to nothing."""
        return 0.0 if operation.vectors or self.masked is None else self.masked

    def _over_rows(
        self,
        operation: RowOperation,
        given: Mapping[str, Any],
        operands: Sequence[Array],
        hidden: Array | None,
        dtype: np.dtype[Any],
    ) -> Array:
        """Compute an operation on x and its vectors, some rows at a time."""
        x, axis, values = operands[0], given["axis"], self._values(given)
        shape = self._shape_of(operation, given, x.shape)
        result = np.empty((*shape[:axis], *shape[axis + 1 :], shape[axis]), dtype)
        if result.size and x.size:
            length = self.layout.length(self.name, x.shape, axis, values)
            sides: list[Side] = ["x", *(side for _, side in operation.vectors)]
            rows = [_as_rows(a, axis, operation.length(side, length)) for a, side in zip(operands, sides, strict=True)]
            covered = None if hidden is None else _as_rows(hidden, axis, length)
            out = result.reshape(-1, operation.length(operation.side, length))
            working = dtype if dtype.kind in "iu" else np.dtype(np.float64)
            step = max(1, _BLOCK // max(length, out.shape[1]))
            for block in (slice(start, start + step) for start in range(0, len(out), step)):
                here = None if covered is None else covered[block]
                part = compute(operation, [a[block].astype(working) for a in rows], here, values)
                absent = hidden_on(operation, operation.side, here)
                out[block] = part if absent is None else np.where(absent, working.type(self._covered(operation)), part)
        return _with_axis(result, axis)

    def _handed_over(self, operation: RowOperation, result: Array, given: Mapping[str, Any], hidden: Array | None) -> Any:
        """Put a result into ``out``, or make it the kind of array that x is."""
        out, x = given["out"], given["x"]
        if out is not None:
            if not isinstance(out, np.ndarray) or out.shape != result.shape:
                came = f"one of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
                raise ValueError(f"{self.name}: out must be an array of shape {result.shape}, got {came}")
            if not np.can_cast(result.dtype, out.dtype, "same_kind"):
                raise TypeError(f"{self.name}: out of dtype {out.dtype} cannot hold results of dtype {result.dtype}")
            out[...] = result
            return out
        if type(x) is np.ndarray:
            return result
        _, missing = unwrapped(x)
        if missing is not None and operation.side == "y" and missing.size:
            axis = given["axis"]
            length = self.layout.length(self.name, missing.shape, axis, self._values(given))
            absent = hidden_on(operation, "y", _as_rows(missing, axis, length))
            assert absent is not None
            moved = (*result.shape[:axis], *result.shape[axis + 1 :], result.shape[axis])
            missing = _with_axis(absent.reshape(moved), axis)
        return wrapped(result, x, missing)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name  # which NumPy puts together anew each time


def _as_rows(array: Array, axis: int, length: int | None = None) -> Array:
    """Return the entries along an axis as lines, or so many of them at a time."""
    last = array if axis == array.ndim - 1 else np.moveaxis(array, axis, -1)
    return last.reshape(-1, array.shape[axis] if length is None else length)


def _with_axis(rows: Array, axis: int) -> Array:
    return rows if axis == rows.ndim - 1 else np.ascontiguousarray(np.moveaxis(rows, -1, axis))
