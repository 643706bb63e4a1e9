"""The language: formulas as immutable expressions, their derivatives, and their spellings.

Everything below works on symbols; nothing here knows arrays, machine code or any framework.
"""

from nonlin.formula.calculus import canonical as canonical
from nonlin.formula.calculus import differentiate as differentiate
from nonlin.formula.calculus import stabilize as stabilize
from nonlin.formula.expression import Constant as Constant
from nonlin.formula.expression import Expression as Expression
from nonlin.formula.expression import FormulaError as FormulaError
from nonlin.formula.expression import Symbol as Symbol
from nonlin.formula.expression import substitute as substitute
from nonlin.formula.expression import symbols as symbols
from nonlin.formula.expression import trace as trace
from nonlin.formula.latex import latex as latex
from nonlin.formula.primitives import absolute as absolute
from nonlin.formula.primitives import arctan as arctan
from nonlin.formula.primitives import cos as cos
from nonlin.formula.primitives import erf as erf
from nonlin.formula.primitives import erfc as erfc
from nonlin.formula.primitives import exp as exp
from nonlin.formula.primitives import expm1 as expm1
from nonlin.formula.primitives import log as log
from nonlin.formula.primitives import log1p as log1p
from nonlin.formula.primitives import maximum as maximum
from nonlin.formula.primitives import minimum as minimum
from nonlin.formula.primitives import normal_cdf as normal_cdf
from nonlin.formula.primitives import pi as pi
from nonlin.formula.primitives import sech as sech
from nonlin.formula.primitives import sigmoid as sigmoid
from nonlin.formula.primitives import sign as sign
from nonlin.formula.primitives import sin as sin
from nonlin.formula.primitives import softplus as softplus
from nonlin.formula.primitives import sqrt as sqrt
from nonlin.formula.primitives import tanh as tanh
from nonlin.formula.primitives import where as where
