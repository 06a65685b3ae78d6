"""The smallest method: targets that a teacher gives, and an objective that works with any context."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.contracts import Objective, ObjectiveModule, TargetBuilder, TargetBuilderModule, Teacher, TeacherModule
from didact.learner import Network
from didact.tensors import Batch, Collect, Context, Loss, StudentPass, Target, mean_over_positions


@attrs.frozen(kw_only=True)
class TinyTeacher(Teacher):
    """A moving average of the student.

    Attributes:
        decay: how much of itself it keeps in a step.
    """

    decay: float = 0.9

    def build(self, network: Network) -> TinyTeacherModule:
        return TinyTeacherModule(network, self.decay)


class TinyTeacherModule(TeacherModule):
    """Its weights."""

    def __init__(self, network: Network, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    def train(self, mode: bool = True) -> TinyTeacherModule:
        """Stays in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, student: StudentPass, network: Network, collect: Collect | None = None) -> Context:
        """The whole view's context: output (B, V, D)."""
        return self.network.contextualize(self.network.encoder.embed(student.view), None, collect)

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Follows the student."""
        for mine, its in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(its, 1 - self.decay)
        return {"teacher/decay": self.decay}

    def subject(self, network: Network) -> Network:
        """Its own network."""
        return self.network


@attrs.frozen(kw_only=True)
class TinyTargets(TargetBuilder):
    """What a teacher makes of each position in its uppermost block, or of a whole sample, normalised.

    Attributes:
        teacher: that is asked.
        level: ``sample`` is the mean of its output: for backbones without features, or whose vectors stand for other
            positions than the encoder's.
    """

    teacher: Teacher = TinyTeacher()
    level: Literal["position", "sample"] = "position"

    def build(self, network: Network) -> TinyTargetsModule:
        return TinyTargetsModule(self, network)


class TinyTargetsModule(TargetBuilderModule):
    """Its teacher."""

    def __init__(self, spec: TinyTargets, network: Network) -> None:
        super().__init__()
        self.teacher = spec.teacher.build(network)
        self.level = spec.level
        self.width = network.backbone.width

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target (B, T, D), or (B, D), for each view."""
        return tuple(
            Target(view=index, values=self._values(one, network), level=self.level) for index, one in enumerate(passes)
        )

    def _values(self, one: StudentPass, network: Network) -> Tensor:
        if self.level == "sample":
            context = self.teacher(one, network)
            values = mean_over_positions(context.output, context.tokens.padding)  # (B, D)
        else:
            context = self.teacher(one, network, Collect(feature="block", last=1))
            values = context.positions_only(context.features[0])  # (B, T, D)
        return F.layer_norm(values.float(), values.shape[-1:])

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Lets the teacher follow."""
        return self.teacher.after_step(network, step, steps)

    def subject(self, network: Network) -> Network:
        """The teacher's network."""
        return self.teacher.subject(network)


@attrs.frozen(kw_only=True)
class TinyObjective(Objective):
    """Predicts every target of a row from the mean of the row's context, so that any context will do."""

    def build(self, network: Network, targets: TargetBuilderModule) -> TinyObjectiveModule:
        return TinyObjectiveModule(network.backbone.width, targets.width)


class TinyObjectiveModule(ObjectiveModule):
    """Its linear head."""

    def __init__(self, width: int, targets: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, targets)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        masked = sum(view.mask.count for view in batch.views if view.mask is not None)
        return {"prediction": masked + len(batch.ids) * len(batch.views)}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Squared distances, or cross-entropies of ids, at the predicted positions and of every sample's first row."""
        terms, predictions, expected = [], [], []
        for target in targets:
            one = passes[target.view]
            rows = self.head(mean_over_positions(one.context.output, one.context.tokens.padding)).float()  # (R, D)
            samples = target.values.shape[0]
            first = rows[:: rows.shape[0] // samples]  # (B, D)
            values = target.values if target.level == "sample" else target.values[:, 0]  # (B, D) or (B,)
            if one.view.mask is not None and target.level == "position":
                mask, t = one.view.mask, one.view.layout.positions
                first = torch.cat([first, rows[mask.predictions // t]])  # (B + N, D)
                values = torch.cat([values, target.values.flatten(0, 1)[mask.targets]])
            if values.is_floating_point():
                terms.append((first - values).square().sum() / values.shape[-1])
                predictions.append(first.detach())
                expected.append(values.detach())
            else:
                terms.append(F.cross_entropy(first, values, reduction="sum"))
        return Loss(
            terms={"prediction": torch.stack(terms).sum()},
            predictions=torch.cat(predictions) if predictions else None,
            targets=torch.cat(expected) if expected else None,
        )
