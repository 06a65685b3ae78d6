"""Latent regression: predicting continuous targets at masked positions (data2vec §3.4, data2vec 2.0 §3.3)."""

from __future__ import annotations

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
    repeat,
)
from didact.errors import of_field
from didact.tensors import mean_over_positions
from didact_distill.heads import Head, LinearHead


@attrs.frozen(kw_only=True)
class LatentRegression(Objective):
    """Smooth L1 or squared distance between predictions and targets, a mean over the masked positions of the batch.

    The mean goes over the masked positions of the whole global batch, so devices or micro-batches that happen to hold
    more of them weigh more, as they should.

    Attributes:
        head: that predicts; `LinearHead` for speech and images, `MLPHead` for text, `ConvDecoder` for data2vec 2.0.
        beta: where smooth L1 turns from quadratic to linear; data2vec: 2 for images, 4 for text. 0 is the squared
            distance, without the half (speech, and data2vec 2.0 throughout).
        scale: of the sum over a position's channels. ``1/sqrt(width)`` is fairseq's default (speech, data2vec 2.0),
            ``1`` its setting for text, ``1/width`` the mean that data2vec on images uses. Adam hardly feels it, a
            gradient clipped to a norm does.
        class_weight: of the class token's loss in data2vec 2.0 on images: the first extra token must be the mean of the
            sample's targets. A weight on the mean over samples and masks; the released 0.01 is multiplied by them,
            which makes 2.56 on a device that holds 16 images × 16 masks. 0: no such loss.
    """

    head: Head = LinearHead()
    beta: float = 0.0
    scale: Literal["1/sqrt(width)", "1/width", "1"] = "1/sqrt(width)"
    class_weight: float = 0.0

    def validate(self) -> None:
        self.require(self.beta >= 0, "beta", "at least 0")
        self.require(self.class_weight >= 0, "class_weight", "at least 0")

    def build(self, network: Network, targets: TargetBuilderModule) -> LatentRegressionModule:
        with of_field("head"):
            head = self.head.build(network, targets.width)
        return LatentRegressionModule(self, head, targets.width)


class LatentRegressionModule(ObjectiveModule):
    """The head, and the distance."""

    def __init__(self, spec: LatentRegression, head: torch.nn.Module, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.head = head
        self.scale: float = {"1/sqrt(width)": width**-0.5, "1/width": 1 / width, "1": 1.0}[spec.scale]

    def counts(self, batch: Batch) -> Mapping[str, int]:
        masks = [require_mask(view, "LatentRegression") for view in batch.views]
        counts = {"regression": sum(mask.count for mask in masks)}
        if self.spec.class_weight:
            counts["class"] = sum(mask.predicted.shape[0] * mask.masks for mask in masks)
        return counts

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the head's predictions (N, D) with the targets (B, T, D) at the masked positions."""
        require_targets(passes, targets, "LatentRegression")
        regression, class_token, predicted, expected = [], [], [], []
        for target in targets:
            student = passes[target.view]
            mask = require_mask(student.view, "LatentRegression")
            padding = repeat(student.view.padding, mask)  # (R, T)
            predictions = self.head(student.context, mask, padding).float()  # (N, D)
            values = target.values.flatten(0, 1).index_select(0, mask.targets)  # (B, T, D) -> (N, D)
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
        """The class token's distance to the mean (B, D) of the sample's targets, summed over all rows."""
        if not student.context.tokens.extra:
            raise SpecError(
                "LatentRegression.class_weight needs a class token, and the encoder gives none",
                where="experiment.objective.class_weight",
                mend="give the encoder a class token, or set the weight to 0",
            )
        mean = mean_over_positions(values, student.view.padding)  # (B, D)
        return self._distance(student.context.output[:, 0].float(), mean.repeat_interleave(mask.masks, 0))  # (R, D)

    def _distance(self, predictions: Tensor, values: Tensor) -> Tensor:
        if self.spec.beta == 0:
            distance = (predictions - values).square().sum()
        else:
            distance = torch.nn.functional.smooth_l1_loss(predictions, values, reduction="sum", beta=self.spec.beta)
        return distance * self.scale


def require_targets(passes: tuple[StudentPass, ...], targets: tuple[Target, ...], objective: str) -> None:
    """Looks whether every view has a target: one without would be counted, and be taken for perfect.

    Args:
        passes: of the views.
        targets: that are to be predicted.
        objective: that predicts them, for the error.

    Raises:
        SpecError: a view has none.
    """
    unserved = set(range(len(passes))) - {target.view for target in targets}
    if unserved:
        raise SpecError(
            f"{objective} predicts every view, and the targets serve none of {sorted(unserved)}",
            where="experiment.targets",
            mend="give one target for each view, or another objective",
        )


def require_mask(view: View, objective: str) -> BatchMask:
    """The view's mask.

    Args:
        view: of which masked positions are to be predicted.
        objective: that predicts them, for the error.

    Raises:
        SpecError: it has none.
    """
    if view.mask is None:
        raise SpecError(
            f"{objective} predicts masked positions, and the experiment has no masker",
            where="experiment.masker",
            mend="give the experiment a masker, or another objective",
        )
    return view.mask
