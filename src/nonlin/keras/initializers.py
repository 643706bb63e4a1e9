"""Initial weights that keep the scale of activations through a network."""

from __future__ import annotations

from typing import Any, Literal

import keras

from nonlin import scaling
from nonlin.definition import get
from nonlin.keras.saving import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class ExactGain(keras.initializers.VarianceScaling):
    """Weights of variance gain^2/fan, with the exact gain of the activation that follows: 1/sqrt(E f(z)^2), z normal.

    ``"he_normal"`` is that for ReLU only, ``"lecun_normal"`` for none.

    Parameters
    ----------
    activation : activation or str
        What follows the weights, with its defaults: ``nl.leaky_relu.with_(negative_slope=0.3)``.
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int or keras.random.SeedGenerator, optional

    Examples
    --------
    >>> import keras, nonlin.keras
    >>> initializer = nonlin.keras.initializers.ExactGain("gelu", seed=0)
    >>> layer = keras.layers.Dense(64, activation="nonlin>gelu", kernel_initializer=initializer)
    >>> print(round(initializer.gain, 4))
    1.5335
    """

    def __init__(
        self,
        activation: Any,
        mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
        distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal",
        seed: Any = None,
    ) -> None:
        entry = get(activation)
        self.gain = scaling.gain(entry)
        super().__init__(scale=self.gain**2, mode=mode, distribution=distribution, seed=seed)
        self.activation = entry

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        kept = {name: config[name] for name in ("mode", "distribution", "seed")}
        return {**kept, "activation": keras.saving.serialize_keras_object(self.activation)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ExactGain:
        return cls(**{**config, "activation": keras.saving.deserialize_keras_object(config["activation"])})
