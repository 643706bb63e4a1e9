"""Diagnosis: is a network alive, how sure is that, why, and what helps.

:func:`nonlin.diagnose` runs a PyTorch model over data. :mod:`~nonlin.diagnosis.sites` sees where activations are applied,
:mod:`~nonlin.diagnosis.health` has the statistics of units, in one streaming pass, which studies use too;
:mod:`~nonlin.diagnosis.rules` judges, and :mod:`~nonlin.diagnosis.theory` has closed forms. Nothing but theory and
:mod:`~nonlin.diagnosis.shape` goes without torch.
"""
