"""What happens when a step goes wrong: memory runs out, values are not finite, targets or predictions collapse.

Such a step changes nothing: no weight, no optimizer state, no buffer. `Faults` decides what follows, as the experiment
says; observers explain it (``step_failed``). The run's folder records which steps were left out, so that a resumed run
leaves out the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count, takewhile
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from didact.contracts.running import StepFailure
from didact.errors import RunError
from didact.experiment import Experiment
from didact.loop.engine import local
from didact.machine.disk import write_text
from didact.machine.distributed import World
from didact.record.folder import RunFolder
from didact.record.observers import Observers
from didact.record.reading import read_metrics

LEFT_OUT = "left-out.json"
MOST_WARNINGS = 3  # about steps that are left out
SAMPLES_SHOWN = 8
SMALL = 1 << 16  # values of a buffer
TARGETS, PREDICTIONS = "collapse/target_std", "collapse/prediction_std"
LEAST_OF_TARGETS = 0.1  # of the most that they varied before
LEAST_OF_PREDICTIONS = 0.01  # of how much their targets vary
# predictions may be all alike at first, while a head learns the targets' mean: for so long, whichever is longer
EARLY_STEPS, EARLY_SHARE = 100, 0.1
OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive")  # as PyTorch's allocator and oneDNN say it


class RollBack(Exception):  # noqa: N818 - a turn that a run takes, and no error
    """The run goes back to its last checkpoint; what it must leave out then is recorded."""


class StepError(RunError):
    """A step ends the run; the weights are as the step found them, on every process."""


class BrokenStepError(RunError):
    """Memory ran out while weights were updated, so that no checkpoint of this moment can be written."""


class CollapseError(RunError):
    """Targets or predictions have collapsed, and the experiment says to stop; all processes stop together."""


class Faults:
    """Decides what follows when a step of one run goes wrong; ``left_out`` numbers, from 1, those without effect."""

    def __init__(self, experiment: Experiment, world: World) -> None:
        self.experiment, self.training, self.world = experiment, experiment.training, world
        self.left_out: set[int] = set()
        self._folder: RunFolder | None = None
        self._observers = Observers({})
        self._warnings, self._most_varied, self._collapsed = 0, 0.0, False

    def attach(self, folder: RunFolder, observers: Observers) -> None:
        """Continues the record of a run's folder."""
        self._folder, self._observers = folder, observers
        record = folder.path / LEFT_OUT
        if record.exists():
            self.left_out = set(json.loads(record.read_text())["steps"])
        recorded = [line.get(TARGETS, 0.0) for line in read_metrics(folder.path)] if self.world.main else []
        self._most_varied = self.world.broadcast(max(filter(math.isfinite, recorded), default=0.0))

    def leaves_out(self, step: int) -> bool:
        """Whether step ``step``, from 1, was the cause of a rollback, and is left out now."""
        return self.training.nonfinite == "rollback" and step in self.left_out

    def out_of_memory(self, error: Exception, failure: StepFailure, *, intact: bool) -> RunError:
        """The error that ends a run out of memory; weights and optimizer are as the step found them if ``intact``."""
        reasons = [str(error).partition("\n")[0], *self._observers.notify("step_failed", failure=failure)]
        begun = self._folder is not None  # a step alone, as a benchmark takes it, belongs to no run
        found = does_not_fit(f"step {failure.step}", "; ".join(reasons), self.experiment, begun=begun)
        if not intact:
            hint = f"the update was half done, so there is no checkpoint of it; {found.hint}"
            return BrokenStepError(found.what, where=found.where, hint=hint)
        if self.world.size > 1:
            return found  # the others wait in the middle of the step, and cannot save together with this process
        return StepError(found.what, where=found.where, hint=found.hint)

    def not_finite(self, failure: StepFailure, terms: Mapping[str, float]) -> Literal["leave out", "roll back"]:
        """Decides about a step whose loss (its mean ``terms`` over the whole batch) or gradient is not finite.

        All processes of the run come here together.

        Raises:
            StepError: the experiment says to stop, or leaving steps out does not help.
        """
        policy, limit, step = self.training.nonfinite, self.training.nonfinite_limit, failure.step
        spoilt = spoilt_weight(failure.learner, self.world)
        guilty = step
        if spoilt and policy == "rollback":
            guilty = next((taken for taken in range(step - 1, 0, -1) if taken not in self.left_out), step)
        before = takewhile(self.left_out.__contains__, count(guilty - 1, -1))
        after = takewhile(self.left_out.__contains__, count(guilty + 1))
        row = len([*before, guilty, *after])
        stop = policy == "stop" or self._folder is None  # a step alone, as a benchmark takes it
        if stop or row > limit or (spoilt and policy == "skip"):
            what, where = self._described(failure, terms)
            if policy != "stop" and row > limit:
                what += f"; {row} steps in a row are not, and training.nonfinite_limit is {limit}"
            elif policy == "skip" and spoilt:
                what += f", and no later step will be: the weight {spoilt} is not finite itself"
            ways = ["lower training.learning_rate", "set training.max_grad_norm"]
            ways += ["leave such steps out with training.nonfinite=skip or rollback"] * (policy == "stop")
            ways += ["undo the step that spoilt the weights with training.nonfinite=rollback"] * (policy == "skip")
            raise StepError(what, where=where, hint=f"{', '.join(ways[:-1])}, or {ways[-1]}")
        if step not in self.left_out and self._warnings < MOST_WARNINGS:
            self._warnings += 1
            what, where = self._described(failure, terms)
            back = f"the run goes back to its last checkpoint and leaves step {guilty} out"
            follows = back if policy == "rollback" else "it is left out"
            last = "; later ones are counted in train/skipped_steps alone" if self._warnings == MOST_WARNINGS else ""
            self._observers.warn(f"{what}: {where}; {follows}{last}", step - 1)
        self.left_out.add(guilty)
        if self._folder is not None and self.world.main:
            text = json.dumps({"policy": policy, "steps": sorted(self.left_out)})
            write_text(self._folder.path / LEFT_OUT, f"{text}\n")
        return "roll back" if policy == "rollback" else "leave out"

    def watch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Looks at the metrics of a logged step for a collapse, and reports it once; the same on all processes.

        fairseq ends a run where its ``target_var`` falls below 0.1 or its ``pred_var`` below 0.01 after 5,000 steps.
        Here both are shares, so that they fit targets of any scale. Objectives that return no targets are not watched.

        Raises:
            CollapseError: the experiment says to stop.
        """
        targets, predictions = metrics.get(TARGETS, math.nan), metrics.get(PREDICTIONS, math.nan)
        self._most_varied = max(self._most_varied, targets) if math.isfinite(targets) else self._most_varied
        late = step > max(EARLY_STEPS, EARLY_SHARE * self.training.steps)
        if targets < LEAST_OF_TARGETS * self._most_varied:
            found = f"the targets have collapsed: {TARGETS} is {targets:.2g}, and was {self._most_varied:.2g}"
        elif late and predictions < LEAST_OF_PREDICTIONS * targets:
            found = f"the predictions have collapsed: {PREDICTIONS} is {predictions:.2g}, the targets' {targets:.2g}"
        else:
            found = ""
        if not found or self._collapsed or self.training.collapse == "ignore":
            return
        self._collapsed = True
        if self.training.collapse == "stop":
            hint = "start anew, with a teacher that follows more slowly, normalised targets or a lower learning rate"
            raise CollapseError(f"{found} after step {step:,}", where="training.collapse=stop", hint=hint)
        self._observers.warn(f"{found} after step {step:,}; training.collapse=stop would end such a run", step)

    def _described(self, failure: StepFailure, terms: Mapping[str, float]) -> tuple[str, str]:
        """What is wrong with a step, and where."""
        kind = "gradient" if all(map(math.isfinite, terms.values())) else "loss"
        means = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        explained = self._observers.notify("step_failed", failure=failure)
        shares = self.world.all_gather([int(index) for part in failure.parts for index in part.ids])
        ids, names = [index for share in shares for index in share], dict[int, str]()
        with suppress(Exception):  # a plugin's code, and no reason to hide what was found
            samples = self.experiment.source.open()
            names = {index: samples.name(index) for index in ids[:SAMPLES_SHOWN]}
        where = "; ".join(explained) or f"samples {describe_samples(ids, names)} of the source"
        return f"the {kind} of step {failure.step} is not finite ({means})", where


class Snapshot:
    """What a step must put back if it fails: the buffers that a forward pass may change (running statistics).

    Large ones are copied only if they changed since the last step. Small ones are always copied: the kernels of batch
    normalisation change them without counting a version. A teacher's buffers are spared: it is in
    evaluation mode, and moves after the step alone.
    """

    def __init__(self, learner: nn.Module, optimizer: torch.optim.Optimizer, spared: type[nn.Module]) -> None:
        kept = {id(buffer) for one in learner.modules() if isinstance(one, spared) for buffer in one.buffers()}
        self._learner, self._optimizer = learner, optimizer
        self._buffers = [buffer for buffer in learner.buffers() if id(buffer) not in kept]
        self._copies = [buffer.clone() for buffer in self._buffers]
        self._versions = [buffer._version for buffer in self._buffers]
        self._update = self._update_version()

    def take(self) -> None:
        """Copies the buffers that may have changed."""
        self._update = self._update_version()
        if changed := self._changed():
            copies, buffers = ([held[index] for index in changed] for held in (self._copies, self._buffers))
            torch._foreach_copy_(copies, buffers)
            self._versions = [buffer._version for buffer in self._buffers]

    def restore(self) -> bool:
        """Puts the buffers back and drops the gradients; returns whether weights and optimizer did not change."""
        with torch.no_grad():
            for index in self._changed():
                self._buffers[index].copy_(self._copies[index])
        self._optimizer.zero_grad(set_to_none=True)
        return self._update_version() == self._update

    def _changed(self) -> list[int]:
        return [
            index
            for index, buffer in enumerate(self._buffers)
            if buffer.numel() <= SMALL or buffer._version != self._versions[index]
        ]

    def _update_version(self) -> int:
        """A number that grows with every update: a fused optimizer's kernel counts no version of the weights, but its
        step counter does."""
        state = (value for values in self._optimizer.state.values() for value in values.values())
        tensors = [*self._learner.parameters(), *(value for value in state if isinstance(value, Tensor))]
        return sum(tensor._version for tensor in tensors)


@attrs.frozen(eq=False)
class Moments:
    """What is needed of some rows (N, D) to compute how much they vary together with others; takes two rows' memory.

    Attributes:
        count: N.
        total: (D,) float32, their sum.
        squares: (D,) float32, the sum of their squared deviations from their own mean.
    """

    count: int
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Those of ``values`` (N, D)."""
        values = values.float()
        total = values.sum(0)
        return cls(len(values), total, (values - total / max(1, len(values))).square().sum(0))


