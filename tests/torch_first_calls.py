"""Every entry point as the first thing that a process does with tensors: it has imported torch and nonlin, and no room of ours.

Each runs in a child of its own of this process.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator

import torch
import torch._dynamo  # which children would import one by one
from torch import Tensor

import nonlin as nl

X = torch.linspace(-3, 3, 24).reshape(4, 6)
GIVEN = {"threshold": {"threshold": 0.3, "value": -0.4}, "clipped_relu": {"max_value": 1.3}, "maxout": {"groups": 2}}


def functions() -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    families: dict[str, list[str]] = {}
    for name, entry in nl.activations.items():
        families.setdefault(entry.family, []).append(name)
    rows = [name for name, entry in nl.activations.items() if isinstance(entry, nl.AxisFunction)]
    for name in [*(names[0] for names in families.values()), *rows, "gelu"]:
        entry, given = nl.activations[name], GIVEN.get(name, {})
        yield name, lambda x, f=entry, given=given: f(x, **given)
    yield "derivative", lambda x: nl.gelu.derivative(x)
    yield "second derivative", lambda x: nl.elu.derivative(x, order=2)
    yield "derivative by a parameter", lambda x: nl.elu.derivative(x, wrt="alpha")
    yield "value and derivative", lambda x: torch.stack(nl.silu.value_and_derivative(x))
    yield "parameter", lambda x: nl.leaky_relu(x, negative_slope=0.2)
    yield "parameter by position", lambda x: nl.leaky_relu(x, 0.2)
    yield "parameter that is a tensor", lambda x: nl.leaky_relu(x, negative_slope=x[0].sigmoid())
    steep, clamped = nl.leaky_relu.with_(negative_slope=0.2), nl.swiglu_clamped.with_(limit=1.0)
    yield "with_", lambda x: steep(x)
    yield "with_ of a pair", lambda x: clamped(x)

    @nl.activation
    def tuesday(x, beta=nl.Parameter(1.0, ge=0)):  # type: ignore[no-untyped-def]
        return x * nl.tanh(nl.softplus(beta * x))

    yield "own", lambda x: tuesday(x)
    yield "own with a parameter", lambda x: tuesday(x, beta=2.0)
    yield "pair of two", lambda x: nl.swiglu(x, x + 1)
    yield "pair along an axis", lambda x: nl.swiglu(x, axis=0, gate="second")
    yield "pair's derivative", lambda x: nl.geglu.derivative(x, x + 1, wrt="value")
    yield "softmax with a temperature", lambda x: nl.softmax(x, temperature=0.3)
    yield "entmax15 with a mask and a temperature", lambda x: nl.entmax15(x, axis=0, where=x > -2, temperature=2)
    yield "maxout by position", lambda x: nl.maxout(x, 3)
    yield "get", lambda x: nl.get("relu2")(x)


def compiled(function: Callable[[Tensor], Tensor]) -> Tensor:
    x = X.clone().requires_grad_()
    return torch.compile(function, fullgraph=True, backend="eager")(x)


class Module(torch.nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


WAYS: dict[str, Callable[[Callable[[Tensor], Tensor]], Tensor]] = {
    "compile": compiled,
    "export": lambda f: torch.export.export(Module(f), (X,), strict=False).module()(X),
    "strict export": lambda f: torch.export.export(Module(f), (X,), strict=True).module()(X),
    "vmap": lambda f: torch.func.vmap(f)(X[None])[0],
    "grad": lambda f: (torch.func.grad(lambda z: f(z).sum())(X), f(X))[1],
    "jvp": lambda f: torch.func.jvp(f, (X,), (X,))[0],
}


def in_a_child(label: str, act: Callable[[], None]) -> bool:
    """Whether something succeeds in a child process."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        assert not any(name.startswith("nonlin.torch") for name in sys.modules)
        act()
    except BaseException:  # noqa: BLE001 - whatever it is, it is told and ends the child
        sys.stderr.write(f"\n{label}: {traceback.format_exc(limit=3)[-1500:]}")
        os._exit(1)
    os._exit(0)


def main() -> int:
    wrong = []
    few = ("gelu", "softmax", "sparsemax", "own", "derivative", "softmax with a temperature", "pair of two")
    for way, through in WAYS.items():
        for label, function in functions():
            if way != "compile" and label not in few:
                continue

            def act(function: Callable[[Tensor], Tensor] = function, through: object = through) -> None:
                assert callable(through)
                torch.testing.assert_close(through(function).detach(), function(X))

            if not in_a_child(f"{way} of {label}", act):
                wrong.append(f"{way} of {label}")
    sys.stderr.write("\n".join(["", "wrong:", *wrong]))
    return len(wrong)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main() > 0)
