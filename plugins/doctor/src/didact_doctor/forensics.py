"""Explains a step whose loss or gradient is not finite, and saves the step as a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import attrs

from didact import RunError, Source, StepFailure
from didact.loop.faults import describe_samples
from didact.machine.distributed import World
from didact_doctor.bundle import ids_of, write_bundle
from didact_doctor.diagnosis import Culprit, diagnose

MOST_BUNDLES = 3  # each bundle is as large as a checkpoint


def explain(failure: StepFailure, world: World) -> str:
    """Describes in one sentence what is not finite in a step; all processes of a run call this function together.

    The step is saved as a bundle in RUN/bundles if the disk permits.

    Args:
        failure: the failed step, with this process's share of the batch.
        world: the processes of the run.

    Raises:
        RunError: one of several processes cannot write its part of the bundle.
    """
    own = diagnose(
        failure.learner,
        failure.parts,
        failure.num_targets,
        device=failure.device,
        precision=failure.precision,
        seed=failure.experiment.training.seed,
        step=failure.step - 1,
        rank=world.rank,
    )
    found = world.all_gather((own.first, own.checked))
    rank = min(range(len(found)), key=lambda rank: (found[rank][0] is None, found[rank][1]))
    shares = world.all_gather(failure.parts if rank == world.rank else ())
    failure = attrs.evolve(failure, parts=shares[rank])
    ids = ids_of(failure.parts)
    names = _names(failure.experiment.source, ids)
    finding = _described(found[rank][0], ids, names)
    bundle = _keep(failure, world, rank, finding, names)
    return finding if bundle is None else f"{finding}; `didact replay {bundle}` runs the step again"


def _described(first: Culprit | None, ids: Sequence[int], names: Sequence[str]) -> str:
    named = dict(zip(ids, names, strict=False))
    if first is None:
        return (
            "in no tensor: computed again, the step is finite, so look for a fault of the device or a random kernel; "
            f"samples {describe_samples(ids, named)} of the source"
        )
    if first.samples and not first.everywhere:
        return f"first in {first}; in samples {describe_samples(first.samples, named)} of the source"
    return f"first in {first}; samples {describe_samples(ids, named)} of the source"


def _keep(failure: StepFailure, world: World, rank: int, finding: str, names: tuple[str, ...]) -> Path | None:
    """Writes the bundle of a step and deletes the oldest beyond three; None if the bundle could not be written."""
    if failure.folder is None:
        return None
    folder = failure.folder / "bundles"
    written = folder / f"step-{failure.step:08d}"
    # if one of several processes cannot write, the others would wait for it, so this ends the run
    with suppress(RunError) if world.size == 1 else nullcontext():
        write_bundle(written, failure, world=world, rank=rank, finding=finding, names=names)
    if world.main:
        for old in sorted(folder.glob("step-*"))[:-MOST_BUNDLES]:
            if old != written:
                shutil.rmtree(old, ignore_errors=True)
    return written if world.broadcast(written.exists()) else None


def _names(source: Source, ids: Sequence[int]) -> tuple[str, ...]:
    """The names of the samples; empty if the source cannot give them."""
    with suppress(Exception):  # foreign code must not hide the finding
        samples = source.open()
        return tuple(samples.name(index) for index in ids)
    return ()
