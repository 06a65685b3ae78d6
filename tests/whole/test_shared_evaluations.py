"""Evaluations on several processes, started by torchrun: all take part, and the results are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from didact.machine.distributed import SharedError, World
from didact.record.folder import read_lines

PLUGIN = '''
from __future__ import annotations
from typing import Literal
import attrs
import torch
import torch.distributed as dist
from didact import DataError, Evaluation, Report, hookimpl
from didact_distill import LatentRegression
from didact_distill.regression import LatentRegressionModule


@attrs.frozen(kw_only=True)
class Counting(LatentRegression):
    """A regression that asks all processes something in every forward pass, in evaluations too."""

    def build(self, network, targets):
        module = super().build(network, targets)
        forward = module.forward

        def asking(*arguments):
            total = torch.ones(3)
            if dist.is_initialized():
                dist.all_reduce(total)
            assert total[0] in (1, 2, 4)
            return forward(*arguments)

        module.forward = asking
        return module


@attrs.frozen(kw_only=True)
class Failing(Evaluation):
    """An evaluation that fails on the second process alone.

    Attributes:
        how: where it fails, or that it ends before the others.
    """

    how: Literal["before", "between", "mistake", "early", "not"] = "not"

    def evaluate(self, state):
        second = state.world.rank == 1
        if second and self.how == "before":
            raise ZeroDivisionError("on the second process")
        if second and self.how == "mistake":
            raise DataError("a record is damaged", where="record 7", hint="restore it")
        ranks = state.world.all_gather(state.world.rank)
        if second and self.how == "between":
            raise ZeroDivisionError("on the second process")
        if second and self.how == "early":
            return Report(metrics={})
        if self.how != "not":
            state.world.barrier()
        return Report(metrics={"ranks": float(sum(ranks))})


@hookimpl
def didact_components():
    return {"failing": Failing}


@hookimpl
def didact_objectives():
    return {"counting": Counting}
'''

EXPERIMENT = """
import attrs
from tiny import experiment as tiny
from didact_evaluate import Probe, RepresentationMetrics, Visualizations
from didact_vision import Images
from shared_parts import Counting, Failing

images = Images(store="tiny", size=16)
experiment = attrs.evolve(
    tiny,
    objective=Counting(head=tiny.objective.head),
    evaluations={
        "health": RepresentationMetrics(samples=18),
        "probe": Probe(train=images, test=images, neighbours=3),
        "pictures": Visualizations(samples=2),
        "failing": Failing(),
    },
).evolve(**{
    "training.steps": 2, "training.evaluate_every": 1, "training.batch.amount": 8,
    "training.optimizer.learning_rate": 0.0,
    "backbone.dropout": 0.0, "backbone.attention_dropout": 0.0, "objective.head.noise": 0.0,
})
failing = attrs.evolve(
    experiment,
    evaluations={
        "first": Failing(how="before"), "second": Failing(how="between"), "third": Failing(how="early"),
        "health": RepresentationMetrics(samples=4),
    },
)
mistaken = attrs.evolve(experiment, evaluations={"failing": Failing(how="mistake")})
"""


@pytest.fixture
def launch(project, write_plugin, install):
    """Runs the experiment on some processes, in a folder of its own."""
    install(write_plugin("shared_parts", PLUGIN))
    (project / "shared.py").write_text(EXPERIMENT)

    def run(
        processes: int, out: str, *changes: str, command: str = "run", name: str = "experiment"
    ) -> subprocess.CompletedProcess[str]:
        several = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
        what = ["run", f"shared.py:{name}", "--out", out] if command == "run" else ["resume", out]
        words = [word for change in changes for word in ("--set", change)]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{project}{os.pathsep}{os.environ['PYTHONPATH']}"}
        return subprocess.run(
            [sys.executable, "-m", *(several if processes > 1 else []), "didact", *what, *words],
            cwd=project,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


def results(folder: Path) -> dict[str, dict[str, float]]:
    """The metrics of all evaluations, by name and step."""
    return {path.stem: json.loads(path.read_text())["metrics"] for path in sorted(folder.glob("evaluations/*.json"))}


def pictures(folder: Path) -> dict[str, bytes]:
    """The pictures of all evaluations."""
    return {path.name: path.read_bytes() for path in folder.glob("evaluations/pictures-00000002/*.png")}


pytestmark = pytest.mark.slow


def test_all_processes_share_the_work_of_an_evaluation_and_get_the_result_of_one(project, launch):
    """With an objective that uses a collective in evaluation mode, and the weights of step 0 on all of them."""
    done = launch(1, "one")
    assert done.returncode == 0, done.stderr
    one, drawn = results(project / "one"), pictures(project / "one")
    assert {"health-00000001", "health-00000002", "probe-00000002"} < set(one)
    assert {"knn", "linear_random", "linear_raw"} < set(one["probe-00000002"])
    assert {"prediction_std_samples", "student_token_rank", "teacher_rank"} < set(one["health-00000002"])
    assert {"inputs.png", "features.png", "reconstruction.png"} < set(drawn)
    for processes, strategy in ((2, "fsdp"), (4, "ddp")):
        name = f"{strategy}-{processes}"
        done = launch(processes, name, f"training.strategy={strategy}")
        assert done.returncode == 0, done.stderr
        found = results(project / name)
        assert found.keys() == one.keys()
        for evaluation, metrics in one.items():
            assert list(found[evaluation]) == list(metrics), evaluation  # in the same order
            if evaluation.startswith("failing"):
                assert found[evaluation] == {"ranks": sum(range(processes))}
                continue
            exact = evaluation.startswith("probe")  # predictions are computed in smaller batches
            assert found[evaluation] == (metrics if exact else pytest.approx(metrics, rel=2e-5, abs=1e-6)), evaluation
        assert pictures(project / name).keys() == drawn.keys()
        assert pictures(project / name) == drawn


def test_evaluations_that_fail_on_one_process_fail_on_all_and_the_run_goes_on(project, launch):
    since = time.monotonic()
    done = launch(2, "r", name="failing")
    assert done.returncode != 0
    assert time.monotonic() - since < 300
    assert "training is complete, but not evaluated: 'first', 'second', 'third' failed" in done.stderr
    warnings = [event for event in read_lines(project / "r" / "events.jsonl") if event["event"] == "warning"]
    for name, said in (
        ("first", "ZeroDivisionError: on the second process"),
        ("second", "ZeroDivisionError: on the second process"),
        ("third", "processes [1] ended early"),
    ):
        about = [event for event in warnings if f"'{name}'" in event["text"]]
        assert [event["step"] for event in about if said in event["text"]] == [1, 2]
        if name != "third":
            assert all("in evaluate" in event["details"] for event in about)
    assert "health-00000002" in results(project / "r")
    done = launch(2, "r", *(f"evaluations.{name}.how=not" for name in ("first", "second", "third")), command="resume")
    assert done.returncode == 0, done.stderr
    assert {results(project / "r")[f"{name}-00000002"]["ranks"] for name in ("first", "second", "third")} == {1}


def test_a_mistake_that_one_process_finds_is_reported_and_ends_the_run(project, launch):
    done = launch(2, "r", name="mistaken")
    assert done.returncode != 0
    assert "a record is damaged" in done.stderr
    assert "restore it" in done.stderr
    assert "lost the others" not in done.stderr


def test_one_process_reports_its_own_error_with_its_traceback():
    with pytest.raises(SharedError) as caught, World().sharing_errors():
        raise KeyError("name")
    assert (caught.value.text, caught.value.cause) == ("KeyError: 'name'", None)
    assert "test_one_process_reports" in caught.value.details
    with World().sharing_errors():
        pass
