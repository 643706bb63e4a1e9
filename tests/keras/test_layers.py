"""Layers and symbolic functions, over the registry, on the backend in force."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest

import nonlin as nl
import nonlin.keras as nk
from entries import WHOLE
from nonlin.definition import AxisFunction, Elementwise, Gated

CATALOGUE = {name: entry for name, entry in nl.activations.items() if entry.family != "own"}
#: A few of each kind, unless all are asked for: layers are made by rule, and numbers tested where they are made.
SAMPLE = (
    "relu leaky_relu prelu rrelu gelu rational threshold star_relu hard_tanh glu swiglu_clamped softmax maxout crelu hardmax"
).split()
X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)

over_catalogue = pytest.mark.parametrize("name", CATALOGUE if WHOLE else SAMPLE)


def required(entry: Any) -> dict[str, int]:
    return {name: 2 for name, parameter in entry.parameters.items() if parameter.default is None}


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def reference(entry: Any, x: np.ndarray[Any, Any] = X, **keywords: Any) -> np.ndarray[Any, Any]:
    return np.asarray(entry(x, **required(entry), **keywords))


@over_catalogue
def test_a_layer_is_its_activation(name: str) -> None:
    entry = CATALOGUE[name]
    layer = nk.layer(entry)(**required(entry))
    y = layer(X)
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    np.testing.assert_allclose(numbers(y), reference(entry), rtol=1e-5, atol=1e-6)
    spec = layer(keras.Input((3, 4)))
    assert tuple(spec.shape) == (None, *y.shape[1:])
    assert spec.dtype == "float32"
    assert layer.supports_masking


@over_catalogue
def test_a_layer_is_made_again_from_its_configuration(name: str) -> None:
    entry = CATALOGUE[name]
    layer = nk.layer(entry)(**required(entry), name="mine", dtype="float16")
    again = type(layer).from_config(layer.get_config())
    read = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    for made in (again, read):
        assert type(made) is type(layer)
        assert made.get_config() == layer.get_config()
        assert (made.name, made.compute_dtype) == ("mine", "float16")


@over_catalogue
def test_a_function_of_a_symbolic_tensor_is_an_operation_of_the_model(name: str) -> None:
    entry = CATALOGUE[name]
    x = keras.Input((3, 4))
    model = keras.Model(x, entry(x, **required(entry)))
    again = keras.Model.from_config(model.get_config())
    for one in (model, again):
        np.testing.assert_allclose(numbers(one(X)), reference(entry), rtol=1e-5, atol=1e-6)
    assert tuple(model.output.shape)[1:] == tuple(again(X).shape)[1:]


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax", "entmax15"])
def test_products_with_the_jacobian_are_operations_too(name: str) -> None:
    entry = CATALOGUE[name]
    x, v = keras.Input((3, 4)), keras.Input((3, 4))
    model = keras.Model([x, v], [entry.jvp(x, v, axis=1), entry.vjp(x, v, axis=1)])
    ours = [entry.jvp(X, X**2, axis=1), entry.vjp(X, X**2, axis=1)]
    for got, want in zip(keras.Model.from_config(model.get_config())([X, X**2]), ours, strict=True):
        np.testing.assert_allclose(numbers(got), want, rtol=1e-4, atol=1e-5)


def test_derivatives_and_parameters_of_symbolic_tensors() -> None:
    x, beta = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([x, beta], [nl.swish.derivative(x, beta, order=2), nl.swish.derivative(x, beta, wrt="beta")])
    again = keras.Model.from_config(model.get_config())
    given = [X[0], np.abs(X[0])]
    want = [nl.swish.derivative(*given, order=2), nl.swish.derivative(*given, wrt="beta")]
    for got, expected in zip(again(given), want, strict=True):
        np.testing.assert_allclose(numbers(got), expected, rtol=1e-5, atol=1e-6)


def test_variables_are_arrays_of_the_backend() -> None:
    variable = keras.Variable(X)
    np.testing.assert_allclose(numbers(nl.gelu(variable)), reference(nl.gelu), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numbers(nl.softmax(variable)), reference(nl.softmax), rtol=1e-5, atol=1e-6)


# --- names and defaults -----------------------------------------------------------------------------------------------------


def test_layers_are_named_as_keras_names_them() -> None:
    for name in ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax"):
        assert getattr(nk, name).__name__ == name
    assert nk.GELU is nk.layer("gelu")
    assert "SwiGLU" in dir(nk)
    with pytest.raises(AttributeError, match="no attribute 'Gelu'"):
        _ = nk.Gelu


@pytest.mark.parametrize("name", list(nl.dialect("keras.layers")))
def test_a_dialect_gives_keras_its_own_defaults(name: str) -> None:
    (spelled,) = nl.dialect("keras.layers").calls[name]
    ours = nk.layer(nl.dialect("keras.layers")[name])
    theirs = getattr(keras.layers, spelled.name)
    assert ours.__name__ == spelled.name
    np.testing.assert_allclose(numbers(ours()(X)), numbers(theirs()(X)), rtol=1e-6, atol=1e-7)
    again = type(ours()).from_config(ours().get_config())
    np.testing.assert_array_equal(numbers(again(X)), numbers(ours()(X)))


def test_a_prelu_of_keras_is_ours_argument_for_argument() -> None:
    arguments = dict(alpha_initializer="ones", alpha_regularizer="l2", alpha_constraint="non_neg", shared_axes=[1])
    ours, theirs = nk.PReLU(**arguments), keras.layers.PReLU(**arguments)
    x = keras.ops.convert_to_tensor(X)
    assert numbers(ours(x)).shape == numbers(theirs(x)).shape
    ours.set_weights([np.full((1, 4), 0.5)])
    theirs.set_weights(ours.get_weights())
    np.testing.assert_array_equal(numbers(ours(x)), numbers(theirs(x)))
    assert len(ours.losses) == 1
    assert type(ours.alpha_constraint) is keras.constraints.NonNeg
    assert list(inspect.signature(nk.PReLU).parameters)[:4] == list(arguments)


# --- learning ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (4,)),
        ({"channel_axis": 1}, (3, 1)),
        ({"channel_axis": None}, ()),
        ({"shared_axes": (1,)}, (1, 4)),
        ({"shared_axes": ()}, (3, 4)),
    ],
)
def test_parameters_are_learned_per_channel_unless_told_otherwise(arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    layer = nk.Swish(beta=2.0, learnable=True, **arguments)
    y = layer(X)
    assert tuple(layer.beta.shape) == shape
    assert layer.trainable_weights == [layer.beta]
    np.testing.assert_allclose(numbers(y), nl.swish(X, 2.0), rtol=1e-5, atol=1e-6)
    again = type(layer).from_config(layer.get_config())
    again.build((None, 3, 4))
    assert tuple(again.beta.shape) == shape


def test_every_learned_parameter_has_initializer_regularizer_and_constraint() -> None:
    layer = nk.StarReLU(bias_initializer="zeros", scale_regularizer="l1", bias_constraint="non_neg")
    layer(X)
    assert numbers(layer.bias).tolist() == [0.0] * 4
    assert len(layer.losses) == 1
    assert nk.ELU(learnable="alpha").alpha_constraint.get_config() == {"ge": 0.0}  # what the activation allows
    within = nk.constraints.Within(gt=0, lt=1, ne=0.5)
    np.testing.assert_allclose(numbers(within(keras.ops.array([-1.0, 0.5, 2.0]))), [1e-7, 0.5 + 1e-7, 1 - 1e-7])
    assert type(within).from_config(within.get_config()).bounds == within.bounds


def test_slopes_are_drawn_in_training_only() -> None:
    layer = nk.RReLU(0.2, 0.4)
    x = -np.ones((100, 100), np.float32)
    np.testing.assert_allclose(numbers(layer(x)), -0.3, rtol=1e-6)
    drawn = numbers(layer(x, training=True))
    assert -0.4 <= drawn.min() < -0.39
    assert -0.21 < drawn.max() <= -0.2


# --- rows, masks, dtypes ----------------------------------------------------------------------------------------------------


def test_masked_entries_take_no_part() -> None:
    mask = np.array([[True, False, True], [True, True, True]])
    want = nl.softmax(X, axis=1, where=mask[:, :, None])
    for given in (mask, mask.astype(np.float32), np.broadcast_to(mask[:, :, None], X.shape)):
        np.testing.assert_allclose(numbers(nk.Softmax(axis=1)(X, mask=given)), want, rtol=1e-5, atol=1e-6)
    theirs = keras.layers.Softmax(axis=-1)(X, mask=X > 0)
    np.testing.assert_allclose(numbers(nk.Softmax()(X, mask=X > 0)), numbers(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [(1, 2), [-1, 0], (1,), 1])
def test_several_axes_are_one(axis: Any) -> None:
    theirs = keras.layers.Softmax(axis=axis if isinstance(axis, int) else tuple(axis))
    np.testing.assert_allclose(numbers(nk.Softmax(axis=axis)(X)), numbers(theirs(X)), rtol=1e-5, atol=1e-6)
    masked = numbers(nk.Softmax(axis=axis)(X, mask=X > 0))
    np.testing.assert_allclose(masked, numbers(theirs(X, mask=X > 0)), rtol=1e-5, atol=1e-6)


def test_masks_of_time_steps_pass_through() -> None:
    x = keras.layers.Masking()(keras.Input((3, 4)))
    for layer in (
        nk.GELU(),
        nk.PReLU(),
        nk.SwiGLU(),
        nk.CReLU(),
        nk.Maxout(groups=2),
        nk.Softmax(axis=1),
        nk.GatedFeedForward(4),
    ):
        assert keras.src.backend.get_keras_mask(layer(x)) is not None


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("name", ["GELU", "PReLU", "Swish", "SwiGLU", "Softmax", "GatedFeedForward"])
def test_dtype_policies(name: str, policy: str) -> None:
    arguments: dict[str, Any] = {"Swish": dict(learnable=True), "GatedFeedForward": dict(hidden_units=3)}.get(name, {})
    layer = getattr(nk, name)(dtype=policy, **arguments)
    y = layer(X)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype == policy.removeprefix("mixed_")
    assert all(w.dtype == layer.variable_dtype for w in layer.weights)
    assert layer(keras.Input((3, 4))).dtype == layer.compute_dtype


def test_integers_are_promoted_as_the_function_does() -> None:
    x = np.arange(-2, 2, dtype=np.int32)
    for name in ("relu", "gelu"):
        assert nk.layer(name)()(keras.Input((4,), dtype="int32")).dtype == keras.backend.standardize_dtype(
            nl.get(name)(keras.ops.convert_to_tensor(x)).dtype
        )


# --- the user's own ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registry")
def test_an_activation_of_ones_own_is_everywhere() -> None:
    @nl.activation
    def tuesday(x: Any, beta: Any = nl.Parameter(1.0, ge=0, learnable=True)) -> Any:
        return x * nl.tanh(nl.softplus(beta * x))

    @nl.activation(along="axis", masked=0.0)
    def share(x: Any) -> Any:
        return nl.exp(x) / nl.row_sum(nl.exp(x))

    x = keras.Input((3, 4))
    dense = keras.layers.Dense(4, activation="nonlin>tuesday", kernel_initializer="identity")
    y = nk.layer(share)(axis=[1, 2])(share(nk.layer(tuesday)()(dense(x)), axis=1))
    model = keras.Model(x, y)
    flat = share(tuesday(tuesday(X)), axis=1).reshape(2, 12)
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_allclose(numbers(again(X)).reshape(2, 12), share(flat), rtol=1e-5, atol=1e-6)


# --- bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: nk.Swish(beta="a"), "Swish: beta must be a number, got 'a'"),
        (lambda x: nk.ELU(alpha=-1), "ELU: alpha must be >= 0, got -1"),
        (lambda x: nk.ELU(1, 2), r"ELU: too many positional arguments; it takes \(alpha"),
        (lambda x: nk.Swish(gamma=1), "passed to Swish: {'gamma': 1}"),
        (lambda x: nk.Swish(learnable="gamma"), r"Swish has no parameter 'gamma' to learn \(it has: beta\)"),
        (lambda x: nk.HardTanh(learnable=True), "HardTanh: max_value is bounded by min_value: learn one of them, not both"),
        (lambda x: nk.PReLU(shared_axes=[4])(x), "PReLU: shared_axes must be from 1 to 2 for input of shape .*, got 4"),
        (lambda x: nk.PReLU(channel_axis=0)(x), "PReLU: channel_axis must be one of input of .*, not the batch's, got 0"),
        (lambda x: nk.PReLU()(keras.Input((None,))), "PReLU: its parameters have one value for each entry of axes"),
        (lambda x: nk.Softmax(axis=5)(x), "Softmax: axis 5 is out of range for input of shape"),
        (lambda x: nk.Softmax(axis="a"), "Softmax: axis must be an integer or several, got 'a'"),
        (lambda x: nk.Softmax(temperature=0), "Softmax: temperature must be > 0"),
        (lambda x: nk.CReLU(axis=[0, 1]), r"CReLU changes the length of its axis, which must be one, got \[0, 1\]"),
        (lambda x: nk.Maxout(groups=3)(x), "maxout: axis 2 of x of shape .* cannot be divided into groups of 3"),
        (lambda x: nk.Softmax()(X, mask=np.ones(3, bool)), r"Softmax: mask of shape \(3,\) does not broadcast to input"),
        (lambda x: nk.GatedFeedForward(3, activation="gelu"), "GatedFeedForward: activation must be a gated pair such as"),
        (lambda x: nk.GatedFeedForward(0), "GatedFeedForward: hidden_units must be a whole number of at least 1, got 0"),
        (lambda x: nl.gelu(x, out=x), "gelu: out= is for NumPy arrays, not for Keras' tensors"),
        (lambda x: nl.softmax(x, out=x), "softmax: out= is for NumPy arrays, not for Keras' tensors"),
        (lambda x: nl.softmax(x, axis=3), "softmax: axis 3 is out of range for x of shape"),
        (lambda x: nl.gelu(keras.KerasTensor((2, 3), sparse=True)), "gelu takes dense tensors, got a sparse one"),
        (lambda x: nl.swiglu(keras.Input((None,))), "swiglu: axis -1 of x of shape .* has no known length, so no halves"),
        (lambda x: nl.gelu(keras.KerasTensor((2,), "complex64")), "gelu: x must be real"),
        (lambda x: nk.constraints.Within(above=1), "Within: a bound is one of gt, ge, lt, le, ne, got above"),
        (lambda x: keras.activations.get("nonlin>geluu"), "nonlin>geluu"),
        (lambda x: nl.gelu.from_config({"name": "geluu", "parameters": {}}), "one of your own is to be defined before"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError, KeyError), match=said):
        call(keras.Input((3, 4)))


def test_kinds_of_entries_are_all_here() -> None:
    kinds = {AxisFunction, Elementwise, Gated}
    assert kinds == {type(entry) for entry in CATALOGUE.values()}


# --- layers with something of their own -------------------------------------------------------------------------------------


def test_gelu_by_tanh() -> None:
    layer = nk.GELU(approximate=True)
    np.testing.assert_allclose(numbers(layer(X)), nl.gelu_tanh(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(numbers(nk.GELU()(X)), nl.gelu(X), rtol=1e-6, atol=1e-7)
    read = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert read.approximate is True
    model = keras.Sequential([keras.Input((3, 4)), layer])
    replaced = nk.replace(model, {"gelu_tanh": "mish"})
    np.testing.assert_allclose(numbers(replaced(X)), nl.mish(X), rtol=1e-6, atol=1e-7)
    with pytest.raises(TypeError, match="GELU: approximate must be True or False, got 'tanh'"):
        nk.GELU(approximate="tanh")


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_a_temperature_is_learned(name: str) -> None:
    entry = CATALOGUE[name]
    layer = nk.layer(entry)(temperature=0.7, learnable=True)
    np.testing.assert_allclose(numbers(layer(X)), entry(X, temperature=0.7), rtol=1e-5, atol=1e-6)
    (weight,) = layer.trainable_weights
    assert (weight.name, tuple(weight.shape)) == ("temperature", ())
    assert layer.temperature_constraint.get_config() == {"gt": 0.0}
    weight.assign(2.0)
    np.testing.assert_allclose(numbers(layer(X)), entry(X, temperature=2.0), rtol=1e-5, atol=1e-6)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    model = keras.Sequential([keras.Input((3, 4)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, X, epochs=1, verbose=0)
    assert float(numbers(weight)) not in (0.7, 2.0)
    assert float(numbers(weight)) > 0
    with pytest.raises(ValueError, match="Unrecognized keyword arguments passed to Maxout"):
        nk.Maxout(2, learnable="groups")


def test_a_step_takes_the_gradient_of_a_surrogate() -> None:
    layer = nk.Step("sigmoid", scale=3.0)
    np.testing.assert_array_equal(numbers(layer(X)), nl.step(X))
    again = type(layer).from_config(layer.get_config())
    assert (again.surrogate, again.scale) == (nl.sigmoid, 3.0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False), again])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    kernel, x, y = numbers(model.weights[0]).copy(), X[0], np.ones((3, 3), np.float32)
    model.fit(x, y, batch_size=3, epochs=1, verbose=0)
    z = (x.astype(float) @ kernel.astype(float)).astype(np.float32)
    slope = 3 * nl.sigmoid.derivative(3 * z)
    wanted = kernel - x.T @ (2 / 9 * (nl.step(z) - y) * slope)
    np.testing.assert_allclose(numbers(model.weights[0]), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="Step: surrogate must be an elementwise activation, got swiglu"):
        nk.Step("swiglu")
    with pytest.raises(ValueError, match="Step: scale must be a number > 0, got 0"):
        nk.Step("sigmoid", scale=0)
