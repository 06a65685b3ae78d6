"""Studies of tiny experiments, whose components are in a plugin that other processes find too."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

PLUGIN = """
from __future__ import annotations
import os
from pathlib import Path
from typing import Any
import attrs
import torch
from didact import Evaluation, Observer, Report, hookimpl
from didact_kit import tiny


@attrs.frozen(kw_only=True)
class Judge(Evaluation):
    '''A number that follows from the weights.

    Attributes:
        power: of the weights.
        witness: a file that gets a line for each evaluation.
    '''

    power: int = 2
    witness: str | None = None

    def evaluate(self, state):
        if self.witness is not None:
            with Path(self.witness).open("a") as file:
                file.write(f"{state.experiment.labels.get('variant')}\\n")
        weights = torch.cat([value.flatten() for value in state.student().parameters()]).double()
        return Report(metrics={"score": float(weights.abs().pow(self.power).mean() * 100)})


@attrs.frozen(kw_only=True)
class Fails(Evaluation):
    '''Fails at some depths.

    Attributes:
        depth: at which it fails.
    '''

    depth: int = 3

    def evaluate(self, state):
        from didact import DataError

        if len(state.student().backbone.blocks) == self.depth:
            raise DataError("this one cannot be judged", where="the test", hint="nothing")
        return Report(metrics={"fine": 1.0})


@attrs.frozen(kw_only=True)
class Notes(Observer):
    '''Writes the evaluations of a run into a file.

    Attributes:
        path: of the file.
    '''

    path: str

    def build(self):
        return Notebook(Path(self.path))


class Notebook:
    def __init__(self, path):
        self.path = path

    @hookimpl
    def run_started(self, run):
        self.labels = dict(run.experiment.labels)

    @hookimpl
    def evaluation_finished(self, step, name, report):
        with self.path.open("a") as file:
            file.write(f"{self.labels} {name} {sorted(report.files)}\\n")


@hookimpl
def didact_feature_encoders():
    return {"encoder": tiny.TinyEncoder}


@hookimpl
def didact_backbones():
    return {"backbone": tiny.TinyBackbone}


@hookimpl
def didact_maskers():
    return {"masker": tiny.TinyMasker}


@hookimpl
def didact_components():
    return {"source": tiny.TinySource, "judge": Judge, "fails": Fails, "notes": Notes}
"""

STUDY = """
from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_ablate import Ablation
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from toy_parts import Fails, Judge, Notes, tiny

base = Experiment(
    name="toy",
    source=tiny.TinySource(uneven=True),
    encoder=tiny.TinyEncoder(),
    masker=tiny.TinyMasker(masks=2),
    backbone=tiny.TinyBackbone(depth=4),
    targets=TopKTargets(k=2, teacher=EMATeacher(start=0.9, end=0.99)),
    objective=LatentRegression(),
    training=Training(
        steps=60,
        batch=BatchSize.samples(4),
        optimizer=AdamW(learning_rate=1e-2),
        schedule=Cosine(warmup_steps=2),
        precision="float32",
        num_workers=0,
        log_every=2,
        checkpoint_every=5,
    ),
    evaluations={"judge": Judge()},
)

study = Ablation(
    name="toys",
    base=base,
    vary={"targets.k": (1, 2, 4)},
    variants={"shallow": {"backbone": tiny.TinyBackbone(depth=3)}},
    seeds=(0, 1),
    metric="judge/score",
    also=("train/loss",),
)
"""


@pytest.fixture(scope="session")
def study_text() -> str:
    """The study file's content."""
    return STUDY


@pytest.fixture(scope="session")
def toy(write_plugin) -> Path:
    """A folder to be on the path, with the plugin ``toy``."""
    return write_plugin("toy_parts", PLUGIN)


@pytest.fixture
def project(toy, install, tmp_path, monkeypatch) -> Path:
    """A working directory with the study's file ``study.py``, whose parts are installed."""
    install(toy)
    importlib.import_module("toy_parts")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.py").write_text(STUDY)
    return tmp_path
