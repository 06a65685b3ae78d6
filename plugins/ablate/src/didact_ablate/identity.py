"""Which experiments are the same training, so that one run serves several studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from didact.experiment import BESIDE_THE_STEPS, without
from didact.serialization import fingerprint


def identity(data: Mapping[str, Any]) -> str:
    """A fingerprint of all that training depends on, except the content of the data, which has its own.

    Two experiments of one identity take the same steps: they differ at most in their name, in their evaluations,
    observers and labels, in how often something is recorded, and in the number of workers that load the data.

    Args:
        data: an experiment as plain data (`Registry.data_of`).
    """
    beside = set(BESIDE_THE_STEPS)
    if data["training"]["nonfinite"] == "rollback":
        beside.remove("checkpoint_every")  # where a run goes back to
    return fingerprint(without(data, beside))
