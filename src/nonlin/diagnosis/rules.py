"""The rules: from what was seen to findings, and from symptoms to what they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonlin.definition import Elementwise
from nonlin.diagnosis.evidence import Evidence
from nonlin.diagnosis.report import Finding, Severity
from nonlin.diagnosis.shape import shape_of
from nonlin.diagnosis.sites import Site, Weighted, is_keras, parameters_of
from nonlin.diagnosis.theory import born_dead_probability

MANY = 0.5
"""The share of a layer from which on dead or saturated units are a fault: trained models that work have up to a third."""
ALL_BUT = 0.9
COLLAPSED = 5e-3
EXPLODED = 1e3
VANISHED = 1e-3
LARGE_INPUT = 6.0
LARGE_UPDATE = 0.3

_RECYCLE = "nonlin.diagnosis.recycle(model, report, optimizer=optimizer, apply=True)"
#: What helps, the best first; ACTIVATION is the one in use.
CURES = {
    "dead-units": [
        _RECYCLE,
        "nonlin.torch.replace(model, {'ACTIVATION': 'leaky_relu'})",
    ],
    "always-on-units": ["initialise anew with the exact gain: nonlin.torch.init_(model)"],
    "rare-units": [],
    "saturated-units": [
        "scale the inputs to mean 0 and deviation 1",
        "a smaller gain: nonlin.torch.init_(model)",
        "replace the activation: nonlin.torch.replace(model, {'ACTIVATION': 'silu'})",
    ],
    "non-finite": [
        "lower the learning rate, clip the gradient",
        "look for log(0), division by 0 and overflow where it first appears",
    ],
    "dormant-units": ["nonlin.diagnosis.recycle(model, report, rules=('dormant-units',), optimizer=optimizer, apply=True)"],
    "vanishing-gradient": [
        "an activation that does not saturate: nonlin.torch.replace(model, {'ACTIVATION': 'relu'})",
        "initialise with the exact gain: nonlin.torch.init_(model)",
        "residual connections, or normalisation before each activation",
    ],
    "exploding-gradient": [
        "initialise with the exact gain: nonlin.torch.init_(model)",
        "clip: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        "normalisation before each activation",
    ],
    "variance-collapse": [
        "initialise with the exact gain: nonlin.torch.init_(model)",
        "nonlin.diagnosis.lsuv(model, data, apply=True)",
        "normalisation before each activation",
    ],
    "variance-explosion": [
        "initialise with the exact gain: nonlin.torch.init_(model)",
        "nonlin.diagnosis.lsuv(model, data, apply=True)",
        "normalisation before each activation",
    ],
    "learning-rate-too-high": [
        "a learning rate 10 times lower, with warm-up, from fresh weights",
        f"or go on with a lower one after {_RECYCLE}",
    ],
    "unscaled-input": ["scale the inputs: x = (x - mean) / deviation, both from the training data"],
    "constant-input": ["look at how the data are read: the inputs carry no information"],
    "frozen-layer": ["parameter.requires_grad_(True), and give it to the optimizer"],
    "disconnected": ["use the module in forward; look for detach(), .data, no_grad() or NumPy on the way to the loss"],
    "wrong-output-activation": [],
    "wrong-loss": [],
    "initialisation-mismatch": [
        "nonlin.torch.init_(model): the exact gain of the activation in use",
        "nonlin.diagnosis.lsuv(model, data, apply=True)",
    ],
    "born-dead": ["a wider network", "leaky_relu in place of relu", "another seed"],
    "gradient-dead": ["look at what the next layers do with these units"],
    "missing-activation": ["an activation between the two layers: without it they are one linear layer"],
    "excessive-dropout": ["a dropout of 0.1 to 0.5"],
    "batch-norm-statistics": ["run some batches in train() mode before evaluation", "a larger batch, a larger momentum"],
    "tied-units": ["random initial weights: nonlin.torch.init_(model)"],
    "float16-overflow": ["bfloat16 in place of float16", "scale the inputs, normalise before the layer"],
}

#: What each symptom can come from, the deepest cause first.
CAUSES = {
    "non-finite": (
        "float16-overflow",
        "unscaled-input",
        "learning-rate-too-high",
        "variance-explosion",
        "initialisation-mismatch",
    ),
    "dead-units": (
        "born-dead",
        "initialisation-mismatch",
        "unscaled-input",
        "constant-input",
        "learning-rate-too-high",
        "variance-collapse",
        "variance-explosion",
    ),
    "always-on-units": (
        "initialisation-mismatch",
        "unscaled-input",
        "constant-input",
        "learning-rate-too-high",
        "tied-units",
        "variance-collapse",
    ),
    "saturated-units": ("unscaled-input", "learning-rate-too-high", "initialisation-mismatch", "variance-explosion"),
    "rare-units": ("learning-rate-too-high", "initialisation-mismatch"),
    "gradient-dead": ("disconnected", "dead-units", "born-dead"),
    "dormant-units": ("dead-units",),
    "vanishing-gradient": (
        "born-dead",
        "initialisation-mismatch",
        "unscaled-input",
        "learning-rate-too-high",
        "variance-collapse",
        "saturated-units",
    ),
    "exploding-gradient": ("initialisation-mismatch", "unscaled-input", "learning-rate-too-high", "variance-explosion"),
    "variance-collapse": (
        "constant-input",
        "tied-units",
        "born-dead",
        "learning-rate-too-high",
        "initialisation-mismatch",
        "unscaled-input",
        "dead-units",
        "saturated-units",
    ),
    "variance-explosion": ("initialisation-mismatch", "unscaled-input", "learning-rate-too-high"),
    "initialisation-mismatch": ("born-dead",),
}


def findings(e: Evidence) -> list[Finding]:
    """Return what the rules find: causes first, then what comes from them; what is worse first."""
    found = [finding for rule in RULES for finding in rule(e)]
    found += list(_learning_rate_from_units(e, found))
    worse = {f.rule for f in found if f.severity != "info"}
    order = {"error": 0, "warning": 1, "info": 2}
    names: dict[str | None, str] = {site.layer: site.entry.name for site in e.sites}
    said = {(f.cause, f.rule) for f in found if f.cause is not None}  # by its rule: no cause comes from what it causes
    for finding in found:
        used = names.get(finding.layer, "relu")
        cures = [cure.replace("ACTIVATION", used) for cure in CURES[finding.rule]]
        cures = [cure for cure in cures if f"'{used}': '{used}'" not in cure]
        finding.cures = finding.cures or (_of_keras(cures, used) if is_keras(e.model) else cures)
        if finding.cause not in worse:
            possible = (c for c in CAUSES.get(finding.rule, ()) if (finding.rule, c) not in said)
            finding.cause = next((c for c in possible if c in worse and c != finding.rule), None)
        if finding.rule == "dead-units" and finding.severity == "warning" and finding.cause is None and not e.trained:
            finding.severity = "info"  # of fresh weights, after a bottleneck for one: nothing came of it yet
    return sorted(found, key=lambda f: (f.severity == "info", f.cause is not None, order[f.severity]))


def _of_keras(cures: list[str], used: str) -> list[str]:
    """Return cures in the words of Keras' room; those that are functions of modules are left out."""
    words = {
        "nonlin.torch.init_(model)": f"kernel_initializer=nonlin.keras.initializers.ExactGain('{used}')",
        "nonlin.torch.replace": "nonlin.keras.replace",
    }
    for before, after in words.items():
        cures = [cure.replace(before, after) for cure in cures]
    return [cure for cure in cures if "nonlin.diagnosis." not in cure and "torch." not in cure]


