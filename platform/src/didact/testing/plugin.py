"""What `didact.testing` registers: the tiny parts, so that an experiment of them is data like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact.contracts import Backbone, FeatureEncoder, Masker, Objective, Source, TargetBuilder, Teacher
from didact.hookspecs import hookimpl
from didact.testing.tiny import TinyBackbone, TinyEncoder, TinyMasker, TinyWords
from didact.testing.tiny_method import TinyObjective, TinyTargets, TinyTeacher
from didact.testing.tiny_sources import NoiseSource, TinySource

if TYPE_CHECKING:
    from didact.testing.examples import Example


@hookimpl
def didact_feature_encoders() -> dict[str, type[FeatureEncoder]]:
    return {"encoder": TinyEncoder, "words": TinyWords}


@hookimpl
def didact_maskers() -> dict[str, type[Masker]]:
    return {"masker": TinyMasker}


@hookimpl
def didact_backbones() -> dict[str, type[Backbone]]:
    return {"backbone": TinyBackbone}


@hookimpl
def didact_target_builders() -> dict[str, type[TargetBuilder]]:
    return {"targets": TinyTargets}


@hookimpl
def didact_teachers() -> dict[str, type[Teacher]]:
    return {"teacher": TinyTeacher}


@hookimpl
def didact_objectives() -> dict[str, type[Objective]]:
    return {"objective": TinyObjective}


@hookimpl
def didact_sources() -> dict[str, type[Source]]:
    return {"walks": TinySource, "noise": NoiseSource}


@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact.testing.examples import Example

    grid = TinySource(height=3, length=4)
    ids = NoiseSource(kind="tokens", axes=(9,), uneven=True, vocabulary=20)
    return {
        "encoder": [Example(spec=TinyEncoder()), Example(spec=TinyEncoder(class_token=True), source=grid)],
        "words": [Example(spec=TinyWords(), source=ids)],
        "masker": [Example(spec=TinyMasker()), Example(spec=TinyMasker(masks=2, corruption="drop"))],
        "backbone": [
            Example(spec=TinyBackbone()),
            Example(spec=TinyBackbone(), source=grid, encoder=TinyEncoder(class_token=True)),
        ],
        "targets": [
            Example(spec=TinyTargets()),
            Example(spec=TinyTargets(), source=TinySource(views=2)),
            Example(spec=TinyTargets(level="sample")),
        ],
        "teacher": [Example(spec=TinyTeacher())],
        "objective": [
            Example(spec=TinyObjective()),
            Example(spec=TinyObjective(), masker=TinyMasker(masks=2, corruption="drop")),
            Example(spec=TinyObjective(), masker=None),
        ],
        "walks": [Example(spec=TinySource(uneven=True)), Example(spec=grid)],
        "noise": [
            Example(spec=NoiseSource(uneven=True)),
            Example(spec=ids.evolve(uneven=False)),
        ],
    }
