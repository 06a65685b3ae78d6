"""``didact replay``: a step that went wrong, run again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch

from didact.cli.run import DEVICE
from didact.experiment import Experiment
from didact.learner import Learner, build_learner

if TYPE_CHECKING:
    from didact.record.bundle import Bundle
    from didact.training.diagnosis import Diagnosis

SAMPLES_SHOWN = 20


@click.command("replay", short_help="Run a step that went wrong again.")
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--each-sample/--no-each-sample", default=True, show_default=True, help="Take every sample alone, too.")
@DEVICE
def replay_command(folder: Path, each_sample: bool, device: str) -> None:
    """Runs the step in BUNDLE again, and names the first tensor that is not finite and the samples that cause it.

    A run writes a bundle into its folder `bundles` for a step whose loss or gradient is not finite. It holds the batch,
    the weights and the experiment; the data are not needed.
    """
    from didact.machine.devices import choose_device
    from didact.plugins import registry
    from didact.record import checkpoint
    from didact.record.bundle import read_bundle
    from didact.spec import from_data

    bundle = read_bundle(folder)
    experiment: Experiment = from_data(bundle.experiment, Experiment, registry().class_of)
    chosen = choose_device(device)
    learner = build_learner(experiment).to(chosen)
    checkpoint.load(bundle.state, learner)
    for line in _replayed(bundle, experiment, learner, chosen):
        click.echo(line)
    if each_sample:
        for line in _alone(bundle, experiment, learner, chosen):
            click.echo(line)


def _replayed(bundle: Bundle, experiment: Experiment, learner: Learner, device: torch.device) -> Iterator[str]:
    """What the step said then, and says now."""
    from didact.training.diagnosis import diagnose  # here: `didact --help` asks every command for a line
    from didact.training.nonfinite import describe_samples

    ids = tuple(int(index) for part in bundle.batch.parts for index in part.ids)
    yield f"step {bundle.step} of {experiment.name}: {len(ids)} samples, in {bundle.precision} on {device}"
    yield f"then: {bundle.finding}"
    found = diagnose(
        learner,
        bundle.batch.parts,
        bundle.totals,
        device=device,
        precision=getattr(torch, bundle.precision),
        seed=experiment.training.seed,
        step=bundle.batch.step,
        rank=bundle.rank,
    )
    yield f"now:  {_numbers(found)}"
    if found.first is None:
        yield "      every tensor is finite: it was a fault of the device, a kernel that is random, or another device"
        return
    yield f"      first in {found.first}"
    if found.first.samples and not found.first.everywhere:
        yield f"      samples {describe_samples(found.first.samples, _named(bundle))}"


def _alone(bundle: Bundle, experiment: Experiment, learner: Learner, device: torch.device) -> Iterator[str]:
    """The loss of every sample by itself; those that are not finite come first."""
    from didact.record.bundle import sample_alone
    from didact.training.diagnosis import diagnose
    from didact.training.nonfinite import describe_samples

    yield ""
    if whole := experiment.needs_whole_batch():
        yield f"no sample can be taken alone: what {whole} computes is a function of the whole batch"
        return
    rows = []
    for part in bundle.batch.parts:
        for index, sample in enumerate(part.ids.tolist()):
            alone = sample_alone(part, index)
            found = diagnose(
                learner,
                (alone,),
                learner.objective.counts(alone),
                device=device,
                precision=getattr(torch, bundle.precision),
                seed=experiment.training.seed,
                step=bundle.batch.step,
                rank=bundle.rank,
            )
            rows.append((found.first is None, describe_samples((sample,), _named(bundle)), found))
    bad = sum(not finite for finite, _, _ in rows)
    yield f"each sample alone: {bad} of {len(rows)} not finite"
    for _, sample, found in sorted(rows, key=lambda row: row[0])[:SAMPLES_SHOWN]:
        yield f"  {sample}: {_numbers(found)}" + (f"; first in {found.first}" if found.first is not None else "")
    if len(rows) > SAMPLES_SHOWN:
        yield f"  … and {len(rows) - SAMPLES_SHOWN} more"


def _numbers(found: Diagnosis) -> str:
    terms = found.terms if len(found.terms) > 1 or not math.isfinite(found.loss) else {}
    shown = {"loss": found.loss, **terms, "gradient norm": found.gradient_norm}
    return ", ".join(f"{name} {value:.6g}" for name, value in shown.items())


def _named(bundle: Bundle) -> Mapping[int, str]:
    ids = [int(index) for part in bundle.batch.parts for index in part.ids]
    return dict(zip(ids, bundle.names, strict=False))