# --- units --------------------------------------------------------------------------------------------------------------


def _units(e: Evidence) -> Iterator[Finding]:
    for site in e.sites:
        states = site.health.states()
        seen = site.health.result()
        n, width = seen.samples, seen.units
        where = f"before {site.entry.name} in {site.title}" if site.title != site.layer else f"of {site.entry.name}"
        relu_like = shape_of(site.entry).can_die and not shape_of(site.entry).bounded

        def finding(rule: str, mask: Any, severity: Severity, text: str, site: Site = site, n: int = n) -> Finding:
            units = [site.origin.first + site.origin.step * int(i) for i in np.flatnonzero(mask)]
            bound = 1 - 0.05 ** (1 / n) if n else 1.0
            return Finding(rule, severity, site.layer, text, units, n, bound if rule == "dead-units" else None)

        bad = states.non_finite
        if bad.any():
            yield finding("non-finite", bad, "error", f"{bad.sum()} of {width} units {where} have NaN or infinity")
        if site.final:
            continue
        bounded, (mean, variance) = shape_of(site.entry).bounded, site.health.spread()
        says_0 = np.asarray(site.entry(np.clip(np.nan_to_num(mean), -8, 8))) == 0  # relu6 below 0, not sigmoid
        dead = states.dead & (says_0 | (not bounded))
        if dead.any():
            share = dead.mean()
            severity: Severity = "error" if share == 1 else "warning" if share > MANY else "info"
            together = 1 - (0.05 / width) ** (1 / n)
            yield finding(
                "dead-units",
                dead,
                severity,
                f"{dead.sum()} of {width} units {where} never fired in {n:,} samples (each fires in at most "
                f"{seen.bound:.2%}, 95 %; all together {together:.2%})",
            )
        if relu_like and (on := states.always_on).any():
            flat = not np.any(site.entry.derivative(np.linspace(-8, -1, 15)))  # relu, not gelu, which bends everywhere
            severity = "warning" if flat and on.mean() >= ALL_BUT and width > 4 else "info"
            yield finding("always-on-units", on, severity, f"{on.sum()} of {width} units {where} are linear on these data")
        if states.rare.any() and relu_like:
            yield finding("rare-units", states.rare, "info", f"{states.rare.sum()} of {width} units {where} fire in under 1 %")
        if (flat := states.saturated & ~dead).any():
            one_sided = flat & (np.abs(mean) > 3 * np.sqrt(variance))
            severity = "warning" if flat.mean() > MANY and site.origin.direct else "info"
            yield finding(
                "saturated-units",
                flat,
                severity,
                f"{flat.sum()} of {width} units {where} are saturated in at least 95 % of {n:,} samples "
                f"({one_sided.sum()} of them at one end)",
            )
        dormant = states.dormant & ~dead
        if dormant.any() and relu_like:
            yield finding("dormant-units", dormant, "info", f"{dormant.sum()} of {width} units {where} say next to nothing")
        if (lost := states.gradient_dead).any():
            severity = "warning" if lost.all() and not dead.any() and not _begins_with_0(e) else "info"
            yield finding("gradient-dead", lost, severity, f"{lost.sum()} of {width} units {where} get no gradient")


