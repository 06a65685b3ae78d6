"""Tracks a run in Aim: its settings, metrics, results, images, audio and texts."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from didact import Observer, Report, RunInfo, hookimpl
from didact_aim.repository import (
    absolute,
    close_run,
    forget_after,
    one_at_a_time,
    open_repository,
    open_run,
    repository_exists,
    steps_tracked,
)

if TYPE_CHECKING:
    from aim.sdk.repo import Repo
    from aim.sdk.run import Run

RECORD = "aim.json"  # in the run's folder: names its Aim run, which a resumed run continues


@attrs.frozen(kw_only=True)
class Aim(Observer):
    """Tracks the run in an Aim repository while the run trains.

    Aim shows the experiment's fields under ``hparams`` (``run.hparams.training.optimizer.learning_rate < 1e-3`` selects
    runs), the environment, the run's folder and its outcome. ``train/loss`` is the metric ``loss`` with the context
    ``{"group": "train"}``; other groups are tracked in the same way. An evaluation's metrics, images, audio and texts
    have the context ``{"evaluation": NAME}``. The experiment's labels, such as the study, variant and seed of an
    ablation's run, are tracked under their own names. A resumed run continues the same Aim run, without the points
    after the step from which it resumes.

    Attributes:
        repository: the folder that holds ``.aim`` (created if it does not exist), or ``aim://HOST:PORT`` of an Aim
            server. A relative folder is relative to the directory in which the run started, even if the run resumes
            elsewhere.
        group: the name under which Aim lists the run, its "experiment"; None uses the experiment's own name.
        tags: tags to find the run by.
    """

    repository: str = "."
    group: str | None = None
    tags: tuple[str, ...] = ()

    def validate(self) -> None:
        self.require(bool(self.repository), "repository", "a folder or aim://HOST:PORT")
        self.require(self.group is None or bool(self.group), "group", "a name, or None")

    def build(self) -> AimTracker:
        return AimTracker(self)


class AimTracker:
    """Implements the lifecycle hooks of a run by tracking its data in Aim."""

    def __init__(self, spec: Aim) -> None:
        self.spec = spec
        self._repository: Repo | None = None
        self._run: Run | None = None

    @hookimpl
    def run_started(self, run: RunInfo) -> None:
        record = run.folder / RECORD
        known = _read(record)
        if _belongs_to_another(known, run.folder):
            del known["hash"]  # the folder is a copy: it gets its own Aim run, with the data logged so far
        # keeps the repository if the run resumes in another directory, unless the repository has moved
        place = known.get("repository", "")
        if not repository_exists(place):
            place = absolute(self.spec.repository)
        self._repository = open_repository(place)
        with one_at_a_time(self._repository.root_path):
            self._run = tracked = open_run(self._repository, known.get("hash"))
            partial = record.with_name(f".partial-{RECORD}")
            now = {"repository": place, "hash": tracked.hash, "folder": str(run.folder.resolve())}
            partial.write_text(json.dumps(now, indent=2) + "\n")
            partial.replace(record)  # atomic: a process killed here leaves the old or the new file
            tracked.name = run.folder.name
            tracked.experiment = self.spec.group or run.experiment.name
            for tag in self.spec.tags:
                if tag not in tracked.tags:
                    tracked.add_tag(tag)  # type: ignore[no-untyped-call]
        # not under "experiment": queries take run.experiment for the name set above
        tracked["hparams"] = _plain(run.data)
        tracked["environment"] = _plain(run.environment)
        tracked["folder"] = str(run.folder.resolve())
        tracked["outcome"] = "running"
        for label, value in run.experiment.labels.items():
            tracked[label] = value
        forget_after(tracked, run.step)
        if known:
            self._catch_up(run)

    @hookimpl
    def step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            metric, context = _place(name)
            self._tracked.track(float(value), name=metric, step=step, context=context)

    @hookimpl
    def evaluation_finished(self, step: int, name: str, report: Report) -> None:
        from aim.sdk.objects.audio import Audio
        from aim.sdk.objects.image import Image
        from aim.sdk.objects.text import Text
        from PIL.Image import open as opened

        context = {"evaluation": name}
        for metric, value in report.metrics.items():
            self._tracked.track(float(value), name=metric, step=step, context=context)
        for file, content in report.files.items():
            title, _, suffix = file.rpartition(".")
            caption = f"{name}: {title}, step {step:,}"
            if suffix == "png":
                shown: Any = Image(opened(io.BytesIO(content)), caption=caption)
            elif suffix == "wav":
                with wave.open(io.BytesIO(content)) as sound:
                    shown = Audio(content, format="wav", caption=caption, rate=sound.getframerate())
            elif suffix == "txt":
                shown = Text(content.decode().removesuffix("\n"))  # type: ignore[no-untyped-call]
            else:
                continue  # Aim has no other kinds
            self._tracked.track(shown, name=title, step=step, context=context)

    @hookimpl
    def run_ended(self, outcome: str, step: int) -> None:
        tracked = self._tracked
        tracked["outcome"] = outcome
        tracked["steps"] = step
        self._run = None
        assert self._repository is not None
        close_run(self._repository, tracked)

    def _catch_up(self, run: RunInfo) -> None:
        """Tracks the metrics that the run logged before it was resumed and that Aim lacks.

        A server receives tracked data through a queue; data that was queued when the process was killed never arrived.
        """
        from didact.record import RunRecord

        logged = [line for line in RunRecord.open(run.folder).metrics if line["step"] <= run.step]
        for name in {name: None for line in logged for name in line if name != "step"}:
            metric, context = _place(name)
            there = steps_tracked(self._tracked, metric, context)
            for line in logged:
                if name in line and line["step"] not in there:
                    self._tracked.track(float(line[name]), name=metric, step=int(line["step"]), context=context)

    @property
    def _tracked(self) -> Run:
        assert self._run is not None  # run_started runs first; if it fails, this observer is disabled
        return self._run


def _read(record: Path) -> dict[str, str]:
    """Reads ``aim.json``; empty if the file does not exist."""
    known: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    return known


def _belongs_to_another(known: Mapping[str, str], folder: Path) -> bool:
    """Whether the Aim run named in a folder belongs to the folder that it was copied from."""
    other = Path(known.get("folder", folder))
    return other.resolve() != folder.resolve() and _read(other / RECORD).get("hash") == known["hash"]


def _place(name: str) -> tuple[str, dict[str, str]]:
    """Splits a logged name into Aim's metric name and context: ``train/loss`` is ``loss`` in the group ``train``."""
    group, _, metric = name.rpartition("/")
    return metric, {"group": group} if group else {}


def _plain(data: Any) -> Any:
    """Converts data to the types that Aim stores: JSON types, and text for everything else."""
    return json.loads(json.dumps(data, default=str))
