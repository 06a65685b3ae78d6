"""The Transformer block: attention and a feed-forward network, each on a residual branch."""

from __future__ import annotations

from collections.abc import Sequence
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

    def forward(
        self, x: Tensor, bias: Tensor | None, wanted: Sequence[Feature] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Updates the residual stream.

        Args:
            x: the stream before the block, (R, V, D) float32.
            bias: added to the attention's logits; broadcastable to (R, H, V, V), or None.
            wanted: the features to return as well.

        Returns:
            the stream after the block, (R, V, D) float32, and the wanted features, (R, V, D) each.
        """
        attended = self.attention(self.attention_residual.enter(x), bias)
        x = self.attention_residual.leave(self.attention_residual.join(x, attended))
        transformed = self.ffn(self.ffn_residual.enter(x))
        joined = self.ffn_residual.join(x, transformed)
        x = self.ffn_residual.leave(joined)
        features = {"attention": attended, "ffn": transformed, "ffn+residual": joined, "block": x}
        return x, tuple(features[feature] for feature in wanted)


class Residual(nn.Module):
    """The residual connection around a branch, with its norm, scale and dropout.

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

    def no_weight_decay(self) -> set[str]:
        """The names of the parameters that are exempt from weight decay."""
        return {"scale"} if self.scale is not None else set()

    def enter(self, x: Tensor) -> Tensor:
        """The branch's input, computed from the stream (R, V, D): (R, V, D)."""
        normed: Tensor = self.norm(x) if self.place == "pre" else x
        return normed

    def join(self, x: Tensor, branch: Tensor) -> Tensor:
        """Adds the branch's output (R, V, D) to the stream (R, V, D): (R, V, D)."""
        branch = self.dropout(branch)
        if self.scale is not None:
            branch = branch * self.scale
        if self.training and self.drop_path > 0:
            # a comparison, since torch.compile would recompile each block for a probability that is an argument
            kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.drop_path  # (R, 1, 1)
            branch = branch * kept * (1 / (1 - self.drop_path))
        return x + branch

    def leave(self, joined: Tensor) -> Tensor:
        """The stream after the connection, computed from the sum (R, V, D): (R, V, D)."""
        normed: Tensor = self.norm(joined) if self.place == "post" else joined
        return normed


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, applied to each position."""

    def __init__(self, width: int, inner_width: int, *, dropout: float) -> None:
        super().__init__()
        self.inner = Linear(width, inner_width)
        self.dropout = Dropout(dropout)
        self.outer = Linear(inner_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, D) -> (R, V, D)."""
        transformed: Tensor = self.outer(self.dropout(F.gelu(self.inner(x))))
        return transformed
