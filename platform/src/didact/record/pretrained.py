"""The weights that a run starts from: in which checkpoint of which run they are, and reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from didact.errors import RunError, SpecError, of_field
from didact.experiment import Pretrained
from didact.learner import Network
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint, DamageError
from didact.record.folder import EXPERIMENT, RunFolder
from didact.record.reading import load_network

RUN, STEP = "weights.run", "weights.step"  # the fields that errors are about
SHOWN = 12  # characters of a digest


@attrs.frozen(kw_only=True)
class Origin:
    """Where a run's first weights are from; a run records it, so that it can be told, and found again.

    Attributes:
        run: the other run's folder, as the experiment names it.
        step: of the checkpoint.
        network: the ``student`` or the ``teacher``.
        digest: the checkpoint's, of all that it holds.
    """

    run: str
    step: int
    network: Literal["student", "teacher"]
    digest: str

    def __str__(self) -> str:
        return f"the {self.network} of step {self.step:,} of {self.run}, checkpoint {self.digest[:SHOWN]}"

    def load(self) -> Network:
        """The network, on the CPU; on several processes, all load it together.

        The other run's plugins are needed, its data are not.

        Raises:
            DidactError: it cannot be built, or is not there any more.
        """
        folder = RunFolder(Path(self.run))
        stored = _of_step(_stored(folder), self.step, folder)
        with of_field(RUN):
            try:
                return load_network(stored, folder.experiment(), self.network)
            except SpecError as error:  # what it names is a field of the other run's experiment
                where = f"{folder.path / EXPERIMENT}, {error.where}"
                raise RunError(error.what, where=where, mend=error.mend) from None


def find_origin(weights: Pretrained, begun: Mapping[str, Any] | None = None) -> Origin:
    """The checkpoint that an experiment's weights are in, whole.

    Args:
        weights: as the experiment names them.
        begun: the `Origin`, as plain data, that the run began with before; then it is that one again, also where the
            other run has newer ones by now. None: it begins now.

    Raises:
        SpecError: there is no such run, or it has no such checkpoint.
        RunError: the checkpoint is damaged, or is not the one that the run began with.
    """
    folder = RunFolder(Path(weights.run))
    try:
        RunFolder.open(folder.path)
    except RunError as error:
        mend = f"{error.mend}; a relative path is looked for in {Path.cwd()}"
        raise SpecError(f"there is no run in {weights.run}", where=RUN, mend=mend) from None
    stored = _stored(folder)
    if begun is not None:
        candidates = [_begun_with(stored, begun, folder)]
    elif weights.step is not None:
        candidates = [_of_step(stored, weights.step, folder)]
    else:
        candidates = list(reversed(stored.values()))
    whole = _first_whole(candidates)
    digest = checkpoint.fingerprint_of(whole)
    return Origin(run=weights.run, step=whole.step, network=weights.network, digest=digest)


def _begun_with(stored: Mapping[int, Checkpoint], begun: Mapping[str, Any], folder: RunFolder) -> Checkpoint:
    found = stored.get(begun["step"])
    if found is None or checkpoint.fingerprint_of(found) != begun["digest"]:
        raise RunError(
            f"the weights that this run began with are not there any more: {folder.path} has "
            f"{'no' if found is None else 'another'} checkpoint of step {begun['step']}",
            where=RUN,
            mend="put that one back, or start a run of its own: this one has no checkpoint to go on from",
        )
    return found


def _of_step(stored: Mapping[int, Checkpoint], step: int, folder: RunFolder) -> Checkpoint:
    if step not in stored:
        kept = ", ".join(map(str, stored))
        raise SpecError(f"{folder.path} has no checkpoint of step {step}", where=STEP, mend=f"take one of {kept}")
    return stored[step]


def _first_whole(candidates: Sequence[Checkpoint]) -> Checkpoint:
    """The first checkpoint that is whole; those that are not stay as they are: they are another run's."""
    damaged: list[DamageError] = []
    for candidate in candidates:
        try:
            checkpoint.verify(candidate)
        except DamageError as error:
            damaged.append(error)
        else:
            return candidate
    raise damaged[0].at(RUN)


def _stored(folder: RunFolder) -> dict[int, Checkpoint]:
    """The checkpoints of a run by their steps, of which there is at least one."""
    stored = {one.step: one for one in checkpoint.all_complete(folder.checkpoints)}
    if not stored:
        raise SpecError(f"the run in {folder.path} has no checkpoint", where=RUN, mend="wait for its first one")
    return stored
