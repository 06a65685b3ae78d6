"""Runs an ablation: starts the missing runs, compares all runs and reports the result."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from didact import DataError, RunError, RunInfo, SpecError, build_learner
from didact.plugins import registry
from didact.record import RunRecord
from didact.record.observers import Observers
from didact.serialization import to_data
from didact_ablate.board import Board, clock
from didact_ablate.comparison import Result, Setting, compare, result_of
from didact_ablate.design import Design
from didact_ablate.jobs import last_words, run_side_by_side, shares
from didact_ablate.members import Member, members_of
from didact_ablate.naming import short_names, value_words
from didact_ablate.records import cost_of
from didact_ablate.tables import caption, cost_table, drawn, results_table
from didact_ablate.writing import Findings
from didact_doctor.recording import lost_as_data

WIDTH = 160
STUDY, COMPARISON = "study.json", "comparison"


@attrs.frozen(kw_only=True)
class Call:
    """The options with which a study is run; see `Study.run`."""

    folder: Path
    device: str
    jobs: int
    source_file: Path


def run_design(design: Design, call: Call) -> bool:
    """Runs the missing runs of a study, then compares all of them; see `didact_ablate.ablation.Ablation`.

    Returns:
        Whether every run is done.

    Raises:
        SpecError: a variant cannot be restored from its record.
        DidactError: the data cannot be used, another process is running the study, or the disk cannot be written.
    """
    for row in design.rows():
        if lost := lost_as_data(row.experiment):
            raise SpecError(
                f"each run of a study restores its experiment from a record, which is not possible for {row.name!r}: "
                f"{lost}",
                where="base" if row.base else f"variants, {row.name}",
                hint="register every class that it is composed of in a plugin",
            )
    console = terminal()
    with _held(call.folder):
        members = members_of(design, call.folder)
        _write_study(design, members, call)
        missing = [member for member in members if not member.done]
        parts = shares(call.jobs, call.device)
        _announce(console, design, members, missing, call, parts[0].threads)
        left_alone = True
        if missing:
            began, whole = time.monotonic(), all(member.record is None for member in missing)
            build_learner(design.base)  # reports a mismatch at once, and imports modules for the jobs
            board = Board(members, console, design.metric)
            try:
                left_alone = run_side_by_side(
                    missing,
                    parts=parts,
                    device=call.device,
                    source_file=call.source_file,
                    watch=board.watch,
                    ended=board.ended,
                )
            finally:
                board.close()
            if left_alone and whole:
                jobs = min(call.jobs, len(missing))
                console.print(_time_taken(missing, jobs, time.monotonic() - began), markup=False, soft_wrap=True)
        if not left_alone:
            console.print(f"stopped; the same command resumes it: didact run {call.source_file}", markup=False)
            return False
        findings = findings_of(call.folder)
        conclude(design, findings, call.folder, console)
    return all(member.done for member in members)


def findings_of(folder: Path) -> Findings:
    """Collects the results of a study's runs, including failed and missing ones.

    Args:
        folder: the folder of the study.

    Raises:
        DataError: the folder contains no study, or the base has no run.
    """
    study = read_study(folder)
    setting = Setting(**{**study["setting"], "also": tuple(study["setting"]["also"])})
    results = []
    for member in study["members"]:
        place = folder / member["folder"]
        if not (place / "experiment.json").exists():
            known = {"variant": member["variant"], "seed": member["seed"]}
            results.append(Result(**known, values={}, folder=place, trouble="not begun"))
            continue
        result = result_of(RunRecord.open(place), member["variant"], setting.metrics)
        if result.trouble == "failed":
            result = attrs.evolve(result, trouble=f"failed: {last_words(place)}")
        results.append(result)
    heat_map = study["heat map"]
    places = {name: tuple(values) for name, values in heat_map["places"].items()} if heat_map else {}
    return Findings(
        comparison=compare(setting, results),
        results=results,
        heat_map=(tuple(heat_map["fields"]), places) if heat_map else None,
    )


def read_study(folder: Path) -> Any:
    """Reads the record of a study, without the plugins of its experiments.

    Raises:
        DataError: the folder contains no study.
    """
    try:
        return json.loads((folder / STUDY).read_text())
    except OSError:
        raise DataError("there is no study in this folder", where=str(folder), hint=f"it has no {STUDY}") from None


def conclude(design: Design, findings: Findings, folder: Path, console: Console) -> None:
    """Shows a comparison, writes it to disk, and passes it to the observers that the base lists."""
    figures = findings.write(folder / COMPARISON)
    show(findings, console)
    console.print(f"tables and figures: {folder / COMPARISON}", markup=False, soft_wrap=True)
    watching = Observers({}, design.base.observers)
    experiment = design.base.evolve(name=design.name, labels={**design.base.labels, "study": design.name})
    environment = RunRecord.open(next(one.folder for one in findings.results if one.cost)).environment
    data = to_data(design, registry().name_of)
    info = RunInfo(folder=folder, experiment=experiment, data=data, step=0, environment=environment)
    watching.notify("run_started", run=info)
    report = findings.report(figures)
    watching.notify("evaluation_finished", step=0, name=COMPARISON, report=report, final=True)
    watching.notify("run_ended", outcome="finished", step=0)
    for warning in [*watching.unfit, *watching.warnings]:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)


def terminal() -> Console:
    """Returns a console; without a terminal, its lines are as wide as the tables need."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def show(findings: Findings, console: Console) -> None:
    """Prints the tables."""
    comparison = findings.comparison
    console.print(drawn(results_table(comparison), comparison.setting.name))
    console.print(caption(comparison), markup=False)
    console.print(drawn(cost_table(comparison), "cost of a run"))
    for result in findings.results:
        if result.trouble:
            console.print(f"{result.variant}, seed {result.seed}: {result.trouble}", markup=False, soft_wrap=True)


