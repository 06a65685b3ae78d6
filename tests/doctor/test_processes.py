"""Processes forked from a server: their environment, their answers, and their end with the parent."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from didact import DataError
from didact_doctor.processes import EndedError, Process, begin

WORKS = """
import os, signal, sys, threading, time
import torch
from didact import DataError

def look(channel):
    print("said")
    print("complained", file=sys.stderr)
    channel.send({
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "leads": os.getsid(0) == os.getpid(),
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "server": os.getppid(),
        "gpu": torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork(),
        "ready": [name for name in ("didact.run", "didact_vision.plugin") if name in sys.modules],
    })

def add(channel, more):
    while True:
        channel.send(channel.recv() + more)

def fail(channel):
    raise DataError("no such thing", where="here", hint="look there")

def leave(channel, code):
    sys.exit(code)

def hold(channel):
    import multiprocessing
    held = multiprocessing.get_context("forkserver").Semaphore()
    channel.send(held._semlock.name)
    time.sleep(600)

def stay(channel, file=None):
    if file is not None:
        signal.signal(signal.SIGTERM, lambda *_: (open(file, "w").write("asked to end"), os._exit(0)))
    channel.send(os.getpid())
    time.sleep(600)
"""

ASKS = """
import contextlib, json, os
import works
from didact_doctor.processes import Process
if __name__ == "__main__":
    with Process(works.look) as process:
        found = process.receive()
        server = f"/proc/{found['server']}"
        opened = []
        for file in os.listdir(f"{server}/fd"):
            with contextlib.suppress(OSError):  # it may be closing what it had open for this process
                opened.append(os.readlink(f"{server}/fd/{file}"))
        print(json.dumps([found["ready"], found["gpu"], len(os.listdir(f"{server}/task")), opened]))
"""

STARTER = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
import works
from pathlib import Path
from didact_doctor.processes import Process
if __name__ == "__main__":
    patient = Process(works.stay, sys.argv[2], when_left=signal.SIGTERM)
    others = [Process(works.stay) for _ in range(2)]
    print(*(process.receive() for process in (patient, *others)), flush=True)
    time.sleep(600)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


@pytest.fixture
def works(tmp_path, monkeypatch):
    """A module with work to do, which other processes find."""
    (tmp_path / "works.py").write_text(WORKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("works")
    del sys.modules["works"]


def wait_until(condition: Callable[[], bool]) -> None:
    given_up = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < given_up
        time.sleep(0.01)


def alive(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_it_works_in_the_place_of_its_starter(works, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOMETHING", "here")
    with Process(works.look, output=Path("log"), threads=3) as process:
        found = process.receive()
        assert process.wait() == 0
    assert found["directory"] == str(tmp_path)
    assert found["environment"]["SOMETHING"] == "here"
    assert found["environment"].get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")
    assert found["threads"] == 3
    assert found["leads"]
    assert (found["blocked"], found["interrupt"]) == (set(), True)
    assert Path("log").read_text() == "said\ncomplained\n"
    with Process(works.look, environment={"ALL": "there is"}, output=Path("out"), errors=Path("err")) as process:
        found = process.receive()
        process.join()
    assert found["environment"] == {"ALL": "there is"}
    assert found["threads"] == torch.get_num_threads()
    assert (Path("out").read_text(), Path("err").read_text()) == ("said\n", "complained\n")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for threads in /proc")
def test_the_server_has_imported_everything_and_computes_nothing(works, tmp_path):
    """Of a process of its own, for the server of this one may have been asked for something else before."""
    (tmp_path / "asks.py").write_text(ASKS)
    done = subprocess.run([sys.executable, "asks.py"], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    ready, gpu, threads, opened = json.loads(done.stdout.splitlines()[-1])
    assert ready == ["didact.run", "didact_vision.plugin"]
    assert not gpu
    assert threads == 1
    assert not [file for file in opened if "nvidia" in file]


def test_it_is_asked_and_answers(works):
    with Process(works.add, 3) as process:
        for number in range(3):
            process.send(number)
            assert process.receive() == number + 3
        assert process.alive
    assert process.code == -signal.SIGKILL


def test_a_mistake_that_a_user_can_mend_is_raised_where_the_answer_is_awaited(works):
    with Process(works.fail) as process, pytest.raises(DataError) as caught:
        process.receive()
    assert (caught.value.what, caught.value.where, caught.value.hint) == ("no such thing", "here", "look there")


def test_an_end_without_an_answer_is_told_with_its_code(works):
    with Process(works.leave, 7) as process, pytest.raises(EndedError) as caught:
        process.receive()
    assert caught.value.code == 7
    with Process(works.stay) as process:
        process.receive()
        process.signal(signal.SIGKILL)
        with pytest.raises(EndedError) as caught:
            process.receive()
        process.signal(signal.SIGKILL)  # there is nobody any more
    assert caught.value.code == -signal.SIGKILL


def test_a_command_line_exits_as_it_does_in_a_shell(tmp_path):
    for words, code, file, said in (
        (["--version"], 0, "out", "didact "),
        (["run", "nowhere.py"], 1, "err", "error: there is no experiment file"),
        (["run", "--no-such-option"], 2, "err", "No such option"),
    ):
        for name in ("out", "err"):
            (tmp_path / name).write_text("")
        process = begin(words, output=tmp_path / "out", errors=tmp_path / "err")
        assert process.wait() == code
        assert said in (tmp_path / file).read_text()


def test_what_a_killed_process_shared_is_cleaned_up_without_a_word(works, tmp_path):
    script = "import works; from didact_doctor.processes import Process\n"
    script += "with Process(works.hold) as process:\n    print(process.receive())\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not Path(f"/dev/shm/sem.{done.stdout.strip().removeprefix('/')}").exists()
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("killed", ["starter", "server"])
def test_nobody_stays_behind(works, tmp_path, killed):
    """When the starter is killed, or the server, all its processes end, and the server too."""
    (tmp_path / "starter.py").write_text(STARTER)
    command = [sys.executable, str(tmp_path / "starter.py"), str(tmp_path), str(tmp_path / "asked")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        started = [int(word) for word in starter.stdout.readline().split()]
        assert len(started) == 3
        (server,) = {int(Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[1]) for p in started}
        os.kill(starter.pid if killed == "starter" else server, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, [*started, server])))
        starter.kill()
    assert (tmp_path / "asked").read_text() == "asked to end"