def _numbers(e: Evidence) -> Iterator[Finding]:
    if e.inputs.bad:
        yield Finding("non-finite", "error", "input", f"{e.inputs.bad} numbers of the inputs are NaN or infinite")
    if e.target is not None and e.target.is_floating_point() and not bool(torch.isfinite(e.target).all()):
        yield Finding("non-finite", "error", "target", "the targets have NaN or infinity")
    bad = [name for name, p in parameters_of(e.model) if not bool(torch.isfinite(p).all())]
    for name in bad:
        layer, _, kind = name.rpartition(".")
        yield Finding("non-finite", "error", layer, f"{kind} has NaN or infinity")
    if e.outputs.bad and not bad and not e.inputs.bad:
        yield Finding("non-finite", "error", None, f"{e.outputs.bad} numbers of the output are NaN or infinite")
    for site in e.sites:
        if site.dtype is torch.float16 and site.largest:
            most = float(torch.stack(site.largest).float().max())
            if not most < 65504 / 4:
                text = f"pre-activations reach {most:.3g}, and float16 ends at 65504"
                yield Finding("float16-overflow", "error" if not most <= 65504 else "warning", site.layer, text)
    halves = {p.dtype for p in e.model.parameters()} == {torch.float16}
    if halves and e.outputs.bad and not e.inputs.bad and not bad and not any(s.dtype is not torch.float16 for s in e.sites):
        text = "the output is not finite, in float16, which ends at 65504"
        yield Finding("float16-overflow", "error", None, text)


# --- the signal ---------------------------------------------------------------------------------------------------------


