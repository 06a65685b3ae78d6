"""Reads a run's folder: the experiment, the progress and the results."""

from __future__ import annotations

import fcntl
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import attrs
import torch
from torch import Tensor

from didact.building import build_network
from didact.contracts.data import Source
from didact.contracts.network import Network
from didact.errors import DataError
from didact.experiment import Experiment, RunState, metrics_of
from didact.learner import Learner
from didact.loading import collate
from didact.machine.devices import autocast, choose_device, choose_precision
from didact.record import checkpoint
from didact.record.folder import RunFolder, read_lines, read_metrics
from didact.record.pretrained import load_learner
from didact.tensors import move

TAIL_BYTES = 16_384  # enough for the last lines of metrics
ENDS = ("stopped", "failed", "finished", "killed")

State = Literal["new", "running", "killed", "stopped", "failed", "finished"]


@attrs.frozen(kw_only=True)
class RunRecord:
    """The record of a run in its folder; the run may have ended, be running, or have been killed.

    Attributes:
        folder: the run's folder.
        data: the experiment as plain data.
    """

    folder: Path
    data: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens the record of the run in a folder; raises a `RunError` if there is none."""
        return cls(folder=folder, data=RunFolder.open(folder).experiment_data())

    @property
    def experiment(self) -> Experiment:
        """The run's experiment; requires the plugins of its parts."""
        return RunFolder(self.folder).experiment()

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps of the checkpoints."""
        return tuple(one.step for one in checkpoint.all_complete(RunFolder(self.folder).checkpoints))

    @functools.cached_property
    def own_experiment(self) -> Experiment:
        """The run's experiment with the assets in the run's folder, so that its network needs nothing else."""
        return RunFolder(self.folder).own_experiment()

    def learner(self, step: int | None = None) -> Learner:
        """Loads all that was trained: on the CPU, in evaluation mode. The data of the run are not needed.

        Args:
            step: the step of the checkpoint to load; None loads the newest.

        Raises:
            DidactError: the checkpoint does not exist or is damaged, or a part of the network cannot be built.
        """
        chosen = checkpoint.of_step(RunFolder(self.folder).checkpoints, step)
        checkpoint.verify(chosen)
        return load_learner(chosen, self.own_experiment)

    def network(self, which: Literal["student", "teacher"] = "student", *, step: int | None = None) -> Network:
        """Loads a trained network, an ordinary PyTorch module; see `learner`.

        ``which``: the ``student``, or the ``teacher`` that averages it; the student if the method has no teacher.
        """
        return self.learner(step).evaluated(which)

    def run_state(self, step: int | None = None, *, device: str = "cpu") -> RunState:
        """Loads the state of the run for any `Evaluation`; see `learner`. ``device``: ``auto``, ``cpu`` or ``cuda``."""
        chosen = self.checkpoints[-1] if step is None and self.checkpoints else step
        place, learner, experiment = choose_device(device), self.learner(chosen), self.own_experiment
        initial = functools.partial(build_network, experiment)
        precision = choose_precision(experiment.training.precision, place)
        return RunState(experiment, learner.to(place), initial, place, precision, chosen or 0, chosen == self.end)

    def features(
        self,
        files: Path | Iterable[Path | Tensor],
        *,
        network: Literal["student", "teacher"] = "student",
        step: int | None = None,
        pooled: bool = True,
        device: str = "cpu",
    ) -> Iterator[Tensor]:
        """Yields the features of each file: (D,) float32, or (T, D) of its positions unless ``pooled``; on the CPU.

        Args:
            files: a file, or several, as the source reads them (`Source.read`), or contents (*axes).
            network: the network that computes the features.
            step: see `learner`.
            pooled: whether to average over the positions.
            device: see `run_state`.

        Raises:
            DidactError: a file cannot be read, or does not fit the encoder.
        """
        state = self.run_state(step, device=device)
        source, encoder = state.experiment.source.whole(), state.experiment.of_view(0)[0]
        chosen = state.learner.evaluated(network)
        for file in [files] if isinstance(files, (str, Path)) else files:
            content = _content(file, source)
            with torch.no_grad(), autocast(state.device, state.precision):
                output = chosen(move(collate([content], encoder), state.device)).backbone_output
            values = output.positions_only(output.output)[0].float().cpu()  # (T, D)
            yield values.mean(0) if pooled else values

    @functools.cached_property
    def environment(self) -> Mapping[str, Any]:
        """The environment in which the run was last executed: versions, plugins, machine, fingerprints of the data."""
        return RunFolder(self.folder).environment()

    @functools.cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics of the logged steps, in order."""
        return read_metrics(self.folder)

    @functools.cached_property
    def events(self) -> list[dict[str, Any]]:
        """The events of the run, in order: starts, checkpoints, evaluations, warnings, ends."""
        return read_lines(self.folder / "events.jsonl")

    @property
    def step(self) -> int:
        """The last logged step; read from the end of the file, so that frequent reads are cheap."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return 0
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")[:-1]  # text after the last newline is partial
        whole = [line for line in lines if line.startswith('{"step": ')]
        return int(json.loads(whole[-1])["step"]) if whole else 0

    @property
    def steps(self) -> int:
        """The number of steps of the whole run."""
        return int(self.data["training"]["steps"])

    @property
    def end(self) -> int:
        """The step at which the run ended or will end: the last, or an earlier one if it finished early."""
        ends = [event["step"] for event in self.events if event["event"] == "finished"]
        return int(ends[-1]) if self.state == "finished" and ends else self.steps

    @functools.cached_property
    def state(self) -> State:
        """The state of the run; ``killed`` if the run did not end and no process is running it."""
        if self.held:
            return "running"
        ends = [event["event"] for event in self.events if event["event"] in ("started", *ENDS)]
        if not ends:
            return "new"
        last: State = "killed" if ends[-1] == "started" else ends[-1]
        return last

    @property
    def held(self) -> bool:
        """Whether a process of this machine is running the run."""
        lock = self.folder / ".lock"
        if not lock.exists():
            return False
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    @functools.cached_property
    def found(self) -> dict[str, float]:
        """The metrics of the experiment's evaluations after the end of training, as ``evaluation/metric``."""
        return metrics_of(RunFolder(self.folder).found(self.end))

    @property
    def evaluated(self) -> bool:
        """Whether every evaluation of the experiment has a result for the end of training."""
        return set(RunFolder(self.folder).found(self.end, final=True)) == set(self.data["evaluations"])


def _content(file: Path | Tensor, source: Source) -> Tensor:
    """Returns the content (*axes) of a file, or a content that was given; it has the axes of the source's samples."""
    try:
        content = file if isinstance(file, Tensor) else source.read(Path(file).read_bytes(), str(file))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}", hint="give the path of a file") from error
    axes, sizes = source.signal().axes, tuple(content.shape)
    if len(sizes) != len(axes) or any(axis not in (None, size) for axis, size in zip(axes, sizes, strict=True)):
        hint = "give contents as the source's samples have them; None stands for any size"
        raise DataError(f"a content has the axes {sizes}, and samples have {axes}", hint=hint)
    return content
