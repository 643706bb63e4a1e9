"""Comparison: studies of activations on data, from the plan to the report.

What stands here is loaded when it is first used: the command line's help names data and activations, and needs no SciPy for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nonlin.comparison.data import DataError as DataError, Dataset as Dataset
    from nonlin.comparison.ledger import LedgerError as LedgerError
    from nonlin.comparison.plan import Plan as Plan, PlanError as PlanError
    from nonlin.comparison.reading import load as load
    from nonlin.comparison.study import Study as Study, StudyError as StudyError, compare as compare, read as read

_HOME = {
    **dict.fromkeys(("DataError", "Dataset"), "data"),
    "LedgerError": "ledger",
    **dict.fromkeys(("Plan", "PlanError"), "plan"),
    "load": "reading",
    **dict.fromkeys(("Study", "StudyError", "compare", "read"), "study"),
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
