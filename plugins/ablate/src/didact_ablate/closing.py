"""Ending the record of a run whose process was killed."""

from __future__ import annotations

from pathlib import Path

from didact import RunInfo
from didact.record import RunFolder, RunRecord
from didact.record.observers import Observers
from didact.record.recorder import Recorder


def close(path: Path) -> bool:
    """Ends the record of a run whose process was killed, and tells the observers that its experiment lists.

    Nothing of the run is lost: `didact.run.resume` works as before.

    Returns:
        whether there was anything to end: not where a process is running it, or it ended by itself.

    Raises:
        RunError: there is no run in the folder, or it cannot be written.
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