def _spreads(e: Evidence) -> tuple[list[Site], list[float]]:
    """Return the sites that a signal goes through, and how much of it differs between samples at each."""
    sites = [s for s in e.sites if s.origin.direct and not s.final and not s.health.states().non_finite.all()]
    return sites, [float(np.sqrt(s.health.spread()[1].mean())) for s in sites]


def _signal(e: Evidence) -> Iterator[Finding]:
    sites, spreads = _spreads(e)
    constant = e.inputs.samples > 1 and e.numbers and float(e.inputs.deviation.max()) == 0
    if len(sites) >= 2 and spreads[0] > 0 and not constant:
        falls = [k for k, s in enumerate(spreads) if s < COLLAPSED * spreads[0]]
        grows = [k for k, s in enumerate(spreads) if s > EXPLODED * spreads[0]]
        if falls:
            k = falls[0]
            text = f"what the input changes falls to {spreads[k] / spreads[0]:.1e} of the first layer's at activation {k + 1}"
            flat = _vanishes(sites[k].entry)
            yield Finding("variance-collapse", "warning", sites[k].layer, text, cause="vanishing-gradient" if flat else None)
        elif grows:
            k = grows[0]
            text = f"the signal grows to {spreads[k] / spreads[0]:.1e} times the first layer's at activation {k + 1}"
            yield Finding("variance-explosion", "warning", sites[k].layer, text)
        elif spreads and spreads[-1] > 1e4 and e.inputs.rms < LARGE_INPUT:
            yield Finding(
                "variance-explosion", "warning", sites[-1].layer, f"pre-activations have a deviation of {spreads[-1]:.1e}"
            )
        if not falls and e.outputs.samples > 1 and _blind(e):
            yield Finding("variance-collapse", "warning", None, "the output is the same whatever the input is")
    elif e.sites and e.outputs.samples > 1 and _blind(e) and not constant:
        yield Finding("variance-collapse", "warning", None, "the output is the same whatever the input is")
    norms = [float(s.health.gradient_norm()) for s in sites]
    norms = [n for n in norms if not math.isnan(n)]
    if len(norms) >= 3 and max(norms) > 0 and e.outputs.bad == 0:
        ratio = norms[0] / norms[-1] if norms[-1] else math.inf
        vanished = VANISHED if not all(_vanishes(s.entry) for s in sites) else 10 * VANISHED
        rule = "vanishing-gradient" if ratio < vanished else "exploding-gradient"
        if ratio < vanished or EXPLODED < ratio < math.inf:
            text = (
                f"the gradient is {ratio:.1e} times as large here as {len(sites) - 1} activations later, at {sites[-1].layer} "
                f"(theory expects {_expected(e, sites):.1e} of these weights)"
            )
            yield Finding(rule, "warning", sites[0].layer, text)


def _blind(e: Evidence) -> bool:
    scale = max(e.outputs.rms, 1e-30)
    return not e.outputs.bad and float(e.outputs.deviation.max()) < 1e-5 * scale and not _begins_with_0(e)


def _begins_with_0(e: Evidence) -> bool:
    """Whether the last layer's weights are still the zeros that they were given: the first step changes that."""
    weight = _weight_of(e.weighted[-1]) if e.weighted else None
    return not e.trained and weight is not None and not bool(weight.any())


@lru_cache(maxsize=256)
def _mean_square_slope(entry: Elementwise, deviation: float) -> float:
    z = np.linspace(-8, 8, 2001)
    weights = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    with np.errstate(all="ignore"):
        return float(weights @ np.nan_to_num(np.asarray(entry.derivative(z * deviation)) ** 2))


def _expected(e: Evidence, sites: list[Site]) -> float:
    """Return how much of the last site's gradient mean-field theory expects at the first one, with the weights as they are."""
    weights = {layer.layer: _weight_of(layer) for layer in e.weighted}
    product = 1.0
    for site, after in pairwise(sites):
        mean, variance = site.health.spread()
        weight, rms = weights.get(after.layer), float(np.sqrt((variance + mean**2).mean()))
        if weight is not None and math.isfinite(rms):
            product *= float(weight.square().sum()) / len(weight) * _mean_square_slope(site.entry, round(rms, 3))
    return math.sqrt(product)


