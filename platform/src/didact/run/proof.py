"""The proof of one curve: a short copy of an experiment, left alone once, and killed at random moments once.

Both copies run in processes of their own, which are killed for real, and end with what can be compared to the bit.
"""

from __future__ import annotations

import json
import math
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from didact.errors import RunError
from didact.experiment import Experiment
from didact.machine.processes import EndedError, Process
from didact.record import checkpoint
from didact.record.folder import RunFolder
from didact.record.observing import decided_by_the_seed, read_metrics


@attrs.frozen(kw_only=True)
class Comparison:
    """One kind of thing, compared between the two runs.

    Attributes:
        what: it is: ``network``, ``optimizer of network``, ``metrics`` and so on.
        count: how many were compared.
        different: what differs, in words; empty where all are equal to the bit.
    """

    what: str
    count: int
    different: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Kill:
    """One moment at which the run was killed.

    Attributes:
        step: the last step that its record tells of; 0: it had not taken any, or not written it down.
        writing: whether a checkpoint was being written.
    """

    step: int
    writing: bool


@attrs.frozen(kw_only=True)
class Proof:
    """What was done, and found.

    Attributes:
        steps: that each of the two runs took.
        kills: of the second one, in order.
        comparisons: of everything that a run leaves and that follows from its seed.
    """

    steps: int
    kills: tuple[Kill, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def holds(self) -> bool:
        """Whether everything is equal to the bit."""
        return not any(comparison.different for comparison in self.comparisons)


def prove(
    experiment: Experiment,
    folder: Path,
    *,
    steps: int = 8,
    kills: int = 3,
    device: str = "auto",
    tell: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Runs a short copy of an experiment twice, kills the second run again and again, and compares what both leave.

    The copy is the experiment itself, its data, batch and evaluations included; it takes fewer steps, of which each
    leaves a record and a checkpoint, and it has no observers. It evaluates halfway and at the end.

    Args:
        experiment: what to prove it of.
        folder: for the two runs, ``alone`` and ``killed``; must not hold them yet.
        steps: how many each takes.
        kills: how often the second is killed (SIGKILL), at moments drawn evenly over its steps, so that each falls into
            a stretch of its own. The draw differs from call to call: it is the one thing here that should.
        device: as for `didact.run.start`.
        tell: called with what is going on.

    Raises:
        DidactError: the experiment does not run.
    """
    copy = shortened(experiment, steps)
    alone, killed = (RunFolder.create(folder / name, copy, None, {}) for name in ("alone", "killed"))
    tell(f"left alone: {steps} steps")
    with _Running(alone.path, device) as first:
        began = time.perf_counter()  # forked by now: what its server had to import is no part of a start
        first.wait_for(1)
        lead, to_come = time.perf_counter() - began, time.perf_counter()
        first.finish()
    per_step = (time.perf_counter() - to_come) / max(1, steps - 1)
    told = []
    for number in range(kills):
        first_step = number * steps // kills
        after = random.randrange(first_step, max(first_step + 1, (number + 1) * steps // kills))
        with _Running(killed.path, device) as process:
            process.wait_for(after)
            process.linger(random.random() * (2 * per_step if after else lead), min(after + 2, steps - 1))
            kill = process.kill()
        if kill is None:
            break  # it ended by itself, just before
        told.append(kill)
        tell(f"killed after step {kill.step}{', while it wrote a checkpoint' if kill.writing else ''}")
    if kills and not told:
        raise RunError(
            f"the copy took its {steps} steps before it could be killed, so nothing is proved",
            where=str(folder),
            mend=f"take more of them: --steps {10 * steps}",
        )
    with _Running(killed.path, device) as last:
        last.finish()
    return Proof(steps=steps, kills=tuple(told), comparisons=tuple(compare(alone, killed)))


def shortened(experiment: Experiment, steps: int) -> Experiment:
    """The experiment, taking ``steps`` steps and leaving a record and a checkpoint of each."""
    training = attrs.evolve(
        experiment.training,
        steps=steps,
        log_every=1,
        checkpoint_every=1,
        keep_checkpoints=2,
        keep_every=None,
        keep_best=None,
        evaluate_every=max(1, steps // 2),
    )
    return attrs.evolve(experiment, training=training, observers=())


def compare(first: RunFolder, second: RunFolder) -> Iterable[Comparison]:
    """Everything that two finished runs leave and that follows from their seed: each kind, and what of it differs."""
    ends = [max(checkpoint.all_complete(folder.checkpoints), key=lambda end: end.step) for folder in (first, second)]
    for part in (checkpoint.LEARNER, checkpoint.OPTIMIZER):
        mine, theirs = (checkpoint.read_tensors(end, part) for end in ends)
        kinds = sorted({name.partition(".")[0] for name in mine.keys() | theirs.keys()})
        for kind in kinds:
            yield Comparison(
                what=kind if part == checkpoint.LEARNER else f"{part} of {kind}",
                count=sum(name.partition(".")[0] == kind for name in mine),
                different=tuple(_differing(_of(mine, kind), _of(theirs, kind), _tensors_differ)),
            )
    for what, values in (("metrics", _curve), ("evaluations", _evaluations)):
        one, other = values(first.path), values(second.path)
        yield Comparison(what=what, count=len(one), different=tuple(_differing(one, other, _values_differ)))


def _of(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] == kind}


def _curve(folder: Path) -> dict[str, float]:
    """Each value of a curve by its name and step, but those that no seed decides."""
    return {
        f"{name} of step {record['step']:.0f}": value
        for record in read_metrics(folder)
        for name, value in decided_by_the_seed(record).items()
    }


def _evaluations(folder: Path) -> dict[str, float]:
    reports = [json.loads(path.read_text()) for path in sorted((folder / "evaluations").glob("*.json"))]
    return {
        f"{report['evaluation']}/{name} of step {report['step']}": value
        for report in reports
        for name, value in report["metrics"].items()
    }


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any], differ: Callable[[Any, Any], str]) -> Iterable[str]:
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs:
            yield f"{name} is only in the run that was {'left alone' if name in mine else 'killed'}"
        elif told := differ(mine[name], theirs[name]):
            yield f"{name}: {told}"


def _tensors_differ(mine: Tensor, theirs: Tensor) -> str:
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return f"{tuple(mine.shape)} of {mine.dtype} against {tuple(theirs.shape)} of {theirs.dtype}"
    if torch.equal(mine, theirs):
        return ""
    return f"up to {(mine.double() - theirs.double()).abs().max():.3g} apart"


def _values_differ(mine: float, theirs: float) -> str:
    equal = mine == theirs or (math.isnan(mine) and math.isnan(theirs))
    return "" if equal else f"{mine!r} against {theirs!r}"


class _Running(Process):
    """A process that goes on with a run, to its end or until it is killed."""

    def __init__(self, folder: Path, device: str) -> None:
        super().__init__(_go_on, folder, device)
        self.folder = folder

    def wait_for(self, step: int) -> None:
        """Waits until the run's record tells of a step, or the run has ended."""
        while self.alive and self._logged() < step:
            time.sleep(0.005)

    def linger(self, seconds: float, step: int) -> None:
        """Waits so long, but no further than to a step: the machine may be faster now than it was."""
        until = time.perf_counter() + seconds
        while self.alive and time.perf_counter() < until and self._logged() < step:
            time.sleep(0.001)

    def kill(self) -> Kill | None:
        """Kills the process; None where the run had ended before.

        Raises:
            DidactError: it had ended with that.
        """
        self.signal(signal.SIGKILL)
        if self.join() != -signal.SIGKILL:
            self.finish()
            return None
        partial = any((self.folder / "checkpoints").glob(".partial-*"))
        return Kill(step=self._logged(), writing=partial)

    def finish(self) -> None:
        """Waits for the run's end.

        Raises:
            DidactError: it ended with that.
        """
        try:
            self.receive()
        except EndedError as ended:
            raise RunError(
                f"the process that trained ended with code {ended.code}",
                where=str(self.folder),
                mend="its traceback stands above; where there is none, memory may have run out",
            ) from None
        self.join()

    def _logged(self) -> int:
        """The last step that the record tells of."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return json.loads(lines[-1])["step"] if lines else 0


def _go_on(channel: Connection, folder: Path, device: str) -> None:
    """What the process does: tells when the run has ended."""
    from didact.run import resume

    resume(folder, device=device)
    channel.send("ended")
