"""A study in Aim: read by other processes and by Aim's server, also after runs were killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from didact.record import RunRecord
from didact_ablate import find_runs

READER = """
import json, sys
from aim import Repo
repository = Repo.from_path(".")
def points(run):
    return {f"{m.context.to_dict().get('group') or m.context.to_dict()['evaluation']}/{m.name}": m.data.items_list()[0]
            for m in run.metrics()}
print(json.dumps([
    {"hash": run.hash, "name": run.name, "active": run.active, "group": run.experiment, "points": points(run),
     **{key: run.get(key) for key in ("study", "variant", "seed", "outcome", "folder")}}
    for run in repository.iter_runs()
]))
print(json.dumps([
    [s.run.get("study"), s.name, s.context.to_dict()]
    for kind in (repository.query_images, repository.query_texts)
    for collection in kind("True", report_mode=0).iter_runs() for s in collection
]))
"""


def read(project: Path) -> tuple[list[dict], list[list]]:
    """What Aim holds, as another process finds it: runs, then images and texts."""
    done = subprocess.run([sys.executable, "-c", READER], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(line) for line in done.stdout.splitlines()[-2:])


def tracked(project: Path) -> None:
    """Has the study's runs tracked, and long enough to be killed."""
    text = (project / "study.py").read_text()
    text = text.replace("    evaluations={", "    observers=(Aim(),),\n    evaluations={")
    text = text.replace("from didact_ablate import", "from didact_aim import Aim\nfrom didact_ablate import")
    (project / "study.py").write_text(text.replace("(1, 2, 4)", "(1, 2)").replace("steps=60", "steps=200"))


def holder_of(folder: Path) -> int | None:
    """The process that is running a run, which has its lock open."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            if any(os.readlink(link) == str(folder / ".lock") for link in (entry / "fd").iterdir()):
                return int(entry.name)
    return None


def kill_one(runs: Path) -> bool:
    """Kills a run that is under way, and thus in Aim, if there is one."""
    for run in find_runs(runs):
        if 20 <= run.step < 150 and (holder := holder_of(run.folder)) is not None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(holder, signal.SIGKILL)
                return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_study_is_in_aim_also_after_a_run_was_killed(project, begin, didact):
    tracked(project)
    process = begin("run", "study.py", "--jobs", "2")
    process.until(lambda: kill_one(project / "runs"))
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 1
    assert said.count("failed: its process was killed by SIGKILL") == 1
    runs, _ = read(project)
    outcomes = sorted(run["outcome"] for run in runs if run["variant"])
    assert outcomes == ["finished"] * 5 + ["killed"]
    assert not any(run["active"] for run in runs)
    (killed,) = (run for run in runs if run["outcome"] == "killed")

    done = didact("run", "study.py", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    runs, shown = read(project)
    members = {(run["variant"], run["seed"]): run for run in runs if run["variant"]}
    assert members.keys() == {(variant, seed) for variant in ("k=2", "k=1", "shallow") for seed in (0, 1)}
    assert len(runs) == len(members) + 1  # the study's own; the killed run went on in its Aim run
    assert killed["hash"] in {run["hash"] for run in members.values()}
    for run in members.values():
        assert (run["study"], run["outcome"], run["active"], run["group"]) == ("toys", "finished", False, "toys")
        logged = [int(line["step"]) for line in RunRecord.open(Path(run["folder"])).metrics]
        assert run["points"]["train/loss"] == logged
        assert run["points"]["judge/score"] == [200]
    (own,) = (run for run in runs if not run["variant"])
    assert set(own["points"]) == {"comparison/k=2", "comparison/k=1", "comparison/shallow"}
    for name in ("effects", "curves", "table"):
        assert ["toys", name, {"evaluation": "comparison"}] in shown
    found = didact(
        "compare", "aim:run.study == 'toys' and run.seed < 1", "--metric", "judge/score", "--format", "values"
    )
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == 1 + 3
    wrong = didact("compare", "aim:run.", "--metric", "judge/score")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: "), wrong.stderr


@pytest.mark.slow
def test_the_browser_opens_and_ends_what_was_killed(project, begin, didact):
    tracked(project)
    process = begin("run", "study.py:base", "--out", "alone", "--set", "training.steps=100000")
    process.until((project / "alone" / "metrics.jsonl").exists)
    process.kill()
    process.wait()
    known = json.loads((project / "alone" / "aim.json").read_text())["hash"]
    browser = begin("ui", "--port", "0")
    try:
        browser.until(lambda: browser.files[0].exists() and browser.files[0].read_text().count("\n") >= 2)
        first, second = browser.files[0].read_text().splitlines(keepends=True)[:2]
        assert first == "1 run was killed; `didact resume` resumes them\n"
        address = re.match(r"(http://127.0.0.1:\d+) shows", second).group(1)
        activity = json.loads(_get(f"{address}/api/projects/activity", browser))
        assert (activity["num_runs"], activity["num_active_runs"]) == (1, 0)
        assert b"<title>Aim</title>" in _get(f"{address}/", browser)
        info = json.loads(_get(f"{address}/api/runs/{known}/info", browser))
        assert info["props"]["end_time"]
        assert info["params"]["outcome"] == "killed"
        taken = didact("ui", "--port", address.rpartition(":")[2])
        assert taken.returncode == 1
        assert "cannot be listened on" in taken.stderr
        unknown = didact("ui", "--port", "0", "--study", "toys")  # this run is of none
        assert unknown.returncode == 1
        assert "no run of a study 'toys'" in unknown.stderr
        assert "--study" in didact("ui", "--metric", "judge/score").stderr
    finally:
        browser.terminate()
        assert browser.wait(60) == 0
    assert RunRecord.open(project / "alone").state == "killed"


def _get(address: str, browser, seconds: float = 240) -> bytes:
    """What the server answers, once it does."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.read()
        except OSError:
            assert browser.poll() is None
            assert time.monotonic() < until
            time.sleep(0.5)


def test_what_cannot_be_opened_is_told(project, didact):
    nothing = didact("ui")
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("error: there is no Aim repository in .")
