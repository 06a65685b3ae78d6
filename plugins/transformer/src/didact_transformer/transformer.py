"""The Transformer of BERT, wav2vec 2.0, ViT, BEiT and both data2vecs, whose differences are fields of one spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import Attention as AttentionWeights
from didact import Backbone, BackboneModule, BackboneOutput, HiddenState, Layout, SpecError, Tokens
from didact.randomness import common
from didact_transformer.attention import Attention
from didact_transformer.blocks import Block, FeedForward, Residual
from didact_transformer.dropout import Dropout
from didact_transformer.initialization import Initialization, NormalInitialization
from didact_transformer.positions import RelativePositions, RelativePositionsModule

# replaces -inf at padding: exp(LOWEST - max) is exactly 0 next to any real key, a row of only padding gives no NaN,
# and the value is finite in bfloat16 as well as in float32
LOWEST = torch.finfo(torch.bfloat16).min


@attrs.frozen(kw_only=True)
class Transformer(Backbone):
    """A stack of blocks of self-attention and a feed-forward network (Vaswani et al. 2017), base size by default.

    Attributes:
        width: D of the vectors; must be the encoder's width. 768 in base models, 1024 in large ones.
        depth: number of blocks; 12 in base models, 24 in large ones.
        heads: number of attention heads, each D / heads wide; 12 in base models, 16 in large ones.
        ffn_ratio: width of the feed-forward network's inner layer, as a multiple of the width; 4 since the first
            Transformer.
        norm: place of the layer norms. ``post``: after each residual connection (BERT, wav2vec 2.0, data2vec on speech
            and text, data2vec 2.0). ``pre``: before attention and feed-forward, and once on the output of the stack,
            but not on the features of its blocks (ViT, BEiT, data2vec on images).
        norm_epsilon: added to the variance in every layer norm; 1e-5 in fairseq, 1e-6 in vision models.
        input_norm: whether there is a layer norm before the first block: the encoder norm of data2vec on speech, the
            context norm of data2vec 2.0.
        input_dropout: share of values that are dropped before the first block; 0.1 in data2vec on speech.
        dropout: share of values that are dropped from the outputs of attention and feed-forward; 0.1 in speech and text
            models, 0 in vision models.
        attention_dropout: share of attention weights that are dropped.
        activation_dropout: share of values that are dropped in the feed-forward network, after its GELU.
        layer_drop: probability that a whole block is skipped in training (LayerDrop, Fan et al. 2019); 0.05 in
            data2vec on speech. A block whose feature is requested is not skipped.
        drop_path: probability that a row skips a residual branch in training. It rises linearly from 0 in the first
            block to this value in the last (stochastic depth, Huang et al. 2016).
        layer_scale: initial value of the learned factor on each channel of a residual branch (LayerScale, Touvron et
            al. 2021), such as 1e-4. None: branches have no such factors.
        key_bias: whether keys have a bias, as queries and values do. It cannot change the output, since it shifts all
            logits of a query equally; BEiT has none.
        positions: relative positions in the attention, `BEiTBias` or `ALiBi`. None: no relative positions; the encoder
            adds positions to the vectors.
        initialization: how linear layers are initialised: `NormalInitialization` as in BERT, or
            `DepthScaledInitialization` as in BEiT.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    ffn_ratio: float = 4.0
    norm: Literal["post", "pre"] = "post"
    norm_epsilon: float = 1e-5
    input_norm: bool = False
    input_dropout: float = 0.0
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    drop_path: float = 0.0
    layer_scale: float | None = None
    key_bias: bool = True
    positions: RelativePositions | None = None
    initialization: Initialization = attrs.field(factory=NormalInitialization)

    def validate(self) -> None:
        for field in ("width", "depth", "heads"):
            self.require(getattr(self, field) >= 1, field, "at least 1")
        self.require(self.width % self.heads == 0, "heads", f"a divisor of width ({self.width})")
        whole = self.ffn_ratio > 0 and self.width * self.ffn_ratio == int(self.width * self.ffn_ratio)
        self.require(whole, "ffn_ratio", f"above 0 and a whole number of channels times the width ({self.width})")
        self.require(self.norm_epsilon > 0, "norm_epsilon", "above 0")
        for field in (
            "input_dropout",
            "dropout",
            "attention_dropout",
            "activation_dropout",
            "layer_drop",
            "drop_path",
        ):
            self.require(0 <= getattr(self, field) < 1, field, "at least 0 and below 1")
        self.require(self.layer_scale is None or self.layer_scale > 0, "layer_scale", "above 0, or None")

    def build(self, width: int, layout: Layout | None) -> TransformerModule:
        if width != self.width:
            raise SpecError(
                f"Transformer(width={self.width}) stands behind an encoder of width {width}",
                where="width",
                hint=f"set both to the same width: {width} here, or {self.width} in the encoder",
            )
        positions = self.positions.build(self.heads, layout) if self.positions is not None else None
        return TransformerModule(self, positions)


