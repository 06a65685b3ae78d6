"""DINO's targets, and the objective that DINO and SwAV share: predict another view's probabilities of prototypes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact import (
    Batch,
    Loss,
    Network,
    Objective,
    ObjectiveModule,
    SpecError,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
)
from didact.machine.distributed import connected
from didact.preflight import Finding, Preflight
from didact_views.projections import (
    PrototypeProbabilities,
    TeacherProjectionsModule,
    across,
    pooled,
    pooled_width,
    require_views,
)


@attrs.frozen(kw_only=True)
class PrototypeTargets(TargetBuilder):
    """The teacher's prototype probabilities for the first views, centred and sharpened.

    ``collapse/prototypes`` is logged: the effective number of prototypes that the targets of the global batch use. It
    is the exponential of the entropy of their mean. 1 means collapse to one prototype.

    Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers, section 3.1, algorithm 1 and eq. 4.

    Attributes:
        teacher: the teacher, which averages encoder, backbone and head; in DINO τ rises from 0.996 to 1 along half a
            cosine over the whole run.
        teacher_views: number of views that the teacher sees, counted from the first; 2, DINO's global crops.
        start: temperature of the first step; 0.04. Lower is sharper.
        end: temperature after the warm-up; 0.07 in the paper. Use 0.04 if the loss does not fall.
        warmup_steps: optimizer steps over which the temperature rises linearly; 30 epochs in the paper.
        momentum: m of the centre, which is updated once per optimizer step with the mean over the global batch: c ←
            m·c + (1 - m)·mean.
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
        """The teacher's temperature after ``step`` optimizer steps."""
        if step >= self.warmup_steps:
            return self.end
        return self.start + (self.end - self.start) * step / self.warmup_steps

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Checks that the temperature reaches ``end``."""
        if self.start != self.end and self.warmup_steps > preflight.steps:
            yield Finding.warning(
                f"the teacher's temperature rises over {self.warmup_steps:,} steps, of which the run takes "
                f"{preflight.steps:,}: it ends at {self.temperature(preflight.steps):.3g} and never reaches {self.end}",
                where="warmup_steps",
                hint=f"warmup_steps={preflight.steps // 10}, as 30 of DINO's 300 epochs",
            )

    def build(self, network: Network) -> PrototypeTargetsModule:
        return PrototypeTargetsModule(self, network)


class PrototypeTargetsModule(TeacherProjectionsModule, PrototypeProbabilities):
    """The teacher, its centre and its temperature.

    Attributes:
        centre: (C,); the running mean of the teacher's projections.
        temperature: a scalar.
        total: (C,); the sum of the teacher's projections since the last optimizer step, on this process.
        used: (C,); the sum of the targets since then.
        count: the number of terms of both sums; a scalar.
    """

    centre: Tensor
    temperature: Tensor
    total: Tensor
    used: Tensor
    count: Tensor

    def __init__(self, spec: PrototypeTargets, network: Network) -> None:
        super().__init__(pooled_width(network, "PrototypeTargets"), spec.teacher, network)
        self.spec = spec
        self.register_buffer("centre", torch.zeros(self.width))
        self.register_buffer("temperature", torch.tensor(spec.temperature(0)))
        self.register_buffer("total", torch.zeros(self.width), persistent=False)
        self.register_buffer("used", torch.zeros(self.width), persistent=False)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns probabilities (B, C) as the target of each pair of one of the teacher's views and another view."""
        require_views(passes)
        projections = [p.float() for p in self.projections(passes[: self.spec.teacher_views], network)]  # (B, C) each
        targets = [((p - self.centre) / self.temperature).softmax(-1) for p in projections]
        if self.training:
            self.total += torch.stack([projection.sum(0) for projection in projections]).sum(0)
            self.used += torch.stack([target.sum(0) for target in targets]).sum(0)
            self.count += sum(map(len, projections))
        return across(targets, len(passes))

    @torch.no_grad()
    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        sums = connected().all_reduce(torch.cat([self.total, self.used, self.count[None]]))  # (2·C + 1,)
        mean, used = (sums[:-1] / sums[-1].clamp(min=1)).chunk(2)  # (C,) each, of the global batch
        self.centre.lerp_(mean, 1 - self.spec.momentum)
        for buffer in (self.total, self.used, self.count):
            buffer.zero_()
        temperature = self.spec.temperature(step)
        self.temperature.fill_(temperature)
        return {
            **super().after_step(network, step, steps),
            "teacher/temperature": temperature,
            "collapse/prototypes": _entropy(used).exp(),
        }


@attrs.frozen(kw_only=True)
class PrototypeCrossEntropy(Objective):
    """The cross-entropy of a view's probabilities of prototypes and their targets, averaged over samples and pairs.

    DINO (Caron et al. 2021, eq. 2 and 3) and SwAV (Caron et al. 2020, eq. 2). It has no weights. Besides the loss it
    logs ``collapse/target_entropy``, the mean entropy of the targets. It is log C if no prototype is preferred, which
    is one form of collapse; `PrototypeTargets` logs a metric of the other form.

    Attributes:
        temperature: the student's; 0.1.
    """

    temperature: float = 0.1

    def validate(self) -> None:
        self.require(self.temperature > 0, "temperature", "above 0")

    def build(self, network: Network, targets: TargetBuilderModule) -> PrototypeCrossEntropyModule:
        if not isinstance(targets, PrototypeProbabilities):
            builder = type(targets).__name__.removesuffix("Module")
            raise SpecError(
                f"PrototypeCrossEntropy predicts probabilities of prototypes, and {builder} gives none",
                hint="use targets=PrototypeTargets(…) or SinkhornTargets(), or objective=NegativeCosineSimilarity() "
                "for other projections",
            )
        pooled_width(network, "PrototypeCrossEntropy")
        return PrototypeCrossEntropyModule(self.temperature)


class PrototypeCrossEntropyModule(ObjectiveModule):
    """No weights."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return {"cross_entropy": batch.ids.shape[0]}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the log-probabilities (B, C) of each view with the targets (B, C) that it must predict."""
        logs = [(pooled(one, "PrototypeCrossEntropy").float() / self.temperature).log_softmax(-1) for one in passes]
        terms = torch.stack([-(target.values * logs[target.view]).sum() for target in targets])
        values = torch.cat([target.values for target in targets]).detach()  # (B · pairs, C)
        return Loss(
            terms={"cross_entropy": terms.sum() / len(targets)},
            scalars={"collapse/target_entropy": _entropy(values).mean()},
        )


def _entropy(probabilities: Tensor) -> Tensor:
    """Computes the entropy of ``probabilities`` (*, C) in nats: (*)."""
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy
