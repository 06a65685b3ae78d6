"""An objective's scalars are those of the whole global batch, however many parts it is computed in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
import pytest

from didact import AdamW, BatchSize, Experiment, Training
from didact.plugins import registry
from didact.record.folder import read_metrics
from didact.run import start
from didact_kit import Example
from didact_kit.checking import make_examples

TRAINING = Training(
    steps=1,
    batch=BatchSize.samples(8),
    optimizer=AdamW(learning_rate=1e-3),
    precision="float32",
    num_workers=0,
    log_every=1,
)


def examples() -> dict[str, Example]:
    """The examples of all objectives that may be computed in parts."""
    found = {}
    for plugin in registry().plugins:
        if plugin.components.get("didact_objectives"):
            made = make_examples(plugin, Path(tempfile.mkdtemp(prefix=f"{plugin.name}-")))
            for short in plugin.components["didact_objectives"]:
                for number, example in enumerate(made.get(short, ())):
                    parts = (example.spec, example.targets, example.backbone)
                    if all(part.supports_accumulation for part in parts):
                        found[f"{plugin.name}/{short}-{number}"] = example
    return found


EXAMPLES = examples()


def logged(example: Example, parts: int, folder: Path) -> dict[str, float]:
    """What the first step logs, without times, memory, and the padding, of which smaller parts have less."""
    experiment = Experiment(
        name="parts",
        source=example.source,
        encoder=example.encoder,
        masker=example.masker,
        backbone=example.backbone,
        targets=example.targets,
        objective=example.spec,
        training=attrs.evolve(TRAINING, gradient_accumulation_steps=parts),
    )
    start(experiment, folder, device="cpu", examined=False)
    (record,) = read_metrics(folder)
    return {name: value for name, value in record.items() if not name.startswith(("time/", "memory/", "data/padding"))}


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_part_and_four_log_the_same(name, tmp_path):
    whole, parts = (logged(EXAMPLES[name], count, tmp_path / str(count)) for count in (1, 4))
    assert whole.keys() == parts.keys()
    assert parts == pytest.approx(whole, rel=1e-4, abs=1e-5)


def test_an_accuracy_is_among_them():
    assert {"masked/cross-entropy-0", "masked/contrastive-1"} <= EXAMPLES.keys()
