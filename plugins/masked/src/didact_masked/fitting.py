"""Checks that the components of an experiment fit the objectives of this package."""

from __future__ import annotations

from typing import Literal

from didact import SpecError, StudentPass, TargetBuilderModule


def require_position_targets(
    targets: TargetBuilderModule, kind: Literal["vectors", "ids"], objective: str, hint: str
) -> None:
    """Checks, when an objective is built, that the targets are of one kind and that each position has one.

    Raises:
        SpecError: the targets do not fit; the error names the objective and the targets.
    """
    if (targets.kind, targets.level) != (kind, "position"):
        builder = type(targets).__name__.removesuffix("Module")
        raise SpecError(
            f"{objective} predicts {kind} per position, and {builder} gives {targets.kind} per {targets.level}",
            hint=hint,
        )


def require_own_positions(student: StudentPass, objective: str) -> None:
    """Checks that the student's outputs have the positions of the view, to which the mask refers.

    Raises:
        SpecError: the backbone changed the positions, as convolutional networks do.
    """
    ours, theirs = student.view.layout.shape, student.backbone_output.tokens.layout.shape
    if ours != theirs:
        raise SpecError(
            f"{objective} predicts the encoder's positions {ours}, and the backbone's outputs stand for {theirs}",
            where="experiment.backbone",
            hint="use a backbone that keeps the positions, such as didact_transformer.Transformer",
        )
