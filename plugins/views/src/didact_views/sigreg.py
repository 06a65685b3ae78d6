"""LeJEPA's objective: views agree, and their embeddings follow a standard normal distribution (SIGReg)."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from didact import Batch, Loss, Network, Objective, ObjectiveModule, StudentPass, Target, TargetBuilderModule
from didact.machine.distributed import connected
from didact.randomness import key
from didact_views.projections import pooled, pooled_width, require_sample_vectors


@attrs.frozen(kw_only=True)
class SIGReg(Objective):
    """Sketched isotropic Gaussian regularisation, and the distance of each view to the mean of the views.

    Balestriero & LeCun 2025, LeJEPA, sections 4 and 5: no teacher, no stopped gradient, one trade-off. The embeddings
    are projected on random directions, which change with every step and are equal on all processes (`Batch.key`). The
    Epps-Pulley statistic compares the empirical characteristic function of each projection with that of N(0, 1), over
    the global batch of all processes; ``gradient_accumulation_steps`` must be 1.

    Attributes:
        weight: λ of the regularisation; 1 - λ is the weight of the views' agreement. 0.05 in the paper.
        directions: number of random directions in a step; 1,024 in the paper.
        points: number of points at which the characteristic functions are compared; 17 in the paper.
        limit: the largest point; the integral is over [-limit, limit]. 5 in the paper.
    """

    weight: float = 0.05
    directions: int = 1_024
    points: int = 17
    limit: float = 5.0

    def validate(self) -> None:
        self.require(0 <= self.weight <= 1, "weight", "from 0 to 1")
        self.require(self.directions >= 1, "directions", "at least 1")
        self.require(self.points >= 2, "points", "at least 2")
        self.require(self.limit > 0, "limit", "above 0")

    @property
    def supports_accumulation(self) -> bool:
        return False

    def build(self, network: Network, targets: TargetBuilderModule) -> SIGRegModule:
        require_sample_vectors(targets, "SIGReg")
        return SIGRegModule(self, pooled_width(network, "SIGReg"))


class SIGRegModule(ObjectiveModule):
    """No weights."""

    def __init__(self, spec: SIGReg, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width

    def num_targets(self, batch: Batch) -> Mapping[str, int]:
        return dict.fromkeys(("agreement", "regularization"), batch.ids.shape[0])

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        """Compares the embeddings (B, P) of the views with their mean, and their distribution with a normal one.

        The regularisation is multiplied by this process's number of samples, because the sum over all processes is
        later divided by the global number of samples.
        """
        views = torch.stack([pooled(one, "SIGReg").float() for one in passes])  # (V, B, P)
        agreement = (views - views.mean(0)).square().mean((0, 2)).sum()
        directions = draw_directions(self.width, self.spec.directions, batch.key).to(views.device)  # (P, K)
        with torch.autocast(views.device.type, enabled=False):
            statistics = [
                epps_pulley(view @ directions, self.spec.points, self.spec.limit, everywhere=self.training)
                for view in views
            ]
        regularization = torch.stack(statistics).mean() * views.shape[1]
        return Loss(
            terms={
                "agreement": (1 - self.spec.weight) * agreement,
                "regularization": self.spec.weight * regularization,
            },
            predictions=views.flatten(0, 1).detach(),
        )


def draw_directions(width: int, count: int, step_key: int) -> Tensor:
    """Draws ``count`` unit vectors, uniform on the sphere, as the columns of (P, K); a function of the step's key."""
    drawn = torch.randn(width, count, generator=torch.Generator().manual_seed(key(step_key, "directions")))
    return torch.nn.functional.normalize(drawn, dim=0)


def epps_pulley(projections: Tensor, points: int, limit: float, *, everywhere: bool = False) -> Tensor:
    """Computes the Epps-Pulley statistic of each direction against N(0, 1), averaged over the directions.

    It is N ∫ |φ̂(t) - exp(-t²/2)|² exp(-t²/2) dt over [-limit, limit], by the trapezoidal rule (Epps & Pulley 1983).

    Args:
        projections: (N, K); K projections of N samples.
        points: number of points of the rule on [0, limit]; the integrand is even.
        limit: the largest point.
        everywhere: whether the samples of all processes are one sample.

    Returns:
        A scalar.
    """
    t = torch.linspace(0, limit, points, device=projections.device)  # (S,)
    weights = torch.full_like(t, 2 * limit / (points - 1))
    weights[0] = weights[-1] = limit / (points - 1)
    normal = torch.exp(-t.square() / 2)
    angles = projections[..., None] * t  # (N, K, S)
    sums = torch.stack([angles.cos().sum(0), angles.sin().sum(0)])  # (2, K, S)
    count = torch.full((), float(len(projections)), device=projections.device)
    if everywhere:
        world = connected()
        sums, count = world.all_reduce(sums), world.all_reduce(count)
    real, imaginary = sums / count
    distances = (real - normal).square() + imaginary.square()  # (K, S)
    statistic: Tensor = count * (distances @ (weights * normal)).mean()
    return statistic
