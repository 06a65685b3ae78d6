"""Runs the step in a bundle again, with all samples together or each alone."""

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
    """The step of a bundle, with its learner.

    Args:
        folder: the folder of the bundle.
        device: the device to compute on.

    Attributes:
        bundle: the contents of the folder.
        experiment: the experiment of the run.

    Raises:
        DidactError: the bundle does not exist or is damaged, or a plugin is missing.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.bundle, self.device = read_bundle(folder), device
        self.experiment: Experiment = registry().from_data(self.bundle.experiment, Experiment)
        self._learner = build_learner(self.experiment).to(device)
        checkpoint.load(self.bundle.state, self._learner)

    def whole(self) -> Diagnosis:
        """Computes the step as the run computed it."""
        return self._diagnose(self.bundle.parts, self.bundle.num_targets)

    def each(self) -> Iterator[tuple[int, Diagnosis]]:
        """Computes every sample as its own batch, and yields the sample's id and diagnosis."""
        for part in self.bundle.parts:
            for index, sample in enumerate(part.ids.tolist()):
                alone = sample_alone(part, index)
                yield sample, self._diagnose((alone,), self._learner.objective.num_targets(alone))

    def described(self, ids: Sequence[int]) -> str:
        """Describes samples by id and name."""
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
