"""The weights that a run starts from: finding them in another run, and reading them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from didact.building import build_learner
from didact.contracts.network import Network
from didact.errors import RunError, SpecError, of_field
from didact.experiment import Experiment, Pretrained
from didact.record import checkpoint
from didact.record.checkpoint import Checkpoint
from didact.record.folder import EXPERIMENT, RunFolder


@attrs.frozen(kw_only=True)
class Origin:
    """Where a run's first weights come from; the run records it, so that they can be found again.

    Attributes:
        run: the other run's folder, as the experiment names it.
        step: of the checkpoint.
        network: the ``student`` or the ``teacher``.
        digest: of all that the checkpoint holds.
    """

    run: str
    step: int
    network: Literal["student", "teacher"]
    digest: str

    def __str__(self) -> str:
        return f"the {self.network} of step {self.step:,} of {self.run}, checkpoint {self.digest[:12]}"

    def load(self) -> Network:
        """The network, on the CPU; on several processes, all load it together.

        The other run's plugins are needed, its data are not.

        Raises:
            DidactError: it cannot be built, or is missing.
        """
        folder = RunFolder(Path(self.run))
        with of_field("weights.run"):
            try:
                stored = checkpoint.of_step(folder.checkpoints, self.step)
                return load_network(stored, folder.experiment(), self.network)
            except SpecError as error:  # it names a field of the other run's experiment
                where = f"{folder.path / EXPERIMENT}, {error.where}"
                raise RunError(error.what, where=where, hint=error.hint) from None


def find_origin(weights: Pretrained, begun: Mapping[str, Any] | None = None) -> Origin:
    """The checkpoint that holds an experiment's weights; it is whole.

    Args:
        weights: as the experiment names them.
        begun: the `Origin`, as plain data, that the run started from before; the same one is used again, even where
            the other run has newer ones by now. None: the run starts now.

    Raises:
        RunError: there is no such run, or it has no such checkpoint; the checkpoint is damaged, or is not the one that
            the run started from.
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
                raise RunError(
                    f"the weights that this run started from are missing: {weights.run} has "
                    f"{'another' if same else 'no'} checkpoint of step {begun['step']}",
                    hint="restore that one, or start a run of its own: this one has no checkpoint to resume from",
                )
            stored = same[0]
        elif weights.step is None:
            whole, damaged = checkpoint.newest_whole(folder)  # damaged ones stay as they are: they are another run's
            if whole is None:
                raise damaged[0]
            stored = whole
        checkpoint.verify(stored)
        digest = checkpoint.fingerprint_of(stored)
    return Origin(run=weights.run, step=stored.step, network=weights.network, digest=digest)


def load_network(stored: Checkpoint, experiment: Experiment, which: Literal["student", "teacher"]) -> Network:
    """A network out of a checkpoint of an experiment: on the CPU, in evaluation mode.

    The files are not verified; on several processes, all load it together. The ``teacher`` is the student where the
    method has none.

    Raises:
        RunError: the checkpoint holds another network.
    """
    learner = build_learner(experiment)
    checkpoint.load(stored, learner)
    network = learner.network if which == "student" else learner.targets.evaluated_network(learner.network)
    return network.eval()
