"""Memory that has run out, in words."""

from __future__ import annotations

import torch

from didact.errors import RunError
from didact.experiment import Experiment


def ran_out(error: Exception) -> bool:
    """Whether an error says so: PyTorch has a class for a GPU's memory and none for the host's."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def does_not_fit(what: str, reason: str, experiment: Experiment, *, begun: bool = False) -> RunError:
    """The error that a user gets.

    Args:
        what: does not fit.
        reason: as the system or PyTorch gives it.
        experiment: whose batch is too large.
        begun: whether a run has come so far, which can be resumed.
    """
    smaller = f"training.micro_batches={2 * experiment.training.micro_batches}"
    if whole := experiment.needs_whole_batch():
        mend = f"a smaller batch, in a run of its own; {whole} needs a whole one at once"
    elif begun:
        mend = f"resume with --set {smaller}, which computes the same batch in smaller parts"
    else:
        mend = f"{smaller} computes the same batch in smaller parts"
    first = "free what others use of it and resume, or " if begun else ""
    return RunError(f"{what} does not fit into memory: {reason}", where="training.batch", mend=first + mend)
