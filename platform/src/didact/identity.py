"""What decides a run's weights: the identity of what is trained, whatever is recorded, judged or shown of it."""

from __future__ import annotations

import json

from didact.errors import DidactError
from didact.experiment import Experiment
from didact.plugins import registry
from didact.spec import fingerprint, from_data, to_data

BESIDE_THE_METHOD = ("name", "evaluations", "observers", "labels")
KEPT = ("checkpoint_every", "keep_checkpoints", "keep_every", "keep_best")
BESIDE_THE_STEPS = (*KEPT, "workers", "log_every", "evaluate_every", "collapse")


def identity(experiment: Experiment) -> str:
    """A fingerprint of all that training depends on, apart from what the data hold, which has one of its own.

    Two experiments of one identity take the same steps: they differ at most in their name, in what judges, watches and
    labels them, in how often something is recorded, and in how many workers load the data.
    """
    data = to_data(experiment, registry().name_of)
    training = data["training"]
    beside = set(BESIDE_THE_STEPS)
    if training["nonfinite"] == "rollback":
        beside.remove("checkpoint_every")  # where a run goes back to
    data["training"] = {field: value for field, value in training.items() if field not in beside}
    return fingerprint({field: value for field, value in data.items() if field not in BESIDE_THE_METHOD})


def lost_as_data(experiment: Experiment) -> str:
    """What an experiment loses on its way through its record; empty where it comes back as it was."""
    try:
        data = json.loads(json.dumps(to_data(experiment, registry().name_of)))
        return "" if from_data(data, Experiment, registry().class_of) == experiment else "it is not what it was"
    except (DidactError, TypeError) as error:
        return str(error).splitlines()[0]
