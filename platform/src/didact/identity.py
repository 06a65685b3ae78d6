"""What decides a run's weights: the identity of what is trained, whatever is recorded, judged or shown of it."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any

from didact.errors import DidactError
from didact.experiment import Experiment
from didact.plugins import registry
from didact.spec import fingerprint, from_data, to_data

BESIDE_THE_METHOD = ("name", "evaluations", "observers", "labels")
KEPT = ("checkpoint_every", "keep_checkpoints", "keep_every", "keep_best")
BESIDE_THE_STEPS = (*KEPT, "workers", "log_every", "evaluate_every", "collapse")
HOW_COMPUTED = ("micro_batches", "parallel", "recompute", "compile")
NONFINITE = ("nonfinite", "nonfinite_limit")


def identity(experiment: Experiment) -> str:
    """A fingerprint of all that training depends on, apart from what the data hold, which has one of its own.

    Two experiments of one identity take the same steps: they differ at most in their name, in what judges, watches and
    labels them, in how often something is recorded, and in how many workers load the data.
    """
    beside = set(BESIDE_THE_STEPS)
    if experiment.training.nonfinite == "rollback":
        beside.remove("checkpoint_every")  # where a run goes back to
    return fingerprint(_without(experiment, beside))


def goes_on_as(before: Experiment, after: Experiment) -> bool:
    """Whether a run of one experiment may go on as another.

    Beside what no step depends on, they may differ in how a step is computed, which decides no more than the order of
    its sums and what PyTorch draws for whole tensors, and in what becomes of steps that are not finite.
    """
    beside = {*BESIDE_THE_STEPS, *HOW_COMPUTED, *NONFINITE}
    return fingerprint(_without(before, beside)) == fingerprint(_without(after, beside))


def _without(experiment: Experiment, beside: Set[str]) -> dict[str, Any]:
    """The experiment as data, without what is beside the method and without some fields of its training."""
    data = to_data(experiment, registry().name_of)
    data["training"] = {field: value for field, value in data["training"].items() if field not in beside}
    return {field: value for field, value in data.items() if field not in BESIDE_THE_METHOD}


def lost_as_data(experiment: Experiment) -> str | None:
    """What an experiment loses on its way through its record; None where it comes back as it was."""
    try:
        data = json.loads(json.dumps(to_data(experiment, registry().name_of)))
        same = from_data(data, Experiment, registry().class_of) == experiment
        return None if same else "it is not what it was"
    except (DidactError, TypeError) as error:
        return str(error).splitlines()[0]
