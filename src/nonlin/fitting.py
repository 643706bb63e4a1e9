"""Coefficients of the learnable families that make them look like another activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise, product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nonlin.definition import get

Array: TypeAlias = npt.NDArray[np.float64]
_NODES = 200
_STARTS = (0.0, 1.0, 10.0, 100.0)


def fit_rational(activation: str | Callable[[Array], Any], interval: tuple[float, float] = (-3.0, 3.0)) -> dict[str, float]:
    """Fit the coefficients of ``rational`` to an activation: the least mean square error over an interval.

    Parameters
    ----------
    activation : activation, callable or str
        What to fit: a function of an array, or the name of an activation.
    interval : tuple of float
        Where to fit. Outside of it the fit may do what it likes: make it as wide as the inputs are.

    Returns
    -------
    dict of str to float
        A value for each of the parameters ``a0`` to ``a5`` and ``b1`` to ``b4``.

    Raises
    ------
    ImportError
        If SciPy is not installed.
    ValueError
        If the interval is none, or the activation is not finite everywhere in it.

    Examples
    --------
    >>> import nonlin as nl
    >>> tanh_like = nl.rational.with_(**nl.fit_rational(nl.tanh))
    >>> bool(abs(tanh_like(1.0) - nl.tanh(1.0)) < 1e-5)
    True
    """
    if find_spec("scipy") is None:
        raise ImportError("fit_rational needs SciPy, which is missing: pip install scipy")
    low, high = interval
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"fit_rational: interval must be two finite numbers, the smaller one first, got {interval}")
    x, weights = _quadrature(low, high)
    y = np.asarray(get(activation)(x) if isinstance(activation, str) else activation(x), np.float64)
    if y.shape != x.shape or not np.isfinite(y).all():
        raise ValueError(f"fit_rational: {activation} must give a finite number everywhere in {interval}")
    unit = max(abs(low), abs(high))
    problem = _Problem((x / unit)[:, np.newaxis] ** np.arange(6), y, np.sqrt(weights))
    found = problem.without_noise(min(map(problem.descend, problem.starts()), key=problem.error))
    found /= unit ** np.array([0, 1, 2, 3, 4, 5, 1, 2, 3, 4])
    names = [*(f"a{k}" for k in range(6)), *(f"b{k}" for k in range(1, 5))]
    return dict(zip(names, found.tolist(), strict=True))


def _quadrature(low: float, high: float) -> tuple[Array, Array]:
    """Return points and weights that integrate over an interval, accurately also where there is a kink at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    ends = [low, 0.0, high] if low < 0 < high else [low, high]
    x = [(a + b) / 2 + (b - a) / 2 * nodes for a, b in pairwise(ends)]
    return np.concatenate(x), np.concatenate([(b - a) / 2 * weights for a, b in pairwise(ends)])


@dataclass(frozen=True)
class _Problem:
    """Find ten coefficients, of a numerator and then of a denominator, that bring a fraction of powers close to y."""

    powers: Array
    """x^0 to x^5, a column each. On [-1, 1] they are all of the same size."""
    y: Array
    weights: Array

    def parts(self, coefficients: Array) -> tuple[Array, Array, Array]:
        """Return the fraction, its denominator, and the sign of what stands between the denominator's bars."""
        inner = self.powers[:, 1:5] @ coefficients[6:]
        below = 1 + np.abs(inner)
        return self.powers @ coefficients[:6] / below, below, np.where(inner < 0, -1.0, 1.0)

    def error(self, coefficients: Array) -> float:
        rest = self.weights * (self.parts(coefficients)[0] - self.y)
        return float(rest @ rest)

    def starts(self) -> Iterator[Array]:
        """Yield denominators 1 + c*x^2 + d*x^4, each with the best numerator for it."""
        for c, d in product(_STARTS, repeat=2):
            scale = self.weights / (1 + c * self.powers[:, 2] + d * self.powers[:, 4])
            numerator = np.linalg.lstsq(scale[:, np.newaxis] * self.powers, self.weights * self.y)[0]
            yield np.array([*numerator, 0, c, 0, d])

    def descend(self, coefficients: Array) -> Array:
        """Go down to the nearest minimum; SciPy's other methods end in worse ones, elu's by a factor of forty."""
        from scipy.optimize import least_squares

        def residuals(at: Array) -> Array:
            return self.weights * (self.parts(at)[0] - self.y)

        def slopes(at: Array) -> Array:
            value, below, sign = self.parts(at)
            by = np.hstack([self.powers, -(value * sign)[:, np.newaxis] * self.powers[:, 1:5]])
            return by * (self.weights / below)[:, np.newaxis]

        accuracy = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-15)
        found = least_squares(residuals, coefficients, slopes, method="dogbox", x_scale="jac", max_nfev=200, **accuracy)
        return np.asarray(found.x)

    def without_noise(self, coefficients: Array) -> Array:
        """Set to zero what is nothing but rounding: far outside of the interval it would take over."""
        tidy = np.where(np.abs(coefficients) < 1e-7 * np.abs(coefficients).max(), 0.0, coefficients)
        norm = float(np.sum((self.weights * self.y) ** 2))
        spoils = self.error(tidy) > 1.001 * self.error(coefficients) + 1e-28 * norm
        return coefficients if spoils else tidy
