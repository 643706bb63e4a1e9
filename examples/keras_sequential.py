"""Keras, Sequential: activations as strings, objects and layers, on whatever backend Keras has; saved and loaded."""

import tempfile
from pathlib import Path

import keras
import numpy as np

import nonlin as nl
import nonlin.keras as nk  # lets "nonlin>gelu" name an activation, and saved models be loaded

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(256, 2)).astype("float32")
y = (x[:, 0] * x[:, 1] > 0).astype("int32")

model = keras.Sequential(
    [
        keras.Input((2,)),
        keras.layers.Dense(32, activation="nonlin>gelu", kernel_initializer=nk.initializers.ExactGain("gelu")),
        keras.layers.Dense(32, activation=nl.leaky_relu.with_(negative_slope=0.1)),
        keras.layers.Dense(32),
        nk.Swish(learnable=True),  # one beta for each channel
        keras.layers.Dense(2, activation=nl.softmax),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x, y, epochs=10, batch_size=32, verbose=0)
print(f"loss {history.history['loss'][0]:.3f}, after ten epochs {history.history['loss'][-1]:.3f}")

with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model.keras")
    again = keras.models.load_model(Path(folder) / "model.keras")
np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)
assert history.history["loss"][-1] < history.history["loss"][0]
