"""Everything with another default device: python torch_devices.py context|default. Tensors say where results belong."""

import sys
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

import nonlin.torch as nt
from torch_calls import functions, layers


def outcome(call: object, x: Tensor) -> list[Tensor]:
    """The value, and the gradients of x and of what learns."""
    assert callable(call)
    recorded = x.clone().requires_grad_()
    y = call(recorded)
    wanted = [recorded, *(call.parameters() if isinstance(call, nn.Module) else ())]
    gradients = torch.autograd.grad(y.sum(), wanted, allow_unused=True) if y.requires_grad else ()
    return [call(x).detach(), y.detach(), *(g for g in gradients if g is not None)]


def main(kind: str) -> int:
    calls = [*functions(), *layers()]
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    inputs = [torch.randn(rows, 6, generator=torch.Generator().manual_seed(0)) * 2 for rows in (4, 400)]
    elsewhere: AbstractContextManager[object] = torch.device("meta") if kind == "context" else nullcontext()
    if kind == "default":
        torch.set_default_device("meta")
    with elsewhere:  # first, before anything is kept for later calls
        found = {(label, len(x)): outcome(call, x) for label, call in calls for x in inputs}
        assert nt.gain(nn.LeakyReLU(0.2)) > 1
        nt.init_(model)
        nt.memory_report(model, inputs[0])
        nt.Rational.fitted("tanh")
        nt.replace(model, {nn.ReLU: "gelu"})
    torch.set_default_device("cpu")
    assert model(inputs[0]).isfinite().all()
    wrong = []
    for label, call in calls:
        for x in inputs:
            got, wanted = found[label, len(x)], outcome(call, x)
            if len(got) != len(wanted) or not all(
                g.device == x.device and torch.equal(g.nan_to_num(), w.nan_to_num()) for g, w in zip(got, wanted, strict=True)
            ):
                wrong.append(f"{label} of {tuple(x.shape)}")
    sys.stderr.write("\n".join(wrong))
    return len(wrong)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1]) > 0)
