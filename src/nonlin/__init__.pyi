"""Activation functions. Made by tools/make_stubs.py: do not edit."""

from nonlin.comparison import Study as Study, compare as compare
from nonlin import diagnosis as diagnosis
from nonlin.diagnosis.diagnosing import assert_healthy as assert_healthy, diagnose as diagnose
from nonlin.arithmetic.promise import (
    AccuracyWarning as AccuracyWarning,
)
from nonlin.definition import (
    Activation as Activation,
    AxisFunction as AxisFunction,
    Elementwise as Elementwise,
    Gated as Gated,
    Parameter as Parameter,
    activation as activation,
    activations as activations,
    along_axis as along_axis,
    gated as gated,
    get as get,
)
from nonlin.dialects import (
    dialect as dialect,
)
from nonlin.fitting import (
    fit_rational as fit_rational,
)
from nonlin.formula import (
    FormulaError as FormulaError,
    concatenate as concatenate,
    cos as cos,
    erfc as erfc,
    exp as exp,
    expm1 as expm1,
    is_peak as is_peak,
    log as log,
    log1p as log1p,
    maximum as maximum,
    minimum as minimum,
    normal_cdf as normal_cdf,
    pi as pi,
    row_max as row_max,
    row_sum as row_sum,
    row_sum_but as row_sum_but,
    row_threshold as row_threshold,
    sqrt as sqrt,
    where as where,
)
from nonlin.kernels import (
    memory as memory,
)
from nonlin.kernels.precision import (
    get_precision as get_precision,
    precision as precision,
    set_precision as set_precision,
)
from nonlin.kernels.threads import (
    get_num_threads as get_num_threads,
    set_num_threads as set_num_threads,
)

