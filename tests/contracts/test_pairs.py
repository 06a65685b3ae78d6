"""Every registered target builder with every objective: a pair trains a step, or is refused when it is built."""

from __future__ import annotations

import functools
import itertools
import math
import tempfile
from pathlib import Path

import pytest

from didact import (
    AdamW,
    Batch,
    BatchSize,
    Experiment,
    Learner,
    Objective,
    SpecError,
    TargetBuilder,
    Training,
    build_learner,
)
from didact.batching import BatchPlan
from didact.building import build_network
from didact.loading import Steps
from didact.plugins import registry
from didact_kit import Example
from didact_kit.checking import make_examples

TRAINING = Training(
    steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), precision="float32", num_workers=0
)


@functools.cache
def examples_of(hook: str) -> dict[str, Example]:
    """The examples of what a hook registers, as ``plugin/name-number``."""
    found = {}
    for plugin in registry().plugins:
        if plugin.components.get(hook):
            made = make_examples(plugin, Path(tempfile.mkdtemp(prefix=f"{plugin.name}-")))
            for short in plugin.components[hook]:
                for number, example in enumerate(made.get(short, ())):
                    found[f"{plugin.name}/{short}-{number}"] = example
    return found


BUILDERS, OBJECTIVES = examples_of("didact_target_builders"), examples_of("didact_objectives")


def pair(builder: TargetBuilder, objective: Objective, beside: Example) -> Experiment:
    """The two with the other parts of an example."""
    return Experiment(
        name="pair",
        source=beside.source,
        encoder=beside.encoder,
        masker=beside.masker,
        backbone=beside.backbone,
        targets=builder,
        objective=objective,
        training=TRAINING,
    )


def first_batch(experiment: Experiment) -> Batch:
    plan = BatchPlan(experiment.source.open().lengths, experiment.training.batch, experiment.training.seed)
    return Steps(experiment, plan)[0].parts[0]


def take_a_step(learner: Learner, batch: Batch) -> None:
    """One step, whose loss must be a number that is not negative, and whose gradients must be finite."""
    learner.train()
    total, loss = learner(batch, learner.objective.num_targets(batch))
    for name, term in loss.terms.items():
        assert math.isfinite(float(term.detach())), name
        assert float(term.detach()) >= 0, name
    total.backward()
    gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    learner.after_step(1, 1)


def tried(experiment: Experiment) -> str:
    """``trains``, or which part refuses the others: ``targets``, ``objective``, or ``step`` where a batch does."""
    try:
        experiment.targets.build(build_network(experiment))
    except SpecError:
        return "targets"
    try:
        learner = build_learner(experiment)
    except SpecError as error:
        names = [type(part).__name__ for part in (experiment.objective, experiment.targets, experiment.backbone)]
        # a part of the objective, such as its head, may refuse
        named = error.where != "objective" or (names[0] in error.what and any(n in error.what for n in names[1:]))
        return "objective" if named and error.hint else f"an error that names no parts or has no hint: {error}"
    try:
        take_a_step(learner, first_batch(experiment))
    except SpecError as error:
        return "step" if error.where and error.hint else f"an error without a place or a hint: {error}"
    return "trains"


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("builder", BUILDERS)
def test_a_pair_trains_a_step_or_is_refused(builder, objective):
    first, second = BUILDERS[builder], OBJECTIVES[objective]
    for beside in (first, second):
        assert tried(pair(first.spec, second.spec, beside)) in ("trains", "targets", "objective", "step")


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_target_builder_trains_with_the_objective_of_its_example(builder):
    example = BUILDERS[builder]
    assert tried(pair(example.spec, example.objective, example)) == "trains"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_with_the_targets_of_its_example(objective):
    example = OBJECTIVES[objective]
    assert tried(pair(example.targets, example.spec, example)) == "trains"


def test_vectors_and_ids_are_not_mixed_up():
    """No objective trains with both ids and vectors, nor with targets of positions and of samples."""
    kinds: dict[str, set[tuple[str, str]]] = {}
    for (_, builder), (name, objective) in itertools.product(BUILDERS.items(), OBJECTIVES.items()):
        experiment = pair(builder.spec, objective.spec, builder)
        if tried(experiment) == "trains":
            targets = builder.spec.build(build_network(experiment))
            kinds.setdefault(name, set()).add((targets.kind, targets.level))
    assert all(len(found) == 1 for found in kinds.values()), kinds
