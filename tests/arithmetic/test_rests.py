"""What rounding leaves over of an argument must not decide where it is 0/0, inf - inf, or overflows."""

import itertools
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

import nonlin as nl
from nonlin.formula import primitives as p
from nonlin.formula.expression import Expression

#: an argument, where it is looked at, and what it is there
ARGUMENTS: dict[str, tuple[Callable[[Expression], Expression], float, float]] = {
    "sqrt(|x|) at 0": (lambda x: p.sqrt(p.absolute(x)), 0.0, 0.0),
    "1 + sqrt(|x|) at 0": (lambda x: 1 + p.sqrt(p.absolute(x)), 0.0, 1.0),
    "1/x at inf": (lambda x: 1 / x, np.inf, 0.0),
    "1/x at -inf": (lambda x: 1 / x, -np.inf, 0.0),
    "2 + 1/x at inf": (lambda x: 2 + 1 / x, np.inf, 2.0),
    "1/2 - 1/x at -inf": (lambda x: 0.5 - 1 / x, -np.inf, 0.5),
    "1/sqrt(x) at inf": (lambda x: 1 / p.sqrt(x), np.inf, 0.0),
    "1/log(x) at inf": (lambda x: 1 / p.log(x), np.inf, 0.0),
    "exp(-x) at inf": (lambda x: p.exp(-x), np.inf, 0.0),
    "1/exp(x) at inf": (lambda x: 1 / p.exp(x), np.inf, 0.0),
    "1/(1 + x^2) at inf": (lambda x: 1 / (1 + x**2), np.inf, 0.0),
    "1/(1 + x^2) at 1e30": (lambda x: 1 / (1 + x**2), 1e30, 1e-60),
    "softsign at -inf": (lambda x: p.softsign(x), -np.inf, -1.0),
    "1/(1 + 1/x) at inf": (lambda x: 1 / (1 + 1 / x), np.inf, 1.0),
}
#: sign is left out: the limit of sign(1/x) is 1, although 1/x is 0 at infinity. Reductions are of rows.
FUNCTIONS = [
    name
    for name, record in p.PRIMITIVES.items()
    if type(record) is p.Primitive and record.arity == 1 and name not in ("sign", "is_number")
]
CASES = list(itertools.product(ARGUMENTS, FUNCTIONS))


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow)")
@pytest.mark.parametrize(("argument", "name"), CASES)
def test_a_function_of_an_argument_whose_rest_is_no_number(argument: str, name: str) -> None:
    inner, at, value = ARGUMENTS[argument]
    with mpmath.workdps(30):
        want = p.PRIMITIVES[name].reference(mpmath.mp, mpmath.mpf(value)) if (value, name) != (0, "log") else -mpmath.inf
    want = float(want) if isinstance(want, mpmath.mpf) else np.nan
    # Each dtype in turn: what can go wrong is the same in all, and a case takes a compilation.
    dtype = ["float32", "float64", "float16"][CASES.index((argument, name)) % 3]
    function = nl.activation(lambda x: p.PRIMITIVES[name](inner(x)), name="of_a_rest")
    x = np.array([at, 1.5, at], dtype) if dtype != "float16" or abs(at) != 1e30 else np.array([np.inf] * 3, dtype)
    got = function(x)
    np.testing.assert_allclose(got[[0, 2]], np.array([want, want], dtype), rtol=4 * np.finfo(dtype).eps, atol=0)


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow)")
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_in_exact_precision(argument: str) -> None:
    inner, at, value = ARGUMENTS[argument]
    function = nl.activation(lambda x: p.sigmoid(inner(x)), name="of_a_rest")
    with nl.precision("exact"):
        got = function(np.array([at], np.float32))
    assert got == np.float32(1 / (1 + np.exp(-value)))
