"""Training: many small networks as one batched program, or one network at a time; both take the same steps.

A network's initial weights and the order of its batches come from its seed and split only. Whatever the activation and the
learning rate, runs of the same seed and split differ in nothing else, so they can be compared in pairs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from nonlin.comparison.data import Dataset, Split, constant_score, prepare, split
from nonlin.comparison.plan import Plan, Stack
from nonlin.comparison.results import Ingredients, Result, failed
from nonlin.diagnosis.health import Health, LayerHealth
from nonlin.torch.elementwise import operation

WIDEST_STACK = 128  # above, one network fills the caches and a loop over networks is as fast
PROBED_ROWS = 1024  # training rows that health is measured on
_BLOCK = 2048  # rows evaluated at once

Factory = Callable[[torch.nn.Module], torch.nn.Module]


@dataclass(frozen=True, eq=False)
class _Tables:
    """A data set as tensors: one table of all rows per split, one below the other."""

    features: torch.Tensor
    targets: torch.Tensor
    parts: tuple[Split, ...]
    classes: int
    constant: tuple[float, ...]  # test score of a constant prediction, per split

    @property
    def outputs(self) -> int:
        return max(self.classes, 1)


def tables(dataset: Dataset, splits: int) -> _Tables:
    """Prepare a data set for all splits."""
    parts = split(dataset, splits)
    prepared = [prepare(dataset, part.train) for part in parts]
    rows = len(dataset)
    offset = [Split(p.train + i * rows, p.validation + i * rows, p.test + i * rows) for i, p in enumerate(parts)]
    features = torch.from_numpy(np.concatenate([features for features, _ in prepared]))
    targets = torch.from_numpy(np.concatenate([target for _, target in prepared]))
    constant = [constant_score(dataset, part) for part in parts]
    return _Tables(features, targets, tuple(offset), len(dataset.classes), tuple(constant))


def _generator(*numbers: int) -> torch.Generator:
    seed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) >> 1)


def initial(sizes: Sequence[int], gain: float, seed: int, part: int) -> list[torch.Tensor]:
    """Draw a network's weights: normal, so that pre-activations have unit variance if the activation's output has 1/gain²."""
    generator = _generator(1, seed, part)
    gains = [1.0] + [gain] * (len(sizes) - 2)
    return [
        torch.randn(a, b, generator=generator) * (g / math.sqrt(a)) for a, b, g in zip(sizes, sizes[1:], gains, strict=False)
    ]


class _Batches:
    """The order of training rows, epoch by epoch, of one seed and split."""

    def __init__(self, rows: np.ndarray[Any, Any], seed: int, part: int) -> None:
        self._rows = torch.from_numpy(rows)
        self._generator = _generator(2, seed, part)

    def epoch(self) -> torch.Tensor:
        return self._rows[torch.randperm(len(self._rows), generator=self._generator)]


def _loss(outputs: torch.Tensor, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the loss of each sample; the last axis of the outputs holds logits or one number."""
    if classes:
        flat = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return flat.reshape(targets.shape)
    return (outputs.squeeze(-1) - targets).square()


def _scores(outputs: torch.Tensor, targets: torch.Tensor, classes: int, constant: float) -> list[float]:
    """Return accuracy or R² of outputs (stack, rows, outputs); where one is non-finite, that of a constant prediction."""
    finite = torch.isfinite(outputs).flatten(1).all(1)
    if classes:
        score = (outputs.argmax(-1) == targets).double().mean(1)
    else:
        residual = (outputs.squeeze(-1).double() - targets.double()).square().sum(1)
        total = (targets.double() - targets.double().mean()).square().sum()
        score = 1 - residual / total
    return torch.where(finite, score, torch.full_like(score, constant)).tolist()


# --- stacked --------------------------------------------------------------------------------------------------------------


