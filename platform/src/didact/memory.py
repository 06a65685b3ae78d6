"""Memory that has run out, in words."""

from __future__ import annotations

import torch

from didact.errors import RunError
from didact.experiment import Experiment


def ran_out(error: Exception) -> bool:
    """Whether an error says so: PyTorch has a class for a GPU's memory and none for the host's."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def does_not_fit(what: str, reason: str, experiment: Experiment, first: str = "") -> RunError:
    """The error that a user gets.

    Args:
        what: does not fit.
        reason: as the system or PyTorch gives it.
        experiment: whose batch is too large.
        first: what may be tried before another batch.
    """
    parts = experiment.training.micro_batches
    mend = f"training.micro_batches={2 * parts} computes the same batch in smaller parts"
    if whole := experiment.needs_whole_batch():
        mend = f"a smaller batch; {whole} needs a whole one at once"
    return RunError(f"{what} does not fit into memory: {reason}", where="training.batch", mend=first + mend)
