"""Steps whose loss or gradient is not finite: what is wrong is found and kept, and the experiment says what follows.

Such a step changes nothing: no weight, no optimizer state, no buffer. What was left out is recorded in the run's
folder, so that a resumed run leaves out the same.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor, nn

from didact.errors import RunError
from didact.loading import StepBatch
from didact.machine.disk import write_text
from didact.machine.distributed import World
from didact.record.bundle import write_bundle
from didact.record.folder import RunFolder
from didact.record.observing import Observers
from didact.tensors import Loss
from didact.training.diagnosis import Culprit, diagnose
from didact.training.parallel import local

if TYPE_CHECKING:
    from didact.experiment import Experiment
    from didact.training.trainer import Trainer

RECORD = "left-out.json"
MOST_BUNDLES = 3  # each is as large as a checkpoint
SAMPLES_SHOWN = 8


class NotFinite(RunError):  # noqa: N818 - what it is
    """A step is not finite, and the run ends; the weights are as the step found them, on every process."""


class RollBack(Exception):  # noqa: N818 - a turn that a run takes, and no error
    """The run goes back to its last checkpoint; what it must leave out then is recorded."""


@attrs.frozen(kw_only=True)
class _Verdict:
    """What is told of a step: what is wrong, where, and the bundle that holds it, where one could be written."""

    what: str
    where: str
    bundle: Path | None


class Nonfinite:
    """What becomes of the steps of one run that are not finite.

    Attributes:
        left_out: the numbers, from 1, of the steps that changed nothing.
    """

    def __init__(self, experiment: Experiment, world: World) -> None:
        self.policy = experiment.training.nonfinite
        self.limit = experiment.training.nonfinite_limit
        self.seed = experiment.training.seed
        self.left_out: set[int] = set()
        self._world = world
        self._source = experiment.source
        self._folder: RunFolder | None = None
        self._observers: Observers | None = None
        self._bundles = 0

    def attach(self, folder: RunFolder, observers: Observers) -> None:
        """Takes up the record of a run's folder, where bundles go from now on."""
        self._folder, self._observers = folder, observers
        record = folder.path / RECORD
        if record.exists():
            self.left_out = set(json.loads(record.read_text())["steps"])

    def leaves_out(self, step: int) -> bool:
        """Whether step ``step``, from 1, was the cause to go back, and is left out now."""
        return self.policy == "rollback" and step in self.left_out

    def count(self, step: int) -> int:
        """How many of the steps up to ``step``, from 1, were left out."""
        return sum(left_out <= step for left_out in self.left_out)

    def handle(self, trainer: Trainer, batch: StepBatch, totals: Mapping[str, int]) -> None:
        """Deals with a step that is not finite; returns where it is left out and the run goes on.

        All processes of the run come here together, and leave in the same way.

        Args:
            trainer: as the step found it: weights, optimizer and buffers.
            batch: of the step; this process's share.
            totals: what the objective counts over the whole global batch.

        Raises:
            NotFinite: the experiment says to stop, or leaving steps out does not help.
            RollBack: the experiment says to go back.
        """
        step = batch.step + 1
        spoilt = spoilt_weight(trainer.learner, self._world)
        guilty = self._last_taken_before(step) if spoilt and self.policy == "rollback" else step
        row = self._in_a_row(guilty)
        stop = self.policy == "stop" or self._folder is None  # a step alone, as a benchmark takes it
        if stop or row > self.limit or (spoilt and self.policy == "skip"):
            verdict = self._verdict(trainer, batch, totals)
            raise NotFinite(self._ending(verdict.what, row, spoilt), where=verdict.where, mend=self._mend(verdict))
        if step not in self.left_out:
            self._tell(trainer, batch, totals, guilty)
        self._leave_out(guilty)
        if self.policy == "rollback":
            raise RollBack

    def _ending(self, what: str, row: int, spoilt: str | None) -> str:
        if self.policy != "stop" and row > self.limit:
            return f"{what}; {row} steps in a row are not, and training.nonfinite_limit lets {self.limit} be left out"
        if self.policy == "skip" and spoilt:
            return f"{what}, nor will any other step be: the weight {spoilt} is not finite itself"
        return what

    def _mend(self, verdict: _Verdict) -> str:
        look = f"look at it with `didact replay {verdict.bundle}`; " if verdict.bundle is not None else ""
        ways = ["lower training.learning_rate", "set training.clip_norm"]
        if self.policy == "stop":
            ways.append("have such steps left out with training.nonfinite=skip or rollback")
        elif self.policy == "skip":
            ways.append("undo the step that spoilt the weights with training.nonfinite=rollback")
        return f"{look}{', '.join(ways[:-1])}, or {ways[-1]}"

    def _tell(self, trainer: Trainer, batch: StepBatch, totals: Mapping[str, int], guilty: int) -> None:
        if self._observers is None or self._bundles >= MOST_BUNDLES:
            return
        verdict = self._verdict(trainer, batch, totals)
        done = "it is left out"
        if self.policy == "rollback":
            done = f"the run goes back to its last checkpoint and leaves step {guilty} out"
        bundle = f"; `didact replay {verdict.bundle}` runs it again" if verdict.bundle is not None else ""
        self._observers.warn(f"{verdict.what}: {verdict.where}; {done}{bundle}", trainer.step)
        if self._bundles == MOST_BUNDLES:
            self._observers.warn(
                "this is the last such step that is told and kept; train/skipped_steps counts on", trainer.step
            )

    def _verdict(self, trainer: Trainer, batch: StepBatch, totals: Mapping[str, int]) -> _Verdict:
        own = diagnose(
            trainer.learner,
            batch.parts,
            totals,
            device=trainer.device,
            precision=trainer.precision,
            seed=self.seed,
            step=batch.step,
            rank=self._world.rank,
        )
        found = self._world.all_gather(own)
        rank = min(range(len(found)), key=lambda rank: (found[rank].first is None, found[rank].looks))
        guilty = self._world.all_gather(batch if rank == self._world.rank else None)[rank]  # its share of the batch
        assert guilty is not None
        names = self._names(guilty)
        terms = {name: sum(each.terms[name] for each in found) for name in own.terms}
        what, where = _words(found[rank].first, sum(each.loss for each in found), terms, guilty, names)
        bundle = self._keep(trainer, guilty, rank, totals, f"{what}: {where}", names)
        return _Verdict(what=what, where=where, bundle=bundle)

    def _keep(
        self,
        trainer: Trainer,
        batch: StepBatch,
        rank: int,
        totals: Mapping[str, int],
        finding: str,
        names: tuple[str, ...],
    ) -> Path | None:
        """Writes the bundle of a step and deletes those that are too many; None where the disk refuses."""
        if self._folder is None:
            return None
        folder = self._folder.path / "bundles"
        written = folder / f"step-{batch.step + 1:08d}"
        self._bundles += 1
        # on several processes, one that cannot write leaves the others waiting for it: that ends the run
        with contextlib.suppress(RunError) if self._world.size == 1 else contextlib.nullcontext():
            write_bundle(
                written,
                trainer.learner,
                trainer.optimizer,
                batch,
                experiment=self._folder.experiment_data(),
                totals=totals,
                precision=trainer.precision,
                world=self._world,
                rank=rank,
                finding=finding,
                names=names,
            )
        if self._world.main:
            for old in sorted(folder.glob("step-*"))[:-MOST_BUNDLES]:
                if old != written:
                    shutil.rmtree(old, ignore_errors=True)
        return written if self._world.broadcast(written.exists()) else None

    def _names(self, batch: StepBatch) -> tuple[str, ...]:
        """The samples' names; nothing where the source cannot tell them any more."""
        with contextlib.suppress(Exception):  # a plugin's code, and no reason to hide what was found
            samples = self._source.open()
            return tuple(samples.name(int(index)) for part in batch.parts for index in part.ids)
        return ()

    def _last_taken_before(self, step: int) -> int:
        return next((taken for taken in range(step - 1, 0, -1) if taken not in self.left_out), step)

    def _in_a_row(self, step: int) -> int:
        """How many steps are left out in a row where ``step`` is one of them."""
        first = last = step
        while first - 1 in self.left_out:
            first -= 1
        while last + 1 in self.left_out:
            last += 1
        return last - first + 1

    def _leave_out(self, step: int) -> None:
        self.left_out.add(step)
        if self._folder is not None and self._world.main:
            data = {"policy": self.policy, "steps": sorted(self.left_out)}
            write_text(self._folder.path / RECORD, json.dumps(data) + "\n")


