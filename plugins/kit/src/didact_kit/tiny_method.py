"""The smallest method: a teacher, targets from its output, and an objective for any backbone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.contracts.network import Network
from didact.contracts.targets import (
    Objective,
    ObjectiveModule,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
    TeacherModule,
)
from didact.tensors import BackboneOutput, Batch, HiddenState, Loss, StudentPass, Target, mean_over_positions


@attrs.frozen(kw_only=True)
class TinyTeacher(Teacher):
    """A moving average of the student.

    Attributes:
        decay: the share of the teacher's weights that is kept in a step.
    """

    decay: float = 0.9

    def build(self, network: Network) -> TinyTeacherModule:
        return TinyTeacherModule(network, self.decay)


class TinyTeacherModule(TeacherModule):
    """The module of `TinyTeacher`."""

    def __init__(self, network: Network, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    def train(self, mode: bool = True) -> TinyTeacherModule:
        """Stays in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(
        self, student: StudentPass, network: Network, hidden_states: Sequence[HiddenState] = ()
    ) -> BackboneOutput:
        """The pass over the unmasked view: output (B, V, D)."""
        return self.network.contextualize(self.network.encoder.embed(student.view), None, hidden_states)

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Moves the teacher's weights towards the student's, and copies the student's buffers."""
        for mine, weight in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(weight, 1 - self.decay)
        for buffer, its in zip(self.network.buffers(), network.buffers(), strict=True):
            buffer.copy_(its)  # counts cannot be averaged, and running statistics are averages already
        return {"teacher/decay": self.decay}

    def evaluated_network(self, network: Network) -> Network:
        """Returns the teacher's own network."""
        return self.network


@attrs.frozen(kw_only=True)
class TinyTargets(TargetBuilder):
    """The teacher's last block at each position, or its mean output over a sample, normalised.

    Attributes:
        teacher: the teacher that gives the targets.
        level: ``sample`` uses the mean of the teacher's output, for backbones that give no hidden states, or whose
            vectors are for other positions than the encoder's.
    """

    teacher: Teacher = TinyTeacher()
    level: Literal["position", "sample"] = "position"

    def build(self, network: Network) -> TinyTargetsModule:
        return TinyTargetsModule(self, network)


class TinyTargetsModule(TargetBuilderModule):
    """The module of `TinyTargets`."""

    def __init__(self, spec: TinyTargets, network: Network) -> None:
        super().__init__()
        self.teacher = spec.teacher.build(network)
        self.level = spec.level
        self.width = network.backbone.width

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target (B, T, D), or (B, D), for each view."""
        return tuple(
            Target(view=index, values=self._values(one, network), level=self.level) for index, one in enumerate(passes)
        )

    def _values(self, one: StudentPass, network: Network) -> Tensor:
        if self.level == "sample":
            output = self.teacher(one, network)
            values = mean_over_positions(output.output, output.tokens.padding)  # (B, D)
        else:
            output = self.teacher(one, network, HiddenState.last("block", 1, len(network.backbone.blocks)))
            values = output.positions_only(output.hidden_states[0])  # (B, T, D)
        return F.layer_norm(values.float(), values.shape[-1:])

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        """Updates the teacher."""
        return self.teacher.after_step(network, step, steps)

    def evaluated_network(self, network: Network) -> Network:
        """Returns the teacher's network."""
        return self.teacher.evaluated_network(network)


@attrs.frozen(kw_only=True)
class TinyObjective(Objective):
    """Predicts every target of a row from the mean of the backbone's output over the row."""

    def build(self, network: Network, targets: TargetBuilderModule) -> TinyObjectiveModule:
        return TinyObjectiveModule(network.backbone.width, targets.width)


class TinyObjectiveModule(ObjectiveModule):
    """The module of `TinyObjective`, with a linear head."""

    def __init__(self, width: int, targets: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, targets)

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        masked = sum(view.mask.count for view in batch.views if view.mask is not None)
        return {"prediction": masked + len(batch.ids) * len(batch.views)}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Sums squared distances, or cross-entropies of ids, at predicted positions and at each sample's first row."""
        terms, predictions, expected = [], [], []
        for target in targets:
            one = passes[target.view]
            rows = self.head(
                mean_over_positions(one.backbone_output.output, one.backbone_output.tokens.padding)
            ).float()  # (R, D)
            samples = target.values.shape[0]
            first = rows[:: rows.shape[0] // samples]  # (B, D)
            values = target.values if target.level == "sample" else target.values[:, 0]  # (B, D) or (B,)
            if one.view.mask is not None and target.level == "position":
                mask, t = one.view.mask, one.view.layout.positions
                first = torch.cat([first, rows[mask.row_indices // t]])  # (B + N, D)
                values = torch.cat([values, target.values.flatten(0, 1)[mask.target_indices]])
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
