"""Gated pairs: an activation of one array times another, or of the two halves of one array."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nonlin.activation import Activation, activation
from nonlin.formula.expression import Expression, FormulaError, Symbol
from nonlin.formula.primitives import absolute, where
from nonlin.frameworks import room
from nonlin.kernels.ufunc import Function
from nonlin.layout import Gate, Halves

_OPERANDS = {"gate": "x", "value": "value"}


class Gated(Activation):
    """An activation of two arrays, ``gate(x)*value``; given one array, of the two halves of an axis.

    Made by the decorator :func:`gated`; the catalogue's stand in ``nonlin`` by name. Two arrays broadcast as for any
    ``numpy.ufunc``. In the formula the array that goes through the gate is ``x``, as in every other formula.

    Attributes
    ----------
    gate : {"first", "second", "even"}
        Where one array holds its gate unless the call says otherwise.

    Examples
    --------
    >>> import nonlin as nl
    >>> print(nl.reglu([1.0, -2.0], [3.0, 4.0]))
    [3. 0.]
    >>> print(nl.reglu([1.0, -2.0, 3.0, 4.0]), nl.reglu([1.0, -2.0, 3.0, 4.0], gate="second"))
    [3. 0.] [ 3. -8.]
    >>> print(nl.reglu.formula)
    where(x > 0, x, 0)*value
    """

    layout: Halves

    def __init__(self, name: str, formula: Expression, **fields: Any) -> None:
        super().__init__(name, formula, **{"layout": Halves(), **fields})
        self.gate: Gate = self.layout.gate
        self.__signature__ = _signature(self)
        self.__doc__ = f"{self.__doc__}\n\n{_ONE_ARRAY.format(gate=self.gate)}"

    def derivative(self, *arguments: Any, order: int = 1, wrt: str = "gate", **keywords: Any) -> Any:
        """Evaluate a derivative.

        Parameters
        ----------
        *arguments, **keywords
            As for the pair itself: two arrays, or one that is split.
        order : int
            How often to differentiate.
        wrt : str
            ``"gate"``, ``"value"`` or a parameter.

        Returns
        -------
        array_like
            Of the same kind, dtype and shape as the result of the pair.

        Examples
        --------
        >>> import nonlin as nl
        >>> print(nl.reglu.derivative([1.0, -2.0], [3.0, 4.0]))
        [3. 0.]
        >>> print(nl.reglu.derivative([1.0, -2.0], [3.0, 4.0], wrt="value"))
        [1. 0.]
        """
        return self._evaluate(wrt, (order,), arguments, keywords)

    def value_and_derivative(self, *arguments: Any, wrt: str = "gate", **keywords: Any) -> Any:
        """Evaluate the pair and its first derivative at once."""
        return self._evaluate(wrt, (0, 1), arguments, keywords)

    def _evaluate(self, wrt: str, orders: tuple[int, ...], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if not arguments and "x" in keywords:
            arguments = (keywords.pop("x"),)
        if len(arguments) == 2 and arguments[1] is None:
            arguments = arguments[:1]
        elif keywords.get("value", 0) is None:
            del keywords["value"]
        if len(arguments) == 1 and "value" not in keywords:
            axis, gate = keywords.pop("axis", -1), keywords.pop("gate", self.gate)
            arguments = self._split(arguments[0], axis, gate)
        for name in ("axis", "gate"):
            if name in keywords:
                raise TypeError(f"{self.name}: {name} says how to split one array, but x and value are two")
        return super()._evaluate(self._symbol(wrt), orders, arguments, keywords)

    def _split(self, x: Any, axis: int, gate: Gate) -> tuple[Any, Any]:
        if isinstance(x, Expression):
            raise FormulaError(f"{self.name} needs a value beside {x}: only an array can be split in halves")
        framework = room(self.name, (x,))
        if framework is not None:
            return framework.split(self, x, axis, gate)
        return self.layout.split(self.name, np.asanyarray(x), axis, gate)

    def _symbol(self, wrt: str) -> str:
        """Return the name in the formula of what a caller calls ``gate``, ``value`` or a parameter."""
        if wrt not in (*_OPERANDS, "x", *self.parameters):
            names = ", ".join((*_OPERANDS, *self.parameters))
            raise ValueError(f"{self.name}: wrt must be one of {names}, got {wrt!r}")
        return _OPERANDS.get(wrt, wrt)

    def derivative_ufunc(self, *, order: int = 1, wrt: str = "gate") -> np.ufunc:
        """Return the ``numpy.ufunc`` of a derivative."""
        return super().derivative_ufunc(order=order, wrt=self._symbol(wrt))

    def derivative_formula(self, order: int = 1, wrt: str = "gate") -> Expression:
        """Return the formula of a derivative, in the stable form that is computed."""
        return super().derivative_formula(order, self._symbol(wrt))

    def latex(self, order: int = 0, wrt: str = "gate") -> str:
        """Return the formula, or that of a derivative, as LaTeX."""
        return super().latex(order, wrt)

    def _function(self, wrt: str, orders: tuple[int, ...], *, narrow: bool = False) -> Function:
        function = super()._function(wrt, orders, narrow=narrow)
        # The slope may not depend on the value; NaN in, NaN out all the same. (The kernel sees to NaN in x.)
        value = Symbol("value")
        formulas = (
            where(absolute(value) >= 0, formula, value) if order else formula
            for formula, order in zip(function.formulas, orders, strict=True)
        )
        return replace(function, formulas=tuple(formulas))

    @property
    def facts(self) -> Any:
        """A function of two arrays has no facts: those of its gate are what there is to know."""
        raise ValueError(f"{self.name} has no facts: it is a function of two arrays; its gate has")


def _signature(of: Gated) -> inspect.Signature:
    kind, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    own = [
        inspect.Parameter("x", kind),
        inspect.Parameter("value", kind, default=None),
        *(inspect.Parameter(n, kind, default=p.default) for n, p in of.parameters.items()),
        inspect.Parameter("axis", keyword, default=-1),
        inspect.Parameter("gate", keyword, default=of.gate),
    ]
    return inspect.Signature(own)


_ONE_ARRAY = """Notes
-----
Without ``value``, one array is split along ``axis``, by default the last one: ``gate`` says whether its ``"first"`` or
``"second"`` half goes through the gate, or its ``"even"`` entries, counted from 0; by default {gate!r}."""


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
