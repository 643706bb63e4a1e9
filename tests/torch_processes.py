"""What the tests of distributed training run: python torch_processes.py RANK FOLDER KIND, in two processes."""

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

import nonlin.torch as nt


def model() -> nn.Module:
    torch.manual_seed(0)
    swish = nt.Swish(learnable=True, channels=16)
    hidden = [nn.Linear(8, 16), swish, nn.Linear(16, 16), nt.GELU(memory="low")]
    return nn.Sequential(*hidden, nt.GatedFeedForward(16, 32), nt.PReLU(16), nn.Linear(16, 4))


def data() -> torch.Tensor:
    return torch.randn(12, 8, generator=torch.Generator().manual_seed(1))


def loss(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x).square().mean()


def main(rank: int, folder: Path, kind: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    module = model()
    part = data()[6 * rank : 6 * rank + 6]
    if kind == "ddp":
        wrapped = nn.parallel.DistributedDataParallel(module)
        loss(wrapped, part).backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        state = module.state_dict()
    else:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (2,))
        fully_shard(module[4], mesh=mesh)
        fully_shard(module, mesh=mesh)
        loss(module, part).backward()
        gradients = {name: p.grad.full_tensor() for name, p in module.named_parameters()}
        options = StateDictOptions(full_state_dict=True)
        state = get_model_state_dict(module, options=options)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
        if rank != 0:
            state = {name: value.clone() for name, value in model().state_dict().items()}
        set_model_state_dict(module, state, options=options)
        state = get_model_state_dict(module, options=options)
    if rank == 0:
        torch.save({"gradients": gradients, "state": state}, folder / "result.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
