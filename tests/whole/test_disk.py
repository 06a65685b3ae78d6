"""A full disk: one error, no partial files, and the run resumes when there is space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from didact import RunError, SpecError, cli, hookimpl, run
from didact.experiment_file import load_experiment
from didact.record.checkpoint import all_complete
from didact_doctor import Doctor


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Writes until nothing more fits."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk never filled")


@pytest.mark.parametrize("log_every", [1000, 1])
def test_a_disk_that_fills_ends_the_run_with_one_message(
    project, small_disk, assert_equal_runs, monkeypatch, capsys, log_every
):
    folder = small_disk / "r"

    fills = hookimpl(lambda self, step, folder: fill(small_disk) if step == 3 else None)
    monkeypatch.setattr("didact.cli.progress.Progress.checkpoint_written", fills, raising=False)
    settings = f"--set=training.log_every={log_every}"
    monkeypatch.setattr(sys, "argv", ["didact", "run", "tiny.py", "--out", str(folder), settings])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    output = capsys.readouterr()
    assert stopped.value.code == 1
    assert output.err.count("error: ") == 1
    assert "cannot be written: the disk is full" in output.err  # a checkpoint, or the record where it is written often
    assert "free some space" in output.err
    assert "Traceback" not in output.err
    found = [checkpoint.step for checkpoint in all_complete(folder / "checkpoints")]
    assert found in ([3], [3, 6])  # step 6 was being written while the disk filled
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [f"step-{step:08d}" for step in found]
    for name in ("metrics.jsonl", "events.jsonl"):
        assert all(json.loads(line) for line in (folder / name).read_text().splitlines())

    (small_disk / "ballast").unlink()
    assert run.resume(folder).outcome == "finished"
    experiment, _ = load_experiment("tiny.py")
    run.start(experiment.evolve(**{"training.log_every": log_every}), project / "whole")
    assert_equal_runs(project / "whole", folder)


def test_a_disk_that_is_full_from_the_start_is_told(project, small_disk):
    fill(small_disk)
    experiment, path = load_experiment("tiny.py")
    with pytest.raises(SpecError, match=r"the run needs .* of disk .* 0 B are free"):
        run.start(attrs.evolve(experiment, observers=(Doctor(),)), small_disk / "r", source_file=path)
    with pytest.raises(RunError, match="the run's folder cannot be written: the disk is full"):
        run.start(experiment, small_disk / "r", source_file=path)
