"""Damaged checkpoints: a warning names them, the previous one is used, and the curve stays the same."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from didact import RunError, run
from didact.experiment_file import load_experiment
from didact.record.checkpoint import DamageError, read
from didact.record.folder import read_metrics

SHARD = "shard-00001-model-00001-of-00001.safetensors"
FILES = (f"learner/{SHARD}", f"optimizer/{SHARD}", "checkpoint.json")


def flip_a_bit(path: Path, place: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_zeros(path: Path) -> None:
    """What a machine that went down may leave of a file that it had not yet written through."""
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES: tuple[Callable[[Path], None], ...] = (flip_a_bit, cut_short, empty, fill_with_zeros, Path.unlink)


@pytest.fixture(scope="module")
def runs(stores, experiment_text, tmp_path_factory, stop_after) -> Path:
    """A run left alone, ``whole``, and one stopped after step 7 with the checkpoints 6 and 7, ``stopped``."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.py").write_text(experiment_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIDACT_STORES", str(stores))
        experiment, _ = load_experiment(str(folder / "tiny.py"))
        run.start(experiment, folder / "whole")
        run.start(experiment, folder / "stopped", observers={"stopper": stop_after(7)})
    return folder


@pytest.fixture
def stopped(runs, project) -> Path:
    """A copy of the stopped run."""
    shutil.copytree(runs / "stopped", project / "r")
    assert [path.name for path in checkpoints(project / "r")] == ["step-00000006", "step-00000007"]
    return project / "r"


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").iterdir())


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(stopped, runs, assert_equal_runs, file, damage):
    damage(stopped / "checkpoints" / "step-00000007" / file)
    result = run.resume(stopped)
    assert result.outcome == "finished"
    (warning,) = result.warnings
    assert "the checkpoint step-00000007 is damaged" in warning
    assert file in warning
    assert "renamed to damaged-step-00000007, and the run resumes from step 6" in warning
    events = [json.loads(line) for line in (stopped / "events.jsonl").read_text().splitlines()]
    assert ("warning", 6, warning) in [(event["event"], event["step"], event.get("text")) for event in events]
    assert_equal_runs(runs / "whole", stopped)
    assert [path.name for path in checkpoints(stopped)] == ["damaged-step-00000007", "step-00000006", "step-00000008"]


def test_a_flipped_bit_in_any_byte_of_an_index_is_found(stopped):
    index = stopped / "checkpoints" / "step-00000007" / "checkpoint.json"
    intact, kept = index.read_bytes(), read(index.parent)
    for place in random.Random(0).sample(range(len(intact)), 300):
        flip_a_bit(index, place)
        try:
            found = read(index.parent)
        except DamageError:
            pass
        else:  # a flip may hit a space, or the name of the digest alone; what is read then is what was written
            assert found == kept
        index.write_bytes(intact)


def test_where_no_checkpoint_is_whole_nothing_is_trained(stopped):
    for path in checkpoints(stopped):
        flip_a_bit(path / FILES[0])
    before = read_metrics(stopped)
    with pytest.raises(RunError, match="no checkpoint of this run is whole") as caught:
        run.resume(stopped)
    assert "step-00000007" in caught.value.where
    assert "1 older ones are damaged too" in caught.value.what
    assert [path.name for path in checkpoints(stopped)] == ["step-00000006", "step-00000007"]
    assert read_metrics(stopped) == before


def test_damage_is_told_on_the_terminal_once(stopped, didact):
    flip_a_bit(stopped / "checkpoints" / "step-00000007" / FILES[1])
    result = didact("resume", stopped)
    assert result.returncode == 0, result.stderr
    told = f"warning: the checkpoint step-00000007 is damaged: {FILES[1]} is not what was written"
    assert result.stderr.startswith(told)
    assert (result.stdout + result.stderr).count("is damaged") == 1