# --- before any data ----------------------------------------------------------------------------------------------------


def _weight_of(layer: Weighted) -> Tensor | None:
    weight = layer.weight
    return weight.detach().float() if isinstance(weight, Tensor) and weight.dim() > 1 else None


def _initialisation(e: Evidence) -> Iterator[Finding]:
    """Products of what each layer does to the variance, where nothing normalises it.

    Theory holds for random weights. Those of a network that has been trained count only if its signal does die out: then
    training has not moved them, because it could not.
    """
    _, spreads = _spreads(e)
    fades = bool(spreads) and min(spreads) < 10 * COLLAPSED * spreads[0]
    if e.trained and not fades:
        return
    following: dict[str, Site] = {}
    for site in e.sites:
        following.setdefault(site.layer, site)
    chains: dict[str, tuple[float, int]] = {}  # up to a layer: the product of the factors, and how many there are
    for layer in e.weighted:
        weight, before = _weight_of(layer), layer.before
        if weight is None or before is None or not before.last or before.layer not in following or before.normed:
            continue
        site = following[before.layer]
        if site.origin.normed or not site.origin.direct or not site.usual or _vanishes(site.entry):
            continue
        if not weight.any():
            continue  # of the last layer, or of a branch that begins with nothing, zeros are wanted; else they are tied
        factor = float(weight.square().sum()) / len(weight) * _mean_square(site.entry)
        product, length = chains.get(before.layer, (1.0, 0))
        chains[layer.layer] = (product * factor, length + 1)
        if not e.trained and not 1e-3 < factor < 1e2:
            text = f"its weights multiply the mean square after {site.entry.name} by {factor:.2g}, where 1 keeps it"
            yield Finding("initialisation-mismatch", "warning", layer.layer, text)
            return
    first = next((w for w in e.weighted if w.before is None and _weight_of(w) is not None and w.layer in following), None)
    if first is not None and not e.trained:
        weight = _weight_of(first)
        assert weight is not None
        gain = float(weight.square().sum()) / weight.shape[0]
        if gain and not 1e-4 < gain < 1e2:
            yield Finding(
                "initialisation-mismatch",
                "warning",
                first.layer,
                f"its weights multiply the mean square of the input by {gain:.2g}",
            )
            return
    for name, (product, length) in chains.items():
        if length >= 4 and ((product <= COLLAPSED**2 * 10 and fades) or (product >= 1e5 and not e.trained)):
            each = product ** (1 / length)
            text = (
                f"each of {length} layers up to it multiplies the mean square by {each:.2g}, together {product:.1e}; 1 keeps it"
            )
            yield Finding("initialisation-mismatch", "warning", name, text)
            return


def _vanishes(entry: Elementwise) -> bool:
    """Whether gradients fall by more than half in each layer even with the exact gain: sigmoid, whose slope is at most 1/4."""
    return shape_of(entry).bounded and _mean_square_slope(entry, 1.0) < 0.25 * _mean_square(entry)


@lru_cache(maxsize=256)
def _mean_square(entry: Elementwise) -> float:
    z = np.linspace(-8, 8, 4001)
    weights = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    return float(weights @ np.asarray(entry(z)) ** 2)


def _tied(e: Evidence) -> Iterator[Finding]:
    last = e.weighted[-1].layer if e.weighted else None
    seen = set()
    for layer in e.weighted:
        weight = _weight_of(layer)
        if weight is None or layer.layer in seen or layer.layer == last or len(weight) < 2:
            continue
        seen.add(layer.layer)
        rows = weight.reshape(len(weight), -1)
        if isinstance(layer.bias, Tensor) and layer.bias.shape == (len(weight),):
            rows = torch.cat([rows, layer.bias.detach().float()[:, None]], 1)
        _, which, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
        tied = (counts[which] > 1) & (weight.reshape(len(weight), -1).abs().sum(1) > 0)
        zero = weight.abs().sum() == 0
        if zero or tied.any():
            units = list(range(len(weight))) if zero else [int(i) for i in tied.nonzero().flatten()]
            text = "all weights are 0" if zero else f"{len(units)} of {len(weight)} units have the same weights as another"
            yield Finding("tied-units", "warning", layer.layer, text, units)


