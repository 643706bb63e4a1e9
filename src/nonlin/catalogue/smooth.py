"""Smooth and exponential: soft versions of the rectifier."""

from nonlin.definition import Parameter, activation
from nonlin.formula import Constant, exp, expm1, log, sqrt, where


@activation(source="Dugas et al. 2001")
def softplus(x, beta=Parameter(1.0, gt=0)):
    """A smooth ReLU: the integral of the sigmoid."""
    return log(1 + exp(beta * x)) / beta


@activation(source="Barron 2021, arXiv:2112.11687")
def squareplus(x, b=Parameter(4.0, gt=0)):
    """An algebraic softplus: no exponential."""
    return (x + sqrt(x**2 + b)) / 2


@activation(source="Shamir et al. 2020, arXiv:2010.09931")
def smelu(x, beta=Parameter(1.0, gt=0)):
    """Smooth ReLU: a parabola joins zero and the identity between -beta and beta."""
    return where(x > beta, x, where(x < -beta, 0, (x + beta) ** 2 / (4 * beta)))


@activation(source="JAX, Keras")
def sparse_plus(x):
    """Zero below -1, a parabola up to 1, the identity above."""
    return where(x > 1, x, where(x < -1, 0, (x + 1) ** 2 / 4))


@activation(source="Clevert et al. 2015, arXiv:1511.07289")
def elu(x, alpha=Parameter(1.0, ge=0)):
    """Exponential linear unit: the identity above zero, saturating to -alpha below."""
    return where(x > 0, x, alpha * expm1(x))


@activation(source="Barron 2017, arXiv:1704.07483")
def celu(x, alpha=Parameter(1.0, ne=0)):
    """Continuously differentiable ELU: its slope at zero is 1 for every alpha."""
    return where(x > 0, x, alpha * expm1(x / alpha))


# The fixed point of mean 0 and variance 1 under the standard normal; a test derives both to all digits here.
_SELU_SCALE = Constant("1.0507009873554804934193349852946")
_SELU_ALPHA = Constant("1.6732632423543772848170429916717")


@activation(source="Klambauer et al. 2017, arXiv:1706.02515")
def selu(x):
    """Scaled ELU: keeps activations at mean 0 and variance 1 through layers with LeCun-normal weights."""
    return _SELU_SCALE * where(x > 0, x, _SELU_ALPHA * expm1(x))


@activation(source="Carlile et al. 2017, arXiv:1710.09967")
def isrlu(x, alpha=Parameter(1.0, gt=0)):
    """Inverse square root linear unit: an algebraic ELU."""
    return where(x >= 0, x, x / sqrt(1 + alpha * x**2))


@activation
def log_sigmoid(x):
    """The logarithm of the sigmoid."""
    return -log(1 + exp(-x))


@activation(source="DeepSeek V4 (router)")
def sqrt_softplus(x):
    """The square root of softplus."""
    return sqrt(log(1 + exp(x)))
