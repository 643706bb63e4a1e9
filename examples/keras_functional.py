"""Keras, functional: activations of symbolic tensors are operations of the model; then another activation throughout."""

import keras
import numpy as np

import nonlin as nl
import nonlin.keras as nk


@nl.activation
def tuesday(x, beta=nl.Parameter(1.0, ge=0)):
    """One of your own: it is a function, an operation and a layer of Keras like all others."""
    return x * nl.tanh(nl.softplus(beta * x))


image, words = keras.Input((8, 8, 1)), keras.Input((12,))
left = nl.hard_swish(keras.layers.Conv2D(4, 3)(image))
left = keras.layers.Flatten()(nk.PReLU(shared_axes=[1, 2])(left))
right = tuesday(keras.layers.Dense(16, activation="relu")(words), beta=0.5)
both = keras.layers.Concatenate()([left, right])
gated = nk.GatedFeedForward(32, activation="swiglu")(both)
model = keras.Model([image, words], keras.layers.Dense(3)(nl.softcap(gated)))
model.summary()

other = nk.replace(model, {"relu": "gelu", "hard_swish": nl.mish})
names = [operation.name for operation in other.operations]
print(names)
random = np.random.default_rng(0)
inputs = [random.normal(size=(5, 8, 8, 1)).astype("float32"), random.normal(size=(5, 12)).astype("float32")]
assert other.predict(inputs, verbose=0).shape == (5, 3)
assert any(name.startswith("mish") for name in names)
