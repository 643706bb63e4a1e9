"""The decorator that makes an activation of a Python function, and what it says of one that it cannot read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

from nonlin.definition.base import Activation
from nonlin.definition.elementwise import Elementwise
from nonlin.definition.layout import ENTRIES, UFUNC_KEYWORDS, Gate, Halves, Layout, Rows
from nonlin.definition.pairs import Gated
from nonlin.definition.parameter import Parameter
from nonlin.definition.record import Definition
from nonlin.definition.registry import activations
from nonlin.definition.rows import AxisFunction
from nonlin.formula.calculus import canonical, differentiate
from nonlin.formula.expression import (
    Application,
    Expression,
    FormulaError,
    Symbol,
    postorder,
    substitute,
    symbols,
    trace,
)
from nonlin.formula.rows import is_of_rows


@overload
def activation(function: Callable[..., Any], /) -> Elementwise: ...
@overload
def activation(
    *,
    source: str = ...,
    aliases: tuple[str, ...] = ...,
    name: str | None = ...,
) -> Callable[[Callable[..., Any]], Elementwise]: ...
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
    Elementwise, AxisFunction or Gated

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


def along_axis(
    *, masked: float | None = None, source: str = "", aliases: tuple[str, ...] = (), name: str | None = None
) -> Callable[[Callable[..., Any]], AxisFunction]:
    """Make an axis function: short for :func:`nonlin.activation` with ``along="axis"``.

    Examples
    --------
    >>> import nonlin as nl
    >>> @nl.along_axis()
    ... def centred(x):
    ...     return x - nl.row_sum(x) / nl.row_sum(1)
    >>> print(centred([[1, 2, 3], [4, 5, 6]], axis=0))
    [[-1.5 -1.5 -1.5]
     [ 1.5  1.5  1.5]]
    """
    return activation(along="axis", masked=masked, source=source, aliases=aliases, name=name)


def gated(
    *, source: str = "", aliases: tuple[str, ...] = (), name: str | None = None, gate: Gate = "first"
) -> Callable[[Callable[..., Any]], Gated]:
    """Make a gated pair from a Python function of gate and value that reads like its formula.

    Parameters
    ----------
    source : str
        Where the formula comes from.
    aliases : tuple of str
        Other names.
    name : str, optional
        The name; by default the function's.
    gate : {"first", "second", "even"}
        Where one array, split in halves, holds its gate unless the call says otherwise.

    Returns
    -------
    callable
        A decorator that returns a :class:`Gated`.

    Raises
    ------
    FormulaError
        If the function cannot be read as a formula of a gate and a value.

    Examples
    --------
    >>> import nonlin as nl
    >>> @nl.gated(gate="second")
    ... def tanh_glu(gate, value):
    ...     return nl.tanh(gate) * value
    >>> print(tanh_glu([3.0, 0.0]))
    [0.]
    """
    return activation(layout=Halves(gate), source=source, aliases=aliases, name=name)


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
    made = Activation(**vars(definition))
    if family == "own":  # the catalogue is checked by a test, not at every import
        try:
            check_definition(made)
        except FormulaError as error:
            raise error if own_name in str(error) else FormulaError(f"{own_name}: {error}") from None
    return made


# --- what is wrong with a definition is said when it is made -----------------------------------------------------------


def check_definition(of: Activation) -> None:
    """Raise FormulaError if the formula uses an unknown symbol, reserved names, or divides by what may be zero."""
    along = isinstance(of.layout, Rows)
    if is_of_rows(of.formula) and not along:
        raise FormulaError(f'{of.name} looks at a whole row: it is made by activation(along="axis")')
    reserved = (UFUNC_KEYWORDS | {"wrt"}) & {*of.operands, *of.parameters}
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
