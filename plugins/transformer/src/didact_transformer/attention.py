"""Multi-head self-attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact_transformer.dropout import dropout as drop
from didact_transformer.linear import Linear, linear

CACHE_BYTES = 16 * 2**20  # size of the logits computed at a time; a processor's shared cache has about 32 MiB


class Attention(nn.Module):
    """Self-attention (Vaswani et al. 2017, section 3.2), with one projection for query, key and value."""

    def __init__(self, width: int, heads: int, *, dropout: float, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width, bias=key_bias)
        # (2 D,)
        self.query_value_bias = None if key_bias else nn.Parameter(torch.zeros(2 * width))
        self.projection = Linear(width, width)

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        return {"query_value_bias"} if self.query_value_bias is not None else set()

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Computes attention and the output projection.

        Args:
            x: (R, V, D).
            bias: added to the logits; broadcastable to (R, H, V, V), in the dtype of the logits; or None.

        Returns:
            (R, V, D).
        """
        rows, v, width = x.shape
        query, key, value = self._project(x)
        read = attend(query, key, value, bias, self.dropout if self.training else 0.0)
        joined = read.transpose(1, 2).reshape(rows, v, width)  # (R, H, V, D/H) -> (R, V, D)
        projected: Tensor = self.projection(joined)
        return projected

    def weights(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The attention weights of `forward`, computed again in float32.

        Args:
            x: (R, V, D).
            bias: as for `forward`.

        Returns:
            (R, H, V, V); entry (…, i, j) is the weight with which token i attends to token j.
        """
        with torch.autocast(x.device.type, enabled=False):
            query, key, _ = self._project(x.float())
            logits: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (R, H, V, V)
            if bias is not None:
                logits = logits + bias
            return logits.softmax(-1)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Projects x (R, V, D) to query, key and value, each (R, H, V, D/H)."""
        rows, v, _ = x.shape
        qkv = linear(x, self.qkv.weight, self._qkv_bias())
        return qkv.view(rows, v, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # of (3, R, H, V, D/H)

    def _qkv_bias(self) -> Tensor | None:
        if self.query_value_bias is None:
            return self.qkv.bias
        query, value = self.query_value_bias.chunk(2)
        return torch.cat([query, torch.zeros_like(query), value])


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Computes softmax(query · keyᵀ / √(D/H) + bias), with dropout, times value.

    Args:
        query: (R, H, V, D/H).
        key: (R, H, V, D/H).
        value: (R, H, V, D/H).
        bias: broadcastable to (R, H, V, V), or None.
        dropout: share of attention weights that are dropped.

    Returns:
        (R, H, V, D/H).
    """
    if not _is_quicker_in_steps(query):
        return F.scaled_dot_product_attention(query, key, value, bias, dropout)
    for dim, size in enumerate(_cached(query)):
        if query.shape[dim] > size:
            parts = [_split(x, query.shape[dim], size, dim) for x in (query, key, value, bias)]
            return torch.cat([attend(q, k, v, b, dropout) for q, k, v, b in zip(*parts, strict=True)], dim)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (R, H, V, V)
    if bias is not None:
        logits += bias
    return drop(logits.softmax(-1), dropout) @ value


def _cached(query: Tensor) -> tuple[int, int]:
    """The number of rows, and of heads in each, whose logits fit a processor's cache.

    Larger logits are limited by memory bandwidth: forward and backward in bfloat16 for 8 × 512 tokens and 12 heads took
    198 ms on two cores in one piece, and 88 ms in two halves.
    """
    r, h, v, _ = query.shape
    fit = max(1, CACHE_BYTES // (v * v * query.element_size()))  # number of heads, over all rows
    return (min(r, fit // h), h) if fit >= h else (1, fit)


def _split(x: Tensor | None, whole: int, size: int, dim: int) -> Sequence[Any]:
    """Splits a tensor into parts of ``size`` rows (``dim`` 0) or heads (1); repeats None and broadcast tensors."""
    if x is None or x.shape[dim] < whole:
        return [x] * math.ceil(whole / size)
    return torch.split(x, size, dim)


def _is_quicker_in_steps(query: Tensor) -> bool:
    """Whether PyTorch's fused attention is slower than separate operations.

    On a CPU, PyTorch fuses attention neither with dropout nor with a learned bias. Its backward pass is slower in any
    case (25 against 21 ms in float32, 25 against 11 ms in bfloat16, for 4 × 200 tokens and 12 heads on one core). In
    bfloat16 its forward pass is slower as well (6 against 3 ms).
    """
    on_cpu = query.device.type == "cpu" and not torch.compiler.is_compiling()
    return on_cpu and (torch.is_grad_enabled() or query.dtype == torch.bfloat16)