def standard_deviation(parts: Sequence[Moments], world: World | None = None) -> Tensor:
    """The mean over channels of √(variance + 1e-6), a scalar.

    fairseq logs this as ``target_var`` and ``pred_var``. Near 0, all rows are the same; targets that are normalised
    over time stay near 1. The rows of this process's ``parts`` and of all processes of the ``world`` are combined as in
    Chan et al. (1979). The variance of a single row is 0.
    """
    world = world if world is not None else World()
    device = parts[0].total.device
    count = world.all_reduce(torch.tensor(float(sum(part.count for part in parts)), device=device)).clamp(min=1)
    mean = world.all_reduce(torch.stack([part.total for part in parts]).sum(0)) / count  # (D,)
    between = [part.count * (part.total / max(1, part.count) - mean).square() for part in parts]
    squares = world.all_reduce(torch.stack([part.squares for part in parts] + between).sum(0))  # (D,)
    return (squares / (count - 1).clamp(min=1) + 1e-6).sqrt().mean()


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out: PyTorch has a class for a GPU's memory and none for the host's."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or any(text in str(error) for text in OUT_OF_MEMORY)


def does_not_fit(what: str, reason: str, experiment: Experiment, *, begun: bool = False) -> RunError:
    """The error about what does not fit into memory; ``begun`` where there is a run that can be resumed."""
    smaller = f"training.gradient_accumulation_steps={2 * experiment.training.gradient_accumulation_steps}"
    if whole := experiment.needs_whole_batch():
        hint = f"a smaller batch, in a run of its own; {whole} needs a whole one at once"
    else:
        hint = f"{f'resume with --set {smaller}' if begun else smaller}, which computes the batch in smaller parts"
    first = "free memory that others use and resume, or " if begun else ""
    return RunError(f"{what} does not fit into memory: {reason}", where="training.batch", hint=first + hint)


def spoilt_weight(learner: nn.Module, world: World) -> str | None:
    """The name of the first weight that is not finite, on any process; None where all are."""
    named = learner.named_parameters()
    here = next((name for name, parameter in named if not local(parameter.detach()).isfinite().all()), None)
    return next((name for name in world.all_gather(here) if name is not None), None)


def describe_samples(ids: Sequence[int], named: Mapping[int, str]) -> str:
    """Samples by id and name, the first of them."""
    shown = [f"{index} ({named[index]})" if index in named else str(index) for index in ids[:SAMPLES_SHOWN]]
    return f"{', '.join(shown)}{' …' if len(ids) > SAMPLES_SHOWN else ''}"
