"""The benchmarks run with the current code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ends"),
    [
        (("step.py", "--modality", "images", "--batch", "1", "--rounds", "1"), "fastest against fastest"),
        (("step.py", "--batch", "1", "--rounds", "1", "--depth", "1", "--series", "processes=1,2"), "processes    2:"),
        (("order.py", "--samples", "100000", "--by", "all"), "sought anew is the same"),
        (("study.py", "--runs", "4", "--steps", "2"), "a comparison of what Aim finds"),
    ],
)
def test_a_benchmark_runs_to_its_last_line(command, ends):
    done = subprocess.run([sys.executable, BENCHMARKS / command[0], *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ends in done.stdout.splitlines()[-1]
