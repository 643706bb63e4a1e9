"""What goes into a run besides its cell, and what comes out; without torch, which the driver need not load."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from nonlin.comparison.plan import PlanError
from nonlin.definition import Elementwise
from nonlin.diagnosis.shape import Shape, shape_of
from nonlin.facts import UnknownFactError


@dataclass(frozen=True)
class Ingredients:
    """What is known of an activation before training, computed once for all runs."""

    activation: Elementwise
    gains: dict[str, float]  # by what they are called in the plan
    shape: Shape


def ingredients(activation: Elementwise, gains: Iterable[str]) -> Ingredients:
    """Compute what training needs to know of an activation.

    Examples
    --------
    >>> import nonlin as nl
    >>> round(ingredients(nl.relu, ["exact"]).gains["exact"], 4)
    1.4142
    """
    factors = {}
    for gain in gains:
        if gain == "exact":
            try:
                factors[gain] = float(activation.facts.gain)
            except UnknownFactError as error:
                raise PlanError(f"{error}; give a number") from error
            if not (math.isfinite(factors[gain]) and factors[gain] > 0):
                raise PlanError(
                    f"{activation.name} has no finite second moment under a normal input, so no exact gain; give a number"
                )
        else:
            factors[gain] = 1.0 if gain == "own" else float(gain)
    return Ingredients(activation, factors, shape_of(activation))


@dataclass
class Result:
    """What a run left behind. Everything but the time is determined by the run's key and the most steps it may take.

    Attributes
    ----------
    status : str
        ``ok``; ``flat``: it did not learn, for it was never better than a constant prediction on validation rows;
        ``diverged``: loss, weights or outputs became non-finite, or the loss tenfold that of a
        constant prediction;
        ``failed``.
    score, validation : float
        On test and validation rows, of the network where its validation score was best; more is better. A network with
        non-finite outputs scores like a constant prediction. What is not judged has no score on test rows.
    validation_loss : float
        There; among equal scores the least is best.
    steps : int
        How many were taken.
    best : int
        After how many of them it was best.
    ended : str
        ``turned``: its best was older than the patience; ``limit``: it took all steps; ``rung``: its setting was given up.
    loss : list of float
        Mean training loss from check to check.
    curve : list of float
        Validation score at each check.
    health : dict
        Counts of units and depth profiles, ``start`` and ``end``: untrained, and where it was best.
    seconds : float
        CPU time of training; of a stack, each member's share.
    error : str
        Why it failed.
    """

    status: str
    score: float = math.nan
    validation: float = math.nan
    validation_loss: float = math.nan
    steps: int = 0
    best: int = 0
    ended: str = "turned"
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
