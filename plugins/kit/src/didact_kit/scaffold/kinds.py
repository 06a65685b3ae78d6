"""The kinds of components that ``didact plugin new`` and ``add`` can write."""

from __future__ import annotations

import attrs

from didact.plugins import COMPONENTS


@attrs.frozen(kw_only=True)
class Kind:
    """The files and names for one kind of component.

    Attributes:
        hook: the hook that registers the component.
        suffix: the suffix of the component's class.
        module: the file of the component.
        words: the kind in words, for the beginning of a sentence.
        examples: the arguments of `didact_kit.Example`, with ``$Class`` for the component's class.
        testing: the names of `didact_kit` that the examples need.
    """

    hook: str = COMPONENTS
    suffix: str
    module: str
    words: str
    examples: tuple[str, ...]
    testing: tuple[str, ...] = ()


KINDS = {
    "masker": Kind(
        hook="didact_maskers",
        suffix="Masker",
        module="masking",
        words="A masker",
        examples=("spec=$Class()", "spec=$Class(every=3)"),
    ),
    "feature-encoder": Kind(
        hook="didact_feature_encoders",
        suffix="Encoder",
        module="encoder",
        words="A feature encoder",
        examples=("spec=$Class(width=8)", "spec=$Class(width=8, size=3), source=TinySource()"),
        testing=("TinySource",),
    ),
    "backbone": Kind(
        hook="didact_backbones",
        suffix="Backbone",
        module="backbone",
        words="A backbone",
        examples=(
            "spec=$Class(width=8, depth=2)",
            "spec=$Class(width=8, depth=2, kernel=3), encoder=TinyEncoder(class_token=True)",
        ),
        testing=("TinyEncoder",),
    ),
    "target-builder": Kind(
        hook="didact_target_builders",
        suffix="Targets",
        module="targets",
        words="A target builder",
        examples=("spec=$Class(teacher=TinyTeacher())", "spec=$Class(teacher=TinyTeacher(), block=2)"),
        testing=("TinyTeacher",),
    ),
    "objective": Kind(
        hook="didact_objectives",
        suffix="Objective",
        module="objective",
        words="An objective",
        examples=("spec=$Class()", "spec=$Class(scale=2.0), encoder=TinyEncoder(class_token=True)"),
        testing=("TinyEncoder",),
    ),
    "teacher": Kind(
        suffix="Teacher",
        module="teacher",
        words="A teacher",
        examples=("spec=$Class(every=2)", "spec=$Class(every=1)"),
    ),
    "source": Kind(
        suffix="Source",
        module="source",
        words="A source of samples",
        examples=("spec=$Class(count=8)", "spec=$Class(count=8, channels=1, length=12, noise=0.0)"),
    ),
    "evaluation": Kind(
        suffix="Evaluation",
        module="evaluation",
        words="An evaluation",
        examples=("spec=$Class(train=TinySource(), test=TinySource(uneven=True, seed=1), batch=5)",),
        testing=("TinySource",),
    ),
    "optimizer": Kind(
        suffix="Optimizer",
        module="optimizer",
        words="An optimizer",
        examples=("spec=$Class(learning_rate=0.01)", "spec=$Class(learning_rate=0.01, betas=(0.5, 0.9))"),
    ),
    "schedule": Kind(
        suffix="Schedule",
        module="schedule",
        words="A schedule",
        examples=("spec=$Class()", "spec=$Class(warmup_steps=1)"),
    ),
    "observer": Kind(
        suffix="Observer",
        module="observer",
        words="An observer",
        examples=("spec=$Class()", 'spec=$Class(metric="train/learning_rate", file="rate.csv")'),
    ),
}
