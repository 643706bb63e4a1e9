"""The plan of a study: what is varied, what is not, and the runs that follow from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from typing import Any

import nonlin
from nonlin.activation import Activation

DEFAULT_ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus")
DEFAULT_LEARNING_RATES = (1e-3, 3e-3, 1e-2)
PROTOCOL = 2  # counted up whenever the same cell would train differently: old ledgers are refused then


class PlanError(ValueError):
    """A study that cannot be planned; the message is one sentence for the user."""


@dataclass(frozen=True)
class Cell:
    """One run: one network, trained once.

    Attributes
    ----------
    dataset, activation : str
    learning_rate : float
    gain : str
        ``exact``, ``own`` (of the user's model), or a number.
    seed, split : int
    """

    dataset: str
    activation: str
    learning_rate: float
    gain: str
    seed: int
    split: int


@dataclass(frozen=True)
class Stack:
    """Cells that differ in seed and split only: trained as one batched program, and kept or lost together."""

    dataset: str
    activation: str
    learning_rate: float
    gain: str
    members: tuple[tuple[int, int], ...]  # seed, split

    @property
    def cells(self) -> list[Cell]:
        """The cells, in order."""
        return [Cell(self.dataset, self.activation, self.learning_rate, self.gain, *member) for member in self.members]


@dataclass(frozen=True)
class Plan:
    """What a study does. All runs of it get the same budget: the same number of epochs.

    Attributes
    ----------
    activations : tuple of str
    learning_rates : tuple of float
    gains : tuple of str
        Factors of the standard deviation of initial weights, times 1/sqrt(fan-in). ``exact`` is 1/sqrt(E f(z)^2) under a
        standard normal z, which keeps the second moment constant with depth. Each activation gets that one of the learning
        rates and gains which is best on validation data.
    seeds, splits : int
    widths : tuple of int
        Of the hidden layers; empty for the user's own model.
    epochs, batch_size : int
    model : str
        ``mlp``, or what the user's own model is called.

    Examples
    --------
    >>> plan = Plan(activations=("relu", "tanh"))
    >>> plan.runs
    180
    """

    activations: tuple[str, ...] = DEFAULT_ACTIVATIONS
    learning_rates: tuple[float, ...] = DEFAULT_LEARNING_RATES
    gains: tuple[str, ...] = ("exact",)
    seeds: int = 10
    splits: int = 3
    widths: tuple[int, ...] = (64, 64, 64)
    epochs: int = 25
    batch_size: int = 64
    model: str = "mlp"
    datasets: tuple[str, ...] = ("data",)

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("splits", 1), ("epochs", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise PlanError(f"{name.replace('_', ' ')} must be a whole number of at least {least}, got {value!r}")
        if self.splits > 20:
            raise PlanError(f"at most 20 splits make sense, got {self.splits}")
        if not self.activations:
            raise PlanError("there is no activation to compare")
        if not self.learning_rates or not all(0 < rate < 1e3 for rate in self.learning_rates):
            raise PlanError(f"learning rates must be positive numbers, got {list(self.learning_rates)}")
        if any(not isinstance(width, int) or not 1 <= width <= 16384 for width in self.widths):
            raise PlanError(f"widths must be whole numbers from 1 to 16384, got {list(self.widths)}")
        if self.model == "mlp" and not self.widths:
            raise PlanError("a network needs at least one hidden layer")
        for gain in self.gains:
            if gain not in ("exact", "own") and not (re.fullmatch(r"[\d.eE+-]+", gain) and 0 < float(gain) < 1e3):
                raise PlanError(f"a gain is exact or a positive number, got {gain!r}")
        for name in ("activations", "learning_rates", "gains", "datasets"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise PlanError(f"{twice} stands twice among the {name.replace('_', ' ')}")

    @property
    def runs(self) -> int:
        """How many networks are trained."""
        settings = len(self.learning_rates) * len(self.gains)
        return len(self.datasets) * len(self.activations) * settings * self.seeds * self.splits

    def stacks(self) -> list[Stack]:
        """Return all stacks, ordered so that each learning rate goes over all activations before the next one starts."""
        # Split by split within a seed, so that a study with more seeds starts like one with fewer.
        members = tuple((seed, part) for seed in range(self.seeds) for part in range(self.splits))
        return [
            Stack(dataset, name, rate, gain, members)
            for dataset in self.datasets
            for gain in self.gains
            for rate in self._middle_first()
            for name in self.activations
        ]

    def _middle_first(self) -> Sequence[float]:
        """Return the learning rates from the middle outwards: the leader that is shown on the way means most then."""
        middle = (len(self.learning_rates) - 1) / 2
        order = sorted(range(len(self.learning_rates)), key=lambda i: abs(i - middle))
        return [sorted(self.learning_rates)[i] for i in order]

    def recipe(self) -> dict[str, Any]:
        """Return what a run depends on besides its cell and the data."""
        return {
            "protocol": PROTOCOL,
            "widths": self.widths,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "model": self.model,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Plan:
        """Return it from JSON."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        return cls(**values)

    def constants(self) -> list[tuple[str, str]]:
        """Return everything that was not varied, in words."""
        own = self.model != "mlp"
        rows = [
            ("model", self.model if own else f"multilayer perceptron, hidden widths {', '.join(map(str, self.widths))}"),
            ("initialisation", "the model's own" if self.gains == ("own",) else "normal, gain/sqrt(fan-in); biases zero"),
            ("optimiser", "Adam, betas 0.9 and 0.999, eps 1e-8; no weight decay, no schedule, no clipping"),
            ("batch size", f"{self.batch_size}, the last one of an epoch may be smaller"),
            ("epochs", f"{self.epochs}; no early stopping: the network of the last epoch is judged"),
            ("loss", "cross-entropy for classification, squared error for regression"),
            ("regularisation", "the model's own" if own else "none: no dropout, no normalisation layers"),
            ("inputs", "standardised, fitted on the training rows; categories one-hot, missing values imputed"),
            ("number format", "float32 on the CPU, one thread per process"),
        ]
        if len(self.gains) == 1 and self.gains != ("own",):
            gain = "1/sqrt(E f(z)²) of each activation" if self.gains == ("exact",) else self.gains[0]
            rows.insert(2, ("gain", gain))
        return rows


# --- activations by what the user calls them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """The activations of a study under the labels that the study uses.

    Attributes
    ----------
    entries : dict of str to Activation
    """

    entries: dict[str, Activation] = field(default_factory=dict)

    def portable(self) -> dict[str, Activation]:
        """Return them so that another process can load them: the user's own by definition, not by name."""
        return {label: entry.with_() if entry.family == "own" else entry for label, entry in self.entries.items()}

    def identity(self, label: str) -> str:
        """Return what a run depends on of an activation: its formula and parameters, whatever its name."""
        entry = self.entries[label]
        defaults = {name: parameter.default for name, parameter in entry.parameters.items()}
        return f"{entry.formula} {json.dumps(defaults, sort_keys=True)}"


def gather(wanted: Iterable[Any]) -> Field:
    """Look activations up.

    Parameters
    ----------
    wanted : iterable of str or Activation
        Names, names with parameters such as ``leaky_relu(negative_slope=0.2)``, or activations.

    Raises
    ------
    PlanError
        If there is no such activation, or it is none that a hidden layer can have.

    Examples
    --------
    >>> list(gather(["ReLU", "leaky_relu(negative_slope=0.2)"]).entries)
    ['relu', 'leaky_relu(negative_slope=0.2)']
    """
    entries: dict[str, Activation] = {}
    for item in wanted:
        label, entry = _look_up(item)
        if not isinstance(entry, Activation) or entry.operands != ("x",):
            raise PlanError(f"{label} is no function of one number: a hidden layer here cannot have it")
        if lacking := [name for name, parameter in entry.parameters.items() if parameter.default is None]:
            raise PlanError(f"{label} needs {' and '.join(lacking)}: write {label}({lacking[0]}=...)")
        if label in entries:
            raise PlanError(f"{label} stands twice among the activations")
        entries[label] = entry
    return Field(entries)


def _look_up(item: Any) -> tuple[str, Any]:
    if not isinstance(item, str):
        if isinstance(item, Activation):
            known = nonlin.activations.get(item.name)
            defaults = {n: p.default for n, p in item.parameters.items()}
            changed = known is not None and defaults != {n: p.default for n, p in known.parameters.items()}
            settings = ", ".join(f"{name}={value:g}" for name, value in defaults.items() if value is not None)
            return (f"{item.name}({settings})" if changed else item.name), item
        raise PlanError(f"an activation is a name or made by nonlin.activation, got {item!r}")
    match = re.fullmatch(r"\s*([^()]+?)\s*(?:\((.*)\))?\s*", item)
    if match is None:
        raise PlanError(f"{item!r} is no activation: write a name, or name(parameter=value)")
    try:
        entry = nonlin.get(match[1])
    except KeyError as error:
        raise PlanError(str(error)) from None
    if not match[2]:
        return entry.name, entry
    values = {}
    for setting in match[2].split(","):
        name, equals, value = (part.strip() for part in setting.partition("="))
        try:
            values[name] = int(value) if value.lstrip("+-").isdecimal() else float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise PlanError(f"{item!r}: parameters are written as {entry.name}(parameter=value)")
    try:
        return f"{entry.name}({', '.join(f'{k}={v:g}' for k, v in values.items())})", entry.with_(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise PlanError(str(error)) from None


# --- identity -------------------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions that decide what a run computes."""
    return {name: metadata.version(name) for name in ("nonlin", "numpy", "torch")}


def key(cell: Cell, plan: Plan, identity: str, fingerprint: str, of: dict[str, str]) -> str:
    """Return the hash of everything that a run depends on.

    Examples
    --------
    >>> cell = Cell("iris", "relu", 1e-3, "exact", seed=0, split=0)
    >>> one = key(cell, Plan(), "where(x > 0, x, 0) {}", "0" * 16, {"torch": "2"})
    >>> other = key(cell, Plan(epochs=3), "where(x > 0, x, 0) {}", "0" * 16, {"torch": "2"})
    >>> len(one), one == other
    (24, False)
    """
    parts = [cell.learning_rate, cell.gain, cell.seed, cell.split, plan.splits, plan.recipe(), identity, fingerprint, of]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def shrink(plan: Plan, factor: float, fixed: Iterable[str] = ()) -> Plan:
    """Return the plan whose number of runs is about so many times that of another one.

    Seeds go first, down to 5; then the third split, then learning rates other than the middle one, then seeds down to 3.

    Examples
    --------
    >>> small = shrink(Plan(), 0.3)
    >>> small.seeds, small.splits, len(small.learning_rates)
    (4, 2, 3)
    """
    fixed = set(fixed)
    wanted = plan.runs * factor
    middle = (sorted(plan.learning_rates)[len(plan.learning_rates) // 2],)
    steps: list[dict[str, Any]] = [
        {"seeds": max(5, round(plan.seeds * factor))} if factor < 1 else {"seeds": min(100, int(plan.seeds * factor))}
    ]
    steps += [{"splits": splits} for splits in range(plan.splits - 1, 1, -1)]
    steps += [{"seeds": 4}, {"seeds": 3}, {"learning_rates": middle}, {"splits": 1}, {"seeds": 2}]
    for step in steps:
        change = {name: value for name, value in step.items() if name not in fixed}
        if factor < 1 and plan.runs <= wanted * 1.001:
            break
        plan = replace(plan, **change)
        if factor >= 1:
            break
    return plan
