"""Latent regression: predicts continuous targets at masked positions (data2vec §3.4, data2vec 2.0 §3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import (
    Batch,
    BatchMask,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    SpecError,
    StudentPass,
    Target,
    TargetBuilderModule,
    View,
)
from didact.errors import of_field
from didact.placing import repeat
from didact.tensors import mean_over_positions
from didact_distill.heads import Head, LinearHead


@attrs.frozen(kw_only=True)
class LatentRegression(Objective):
    """Smooth L1 or squared distance between predictions and targets, averaged over the masked positions.

    The mean is over the masked positions of the whole global batch: each position has the same weight, however the
    positions are distributed over devices and accumulated parts.

    Attributes:
        head: predicts the targets: `LinearHead` for speech and images, `MLPHead` for text, `ConvDecoder` for data2vec
            2.0.
        beta: distance at which smooth L1 changes from quadratic to linear; in data2vec 2 for images, 4 for text. 0 is
            the squared distance, without the factor 1/2 (speech, and all of data2vec 2.0).
        scale: factor on the sum over a position's channels. ``1/sqrt(width)`` is fairseq's default (speech, data2vec
            2.0), ``1`` its setting for text, ``1/width`` the mean of data2vec on images. It has nearly no effect with
            Adam, but it changes what gradient clipping does.
        class_weight: weight of the class token's loss in data2vec 2.0 on images, for which the first prefix token must
            predict the mean of the sample's targets. It applies to the mean over samples and masks. The released 0.01
            applies to the sum, which equals a weight of 2.56 for 16 images × 16 masks. 0: no such loss.
    """

    head: Head = LinearHead()
    beta: float = 0.0
    scale: Literal["1/sqrt(width)", "1/width", "1"] = "1/sqrt(width)"
    class_weight: float = 0.0

    def validate(self) -> None:
        self.require(self.beta >= 0, "beta", "at least 0")
        self.require(self.class_weight >= 0, "class_weight", "at least 0")

    @property
    def requires_masks(self) -> bool:
        return True

    def build(self, network: Network, targets: TargetBuilderModule) -> LatentRegressionModule:
        if targets.kind != "vectors" or targets.level != "position":
            raise SpecError(
                f"LatentRegression predicts vectors for each position, but "
                f"{type(targets).__name__.removesuffix('Module')} makes {targets.kind} for each {targets.level}",
                hint=f"use targets that are vectors for each position, such as TopKTargets, or an objective that "
                f"predicts {targets.kind} for each {targets.level}",
            )
        if self.class_weight and targets.width != network.backbone.width:
            raise SpecError(
                f"LatentRegression.class_weight compares class tokens (D={network.backbone.width}) with targets, "
                f"and {type(targets).__name__.removesuffix('Module')} makes vectors of D={targets.width}",
                where="class_weight",
                hint="set class_weight=0, or use targets of the backbone's width, such as TopKTargets",
            )
        with of_field("head"):
            head = self.head.build(network, targets.width)
        return LatentRegressionModule(self, head, targets.width)


class LatentRegressionModule(ObjectiveModule):
    """The head of a `LatentRegression`, and the loss."""

    def __init__(self, spec: LatentRegression, head: torch.nn.Module, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.head = head
        self.scale: float = {"1/sqrt(width)": width**-0.5, "1/width": 1 / width, "1": 1.0}[spec.scale]

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        masks = [require_mask(view, "LatentRegression") for view in batch.views]
        counts = {"regression": sum(mask.count for mask in masks)}
        if self.spec.class_weight:
            counts["class"] = sum(mask.predicted.shape[0] * mask.contexts for mask in masks)
        return counts

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Sums the distances of the head's predictions (N, D) to the targets (B, T, D) at the masked positions."""
        require_targets(passes, targets, "LatentRegression")
        regression, class_token, predicted, expected = [], [], [], []
        for target in targets:
            student = passes[target.view]
            mask = require_mask(student.view, "LatentRegression")
            padding = repeat(student.view.padding, mask)  # (R, T)
            predictions = self.head(student.backbone_output, mask, padding).float()  # (N, D)
            values = target.values.flatten(0, 1).index_select(0, mask.target_indices)  # (B, T, D) -> (N, D)
            regression.append(self._distance(predictions, values))
            predicted.append(predictions.detach())
            expected.append(values)
            if self.spec.class_weight:
                class_token.append(self._class_distance(student, target.values, mask))
        terms = {"regression": torch.stack(regression).sum()}
        if class_token:
            terms["class"] = torch.stack(class_token).sum() * self.spec.class_weight
        return Loss(terms=terms, predictions=torch.cat(predicted), targets=torch.cat(expected))

    def _class_distance(self, student: StudentPass, values: Tensor, mask: BatchMask) -> Tensor:
        """The distance of the class token to the mean (B, D) of the sample's targets, summed over all rows."""
        if not student.backbone_output.tokens.num_prefix_tokens:
            raise SpecError(
                "LatentRegression.class_weight needs a class token, and the encoder has none",
                where="experiment.objective.class_weight",
                hint="give the encoder a class token, or set the weight to 0",
            )
        mean = mean_over_positions(values, student.view.padding).repeat_interleave(mask.contexts, 0)  # (B, D) -> (R, D)
        return self._distance(student.backbone_output.output[:, 0].float(), mean)

    def _distance(self, predictions: Tensor, values: Tensor) -> Tensor:
        if self.spec.beta == 0:
            distance = (predictions - values).square().sum()
        else:
            distance = torch.nn.functional.smooth_l1_loss(predictions, values, reduction="sum", beta=self.spec.beta)
        return distance * self.scale


def require_targets(passes: tuple[StudentPass, ...], targets: tuple[Target, ...], objective: str) -> None:
    """Checks that every view has exactly one target, as `num_targets` assumes.

    Without the check, the loss of a view without a target would count as 0, and that of a view with two would double.

    Args:
        passes: the student's passes over the views.
        targets: the targets to predict.
        objective: the objective's name, for the error.

    Raises:
        SpecError: a view has no target, or several.
    """
    served = Counter(target.view for target in targets)
    wrong = {view: served[view] for view in range(len(passes)) if served[view] != 1}
    if wrong:
        view, count = next(iter(wrong.items()))
        raise SpecError(
            f"{objective} predicts one target for each view, but the target builder makes {count} for view {view}",
            where="experiment.targets",
            hint="use a target builder that makes one target for each view, or another objective",
        )


def require_mask(view: View, objective: str) -> BatchMask:
    """The mask of a view.

    Args:
        view: a view whose masked positions are predicted.
        objective: the objective's name, for the error.

    Raises:
        SpecError: the view has no mask.
    """
    if view.mask is None:
        raise SpecError(
            f"{objective} predicts masked positions, and the experiment has no masker",
            where="experiment.masker",
            hint="give the experiment a masker, or another objective",
        )
    return view.mask
