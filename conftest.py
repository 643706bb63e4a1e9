"""Which modules pytest collects examples from: the room of a framework only where the framework is installed."""

import os
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras' own default is TensorFlow, which may not be there
collect_ignore_glob = [
    f"{folder}/{framework}/*"
    for framework in ("jax", "keras", "tensorflow", "torch")
    if not find_spec(framework)
    for folder in ("src/nonlin", "tests")
]
