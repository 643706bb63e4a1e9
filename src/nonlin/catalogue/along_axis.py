"""Along an axis: functions of all entries of a row at once."""

import math

import numpy as np

from nonlin.activation import Parameter, define
from nonlin.axis import along_axis
from nonlin.catalogue.rectifiers import relu
from nonlin.formula import exp, where
from nonlin.kernels.rows import Normalization

_TEMPERATURE = Parameter(1.0, gt=0, lt=math.inf)


@define
def _exponential(x, peak, temperature):
    """Compiled, it keeps what the subtraction and the division round away: exp would make hundreds of ulps of it."""
    return exp((x - peak) / temperature)


@define
def _log_probability(x, peak, temperature, total):
    return (x - peak) / temperature - total


@define
def _negative_part(x):
    return where(x < 0, -x, 0)


def _sum(x):
    return x.sum(axis=-1, keepdims=True)


def _at(x, position):
    return np.take_along_axis(x, position, axis=-1)


def _peak(x):
    """Return where the largest entry of each row is."""
    return x.argmax(axis=-1, keepdims=True)


def _exponentials(x, temperature):
    """Return exp((x - max(x))/temperature) and the sum of all but the largest of them, which is 1."""
    peak = _peak(x)
    e = _exponential(x, _at(x, peak), temperature)
    one = _at(e, peak)  # or NaN
    np.put_along_axis(e, peak, 0 * one, axis=-1)
    others = _sum(e)
    np.put_along_axis(e, peak, one, axis=-1)
    return e, others


def _probabilities(x, temperature):
    e, others = _exponentials(x, temperature)
    e /= 1 + others
    return e


def _centred(v, weights):
    """Return weights*(v - mean of v with these weights): the Jacobian of softmax and its sparse kin.

    Only differences of v matter. Taken to v where the weight is largest, they keep the digits of a saturated row.
    """
    v = v - _at(v, _peak(weights))
    return weights * (v - _sum(weights * v) / _sum(weights))


@along_axis(
    formula="exp(x/temperature) / sum(exp(x/temperature))",
    latex=r"\frac{e^{x_i/T}}{\sum_j e^{x_j/T}}",
    jacobian=lambda x, v, temperature: _centred(v, _probabilities(x, temperature)) / temperature,
    masked=0.0,
    normalization=Normalization(_exponential.formula),
    source="Bridle 1990",
    aliases=("softargmax",),
)
def softmax(x, temperature=_TEMPERATURE):
    """Turns a row into probabilities, in proportion to the exponentials of its entries."""
    return _probabilities(x, temperature)


@along_axis(
    formula="exp(-x/temperature) / sum(exp(-x/temperature))",
    latex=r"\frac{e^{-x_i/T}}{\sum_j e^{-x_j/T}}",
    jacobian=lambda x, v, temperature: _centred(v, _probabilities(x, temperature)) / temperature,
    masked=0.0,
    sign=-1,
    normalization=Normalization(_exponential.formula, negated=True),
)
def softmin(x, temperature=_TEMPERATURE):
    """Softmax of the negated row: the smallest entry becomes the most probable."""
    return _probabilities(x, temperature)


def _log_softmax_jacobian(x, v, temperature):
    p = _probabilities(x, temperature)
    v = v - _at(v, _peak(x))
    return (v - _sum(p * v)) / temperature


def _log_softmax_transposed(x, v, temperature):
    # v - p*sum(v), written so that the largest probability may come close to 1.
    e, others = _exponentials(x, temperature)
    p = e / (1 + others)
    rest = 1 - p
    np.put_along_axis(rest, _peak(x), others / (1 + others), axis=-1)
    return (v * rest - p * (_sum(v) - v)) / temperature


@along_axis(
    formula="x/temperature - log(sum(exp(x/temperature)))",
    latex=r"\frac{x_i}{T} - \log \sum_j e^{x_j/T}",
    jacobian=_log_softmax_jacobian,
    transposed=_log_softmax_transposed,
    masked=-math.inf,
    normalization=Normalization(_exponential.formula, _log_probability.formula),
)
def log_softmax(x, temperature=_TEMPERATURE):
    """The logarithm of softmax, also where softmax itself underflows or is close to 1."""
    peak = _at(x, _peak(x))
    return _log_probability(x, peak, temperature, np.log1p(_exponentials(x, temperature)[1]))


def _below_peak(x, unit):
    """Return the distances from the largest entry; no threshold is below -1, so that -2 is as good as any."""
    return np.maximum((x - _at(x, _peak(x))) / unit, -2)


def _largest_first(z):
    return -np.sort(-z, axis=-1), np.arange(1, z.shape[-1] + 1)


def _support(z, ordered, positive):
    """Return which entries are as large as the last of the ordered ones that are positive, and their number."""
    last = np.maximum(_sum(positive) - 1, 0)
    among = z >= _at(ordered, last)
    return among, np.maximum(_sum(among), 1)


# Cumulated sums of many entries lose digits. They say well enough which entries are in the support; the threshold that
# counts comes from its entries anew.


