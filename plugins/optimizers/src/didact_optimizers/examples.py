"""The examples on which `didact plugin check` applies the contract's rules to the optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_kit import Example
from didact_optimizers.lars import LARS
from didact_optimizers.muon import Muon
from didact_optimizers.sgd import SGD


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns examples of each component."""
    return {
        "sgd": [
            Example(spec=SGD(learning_rate=0.1, weight_decay=0.01)),
            Example(spec=SGD(learning_rate=0.1, nesterov=True)),
            Example(spec=SGD(learning_rate=0.1, momentum=0.0)),
        ],
        "lars": [Example(spec=LARS(learning_rate=1.0, weight_decay=0.01))],
        "muon": [
            Example(spec=Muon(learning_rate=0.01)),
            Example(spec=Muon(learning_rate=0.02, adjustment="original", adamw_learning_rate_scale=0.015)),
        ],
    }
