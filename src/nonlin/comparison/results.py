"""What goes into a run besides its cell, and what comes out; without torch, which the driver need not load."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from nonlin.activation import Activation
from nonlin.comparison.plan import PlanError
from nonlin.diagnosis.shape import Shape, shape_of


@dataclass(frozen=True)
class Ingredients:
    """What is known of an activation before training, computed once for all runs."""

    activation: Activation
    gain: float
    shape: Shape


def ingredients(activation: Activation, gain: str) -> Ingredients:
    """Compute what training needs to know of an activation.

    Examples
    --------
    >>> import nonlin as nl
    >>> round(ingredients(nl.relu, "exact").gain, 4)
    1.4142
    """
    shape = shape_of(activation)
    factor = 1.0
    if gain == "exact":
        factor = float(activation.facts.gain)
        if not (math.isfinite(factor) and factor > 0):
            raise PlanError(
                f"{activation.name} has no finite second moment under a normal input, so no exact gain; give a number"
            )
    elif gain != "own":
        factor = float(gain)
    return Ingredients(activation, factor, shape)


@dataclass
class Result:
    """What a run left behind. Everything but the time is determined by the run's key.

    Attributes
    ----------
    status : str
        ``ok``; ``diverged``: the loss became non-finite, or ended above that of the untrained network; ``failed``.
    score, validation : float
        Accuracy or R² on test and validation rows. A network with non-finite outputs scores like a constant prediction.
    loss : list of float
        Mean training loss of each epoch.
    curve : list of float
        Validation score after each epoch.
    health : dict
        Counts of units and depth profiles, ``start`` and ``end``.
    seconds : float
        CPU time of training; of a stack, each member's share.
    error : str
        Why it failed.
    """

    status: str
    score: float = math.nan
    validation: float = math.nan
    loss: list[float | None] = field(default_factory=list)
    curve: list[float | None] = field(default_factory=list)
    health: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def failed(error: str) -> dict[str, Any]:
    """Return the record of a run that failed."""
    return Result("failed", error=error).as_dict()
