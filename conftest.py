"""Which modules pytest collects examples from: the room of a framework only where the framework is installed."""

import os
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras' own default is TensorFlow, which may not be there
collect_ignore_glob = [] if find_spec("torch") else ["src/nonlin/torch/*", "tests/torch/*"]
if not find_spec("keras"):
    collect_ignore_glob += ["src/nonlin/keras/*", "tests/keras/*"]
