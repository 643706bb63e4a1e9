"""Finished formulas in JAX's operations: a table of names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
from jax import lax

from nonlin.formula.expression import Application, Expression
from nonlin.formula.finish import functions_of
from nonlin.formula.primitives import Primitive
from nonlin.formula.spelling import Spelling

#: Functions by their names in jax.numpy. XLA's own erf and erfc are left out: they lose sixty ulps in the tail.
_NAMES = {
    **{name: name for name in "add subtract multiply divide negative less less_equal greater greater_equal".split()},
    **{name: name for name in "logical_and logical_or maximum minimum absolute sign sqrt exp log".split()},
    **{name: name for name in "expm1 log1p sin cos tanh arctan".split()},
}
FUNCTIONS = functions_of(_NAMES)


class JaxSpelling(Spelling[Any]):
    """Computes a finished formula of arrays, which JAX may trace.

    Parameters
    ----------
    values : Mapping[str, array]
        One for each symbol, all of one dtype.
    dtype : dtype
        That one.
    """

    language = "JAX"

    def __init__(self, values: Mapping[str, Any], dtype: Any) -> None:
        self.values, self.dtype = values, jnp.dtype(dtype)
        self.table: Mapping[str, Callable[..., Any]] = {
            **{name: getattr(jnp, of) for name, of in _NAMES.items()},
            "divide": jnp.floor_divide if jnp.issubdtype(self.dtype, jnp.integer) else jnp.divide,
            "where": self._where,
            "is_number": lambda a: ~jnp.isnan(a),  # XLA takes a == a and |a| >= 0 to be always true
            "nan": lambda: jnp.asarray(jnp.nan, self.dtype),
        }

    def symbol(self, name: str) -> Any:
        return self.values[name]

    def constant(self, value: Fraction) -> Any:
        # A Python number is weakly typed: it takes the array's dtype, and leaves weakly typed arrays what they are.
        return float(value) if jnp.issubdtype(self.dtype, jnp.floating) else int(value)

    def application(self, primitive: Primitive, arguments: tuple[Any, ...], node: Application) -> Any:
        if all(isinstance(a, (int, float)) for a in arguments):  # jax.numpy would take its default dtype
            arguments = tuple(map(self._array, arguments))
        return super().application(primitive, arguments, node)

    def _array(self, number: float) -> Any:
        """Return a number as an array that is weakly typed where the operands are, and of their dtype in any case."""
        return lax.full_like(next(iter(self.values.values())), number, shape=())

    def _where(self, condition: Any, a: Any, b: Any) -> Any:
        return jnp.where(condition, *(self._array(v) if isinstance(v, (int, float)) else v for v in (a, b)))


def evaluated(formula: Expression, values: Mapping[str, Any], dtype: Any) -> Any:
    """Compute a finished formula."""
    return JaxSpelling(values, dtype)(formula)
