"""Gated pairs: an activation of one array times another, or of the two halves of one array."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nonlin.definition.elementwise import Elementwise
from nonlin.definition.layout import Gate, Halves
from nonlin.formula.expression import Expression, FormulaError
from nonlin.formula.finish import with_nan
from nonlin.frameworks import room
from nonlin.kernels.ufunc import Function

_OPERANDS = {"gate": "x", "value": "value"}


class Gated(Elementwise, layout=Halves()):
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
        super().__init__(name, formula, **fields)
        self.gate: Gate = self.layout.gate

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
        parameters: tuple[Any, ...] = ()
        if len(arguments) > 1 and arguments[1] is None:
            arguments, parameters = arguments[:1], arguments[2:]
        elif keywords.get("value", 0) is None:
            del keywords["value"]
        if len(arguments) == 1 and "value" not in keywords:
            axis, gate = keywords.pop("axis", -1), keywords.pop("gate", self.gate)
            arguments = (*self._split(arguments[0], axis, gate), *parameters)
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
        # In machine code x is the gate, and the kernel sees to NaN in it where nothing else does.
        formulas = (with_nan(formula, ("x", "value")) for formula in function.formulas)
        return replace(function, formulas=tuple(formulas))

    @property
    def facts(self) -> Any:
        """A function of two arrays has no facts: those of its gate are what there is to know."""
        raise ValueError(f"{self.name} has no facts: it is a function of two arrays; its gate has")