__version__: str
relu: Elementwise
"""Rectified linear unit: the identity above zero, zero below."""
leaky_relu: Elementwise
"""Leaky ReLU: a small slope below zero keeps the gradient alive. Right for every slope, above 1 too."""
prelu: Elementwise
"""Parametric ReLU: leaky ReLU whose slope is learned, one for all or one per channel."""
rrelu: Elementwise
"""Randomized leaky ReLU in evaluation: the mean of the slopes drawn in training."""
relu6: Elementwise
"""ReLU clipped at 6, for low-precision arithmetic."""
clipped_relu: Elementwise
"""ReLU clipped at a value."""
thresholded_relu: Elementwise
"""The identity above a threshold, zero below."""
threshold: Elementwise
"""The identity above a threshold, a given value below."""
relu_squared: Elementwise
"""The square of ReLU: Primer, Nemotron, BitNet, nanochat."""
star_relu: Elementwise
"""Squared ReLU scaled and shifted to mean 0 and variance 1 for normal inputs."""
abs: Elementwise
"""The absolute value."""
hard_tanh: Elementwise
"""The identity clipped to an interval."""
step: Elementwise
"""Heaviside's step: 1 above zero, 0 at and below; its derivative is zero."""
identity: Elementwise
"""The input itself."""
softmax: AxisFunction
"""Turns a row into probabilities, in proportion to the exponentials of its entries."""
softmin: AxisFunction
"""Softmax of the negated row: the smallest entry becomes the most probable."""
log_softmax: AxisFunction
"""The logarithm of softmax, also where softmax itself underflows or is close to 1."""
sparsemax: AxisFunction
"""The probabilities nearest to the row, its projection onto the simplex: small entries get exactly 0."""
entmax15: AxisFunction
"""Half-way from softmax to sparsemax (alpha = 1.5): smooth where it is not 0."""
hardmax: AxisFunction
"""The limit of softmax at temperature 0: everything to the largest entry, the first one of several."""
maxout: AxisFunction
"""The largest of every so many neighbours; the first one where several are, for the slope. As PaddlePaddle's."""
crelu: AxisFunction
"""Concatenated ReLU: keeps what is negative, in entries of its own, so that the axis gets twice as long."""
sigmoid: Elementwise
"""The logistic function, from 0 to 1."""
hard_sigmoid: Elementwise
"""A piecewise linear sigmoid. PyTorch, Keras 3 and JAX take slope 1/6, Keras 2 and ONNX 0.2."""
tanh: Elementwise
"""The hyperbolic tangent, from -1 to 1."""
arctan: Elementwise
"""The inverse tangent, from -pi/2 to pi/2."""
erf: Elementwise
"""The error function, from -1 to 1."""
gaussian: Elementwise
"""The Gaussian bell."""
softsign: Elementwise
"""An algebraic sigmoid from -1 to 1 with slow tails."""
sparse_sigmoid: Elementwise
"""The slope of sparse_plus: 0 below -1, 1 above 1, linear between."""
dyt: Elementwise
"""Dynamic tanh: stands in for a normalization layer."""
rational: Elementwise
"""Safe Padé activation unit: sum of a_k*x^k, divided by 1 + abs(sum of b_k*x^k). See fit_rational."""
gelu: Elementwise
"""Gaussian error linear unit: the input times the chance that a standard normal is below it."""
gelu_tanh: Elementwise
"""GELU approximated with tanh: GPT-2, Gemma. At most 4.73e-4 from gelu."""
quick_gelu: Elementwise
"""GELU approximated with a sigmoid: CLIP."""
silu: Elementwise
"""Sigmoid linear unit, also called Swish-1: YOLO, EfficientNet."""
swish: Elementwise
"""SiLU with an adjustable gate: x/2 at beta = 0, towards ReLU as beta grows."""
mish: Elementwise
"""A self-regularized non-monotonic activation: YOLOv4."""
hard_swish: Elementwise
"""Swish with a piecewise linear gate: MobileNetV3."""
hard_mish: Elementwise
"""Mish with a piecewise linear gate."""
telu: Elementwise
"""Hyperbolic tangent exponential linear unit; TanhExp is the same function."""
golu: Elementwise
"""Gompertz linear unit: gated by the Gumbel distribution's function."""
serf: Elementwise
"""Log-softplus error activation: gated by erf of softplus."""
elish: Elementwise
"""SiLU above zero, ELU times the sigmoid below."""
lisht: Elementwise
"""Linearly scaled hyperbolic tangent: even, never negative."""
laplace: Elementwise
"""The distribution function of a normal, fitted to squared ReLU: Mega."""
xielu: Elementwise
"""Expanded integral of ELU: its slope grows linearly above zero. Apertus."""
softcap: Elementwise
"""The identity, bent so that it stays within -cap and cap."""
glu: Gated
"""Gated linear unit: the value times the sigmoid of the gate."""
bilinear: Gated
"""The product of two linear maps of the input: a gate without an activation."""
reglu: Gated
"""Gated linear unit with ReLU."""
geglu: Gated
"""Gated linear unit with GELU. Diffusers splits with gate='second'."""
geglu_tanh: Gated
"""Gated linear unit with GELU approximated by tanh: T5 1.1, Gemma."""
swiglu: Gated
"""Gated linear unit with SiLU: PaLM, Llama."""
relu2_glu: Gated
"""Gated linear unit with squared ReLU: BitNet."""
swiglu_clamped: Gated
"""SwiGLU whose gate is at most and whose value is within a limit, and whose value is raised by 1: gpt-oss."""
sin: Elementwise
"""The sine."""
snake: Elementwise
"""The identity with a wave: extrapolates periodic data. DAC."""
snake_beta: Elementwise
"""Snake whose wave has a height of its own."""
gcu: Elementwise
"""Growing cosine unit."""
tanh_shrink: Elementwise
"""The input less its hyperbolic tangent."""
hard_shrink: Elementwise
"""Zero near zero, the identity elsewhere."""
soft_shrink: Elementwise
"""Pulls the input towards zero by lambd."""
softplus: Elementwise
"""A smooth ReLU: the integral of the sigmoid."""
squareplus: Elementwise
"""An algebraic softplus: no exponential."""
smelu: Elementwise
"""Smooth ReLU: a parabola joins zero and the identity between -beta and beta."""
sparse_plus: Elementwise
"""Zero below -1, a parabola up to 1, the identity above."""
elu: Elementwise
"""Exponential linear unit: the identity above zero, saturating to -alpha below."""
celu: Elementwise
"""Continuously differentiable ELU: its slope at zero is 1 for every alpha."""
selu: Elementwise
"""Scaled ELU: keeps activations at mean 0 and variance 1 through layers with LeCun-normal weights."""
isrlu: Elementwise
"""Inverse square root linear unit: an algebraic ELU."""
log_sigmoid: Elementwise
"""The logarithm of the sigmoid."""
sqrt_softplus: Elementwise
"""The square root of softplus."""
