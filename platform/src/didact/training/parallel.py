"""The learner on all processes of a run: replicated (DDP) or sharded (FSDP2), compiled and recomputed by block."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from didact.contracts import BackboneModule
from didact.experiment import Training
from didact.learner import Learner
from didact.machine.distributed import World
from didact.tensors import Batch, Loss

# buffers, such as a batch norm's averages, are equal on all processes by themselves; PyTorch has renamed the setting
_RENAMED = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_KEEPS_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _RENAMED else "broadcast_buffers": False}


class Engine:
    """Runs a learner on this process's share of a batch; its gradients come out added up over all processes.

    The learner itself stays what it is: the same modules under the same names, whose parameters hold their own shard
    where it is sharded.

    Attributes:
        sharded: whether each process holds a shard of every weight.

    Args:
        learner: on its device. Sharding happens in place.
        training: how.
        world: over which processes.
    """

    def __init__(self, learner: Learner, training: Training, world: World) -> None:
        self.world = world
        self.module: nn.Module = learner
        device = next(learner.parameters()).device
        if training.recompute:
            recompute_blocks(learner)
        if training.compile:
            compile_blocks(learner)
        self.sharded = world.size > 1 and training.parallel == "fsdp"
        if self.sharded:
            shard(learner, device, world)
        elif world.size > 1:
            self.module = DistributedDataParallel(
                learner,
                device_ids=[device.index] if device.type == "cuda" else None,
                find_unused_parameters=True,  # a block that layer drop skips, a mask embedding where nothing is hidden
                **_KEEPS_BUFFERS,
                gradient_as_bucket_view=True,
            )

    def __call__(self, batch: Batch, totals: Mapping[str, int]) -> tuple[Tensor, Loss]:
        """The loss of a part of the global batch, of which the parts of all processes add up to the whole's.

        Its gradient is that times the number of processes, over which PyTorch's engines average.
        """
        total, loss = self.module(batch, totals)
        return total * self.world.size, loss

    def gathering(self, last: bool) -> AbstractContextManager[None]:
        """Where a part's loss is computed and its gradient taken: only the last part's gathers from all processes."""
        if isinstance(self.module, DistributedDataParallel):
            return contextlib.nullcontext() if last else self.module.no_sync()
        if self.sharded:
            self.module.set_requires_gradient_sync(last)  # type: ignore[operator]  # given by `fully_shard`
        return contextlib.nullcontext()


def shard(learner: Learner, device: torch.device, world: World) -> None:
    """Shards a learner in place, block by block, the teacher's too: each process holds its part of every weight."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world.size,))
    for parameter in learner.parameters():  # a weight kept with its channels last cannot be cut into rows
        parameter.data = parameter.data.contiguous()
    for block in _blocks(learner):
        fully_shard(block, mesh=mesh)
    fully_shard(learner, mesh=mesh)


def compile_blocks(learner: Learner) -> None:
    """Compiles every block of every backbone in the learner, the teacher's included: one kernel cache for all."""
    for block in _blocks(learner):
        block.compile()


def recompute_blocks(learner: Learner) -> None:
    """Has each block that learns computed again in the backward pass instead of kept (Chen et al. 2016).

    The blocks of every backbone in the learner, a predictor's too; the teacher's keep nothing anyway.
    """
    from torch.utils.checkpoint import checkpoint

    for block in _blocks(learner):
        if any(parameter.requires_grad for parameter in block.parameters()):
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def whole(tensor: Tensor) -> Tensor:
    """A tensor of any shape in full, its shards put together; all processes must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, of any shape: its shard of a sharded one, else all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _blocks(learner: Learner) -> Iterator[nn.Module]:
    seen = set()  # a backbone that wraps another has that one's blocks
    for module in learner.modules():
        for block in module.blocks if isinstance(module, BackboneModule) else ():
            if block not in seen:
                seen.add(block)
                yield block
