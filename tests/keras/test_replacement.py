"""Models with other activations, and initial weights for them."""

from typing import Any

import keras
import numpy as np
import pytest

import nonlin as nl
import nonlin.keras as nk
from nonlin.scaling import gain

X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(2, 6)


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def test_all_the_places_of_an_activation_are_found() -> None:
    x = keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6, "relu"), keras.layers.ReLU()])
    shared = keras.layers.Activation("relu")
    y = keras.ops.relu(shared(inner(shared(x))))
    y = keras.layers.TimeDistributed(keras.layers.ReLU())(keras.layers.Reshape((2, 3))(y))
    y = keras.layers.Bidirectional(keras.layers.SimpleRNN(2, activation="relu"))(y)
    model = keras.Model(x, nl.relu(y))
    before = [w.copy() for w in model.get_weights()]
    replaced = nk.replace(model, {"relu": nl.leaky_relu.with_(negative_slope=0.5)})
    text = str(replaced.get_config())
    assert "'relu'" not in text
    assert text.count("'parameters': {'negative_slope': 0.5}") == 8
    for old, new in zip(before, replaced.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(replaced.layers) == len(model.layers)  # the shared one is one


def test_parameters_and_axes_are_carried_over() -> None:
    x = keras.Input((2, 3))
    y = keras.layers.ELU(alpha=0.5)(keras.layers.ReLU(6.0)(keras.layers.Softmax(axis=1)(x)))
    y = nl.softmax(nl.softplus(keras.ops.leaky_relu(y, 0.3), 2.0), axis=1)
    mapping = {"elu": "celu", "relu6": "hard_swish", "softmax": "sparsemax", "softplus": "mish", "leaky_relu": "prelu"}
    replaced = nk.replace(keras.Model(x, y), mapping)
    kinds = {type(one).__name__: one for one in replaced.operations}
    assert kinds.keys() == {"InputLayer", "Sparsemax", "HardSwish", "CELU", "PReLU", "Mish"}
    assert kinds["CELU"].alpha == 0.5
    assert kinds["PReLU"].activation.parameters["negative_slope"].default == 0.3
    want = nl.sparsemax(X.reshape(2, 2, 3), axis=1)
    want = nl.celu(nl.hard_swish(want), 0.5)
    want = nl.sparsemax(nl.mish(nl.prelu(want, 0.3)), axis=1)
    np.testing.assert_allclose(numbers(replaced(X.reshape(2, 2, 3))), want, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_replaced_is_said() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    sequential = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, "relu"), keras.layers.ReLU(6.0, 0.1)], name="mine")
    with pytest.raises(ValueError, match=r"replace: mine has no selu; it has relu$"):
        nk.replace(sequential, {"selu": "gelu"})
    with pytest.raises(ValueError, match="replace: the model must be Sequential or functional, got Own"):
        nk.replace(Own(), {"relu": "gelu"})


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "swiglu"])
def test_the_exact_gain_keeps_the_scale(name: str) -> None:
    initializer = nk.initializers.ExactGain(name, distribution="untruncated_normal", seed=1)
    again = keras.initializers.get(keras.saving.serialize_keras_object(initializer))
    weights = numbers(initializer((400, 500)))
    np.testing.assert_array_equal(weights, numbers(again((400, 500))))
    assert weights.std() == pytest.approx(gain(name) / 400**0.5, rel=0.01)
    with pytest.raises(ValueError, match="softmax is a function of a whole row, which has no gain"):
        nk.initializers.ExactGain("softmax")
