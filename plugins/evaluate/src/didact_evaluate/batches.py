"""Finished training batches, for evaluations of predictions and targets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from didact import Batch, BatchSize, Experiment, Source
from didact.batching import BatchPlan
from didact.loading import Steps
from didact.machine.distributed import World
from didact_evaluate.features import ONE_PROCESS


def training_batches(
    experiment: Experiment, source: Source | None, count: int, per_batch: int, world: World = ONE_PROCESS
) -> Iterator[Batch]:
    """Yields batches of the same samples on every call, with the experiment's views and masks.

    Args:
        experiment: the experiment whose encoder and masker create the batches.
        source: source of the samples; None takes the experiment's own.
        count: total number of samples; fewer if the source has fewer.
        per_batch: largest number of samples in a batch.
        world: the processes that share each batch, at most as many as there are samples; each yields its share.
    """
    experiment = attrs.evolve(
        experiment,
        source=source or experiment.source,
        training=attrs.evolve(experiment.training, batch=BatchSize.samples(per_batch), gradient_accumulation_steps=1),
    )
    lengths = experiment.source.open().lengths
    per_batch = min(per_batch, len(lengths))
    plan = BatchPlan(lengths, BatchSize.samples(per_batch), experiment.training.seed)
    steps = Steps(experiment, plan, world)
    for step in range(max(1, min(count, len(lengths)) // per_batch)):
        yield experiment.source.finish(steps[step].parts[0])


def first_batch(experiment: Experiment, source: Source | None, most: int) -> Batch:
    """Returns the first micro-batch of a run, or a smaller batch if it is too large; the same on every call.

    Args:
        experiment: the experiment whose batch size, encoder and masker create the batch.
        source: source of the samples; None takes the experiment's own.
        most: largest number of samples; if the micro-batch has more, a batch of this size is returned instead.
    """
    experiment = attrs.evolve(experiment, source=source or experiment.source)
    lengths = experiment.source.open().lengths
    plan = BatchPlan(lengths, experiment.training.batch, experiment.training.seed)
    if math.ceil(len(plan.batch(0).samples) / experiment.training.gradient_accumulation_steps) > most:
        return next(training_batches(experiment, source, most, most))
    return experiment.source.finish(Steps(experiment, plan)[0].parts[0])
