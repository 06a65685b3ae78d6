"""Comparing runs from the command line, and reporting the differences between two runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from didact import DidactError
from didact.cli import cli
from didact.record import RunRecord
from didact_ablate import RunFinder
from didact_ablate.selecting import fields_of, variant_names


def record(folder: Path, score: float, *, name: str = "toy", seed: int = 0, tags=(), state: str = "finished", **fields):
    """A run's folder as a run leaves it, with whatever it may have found."""
    folder.mkdir(parents=True)
    data = {
        "name": name,
        "targets": {"k": 2, "feature": "ffn"},
        "training": {"steps": 20, "seed": seed, "optimizer": {"learning_rate": 1e-3}, "num_workers": seed},
        "evaluations": {"probe": {"spec": "toy/probe"}},
        "observers": [{"spec": "toy/tracker", "tags": list(tags)}],
        "labels": {},
    }
    for field, value in fields.items():
        *path, last = field.split("__")
        place = data
        for part in path:
            place = place[part]
        place[last] = value
    (folder / "experiment.json").write_text(json.dumps(data))
    lines = [
        {"step": step, "train/loss": 1 / step, "time/step_seconds": 0.5, "memory/peak_gib": 0.25}
        for step in (1, 10, 20)
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "evaluations").mkdir()
    found = {"step": 20, "evaluation": "probe", "spec": {"spec": "toy/probe"}, "final": True}
    found["metrics"] = {"linear": score}
    (folder / "evaluations" / "probe-00000020.json").write_text(json.dumps(found))
    times = ("2026-01-01T00:00:00.000+00:00", "2026-01-01T00:01:00.000+00:00")
    ends = zip(("started", state), (0, 20), times, strict=True)
    events = [{"event": event, "step": step, "time": time} for event, step, time in ends]
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    environment = {"device": "x86_64 CPU", "torch": "2.14", "plugins": {"toy": "toy 1"}, "data": {"source": "abc"}}
    (folder / "environment.json").write_text(json.dumps(environment | {"cores": 2}))
    return RunRecord.open(folder)


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """Runs of three settings under three seeds, in no study."""
    monkeypatch.chdir(tmp_path)
    for seed, noise in enumerate((0.0, 0.3, -0.2)):
        record(tmp_path / f"runs/toy/a{seed}", 60 + seed + noise, seed=seed, tags=("baseline",))
        record(tmp_path / f"runs/toy/b{seed}", 70 + seed - noise, seed=seed, targets__k=4)
        record(tmp_path / f"runs/other/c{seed}", 50 + seed, seed=seed, name="other", targets__k=1, tags=("poor",))
    return tmp_path


@pytest.fixture
def compare(capsys) -> Callable[..., str]:
    """Runs ``didact compare`` in this process; what it said."""

    def run(*words: object) -> str:
        cli.main(["compare", *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    return run


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_runs_of_no_study_are_grouped_by_what_differs(runs, compare):
    found = rows(compare("runs/toy", "--format", "csv"))
    assert [(row["variant"], row["seeds"]) for row in found] == [("k=4", "3"), ("k=2", "3")]
    assert [row["verdict"] for row in found] == ["better", "base"]
    assert float(found[0]["difference"]) == pytest.approx(10 - 0.2 / 3)
    assert float(found[0]["training_seconds"]) == pytest.approx(10.0)
    assert float(found[0]["seconds"]) == 60.0
    assert float(found[0]["peak_gib"]) == 0.25


@pytest.mark.parametrize(
    ("references", "count"),
    [
        (["runs"], 9),
        (["toy"], 6),
        (["other"], 3),
        (["tag:baseline"], 3),
        (["tag:baseline", "tag:poor"], 6),
        (["tag:poor", "other"], 3),
        (["runs/toy/a0", "runs/toy/b0"], 2),
    ],
)
def test_runs_are_found_by_folder_name_and_tag(runs, compare, references, count):
    assert len(rows(compare(*references, "--format", "values"))) == count


def test_runs_are_found_by_a_trackers_query(runs, compare, monkeypatch):

    from didact import plugins

    asked = []

    class Tracked(RunFinder):
        def find(self, query, place):
            asked.append((query, place))
            return [runs / "runs/toy/a0", runs / "runs/toy/b0", runs / "gone"]

    plugin = plugins.Plugin(
        name="tracker",
        distribution="t",
        version="1",
        module="t",
        components={"didact_components": {"runs": Tracked}},
    )
    monkeypatch.setattr("didact_ablate.selecting.registry", lambda: plugins.Registry(plugins=(plugin,)))
    assert len(rows(compare("tracker:run.x == 1", "--repo", "there", "--format", "values"))) == 2
    assert asked == [("run.x == 1", "there")]


def test_another_base_metric_and_direction_may_be_asked_for(runs, compare):
    found = rows(compare("toy", "--base", "k=4", "--metric", "train/loss", "--lower-is-better", "--format", "csv"))
    assert {row["variant"]: row["base"] for row in found} == {"k=4": "true", "k=2": "false"}
    assert [float(row["mean"]) for row in found] == pytest.approx([0.05, 0.05])
    text = compare("toy", "--metric", "probe/linear", "--also", "train/loss", "--format", "markdown")
    assert "| k=4 | 71.0" in text
    assert "train/loss" in text.splitlines()[2]


def test_the_terminal_shows_table_caption_and_cost(runs, compare):
    text = compare("toy")
    for words in ("k=4", "better", "paired t-test", "cost of a run", "0.25 GiB"):
        assert words in text


def test_tables_and_figures_go_where_they_are_asked_to(runs, compare):
    compare("toy", "--out", "figures", "--format", "markdown")
    names = {path.name for path in (runs / "figures").iterdir()}
    assert names == {"table.md", "table.csv", "values.csv", "effects.png", "effects.svg", "curves.png", "curves.svg"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "no run is found by 'nothing'"),
        (["toyy"], "did you mean toy?"),
        (["tag:none"], "no run is found by 'tag:none'"),
        (["toy", "--base", "k=9"], "there is no run of the base 'k=9'"),
        (["runs/toy/a0", "runs/copy"], "two runs of"),
    ],
)
def test_what_cannot_be_compared_is_told(runs, compare, words, said):
    shutil.copytree(runs / "runs/toy/a0", runs / "runs/copy")
    with pytest.raises(DidactError) as caught:
        compare(*words)
    assert said in str(caught.value)


