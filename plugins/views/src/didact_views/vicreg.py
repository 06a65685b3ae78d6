"""VICReg's objective: summaries that agree, vary, and are not correlated (Bardes et al. 2022)."""

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
    TargetBuilderModule,
)
from didact.machine.distributed import connected
from didact_views.summaries import summary_width


@attrs.frozen(kw_only=True)
class VICReg(Objective):
    """Invariance, variance and covariance of summaries (Bardes et al. 2022, section 4.1, eq. 1 to 6).

    Variance and covariance are those of the whole global batch, on any number of processes; so no part of it has a loss
    of its own, and there are no micro-batches.

    Attributes:
        invariance: λ, of the mean squared difference between the views' summaries.
        variance: μ, of what each view's standard deviations lack to 1. The released code takes the mean over the two
            views where the paper adds them: 12.5 is that.
        covariance: ν, of the squared covariances of different channels, summed and divided by their number.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def validate(self) -> None:
        for field in ("invariance", "variance", "covariance"):
            self.require(getattr(self, field) >= 0, field, "at least 0")

    @property
    def divisible(self) -> bool:
        return False

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Whether a batch is large enough to have a covariance."""
        if preflight.samples_per_step.smallest < 2:
            yield Finding.error(
                "a batch of one sample has no variance", mend="training.batch of 256 samples or more, as in the paper"
            )

    def build(self, network: Network, targets: TargetBuilderModule) -> VICRegModule:
        summary_width(network, "VICReg")
        return VICRegModule(self)


class VICRegModule(ObjectiveModule):
    """No weights."""

    def __init__(self, spec: VICReg) -> None:
        super().__init__()
        self.spec = spec

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return dict.fromkeys(("invariance", "variance", "covariance"), batch.ids.shape[0])

    def forward(self, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the summaries (B, P) of the views, and looks at each one's spread.

        A function of the whole batch counts as often as this process has samples, so that the division by the global
        count gives it back.
        """
        summaries = [one.context.summary.float() for one in passes if one.context.summary is not None]  # (B, P) each
        pairs = [(summaries[target.view], target.values.float()) for target in targets]
        samples, spec = len(summaries[0]), self.spec
        invariance = torch.stack([(one - other).square().mean(1).sum() for one, other in pairs]).sum() / len(pairs)
        spreads = [covariance_matrix(summary, everywhere=self.training) for summary in summaries]
        return Loss(
            terms={
                "invariance": spec.invariance * invariance,
                "variance": spec.variance * samples * torch.stack([variance_lack(s) for s in spreads]).sum(),
                "covariance": spec.covariance * samples * torch.stack([redundancy(s) for s in spreads]).sum(),
            },
            predictions=torch.cat([one.detach() for one, _ in pairs]),
            targets=torch.cat([other.detach() for _, other in pairs]),
        )


def covariance_matrix(summaries: Tensor, *, everywhere: bool) -> Tensor:
    """The unbiased covariance (P, P) of summaries (B, P); of those of all processes, where they train together."""
    world = connected()
    count = torch.full((), float(len(summaries)), device=summaries.device)
    total = summaries.sum(0)
    if everywhere:
        count, total = world.all_reduce(count), world.all_reduce(total)
    centred = summaries - total / count
    with torch.autocast(summaries.device.type, enabled=False):  # float32: bfloat16 has no digits for 1 - deviation
        products = centred.T @ centred  # (P, P)
    return (world.all_reduce(products) if everywhere else products) / (count - 1).clamp(min=1)


def variance_lack(covariance: Tensor, epsilon: float = 1e-4) -> Tensor:
    """How much the standard deviations of a covariance (P, P) lack to 1, their mean, a scalar: v of eq. 1 and 2."""
    return torch.relu(1 - (covariance.diagonal() + epsilon).sqrt()).mean()


def redundancy(covariance: Tensor) -> Tensor:
    """The squares of a covariance (P, P) off its diagonal, over P, a scalar: c of eq. 4."""
    squares = covariance.square()
    return (squares.sum() - squares.diagonal().sum()) / len(covariance)
