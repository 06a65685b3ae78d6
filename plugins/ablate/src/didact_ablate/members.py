"""The runs of a study: which there are to be, and which of them an earlier call has left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from didact import DidactError, Experiment
from didact.plugins import registry
from didact.record import RunFolder, RunRecord, find_runs
from didact.serialization import fingerprint
from didact_ablate.design import Design, Variant, member_folder
from didact_ablate.identity import identity


@attrs.frozen(kw_only=True)
class Member:
    """One run of a study.

    Attributes:
        variant: of which.
        seed: with which seed.
        experiment: what it runs.
        folder: where it lies, or will lie.
    """

    variant: Variant
    seed: int
    experiment: Experiment
    folder: Path

    def __str__(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def record(self) -> RunRecord | None:
        """What the folder says now; None where nothing has been begun."""
        return RunRecord.open(self.folder) if (self.folder / "experiment.json").exists() else None

    @property
    def done(self) -> bool:
        """Whether it took all its steps and was judged by all that the experiment lists."""
        record = self.record
        return record is not None and record.state == "finished" and record.evaluated and self._listed(record)

    def settle(self, source_file: Path) -> None:
        """Makes the run's folder, or has the run that lies there carry this study's evaluations and labels."""
        record = self.record
        if record is None:
            RunFolder.create(self.folder, self.experiment, source_file)
        elif not self._listed(record):
            RunFolder.open(self.folder).amend(self.experiment)

    def _listed(self, record: RunRecord) -> bool:
        return bool(record.data == _data(self.experiment))


def members_of(design: Design, folder: Path) -> list[Member]:
    """All runs of a study, seed by seed, so that a study that is cut short has whole seeds.

    A run that an earlier call left is found by what it trains, on which data; what it is called, or who judges and
    watches it, does not matter.

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
    """The runs below a study's folder whose parts are installed, those that came furthest last."""
    readable = []
    for record in find_runs(folder):
        try:
            _ = record.experiment  # raises where a part's plugin is missing
        except DidactError:
            continue
        readable.append(record)
    return sorted(readable, key=lambda record: (record.state == "finished", record.step))


def _data_seen(record: RunRecord) -> str:
    """The fingerprint of the data that a run learnt from; empty before its first step."""
    return str(record.environment.get("data", {}).get("source", ""))


def _data_fingerprint(experiment: Experiment, known: dict[str, str]) -> str:
    source = fingerprint(registry().data_of(experiment.source))
    if source not in known:
        experiment.source.prepare()
        known[source] = experiment.source.open().fingerprint
    return known[source]


def _data(experiment: Experiment) -> object:
    return json.loads(json.dumps(registry().data_of(experiment)))