def _structure(e: Evidence) -> Iterator[Finding]:
    joined: set[str] = set()
    convolutions = {id(w.weight): w for w in e.weighted}
    for layer in e.weighted:
        before = layer.before
        weight = _weight_of(layer)
        if before is None or weight is None or before.bent or before.added or not before.direct or layer.layer in joined:
            continue
        previous = next((w for w in e.weighted if w.layer == before.layer), None)
        first = None if previous is None else _weight_of(previous)
        if previous is None or first is None or previous.groups > 1 or previous.layer == layer.layer:
            continue
        narrow = len(first) < min(first[0].numel(), len(weight))
        if narrow and len(convolutions) > 2:
            continue  # a bottleneck: the product has a lower rank, which may be wanted
        joined.add(layer.layer)
        text = f"no activation between {previous.layer} and {layer.layer}: the two are one linear layer"
        yield Finding("missing-activation", "warning", previous.layer, text)
    named = dict(e.model.named_modules())
    for name, p in e.dropouts.items():
        if p > 0.7:
            severity: Severity = "error" if p >= 0.95 else "warning"
            yield Finding("excessive-dropout", severity, name, f"p = {p:g}: {p:.0%} of the signal is thrown away in training")
    yield from _frozen(e, named)
    for name, g in e.gradients.items():
        owner, _, kind = name.rpartition(".")
        if g is None and kind.endswith("weight") and isinstance(named.get(owner), _WEIGHTED):
            used = owner in e.called
            why = "is called, but the loss does not depend on it" if used else "is not used in forward"
            yield Finding("disconnected", "warning", owner, why)


_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.RNNBase)


