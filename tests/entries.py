"""The registry as the tests run over it: every elementwise activation and dtype, calls that the oracle can check."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import nonlin as nl
from nonlin.arithmetic.promise import CANCELLED_ERROR, cancels, largest_term
from nonlin.formula import Constant, canonical, substitute
from nonlin.kernels.ufunc import Function, make_ufunc
from oracle import GRID, defaults

ELEMENTWISE: dict[str, nl.Elementwise] = {
    name: entry
    for name, entry in nl.activations.items()
    if isinstance(entry, nl.Elementwise) and entry.operands == ("x",) and entry.family != "own"
}
FLOATS: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
INTEGERS = [np.dtype(c) for c in "bBhHiIlLqQ"]
INTEGER_IDS = [f"{dtype}_{dtype.char}" for dtype in INTEGERS]  # two of them may have one name
ORDERS = (0, 1, 2)
#: Whether products that take minutes are tested whole; otherwise a sample of them is.
WHOLE = bool(os.environ.get("NONLIN_WHOLE"))
POINTS = [x for points in GRID.values() for x in points if not math.isnan(x)]

over_entries = pytest.mark.parametrize("name", ELEMENTWISE)
over_orders = pytest.mark.parametrize("order", ORDERS)
over_floats = pytest.mark.parametrize("dtype", FLOATS.values(), ids=list(FLOATS))


def distinct(points: Iterable[float], dtype: np.dtype[Any] = FLOATS["float64"]) -> np.ndarray[Any, Any]:
    """The points rounded to a dtype, each once; 0 and -0 are two."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.array(list(points)).astype(dtype)
    return np.array(list({x.tobytes(): x for x in rounded}.values()), dtype)


def parameters(name: str, dtype: np.dtype[Any] = FLOATS["float64"], **other: float) -> dict[str, float]:
    """An entry's parameters in a dtype, as floats: what the oracle is to take for a call with ``typed`` ones."""
    return {key: float(dtype.type(value)) for key, value in (defaults(name) | other).items()}


def typed(values: Mapping[str, float], dtype: np.dtype[Any]) -> dict[str, np.generic]:
    """Parameters as scalars of a dtype."""
    return {key: dtype.type(value) for key, value in values.items()}


def evaluate(
    name: str, x: Any, order: int = 0, *, dtype: np.dtype[Any] = FLOATS["float64"], **other: float
) -> np.ndarray[Any, Any]:
    """Call an entry or its derivative on points in a dtype, with its parameters in that dtype."""
    values = typed(parameters(name, dtype, **other), dtype)
    return nl.activations[name].derivative(np.asarray(x, dtype), order=order, **values)


def excused(
    entry: nl.Elementwise,
    order: int,
    x: Any,
    want: Any,
    error: Any,
    given: Mapping[str, float],
    limit: float = CANCELLED_ERROR["float32"],
) -> Any:
    """Where float32 results may have such absolute errors because terms cancel; x and what is wanted in float64."""
    formula = substitute(largest_term(entry.derivative_formula(order)), {n: Constant(v) for n, v in given.items()})
    size = make_ufunc(Function("size", (canonical(formula),), ("x",), {}))
    return cancels(want, size(x)) & (error <= limit)
