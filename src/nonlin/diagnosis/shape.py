"""What the definitions of health need to know about an activation; computed from its facts, without a framework."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nonlin.definition import Elementwise


@dataclass(frozen=True)
class Shape:
    """What the definitions need to know about an activation.

    Attributes
    ----------
    steepest : float
        The largest abs(f'), infinite if there is none: any slope but zero counts as active then.
    can_die : bool
        Whether f' vanishes where a unit can stay.
    bounded : bool
    """

    steepest: float
    can_die: bool
    bounded: bool


@lru_cache(maxsize=256)
def shape_of(activation: Elementwise) -> Shape:
    """Compute from an activation's facts what the definitions need.

    Examples
    --------
    >>> import nonlin as nl
    >>> shape_of(nl.relu)
    Shape(steepest=1.0, can_die=True, bounded=False)
    >>> shape_of(nl.leaky_relu).can_die, shape_of(nl.tanh).bounded
    (False, True)
    """
    facts = activation.facts
    steepest = float(facts.lipschitz)
    ends = facts.slope_limits
    flat_ends = any(end is not None and float(end) == 0 for end in (ends.left, ends.right))
    # A stretch, not a point, of zero slope between the ends: that of hard_shrink, for one.
    x = np.linspace(-8, 8, 4001)
    slope = np.asarray(activation.derivative(x))
    flat_middle = bool(np.any((slope[1:] == 0) & (slope[:-1] == 0)))
    return Shape(steepest, flat_ends or flat_middle, bool(facts.bounded))
