"""Runs the step in a bundle again, all samples together or each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from didact import Batch, Experiment, build_learner
from didact.loop.faults import describe_samples
from didact.plugins import registry
from didact.record import checkpoint
from didact_doctor.bundle import read_bundle, sample_alone
from didact_doctor.diagnosis import Diagnosis, diagnose


class Replay:
    """A bundle's step with its learner.

    Args:
        folder: of the bundle.
        device: on which to compute.

    Attributes:
        bundle: what the folder holds.
        experiment: of the run.

    Raises:
        DidactError: there is no bundle, it is damaged, or a plugin is missing.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.bundle, self.device = read_bundle(folder), device
        self.experiment: Experiment = registry().from_data(self.bundle.experiment, Experiment)
        self._learner = build_learner(self.experiment).to(device)
        checkpoint.load(self.bundle.state, self._learner)

    def whole(self) -> Diagnosis:
        """The step as the run computed it."""
        return self._diagnose(self.bundle.parts, self.bundle.num_targets)

    def each(self) -> Iterator[tuple[int, Diagnosis]]:
        """Every sample by its id, computed as a batch of its own."""
        for part in self.bundle.parts:
            for index, sample in enumerate(part.ids.tolist()):
                alone = sample_alone(part, index)
                yield sample, self._diagnose((alone,), self._learner.objective.num_targets(alone))

    def described(self, ids: Sequence[int]) -> str:
        """Samples by id and name."""
        return describe_samples(ids, dict(zip(self.bundle.ids, self.bundle.names, strict=False)))

    def _diagnose(self, parts: tuple[Batch, ...], num_targets: Mapping[str, int]) -> Diagnosis:
        return diagnose(
            self._learner,
            parts,
            num_targets,
            device=self.device,
            precision=getattr(torch, self.bundle.precision),
            seed=self.experiment.training.seed,
            step=self.bundle.step - 1,
            rank=self.bundle.rank,
        )
