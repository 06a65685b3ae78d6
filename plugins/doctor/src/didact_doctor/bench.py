"""Measures how fast an experiment trains here, which stages take the time, and how much of the machine is used."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import attrs
import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from didact import Experiment, RunError, build_learner
from didact.batching import BatchPlan
from didact.loading import StepBatch, load
from didact.loop.trainer import Trainer
from didact.machine.devices import autocast, peak_memory
from didact_doctor.processes import EndedError, Process

STAGES = (  # ranges of `torch.profiler.record_function` in a step
    "data wait",
    "augmentation",
    "encoder",
    "student forward",
    "teacher",
    "targets",
    "objective",
    "backward",
    "optimizer",
    "ema",
    "other",
)
PROFILED_STEPS = 2  # taken after the measured steps, because profiling slows a step down


@attrs.frozen(kw_only=True)
class Speed:
    """The speed of an experiment's steps.

    Attributes:
        step_seconds: the median time of the measured steps.
        samples_per_second: the rate at the median step time.
        length_per_second: the rate at the median step time, in the source's unit.
        unit: the source's unit.
        stages: seconds of a step in each of `STAGES`. On a GPU, this is the time that the GPU computes for the stage,
            and ``other`` includes the GPU's idle time.
        peak_gib: highest memory use, of the device or of this process.
        flops: floating-point operations of a step's matrix products and convolutions, the backward pass included.
        ceiling_flops: operations per second of one large matrix product of the same precision on this device.
        precision: the precision of the matrix products.
    """

    step_seconds: float
    samples_per_second: float
    length_per_second: float
    unit: str
    stages: Mapping[str, float]
    peak_gib: float
    flops: float
    ceiling_flops: float
    precision: str

    @property
    def share_of_ceiling(self) -> float:
        """The share of the ceiling that the steps reach."""
        return self.flops / self.step_seconds / self.ceiling_flops


class Bench:
    """Trains an experiment as `didact run` does, and measures its steps.

    Args:
        experiment: the experiment to train.
        device: the device to train on.
        longest: the largest number of steps to measure.
        warmup: the number of unmeasured steps, taken on construction.
    """

    def __init__(self, experiment: Experiment, device: torch.device, longest: int, warmup: int) -> None:
        experiment.source.prepare()
        self.source, self._samples = experiment.source, experiment.source.open()
        self._plan = BatchPlan(self._samples.lengths, experiment.training.batch, experiment.training.seed)
        steps = max(warmup + longest + PROFILED_STEPS + 1, experiment.training.steps)
        experiment = attrs.evolve(experiment, training=attrs.evolve(experiment.training, steps=steps))
        self.trainer = Trainer(experiment, build_learner(experiment), device)
        self._batches = load(experiment, self._plan, 0, pin=device.type == "cuda")
        for _ in range(warmup):
            self._step()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._taken: list[float] = []
        self._trained: list[StepBatch] = []

    def take(self, steps: int) -> list[float]:
        """Takes steps and returns the seconds of each, including the wait for data."""
        for _ in range(steps):
            begun = time.perf_counter()
            self._trained.append(self._step())
            self._taken.append(time.perf_counter() - begun)
        return self._taken[-steps:]

    def speed(self) -> Speed:
        """Computes the speed over all measured steps."""
        steps, device = len(self._taken), self.trainer.device
        peak = peak_memory(device) / 2**30
        step_seconds = statistics.median(self._taken)
        ids = [int(index) for batch in self._trained for part in batch.parts for index in part.ids]
        length = float(self._samples.lengths[ids].sum())
        if self.source.crops:  # to the shortest sample of the batch
            length = sum(self._shortest(batch.step) * len(part.ids) for batch in self._trained for part in batch.parts)
        return Speed(
            step_seconds=step_seconds,
            samples_per_second=len(ids) / steps / step_seconds,
            length_per_second=length / steps / step_seconds,
            unit=self.source.unit,
            stages={name: share * step_seconds for name, share in self._profile().items()},
            peak_gib=peak,
            flops=_count_flops(self.trainer, self._trained[-1]),
            ceiling_flops=matrix_product_ceiling(device, self.trainer.precision),
            precision=str(self.trainer.precision).removeprefix("torch."),
        )

    def _step(self) -> StepBatch:
        with record_function("data wait"):
            batch = next(self._batches)
        self.trainer.take_step(batch)
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)
        return batch

    def _shortest(self, step: int) -> float:
        return float(self._samples.lengths[self._plan.batch(step).samples].min())

    def _profile(self) -> dict[str, float]:
        """Measures the share of a step's time in each stage."""
        on_gpu = self.trainer.device.type == "cuda"
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's library would print to standard error
        with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiled:
            for _ in range(PROFILED_STEPS):
                with record_function("other"):
                    self._step()
        return shares_of_stages(profiled.events(), on_gpu=on_gpu)


