"""Fixtures for the tests of several distributions: commands in separate processes, and plugins for one test."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported: the other cores are other tests'
# where images of containers set this, every process that is started here would compile all of PyTorch anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, settings

from didact import hookimpl
from didact.plugins import registry
from didact_doctor.processes import begin as begin_command

sys.dont_write_bytecode = False

# nothing here is timed: the machine may be busy with other things
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

MOST_TESTERS = 4  # processes that test; each, with those that it starts, takes up to three GiB


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Folders are tested by one process more than there are cores; a file, or what ``-k`` chooses, by this one alone.

    The long tests wait for processes of their own for a third of their time.
    """
    if config.option.keyword or all(Path(name.partition("::")[0]).suffix == ".py" for name in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, MOST_TESTERS) if cores > 1 else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, files with long ones come first, so that none of them is left for the end."""
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in long)


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Started:
    """A ``didact`` command line in a process of its own, which is handled as one of `subprocess`.

    It is forked from a process that has imported everything, and so begins at once.
    """

    def __init__(self, words: Sequence[object], folder: Path, **where: Any) -> None:
        self.words = list(map(str, words))
        self.files = folder / "out", folder / "err"
        self.process = begin_command(self.words, output=self.files[0], errors=self.files[1], **where)
        self.pid = self.process.pid
        self.send_signal = self.process.signal

    @property
    def returncode(self) -> int | None:
        return self.process.code

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return "".join(file.read_text() for file in self.files if file.exists())

    def poll(self) -> int | None:
        return self.process.code

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        code = self.process.wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.words, timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for its end; what it printed, and what it printed to standard error."""
        self.wait(timeout)
        out, err = (file.read_text() if file.exists() else "" for file in self.files)
        return out, err

    def until(self, condition: Callable[[], object], seconds: float = 900) -> None:
        """Waits until something is so, which it is to bring about."""
        given_up = time.monotonic() + seconds
        while not condition():
            if self.poll() is not None:  # perhaps it brought it about just before its end
                assert condition(), self.said
                return
            assert time.monotonic() < given_up, self.said
            time.sleep(0.005)


@pytest.fixture
def begin(project, tmp_path_factory) -> Iterator[Callable[..., Started]]:
    """Starts a ``didact`` command in the project's folder; what is still running after the test is killed."""
    folder, started = tmp_path_factory.mktemp("said"), list[Started]()

    def start(*words: object) -> Started:
        place = folder / str(len(started))
        place.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project)
            started.append(Started(words, place))
        return started[-1]

    yield start
    for command in started:
        if command.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.killpg(command.pid, signal.SIGKILL)
        command.process.close()


@pytest.fixture
def didact(begin) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a ``didact`` command in the project's folder, to its end."""

    def run(*words: object, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        started = begin(*words)
        out, err = started.communicate(timeout=seconds)
        return subprocess.CompletedProcess(started.words, started.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def didact_in(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a ``didact`` command in a folder, to its end."""

    def run(folder: Path, *words: object, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            started = Started(words, tmp_path_factory.mktemp("said"), threads=1)
        try:
            out, err = started.communicate(timeout=seconds)
        finally:
            started.process.close()
        return subprocess.CompletedProcess(started.words, started.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def on_processes(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a ``didact`` command in a folder on several processes that share the work, to its end.

    They are connected as Slurm's are, without `torchrun`, whose processes import everything anew.
    """

    def run(folder: Path, processes: int, *words: object, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {
            "WORLD_SIZE": processes,
            "LOCAL_WORLD_SIZE": processes,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        started: list[Started] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for rank in range(processes):
                own = {name: str(value) for name, value in {**world, "RANK": rank, "LOCAL_RANK": rank}.items()}
                said = tmp_path_factory.mktemp("said")
                started.append(Started(words, said, environment=os.environ | own, threads=1))
        try:
            ended = [command.communicate(timeout=seconds) for command in started]
        finally:
            for command in started:
                command.process.close()
        code = next((command.returncode for command in started if command.returncode), 0)
        out, err = ("".join(texts) for texts in zip(*ended, strict=True))
        return subprocess.CompletedProcess(list(map(str, words)), code, out, err)

    return run


# ── Plugins for a test alone ──────────────────────────────────────────────────────────────────────────────────────────


def write_metadata(folder: Path, distribution: str, version: str, module: str, name: str, requires=()) -> None:
    """What an installer writes of a distribution with one plugin."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n")
    (info / "entry_points.txt").write_text(f"[didact]\n{name} = {module}\n")


class Site:
    """A folder on the path that holds what installers write of distributions: their metadata and entry points."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        folder.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(folder)

    def install(
        self,
        source: Path,
        module: str,
        name: str = "",
        distribution: str = "",
        version: str = "1.2",
        requires: Sequence[str] = ("didact>=0.1,<0.2",),
    ) -> str:
        """Makes a module in the folder ``source`` a plugin of its own distribution; returns the plugin's name."""
        name = name or module.split(".")[0].replace("_", "-")
        write_metadata(self.folder, distribution or name, version, module, name, requires)
        self.monkeypatch.syspath_prepend(source)
        registry.cache_clear()
        return name


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """An empty one; what it held is forgotten after the module's tests."""
    modules = set(sys.modules)
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = Site(tmp_path_factory.mktemp("site"), monkeypatch)
        yield made
        for name in set(sys.modules) - modules:
            path = getattr(sys.modules[name], "__file__", None) or ""
            if str(made.folder.parent) in path or "/broken/" in path:
                del sys.modules[name]
    registry.cache_clear()


@pytest.fixture(scope="session")
def write_plugin(tmp_path_factory) -> Callable[[str, str], Path]:
    """Writes a distribution of one module, given as text: ``toy_parts`` is the plugin ``toy`` of ``toy-parts`` 1.0."""

    def write(module: str, text: str) -> Path:
        folder = tmp_path_factory.mktemp("installed")
        (folder / f"{module}.py").write_text(text)
        write_metadata(folder, module.replace("_", "-"), "1.0", module, module.partition("_")[0], ["didact>=0.1,<0.2"])
        return folder

    return write


@pytest.fixture
def install(monkeypatch) -> Iterator[Callable[[Path], None]]:
    """Puts a folder that `write_plugin` wrote on the path, for this test and the processes that it starts."""
    modules = set[str]()

    def put(folder: Path) -> None:
        modules.update(path.stem for path in folder.glob("*.py"))
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        registry.cache_clear()

    yield put
    for module in modules:
        sys.modules.pop(module, None)
    registry.cache_clear()


TINY = Path(__file__).parent / "kit" / "tiny_parts.py"


@pytest.fixture(scope="module")
def tiny_everywhere(write_plugin) -> Iterator[None]:
    """As `tiny`, for all tests and fixtures of a module."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(write_plugin(TINY.stem, TINY.read_text()))
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        registry.cache_clear()
        yield
    sys.modules.pop(TINY.stem, None)
    registry.cache_clear()


@pytest.fixture
def tiny(write_plugin, install) -> None:
    """Installs the test doubles of didact-kit as the plugin ``tiny``: experiments of them can be resumed."""
    install(write_plugin(TINY.stem, TINY.read_text()))


class StopAfter:
    """Sends this process a signal after a step, as a scheduler would."""

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def step_finished(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="session")
def stop_after() -> Callable[[int], object]:
    """An observer that stops the run after so many steps."""
    return StopAfter
