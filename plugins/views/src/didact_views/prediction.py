"""BYOL's and SimSiam's objective: a predictor that the student alone has, and a cosine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact import Batch, Loss, Network, Objective, ObjectiveModule, StudentPass, Target, TargetBuilderModule
from didact_views.projection import MLP
from didact_views.summaries import summary_width


@attrs.frozen(kw_only=True)
class CosinePrediction(Objective):
    """2 - 2·cosine of a predicted and the true summary, the mean over samples and ordered pairs of views.

    BYOL (Grill et al. 2020, eq. 2, whose sum over both directions is twice this) and SimSiam (Chen & He 2021, eq. 2,
    which is this minus 2, halved). AdamW does not feel the factor.

    Attributes:
        hidden: width of the predictor's hidden layer; BYOL 4096, SimSiam 512.
        norm: behind that layer; see `MLP.norm`.
    """

    hidden: int = 4096
    norm: Literal["batch", "none"] = "batch"

    def validate(self) -> None:
        self.require(self.hidden >= 1, "hidden", "at least 1")

    @property
    def divisible(self) -> bool:
        return self.norm == "none"

    def build(self, network: Network, targets: TargetBuilderModule) -> CosinePredictionModule:
        width = summary_width(network, "CosinePrediction")
        return CosinePredictionModule(MLP(hidden=self.hidden, out=targets.width, norm=self.norm).build(width))


class CosinePredictionModule(ObjectiveModule):
    """The predictor."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"cosine": batch.ids.shape[0]}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the predictions (B, P) of each view with the summaries (B, P) of the others."""
        directions = [unit(self.predictor(one.context.summary)) for one in passes]  # (B, P) each, once for each view
        distances, predicted, expected = [], [], []
        for target in targets:
            prediction, value = directions[target.view], unit(target.values)
            distances.append((2 - 2 * (prediction * value).sum(-1)).sum())
            predicted.append(prediction.detach())
            expected.append(value.detach())
        scale = expected[0].shape[1] ** 0.5  # spread over all directions, their standard deviation is then 1
        return Loss(
            terms={"cosine": torch.stack(distances).sum() / len(targets)},
            predictions=torch.cat(predicted) * scale,
            targets=torch.cat(expected) * scale,
        )


def unit(values: Tensor) -> Tensor:
    """The directions of ``values`` (B, P), as float32 vectors of length 1."""
    return nn.functional.normalize(values.float(), dim=-1)
