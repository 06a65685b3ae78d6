"""Classification of samples: cross-entropy with label smoothing, and accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact import (
    BackboneOutput,
    Batch,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    SpecError,
    StudentPass,
    Target,
    TargetBuilderModule,
)
from didact.tensors import mean_over_positions
from didact_finetune.labels import LabelsModule


@attrs.frozen(kw_only=True)
class Classification(Objective):
    """The cross-entropy of each sample's class, which a linear layer predicts from the pooled output of the backbone.

    Averaged over samples with a label, and over views. ``predict/accuracy`` is logged: the share of these samples whose
    class has the largest logit, in training mode, with the augmentation.

    Attributes:
        pooling: how positions are pooled. ``mean``: the mean over all positions except padding. ``class``: the first
            prefix token.
        label_smoothing: the share of the target that is spread over all classes (Szegedy et al. 2016, section 7); 0.1
            in DeiT and BEiT.
    """

    pooling: Literal["mean", "class"] = "mean"
    label_smoothing: float = 0.1

    def validate(self) -> None:
        self.require(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 up to but not 1")

    def build(self, network: Network, targets: TargetBuilderModule) -> ClassificationModule:
        if (targets.kind, targets.level) != ("ids", "sample"):
            builder = type(targets).__name__.removesuffix("Module")
            raise SpecError(
                f"Classification predicts ids per sample, and {builder} gives {targets.kind} per {targets.level}",
                hint="use targets=Labels(classes=…), or an objective for these targets",
            )
        if len({one.backbone.width for one in network.all()}) > 1:
            raise SpecError(
                "Classification has one linear layer, and the backbones of the views differ in width",
                hint="give all backbones the same width",
            )
        field = targets.field if isinstance(targets, LabelsModule) else None
        return ClassificationModule(self, nn.Linear(network.backbone.width, targets.width), field)


class ClassificationModule(ObjectiveModule):
    """The linear layer."""

    def __init__(self, spec: Classification, head: nn.Linear, field: str | None) -> None:
        super().__init__()
        self.spec, self.head, self.field = spec, head, field

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        if self.field is None:
            return {"cross_entropy": batch.ids.shape[0]}
        return {"cross_entropy": int((batch.fields[self.field] >= 0).sum())}  # on the host, as the loader gives it

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the logits (B, C) of each view with the labels (B,); -1 is no label."""
        terms, right = [], []
        for target in targets:
            logits, labels = self.head(self._pooled(passes[target.view])).float(), target.values  # (B, C), (B,)
            smoothing = self.spec.label_smoothing
            terms.append(F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum", label_smoothing=smoothing))
            right.append((logits.detach().argmax(1) == labels).sum() / (labels >= 0).sum().clamp(min=1))
        return Loss(
            terms={"cross_entropy": torch.stack(terms).sum() / len(targets)},
            scalars={"predict/accuracy": torch.stack(right).mean()},
        )

    def _pooled(self, one: StudentPass) -> Tensor:
        """Pools the positions of each sample: (B, D)."""
        output: BackboneOutput = one.backbone_output
        samples = one.view.content.shape[0]
        if len(output.output) != samples:
            raise SpecError(
                f"Classification needs one row per sample, and the masker draws {len(output.output) // samples} masks",
                where="experiment.masker",
                hint="use masker=None, or a masker that draws one mask",
            )
        prefix = output.tokens.num_prefix_tokens
        if self.spec.pooling == "class":
            if not prefix:
                raise SpecError(
                    'Classification.pooling="class" takes the class token, and the encoder gives none',
                    where="experiment.objective.pooling",
                    hint='give the encoder a class token, or take pooling="mean"',
                )
            return output.output[:, 0]
        padding = output.tokens.padding
        return mean_over_positions(
            output.positions_only(output.output), None if padding is None else padding[:, prefix:]
        )
