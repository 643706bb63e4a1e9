"""False alarms of nonlin.diagnose on healthy models, and how often it names the cause of a planted fault.

    python benchmarks/diagnosis.py                 # the cases that the rules were made with
    python benchmarks/diagnosis.py --held-out      # other seeds, widths and data, looked at only to judge
    python benchmarks/diagnosis.py --overhead      # what it costs, and what a monitor costs

An alarm is a finding worse than ``info``. A cause is right if the first finding is the rule of the fault that was planted;
units are right if the indices are those of a plain computation over all data.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

import nonlin as nl

CE = nn.CrossEntropyLoss()
HELD_OUT = False


@dataclass
class Case:
    name: str
    model: nn.Module
    x: torch.Tensor
    y: torch.Tensor
    loss: Any = CE
    optimizer: Any = None
    rule: str | None = None
    layer: str | None = None
    units: frozenset[int] | None = None


def table(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = {"digits": load_digits, "cancer": load_breast_cancer, "wine": load_wine}[name](return_X_y=True)
    x = x / 16 if name == "digits" else StandardScaler().fit_transform(x)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def train(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    steps: int = 200,
    rate: float = 2e-3,
    kind: Any = torch.optim.Adam,
    loss: Any = CE,
    **keywords: Any,
) -> Any:
    optimizer = kind(model.parameters(), rate, **keywords)
    model.train()
    for step in range(steps):
        rows = torch.randint(len(x), (64,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return optimizer


def mlp(
    x: torch.Tensor,
    y: torch.Tensor,
    act: Callable[[], nn.Module] = nn.ReLU,
    depth: int = 2,
    width: int = 48,
    norm: Any = None,
    drop: float = 0,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Linear(x.shape[1] if i == 0 else width, width))
        if norm is not None:
            layers.append(norm(width))
        layers.append(act())
        if drop:
            layers.append(nn.Dropout(drop))
    return nn.Sequential(*layers, nn.Linear(width, int(y.max()) + 1))


class Cnn(nn.Module):
    def __init__(self, act: Callable[[], nn.Module] = nn.ReLU, norm: bool = False, channels: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(2 * channels)] if norm else [nn.Identity()] * 2)
        self.act, self.head = act(), nn.Linear(2 * channels * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, 1, 8, 8)
        x = nn.functional.max_pool2d(self.act(self.norms[0](self.first(x))), 2)
        x = nn.functional.max_pool2d(self.act(self.norms[1](self.second(x))), 2)
        return self.head(x.flatten(1))


class Transformer(nn.Module):
    def __init__(self, act: str = "relu", first: bool = False, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        layer = nn.TransformerEncoderLayer(width, 2, 4 * width, 0.1, act, batch_first=True, norm_first=first)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(x.reshape(-1, 8, 8))).mean(1))


class Residual(nn.Module):
    def __init__(self, x: torch.Tensor, y: torch.Tensor, width: int = 32, depth: int = 6) -> None:
        super().__init__()
        self.inner = nn.Linear(x.shape[1], width)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
                for _ in range(depth)
            ]
        )
        self.head = nn.Linear(width, int(y.max()) + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Gated(nn.Module):
    def __init__(self, x: torch.Tensor, y: torch.Tensor, width: int = 48) -> None:
        super().__init__()
        self.gate, self.value, self.down = nn.Linear(x.shape[1], width), nn.Linear(x.shape[1], width), nn.Linear(width, 32)
        self.head = nn.Linear(32, int(y.max()) + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.silu(self.down(nn.functional.silu(self.gate(x)) * self.value(x))))


class Mnist(nn.Module):
    """The network of pytorch/examples, mnist/main.py, for images of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(256, 128), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu(self.conv1(x.reshape(-1, 1, 8, 8)))
        x = nn.functional.max_pool2d(nn.functional.relu(self.conv2(x)), 2)
        x = nn.functional.relu(self.fc1(torch.flatten(self.dropout1(x), 1)))
        return nn.functional.log_softmax(self.fc2(self.dropout2(x)), dim=1)


