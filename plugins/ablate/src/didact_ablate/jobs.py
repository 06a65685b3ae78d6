"""Parallel runs, each in its own process, which share the machine's cores and GPUs."""

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

LOG = "log.txt"  # in a run's folder: the output of its process
POLL_SECONDS = 0.2


@attrs.define(kw_only=True, eq=False)
class Job:
    """A member that is running.

    Attributes:
        member: the run.
        slot: the index of its share of the machine.
        process: the process that runs it; None if a process of an earlier call still does.
        since: the time at which it was started here.
    """

    member: Member
    slot: int
    process: Process | None
    since: float = attrs.field(factory=time.monotonic)

    def over(self) -> bool:
        """Whether no process runs it any more."""
        if self.process is not None:
            return not self.process.alive
        record = self.member.record
        return record is None or not record.held


@attrs.frozen(kw_only=True)
class Share:
    """The part of the machine that one job gets.

    Attributes:
        threads: the number of threads that compute on the CPU.
        gpu: the GPU, as CUDA_VISIBLE_DEVICES names it; empty leaves that variable unchanged.
    """

    threads: int
    gpu: str = ""

    def environment(self) -> dict[str, str]:
        """Returns the environment of the job's process."""
        chosen = {THREADS: str(self.threads), **({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})}
        return {**os.environ, **chosen}


def shares(jobs: int, device: str) -> list[Share]:
    """Divides the machine into ``jobs`` equal shares of the cores; each has one GPU, and GPUs are assigned in turn."""
    gpus = _gpus() if device in ("auto", "cuda") else []  # with ``cuda:1``, all jobs use that GPU
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
    """Runs members in parallel, as many at once as there are shares of the machine.

    The first Ctrl-C or SIGTERM makes the running jobs write a checkpoint and end; a second Ctrl-C kills them.

    Args:
        members: the runs, in order.
        parts: the shares of the machine.
        device: the device of each run.
        source_file: the study's file.
        watch: called several times a second with the running jobs.
        ended: called with each job that has ended and the reason why it is not done; the reason is empty if it is done.

    Returns:
        Whether no stop was requested.
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
                        waiting.appendleft(job.member)  # its process of an earlier call has ended: resume it here
                    else:
                        _end_record(job)
                        ended(job, _trouble(job, bool(stop)))
                if stop:
                    running = [job for job in running if job.process is not None]  # not those of other calls
                    _signal(running, signal.SIGTERM if stop.count(signal.SIGINT) < 2 else signal.SIGKILL)
                watch(running)
        except BaseException:
            _signal(running, signal.SIGTERM)
            raise
    return not stop


def last_words(folder: Path) -> str:
    """Returns the last error in a run's log, in one line; empty if there is none."""
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
        when_left=signal.SIGTERM,  # makes the run write a checkpoint and end
    )


def _end_record(job: Job) -> None:
    """Ends the record of a killed run, so that trackers show the run as ended."""
    with contextlib.suppress(DidactError):  # the run's own error is reported anyway
        close(job.member.folder)


def _trouble(job: Job, asked_to_stop: bool) -> str:
    """Returns why an ended job is not done; empty if it is done."""
    if job.member.done:
        return ""
    if asked_to_stop:
        return "stopped"  # possibly before it had installed its signal handlers
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
    """Yields a list that collects the stop signals received."""
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        numbers.append(signal.SIGHUP)
    before: Mapping[int, object] = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
