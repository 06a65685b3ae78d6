"""Finds and loads a run's initial weights from another run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from didact.building import build_learner
from didact.contracts.network import Network
from didact.errors import RunError, SpecError, of_field
from didact.experiment import Experiment, Pretrained
from didact.learner import Learner
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint
from didact.record.folder import EXPERIMENT, RunFolder


@attrs.frozen(kw_only=True)
class Origin:
    """The origin of a run's initial weights; the run records the origin, so that the weights can be found again.

    Attributes:
        run: the other run's folder, as the experiment names it.
        step: the checkpoint's step.
        network: the ``student`` or the ``teacher``.
        digest: the checkpoint's fingerprint.
    """

    run: str
    step: int
    network: Literal["student", "teacher"]
    digest: str

    def __str__(self) -> str:
        return f"the {self.network} of step {self.step:,} of {self.run}, checkpoint {self.digest[:12]}"

    def load(self) -> Network:
        """Loads the network to the CPU; all processes must call this together.

        The other run's plugins are required, but not its data.

        Raises:
            DidactError: the network cannot be built, or the checkpoint is missing.
        """
        folder = RunFolder(Path(self.run))
        with of_field("weights.run"):
            try:
                stored = checkpoint.of_step(folder.checkpoints, self.step)
                return load_learner(stored, folder.own_experiment()).evaluated(self.network)
            except SpecError as error:  # the error names a field of the other run's experiment
                where = f"{folder.path / EXPERIMENT}, {error.where}"
                raise RunError(error.what, where=where, hint=error.hint) from None


def find_origin(weights: Pretrained, begun: Mapping[str, Any] | None = None) -> Origin:
    """Finds and verifies the checkpoint that holds an experiment's initial weights.

    Args:
        weights: the ``weights`` of the experiment.
        begun: the `Origin`, as plain data, from which the run started earlier; the same checkpoint is used again, even
            if the other run has newer ones. None: the run starts now.

    Raises:
        RunError: the run or the checkpoint does not exist; the checkpoint is damaged, or is not the one from which the
            run started.
    """
    with of_field("weights.run"):
        folder = RunFolder.open(Path(weights.run)).checkpoints
    if begun is None:
        with of_field("weights.run" if weights.step is None else "weights.step"):
            stored = checkpoint.of_step(folder, weights.step)
    with of_field("weights.run"):
        if begun is not None:
            same = [one for one in checkpoint.all_complete(folder) if one.step == begun["step"]]
            if not same or checkpoint.fingerprint_of(same[0]) != begun["digest"]:
                what = f"{weights.run} has {'another' if same else 'no'} checkpoint of step {begun['step']}"
                hint = "restore that one, or start a run of its own: this one has no checkpoint to resume from"
                raise RunError(f"the weights that this run started from are missing: {what}", hint=hint)
            stored = same[0]
        elif weights.step is None:
            whole, damaged = checkpoint.newest_whole(folder)  # another run's damaged checkpoints are not renamed
            if whole is None:
                raise damaged[0]
            stored = whole
        checkpoint.verify(stored)
        digest = checkpoint.fingerprint_of(stored)
    return Origin(run=weights.run, step=stored.step, network=weights.network, digest=digest)


def load_learner(stored: Checkpoint, experiment: Experiment) -> Learner:
    """Loads the learner of a checkpoint: on the CPU, in evaluation mode.

    The files are not verified; all processes must call this together.

    Raises:
        RunError: the checkpoint holds another network.
    """
    learner = build_learner(experiment)
    checkpoint.load(stored, learner)
    return learner.eval()
