"""A block: attention, then a feed-forward network, each on a residual branch."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.tensors import Feature
from didact_transformer.attention import Attention
from didact_transformer.dropout import Dropout
from didact_transformer.linear import Linear


class Block(nn.Module):
    """Attention and a feed-forward network, each with its residual connection."""

    def __init__(
        self, attention: Attention, attention_residual: Residual, ffn: FeedForward, ffn_residual: Residual
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_residual = attention_residual
        self.ffn = ffn
        self.ffn_residual = ffn_residual

    def forward(self, x: Tensor, bias: Tensor | None, wanted: Feature | None = None) -> tuple[Tensor, Tensor | None]:
        """One turn of the residual stream.

        Args:
            x: (R, V, D) float32.
            bias: what is added to the attention's logits, broadcastable to (R, H, V, V), or None.
            wanted: which feature to give along.

        Returns:
            the stream behind the block (R, V, D) float32, and the wanted feature (R, V, D) or None.
        """
        attended = self.attention(self.attention_residual.enter(x), bias)
        x = self.attention_residual.leave(self.attention_residual.join(x, attended))
        transformed = self.ffn(self.ffn_residual.enter(x))
        joined = self.ffn_residual.join(x, transformed)
        x = self.ffn_residual.leave(joined)
        if wanted is None:
            return x, None
        return x, {"attention": attended, "ffn": transformed, "ffn+residual": joined, "block": x}[wanted]


class Residual(nn.Module):
    """Where a branch leaves the residual stream and joins it again.

    Pre-norm: x + scale · branch(norm(x)). Post-norm: norm(x + scale · branch(x)).
    """

    def __init__(
        self,
        width: int,
        *,
        norm: Literal["post", "pre"],
        norm_epsilon: float,
        dropout: float,
        drop_path: float,
        layer_scale: float | None,
    ) -> None:
        super().__init__()
        self.place = norm
        self.norm = nn.LayerNorm(width, norm_epsilon)
        self.dropout = Dropout(dropout)
        self.drop_path = drop_path
        self.scale = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale is not None else None

    def enter(self, x: Tensor) -> Tensor:
        """What the branch is given of the stream (R, V, D): (R, V, D)."""
        normed: Tensor = self.norm(x) if self.place == "pre" else x
        return normed

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        """The stream (R, V, D) with the branch's output (R, V, D) added: (R, V, D)."""
        branch = self.dropout(branch)
        if self.scale is not None:
            branch = branch * self.scale
        if self.training and self.drop_path > 0:
            # compared, not drawn with this probability, for which torch.compile would compile each block anew
            kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.drop_path  # (R, 1, 1)
            branch = branch * kept * (1 / (1 - self.drop_path))
        return x + branch

    def leave(self, joined: Tensor) -> Tensor:
        """What the sum (R, V, D) hands on: (R, V, D)."""
        normed: Tensor = self.norm(joined) if self.place == "post" else joined
        return normed


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, position by position."""

    def __init__(self, width: int, inner_width: int, *, dropout: float) -> None:
        super().__init__()
        self.inner = Linear(width, inner_width)
        self.dropout = Dropout(dropout)
        self.outer = Linear(inner_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, D) -> (R, V, D)."""
        transformed: Tensor = self.outer(self.dropout(F.gelu(self.inner(x))))
        return transformed
