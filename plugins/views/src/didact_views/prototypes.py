"""DINO: the student must find the prototypes that the teacher, centred and sharpened, finds in another view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact import (
    Batch,
    Finding,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    Preflight,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
)
from didact.machine.distributed import connected
from didact_views.summaries import TeacherSummariesModule, across, require_views, summary_width


@attrs.frozen(kw_only=True)
class PrototypeTargets(TargetBuilder):
    """The teacher's probabilities of the prototypes in the first views, centred and sharpened.

    Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers, section 3.1, algorithm 1 and eq. 4.

    Attributes:
        teacher: that averages encoder, backbone and head; in DINO τ goes from 0.996 to 1 in half a cosine over the
            whole run.
        teacher_views: how many of the views the teacher sees, the first ones: DINO's two global crops.
        start: temperature of the first step; 0.04. Lower is sharper.
        end: temperature after the warm-up; 0.07 in the paper, 0.04 where the loss does not fall.
        warmup_steps: optimizer steps over which the temperature rises linearly; 30 epochs in the paper.
        momentum: m of the centre, which moves once per optimizer step by the mean over the global batch: c ← m·c +
            (1 - m)·mean.
    """

    teacher: Teacher
    teacher_views: int = 2
    start: float = 0.04
    end: float = 0.07
    warmup_steps: int = 37_500
    momentum: float = 0.9

    def validate(self) -> None:
        self.require(self.teacher_views >= 1, "teacher_views", "at least 1")
        self.require(self.start > 0, "start", "above 0")
        self.require(self.end > 0, "end", "above 0")
        self.require(self.warmup_steps >= 0, "warmup_steps", "at least 0")
        self.require(0 <= self.momentum < 1, "momentum", "from 0 up to but not 1")

    def temperature(self, step: int) -> float:
        """The teacher's, after so many optimizer steps."""
        if step >= self.warmup_steps:
            return self.end
        return self.start + (self.end - self.start) * step / self.warmup_steps

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Whether the temperature gets where it is to go."""
        if self.start != self.end and self.warmup_steps > preflight.steps:
            yield Finding.warning(
                f"the teacher's temperature rises over {self.warmup_steps:,} steps, of which the run takes "
                f"{preflight.steps:,}: it ends at {self.temperature(preflight.steps):.3g} and never reaches {self.end}",
                where="warmup_steps",
                mend=f"warmup_steps={preflight.steps // 10}, as 30 of DINO's 300 epochs",
            )

    def build(self, network: Network) -> PrototypeTargetsModule:
        return PrototypeTargetsModule(self, network)


class PrototypeTargetsModule(TeacherSummariesModule):
    """The teacher, its centre, and where its temperature has got to.

    Attributes:
        centre: (C,); the running mean of the teacher's summaries.
        temperature: a scalar.
        total: (C,); the sum of the teacher's summaries since the last optimizer step, on this process.
        count: of what; a scalar.
    """

    centre: Tensor
    temperature: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, spec: PrototypeTargets, network: Network) -> None:
        super().__init__(summary_width(network, "PrototypeTargets"), spec.teacher, network)
        self.spec = spec
        self.register_buffer("centre", torch.zeros(self.width))
        self.register_buffer("temperature", torch.tensor(spec.temperature(0)))
        self.register_buffer("total", torch.zeros(self.width), persistent=False)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """A target (B, C), probabilities, for each pair of one of the teacher's views and another view."""
        require_views(passes)
        summaries = [s.float() for s in self.summaries(passes[: self.spec.teacher_views], network)]  # (B, C) each
        if self.training:
            self.total += torch.stack([summary.sum(0) for summary in summaries]).sum(0)
            self.count += sum(len(summary) for summary in summaries)
        return across([((s - self.centre) / self.temperature).softmax(-1) for s in summaries], len(passes))

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        world = connected()
        mean = world.all_reduce(self.total) / world.all_reduce(self.count).clamp(min=1)  # (C,), of the global batch
        self.centre.lerp_(mean, 1 - self.spec.momentum)
        self.total.zero_()
        self.count.zero_()
        temperature = self.spec.temperature(step)
        self.temperature.fill_(temperature)
        return {**super().after_step(network, step, steps), "teacher/temperature": temperature}


@attrs.frozen(kw_only=True)
class PrototypeCrossEntropy(Objective):
    """The cross-entropy of the student's probabilities under the teacher's, the mean over samples and pairs of views.

    Caron et al. 2021, eq. 2 and 3. It has no weights. Beside the loss it logs the two signs of collapse:
    ``collapse/target_entropy``, of a target, which is log C where the teacher says nothing, and
    ``collapse/prototypes``, how many the targets use between them (the exponential of their mean's entropy), which is 1
    where all are one.

    Attributes:
        temperature: the student's; 0.1.
    """

    temperature: float = 0.1

    def validate(self) -> None:
        self.require(self.temperature > 0, "temperature", "above 0")

    def build(self, network: Network, targets: TargetBuilderModule) -> PrototypeCrossEntropyModule:
        summary_width(network, "PrototypeCrossEntropy")
        return PrototypeCrossEntropyModule(self.temperature)


class PrototypeCrossEntropyModule(ObjectiveModule):
    """No weights."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"cross_entropy": batch.ids.shape[0]}

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the log-probabilities (B, C) of each view with the targets (B, C) that it must predict."""
        logs = [
            (one.context.summary.float() / self.temperature).log_softmax(-1)
            for one in passes
            if one.context.summary is not None
        ]
        terms = torch.stack([-(target.values * logs[target.view]).sum() for target in targets])
        values = torch.cat([target.values for target in targets]).detach()  # (B · pairs, C)
        return Loss(
            terms={"cross_entropy": terms.sum() / len(targets)},
            scalars={
                "collapse/target_entropy": _entropy(values).mean(),
                "collapse/prototypes": _entropy(values.mean(0)).exp(),
            },
        )


def _entropy(probabilities: Tensor) -> Tensor:
    """Of ``probabilities`` (*, C), in nats: (*)."""
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy
