"""Patches: a polynomial instead of a sum whose terms cancel.

Next to a zero the plain operations of a slope such as ``normal_cdf(x) + x*density(x)`` lose digits, and all that keeps them
costs twice as much for every input. There the function is ``x - zero``, which is nearly exact, times something smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from nonlin.arithmetic.machine import fma, polynomial
from nonlin.formula.expression import Constant, Expression, Symbol
from nonlin.formula.primitives import absolute, where

Array = npt.NDArray[np.float64]
_MAX_DEGREE = 8
#: What a fit may be wrong by, relatively: an eighth of the rounding of the result.
_FIT_ERROR = 2.0**-27


@dataclass(frozen=True)
class Patch:
    """``(x - zero)*polynomial(x - zero)`` within a radius of a zero, in float32."""

    zero: float
    rest: float
    """What is missing of the zero."""
    radius: float
    slope: float
    """Its constant term."""
    coefficients: tuple[float, ...]
    """What that lacks as float32 has it, and the other terms."""

    def over(self, operations: Expression) -> Expression:
        """Return operations with those of the patch in their place next to the zero."""
        distance = Symbol("x") - Constant(Fraction(self.zero))  # exact, since the radius is at most half the zero
        # The first term is the largest by far, so that it is summed last; of the product with the rest no other can be seen.
        slope = Constant(Fraction(self.slope))
        patch = fma(distance, slope, fma(distance, polynomial(distance, self.coefficients), Constant(-self.rest * self.slope)))
        return where(absolute(distance) < Constant(Fraction(self.radius)), patch, operations)


def fit_patch(function: Callable[[Array], Any], zero: float, radius: float) -> Patch | None:
    """Fit a patch to a function, or return None if that takes a polynomial of too high a degree.

    Parameters
    ----------
    function : callable
        From float64 to values that are right to more digits than float32 has.
    zero : float
        Where it is 0.
    radius : float
        How far from there the patch must reach.
    """
    nodes = np.cos(np.pi * (np.arange(48) + 0.5) / 48)  # none of them at the zero itself
    slope = np.asarray(function(zero + radius * nodes), np.float64) / (radius * nodes)
    if not np.isfinite(slope).all() or not slope.all():
        return None
    powers = nodes[:, np.newaxis] ** np.arange(_MAX_DEGREE + 1)
    for degree in range(_MAX_DEGREE + 1):
        fitted = np.linalg.lstsq(powers[:, : degree + 1] / slope[:, np.newaxis], np.ones(len(nodes)))[0]
        if np.abs(powers[:, : degree + 1] @ fitted / slope - 1).max() <= _FIT_ERROR:
            coefficients = fitted / radius ** np.arange(degree + 1)
            first, near, reach = (float(np.float32(value)) for value in (coefficients[0], zero, radius))
            coefficients[0] -= first
            return Patch(near, zero - near, reach, first, tuple(np.float32(coefficients).astype(float).tolist()))
    return None
