"""Every registered part beside every other: they train a step together, or are refused with a `SpecError`."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
import traceback
from pathlib import Path

import pytest
import torch

from didact import (
    AdamW,
    Backbone,
    BatchSize,
    Experiment,
    FeatureEncoder,
    Masker,
    Objective,
    Optimizer,
    Source,
    SpecError,
    TargetBuilder,
    Training,
)
from didact.batching import BatchPlan
from didact.building import build_learner, require_fields
from didact.loading import Steps
from didact.loop.trainer import Trainer
from didact.plugins import registry
from didact_kit import Example
from didact_kit.checking import make_examples

KINDS = {
    "source": Source,
    "encoder": FeatureEncoder,
    "masker": Masker,
    "backbone": Backbone,
    "targets": TargetBuilder,
    "objective": Objective,
    "optimizer": Optimizer,
}


@functools.cache
def parts() -> dict[str, dict[str, Example]]:
    """The first example of every registered part, by kind and then by ``plugin/name``."""
    found: dict[str, dict[str, Example]] = {kind: {} for kind in KINDS}
    for plugin in registry().plugins:
        made = make_examples(plugin, Path(tempfile.mkdtemp(prefix=f"{plugin.name}-")))
        for short, examples in made.items():
            kind = next((kind for kind, contract in KINDS.items() if isinstance(examples[0].spec, contract)), None)
            if kind is not None:
                found[kind][f"{plugin.name}/{short}"] = examples[0]
    return found


def whole(kind: str, example: Example) -> Experiment:
    """The experiment in which an example is checked, with the example in its place."""
    beside = {name: getattr(example, name) for name in KINDS if name != "optimizer"}
    optimizer = example.spec if kind == "optimizer" else AdamW(learning_rate=1e-3)
    training = Training(
        steps=1, batch=BatchSize.samples(4), optimizer=optimizer, precision="float32", num_workers=0, seed=1
    )
    beside |= {} if kind == "optimizer" else {kind: example.spec}
    return Experiment(name="pair", training=training, **beside)


def with_part(experiment: Experiment, kind: str, part: object) -> Experiment:
    return experiment.evolve(**{"training.optimizer" if kind == "optimizer" else kind: part})


def tried(experiment: Experiment) -> str:
    """``trains``, ``refused``, or what is wrong with the error."""
    try:
        experiment.source.prepare()
        samples = experiment.source.open()
        learner = build_learner(experiment)
        require_fields(experiment, samples.fields)
        plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
        trainer = Trainer(experiment, learner, torch.device("cpu"))
        logged = trainer.take_step(Steps(experiment, plan)[0])
    except SpecError as error:
        return "refused" if error.what and error.hint else f"a refusal without a hint: {error}"
    loss = float(logged["train/loss"])
    return (
        "trains" if math.isfinite(loss) and loss >= 0 and logged["train/gradient_norm"] > 0 else f"nonsense: {logged}"
    )


PAIRS = [
    (kind, name, other) for kind, other in itertools.permutations(KINDS, 2) for name in parts()[kind]
]  # each test takes one part through all parts of another kind


@pytest.mark.parametrize(("kind", "name", "other"), PAIRS)
def test_a_part_trains_with_every_part_of_another_kind_or_refuses_it(kind, name, other):
    experiment = whole(kind, parts()[kind][name])
    found = {}
    for second, example in parts()[other].items():
        try:
            found[second] = tried(with_part(experiment, other, example.spec))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            found[second] = (
                f"{type(error).__name__} in {place.name} ({Path(place.filename).name}:{place.lineno}): {error}"
            )
    wrong = {second: outcome for second, outcome in found.items() if outcome not in ("trains", "refused")}
    assert not wrong, wrong


ALONE = [(kind, name) for kind, named in parts().items() for name in named]


@pytest.mark.parametrize(("kind", "name"), ALONE)
def test_every_part_trains_in_some_experiment(kind, name):
    """The test above would also pass if everything were refused."""
    part = parts()[kind][name]
    around = [whole(kind, part)]  # that of its own example, or else those of encoders
    around += [with_part(whole("encoder", example), kind, part.spec) for example in parts()["encoder"].values()]
    assert "trains" in map(tried, around if kind in ("source", "masker") else around[:1])
