"""What the order of samples costs a worker of the loader: memory, time per batch, and seeking.

    python tests/benchmarks/order.py
    python tests/benchmarks/order.py --samples 100_000_000 --by length

Starts real workers on 1,000 samples and on ``--samples``, lets them read steps far apart, and prints the private memory
of a worker on both, the size of what it was sent, the time of a batch inside the worker, and whether a plan made anew
finds the same batch. The samples hold no data: their content is what the worker measured. See README.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
import torch

from didact import AdamW, BatchSize, Experiment, Samples, Signal, Source, Training
from didact.batching import BatchPlan, GlobalBatch
from didact.loading import Steps, load
from didact_kit import TinyBackbone, TinyEncoder, TinyObjective, TinyTargets

FEW, STRIDE, TIMED = 1000, 99_991, 20


@attrs.frozen(kw_only=True)
class Scale(Source):
    """Samples that weigh the process that reads them.

    Attributes:
        count: the number of samples.
        lengths: a file of their lengths, of which all processes of a machine share one copy; None: all have length 1.
    """

    unit: ClassVar[str] = "values"

    count: int
    lengths: str | None = None

    def signal(self) -> Signal:
        return Signal(kind="numbers", axes=(1, 1))

    def open(self) -> ScaleSamples:
        return ScaleSamples(self)


@attrs.frozen(kw_only=True)
class CroppingScale(Scale):
    """The same, for workers that need the lengths."""

    crops = True


class ScaleSamples(Samples):
    """The samples; only the batch's first is weighed, since a measurement takes a millisecond."""

    def __init__(self, source: Scale) -> None:
        one = np.broadcast_to(np.float64(1), source.count)
        self.lengths = one if source.lengths is None else np.load(source.lengths, mmap_mode="r")
        self.labels, self.classes, self.fingerprint = None, (), "scale"

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        return (torch.tensor([[private_kib()]], dtype=torch.float64),)

    def content(self, index: int) -> torch.Tensor:
        return torch.zeros(1, 1)

    def name(self, index: int) -> str:
        return f"sample {index}"


class TimedPlan(BatchPlan):
    """A plan that writes the milliseconds of each batch into the batch's epoch, which is sent back to be printed."""

    def batch(self, step: int) -> GlobalBatch:
        begun = time.perf_counter()
        batch = super().batch(step * STRIDE)
        return attrs.evolve(batch, epoch=1000 * (time.perf_counter() - begun), samples=batch.samples[:8])  # type: ignore


def private_kib() -> int:
    """The memory of this process that no other shares, in KiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def weigh(source: Scale, size: BatchSize) -> None:
    begun, opened = time.perf_counter(), source.open()  # stays open, as in a run
    plan = TimedPlan(opened.lengths, size, 0)
    made = time.perf_counter() - begun
    training = Training(steps=TIMED, batch=size, optimizer=AdamW(learning_rate=0.0), num_workers=1)
    parts = {
        "encoder": TinyEncoder(),
        "backbone": TinyBackbone(),
        "targets": TinyTargets(),
        "objective": TinyObjective(),
    }
    experiment = Experiment(name="order", source=source, training=training, **parts)
    found = list(load(experiment, plan, 0, pin=False))
    sent = len(ForkingPickler.dumps(Steps(experiment, plan)))
    again = TimedPlan(opened.lengths, size, 0).batch(TIMED - 1).samples
    spent = [batch.epoch for batch in found[1:]]
    memory = [int(batch.parts[0].views[0].content.max()) for batch in found]
    print(
        f"  {source.count:>13,} samples: plan made in {made:.2f} s; a worker was sent {sent:,} bytes and has "
        f"{memory[-1]:,} KiB of its own ({memory[-1] - memory[0]:+,} since its first step); a batch took "
        f"{statistics.median(spent):.2f} ms (longest {max(spent):.2f}); step {(TIMED - 1) * STRIDE:,} sought anew is "
        f"{'the same' if again.tolist() == found[-1].parts[0].ids.tolist() else 'ANOTHER'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--batch", type=int, default=256, help="samples in a batch, or nearly")
    parser.add_argument("--by", choices=("samples", "length", "all"), default="samples")
    arguments = parser.parse_args()
    counts = (FEW, arguments.samples)
    if arguments.by != "length":
        print("batches of samples")
        for count in counts:
            weigh(Scale(count=count), BatchSize.samples(arguments.batch))
    if arguments.by != "samples":
        with tempfile.TemporaryDirectory() as folder:
            for kind, says in ((Scale, "batches by length"), (CroppingScale, "batches by length, cropped")):
                print(says)
                for count in counts:
                    file = f"{folder}/{count}.npy"
                    np.save(file, np.random.default_rng(0).uniform(5, 15, count))
                    weigh(kind(count=count, lengths=file), BatchSize(amount=10.0 * arguments.batch, unit="values"))


if __name__ == "__main__":
    main()
