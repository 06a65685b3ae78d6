"""Targets that are summaries: each view of a sample must predict what became of its other views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
from torch import Tensor

from didact import Network, SpecError, StudentPass, Target, TargetBuilder, TargetBuilderModule, Teacher
from didact_views.normalization import of_this_batch


@attrs.frozen(kw_only=True)
class TeacherSummaries(TargetBuilder):
    """A teacher's summary of each other view (BYOL, Grill et al. 2020, section 3.1).

    In training the teacher's batch normalisation takes the batch's statistics, as the student's does.

    Attributes:
        teacher: that averages encoder, backbone and projector; in BYOL τ goes from 0.996 to 1 in half a cosine
            over the whole run.
    """

    teacher: Teacher

    def build(self, network: Network) -> TeacherSummariesModule:
        return TeacherSummariesModule(summary_width(network, "TeacherSummaries"), self.teacher, network)


class TeacherSummariesModule(TargetBuilderModule):
    """The teacher."""

    def __init__(self, width: int, teacher: Teacher, network: Network) -> None:
        super().__init__()
        self.width = width
        self.teacher = teacher.build(network)

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """A target (B, P) for each ordered pair of views, without gradient."""
        require_views(passes)
        return across(self.summaries(passes, network), len(passes))

    def summaries(self, passes: tuple[StudentPass, ...], network: Network) -> list[Tensor]:
        """What the teacher makes of each view, (B, P)."""
        if not self.training:
            return [_summary(self.teacher(one, network).summary) for one in passes]
        with of_this_batch(self.teacher):
            return [_summary(self.teacher(one, network).summary) for one in passes]

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        return self.teacher.after_step(network, step, steps)

    def subject(self, network: Network) -> Network:
        return self.teacher.subject(network)


@attrs.frozen(kw_only=True)
class StudentSummaries(TargetBuilder):
    """The student's own summary of each other view, without any teacher (SimSiam, VICReg).

    Attributes:
        gradient: ``stop``: targets are constants, without which SimSiam collapses (Chen & He 2021, section 4.1).
            ``flow``: both sides of a comparison learn, for objectives that prevent collapse themselves (VICReg).
    """

    gradient: Literal["stop", "flow"] = "stop"

    def build(self, network: Network) -> StudentSummariesModule:
        return StudentSummariesModule(summary_width(network, "StudentSummaries"), self.gradient)


class StudentSummariesModule(TargetBuilderModule):
    """No weights."""

    def __init__(self, width: int, gradient: Literal["stop", "flow"]) -> None:
        super().__init__()
        self.width = width
        self.gradient = gradient

    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """A target (B, P) for each ordered pair of views, with or without gradient."""
        require_views(passes)
        summaries = [_summary(one.context.summary) for one in passes]
        if self.gradient == "stop":
            summaries = [summary.detach() for summary in summaries]
        return across(summaries, len(passes))


def across(summaries: list[Tensor], views: int) -> tuple[Target, ...]:
    """A target for each ordered pair of different views.

    Args:
        summaries: (B, P) of each of the first views, for all views to predict.
        views: how many views there are.
    """
    return tuple(
        Target(view=view, values=summary.float(), level="sample")
        for of, summary in enumerate(summaries)
        for view in range(views)
        if view != of
    )


def summary_width(network: Network, who: str) -> int:
    """P of the backbone's summaries.

    Raises:
        SpecError: it gives none; ``who`` needs them.
    """
    width = network.backbone.summary_width
    if width is None:
        raise SpecError(
            f"{who} compares summaries, and the backbone gives none",
            mend="wrap it: backbone=didact_views.Projected(backbone=…)",
        )
    return width


def require_views(passes: tuple[StudentPass, ...]) -> None:
    """Raises a `SpecError` where there is one view alone, of which no other can be predicted."""
    if len(passes) < 2:
        raise SpecError(
            "a view must predict another one, and the source gives one view of each sample",
            where="experiment.source",
            mend="give the source an augmentation that makes several, such as "
            "Images(augmentation=didact_views.DistortedViews.byol())",
        )


def _summary(summary: Tensor | None) -> Tensor:
    assert summary is not None, "a backbone with a summary_width gives a summary"
    return summary
