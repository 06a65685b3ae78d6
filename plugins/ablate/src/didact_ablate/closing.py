"""Ends the record of a run whose process was killed."""

from __future__ import annotations

from pathlib import Path

from didact import RunInfo
from didact.record import RunFolder, RunRecord
from didact.record.observers import Observers, Recorder


def close(path: Path) -> bool:
    """Ends the record of a run whose process was killed, and notifies the observers that its experiment lists.

    The run keeps all of its data: `didact.run.resume` works as before.

    Returns:
        Whether the record was still open. False if a process is running the run, or if the run ended by itself.

    Raises:
        RunError: the folder contains no run, or the record cannot be written.
        PluginError: the plugin of one of the run's parts is missing.
    """
    record = RunRecord.open(path)
    if record.state != "killed" or record.events[-1]["event"] == "killed":
        return False
    folder = RunFolder(path)
    with folder.locked():
        experiment, step = folder.experiment(), record.step
        watching = Observers({}, experiment.observers)
        info = RunInfo(folder=path, experiment=experiment, data=record.data, step=step, environment=record.environment)
        watching.notify("run_started", run=info)
        for found in watching.unfit:
            watching.warn(found, step)
        Recorder(path).run_ended(outcome="killed", step=step)
        watching.notify("run_ended", outcome="killed", step=step)
        folder.write_readme("killed", step, folder.found(step))
    return True
