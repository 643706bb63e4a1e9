"""Rectifiers: piecewise functions that pass what is positive."""

from nonlin.definition import Parameter, activation
from nonlin.formula import absolute, maximum, minimum, where


@activation(source="Nair & Hinton 2010; He et al. 2015, arXiv:1502.01852")
def relu(x):
    """Rectified linear unit: the identity above zero, zero below."""
    return where(x > 0, x, 0)


@activation(source="Maas et al. 2013")
def leaky_relu(x, negative_slope=Parameter(0.01)):
    """Leaky ReLU: a small slope below zero keeps the gradient alive. Right for every slope, above 1 too."""
    return where(x > 0, x, negative_slope * x)


@activation(source="He et al. 2015, arXiv:1502.01852")
def prelu(x, negative_slope=Parameter(0.25, learnable=True)):
    """Parametric ReLU: leaky ReLU whose slope is learned, one for all or one per channel."""
    return where(x > 0, x, negative_slope * x)


@activation(source="Xu et al. 2015, arXiv:1505.00853")
def rrelu(x, lower=Parameter(1 / 8), upper=Parameter(1 / 3, ge="lower")):
    """Randomized leaky ReLU in evaluation: the mean of the slopes drawn in training."""
    return where(x > 0, x, (lower + upper) / 2 * x)


@activation(source="Howard et al. 2017 (MobileNet)")
def relu6(x):
    """ReLU clipped at 6, for low-precision arithmetic."""
    return minimum(maximum(x, 0), 6)


@activation
def clipped_relu(x, max_value=Parameter(1, ge=0)):
    """ReLU clipped at a value."""
    return minimum(maximum(x, 0), max_value)


@activation(source="Konda et al. 2014, arXiv:1402.3337")
def thresholded_relu(x, theta=Parameter(1, ge=0)):
    """The identity above a threshold, zero below."""
    return where(x > theta, x, 0)


@activation
def threshold(x, threshold=Parameter(), value=Parameter()):
    """The identity above a threshold, a given value below."""
    return where(x > threshold, x, value)


@activation(source="So et al. 2021 (Primer), arXiv:2109.08668", aliases=("relu2", "squared_relu", "sqrelu"))
def relu_squared(x):
    """The square of ReLU: Primer, Nemotron, BitNet, nanochat."""
    return maximum(x, 0) ** 2


@activation(source="Yu et al. 2022, arXiv:2210.13452")
def star_relu(x, scale=Parameter(0.8944, learnable=True), bias=Parameter(-0.4472, learnable=True)):
    """Squared ReLU scaled and shifted to mean 0 and variance 1 for normal inputs."""
    return scale * maximum(x, 0) ** 2 + bias


@activation(aliases=("absolute",))
def abs(x):
    """The absolute value."""
    return absolute(x)


@activation(aliases=("clip",))
def hard_tanh(x, min_value=Parameter(-1), max_value=Parameter(1, ge="min_value")):
    """The identity clipped to an interval."""
    return minimum(maximum(x, min_value), max_value)


@activation(aliases=("heaviside", "binary_step"))
def step(x):
    """Heaviside's step: 1 above zero, 0 at and below; its derivative is zero."""
    return where(x > 0, 1, 0)


@activation(aliases=("linear",))
def identity(x):
    """The input itself."""
    return x
