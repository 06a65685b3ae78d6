"""Studies: completed runs are not repeated, faults affect only their own run, and kills change no result."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from didact.record import RunRecord
from didact.record.folder import read_metrics
from didact_ablate import find_runs
from didact_ablate.records import cost_of

pytestmark = pytest.mark.xdist_group("study")  # one of them is run once for all

COMMAND = ("run", "study.py", "--jobs", "2")
VARIANTS = ("k=2", "k=1", "k=4", "shallow")


def table(folder: Path) -> str:
    """The table of a study, without what it cost."""
    return (folder / "comparison" / "table.md").read_text().partition("## Cost")[0]


def values(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "comparison" / "values.csv").open(newline="") as file:
        return [tuple(row[:-1]) for row in csv.reader(file)]


def checkpoints(folder: Path) -> dict[str, int]:
    """When the weights of each run's last checkpoint were written; an evaluation's metrics are added beside them."""
    return {
        path.parents[3].name: path.stat().st_mtime_ns
        for path in folder.rglob("learner/*.safetensors")
        if path.parents[1].name == "step-00000060"
    }


@pytest.fixture(scope="module")
def whole(toy, study_text, tmp_path_factory) -> Path:
    """A study that nobody disturbed, two jobs at a time; the folder in which it was run."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "study.py").write_text(study_text)
    environment = {**os.environ, "PYTHONPATH": str(toy)}
    command = [sys.executable, "-m", "didact", *COMMAND]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder


def test_a_study_ends_in_its_table_and_figures(whole):
    said = (whole / "said.txt").read_text()
    assert "4 variants × 2 seeds = 8 runs; 0 done, 0 to go on with, 8 new; 2 at a time" in said
    for variant in VARIANTS:
        assert f"{variant}, seed 1: judge/score" in said
    assert "paired by seed" in said
    study = whole / "runs" / "toys"
    assert {path.name for path in (study / "comparison").iterdir()} == {
        *("table.md", "table.csv", "values.csv"),
        *(f"{name}.{suffix}" for name in ("effects", "curves") for suffix in ("png", "svg")),
    }
    assert (study / "study.py").read_text() == (whole / "study.py").read_text()
    assert {row[0] for row in values(study)[1:]} == set(VARIANTS)


def test_every_run_carries_its_study_variant_and_seed(whole):
    found = find_runs(whole / "runs" / "toys")
    labels = {(run.data["labels"]["study"], run.data["labels"]["variant"], run.data["labels"]["seed"]) for run in found}
    assert labels == {("toys", variant, seed) for variant in VARIANTS for seed in (0, 1)}
    assert {run.data["training"]["seed"] for run in found} == {0, 1}
    assert all(run.state == "finished" and run.evaluated for run in found)


def test_variants_of_a_seed_take_the_same_samples_to_other_weights(whole):
    losses = {
        (run.data["labels"]["variant"], run.data["labels"]["seed"]): read_metrics(run.folder)[0]["train/loss"]
        for run in find_runs(whole / "runs" / "toys")
    }
    assert len(set(losses.values())) == len(losses)


def test_a_run_by_itself_gives_what_it_gave_in_the_study(whole, project):
    from didact import run
    from didact.experiment_file import load

    study, _ = load("study.py")
    row = next(row for row in study.rows() if row.name == "k=4")
    alone = run.start(study.member(row, 1), project / "alone")
    assert RunRecord.open(alone.folder).found == RunRecord.open(whole / "runs/toys/runs/k=4-seed-1").found


def test_every_run_says_what_it_cost(whole):
    for run in find_runs(whole / "runs" / "toys"):
        cost = cost_of(run)
        assert 0 < cost.training_seconds < cost.seconds
        assert cost.gpu_hours == 0
        assert 0.05 < cost.peak_gib < 50
        assert run.environment["threads"] == 1
        assert run.environment["processes"] == 1


@pytest.fixture
def copied(whole, project, didact):
    """The project with the finished study in it."""
    shutil.copytree(whole / "runs", project / "runs")
    return project


def test_what_is_done_is_not_done_again(copied, didact):
    before, said = checkpoints(copied / "runs"), table(copied / "runs/toys")
    again = didact("run", "study.py")
    assert again.returncode == 0, again.stderr
    assert "8 done, 0 to go on with, 0 new" in again.stdout
    assert checkpoints(copied / "runs") == before
    assert table(copied / "runs/toys") == said


