"""Write an activation function once; have it everywhere, exact and fast.

The catalogue's activations stand here by name; :data:`activations` maps all names to them and :func:`get` knows their
aliases. Functions to write formulas with are in :mod:`nonlin.formula`; those that no activation is named after stand here too.
"""

from nonlin.arithmetic.promise import AccuracyWarning as AccuracyWarning
from nonlin.catalogue.along_axis import (
    crelu as crelu,
    entmax15 as entmax15,
    hardmax as hardmax,
    log_softmax as log_softmax,
    maxout as maxout,
    softmax as softmax,
    softmin as softmin,
    sparsemax as sparsemax,
)
from nonlin.catalogue.bounded import (
    arctan as arctan,
    dyt as dyt,
    erf as erf,
    gaussian as gaussian,
    hard_shrink as hard_shrink,
    hard_sigmoid as hard_sigmoid,
    identity as identity,
    sigmoid as sigmoid,
    soft_shrink as soft_shrink,
    softsign as softsign,
    sparse_sigmoid as sparse_sigmoid,
    tanh as tanh,
    tanh_shrink as tanh_shrink,
)
from nonlin.catalogue.learnable import rational as rational
from nonlin.catalogue.pairs import (
    bilinear as bilinear,
    geglu as geglu,
    geglu_tanh as geglu_tanh,
    glu as glu,
    reglu as reglu,
    relu2_glu as relu2_glu,
    swiglu as swiglu,
    swiglu_clamped as swiglu_clamped,
)
from nonlin.catalogue.periodic import gcu as gcu, sin as sin, snake as snake, snake_beta as snake_beta
from nonlin.catalogue.rectifiers import (
    abs as abs,
    clipped_relu as clipped_relu,
    hard_tanh as hard_tanh,
    leaky_relu as leaky_relu,
    prelu as prelu,
    relu as relu,
    relu6 as relu6,
    relu_squared as relu_squared,
    rrelu as rrelu,
    star_relu as star_relu,
    step as step,
    threshold as threshold,
    thresholded_relu as thresholded_relu,
)
from nonlin.catalogue.self_gated import (
    elish as elish,
    gelu as gelu,
    gelu_tanh as gelu_tanh,
    golu as golu,
    hard_mish as hard_mish,
    hard_swish as hard_swish,
    laplace as laplace,
    lisht as lisht,
    mish as mish,
    quick_gelu as quick_gelu,
    serf as serf,
    silu as silu,
    softcap as softcap,
    swish as swish,
    telu as telu,
    xielu as xielu,
)
from nonlin.catalogue.smooth import (
    celu as celu,
    elu as elu,
    isrlu as isrlu,
    log_sigmoid as log_sigmoid,
    selu as selu,
    smelu as smelu,
    softplus as softplus,
    sparse_plus as sparse_plus,
    sqrt_softplus as sqrt_softplus,
    squareplus as squareplus,
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
from nonlin.dialects import dialect as dialect
from nonlin.fitting import fit_rational as fit_rational
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
from nonlin.kernels import memory as memory
from nonlin.kernels.precision import get_precision as get_precision, precision as precision, set_precision as set_precision
from nonlin.kernels.threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("nonlin")
    if name in ("compare", "Study"):  # need torch and more, and are no functions of a number: loaded when first used
        import nonlin.comparison

        return getattr(nonlin.comparison, name)
    raise AttributeError(f"module 'nonlin' has no attribute {name!r}")
