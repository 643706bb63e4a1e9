"""What is promised of a result, and where it is excused: one definition for the judge, the benchmarks and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.formula import primitives as p
from nonlin.formula.expression import Application, Constant, Expression, Symbol, postorder, remembered

#: Largest errors by dtype, in units of the last place of the exact result.
ULPS: Mapping[str, float] = MappingProxyType({"float16": 0.51, "bfloat16": 0.51, "float32": 2.0, "float64": 2.0})
#: The same for float32 in the precision "exact".
EXACT_ULPS = 0.5001
#: So many more in float32 for gelu and mish: where these functions of x are part of the formula.
HARDER_ULPS = 0.5
_HARDER = ("normal_cdf", "tanh_softplus")
#: Terms cancel where the result is smaller than this part of its largest term.
CANCELLATION = 1 / 32
#: Where they do, an absolute error is promised instead: half an ulp of terms between 1/2 and 1.
CANCELLED_ERROR: Mapping[str, float] = MappingProxyType({"float32": 6e-8, "float64": 6e-8 * 2.0**-29})


class AccuracyWarning(UserWarning):
    """A user's own formula is compiled whose results are farther from the exact ones than is promised."""


def is_harder(formula: Expression) -> bool:
    """Whether half an ulp more is promised in float32."""
    return any(
        isinstance(node, Application) and node.primitive.name in _HARDER and isinstance(node.arguments[0], Symbol)
        for node in postorder(formula)
    )


def promised_ulps(formula: Expression, dtype: str, *, exact: bool = False) -> float:
    """Return the largest error promised of a formula's results, in units of the last place.

    Parameters
    ----------
    formula : Expression
        In canonical form.
    dtype : str
        NumPy's name of the result's dtype.
    exact : bool
        Whether the precision is "exact".
    """
    if dtype != "float32":
        return ULPS[dtype]
    return EXACT_ULPS if exact else ULPS[dtype] + HARDER_ULPS * is_harder(formula)


@remembered
def largest_term(formula: Expression) -> Expression:
    """Return the size of a formula's largest term, itself as a formula.

    The terms of a product of sums are those that it has when it is multiplied out; a function of a sum is one term.

    Examples
    --------
    >>> from nonlin.formula import Symbol, exp
    >>> from nonlin.arithmetic.promise import largest_term
    >>> x = Symbol("x")
    >>> print(largest_term(exp(x) * (x - 1)))
    absolute(exp(x))*maximum(absolute(x), 1)
    """
    size: dict[Expression, Expression] = {}
    for node in postorder(formula):
        if node.is_condition:
            continue
        size[node] = Constant(abs(node.value)) if isinstance(node, Constant) else p.absolute(node)
        if not isinstance(node, Application):
            continue
        arguments = node.arguments
        if node.primitive in (p.add, p.subtract):
            size[node] = p.maximum(*(size[a] for a in arguments))
        elif node.primitive in (p.negative, p.absolute):
            size[node] = size[arguments[0]]
        elif node.primitive is p.multiply:
            size[node] = reduce(p.multiply, (size[a] for a in arguments))
        elif node.primitive is p.divide:
            size[node] = size[arguments[0]] / p.absolute(arguments[1])
        elif node.primitive is p.integer_power:
            size[node] = p.power(size[arguments[0]], arguments[1])
        elif node.primitive is p.where:
            size[node] = p.where(arguments[0], size[arguments[1]], size[arguments[2]])
        elif node.primitive in (p.maximum, p.minimum):
            a, b = arguments
            size[node] = p.where(a > b if node.primitive is p.maximum else a < b, size[a], size[b])
    return size[formula]


def cancels(result: Any, largest: Any) -> npt.NDArray[np.bool_]:
    """Mark the results whose terms cancel, given the sizes of their largest terms."""
    return np.asarray(np.abs(result) < CANCELLATION * largest)
