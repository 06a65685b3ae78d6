"""Pretraining never reads a label: a loader reads the fields that the target builder asks for, and no others."""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from didact import AdamW, BatchSize, Experiment, Source, Training
from didact.batching import BatchPlan
from didact.contracts.data import Samples
from didact.loading import Steps
from didact.plugins import registry
from didact_kit import Example
from didact_kit.checking import make_examples

ROOT = Path(__file__).parents[2]
SUPERVISED = {"finetune/labels": {"label"}}  # the target builders that ask for fields, and which
TRAINING = Training(steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), num_workers=0)


def examples() -> Iterator[tuple[str, Example]]:
    """The examples of every registered target builder."""
    for plugin in registry().plugins:
        if builders := plugin.components.get("didact_target_builders"):
            made = make_examples(plugin, Path(tempfile.mkdtemp(prefix=f"{plugin.name}-")))
            for short in builders:
                for number, example in enumerate(made[short]):
                    yield f"{plugin.name}/{short}-{number}", example


EXAMPLES = dict(examples())


class Guarded:
    """Samples that report every reading of labels and of fields."""

    def __init__(self, samples: Samples, read: list[str]) -> None:
        self._samples, self._read = samples, read

    def __getattr__(self, name: str) -> object:
        if name in ("labels", "field", "fields", "classes"):
            self._read.append(name)
        return getattr(self._samples, name)


def experiment_of(example: Example) -> Experiment:
    return Experiment(
        name="guarded",
        source=example.source,
        encoder=example.encoder,
        masker=example.masker,
        backbone=example.backbone,
        targets=example.spec,
        objective=example.objective,
        training=TRAINING,
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_batch_holds_no_field_that_the_target_builder_does_not_ask_for(name, monkeypatch):
    experiment, read = experiment_of(EXAMPLES[name]), list[str]()
    source: Source = experiment.source
    source.prepare()
    opened = source.open()
    monkeypatch.setattr(type(source), "open", lambda self: Guarded(opened, read))
    batch = Steps(experiment, BatchPlan(opened.lengths, TRAINING.batch, 0))[0].parts[0]
    wanted = SUPERVISED.get(name.rpartition("-")[0], set())
    assert set(experiment.targets.fields()) == set(batch.fields) == wanted
    assert bool(read) == bool(wanted), f"{name} reads {sorted(set(read))} without asking"


def experiments() -> dict[str, Experiment]:
    """Every experiment of a file in ``experiments/`` that is no study."""
    found = {}
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        for name, value in runpy.run_path(str(path)).items():
            if isinstance(value, Experiment):
                found[f"{path.relative_to(ROOT).as_posix()}:{name}"] = value
    return found


def test_of_all_experiments_only_supervised_training_asks_for_labels():
    found = experiments()
    assert len(found) > 20
    asking = {name.partition(":")[0] for name, experiment in found.items() if experiment.targets.fields()}
    assert asking == {"experiments/variants/supervised_images.py"}
