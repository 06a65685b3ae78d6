"""The resources that a run needs: disk, shared memory, memory and time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from didact import Batch, Experiment, Learner
from didact.batching import BatchPlan
from didact.preflight import Finding
from didact_doctor.diagnosis import tensors_in
from didact_doctor.trial import Trial

METRICS_BYTES = 600  # size of one line
MOST_MEMORY = 0.9
SHARED_MEMORY = Path("/dev/shm")  # workers of PyTorch put tensors here
MOST_WAITING = 0.3
STEPS_AHEAD = 2  # steps in shared memory per worker (default of ParallelMapper); 2,048 images take 1.2 GiB


def shared_memory(experiment: Experiment, plan: BatchPlan, rehearsal: Batch) -> Iterator[Finding]:
    """Checks whether the prepared batches fit into shared memory; if they do not, the system kills a worker.

    Args:
        experiment: the experiment to be run.
        plan: the samples of each batch.
        rehearsal: a batch of one sample.
    """
    num_workers = experiment.training.num_workers
    if not num_workers or not SHARED_MEMORY.exists():
        return
    sample = sum(tensor.nbytes for tensor in tensors_in(rehearsal).values())
    step = sample * len(plan.batch(0).samples)
    ahead = min(num_workers * STEPS_AHEAD, experiment.training.steps)
    free = shutil.disk_usage(SHARED_MEMORY).free
    says = (
        f"the workers keep up to {ahead} steps of {in_bytes(step)} ready in {SHARED_MEMORY}, where {in_bytes(free)} "
        f"are free for all processes of this machine"
    )
    if ahead * step > free:
        hint = f"training.num_workers={max(1, int(free / step / STEPS_AHEAD))}, or a larger {SHARED_MEMORY}"
        yield Finding.warning(says, where="training.num_workers", hint=hint)
    else:
        yield Finding.fine(says, where="training.num_workers")


def disk(experiment: Experiment, learner: Learner, folder: Path) -> Finding:
    """Checks whether the run's checkpoints and metrics fit on the disk of its folder."""
    training = experiment.training
    stored = sum(tensor.numel() * tensor.element_size() for tensor in learner.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in learner.parameters() if p.requires_grad)
    checkpoint = stored + 2 * trained  # AdamW keeps two moments, others fewer
    written = 1 + sum((training.steps - 1) // every for every in training.intervals(experiment.evaluations))
    spared = training.steps // training.keep_every if training.keep_every else 0
    spared += training.keep_best is not None
    kept = min(written, training.keep_checkpoints + 1 + spared)  # the oldest is deleted when the newest is complete
    needed = kept * checkpoint + training.steps // training.log_every * METRICS_BYTES
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        hint = "make it writable, or choose another folder with --out"
        return Finding(severity="error", says=f"the run's folder cannot be written in {place}", where="disk", hint=hint)
    says = (
        f"the run needs {in_bytes(needed)} of disk ({kept} × {in_bytes(checkpoint)} of checkpoints), and "
        f"{in_bytes(free)} are free in {place}"
    )
    hint = "free some space, choose another folder with --out, or lower training.keep_checkpoints"
    if needed > free:
        return Finding(severity="error", says=says, where="disk", hint=hint)
    if needed > free / 2:
        return Finding.warning(says, where="disk", hint=hint)
    return Finding.fine(says, where="disk")


def measured(experiment: Experiment, trial: Trial, device: torch.device) -> Iterator[Finding]:
    """Yields findings about the memory and time that a trial measured."""
    training = experiment.training
    memory = (
        f"the largest batch, {trial.samples:,} samples and {trial.positions:,} positions, needs "
        f"{in_bytes(trial.peak_bytes)} of {in_bytes(trial.limit_bytes)} on the {device.type}"
    )
    if trial.peak_bytes > MOST_MEMORY * trial.limit_bytes:
        hint = f"training.gradient_accumulation_steps={2 * training.gradient_accumulation_steps} needs about half"
        hint = "a smaller batch" if experiment.needs_whole_batch() else hint
        yield Finding.warning(memory, where="memory", hint=hint)
    else:
        yield Finding.fine(memory, where="memory")
    yield Finding.fine(
        f"{trial.step_seconds:.3g} s per step in {trial.precision}: {training.steps:,} steps take "
        f"{in_time(trial.step_seconds * training.steps)}, evaluations not counted",
        where="time",
    )
    if trial.wait_seconds > MOST_WAITING * trial.step_seconds:
        yield Finding.warning(
            f"a step waits for data for {trial.wait_seconds / trial.step_seconds:.0%} of its time",
            where="training.num_workers",
            hint=f"training.num_workers={2 * training.num_workers or 1}, if there are cores for them",
        )


def in_bytes(count: float) -> str:
    """Formats a number of bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.4g} TiB"


def in_time(seconds: float) -> str:
    """Formats a duration in its two largest units."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{int(minutes)} min {seconds % 60:.0f} s"
    if days < 2:
        return f"{int(hours)} h {minutes % 60:.0f} min"
    return f"{int(days)} days {hours % 24:.0f} h"
