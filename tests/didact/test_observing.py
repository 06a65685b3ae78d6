"""Observers: the record of a run on disk, and runs that continue when an observer fails."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from didact import Report, RunError, hookimpl
from didact.machine.disk import append_line
from didact.record.folder import read_lines, read_metrics
from didact.record.observers import Observers, Recorder


def info(step: int) -> Any:
    """What the recorder reads of a run."""
    return SimpleNamespace(
        step=step, data={"evaluations": {"probe": {"spec": "evaluate/probe", "limit": 5}}, "training": {"steps": 8}}
    )


def test_a_line_that_was_cut_off_hides_none_that_follow(tmp_path):
    """As a power cut leaves it."""
    path = tmp_path / "events.jsonl"
    append_line(path, '{"event": "started"}')
    with path.open("a") as file:
        file.write('{"event": "check')
    append_line(path, '{"event": "started", "again": true}')
    append_line(path, '{"event": "finished"}')
    assert [line["event"] for line in read_lines(path)] == ["started", "started", "finished"]


@pytest.fixture
def full_disk(monkeypatch):
    """Has every write to a file refused, from the call on."""

    def fill() -> None:
        real = Path.open

        def refusing(path, mode="r", *arguments, **named):
            return real(path, mode, *arguments, **named) if "r" in mode else open("/dev/full", mode)

        monkeypatch.setattr(Path, "open", refusing)

    return fill


def test_an_evaluation_leaves_its_metrics_and_its_files(tmp_path):
    files = {"inputs.png": b"one", "layers/last.png": b"two", "words.txt": "the [[cat → Hündin]] sat\n".encode()}
    report = Report(metrics={"probe/accuracy": 0.5}, files=files)
    Recorder(tmp_path).evaluation_finished(step=12, name="speech/pictures", report=report, final=True)
    folder = tmp_path / "evaluations" / "speech-pictures-00000012"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert kept == {name.replace("/", "-"): content for name, content in files.items()}
    assert json.loads((tmp_path / "evaluations" / "speech-pictures-00000012.json").read_text()) == {
        "step": 12,
        "evaluation": "speech/pictures",
        "spec": None,
        "final": True,
        "metrics": {"probe/accuracy": 0.5},
    }


def test_an_evaluation_without_files_leaves_no_folder(tmp_path):
    Recorder(tmp_path).evaluation_finished(
        step=3, name="probe", report=Report(metrics={"probe/accuracy": 0.5}), final=True
    )
    assert [path.name for path in (tmp_path / "evaluations").iterdir()] == ["probe-00000003.json"]


def test_resuming_forgets_the_steps_after_the_restored_one(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.run_started(info(0))
    for step in range(1, 6):
        recorder.step_finished(step, {"train/loss": 1.0 / step})
    with recorder.metrics.open("a") as file:
        file.write('{"step": 6, "train/lo')  # the machine went down here
    recorder.run_started(info(3))
    recorder.step_finished(4, {"train/loss": 0.25})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4]
    events = [json.loads(line) for line in recorder.events.read_text().splitlines()]
    assert [(event["event"], event["step"]) for event in events] == [("started", 0), ("started", 3)]
    assert events[0]["time"] <= events[1]["time"]


def test_resuming_forgets_what_was_found_after_the_restored_step(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.run_started(info(0))
    for step in (2, 4):
        report = Report(metrics={"accuracy": 0.5}, files={"inputs.png": b"one"})
        recorder.evaluation_finished(step, "probe", report, final=False)
    recorder.run_started(info(3))
    assert sorted(path.name for path in recorder.evaluations.iterdir()) == ["probe-00000002", "probe-00000002.json"]
    found = json.loads((recorder.evaluations / "probe-00000002.json").read_text())
    assert found["spec"] == {"spec": "evaluate/probe", "limit": 5}


class Failing:
    @hookimpl
    def step_finished(self, step: int) -> None:
        if step == 2:
            raise ZeroDivisionError("observers fail")


class Witness:
    def __init__(self) -> None:
        self.told: list[int] = []

    @hookimpl
    def step_finished(self, step: int) -> None:
        self.told.append(step)


@pytest.mark.parametrize("first", ["failing", "witness"])
def test_an_observer_that_raises_is_switched_off_while_others_go_on(first):
    failing, witness = Failing(), Witness()
    both = {"failing": failing, "witness": witness}
    observers = Observers(both if first == "failing" else dict(reversed(both.items())))
    for step in range(1, 5):
        observers.notify("step_finished", step=step, metrics={})
    assert witness.told == [1, 2, 3, 4]
    (warning,) = observers.warnings
    assert "'failing' failed in step_finished and is switched off" in warning
    assert "observers fail" in warning


class Wrapping:
    @hookimpl(wrapper=True)
    def step_finished(self, step: int):
        return (yield)


def test_a_wrapper_of_a_lifecycle_hook_is_refused_while_others_are_called():
    """pluggy has wrappers around hooks; a failure in one could not be kept from the run."""
    witness = Witness()
    observers = Observers({"wrapping": Wrapping(), "witness": witness})
    observers.notify("step_finished", step=1, metrics={})
    assert witness.told == [1]
    assert observers.unfit == [
        "the observer 'wrapping' cannot be used and is left out: TypeError: step_finished is a wrapper, "
        "which lifecycle hooks do not have"
    ]


def test_a_record_that_cannot_be_written_ends_the_run_after_all_were_told(tmp_path, full_disk):
    witness = Witness()
    observers = Observers({"recorder": Recorder(tmp_path), "witness": witness})
    observers.notify("step_finished", step=1, metrics={"train/loss": 1.0})
    full_disk()
    with pytest.raises(RunError, match=r"metrics.jsonl cannot be written: the disk is full"):
        observers.notify("step_finished", step=2, metrics={"train/loss": 1.0})
    assert witness.told == [1, 2]
    assert observers.warnings == []


def test_what_fails_in_a_thread_is_a_warning_and_no_traceback(capsys):
    observers = Observers({})
    before = threading.excepthook
    with observers.watching_threads():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    (warning,) = observers.warnings
    assert "ZeroDivisionError: division by zero" in warning
    assert capsys.readouterr().err == ""
    assert threading.excepthook is before
