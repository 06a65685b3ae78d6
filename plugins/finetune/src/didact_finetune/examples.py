"""The examples on which `didact plugin check` applies the contract's rules to the parts of supervised training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_finetune.classification import Classification
from didact_finetune.labels import Labels
from didact_kit import Example, TinyEncoder, TinyMasker, TinySource

labels = Labels(classes=("falling", "rising"))
two = TinySource(uneven=True, views=2)
dropping = TinyMasker(corruption="drop")


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns examples of each component."""
    return {
        "labels": [
            Example(spec=labels, objective=Classification(), masker=None),
            Example(spec=labels, objective=Classification(), masker=None, source=two),
        ],
        "classification": [
            Example(spec=Classification(), targets=labels, masker=None),
            Example(spec=Classification(label_smoothing=0.0), targets=labels, masker=dropping, source=two),
            Example(
                spec=Classification(pooling="class"), targets=labels, masker=None, encoder=TinyEncoder(class_token=True)
            ),
        ],
    }
