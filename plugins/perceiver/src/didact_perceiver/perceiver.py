"""Perceiver IO: latents cross-attend to the input, attend to each other, and are decoded by one query per position."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import Attention, Backbone, BackboneModule, BackboneOutput, HiddenState, Layout, Tokens
from didact_perceiver.layers import AttentionLayer
from didact_perceiver.positions import FourierPositions


@attrs.frozen(kw_only=True)
class PerceiverIO(Backbone):
    """Latents that cross-attend to the input, a stack of self-attention over the latents, and one query per position.

    Jaegle et al. 2022, Perceiver IO, section 3 and appendix E; the defaults are those of the language model on bytes.
    The cost of encoding and decoding is linear in the input's length; the cost of the stack does not depend on it.

    A block's feature at a position is decoded by the same queries from the latents after that block. Prefix tokens are
    encoded and decoded like the others, but have no position.

    Attributes:
        width: D, the width of the output; 768 in the language model. It may differ from the encoder's width.
        latents: L, the number of latents; 256, and 512 on ImageNet.
        latent_width: width of each latent; 1280, and 1024 on ImageNet.
        depth: number of self-attention blocks; 26.
        heads: number of heads of every attention; 8. It must divide width, latent_width and key_width.
        key_width: width of queries and keys; 256.
        ffn_ratio: width of a feed-forward network's inner layer, as a multiple of its input's width; 1.
        queries: how the query of a position is made. ``positions``: from its position only, so its content can only
            come from the latents (the language model). ``content``: from the encoder's output, position included, with
            a residual connection (optical flow); at a hidden position this is the mask embedding. Use ``content`` for
            data2vec's targets: with ``positions``, the targets depended on the position and on little else.
        positions: the position codes of queries made from positions; use the same for the encoder.
    """

    width: int = 768
    latents: int = 256
    latent_width: int = 1280
    depth: int = 26
    heads: int = 8
    key_width: int = 256
    ffn_ratio: float = 1.0
    queries: Literal["positions", "content"] = "positions"
    positions: FourierPositions = FourierPositions()

    def validate(self) -> None:
        for field in ("width", "latents", "latent_width", "depth", "heads", "key_width"):
            self.require(getattr(self, field) >= 1, field, "at least 1")
        for field in ("width", "latent_width", "key_width"):
            self.require(getattr(self, field) % self.heads == 0, field, f"a multiple of heads ({self.heads})")
        self.require(self.ffn_ratio > 0, "ffn_ratio", "above 0")

    def build(self, width: int, layout: Layout | None) -> PerceiverIOModule:
        return PerceiverIOModule(self, width, layout)


class PerceiverIOModule(BackboneModule):
    """The weights of a `PerceiverIO`.

    Attributes:
        latents: (L, latent_width), the initial latents.
        encode: the cross-attention of the latents to the input.
        queries: maps a position's Fourier features, or the encoder's output, to a query.
        decode: the cross-attention of the queries to the latents.
    """

    def __init__(self, spec: PerceiverIO, width: int, layout: Layout | None) -> None:
        super().__init__()
        self.width = spec.width
        self.positions = spec.positions
        self.fixed = layout is not None
        latent = spec.latent_width
        layer = functools.partial(AttentionLayer, heads=spec.heads, key_width=spec.key_width, ffn_ratio=spec.ffn_ratio)
        self.latents = nn.Parameter(nn.init.trunc_normal_(torch.empty(spec.latents, latent), std=0.02))
        self.encode = layer(latent, width)
        self.blocks = nn.ModuleList(layer(latent, None) for _ in range(spec.depth))
        self.by_content = spec.queries == "content"
        asked = width if self.by_content else spec.positions.width(1 if layout is None else len(layout.shape))
        self.queries = nn.Linear(asked, spec.width)
        self.decode = layer(spec.width, latent, residual=self.by_content)

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Contextualises (R, V, D').

        Args:
            tokens: features (R, V, D'), padding (R, V) or None; latents do not attend to padding.
            hidden_states: features of blocks to decode as well.

        Returns:
            The output (R, V, D) float32 and the hidden states, (R, V, D) each.

        Raises:
            SpecError: a requested block does not exist.
        """
        wanted = HiddenState.by_block(hidden_states, len(self.blocks))
        found: dict[HiddenState, Tensor] = {}
        rows = tokens.features.shape[0]
        queries = self._queries(tokens)  # (1 or R, V, D)
        x, _ = self.encode(self.latents.expand(rows, -1, -1), tokens.features, tokens.padding)  # (R, L, latent_width)
        for index, block in enumerate(self.blocks):
            features = wanted.get(index, ())
            x, values = block(x, wanted=features)
            for feature, value in zip(features, values, strict=True):
                found[HiddenState(block=index, feature=feature)] = self._ask(queries, value)
        states = tuple(found[one] for one in hidden_states)
        return BackboneOutput(output=self._ask(queries, x), tokens=tokens, hidden_states=states)

    def attention(self, tokens: Tokens, block: int) -> Attention:
        """Returns the latents' attention to the input, weights (R, H, L, V).

        The latents attend to the input only once, so the weights are the same for every block.

        Args:
            tokens: features (R, V, D'), padding (R, V) or None.
            block: ignored; the blocks attend only to latents, which have no position.
        """
        latents = self.latents.expand(tokens.features.shape[0], -1, -1)
        return Attention(weights=self.encode.weights(latents, tokens.features, tokens.padding), latent=True)

    def _ask(self, queries: Tensor, latents: Tensor) -> Tensor:
        """Decodes latents (R, L, latent_width) with queries (1 or R, V, D): (R, V, D) float32."""
        answers: Tensor
        answers, _ = self.decode(queries.expand(latents.shape[0], -1, -1), latents)
        return answers

    def _queries(self, tokens: Tokens) -> Tensor:
        codes = tokens.features
        if not self.by_content:
            codes = self.positions.of_tokens(tokens, self.fixed)  # (1 or R, V - extra, F)
            codes = torch.nn.functional.pad(
                codes, (0, 0, tokens.num_prefix_tokens, 0)
            )  # prefix tokens have no position: all zeros
        queries: Tensor = self.queries(codes)
        return queries
