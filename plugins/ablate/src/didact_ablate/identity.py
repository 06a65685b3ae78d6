"""Identity of training: experiments that take the same steps share one run among several studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from didact.experiment import BESIDE_THE_STEPS, without
from didact.serialization import fingerprint


def identity(data: Mapping[str, Any]) -> str:
    """A fingerprint of everything that training depends on, except the data's content, which has its own fingerprint.

    Two experiments with the same identity take the same steps. They may differ in their name, evaluations, observers
    and labels, in how often something is recorded, and in the number of workers that load the data. Evaluations and how
    often they run matter if ``training.patience`` may end training early.

    Args:
        data: an experiment as plain data (`Registry.data_of`).
    """
    beside = set(BESIDE_THE_STEPS)
    if data["training"]["nonfinite"] == "rollback":
        beside.remove("checkpoint_every")  # a rollback returns to a checkpoint
    if data["training"].get("patience") is None:
        return fingerprint(without(data, beside))
    beside -= {"patience", "keep_best", "evaluate_every", "log_every"}  # they decide the number of steps
    return fingerprint([without(data, beside), data["evaluations"]])
