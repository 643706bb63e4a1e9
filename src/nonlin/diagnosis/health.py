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
RARE = 0.01
DORMANT = 0.025


@dataclass(frozen=True)
class UnitStates:
    """Which units are in which state: boolean arrays over the units, after the axes of a stack.

    Attributes
    ----------
    dead, always_on, rare, negative_only, saturated, non_finite : ndarray of bool
        As the head of this module defines them; rare: active in some, but in less than 1 % of the samples.
    dormant : ndarray of bool
        Whose mean abs(h) is at most 0.025 of the layer's (Sokar et al., arXiv:2302.12902); none if no output was given.
    gradient_dead : ndarray of bool
        Neither dead nor non-finite, but dL/dh was 0 everywhere; none if no gradient was given.
    """

    dead: Any
    always_on: Any
    rare: Any
    negative_only: Any
    saturated: Any
    non_finite: Any
    dormant: Any
    gradient_dead: Any


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
        output: torch.Tensor | None = None,
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
        output : Tensor, optional
            f(z): what tells dormant units.
        axis : int
            Where the units are: 1 after the stack for a convolution, the last one for a linear layer.
        """
        if slope is None:
            slope = _slope(self._activation, z)
        self._samples += z.shape[self._stack]

        z, slope = self._by_unit(z, axis), self._by_unit(slope, axis)
        self._values += z.shape[-3] * z.shape[-2]
        places = (-3, -2)
        limit = EPS * self._shape.steepest if math.isfinite(self._shape.steepest) else 0.0
        active = slope.abs() > limit
        # Of an image, a unit is active at a sample if it is anywhere; it is always on if it is so everywhere.
        # Sums of one block in the dtype at hand, which is several times faster than in float64, where blocks are added up.
        wide = torch.float64 if z.dtype == torch.float64 else torch.float32
        by_sample = active.sum(-2, dtype=wide)
        on = by_sample.sum(-2)
        one_place = z.shape[-2] == 1  # of a linear layer: the two are the same then
        self._add("somewhere", on if one_place else (by_sample > 0).sum(-2))
        self._add("everywhere", on if one_place else (by_sample == z.shape[-2]).sum(-2))
        self._add("flat", z.shape[-3] * z.shape[-2] - on)
        # The sum of numbers is finite only if they are; only if it is not they need to be looked at. To ask takes longer
        # than to look where the answer comes from another device.
        total = z.sum(places, dtype=wide)
        bad = ~torch.isfinite(total)
        self._add("non_finite", (~torch.isfinite(z)).sum(places) if not z.is_cpu or bad.any() else bad.long())
        self._add("sum", total)
        self._add("square", _norm(z, dtype=wide).square())
        if output is not None:
            self._add("level", _norm(self._by_unit(output, axis), 1, dtype=wide))
        if gradient is not None:
            self.update_gradient(gradient, axis=axis)

    @torch.no_grad()
    def update_gradient(self, gradient: torch.Tensor, *, of_output: bool = False, axis: int = -1) -> None:
        """Add the gradients of a block: dL/dz, or dL/dh, the loss summed over samples; they may come later than the values."""
        wide = torch.float64 if gradient.dtype == torch.float64 else torch.float32
        squares = _norm(self._by_unit(gradient, axis), dtype=wide).square()
        self._add("output_gradient" if of_output else "gradient", squares)

    def pool(self, group: Any) -> None:
        """Add up what all ranks of a process group have counted, each of the same layer."""
        names = sorted(self._sums)
        counts = torch.tensor([self._samples, self._values], dtype=torch.float64)
        flat = torch.cat([counts.to(self._sums[names[0]].device), *(self._sums[name].flatten() for name in names)])
        torch.distributed.all_reduce(flat, group=None if group is True else group)
        self._samples, self._values = int(flat[0]), int(flat[1])
        parts = flat[2:].split([self._sums[name].numel() for name in names])
        self._sums = {name: part.reshape(self._sums[name].shape) for name, part in zip(names, parts, strict=True)}

    def _by_unit(self, tensor: torch.Tensor, axis: int) -> torch.Tensor:
        """Return it as (*stack, samples, places, units)."""
        tensor = tensor.movedim(axis, -1)
        return tensor.reshape(*tensor.shape[: self._stack + 1], -1, tensor.shape[-1])

    def _add(self, name: str, value: torch.Tensor) -> None:
        value = value.double()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _arrays(self) -> dict[str, Any]:
        if not self._sums:
            raise ValueError("no samples were seen")
        return {name: value.cpu().numpy() for name, value in self._sums.items()}

    def states(self) -> UnitStates:
        """Return which units are in which state."""
        return self._states(self._arrays())

    def _states(self, sums: dict[str, Any]) -> UnitStates:
        n = self._samples
        bad = sums["non_finite"] > 0
        silent = ~bad & (sums["somewhere"] == 0)
        dead = silent & self._shape.can_die
        level, gradient = sums.get("level"), sums.get("output_gradient")
        none = np.zeros_like(bad)
        return UnitStates(
            dead=dead,
            always_on=~bad & (sums["everywhere"] == n),
            rare=~bad & ~silent & (sums["somewhere"] < RARE * n) & self._shape.can_die,
            negative_only=silent & (not self._shape.can_die),
            saturated=~bad & (sums["flat"] >= SATURATED_IN * self._values) & self._shape.bounded,
            non_finite=bad,
            dormant=none if level is None else ~bad & (level <= DORMANT * level.mean(-1, keepdims=True)),
            gradient_dead=none if gradient is None else ~bad & ~dead & (gradient == 0),
        )

    def spread(self) -> tuple[Any, Any]:
        """Return mean and variance of each unit's pre-activations, over samples and places."""
        sums = self._arrays()
        with np.errstate(all="ignore"):
            mean = sums["sum"] / self._values
            return mean, np.maximum(sums["square"] / self._values - mean**2, 0)

    def gradient_norm(self) -> Any:
        """Return the RMS over samples of the norm of dL/dz, which neither width nor the number of places changes; or NaN."""
        sums = self._arrays()
        if "gradient" not in sums:
            return np.full(sums["sum"].shape[:-1], np.nan)
        return np.sqrt(sums["gradient"].sum(-1) / self._samples)

    def result(self) -> LayerHealth:
        """Return what was seen, in NumPy."""
        sums = self._arrays()
        states = self._states(sums)
        units = states.dead.shape[-1]
        total = self._values * units
        with np.errstate(all="ignore"):
            square = sums["square"].sum(-1) / total
            mean = sums["sum"].sum(-1) / total
            gradient = np.sqrt(sums["gradient"].sum(-1) / total) if "gradient" in sums else np.full_like(square, np.nan)
            return LayerHealth(
                samples=self._samples,
                units=units,
                dead=states.dead.sum(-1),
                always_on=states.always_on.sum(-1),
                negative_only=states.negative_only.sum(-1),
                saturated=states.saturated.sum(-1),
                non_finite=states.non_finite.sum(-1),
                rms_z=np.sqrt(square),
                variance_z=square - mean**2,
                rms_gradient=gradient,
            )


def _norm(values: torch.Tensor, order: int = 2, *, dtype: torch.dtype) -> torch.Tensor:
    """Return the norm of each unit's values, in one pass."""
    norm: torch.Tensor = torch.linalg.vector_norm(values, order, (-3, -2), dtype=dtype)
    return norm


def _slope(activation: Any, z: torch.Tensor) -> torch.Tensor:
    """Return f'(z) by automatic differentiation, which every way of computing f has."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(activation(z).sum(), z)[0]
