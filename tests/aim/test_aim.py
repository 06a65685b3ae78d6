"""The data that Aim stores about a run, read by another process."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from didact import DataError, Report, SpecError
from didact.record.observers import Observers
from didact.serialization import from_data, to_data
from didact_aim import Aim
from didact_aim import repository as repositories
from didact_evaluate.media import png, wav

DATA = {
    "name": "tracked",
    "training": {"optimizer": {"learning_rate": 1e-3, "betas": [0.9, 0.98]}, "max_grad_norm": None},
    "observers": [],
}

SOUND = wav(torch.tensor([0.0, 0.5, -1.0, 0.25]), 8_000)

KILLED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from didact import Report
from didact_aim import Aim
folder, repository = Path(sys.argv[1]), sys.argv[2]
tracker = Aim(repository=repository, tags=("short",)).build()
tracker.run_started(SimpleNamespace(
    folder=folder, experiment=SimpleNamespace(name="tracked", labels={}), data={}, environment={}, step=0))
for step in (1, 10, 15, 20, 500):
    tracker.step_finished(step, {"train/loss": 100.0 + step, "time/step_seconds": 0.5})
tracker.step_finished(500, {"train/late": 1.0})
tracker.evaluation_finished(500, "probe", Report(metrics={"linear": 99.0}, files={"words.txt": b"gone"}))
os._exit(9)  # killed: nothing is closed, the lock is left
"""

SIDE_BY_SIDE = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import aim
from aim.sdk.run import Run
from didact import Report
from didact.record.observers import Observers
from didact_aim import Aim
base, repository, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
children = []
for number in range(count):
    if child := os.fork():
        children.append(child)
        continue
    folder = base / f"run-{number}"
    folder.mkdir(parents=True)
    told = Observers({"aim": Aim(repository=repository).build()})
    experiment = SimpleNamespace(name="many", labels={"seed": number})
    told.notify("run_started", run=SimpleNamespace(
        folder=folder, experiment=experiment, data={}, environment={}, step=0))
    for step in range(1, 6):
        told.notify("step_finished", step=step, metrics={"train/loss": number + 1 / step})
    told.notify("run_ended", outcome="finished", step=5)
    for warning in told.warnings:
        print(warning, file=sys.stderr, flush=True)
    os._exit(len(told.warnings))
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""

READER = """
import json, sys
from aim import Repo
repository = Repo.from_path(sys.argv[1])
def found(query):
    return [run.run.hash for run in repository.query_runs(query, report_mode=0).iter_runs()]
runs = list(repository.iter_runs())
print(json.dumps({
    "by learning rate": found("run.hparams.training.optimizer.learning_rate < 1e-2"),
    "by another learning rate": found("run.hparams.training.optimizer.learning_rate > 1e-2"),
    "by group": found("run.experiment == 'tracked'"),
    "by tag": found("'short' in run.tags"),
    "by label": found("run.study == 'layers' and run.seed == 3"),
    "texts": [
        (s.name, s.context.to_dict(), s.values.sparse_list()[0], [text.data for text in s.values.sparse_list()[1]])
        for collection in repository.query_texts("True", report_mode=0).iter_runs() for s in collection
    ],
    "runs": [
        {"hash": run.hash, "name": run.name, "tags": run.tags, "active": run.active,
         **{key: run.get(key) for key in ("hparams", "environment", "folder", "outcome", "steps", "variant", "seed")},
         "end": run.end_time,
         "keys": list(run[...])}
        for run in runs
    ],
    "sounds": [
        {"name": s.name, "context": s.context.to_dict(), "caption": sound.json()["caption"], "step": step,
         "file": sound.get().read().hex()}
        for collection in repository.query_audios("True", report_mode=0).iter_runs() for s in collection
        for step, sound in zip(*s.values.sparse_list())
    ],
    "metrics": [
        {"name": m.name, "context": m.context.to_dict(),
         "points": list(zip(m.data.items_list()[0], m.data.items_list()[1][0]))}
        for run in runs for m in run.metrics()
    ],
    "images": [
        {"name": s.name, "context": s.context.to_dict(), "caption": image.caption,
         "size": image.to_pil_image().size, "corner": image.to_pil_image().getpixel((0, 0))}
        for collection in repository.query_images("True", report_mode=0).iter_runs() for s in collection
        for image in s.values.sparse_list()[1]
    ],
}))
"""


def _info(folder: Path, step: int = 0) -> SimpleNamespace:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.json").write_text("{}")
    return SimpleNamespace(
        folder=folder,
        experiment=SimpleNamespace(name="tracked", labels={"study": "layers", "variant": "k=1", "seed": 3}),
        data=DATA,
        environment={"plugins": {"speech/conv-waveform": "0.1.0"}, "folder": Path("/data")},
        step=step,
    )


