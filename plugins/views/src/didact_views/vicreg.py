"""VICReg's objective: invariance, variance and covariance of projections (Bardes et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact import Batch, Loss, Network, Objective, ObjectiveModule, SpecError, StudentPass, Target, TargetBuilderModule
from didact.machine.distributed import connected
from didact.preflight import Finding, Preflight
from didact_views.projections import pooled, pooled_width, require_sample_vectors


@attrs.frozen(kw_only=True)
class VICReg(Objective):
    """Invariance, variance and covariance of projections (Bardes et al. 2022, section 4.1, eq. 1 to 6).

    Variance and covariance are computed over the global batch, on any number of processes. The loss of a batch is not a
    sum over its parts, so ``gradient_accumulation_steps`` must be 1.

    Attributes:
        invariance: λ, weight of the mean squared difference between the projections of two views.
        variance: μ, weight of the amount by which each view's standard deviations fall short of 1. The paper sums over
            the two views; the released code averages them, which corresponds to 12.5 here.
        covariance: ν, weight of the squared covariances of different channels, summed and divided by the number of
            channels.
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
        """Checks that a batch is large enough for a covariance."""
        if preflight.samples_per_step.min() < 2:
            yield Finding(
                severity="error",
                says="a batch of one sample has no variance",
                hint="training.batch of 256 samples or more, as in the paper",
            )

    def build(self, network: Network, targets: TargetBuilderModule) -> VICRegModule:
        require_sample_vectors(targets, "VICReg")
        width = pooled_width(network, "VICReg")
        if targets.width != width:
            builder = type(targets).__name__.removesuffix("Module")
            raise SpecError(
                f"VICReg compares projections ({width}) with each other, and {builder} gives vectors ({targets.width})",
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
        """Compares the projections (B, P) of the views, and computes the variance and covariance of each view.

        Terms of the global batch are multiplied by this process's number of samples, because the sum over all processes
        is later divided by the global number of samples.
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
    """Computes the unbiased covariance (P, P) of projections (B, P), over all processes if ``everywhere``."""
    world = connected()
    count = torch.full((), float(len(projections)), device=projections.device)
    total = projections.sum(0)
    if everywhere:
        count, total = world.all_reduce(count), world.all_reduce(total)
    centred = projections - total / count
    with torch.autocast(projections.device.type, enabled=False):  # float32: bfloat16 is too coarse for 1 - deviation
        products = centred.T @ centred  # (P, P)
    return (world.all_reduce(products) if everywhere else products) / (count - 1).clamp(min=1)


def variance_lack(covariance: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Computes by how much the standard deviations of a covariance (P, P) fall short of 1 on average (eq. 1 and 2)."""
    return torch.relu(1 - (covariance.diagonal() + epsilon).sqrt()).mean()


def redundancy(covariance: Tensor) -> Tensor:
    """Computes the sum of the squared off-diagonal values of a covariance (P, P), divided by P (eq. 4)."""
    squares = covariance.square()
    return (squares.sum() - squares.diagonal().sum()) / len(covariance)
