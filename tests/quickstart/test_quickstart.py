"""The quickstart command on a small scale, and repeated calls of it."""

import contextlib
import io
import json
import re
import shutil
import types

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from didact.cli import cli
from didact.errors import DidactError
from didact.experiment_file import load_experiment
from didact_quickstart import voices
from didact_quickstart.lessons import LESSONS
from didact_quickstart.verdicts import CLASSIFIERS, CONTENDERS, Verdict, draw, table

pytestmark = pytest.mark.xdist_group("quickstart")  # they share one quickstart

MINIATURE = [
    *("--set", "training.steps=2"),
    *("--set", "training.batch.amount=4"),
    *("--set", "evaluations.probe.limit=60"),
    *("--set", "training.precision=float32"),
]


def quickstart(out, *words):
    cli.main(["quickstart", "--out", str(out), *words], standalone_mode=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A quickstart of two steps in each modality, and its output."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        quickstart(out, *MINIATURE)
    return out, said.getvalue()


def test_it_leaves_data_stores_runs_and_a_figure(finished):
    out, _ = finished
    for lesson in LESSONS:
        assert (out / "data" / lesson.modality).is_dir()
        assert all((out / "stores" / one.store / "store.json").is_file() for one in lesson.ingestions)
        assert json.loads((out / "runs" / lesson.modality / "experiment.json").read_text())["training"]["steps"] == 2
    assert np.asarray(Image.open(out / "quickstart.png").convert("L")).std() > 10


def test_it_shows_every_command_that_it_runs(finished):
    out, said = finished
    lines = said.splitlines()
    for lesson in LESSONS:
        assert any(line.startswith("$ didact run ") and f"{lesson.modality}.py" in line for line in lines)
        for one in lesson.ingestions:
            shown = [
                line for line in lines if line.startswith(f"$ didact ingest {one.kind} ") and line.endswith(one.store)
            ]
            assert shown, f"the command that made {one.store}"
    assert f"$ export DIDACT_STORES={out / 'stores'}" in said.replace("\n", "")


def test_it_prints_one_table_of_all_modalities_and_contenders(finished):
    _, said = finished
    after = said[said.index("verdict") :]
    for word in [lesson.modality for lesson in LESSONS] + list(CONTENDERS.values()) + list(CLASSIFIERS.values()):
        assert word in after


def test_called_again_it_does_nothing_twice(finished, capsys):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
    quickstart(out, *MINIATURE)
    said = capsys.readouterr().out
    assert "didact run" not in said
    assert "didact resume" not in said
    assert before == {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}


def test_other_settings_in_the_same_folder_are_refused(finished):
    out, _ = finished
    with pytest.raises(DidactError, match="other settings") as caught:
        quickstart(out, *MINIATURE, "--seed", "7")
    assert "--out" in caught.value.hint


def test_a_run_that_was_stopped_goes_on(finished, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    shutil.rmtree(out / "runs" / "text" / "evaluations")  # as after a kill between the last step and the verdict
    quickstart(out, *MINIATURE)
    assert f"didact resume {out}/runs/text" in capsys.readouterr().out.replace("\n", "")


def test_a_mistyped_setting_is_explained(tmp_path):
    with pytest.raises(Exception, match="FIELD=VALUE"):
        quickstart(tmp_path / "out", "--set", "training.steps")


def test_files_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    from didact_quickstart.quickstart import _write_once

    def fail(folder):
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write_once(tmp_path / "data", fail)
    assert not (tmp_path / "data").exists()
    _write_once(tmp_path / "data", lambda folder: (folder / "whole").write_text(""))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.modality)
def test_experiments_are_ordinary_files_that_read_the_stores_of_their_lesson(lesson):
    experiment, _ = load_experiment(str(lesson.experiment))
    stores = {one.store for one in lesson.ingestions}
    probe = experiment.evaluations["probe"]
    assert experiment.name == f"quickstart-{lesson.modality}"
    assert {experiment.source.store, probe.train.store, probe.test.store} == stores
    assert probe.test.store != experiment.source.store
    assert probe.controls


def test_speakers_names_and_syllables_fit_the_pattern_that_reads_them():
    pattern = next(lesson for lesson in LESSONS if lesson.modality == "speech").ingestions[0].options[1]
    for name in voices.SPEAKERS:
        for syllable in voices.SYLLABLES:
            match = re.search(pattern, f"{syllable}_{name}_00.wav")
            assert match is not None
            assert match.groupdict() == {"label": syllable, "speaker": name}


def verdict(best):
    accuracy = {
        (classifier, contender): 90.0 if contender == best else 40.0
        for classifier in CLASSIFIERS
        for contender in CONTENDERS
    }
    steps = np.arange(1, 30)
    return Verdict(
        modality="images",
        data="digits",
        accuracy=accuracy,
        classes=10,
        steps=steps,
        losses=1 / steps,
        seconds=None,
    )


def test_it_prints_a_verdict_on_each_modality_and_no_warning(finished):
    _, said = finished
    for lesson in LESSONS:
        assert f"{lesson.modality}: gain from pretraining: " in said
    assert "warning" not in said


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.modality)
def test_teachers_forget_their_random_initialisation_within_the_run(lesson):
    experiment, _ = load_experiment(str(lesson.experiment))
    preflight = types.SimpleNamespace(steps=experiment.training.steps, pretrained=False)  # all that a teacher reads
    findings = list(experiment.targets.teacher.examine(preflight))
    assert findings
    assert {finding.severity for finding in findings} == {"fine"}


@pytest.mark.parametrize("best", CONTENDERS)
def test_a_verdict_names_the_control_that_pretraining_does_not_beat(best):
    sentence = verdict(best).sentence()
    if best == "pretrained":
        assert sentence == (
            "images: gain from pretraining: linear +50.0 and 20-NN +50.0 points over the better control"
        )
    else:
        assert sentence.count(f"({CONTENDERS[best]} 90.0, pretrained 40.0)") == 2


def test_a_verdict_tells_probes_with_a_gain_from_those_without():
    mixed = verdict("pretrained")
    mixed.accuracy["knn", "raw"] = 95.0
    sentence = mixed.sentence()
    assert "linear +50.0 points" in sentence
    assert "none with 20-NN (raw features 95.0, pretrained 90.0): the raw features already place" in sentence


def test_a_difference_of_chance_is_no_gain():
    close = verdict("pretrained")
    close.accuracy["linear", "raw"] = 89.0
    assert "none with linear (raw features 89.0, pretrained 90.0)" in close.sentence()


@pytest.mark.parametrize("best", CONTENDERS)
def test_the_table_sets_the_best_contender_in_bold(best):
    console = Console(width=100, force_terminal=True, color_system="standard", record=True, file=io.StringIO())
    console.print(table([verdict(best)]))
    lines = console.export_text(styles=True).splitlines()
    (line,) = [line for line in lines if CONTENDERS[best] in line]
    assert line.count("\x1b[1m90.0") == 2


def test_a_figure_of_one_logged_step_can_be_drawn(tmp_path):
    import attrs

    one = attrs.evolve(verdict("raw"), steps=np.array([1]), losses=np.array([2.0]))
    draw([one], tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").size[0] > 100