class Ours(nn.Module):
    """Functions and pairs of ours, called in forward."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, width: int = 48) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(x.shape[1], width), nn.Linear(width, 2 * width)
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, int(y.max()) + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nl.swiglu(self.second(self.norm(nl.gelu(self.first(x))))))


ACTIVATIONS = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "selu": nn.SELU,
    "leaky": nn.LeakyReLU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
}


def healthy() -> Iterator[Case]:
    digits, other = table("digits"), table("wine" if HELD_OUT else "cancer")
    width = 40 if HELD_OUT else 64
    seed = 900 if HELD_OUT else 0

    def case(name: str, make: Callable[[], nn.Module], data: Any = digits, steps: int = 200, **keywords: Any) -> Case:
        nonlocal seed
        seed += 1
        torch.manual_seed(seed)
        model = make()
        optimizer = train(model, *data, steps=steps, **keywords) if steps else None
        return Case(name, model, *data, loss=keywords.get("loss", CE), optimizer=optimizer)

    for name, act in ACTIVATIONS.items():
        yield case(f"mlp-{name}", lambda act=act: mlp(*digits, act, 2, width))
        if name != "sigmoid":
            yield case(f"mlp4-{name}", lambda act=act: mlp(*digits, act, 4, width))
        yield case(f"table-{name}", lambda act=act: mlp(*other, act, 2, 32), other)
    for name in ("relu", "gelu", "tanh"):
        yield case(f"fresh-{name}", lambda name=name: mlp(*digits, ACTIVATIONS[name], 3, width), steps=0)
        yield case(f"cnn-{name}", lambda name=name: Cnn(ACTIVATIONS[name]))
        yield case(f"cnn-norm-{name}", lambda name=name: Cnn(ACTIVATIONS[name], True))
    for norm in (nn.BatchNorm1d, nn.LayerNorm):
        yield case(f"deep-{norm.__name__}", lambda norm=norm: mlp(*digits, nn.ReLU, 8, width, norm))
        yield case(f"fresh-{norm.__name__}", lambda norm=norm: mlp(*digits, nn.ReLU, 8, width, norm), steps=0)
    yield case("dropout", lambda: mlp(*digits, nn.ReLU, 2, width, drop=0.5))
    yield case("sgd", lambda: mlp(*digits, nn.ReLU, 2, width), kind=torch.optim.SGD, rate=0.1, steps=400)
    for name in ("relu", "gelu"):
        yield case(f"transformer-{name}", lambda name=name: Transformer(name), steps=100)
        yield case(f"transformer-first-{name}", lambda name=name: Transformer(name, True), steps=100)
    yield case("residual", lambda: Residual(*digits), steps=150)
    yield case("residual-fresh", lambda: Residual(*digits), steps=0)
    yield case("gated", lambda: Gated(*digits))
    yield case("logits-linear", lambda: nn.Linear(64, 10))
    generator = torch.Generator().manual_seed(1)
    x, y = digits
    shuffled = case(
        "shuffled-labels", lambda: mlp(*digits, nn.ReLU, 2, width), (x, y[torch.randperm(len(y), generator=generator)])
    )
    yield shuffled
    for name in ("silu", "leaky", "elu"):
        yield case(f"cnn-{name}", lambda name=name: Cnn(ACTIVATIONS[name]))
        yield case(f"cnn-norm-{name}", lambda name=name: Cnn(ACTIVATIONS[name], True))
    sgd = {"kind": torch.optim.SGD, "momentum": 0.9}
    yield case("published-mnist", Mnist, loss=nn.NLLLoss(), kind=torch.optim.Adadelta, rate=1.0, steps=150)
    yield case("published-quickstart", lambda: nn.Sequential(nn.Flatten(), mlp(*digits, nn.ReLU, 2, 512)), rate=0.05, **sgd)
    yield case("momentum", lambda: mlp(*digits, nn.ReLU, 3, width), rate=0.02, **sgd)
    yield case("decay", lambda: mlp(*digits, nn.GELU, 3, width), kind=torch.optim.AdamW, weight_decay=0.1)
    yield case("wide", lambda: mlp(*digits, nn.ReLU, 3, 256), rate=1e-3)
    signs = (2 * x - 1, y)
    yield case("tanh-of-signs", lambda: mlp(*signs, nn.Tanh, 3, width), signs)
    yield case("deeper-tanh", lambda: mlp(*digits, nn.Tanh, 6, width))
    yield case("deeper-selu", lambda: mlp(*digits, nn.SELU, 6, width))
    yield case("ours", lambda: Ours(*digits))
    yield case("ours-fresh", lambda: Ours(*digits), steps=0)
    numbers, goal = other[0], other[0][:, :1] - 2 * other[0][:, 1:2].tanh()
    for name in ("relu", "silu"):
        regression = (numbers, goal)
        made = lambda name=name: mlp(numbers, torch.zeros(1), ACTIVATIONS[name], 2, 32)  # noqa: E731
        yield case(f"regression-{name}", made, regression, loss=nn.MSELoss())
    binary = (x, (y[:, None] > 1).float() if HELD_OUT else (y[:, None] > 4).float())
    yield case("binary", lambda: mlp(x, torch.zeros(1), nn.ReLU, 2, width), binary, loss=nn.BCEWithLogitsLoss())
    yield case("too-small", lambda: mlp(*digits, nn.ReLU, 1, 5))


def truth(model: nn.Sequential, x: torch.Tensor, index: int, what: Callable[[torch.Tensor], torch.Tensor]) -> frozenset[int]:
    """Return the units of a layer of a Sequential in a state, by plain computation."""
    with torch.no_grad():
        z = model.eval()[: index + 1](x)
    return frozenset(int(i) for i in what(z).nonzero().flatten())


def faults() -> Iterator[Case]:
    x, y = data = table("cancer" if HELD_OUT else "digits")
    width, first = (40, 700) if HELD_OUT else (64, 100)
    classes = int(y.max()) + 1

    for number, depth in enumerate((2, 3)):
        seed = first + 10 * number
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)

        def chosen(k: int) -> torch.Tensor:
            return torch.randperm(width, generator=generator)[:k]  # noqa: B023

        for name, rule, bias, act, what in (
            ("dead", "dead-units", -60.0, nn.ReLU, lambda z: (z <= 0).all(0)),
            ("always-on", "always-on-units", 60.0, nn.ReLU, lambda z: (z > 0).all(0)),
            ("saturated", "saturated-units", 60.0, nn.Tanh, lambda z: (z.abs() > 2.1783).double().mean(0) >= 0.95),
            ("non-finite", "non-finite", float("nan"), nn.ReLU, lambda z: z.isnan().any(0)),
        ):
            model = mlp(*data, act, depth, width)
            if number:
                train(model, *data)
            index = 2 * (depth - 1)
            with torch.no_grad():
                model[index].bias[chosen(7)] = bias
            yield Case(f"{name}-{depth}", model, x, y, rule=rule, layer=str(index), units=truth(model, x, index, what))
        model = mlp(*data, nn.ReLU, depth, width)
        with torch.no_grad():
            model[0].weight[3] = model[0].weight[9]
            model[0].bias[3] = model[0].bias[9]
        yield Case(f"tied-{depth}", model, x, y, rule="tied-units", layer="0", units=frozenset({3, 9}))

        def scaled(factor: float, deep: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
            made = mlp(*data, act, deep, width)
            for layer in made:
                if isinstance(layer, nn.Linear):
                    layer.weight.data.mul_(factor)
            return made

        yield Case(
            f"default-{8 + 2 * number}", mlp(*data, nn.ReLU, 8 + 2 * number, width), x, y, rule="initialisation-mismatch"
        )
        yield Case(f"small-{depth}", scaled(0.02, depth + 2), x, y, rule="initialisation-mismatch")
        yield Case(f"large-{depth}", scaled(15.0, depth + 3), x, y, rule="initialisation-mismatch")
        yield Case(f"large-tanh-{depth}", scaled(25.0, depth + 1, nn.Tanh), x, y, rule="initialisation-mismatch")
        deep = mlp(*data, nn.Sigmoid, 8 + number, width)
        nl_torch_init(deep)
        yield Case(f"sigmoid-{8 + number}", deep, x, y, rule="vanishing-gradient")
        killed = mlp(*data, nn.ReLU, depth, width)
        optimizer = train(killed, x, y, steps=150, rate=0.5)
        yield Case(f"killed-{depth}", killed, x, y, rule="learning-rate-too-high", optimizer=optimizer)
        yield Case(f"killed-blind-{depth}", killed, x, y, rule="learning-rate-too-high")
        fresh = mlp(*data, nn.GELU, depth, width)
        yield Case(
            f"rate-{depth}", fresh, x, y, rule="learning-rate-too-high", optimizer=torch.optim.AdamW(fresh.parameters(), 0.3)
        )
        fresh = mlp(*data, nn.ReLU, depth, width)
        yield Case(
            f"rate-sgd-{depth}",
            fresh,
            x,
            y,
            rule="learning-rate-too-high",
            optimizer=torch.optim.SGD(fresh.parameters(), 100.0),
        )
        for scale in (255.0, 30.0):
            yield Case(f"unscaled-{scale:g}-{depth}", mlp(*data, nn.ReLU, depth, width), x * scale, y, rule="unscaled-input")
        yield Case(f"constant-{depth}", mlp(*data, nn.ReLU, depth, width), x[:1].expand(len(x), -1), y, rule="constant-input")
        frozen = mlp(*data, nn.ReLU, depth, width)
        frozen[2].requires_grad_(False)
        yield Case(f"frozen-{depth}", frozen, x, y, rule="frozen-layer", layer="2")
        some = mlp(*data, nn.ReLU, depth, width)
        partial = torch.optim.Adam([p for n, p in some.named_parameters() if not n.startswith("0.")], 1e-3)
        yield Case(f"forgotten-{depth}", some, x, y, rule="frozen-layer", layer="0", optimizer=partial)
        for name, end in (("softmax", nn.Softmax(-1)), ("relu", nn.ReLU()), ("sigmoid", nn.Sigmoid())):
            yield Case(
                f"end-{name}-{depth}", mlp(*data, nn.ReLU, depth, width).append(end), x, y, rule="wrong-output-activation"
            )
        yield Case(f"nll-{depth}", mlp(*data, nn.ReLU, depth, width), x, y, loss=nn.NLLLoss(), rule="wrong-output-activation")
        yield Case(
            f"mse-sigmoid-{depth}",
            mlp(x, torch.zeros(1), nn.ReLU, depth, width).append(nn.Sigmoid()),
            x,
            5 * x[:, :1] + 3,
            loss=nn.MSELoss(),
            rule="wrong-output-activation",
        )
        yield Case(
            f"broadcast-{depth}",
            mlp(x, torch.zeros(1), nn.ReLU, depth, width),
            x,
            y.float(),
            loss=nn.MSELoss(),
            rule="wrong-loss",
        )
        linear = mlp(*data, nn.ReLU, depth, width)
        linear[1] = nn.Identity()
        yield Case(f"missing-{depth}", linear, x, y, rule="missing-activation", layer="0")
        yield Case(f"dropout-{depth}", mlp(*data, nn.ReLU, depth, width, drop=0.95), x, y, rule="excessive-dropout")
        normed = mlp(*data, nn.ReLU, depth, width, nn.BatchNorm1d)
        train(normed, x, y, steps=50)
        for module in normed:
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.add_(40.0)
        yield Case(f"statistics-{depth}", normed, x, y, rule="batch-norm-statistics")
        yield Case(f"narrow-{depth}", mlp(*data, nn.ReLU, 10 + depth, 2), x, y, rule="born-dead")
        cut = Cut(x, classes, width)
        yield Case(f"detached-{depth}", cut, x, y, rule="disconnected", layer="first")
        bad = x.clone()
        bad[5, 2] = torch.nan
        yield Case(f"nan-data-{depth}", mlp(*data, nn.ReLU, depth, width), bad, y, rule="non-finite", layer="input")
        half = mlp(*data, nn.ReLU, depth, width)
        with torch.no_grad():
            half[2].weight.mul_(40_000)
        yield Case(f"half-{depth}", half.half(), x.half() * 20, y, rule="float16-overflow")


class Cut(nn.Module):
    def __init__(self, x: torch.Tensor, classes: int, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(x.shape[1], width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)).detach())


def nl_torch_init(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)


def median_times(works: list[Callable[[], Any]], rounds: int = 7) -> list[float]:
    """Return the median time of each, one after the other in turn: other work on the machine meets all alike."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 2):
        for work, taken in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            if number >= 2:
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def overhead() -> None:
    """Print the cost of one look of a monitor in steps of training, and of a diagnosis in passes forward and backward."""
    images = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    images += [nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
    cnn = nn.Sequential(*images, nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Linear(128, 10))
    y = torch.randint(0, 10, (128,))
    table = torch.randn(128, 784)
    for name, model, x in (("MLP", mlp(table, y, nn.ReLU, 4, 512), table), ("CNN", cnn, torch.randn(128, 3, 32, 32))):
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)

        def step() -> None:
            optimizer.zero_grad()  # noqa: B023
            CE(model(x), y).backward()  # noqa: B023
            optimizer.step()  # noqa: B023

        data = [(x, y)] * 4

        def pass_over() -> None:
            for inputs, target in data:  # noqa: B023
                torch.autograd.grad(CE(model(inputs), target), list(model.parameters()))  # noqa: B023

        monitor = nl.diagnosis.Monitor(model, every=1, window=10**6)

        def looked_at() -> None:
            with monitor:  # noqa: B023
                step()

        monitor._judge = lambda: None  # type: ignore[method-assign]  # at each exit it would
        works = [step, looked_at, pass_over, lambda: nl.diagnose(model, data, loss=CE)]  # noqa: B023
        plain, watched, once, whole = median_times(works)
        look = watched / plain - 1
        print(f"{name}: step {plain * 1e3:.1f} ms; a look costs {look:.2f} steps: {look / 50:.1%} of the time at every 50")
        print(f"{name}: forward and backward {once * 1e3:.1f} ms; a diagnosis takes {whole / once:.2f} times as long")


