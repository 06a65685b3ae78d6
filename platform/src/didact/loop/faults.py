"""Handles faults of a step: memory runs out, values are not finite, targets or predictions collapse.

A failed step changes no weight, optimizer state or buffer. `Faults` decides how the run continues, as the experiment
specifies; observers can explain the failure (``step_failed``). The run's folder records which steps were left out, so
that a resumed run leaves out the same steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count, takewhile
from typing import Literal

import torch
from torch import Tensor, nn

from didact.contracts.running import StepFailure
from didact.errors import RunError
from didact.experiment import Experiment
from didact.loop.engine import local
from didact.machine.disk import write_text
from didact.machine.distributed import World
from didact.record.folder import RunFolder, read_metrics
from didact.record.observers import Observers

LEFT_OUT = "left-out.json"
MOST_WARNINGS = 3  # maximum number of warnings about steps that are left out
SAMPLES_SHOWN = 8
SMALL = 1 << 16  # largest number of values in a small buffer
TARGETS, PREDICTIONS = "collapse/target_std", "collapse/prediction_std"
LEAST_OF_TARGETS = 0.1  # share of the largest earlier deviation of the targets
LEAST_OF_PREDICTIONS = 0.01  # share of the deviation of the targets
# at first, predictions may all be equal while a head learns the targets' mean; ignored for the longer of these periods
EARLY_STEPS, EARLY_SHARE = 100, 0.1
OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive")  # messages of PyTorch's allocator and oneDNN


class RollBack(Exception):  # noqa: N818 - control flow, not an error
    """The run returns to its last checkpoint; the step to leave out is already recorded."""


class StepError(RunError):
    """A step ends the run; the weights are as they were before the step, on every process."""


class BrokenStepError(RunError):
    """Memory ran out while weights were updated, so no checkpoint of this step can be written."""


class CollapseError(RunError):
    """Targets or predictions have collapsed, and ``training.collapse`` is ``stop``; all processes stop together."""


class Faults:
    """Decides how a run continues after a fault; ``left_out`` holds the numbers, from 1, of steps without effect."""

    def __init__(self, experiment: Experiment, world: World) -> None:
        self.experiment, self.training, self.world = experiment, experiment.training, world
        self.left_out: set[int] = set()
        self._folder: RunFolder | None = None
        self._observers = Observers({})
        self._warnings, self._most_varied, self._collapsed = 0, 0.0, False

    def attach(self, folder: RunFolder, observers: Observers) -> None:
        """Loads the record of a run's folder, to continue it."""
        self._folder, self._observers = folder, observers
        record = folder.path / LEFT_OUT
        if record.exists():
            self.left_out = set(json.loads(record.read_text())["steps"])
        recorded = [line.get(TARGETS, 0.0) for line in read_metrics(folder.path)] if self.world.main else []
        self._most_varied = self.world.broadcast(max(filter(math.isfinite, recorded), default=0.0))

    def leaves_out(self, step: int) -> bool:
        """Returns whether step ``step``, from 1, caused a rollback and must be left out."""
        return self.training.nonfinite == "rollback" and step in self.left_out

    def out_of_memory(self, error: Exception, failure: StepFailure, *, intact: bool) -> RunError:
        """Returns the error for a run out of memory; ``intact``: weights and optimizer are as before the step."""
        reasons = [str(error).partition("\n")[0], *self._observers.notify("step_failed", failure=failure)]
        begun = self._folder is not None  # a single step, as in a benchmark, belongs to no run
        found = does_not_fit(f"step {failure.step}", "; ".join(reasons), self.experiment, begun=begun)
        if not intact:
            hint = f"the update was half done, so there is no checkpoint of it; {found.hint}"
            return BrokenStepError(found.what, where=found.where, hint=hint)
        if self.world.size > 1:
            return found  # the others wait inside the step and cannot save together with this process
        return StepError(found.what, where=found.where, hint=found.hint)

    def not_finite(self, failure: StepFailure, terms: Mapping[str, float]) -> Literal["leave out", "roll back"]:
        """Decides about a step whose loss (its mean ``terms`` over the whole batch) or gradient is not finite.

        All processes of the run must call this together.

        Raises:
            StepError: ``training.nonfinite`` is ``stop``, or leaving out steps does not help.
        """
        policy, limit, step = self.training.nonfinite, self.training.nonfinite_limit, failure.step
        spoilt = spoilt_weight(failure.learner, self.world)
        guilty = step
        if spoilt and policy == "rollback":
            guilty = next((taken for taken in range(step - 1, 0, -1) if taken not in self.left_out), step)
        before = takewhile(self.left_out.__contains__, count(guilty - 1, -1))
        after = takewhile(self.left_out.__contains__, count(guilty + 1))
        row = len([*before, guilty, *after])
        stop = policy == "stop" or self._folder is None  # None: a single step, as in a benchmark
        if stop or row > limit or (spoilt and policy == "skip"):
            what, where = self._described(failure, terms)
            if policy != "stop" and row > limit:
                what += f"; {row} steps in a row are not, and training.nonfinite_limit is {limit}"
            elif policy == "skip" and spoilt:
                what += f", and no later step will be: the weight {spoilt} is not finite itself"
            ways = ["lower training.optimizer.learning_rate", "set training.max_grad_norm"]
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
        """Checks the metrics of a logged step for a collapse, and reports it once; equal on all processes.

        fairseq ends a run if its ``target_var`` falls below 0.1 or its ``pred_var`` below 0.01 after 5,000 steps. Here,
        both limits are shares, so they fit targets of any scale. Objectives that return no targets are not checked.

        Raises:
            CollapseError: ``training.collapse`` is ``stop``.
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
        """Describes what is wrong with a step, and where."""
        kind = "gradient" if all(map(math.isfinite, terms.values())) else "loss"
        means = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        explained = self._observers.notify("step_failed", failure=failure)
        shares = self.world.all_gather([int(index) for part in failure.parts for index in part.ids])
        ids, names = [index for share in shares for index in share], dict[int, str]()
        with suppress(Exception):  # a plugin's code; its errors must not hide the fault
            samples = self.experiment.source.open()
            names = {index: samples.name(index) for index in ids[:SAMPLES_SHOWN]}
        where = "; ".join(explained) or f"samples {describe_samples(ids, names)} of the source"
        return f"the {kind} of step {failure.step} is not finite ({means})", where


class Snapshot:
    """Copies of what a failed step must restore: the buffers that a forward pass may change (running statistics).

    Large buffers are copied only if they changed since the last step. Small buffers are always copied, because kernels
    of batch normalisation change them without incrementing the version. A teacher's buffers (``spared``) are not
    copied, because a teacher is in evaluation mode and is updated only after the step.
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
        """Restores the buffers and drops the gradients; returns whether weights and optimizer are unchanged."""
        with torch.no_grad():
            for index in self._changed():
                self._buffers[index].copy_(self._copies[index])
        self._optimizer.zero_grad(set_to_none=True)
        return self._update_version() == self._update

    def _changed(self) -> list[int]:
        pairs = enumerate(zip(self._buffers, self._versions, strict=True))
        return [index for index, (held, version) in pairs if held.numel() <= SMALL or held._version != version]

    def _update_version(self) -> int:
        """Returns a number that grows with every update of the weights."""
        # a fused optimizer's kernel does not increment the version of the weights, but its step counter does
        state = (value for values in self._optimizer.state.values() for value in values.values())
        tensors = [*self._learner.parameters(), *(value for value in state if isinstance(value, Tensor))]
        return sum(tensor._version for tensor in tensors)


