"""The processes of a run: the processes that ``torchrun`` or Slurm started, or this process alone.

Other values than gradients, such as counts and stop requests, are exchanged over the host and never wait for a GPU.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

import attrs
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from didact.errors import DidactError, RunError
from didact.machine.processes import end_with_parent

PATIENCE = datetime.timedelta(hours=2)  # timeout; the other processes wait while one prepares data
RELEASE_SECONDS = 0.25  # time for gloo's threads to release their tensors at the end

Value = TypeVar("Value")


class SharedError(Exception):
    """An error of one process inside `World.sharing_errors`, raised on all processes.

    Attributes:
        cause: the error, if it is a `DidactError`.
        details: the traceback on that process.
    """

    def __init__(self, text: str, cause: DidactError | None = None, details: str = "") -> None:
        super().__init__(text, cause, details)  # for pickle
        self.text, self.cause, self.details = text, cause, details


@attrs.frozen(kw_only=True)
class World:
    """The rank of this process and the number of processes.

    Attributes:
        rank: this process's rank, from 0; rank 0 is the main process, which writes the run's record.
        size: number of processes.
        local_rank: this process's rank among the processes of its machine; selects the GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    def all_reduce_counts(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """Returns the sum of each number over all processes, which must pass the same names."""
        if self.size == 1:
            return dict(numbers)
        names = sorted(numbers)
        values = torch.tensor([numbers[name] for name in names], dtype=torch.int64)
        dist.all_reduce(values)
        return dict(zip(names, values.tolist(), strict=True))

    def any(self, here: bool) -> bool:
        """Returns whether ``here`` is true on any process."""
        return here if self.size == 1 else self.all_reduce_counts({"": int(here)})[""] > 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """Returns the sum of a tensor of any shape over all processes, as a new tensor on the same device.

        The gradient flows back to every process, so a function of the whole batch has the gradient of the whole batch:
        each process computes its share of the loss from the sums over all processes.
        """
        total: Tensor = values if self.size == 1 else _Sum.apply(values)
        return total

    def broadcast(self, value: Value) -> Value:
        """Returns the main process's value on every process."""
        values: list[Any] = self.all_gather(value if self.main else None)
        return values[0]  # type: ignore[no-any-return]

    def all_gather(self, value: Value) -> list[Value]:
        """Returns every process's value, by rank."""
        return self._exchange("value", value)

    @contextlib.contextmanager
    def sharing_errors(self) -> Iterator[None]:
        """Raises a `SharedError` on all processes if one of them fails inside the ``with`` block.

        The others notice in their next `all_gather`, `broadcast` or `barrier`, or at the end of the block. They do not
        notice in `all_reduce`, which then fails after `PATIENCE`.
        """
        try:
            yield
            self._exchange("end", None)
        except SharedError:
            raise
        except Exception as error:  # foreign code
            cause = error if isinstance(error, DidactError) else None
            failure = SharedError(f"{type(error).__name__}: {error}", cause, traceback.format_exc())
            self._exchange("error", failure)

    def _exchange(self, kind: Literal["value", "end", "error"], value: Any) -> list[Any]:
        messages = [(kind, value)] * self.size
        if self.size > 1:
            dist.all_gather_object(messages, (kind, value))
        kinds, values = zip(*messages, strict=True)
        if "error" in kinds:
            raise values[kinds.index("error")]
        if len(set(kinds)) > 1:
            raise SharedError(f"processes {[rank for rank in range(self.size) if kinds[rank] == 'end']} ended early")
        return list(values)

    def counts(self, here: int) -> list[int]:
        """Returns every process's number, by rank; computed on the host."""
        everywhere = self.all_reduce_counts({f"{rank:06d}": here * (rank == self.rank) for rank in range(self.size)})
        return [everywhere[rank] for rank in sorted(everywhere)]

    def gather(self, values: Tensor) -> Tensor:
        """Returns the rows (N, …) of all processes, by rank; the numbers of rows may differ.

        The gradient flows back to every process, as in `all_reduce`.
        """
        if self.size == 1:
            return values
        counts = self.counts(len(values))
        rows = values.new_zeros(sum(counts), *values.shape[1:])
        before = sum(counts[: self.rank])
        # a sum of rows at separate places; its gradient is a sum over processes of the gradients of these rows
        return self.all_reduce(torch.cat([rows[:before], values, rows[before + len(values) :]]))

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Runs the ``with`` block on the main process first; the other processes wait until it has left the block."""
        if not self.main:
            self.barrier()
        yield
        if self.main:
            self.barrier()

    def barrier(self) -> None:
        """Returns when all processes have called it."""
        self.all_gather(None)


def current() -> World:
    """Returns the world of this process from `torchrun`'s variables; raises a `RunError` if some are missing."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        what = f"WORLD_SIZE says that this is one of {size} processes, but {' and '.join(missing)} cannot be found"
        hint = "start with `torchrun --nproc-per-node N -m didact run FILE`, which sets them, or unset WORLD_SIZE"
        raise RunError(what, where="the environment", hint=hint)
    return World(rank=int(os.environ["RANK"]), size=size, local_rank=int(os.environ["LOCAL_RANK"]))