def _announce(
    console: Console,
    design: Design,
    members: Sequence[Member],
    missing: Sequence[Member],
    call: Call,
    threads: int,
) -> None:
    rows, seeds = len(design.rows()), len(design.seeds)
    begun = sum(member.record is not None for member in missing)
    jobs = min(call.jobs, max(1, len(missing)))
    console.print(
        f"{design.name}: {rows} variants × {seeds} seeds = {len(members)} runs; {len(members) - len(missing)} done, "
        f"{begun} to go on with, {len(missing) - begun} new; {jobs} at a time, {threads} threads each",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"in {call.folder}", markup=False, soft_wrap=True)


def _time_taken(members: Sequence[Member], jobs: int, seconds: float) -> str:
    """Describes how long the parallel runs took and which share was training, not starts, evaluations or waiting."""
    training = sum(cost_of(member.record).training_seconds for member in members if member.record is not None)
    return f"{len(members)} runs took {clock(seconds)}, {training / (seconds * jobs):.0%} of it training"


def _value(value: object, field: str) -> object:
    for name in field.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def _write_study(design: Design, members: Sequence[Member], call: Call) -> None:
    rows = design.rows()
    setting = Setting(
        name=design.name,
        metric=design.metric,
        higher_is_better=design.higher_is_better,
        level=design.level,
        also=design.also,
        control=design.control,
        base=rows[0].name,
    )
    fields = design.heat_map() or ()
    places = {row.name: [value_words(_value(row.experiment, field)) for field in fields] for row in rows}
    study = {
        "setting": attrs.asdict(setting),
        "members": [
            {"variant": one.variant.name, "seed": one.seed, "folder": str(one.folder.relative_to(call.folder))}
            for one in members
        ],
        "heat map": {"fields": list(short_names(fields).values()), "places": places} if fields else None,
        "ablation": to_data(design, registry().name_of),
    }
    try:
        partial = call.folder / f".{STUDY}"
        partial.write_text(json.dumps(study, indent=2) + "\n")
        partial.replace(call.folder / STUDY)
        shutil.copyfile(call.source_file, call.folder / "study.py")
    except OSError as error:
        raise RunError(
            f"the study's folder cannot be written: {error.strerror or error}",
            where=str(call.folder),
            hint="choose another with --out, or free some space",
        ) from error


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks the study's folder for this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".study-lock").open("w")
    except OSError as error:
        raise RunError(
            f"the study's folder cannot be written: {error.strerror or error}",
            where=str(folder),
            hint="choose another with --out",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                "another process is running this study",
                where=str(folder),
                hint="wait for it, stop it, or choose another folder with --out",
            ) from None
        yield
