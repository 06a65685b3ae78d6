"""Proves that killing a run changes nothing: runs two short copies, kills one at random moments, and compares both.

Both copies run in their own processes. The kill signal is SIGKILL.
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

from didact import Experiment, RunError
from didact.record import checkpoint
from didact.record.folder import RunFolder, decided_by_the_seed, read_metrics
from didact_doctor.processes import EndedError, Process


@attrs.frozen(kw_only=True)
class Comparison:
    """The comparison of one kind of result between the two runs.

    Attributes:
        what: the kind: ``network``, ``optimizer of network``, ``metrics`` and so on.
        count: the number of values compared.
        different: the differences, as text; empty if all values are equal to the bit.
    """

    what: str
    count: int
    different: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Kill:
    """A moment at which the run was killed.

    Attributes:
        step: the last step in the run's record; 0 before the first step.
        writing: whether a checkpoint was being written.
    """

    step: int
    writing: bool


@attrs.frozen(kw_only=True)
class Proof:
    """The result of a proof.

    Attributes:
        steps: the number of steps of each of the two runs.
        kills: the kills of the second run, in order.
        comparisons: comparisons of everything that a run writes and its seed determines.
    """

    steps: int
    kills: tuple[Kill, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def holds(self) -> bool:
        """Whether all results are equal to the bit."""
        return not any(comparison.different for comparison in self.comparisons)


def prove(
    experiment: Experiment,
    folder: Path,
    *,
    steps: int = 8,
    kills: int = 3,
    device: str = "auto",
    report: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Runs a short copy of an experiment twice, kills the second run several times, and compares the results.

    The copy has the experiment's data, batch and evaluations. It takes fewer steps, writes a record and a checkpoint
    for each, and has no observers. Evaluations run halfway and at the end.

    Args:
        experiment: the experiment to copy.
        folder: the folder of the two runs, ``alone`` and ``killed``; must not contain them yet.
        steps: the number of steps of each run.
        kills: the number of kills (SIGKILL) of the second run, at random moments, one in each of equally long stretches
            of its steps. The moments differ from call to call.
        device: the device of both runs; see `didact.run.start`.
        report: called with a line about the progress.

    Raises:
        DidactError: the experiment fails.
    """
    copy = shortened(experiment, steps)
    alone, killed = (RunFolder.create(folder / name, copy, None, {}) for name in ("alone", "killed"))
    report(f"uninterrupted: {steps} steps")
    with _Running(alone.path, device) as first:
        began = time.perf_counter()  # after the fork, to exclude the server's imports
        first.wait_for(1)
        lead, to_come = time.perf_counter() - began, time.perf_counter()
        first.finish()
    per_step = (time.perf_counter() - to_come) / max(1, steps - 1)
    killings = []
    for number in range(kills):
        first_step = number * steps // kills
        after = random.randrange(first_step, max(first_step + 1, (number + 1) * steps // kills))
        with _Running(killed.path, device) as process:
            process.wait_for(after)
            process.linger(random.random() * (2 * per_step if after else lead), min(after + 2, steps - 1))
            kill = process.interrupt()
        if kill is None:
            break  # the run had already ended
        killings.append(kill)
        report(f"killed after step {kill.step}{', while it wrote a checkpoint' if kill.writing else ''}")
    if kills and not killings:
        raise RunError(
            f"the copy took its {steps} steps before it could be killed, so nothing is proven",
            where=str(folder),
            hint=f"take more of them: --steps {10 * steps}",
        )
    with _Running(killed.path, device) as last:
        last.finish()
    return Proof(steps=steps, kills=tuple(killings), comparisons=tuple(compare(alone, killed)))


def shortened(experiment: Experiment, steps: int) -> Experiment:
    """A copy of the experiment that takes ``steps`` steps and writes a record and a checkpoint for each."""
    training = attrs.evolve(
        experiment.training,
        steps=steps,
        log_every=1,
        checkpoint_every=1,
        keep_checkpoints=2,
        keep_every=None,
        keep_best=None,
        patience=None,
        evaluate_every=max(1, steps // 2),
    )
    return attrs.evolve(experiment, training=training, observers=())


def compare(first: RunFolder, second: RunFolder) -> Iterable[Comparison]:
    """Compares, kind by kind, everything that two finished runs wrote and that their seed determines."""
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
    """The values of the curves that the seed determines, by name and step."""
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
            yield f"{name} is only in the {'uninterrupted' if name in mine else 'killed'} run"
        elif difference := differ(mine[name], theirs[name]):
            yield f"{name}: {difference}"


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
    """A process that resumes a run and continues until the run ends or the process is killed."""

    def __init__(self, folder: Path, device: str) -> None:
        super().__init__(_resume, folder, device)
        self.folder = folder

    def wait_for(self, step: int) -> None:
        """Waits until the run's record contains a step, or the run has ended."""
        while self.alive and self._logged() < step:
            time.sleep(0.005)

    def linger(self, seconds: float, step: int) -> None:
        """Waits for some seconds, but at most until the given step, because the machine may have become faster."""
        until = time.perf_counter() + seconds
        while self.alive and time.perf_counter() < until and self._logged() < step:
            time.sleep(0.001)

    def interrupt(self) -> Kill | None:
        """Kills the process; None if the run had already ended.

        Raises:
            DidactError: the run failed with this error before the kill.
        """
        self.signal(signal.SIGKILL)
        if self.wait() != -signal.SIGKILL:
            self.finish()
            return None
        partial = any((self.folder / "checkpoints").glob(".partial-*"))
        return Kill(step=self._logged(), writing=partial)

    def finish(self) -> None:
        """Waits for the run to end.

        Raises:
            DidactError: the run failed with this error.
        """
        try:
            self.receive()
        except EndedError as ended:
            raise RunError(
                f"the process that trained ended with code {ended.code}",
                where=str(self.folder),
                hint="its traceback is printed above; if there is none, memory may have run out",
            ) from None
        self.join()

    def _logged(self) -> int:
        """The last step in the record."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return json.loads(lines[-1])["step"] if lines else 0


def _resume(channel: Connection, folder: Path, device: str) -> None:
    """The work of the process: runs the run to its end and reports the result."""
    from didact.run import resume

    resume(folder, device=device)
    channel.send("ended")
