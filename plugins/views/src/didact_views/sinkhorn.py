"""SwAV's targets: assignments of views to prototypes, in equal shares over the global batch (Sinkhorn-Knopp)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from didact import Batch, Network, StudentPass, Target, TargetBuilder
from didact.machine.distributed import World, connected
from didact_views.projections import PrototypeProbabilities, across, pooled, pooled_width, require_views


@attrs.frozen(kw_only=True)
class SinkhornTargets(TargetBuilder):
    """The student's own assignments of the first views to prototypes, which all other views must predict.

    Caron et al. 2020, Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (SwAV), section 3.1,
    eq. 3 to 5. There is no teacher. The codes share out the prototypes equally over the global batch of all processes,
    which prevents collapse; a batch should have more samples than a tenth of the prototypes. The backbone is
    `Projected` with a `PrototypeHead`, whose prototypes have length 1. The released code freezes them in the first
    epoch: ``ParameterGroup(parameters="network.backbone.projector.prototypes", frozen_steps=…)``.

    Attributes:
        assigned_views: number of views, from the first, whose codes the other views predict; 2, the large crops.
        epsilon: ε, the smoothness of the codes; 0.05 in the paper. Lower is sharper.
        iterations: number of rounds of the Sinkhorn-Knopp algorithm; 3 in the paper.
    """

    assigned_views: int = 2
    epsilon: float = 0.05
    iterations: int = 3

    def validate(self) -> None:
        self.require(self.assigned_views >= 1, "assigned_views", "at least 1")
        self.require(self.epsilon >= 0.002, "epsilon", "at least 0.002")  # exp(1 / 0.002) is a float64
        self.require(self.iterations >= 1, "iterations", "at least 1")

    @property
    def supports_accumulation(self) -> bool:
        return False

    def build(self, network: Network) -> SinkhornTargetsModule:
        return SinkhornTargetsModule(self, pooled_width(network, "SinkhornTargets"))


class SinkhornTargetsModule(PrototypeProbabilities):
    """No weights: the prototypes belong to the student's projector."""

    def __init__(self, spec: SinkhornTargets, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width

    @torch.no_grad()
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns codes (B, C) as the target of each pair of one of the assigned views and another view."""
        require_views(passes)
        scores = torch.stack([pooled(one, "SinkhornTargets") for one in passes[: self.spec.assigned_views]])
        world = connected() if self.training else World()
        return across(list(sinkhorn(scores, self.spec.epsilon, self.spec.iterations, world)), len(passes))


def sinkhorn(scores: Tensor, epsilon: float, iterations: int, world: World) -> Tensor:
    """Assigns samples to prototypes, so that all prototypes get equal shares of the samples (Cuturi 2013).

    The paper's constant factors are left out, because each round cancels them.

    Args:
        scores: (V, B, C) cosines of B samples and C prototypes, for each of V views, which are assigned separately.
        epsilon: ε; the codes are those of exp(scores / ε).
        iterations: number of rounds; each scales the prototypes' shares to be equal, then those of the samples.
        world: the processes whose samples are assigned together.

    Returns:
        (V, B, C) float32; a sample's shares of the prototypes, which add up to 1.
    """
    codes = (scores.double() / epsilon).exp()  # float64: the shares of float32 differ between numbers of processes
    for _ in range(iterations):
        codes = codes / world.all_reduce(codes.sum(1, keepdim=True))
        codes = codes / codes.sum(2, keepdim=True)
    return codes.float()
