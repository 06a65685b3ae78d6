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
    """Latents that read the input, a stack of self-attention among them, and a query for each position.

    Jaegle et al. 2022, Perceiver IO, section 3 and appendix E; the defaults are those of its language model on bytes.
    Cost is linear in the input's length, both ways, and the stack's does not depend on it.

    A block's feature at a position is what the same queries read from the latents behind that block. Extra tokens are
    read and asked for like the others; they have no place.

    Attributes:
        width: D of what it gives for each position; 768 in the language model. The encoder's may be another.
        latents: L, how many there are; 256, and 512 on ImageNet.
        latent_width: of each; 1280, and 1024 on ImageNet.
        depth: blocks of self-attention among the latents; 26.
        heads: of every attention; 8. They divide width, latent_width and key_width.
        key_width: of queries and keys; 256.
        ffn_ratio: width of a feed-forward network's inner layer, in widths; 1.
        queries: what asks for a position. ``positions``: its place, so that all that is known of its content comes
            through the latents (the language model). ``content``: what the encoder gives there, its place included, to
            which the answer is added (optical flow); at a hidden position that is the mask embedding. For data2vec's
            targets use ``content``: with ``positions``, they came to depend on the position and on little else.
        positions: how a place is coded in a query of ``positions``; give the encoder the same.
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
        latents: (L, latent_width), what the latents are before they have read.
        encode: their reading of the input.
        queries: from a place's Fourier features, or from what the encoder gives, to a query.
        decode: the queries' reading of the latents.
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
            tokens: features (R, V, D'), padding (R, V) or None; padding is never read.
            hidden_states: inner features of the latents' blocks to decode as well.

        Returns:
            output (R, V, D) float32; hidden states, (R, V, D) each.

        Raises:
            SpecError: there is no such block.
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
        """What the latents read of the input: weights (R, H, L, V). They read once, so it is the same for every block.

        Args:
            tokens: features (R, V, D'), padding (R, V) or None.
            block: any; the blocks themselves attend to latents, which have no place.
        """
        latents = self.latents.expand(tokens.features.shape[0], -1, -1)
        return Attention(weights=self.encode.weights(latents, tokens.features, tokens.padding), latent=True)

    def _ask(self, queries: Tensor, latents: Tensor) -> Tensor:
        """What the queries (1 or R, V, D) read from latents (R, L, latent_width): (R, V, D) float32."""
        answers: Tensor
        answers, _ = self.decode(queries.expand(latents.shape[0], -1, -1), latents)
        return answers

    def _queries(self, tokens: Tokens) -> Tensor:
        codes = tokens.features
        if not self.by_content:
            codes = self.positions.of_tokens(tokens, self.fixed)  # (1 or R, V - extra, F)
            codes = torch.nn.functional.pad(
                codes, (0, 0, tokens.num_prefix_tokens, 0)
            )  # extra ones have no place: all zeros
        queries: Tensor = self.queries(codes)
        return queries