def _sparsemax(x, temperature):
    z = _below_peak(x, temperature)
    ordered, k = _largest_first(z)
    among, size = _support(z, ordered, 1 + k * ordered > ordered.cumsum(axis=-1))
    threshold = (_sum(np.where(among, z, 0)) - 1) / size
    return np.maximum(z - threshold, 0)


@along_axis(
    formula="maximum(x/temperature - tau, 0), with tau such that the sum is 1",
    latex=r"\left[\tfrac{x_i}{T} - \tau\right]_+, \quad \sum_j \left[\tfrac{x_j}{T} - \tau\right]_+ = 1",
    jacobian=lambda x, v, temperature: _centred(v, np.sign(_sparsemax(x, temperature))) / temperature,
    masked=0.0,
    source="Martins & Astudillo 2016, arXiv:1602.02068",
)
def sparsemax(x, temperature=_TEMPERATURE):
    """The probabilities nearest to the row, its projection onto the simplex: small entries get exactly 0."""
    return _sparsemax(x, temperature)


def _root_entmax15(x, temperature):
    """Return the square root of entmax15, with the threshold of the paper's closed form."""
    z = _below_peak(x, 2 * temperature)
    ordered, k = _largest_first(z)
    mean = ordered.cumsum(axis=-1) / k
    spread = (ordered**2).cumsum(axis=-1) - k * mean**2
    among, size = _support(z, ordered, mean - np.sqrt(np.maximum((1 - spread) / k, 0)) <= ordered)
    mean = _sum(np.where(among, z, 0)) / size
    spread = _sum(np.where(among, z - mean, 0) ** 2)
    return np.maximum(z - mean + np.sqrt(np.maximum((1 - spread) / size, 0)), 0)


@along_axis(
    formula="maximum(x/(2*temperature) - tau, 0)**2, with tau such that the sum is 1",
    latex=r"\left[\tfrac{x_i}{2T} - \tau\right]_+^2, \quad \sum_j \left[\tfrac{x_j}{2T} - \tau\right]_+^2 = 1",
    jacobian=lambda x, v, temperature: _centred(v, _root_entmax15(x, temperature)) / temperature,
    masked=0.0,
    source="Peters et al. 2019, arXiv:1905.05702",
    aliases=("entmax",),
)
def entmax15(x, temperature=_TEMPERATURE):
    """Half-way from softmax to sparsemax (alpha = 1.5): smooth where it is not 0."""
    return _root_entmax15(x, temperature) ** 2


def _zeros(x):
    """Return rows of 0, or of NaN where there is one in the row."""
    return np.zeros_like(x) + 0 * _at(x, _peak(x))


@along_axis(
    formula="1 at the first largest entry, 0 elsewhere",
    latex=r"e_{\arg\max x}",
    jacobian=lambda x, v: _zeros(x),
    masked=0.0,
    source="ONNX",
)
def hardmax(x):
    """The limit of softmax at temperature 0: everything to the largest entry, the first one of several."""
    y = _zeros(x)
    np.put_along_axis(y, _peak(x), 1 + _at(y, _peak(x)), axis=-1)
    return y


def _pooled(size, groups):
    if groups % 1 or size % groups:
        raise ValueError(f"cannot be divided into groups of {groups}: it has {size} entries")
    return size // int(groups)


def _grouped(x, groups):
    return x.reshape(len(x), -1, int(groups))


def _maxout_jacobian(x, v, groups):
    x, v = _grouped(x, groups), _grouped(v, groups)
    selected = np.where(np.isnan(x), np.nan, v)
    return _at(selected, _peak(x))[..., 0]


def _maxout_transposed(x, v, groups):
    x = _grouped(x, groups)
    result = np.zeros_like(x)
    np.put_along_axis(result, _peak(x), v[..., np.newaxis], axis=-1)
    return np.where(np.isnan(_at(x, _peak(x))), np.nan, result).reshape(len(x), -1)


@along_axis(
    formula="the largest entry of each group",
    latex=r"\max_{k < g} x_{g i + k}",
    jacobian=_maxout_jacobian,
    transposed=_maxout_transposed,
    width=_pooled,
    keeps_integers=True,
    source="Goodfellow et al. 2013, arXiv:1302.4389",
)
def maxout(x, groups=Parameter(ge=1)):
    """The largest of every so many neighbours; the first one where several are, for the slope. As PaddlePaddle's."""
    return _grouped(x, groups).max(axis=-1)


def _crelu_transposed(x, v):
    positive, negative = np.split(v, 2, axis=-1)
    return relu.derivative(x) * positive + _negative_part.derivative(x) * negative


@along_axis(
    formula="relu(x) and relu(-x), one after the other",
    latex=r"\left(\max(x, 0),\ \max(-x, 0)\right)",
    jacobian=lambda x, v: np.concatenate([relu.derivative(x) * v, _negative_part.derivative(x) * v], axis=-1),
    transposed=_crelu_transposed,
    width=lambda size: 2 * size,
    keeps_integers=True,
    source="Shang et al. 2016, arXiv:1603.05201",
)
def crelu(x):
    """Concatenated ReLU: keeps what is negative, in entries of its own, so that the axis gets twice as long."""
    return np.concatenate([relu(x), _negative_part(x)], axis=-1)
