"""The registry as the tests of torch run over it."""

from typing import Any

import pytest
import torch

import nonlin as nl

ENTRIES = {name: entry for name, entry in nl.activations.items() if isinstance(entry, nl.Elementwise) and entry.family != "own"}
over_entries = pytest.mark.parametrize("name", ENTRIES)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def numbers(name: str) -> dict[str, float]:
    given = {"threshold": {"threshold": 0.3, "value": -0.4}, "clipped_relu": {"max_value": 1.3}}
    return {n: p.default for n, p in ENTRIES[name].parameters.items() if p.default is not None} | given.get(name, {})


def points(name: str, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Operands for an entry, away from every kink: no default of a parameter is among them."""
    x = (torch.arange(-7, 8, dtype=dtype) * 0.3701 + 0.1113)[:, None]
    return [x, torch.linspace(-1.3, 2.1, 4, dtype=dtype)] if isinstance(ENTRIES[name], nl.Gated) else [x[:, 0]]


def elements(tensors: list[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


class Saved:
    """Lists the tensors that autograd keeps while it is entered, each storage once."""

    def __enter__(self) -> "Saved":
        self.tensors: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            self.tensors[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        self.hooks: Any = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def bytes_beside(self, *others: torch.Tensor) -> int:
        """Return how many bytes are kept besides those of some tensors."""
        known = {other.untyped_storage().data_ptr() for other in others}
        return sum(t.untyped_storage().nbytes() for pointer, t in self.tensors.items() if pointer not in known)