class _Stacked:
    """Networks of one shape as one program: a leading axis counts them; forward and backward are written out.

    Autograd takes the same steps in more than twice the time: it records each operation, and keeps, copies and clears more
    than these few need.
    """

    def __init__(self, sizes: Sequence[int], made: Ingredients, members: Sequence[tuple[int, int]]) -> None:
        # The outputs are transposed, (stack, outputs, rows): matrices of few columns are multiplied at a tenth of the speed.
        shapes = [(len(members), b, a) for a, b in pairwise(sizes)]
        shapes += [(len(members), 1, size) for size in sizes[1:-1]] + [(len(members), sizes[-1], 1)]
        lengths = [math.prod(shape) for shape in shapes]
        # One block of all parameters, one of their gradients and two of Adam's: a single call steps them.
        self._blocks = [torch.zeros(sum(lengths)) for _ in range(4)]
        self._steps = torch.zeros((), dtype=torch.float32)
        views, slopes = (
            [piece.view(shape) for piece, shape in zip(block.split(lengths), shapes, strict=True)] for block in self._blocks[:2]
        )
        layers = len(sizes) - 1
        self.weights, self.biases = views[:layers], views[layers:]
        self._weight_gradients, self._bias_gradients = slopes[:layers], slopes[layers:]
        for i, (seed, part) in enumerate(members):
            for weight, drawn in zip(self.weights, initial(sizes, made.gain, seed, part), strict=True):
                weight[i] = drawn.T
        self.activation = made.activation
        self._pull = operation(made.activation, ("x",), 1)  # f'(z) times a gradient, in one go
        self._settings = [parameter.default for parameter in made.activation.parameters.values()]

    def only(self, which: slice) -> _Stacked:
        """Return some of the networks; they share their weights with these."""
        some = copy(self)
        some.weights, some.biases = [w[which] for w in self.weights], [b[which] for b in self.biases]
        return some

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Return what goes into each layer, what goes into each activation, and the outputs."""
        inputs, before = [x], []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            before.append(torch.baddbmm(bias, inputs[-1], weight.mT))
            inputs.append(self.activation(before[-1]))
        return inputs, before, torch.baddbmm(self.biases[-1], self.weights[-1], inputs[-1].mT)

    def gradients(self, before: Sequence[torch.Tensor], dy: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the gradient for what goes into each activation, the last one first, given that for the outputs."""
        dh = torch.bmm(dy.mT, self.weights[-1])
        for layer in reversed(range(len(before))):
            dz = self._pull(dh, before[layer], *self._settings)
            yield dz
            if layer:
                dh = torch.bmm(dz, self.weights[layer])

    def backward(self, inputs: Sequence[torch.Tensor], before: Sequence[torch.Tensor], dy: torch.Tensor) -> None:
        """Set the gradients of all parameters, given that for the outputs."""
        torch.bmm(dy, inputs[-1], out=self._weight_gradients[-1])
        torch.sum(dy, 2, keepdim=True, out=self._bias_gradients[-1])
        for layer, dz in zip(reversed(range(len(before))), self.gradients(before, dy), strict=True):
            torch.bmm(dz.mT, inputs[layer], out=self._weight_gradients[layer])
            torch.sum(dz, 1, keepdim=True, out=self._bias_gradients[layer])

    def step(self, learning_rate: float) -> None:
        """Take a step of Adam.

        It is the call that torch.optim.Adam makes, without what is around it, which takes longer than the step of a small
        network, and which loads torch's compiler for two seconds.
        """
        self._steps += 1
        parameters, gradients, means, squares = self._blocks
        torch._fused_adam_(
            [parameters],
            [gradients],
            [means],
            [squares],
            [],
            [self._steps],
            lr=learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def finite(self) -> list[bool]:
        """Whether all parameters of each network are finite."""
        seen = [torch.isfinite(p).flatten(1).all(1) for p in (*self.weights, *self.biases)]
        return torch.stack(seen).all(0).tolist()


@torch.no_grad()
def train_stack(stack: Stack, plan: Plan, made: Ingredients, data: _Tables) -> list[Result]:
    """Train the members of a stack as one batched program."""
    flat = data.features.flatten(1)
    sizes = [flat.shape[1], *plan.widths, data.outputs]
    members = sorted(stack.members, key=lambda member: member[1])  # those of a split are one slice
    networks = _Stacked(sizes, made, members)
    batches = [_Batches(data.parts[part].train, seed, part) for seed, part in members]
    first_of = [i for i, member in enumerate(members) if i == 0 or member[1] != members[i - 1][1]]
    of_part = {members[a][1]: (b - a, networks.only(slice(a, b))) for a, b in pairwise([*first_of, len(members)])}

    def evaluate(which: str) -> list[float]:
        scores = []
        for part, (count, some) in of_part.items():
            rows = torch.from_numpy(getattr(data.parts[part], which))
            blocks = [some.forward(flat[block].expand(count, -1, -1))[-1] for block in rows.split(_BLOCK)]
            scores += _scores(torch.cat(blocks, dim=2).mT, data.targets[rows], data.classes, data.constant[part])
        return scores

    def probe() -> tuple[list[float], list[dict[str, Any]]]:
        losses: list[float] = []
        profiles = []
        for part, (count, some) in of_part.items():
            rows = torch.from_numpy(data.parts[part].train[:PROBED_ROWS])
            health = [Health(made.activation, stack=1, shape=made.shape) for _ in plan.widths]
            _, before, outputs = some.forward(flat[rows].expand(count, -1, -1))
            found, dy = _loss_and_gradient(outputs, data.targets[rows].expand(count, -1), data.classes)
            losses += found.double().mean(1).tolist()
            for layer, z, gradient in zip(health[::-1], before[::-1], some.gradients(before, dy), strict=True):
                layer.update(z, gradient, slope=made.activation.derivative(z))
            seen = [layer.result() for layer in health]
            profiles += [_profile(seen, i) for i in range(count)]
        return losses, profiles

    first, start = probe()
    curve, losses = [], []
    seconds = 0.0
    for _ in range(plan.epochs):
        clock = time.process_time()  # not the wall's: other programs must not make an activation look slow
        order = torch.stack([batch.epoch() for batch in batches])
        total = torch.zeros(len(members))
        for rows in order.split(plan.batch_size, dim=1):
            inputs, before, outputs = networks.forward(_rows(flat, rows))
            loss, dy = _loss_and_gradient(outputs, _rows(data.targets, rows), data.classes)
            networks.backward(inputs, before, dy / rows.shape[1])
            networks.step(stack.learning_rate)
            total += loss.sum(1)
        seconds += time.process_time() - clock
        losses.append((total / order.shape[1]).tolist())
        curve.append(evaluate("validation"))
    _, end = probe()
    test = evaluate("test")
    finite = networks.finite()
    results = {
        member: Result(
            status=_status([epoch[i] for epoch in losses], first[i], finite[i]),
            score=test[i],
            validation=curve[-1][i],
            loss=[_round(epoch[i]) for epoch in losses],
            curve=[_round(epoch[i]) for epoch in curve],
            health={"start": start[i], "end": end[i]},
            seconds=seconds / len(members),
        )
        for i, member in enumerate(members)
    }
    return [results[member] for member in stack.members]


def _rows(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return table[rows], several times faster."""
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, *table.shape[1:])


def _loss_and_gradient(outputs: torch.Tensor, targets: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each sample, that of :func:`_loss`, and its gradient for the outputs (stack, outputs, rows)."""
    if classes:
        logarithms, chosen = torch.log_softmax(outputs, 1), targets.unsqueeze(1)
        losses = -logarithms.gather(1, chosen).squeeze(1)
        gradient = logarithms.exp_()
        return losses, gradient.scatter_add_(1, chosen, gradient.new_full((1, 1, 1), -1.0).expand(chosen.shape))
    off = outputs - targets.unsqueeze(1)
    return off.square().squeeze(1), 2 * off


def _status(losses: Sequence[float], first: float, finite: bool) -> str:
    return "ok" if finite and all(map(math.isfinite, losses)) and losses[-1] <= first else "diverged"


def _round(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _profile(layers: Sequence[LayerHealth], member: int | tuple[()]) -> dict[str, Any]:
    """Return what is kept of one network's health: a list by depth for each quantity."""
    names = ("dead", "always_on", "negative_only", "saturated", "non_finite")
    counts = {name: [int(getattr(layer, name)[member]) for layer in layers] for name in names}
    floats = {
        name: [_round(float(getattr(layer, name)[member])) for layer in layers]
        for name in ("rms_z", "variance_z", "rms_gradient")
    }
    return {
        "samples": max((layer.samples for layer in layers), default=0),
        "units": [layer.units for layer in layers],
        **counts,
        **floats,
    }


# --- one at a time --------------------------------------------------------------------------------------------------------


class Site(torch.nn.Module):
    """The activation as a module that holds no weights: it may stand at any number of places of a model, and watches all."""

    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.activation = activation
        self.kept: list[tuple[torch.Tensor, int | None]] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the activation."""
        if self.kept is not None:
            self.kept.append((x, getattr(x, "_nonlin_axis", None)))
        return self.activation(x)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """Name the activation."""
        return str(self.activation.name)


def _mark_axes(model: torch.nn.Module) -> None:
    """Have the layers of a model say where the units of their outputs are: nothing else knows."""
    nn = torch.nn
    conv = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.modules.pooling._MaxPoolNd)

    def hook(axis: int) -> Callable[[Any, Any, Any], None]:
        def mark(module: Any, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                output._nonlin_axis = axis  # type: ignore[attr-defined]

        return mark

    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.LayerNorm, nn.Embedding)):
            module.register_forward_hook(hook(-1))
        elif isinstance(module, conv):
            module.register_forward_hook(hook(1))


class _Perceptron(torch.nn.Module):
    def __init__(self, sizes: Sequence[int], site: Site) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(sizes))
        self.site = site

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in list(self.layers)[:-1]:
            x = self.site(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


def _initialise(model: torch.nn.Module, gain: float, draw: torch.Generator) -> None:
    """Draw the weights of the user's model anew: normal, gain/sqrt(fan-in), the first layer without gain; biases zero."""
    factor = 1.0
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.modules.conv._ConvNd)):
            fan_in = module.weight[0].numel()
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=draw) * (factor / math.sqrt(fan_in)))
                if module.bias is not None:
                    module.bias.zero_()
            factor = gain


