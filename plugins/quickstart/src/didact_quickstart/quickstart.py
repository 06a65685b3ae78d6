"""The quickstart: writes files, ingests them, pretrains and evaluates each modality with the commands of a user."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from didact import RunError
from didact_quickstart.lessons import LESSONS, Lesson
from didact_quickstart.verdicts import CLASSIFIERS, CONTENDERS, Verdict, draw, table

Command = Callable[..., None]  # runs a `didact` command line, given word by word

PROBE = "probe"  # the name of the evaluation in the three experiments
FIGURE = "quickstart.png"


class Interrupted(Exception):  # noqa: N818 - not an error
    """Stopped by Ctrl-C; what is complete is kept."""


def quickstart(out: Path, settings: Mapping[str, str], didact: Command, console: Console) -> list[Verdict]:
    """Runs the three lessons, without repeating what an earlier call completed.

    Args:
        out: folder for data, stores, runs and the figure.
        settings: changed fields of all three experiments, ``field → text``.
        didact: runs a ``didact`` command line.
        console: for progress and the table.

    Raises:
        Interrupted: stopped before the end.
        DidactError: a command failed, for example because the folder holds another run or the disk is full.
    """
    verdicts = []
    with _stores_in(out / "stores"):
        console.print(f"$ export DIDACT_STORES={shlex.quote(str(out / 'stores'))}", style="bold")
        for number, lesson in enumerate(LESSONS, 1):
            console.rule(f"{number}/{len(LESSONS)}  {lesson.modality}: {lesson.data}", align="left")
            console.print(f"data    {lesson.origin}\ntask    {lesson.judged}")
            verdicts.append(teach(lesson, out, settings, didact))
    console.rule("verdict", align="left")
    console.print(table(verdicts))
    for verdict in verdicts:
        console.print(verdict.sentence(), markup=False)
    draw(verdicts, out / FIGURE)
    return verdicts


def teach(lesson: Lesson, out: Path, settings: Mapping[str, str], didact: Command) -> Verdict:
    """Runs one modality, from its files to its result."""
    started = time.monotonic()
    files = out / "data" / lesson.modality
    _write_once(files, lesson.write)
    for one in lesson.ingestions:
        store = out / "stores" / one.store
        didact("ingest", one.kind, str(files / one.files), *one.options, "--out", str(store))
    run = out / "runs" / lesson.modality
    fresh = not _is_complete(run)
    if not (run / "experiment.json").exists():
        changes = [word for field, value in settings.items() for word in ("--set", f"{field}={value}")]
        didact("run", str(lesson.experiment), *changes, "--out", str(run))
    else:
        _require_same_settings(run, settings)
        if fresh:
            didact("resume", str(run))
    if not _is_complete(run):
        raise Interrupted
    return read_verdict(lesson, run, time.monotonic() - started if fresh else None)


def read_verdict(lesson: Lesson, run: Path, seconds: float | None) -> Verdict:
    """Reads the result from the folder of a complete run.

    Args:
        lesson: the run's lesson.
        run: the run's folder.
        seconds: the run's duration; None if an earlier quickstart completed it.
    """
    metrics = json.loads(_verdict_file(run).read_text())["metrics"]
    suffixes = {"pretrained": "", "random": "_random", "raw": "_raw"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return Verdict(
        modality=lesson.modality,
        data=lesson.data,
        accuracy={
            (classifier, contender): metrics[classifier + suffixes[contender]]
            for classifier in CLASSIFIERS
            for contender in CONTENDERS
        },
        classes=lesson.classes,
        steps=np.array([line["step"] for line in lines]),
        losses=np.array([line["train/loss"] for line in lines]),
        seconds=seconds,
    )


def _write_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes files to a temporary folder and renames it at the end, so an existing folder is complete."""
    if folder.exists():
        return
    beside = folder.with_name(folder.name + ".writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write(beside)
    beside.rename(folder)


def _verdict_file(run: Path) -> Path:
    steps = json.loads((run / "experiment.json").read_text())["training"]["steps"]
    return run / "evaluations" / f"{PROBE}-{steps:08d}.json"


def _is_complete(run: Path) -> bool:
    return (run / "experiment.json").exists() and _verdict_file(run).exists()


def _require_same_settings(run: Path, settings: Mapping[str, str]) -> None:
    before = json.loads((run / "overrides.json").read_text())
    if before != dict(settings):
        raise RunError(
            f"{run} holds a run with other settings: {before or 'the defaults'}, not {dict(settings)}",
            where=str(run),
            hint="choose another folder with --out, or delete this one",
        )


@contextlib.contextmanager
def _stores_in(folder: Path) -> Iterator[None]:
    """Sets the folder in which experiments find their stores by name."""
    before = os.environ.get("DIDACT_STORES")
    os.environ["DIDACT_STORES"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["DIDACT_STORES"]
        else:
            os.environ["DIDACT_STORES"] = before
