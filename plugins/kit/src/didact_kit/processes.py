"""Two processes that share every batch, started once for all checks."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import io
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from didact.contracts.optimizer import AdamW
from didact.loop.engine import Engine, whole
from didact.loop.trainer import Trainer
from didact.machine.distributed import World, connected
from didact.optimization import set_rates
from didact.training import BatchSize, Training
from didact_doctor.processes import EndedError, Process
from didact_kit.closeness import persistent
from didact_kit.doubles import name_of
from didact_kit.examples import SEED, Case, Example, parts_of
from didact_kit.rules import NotJudged

PATIENCE_SECONDS = 900.0  # for an answer; the first answer includes importing PyTorch on a busy machine
HASH_SEED = "PYTHONHASHSEED"
BEFORE = " before the step"
WAITING = datetime.timedelta(seconds=300)  # longest wait of one process for the other within a step


class Pair:
    """Two processes in one group. If one fails, both end, and the next job starts another pair."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="didact-pair-")
        rendezvous, nowhere = f"{self.folder.name}/rendezvous", Path(os.devnull)
        fixed = os.environ.get(HASH_SEED)
        if fixed is not None:  # the processes must differ from this one in what `hash` of a string is
            os.environ[HASH_SEED] = "1" if fixed == "0" else "0"
        try:
            self.processes = [Process(serve, rank, rendezvous, threads=1, output=nowhere) for rank in range(2)]
        finally:
            if fixed is not None:
                os.environ[HASH_SEED] = fixed

    def gradients(self, case: Case) -> list[dict[str, Tensor]]:
        """Runs `gradients` on each process; returns tensors of any shape, by name.

        Raises:
            AssertionError: a process failed; the error gives the reason.
        """
        return self._ask("gradients" if case.draws else "gradients in training", case)

    def updates(self, case: Case) -> list[dict[str, Tensor]]:
        """Runs `updated` on each process; returns tensors of any shape, by name.

        Raises:
            AssertionError: a process failed; the error gives the reason.
        """
        return self._ask("updates", case)

    def draws(self, case: Case) -> list[dict[str, Tensor]]:
        """Runs `drawn` on each process; returns tensors of any shape, by name.

        Raises:
            AssertionError: a process failed; the error gives the reason.
        """
        return self._ask("draws", case)

    def builds(self, case: Case) -> list[dict[str, Tensor]]:
        """Runs `built` on the first process; returns tensors of any shape, by name.

        Raises:
            AssertionError: a process failed; the error gives the reason.
        """
        return self._ask("builds", case, ranks=(0,))

    def close(self) -> None:
        """Ends both."""
        for process in self.processes:
            process.close()
        self.folder.cleanup()

    def _ask(self, what: str, case: Case, ranks: Sequence[int] = (0, 1)) -> list[dict[str, Tensor]]:
        job = pickle.dumps((what, case.example, case.kind))
        for rank in ranks:
            with contextlib.suppress(OSError):  # if the process has ended, `_answer` reports it
                self.processes[rank].send((list(sys.path), job))
        waiting = {self.processes[rank].channel: rank for rank in ranks}
        answers: dict[int, bytes] = {}
        failed, given_up = "", time.monotonic() + PATIENCE_SECONDS
        while waiting and not failed:  # after a failure the other process would wait forever
            ready = connection.wait(list(waiting), max(0.0, given_up - time.monotonic()))
            if not ready:
                failed = f"two processes gave no answer in {PATIENCE_SECONDS:.0f} s"
            for rank in [waiting.pop(channel) for channel in list(waiting) if channel in ready]:
                answer = self._answer(rank)
                if isinstance(answer, str):
                    failed = failed or f"process {rank} of two: {answer}"
                else:
                    answers[rank] = answer
        if failed:
            pair.cache_clear()
            self.close()
            raise AssertionError(failed)
        return [torch.load(io.BytesIO(answers[rank])) for rank in sorted(answers)]

    def _answer(self, rank: int) -> bytes | str:
        """Returns the result of a process, or the reason of its failure."""
        try:
            answer: bytes | str = self.processes[rank].receive()
        except EndedError:
            return "it ended without an answer"
        return answer


@functools.cache
def pair() -> Pair:
    """Returns the pair of this process, which is started at the first call.

    Raises:
        NotJudged: PyTorch was built without support for connecting processes.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise NotJudged("this PyTorch was built without gloo, which connects processes")
    started = Pair()
    atexit.register(started.close)
    return started


def serve(channel: Connection, rank: int, rendezvous: str) -> None:
    """Answers jobs, as one of two processes, until the process is killed."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2, timeout=WAITING
    )
    while True:
        path, job = channel.recv()
        sys.path[:] = path
        channel.send(_done(rank, job))


