"""A finished run gives its networks and the features of files after its data are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from didact import DataError, RunError, RunRecord, collate, run
from didact_evaluate import RepresentationMetrics


@pytest.fixture
def finished(project, make_experiment, modality, monkeypatch):
    """A run of three steps, files of its store and their features, taken while its data were there."""
    experiment = make_experiment(modality).evolve(
        **{"training.steps": 3, "training.checkpoint_every": 1, "training.precision": "float32"}
    )
    run.start(experiment, project / "r")
    experiment = RunRecord.open(project / "r").experiment
    whole = experiment.source.whole()
    whole.prepare()
    samples = whole.open()
    network = RunRecord.open(project / "r").network("teacher")
    files, expected = [], []
    for index in range(3):
        files.append(project / f"file-{index}")
        files[-1].write_bytes(samples.record(index).data)
        with torch.no_grad():
            output = network(collate([samples.content(index)], experiment.encoder)).backbone_output
        expected.append(output.positions_only(output.output)[0])
    for folder in {samples.store.path, project / "tones", project / "lines"}:
        if folder.exists() and folder.is_relative_to(project):
            shutil.rmtree(folder)
    monkeypatch.setenv("DIDACT_STORES", str(project / "nowhere"))
    return RunRecord.open(project / "r"), files, expected


def test_the_features_of_files_need_the_run_alone(finished):
    record, files, expected = finished
    found = list(record.features(files, network="teacher", pooled=False))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    pooled = list(record.features(files, network="teacher"))
    for one, other in zip(pooled, expected, strict=True):
        torch.testing.assert_close(one, other.mean(0), rtol=1e-5, atol=1e-6)
    assert not torch.equal(next(record.features(files)), pooled[0])


def test_checkpoints_learners_and_states_need_the_run_alone(finished):
    record, _, _ = finished
    assert record.checkpoints == (2, 3)
    first, last = record.learner(2), record.learner()
    weights = [torch.cat([weight.flatten() for weight in one.parameters()]) for one in (first, last)]
    assert not torch.equal(*weights)
    state = record.run_state()
    assert (state.step, state.finished, state.world.size) == (3, True, 1)
    assert not record.run_state(2).finished
    assert next(state.untrained().parameters()).shape == next(state.student().parameters()).shape


@pytest.mark.parametrize("modality", ["images"])
def test_features_of_what_cannot_be_read_or_does_not_fit_are_refused(finished):
    record, files, _ = finished
    assert len(list(record.features(files[0]))) == 1  # one file need not be in a list
    for wrong in (Path("nowhere.png"), torch.zeros(2, 8), torch.zeros(3, 5, 5)):
        with pytest.raises(DataError) as caught:
            list(record.features([wrong]))
        assert caught.value.hint


@pytest.mark.parametrize("modality", ["text"])
def test_a_run_keeps_its_tokenizer_and_notices_another(finished):
    record, files, _ = finished
    tokenizer = record.folder / "assets" / "tokenizer.json"
    assert record.own_experiment.source.signal() == record.experiment.source.signal()
    assert record.own_experiment.source.tokenizer.file() == tokenizer
    tokenizer.write_text(tokenizer.read_text() + " ")
    with pytest.raises(RunError, match=r"tokenizer.json is not what the run kept"):
        list(RunRecord.open(record.folder).features(files))


@pytest.mark.parametrize("modality", ["images"])
def test_an_evaluation_of_a_runs_state_finds_what_the_run_found(project, make_experiment, modality):
    experiment = make_experiment(modality).evolve(
        evaluations={"health": RepresentationMetrics(samples=8)}, **{"training.steps": 2}
    )
    result = run.start(experiment, project / "r")
    state = RunRecord.open(project / "r").run_state()
    assert experiment.evaluations["health"].evaluate(state).metrics == result.reports["health"].metrics
