"""Two processes give the gradients of one; learned parameters are sharded and restored."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import torch_processes

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without distributed")
TIMEOUT = 150


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_give_the_gradients_of_one(kind: str, tmp_path: Path) -> None:
    script = torch_processes.__file__
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), str(tmp_path), kind], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    module = torch_processes.model()
    torch_processes.loss(module, torch_processes.data()).backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(result["gradients"][name], parameter.grad, atol=1e-6, rtol=1e-4)
    for name, value in module.state_dict().items():
        assert torch.equal(result["state"][name], value), name