def _frozen(e: Evidence, named: dict[str, nn.Module]) -> Iterator[Finding]:
    layers = [(name, m) for name, m in named.items() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    given = None
    if e.optimizer is not None:
        given = {id(p) for group in e.optimizer.param_groups for p in group["params"]}
    frozen = []
    for name, module in layers:
        weight: Any = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and (not weight.requires_grad or (given is not None and id(weight) not in given)):
            frozen.append((name, "is not in the optimizer" if weight.requires_grad else "has requires_grad=False"))
    if not frozen or len(frozen) == len(layers):
        return
    leading = [name for name, _ in layers[: len(frozen)]] == [name for name, _ in frozen]
    transfer = leading and len(frozen) >= 2 and len(frozen) >= len(layers) / 2
    for name, why in frozen:
        yield Finding("frozen-layer", "info" if transfer else "warning", name, f"{why}: it does not learn")


def _born_dead(e: Evidence) -> Iterator[Finding]:
    relus = [s for s in e.sites if s.entry.name in ("relu", "relu6", "relu_squared") and s.origin.direct]
    if len(relus) < 3 or any(s.origin.normed or s.origin.added for s in relus):
        return
    widths = [s.health.result().units for s in relus]
    p = born_dead_probability(widths)
    whole = [s for s in relus if s.health.states().dead.all()]
    if whole and min(widths) <= 16 and (p > 0.2 or not e.trained):
        yield Finding(
            "born-dead",
            "error",
            whole[0].layer,
            f"all units are dead; with these widths that has a probability of {p:.0%} before any training",
        )
    elif p > 0.2 and not e.trained:
        yield Finding(
            "born-dead",
            "warning",
            relus[0].layer,
            f"a network of these widths is dead before training with probability {p:.0%}",
        )


def _data(e: Evidence) -> Iterator[Finding]:
    if not e.numbers or e.inputs.samples < 2 or not e.inputs.shape:
        return
    first = next((w for w in e.weighted), None)
    deviation, mean = e.inputs.deviation, e.inputs.mean
    flat = deviation <= 1e-12 * mean.abs().clamp(min=1e-12)
    if bool(flat.all()):
        yield Finding("constant-input", "error", "input", f"all {e.inputs.samples:,} samples are the same")
        return
    if float(flat.double().mean()) > ALL_BUT and flat.numel() > 4:
        share = float(flat.double().mean())
        yield Finding("constant-input", "warning", "input", f"{share:.0%} of the {flat.numel()} features are constant")
    if first is not None and first.before is not None and first.before.normed:
        return
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
    leaf = next((m for m in e.model.modules() if next(m.children(), None) is None and any(True for _ in m.parameters())), None)
    if isinstance(leaf, norms):
        return
    moving = deviation[~flat]
    rms, ratio = e.inputs.rms, float(moving.max() / moving.median())
    if rms > LARGE_INPUT:
        text = f"the inputs have an RMS of {rms:.3g} ({e.inputs.least:.3g} to {e.inputs.most:.3g}), where about 1 is right"
        yield Finding("unscaled-input", "warning", "input", text)
    elif rms < 1e-2:
        yield Finding("unscaled-input", "warning", "input", f"the inputs have an RMS of {rms:.1e}, where about 1 is right")
    elif ratio > 100 and flat.numel() < 200:
        text = f"the deviations of the features differ by {ratio:.0f} times"
        yield Finding("unscaled-input", "warning", "input", text)


def _output(e: Evidence) -> Iterator[Finding]:
    loss, origin, out, target = e.loss, e.output_origin, e.outputs, e.target
    if loss is None or out.samples == 0 or e.output is None:
        return
    last = origin.last if origin is not None else ""
    layer = origin.layer if origin is not None else None
    name = getattr(loss, "__name__", type(loss).__name__)
    key = name.lower().replace("_", "")
    if is_keras(loss) and "crossentropy" in key:
        key = ("bce" if "binary" in key else "crossentropy") + ("withlogitsloss" if loss.from_logits else "loss")

    def wrong(text: str, cure: str) -> Finding:
        return Finding("wrong-output-activation", "error", layer, text, cures=[cure])

    probabilities = out.one_sums and out.least >= 0
    squashed = last in ("sigmoid", "tanh", "softsign", "hard_sigmoid", "hard_tanh")
    cut = last in ("relu", "relu6", "softplus", "elu", "silu", "gelu", "leaky_relu", "selu", "mish")
    if key == "crossentropyloss" and is_keras(loss):
        if not probabilities:
            yield wrong(f"{name} wants probabilities, and the model ends in {last or 'a linear layer'}", "from_logits=True")
    elif "crossentropy" in key and "binary" not in key:
        classes = target is not None and not target.is_floating_point()
        if probabilities or last == "softmax":
            yield wrong(f"{name} wants logits, and the model ends in softmax", "leave the softmax out of the model")
        elif squashed or cut:
            yield wrong(f"{name} wants logits, and the model ends in {last}", f"leave the {last} at the end out")
        elif classes and e.output.dim() > 1 and e.output.shape[1] == 1:
            yield Finding(
                "wrong-loss",
                "error",
                layer,
                f"{name} of a single output is 0 whatever the model does",
                cures=["nn.BCEWithLogitsLoss()"],
            )
    elif key == "nllloss":
        if out.most > 1e-6 or (last != "log_softmax" and out.least >= 0):
            yield wrong(
                f"{name} wants log-probabilities, and the model ends in {last or 'a linear layer'}",
                "end in nn.LogSoftmax(-1), or take nn.CrossEntropyLoss()",
            )
    elif key in ("bceloss", "binarycrossentropy"):
        if last != "sigmoid" and (out.least < 0 or out.most > 1):
            yield wrong(
                f"{name} wants probabilities, and outputs reach {out.least:.2g} to {out.most:.2g}",
                "take nn.BCEWithLogitsLoss()",
            )
    elif key in ("bcewithlogitsloss", "binarycrossentropywithlogits"):
        if squashed or cut or last == "softmax" or probabilities:
            yield wrong(
                f"{name} wants logits, and the model ends in {last or 'probabilities'}",
                f"leave the {last or 'softmax'} at the end out",
            )
    elif key in ("mseloss", "l1loss", "smoothl1loss", "huberloss", "meansquarederror") and target is not None:
        goal = target.detach().double()
        low, high = float(goal.min()), float(goal.max())
        if (
            target.dim() != e.output.dim()
            and target.numel() == len(target)
            and e.output.numel() == len(e.output)
            and len(target) > 1
        ):
            text = f"output {tuple(e.output.shape)} and target {tuple(target.shape)} are broadcast to all pairs"
            yield Finding("wrong-loss", "error", layer, text, cures=["loss(output.squeeze(-1), target)"])
        if not target.is_floating_point() and e.output.dim() == 2 and e.output.shape[1] > 1:
            yield Finding("wrong-loss", "error", layer, f"{name} of class codes", cures=["nn.CrossEntropyLoss()"])
        facts = {
            "sigmoid": (0, 1),
            "softmax": (0, 1),
            "tanh": (-1, 1),
            "relu": (0, math.inf),
            "softplus": (0, math.inf),
            "relu6": (0, 6),
        }
        least, most = facts.get("softmax" if probabilities and last == "softmax" else last, (-math.inf, math.inf))
        if low < least - 0.05 * (high - low) or high > most + 0.05 * (high - low):
            yield wrong(
                f"the targets go from {low:.3g} to {high:.3g}, and {last} at the end only from {least:g} to {most:g}",
                f"leave the {last} at the end out",
            )


def _batch_norm(e: Evidence) -> Iterator[Finding]:
    for name, (shift, ratio) in e.batch_norms.items():
        if shift > 3 or ratio > 20:
            text = f"running statistics are not the data's: mean off by {shift:.2g} deviations, variance by {ratio:.3g} times"
            yield Finding("batch-norm-statistics", "warning", name, text)


# --- the learning rate --------------------------------------------------------------------------------------------------


def _learning_rate(e: Evidence) -> Iterator[Finding]:
    if e.optimizer is None:
        return
    kind = type(e.optimizer).__name__
    names = {id(p): name for name, p in parameters_of(e.model)}
    worst: tuple[float, str, float] | None = None
    for group in e.optimizer.param_groups:
        rate = float(group["lr"])
        for p in group["params"]:
            name = names.get(id(p))
            if name is None or p.dim() < 2:
                continue
            size = float(p.detach().double().square().mean().sqrt())
            if not size > 0:
                continue
            if "adam" in kind.lower() or kind in ("RMSprop", "Adagrad", "Rprop", "Lion"):
                ratio = rate / size
            else:
                g = e.gradients.get(name) or 0.0
                ratio = rate * g / (size * p.numel() ** 0.5)
            if worst is None or ratio > worst[0]:
                worst = (ratio, name, rate)
    if worst is not None and worst[0] > LARGE_UPDATE:
        ratio, name, rate = worst
        layer = name.rpartition(".")[0]
        text = f"a step of {kind} at {rate:g} changes {name} by {ratio:.0%} of its size, where 0.1 % to 1 % is usual"
        yield Finding("learning-rate-too-high", "warning", layer, text)


#: What explains dead units of a trained model, too.
_ENOUGH = {
    "learning-rate-too-high", "unscaled-input", "constant-input", "tied-units", "born-dead", "initialisation-mismatch",
}  # fmt: skip


def _learning_rate_from_units(e: Evidence, found: list[Finding]) -> Iterator[Finding]:
    """A trained model most of whose units died with inputs in order was killed by its steps."""
    rules = {f.rule for f in found if f.severity != "info"}
    if not e.trained or rules & _ENOUGH:
        return
    killed = next((f for f in found if f.rule in ("dead-units", "saturated-units") and f.severity != "info"), None)
    if killed is None:
        return
    site = next(s for s in e.sites if s.layer == killed.layer)
    mean, _ = site.health.spread()
    places = (np.array(killed.units or []) - site.origin.first) // site.origin.step
    far = float(np.median(np.abs(mean[places])))
    text = (
        f"the model has been trained and {len(killed.units or [])} of {len(mean)} units ended outside the data "
        f"(mean pre-activation {far:.2g}): steps that were too long do this"
    )
    yield Finding("learning-rate-too-high", "warning", killed.layer, text)


RULES = (
    _numbers, _data, _output, _learning_rate, _initialisation, _tied, _structure, _born_dead, _batch_norm, _signal, _units,
)  # fmt: skip
