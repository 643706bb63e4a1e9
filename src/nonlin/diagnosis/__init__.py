"""Diagnosis: what can be measured about the units of a network, in one streaming pass.

:mod:`nonlin.diagnosis.health` has the statistics, and needs torch; :mod:`nonlin.diagnosis.shape` has what they need to know of
an activation.
"""
