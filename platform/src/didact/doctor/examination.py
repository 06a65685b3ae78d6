"""Preflight: looks at an experiment, its data and this machine, and says before the first step what will not do.

What concerns a part comes from the part, through `Spec.examine`. Here is what concerns them together: the data, the
batches, the masks that are drawn, the disk, memory and time.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from didact.batching import BatchPlan
from didact.contracts import Samples
from didact.doctor.survey import Batches, Specimens, steps_per_epoch
from didact.doctor.trial import Trial, attempt
from didact.errors import DidactError, SpecError, of_field
from didact.experiment import Experiment
from didact.identity import lost_as_data
from didact.learner import Learner, build_learner
from didact.loading import STEPS_AHEAD, Steps
from didact.plugins import registry
from didact.preflight import Finding, Preflight, Spread
from didact.randomness import generator
from didact.record.pretrained import find_origin
from didact.spec import Spec
from didact.store import StoredSamples
from didact.tensors import Batch
from didact.tensors import in_bytes as tensor_bytes

DRAWS = 8  # masks of each specimen
MOST_PADDING = 0.3
MASKED = (0.02, 0.95)  # BERT hides 0.15 of a text, data2vec 2.0 0.8 of an image, MAE up to 0.9
METRICS_BYTES = 600  # of one line
MOST_MEMORY = 0.9
SHARED_MEMORY = Path("/dev/shm")  # where PyTorch's workers put tensors
MOST_WAITING = 0.3


def diagnose(experiment: Experiment, device: torch.device, folder: Path, *, quick: bool = False) -> Iterator[Finding]:
    """All that can be said before the first step; each finding as soon as it is made.

    Args:
        experiment: that would be run.
        device: where.
        folder: where the run's folder would lie.
        quick: whether to measure nothing, which leaves memory and time out.
    """
    yield Finding.fine(_versions(experiment), where="plugins")
    errors: list[Finding] = []

    def failed(error: DidactError) -> Finding:
        errors.append(Finding.of(error))
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
    for finding in examine(experiment, plan, samples, learner, folder):
        errors += [finding] * (finding.severity == "error")
        yield finding
    if errors:
        return
    try:
        rehearsal = Steps(experiment, plan).rehearsal()
        with torch.no_grad():
            learner(rehearsal, learner.objective.counts(rehearsal))
        yield from _loading(experiment, plan, rehearsal)
        if not quick:
            yield from _measured(experiment, attempt(experiment, device), device)
    except DidactError as error:
        yield failed(error)


def admit(experiment: Experiment, plan: BatchPlan, learner: Learner, folder: Path) -> tuple[str, ...]:
    """What a run begins with: the warnings of the part of `diagnose` that costs next to nothing.

    Raises:
        SpecError: there is an error among the findings, so it cannot start.
    """
    found = list(examine(experiment, plan, experiment.source.open(), learner, folder))
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        first, *others = errors
        also = "".join(f"\nalso: {other}" for other in others)
        raise SpecError(first.says, where=first.where, mend=first.mend + also)
    return tuple(str(finding) for finding in found if finding.severity == "warning")


def examine(
    experiment: Experiment, plan: BatchPlan, samples: Samples, learner: Learner, folder: Path
) -> Iterator[Finding]:
    """What can be said without computing: reads a few samples, draws masks for them, and asks every part."""
    seen: set[str] = set()
    for finding in _examine(experiment, plan, samples, learner, folder):
        if finding.says not in seen:  # a part and the core may find the same
            seen.add(finding.says)
            yield finding


def _examine(
    experiment: Experiment, plan: BatchPlan, samples: Samples, learner: Learner, folder: Path
) -> Iterator[Finding]:
    yield from _record(experiment)
    yield from _data(experiment, samples)
    specimens = Specimens.read(experiment, samples)
    yield from specimens.errors
    if not specimens.errors:
        batches = Batches.look_at(experiment, plan, specimens)
        preflight = Preflight(
            training=experiment.training,
            samples=len(samples.lengths),
            layouts=specimens.distinct,
            positions=Spread.of(specimens.positions_at(samples.lengths)),
            samples_per_step=Spread.of(batches.samples),
            positions_per_step=Spread.of(batches.positions),
            steps_per_epoch=steps_per_epoch(plan),
            blocks=len(learner.network.backbone.blocks),
            pretrained=experiment.weights is not None,
        )
        yield from _batches(experiment, preflight, batches)
        yield from _masks(experiment, specimens)
        for field, spec in parts(experiment):
            yield from _of_part(field, spec, preflight)
    yield from _disk(experiment, learner, folder)


def parts(value: Any, field: str = "") -> Iterator[tuple[str, Spec]]:
    """Every spec in an experiment and the field it stands in; not what evaluations and observers are composed of."""
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
            judging = place.split(".")[0] in ("evaluations", "observers")
            if not judging or place.count(".") == 1:
                yield place, spec


def _of_part(field: str, spec: Spec, preflight: Preflight) -> Iterator[Finding]:
    try:
        yield from (finding.at(field) for finding in spec.examine(preflight))
    except DidactError as error:
        yield Finding.of(error).at(field)
    except Exception as error:  # foreign code: what it cannot say must not keep a run from starting
        yield Finding.warning(
            f"{type(spec).__name__}.examine failed: {type(error).__name__}: {error}",
            where=field,
            mend="report it to whoever wrote that part; the run does not need it",
        )


def _versions(experiment: Experiment) -> str:
    names = {registry().name_of(type(spec)) for _, spec in parts(experiment)}
    owners = {"didact", *(name.partition("/")[0] for name in names if name)}
    used = [f"{plugin.name} {plugin.version}" for plugin in registry().plugins if plugin.name in owners]
    return f"{', '.join(used)}; Python {platform.python_version()}, torch {torch.__version__}"


def _record(experiment: Experiment) -> Iterator[Finding]:
    """Whether the experiment survives being data, as which a run records it."""
    lost = lost_as_data(experiment)
    if lost:
        yield Finding.warning(
            f"a run of this experiment cannot be resumed from its record: {lost}",
            mend="register every class that it is composed of in a plugin",
        )


def _data(experiment: Experiment, samples: Samples) -> Iterator[Finding]:
    name, unit, lengths = type(experiment.source).__name__, experiment.source.unit, samples.lengths
    at = f" from {samples.store.path}" if isinstance(samples, StoredSamples) else ""
    if unit == "seconds":
        amount = f", {lengths.sum() / 3600:,.2f} hours"
    else:
        amount = "" if len(lengths) == lengths.sum() else f", {lengths.sum():,.0f} {unit}"
    yield Finding.fine(
        f"{name}{at}: {len(lengths):,} samples{amount}, fingerprint {samples.fingerprint[:12]}", where="source"
    )


def _batches(experiment: Experiment, preflight: Preflight, batches: Batches) -> Iterator[Finding]:
    training, unit = experiment.training, experiment.source.unit
    length = "" if training.batch.unit == "samples" and unit == "images" else f", {Spread.of(batches.lengths)} {unit}"
    yield Finding.fine(
        f"a step learns from {preflight.samples_per_step} samples{length}, {preflight.positions_per_step} positions",
        where="training.batch",
    )
    if training.batch.unit == "samples" and training.batch.amount > preflight.samples:
        yield Finding.warning(
            f"a batch of {training.batch.amount:,.0f} holds each of the {preflight.samples:,} samples more than once",
            where="training.batch",
            mend=f"samples({preflight.samples // 2 or 1}), or more data",
        )
    waste = float(batches.waste.mean())
    if waste > MOST_PADDING:
        what = "cut away, to the shortest of each" if experiment.source.crops else "padding, to the longest of each"
        amount = float(batches.lengths.mean())
        yield Finding.warning(
            f"{waste:.0%} of the batches is {what}",
            where="training.batch",
            mend=f"{unit}({amount:.3g}) forms batches of samples of similar length"
            if training.batch.unit == "samples"
            else f"a larger batch, in which more of similar length meet; it is {training.batch.amount:g} {unit}",
        )
    per_epoch = preflight.steps_per_epoch
    yield Finding.fine(
        f"{training.steps:,} steps, {per_epoch:,.4g} to the epoch: every sample is seen "
        f"{training.steps / per_epoch:,.3g} times",
        where="training.steps",
    )


def _masks(experiment: Experiment, specimens: Specimens) -> Iterator[Finding]:
    """Draws masks for the specimens; the shortest are those that a masker refuses."""
    if experiment.masker is None:
        return
    shares: list[float] = []
    for index, views in enumerate(specimens.layouts):
        for number, layout in enumerate(views):
            for draw in range(DRAWS):
                key = generator(experiment.training.seed, "doctor", "mask", index, number, draw)
                try:
                    with of_field("masker"):
                        mask = experiment.masker.sample(layout, generator=key)
                except DidactError as error:
                    yield Finding.of(error)
                    return
                shares += mask.predicted.float().mean(1).tolist()  # (M, T) -> (M,)
    mean = float(np.mean(shares))
    masks = mask.predicted.shape[0]
    extent = "" if min(shares) == max(shares) else f" ({min(shares):.0%} to {max(shares):.0%} of a sample)"
    said = f"{mean:.0%} of the positions are to be predicted{extent}{f', {masks} masks a sample' if masks > 1 else ''}"
    if MASKED[0] <= mean <= MASKED[1]:
        yield Finding.fine(said, where="masker")
    else:
        yield Finding.warning(
            f"{said}, which leaves {'hardly anything to learn from' if mean < MASKED[0] else 'hardly anything to see'}",
            where="masker",
            mend="published methods hide 15 % (text) to 80 % (images)",
        )


def _loading(experiment: Experiment, plan: BatchPlan, rehearsal: Batch) -> Iterator[Finding]:
    """Whether what the workers make ready fits into shared memory: where not, the system ends one of them."""
    workers = experiment.training.workers
    if not workers or not SHARED_MEMORY.exists():
        return
    step = tensor_bytes(rehearsal) * len(plan.batch(0).samples)
    ahead = min(workers * STEPS_AHEAD, experiment.training.steps)
    free = shutil.disk_usage(SHARED_MEMORY).free
    said = (
        f"the workers keep up to {ahead} steps of {in_bytes(step)} ready in {SHARED_MEMORY}, where {in_bytes(free)} "
        f"are free; several processes of one machine share that"
    )
    if ahead * step > free:
        mend = f"training.workers={max(1, int(free / step / STEPS_AHEAD))}, or a larger {SHARED_MEMORY}"
        yield Finding.warning(said, where="training.workers", mend=mend)
    else:
        yield Finding.fine(said, where="training.workers")


def _disk(experiment: Experiment, learner: Learner, folder: Path) -> Iterator[Finding]:
    training = experiment.training
    stored = sum(tensor.numel() * tensor.element_size() for tensor in learner.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in learner.parameters() if p.requires_grad)
    checkpoint = stored + 2 * trained  # AdamW keeps two moments
    written = 1 + (training.steps - 1) // training.checkpoint_every if training.checkpoint_every else 1
    spared = training.steps // training.keep_every if training.keep_every else 0
    spared += training.keep_best is not None
    kept = min(written, training.keep_checkpoints + 1 + spared)  # the oldest goes when the newest is whole
    needed = kept * checkpoint + training.steps // training.log_every * METRICS_BYTES
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    said = (
        f"the run needs {in_bytes(needed)} of disk ({kept} × {in_bytes(checkpoint)} of checkpoints), and "
        f"{in_bytes(free)} are free in {place}"
    )
    if not os.access(place, os.W_OK):
        mend = "make it writable, or put the run's folder elsewhere with --out"
        yield Finding.error(f"the run's folder cannot be written in {place}", where="disk", mend=mend)
        return
    mend = "free some, put the run's folder elsewhere with --out, or lower training.keep_checkpoints"
    if needed > free:
        yield Finding.error(said, where="disk", mend=mend)
    elif needed > free / 2:
        yield Finding.warning(said, where="disk", mend=mend)
    else:
        yield Finding.fine(said, where="disk")


def _measured(experiment: Experiment, trial: Trial, device: torch.device) -> Iterator[Finding]:
    training = experiment.training
    memory = (
        f"the largest batch, {trial.samples:,} samples and {trial.positions:,} positions, needs "
        f"{in_bytes(trial.peak_bytes)} of {in_bytes(trial.limit_bytes)} on the {device.type}"
    )
    if trial.peak_bytes > MOST_MEMORY * trial.limit_bytes:
        mend = f"training.micro_batches={2 * training.micro_batches} needs about half"
        mend = "a smaller batch" if experiment.needs_whole_batch() else mend
        yield Finding.warning(memory, where="memory", mend=mend)
    else:
        yield Finding.fine(memory, where="memory")
    yield Finding.fine(
        f"{trial.step_seconds:.3g} s a step in {trial.precision}: {training.steps:,} steps take "
        f"{in_time(trial.step_seconds * training.steps)}, evaluations aside",
        where="time",
    )
    if trial.wait_seconds > MOST_WAITING * trial.step_seconds:
        yield Finding.warning(
            f"{trial.wait_seconds / trial.step_seconds:.0%} of a step is spent waiting for data",
            where="training.workers",
            mend=f"training.workers={2 * training.workers or 1}, where there are cores for them",
        )


def in_bytes(count: float) -> str:
    """A number of bytes as people write it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.4g} TiB"


def in_time(seconds: float) -> str:
    """A duration as people write it, to its two largest units."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{int(minutes)} min {seconds % 60:.0f} s"
    if days < 2:
        return f"{int(hours)} h {minutes % 60:.0f} min"
    return f"{int(days)} days {hours % 24:.0f} h"
