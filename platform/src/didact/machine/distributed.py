"""The processes of a run: those that ``torchrun`` or Slurm started, or this one alone.

What they agree on besides gradients, such as counts and being asked to stop, goes over the host and never waits for a
GPU.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from didact.errors import RunError
from didact.machine.processes import end_with_launcher

PATIENCE = datetime.timedelta(hours=2)  # for each other: an evaluation on one process keeps the others waiting
LET_GO = 0.25  # seconds that gloo's threads have for it once the processes have come to their end

Value = TypeVar("Value")


@attrs.frozen(kw_only=True)
class World:
    """Which of how many processes this is.

    Attributes:
        rank: of this process, from 0; 0 is the main one, which alone observes, evaluates and writes the run's record.
        size: how many there are.
        local_rank: of this process among those of its machine; the GPU that it computes on.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    def micro_batches(self, wanted: int, samples: int) -> int:
        """The parts in which each process computes its share of a batch.

        Args:
            wanted: the parts in which one process alone would compute the whole batch.
            samples: of the batch.
        """
        return max(1, min(math.ceil(wanted / self.size), samples // self.size))

    def all_reduce_counts(self, numbers: Mapping[str, int]) -> dict[str, int]:
        """The sum of each number over all processes, which must give the same names."""
        if self.size == 1:
            return dict(numbers)
        names = sorted(numbers)
        values = torch.tensor([numbers[name] for name in names], dtype=torch.int64)
        dist.all_reduce(values)
        return dict(zip(names, values.tolist(), strict=True))

    def any(self, here: bool) -> bool:
        """Whether it holds on any process."""
        return here if self.size == 1 else self.all_reduce_counts({"": int(here)})[""] > 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of a tensor of any shape over all processes, on its own device: a new tensor.

        The gradient goes back to every process, so that functions of the whole batch have that of the whole batch: each
        process takes its share of the loss of sums over all of them.
        """
        if self.size == 1:
            return values
        total: Tensor = _Sum.apply(values)
        return total

    def broadcast(self, value: Value) -> Value:
        """The main process's value, on every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def all_gather(self, value: Value) -> list[Value]:
        """Every process's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The others enter when the main process has left."""
        if not self.main:
            self.barrier()
        yield
        if self.main:
            self.barrier()

    def barrier(self) -> None:
        """Returns when all processes are here."""
        self.any(False)


def current() -> World:
    """The world that this process was started in, as `torchrun` describes it in the environment.

    Raises:
        RunError: the environment says that there are several processes, but not which one this is.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise RunError(
            f"WORLD_SIZE says that this is one of {size} processes, but {' and '.join(missing)} cannot be found",
            where="the environment",
            mend="start with `torchrun --nproc-per-node N -m didact run FILE`, which sets all of them, or unset "
            "WORLD_SIZE",
        )
    return World(rank=int(os.environ["RANK"]), size=size, local_rank=int(os.environ["LOCAL_RANK"]))


def require_gpus(device: torch.device) -> None:
    """Sees that each process that ``torchrun`` started on this machine has a GPU of its own, where it computes on one.

    Raises:
        RunError: there are fewer.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise RunError(
            f"{here} processes would share {torch.cuda.device_count()} GPUs",
            where="torchrun --nproc-per-node",
            mend="start as many processes as there are GPUs, or compute on the CPU with --device cpu",
        )


def launch() -> str | None:
    """An identifier of the ``torchrun`` launch that started this process, the same across its restarts.

    None for a process that torchrun did not start. A launch without a name (``--rdzv-id``) is known by its process.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()}-{os.getppid()}" if name == "none" else name


def restarts() -> int:
    """How often ``torchrun --max-restarts`` has started the processes of this launch again, since one had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def connected() -> World:
    """The processes that train together at the moment, for parts whose statistics are those of the whole batch.

    In training alone, where all processes call a part together. An evaluation is the main one's, and a trial has none.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    rank = dist.get_rank()
    return World(rank=rank, size=dist.get_world_size(), local_rank=int(os.environ.get("LOCAL_RANK", rank)))


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """The world, its processes connected inside the ``with``.

    Raises:
        RunError: another process of the run ended. Its own message says why.
    """
    world = current()
    if world.size == 1 or dist.is_initialized():  # whoever has connected them already disconnects them too
        yield world
        return
    if launch() is not None:
        end_with_launcher(signal.SIGTERM)  # together, with a checkpoint
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    # torchrun's store outlives a restart, and in it the addresses of the processes that are gone
    store = dist.PrefixStore(f"didact/{restarts()}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield world
    except RuntimeError as error:
        if _is_lost_connection(error):
            if threading.current_thread() is threading.main_thread():
                # torchrun sends it to whoever is left; this one is ending anyway, and has something to say
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise RunError(
                f"process {world.rank} of {world.size} lost the others: one of them ended",
                where=str(error).splitlines()[0],
                mend="see what that one says; after its mend, `didact resume` goes on from the last checkpoint",
            ) from error
        raise
    else:
        dist.destroy_process_group()  # after an error it could wait for those that are gone
    finally:
        # gloo's threads need the interpreter to let go of the tensors they summed last, even where nobody waits for
        # them: sharded weights keep their groups. One that asks for it while Python ends takes the process along, see
        # https://github.com/pytorch/pytorch/issues/190489
        time.sleep(LET_GO)


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of what it is in each of them."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _is_lost_connection(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "NCCL", "Connection closed"))
