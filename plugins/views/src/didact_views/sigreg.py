"""LeJEPA's objective: views agree, and their embeddings follow a standard normal distribution (SIGReg)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import torch
from torch import Tensor

from didact import Batch, Loss, Network, Objective, ObjectiveModule, SpecError, StudentPass, Target, TargetBuilderModule
from didact.machine.distributed import World, connected
from didact.preflight import Finding, Preflight
from didact.randomness import generator
from didact_views.projections import StudentProjectionsModule, pooled, pooled_width, require_sample_vectors


@attrs.frozen(kw_only=True)
class SIGReg(Objective):
    """Sketched isotropic Gaussian regularisation, and the distance of each view to the mean of the global views.

    Balestriero & LeCun 2025, LeJEPA (arXiv 2511.08544), algorithms 1 and 2: no teacher, no stopped gradient, one
    trade-off. The embeddings of each view are projected on random directions, which change with every step and are
    equal on all processes (`Batch.key`). The Epps-Pulley statistic compares the empirical characteristic function of
    each projection with that of N(0, 1), over the global batch of all processes; ``gradient_accumulation_steps`` must
    be 1. Distances are averaged over channels, as in algorithm 2; the text sums them.

    Attributes:
        weight: λ of the regularisation; 1 - λ is the weight of the views' agreement. 0.05 in the paper.
        global_views: number of views, from the first, whose mean all views must agree with; 2 in the paper.
        directions: number of random directions in a step; 1,024 in the paper.
        points: number of points at which the characteristic functions are compared, from -limit to limit; odd. 17 in
            the paper. Only half of them are computed, because the distance is an even function.
        limit: the largest point; 5 in the paper. The released code takes 17 points on each side, up to 3.
    """

    weight: float = 0.05
    global_views: int = 2
    directions: int = 1_024
    points: int = 17
    limit: float = 5.0

    def validate(self) -> None:
        self.require(0 <= self.weight <= 1, "weight", "from 0 to 1")
        self.require(self.global_views >= 1, "global_views", "at least 1")
        self.require(self.directions >= 1, "directions", "at least 1")
        self.require(self.points >= 3 and self.points % 2 == 1, "points", "odd, and at least 3")
        self.require(self.limit > 0, "limit", "above 0")

    @property
    def supports_accumulation(self) -> bool:
        return False

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Checks that a batch is large enough for a distribution."""
        if preflight.samples_per_step.min() < 2:
            yield Finding(
                severity="error",
                says="a batch of one sample has no distribution",
                hint="training.batch of 128 samples or more, as in the paper",
            )

    def build(self, network: Network, targets: TargetBuilderModule) -> SIGRegModule:
        require_sample_vectors(targets, "SIGReg")
        if not isinstance(targets, StudentProjectionsModule) or targets.gradient != "flow":
            builder = type(targets).__name__.removesuffix("Module")
            raise SpecError(
                f"SIGReg compares the student's projections of all views with their mean, and {builder} gives others",
                hint='use targets=StudentProjections(gradient="flow")',
            )
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
        centres = views[: self.spec.global_views].mean(0)  # (B, P)
        agreement = (views - centres).square().mean((0, 2)).sum()
        directions = draw_directions(self.width, self.spec.directions, batch.key).to(views.device)  # (P, K)
        world = connected() if self.training else World()
        with torch.autocast(views.device.type, enabled=False):
            statistic = epps_pulley(views @ directions, self.spec.points, self.spec.limit, world)  # (V, K)
        return Loss(
            terms={
                "agreement": (1 - self.spec.weight) * agreement,
                "regularization": self.spec.weight * statistic.mean() * views.shape[1],
            },
            predictions=views.flatten(0, 1).detach(),
            targets=centres.detach(),
        )


def draw_directions(width: int, count: int, step_key: int) -> Tensor:
    """Draws ``count`` unit vectors, uniform on the sphere, as the columns of (P, K); a function of the step's key."""
    drawn = torch.randn(width, count, generator=generator(step_key, "directions"))
    return torch.nn.functional.normalize(drawn, dim=0)


def epps_pulley(projections: Tensor, points: int, limit: float, world: World) -> Tensor:
    """Computes the Epps-Pulley statistic against N(0, 1) of each projection (Epps & Pulley 1983).

    It is N ∫ |φ̂(t) - exp(-t²/2)|² exp(-t²/2) dt over [-limit, limit], by the trapezoidal rule.

    Args:
        projections: (V, B, K); K projections of B samples, for each of V views.
        points: number of points of the rule; odd.
        limit: the largest point.
        world: the processes whose samples are one set of N samples.

    Returns:
        (V, K).
    """
    count = points // 2 + 1  # the integrand is even: S points from 0 on, all but the first counted twice
    t = torch.linspace(0, limit, count, device=projections.device)  # (S,)
    weights = torch.full_like(t, 2 * limit / (count - 1))
    weights[0] = weights[-1] = limit / (count - 1)
    normal = torch.exp(-t.square() / 2)
    angles = projections[..., None] * t  # (V, B, K, S)
    sums = world.all_reduce(torch.stack([angles.cos().sum(1), angles.sin().sum(1)]))  # (2, V, K, S)
    samples = world.all_reduce_counts({"samples": projections.shape[1]})["samples"]
    real, imaginary = sums / samples
    distances = (real - normal).square() + imaginary.square()  # (V, K, S)
    statistic: Tensor = samples * (distances @ (weights * normal))
    return statistic
