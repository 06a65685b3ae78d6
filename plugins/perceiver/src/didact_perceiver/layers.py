"""The layer of a Perceiver: cross-attention to an array, or self-attention, and a feed-forward network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.tensors import Feature

# used instead of -inf at padding: exp(LOWEST - max) is exactly 0 beside any real key, and rows of padding give no NaN
LOWEST = torch.finfo(torch.bfloat16).min


class AttentionLayer(nn.Module):
    """Pre-norm attention and a pre-norm feed-forward network (Jaegle et al. 2022, Perceiver IO, appendix E).

    Args:
        width: width of the attending vectors.
        read_width: width of the array that they attend to. None: self-attention.
        heads: number of attention heads.
        key_width: width of queries and keys, over all heads.
        ffn_ratio: width of the feed-forward network's inner layer, as a multiple of ``width``.
        residual: whether the attention has a residual connection. Use False if the attending vectors hold only
            positions.
    """

    def __init__(
        self, width: int, read_width: int | None, *, heads: int, key_width: int, ffn_ratio: float, residual: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.norm = nn.LayerNorm(width)
        self.read_norm = nn.LayerNorm(read_width) if read_width is not None else None
        source = read_width if read_width is not None else width
        self.query = nn.Linear(width, key_width)
        self.key = nn.Linear(source, key_width)
        self.value = nn.Linear(source, width)
        self.projection = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, int(width * ffn_ratio))
        self.outer = nn.Linear(int(width * ffn_ratio), width)

    def forward(
        self, x: Tensor, read: Tensor | None = None, padding: Tensor | None = None, wanted: Sequence[Feature] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Applies the layer.

        Args:
            x: (R, L, D), the attending vectors.
            read: (R, V, D'), the array that they attend to. None: ``x``.
            padding: (R, V) bool or None; true = not attended to.
            wanted: the features to return as well.

        Returns:
            The output of the layer (R, L, D) float32, and the wanted features, (R, L, D) each.
        """
        normed = self.norm(x)
        source = normed if read is None or self.read_norm is None else self.read_norm(read)
        attended = self.projection(self._attend(normed, source, padding))
        x = x.float() + attended if self.residual else attended.float()
        transformed = self.outer(F.gelu(self.inner(self.ffn_norm(x))))
        x = x + transformed
        features = {"attention": attended, "ffn": transformed, "ffn+residual": x, "block": x}
        return x, tuple(features[feature] for feature in wanted)

    def weights(self, x: Tensor, read: Tensor, padding: Tensor | None = None) -> Tensor:
        """Recomputes the attention weights of `forward` in float32.

        Args:
            x: (R, L, D), the attending vectors.
            read: (R, V, D'), the array that they attend to.
            padding: (R, V) bool or None; true = not attended to.

        Returns:
            (R, H, L, V).
        """
        with torch.autocast(x.device.type, enabled=False):
            source = read.float() if self.read_norm is None else self.read_norm(read.float())
            query, key = self._split(self.query, self.norm(x.float())), self._split(self.key, source)
            logits: Tensor = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (R, H, L, V)
            if padding is not None:
                logits = logits + _closed(padding, logits.dtype)
            return logits.softmax(-1)

    def _attend(self, normed: Tensor, source: Tensor, padding: Tensor | None) -> Tensor:
        """Computes the attention's output, with all heads concatenated: (R, L, D)."""
        query, key, value = (
            self._split(layer, values)
            for layer, values in ((self.query, normed), (self.key, source), (self.value, source))
        )
        bias = None if padding is None else _closed(padding, query.dtype)
        if query.device.type == "cpu" and not torch.compiler.is_compiling():  # faster on CPUs than the fused call
            logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (R, H, L, V)
            read = (logits if bias is None else logits + bias).softmax(-1) @ value
        else:
            read = F.scaled_dot_product_attention(query, key, value, bias)
        joined: Tensor = read.transpose(1, 2).flatten(2)  # (R, H, L, d) -> (R, L, H·d)
        return joined

    def _split(self, layer: nn.Module, values: Tensor) -> Tensor:
        projected: Tensor = layer(values)
        rows, count, _ = projected.shape
        return projected.view(rows, count, self.heads, -1).transpose(1, 2)  # (R, *, H·d) -> (R, H, *, d)


def _closed(padding: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the bias (R, 1, 1, V) of attention logits that excludes ``padding`` (R, V)."""
    return torch.zeros_like(padding, dtype=dtype).masked_fill(padding, LOWEST)[:, None, None]
