"""Comparison: studies of activations on data, from the plan to the report."""

from nonlin.comparison.data import DataError as DataError, Dataset as Dataset, load as load
from nonlin.comparison.ledger import LedgerError as LedgerError
from nonlin.comparison.plan import Plan as Plan, PlanError as PlanError
from nonlin.comparison.study import Study as Study, StudyError as StudyError, compare as compare, read as read
