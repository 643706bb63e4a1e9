"""The errors of an activation's results: what is promised, what is measured, and where that is excused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nonlin.arithmetic.choice import Question, sample_of
from nonlin.arithmetic.lowering import interpret, lower
from nonlin.arithmetic.number import DOUBLE
from nonlin.arithmetic.promise import CANCELLED_ERROR, cancels, largest_term, promised_ulps
from nonlin.formula.calculus import canonical
from nonlin.formula.expression import substitute
from nonlin.kernels.precision import get_precision

if TYPE_CHECKING:
    from nonlin.definition import Elementwise

_ORDERS = (0, 1)
#: Digits of the significand after the first, and the smallest and the largest exponent.
_FORMATS = {"float16": (10, -14, 15), "bfloat16": (7, -126, 127), "float32": (23, -126, 127), "float64": (52, -1022, 1023)}


@dataclass(frozen=True)
class Measurement:
    """The errors of one dtype's results.

    Attributes
    ----------
    promised : float
        The largest error in units of the last place, but where terms cancel.
    measured : float
        The largest one that was seen on some thousand inputs, with many around zeros, conditions and edges of the domain.
    at : float
        The input where it was seen.
    cancelling : float
        The largest absolute error that was excused because terms cancel: the result is below 1/32 of the largest of them, and
        6e-8 is promised instead in float32.
    """

    promised: float
    measured: float
    at: float
    cancelling: float

    @property
    def is_kept(self) -> bool:
        """Whether no error was seen that the promise excludes."""
        return self.measured <= self.promised

    @property
    def excuse(self) -> str:
        """Why some results are farther from the exact ones than promised; empty if none is."""
        reasons = [] if self.is_kept else [f"beyond the promise at x = {self.at:.6g}"]
        if self.cancelling:
            reasons.append(f"{self.cancelling:.1e} where terms cancel")
        return "; ".join(reasons)


class Accuracy(Mapping[tuple[str, int], Measurement]):
    """The errors of an activation's results at its defaults, by dtype and order of the derivative.

    Examples
    --------
    >>> import nonlin as nl
    >>> found = nl.silu.accuracy["float32", 0]
    >>> print(found.promised, found.is_kept)
    2.0 True
    """

    def __init__(self, name: str, measurements: Mapping[tuple[str, int], Measurement]) -> None:
        self.name = name
        self._measurements = dict(measurements)

    def __getitem__(self, key: tuple[str, int]) -> Measurement:
        return self._measurements[key]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._measurements)

    def __len__(self) -> int:
        return len(self._measurements)

    def rows(self) -> list[tuple[str, str]]:
        """Return what is known of each dtype and order in words."""
        rows = []
        for (dtype, order), found in self.items():
            words = f"{found.measured:.3g} of {found.promised:g} ulp"
            rows.append((f"{dtype} f{chr(39) * order}", f"{words}; {found.excuse}" if found.excuse else words))
        return rows

    def __repr__(self) -> str:
        width = max(len(label) for label, _ in self.rows())
        return "\n".join([f"accuracy of {self.name}", *(f"  {label:{width}}  {words}" for label, words in self.rows())])


def accuracy_of(entry: Elementwise) -> Accuracy:
    """Measure an activation of one array, at its defaults.

    Raises
    ------
    ValueError
        If it takes more arrays, or a parameter has no default.
    """
    if len(entry.operands) > 1:
        raise ValueError(f"{entry.name} takes {len(entry.operands)} arrays: errors are measured of functions of one")
    missing = [name for name, parameter in entry.parameters.items() if parameter.default is None]
    if missing:
        raise ValueError(f"{entry.name} has no errors to measure before {', '.join(missing)} is given: see with_()")
    dtypes = [name for name in _FORMATS if name != "bfloat16" or "ml_dtypes" in sys.modules]
    return Accuracy(entry.name, {(dtype, order): _measure(entry, dtype, order) for dtype in dtypes for order in _ORDERS})


@np.errstate(all="ignore")  # what overflows on a sample of all inputs is no news to the user
def _measure(entry: Elementwise, dtype: str, order: int) -> Measurement:
    kind: Any = np.dtype(sys.modules["ml_dtypes"].bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    # 16 bits take the defaults as they are.
    held = kind if dtype in ("float32", "float64") else np.dtype(np.float64)
    given = {name: Fraction(float(held.type(parameter.default))) for name, parameter in entry.parameters.items()}
    formula = canonical(substitute(entry.derivative_formula(order), given))
    exact = get_precision() == "exact"
    sample = sample_of(Question(formula, (), (), dtype, exact=exact))
    x = sample.astype(kind)
    x = x[np.isfinite(x.astype(np.float64))]
    wide = x.astype(np.float64)
    got = np.broadcast_to(entry.derivative(x, order=order), x.shape).astype(np.float64)
    finer = "longdouble" if dtype == "float64" else "float64"
    want = np.broadcast_to(interpret(lower(formula, DOUBLE, {}), finer, {"x": wide}), x.shape)
    error = np.abs(got - want).astype(np.float64)
    ulps = error / _last_place(want.astype(np.float64), dtype)
    _, _, largest = _FORMATS[dtype]
    overflown = np.isinf(got) & (np.abs(want) >= 2.0**largest * (2 - 2.0 ** -(_FORMATS[dtype][0] + 1)))
    ulps[(np.isnan(got) & np.isnan(want)) | (got == want) | overflown] = 0
    ulps[np.isnan(ulps)] = np.inf
    promised = promised_ulps(formula, dtype, exact=exact)
    # A kink is where the arithmetic puts it: the next number may be on the other side of a jump.
    wrong = np.flatnonzero(ulps > promised)
    step = 2.0 ** (1 - _FORMATS[dtype][0])
    beside = [
        np.broadcast_to(interpret(lower(formula, DOUBLE, {}), "float64", {"x": wide[wrong] * (1 + side)}), wrong.shape)
        for side in (-step, step)
    ]
    jumps = np.abs(beside[1] - beside[0]) > 1e-3 * np.maximum(*np.abs(beside))
    ulps[wrong[jumps & np.isin(got[wrong], beside)]] = 0
    cancelling = 0.0
    if dtype in CANCELLED_ERROR and not exact:
        terms = np.broadcast_to(interpret(lower(largest_term(formula), DOUBLE, {}), "float64", {"x": wide}), x.shape)
        excused = (ulps > promised) & (error <= CANCELLED_ERROR[dtype]) & cancels(want, terms)
        cancelling = float(error[excused].max(initial=0))
        ulps[excused] = 0
    worst = int(np.argmax(ulps)) if ulps.size else 0
    return Measurement(promised, float(ulps[worst]), float(wide[worst]), cancelling)


def _last_place(y: npt.NDArray[np.float64], dtype: str) -> npt.NDArray[np.float64]:
    digits, smallest, largest = _FORMATS[dtype]
    return np.asarray(np.ldexp(1.0, np.clip(np.frexp(y)[1] - 1, smallest, largest) - digits))