def importable(case: Case) -> bool:
    """Returns whether another process can import the classes of all parts of a case's experiment."""
    example = case.example
    held = [example.spec, example.source, example.encoder, example.masker, example.backbone]
    parts = parts_of([*held, example.targets, example.objective])
    classes = {type(part) for part in parts if not type(part).__module__.startswith("didact.")}
    if any(name_of(cls) is None for cls in classes):
        return False
    try:
        pickle.dumps(example)
    except Exception:  # foreign code; the rule `pickling` reports it
        return False
    return True


def built(case: Case) -> dict[str, Tensor]:
    """Returns the weights and buffers as they are built, and the losses of a batch; tensors of any shape, by name."""
    learner, batch = case.learner(), case.batch()
    found = {name: tensor.clone() for name, tensor in persistent(learner).items()}
    torch.manual_seed(SEED)
    with torch.no_grad():
        for word, training in (("evaluation", False), ("training", True)):
            total, loss = learner.train(training)(batch, learner.objective.num_targets(batch))
            found[f"the loss in {word}"] = total
            found |= {f"the scalar {name} in {word}": scalar for name, scalar in loss.scalars.items()}
    return found


def elsewhere(case: Case) -> dict[str, Tensor]:
    """Returns the tensors of `built`, of any shape, from a process in which ``hash`` of a string has another value."""
    return pair().builds(case)[0]


def drawn(case: Case) -> dict[str, Tensor]:
    """Returns what a masker or a source draws from generators with fixed seeds; tensors of any shape, by name."""
    found: dict[str, Tensor] = {}
    torch.manual_seed(SEED)  # draws from the global generator break another rule
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
    """Checks that other processes, such as a loader's workers, draw the same values as this process."""
    here = drawn(case)
    for rank, its in enumerate(pair().draws(case)):
        for name, tensor in here.items():
            assert torch.equal(its[name], tensor), f"{name}, drawn by process {rank}, differs from what is drawn here"


def gradients(case: Case, ids: Sequence[int], world: World, *, training: bool) -> dict[str, Tensor]:
    """Takes one step of plain gradient descent on this process's share of a batch.

    Args:
        case: the case whose learner takes the step, from its initialisation.
        ids: the ids of the samples in this process's share.
        world: the processes that share the whole batch.
        training: whether the learner is in training mode; otherwise in evaluation mode, for a learner with dropout.

    Returns:
        The loss, a scalar; every gradient, and every state before and after the step, each of any shape, by name.
    """
    learner, batch = case.learner().train(training), case.batch(ids)
    before = {f"{name}{BEFORE}": value.clone() for name, value in persistent(learner).items()}
    engine = Engine(learner, Training(steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-2)), world)
    loss, _ = engine(batch, world.all_reduce_counts(learner.objective.num_targets(batch)))
    loss.backward()  # type: ignore[no-untyped-call]
    found = before | {"the loss": world.all_reduce(loss.detach() / world.size)}
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            if parameter.grad is not None:
                found[f"the gradient of {name}"] = parameter.grad.clone()
                parameter.sub_(parameter.grad, alpha=0.1)
    learner.after_step(1, 1)
    return found | {f"{name} after the step": value.clone() for name, value in persistent(learner).items()}


def updated(case: Case, world: World) -> dict[str, Tensor]:
    """Returns whole parameters, of any shape and by name, after two steps; each process of the world has a shard."""
    trainer = ready(case, world)
    for _ in range(2):
        trainer.optimizer.step()
    return {name: whole(parameter.detach()).clone() for name, parameter in trained(trainer)}


def ready(case: Case, world: World | None = None) -> Trainer:
    """Returns a trainer before the first step of its optimizer, with a random gradient for each parameter."""
    strategy = "fsdp" if world is not None and world.size > 1 else "ddp"
    experiment = case.experiment.evolve(**{"training.strategy": strategy})
    trainer = Trainer(experiment, case.learner(), torch.device("cpu"), world)
    set_rates(trainer.optimizer, experiment.training, 0)
    for number, (_, parameter) in enumerate(trained(trainer)):
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        if isinstance(parameter, DTensor):  # each process keeps its shard
            gradient = distribute_tensor(gradient, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.grad = gradient
    return trainer


def trained(trainer: Trainer) -> list[tuple[str, torch.nn.Parameter]]:
    """Returns the parameters that a trainer trains, with their names."""
    return [(name, one) for name, one in trainer.learner.named_parameters() if one.requires_grad]


def _done(rank: int, job: bytes) -> bytes | str:
    """Returns the result of one of two processes, or the reason of its failure."""
    try:
        what, example, kind = pickle.loads(job)
        assert isinstance(example, Example)
        case = Case(example, kind)
        if what.startswith("gradients"):
            found = gradients(case, range(2 * rank, 2 * rank + 2), connected(), training="training" in what)
        elif what == "updates":
            found = updated(case, connected())
        else:
            with mock.patch.object(torch.distributed, "is_initialized", return_value=False):  # as if it were alone
                found = drawn(case) if what == "draws" else built(case)
        file = io.BytesIO()
        torch.save({name: tensor.clone() for name, tensor in found.items()}, file)
        return file.getvalue()
    except Exception as error:  # foreign code: the caller reports it
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
