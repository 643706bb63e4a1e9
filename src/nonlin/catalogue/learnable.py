"""Learnable families: functions whose whole shape is learned."""

from nonlin.definition import Parameter, activation
from nonlin.formula import absolute, where


def _size(u):
    # Not absolute(u), whose slope at 0 is 0: the curvature would be wrong where u touches 0, as b2*x^2 does at x = 0,
    # and as long as all b are 0 they would never learn.
    return where(u < 0, -u, u)


# The defaults are fit_rational(leaky_relu), as in the paper; a test fits them anew.
@activation(source="Molina et al. 2019 (safe PAU), arXiv:1907.06732", aliases=("pau", "pade"))
def rational(
    x,
    a0=Parameter(0.03355816, learnable=True),
    a1=Parameter(0.505, learnable=True),
    a2=Parameter(1.65344538, learnable=True),
    a3=Parameter(2.01002512, learnable=True),
    a4=Parameter(0.93191151, learnable=True),
    a5=Parameter(0.15242607, learnable=True),
    b1=Parameter(0.0, learnable=True),
    b2=Parameter(3.98024776, learnable=True),
    b3=Parameter(0.0, learnable=True),
    b4=Parameter(0.30183381, learnable=True),
):
    """Safe Padé activation unit: sum of a_k*x^k, divided by 1 + abs(sum of b_k*x^k). See fit_rational."""
    above = a0 + x * (a1 + x * (a2 + x * (a3 + x * (a4 + x * a5))))
    below = x * (b1 + x * (b2 + x * (b3 + x * b4)))
    # Far out both would overflow; divided by x^4 they do not. At infinity a5*x must be 0 if a5 is.
    t = 1 / x
    leading = a5 * where((absolute(a5) > 0) | (absolute(t) > 0), x, 0)
    above_far = leading + (a4 + a3 * t + a2 * t**2 + a1 * t**3 + a0 * t**4)
    below_far = b4 + b3 * t + b2 * t**2 + b1 * t**3
    is_far = (absolute(x) > 1) & (absolute(b4) > 0)
    return where(is_far, above_far / (t**4 + _size(below_far)), above / (1 + _size(below)))
