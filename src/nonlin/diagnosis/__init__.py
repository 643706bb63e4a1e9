"""Diagnosis: is a network alive, how sure is that, why, and what helps.

:func:`nonlin.diagnose` runs a PyTorch model over data. :mod:`~nonlin.diagnosis.sites` sees where activations are applied,
:mod:`~nonlin.diagnosis.health` has the statistics of units, in one streaming pass, which studies use too;
:mod:`~nonlin.diagnosis.rules` judges, :mod:`~nonlin.diagnosis.monitor` watches training, :mod:`~nonlin.diagnosis.cures` has
what helps and :mod:`~nonlin.diagnosis.theory` closed forms. Nothing but theory and :mod:`~nonlin.diagnosis.shape` goes without
torch, so names are loaded when they are first used.
"""

import importlib
from typing import Any

_ROOMS = {
    "diagnosing": ("diagnose", "assert_healthy"),
    "data": ("DiagnosisError",),
    "report": ("Finding", "Report"),
    "monitor": ("Monitor",),
    "cures": ("lsuv", "recycle"),
    "theory": ("born_dead_probability", "correlation_map", "edge_of_chaos", "moment", "safe_depth"),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"nonlin.diagnosis.{room}"), name)
    raise AttributeError(f"module 'nonlin.diagnosis' has no attribute {name!r}")
