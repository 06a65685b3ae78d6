"""VICReg's objective: projections that agree, vary, and are not correlated (Bardes et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact import Batch, Loss, Network, Objective, ObjectiveModule, SpecError, StudentPass, Target, TargetBuilderModule
from didact.machine.distributed import connected
from didact.preflight import Finding, Preflight
from didact_views.projections import pooled, pooled_width, require_sample_vectors
from didact_views.prototypes import PrototypeTargetsModule


@attrs.frozen(kw_only=True)
class VICReg(Objective):
    """Invariance, variance and covariance of projections (Bardes et al. 2022, section 4.1, eq. 1 to 6).

    Variance and covariance are those of the whole global batch, on any number of processes. A part of a batch has no
    loss of its own, so ``gradient_accumulation_steps`` must be 1.

    Attributes:
        invariance: λ, of the mean squared difference between the views' projections.
        variance: μ, of the amount by which each view's standard deviations fall short of 1. The paper adds the views;
            the released code averages the two, which is 12.5 here.
        covariance: ν, of the squared covariances of different channels, summed and divided by their number.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def validate(self) -> None:
        for field in ("invariance", "variance", "covariance"):
            self.require(getattr(self, field) >= 0, field, "at least 0")

    @property
    def supports_accumulation(self) -> bool:
        return False

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Whether a batch is large enough for a covariance."""
        if preflight.samples_per_step.smallest < 2:
            yield Finding(
                severity="error",
                says="a batch of one sample has no variance",
                hint="training.batch of 256 samples or more, as in the paper",
            )

    def build(self, network: Network, targets: TargetBuilderModule) -> VICRegModule:
        require_sample_vectors(targets, "VICReg")
        width = pooled_width(network, "VICReg")
        if isinstance(targets, PrototypeTargetsModule) or targets.width != width:
            builder = type(targets).__name__.removesuffix("Module")
            values = (
                f"{'probabilities' if isinstance(targets, PrototypeTargetsModule) else 'vectors'} ({targets.width})"
            )
            raise SpecError(
                f"VICReg compares projections ({width}) with each other, and {builder} gives {values}",
                hint='use targets=StudentProjections(gradient="flow")',
            )
        return VICRegModule(self)


class VICRegModule(ObjectiveModule):
    """No weights."""

    def __init__(self, spec: VICReg) -> None:
        super().__init__()
        self.spec = spec

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return dict.fromkeys(("invariance", "variance", "covariance"), batch.ids.shape[0])

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the projections (B, P) of the views, and measures the spread of each.

        A function of the whole batch is multiplied by this process's number of samples, so that the division by the
        global number restores it.
        """
        projections = [pooled(one, "VICReg").float() for one in passes]  # (B, P) each
        pairs = [(projections[target.view], target.values.float()) for target in targets]
        samples, spec = len(projections[0]), self.spec
        invariance = torch.stack([(one - other).square().mean(1).sum() for one, other in pairs]).sum() / len(pairs)
        spreads = [covariance_matrix(projection, everywhere=self.training) for projection in projections]
        return Loss(
            terms={
                "invariance": spec.invariance * invariance,
                "variance": spec.variance * samples * torch.stack([variance_lack(s) for s in spreads]).sum(),
                "covariance": spec.covariance * samples * torch.stack([redundancy(s) for s in spreads]).sum(),
            },
            predictions=torch.cat([one.detach() for one, _ in pairs]),
            targets=torch.cat([other.detach() for _, other in pairs]),
        )


def covariance_matrix(projections: Tensor, *, everywhere: bool) -> Tensor:
    """The unbiased covariance (P, P) of projections (B, P); over all processes where ``everywhere``."""
    world = connected()
    count = torch.full((), float(len(projections)), device=projections.device)
    total = projections.sum(0)
    if everywhere:
        count, total = world.all_reduce(count), world.all_reduce(total)
    centred = projections - total / count
    with torch.autocast(projections.device.type, enabled=False):  # float32: bfloat16 has no digits for 1 - deviation
        products = centred.T @ centred  # (P, P)
    return (world.all_reduce(products) if everywhere else products) / (count - 1).clamp(min=1)


def variance_lack(covariance: Tensor, epsilon: float = 1e-4) -> Tensor:
    """The mean shortfall to 1 of the standard deviations of a covariance (P, P), a scalar: v of eq. 1 and 2."""
    return torch.relu(1 - (covariance.diagonal() + epsilon).sqrt()).mean()


def redundancy(covariance: Tensor) -> Tensor:
    """The sum of the squares of a covariance (P, P) off its diagonal, over P, a scalar: c of eq. 4."""
    squares = covariance.square()
    return (squares.sum() - squares.diagonal().sum()) / len(covariance)