def require_gpus(device: torch.device) -> None:
    """Raises a `RunError` if processes that ``torchrun`` started on this machine would share a GPU."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.type == "cuda" and here > torch.cuda.device_count():
        hint = "start as many processes as there are GPUs, or compute on the CPU with --device cpu"
        what = f"{here} processes would share {torch.cuda.device_count()} GPUs"
        raise RunError(what, where="torchrun --nproc-per-node", hint=hint)


def launch() -> str | None:
    """Returns an identifier of the ``torchrun`` launch of this process, equal across restarts; otherwise None.

    A launch without a name (``--rdzv-id``) is identified by the launcher's process.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()}-{os.getppid()}" if name == "none" else name


def restarts() -> int:
    """Returns how often ``torchrun --max-restarts`` has restarted the processes of this launch after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def connected() -> World:
    """Returns the processes that currently train together, for parts that compute statistics of the whole batch.

    In an evaluation too, all processes compute together.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    rank = dist.get_rank()
    return World(rank=rank, size=dist.get_world_size(), local_rank=int(os.environ.get("LOCAL_RANK", rank)))


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Connects the processes inside the ``with`` block; yields the world. A `RunError` reports that a process ended."""
    world = current()
    if world.size == 1 or dist.is_initialized():  # the caller connects and disconnects the processes
        yield world
        return
    if launch() is not None:
        end_with_parent(signal.SIGTERM)  # writes a checkpoint; a killed launcher does not end its processes
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    # torchrun's store survives a restart and still holds the addresses of processes that have ended
    store = dist.PrefixStore(f"didact/{restarts()}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield world
    except RuntimeError as error:
        lost = any(word in str(error) for word in ("gloo", "NCCL", "Connection closed"))
        if not lost and not isinstance(error, dist.DistError):
            raise
        if threading.current_thread() is threading.main_thread():
            # torchrun sends SIGTERM to the remaining processes; this one is ending anyway and must report its error
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        what = f"process {world.rank} of {world.size} lost the others: one of them ended"
        hint = "see that one's message; once its cause is fixed, `didact resume` uses the last checkpoint"
        raise RunError(what, where=str(error).splitlines()[0], hint=hint) from error
    else:
        dist.destroy_process_group()  # after an error, this could wait for processes that have ended
    finally:
        # gloo's threads need the interpreter to release the tensors that they summed last: sharded weights keep their
        # groups. A thread that needs the interpreter while Python shuts down aborts the process, see
        # https://github.com/pytorch/pytorch/issues/190489
        time.sleep(RELEASE_SECONDS)


class _Sum(torch.autograd.Function):
    """Sums over all processes; the gradient is the sum of the gradients on all processes."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradient)
        return total
