"""Batch normalisation over the whole global batch, on any device and any number of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.machine.distributed import World, connected


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with the statistics of the global batch, over all processes.

    In evaluation mode it uses the running averages. PyTorch's `SyncBatchNorm` does the same on GPUs and has no kernel
    for CPUs. Parameters and buffers have the names of `torch.nn.BatchNorm1d`.

    Attributes:
        batch_statistics: whether it uses the batch's statistics in evaluation mode too, without updating the averages.

    Args:
        channels: C.
        affine: whether to learn a scale and a shift for each channel.
        epsilon: added to the variance.
        momentum: weight of a batch in the running averages.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, affine: bool = True, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.batch_statistics = False
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def no_weight_decay(self) -> set[str]:
        """The scale and shift of each channel, as in every norm."""
        return {"weight", "bias"} if self.weight is not None else set()

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each channel of x (N, C) or (N, C, H, W): float32 of the same shape."""
        x = x.float()  # statistics of bfloat16 drift
        of_batch = self.training or self.batch_statistics
        world = connected() if of_batch else World()
        if world.size == 1 and (not of_batch or x.numel() > x.shape[1]):
            kept = self.training or not of_batch
            mean, variance = (self.running_mean, self.running_var) if kept else (None, None)
            return F.batch_norm(x, mean, variance, self.weight, self.bias, of_batch, self.momentum, self.epsilon)
        dims = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        # one all-reduce for each moment: centring on the mean before squaring avoids cancellation
        count = world.all_reduce(torch.full((), x.numel() / x.shape[1], device=x.device))
        mean = world.all_reduce(x.sum(dims)) / count  # (C,)
        variance = world.all_reduce((x - mean.view(shape)).square().sum(dims)) / count  # (C,)
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        normalized = (x - mean.view(shape)) * torch.rsqrt(variance + self.epsilon).view(shape)
        if self.weight is None or self.bias is None:
            return normalized
        return torch.addcmul(self.bias.view(shape), normalized, self.weight.view(shape))


@contextlib.contextmanager
def of_this_batch(module: nn.Module) -> Iterator[None]:
    """Makes each `BatchNorm` in a module use the batch's statistics inside the ``with``, without updating averages.

    Teachers need it: their running averages are copied from the student, and do not fit the teacher's weights.
    """
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.batch_statistics = True
    try:
        yield
    finally:
        for norm in norms:
            norm.batch_statistics = False


def synchronize(module: nn.Module) -> nn.Module:
    """Replaces each of PyTorch's batch norms in a module with a `BatchNorm`; the module keeps its names and weights.

    Layers that a subclass adds, such as timm's activation, are kept.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            own = BatchNorm(child.num_features, affine=child.affine, epsilon=child.eps, momentum=child.momentum or 0.1)
            if own.weight is not None and own.bias is not None:
                own.weight, own.bias = child.weight, child.bias
            around = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]  # timm's BatchNormAct2d
            setattr(module, name, nn.Sequential(own, *around) if around else own)
        else:
            synchronize(child)
    return module
