"""The example distribution is installed into a fresh environment, checked, trained and evaluated."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "didact-timeseries"
PYTHON = Path("environment/bin/python")
NEEDED = ("platform", *(f"plugins/{name}" for name in ("kit", "transformer", "distill", "evaluate", "perceiver")))


def test_it_is_a_modality_in_at_most_120_lines():
    text = (EXAMPLE / "didact_timeseries.py").read_text()
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) <= 120


def test_it_uses_the_public_part_of_the_core_alone():
    public = {"didact", "didact.placing", "didact.randomness", "didact.serialization", "didact_kit"}
    tree = ast.parse((EXAMPLE / "didact_timeseries.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name and name.startswith("didact")} <= public


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Callable[..., str]:
    """Runs commands in a folder with a fresh environment, into which the example was installed, not linked."""
    if shutil.which("uv") is None:
        pytest.skip("uv makes the environment")
    folder = tmp_path_factory.mktemp("fresh")
    clean = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}

    def command(*words: object, code: int = 0) -> str:
        done = subprocess.run(list(map(str, words)), cwd=folder, env=clean, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    command("uv", "venv", "--quiet", "environment")
    parts = [*(ROOT / name for name in NEEDED), EXAMPLE]
    command("uv", "pip", "install", "--quiet", "--python", PYTHON, "pytest", *parts)
    command.folder = folder  # type: ignore[attr-defined]
    return command


@pytest.mark.slow
def test_the_plugin_is_found_and_keeps_the_contract(run):
    assert "timeseries  didact-timeseries 0.1.0" in run(PYTHON, "-m", "didact", "plugins")
    run(PYTHON, "-c", "import timm", code=1)  # nothing of another modality is needed
    (test,) = re.findall(r"^```python\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (run.folder / "test_readme.py").write_text(test)
    said = run(PYTHON, "-m", "pytest", "-q", "test_readme.py")
    assert re.search(r"\b[2-9]\d passed", said), said


@pytest.mark.slow
def test_data2vec_learns_more_than_raw_values_and_a_random_network_give(run):
    shutil.copy(EXAMPLE / "experiment.py", run.folder)
    short = ("--set", "training.steps=500", "--set", "evaluations.lags.limit=1000")
    run(PYTHON, "-m", "didact", "run", "experiment.py", "--out", "run", *short)
    (found,) = (run.folder / "run" / "evaluations").glob("lags-*.json")
    accuracy = json.loads(found.read_text())
    accuracy = accuracy.get("metrics", accuracy)
    assert accuracy["linear"] > accuracy["linear_random"] + 2
    assert accuracy["linear"] > accuracy["linear_raw"] + 30
