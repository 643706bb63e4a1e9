"""Cures: what a diagnosis recommends, as functions. Each is a dry run unless ``apply=True``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.diagnosis.data import DiagnosisError, batches
from nonlin.diagnosis.evidence import bare
from nonlin.diagnosis.report import Report
from nonlin.diagnosis.unchanged import unchanged

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Change:
    """What a cure did to a layer, or would do."""

    layer: str
    text: str
    applied: bool

    def __str__(self) -> str:
        return f"{self.layer}: {self.text}{'' if self.applied else ' (not done: apply=True does it)'}"


def lsuv(model: Any, data: Any, *, apply: bool = False) -> list[Change]:
    """Scale the weights of each layer so that its outputs have variance 1 on the data, one layer after the other.

    Layer-sequential unit variance (Mishkin and Matas, arXiv:1511.06422), without the orthogonal start. Biases stay.

    Parameters
    ----------
    model : Module
    data : tensor, array, DataLoader or iterable of batches
        The first batch is used.
    apply : bool
        By default, only say what would be done.

    Returns
    -------
    list of Change
        In the order in which layers are called, all but the last one.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> [change.layer for change in lsuv(model, torch.randn(50, 4), apply=True)]
    ['0']
    """
    model = bare(model)
    batch = next(batches(data, None, model))
    names = {module: name for name, module in model.named_modules()}
    order: dict[nn.Module, None] = {}
    made: dict[nn.Module, Tensor] = {}

    def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
        order.setdefault(module)
        made[module] = output.detach()

    before = {p: p.detach().clone() for m in model.modules() if isinstance(m, _LAYERS) for p in m.parameters(recurse=False)}
    changes = []
    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, _LAYERS)]
    try:
        with unchanged(model), torch.no_grad():
            model.eval()
            model(*batch.arguments, **batch.keywords)
            for module in list(order)[:-1]:
                factor = 1.0
                for _ in range(5):
                    model(*batch.arguments, **batch.keywords)
                    deviation = float(made[module].double().std())
                    if not 1e-12 < deviation < 1e12 or abs(deviation - 1) < 0.01:
                        break
                    module.weight.div_(deviation)  # type: ignore[operator]
                    factor /= deviation
                changes.append(Change(names[module], f"weights times {factor:.3g}", apply))
    except BaseException:
        _restore(before)
        raise
    finally:
        for handle in handles:
            handle.remove()
    if not apply:
        _restore(before)
    return changes


def _restore(before: dict[Any, Tensor]) -> None:
    with torch.no_grad():
        for parameter, values in before.items():
            parameter.copy_(values)


def recycle(
    model: Any, report: Report, *, optimizer: Any = None, rules: tuple[str, ...] = ("dead-units",), apply: bool = False
) -> list[Change]:
    """Give dead units fresh incoming weights, zero outgoing ones, and forget the optimiser's moments of both.

    What the network computes stays exactly the same, because a dead unit said nothing and its outgoing weights are 0 now
    (ReDo, Sokar et al., arXiv:2302.12902). Layers whose units are followed by something else than one layer that takes them
    as they are, or by a flattening, are left alone and named.

    Parameters
    ----------
    model : Module
    report : Report
        Of :func:`nonlin.diagnose`, of this model.
    optimizer : Optimizer, optional
    rules : tuple of str
        Whose units: ``dead-units``, ``dormant-units``.
    apply : bool
        By default, only say what would be done.

    Returns
    -------
    list of Change
    """
    model = bare(model)
    modules = dict(model.named_modules())
    units: dict[str, set[int]] = {}
    for finding in report.findings:
        if finding.rule in rules and finding.layer is not None and finding.units:
            units.setdefault(finding.layer, set()).update(finding.units)
    if units and not any(layer in modules for layer in units):
        raise DiagnosisError(f"recycle: there is no layer {next(iter(units))!r}: is the report of this model?")
    changes = []
    for layer, chosen in units.items():
        incoming = modules.get(layer)
        outgoing = report.followers.get(layer)
        places = sorted(chosen)
        if not isinstance(incoming, _LAYERS) or outgoing is None or not isinstance(modules.get(outgoing), _LAYERS):
            changes.append(Change(layer, f"{len(places)} units are left: what takes them is no single layer", apply))
            continue
        text = f"{len(places)} units get fresh incoming weights, and outgoing weights of 0 in {outgoing}"
        if apply:
            _recycle(incoming, modules[outgoing], places)
            for parameter, index in _touched(incoming, modules[outgoing], places):
                _forget(optimizer, parameter, index)
        changes.append(Change(layer, text, apply))
    return changes


def _blocks(incoming: Any, outgoing: Any) -> int:
    """Return how many inputs of the next layer one unit makes: several after a flattening."""
    width = outgoing.weight.shape[1] * getattr(outgoing, "groups", 1)
    return int(width // incoming.weight.shape[0])


def _touched(incoming: Any, outgoing: Any, places: list[int]) -> Iterator[tuple[Tensor, Any]]:
    size = _blocks(incoming, outgoing)
    columns = [c for i in places for c in range(i * size, (i + 1) * size)]
    yield incoming.weight, places
    if incoming.bias is not None:
        yield incoming.bias, places
    yield outgoing.weight, (slice(None), columns)


def _recycle(incoming: Any, outgoing: Any, places: list[int]) -> None:
    fan_in = incoming.weight[0].numel()
    with torch.no_grad():
        for parameter, index in _touched(incoming, outgoing, places):
            if parameter is incoming.weight:
                parameter[index] = torch.randn_like(parameter[index]) * (2 / fan_in) ** 0.5
            else:
                parameter[index] = 0.0


def _forget(optimizer: Any, parameter: Tensor, index: Any) -> None:
    """Set an optimiser's moments of some entries to 0."""
    if optimizer is None:
        return
    with torch.no_grad():
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value[index] = 0.0