def _python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A run that was killed after step 20 and resumed from step 10, as another process finds it just after its end."""
    base = tmp_path_factory.mktemp("aim")
    folder = base / "runs" / "tracked-1"
    folder.mkdir(parents=True)
    assert _python(KILLED, folder, base / "repo").returncode == 9
    before = json.loads((folder / "aim.json").read_text())
    os.environ["DIDACT_TEST_SECRET"] = "hunter2"
    observers = Observers({"aim": Aim(repository=str(base / "repo"), tags=("short",)).build()})
    picture = torch.zeros(8, 9, 3, dtype=torch.uint8)
    picture[0, 0] = torch.tensor([255, 0, 7])
    metrics = {"linear": 45.7, "knn": float("nan")}
    files = {"masks.png": png(picture), "words.txt": b"a [b] c\n", "sound-1.wav": SOUND, "more.bin": b"more"}
    report = Report(metrics=metrics, files=files)
    observers.notify("run_started", run=_info(folder, step=10))
    for step in (20, 30):
        observers.notify(
            "step_finished", step=step, metrics={"train/loss": 1 / step, "time/step_seconds": 0.25, "collapse/std": 1.0}
        )
    observers.notify("evaluation_finished", step=30, name="probe", report=report)
    observers.notify("checkpoint_written", step=30, folder="somewhere")
    observers.notify("run_ended", outcome="finished", step=30)
    del os.environ["DIDACT_TEST_SECRET"]
    assert observers.warnings == []
    read = _python(READER, base / "repo")
    assert read.returncode == 0, read.stderr
    return {
        **json.loads(read.stdout.splitlines()[-1]),
        "before": before,
        "after": json.loads((folder / "aim.json").read_text()),
        "base": base,
        "folder": folder,
    }


def test_queries_of_another_process_find_the_run_at_once(seen):
    run = [seen["after"]["hash"]]
    assert seen["by learning rate"] == seen["by group"] == seen["by tag"] == seen["by label"] == run
    assert seen["by another learning rate"] == []


def test_the_run_says_what_it_was(seen):
    (run,) = seen["runs"]
    assert run["hparams"] == DATA
    assert run["environment"]["plugins"] == {"speech/conv-waveform": "0.1.0"}
    assert run["folder"] == str(seen["folder"])
    assert run["name"] == "tracked-1"
    assert run["tags"] == ["short"]
    assert (run["outcome"], run["steps"], run["active"]) == ("finished", 30, False)


def test_a_resumed_run_goes_on_in_the_same_aim_run(seen):
    assert seen["before"] == seen["after"]
    assert len(seen["runs"]) == 1


def test_points_after_the_restored_step_are_replaced(seen):
    """Those of steps that are logged again, of steps that are not, and of steps that the run never reaches again."""
    (loss,) = (metric for metric in seen["metrics"] if metric["name"] == "loss")
    assert loss["context"] == {"group": "train"}
    assert loss["points"] == [[1, 101], [10, 110], [20, 1 / 20], [30, 1 / 30]]


def test_texts_arrive_at_their_step(seen):
    assert seen["texts"] == [["words", {"evaluation": "probe"}, [30], ["a [b] c"]]]


def test_labels_are_parameters_of_the_run(seen):
    (run,) = seen["runs"]
    assert (run["variant"], run["seed"]) == ("k=1", 3)


def test_metrics_are_few_and_named_by_group(seen):
    names = {(metric["name"], *metric["context"].items()) for metric in seen["metrics"]}
    assert names == {
        ("loss", ("group", "train")),
        ("step_seconds", ("group", "time")),
        ("std", ("group", "collapse")),
        ("linear", ("evaluation", "probe")),
        ("knn", ("evaluation", "probe")),
    }


def test_an_evaluations_metrics_stand_at_its_step(seen):
    (linear,) = (metric for metric in seen["metrics"] if metric["name"] == "linear")
    assert linear["points"] == [[30, 45.7]]


def test_pictures_arrive_as_they_were_drawn(seen):
    (image,) = seen["images"]
    assert image["name"] == "masks"
    assert image["context"] == {"evaluation": "probe"}
    assert image["caption"] == "probe: masks, step 30"
    assert image["size"] == [9, 8]
    assert image["corner"] == [255, 0, 7]


def test_sounds_arrive_as_wav_files_at_their_rate(seen):
    (sound,) = seen["sounds"]
    assert (sound["name"], sound["step"], sound["context"]) == ("sound-1", 30, {"evaluation": "probe"})
    assert sound["caption"] == "probe: sound-1, step 30"
    assert bytes.fromhex(sound["file"]) == SOUND
    with wave.open(io.BytesIO(bytes.fromhex(sound["file"]))) as file:
        assert (file.getframerate(), file.getnframes()) == (8_000, 4)


def test_environment_variables_stay_out(seen):
    labels = {"study", "variant", "seed"}
    assert set(seen["runs"][0]["keys"]) == {"hparams", "environment", "folder", "outcome", "steps"} | labels
    written = (path for path in (seen["base"] / "repo").rglob("*") if path.is_file())
    assert not any(b"hunter2" in path.read_bytes() for path in written)


def test_runs_written_side_by_side_into_a_new_repository_are_all_there(tmp_path):
    written = _python(SIDE_BY_SIDE, tmp_path / "runs", tmp_path / "repo", 12)
    assert written.returncode == 0, written.stderr
    read = _python(READER, tmp_path / "repo")
    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout.splitlines()[-1])
    assert sorted(run["seed"] for run in found["runs"]) == list(range(12))
    assert {(run["outcome"], run["active"]) for run in found["runs"]} == {("finished", False)}
    losses = {metric["points"][-1][1] for metric in found["metrics"]}
    assert losses == {number + 0.2 for number in range(12)}


def test_a_run_that_was_deleted_in_aim_starts_a_new_one(tmp_path):
    repository = repositories.open_repository(str(tmp_path))
    run = repositories.open_run(repository, "0123456789abcdef01234567")
    assert run.hash != "0123456789abcdef01234567"
    run.close()


def test_a_copy_of_a_run_gets_an_aim_run_of_its_own_and_one_that_moved_keeps_its(tmp_path):
    def began(folder: Path) -> str:
        Aim(repository=str(tmp_path / "repo")).build().run_started(_info(folder))
        return json.loads((folder / "aim.json").read_text())["hash"]

    first = began(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    copied = began(tmp_path / "copy")
    assert copied != first
    assert began(tmp_path / "copy") == copied
    (tmp_path / "first").rename(tmp_path / "moved")
    assert began(tmp_path / "moved") == first


def test_a_relative_repository_is_found_again_from_another_directory(tmp_path, monkeypatch):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    info = _info(tmp_path / "run")
    hashes = []
    for place in ("here", "there"):
        monkeypatch.chdir(tmp_path / place)
        tracker = Aim().build()
        tracker.run_started(info)
        hashes.append(tracker._tracked.hash)
        tracker.run_ended("stopped", 1)
    assert hashes[0] == hashes[1]
    assert (tmp_path / "here" / ".aim").is_dir()
    assert not (tmp_path / "there" / ".aim").exists()


def test_a_repository_that_moved_is_looked_for_where_the_experiment_says(tmp_path):
    info = _info(tmp_path / "run")
    (info.folder / "aim.json").write_text(json.dumps({"repository": str(tmp_path / "gone"), "hash": "0" * 24}))
    tracker = Aim(repository=str(tmp_path / "new")).build()
    tracker.run_started(info)
    tracker.run_ended("finished", 1)
    assert json.loads((info.folder / "aim.json").read_text())["repository"] == str(tmp_path / "new")
    assert not (tmp_path / "gone").exists()


def test_a_repository_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be opened") as caught:
        repositories.open_repository(str(tmp_path / "file" / "repo"))
    assert "Aim.repository" in caught.value.where


def test_an_index_that_another_process_writes_to_is_waited_for(monkeypatch):
    from aimrocks.errors import RocksIOError

    monkeypatch.setattr(repositories.time, "sleep", lambda seconds: None)
    tries = []

    class Busy:
        def _get_index_tree(self, name, timeout):
            tries.append(name)
            raise RocksIOError("lock")

    with pytest.raises(RocksIOError):
        repositories.index(Busy(), "0" * 24)
    assert len(tries) == repositories.ATTEMPTS


def test_importing_didact_aim_does_not_import_aim():
    script = "import sys, didact_aim.plugin; sys.exit('aim' in sys.modules or 'PIL' in sys.modules)"
    assert _python(script).returncode == 0


@pytest.mark.parametrize(("field", "value"), [("repository", ""), ("group", "")])
def test_empty_names_are_refused(field, value):
    with pytest.raises(SpecError, match=f"Aim.{field} must be a"):
        Aim(**{field: value})


def test_it_turns_into_data_and_back():
    spec = Aim(repository="aim://tracking:53800", tags=("a", "b"))
    assert from_data(json.loads(json.dumps(to_data(spec))), Aim) == spec