def train_loop(stack: Stack, plan: Plan, made: Ingredients, data: _Tables, factory: Factory | None = None) -> list[Result]:
    """Train the members of a stack one after the other: wide networks, and the user's own."""
    return [_train_one(stack, seed, part, plan, made, data, factory) for seed, part in stack.members]


def _train_one(
    stack: Stack, seed: int, part: int, plan: Plan, made: Ingredients, data: _Tables, factory: Factory | None
) -> Result:
    features = data.features if factory else data.features.flatten(1)
    site = Site(made.activation)
    if factory is None:
        sizes = [features.shape[1], *plan.widths, data.outputs]
        model: torch.nn.Module = _Perceptron(sizes, site)
        for layer, weight in zip(model.layers, initial(sizes, made.gain, seed, part), strict=True):  # type: ignore[arg-type]
            with torch.no_grad():
                layer.weight.copy_(weight.T)
                layer.bias.zero_()
    else:
        # Whatever else draws random numbers in there, such as dropout, is the same for all activations, too.
        torch.manual_seed(int(np.random.SeedSequence((3, seed, part)).generate_state(1)[0]))
        model = factory(site)
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"the model factory must return a torch.nn.Module, got {type(model).__name__}")
        if stack.gain != "own":
            _initialise(model, made.gain, _generator(1, seed, part))
    _mark_axes(model)
    rows_of = data.parts[part]

    def outputs(rows: torch.Tensor) -> torch.Tensor:
        out = model(features[rows])
        if not data.classes and out.ndim == 1:
            out = out.unsqueeze(-1)
        if out.shape != (len(rows), data.outputs):
            raise ValueError(f"the model must return {data.outputs} numbers per row, got shape {tuple(out.shape)}")
        return out  # type: ignore[no-any-return]

    def evaluate(which: str) -> float:
        rows = torch.from_numpy(getattr(rows_of, which))
        model.eval()
        with torch.no_grad():
            out = torch.cat([outputs(block) for block in rows.split(_BLOCK)])
        model.train()
        return _scores(out[None], data.targets[rows], data.classes, data.constant[part])[0]

    def probe() -> tuple[float, list[LayerHealth]]:
        rows = torch.from_numpy(rows_of.train[:PROBED_ROWS])
        health: list[Health] = []
        total = 0.0
        model.eval()  # the statistics of normalisation layers are not the probe's to change
        for block in rows.split(_BLOCK):
            site.kept = []
            losses = _loss(outputs(block), data.targets[block], data.classes)
            total += losses.sum().item()
            # What does not say where its units are is not observed: a guess from the number of axes would be a wrong answer.
            places = [(z, axis) for z, axis in site.kept if axis is not None and z.requires_grad]
            site.kept = None
            health = health or [Health(made.activation, shape=made.shape) for _ in places]
            if places:
                gradients = torch.autograd.grad(losses.sum(), [z for z, _ in places], allow_unused=True)
                for layer, (z, axis), gradient in zip(health, places, gradients, strict=True):
                    layer.update(z.detach(), gradient, axis=axis)
        model.train()
        return total / len(rows), [layer.result() for layer in health]

    first, start = probe()
    optimiser = torch.optim.Adam(model.parameters(), lr=stack.learning_rate, fused=True)
    batches = _Batches(rows_of.train, seed, part)
    curve, losses, seconds = [], [], 0.0
    for _ in range(plan.epochs):
        clock = time.process_time()
        order = batches.epoch()
        total = 0.0
        for rows in order.split(plan.batch_size):
            loss = _loss(outputs(rows), data.targets[rows], data.classes)
            optimiser.zero_grad(set_to_none=True)
            loss.mean().backward()
            optimiser.step()
            total += loss.sum().item()
        seconds += time.process_time() - clock
        losses.append(total / len(order))
        curve.append(evaluate("validation"))
    _, end = probe()
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    return Result(
        status=_status(losses, first, finite),
        score=evaluate("test"),
        validation=curve[-1],
        loss=[_round(value) for value in losses],
        curve=[_round(value) for value in curve],
        health={"start": _profile(start, ()), "end": _profile(end, ())},
        seconds=seconds,
    )


# --- the door -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _cached_tables(dataset: Dataset, splits: int) -> _Tables:
    return tables(dataset, splits)


def train(
    stack: Stack, plan: Plan, made: Ingredients, dataset: Dataset, factory: Factory | None = None
) -> list[dict[str, Any]]:
    """Train a stack's members in the way that is fastest for them; what goes wrong is a result, too."""
    torch.set_num_threads(1)  # two threads each of two processes on two cores wait for one another most of the time
    try:
        data = _cached_tables(dataset, plan.splits)
        if factory is None and max(plan.widths) <= WIDEST_STACK:
            results = train_stack(stack, plan, made, data)
        else:
            results = train_loop(stack, plan, made, data, factory)
    except Exception as error:  # noqa: BLE001 - the user's activation or model may raise anything; it is kept and counted
        text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        return [failed(text) for _ in stack.members]
    return [result.as_dict() for result in results]
