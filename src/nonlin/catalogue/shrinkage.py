"""Shrinkage: functions that pull what is small to zero and let through what is large."""

from nonlin import formula
from nonlin.definition import Parameter, activation
from nonlin.formula import absolute, where


@activation
def tanh_shrink(x):
    """The input less its hyperbolic tangent."""
    return x - formula.tanh(x)


@activation
def hard_shrink(x, lambd=0.5):
    """Zero near zero, the identity elsewhere."""
    return where(absolute(x) > lambd, x, 0)


@activation
def soft_shrink(x, lambd=Parameter(0.5, ge=0)):
    """Pulls the input towards zero by lambd."""
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, 0))
