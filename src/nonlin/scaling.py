"""The scale that an activation leaves, and what undoes it: the gain of the weights before it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from nonlin.definition import Elementwise, Gated, get


def gain(activation: Any, **parameters: float) -> float:
    """Return 1/sqrt(E f(z)^2), z standard normal: weights of variance gain^2/fan_in then keep the scale of activations.

    Unlike ``facts.gain``, which has every digit, it needs no mpmath, and takes gated pairs, too.

    Parameters
    ----------
    activation : activation or str
    **parameters : float
        Where they are not the defaults.

    Raises
    ------
    ValueError
        If there is no gain: the activation is 0, or a parameter has no default.

    Examples
    --------
    >>> from nonlin.scaling import gain
    >>> print(round(gain("relu"), 6), round(gain("leaky_relu", negative_slope=1.0), 6))
    1.414214 1.0
    """
    entry = get(activation)
    if not isinstance(entry, Elementwise):
        raise ValueError(f"gain: {entry.name} is a function of a whole row, which has no gain")
    values = {name: parameters.pop(name, parameter.default) for name, parameter in entry.parameters.items()}
    if parameters:
        raise TypeError(f"gain: {entry.name} has no parameter {min(parameters)!r}")
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise ValueError(f"gain: {entry.name} needs {missing[0]}: it has no default")
    entry.check(**values)
    moment = _second_moment(entry, tuple(float(v) for v in values.values()))  # type: ignore[arg-type]
    if not 0 < moment < np.inf:
        raise ValueError(f"gain: the mean square of {entry.name} under a normal input is {moment}")
    return float(moment**-0.5)


@lru_cache(maxsize=256)
def _second_moment(entry: Elementwise, values: tuple[float, ...]) -> float:
    # The normal density times an exponential is so small beyond 14 that the trapezoidal rule has all digits, kinks apart.
    steps = 1_000_001 if not isinstance(entry, Gated) else 2_001
    z = np.linspace(-14, 14, steps)
    weights = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    if isinstance(entry, Gated):
        y = entry.ufunc(z[:, np.newaxis], z, *values)
        return float(weights @ (y * y) @ weights)
    y = entry.ufunc(z, *values)
    return float(weights @ (y * y))
