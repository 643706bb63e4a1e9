"""Along an axis: functions of all entries of a row at once."""

import math

from nonlin.catalogue.rectifiers import relu
from nonlin.definition import Parameter, activation
from nonlin.definition.layout import Groups
from nonlin.formula import (
    concatenate,
    exp,
    is_peak,
    log1p,
    maximum,
    row_max,
    row_sum,
    row_sum_but,
    row_threshold,
    where,
)

_TEMPERATURE = Parameter(1.0, gt=0, lt=math.inf)


@activation(along="axis", masked=0.0, source="Bridle 1990", aliases=("softargmax",))
def softmax(x, temperature=_TEMPERATURE):
    """Turns a row into probabilities, in proportion to the exponentials of its entries."""
    e = exp((x - row_max(x)) / temperature)
    return e / row_sum(e)


@activation(along="axis", masked=0.0)
def softmin(x, temperature=_TEMPERATURE):
    """Softmax of the negated row: the smallest entry becomes the most probable."""
    return softmax(-x, temperature=temperature)


@activation(along="axis", masked=-math.inf)
def log_softmax(x, temperature=_TEMPERATURE):
    """The logarithm of softmax, also where softmax itself underflows or is close to 1."""
    z = (x - row_max(x)) / temperature
    return z - log1p(row_sum_but(exp(z), x))


@activation(along="axis", masked=0.0, source="Martins & Astudillo 2016, arXiv:1602.02068")
def sparsemax(x, temperature=_TEMPERATURE):
    """The probabilities nearest to the row, its projection onto the simplex: small entries get exactly 0."""
    z = (x - row_max(x)) / temperature
    return maximum(z - row_threshold(z, 1), 0)


@activation(along="axis", masked=0.0, source="Peters et al. 2019, arXiv:1905.05702", aliases=("entmax",))
def entmax15(x, temperature=_TEMPERATURE):
    """Half-way from softmax to sparsemax (alpha = 1.5): smooth where it is not 0."""
    z = (x - row_max(x)) / (2 * temperature)
    return maximum(z - row_threshold(z, 2), 0) ** 2


@activation(along="axis", masked=0.0, source="ONNX")
def hardmax(x):
    """The limit of softmax at temperature 0: everything to the largest entry, the first one of several."""
    return where(is_peak(x), 1, 0)


@activation(layout=Groups("groups"), source="Goodfellow et al. 2013, arXiv:1302.4389")
def maxout(x, groups=Parameter(ge=1)):
    """The largest of every so many neighbours; the first one where several are, for the slope. As PaddlePaddle's."""
    return row_max(x)


@activation(along="axis", source="Shang et al. 2016, arXiv:1603.05201")
def crelu(x):
    """Concatenated ReLU: keeps what is negative, in entries of its own, so that the axis gets twice as long."""
    return concatenate(relu(x), where(x < 0, -x, 0))
