"""The frameworks that the conformance suite runs over: how to make an array of each, how to read one, what it promises."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from nonlin.arithmetic.promise import CANCELLED_ERROR
from nonlin.frameworks import FRAMEWORKS

Array = np.ndarray[Any, Any]
BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class Backend:
    """A framework's room, and its promise as data.

    Attributes
    ----------
    array, numpy
        What makes an array of one of NumPy's, of any dtype of ``dtypes``, and back.
    gradient
        The gradient of the sum of a function's results by the framework's own differentiation; None where it has none.
    dtypes
        Floating dtypes that it knows; others are not its.
    integers
        What integers become that a function does not keep.
    ulps
        The largest error of a result, by dtype, in units in the last place of the exact one.
    cancelled
        The largest absolute error where terms cancel, by dtype; the library's own where it is not given.
    flushes
        Whether a subnormal result may be 0.
    exceptions
        Entries, with a reason, whose digits are not promised.
    """

    array: Callable[[Array], Any]
    numpy: Callable[[Any], Array]
    gradient: Callable[[Callable[[Any], Any], Any], Any] | None
    ulps: Mapping[str, float]
    dtypes: tuple[str, ...] = ("float16", BFLOAT16, "float32", "float64")
    integers: str = "float32"
    cancelled: Mapping[str, float] = field(default_factory=lambda: CANCELLED_ERROR)
    flushes: bool = False
    exceptions: Mapping[str, str] = field(default_factory=dict)


#: Of backends that flush, and whose functions have no digits to spare.
LOST = {"sqrt_softplus": "exp(-104) is subnormal and flushed, its root is not", "rational": "no stable form"}


def _numpy() -> Backend:
    # gelu and mish are promised half an ulp more, as arithmetic/promise.py says.
    return Backend(lambda x: x, lambda x: x, None, {"float32": 2.5, "float64": 4.0}, integers="float64")


def _torch() -> Backend:
    import torch

    def array(x: Array) -> Any:
        if x.dtype.name == BFLOAT16:
            return torch.from_numpy(x.astype(np.float32)).to(torch.bfloat16)
        return torch.from_numpy(x.copy())

    def numpy(x: Any) -> Array:
        x = x.detach()
        if x.dtype is torch.bfloat16:
            import ml_dtypes

            return x.float().numpy().astype(ml_dtypes.bfloat16)
        return x.numpy()

    def gradient(function: Callable[[Any], Any], x: Any) -> Any:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]

    return Backend(array, numpy, gradient, {"float32": 4.0, "float64": 4.0})


def _jax() -> Backend:
    import jax
    import jax.numpy as jnp

    def gradient(function: Callable[[Any], Any], x: Any) -> Any:
        return jax.grad(lambda a: function(a).sum())(x)

    return Backend(
        jnp.asarray,
        np.asarray,
        gradient,
        {"float32": 20.0},  # as TensorFlow's
        cancelled={"float32": 2e-7},
        dtypes=("float16", BFLOAT16, "float32"),  # float64 needs jax_enable_x64, which is for a whole process
        flushes=True,  # XLA on a CPU
        exceptions=LOST,
    )


def _tensorflow() -> Backend:
    import tensorflow as tf

    def gradient(function: Callable[[Any], Any], x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(function(x))
        return tape.gradient(y, x)

    return Backend(
        tf.constant,
        lambda x: x.numpy(),
        gradient,
        {"float32": 20.0, "float64": 20.0},  # golu's tail, and slopes near their zeros; its exp and tanh have 2 to 5
        cancelled={"float32": 2e-7, "float64": 2e-7 * 2.0**-29},
        flushes=True,  # its threads flush
        exceptions=LOST,
    )


def _keras() -> Backend:
    """Keras' variables and layers, on the backend that this process has."""
    import keras

    base = MAKERS[keras.backend.backend()]()

    def array(x: Array) -> Any:
        return keras.Variable(x, dtype=x.dtype.name, trainable=False)

    def numpy(x: Any) -> Array:
        return np.asarray(keras.ops.convert_to_numpy(x)).astype(keras.backend.standardize_dtype(x.dtype))

    def gradient(function: Callable[[Any], Any], x: Any) -> Any:
        assert base.gradient is not None
        return base.gradient(keras.layers.Activation(function), x.value)

    return replace(base, array=array, numpy=numpy, gradient=base.gradient and gradient)


MAKERS: dict[str, Callable[[], Backend]] = {
    "numpy": _numpy,
    "torch": _torch,
    "jax": _jax,
    "tensorflow": _tensorflow,
    "keras": _keras,
}

#: What the suite runs over. A process has one of Keras' backends: tests/keras_processes.py runs it on each.
CHOSEN = os.environ.get("NONLIN_CONFORMANCE", "numpy torch jax tensorflow").split()

#: Where each program is traced or compiled, only every so-manieth of the entries is tried.
EVERY = {"jax": 3, "tensorflow": 6, "keras": 30}


def backend(name: str) -> Backend:
    """Return a backend, or skip where it is not installed or has no room yet."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if name != "numpy" and not next(f for f in FRAMEWORKS if f.name == name).is_open():
        pytest.skip(f"nonlin has no room for {name}")
    return MAKERS[name]()
