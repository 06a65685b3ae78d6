"""Small instances of the components of didact-ablate, for the contract checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact import AdamW, BatchSize, Experiment, Training
from didact_ablate.ablation import Ablation
from didact_kit import Example, TinyBackbone, TinyEncoder, TinyMasker, TinyObjective, TinySource, TinyTargets

base = Experiment(
    name="walks",
    source=TinySource(),
    encoder=TinyEncoder(),
    masker=TinyMasker(),
    backbone=TinyBackbone(),
    targets=TinyTargets(),
    objective=TinyObjective(),
    training=Training(steps=2, batch=BatchSize.samples(2), optimizer=AdamW(learning_rate=1e-2)),
)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns the examples of each component, by short name."""
    return {
        "ablation": [
            Example(
                spec=Ablation(
                    name="rates",
                    base=base,
                    metric="collapse/target_std",
                    vary={"training.optimizer.learning_rate": (1e-3, 1e-2)},
                )
            )
        ]
    }
