"""The language: formulas as immutable expressions, their derivatives, and their spellings.

Everything below works on symbols; nothing here knows arrays, machine code or any framework.
"""

from nonlin.formula.calculus import canonical as canonical, differentiate as differentiate, stabilize as stabilize
from nonlin.formula.expression import (
    Constant as Constant,
    Expression as Expression,
    FormulaError as FormulaError,
    Symbol as Symbol,
    substitute as substitute,
    symbols as symbols,
    trace as trace,
)
from nonlin.formula.primitives import (
    absolute as absolute,
    arctan as arctan,
    cos as cos,
    erf as erf,
    erfc as erfc,
    exp as exp,
    expm1 as expm1,
    log as log,
    log1p as log1p,
    maximum as maximum,
    minimum as minimum,
    normal_cdf as normal_cdf,
    pi as pi,
    sech as sech,
    sigmoid as sigmoid,
    sign as sign,
    sin as sin,
    softplus as softplus,
    sqrt as sqrt,
    tanh as tanh,
    where as where,
)
from nonlin.formula.rows import (
    concatenate as concatenate,
    is_peak as is_peak,
    row_max as row_max,
    row_sum as row_sum,
    row_sum_but as row_sum_but,
    row_threshold as row_threshold,
)
from nonlin.formula.typesetting import latex as latex
