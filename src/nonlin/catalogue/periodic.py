"""Periodic: functions with waves in them."""

from nonlin import formula
from nonlin.definition import Parameter, activation
from nonlin.formula import cos


@activation(source="Sitzmann et al. 2020 (SIREN, omega = 30), arXiv:2006.09661", aliases=("sine", "siren"))
def sin(x, omega=Parameter(1.0)):
    """The sine."""
    return formula.sin(omega * x)


@activation(source="Ziyin et al. 2020, arXiv:2006.08195")
def snake(x, alpha=Parameter(1.0, ne=0, learnable=True)):
    """The identity with a wave: extrapolates periodic data. DAC."""
    return x + formula.sin(alpha * x) ** 2 / alpha


@activation(source="Lee et al. 2022 (BigVGAN), arXiv:2206.04658")
def snake_beta(x, alpha=Parameter(1.0, learnable=True), beta=Parameter(1.0, ne=0, learnable=True)):
    """Snake whose wave has a height of its own."""
    return x + formula.sin(alpha * x) ** 2 / beta


@activation(source="Noel et al. 2021, arXiv:2108.12943")
def gcu(x):
    """Growing cosine unit."""
    return x * cos(x)