class TransformerModule(BackboneModule):
    """The weights of a `Transformer`.

    Attributes:
        positions: shared by all blocks, or None.
    """

    def __init__(self, spec: Transformer, positions: RelativePositionsModule | None) -> None:
        super().__init__()
        self.width = spec.width
        self.layer_drop = spec.layer_drop
        self.positions = positions
        self.input_norm = nn.LayerNorm(spec.width, spec.norm_epsilon) if spec.input_norm else None
        self.input_dropout = Dropout(spec.input_dropout)
        self.blocks = nn.ModuleList(_block(spec, index) for index in range(spec.depth))
        self.output_norm = nn.LayerNorm(spec.width, spec.norm_epsilon) if spec.norm == "pre" else None
        spec.initialization.initialize([block for block in self.blocks if isinstance(block, Block)])

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        """Computes contextualised features of the tokens.

        The residual stream is float32 under autocast as well: bfloat16 would lose what small branches add.

        Args:
            tokens: features (R, V, D), padding (R, V) or None; padding is never attended to.
            hidden_states: the inner features to return as well.

        Returns:
            output (R, V, D) float32, and the hidden states, (R, V, D) each. ``ffn`` is the output of the second linear
            layer and ``attention`` that of the output projection, both before dropout, scale and residual connection.
            ``ffn+residual`` is the stream with the former added. ``block`` is the stream after the block: in pre-norm
            models the same sum, without the output norm; in post-norm models its norm.

        Raises:
            SpecError: a requested block does not exist, or the relative positions do not support the tokens' layout.
        """
        wanted = HiddenState.by_block(hidden_states, len(self.blocks))
        found: dict[HiddenState, Tensor] = {}
        bias = self._attention_bias(tokens)
        x = self._enter(tokens)
        for index, block in enumerate(self.blocks):
            features = wanted.get(index, ())
            if not features and self._skips_block():
                continue
            x, values = block(x, bias, features)
            found |= {HiddenState(block=index, feature=f): value for f, value in zip(features, values, strict=True)}
        if self.output_norm is not None:
            x = self.output_norm(x)
        return BackboneOutput(output=x, tokens=tokens, hidden_states=tuple(found[one] for one in hidden_states))

    def attention(self, tokens: Tokens, block: int) -> AttentionWeights:
        """The attention weights of a block, with its relative positions: (R, H, V, V).

        The blocks below are computed as in `forward`; the queries, keys and softmax of this block in float32.

        Args:
            tokens: features (R, V, D), padding (R, V) or None.
            block: index of the block; 0 is the lowest.
        """
        bias = self._attention_bias(tokens)
        x = self._enter(tokens)
        for below in self.blocks[:block]:
            x, _ = below(x, bias)
        asked = self.blocks[block]
        assert isinstance(asked, Block)
        with torch.autocast(x.device.type, enabled=False):
            exact = self._attention_bias(tokens)
        return AttentionWeights(weights=asked.attention.weights(asked.attention_residual.enter(x), exact))

    def _enter(self, tokens: Tokens) -> Tensor:
        """The residual stream (R, V, D) float32 before the first block."""
        x = tokens.features.float()
        if self.input_norm is not None:
            x = self.input_norm(x)
        entered: Tensor = self.input_dropout(x)
        return entered

    def _attention_bias(self, tokens: Tokens) -> Tensor | None:
        """The bias on the logits: (1 or R, 1 or H, 1 or V, V), in the dtype of the logits, or None."""
        bias = self.positions(tokens) if self.positions is not None else None
        if tokens.padding is not None:
            closed = tokens.padding[:, None, None, :]  # (R, V) -> (R, 1, 1, V)
            bias = torch.zeros_like(closed, dtype=torch.float32) if bias is None else bias
            bias = bias.masked_fill(closed, LOWEST)
        kind = tokens.features.device.type
        if bias is not None and torch.is_autocast_enabled(kind):
            bias = bias.to(torch.get_autocast_dtype(kind))  # once here instead of in every block
        return bias

    def _skips_block(self) -> bool:
        # drawn on the CPU, to avoid a wait for the device; equal on all processes, since their shards belong together
        return self.training and self.layer_drop > 0 and bool(torch.rand((), generator=common) < self.layer_drop)


def _block(spec: Transformer, index: int) -> Block:
    drop_path = spec.drop_path * index / max(1, spec.depth - 1)
    attention_residual, ffn_residual = (
        Residual(
            spec.width,
            norm=spec.norm,
            norm_epsilon=spec.norm_epsilon,
            dropout=spec.dropout,
            drop_path=drop_path,
            layer_scale=spec.layer_scale,
        )
        for _ in range(2)
    )
    attention = Attention(spec.width, spec.heads, dropout=spec.attention_dropout, key_bias=spec.key_bias)
    ffn = FeedForward(spec.width, int(spec.width * spec.ffn_ratio), dropout=spec.activation_dropout)
    return Block(attention, attention_residual, ffn, ffn_residual)
