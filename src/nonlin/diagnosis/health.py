"""The health of hidden units: dead, always on, saturated; the signal and the gradient by depth.

A unit is *active* at a sample where abs(f'(z)) > 0.05 max abs(f'), with the activation's own derivative: for relu that is
z > 0. It is *dead* if active in no sample, *always on* if active in all, *saturated*, for a bounded activation, if inactive in
at least 95 % of the samples. A unit of an activation whose derivative vanishes nowhere, such as leaky relu, is never dead: one
that is active in no sample is *negative only*. A unit with a NaN or an infinity is *non-finite* before all of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nonlin.definition import Elementwise
from nonlin.diagnosis.shape import Shape, shape_of

EPS = 0.05
SATURATED_IN = 0.95


@dataclass(frozen=True)
class LayerHealth:
    """What was seen of the units of one layer, of one model or of many stacked ones.

    All values have the shape of the stack, which is ``()`` for one model. Counts are of units.

    Attributes
    ----------
    samples, units : int
    dead, always_on, negative_only, saturated, non_finite : ndarray of int
    rms_z, variance_z : ndarray
        Of the pre-activations, over samples and units.
    rms_gradient : ndarray
        Of dL/dz, the loss summed over samples; NaN if no gradient was given.
    """

    samples: int
    units: int
    dead: Any
    always_on: Any
    negative_only: Any
    saturated: Any
    non_finite: Any
    rms_z: Any
    variance_z: Any
    rms_gradient: Any

    @property
    def bound(self) -> float:
        """The most that a unit can fire which fired in none of the samples, with 95 % confidence.

        Examples
        --------
        >>> layer = LayerHealth(299, 1, *[None] * 8)
        >>> round(layer.bound, 4)
        0.01
        """
        return float(1 - 0.05 ** (1 / self.samples)) if self.samples else 1.0


class Health:
    """Counts about the units of one layer, fed in blocks of samples; memory grows with the units only.

    Parameters
    ----------
    activation : Elementwise
    stack : int
        How many leading axes count models.
    shape : Shape, optional
        What is known of the activation already; facts take a while.

    Examples
    --------
    >>> import nonlin as nl, torch
    >>> health = Health(nl.relu)
    >>> health.update(torch.tensor([[-1.0, 1.0, -1.0], [-2.0, 2.0, 3.0]]))
    >>> seen = health.result()
    >>> int(seen.dead), int(seen.always_on)
    (1, 1)
    """

    def __init__(self, activation: Elementwise, stack: int = 0, shape: Shape | None = None) -> None:
        self._activation = activation
        self._shape = shape or shape_of(activation)
        self._stack = stack
        self._samples = 0
        self._values = 0
        self._sums: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(
        self,
        z: torch.Tensor,
        gradient: torch.Tensor | None = None,
        *,
        slope: torch.Tensor | None = None,
        axis: int = -1,
    ) -> None:
        """Add a block of samples.

        Parameters
        ----------
        z : Tensor of shape (*stack, samples, ..., units, ...)
            Pre-activations.
        gradient : Tensor, optional
            dL/dz, the loss summed over samples.
        slope : Tensor, optional
            f'(z), where it is known already.
        axis : int
            Where the units are: 1 after the stack for a convolution, the last one for a linear layer.
        """
        if slope is None:
            slope = _slope(self._activation, z)
        self._samples += z.shape[self._stack]

        def by_unit(tensor: torch.Tensor) -> torch.Tensor:
            """Return it as (*stack, samples, places, units)."""
            tensor = tensor.movedim(axis, -1)
            return tensor.reshape(*tensor.shape[: self._stack + 1], -1, tensor.shape[-1])

        z, slope = by_unit(z), by_unit(slope)
        self._values += z.shape[-3] * z.shape[-2]
        places = (-3, -2)
        limit = EPS * self._shape.steepest if math.isfinite(self._shape.steepest) else 0.0
        active = slope.abs() > limit
        # Of an image, a unit is active at a sample if it is anywhere; it is always on if it is so everywhere.
        # Sums of one block in the dtype at hand, which is several times faster than in float64, where blocks are added up.
        wide = torch.float64 if z.dtype == torch.float64 else torch.float32
        on = active.to(wide).sum(places)
        one_place = z.shape[-2] == 1  # of a linear layer: the two are the same then
        self._add("somewhere", on if one_place else active.any(-2).sum(-2))
        self._add("everywhere", on if one_place else active.all(-2).sum(-2))
        self._add("flat", z.shape[-3] * z.shape[-2] - on)
        # The sum of numbers is finite only if they are; only if it is not they need to be looked at.
        total = z.sum(places, dtype=wide)
        bad = ~torch.isfinite(total)
        self._add("non_finite", (~torch.isfinite(z)).sum(places) if bad.any() else bad.long())
        self._add("sum", total)
        self._add("square", z.to(wide).square().sum(places))
        if gradient is not None:
            self._add("gradient", by_unit(gradient).to(wide).square().sum(places))

    def _add(self, name: str, value: torch.Tensor) -> None:
        value = value.double()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def result(self) -> LayerHealth:
        """Return what was seen, in NumPy."""
        if not self._sums:
            raise ValueError("no samples were seen")
        sums = {name: value.cpu().numpy() for name, value in self._sums.items()}
        n = self._samples
        bad = sums["non_finite"] > 0
        silent = ~bad & (sums["somewhere"] == 0)
        units = bad.shape[-1]
        total = self._values * units
        with np.errstate(all="ignore"):
            square = sums["square"].sum(-1) / total
            mean = sums["sum"].sum(-1) / total
            gradient = np.sqrt(sums["gradient"].sum(-1) / total) if "gradient" in sums else np.full_like(square, np.nan)
            saturated = ~bad & (sums["flat"] >= SATURATED_IN * self._values) & self._shape.bounded
            return LayerHealth(
                samples=n,
                units=units,
                dead=(silent & self._shape.can_die).sum(-1),
                always_on=(~bad & (sums["everywhere"] == n)).sum(-1),
                negative_only=(silent & (not self._shape.can_die)).sum(-1),
                saturated=saturated.sum(-1),
                non_finite=bad.sum(-1),
                rms_z=np.sqrt(square),
                variance_z=square - mean**2,
                rms_gradient=gradient,
            )


def _slope(activation: Any, z: torch.Tensor) -> torch.Tensor:
    """Return f'(z) by automatic differentiation, which every way of computing f has."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(activation(z).sum(), z)[0]
