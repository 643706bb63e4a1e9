"""What the tests of Keras' backends run, each in a process: KERAS_BACKEND=... python keras_processes.py FOLDER."""

import os
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import nonlin as nl
import nonlin.keras as nk

BACKEND = keras.backend.backend()
X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)


@nl.activation
def tuesday(x: Any, beta: Any = nl.Parameter(1.0, ge=0, learnable=True)) -> Any:
    return x * nl.tanh(nl.softplus(beta * x))


@nl.activation(along="axis", masked=0.0)
def share(x: Any) -> Any:
    return nl.exp(x) / nl.row_sum(nl.exp(x))


#: A few of each kind; the tests of layers run over the whole registry.
LAYERS = ("relu", "leaky_relu", "prelu", "rrelu", "gelu", "threshold", "hard_tanh", "glu", "softmax", "maxout", "crelu")


def required(entry: Any) -> dict[str, int]:
    return {name: 2 for name, parameter in entry.parameters.items() if parameter.default is None}


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def every_use() -> keras.Model:
    """A model with layers, functions of symbolic tensors, and activations as arguments, as objects and as strings."""
    keras.utils.set_random_seed(1)
    given = keras.Input((3, 4))
    x = keras.layers.Masking()(given)
    ends = [nk.layer(name)(**required(nl.get(name)))(x) for name in LAYERS]
    ends += [nk.layer(tuesday)()(x), nk.layer(share)(axis=[1, 2])(x), nk.GatedFeedForward(5)(x)]
    ends += [nk.GELU(approximate=True)(x), nk.Step("sigmoid", scale=2.0)(x), nk.Softmax(temperature=0.5, learnable=True)(x)]
    ends += [nl.softplus(x, 2.0), nl.softmax(x, axis=1), nl.swiglu(x), nl.gelu.derivative(x), tuesday(x), share(x)]
    gain = nk.initializers.ExactGain(nl.leaky_relu.with_(negative_slope=0.1), seed=3)
    for activation in ("nonlin>gelu", nl.gelu, nl.leaky_relu.with_(negative_slope=0.1), nl.softmax, tuesday, "nonlin>tuesday"):
        ends.append(keras.layers.Dense(3, activation=activation, kernel_initializer=gain)(x))
    ends.append(keras.layers.Dense(3, activation=nl.silu, dtype="mixed_bfloat16")(x))
    return keras.Model(given, ends)


def save(folder: Path) -> None:
    model = every_use()
    model.summary(print_fn=lambda line, **_: None)
    model.save(folder / f"{BACKEND}.keras")
    np.savez(folder / f"{BACKEND}.npz", *(numbers(y).astype(np.float32) for y in model(X)))


def load(folder: Path) -> None:
    """Load what each backend has saved, and look whether it predicts the same here."""
    for path in folder.glob("*.keras"):
        model = keras.models.load_model(path)
        for got, want in zip(model(X), np.load(path.with_suffix(".npz")).values(), strict=True):
            # Backends round the sums of a product of matrices in bfloat16 each in its own way, and then the result.
            tolerance = 2**-6 if "bfloat16" in str(got.dtype) else 2e-6
            np.testing.assert_allclose(numbers(got).astype(np.float32), want, rtol=tolerance, atol=tolerance, err_msg=path.name)


# --- models of other people's kinds -----------------------------------------------------------------------------------------


def two_inputs() -> keras.Model:
    left, right, shared = keras.Input((4,)), keras.Input((4,)), nk.Swish(learnable=True)
    both = keras.layers.Concatenate()([shared(keras.layers.Dense(8)(left)), shared(keras.layers.Dense(8)(right))])
    return keras.Model([left, right], nk.Softmax(learnable=True)(keras.layers.Dense(3)(nl.mish(both))))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.spike = keras.layers.Dense(8), nk.Step("sigmoid")
        self.hidden, self.activation, self.out = keras.layers.Dense(8), nk.PReLU(), keras.layers.Dense(3, "nonlin>softmax")

    def call(self, x: Any) -> Any:
        return self.out(nl.golu(self.activation(self.hidden(self.spike(self.first(x))))))


