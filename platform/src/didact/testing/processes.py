"""Two processes that share every batch, started once for all that is tried on them."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from didact.testing.examples import SEED, Case, Example
from didact.testing.rules import NotJudged

PATIENCE_SECONDS = 900.0  # for an answer; the first includes importing PyTorch, on a machine that may be busy
WAITING = datetime.timedelta(seconds=300)  # of one process for the other, within a step
START = "from didact.testing.processes import serve; serve()"


class Pair:
    """Two processes in one group. A process that fails takes both with it; the next job starts another pair."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="didact-pair-")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", START, str(rank), str(Path(self.folder.name) / "rendezvous")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            for rank in range(2)
        ]

    def gradients(self, case: Case) -> list[dict[str, Tensor]]:
        """What `didact.testing.learning.gradients` finds on each process; tensors of any shape, by name.

        Raises:
            AssertionError: a process failed; says how.
        """
        return self._ask("gradients", case)

    def draws(self, case: Case) -> list[dict[str, Tensor]]:
        """What `drawn` gives on each process; tensors of any shape, by name.

        Raises:
            AssertionError: a process failed; says how.
        """
        return self._ask("draws", case)

    def close(self) -> None:
        """Ends both."""
        for process in self.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
        self.folder.cleanup()

    def _ask(self, what: str, case: Case) -> list[dict[str, Tensor]]:
        job = pickle.dumps((what, case.example, case.kind))
        answers: list[Any] = [None, None]
        asking = [threading.Thread(target=self._exchange, args=(rank, job, answers), daemon=True) for rank in range(2)]
        for thread in asking:
            thread.start()
        given_up = time.monotonic() + PATIENCE_SECONDS
        while any(thread.is_alive() for thread in asking) and time.monotonic() < given_up:
            if any(isinstance(answer, str) for answer in answers):
                break  # the other one would wait for it for ever
            time.sleep(0.005)
        failed = [f"process {rank} of two: {answer}" for rank, answer in enumerate(answers) if isinstance(answer, str)]
        if failed or None in answers:
            pair.cache_clear()
            self.close()
            raise AssertionError(failed[0] if failed else f"two processes gave no answer in {PATIENCE_SECONDS:.0f} s")
        return [torch.load(io.BytesIO(answer)) for answer in answers]

    def _exchange(self, rank: int, job: bytes, answers: list[Any]) -> None:
        process = self.processes[rank]
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((list(sys.path), job), process.stdin)
            process.stdin.flush()
            answers[rank] = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            answers[rank] = "it ended without an answer"


@functools.cache
def pair() -> Pair:
    """The pair of this process, started when it is first asked for.

    Raises:
        NotJudged: this PyTorch cannot connect processes.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise NotJudged("this PyTorch was built without gloo, which connects processes")
    started = Pair()
    atexit.register(started.close)
    return started


def serve() -> None:
    """Answers jobs from standard input, as one of two processes, until it closes."""
    rank, rendezvous = int(sys.argv[1]), sys.argv[2]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a part prints shall not come between
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=WAITING
    )
    with contextlib.suppress(EOFError):
        while True:
            _answer(rank, sys.stdin.buffer, answers)


def drawn(case: Case) -> dict[str, Tensor]:
    """What a masker or a source draws, from generators of given seeds; tensors of any shape, by name."""
    found: dict[str, Tensor] = {}
    torch.manual_seed(SEED)  # whoever draws from the global generator breaks another rule
    if case.kind == "masker":
        for layout in case.example.layouts:
            mask = case.spec.sample(layout, generator=torch.Generator().manual_seed(SEED))
            found[f"predicted over {layout.shape}"] = mask.predicted
            found[f"corruption over {layout.shape}"] = mask.corruption
    else:
        batch = case.batch(range(4), masked=False)
        for index, view in enumerate(batch.views):
            found[f"view {index}"] = view.content
        found["lengths"] = torch.tensor(case.samples.lengths)
    return found


def check_draws(case: Case) -> None:
    """Other processes, as a loader's workers are, draw what this one does."""
    here = drawn(case)
    for rank, its in enumerate(pair().draws(case)):
        for name, tensor in here.items():
            assert torch.equal(its[name], tensor), f"{name}, drawn by process {rank}, is not what is drawn here"


def _answer(rank: int, jobs: IO[bytes], answers: IO[bytes]) -> None:
    from didact.distributed import connected
    from didact.testing.learning import gradients

    path, job = pickle.load(jobs)
    sys.path[:] = path
    answer: bytes | str
    try:
        what, example, kind = pickle.loads(job)
        assert isinstance(example, Example)
        case = Case(example, kind)
        found = drawn(case) if what == "draws" else gradients(case, range(2 * rank, 2 * rank + 2), connected())
        file = io.BytesIO()
        torch.save({name: tensor.clone() for name, tensor in found.items()}, file)
        answer = file.getvalue()
    except Exception as error:  # foreign code: whoever asked is told
        frame = traceback.extract_tb(error.__traceback__)[-1]
        answer = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    pickle.dump(answer, answers)
    answers.flush()
