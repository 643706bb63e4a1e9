"""Training: many small networks as one batched program, or one network at a time; both take the same steps.

A network's initial weights and the order of its batches come from its seed and split only. Whatever the activation and the
learning rate, runs of the same seed and split differ in nothing else, so they can be compared in pairs. How long a network is
trained, and where on its way it is judged, is decided in one place, for all of them: :func:`_follow`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from nonlin.comparison.baselines import constant_score, fit, judge
from nonlin.comparison.data import Dataset, Prepared, prepare
from nonlin.comparison.metrics import DEFAULT, METRICS, Metric
from nonlin.comparison.plan import Length, Member, Plan, Stack
from nonlin.comparison.results import Ingredients, Result, failed
from nonlin.comparison.splits import Split, sampled, split
from nonlin.diagnosis.health import Health, LayerHealth
from nonlin.torch.elementwise import operation

WIDEST_STACK = 128  # above, one network fills the caches and a loop over networks is as fast
PROBED_ROWS = 1024  # training rows that health is measured on
_BLOCK = 2048  # rows evaluated at once
_STILL_LEARNS = 0.8  # a validation loss so many times that of before is progress, though the score is the same
_BLOWN_UP = 10  # a loss so many times that of a constant prediction is one of a network that diverged

Factory = Callable[[torch.nn.Module], torch.nn.Module]


@dataclass(frozen=True, eq=False)
class _Tables:
    """A data set as tensors: one table of all rows per split, one below the other."""

    features: torch.Tensor
    targets: torch.Tensor
    parts: tuple[Split, ...]  # rows of these tables
    outputs: int
    is_classes: bool
    metric: Metric
    weights: torch.Tensor | None  # of classes in the loss, per split
    prepared: tuple[Prepared, ...]  # targets by split, and their unit
    constant: dict[str, tuple[float, ...]]  # score of a constant prediction on test and validation rows, per split
    constant_loss: tuple[float, ...]  # of training rows
    length: Length

    def judge(self, outputs: torch.Tensor, part: int, which: str) -> list[float]:
        """Return the scores of outputs (networks, rows, outputs) for the test or validation rows of a split."""
        prepared, constant = self.prepared[part], self.constant[which][part]
        rows = getattr(self.parts[part], which) - part * len(prepared.targets)
        scores = judge(outputs.double().numpy(), prepared, rows, self.is_classes, self.metric, constant)
        return [float(score) for score in scores]


def tables(dataset: Dataset, plan: Plan) -> _Tables:
    """Prepare a data set for all splits."""
    dataset = sampled(dataset, plan.rows)
    parts = split(dataset, plan.splits)
    metric = METRICS[plan.metric or DEFAULT[dataset.task]]
    prepared = [prepare(dataset, part.train) for part in parts]
    constant = {
        which: tuple(
            constant_score(dataset, each, part, metric, getattr(part, which))
            for each, part in zip(prepared, parts, strict=True)
        )
        for which in ("test", "validation")
    }
    weights = None
    if plan.class_weights == "balanced" and dataset.classes:
        shares = [np.bincount(dataset.target[p.train], minlength=dataset.outputs) / len(p.train) for p in parts]
        weights = torch.tensor(np.array([1 / np.maximum(each, 1e-12) / np.count_nonzero(each) for each in shares]))
    rows = len(dataset)
    offset = [Split(p.train + i * rows, p.validation + i * rows, p.test + i * rows) for i, p in enumerate(parts)]
    return _Tables(
        features=torch.from_numpy(np.concatenate([each.features for each in prepared])),
        targets=torch.from_numpy(np.concatenate([each.targets for each in prepared])),
        parts=tuple(offset),
        outputs=dataset.outputs,
        is_classes=bool(dataset.classes),
        metric=metric,
        weights=None if weights is None else weights.float(),
        prepared=tuple(replace(each, features=np.empty(0, np.float32)) for each in prepared),
        constant=constant,
        constant_loss=tuple(_constant_loss(dataset, part) for part in parts),
        length=plan.length(len(parts[0].train)),
    )


def _constant_loss(dataset: Dataset, part: Split) -> float:
    """Return the training loss of a constant prediction: the entropy of the classes, or the variance of the target, 1."""
    if not dataset.classes:
        return 1.0
    shares = np.bincount(dataset.target[part.train]) / len(part.train)
    return float(-np.sum(shares[shares > 0] * np.log(shares[shares > 0])))


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
    """Batches of training rows, epoch after epoch, of one seed and split."""

    def __init__(self, rows: np.ndarray[Any, Any], size: int, seed: int, part: int) -> None:
        self._rows = torch.from_numpy(rows)
        self._size = size
        self._generator = _generator(2, seed, part)
        self._left: list[torch.Tensor] = []

    def next(self) -> torch.Tensor:
        """Return the rows of the next batch."""
        if not self._left:
            order = self._rows[torch.randperm(len(self._rows), generator=self._generator)]
            self._left = list(order.split(self._size))[::-1]
        return self._left.pop()


def _loss(outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None, *, is_classes: bool) -> torch.Tensor:
    """Return the loss of each sample; the last axis of the outputs holds logits, or a number for each target."""
    if not is_classes:
        return (outputs - targets).square().mean(-1)
    losses = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none").reshape(targets.shape)
    return losses if weights is None else losses * weights[targets]


# --- how long, and where on the way -----------------------------------------------------------------------------------


class _Networks(Protocol):
    """Networks in training, by the order in which they were given; some of them may be left behind."""

    def train(self, steps: int) -> list[float]:
        """Take so many steps with each of those that are still trained; return their mean training losses."""
        ...

    def validate(self) -> tuple[list[float], list[float]]:
        """Return the validation score and loss of each of these."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Remember the weights that some of these have now."""
        ...

    def go_on(self, places: Sequence[int]) -> None:
        """Train only these of them from now on."""
        ...

    def seconds(self) -> list[float]:
        """Return the CPU time that each of all networks has taken so far."""
        ...


