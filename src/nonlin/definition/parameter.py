"""A parameter of an activation: its default, and what values it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nonlin.formula.expression import Constant

Bound: TypeAlias = float | str | None
COMPARISONS: Mapping[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "gt": (">", lambda value, bound: value > bound),
    "ge": (">=", lambda value, bound: value >= bound),
    "lt": ("<", lambda value, bound: value < bound),
    "le": ("<=", lambda value, bound: value <= bound),
    "ne": ("!=", lambda value, bound: value != bound),
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of an activation: its default and what values it may take.

    Parameters
    ----------
    default : int, float or None
        None means that the caller has to give it.
    gt, ge, lt, le, ne : float or str, optional
        Bounds: greater than, at least, less than, at most, not equal. The name of another parameter stands for its value.
    learnable : bool
        Whether layers learn it unless told otherwise.

    Examples
    --------
    >>> import nonlin as nl
    >>> nl.elu.parameters["alpha"]
    Parameter(1.0, ge=0)
    """

    default: int | float | None = None
    gt: Bound = None
    ge: Bound = None
    lt: Bound = None
    le: Bound = None
    ne: Bound = None
    learnable: bool = False

    def __init__(
        self,
        default: int | float | None = None,
        *,
        gt: Bound = None,
        ge: Bound = None,
        lt: Bound = None,
        le: Bound = None,
        ne: Bound = None,
        learnable: bool = False,
    ) -> None:
        for name, value in locals().copy().items():
            if name != "self":
                if isinstance(value, int):
                    Constant(value)  # an error if no float64 is near it: what it is compared with, or becomes, is one
                object.__setattr__(self, name, value)

    @property
    def bounds(self) -> dict[str, float | str]:
        """The bounds that are set, by name."""
        found = {name: getattr(self, name) for name in COMPARISONS}
        return {name: bound for name, bound in found.items() if bound is not None}

    def describe(self) -> str:
        """Say in words what is allowed: ``>= 0 and < 1``."""
        return " and ".join(f"{COMPARISONS[name][0]} {bound}" for name, bound in self.bounds.items())

    def excludes_zero(self) -> bool:
        """Whether the bounds rule out zero."""
        b = {name: bound for name, bound in self.bounds.items() if not isinstance(bound, str)}
        return b.get("ne") == 0 or b.get("gt", -1) >= 0 or b.get("ge", -1) > 0 or b.get("lt", 1) <= 0 or b.get("le", 1) < 0

    def is_positive(self) -> bool:
        """Whether the bounds leave numbers above zero only."""
        b = {name: bound for name, bound in self.bounds.items() if not isinstance(bound, str)}
        return b.get("gt", -1) >= 0 or b.get("ge", -1) > 0

    def __repr__(self) -> str:
        parts = [] if self.default is None else [repr(self.default)]
        parts += [f"{name}={bound!r}" for name, bound in self.bounds.items()]
        if self.learnable:
            parts.append("learnable=True")
        return f"Parameter({', '.join(parts)})"


def changed_parameters(parameters: Mapping[str, Parameter], defaults: Mapping[str, float]) -> dict[str, Parameter]:
    """Return parameters with other defaults."""
    return {name: Parameter(defaults.get(name, p.default), **p.bounds, learnable=p.learnable) for name, p in parameters.items()}
