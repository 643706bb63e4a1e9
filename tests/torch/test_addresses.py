"""Compiled code gets addresses of tensors that are in memory, and no others: whatever the default device, however freed."""

import pytest
import torch

import nonlin as nl
from torch_calls import in_a_process_of_its_own


@pytest.mark.parametrize("kind", ["context", "default"])
def test_another_default_device(kind: str) -> None:
    in_a_process_of_its_own("torch_devices.py", kind)


def test_tensors_whose_storage_was_freed() -> None:
    in_a_process_of_its_own("torch_freed.py")


def test_what_is_said_of_a_freed_tensor() -> None:
    x = torch.ones(3)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"gelu: x of shape \(3,\) and dtype torch.float32 has lost its memory: its storage"):
        nl.gelu(x)
