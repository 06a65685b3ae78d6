"""Projections as targets: each view of a sample must predict the projections of the sample's other views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
from torch import Tensor

from didact import Batch, Network, SpecError, StudentPass, Target, TargetBuilder, TargetBuilderModule, Teacher
from didact_views.normalization import of_this_batch


@attrs.frozen(kw_only=True)
class TeacherProjections(TargetBuilder):
    """The teacher's projections of the other views (BYOL, Grill et al. 2020, section 3.1).

    In training the teacher's batch normalisation uses the batch's statistics, as the student's does.

    Attributes:
        teacher: the teacher, which averages encoder, backbone and projector; in BYOL τ rises from 0.996 to 1 along half
            a cosine over the whole run.
        symmetric: whether each view predicts every other view. False: the student encodes only the first view, and the
            teacher the others, as in MoCo v1 and v2 (He et al. 2020).
    """

    teacher: Teacher
    symmetric: bool = True

    def student_views(self, views: int) -> Sequence[int]:
        return range(views) if self.symmetric else range(1)

    def build(self, network: Network) -> TeacherProjectionsModule:
        width = pooled_width(network, "TeacherProjections")
        return TeacherProjectionsModule(width, self.teacher, network, symmetric=self.symmetric)


class TeacherProjectionsModule(TargetBuilderModule):
    """The teacher."""

    level = "sample"

    def __init__(self, width: int, teacher: Teacher, network: Network, *, symmetric: bool = True) -> None:
        super().__init__()
        self.width, self.symmetric = width, symmetric
        self.teacher = teacher.build(network)

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns a target (B, P) for each ordered pair of views, without gradient."""
        require_views(passes)
        if not self.symmetric:
            values = self.projections(passes[1:], network)
            return tuple(Target(view=0, values=value.float(), level="sample") for value in values)
        return across(self.projections(passes, network), len(passes))

    def projections(self, passes: Sequence[StudentPass], network: Network) -> list[Tensor]:
        """Returns the teacher's projection of each view, (B, P)."""
        if not self.training:
            return [_projection(self.teacher(one, network).pooled) for one in passes]
        with of_this_batch(self.teacher):
            return [_projection(self.teacher(one, network).pooled) for one in passes]

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float | Tensor]:
        return self.teacher.after_step(network, step, steps)

    def evaluated_network(self, network: Network) -> Network:
        return self.teacher.evaluated_network(network)


@attrs.frozen(kw_only=True)
class StudentProjections(TargetBuilder):
    """The student's own projections of the other views, without a teacher (SimSiam, VICReg).

    Attributes:
        gradient: whether gradients flow through the targets. ``stop``: no; without the stop SimSiam collapses (Chen &
            He 2021, section 4.1). ``flow``: yes, for objectives that prevent collapse themselves (VICReg).
    """

    gradient: Literal["stop", "flow"] = "stop"

    @property
    def supports_several_signals(self) -> bool:
        return True

    def build(self, network: Network) -> StudentProjectionsModule:
        return StudentProjectionsModule(pooled_width(network, "StudentProjections"), self.gradient)


class PrototypeProbabilities(TargetBuilderModule):
    """Targets that are probabilities of prototypes: a distribution over the channels of the projections."""

    level = "sample"


class StudentProjectionsModule(TargetBuilderModule):
    """No weights."""

    level = "sample"

    def __init__(self, width: int, gradient: Literal["stop", "flow"]) -> None:
        super().__init__()
        self.width = width
        self.gradient = gradient

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """Returns a target (B, P) for each ordered pair of views, with or without gradient."""
        require_views(passes)
        projections = [pooled(one, "StudentProjections") for one in passes]
        if self.gradient == "stop":
            projections = [projection.detach() for projection in projections]
        return across(projections, len(passes))


def across(projections: Sequence[Tensor], views: int) -> tuple[Target, ...]:
    """Returns a target for each ordered pair of different views.

    Args:
        projections: (B, P) for each of the first views; every other view must predict them.
        views: number of views.
    """
    return tuple(
        Target(view=view, values=projection.float(), level="sample")
        for of, projection in enumerate(projections)
        for view in range(views)
        if view != of
    )


def pooled(student: StudentPass, part: str) -> Tensor:
    """Returns the student's projection (B, P) of a view.

    Args:
        student: the student's pass of the view.
        part: name of the component that needs the projection, for the error.

    Raises:
        SpecError: there is not one row per sample.
    """
    projection, samples = _projection(student.backbone_output.pooled), student.view.content.shape[0]
    if len(projection) != samples:
        raise SpecError(
            f"{part} compares one projection per sample, and the masker draws {len(projection) // samples} masks",
            where="experiment.masker",
            hint="use masker=None, or a masker that draws one mask",
        )
    return projection


def pooled_width(network: Network, part: str) -> int:
    """Returns P, the width of the backbone's projections.

    Args:
        network: the student.
        part: name of the component that needs the projections, for the error.

    Raises:
        SpecError: a backbone gives no projections, or those of two views differ in width.
    """
    widths = []
    for one in network.all():
        if (width := one.backbone.pooled_width) is None:
            raise SpecError(
                f"{part} compares projections, and the backbone {type(one.backbone).__name__.removesuffix('Module')} "
                f"gives none",
                hint="wrap it: backbone=didact_views.Projected(backbone=…)",
            )
        widths.append(width)
    if len(set(widths)) > 1:
        raise SpecError(
            f"{part} compares the projections of views, and their widths are {', '.join(map(str, widths))}",
            hint="give the projectors of all backbones the same width, such as projector=MLP(out=256)",
        )
    return widths[0]


def require_sample_vectors(targets: TargetBuilderModule, objective: str) -> None:
    """Checks that the targets are one projection per sample.

    Args:
        targets: the targets that an objective is built for.
        objective: the objective's name, for the error.

    Raises:
        SpecError: the targets are ids or probabilities, or there is one per position.
    """
    kind = "probabilities" if isinstance(targets, PrototypeProbabilities) else targets.kind
    if (kind, targets.level) != ("vectors", "sample"):
        builder = type(targets).__name__.removesuffix("Module")
        raise SpecError(
            f"{objective} predicts vectors per sample, and {builder} gives {kind} per {targets.level}",
            hint="use targets=TeacherProjections(…) or StudentProjections(), or an objective that predicts positions, "
            "such as didact_distill.LatentRegression()",
        )


def require_views(passes: Sequence[StudentPass]) -> None:
    """Checks that there are several views.

    Raises:
        SpecError: there is one view, which has no other view to predict.
    """
    if len(passes) < 2:
        raise SpecError(
            "each view must predict another one, and the source gives one view of each sample",
            where="experiment.source",
            hint="give the source an augmentation that makes several, such as "
            "Images(augmentation=didact_views.MultiViewAugmentation.byol())",
        )


def _projection(pooled: Tensor | None) -> Tensor:
    assert pooled is not None, "a backbone with a pooled_width gives a pooled vector"
    return pooled
