"""Golden runs: a few steps under a seed give the numbers in golden.json. A refactor must not move them.

Where a change of the method moves them on purpose, `DIDACT_WRITE_GOLDEN=1 pytest tests/whole/test_golden.py` writes new
ones, and the commit says why.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import pytest
import torch

from didact import run
from didact.record.folder import read_metrics

GOLDEN = Path(__file__).parent / "golden.json"
NAMES = ("train/loss", "train/gradient_norm", "collapse/target_std", "collapse/prediction_std")


def test_a_run_gives_its_golden_numbers(modality, make_experiment, project):
    experiment = make_experiment(modality)
    training = attrs.evolve(
        experiment.training, steps=5, precision="float32", num_workers=0, log_every=1, checkpoint_every=None
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run.start(attrs.evolve(experiment, training=training), project / "r")
    finally:
        torch.set_num_threads(threads)
    curve = {name: [round(metrics[name], 6) for metrics in read_metrics(project / "r")] for name in NAMES}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("DIDACT_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {modality: curve}, indent=2) + "\n")
        return
    for name in NAMES:
        # processors round differently; anything that is a change of the method is far larger
        assert curve[name] == pytest.approx(golden[modality][name], rel=2e-3), name
