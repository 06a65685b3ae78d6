"""Selects runs by folder, name, tag or a tracker's query, and names their variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from didact import DataError
from didact.errors import did_you_mean
from didact.experiment import BESIDE_THE_METHOD, BESIDE_THE_STEPS
from didact.plugins import registry
from didact.record import RunRecord
from didact_ablate.finding import RunFinder, find_runs
from didact_ablate.naming import short_names, value_words

MOST_FIELDS = 4  # in a variant's name; with more, the experiment's name is used
ABSENT = "absent"


def select(references: Sequence[str], runs: Path, place: str) -> list[RunRecord]:
    """Returns the runs that the references name, each once.

    Args:
        references: folders of one or several runs; names of experiments or studies; ``tag:TAG``, a tag of one of the
            run's observers; ``FINDER:QUERY``, such as ``aim:run.hparams.training.steps > 100``.
        runs: the folder below which names and tags are searched.
        place: the place where a tracker's runs are searched.

    Raises:
        DataError: a reference matches no run; the error names the reference.
    """
    found: dict[Path, RunRecord] = {}
    for reference in references:
        matching = list(_matching(reference, runs, place))
        if not matching:
            raise DataError(f"no run is found by {reference!r}", hint=_mend(reference, runs))
        found |= {record.folder.resolve(): record for record in matching}
    return list(found.values())


def variant_names(records: Sequence[RunRecord]) -> dict[Path, str]:
    """Names each run's variant, by folder: its label in the study, or else the fields in which the runs differ."""
    studies = {record.data["labels"].get("study") for record in records}
    if None not in studies and all("variant" in record.data["labels"] for record in records):
        several = len(studies) > 1
        return {
            record.folder: f"{record.data['labels']['study']}: {record.data['labels']['variant']}"
            if several
            else str(record.data["labels"]["variant"])
            for record in records
        }
    flat = {record.folder: dict(fields_of(record.data, method=True)) for record in records}
    names = sorted({field for fields in flat.values() for field in fields})
    differing = [field for field in names if len({fields.get(field, ABSENT) for fields in flat.values()}) > 1]
    short = short_names([field.removesuffix(".spec") for field in differing])
    experiments = {record.data["name"] for record in records}
    if not differing or (len(differing) > MOST_FIELDS and len(experiments) > 1):
        return {record.folder: str(record.data["name"]) for record in records}
    return {
        folder: ", ".join(
            f"{short[field.removesuffix('.spec')]}={fields.get(field, ABSENT)}" for field in differing[:MOST_FIELDS]
        )
        for folder, fields in flat.items()
    }


def fields_of(data: Any, where: str = "", *, method: bool = False) -> Iterator[tuple[str, str]]:
    """Flattens an experiment's data to ``dotted field → value as text``.

    Args:
        data: the data of an experiment, or of a part of it.
        where: the dotted path of the part.
        method: whether to keep only what training depends on, without the seed.
    """
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            place = f"{where}.{key}" if where else str(key)
            beside = place in BESIDE_THE_METHOD or place.removeprefix("training.") in (*BESIDE_THE_STEPS, "seed")
            if not (method and beside):
                yield from fields_of(value, place, method=method)
    elif isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        for number, item in enumerate(data):
            yield from fields_of(item, f"{where}.{number}", method=method)
    else:
        yield where, value_words(data)


def _matching(reference: str, runs: Path, place: str) -> Iterator[RunRecord]:
    word, colon, query = reference.partition(":")
    finders = _finders()
    if Path(reference).is_dir():
        yield from find_runs(Path(reference))
    elif colon and word == "tag":
        yield from (record for record in find_runs(runs) if query in _tags(record))
    elif colon and word in finders:
        folders = finders[word]().find(query, place)
        yield from (RunRecord.open(folder) for folder in folders if (folder / "experiment.json").exists())
    elif (runs / reference).is_dir():
        yield from find_runs(runs / reference)
    else:
        yield from (record for record in find_runs(runs) if reference in (record.data["name"], _study(record)))


def _finders() -> dict[str, type[RunFinder]]:
    """Returns the run finders by the name of their plugin."""
    return {name.partition("/")[0]: cls for name, cls in registry().of_kind(RunFinder).items()}  # type: ignore[type-abstract]


def _tags(record: RunRecord) -> set[str]:
    """Returns the tags that the run's observers carry."""
    return {tag for observer in record.data["observers"] for tag in observer.get("tags", ())}


def _study(record: RunRecord) -> str:
    return str(record.data["labels"].get("study", ""))


def _mend(reference: str, runs: Path) -> str:
    names = {str(name) for record in find_runs(runs) for name in (record.data["name"], _study(record)) if name}
    finders = ", ".join(f"{name}:QUERY" for name in _finders())
    return f"{did_you_mean(reference, names)}; or a run's folder, tag:TAG{', ' if finders else ''}{finders}"
