"""The learner on all processes of a run: replicated (DDP) or sharded (FSDP2), compiled and checkpointed by block."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from didact.contracts.network import BackboneModule
from didact.learner import Learner
from didact.machine.distributed import World
from didact.tensors import Batch, Loss
from didact.training import Training

_RENAMED = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_REPLICATED: dict[str, Any] = {
    "forward_sync_buffers" if _RENAMED else "broadcast_buffers": False,  # equal on all processes without broadcasts
    "find_unused_parameters": True,  # blocks skipped by layer drop, an unused mask embedding
    "gradient_as_bucket_view": True,
}


class Engine:
    """Runs a learner on this process's share of a batch; gradients are added up over all processes.

    The learner keeps its modules and their names. If ``sharded`` is true, the learner is sharded in place, and each
    process holds a shard of every weight.
    """

    def __init__(self, learner: Learner, training: Training, world: World) -> None:
        self.world = world
        self.module: nn.Module = learner
        device = next(learner.parameters()).device
        if training.activation_checkpointing:
            checkpoint_activations(learner)
        if training.compile:
            for block in _blocks(learner):  # of all backbones, the teacher's included; they share one kernel cache
                block.compile()
        self.sharded = world.size > 1 and training.strategy == "fsdp"
        if self.sharded:  # block by block, including the teacher
            from torch.distributed.fsdp import fully_shard  # importing it takes half a second

            mesh = init_device_mesh(device.type, (world.size,))
            for parameter in learner.parameters():  # a channels-last weight cannot be sharded by rows
                parameter.data = parameter.data.contiguous()
            for part in (*_blocks(learner), learner):
                fully_shard(part, mesh=mesh)
        elif world.size > 1:
            devices = [device.index] if device.type == "cuda" else None
            self.module = DistributedDataParallel(learner, device_ids=devices, **_REPLICATED)

    def __call__(self, batch: Batch, num_targets: Mapping[str, int]) -> tuple[Tensor, Loss]:
        """Computes the loss of a part of the global batch; the losses of all parts add up to that of the whole batch.

        The loss is multiplied by the number of processes, because PyTorch's engines average gradients over processes.
        """
        total, loss = self.module(batch, num_targets)
        return total * self.world.size, loss

    def gathering(self, last: bool) -> AbstractContextManager[None]:
        """Returns the context for a part's forward and backward pass; only the last part synchronises gradients."""
        if isinstance(self.module, DistributedDataParallel):
            return contextlib.nullcontext() if last else self.module.no_sync()
        if self.sharded:
            self.module.set_requires_gradient_sync(last)  # type: ignore[operator]  # given by `fully_shard`
        return contextlib.nullcontext()


def checkpoint_activations(learner: Learner) -> None:
    """Recomputes each trainable block in the backward pass instead of storing its activations (Chen et al. 2016).

    This includes the blocks of every backbone in the learner, such as a predictor's. A teacher stores no activations.
    """
    for block in _blocks(learner):
        if any(parameter.requires_grad for parameter in block.parameters()):
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def whole(tensor: Tensor) -> Tensor:
    """Returns a tensor of any shape in full, assembled from its shards; all processes must call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """Returns this process's part of a tensor of any shape: a shard if the tensor is sharded, otherwise all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _blocks(learner: Learner) -> Iterator[nn.Module]:
    """Yields each block once, because a backbone that wraps another one shares its blocks."""
    backbones = (module for module in learner.modules() if isinstance(module, BackboneModule))
    yield from dict.fromkeys(block for backbone in backbones for block in backbone.blocks)
