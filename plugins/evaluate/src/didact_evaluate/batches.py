"""Batches as training sees them, finished, for evaluations that look at predictions and targets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from didact import Batch, BatchSize, Experiment, Source
from didact.batching import BatchPlan
from didact.loading import Steps


def training_batches(experiment: Experiment, source: Source | None, count: int, per_batch: int) -> Iterator[Batch]:
    """The same samples every time, with views and masks as the experiment draws them.

    Args:
        experiment: whose encoder and masker make the batches.
        source: where to take samples; None takes the experiment's own.
        count: how many samples in all; fewer where the source has fewer.
        per_batch: at most so many in one batch.
    """
    experiment = attrs.evolve(
        experiment,
        source=source or experiment.source,
        training=attrs.evolve(experiment.training, batch=BatchSize.samples(per_batch), gradient_accumulation_steps=1),
    )
    lengths = experiment.source.open().lengths
    per_batch = min(per_batch, len(lengths))
    plan = BatchPlan(lengths, BatchSize.samples(per_batch), experiment.training.seed)
    steps = Steps(experiment, plan)
    for step in range(max(1, min(count, len(lengths)) // per_batch)):
        yield experiment.source.finish(steps[step].parts[0])


def first_batch(experiment: Experiment, source: Source | None, most: int) -> Batch:
    """What the first micro-batch of a run holds, or a smaller one of its kind: the same whenever it is asked for.

    Args:
        experiment: whose batches, encoder and masker make it.
        source: where to take samples; None takes the experiment's own.
        most: samples; where the run's batches hold more, it is one of so many.
    """
    experiment = attrs.evolve(experiment, source=source or experiment.source)
    lengths = experiment.source.open().lengths
    plan = BatchPlan(lengths, experiment.training.batch, experiment.training.seed)
    if math.ceil(len(plan.batch(0).samples) / experiment.training.gradient_accumulation_steps) > most:
        return next(training_batches(experiment, source, most, most))
    return experiment.source.finish(Steps(experiment, plan)[0].parts[0])
