"""How fast an experiment trains here, where its time goes, and how much of the machine it uses."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import attrs
import torch
from torch.utils.flop_counter import FlopCounterMode

from didact.batching import BatchPlan
from didact.errors import RunError
from didact.experiment import Experiment
from didact.learner import build_learner
from didact.loading import StepBatch, load
from didact.machine.devices import autocast, peak_memory
from didact.machine.processes import EndedError, Process
from didact.timing import Stopwatch, measuring
from didact.training.trainer import Trainer

STAGES = (
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


@attrs.frozen(kw_only=True)
class Speed:
    """What was measured.

    Attributes:
        step_seconds: the median over the steps.
        samples_per_second: at that median.
        length_per_second: likewise, in the source's unit.
        unit: that unit.
        stages: seconds of a step in each stage, the mean over the steps; the usual ones, then those of other spans.
        peak_gib: the most memory that was in use, of the device or of this process.
        flops: floating-point operations of a step's matrix products and convolutions, the backward pass included.
        ceiling_flops: what the device reaches per second in one large matrix product of the same precision.
        precision: of the matrix products.
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
        """The share of the machine's measured matrix-product ceiling that the steps reach."""
        return self.flops / self.step_seconds / self.ceiling_flops


class Bench:
    """An experiment in training, as `didact run` would train it, of which steps are measured.

    Args:
        experiment: what to train.
        device: where.
        longest: how many steps it will take at most.
        warmup: how many it takes at once, unmeasured.
    """

    def __init__(self, experiment: Experiment, device: torch.device, longest: int, warmup: int) -> None:
        experiment.source.prepare()
        self.source, self._samples = experiment.source, experiment.source.open()
        self._plan = BatchPlan(self._samples.lengths, experiment.training.batch, experiment.training.seed)
        steps = max(warmup + longest + 1, experiment.training.steps)
        experiment = attrs.evolve(experiment, training=attrs.evolve(experiment.training, steps=steps))
        self.trainer = Trainer(experiment, build_learner(experiment), device)
        self._batches = load(experiment, self._plan, 0, pin=device.type == "cuda")
        for _ in range(warmup):
            self.trainer.take_step(next(self._batches))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._stopwatch = Stopwatch(device)
        self._taken: list[float] = []
        self._trained: list[StepBatch] = []

    def take(self, steps: int) -> list[float]:
        """Takes and measures steps; the seconds of each, data included."""
        watch = self._stopwatch
        with measuring(watch):
            for _ in range(steps):
                begun = time.perf_counter()
                watch.enter("data wait")
                batch = next(self._batches)
                watch.leave()
                watch.enter("other")
                self.trainer.take_step(batch)
                watch.leave()
                self._taken.append(time.perf_counter() - begun)
                self._trained.append(batch)
        return self._taken[-steps:]

    def speed(self) -> Speed:
        """What all measured steps come to."""
        steps, device = len(self._taken), self.trainer.device
        peak = peak_memory(device) / 2**30
        step_seconds = statistics.median(self._taken)
        ids = [int(index) for batch in self._trained for part in batch.parts for index in part.ids]
        lengths = [self._plan.batch(batch.step).length for batch in self._trained for p in batch.parts for _ in p.ids]
        stages = dict.fromkeys(STAGES, 0.0) | self._stopwatch.seconds
        length = sum(lengths) if self.source.crops else float(self._samples.lengths[ids].sum())
        return Speed(
            step_seconds=step_seconds,
            samples_per_second=len(ids) / steps / step_seconds,
            length_per_second=length / steps / step_seconds,
            unit=self.source.unit,
            stages={name: seconds / steps for name, seconds in stages.items()},
            peak_gib=peak,
            flops=_count_flops(self.trainer, self._trained[-1]),
            ceiling_flops=matrix_product_ceiling(device, self.trainer.precision),
            precision=str(self.trainer.precision).removeprefix("torch."),
        )


@attrs.frozen(kw_only=True)
class Contestant:
    """One of several settings that were measured side by side.

    Attributes:
        speed: of all its steps.
        gains: how many times faster than the first contestant it was, in each round; 1 for the first itself.
    """

    speed: Speed
    gains: tuple[float, ...]

    @property
    def gain(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.gains)


def measure(experiment: Experiment, device: torch.device, steps: int) -> Speed:
    """Trains a few steps as `didact run` would and measures them.

    Args:
        experiment: what to train.
        device: where.
        steps: how many are measured.
    """
    bench = Bench(experiment, device, steps, _warmup(experiment))
    bench.take(steps)
    return bench.speed()


def compare(
    experiments: Sequence[Experiment],
    device: torch.device,
    steps: int,
    rounds: int,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Contestant]:
    """Measures experiments side by side: each in a process of its own, all taking turns on the same batches.

    So what else the machine does meets all of them alike, and none's memory counts for another.

    Args:
        experiments: to compare; the first is what the others are held against.
        device: where.
        steps: that each takes in a round.
        rounds: how many; the order of turns is reversed from one to the next.
        tell: called with what is going on.

    Raises:
        DidactError: one of them does not run.
    """
    with contextlib.ExitStack() as stack:
        sides: list[_Side] = []
        for number, experiment in enumerate(experiments):
            tell(f"{number + 1} of {len(experiments)} gets ready")
            side = _Side(_serve, experiment, str(device), steps * rounds)
            sides.append(stack.enter_context(side))
            side.answer()
        medians: list[list[float]] = [[] for _ in sides]
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            turns = list(enumerate(sides))
            for index, side in turns if number % 2 == 0 else reversed(turns):
                medians[index].append(statistics.median(side.ask(steps)))
        gains = [tuple(first / mine for first, mine in zip(medians[0], own, strict=True)) for own in medians]
        return [Contestant(speed=side.ask(0), gains=gain) for side, gain in zip(sides, gains, strict=True)]


class _Side(Process):
    """A process that measures one experiment when it is asked to."""

    def ask(self, steps: int) -> Any:
        """The seconds of each of so many steps, which it takes now; or its `Speed`, if none is asked for."""
        with contextlib.suppress(OSError):  # it has ended, which its answer tells
            self.send(steps)
        return self.answer()

    def answer(self) -> Any:
        """What it answers: the first time, that it is ready.

        Raises:
            DidactError: its experiment does not run.
        """
        try:
            return self.receive()
        except EndedError as ended:
            raise RunError(
                f"a process that was to be measured ended with code {ended.code}",
                mend="its traceback stands above; where there is none, memory may have run out: compare fewer settings",
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
    """Floating-point operations per second in a large matrix product: the best of several."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
        del product
    return 2.0 * size**3 / best


def _onednn_product(left: tuple[int, ...], right: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Of ``left`` (…, D) times the transpose of ``right`` (D', D)."""
    return 2 * math.prod(left) * right[0]


def _count_flops(trainer: Trainer, batch: StepBatch) -> float:
    own = {}  # how a linear layer of the Transformer computes in float32 on a CPU; PyTorch's counter does not know it
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        own[torch.ops.mkldnn._linear_pointwise] = _onednn_product
    with FlopCounterMode(display=False, custom_mapping=own) as counter, autocast(trainer.device, trainer.precision):
        trainer.take_step(batch)
    return float(counter.get_total_flops())