@dataclass
class _Course:
    """What became of one network on its way."""

    loss: list[float] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    validation: float = -math.inf
    validation_loss: float = math.inf
    best: int = 0
    steps: int = 0
    ended: str = ""
    _progress: int = 0  # after how many steps it was last better by more than a little
    _level: float = math.inf  # validation loss then

    def check(self, step: int, loss: float, score: float, validation_loss: float) -> bool:
        """Take in a check; return whether the network is better than it was at all others."""
        self.loss.append(loss)
        self.curve.append(score)
        self.steps = step
        if score > self.validation or validation_loss < _STILL_LEARNS * self._level or not self.best:
            self._progress, self._level = step, validation_loss
        better = (score, -validation_loss) > (self.validation, -self.validation_loss) or not self.best
        if better:
            self.validation, self.validation_loss, self.best = score, validation_loss, step
        return better

    def end(self, length: Length) -> str:
        """Say why it ends now; nothing if it goes on."""
        if self.steps - self._progress >= length.patience or not math.isfinite(self.loss[-1]):
            return "turned"
        return "limit" if self.steps >= length.limit else ""

    def status(self, data: _Tables, part: int, *, finite: bool) -> str:
        """Say what to call it."""
        if not (finite and all(map(math.isfinite, self.loss)) and self.loss[-1] <= _BLOWN_UP * data.constant_loss[part]):
            return "diverged"
        return "ok" if self.validation > data.constant["validation"][part] else "flat"


def _follow(networks: _Networks, members: Sequence[Member], length: Length, *, compete: bool) -> list[_Course]:
    """Train networks, each until its validation score has not been better for a while, and keep each where it was best.

    The rule is the same for all: among equal scores, the one with the smaller validation loss is better, and counts as progress
    if it is smaller by a fifth: where all validation rows are right, the loss falls for ever. Where settings
    compete, the worse half of those of a split is given up at each rung, by the mean of their best scores so far.
    """
    courses = [_Course() for _ in members]
    trained = list(range(len(members)))
    rungs = list(length.rungs) if compete else []
    step = 0
    while trained:
        taken = min(length.interval, length.limit - step)
        step += taken
        losses = networks.train(taken)
        scores, validation_losses = networks.validate()
        better = []
        for place, i in enumerate(trained):
            if courses[i].check(step, losses[place], scores[place], validation_losses[place]):
                better.append(place)
            courses[i].ended = courses[i].end(length)
        networks.keep(better)
        if rungs and step >= rungs[0]:
            rungs.pop(0)
            for i in _given_up(courses, members):
                courses[i].ended = courses[i].ended or "rung"
        places = [place for place, i in enumerate(trained) if not courses[i].ended]
        if len(places) < len(trained):
            trained = [trained[place] for place in places]
            networks.go_on(places)
    return courses


