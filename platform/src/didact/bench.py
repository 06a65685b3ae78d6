"""How fast an experiment trains here, where its time goes, and how much of the machine it uses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import attrs
import torch
from torch.utils.flop_counter import FlopCounterMode

from didact.batching import BatchPlan
from didact.devices import autocast, peak_memory
from didact.experiment import Experiment
from didact.learner import build_learner
from didact.loading import StepBatch, load
from didact.timing import Stopwatch, measuring
from didact.trainer import Trainer

STAGES = (
    "data wait",
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
        stages: seconds of a step in each stage, the mean over the steps.
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


def measure(experiment: Experiment, device: torch.device, steps: int, warmup: int = 2) -> Speed:
    """Trains a few steps as `didact run` would and measures them.

    Args:
        experiment: what to train.
        device: where.
        steps: how many are measured.
        warmup: how many before; more where blocks are compiled.
    """
    experiment.source.prepare()
    samples = experiment.source.open()
    plan = BatchPlan(samples.lengths, experiment.training.batch, experiment.training.seed)
    total = warmup + steps + 1
    training = attrs.evolve(experiment.training, steps=max(total, experiment.training.steps))
    experiment = attrs.evolve(experiment, training=training)
    trainer = Trainer(experiment, build_learner(experiment), device)
    batches = load(experiment, plan, 0, pin=device.type == "cuda")
    for _ in range(warmup):
        trainer.take_step(next(batches))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    stopwatch, taken, trained = Stopwatch(device), [], []
    with measuring(stopwatch):
        for _ in range(steps):
            begun = time.perf_counter()
            stopwatch.enter("data wait")
            batch = next(batches)
            stopwatch.leave()
            stopwatch.enter("other")
            trainer.take_step(batch)
            stopwatch.leave()
            taken.append(time.perf_counter() - begun)
            trained.append(batch)
    peak = peak_memory(device) / 2**30
    step_seconds = statistics.median(taken)
    ids = [int(index) for batch in trained for part in batch.parts for index in part.ids]
    lengths = [plan.batch(batch.step).length for batch in trained for part in batch.parts for _ in part.ids]
    length = sum(lengths) if experiment.source.crops else float(samples.lengths[ids].sum())
    return Speed(
        step_seconds=step_seconds,
        samples_per_second=len(ids) / steps / step_seconds,
        length_per_second=length / steps / step_seconds,
        unit=experiment.source.unit,
        stages={name: stopwatch.seconds.get(name, 0.0) / steps for name in STAGES},
        peak_gib=peak,
        flops=_count_flops(trainer, trained[-1]),
        ceiling_flops=matrix_product_ceiling(device, trainer.precision),
        precision=str(trainer.precision).removeprefix("torch."),
    )


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


def _count_flops(trainer: Trainer, batch: StepBatch) -> float:
    with FlopCounterMode(display=False) as counter, autocast(trainer.device, trainer.precision):
        trainer.take_step(batch)
    return float(counter.get_total_flops())
