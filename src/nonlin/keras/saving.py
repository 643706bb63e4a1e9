"""What Keras needs to know to write activations and layers into a file, and to read them from it."""

from __future__ import annotations

from typing import Any

import keras
from keras.src.activations import ALL_OBJECTS_DICT

from nonlin.definition import Activation, AxisFunction, Elementwise, Gated, activations

PACKAGE = "nonlin"


def register(made: type, base: type) -> None:
    """Register a class that is made on demand under the name of its base, whose ``from_config`` makes it again.

    The base is registered where it is written. A process that loads a model then needs no more: the class, perhaps of an
    activation of the user's own, may not be there yet.
    """
    registered = keras.saving.register_keras_serializable
    for cls in (made, base):  # in this order: the base is what the name stands for
        registered(package=PACKAGE, name=base.__name__)(cls)


def register_activations() -> None:
    """Register the classes of activations, and the registry's by name, also those that are still to come."""
    for kind in (Elementwise, Gated, AxisFunction):
        register(kind, Activation)
    for entry in activations.values():
        _register_name(entry)
    activations.watchers.append(_register_name)


def _register_name(entry: Any) -> None:
    name = f"{PACKAGE}>{entry.name}"
    # The one for configurations that are read, the other for keras.activations.get, which asks no registry.
    keras.saving.get_custom_objects()[name] = ALL_OBJECTS_DICT[name] = entry
