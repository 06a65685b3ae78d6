"""A trial: a few real steps in a process of its own, which may run out of memory without taking anybody along."""

from __future__ import annotations

import signal
import statistics
import time
from multiprocessing.connection import Connection

import attrs
import torch

from didact.batching import BatchPlan
from didact.errors import RunError
from didact.experiment import Experiment
from didact.learner import build_learner
from didact.loading import Steps, load
from didact.machine.devices import memory_limit, peak_memory
from didact.machine.processes import EndedError, Process
from didact.training.memory import does_not_fit, ran_out
from didact.training.trainer import Trainer

LARGEST = "the largest batch"
TIMED_STEPS = 8
TIMED_SECONDS = 60.0  # no further step is timed after so many


@attrs.frozen(kw_only=True)
class Trial:
    """What was measured.

    Attributes:
        samples: of the batch that needed most.
        positions: likewise, its padding included.
        peak_bytes: of memory, after two steps on the largest batches there are: forward, backward, optimizer, teacher.
        limit_bytes: of memory, how many there are.
        step_seconds: the median over steps as the run takes them, data included.
        wait_seconds: the part of it in which the step waited for data.
        precision: of the matrix products.
    """

    samples: int
    positions: int
    peak_bytes: int
    limit_bytes: int
    step_seconds: float
    wait_seconds: float
    precision: str


def attempt(experiment: Experiment, device: torch.device) -> Trial:
    """Trains a few steps in a new process: on the batches that need the most memory, then from the first one on.

    Raises:
        DidactError: what a step found.
        RunError: memory ran out, or the process ended otherwise.
    """
    with Process(_work, experiment, str(device)) as process:
        try:
            trial: Trial = process.receive()
        except EndedError as ended:
            raise _ended(ended.code, experiment) from None
    return trial


def measure(experiment: Experiment, device: torch.device) -> Trial:
    """The trial itself, in this process.

    Raises:
        DidactError: what a step found.
    """
    samples = experiment.source.open()
    plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
    trainer = Trainer(experiment, build_learner(experiment), device)
    heaviest = plan.heaviest(crops=experiment.source.crops)
    batches = [Steps(experiment, plan)[step] for step in heaviest]
    for batch in batches * 2:  # twice, because the optimizer's state is made by the first step
        trainer.take_step(batch)
    return attrs.evolve(
        _timed(experiment, plan, trainer),
        samples=len(plan.batch(heaviest[0]).samples),
        positions=sum(v.content.shape[0] * v.layout.positions for part in batches[0].parts for v in part.views),
    )


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
    """What the process does: sends what it measured."""
    try:
        channel.send(measure(experiment, torch.device(device)))
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise does_not_fit(LARGEST, str(error).splitlines()[0], experiment) from None


def _ended(code: int | None, experiment: Experiment) -> RunError:
    if code == -signal.SIGKILL:
        return does_not_fit(LARGEST, "the system killed the process, as it does when memory runs out", experiment)
    return RunError(
        f"the process that tried a few steps ended with code {code}",
        where="training",
        mend="its traceback stands above; this is a bug of didact or of a plugin",
    )
