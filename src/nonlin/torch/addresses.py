"""Where compiled code finds a tensor's elements: only after a look whether they are there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_functorch = torch._C._functorch
#: The classes whose tensors are memory and nothing else.
PLAIN = (Tensor, torch.nn.Parameter)


def check_memory(tensor: Any, owner: str, name: str) -> None:
    """Raise a RuntimeError if the elements of an ordinary tensor are not in memory any more.

    A tensor keeps its shape when its storage is freed or made smaller (``x.untyped_storage().resize_(0)``, as FSDP does with
    parameters between uses); whoever reads it then ends the process, or reads what belongs to somebody else. What is no
    tensor, or one of another kind, is passed over.

    Parameters
    ----------
    tensor : object
    owner, name : str
        What it is, for the message: the activation, and which of its operands.
    """
    if type(tensor) not in PLAIN or not tensor.is_cpu or tensor.layout is not torch.strided:
        return
    try:
        held = tensor.untyped_storage().nbytes()
    except NotImplementedError:  # within a functional transform it stands for another one
        if _functorch.is_functorch_wrapped_tensor(tensor):
            check_memory(_functorch.get_unwrapped(tensor), owner, name)
        return
    # The usual case first: no offset, and no gaps.
    if held < tensor.nbytes or not tensor.is_contiguous() or tensor.storage_offset():
        needed = _bytes_reached(tensor)
        if held < needed:
            raise RuntimeError(
                f"{owner}: {name} of shape {tuple(tensor.shape)} and dtype {tensor.dtype} has lost its memory: its storage "
                f"holds {held} of the {needed} bytes that it needs (was it freed by resize_, as FSDP does between uses?)"
            )


def _bytes_reached(tensor: Tensor) -> int:
    """Return up to which byte of its storage a tensor's elements reach."""
    if not tensor.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int((tensor.storage_offset() + last + 1) * tensor.element_size())


def address(tensor: Tensor, owner: str, name: str) -> int:
    """Return where a tensor's elements begin, for compiled code that will read or write them.

    Raises
    ------
    RuntimeError
        If they are not in this machine's memory.
    """
    check_memory(tensor, owner, name)
    place = tensor.data_ptr()
    if not tensor.is_cpu or (not place and tensor.numel()):
        raise RuntimeError(f"{owner}: {name} of shape {tuple(tensor.shape)} on {tensor.device} is not in ordinary memory")
    return place