def test_a_metric_must_be_said_where_there_are_several(runs, compare):
    for file in (runs / "runs/toy").rglob("probe-00000020.json"):
        file.write_text(file.read_text().replace('"metrics": {', '"metrics": {"knn": 1.0, '))
    with pytest.raises(DidactError, match="which metric decides") as caught:
        compare("toy")
    assert "probe/knn, probe/linear" in caught.value.hint


def test_a_run_that_did_not_finish_has_no_value_and_says_why(runs, compare):
    record(runs / "runs/toy/b3", 99.0, seed=3, targets__k=4, state="stopped")
    (bad,) = (row for row in rows(compare("toy", "--format", "values")) if row["seed"] == "3")
    assert (bad["probe/linear"], bad["trouble"]) == ("", "stopped")


def test_runs_that_differ_in_much_are_called_by_their_experiment(runs):
    many = {f"targets__x{number}": number for number in range(6)}
    records = [record(runs / "one", 1.0), record(runs / "two", 1.0, name="deep", **many)]
    assert set(variant_names(records).values()) == {"toy", "deep"}


def test_fields_are_told_with_their_place():
    data = {"a": {"b": [1, 2]}, "c": [{"d": None}], "training": {"seed": 1, "steps": 2}, "labels": {"x": 1}}
    assert dict(fields_of(data)) == {
        "a.b": "(1, 2)",
        "c.0.d": "none",
        "training.seed": "1",
        "training.steps": "2",
        "labels.x": "1",
    }
    assert dict(fields_of(data, method=True)) == {"a.b": "(1, 2)", "c.0.d": "none", "training.steps": "2"}


# ── The difference of two runs ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def diff(capsys) -> Callable[..., str]:
    """Runs ``didact diff`` in this process; what it said."""

    def run(*words: object) -> str:
        cli.main(["diff", *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_a_difference_is_told_section_by_section(runs, diff):
    other = runs / "runs/toy/b1"
    environment = json.loads((other / "environment.json").read_text())
    environment |= {"torch": "2.13", "plugins": {"toy": "toy 2"}, "data": {"source": "xyz"}}
    (other / "environment.json").write_text(json.dumps(environment))
    lines = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    lines[1]["train/loss"] = 0.7
    (other / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    said = diff("runs/toy/a0", other).splitlines()
    sections = {line for line in said if line.endswith(":")}
    assert sections >= {"what they train:", "data:", "plugins' versions:", "environment:", "curves:", "results:"}
    for line in (
        "  targets.k: 2 → 4",
        "  training.seed: 0 → 1",
        "  source: abc → xyz",
        "  toy: toy 1 → toy 2",
        "  torch: 2.14 → 2.13",
        "  train/loss: apart from step 10 on; at step 20 0.05 → 0.05",
        "  probe/linear: 60 → 70.7",
    ):
        assert line in said


def test_nothing_is_told_of_two_runs_that_are_the_same(runs, diff):
    said = diff("runs/toy/a0", "runs/toy/a0")
    for section in ("what they train", "data", "plugins' versions", "environment", "curves", "results"):
        assert f"{section}: the same" in said


def test_a_folder_without_a_run_is_told(runs, diff):
    with pytest.raises(DidactError, match="there is no run in"):
        diff("runs/toy/a0", "runs")
