"""Two networks that do not learn: what is wrong, the cure in one line, before and after.

    python examples/is_it_alive.py            # a minute
    python examples/is_it_alive.py --quick    # smaller and shorter: how it goes, not what it comes to

docs/diagnosis.md has what it prints, and what that means.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812

import nonlin as nl
import nonlin.torch as nt

QUICK = "--quick" in sys.argv
WIDTH, EPOCHS = (32, 2) if QUICK else (256, 20)

images, digits = load_digits(return_X_y=True)
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
X, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(digits)[order]
(X, unseen), (y, truth) = X.split([1300, 497]), y.split([1300, 497])


def network(depth: int) -> nn.Sequential:
    """Return a relu network as PyTorch initialises it."""
    layers: list[nn.Module] = []
    for size in [64] + [WIDTH] * (depth - 1):
        layers += [nn.Linear(size, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> None:
    """Train, in the plainest way."""
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(X)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()


def tell(name: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> object:
    """Print how well a network does and how many of its units are of no use, and return its report."""
    report = nl.diagnose(model, X, y, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    right = (model(unseen).argmax(1) == truth).float().mean().item()
    first, last = report.layers[0], report.layers[-1]
    units = ", ".join(f"layer {row.layer}: {row.dead} dead, {row.always_on} always on" for row in (first, last))
    cause = next((f.rule for f in report.findings if f.severity != "info" and f.cause is None), "nothing")
    print(f"{name}: {right:.1%} right; of {WIDTH} units in {units}; cause: {cause}")
    return report


print("1. Ten layers, PyTorch's initialisation, SGD")
torch.manual_seed(0)
model = network(10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
train(model, optimizer, 64)
print(tell("trained in vain", model, optimizer))
nt.init_(model)  # the cure
tell("initialised with the exact gain", model, optimizer)
train(model, optimizer, 64)
tell("trained again", model, optimizer)

print("\n2. Four layers, Adam with a learning rate of 0.03")
torch.manual_seed(0)
healthy = network(4)
train(healthy, optimizer := torch.optim.Adam(healthy.parameters(), lr=1e-3), 16)
tell("a healthy run, at 0.001", healthy, optimizer)
torch.manual_seed(0)
model = network(4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
train(model, optimizer, 16)
report = tell("killed", model, optimizer)
print(report)
print(*nl.diagnosis.recycle(model, report, optimizer=optimizer, apply=True), sep="\n")  # the cure
for group in optimizer.param_groups:
    group["lr"] = 1e-3
train(model, optimizer, 16)
tell("recycled, and trained at 0.001", model, optimizer)