def main() -> None:
    global HELD_OUT
    parser = argparse.ArgumentParser()
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--overhead", action="store_true")
    options = parser.parse_args()
    HELD_OUT = options.held_out
    torch.set_num_threads(1)
    if options.overhead:
        overhead()
        return
    started = time.perf_counter()
    alarms = count = 0
    for case in healthy():
        report = nl.diagnose(case.model, case.x, case.y, loss=case.loss, optimizer=case.optimizer)
        worse = [f for f in report.findings if f.severity != "info"]
        count += 1
        if worse:
            alarms += 1
            print(f"false alarm: {case.name}: {worse[0].rule}: {worse[0].layer}: {worse[0].message}")
    print(f"healthy: {alarms} of {count} with an alarm ({alarms / count:.1%})")
    right = total = exact = planted = hits = said = there = 0
    for case in faults():
        report = nl.diagnose(case.model, case.x, case.y, loss=case.loss, optimizer=case.optimizer)
        if case.units is not None:  # a share is no alarm; what is asked is which units
            found = frozenset(i for f in report.of(case.rule or "") if f.layer == case.layer for i in f.units or ())
            planted += 1
            exact += found == case.units
            hits, said, there = hits + len(found & case.units), said + len(found), there + len(case.units)
            if found != case.units:
                print(f"units: {case.name}: found {sorted(found)}, planted {sorted(case.units)}")
            continue
        worse = [f for f in report.findings if f.severity != "info"]
        total += 1
        ok = bool(worse) and worse[0].rule == case.rule and (case.layer is None or worse[0].layer == case.layer)
        right += ok
        if not ok:
            print(f"cause: {case.name}: wanted {case.rule}, got {[(f.rule, f.layer) for f in worse[:4]]}")
    print(f"faults: {right} of {total} causes right ({right / total:.1%})")
    print(f"units: {exact} of {planted} index sets equal; precision {hits / max(said, 1):.3f}, recall {hits / there:.3f}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
