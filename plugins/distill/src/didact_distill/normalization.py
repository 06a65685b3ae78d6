"""Parameter-free normalisation of targets (data2vec §3.3), in float32, unaffected by padding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalization = Literal["instance", "batch", "layer", "none"]

EPSILON = 1e-5


def normalize(values: Tensor, kind: Normalization, padding: Tensor | None = None) -> Tensor:
    """Normalises to mean 0 and biased variance 1, without affine parameters.

    Args:
        values: (B, T, D).
        kind: the axes of the statistics. ``instance``: time, for each sample and channel. ``batch``: all samples and
            time, for each channel. ``layer``: channels, for each position. ``none``: the values are not changed.
        padding: (B, T) bool or None; true = not data, excluded from the statistics over time. The released code
            includes it, which has no effect, since its batches have no padding.

    Returns:
        (B, T, D) float32. Values at padding are finite and have no meaning.
    """
    values = values.float()  # bfloat16 is too coarse for the statistics
    if kind == "none":
        return values
    if kind == "layer":
        return torch.nn.functional.layer_norm(values, values.shape[-1:], eps=EPSILON)
    dims = (1,) if kind == "instance" else (0, 1)
    if padding is None:
        variance, mean = torch.var_mean(values, dims, correction=0, keepdim=True)  # (B or 1, 1, D)
    else:
        held = ~padding[..., None]  # (B, T, 1)
        count = held.sum(dims, keepdim=True).clamp(min=1)
        mean = (values * held).sum(dims, keepdim=True) / count
        variance = ((values - mean).square() * held).sum(dims, keepdim=True) / count
    return (values - mean) * torch.rsqrt(variance + EPSILON)
