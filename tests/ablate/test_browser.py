"""A study in Aim's web interface, viewed with a headless Chromium."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import numpy as np
import pytest
from playwright.sync_api import expect

from didact.record import RunRecord

ROOT = Path(__file__).parents[2]


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


screenshots = _tool("take_screenshots")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),  # one study is run and opened for all
    pytest.mark.skipif(screenshots.chromium() is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def study(toy, study_text, tmp_path_factory) -> Iterator[tuple[Path, str, str]]:
    """A study that was run and tracked, in Aim's browser: its folder, the browser's address, that of its curves."""
    project = tmp_path_factory.mktemp("browsed")
    text = study_text.replace("    evaluations={", "    observers=(Aim(),),\n    evaluations={")
    text = text.replace("from didact_ablate import", "from didact_aim import Aim\nfrom didact_ablate import")
    (project / "study.py").write_text(text.replace("(1, 2, 4)", "(1, 2)"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(toy))
        patch.setenv("OMP_NUM_THREADS", "1")
        command = [sys.executable, "-m", "didact", "run", "study.py", "--jobs", "2"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        with screenshots.didact_ui(project, "toys") as (address, curves):
            yield project / "runs" / "toys", address, curves


def _curve_of(path) -> tuple[str, str, np.ndarray]:
    """A drawn curve's variant and metric, and its points in pixels (n, 2)."""
    coded = path.get_attribute("id").removeprefix("AggrLine-O-")
    group = json.loads(unquote(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode()))
    points = re.findall(r"[ML]([-\d.e]+),([-\d.e]+)", path.get_attribute("d"))
    return group["run.params.variant"], group["name"], np.array(points, dtype=float)


def test_the_curves_are_those_of_the_variants_averaged_over_seeds(study):
    folder, _, curves = study
    with screenshots.page() as page:
        screenshots.open_when_ready(page, curves, "path.AggrLine")
        expect(page.locator("path.AggrLine")).to_have_count(6, timeout=screenshots.PATIENCE_MS)
        page.locator(".Table__groupsColumn__cell").first.wait_for()
        legend = page.locator("text.Legend-cell").all_text_contents()
        rows = " ".join(page.locator(".Table__groupsColumn__cell").all_text_contents())
        drawn = [_curve_of(path) for path in page.locator("path.AggrLine").all()]
    assert {'"k=2"', '"k=1"', '"shallow"'} <= set(legend)
    assert {(variant, metric) for variant, metric, _ in drawn} == {
        (variant, metric) for variant in ("k=2", "k=1", "shallow") for metric in ("loss", "score")
    }
    pixels, values = [], []
    for variant, metric, points in drawn:
        assert variant in rows
        if metric != "loss":
            continue
        runs = [RunRecord.open(folder / "runs" / f"{variant}-seed-{seed}") for seed in (0, 1)]
        means = np.mean([[line["train/loss"] for line in run.metrics] for run in runs], axis=0)
        assert len(points) == len(means)
        pixels.append(points[:, 1])
        values.append(means)
    pixels, values = np.concatenate(pixels), np.concatenate(values)
    slope, start = np.polyfit(values, pixels, 1)  # all on one axis, which runs downwards in pixels
    assert slope < 0
    np.testing.assert_allclose(pixels, slope * values + start, atol=0.5)


def test_every_run_is_in_the_table(study):
    _, address, _ = study
    with screenshots.page() as page:
        screenshots.open_when_ready(page, f"{address}/runs", "text=k=2-seed-0")
        for variant in ("k=2", "k=1", "shallow"):
            for seed in (0, 1):
                named = page.get_by_text(f"{variant}-seed-{seed}", exact=True)
                expect(named).to_have_count(1, timeout=screenshots.PATIENCE_MS)
        assert page.get_by_text("toys", exact=True).count() >= 1
