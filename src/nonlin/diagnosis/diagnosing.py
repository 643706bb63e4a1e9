"""The door: ``nonlin.diagnose`` and ``nonlin.assert_healthy``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn

from nonlin.diagnosis import rules
from nonlin.diagnosis.data import DiagnosisError
from nonlin.diagnosis.evidence import Evidence, gather
from nonlin.diagnosis.keras import diagnose_elsewhere
from nonlin.diagnosis.report import LayerRow, Report
from nonlin.diagnosis.sites import is_keras
from nonlin.torch.recognition import activation_of


def diagnose(
    model: Any,
    data: Any,
    target: Any = None,
    *,
    loss: Any = None,
    optimizer: Any = None,
    mask: Any = None,
    samples: int = 10_000,
    group: Any = None,
) -> Report:
    """Look at a PyTorch or Keras model while it runs on data: is it alive, how sure is that, why, and what helps.

    The model is left exactly as it was: mode, buffers, gradients, hooks, random numbers, also if something is raised.

    Parameters
    ----------
    model : Module or keras.Model
        Also one that torch.compile or data parallelism wrapped: the model inside is looked at. A model of Keras on another
        backend than torch is saved, and looked at in a process where Keras computes with torch.
    data : tensor, array, DataLoader or iterable of batches
        Rows are samples. A batch is (inputs, target), inputs, or a dict of keyword arguments with ``labels``.
    target : tensor or array, optional
    loss : callable, optional
        ``loss(output, target)``, such as ``nn.CrossEntropyLoss()``, or a loss of Keras. It is looked at, too.
    optimizer : Optimizer, optional
        Its learning rate and parameters are looked at; no step is made.
    mask : tensor or array of bool, optional
        True where a token is one; that of a dict of keyword arguments is its ``attention_mask``.
    samples : int
        How many are looked at, at most.
    group : ProcessGroup or True, optional
        Each of its ranks (True: all) calls this with its share of the data, and units are judged by all shares together.

    Returns
    -------
    Report

    Raises
    ------
    DiagnosisError
        If there is nothing to look at.

    Examples
    --------
    >>> import torch, nonlin as nl
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> with torch.no_grad():
    ...     _ = model[0].bias[1].fill_(-99)
    >>> report = nl.diagnose(model, torch.randn(300, 2))
    >>> [(finding.rule, finding.layer, finding.units) for finding in report.of("dead-units") if 1 in finding.units]
    [('dead-units', '0', [1])]
    """
    if optimizer is not None and not hasattr(optimizer, "param_groups"):
        raise DiagnosisError(f"the optimizer must be one of torch.optim, got {type(optimizer).__name__}: leave it out")
    if is_keras(model) and not isinstance(model, nn.Module):
        return diagnose_elsewhere(model, data, target, loss, mask, samples)
    return report_of(gather(model, data, target, loss, optimizer, mask, samples, group))


def report_of(evidence: Evidence) -> Report:
    """Judge what was seen."""
    rows = [_row(site) for site in evidence.sites]
    return Report(rules.findings(evidence), rows, _coverage(evidence), evidence.samples, _followers(evidence))


def assert_healthy(model: Any, data: Any, target: Any = None, *, ignore: Iterable[str] = (), **keywords: Any) -> None:
    """Raise an AssertionError if :func:`diagnose` finds something worse than ``info``: for tests.

    Parameters
    ----------
    model, data, target, **keywords
        As for :func:`diagnose`.
    ignore : iterable of str
        Rules that do not count.
    """
    passed = {ignore} if isinstance(ignore, str) else set(ignore)
    unknown = passed - set(rules.CURES)
    if unknown:
        raise ValueError(f"assert_healthy: there is no rule {min(unknown)!r}; the rules are {', '.join(rules.CURES)}")
    report = diagnose(model, data, target, **keywords)
    worse = [f for f in report.findings if f.severity != "info" and f.rule not in passed]
    if worse:
        lines = [f"{f.severity} {f.rule}: {f.layer or 'model'}: {f.message}" for f in worse]
        raise AssertionError("\n".join(["the model is not healthy", *lines]))


def _row(site: Any) -> LayerRow:
    states, seen = site.health.states(), site.health.result()
    _, variance = site.health.spread()
    return LayerRow(
        layer=site.layer,
        place=site.title,
        activation=site.entry.name,
        units=seen.units,
        samples=seen.samples,
        dead=int(states.dead.sum()),
        always_on=int(states.always_on.sum()),
        rare=int(states.rare.sum()),
        saturated=int(states.saturated.sum()),
        non_finite=int(states.non_finite.sum()),
        dormant=int(states.dormant.sum()),
        rms_z=float(seen.rms_z),
        spread_z=float(np.sqrt(variance.mean())),
        gradient=float(site.health.gradient_norm()),
    )


def _coverage(evidence: Evidence) -> dict[str, Any]:
    missed = dict(evidence.unseen)
    for name, module in evidence.model.named_modules():
        if name and activation_of(module) is not None and name not in evidence.called:
            missed.setdefault(name, "is not called in this pass")
    seen = len(evidence.sites)
    return {"sites": seen + len(missed), "observed": seen, "not_observed": missed}


def _followers(evidence: Evidence) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for layer in evidence.weighted:
        before = layer.before
        if before is not None and before.layer:
            alone = (
                before.layer not in found and not (before.added or before.normed or before.part) and layer.layer != before.layer
            )
            found[before.layer] = layer.layer if alone else None
    return found
