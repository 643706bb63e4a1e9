"""PyTorch: functions and layers in an nn.Module, initial weights with the exact gain, another activation throughout."""

import torch
from torch import nn

import nonlin as nl
import nonlin.torch as nt


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 32)
        self.activation = nt.GELU()
        self.second = nn.Linear(32, 32)
        self.slope = nt.PReLU(32)
        self.third = nn.Linear(32, 2)

    def forward(self, x):
        return nl.log_softmax(self.third(self.slope(self.second(self.activation(self.first(x))))))


torch.manual_seed(0)
model = Network()
print(*nt.init_(model), sep="\n")
x = torch.randn(256, 2)
y = (x[:, 0] * x[:, 1] > 0).long()
optimizer = torch.optim.Adam(model.parameters(), 0.01)
losses = []
for _ in range(100):
    optimizer.zero_grad()
    loss = nn.functional.nll_loss(model(x), y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.3f}, after a hundred steps {losses[-1]:.3f}")
assert losses[-1] < losses[0] / 2

print(nt.replace(model, {"gelu": "silu"}))
