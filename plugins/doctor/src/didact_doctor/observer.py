"""The observer that examines a run before its first step and explains a failed step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import attrs

from didact import DidactError, Experiment, Learner, Observer, RunError, Samples, StepFailure, hookimpl
from didact.machine.distributed import connected
from didact_doctor.examination import admit
from didact_doctor.forensics import explain


@attrs.frozen(kw_only=True)
class Doctor(Observer):
    """Examines a run before its first step, and explains a step whose loss or gradient is not finite.

    An error among the findings stops the run; warnings are recorded with the run. For a step that is not finite, the
    run's message names the first such tensor and its samples. The newest three such steps are kept in RUN/bundles, each
    as large as a checkpoint; ``didact replay`` runs one of them again.
    """

    everywhere: ClassVar[bool] = True

    def build(self) -> DoctorHooks:
        return DoctorHooks()


class DoctorHooks:
    """Implements the hooks of `Doctor`, on every process of a run."""

    @hookimpl
    def run_prepared(self, experiment: Experiment, folder: Path, samples: Samples, learner: Learner) -> Sequence[str]:
        return admit(experiment, folder, samples, learner)

    @hookimpl
    def step_failed(self, failure: StepFailure) -> str | None:
        if failure.reason != "nonfinite":
            return None
        world = connected()
        try:
            return explain(failure, world)
        except DidactError:
            raise
        except Exception as error:
            if world.size == 1:
                raise  # the run continues without this observer
            # the other processes wait for the finding of this process
            what = f"the failed step {failure.step} could not be explained: {type(error).__name__}: {error}"
            raise RunError(what, where="observers", hint="remove Doctor from the experiment's observers") from error
