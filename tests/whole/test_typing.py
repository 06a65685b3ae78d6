"""Typing of experiments: files type-check, and mistakes are found without running them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("mypy")  # what is found of PyTorch is kept

WRONG = """
from didact import AdamW, BatchSize, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_transformer import Transformer
from didact_vision import Images, Patches, RandomMasker

experiment = Experiment(
    name="wrong",
    source=Images(store="photos", size="large"),
    encoder=Patches(width=64, path=8),
    masker=LatentRegression(),
    backbone=Transformer(width=64, norm="middle"),
    targets=TopKTargets(k=2, teacher=EMATeacher()),
    objective=LatentRegression(),
    training=Training(steps=10, batch=32, optimizer=AdamW(learning_rate=1e-3)),
)
experiment.backbone.depht
"""


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Type-checks files as a user's editor would, against what is installed."""
    cache = tmp_path_factory.mktemp("mypy")

    def run(*files: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mypy", "--config-file", "", "--cache-dir", cache, "--no-error-summary"]
        return subprocess.run([*command, *files], capture_output=True, text=True, cwd=cache)

    return run


@pytest.mark.slow
def test_every_experiment_type_checks(mypy):
    done = mypy(*sorted((ROOT / "experiments").rglob("*.py")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_wrong_experiment_is_told_where_and_why(mypy, tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    done = mypy(tmp_path / "wrong.py")
    assert done.returncode == 1, done.stdout + done.stderr
    complaints = {int(m.group(1)): m.group(2) for m in re.finditer(r"wrong\.py:(\d+): error: (.*)", done.stdout)}
    lines = WRONG.splitlines()
    told = {lines[line - 1].strip(): text for line, text in complaints.items()}
    assert re.search(r'"size" to "Images".*expected "int"', told['source=Images(store="photos", size="large"),'])
    assert re.search(r'Unexpected keyword argument "path" for "Patches"', told["encoder=Patches(width=64, path=8),"])
    assert re.search(r'"masker" to "Experiment".*"Masker', told["masker=LatentRegression(),"])
    assert re.search(r'"norm" to "Transformer".*Literal', told['backbone=Transformer(width=64, norm="middle"),'])
    assert re.search(
        r'"batch" to "Training".*"BatchSize"',
        told["training=Training(steps=10, batch=32, optimizer=AdamW(learning_rate=1e-3)),"],
    )
    assert re.search(r'"Backbone.* has no attribute "depht"', told["experiment.backbone.depht"])
    assert len(told) == 6
