"""The first sign of collapse: how much targets and predictions still vary."""

from __future__ import annotations

import torch
from torch import Tensor

from didact.distributed import World


def standard_deviation(values: Tensor, world: World | None = None) -> Tensor:
    """How much the rows of ``values`` (N, D) vary: the mean over channels of √(variance + 1e-6), a scalar.

    The measure that fairseq logs as ``target_var`` and ``pred_var``. Near 0, everything is predicted to be the same;
    targets that are normalised over time stay near 1.

    Args:
        values: this process's rows.
        world: the rows of all its processes are taken together.
    """
    world = world if world is not None else World()
    values = values.float()
    count = world.add(torch.full((), float(values.shape[0]), device=values.device))
    mean = world.add(values.sum(0)) / count  # (D,)
    squares = world.add((values - mean).square().sum(0))  # (D,)
    return (squares / (count - 1) + 1e-6).sqrt().mean()
