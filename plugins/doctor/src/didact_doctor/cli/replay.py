"""``didact replay``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from didact.cli.run import DEVICE

if TYPE_CHECKING:
    from didact_doctor.diagnosis import Diagnosis
    from didact_doctor.replay import Replay

SAMPLES_SHOWN = 20


@click.command("replay", short_help="Run a failed step again.")
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--each-sample/--no-each-sample", default=True, show_default=True, help="Also compute every sample by itself."
)
@DEVICE
def replay_command(folder: Path, each_sample: bool, device: str) -> None:
    """Run the step in BUNDLE again, and name the first tensor that is not finite and the samples that cause it.

    A run whose experiment lists the observer `Doctor` writes a bundle into its folder `bundles` when the loss or
    gradient of a step is not finite. The bundle has the batch, the weights and the experiment; the data are not needed.
    """
    from didact.machine.devices import choose_device
    from didact_doctor.replay import Replay

    replay = Replay(folder, choose_device(device))
    for line in _whole(replay):
        click.echo(line)
    if each_sample:
        click.echo()
        for line in _alone(replay):
            click.echo(line)


def _whole(replay: Replay) -> Iterator[str]:
    """Yields what was found when the step failed, and what is found now."""
    bundle = replay.bundle
    count = len(bundle.ids)
    yield f"step {bundle.step} of {replay.experiment.name}: {count} samples, in {bundle.precision} on {replay.device}"
    yield f"then: {bundle.finding}"
    found = replay.whole()
    yield f"now:  {_numbers(found)}"
    if found.first is None:
        yield "      every tensor is finite: a fault of the device, a random kernel, or the other device was the cause"
        return
    yield f"      first in {found.first}"
    if found.first.samples and not found.first.everywhere:
        yield f"      samples {replay.described(found.first.samples)}"


def _alone(replay: Replay) -> Iterator[str]:
    """Yields the loss of every sample alone, samples that are not finite first."""
    if whole := replay.experiment.needs_whole_batch():
        yield f"no sample can be computed by itself: {whole} computes a function of the whole batch"
        return
    rows = [(found.first is None, replay.described((sample,)), found) for sample, found in replay.each()]
    yield f"each sample alone: {sum(not finite for finite, _, _ in rows)} of {len(rows)} not finite"
    for _, sample, found in sorted(rows, key=lambda row: row[0])[:SAMPLES_SHOWN]:
        yield f"  {sample}: {_numbers(found)}" + (f"; first in {found.first}" if found.first is not None else "")
    if len(rows) > SAMPLES_SHOWN:
        yield f"  … and {len(rows) - SAMPLES_SHOWN} more"


def _numbers(found: Diagnosis) -> str:
    terms = found.terms if len(found.terms) > 1 or not math.isfinite(found.loss) else {}
    shown = {"loss": found.loss, **terms, "gradient norm": found.gradient_norm}
    return ", ".join(f"{name} {value:.6g}" for name, value in shown.items())
