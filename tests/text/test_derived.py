import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from didact import DataError
from didact_text import derived


def write_slowly(folder: Path, log: Path) -> None:
    with log.open("a") as file:
        file.write("made\n")
    (folder / "value").write_text("half")
    time.sleep(0.3)
    (folder / "value").write_text("whole")


def begin_and_stay(folder: Path, log: Path) -> None:
    def make(partial: Path) -> None:
        (partial / "value").write_text("half")
        log.write_text("made\n")
        time.sleep(600)

    derived.derive(folder, make)


def derive_in_process(folder: Path, log: Path) -> None:
    derived.derive(folder, lambda partial: write_slowly(partial, log))


def test_what_was_made_stays(tmp_path):
    folder = tmp_path / "derived" / "a-0"
    derived.derive(folder, lambda partial: (partial / "value").write_text("first"))
    derived.derive(folder, lambda partial: (partial / "value").write_text("second"))
    assert (folder / "value").read_text() == "first"


def test_of_two_processes_one_makes_it_and_the_other_waits(tmp_path):
    context = multiprocessing.get_context("fork")
    folder, log = tmp_path / "derived" / "a-0", tmp_path / "log"
    both = [context.Process(target=derive_in_process, args=(folder, log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert log.read_text() == "made\n"
    assert (folder / "value").read_text() == "whole"


def test_a_killed_process_leaves_nothing_that_counts(tmp_path):
    folder, log = tmp_path / "derived" / "a-0", tmp_path / "log"
    process = multiprocessing.get_context("fork").Process(target=begin_and_stay, args=(folder, log))
    process.start()
    while not log.exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(DataError, match="the thing does not exist yet"):
        derived.require(folder, "the thing")
    derive_in_process(folder, log)
    assert (folder / "value").read_text() == "whole"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    folder = tmp_path / "derived" / "a-0"

    def run_out(partial: Path) -> None:
        (partial / "value").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match="No space left on device") as caught:
        derived.derive(folder, run_out)
    assert "free disk space" in caught.value.hint
    assert [entry.suffix for entry in folder.parent.iterdir() if entry.is_dir()] == []
