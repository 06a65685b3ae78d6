"""Targets: the average of a teacher's top K layers (data2vec §3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import (
    Collect,
    Context,
    Finding,
    Network,
    Preflight,
    SpecError,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
    Tokens,
)
from didact.tensors import Feature
from didact_distill.ema import EMATeacher
from didact_distill.normalization import Normalization, normalize


@attrs.frozen(kw_only=True)
class TopKTargets(TargetBuilder):
    """The mean of the teacher's top K layers at every position, each layer normalised first (data2vec §3.3).

    Attributes:
        k: of how many layers, counted from the top; data2vec uses 8 for speech, 10 for text, 6 for images.
        feature: of a layer. ``ffn``, the feed-forward output before its residual connection, is best on speech
            (data2vec §5.4) and used throughout data2vec 2.0; data2vec on images takes the whole ``block``;
            ``ffn+residual`` is what it is before a norm that follows the connection.
        normalize: of each layer before the mean; ``instance`` for speech, ``layer`` for text and images. Without it a
            single layer dominates, or all collapses.
        normalize_average: of the mean; ``layer`` for images in data2vec 1 and 2.
        teacher: whose layers they are.
        teacher_sees: what of the input the teacher gets. ``everything``, as the paper says. ``masked``: at each masked
            position its content, and nothing else, which is what the released text model was trained with (fairseq
            issue #4881).
    """

    k: int = 8
    feature: Feature = "ffn"
    normalize: Normalization = "instance"
    normalize_average: Normalization = "none"
    teacher: Teacher = EMATeacher()
    teacher_sees: Literal["everything", "masked"] = "everything"

    def validate(self) -> None:
        self.require(self.k >= 1, "k", "at least 1")

    @property
    def divisible(self) -> bool:
        return "batch" not in (self.normalize, self.normalize_average)

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Whether one of the averaged layers may drown the others."""
        if self.k > 1 and self.normalize == "none":
            yield Finding.warning(
                f"the targets average {self.k} layers that are not normalised, so that the one with the largest values "
                f"dominates, or all collapses",
                where="normalize",
                mend="normalize=instance for speech, layer for text and images",
            )
        else:
            yield Finding.fine(f"the targets average the top {self.k} of {preflight.blocks} layers", where="k")

    def build(self, network: Network) -> TopKTargetsModule:
        depth = len(network.backbone.blocks)
        if self.k > depth:
            raise SpecError(
                f"TopKTargets.k must be at most the backbone's depth, {depth}, got {self.k}",
                where="k",
                mend="average fewer layers, or deepen the backbone; data2vec averages 6 to 10 of 12",
            )
        return TopKTargetsModule(self, network)


class TopKTargetsModule(TargetBuilderModule):
    """The teacher, and what its layers become."""

    def __init__(self, spec: TopKTargets, network: Network) -> None:
        super().__init__()
        self.spec = spec
        self.width = network.backbone.width
        self.teacher = spec.teacher.build(network)

    @torch.no_grad()
    def forward(self, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target for each view: values (B, T, D) float32, without gradient."""
        collect = Collect(feature=self.spec.feature, last=self.spec.k)
        targets = []
        for index, student in enumerate(passes):
            if self.spec.teacher_sees == "masked":
                student = attrs.evolve(student, tokens=_only_masked(student))
            context = self.teacher(student, network, collect)
            targets.append(Target(view=index, values=self._average(context)))
        return tuple(targets)

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        return self.teacher.after_step(network, step, steps)

    def subject(self, network: Network) -> Network:
        return self.teacher.subject(network)

    def _average(self, context: Context) -> Tensor:
        padding = context.tokens.padding
        if padding is not None:
            padding = padding[:, context.tokens.extra :]  # (B, T)
        average: Tensor | None = None
        for layer in context.features:
            normalized = normalize(context.positions_only(layer), self.spec.normalize, padding)  # (B, T, D)
            average = normalized if average is None else average.add_(normalized)
        assert average is not None, "a backbone gives every feature that it is asked for"
        return normalize(average / len(context.features), self.spec.normalize_average, padding)


def _only_masked(student: StudentPass) -> Tokens:
    """The tokens of a view with all that its first mask does not predict marked as padding."""
    mask = student.view.mask
    if mask is None:
        return student.tokens
    return attrs.evolve(student.tokens, padding=~mask.predicted[:, 0])
