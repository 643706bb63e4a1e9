"""Activation functions from scratch, each written once as in a paper; derivatives, exact tails and LaTeX follow from it.

By hand, `1 / (1 + exp(-x))` overflows at -1000, the derivative of relu at 0 is whatever the code happens to do, and
`0.5 * x * (1 + erf(x / sqrt(2)))` has no digit left at -10.
"""

import numpy as np

import nonlin as nl


@nl.activation
def my_relu(x):
    """The identity above zero: the condition says that the slope at 0 is 0."""
    return nl.where(x > 0, x, 0)


@nl.activation
def my_sigmoid(x):
    return nl.exp(x) / (1 + nl.exp(x))


@nl.activation
def my_leaky_relu(x, negative_slope=0.01):
    return nl.where(x > 0, x, negative_slope * x)


@nl.activation
def my_gelu(x):
    return x * nl.normal_cdf(x)


x = np.array([-1000.0, -10.0, -1.0, 0.0, 1.0, 1000.0])
for f in (my_relu, my_sigmoid, my_leaky_relu):
    print(f"{f.name:14}", f(x))
    print(f"{'its slope':14}", f.derivative(x))

assert my_relu.derivative(0.0) == 0
assert my_leaky_relu.derivative(0.0) == 0.01
assert my_gelu(-10.0) == nl.gelu(-10.0) != 0
assert np.isfinite(my_sigmoid(x)).all()