def shares_of_stages(events: Sequence[Any], *, on_gpu: bool) -> dict[str, float]:
    """Computes the share of time in each of `STAGES`; nested ranges count only for the innermost one.

    Args:
        events: the events of a profile (`torch.autograd.profiler_util.FunctionEvent`); its steps are ranges named
            ``other``.
        on_gpu: whether to count the time of the kernels that a stage launches, instead of the host's time.
    """
    host = [event for event in events if event.device_type == DeviceType.CPU]
    named = [event for event in host if event.is_user_annotation and event.name in STAGES]
    ranges = [(one.time_range.start, one.time_range.end, one.name) for one in named]
    ranges.sort(key=lambda one: (one[0], -one[1]))  # outer ranges first
    spent: dict[str, float] = defaultdict(float)
    outer: list[tuple[float, float, str]] = []
    for one in ranges:
        while outer and outer[-1][1] <= one[0]:
            outer.pop()
        spent[one[2]] += one[1] - one[0]
        if outer:
            spent[outer[-1][2]] -= one[1] - one[0]
        outer.append(one)
    if on_gpu:
        total, spent = sum(spent.values()), defaultdict(float, {"data wait": spent["data wait"]})
        for event in host:
            if event.kernels and not event.is_user_annotation:
                # ranges of all threads, because the backward pass has its own thread
                within = [name for start, end, name in ranges if start <= event.time_range.start < end]
                spent[(within or ["other"])[-1]] += sum(kernel.duration for kernel in event.kernels)
        spent["other"] += max(0.0, total - sum(spent.values()))
    return {name: spent[name] / sum(spent.values()) for name in STAGES}


@attrs.frozen(kw_only=True)
class Contestant:
    """One of several experiments that are measured side by side.

    Attributes:
        speed: its speed over all its steps.
        gains: its speed in each round, as a multiple of the first contestant's.
    """

    speed: Speed
    gains: tuple[float, ...]

    @property
    def gain(self) -> float:
        """The median gain over the rounds."""
        return statistics.median(self.gains)


def measure(experiment: Experiment, device: torch.device, steps: int) -> Speed:
    """Trains a few steps as `didact run` does, and measures them.

    Args:
        experiment: the experiment to train.
        device: the device to train on.
        steps: the number of steps to measure.
    """
    bench = Bench(experiment, device, steps, _warmup(experiment))
    bench.take(steps)
    return bench.speed()


def compare(
    experiments: Sequence[Experiment],
    device: torch.device,
    steps: int,
    rounds: int,
    report: Callable[[str], None] = lambda _: None,
) -> list[Contestant]:
    """Measures experiments side by side: each in its own process, in turns, on the same batches.

    Other load on the machine affects all experiments alike, and each has its own memory count.

    Args:
        experiments: the experiments to compare; the first is the reference.
        device: the device to train on.
        steps: the number of steps that each experiment takes in a round.
        rounds: the number of rounds; each reverses the order of the previous one.
        report: called with a line about the progress.

    Raises:
        DidactError: one of the experiments fails.
    """
    with contextlib.ExitStack() as stack:
        sides: list[_Side] = []
        for number, experiment in enumerate(experiments):
            report(f"preparing {number + 1} of {len(experiments)}")
            side = _Side(_serve, experiment, str(device), steps * rounds)
            sides.append(stack.enter_context(side))
            side.answer()
        medians: list[list[float]] = [[] for _ in sides]
        for number in range(rounds):
            report(f"round {number + 1} of {rounds}")
            turns = list(enumerate(sides))
            for index, side in turns if number % 2 == 0 else reversed(turns):
                medians[index].append(statistics.median(side.ask(steps)))
        gains = [tuple(first / mine for first, mine in zip(medians[0], own, strict=True)) for own in medians]
        return [Contestant(speed=side.ask(0), gains=gain) for side, gain in zip(sides, gains, strict=True)]


class _Side(Process):
    """A process that measures one experiment on request."""

    def ask(self, steps: int) -> Any:
        """Takes a number of steps and returns the seconds of each; with 0 steps, returns the `Speed`."""
        with contextlib.suppress(OSError):  # if the process has ended, `answer` reports it
            self.send(steps)
        return self.answer()

    def answer(self) -> Any:
        """Waits for the process's answer; the first answer says that the process is ready.

        Raises:
            DidactError: the experiment of the process fails.
        """
        try:
            return self.receive()
        except EndedError as ended:
            raise RunError(
                f"a measured process ended with code {ended.code}",
                hint="its traceback is printed above; without one, memory may have run out: compare fewer settings",
            ) from None


def _serve(channel: Connection, experiment: Experiment, device: str, longest: int) -> None:
    bench = Bench(experiment, torch.device(device), longest, _warmup(experiment))
    channel.send("ready")
    while True:
        steps = channel.recv()
        channel.send(bench.take(steps) if steps else bench.speed())


def _warmup(experiment: Experiment) -> int:
    return 4 if experiment.training.compile else 2


def matrix_product_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Measures the floating-point operations per second of a large matrix product; the best of several runs."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # imported next; warns if there is no GPU
    from torch.utils.benchmark import Timer

    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
    return 2.0 * size**3 / min(timer.blocked_autorange(min_run_time=0.5).times)


def _onednn_product(left: tuple[int, ...], right: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Counts the operations of ``left`` (…, D) times the transpose of ``right`` (D', D)."""
    return 2 * math.prod(left) * right[0]


def _count_flops(trainer: Trainer, batch: StepBatch) -> float:
    own = {}  # float32 linear layers of the Transformer on a CPU, which PyTorch's counter ignores
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        own[torch.ops.mkldnn._linear_pointwise] = _onednn_product
    with FlopCounterMode(display=False, custom_mapping=own) as counter, autocast(trainer.device, trainer.precision):
        trainer.take_step(batch)
    return float(counter.get_total_flops())
