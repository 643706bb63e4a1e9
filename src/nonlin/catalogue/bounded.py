"""Bounded: sigmoids and bells."""

from nonlin import formula
from nonlin.definition import Parameter, activation
from nonlin.formula import absolute, exp, maximum, minimum


@activation(aliases=("logistic", "expit"))
def sigmoid(x):
    """The logistic function, from 0 to 1."""
    return 1 / (1 + exp(-x))


@activation(source="Courbariaux et al. 2015, arXiv:1511.00363")
def hard_sigmoid(x, slope=Parameter(1 / 6, gt=0)):
    """A piecewise linear sigmoid. PyTorch, Keras 3 and JAX take slope 1/6, Keras 2 and ONNX 0.2."""
    return minimum(maximum(slope * x + 1 / 2, 0), 1)


@activation
def tanh(x):
    """The hyperbolic tangent, from -1 to 1."""
    return formula.tanh(x)


@activation(aliases=("atan",))
def arctan(x):
    """The inverse tangent, from -pi/2 to pi/2."""
    return formula.arctan(x)


@activation
def erf(x):
    """The error function, from -1 to 1."""
    return formula.erf(x)


@activation
def gaussian(x):
    """The Gaussian bell."""
    return exp(-(x**2))


@activation(source="Bergstra et al. 2009")
def softsign(x):
    """An algebraic sigmoid from -1 to 1 with slow tails."""
    return x / (1 + absolute(x))


@activation(source="JAX, Keras")
def sparse_sigmoid(x):
    """The slope of sparse_plus: 0 below -1, 1 above 1, linear between."""
    return (minimum(maximum(x, -1), 1) + 1) / 2


@activation(source="Zhu et al. 2025 (Dynamic Tanh), arXiv:2503.10622", aliases=("dynamic_tanh",))
def dyt(
    x,
    alpha=Parameter(0.5, learnable=True),
    scale=Parameter(1.0, learnable=True),
    shift=Parameter(0.0, learnable=True),
):
    """Dynamic tanh: stands in for a normalization layer."""
    return scale * formula.tanh(alpha * x) + shift
