"""Closed forms about networks at initialisation: born dead, safe depth, mean fields, the edge of chaos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonlin.definition import Elementwise, get

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
_WEIGHTS = _WEIGHTS / math.sqrt(2 * math.pi)
_GRID = np.linspace(-12, 12, 48_001)
_DENSITY = np.exp(-(_GRID**2) / 2) / math.sqrt(2 * math.pi) * (_GRID[1] - _GRID[0])


def born_dead_probability(widths: Sequence[int]) -> float:
    """Return the probability that a relu network with one input and no biases is constant before it is trained.

    Exactly 1 - prod(1 - 2^-N) over the hidden widths, for weights with a symmetric distribution (Lu et al.,
    arXiv:1903.06733); for more inputs it is a bound from below.

    Examples
    --------
    >>> born_dead_probability([2, 2])
    0.4375
    """
    if any(width < 1 for width in widths):
        raise ValueError(f"born_dead_probability: widths must be at least 1, got {list(widths)}")
    return -math.expm1(sum(math.log1p(-(2.0**-width)) for width in widths))


def safe_depth(width: int, p: float = 0.01) -> int:
    """Return how many hidden layers of a width there may be for a probability of being born dead of at most p.

    Examples
    --------
    >>> safe_depth(8, 0.01), safe_depth(2, 0.5)
    (2, 2)
    """
    if width < 1 or not 0 < p < 1:
        raise ValueError(f"safe_depth: width must be at least 1 and p between 0 and 1, got {width} and {p}")
    return math.floor(math.log1p(-p) / math.log1p(-(2.0**-width)) + 1e-12)


def moment(activation: Any, q: float, *, order: int = 0) -> float:
    """Return E f(sqrt(q) z)^2, or of a derivative, z standard normal.

    Examples
    --------
    >>> round(moment("relu", 2.0), 6)
    1.0
    """
    entry = _entry(activation)
    values = np.asarray(entry.derivative(math.sqrt(q) * _GRID, order=order), dtype=float)
    return float(_DENSITY @ values**2)


def _entry(activation: Any) -> Elementwise:
    entry = get(activation)
    if not isinstance(entry, Elementwise) or entry.operands != ("x",):
        raise ValueError(f"{entry.name} is no function of one number: mean-field theory says nothing about it")
    return entry


@dataclass(frozen=True)
class Edge:
    """A point of the edge of chaos.

    Attributes
    ----------
    sigma_w, sigma_b : float
        Deviations of weights (times the square root of the fan-in) and biases.
    q : float
        The variance of pre-activations, which stays from layer to layer.
    chi : float
        What gradients are multiplied by in each layer, squared: 1.
    """

    sigma_w: float
    sigma_b: float
    q: float
    chi: float


def edge_of_chaos(activation: Any, sigma_b: float) -> Edge:
    """Return sigma_w for which neither signal nor gradient vanishes or explodes with depth, at a given sigma_b.

    At the fixed point q = sigma_b^2 + sigma_w^2 E f(sqrt(q) z)^2 it makes chi = sigma_w^2 E f'(sqrt(q) z)^2 one.

    Raises
    ------
    ValueError
        If there is none: of relu there is only sigma_b = 0.

    Examples
    --------
    >>> edge = edge_of_chaos("tanh", 0.3)
    >>> round(edge.chi, 9), 1.3 < edge.sigma_w < 1.5
    (1.0, True)
    """
    entry = _entry(activation)

    def rest(q: float) -> float:
        return sigma_b**2 + moment(entry, q) / moment(entry, q, order=1) - q

    if sigma_b == 0:
        q = 1.0 if abs(rest(1.0)) < 1e-6 else 1e-6
        if abs(rest(q)) > 1e-6:
            raise ValueError(f"edge_of_chaos: {entry.name} has no edge at sigma_b = 0")
        slope = moment(entry, q, order=1)
        return Edge(slope**-0.5, 0.0, q, 1.0)
    low, high = 1e-9, 1e-6
    while rest(high) > 0:
        low, high = high, high * 2
        if high > 1e6:
            raise ValueError(f"edge_of_chaos: {entry.name} has no edge at sigma_b = {sigma_b:g}")
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rest(middle) > 0 else (low, middle)
    q = math.sqrt(low * high)
    sigma_w = moment(entry, q, order=1) ** -0.5
    return Edge(sigma_w, sigma_b, q, sigma_w**2 * moment(entry, q, order=1))


def correlation_map(activation: Any, c: float, *, q: float = 1.0) -> float:
    """Return the correlation of two outputs whose inputs have correlation c: E f(u) f(v) / E f(u)^2.

    Examples
    --------
    >>> import math
    >>> c = 0.3
    >>> exact = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    >>> abs(correlation_map("relu", c) - exact) < 1e-3
    True
    """
    entry = _entry(activation)
    u = _NODES[:, None]
    v = c * u + math.sqrt(max(1 - c * c, 0.0)) * _NODES[None, :]
    scale = math.sqrt(q)
    first, second = np.asarray(entry(scale * u)), np.asarray(entry(scale * v))
    return float(_WEIGHTS @ (first * second) @ _WEIGHTS) / moment(entry, q)
