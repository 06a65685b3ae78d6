"""Runs side by side, each in a process of its own, sharing out the machine's cores and GPUs."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import attrs
import torch

from didact import DidactError
from didact.machine.processes import THREADS
from didact_ablate.closing import close
from didact_ablate.members import Member
from didact_doctor.processes import Process, begin

LOG = "log.txt"  # in a run's folder: what it said
POLL_SECONDS = 0.2


@attrs.define(kw_only=True, eq=False)
class Job:
    """A member on its way.

    Attributes:
        member: what is run.
        slot: its place among those that run side by side.
        process: that runs it; None where one of an earlier call does, which was left behind.
        since: when it was started here.
    """

    member: Member
    slot: int
    process: Process | None
    since: float = attrs.field(factory=time.monotonic)

    def over(self) -> bool:
        """Whether nothing runs it any more."""
        if self.process is not None:
            return not self.process.alive
        record = self.member.record
        return record is None or not record.held


@attrs.frozen(kw_only=True)
class Share:
    """What of the machine one job gets.

    Attributes:
        threads: that compute on the CPU.
        gpu: as CUDA_VISIBLE_DEVICES names it; empty leaves that as it is.
    """

    threads: int
    gpu: str = ""

    def environment(self) -> dict[str, str]:
        """The environment of its process."""
        chosen = {THREADS: str(self.threads), **({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})}
        return {**os.environ, **chosen}


def shares(jobs: int, device: str) -> list[Share]:
    """The machine in ``jobs`` equal parts: cores are shared out, each job gets one GPU, GPUs are used in turn."""
    gpus = _gpus() if device in ("auto", "cuda") else []  # ``cuda:1`` is where all of them shall be
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = int(os.environ.get(THREADS, max(1, cores // jobs)))
    return [Share(threads=threads, gpu=gpus[slot % len(gpus)] if gpus else "") for slot in range(jobs)]


def run_side_by_side(
    members: Sequence[Member],
    *,
    parts: Sequence[Share],
    device: str,
    source_file: Path,
    watch: Callable[[Sequence[Job]], None],
    ended: Callable[[Job, str], None],
) -> bool:
    """Runs members, as many at once as there are parts of the machine.

    The first Ctrl-C or SIGTERM asks the running ones to write a checkpoint and end; a second Ctrl-C ends them at once.

    Args:
        members: in order.
        parts: of the machine.
        device: of each run.
        source_file: the study's file.
        watch: called several times a second with what is running.
        ended: called with each job that is over, and why it is not done; empty where it is.

    Returns:
        whether there was no request to stop.
    """
    waiting, running = deque(members), list[Job]()
    with _stop_requests() as stop:
        try:
            while running or (waiting and not stop):
                while waiting and len(running) < len(parts) and not stop:
                    slot = min(set(range(len(parts))) - {job.slot for job in running})
                    job, trouble = _start(waiting.popleft(), slot, parts[slot], device, source_file)
                    running += [job] if not trouble else []
                    if trouble:
                        ended(job, trouble)
                time.sleep(POLL_SECONDS)
                for job in [job for job in running if job.over()]:
                    running.remove(job)
                    if job.process is None and not job.member.done and not stop:
                        waiting.appendleft(job.member)  # it was left behind, and is ours to go on with now
                    else:
                        _end_record(job)
                        ended(job, _trouble(job, bool(stop)))
                if stop:
                    running = [job for job in running if job.process is not None]  # others' are not ours to end
                    _signal(running, signal.SIGTERM if stop.count(signal.SIGINT) < 2 else signal.SIGKILL)
                watch(running)
        except BaseException:
            _signal(running, signal.SIGTERM)
            raise
    return not stop


def last_words(folder: Path) -> str:
    """The error that a run's log ends with, in one line; empty where there is none."""
    log = folder / LOG
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else ""


def _start(member: Member, slot: int, share: Share, device: str, source_file: Path) -> tuple[Job, str]:
    record = member.record
    if record is not None and record.held:
        return Job(member=member, slot=slot, process=None), ""
    try:
        member.settle(source_file)
        process = _launch(member.folder, share, device)
    except (DidactError, OSError) as error:
        return Job(member=member, slot=slot, process=None), str(error).splitlines()[0]
    return Job(member=member, slot=slot, process=process), ""


def _launch(folder: Path, share: Share, device: str) -> Process:
    return begin(
        ["resume", str(folder), "--device", device],
        threads=share.threads,
        environment=share.environment(),
        output=folder / LOG,
        when_left=signal.SIGTERM,  # it writes a checkpoint and ends
    )


def _end_record(job: Job) -> None:
    """Has trackers know that a run which could not say so is over."""
    with contextlib.suppress(DidactError):  # what is wrong with it is told as the run's own trouble
        close(job.member.folder)


def _trouble(job: Job, asked_to_stop: bool) -> str:
    """Why a job that is over is not done; empty where it is."""
    if job.member.done:
        return ""
    if asked_to_stop:
        return "stopped"  # perhaps before it could answer a signal otherwise than by ending
    code = job.process.code or 0 if job.process is not None else 0
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    if code:
        return last_words(job.member.folder) or f"it ended with exit code {code}; see {job.member.folder / LOG}"
    return "stopped"


def _signal(jobs: Sequence[Job], number: signal.Signals) -> None:
    for job in jobs:
        if job.process is not None:
            job.process.signal(number)


def _gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """A list of the signals that asked to stop."""
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        numbers.append(signal.SIGHUP)
    before: Mapping[int, object] = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
