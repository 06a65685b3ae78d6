"""The Transformer of BERT, wav2vec 2.0, ViT, BEiT and both data2vecs: one stack, and their differences as fields."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import Attention as AttentionWeights
from didact import Backbone, BackboneModule, Collect, Context, Layout, SpecError, Tokens
from didact.randomness import common
from didact_transformer.attention import Attention
from didact_transformer.blocks import Block, FeedForward, Residual
from didact_transformer.dropout import Dropout
from didact_transformer.initialization import Initialization, NormalInitialization
from didact_transformer.positions import RelativePositions, RelativePositionsModule

# stands for -inf at padding: exp(LOWEST - max) is exactly 0 beside any real key, a row of padding alone gives no NaN,
# and it is as finite in bfloat16 as in float32
LOWEST = torch.finfo(torch.bfloat16).min


@attrs.frozen(kw_only=True)
class Transformer(Backbone):
    """A stack of blocks of self-attention and a feed-forward network (Vaswani et al. 2017), base size by default.

    Attributes:
        width: D of the vectors; must be the encoder's width. Base models have 768, large ones 1024.
        depth: how many blocks. Base models have 12, large ones 24.
        heads: of the attention, each D / heads wide. Base models have 12, large ones 16.
        ffn_ratio: width of the feed-forward network's inner layer, in widths; 4 since the first Transformer.
        norm: where the layer norms stand. ``post``, after each residual connection: BERT, wav2vec 2.0, data2vec on
            speech and text, data2vec 2.0. ``pre``, before attention and feed-forward, with one more on the output of
            the stack but not on the features of its blocks: ViT, BEiT, data2vec on images.
        norm_epsilon: added to the variance in every layer norm; 1e-5 in fairseq, 1e-6 in vision models.
        input_norm: a layer norm before the first block: the encoder norm of data2vec on speech, the context norm of
            data2vec 2.0.
        input_dropout: share of values dropped before the first block; 0.1 in data2vec on speech.
        dropout: share of values dropped of what attention and feed-forward add to the residual stream; 0.1 in speech
            and text models, 0 in vision models.
        attention_dropout: share of attention weights that are dropped.
        activation_dropout: share of values dropped inside the feed-forward network, after its GELU.
        layer_drop: probability that a whole block is skipped in training (LayerDrop, Fan et al. 2019); 0.05 in
            data2vec on speech. A block whose feature is asked for is not skipped.
        drop_path: probability that a row skips a residual branch in training, rising linearly from 0 in the first block
            to this in the last (stochastic depth, Huang et al. 2016).
        layer_scale: where the learned factors of each residual branch's channels start (LayerScale, Touvron et al.
            2021), such as 1e-4; None leaves the branches unscaled.
        key_bias: whether keys have a bias, as queries and values do. It cannot change the output, since it shifts all
            logits of a query alike; BEiT leaves it out.
        positions: what attention is told of where two tokens stand, `BEiTBias` or `ALiBi`; None: nothing, the encoder
            adds positions to the vectors.
        initialization: of the linear layers, `NormalInitialization` as in BERT or `DepthScaledInitialization` as in
            BEiT.
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
        self.require(whole, "ffn_ratio", f"above 0, and give a whole number of channels with width ({self.width})")
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
                mend=f"give both the same width: {width} here, or {self.width} in the encoder",
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

    def forward(self, tokens: Tokens, collect: Collect | None = None) -> Context:
        """Contextualises (R, V, D).

        The residual stream is float32 also under autocast: in bfloat16 it would forget what small branches add.

        Args:
            tokens: features (R, V, D), padding (R, V) or None; padding is never attended to.
            collect: which inner features to give along, of at most ``depth`` blocks.

        Returns:
            output (R, V, D) float32; features, one (R, V, D) for each block that was asked for: ``ffn`` is the second
            linear layer's output and ``attention`` the output projection's, before dropout, scale and residual;
            ``ffn+residual`` is the stream with the former added; ``block`` is the residual stream behind the block,
            which is the same in pre-norm models, whose output norm is left out, and its norm in post-norm ones.

        Raises:
            SpecError: more blocks are asked for than there are, or the positions do not suit the tokens.
        """
        asked = collect.last if collect is not None else 0
        if asked > len(self.blocks):
            raise SpecError(f"the features of {asked} blocks are asked for, but the Transformer has {len(self.blocks)}")
        bias = self._attention_bias(tokens)
        x = self._enter(tokens)
        features = []
        for index, block in enumerate(self.blocks):
            wanted = collect.feature if collect is not None and index >= len(self.blocks) - asked else None
            if wanted is None and self._skips_block():
                continue
            x, feature = block(x, bias, wanted)
            if wanted is not None:
                features.append(feature)
        if self.output_norm is not None:
            x = self.output_norm(x)
        return Context(output=x, tokens=tokens, features=tuple(features))

    def attention(self, tokens: Tokens, block: int) -> AttentionWeights:
        """What a block attends to, its relative positions included: weights (R, H, V, V).

        The blocks below are computed as in `forward`; queries, keys and softmax of this one in float32.

        Args:
            tokens: features (R, V, D), padding (R, V) or None.
            block: index of the block, from 0 for the lowest.
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
        """What is added to the logits: (1 or R, 1 or H, 1 or V, V), in the dtype they are computed in, or None."""
        bias = self.positions(tokens) if self.positions is not None else None
        if tokens.padding is not None:
            closed = tokens.padding[:, None, None, :]  # (R, V) -> (R, 1, 1, V)
            bias = torch.zeros_like(closed, dtype=torch.float32) if bias is None else bias
            bias = bias.masked_fill(closed, LOWEST)
        kind = tokens.features.device.type
        if bias is not None and torch.is_autocast_enabled(kind):
            bias = bias.to(torch.get_autocast_dtype(kind))  # once here rather than in every block
        return bias

    def _skips_block(self) -> bool:
        # drawn on the CPU, so that the device is not waited for, and alike on all processes, which share their shards
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
