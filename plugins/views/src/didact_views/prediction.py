"""BYOL's and SimSiam's objective: a predictor that only the student has, and a cosine similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import Batch, Loss, Network, Objective, ObjectiveModule, StudentPass, Target, TargetBuilderModule
from didact_views.projection import MLP
from didact_views.projections import pooled, pooled_width, require_sample_vectors


@attrs.frozen(kw_only=True)
class NegativeCosineSimilarity(Objective):
    """2 - 2·cosine of predicted and target projections, averaged over samples and ordered pairs of views.

    BYOL (Grill et al. 2020, eq. 2) sums both directions, so its loss is twice this one. SimSiam's loss (Chen & He 2021,
    eq. 2) is half of this one, minus 1. AdamW is invariant to the factor.

    Attributes:
        hidden: width of the predictor's hidden layer; BYOL 4096, SimSiam 512.
        norm: the normalisation after that layer; see `MLP.norm`.
    """

    hidden: int = 4096
    norm: Literal["batch", "none"] = "batch"

    def validate(self) -> None:
        self.require(self.hidden >= 1, "hidden", "at least 1")

    @property
    def supports_accumulation(self) -> bool:
        return self.norm == "none"

    def build(self, network: Network, targets: TargetBuilderModule) -> NegativeCosineSimilarityModule:
        require_sample_vectors(targets, "NegativeCosineSimilarity")
        width = pooled_width(network, "NegativeCosineSimilarity")
        return NegativeCosineSimilarityModule(MLP(hidden=self.hidden, out=targets.width, norm=self.norm).build(width))


class NegativeCosineSimilarityModule(ObjectiveModule):
    """The predictor."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return {"cosine": batch.ids.shape[0]}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the predictions (B, P) of each view with the projections (B, P) of the others."""
        directions = [  # (B, P) each, computed once for each view
            unit(self.predictor(pooled(one, "NegativeCosineSimilarity"))) for one in passes
        ]
        distances, predicted, expected = [], [], []
        for target in targets:
            prediction, value = directions[target.view], unit(target.values)
            distances.append((2 - 2 * (prediction * value).sum(-1)).sum())
            predicted.append(prediction.detach())
            expected.append(value.detach())
        scale = expected[0].shape[1] ** 0.5  # vectors spread over all directions then have standard deviation 1
        return Loss(
            terms={"cosine": torch.stack(distances).sum() / len(targets)},
            predictions=torch.cat(predicted) * scale,
            targets=torch.cat(expected) * scale,
        )


def unit(values: Tensor) -> Tensor:
    """``values`` (B, P) as float32 vectors of length 1."""
    return nn.functional.normalize(values.float(), dim=-1)
