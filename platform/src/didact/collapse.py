"""The first sign of collapse: how much targets and predictions still vary."""

from __future__ import annotations

import torch
from torch import Tensor


def standard_deviation(values: Tensor) -> Tensor:
    """How much the rows of ``values`` (N, D) vary: the mean over channels of √(variance + 1e-6), a scalar.

    The measure that fairseq logs as ``target_var`` and ``pred_var``. Near 0, everything is predicted to be the same;
    targets that are normalised over time stay near 1.
    """
    return (values.float().var(0) + 1e-6).sqrt().mean() if values.shape[0] > 1 else torch.full((), torch.nan)
