"""Layers with something of their own: randomness, surrogate gradients, whole blocks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from nonlin.catalogue.learnable import rational
from nonlin.catalogue.rectifiers import leaky_relu, rrelu, step
from nonlin.catalogue.self_gated import gelu, gelu_tanh
from nonlin.definition import Elementwise, Gated, get
from nonlin.fitting import fit_rational
from nonlin.keras.layers import ElementwiseLayer, Layer
from nonlin.keras.saving import PACKAGE
from nonlin.keras.shapes import Shape


def _argument(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


class Randomized(ElementwiseLayer):
    """Leaky ReLU whose slopes are drawn for each element in training, their mean in evaluation."""

    def _start(self, given: dict[str, Any]) -> None:
        super()._start(given)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply slopes drawn for each element in training, their mean in evaluation."""
        if not training:
            return super().call(inputs)
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if not keras.backend.is_float_dtype(dtype):
            raise TypeError(f"{type(self).__name__}: inputs must be floating-point in training, got {dtype}")
        lower, upper = self.parameter_values()
        drawn = keras.random.uniform(keras.ops.shape(inputs), dtype=dtype, seed=self.seed_generator)
        return leaky_relu(inputs, lower + (upper - lower) * drawn)


class Approximate(ElementwiseLayer):
    """GELU, also that by tanh, as ``keras.activations.gelu`` has it."""

    own_arguments: ClassVar[Mapping[inspect.Parameter, tuple[str, str]]] = {
        _argument("approximate", False, bool): ("bool", "Whether to take the tanh in place of the error function.")
    }

    def _start(self, given: dict[str, Any]) -> None:
        if not isinstance(given["approximate"], bool):
            raise TypeError(f"{type(self).__name__}: approximate must be True or False, got {given['approximate']!r}")
        super()._start(given)

    @property
    def applied(self) -> Any:
        return gelu_tanh if self.approximate else self.entry

    def call(self, inputs: Any) -> Any:
        return self.applied(inputs)


class Surrogate(ElementwiseLayer):
    """Heaviside's step, with the gradient of something smoother.

    References
    ----------
    Bengio et al. 2013 (straight-through), arXiv:1308.3432; Neftci et al. 2019 (surrogate gradients), arXiv:1901.09948
    """

    own_arguments: ClassVar[Mapping[inspect.Parameter, tuple[str, str]]] = {
        _argument("surrogate", None, "activation or str"): (
            "activation or str, optional",
            "Whose derivative is the gradient: 'sigmoid', 'arctan', 'identity' (straight through)... It is 0 without.",
        ),
        _argument("scale", 1.0, float): ("float", "How steep it is: the surrogate of scale*x."),
    }

    def _start(self, given: dict[str, Any]) -> None:
        layer, surrogate, scale = type(self).__name__, given["surrogate"], given["scale"]
        if isinstance(surrogate, dict):
            surrogate = keras.saving.deserialize_keras_object(surrogate)
        found = None if surrogate is None else get(surrogate)
        if found is not None and (not isinstance(found, Elementwise) or isinstance(found, Gated)):
            raise ValueError(f"{layer}: surrogate must be an elementwise activation, got {found.name}")
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not scale > 0:
            raise ValueError(f"{layer}: scale must be a number > 0, got {scale!r}")
        super()._start({**given, "surrogate": found})

    def call(self, inputs: Any) -> Any:
        y = super().call(inputs)
        if self.surrogate is None or not keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype)):
            return y
        ops = keras.ops
        smooth = self.surrogate(self.scale * inputs)
        # The difference is 0, and NaN where the surrogate is infinite: nothing to be added there.
        return ops.stop_gradient(y) + ops.nan_to_num(smooth - ops.stop_gradient(smooth))


class Fitted(ElementwiseLayer):
    """A rational function, which can start as a fit of another activation."""

    @classmethod
    def fitted(cls, activation: Any, interval: tuple[float, float] = (-3.0, 3.0), **arguments: Any) -> Fitted:
        """Make a layer whose coefficients start as those that fit an activation on an interval.

        Parameters
        ----------
        activation : activation, callable or str
        interval : tuple of float
        **arguments
            As for the class.

        Examples
        --------
        >>> import numpy, nonlin.keras
        >>> layer = nonlin.keras.Rational.fitted("tanh")
        >>> bool(abs(layer(numpy.ones((1, 1)))[0, 0] - 0.7616) < 1e-3)
        True
        """
        return cls(**fit_rational(activation, interval), **arguments)


#: The layers that have a base of their own.
BASES: dict[Any, type[Layer]] = {rrelu: Randomized, gelu: Approximate, step: Surrogate, rational: Fitted}


@keras.saving.register_keras_serializable(package=PACKAGE)
class GatedFeedForward(keras.layers.Layer):
    """A gated feed-forward block: ``down_proj(activation(gate_proj(x), up_proj(x)))``.

    Parameters
    ----------
    hidden_units : int
    units : int, optional
        By default as many as the input has.
    activation : gated pair or str
    use_bias : bool
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint
        Of the three projections, as for ``keras.layers.Dense``.
    **kwargs
        ``name``, ``dtype``, ``trainable`` and others of ``keras.layers.Layer``.

    Examples
    --------
    >>> import numpy, nonlin.keras
    >>> block = nonlin.keras.GatedFeedForward(24)
    >>> tuple(block(numpy.zeros((2, 8))).shape)
    (2, 8)
    """

    _PROJECTION: ClassVar[tuple[str, ...]] = (
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "bias_regularizer",
        "kernel_constraint",
        "bias_constraint",
    )

    def __init__(
        self,
        hidden_units: int,
        units: int | None = None,
        activation: str | Gated = "swiglu",
        use_bias: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given = locals()
        for name, size in (("hidden_units", hidden_units), ("units", units)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ValueError(f"GatedFeedForward: {name} must be a whole number of at least 1, got {size!r}")
        self.activation = get(activation)
        if not isinstance(self.activation, Gated):
            raise ValueError(f"GatedFeedForward: activation must be a gated pair such as 'swiglu', got {self.activation.name}")
        self.hidden_units, self.units, self.use_bias, self.supports_masking = hidden_units, units, use_bias, True
        for name in self._PROJECTION:
            getter = getattr(keras, name.partition("_")[2] + "s").get
            setattr(self, name, getter(given[name]))

    def build(self, input_shape: Shape) -> None:
        """Make the three projections."""
        width = input_shape[-1]
        if width is None:
            raise ValueError(f"GatedFeedForward: the last axis of input of shape {input_shape} must have a known length")
        hidden = (*input_shape[:-1], self.hidden_units)
        sizes = {"gate_proj": self.hidden_units, "up_proj": self.hidden_units, "down_proj": self.units or width}
        for name, size in sizes.items():
            # Each its own: an initializer with a seed would draw the same numbers.
            said = {n: _copied(getattr(self, n)) for n in self._PROJECTION}
            made = keras.layers.Dense(size, use_bias=self.use_bias, dtype=self.dtype_policy, name=name, **said)
            made.build(hidden if name == "down_proj" else input_shape)
            setattr(self, name, made)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.down_proj(self.activation(self.gate_proj(inputs), self.up_proj(inputs)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units or input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        own = ("hidden_units", "units", "activation", "use_bias", *self._PROJECTION)
        return {**super().get_config(), **{name: keras.saving.serialize_keras_object(getattr(self, name)) for name in own}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GatedFeedForward:
        return cls(**{**config, "activation": keras.saving.deserialize_keras_object(config["activation"])})


def _copied(what: Any) -> Any:
    return what.clone() if isinstance(what, keras.initializers.Initializer) else what
