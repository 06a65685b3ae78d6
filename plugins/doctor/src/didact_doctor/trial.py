"""A trial: a few real steps in a separate process, so that running out of memory does not affect the caller."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import attrs
import numpy as np
import torch

from didact import Experiment, RunError, build_learner
from didact.batching import BatchPlan
from didact.loading import Steps, load
from didact.loop.faults import does_not_fit, ran_out_of_memory
from didact.loop.trainer import Trainer
from didact.machine.devices import peak_memory
from didact_doctor.processes import EndedError, Process

LARGEST = "the largest batch"
TIMED_STEPS = 8
TIMED_SECONDS = 60.0  # no further step is timed after this time


@attrs.frozen(kw_only=True)
class Trial:
    """The measurements of a trial.

    Attributes:
        samples: the number of samples in the largest batch.
        positions: the number of positions in the largest batch, including padding.
        peak_bytes: the highest memory use over two steps on each of the largest batches, including forward, backward,
            optimizer and teacher.
        limit_bytes: the memory of the device.
        step_seconds: the median time of the run's own steps, including data.
        wait_seconds: the part of that time in which the step waits for data.
        precision: the precision of the matrix products.
    """

    samples: int
    positions: int
    peak_bytes: int
    limit_bytes: int
    step_seconds: float
    wait_seconds: float
    precision: str


def attempt(experiment: Experiment, device: torch.device) -> Trial:
    """Trains a few steps in a new process, first on the batches that need the most memory, then on the first batches.

    Raises:
        DidactError: a step fails.
        RunError: memory ran out, or the process ended for another reason.
    """
    with Process(_work, experiment, str(device)) as process:
        try:
            trial: Trial = process.receive()
        except EndedError as ended:
            raise _ended(ended.code, experiment) from None
    return trial


def measure(experiment: Experiment, device: torch.device) -> Trial:
    """Runs the trial in the current process.

    Raises:
        DidactError: a step fails.
    """
    samples = experiment.source.open()
    plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
    trainer = Trainer(experiment, build_learner(experiment), device)
    heaviest = heaviest_steps(plan, samples.lengths, crops=experiment.source.crops)
    batches = [Steps(experiment, plan)[step] for step in heaviest]
    for batch in batches * 2:  # twice, because the first step creates the state of the optimizer
        trainer.take_step(batch)
    return attrs.evolve(
        _timed(experiment, plan, trainer),
        samples=len(plan.batch(heaviest[0]).samples),
        positions=sum(v.content.shape[0] * v.layout.positions for part in batches[0].parts for v in part.views),
    )


def heaviest_steps(plan: BatchPlan, lengths: np.ndarray, *, crops: bool) -> tuple[int, ...]:
    """Selects the steps of the first epoch that need the most memory: the one with the most content and the longest.

    Args:
        plan: the plan of the batches.
        lengths: (N,) every sample's length.
        crops: whether samples are cut to the shortest of a batch; otherwise they are padded to the longest.
    """
    if lengths.min() == lengths.max() and plan.size.unit == "samples":
        return (0,)
    if plan.size.unit == "samples":  # the last batch of an epoch may contain samples of the next epoch
        steps = range(max(1, plan.count // int(plan.size.amount)))
    else:
        steps = range(plan.batches_per_epoch)
    batches = [lengths[plan.batch(step).samples] for step in steps]
    sizes = np.array([len(batch) for batch in batches])
    held = np.array([batch.min() if crops else batch.max() for batch in batches])
    return tuple(dict.fromkeys((int(np.argmax(sizes * held)), int(np.argmax(held)))))


def memory_limit(device: torch.device) -> int:
    """The memory of the GPU or the machine, in bytes; less if the control group of this process limits it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2, version 1
        with contextlib.suppress(OSError, ValueError):  # the group does not exist or has no limit ("max")
            limit = min(limit, int((Path("/sys/fs/cgroup") / file).read_text()))
    return limit


def _timed(experiment: Experiment, plan: BatchPlan, trainer: Trainer) -> Trial:
    warmup = 3 if experiment.training.compile else 1
    count = max(warmup + TIMED_STEPS, experiment.training.steps)
    enough = experiment.evolve(**{"training.steps": count})
    batches = load(enough, plan, 0, pin=trainer.device.type == "cuda")
    taken: list[float] = []
    waited: list[float] = []
    begun = time.perf_counter()
    while len(taken) <= warmup or (len(taken) < warmup + TIMED_STEPS and time.perf_counter() - begun < TIMED_SECONDS):
        before = time.perf_counter()
        batch = next(batches)
        waited.append(time.perf_counter() - before)
        trainer.take_step(batch)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        taken.append(time.perf_counter() - before)
    return Trial(
        samples=0,
        positions=0,
        peak_bytes=peak_memory(trainer.device),
        limit_bytes=memory_limit(trainer.device),
        step_seconds=statistics.median(taken[warmup:]),
        wait_seconds=statistics.median(waited[warmup:]),
        precision=str(trainer.precision).removeprefix("torch."),
    )


def _work(channel: Connection, experiment: Experiment, device: str) -> None:
    """The work of the process: sends the measurements."""
    try:
        channel.send(measure(experiment, torch.device(device)))
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        raise does_not_fit(LARGEST, str(error).splitlines()[0], experiment) from None


def _ended(code: int | None, experiment: Experiment) -> RunError:
    if code == -signal.SIGKILL:
        return does_not_fit(LARGEST, "the system killed the process, as it does when memory runs out", experiment)
    return RunError(
        f"the process that took a few steps ended with code {code}",
        where="training",
        hint="its traceback is printed above; this is a bug in didact or in a plugin",
    )
