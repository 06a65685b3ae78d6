"""Targets: the average of a teacher's top K layers (data2vec §3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import (
    BackboneOutput,
    Batch,
    HiddenState,
    Network,
    SpecError,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Teacher,
    Tokens,
)
from didact.preflight import Finding, Preflight
from didact.tensors import Feature
from didact_distill.ema import EMATeacher
from didact_distill.normalization import Normalization, normalize


@attrs.frozen(kw_only=True)
class TopKTargets(TargetBuilder):
    """The mean of the teacher's top K layers at every position, each layer normalised first (data2vec §3.3).

    Attributes:
        k: number of layers, counted from the top; in data2vec 8 for speech, 10 for text, 6 for images.
        feature: the feature of each layer. ``ffn``, the feed-forward output before its residual connection, is best on
            speech (data2vec §5.4) and used in all of data2vec 2.0. data2vec on images takes the whole ``block``.
            ``ffn+residual`` is the sum after the residual connection, before a norm that follows it.
        normalize: how each layer is normalised before the mean; ``instance`` for speech, ``layer`` for text and images.
            Without normalisation a single layer dominates, or the representation collapses.
        normalize_average: how the mean is normalised; ``layer`` for images in data2vec 1 and 2.
        teacher: provides the layers.
        teacher_sees: the part of the input that the teacher reads. ``everything``, as in the paper. ``masked``: only
            the positions that the student predicts, as in the released text model, whose data set replaces all other
            ids by padding (fairseq issue #4881). That model has one mask for each sample; several masks are an error.
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
    def supports_accumulation(self) -> bool:
        return "batch" not in (self.normalize, self.normalize_average)

    def examine(self, preflight: Preflight) -> Iterator[Finding]:
        """Reports whether one of the averaged layers can dominate the others."""
        if self.k > 1 and self.normalize == "none":
            yield Finding.warning(
                f"the targets average {self.k} layers without normalisation, so the layer with the largest values "
                f"dominates, or the representation collapses",
                where="normalize",
                hint="set normalize to instance for speech, to layer for text and images",
            )
        else:
            yield Finding.fine(f"the targets average the top {self.k} of {preflight.blocks} layers", where="k")

    def build(self, network: Network) -> TopKTargetsModule:
        depth = len(network.backbone.blocks)
        if self.k > depth:
            raise SpecError(
                f"TopKTargets.k must be at most the backbone's depth, {depth}, got {self.k}",
                where="k",
                hint="average fewer layers, or use a deeper backbone; data2vec averages 6 to 10 of 12",
            )
        if self.feature not in network.backbone.features:
            raise SpecError(
                f"TopKTargets averages the {self.feature} of blocks, and {type(network.backbone).__name__} gives "
                f"{', '.join(sorted(network.backbone.features)) or 'no inner features'}",
                where="feature",
                hint=f"set feature to {sorted(network.backbone.features)[0]!r}, or use a Transformer"
                if network.backbone.features
                else "use a backbone that gives inner features, such as a Transformer, or targets from its output",
            )
        return TopKTargetsModule(self, network)


class TopKTargetsModule(TargetBuilderModule):
    """The teacher of a `TopKTargets`, and the average of its layers."""

    def __init__(self, spec: TopKTargets, network: Network) -> None:
        super().__init__()
        self.spec = spec
        self.width = network.backbone.width
        self.teacher = spec.teacher.build(network)

    @torch.no_grad()
    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        """One target for each view: values (B, T, D) float32, without gradient."""
        wanted = HiddenState.last(self.spec.feature, self.spec.k, len(network.backbone.blocks))
        targets = []
        for index, student in enumerate(passes):
            if self.spec.teacher_sees == "masked":
                student = attrs.evolve(student, tokens=_only_masked(student))
            context = self.teacher(student, network, wanted)
            values = self._average(context)
            if values.shape[1] != student.view.layout.positions:
                raise SpecError(
                    f"TopKTargets makes a target for each of the encoder's {student.view.layout.positions} positions, "
                    f"but the teacher's features stand for {values.shape[1]}",
                    where="experiment.backbone",
                    hint="use a backbone that keeps the positions, such as a Transformer, or targets for whole samples",
                )
            targets.append(Target(view=index, values=values))
        return tuple(targets)

    def after_step(self, network: Network, step: int, steps: int) -> Mapping[str, float]:
        return self.teacher.after_step(network, step, steps)

    def evaluated_network(self, network: Network) -> Network:
        return self.teacher.evaluated_network(network)

    def _average(self, context: BackboneOutput) -> Tensor:
        padding = context.tokens.padding
        if padding is not None:
            padding = padding[:, context.tokens.num_prefix_tokens :]  # (B, T)
        first, *others = (context.positions_only(layer) for layer in context.hidden_states)  # (B, T, D) each
        total = normalize(first, self.spec.normalize, padding)
        if self.spec.normalize == "none" and others:
            total = total.clone()  # otherwise the sum would overwrite the teacher's output
        for layer in others:
            total.add_(normalize(layer, self.spec.normalize, padding))
        return normalize(total / len(context.hidden_states), self.spec.normalize_average, padding)


def _only_masked(student: StudentPass) -> Tokens:
    """Returns the tokens of a view, with all positions that the mask does not predict marked as padding.

    Raises:
        SpecError: there are several masks; their targets would differ, but a position has one target.
    """
    mask = student.view.mask
    if mask is None:
        return student.tokens
    if mask.masks > 1:
        raise SpecError(
            f'TopKTargets(teacher_sees="masked") makes the targets from what one mask predicts, but the masker draws '
            f"{mask.masks} masks for each sample",
            where="experiment.targets.teacher_sees",
            hint='set the masker\'s masks to 1, as in the released text model, or use teacher_sees="everything"',
        )
    return attrs.evolve(student.tokens, padding=~mask.predicted[:, 0])
