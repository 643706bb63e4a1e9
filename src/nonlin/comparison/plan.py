"""The plan of a study: what is varied, what is not, and the runs that follow from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, NamedTuple

from nonlin.definition import Elementwise, activations
from nonlin.wanted import WantedError, look_up, members

DEFAULT_ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus")
DEFAULT_LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
PROTOCOL = 3  # counted up whenever the same cell would train differently: old ledgers are refused then
TUNING_SEED = 1_000_000  # the first seed of runs that choose a setting: none of them judges
PATIENCE = 8  # checks without a better score, after which a network stops
RUNGS = (5, 12)  # checks after which the worse half of the settings is given up
CHECKS = 100  # the most that a network is trained by default
BASELINES = ("constant", "linear", "boosting")
LARGEST_STACK = 60  # networks; more are no faster per network


class PlanError(ValueError):
    """A study that cannot be planned; the message is one sentence for the user."""


class Member(NamedTuple):
    """What tells the cells of a stack apart."""

    learning_rate: float
    gain: str
    seed: int
    split: int


@dataclass(frozen=True)
class Cell:
    """One run: one network, trained once.

    Attributes
    ----------
    dataset, activation : str
        Of a baseline, ``activation`` is its name.
    kind : str
        ``tuning``: it helps to choose a setting; ``judged``: its test score counts; ``baseline``: no network at all.
    learning_rate : float
    gain : str
        ``exact``, ``own`` (of the user's model), or a number.
    seed, split : int
    """

    dataset: str
    activation: str
    kind: str
    learning_rate: float
    gain: str
    seed: int
    split: int


@dataclass(frozen=True)
class Stack:
    """Cells of one activation and kind: trained as one batched program, and kept or lost together.

    Those of a tuning stack compete: of each split, all settings are in it.
    """

    dataset: str
    activation: str
    kind: str
    members: tuple[Member, ...]

    @property
    def cells(self) -> list[Cell]:
        """The cells, in order."""
        return [Cell(self.dataset, self.activation, self.kind, *member) for member in self.members]


@dataclass(frozen=True)
class Length:
    """How long networks are trained on one data set, in optimiser steps.

    Attributes
    ----------
    limit : int
        No network takes more.
    interval : int
        After so many steps, and at the end, a network is scored on validation rows.
    patience : int
        A network stops when its best score is so many steps old.
    rungs : tuple of int
        When the worse half of the settings that compete is given up.
    """

    limit: int
    interval: int
    patience: int
    rungs: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What a study does: the same for all activations.

    Attributes
    ----------
    activations : tuple of str
    learning_rates : tuple of float
    gains : tuple of str
        Factors of the standard deviation of initial weights, times 1/sqrt(fan-in). ``exact`` is 1/sqrt(E f(z)^2) under a
        standard normal z, which keeps the second moment constant with depth. Each activation gets, for each split, that one of
        the learning rates and gains which is best on validation data.
    seeds, splits : int
    tuning_seeds : int
        Seeds of runs that choose a setting; they are others than those that are judged.
    widths : tuple of int
        Of the hidden layers; empty for the user's own model.
    steps, epochs : int, optional
        The most that a network is trained, in optimiser steps or passes over the training rows; by default sized to the data.
    stretch : int
        Factor of that default: doubled while more than a tenth of the curves still rise at the end.
    batch_size : int
    weight_decay : float
        Decoupled, as AdamW has it.
    normalisation : str
        ``none``, ``batch`` or ``layer``: between each hidden linear layer and its activation.
    class_weights : str
        ``none``, or ``balanced``: the loss of a row is weighted with the inverse frequency of its class.
    metric : str
        Empty for accuracy or R².
    rows : int, optional
        Longer tables are sampled down to so many.
    model : str
        ``mlp``, another ready one, or what the user's own model is called.

    Examples
    --------
    >>> plan = Plan(activations=("relu", "tanh"))
    >>> plan.networks  # tuning: 5 rates x 10 splits; judged: 3 seeds x 10 splits
    160
    """

    activations: tuple[str, ...] = DEFAULT_ACTIVATIONS
    learning_rates: tuple[float, ...] = DEFAULT_LEARNING_RATES
    gains: tuple[str, ...] = ("exact",)
    seeds: int = 3
    splits: int = 10
    tuning_seeds: int = 1
    widths: tuple[int, ...] = (64, 64, 64)
    steps: int | None = None
    epochs: int | None = None
    stretch: int = 1
    batch_size: int = 64
    weight_decay: float = 0.0
    normalisation: str = "none"
    class_weights: str = "none"
    metric: str = ""
    rows: int | None = None
    model: str = "mlp"
    datasets: tuple[str, ...] = ("data",)

    def __post_init__(self) -> None:
        for name in ("seeds", "splits", "tuning_seeds", "steps", "epochs", "stretch", "batch_size", "rows"):
            value = getattr(self, name)
            if value is None and name in ("steps", "epochs", "rows"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise PlanError(f"{name.replace('_', ' ')} must be a whole number of at least 1, got {value!r}")
        if self.steps is not None and self.epochs is not None:
            raise PlanError("the length of training is given in steps or in epochs, not in both")
        if self.splits > 20:
            raise PlanError(f"at most 20 splits make sense, got {self.splits}")
        if not self.activations:
            raise PlanError("there is no activation to compare")
        if not self.learning_rates or not all(0 < rate < 1e3 for rate in self.learning_rates):
            raise PlanError(f"learning rates must be positive numbers, got {list(self.learning_rates)}")
        if not 0 <= self.weight_decay < 1e3:
            raise PlanError(f"weight decay must be a number of at least 0, got {self.weight_decay!r}")
        for name, allowed in (("normalisation", ("none", "batch", "layer")), ("class_weights", ("none", "balanced"))):
            if getattr(self, name) not in allowed:
                raise PlanError(f"{name.replace('_', ' ')} must be {' or '.join(allowed)}, got {getattr(self, name)!r}")
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
    def settings(self) -> list[tuple[float, str]]:
        """Learning rate and gain of all that compete, in order."""
        return [(rate, gain) for rate in sorted(self.learning_rates) for gain in self.gains]

    @property
    def networks(self) -> int:
        """How many networks are trained."""
        tuning = len(self.settings) * self.tuning_seeds if len(self.settings) > 1 else 0
        return len(self.datasets) * len(self.activations) * (tuning + self.seeds) * self.splits

    @property
    def runs(self) -> int:
        """How many runs there are: the networks and, of each split, the baselines."""
        return self.networks + len(self.datasets) * len(BASELINES) * self.splits

    def length(self, rows: int) -> Length:
        """Return how long networks are trained on so many rows.

        Examples
        --------
        >>> Plan().length(1294)  # digits: 21 steps are an epoch
        Length(limit=2100, interval=21, patience=168, rungs=(105, 252))
        >>> Plan(epochs=2).length(1294)
        Length(limit=42, interval=21, patience=168, rungs=(105, 252))
        """
        epoch = -(-rows // self.batch_size)
        interval = min(max(epoch, 20), 100)
        limit = self.steps or (self.epochs * epoch if self.epochs else CHECKS * interval * self.stretch)
        interval = min(interval, limit)
        return Length(limit, interval, PATIENCE * interval, (RUNGS[0] * interval, RUNGS[1] * interval))

    def tuning(self) -> list[Stack]:
        """Return the stacks that choose settings; none if there is nothing to choose."""
        if len(self.settings) < 2:
            return []
        seeds = [TUNING_SEED + i for i in range(self.tuning_seeds)]
        per_split = len(self.settings) * len(seeds)
        size = max(1, LARGEST_STACK // per_split)
        parts = [range(first, min(first + size, self.splits)) for first in range(0, self.splits, size)]
        return [
            Stack(
                dataset,
                name,
                "tuning",
                tuple(Member(*setting, seed, part) for part in some for setting in self.settings for seed in seeds),
            )
            for dataset in self.datasets
            for name in self.activations
            for some in parts
        ]

    def judged(self, dataset: str, activation: str, chosen: Mapping[int, tuple[float, str]]) -> Stack:
        """Return the stack that is judged, at the setting that was chosen for each split."""
        # Split by split within a seed, so that a study with more seeds starts like one with fewer.
        members = (Member(*chosen[part], seed, part) for seed in range(self.seeds) for part in range(self.splits))
        return Stack(dataset, activation, "judged", tuple(members))

    def baselines(self) -> list[Stack]:
        """Return what needs no network: constant and linear for all splits at once, then boosting for each."""
        each = [(Member(0.0, "", 0, part),) for part in range(self.splits)]
        every = [tuple(member for (member,) in each)]
        return [
            Stack(dataset, name, "baseline", members)
            for name in BASELINES
            for dataset in self.datasets
            for members in (each if name == "boosting" else every)
        ]

    def options(self) -> list[tuple[str, str]]:
        """Return the options of the command line that hold its size, whatever it was sized by.

        Examples
        --------
        >>> Plan(steps=500).options()[2:]
        [('--learning-rates', '0.0003,0.001,0.003,0.01,0.03'), ('--steps', '500')]
        """
        found = [("--seeds", str(self.seeds)), ("--splits", str(self.splits))]
        found.append(("--learning-rates", ",".join(f"{rate:g}" for rate in self.learning_rates)))
        names = ("steps", "epochs", "rows")
        return found + [(f"--{name}", str(value)) for name in names if (value := getattr(self, name)) is not None]

    def recipe(self) -> dict[str, Any]:
        """Return what a run depends on besides its cell, the data, and how long it may take."""
        names = ("widths", "batch_size", "weight_decay", "normalisation", "class_weights", "metric", "rows", "model")
        return {"protocol": PROTOCOL, **{name: getattr(self, name) for name in names}}

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
        normalised = "no normalisation layers" if self.normalisation == "none" else f"{self.normalisation} normalisation"
        decay = f"weight decay {self.weight_decay:g}" if self.weight_decay else "no weight decay"
        most = f"{self.steps} steps" if self.steps else f"{self.epochs} epochs" if self.epochs else "sized to the data"
        rows = [
            ("model", self.model if own else f"multilayer perceptron, hidden widths {', '.join(map(str, self.widths))}"),
            ("initialisation", "the model's own" if self.gains == ("own",) else "normal, gain/sqrt(fan-in); biases zero"),
            ("optimiser", f"Adam, betas 0.9 and 0.999, eps 1e-8; {decay}, no schedule, no clipping"),
            ("batch size", f"{self.batch_size}, the last one of an epoch may be smaller"),
            (
                "length",
                f"{most}; each network is judged where its own validation curve is best, and stops {PATIENCE} checks after",
            ),
            (
                "loss",
                "cross-entropy for classification, squared error for regression"
                + ("; classes weighted by their inverse frequency" if self.class_weights == "balanced" else ""),
            ),
            ("regularisation", "the model's own" if own else f"no dropout, {normalised}"),
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
    entries : dict of str to Elementwise
    """

    entries: dict[str, Elementwise] = field(default_factory=dict)

    def portable(self) -> dict[str, Elementwise]:
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
    wanted : iterable of str or Elementwise
        Names, names with parameters such as ``leaky_relu(negative_slope=0.2)``, ``FILE.py:NAME``, families, or activations.

    Raises
    ------
    PlanError
        If there is no such activation, or it is none that a hidden layer can have.

    Examples
    --------
    >>> list(gather(["ReLU", "leaky_relu(negative_slope=0.2)"]).entries)
    ['relu', 'leaky_relu(negative_slope=0.2)']
    """
    entries: dict[str, Elementwise] = {}
    items = [member for item in wanted for member in (isinstance(item, str) and members(item)) or [item]]
    for item in items:
        label, entry = _look_up(item)
        if not isinstance(entry, Elementwise) or entry.operands != ("x",):
            raise PlanError(f"{label} is no function of one number: a hidden layer here cannot have it")
        if lacking := [name for name, parameter in entry.parameters.items() if parameter.default is None]:
            raise PlanError(f"{label} needs {' and '.join(lacking)}: write {label}({lacking[0]}=...)")
        if label in entries:
            raise PlanError(f"{label} stands twice among the activations")
        entries[label] = entry
    return Field(entries)


def _look_up(item: Any) -> tuple[str, Any]:
    if not isinstance(item, str):
        if isinstance(item, Elementwise):
            known = activations.get(item.name)
            defaults = {n: p.default for n, p in item.parameters.items()}
            changed = known is not None and defaults != {n: p.default for n, p in known.parameters.items()}
            settings = ", ".join(f"{name}={value:g}" for name, value in defaults.items() if value is not None)
            return (f"{item.name}({settings})" if changed else item.name), item
        raise PlanError(f"an activation is a name or made by nonlin.activation, got {item!r}")
    try:
        return look_up(item)
    except WantedError as error:
        raise PlanError(str(error)) from None


# --- identity -------------------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions that decide what a run computes."""
    return {name: metadata.version(name) for name in ("nonlin", "numpy", "torch")}


def key(cell: Cell, plan: Plan, identity: str, fingerprint: str, of: dict[str, str]) -> str:
    """Return the hash of everything that a run depends on but the most steps it may take.

    Examples
    --------
    >>> cell = Cell("iris", "relu", "judged", 1e-3, "exact", seed=0, split=0)
    >>> one = key(cell, Plan(), "where(x > 0, x, 0) {}", "0" * 16, {"torch": "2"})
    >>> other = key(cell, Plan(batch_size=3), "where(x > 0, x, 0) {}", "0" * 16, {"torch": "2"})
    >>> len(one), one == other
    (24, False)
    """
    field = [plan.settings, plan.tuning_seeds] if cell.kind == "tuning" else []  # what it competes with
    place = [cell.kind, cell.learning_rate, cell.gain, cell.seed, cell.split, plan.splits]
    parts = [place, field, plan.recipe(), identity, fingerprint, of]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
