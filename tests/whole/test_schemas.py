"""Run folders and experiment files of earlier versions are rejected with an error that names the new names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from didact import RunError, SpecError
from didact.experiment_file import load_experiment
from didact.record import RunRecord, checkpoint

OLDEST = Path(__file__).parent / "schema-1"


def test_a_run_folder_of_an_earlier_version_is_refused_with_the_new_names(project, didact):
    shutil.copytree(OLDEST, project / "r")
    done = didact("resume", "r")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    training = json.loads((OLDEST / "experiment.json").read_text())["training"]
    assert {"micro_batches", "clip_norm", "workers"} <= training.keys()
    for name in ("gradient_accumulation_steps", "max_grad_norm", "num_workers"):
        assert name in done.stderr


def test_its_record_can_still_be_looked_at(project):
    shutil.copytree(OLDEST, project / "r")
    assert RunRecord.open(project / "r").steps == 6


def test_a_checkpoint_of_an_earlier_version_is_refused_by_its_schema():
    with pytest.raises(RunError, match="the checkpoint has schema 1, and this didact reads schema 3"):
        checkpoint.read(OLDEST / "step-00000003")


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("from didact import samples", "BatchSize.samples"),
        ("from didact import Context", "BackboneOutput"),
        ("from didact_views import CosinePrediction", "NegativeCosineSimilarity"),
        ("from didact import Record", "didact_stores.Record"),
    ],
)
def test_an_experiment_file_with_an_old_name_is_told_the_new_one(tmp_path, line, now):
    file = tmp_path / "old.py"
    file.write_text(f"import didact\n{line}\n")
    with pytest.raises(Exception, match="the experiment imports what is missing") as caught:
        load_experiment(str(file))
    assert caught.value.where == f"{file}:2"
    assert caught.value.hint == f"it is {now} now"


def test_old_fields_are_named_together_with_their_new_names():
    from didact import AdamW, BatchSize, Training

    with pytest.raises(SpecError) as caught:
        Training(
            steps=1, batch=BatchSize.samples(1), optimizer=AdamW(learning_rate=1.0), clip_norm=1.0, micro_batches=2
        )
    assert caught.value.what == "Training has no field 'clip_norm', 'micro_batches'"
    assert caught.value.hint == "clip_norm is max_grad_norm now; micro_batches is gradient_accumulation_steps now"