def test_a_new_probe_is_asked_of_runs_that_are_done(copied, didact):
    before = checkpoints(copied / "runs")
    witness = copied / "witness.txt"
    probe = f'evaluations={{"judge": Judge(), "other": Judge(power=1, witness="{witness}")}}'
    text = (copied / "study.py").read_text().replace('evaluations={"judge": Judge()}', probe)
    (copied / "study.py").write_text(text.replace('also=("train/loss",)', 'also=("other/score",)'))
    done = didact(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 done, 8 to go on with, 0 new" in done.stdout
    assert checkpoints(copied / "runs") == before  # nobody trained
    assert sorted(witness.read_text().split()) == sorted(2 * VARIANTS)
    events = (copied / "runs/toys/runs/k=1-seed-0/events.jsonl").read_text().splitlines()
    told = [(event["event"], event.get("name")) for event in map(json.loads, events)]
    assert told[-3:] == [("started", None), ("evaluation", "other"), ("finished", None)]
    assert "other/score" in table(copied / "runs/toys")
    assert "8 done" in didact("run", "study.py").stdout


def test_a_control_is_asked_of_the_runs_that_there_are_and_kept_with_the_study(copied, didact):
    text = (copied / "study.py").read_text()
    (copied / "study.py").write_text(text.replace('also=("train/loss",)', 'control="train/loss"'))
    done = didact(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 done, 0 to go on with, 0 new" in done.stdout
    study = copied / "runs/toys"
    assert "ahead of train/loss" in table(study)
    with (study / "comparison" / "table.csv").open(newline="") as file:
        ahead = {row["variant"]: float(row["ahead mean"]) for row in csv.DictReader(file)}
    for variant in VARIANTS:
        records = [RunRecord.open(study / "runs" / f"{variant}-seed-{seed}") for seed in (0, 1)]
        gains = [record.found["judge/score"] - record.metrics[-1]["train/loss"] for record in records]
        assert ahead[variant] == pytest.approx(sum(gains) / 2)
    (copied / "study.py").unlink()
    assert "ahead of train/loss" in didact("compare", "toys").stdout


def test_a_new_variant_and_a_new_seed_leave_the_others_alone(copied, didact):
    """And a variant that is only called something else goes on with the runs that it has."""
    before = checkpoints(copied / "runs")
    text = (copied / "study.py").read_text().replace("(1, 2, 4)", "(1, 2, 3)").replace("seeds=(0, 1)", "seeds=(1, 2)")
    (copied / "study.py").write_text(text.replace('variants={"shallow"', 'variants={"thin"'))
    done = didact(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 variants × 2 seeds = 8 runs; 2 done, 1 to go on with, 5 new" in done.stdout
    assert before.items() <= checkpoints(copied / "runs").items()
    assert {row[0] for row in values(copied / "runs/toys")[1:]} == {"k=1", "k=2", "k=3", "thin"}


def test_another_base_makes_other_runs_and_keeps_those_that_were(copied, didact):
    before = checkpoints(copied / "runs")
    done = didact(*COMMAND, "--set", "base.training.optimizer.learning_rate=0.02", "--set", "seeds=[0]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 variants × 1 seeds = 4 runs; 0 done, 0 to go on with, 4 new" in done.stdout
    after = checkpoints(copied / "runs")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 4
    assert len(values(copied / "runs/toys")) == 1 + 4  # those of before are no part of the table


def test_a_variant_that_fails_is_told_and_the_rest_goes_on(project, didact):
    text = (project / "study.py").read_text()
    text = text.replace('{"judge": Judge()}', '{"judge": Judge(), "fails": Fails(depth=3)}')
    (project / "study.py").write_text(text.replace("steps=60", "steps=4").replace("(1, 2, 4)", "(1, 2)"))
    done = didact(*COMMAND)
    assert done.returncode == 1
    assert done.stdout.count("shallow, seed") >= 2
    assert "shallow, seed 0 failed: this one cannot be judged" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    rows = values(project / "runs/toys")[1:]
    assert {row[0] for row in rows if row[2]} == {"k=2", "k=1"}
    assert {row[4] for row in rows if not row[2]} == {"failed: this one cannot be judged"}
    assert "| shallow | none | 0 of 2 |" in table(project / "runs/toys")


def test_a_study_is_run_by_one_process_at_a_time(copied, didact):
    import fcntl

    with (copied / "runs/toys/.study-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = didact("run", "study.py")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: another process is running this study")


def test_smoke_tries_every_variant_and_keeps_nothing(project, didact):
    done = didact("run", "study.py", "--smoke")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.endswith(": fits")] == [
        f"{name}: fits" for name in VARIANTS
    ]
    assert not (project / "runs").exists()


def test_observers_are_told_of_every_run_and_of_the_comparison(project, didact):
    text = (project / "study.py").read_text().replace("steps=60", "steps=2").replace("seeds=(0, 1)", "seeds=(0, 1, 2)")
    text = text.replace("    evaluations={", f'    observers=(Notes(path="{project}/notes.txt"),),\n    evaluations={{')
    (project / "study.py").write_text(text.replace("vary={", "variants={}, vary={").replace('    variants={"sh', "#"))
    done = didact(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (project / "notes.txt").read_text().splitlines()
    assert lines[-1] == "{'study': 'toys'} comparison ['curves.png', 'effects.png', 'table.txt']"
    assert len([line for line in lines if "judge" in line]) == 9


# ── Interruptions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def slow(project: Path, steps: int) -> None:
    """Has the study's runs take so many steps, in which something can happen."""
    (project / "study.py").write_text((project / "study.py").read_text().replace("steps=60", f"steps={steps}"))


def checkpointed(study: Path) -> int:
    """How many runs of a study have a checkpoint."""
    return sum('"checkpoint"' in file.read_text() for file in study.glob("runs/*/events.jsonl"))


@pytest.mark.slow
def test_ctrl_c_stops_all_runs_with_a_checkpoint_and_the_same_command_goes_on(project, begin):
    slow(project, 100_000)
    process = begin(*COMMAND)
    process.until(lambda: checkpointed(project / "runs" / "toys") >= 2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "stopped; the same command resumes it: didact run study.py" in said
    begun = find_runs(project / "runs")
    assert {run.state for run in begun} == {"stopped"}
    assert not any(run.held for run in begun)


def descendants(process: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    found, pending = [], [process]
    while pending:
        parent = pending.pop()
        with contextlib.suppress(OSError):
            for tasks in Path(f"/proc/{parent}/task").iterdir():
                children = [int(child) for child in (tasks / "children").read_text().split()]
                found += children
                pending += children
    return found


def events(study: Path) -> int:
    """How much has happened in the runs of a study."""
    return sum(len(file.read_text().splitlines()) for file in study.glob("runs/*/events.jsonl"))


def leads_a_session(process: int) -> bool:
    try:
        return os.getsid(process) == process
    except ProcessLookupError:
        return False


def let_happen(study: Path, count: int, process) -> None:
    """Waits until so many events more are recorded, or the process has come to its end."""
    enough = events(study) + count
    while events(study) < enough and process.poll() is None:
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_study_that_is_killed_ten_times_ends_with_exactly_the_same_table(whole, project, begin, didact):
    """By SIGKILL at random moments: the study alone, or with all its runs, or one of its runs."""
    chance, kills = random.Random(0), 0
    study = project / "runs" / "toys"
    victims = ("study", "everything", "a run")
    while kills < 10:
        process = begin(*COMMAND)
        let_happen(study, chance.randrange(1, 4), process)
        time.sleep(chance.random() * 0.1)
        if process.poll() is not None:  # it came to its end first: its table is compared, and another study killed
            assert values(study) == values(whole / "runs" / "toys")
            shutil.rmtree(study)
            continue
        victim = victims[kills % len(victims)]
        jobs = descendants(process.pid)
        if victim == "a run":
            for pid in [pid for pid in jobs if leads_a_session(pid)][:1]:  # as each run does
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        process.kill()
        if victim == "everything":
            for pid in jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()
        kills += 1
    last = didact(*COMMAND)
    assert last.returncode == 0, last.stdout + last.stderr
    assert table(study) == table(whole / "runs" / "toys")
    assert values(study) == values(whole / "runs" / "toys")