def all_finite(norm: Tensor, losses: Sequence[Loss], world: World) -> bool:
    """Whether a step is finite, on which all processes agree.

    Args:
        norm: of the gradients, a scalar.
        losses: what the objective said of each part of the batch; the gradient of an infinite loss may well be finite.
        world: the processes of the run.
    """
    said = torch.stack([term.detach().float() for loss in losses for term in loss.terms.values()]).sum()
    return not world.any(not bool(torch.isfinite(norm + said)))


def spoilt_weight(learner: nn.Module, world: World) -> str | None:
    """The name of the first weight that is not finite, on any process; None where all are."""
    named = learner.named_parameters()
    here = next((name for name, parameter in named if not local(parameter.detach()).isfinite().all()), None)
    return next((name for name in world.all_gather(here) if name is not None), None)


def describe_samples(ids: tuple[int, ...], named: Mapping[int, str]) -> str:
    """Samples by id and name, the first of them."""
    shown = [f"{index} ({named[index]})" if index in named else str(index) for index in ids[:SAMPLES_SHOWN]]
    return f"{', '.join(shown)}{' …' if len(ids) > SAMPLES_SHOWN else ''}"


def _words(
    first: Culprit | None, loss: float, terms: Mapping[str, float], batch: StepBatch, names: tuple[str, ...]
) -> tuple[str, str]:
    """What is wrong with a step, and where."""
    ids = tuple(int(index) for part in batch.parts for index in part.ids)
    named = dict(zip(ids, names, strict=False))
    if first is None:
        what = f"the loss or gradient of step {batch.step + 1} was not finite"
        again = "no tensor: computed again it was finite, so look for a fault of the device, or a random kernel"
        return what, f"{again}; samples {describe_samples(ids, named)}"
    kind = "gradient" if math.isfinite(loss) else "loss"
    said = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    who = f"samples {describe_samples(ids, named)} of the source"
    if first.samples and not first.everywhere:
        who = f"in samples {describe_samples(first.samples, named)} of the source"
    return f"the {kind} of step {batch.step + 1} is not finite ({said})", f"first in {first}; {who}"
