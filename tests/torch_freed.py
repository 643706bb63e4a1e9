"""Everything with tensors whose storage was freed or made too small: a RuntimeError, wherever they are read."""

import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

import nonlin as nl
import nonlin.torch as nt
from torch_calls import functions, layers


def freed(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Copies of a tensor that have lost their memory, or a part of it."""
    gone, part = x.clone(), x.clone()
    gone.untyped_storage().resize_(0)
    part.untyped_storage().resize_(x.nbytes - 1)
    yield "freed", gone
    yield "too small", part
    room = torch.zeros(x.numel() + 3, dtype=x.dtype)
    view = room[3:].view(x.shape)
    room.untyped_storage().resize_(x.nbytes)
    yield "too small a storage of a view", view
    turned = x.T.clone(memory_format=torch.contiguous_format).T
    turned.untyped_storage().resize_(8)
    yield "too small and not contiguous", turned
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64):
        other = x.to(dtype, copy=True)
        other.untyped_storage().resize_(0)
        yield f"freed {dtype}", other


def refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except (RuntimeError, TypeError, ValueError):  # the latter two where integers are not taken in the first place
        return True
    return False


def say(label: str) -> None:
    sys.stderr.write(f"\n{label}")  # the last one is where a crash was


def main() -> int:
    calls = [*functions(), *layers()]
    wrong = []
    for rows in (4, 400):
        x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0))
        for label, call in calls:
            for how, given in islice(freed(x), None if rows == 4 else 1):
                for recorded in (False, True):
                    if recorded and not given.is_floating_point():
                        continue
                    say(f"{label}: {how}, recorded={recorded}")
                    if not refuses(lambda given=given, r=recorded, call=call: call(given.detach().requires_grad_(r))):
                        wrong.append(f"{label} of {tuple(x.shape)}: {how}, recorded={recorded}")
            wrong += [f"{label} of {tuple(x.shape)}: {what}" for what in backward(label, call, x)]
    say("parameters")
    x = torch.ones(4, 6)
    swish, learned = torch.ones(6), nt.Swish(learnable=True, channels=6)
    swish.untyped_storage().resize_(0)
    learned.beta.untyped_storage().resize_(0)
    mask = x > 0
    mask.untyped_storage().resize_(0)
    block = nt.GatedFeedForward(6, 8)
    block.up_proj.weight.untyped_storage().resize_(0)
    lone = nt.Softplus(learnable=True)
    lone.raw_beta.untyped_storage().resize_(0)
    others: dict[str, Callable[[], object]] = {
        "parameter": lambda: nl.swish(x, beta=swish),
        "learned": lambda: learned(x),
        "mask": lambda: nl.softmax(x, where=mask),
        "block": lambda: block(x),
        "within bounds": lambda: lone(x),
        "value": lambda: nl.swiglu(x[0], swish),
        "dx": lambda: nl.softmax.jvp(x[0], swish),
        "dy": lambda: nl.sparsemax.vjp(x[0], swish),
    }
    wrong += [label for label, act in others.items() if not refuses(act)]
    sys.stderr.write("\n".join(["", "wrong:", *wrong]))
    return len(wrong)


def backward(label: str, call: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[str]:
    """What goes wrong where the incoming gradient, or what was kept, has lost its memory."""
    recorded = x.clone().requires_grad_()
    y = call(recorded)
    if not y.requires_grad or not ours(y):
        return
    dy = torch.ones_like(y)
    dy.untyped_storage().resize_(0)
    say(f"{label}: gradient")
    if not refuses(lambda: y.backward(dy)):
        yield "gradient"
    y = call(recorded)
    kept = [t for t in y.grad_fn.saved_tensors if t is not None and t.numel()]  # type: ignore[union-attr]
    for tensor in kept:
        # The input may have been seen by NumPy, which forbids that it is freed.
        if tensor.untyped_storage().resizable():
            before = tensor.detach().clone()
            tensor.untyped_storage().resize_(0)
            say(f"{label}: kept")
            if not refuses(lambda: y.backward(torch.ones_like(y))):
                yield "kept"
            tensor.untyped_storage().resize_(before.nbytes)
            tensor.detach().copy_(before)  # it may be a parameter of a layer
            break


def ours(y: Tensor) -> bool:
    """Whether torch calls our code for the gradient, and does not differentiate its own operations."""
    return type(y.grad_fn).__name__ in {f"{name}Backward" for name in ("Elementwise", "Economical", "_Normalized")}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main() > 0)
