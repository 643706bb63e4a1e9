"""Write an activation function once; have it everywhere, exact and fast.

The catalogue's activations stand here by name; :data:`activations` maps all names to them and :func:`get` knows their
aliases. Functions to write formulas with are in :mod:`nonlin.formula`; those that no activation is named after stand here too.
"""

from nonlin import catalogue as _catalogue  # noqa: F401 - fills the registry
from nonlin.arithmetic.promise import AccuracyWarning as AccuracyWarning
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

globals().update(activations)  # as they stand in the stub, which tools/make_stubs.py writes


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("nonlin")
    if name in ("compare", "Study"):  # need torch and more, and are no functions of a number: loaded when first used
        import nonlin.comparison

        return getattr(nonlin.comparison, name)
    if name in ("diagnose", "assert_healthy", "diagnosis"):
        import nonlin.diagnosis

        return nonlin.diagnosis if name == "diagnosis" else getattr(nonlin.diagnosis, name)
    raise AttributeError(f"module 'nonlin' has no attribute {name!r}")
