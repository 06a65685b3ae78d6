"""Examines an experiment, its data and this machine before the first step.

A part's own findings come from its ``examine``; those about the core's schedules and `Training` come from `durations`.
This module examines what concerns several parts: the data, the batches and the drawn masks.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from didact import DidactError, Experiment, Learner, Samples, Spec, SpecError, build_learner
from didact.batching import BatchPlan
from didact.errors import of_field
from didact.loading import Steps
from didact.plugins import registry
from didact.preflight import Finding, Preflight
from didact.randomness import generator
from didact.record.pretrained import find_origin
from didact_doctor.durations import examine_duration
from didact_doctor.findings import describe, describe_spread, finding_of, inside_field
from didact_doctor.recording import lost_as_data
from didact_doctor.resources import disk, measured, shared_memory
from didact_doctor.survey import Batches, Specimens, steps_per_epoch
from didact_doctor.trial import attempt

DRAWS = 8  # number of masks drawn for each specimen
MOST_PADDING = 0.3
MASKED = (0.02, 0.95)  # usual range: BERT hides 0.15 of a text, data2vec 2.0 0.8 of an image, MAE up to 0.9


def diagnose(experiment: Experiment, device: torch.device, folder: Path, *, quick: bool = False) -> Iterator[Finding]:
    """Yields all findings that can be made before the first step, each as soon as it is available.

    Args:
        experiment: the experiment to be run.
        device: the device on which it will run.
        folder: the folder in which the run's folder will be.
        quick: whether to skip the measurements of memory and time.
    """
    yield Finding.fine(_versions(experiment), where="plugins")
    errors: list[Finding] = []

    def failed(error: DidactError) -> Finding:
        errors.append(finding_of(error))
        return errors[-1]

    samples: Samples | None = None
    learner: Learner | None = None
    try:
        with of_field("source"):
            experiment.source.prepare()
            samples = experiment.source.open()
        plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
    except DidactError as error:
        yield failed(error)
    for name, evaluation in experiment.evaluations.items():
        try:
            with of_field(f"evaluations.{name}"):
                evaluation.prepare(experiment)
        except DidactError as error:
            yield failed(error)
    try:
        origin = None if experiment.weights is None else find_origin(experiment.weights)
        learner = build_learner(experiment, None if origin is None else origin.load()).eval()
        if origin is not None:
            yield Finding.fine(f"training starts from {origin}", where="weights")
    except DidactError as error:
        yield failed(error)
    if errors or samples is None or learner is None:
        return
    for finding in examine(experiment, folder, samples, learner):
        errors += [finding] * (finding.severity == "error")
        yield finding
    if errors:
        return
    try:
        rehearsal = Steps(experiment, plan).rehearsal()
        with torch.no_grad():
            learner(rehearsal, learner.objective.num_targets(rehearsal))
        yield from shared_memory(experiment, plan, rehearsal)
        if not quick:
            yield from measured(experiment, attempt(experiment, device), device)
    except DidactError as error:
        yield failed(error)


def admit(experiment: Experiment, folder: Path, samples: Samples, learner: Learner) -> tuple[str, ...]:
    """Returns the warnings of the checks in `diagnose` that need no computation, for the start of a run.

    Raises:
        SpecError: the findings include an error.
    """
    found = list(examine(experiment, folder, samples, learner))
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        first, *others = errors
        also = "".join(f"\nalso: {describe(other)}" for other in others)
        raise SpecError(first.says, where=first.where, hint=first.hint + also)
    return tuple(describe(finding) for finding in found if finding.severity == "warning")


def examine(experiment: Experiment, folder: Path, samples: Samples, learner: Learner) -> Iterator[Finding]:
    """Yields the findings that need no computation, from reading samples, drawing masks and examining every part.

    Args:
        experiment: the experiment to be run.
        folder: the folder of the run, or its parent folder before it exists.
        samples: the samples of the experiment's source.
        learner: the parts of the experiment, built.
    """
    seen: set[str] = set()
    for finding in _examine(experiment, folder, samples, learner):
        if finding.says not in seen:  # a part may make the same finding
            seen.add(finding.says)
            yield finding


def _examine(experiment: Experiment, folder: Path, samples: Samples, learner: Learner) -> Iterator[Finding]:
    if lost := lost_as_data(experiment):
        yield Finding.warning(
            f"a run of this experiment cannot be resumed from its record: {lost}",
            hint="register every class that it is composed of in a plugin",
        )
    yield _data(experiment, samples)
    specimens = Specimens.read(experiment, samples)
    yield from specimens.errors
    if not specimens.errors:
        plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
        batches = Batches.of_first_epoch(experiment, plan, samples.lengths, specimens)
        preflight = Preflight(
            steps=experiment.training.steps,
            samples=len(samples.lengths),
            layouts=specimens.distinct,
            positions=specimens.positions_at(samples.lengths),
            samples_per_step=batches.samples,
            positions_per_step=batches.positions,
            steps_per_epoch=steps_per_epoch(plan),
            blocks=len(learner.network.backbone.blocks),
            pretrained=experiment.weights is not None,
        )
        yield from _batches(experiment, preflight, batches)
        yield from _masks(experiment, specimens)
        for field, spec in parts(experiment):
            yield from _of_part(field, spec, preflight)
    yield disk(experiment, learner, folder)


def parts(value: Any, field: str = "") -> Iterator[tuple[str, Spec]]:
    """Yields every spec in an experiment with its field; evaluations and observers yield only the outermost spec."""
    if isinstance(value, Spec):
        yield field, value
        members: Mapping[Any, Any] = {each.name: getattr(value, each.name) for each in attrs.fields(type(value))}
    elif isinstance(value, Mapping):
        members = value
    elif isinstance(value, tuple):
        members = dict(enumerate(value))
    else:
        return
    for name, member in members.items():
        for place, spec in parts(member, f"{field}.{name}" if field else str(name)):
            if place.split(".")[0] not in ("evaluations", "observers") or place.count(".") == 1:
                yield place, spec


def _of_part(field: str, spec: Spec, preflight: Preflight) -> Iterator[Finding]:
    own = getattr(spec, "examine", None)
    try:
        found = examine_duration(spec, preflight, field) if own is None else own(preflight)
        yield from (inside_field(field, finding) for finding in found)
    except DidactError as error:
        yield inside_field(field, finding_of(error))
    except Exception as error:  # foreign code must not keep a run from starting
        yield Finding.warning(
            f"{type(spec).__name__}.examine failed: {type(error).__name__}: {error}",
            where=field,
            hint="report it to the authors of that part; the run does not need it",
        )


def _versions(experiment: Experiment) -> str:
    names = {registry().name_of(type(spec)) for _, spec in parts(experiment)}
    owners = {"didact", *(name.partition("/")[0] for name in names if name)}
    used = [f"{plugin.name} {plugin.version}" for plugin in registry().plugins if plugin.name in owners]
    return f"{', '.join(used)}; Python {platform.python_version()}, torch {torch.__version__}"


def _data(experiment: Experiment, samples: Samples) -> Finding:
    name, unit, lengths = type(experiment.source).__name__, experiment.source.unit, samples.lengths
    store = getattr(samples, "store", None)  # exists for sources of didact-stores, which may be missing
    at = "" if store is None else f" from {store.path}"
    if unit == "seconds":
        amount = f", {lengths.sum() / 3600:,.2f} hours"
    else:
        amount = "" if len(lengths) == lengths.sum() else f", {lengths.sum():,.0f} {unit}"
    return Finding.fine(
        f"{name}{at}: {len(lengths):,} samples{amount}, fingerprint {samples.fingerprint[:12]}", where="source"
    )


def _batches(experiment: Experiment, preflight: Preflight, batches: Batches) -> Iterator[Finding]:
    training, unit = experiment.training, experiment.source.unit
    counts_itself = training.batch.unit == "samples" and unit == "images"
    length = "" if counts_itself else f", {describe_spread(batches.lengths)} {unit}"
    yield Finding.fine(
        f"a step learns from {describe_spread(preflight.samples_per_step)} samples{length}, "
        f"{describe_spread(preflight.positions_per_step)} positions",
        where="training.batch",
    )
    if training.batch.unit == "samples" and training.batch.amount > preflight.samples:
        yield Finding.warning(
            f"a batch of {training.batch.amount:,.0f} holds each of the {preflight.samples:,} samples more than once",
            where="training.batch",
            hint=f"BatchSize.samples({preflight.samples // 2 or 1}), or more data",
        )
    waste = float(batches.waste.mean())
    if waste > MOST_PADDING:
        what = "cut away, to their shortest sample" if experiment.source.crops else "padding, to their longest sample"
        amount = float(batches.lengths.mean())
        yield Finding.warning(
            f"{waste:.0%} of the batches is {what}",
            where="training.batch",
            hint=f"a batch of {amount:.3g} {unit} (BatchSize) consists of samples of similar length"
            if training.batch.unit == "samples"
            else f"more than {training.batch.amount:g} {unit}, so that samples of similar length fill a batch",
        )
    per_epoch = preflight.steps_per_epoch
    yield Finding.fine(
        f"{training.steps:,} steps, {per_epoch:,.4g} per epoch: each sample is seen "
        f"{training.steps / per_epoch:,.3g} times",
        where="training.steps",
    )


def _masks(experiment: Experiment, specimens: Specimens) -> Iterator[Finding]:
    """Draws masks for the specimens, including the shortest samples, which a masker may refuse."""
    shares: list[float] = []
    masks = 1
    for index, views in enumerate(specimens.layouts):
        for number, layout in enumerate(views):
            masker = experiment.of_view(number)[1]
            if masker is None:
                continue
            for draw in range(DRAWS):
                key = generator(experiment.training.seed, "doctor", "mask", index, number, draw)
                try:
                    with of_field("masker"):
                        mask = masker.sample(layout, generator=key)
                except DidactError as error:
                    yield finding_of(error)
                    return
                shares += mask.predicted.float().mean(1).tolist()  # (M, T) -> (M,)
                masks = mask.predicted.shape[0]
    if not shares:
        return
    mean = float(np.mean(shares))
    extent = "" if min(shares) == max(shares) else f" ({min(shares):.0%} to {max(shares):.0%} of a sample)"
    share = f"{mean:.0%} of the positions are masked{extent}{f', {masks} masks per sample' if masks > 1 else ''}"
    if MASKED[0] <= mean <= MASKED[1]:
        yield Finding.fine(share, where="masker")
    else:
        too = "too few to learn from" if mean < MASKED[0] else "too many to predict them from the rest"
        hint = "published methods mask 15 % (text) to 80 % (images)"
        yield Finding.warning(f"{share}, {too}", where="masker", hint=hint)