def _given_up(courses: Sequence[_Course], members: Sequence[Member]) -> Iterator[int]:
    """Yield who belongs to the worse half of the settings of its split that have not been given up; two are left at least."""
    for part in {member.split for member in members}:
        found: dict[tuple[float, str], list[int]] = {}
        for i, member in enumerate(members):
            if member.split == part and courses[i].ended != "rung":
                found.setdefault((member.learning_rate, member.gain), []).append(i)
        best = {
            setting: tuple(np.mean([(courses[i].validation, -courses[i].validation_loss) for i in some], axis=0))
            for setting, some in found.items()
        }
        left = max(2, (len(found) + 1) // 2)
        for setting in sorted(best, key=lambda setting: best[setting], reverse=True)[left:]:
            yield from found[setting]


# --- stacked --------------------------------------------------------------------------------------------------------------


class _Stacked:
    """Networks of one shape as one program: a leading axis counts them; forward and backward are written out.

    Autograd takes the same steps in more than twice the time: it records each operation, and keeps, copies and clears more
    than these few need.

    Parameters
    ----------
    sizes : sequence of int
        Of the layers.
    members : sequence of Member
        Those of one learning rate stand side by side, and of these those of one split.
    """

    def __init__(self, sizes: Sequence[int], made: Ingredients, members: Sequence[Member], data: _Tables, plan: Plan) -> None:
        self._data, self._plan = data, plan
        self._flat = data.features.flatten(1)
        # The outputs are transposed, (stack, outputs, rows): matrices of few columns are multiplied at a tenth of the speed.
        self._shapes = [(b, a) for a, b in pairwise(sizes)] + [(1, size) for size in sizes[1:-1]] + [(sizes[-1], 1)]
        self._layers = len(sizes) - 1
        self._made = made
        self._pull = operation(made.activation, ("x",), 1)  # f'(z) times a gradient, in one go
        self._settings = [parameter.default for parameter in made.activation.parameters.values()]
        self._seconds = [0.0] * len(members)
        self._numbers = list(range(len(members)))  # of those that are trained among all
        self._batches = [_Batches(data.parts[m.split].train, plan.batch_size, m.seed, m.split) for m in members]
        self._steps = torch.zeros((), dtype=torch.float32)
        self._lay_out(members, [[torch.zeros(len(members), *shape) for shape in self._shapes] for _ in range(4)])
        for i, member in enumerate(members):
            drawn = initial(sizes, made.gains[member.gain], member.seed, member.split)
            for weight, values in zip(self.weights, drawn, strict=True):
                weight[i] = values.T
        self._kept = [piece.clone() for piece in (*self.weights, *self.biases)]

    def _lay_out(self, members: Sequence[Member], pieces: Sequence[Sequence[torch.Tensor]]) -> None:
        """Take parameters, their gradients and Adam's two moments of some networks."""
        # One block of each: a single call steps all that have one learning rate.
        self.members = list(members)
        blocks = [torch.cat([piece.reshape(-1) for piece in each]) for each in pieces]
        lengths = [piece.numel() for piece in pieces[0]]
        self._views = [
            [piece.view(len(members), *shape) for piece, shape in zip(block.split(lengths), self._shapes, strict=True)]
            for block in blocks
        ]
        self.weights, self.biases = self._views[0][: self._layers], self._views[0][self._layers :]
        self._weight_gradients, self._bias_gradients = self._views[1][: self._layers], self._views[1][self._layers :]
        self._by_rate = [
            (rate, [[view[some] for view in views] for views in self._views])
            if len(members) > some.stop - some.start
            else (rate, [[block] for block in blocks])
            for rate, some in _runs([member.learning_rate for member in members])
        ]
        self.by_split = [(part, some) for (_, part), some in _runs([(m.learning_rate, m.split) for m in members])]
        self._class_weights = None
        if self._data.weights is not None:
            self._class_weights = self._data.weights[[member.split for member in members]]

    def forward(
        self, x: torch.Tensor, which: slice = slice(None)
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Return what goes into each layer, what goes into each activation, and the outputs, of some of the networks."""
        inputs, before = [x], []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            before.append(torch.baddbmm(bias[which], inputs[-1], weight[which].mT))
            inputs.append(self._made.activation(before[-1]))
        return inputs, before, torch.baddbmm(self.biases[-1][which], self.weights[-1][which], inputs[-1].mT)

    def gradients(self, before: Sequence[torch.Tensor], dy: torch.Tensor, which: slice = slice(None)) -> Iterator[torch.Tensor]:
        """Yield the gradient for what goes into each activation, the last one first, given that for the outputs."""
        dh = torch.bmm(dy.mT, self.weights[-1][which])
        for layer in reversed(range(len(before))):
            dz = self._pull(dh, before[layer], *self._settings)
            yield dz
            if layer:
                dh = torch.bmm(dz, self.weights[layer][which])

    def backward(self, inputs: Sequence[torch.Tensor], before: Sequence[torch.Tensor], dy: torch.Tensor) -> None:
        """Set the gradients of all parameters, given that for the outputs."""
        torch.bmm(dy, inputs[-1], out=self._weight_gradients[-1])
        torch.sum(dy, 2, keepdim=True, out=self._bias_gradients[-1])
        for layer, dz in zip(reversed(range(len(before))), self.gradients(before, dy), strict=True):
            torch.bmm(dz.mT, inputs[layer], out=self._weight_gradients[layer])
            torch.sum(dz, 1, keepdim=True, out=self._bias_gradients[layer])

    def step(self) -> None:
        """Take a step of Adam.

        It is the call that torch.optim.AdamW makes, without what is around it, which takes longer than the step of a small
        network, and which loads torch's compiler for two seconds.
        """
        self._steps += 1
        for rate, (parameters, gradients, means, squares) in self._by_rate:
            torch._fused_adamw_(
                parameters,
                gradients,
                means,
                squares,
                [],
                [self._steps] * len(parameters),
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=self._plan.weight_decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )

    def train(self, steps: int) -> list[float]:
        """Take so many steps with each network; return their mean training losses."""
        clock = time.process_time()  # not the wall's: other programs must not make an activation look slow
        total, seen = torch.zeros(len(self.members)), 0
        for _ in range(steps):
            rows = torch.stack([batches.next() for batches in self._batches])
            inputs, before, outputs = self.forward(_rows(self._flat, rows))
            loss, dy = self._loss_and_gradient(outputs, _rows(self._data.targets, rows))
            self.backward(inputs, before, dy / rows.shape[1])
            self.step()
            total += loss.sum(1)
            seen += rows.shape[1]
        share = (time.process_time() - clock) / len(self.members)
        for number in self._numbers:
            self._seconds[number] += share
        return (total / seen).tolist()

    def validate(self) -> tuple[list[float], list[float]]:
        """Return the validation score and loss of each network."""
        return self.evaluate("validation")

    def evaluate(self, which: str) -> tuple[list[float], list[float]]:
        """Return score and loss on some of the rows."""
        scores: list[float] = []
        losses: list[float] = []
        for part, some in self.by_split:
            rows = torch.from_numpy(getattr(self._data.parts[part], which))
            count = some.stop - some.start
            blocks = [self.forward(self._flat[block].expand(count, -1, -1), some)[-1] for block in rows.split(_BLOCK)]
            outputs = torch.cat(blocks, dim=2)
            scores += self._data.judge(outputs.mT, part, which)
            targets = self._data.targets[rows]
            losses += self._loss_and_gradient(outputs, targets.expand(count, *targets.shape), some)[0].double().mean(1).tolist()
        return scores, [loss if math.isfinite(loss) else math.inf for loss in losses]

    def keep(self, places: Sequence[int]) -> None:
        """Remember the weights that some of the networks have now."""
        if places:
            numbers = [self._numbers[place] for place in places]
            for kept, now in zip(self._kept, (*self.weights, *self.biases), strict=True):
                kept[numbers] = now[places]

    def go_on(self, places: Sequence[int]) -> None:
        """Train only these networks from now on."""
        self._numbers = [self._numbers[place] for place in places]
        self._batches = [self._batches[place] for place in places]
        some = [self.members[place] for place in places]
        self._lay_out(some, [[view[places] for view in views] for views in self._views])

    def seconds(self) -> list[float]:
        """Return the CPU time of each of all networks."""
        return self._seconds

    def restore(self, members: Sequence[Member]) -> None:
        """Return to all networks, each with the weights that were kept."""
        self._lay_out(members, [self._kept, self._kept])  # nobody takes a step any more

    def finite(self) -> list[bool]:
        """Whether all parameters of each network are finite."""
        seen = [torch.isfinite(p).flatten(1).all(1) for p in (*self.weights, *self.biases)]
        return torch.stack(seen).all(0).tolist()

    def probe(self) -> list[dict[str, Any]]:
        """Return the health of each network on training rows."""
        profiles = []
        for part, some in self.by_split:
            rows = torch.from_numpy(self._data.parts[part].train[:PROBED_ROWS])
            count = some.stop - some.start
            health = [Health(self._made.activation, stack=1, shape=self._made.shape) for _ in range(self._layers - 1)]
            _, before, outputs = self.forward(self._flat[rows].expand(count, -1, -1), some)
            targets = self._data.targets[rows]
            _, dy = self._loss_and_gradient(outputs, targets.expand(count, *targets.shape), some)
            for layer, z, gradient in zip(health[::-1], before[::-1], self.gradients(before, dy, some), strict=True):
                layer.update(z, gradient, slope=self._made.activation.derivative(z))
            seen = [layer.result() for layer in health]
            profiles += [_profile(seen, i) for i in range(count)]
        return profiles

    def _loss_and_gradient(
        self, outputs: torch.Tensor, targets: torch.Tensor, which: slice = slice(None)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of each sample, that of :func:`_loss`, and its gradient for the outputs (stack, outputs, rows)."""
        if not self._data.is_classes:
            off = outputs - targets.mT
            return off.square().mean(1), 2 / off.shape[1] * off
        logarithms, chosen = torch.log_softmax(outputs, 1), targets.unsqueeze(1)
        losses = -logarithms.gather(1, chosen).squeeze(1)
        gradient = logarithms.exp_()
        gradient.scatter_add_(1, chosen, gradient.new_full((1, 1, 1), -1.0).expand(chosen.shape))
        if self._class_weights is not None:
            weights = self._class_weights[which].gather(1, targets)
            losses, gradient = losses * weights, gradient * weights.unsqueeze(1)
        return losses, gradient


def _runs(values: Sequence[Any]) -> Iterator[tuple[Any, slice]]:
    """Yield each value of a sequence, and where it stands side by side."""
    start = 0
    for value, some in groupby(values):
        count = len(list(some))
        yield value, slice(start, start + count)
        start += count


@torch.no_grad()
def train_stack(stack: Stack, plan: Plan, made: Ingredients, data: _Tables) -> list[Result]:
    """Train the members of a stack as one batched program."""
    sizes = [data.features[0].numel(), *plan.widths, data.outputs]
    members = sorted(stack.members, key=lambda member: (member.learning_rate, member.split))
    networks = _Stacked(sizes, made, members, data, plan)
    # The test rows are for what is judged: what only chooses a setting has no score on them.
    judged = stack.kind == "judged"
    start = networks.probe() if judged else []
    courses = _follow(networks, members, data.length, compete=stack.kind == "tuning")
    networks.restore(members)
    end = networks.probe() if judged else []
    test = networks.evaluate("test")[0] if judged else [math.nan] * len(members)
    health = [{"start": a, "end": b} for a, b in zip(start, end, strict=True)] or [{}] * len(members)
    each = zip(members, courses, networks.finite(), test, health, networks.seconds(), strict=True)
    results = {member: _result(course, data, member, *rest) for member, course, *rest in each}
    return [results[member] for member in stack.members]


def _result(
    course: _Course,
    data: _Tables,
    member: Member,
    finite: bool,
    test: float,
    health: dict[str, Any],
    seconds: float,
) -> Result:
    return Result(
        status=course.status(data, member.split, finite=finite),
        score=test,
        validation=course.validation,
        validation_loss=course.validation_loss,
        steps=course.steps,
        best=course.best,
        ended=course.ended,
        loss=[_round(value) for value in course.loss],
        curve=[_round(value) for value in course.curve],
        health=health,
        seconds=seconds,
    )


def _rows(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return table[rows], several times faster."""
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, *table.shape[1:])


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


_NORMALISATION: dict[str, Callable[[int], torch.nn.Module]] = {
    "none": lambda width: torch.nn.Identity(),
    "batch": torch.nn.BatchNorm1d,
    "layer": torch.nn.LayerNorm,
}


class _Perceptron(torch.nn.Module):
    def __init__(self, sizes: Sequence[int], site: Site, normalisation: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(sizes))
        self.normalisations = torch.nn.ModuleList(_NORMALISATION[normalisation](width) for width in sizes[1:-1])
        self.site = site

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = self.layers
        for layer, normalise in zip(hidden, self.normalisations, strict=True):
            x = self.site(normalise(layer(x)))
        return last(x)  # type: ignore[no-any-return]


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


class _One:
    """A network of its own: a wide one, or of the user's model."""

    def __init__(self, stack: Stack, member: Member, plan: Plan, made: Ingredients, data: _Tables, factory: Factory | None):
        self._data, self._rows, self._made, self._member = data, data.parts[member.split], made, member
        self._features = data.features if factory else data.features.flatten(1)
        self._weights = None if data.weights is None else data.weights[member.split]
        self._site = Site(made.activation)
        # Whatever draws random numbers in the user's model, such as dropout, is the same for all activations.
        torch.manual_seed(int(np.random.SeedSequence((3, member.seed, member.split)).generate_state(1)[0]))
        self.model = self._make(plan, factory)
        self._random = torch.get_rng_state()
        _mark_axes(self.model)
        self._batches = _Batches(self._rows.train, plan.batch_size, member.seed, member.split)
        self._optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=member.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self._kept = deepcopy(self.model.state_dict())
        self.seconds = 0.0

    def _make(self, plan: Plan, factory: Factory | None) -> torch.nn.Module:
        gain, seed, part = self._made.gains[self._member.gain], self._member.seed, self._member.split
        if factory is None:
            sizes = [self._features.shape[1], *plan.widths, self._data.outputs]
            model = _Perceptron(sizes, self._site, plan.normalisation)
            for layer, weight in zip(model.layers, initial(sizes, gain, seed, part), strict=True):
                with torch.no_grad():
                    layer.weight.copy_(weight.T)  # type: ignore[operator]
                    layer.bias.zero_()  # type: ignore[operator]
            return model
        own = factory(self._site)
        check_is_module(own)
        if self._member.gain != "own":
            _initialise(own, gain, _generator(1, seed, part))
        return own

    def outputs(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what the model makes of some rows."""
        return check_outputs(self.model(self._features[rows]), len(rows), self._data.outputs, is_classes=self._data.is_classes)

    def _loss(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return _loss(outputs, self._data.targets[rows], self._weights, is_classes=self._data.is_classes)

    def train(self, steps: int) -> float:
        """Take so many steps; return the mean training loss."""
        torch.set_rng_state(self._random)
        clock = time.process_time()
        total, seen = 0.0, 0
        for _ in range(steps):
            rows = self._batches.next()
            loss = self._loss(self.outputs(rows), rows)
            self._optimiser.zero_grad(set_to_none=True)
            loss.mean().backward()
            self._optimiser.step()
            total += loss.sum().item()
            seen += len(rows)
        self.seconds += time.process_time() - clock
        self._random = torch.get_rng_state()
        return total / seen

    @torch.no_grad()
    def evaluate(self, which: str) -> tuple[float, float]:
        """Return score and loss on some of the rows."""
        rows = torch.from_numpy(getattr(self._rows, which))
        self.model.eval()
        outputs = torch.cat([self.outputs(block) for block in rows.split(_BLOCK)])
        self.model.train()
        loss = self._loss(outputs, rows).double().mean().item()
        return self._data.judge(outputs[None], self._member.split, which)[0], loss if math.isfinite(loss) else math.inf

    def keep(self) -> None:
        """Remember the weights of now."""
        self._kept = deepcopy(self.model.state_dict())

    def restore(self) -> None:
        """Return to them."""
        self.model.load_state_dict(self._kept)

    def finite(self) -> bool:
        """Whether all parameters are finite."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def probe(self) -> dict[str, Any]:
        """Return the health on training rows."""
        rows = torch.from_numpy(self._rows.train[:PROBED_ROWS])
        health: list[Health] = []
        self.model.eval()  # the statistics of normalisation layers are not the probe's to change
        for block in rows.split(_BLOCK):
            self._site.kept = []
            losses = self._loss(self.outputs(block), block)
            # What does not say where its units are is not observed: a guess from the number of axes would be a wrong answer.
            places = [(z, axis) for z, axis in self._site.kept if axis is not None and z.requires_grad]
            self._site.kept = None
            health = health or [Health(self._made.activation, shape=self._made.shape) for _ in places]
            if places:
                gradients = torch.autograd.grad(losses.sum(), [z for z, _ in places], allow_unused=True)
                for layer, (z, axis), gradient in zip(health, places, gradients, strict=True):
                    layer.update(z.detach(), gradient, axis=axis)
        self.model.train()
        return _profile([layer.result() for layer in health], ())


class _Several:
    """Networks of their own, one after the other between two checks."""

    def __init__(self, networks: Sequence[_One]) -> None:
        self.all = networks
        self._trained = list(networks)

    def train(self, steps: int) -> list[float]:
        return [one.train(steps) for one in self._trained]

    def validate(self) -> tuple[list[float], list[float]]:
        scores, losses = zip(*(one.evaluate("validation") for one in self._trained), strict=True)
        return list(scores), list(losses)

    def keep(self, places: Sequence[int]) -> None:
        for place in places:
            self._trained[place].keep()

    def go_on(self, places: Sequence[int]) -> None:
        self._trained = [self._trained[place] for place in places]

    def seconds(self) -> list[float]:
        return [one.seconds for one in self.all]


def check_is_module(model: Any) -> None:
    """Refuse what a factory made if it is no module."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"the model factory must return a torch.nn.Module, got {type(model).__name__}")


def check_outputs(out: Any, rows: int, outputs: int, *, is_classes: bool) -> torch.Tensor:
    """Return what a model put out as (rows, outputs)."""
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"the model must return a tensor, got {type(out).__name__}")
    if not is_classes and outputs == 1 and out.ndim == 1:
        out = out[:, None]
    if out.shape != (rows, outputs):
        what = "a number for each class" if is_classes else "a number for each target"
        raise ValueError(
            f"the model must return {outputs} numbers per row, {what}, got shape {tuple(out.shape)} for {rows} rows"
        )
    checked: torch.Tensor = out
    return checked


def train_loop(stack: Stack, plan: Plan, made: Ingredients, data: _Tables, factory: Factory | None = None) -> list[Result]:
    """Train the members of a stack one after the other: wide or normalised networks, and the user's own."""
    compete, judged = stack.kind == "tuning", stack.kind == "judged"
    # Those that compete are in memory together, and no more.
    parts = sorted({m.split for m in stack.members})
    groups = [[m for m in stack.members if m.split == part] for part in parts] if compete else [[m] for m in stack.members]
    results = {}
    for members in groups:
        networks = _Several([_One(stack, member, plan, made, data, factory) for member in members])
        starts = [one.probe() if judged else {} for one in networks.all]
        courses = _follow(networks, members, data.length, compete=compete)
        for one, member, course, start in zip(networks.all, members, courses, starts, strict=True):
            one.restore()
            health = {"start": start, "end": one.probe()} if judged else {}
            test = one.evaluate("test")[0] if judged else math.nan
            results[member] = _result(course, data, member, one.finite(), test, health, one.seconds)
    return [results[member] for member in stack.members]


# --- the door -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _cached_tables(dataset: Dataset, plan: Plan) -> _Tables:
    return tables(dataset, plan)


def train(
    stack: Stack,
    plan: Plan,
    made: Ingredients | None,
    datasets: Mapping[str, Dataset],
    factories: Mapping[str, Factory] | None = None,
) -> list[dict[str, Any]]:
    """Train a stack's members in the way that is fastest for them; what goes wrong is a result, too."""
    torch.set_num_threads(1)  # two threads each of two processes on two cores wait for one another most of the time
    dataset, factory = datasets[stack.dataset], factories[stack.dataset] if factories else None
    try:
        if made is None:
            return [_baseline(stack, member.split, plan, dataset) for member in stack.members]
        data = _cached_tables(dataset, plan)
        if factory is None and max(plan.widths) <= WIDEST_STACK and plan.normalisation == "none":
            results = train_stack(stack, plan, made, data)
        else:
            results = train_loop(stack, plan, made, data, factory)
    except Exception as error:  # noqa: BLE001 - the user's activation or model may raise anything; it is kept and counted
        text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        return [failed(text) for _ in stack.members]
    return [result.as_dict() for result in results]


def _baseline(stack: Stack, number: int, plan: Plan, dataset: Dataset) -> dict[str, Any]:
    clock = time.process_time()
    dataset = sampled(dataset, plan.rows)
    part = split(dataset, plan.splits)[number]
    metric = METRICS[plan.metric or DEFAULT[dataset.task]]
    test, validation = fit(stack.activation, dataset, part, metric, plan.class_weights)
    return Result("ok", test, validation, seconds=time.process_time() - clock).as_dict()
