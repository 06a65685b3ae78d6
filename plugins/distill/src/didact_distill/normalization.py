"""Parameter-free normalisation of targets (data2vec §3.3), in float32, blind to padding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalization = Literal["instance", "batch", "layer", "none"]

EPSILON = 1e-5


def normalize(values: Tensor, kind: Normalization, padding: Tensor | None = None) -> Tensor:
    """Normalises to mean 0 and variance 1, biased, without affine parameters.

    Args:
        values: (B, T, D).
        kind: over what the statistics go. ``instance``: over time, for each sample and channel. ``batch``: over all
            samples and time, for each channel. ``layer``: over channels, for each position. ``none``: no change.
        padding: (B, T) bool or None; true = not data, left out of the statistics over time (the released code leaves
            it in, harmlessly, since its batches carry none).

    Returns:
        (B, T, D) float32. Padded positions hold finite values of no meaning.
    """
    values = values.float()  # statistics of bfloat16 drift
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