def moments(values: Tensor) -> Tensor:
    """Returns (3, D) float64 of some rows (N, D): their number, their sum and the sum of their squares, by channel."""
    squares = torch.linalg.vector_norm(values, dim=0, dtype=torch.float64).square()  # reads the rows without a copy
    return torch.stack([torch.full_like(squares, len(values)), values.sum(0, dtype=torch.float64), squares])


def standard_deviation(parts: Sequence[Tensor], world: World | None = None) -> Tensor:
    """Computes the mean over channels of √(variance + 1e-6), a scalar, of all rows of some `moments` (3, D) each.

    fairseq logs this as ``target_var`` and ``pred_var``. A value near 0 means that all rows are equal; targets that are
    normalised over time stay near 1. The rows of all processes of the ``world`` count. The variance of a single row is
    0.
    """
    world = world if world is not None else World()
    count, total, squares = world.all_reduce(torch.stack(list(parts)).sum(0))  # (D,) each
    deviations = (squares - total.square() / count.clamp(min=1)).clamp(min=0)
    mean: Tensor = (deviations / (count - 1).clamp(min=1) + 1e-6).sqrt().mean()
    return mean.float()


def ran_out_of_memory(error: Exception) -> bool:
    """Returns whether an error means that memory ran out; PyTorch has an error class only for GPU memory."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or any(text in str(error) for text in OUT_OF_MEMORY)


def does_not_fit(what: str, reason: str, experiment: Experiment, *, begun: bool = False) -> RunError:
    """Returns the error for what does not fit into memory; ``begun``: there is a run that can be resumed."""
    smaller = f"training.gradient_accumulation_steps={2 * experiment.training.gradient_accumulation_steps}"
    if whole := experiment.needs_whole_batch():
        hint = f"a smaller batch, in a run of its own; {whole} needs a whole one at once"
    else:
        hint = f"{f'resume with --set {smaller}' if begun else smaller}, which computes the batch in smaller parts"
    first = "free memory that others use and resume, or " if begun else ""
    return RunError(f"{what} does not fit into memory: {reason}", where="training.batch", hint=first + hint)


def spoilt_weight(learner: nn.Module, world: World) -> str | None:
    """Returns the name of the first weight that is not finite, on any process; None if all weights are finite."""
    named = learner.named_parameters()
    here = next((name for name, parameter in named if not local(parameter.detach()).isfinite().all()), None)
    return next((name for name in world.all_gather(here) if name is not None), None)


def describe_samples(ids: Sequence[int], named: Mapping[int, str]) -> str:
    """Lists the first samples by id and name."""
    shown = [f"{index} ({named[index]})" if index in named else str(index) for index in ids[:SAMPLES_SHOWN]]
    return f"{', '.join(shown)}{' …' if len(ids) > SAMPLES_SHOWN else ''}"