def mobilenet() -> keras.Model:
    model = keras.applications.MobileNetV3Small(input_shape=(32, 32, 3), weights=None, classes=3, include_preprocessing=False)
    return nk.replace(model, {"relu": "gelu", "hard_swish": "mish", "relu6": "sigmoid", "softmax": "sparsemax"})


def train(model: keras.Model, *inputs: np.ndarray[Any, Any]) -> None:
    """Two steps, after which every weight that learns has changed and the loss is finite."""
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy())
    given: Any = list(inputs) if len(inputs) > 1 else inputs[0]
    model(given)
    before = [numbers(w).copy() for w in model.trainable_weights]
    history = model.fit(given, np.arange(len(inputs[0])) % 3, batch_size=len(inputs[0]) // 2, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all(), (model.name, history.history)
    changed = [not np.array_equal(b, numbers(w)) for b, w in zip(before, model.trainable_weights, strict=True)]
    assert np.mean(changed) > 0.9, (
        model.name,
        [w.path for w, c in zip(model.trainable_weights, changed, strict=True) if not c],
    )


def models(with_mobilenet: bool) -> None:
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    train(two_inputs(), x, -x)
    train(Subclassed(), x)
    if with_mobilenet:
        train(mobilenet(), np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32))


# --- the tests of activations in Keras' own wheel ---------------------------------------------------------------------------

_ARGUMENTS = "relu has no arguments here: with them it is leaky_relu, clipped_relu, relu6 or thresholded_relu"
#: Where our functions do not do what these tests say, and why.
DIFFERENCES = {
    f"test_relu_{what}": _ARGUMENTS
    for what in (
        "negative_slope",
        "max_value",
        "threshold",
        "combined_threshold_and_max_value",
        "combined_all_parameters",
        "to_trigger_relu6",
        "to_trigger_leaky",
    )
} | {"test_get_method": "get finds Keras' own function under its bare name; ours is nonlin>relu"}


class Ours:
    """Keras' activations, but ours where we have them."""

    def __getattr__(self, name: str) -> Any:
        theirs = getattr(keras.src.activations, name)
        if name not in {call.name for calls in nl.dialect("keras").calls.values() for call in calls} or name == "linear":
            return theirs

        def call(x: Any, *arguments: Any, **keywords: Any) -> Any:
            approximate = keywords.pop("approximate", False)
            entry = nl.gelu_tanh if approximate else nl.dialect("keras")[name]
            if isinstance(keywords.get("axis"), tuple):  # several axes are the layers' affair
                return nk.layer(entry)(**keywords, autocast=False)(x)
            return entry(keras.ops.convert_to_tensor(x), *arguments, **keywords)

        return call


def wheel() -> None:
    import keras.src.activations.activations_test as theirs

    theirs.activations = Ours()
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(theirs).run(result)
    failed = {test.id().rpartition(".")[2]: text for test, text in [*result.failures, *result.errors]}
    unexpected = {name: text for name, text in failed.items() if name not in DIFFERENCES}
    assert not unexpected, "\n".join(unexpected.values())
    assert failed.keys() == DIFFERENCES.keys(), f"no longer different: {DIFFERENCES.keys() - failed.keys()}"
    assert result.testsRun > 40, result.testsRun


def conformance() -> None:
    """Run the conformance suite on this backend: a sample, or the whole with NONLIN_WHOLE=1."""
    os.environ["NONLIN_CONFORMANCE"] = "keras"
    suite = Path(__file__).with_name("test_conformance.py")
    assert pytest.main(["--quiet", "--tb=short", "-p", "no:cacheprovider", str(suite)]) == 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder, everything = Path(sys.argv[1]), "--all" in sys.argv
    load(folder)  # first: a process that loads has made no layer yet
    save(folder)
    if BACKEND != "jax" or everything:  # which compiles each of its shapes: half a minute
        wheel()
    if BACKEND != "numpy":  # which does not train
        models(everything)
    conformance()
