"""Heads of masked prediction: MAE's decoder, BERT's tied head, and HuBERT's cosine head."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from didact import (
    Backbone,
    BackboneModule,
    BackboneOutput,
    BatchMask,
    FeatureEncoderModule,
    Layout,
    Network,
    SpecError,
    Tokens,
)
from didact.errors import of_field
from didact_distill import Head, HeadModule, ProjectionHead
from didact_distill.heads import require_all_positions
from didact_distill.restoring import restore
from didact_transformer.sincos import sincos_positions

STD = 0.02  # standard deviation of initial weights, in BERT and in MAE


@attrs.frozen(kw_only=True)
class MaskTokenDecoder(Head):
    """MAE's decoder: a small backbone over the visible outputs and mask tokens, with position codes.

    He et al. 2022, section 3. The decoder sees the whole sequence and is discarded after pretraining.

    Attributes:
        width: width of the decoder's vectors; 512 in MAE.
        backbone: a backbone of that width; in MAE eight pre-norm blocks of 16 heads: ``Transformer(width=512, depth=8,
            heads=16, norm="pre", norm_epsilon=1e-6, dropout=0.0, attention_dropout=0.0)``.
    """

    backbone: Backbone
    width: int = 512

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")

    def build(self, network: Network, target_width: int) -> MaskTokenDecoderModule:
        with of_field("backbone"):
            backbone = self.backbone.build(self.width, network.layout)
        layout = network.layout if network.layout is not None else Layout((1,))  # sizes differ: computed for each view
        return MaskTokenDecoderModule(network.backbone.width, self.width, backbone, layout, target_width)


class MaskTokenDecoderModule(HeadModule):
    """The decoder's weights.

    Attributes:
        embed: maps the student's outputs to the decoder's width.
        mask_token: (1, D'); subject to weight decay, as in the released code.
        positions: (T, D'); the fixed position codes of the layout that the decoder was built for.
        predict: maps the decoder's outputs to the targets' width.
    """

    positions: Tensor

    def __init__(self, inputs: int, width: int, backbone: BackboneModule, layout: Layout, target_width: int) -> None:
        super().__init__()
        self.width, self.built_for = width, layout
        self.embed = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.empty(1, width))
        self.backbone = backbone
        self.predict = nn.Linear(backbone.width, target_width)
        self.register_buffer("positions", sincos_positions(layout, width), persistent=False)
        nn.init.normal_(self.mask_token, std=STD)
        for layer in (self.embed, self.predict):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, context: BackboneOutput, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """Computes predictions (N, F) from the visible outputs (R, V, D), which include prefix tokens."""
        sequence, prefix = context.tokens, context.tokens.num_prefix_tokens
        x = self.embed(context.output)  # (R, E + V, D')
        rows, t = x.shape[0], sequence.layout.positions
        fill = self.mask_token.to(x.dtype).expand(rows, t + 1, self.width)
        placed = restore(x[:, prefix:], sequence, fill) + self._positions_of(sequence.layout, x.device)  # (R, T, D')
        if padding is not None and prefix:
            padding = torch.cat([padding.new_zeros(rows, prefix), padding], 1)  # (R, E + T)
        tokens = Tokens(
            features=torch.cat([x[:, :prefix].to(placed.dtype), placed], 1),  # float32, for the position codes
            layout=sequence.layout,
            padding=padding,
            num_prefix_tokens=prefix,
        )
        decoded = self.backbone(tokens)
        whole = decoded.positions_only(decoded.output).flatten(0, 1)  # (R·T, D')
        predictions: Tensor = self.predict(whole.index_select(0, mask.row_indices))
        return predictions

    def _positions_of(self, layout: Layout, device: torch.device) -> Tensor:
        if layout == self.built_for:
            return self.positions
        return sincos_positions(layout, self.width).to(device, non_blocking=True)


@attrs.frozen(kw_only=True)
class TiedHead(Head):
    """BERT's head: a linear layer, GELU, a layer norm, and a last layer that shares the encoder's embedding table.

    Devlin et al. 2019. Each id has a learned bias.

    Attributes:
        epsilon: epsilon of the norm; 1e-5 in RoBERTa, 1e-12 in BERT.
    """

    epsilon: float = 1e-5

    def validate(self) -> None:
        self.require(self.epsilon > 0, "epsilon", "above 0")

    def build(self, network: Network, target_width: int) -> ProjectionHead:
        require_all_positions(network, "TiedHead")
        table = network.encoder.input_embeddings()
        if table is None or table.shape[0] != target_width:
            held = "has no table of embeddings" if table is None else f"has a table of {table.shape[0]} ids"
            raise SpecError(
                f"TiedHead predicts {target_width} ids with the encoder's own table, and the encoder {held}",
                hint="use InputIds behind an encoder of ids, such as didact_text.TokenEmbeddings, or LinearHead",
            )
        return ProjectionHead(TiedLayers(network.encoder, network.backbone.width, table, self.epsilon))


class TiedLayers(nn.Module):
    """The layers of `TiedHead`. The embedding table belongs to the encoder and is saved only with the encoder."""

    def __init__(self, encoder: FeatureEncoderModule, width: int, table: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        # in a tuple, so that it is not a submodule; the table is read at each use, because sharding replaces the tensor
        self.encoder = (encoder,)
        classes, inner = table.shape
        self.dense = nn.Linear(width, inner)
        self.norm = nn.LayerNorm(inner, epsilon)
        self.bias = nn.Parameter(torch.zeros(classes))
        nn.init.normal_(self.dense.weight, std=STD)
        nn.init.zeros_(self.dense.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Maps outputs (N, D) to logits (N, C)."""
        table = self.encoder[0].input_embeddings()
        assert table is not None
        return nn.functional.linear(self.norm(nn.functional.gelu(self.dense(rows))), table, self.bias)


@attrs.frozen(kw_only=True)
class CosineHead(Head):
    """HuBERT's head: cosines of the projected output with a learned vector for each cluster, divided by a temperature.

    Hsu et al. 2021, section II.E, eq. 3. The projection has a bias, as released.

    Attributes:
        width: width of the compared vectors; 256 for base models.
        temperature: τ, by which the cosines are divided; 0.1.
    """

    width: int = 256
    temperature: float = 0.1

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")
        self.require(self.temperature > 0, "temperature", "above 0")

    def build(self, network: Network, target_width: int) -> ProjectionHead:
        require_all_positions(network, "CosineHead")
        return ProjectionHead(CosineLayers(network.backbone.width, self.width, target_width, self.temperature))


class CosineLayers(nn.Module):
    """The layers of `CosineHead`.

    Attributes:
        projection: maps the outputs to ``width``.
        codes: (C, width); the vector of each cluster.
    """

    def __init__(self, inputs: int, width: int, classes: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.projection = nn.Linear(inputs, width)
        self.codes = nn.Parameter(torch.rand(classes, width))  # uniform in [0, 1), as released

    def forward(self, rows: Tensor) -> Tensor:
        """Maps outputs (N, D) to logits (N, C) float32."""
        projected = nn.functional.normalize(self.projection(rows).float(), dim=-1)
        codes = nn.functional.normalize(self.codes.float(), dim=-1)
        with torch.autocast(rows.device.type, enabled=False):  # bfloat16 has too few digits for cosines near 1
            return nn.functional.linear(projected, codes) / self.temperature
