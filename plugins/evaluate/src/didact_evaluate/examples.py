"""Small instances of the components of didact-evaluate, for the contract tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from didact_evaluate.probe import Probe
from didact_evaluate.representation_metrics import RepresentationMetrics
from didact_evaluate.visualizations import Visualizations
from didact_kit import Example, TinySource

walks = TinySource(count=12, uneven=True)


def examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    """Returns the examples of each component, by short name."""
    return {
        "representation-metrics": [Example(spec=RepresentationMetrics(samples=8), source=walks)],
        "visualizations": [
            Example(spec=Visualizations(source=source, samples=2, pool=6, masks=2), source=source)
            for source in (TinySource(count=12, height=4, length=5), walks)
        ],
        "probe": [
            Example(spec=Probe(train=walks, test=TinySource(count=12, uneven=True, seed=1), neighbours=2), source=walks)
        ],
    }
