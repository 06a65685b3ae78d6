"""The test doubles of didact-kit as the plugin ``tiny``: the fixture of that name installs it.

An experiment of tiny parts can then be recorded and resumed, here and in processes that a test starts.
"""

from __future__ import annotations

from didact import hookimpl
from didact_kit import (
    Example,
    NoiseSource,
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinyObjective,
    TinySource,
    TinyTargets,
    TinyTeacher,
    TinyWords,
)
from didact_kit.doubles import DOUBLES


@hookimpl
def didact_components():
    return DOUBLES


def examples(folder):
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
        "noise": [Example(spec=NoiseSource(uneven=True)), Example(spec=ids.evolve(uneven=False))],
    }


@hookimpl
def didact_examples():
    return examples
