"""Keras 3: symbolic functions, layers, saving, replacement and initial weights, on each of its backends.

There is a layer for every activation in the registry, named as Keras names it where Keras has it: ``ReLU``, ``LeakyReLU``,
``ELU``, ``PReLU``, ``Softmax``, ``GELU``, ``SwiGLU``... :func:`layer` makes one of an activation of your own, or of one with
Keras' defaults: ``layer(nonlin.dialect("keras.layers").leaky_relu)``. Importing this room lets ``activation="nonlin>gelu"``
name an activation in every layer of Keras, and lets saved models be loaded that have any. Numbers come from the room of the
backend.
"""

from typing import Any as _Any

import keras as _keras

_BACKENDS = ("jax", "numpy", "tensorflow", "torch")
if _keras.backend.backend() not in _BACKENDS:
    raise ImportError(
        f"nonlin.keras computes on Keras' backends {', '.join(_BACKENDS)}, not on {_keras.backend.backend()}: set "
        "KERAS_BACKEND to one of them before Keras is imported"
    )

from nonlin.definition import activations as _activations  # noqa: E402 - after what says that nothing here can be used
from nonlin.keras import constraints as constraints, initializers as initializers  # noqa: E402
from nonlin.keras.layers import class_name as _class_name  # noqa: E402
from nonlin.keras.making import layer as layer  # noqa: E402
from nonlin.keras.replacement import replace as replace  # noqa: E402
from nonlin.keras.saving import register_activations as _register_activations  # noqa: E402
from nonlin.keras.special import GatedFeedForward as GatedFeedForward  # noqa: E402

_register_activations()


def __getattr__(name: str) -> _Any:
    """Make the class of a layer when it is first asked for."""
    if not name.startswith("_"):
        for entry in _activations.values():
            if _class_name(entry.name) == name:
                return layer(entry)
    raise AttributeError(f"module 'nonlin.keras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(_class_name(entry.name) for entry in _activations.values())})
