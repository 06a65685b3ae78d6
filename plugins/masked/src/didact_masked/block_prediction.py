"""I-JEPA's predictor: predicts the positions of one target block from the context, block by block."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from didact import Backbone, BackboneModule, BackboneOutput, BatchMask, Layout, Network, SpecError, Tokens
from didact.errors import of_field
from didact_distill import Head, HeadModule
from didact_transformer.sincos import sincos_positions

STD = 0.02  # of the initial weights, as in the released code


@attrs.frozen(kw_only=True)
class BlockPredictor(Head):
    """A narrow Transformer that reads a context and a mask token at each position of one target block.

    Assran et al. 2023, Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, section 3.
    Each mask is predicted alone, and the masks that share a context share the student's pass over it.

    Attributes:
        backbone: the predictor's blocks; in I-JEPA 6 blocks (12 for ViT-L and larger) of the width 384, with norms
            before them: ``Transformer(width=384, depth=6, heads=12, norm="pre", norm_epsilon=1e-6, dropout=0.0,
            attention_dropout=0.0)``.
        width: width of the predictor's vectors; 384 in I-JEPA.
    """

    backbone: Backbone
    width: int = 384

    def validate(self) -> None:
        self.require(self.width >= 1, "width", "at least 1")

    def build(self, network: Network, target_width: int) -> BlockPredictorModule:
        if not self.backbone.supports_dropping:
            raise SpecError(
                f"BlockPredictor passes some of the positions to its blocks, and {type(self.backbone).__name__} "
                f"requires all positions",
                where="backbone",
                hint="use a didact_transformer.Transformer",
            )
        with of_field("backbone"):
            backbone = self.backbone.build(self.width, network.layout)
        layout = network.layout if network.layout is not None else Layout((1,))  # otherwise, each view has its own
        return BlockPredictorModule(network.backbone.width, self.width, backbone, layout, target_width)


class BlockPredictorModule(HeadModule):
    """The weights of a `BlockPredictor`.

    Attributes:
        embed: maps the student's outputs to the predictor's width.
        mask_token: (1, D'); the vector at the positions to predict.
        positions: (T, D'); the fixed position codes of the layout for which the predictor was built.
        predict: maps the predictor's outputs to the targets' width.
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
        nn.init.trunc_normal_(self.mask_token, std=STD)
        for layer in (self.embed, self.predict):
            nn.init.trunc_normal_(layer.weight, std=STD)
            nn.init.zeros_(layer.bias)

    def forward(self, context: BackboneOutput, mask: BatchMask, padding: Tensor | None) -> Tensor:
        """Predicts (N, F) from the outputs of the contexts (R, V, D); prefix tokens are left out."""
        sequence, prefix = context.tokens, context.tokens.num_prefix_tokens
        codes = self._codes(sequence.layout, context.output.device)  # (T, D')
        seen, rows, t = context.positions_only(context.output), context.output.shape[0], sequence.layout.positions
        places = sequence.positions
        if places is None:
            places = torch.arange(t, device=codes.device).expand(rows, t)  # (R, T)
        x = self.embed(seen) + codes[places]  # (R, V, D')
        block, absent = _positions_to_predict(mask)  # (B·M, L) each
        queries = self.mask_token.to(x.dtype) + codes[block]  # (B·M, L, D')
        hidden = None if sequence.padding is None else sequence.padding[:, prefix:]
        if hidden is not None or absent is not None:
            hidden = torch.zeros_like(places, dtype=torch.bool) if hidden is None else hidden
            absent = torch.zeros_like(block, dtype=torch.bool) if absent is None else absent
            hidden = torch.cat([_spread(hidden, mask), absent], 1)  # (B·M, V + L)
        tokens = Tokens(
            features=torch.cat([_spread(x, mask), queries.to(x.dtype)], 1),
            layout=sequence.layout,
            padding=hidden,
            positions=torch.cat([_spread(places, mask), block], 1),
        )
        decoded = self.backbone(tokens).output[:, -mask.longest :].flatten(0, 1)  # (B·M·L, D')
        row = mask.mask_indices // t  # (N,)
        counts = mask.predicted.flatten(0, 1).sum(1)  # (B·M,)
        first = (counts.cumsum(0) - counts).index_select(0, row)  # (N,), index into N of each mask's first position
        rank = torch.arange(len(row), device=row.device) - first
        predictions: Tensor = self.predict(decoded.index_select(0, row * mask.longest + rank))
        return predictions

    def _codes(self, layout: Layout, device: torch.device) -> Tensor:
        if layout == self.built_for:
            return self.positions
        return sincos_positions(layout, self.width).to(device, non_blocking=True)


def _positions_to_predict(mask: BatchMask) -> tuple[Tensor, Tensor | None]:
    """Returns the predicted positions of each mask (B·M, L), in order, and which entries are filler (None: none)."""
    predicted = mask.predicted.flatten(0, 1)  # (B·M, T)
    order = torch.argsort((~predicted).to(torch.uint8), dim=1, stable=True)[:, : mask.longest]  # predicted ones first
    if mask.longest * len(predicted) == mask.count:
        return order, None
    absent = torch.arange(mask.longest, device=predicted.device) >= predicted.sum(1, keepdim=True)
    return order.masked_fill(absent, 0), absent


def _spread(values: Tensor, mask: BatchMask) -> Tensor:
    """Repeats the rows (R, …) for the masks that share a context: (B·M, …)."""
    return values.repeat_interleave(mask.masks // mask.contexts, 0)
