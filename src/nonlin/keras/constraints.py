"""Constraints that keep learned parameters where their activation allows them."""

from __future__ import annotations

from typing import Any

import keras

from nonlin.keras.saving import PACKAGE

_BOUNDS = ("gt", "ge", "lt", "le", "ne")


@keras.saving.register_keras_serializable(package=PACKAGE)
class Within(keras.constraints.Constraint):
    """Keeps a weight within bounds, as :class:`nonlin.Parameter` gives them: ``Within(gt=0)``.

    Where an end itself is not allowed, the weight keeps a distance of ``keras.config.epsilon()`` from it.

    Parameters
    ----------
    gt, ge, lt, le, ne : float, optional

    Examples
    --------
    >>> import keras, nonlin.keras
    >>> within = nonlin.keras.constraints.Within(ge=0, le=1)
    >>> print(keras.ops.convert_to_numpy(within(keras.ops.array([-1.0, 0.5, 3.0]))))
    [0.  0.5 1. ]
    """

    def __init__(self, **bounds: float | None) -> None:
        self.bounds = {name: float(bound) for name, bound in bounds.items() if bound is not None}
        unknown = bounds.keys() - {*_BOUNDS}
        if unknown:
            raise TypeError(f"Within: a bound is one of {', '.join(_BOUNDS)}, got {min(unknown)}")

    def __call__(self, w: Any) -> Any:
        near, bounds = keras.config.epsilon(), self.bounds
        for kind, distance in (("ge", 0.0), ("gt", near)):
            if kind in bounds:
                w = keras.ops.maximum(w, bounds[kind] + distance)
        for kind, distance in (("le", 0.0), ("lt", near)):
            if kind in bounds:
                w = keras.ops.minimum(w, bounds[kind] - distance)
        if "ne" in bounds:
            w = keras.ops.where(keras.ops.abs(w - bounds["ne"]) < near, bounds["ne"] + near, w)
        return w

    def get_config(self) -> dict[str, float]:
        return dict(self.bounds)
