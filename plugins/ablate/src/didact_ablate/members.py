"""The runs of a study, including those that an earlier call has left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from didact import DidactError, Experiment
from didact.plugins import registry
from didact.record import RunFolder, RunRecord
from didact.serialization import fingerprint
from didact_ablate.design import Design, Variant, member_folder
from didact_ablate.finding import find_runs
from didact_ablate.identity import identity


@attrs.frozen(kw_only=True)
class Member:
    """One run of a study.

    Attributes:
        variant: the variant that it runs.
        seed: the seed that it runs with.
        experiment: the experiment that it runs.
        folder: the folder of the run, which may not exist yet.
    """

    variant: Variant
    seed: int
    experiment: Experiment
    folder: Path

    def __str__(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def record(self) -> RunRecord | None:
        """The run's record on disk; None if the run has not started."""
        return RunRecord.open(self.folder) if (self.folder / "experiment.json").exists() else None

    @property
    def done(self) -> bool:
        """Whether the run took all its steps and has the results of every listed evaluation."""
        record = self.record
        return record is not None and record.state == "finished" and record.evaluated and self._listed(record)

    def settle(self, source_file: Path) -> None:
        """Creates the run's folder, or writes this study's evaluations and labels into the existing run."""
        record = self.record
        if record is None:
            RunFolder.create(self.folder, self.experiment, source_file)
        elif not self._listed(record):
            RunFolder.open(self.folder).amend(self.experiment)

    def _listed(self, record: RunRecord) -> bool:
        return bool(record.data == _data(self.experiment))


def members_of(design: Design, folder: Path) -> list[Member]:
    """Lists all runs of a study, seed by seed, so that an interrupted study has complete seeds.

    A run of an earlier call is recognised by its training and its data. Its name, evaluations and observers do not
    matter.

    Raises:
        DidactError: the data cannot be used.
    """
    known = {(identity(record.data), _data_seen(record)): record.folder for record in _readable(folder)}
    fingerprints: dict[str, str] = {}
    taken: set[Path] = set(known.values())
    members = []
    for seed, variant in itertools.product(design.seeds, design.rows()):
        experiment = design.member(variant, seed)
        what, data = identity(registry().data_of(experiment)), _data_fingerprint(experiment, fingerprints)
        place = known.get((what, data)) or known.get((what, ""))
        if place is None:
            place = member_folder(folder, variant, seed)
            if place in taken or (place / "experiment.json").exists():
                place = place.with_name(f"{place.name}-{fingerprint([what, data])[:8]}")
            taken.add(place)
        members.append(Member(variant=variant, seed=seed, experiment=experiment, folder=place))
    return members


def _readable(folder: Path) -> Sequence[RunRecord]:
    """Lists the runs below a study's folder whose plugins are installed, the most advanced last."""
    readable = []
    for record in find_runs(folder):
        try:
            _ = record.experiment  # raises if a part's plugin is missing
        except DidactError:
            continue
        readable.append(record)
    return sorted(readable, key=lambda record: (record.state == "finished", record.step))


def _data_seen(record: RunRecord) -> str:
    """The fingerprint of the data that a run was trained on; empty before its first step."""
    return str(record.environment.get("data", {}).get("source", ""))


def _data_fingerprint(experiment: Experiment, known: dict[str, str]) -> str:
    source = fingerprint(registry().data_of(experiment.source))
    if source not in known:
        experiment.source.prepare()
        known[source] = experiment.source.open().fingerprint
    return known[source]


def _data(experiment: Experiment) -> object:
    return json.loads(json.dumps(registry().data_of(experiment)))
