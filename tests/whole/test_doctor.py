"""The doctor's findings, each with a case that causes it and one that does not."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from didact import (
    AdamW,
    BatchSize,
    DidactError,
    Experiment,
    Layout,
    Masker,
    RunError,
    SpecError,
    Training,
    build_learner,
    run,
)
from didact.experiment_file import load_experiment
from didact.preflight import Finding
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_doctor import Doctor, examination, resources, trial
from didact_doctor.cli.doctor import doctor_command
from didact_evaluate import Probe
from didact_kit import TinyBackbone, TinyEncoder, TinyMasker, TinyObjective, TinySource
from didact_text import ByteBPE, Sentences
from didact_vision import Images, RandomMasker

CPU = torch.device("cpu")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def experiment(project) -> Experiment:
    """The tiny experiment, with nothing to warn of."""
    loaded, _ = load_experiment("tiny.py")
    return loaded.evolve(
        **{"targets.teacher.start": 0.5, "targets.teacher.end": 0.5, "targets.teacher.anneal_steps": 0}
    )


@attrs.frozen(kw_only=True)
class Sequences(TinySource):
    """Samples of one to ``length`` values.

    Attributes:
        shortest: of them.
    """

    shortest: int = 1

    def open(self):
        opened = super().open()
        opened.lengths = np.linspace(self.shortest, self.length, self.count).round()
        return opened


@attrs.frozen(kw_only=True)
class CutSequences(Sequences):
    """Cut to the shortest of a batch."""

    crops = True


@attrs.frozen(kw_only=True)
class ShortEncoder(TinyEncoder):
    """Takes nothing longer than 10 values."""

    def layout(self, size: tuple[int, ...]) -> Layout:
        if size[-1] > 10:
            raise SpecError("too long for it", hint="shorter samples")
        return super().layout(size)


@attrs.frozen(kw_only=True)
class BrokenMasker(TinyMasker):
    """Fails when it is examined.

    Attributes:
        mistaken: whether the user made a mistake.
    """

    mistaken: bool = False

    def examine(self, preflight):
        raise SpecError("no use here", where="masks", hint="another") if self.mistaken else ZeroDivisionError("oh")


def of_sequences(source: TinySource, masker: Masker | None = None, **training: object) -> Experiment:
    return Experiment(
        name="sequences",
        source=source,
        encoder=TinyEncoder(),
        masker=masker,
        backbone=TinyBackbone(),
        targets=TopKTargets(k=2, teacher=EMATeacher(start=0.5, end=0.5, anneal_steps=0)),
        objective=TinyObjective() if masker is None else LatentRegression(),
        training=Training(
            **{
                "steps": 100,
                "batch": BatchSize.samples(4),
                "optimizer": AdamW(learning_rate=1e-3),
                "num_workers": 0,
                **training,
            }
        ),
    )


def examine(experiment: Experiment, folder: Path = Path("runs")) -> dict[str, list[Finding]]:
    """The cheap findings, by where."""
    opened = experiment.source.open()
    found: dict[str, list[Finding]] = {}
    for finding in examination.examine(experiment, folder, opened, build_learner(experiment)):
        found.setdefault(finding.where, []).append(finding)
    return found


def severities(findings: list[Finding]) -> list[str]:
    return [finding.severity for finding in findings]


def test_an_experiment_that_fits_is_fine_throughout(experiment):
    found = examine(experiment)
    assert {finding.severity for findings in found.values() for finding in findings} == {"fine"}
    assert list(found) == [
        "source", "training.batch", "training.steps", "masker", "masker.block", "targets.k", "targets.teacher",
        "training.schedule", "disk",
    ]  # fmt: skip
    assert "20 samples" in found["source"][0].says
    assert experiment.source.open().fingerprint[:12] in found["source"][0].says
    assert "/tiny" in found["source"][0].says
    assert found["training.batch"][0].says == "a step learns from 6 samples, 96 positions"
    assert found["training.steps"][0].says == "8 steps, 3.333 per epoch: each sample is seen 2.4 times"
    assert found["masker"][0].says == "50% of the positions are masked, 2 masks per sample"


def test_what_a_step_holds_is_counted_over_the_epoch():
    found = examine(of_sequences(Sequences(length=16, shortest=1, count=16), batch=BatchSize.samples(8)))
    held = sum(range(1, 17))  # two batches, which share all of it
    said = found["training.batch"][0].says
    assert "8 samples" in said
    smallest, largest = (int(word) for word in said.partition(" positions")[0].split("values, ")[1].split()[:3:2])
    assert smallest + largest == held


@attrs.frozen(kw_only=True)
class Unregistered(TinySource):
    """A source that no plugin registers."""


def test_a_part_that_no_plugin_registers_cannot_be_resumed(experiment):
    assert "" not in examine(experiment)
    (found,) = examine(of_sequences(Unregistered()))[""]
    assert found.severity == "warning"
    assert "cannot be resumed" in found.says


@pytest.mark.parametrize(("amount", "found"), [(20, ["fine"]), (21, ["fine", "warning"])])
def test_a_batch_of_more_samples_than_the_source_has_is_a_warning(experiment, amount, found):
    batches = examine(experiment.evolve(**{"training.batch.amount": amount}))["training.batch"]
    assert severities(batches) == found


@pytest.mark.parametrize(
    ("source", "word"), [(Sequences(length=40, count=40), "padding"), (CutSequences(length=40, count=40), "cut away")]
)
def test_batches_that_are_mostly_waste_are_a_warning(source, word):
    batches = examine(of_sequences(source))["training.batch"]
    assert severities(batches) == ["fine", "warning"]
    assert word in batches[1].says
    assert "values (BatchSize)" in batches[1].hint
    even = source.evolve(shortest=35)
    assert severities(examine(of_sequences(even))["training.batch"]) == ["fine"]
    budget = BatchSize(amount=80, unit="values")
    assert severities(examine(of_sequences(source, batch=budget))["training.batch"]) == ["fine"]


@pytest.mark.parametrize(("ratio", "severity"), [(0.03, "fine"), (0.95, "warning"), (0.999, "error")])
def test_the_masked_share_is_assessed(experiment, ratio, severity):
    found = examine(experiment.evolve(**{"masker": RandomMasker(ratio=ratio), "encoder.patch": 2}))
    findings = found.get("masker", []) + found.get("masker.ratio", [])
    assert severities(findings)[:1] == [severity]


def test_a_masker_that_refuses_the_shortest_samples_is_an_error():
    found = examine(of_sequences(Sequences(length=16, shortest=1), TinyMasker()))
    assert severities(found["masker"]) == ["error"]
    assert found["masker"][0].hint == "make the samples longer"
    found = examine(of_sequences(Sequences(length=16, shortest=2), TinyMasker()))
    assert severities(found["masker"]) == ["fine"]


def test_an_encoder_that_refuses_the_longest_samples_is_an_error_which_names_them():
    encoder = ShortEncoder()
    found = examine(attrs.evolve(of_sequences(Sequences(length=16, uneven=True)), encoder=encoder))
    errors = [finding for findings in found.values() for finding in findings if finding.severity == "error"]
    assert "walk" in errors[-1].where
    found = examine(attrs.evolve(of_sequences(Sequences(length=10, uneven=True)), encoder=encoder))
    assert all(finding.severity != "error" for findings in found.values() for finding in findings)


def test_a_part_that_fails_to_examine_is_a_warning_and_one_that_cannot_be_used_an_error():
    (_, broken) = examine(of_sequences(TinySource(), BrokenMasker()))["masker"]
    assert broken.severity == "warning"
    assert "BrokenMasker.examine failed: ZeroDivisionError: oh" in broken.says
    (unfit,) = examine(of_sequences(TinySource(), BrokenMasker(mistaken=True)))["masker.masks"]
    assert (unfit.severity, unfit.says) == ("error", "no use here")


def test_every_part_is_examined_but_not_those_of_evaluations(experiment):
    images = Images(store="tiny", size=16)
    evaluated = attrs.evolve(experiment, evaluations={"classes": Probe(train=images, test=images)})
    places = [place for place, _ in examination.parts(evaluated)]
    assert {"", "source.augmentation", "targets.teacher", "objective.head", "training.schedule"} <= set(places)
    assert [place for place in places if place.startswith("evaluations")] == ["evaluations.classes"]


@pytest.mark.parametrize(("free", "severity"), [(2.5, "fine"), (1.5, "warning"), (0.9, "error")])
def test_the_disk_is_compared_with_the_checkpoints_that_are_kept(experiment, monkeypatch, tmp_path, free, severity):
    (found,) = examine(experiment)["disk"]
    needed = float(found.says.partition("needs ")[2].split()[0]) * 2**10  # KiB
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(2**30, 0, free * needed))
    (found,) = examine(experiment, tmp_path / "not" / "yet")["disk"]
    assert "3 × " in found.says  # two are kept while the next is written
    assert found.severity == severity
    assert str(tmp_path) in found.says


def test_the_size_of_a_checkpoint_is_foreseen(experiment, tmp_path):
    run.start(experiment, tmp_path / "r")
    (checkpoint, *_) = (tmp_path / "r" / "checkpoints").glob("step-*")
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    (found,) = examine(experiment)["disk"]
    count, unit = found.says.partition("× ")[2].split()[:2]
    foreseen = float(count) * {"KiB": 2**10, "MiB": 2**20}[unit]
    assert 0.7 * size < foreseen <= size  # names and shapes come on top of so small weights


def test_mistakes_of_building_are_reported_together(experiment):
    wrong = experiment.evolve(**{"targets.k": 9, "source.store": "nowhere"})
    errors = [finding for finding in examination.diagnose(wrong, CPU, Path("runs")) if finding.severity == "error"]
    assert [error.where.partition(",")[0] for error in errors] == ["source", "targets.k"]


def test_nothing_is_measured_after_an_error_or_with_quick(experiment, monkeypatch):
    monkeypatch.setattr(examination, "attempt", lambda *_: pytest.fail("nothing may be measured"))
    places = [found.where for found in examination.diagnose(experiment, CPU, Path("runs"), quick=True)]
    assert places[0] == "plugins"
    assert "memory" not in places
    wrong = experiment.evolve(**{"masker.ratio": 0.99})
    assert "error" in severities(list(examination.diagnose(wrong, CPU, Path("runs"))))


TRIED = trial.Trial(
    samples=6,
    positions=96,
    peak_bytes=2**30,
    limit_bytes=2**33,
    step_seconds=0.5,
    wait_seconds=0.01,
    precision="float32",
)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {"memory": "fine", "time": "fine"}),
        ({"peak_bytes": 2**33 - 2**20}, {"memory": "warning", "time": "fine"}),
        ({"wait_seconds": 0.3}, {"memory": "fine", "time": "fine", "training.num_workers": "warning"}),
    ],
)
def test_measured_memory_and_time_are_assessed(experiment, monkeypatch, changed, expected):
    monkeypatch.setattr(examination, "attempt", lambda *_: attrs.evolve(TRIED, **changed))
    found = list(examination.diagnose(experiment, CPU, Path("runs")))
    assert {each.where: each.severity for each in found[-len(expected) :]} == expected
    time = next(each for each in found if each.where == "time")
    assert "8 steps take 4 s" in time.says


def test_a_batch_that_memory_cannot_hold_is_an_error(experiment, monkeypatch):
    class Sender(list):
        send, close = list.append, list.count

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    def attempt(experiment, device):
        sender = Sender()
        sender.close = lambda: None
        trial._work(sender, experiment, str(device))
        raise sender[0]

    monkeypatch.setattr(trial, "measure", fail)
    monkeypatch.setattr(examination, "attempt", attempt)
    last = list(examination.diagnose(experiment, CPU, Path("runs")))[-1]
    assert (last.severity, last.where) == ("error", "training.batch")
    assert "does not fit into memory" in last.says
    assert "gradient_accumulation_steps=2" in last.hint


KILLER = '''
import multiprocessing, os, signal
import attrs
from didact_kit import TinySource

@attrs.frozen(kw_only=True)
class Killer(TinySource):
    """Ends the process of a trial as the system does when memory runs out."""

    def open(self):
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open()
'''


def test_a_trial_that_the_system_kills_is_reported_as_running_out_of_memory(tmp_path, monkeypatch):
    (tmp_path / "killer_of_trials.py").write_text(KILLER)
    monkeypatch.syspath_prepend(tmp_path)
    import killer_of_trials

    with pytest.raises(RunError, match="the system killed the process, as it does when memory runs out"):
        trial.attempt(of_sequences(killer_of_trials.Killer()), CPU)


@pytest.mark.slow
def test_a_trial_measures_memory_and_time(experiment):
    large = experiment.evolve(**{"training.batch.amount": 16})
    tried = trial.attempt(large, CPU)
    assert (tried.samples, tried.positions) == (16, 256)
    assert 50 * 2**20 < tried.peak_bytes < tried.limit_bytes
    assert 0 <= tried.wait_seconds < tried.step_seconds < 60
    assert tried.precision == "float32"


def test_a_trial_reports_why_a_step_fails(experiment):
    with pytest.raises(DidactError, match="is not finite"):
        trial.measure(experiment.evolve(**{"training.optimizer": AdamW(learning_rate=1e38, weight_decay=0.0)}), CPU)


def test_the_command_ends_with_1_where_there_is_an_error(project, experiment):
    runner = CliRunner()
    fine = runner.invoke(doctor_command, ["tiny.py", "--quick", "--set", "targets.teacher.anneal_steps=0"])
    assert fine.exit_code == 0, fine.output
    assert "no errors" in fine.output
    assert "hint:" in runner.invoke(doctor_command, ["tiny.py", "--quick"]).output
    wrong = runner.invoke(doctor_command, ["tiny.py", "--quick", "--set", "masker.ratio=0.99"])
    assert wrong.exit_code == 1
    assert "error    masker" in wrong.output
    assert "1 error" in wrong.output
    assert not (project / "runs").exists()


def test_a_run_starts_with_its_warnings(project, experiment):
    experiment = attrs.evolve(experiment, observers=(Doctor(),))
    quiet = run.start(experiment, project / "quiet")
    assert quiet.warnings == ()
    odd = experiment.evolve(**{"training.schedule.warmup_steps": 7})
    assert run.start(attrs.evolve(odd, observers=()), project / "unobserved").warnings == ()
    warned = run.start(odd, project / "odd")
    assert warned.outcome == "finished"
    assert ["training.schedule.warmup_steps" in warning for warning in warned.warnings] == [True]
    events = [json.loads(line)["event"] for line in (project / "odd" / "events.jsonl").read_text().splitlines()]
    assert events.index("started") < events.index("warning") < events.index("checkpoint")
    assert run.start(odd, project / "smoke", examined=False).warnings == ()


def test_a_run_does_not_start_where_there_is_an_error(project, experiment, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(2**30, 0, 4096))
    with pytest.raises(SpecError, match=r"the run needs .* of disk"):
        run.start(attrs.evolve(experiment, observers=(Doctor(),)), project / "r")
    assert not (project / "r").exists()


def test_a_probe_that_reads_by_another_tokenizer_is_refused(make_experiment):
    experiment = make_experiment("text")
    own = experiment.source.tokenizer
    for tokenizer, refused in ((own, False), (ByteBPE(store=f"{own.store}/", vocabulary_size=300), True)):
        sentences = Sentences(store=own.store, tokenizer=tokenizer, max_tokens=32)
        evaluated = attrs.evolve(experiment, evaluations={"probe": Probe(train=sentences, test=sentences)})
        with pytest.raises(DidactError) as caught:
            evaluated.evaluations["probe"].prepare(evaluated)
        assert ("tokenizer" in caught.value.hint) is refused
        assert ("has a label" in caught.value.what) is not refused  # what comes next: these lines have none


@pytest.mark.parametrize(("free", "severity"), [(2**40, "fine"), (2**10, "warning")])
def test_what_workers_prepare_is_compared_with_shared_memory(experiment, monkeypatch, free, severity):
    usage = shutil.disk_usage
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda place: Usage(2**41, 0, free) if place == resources.SHARED_MEMORY else usage(place),
    )
    loading = experiment.evolve(**{"training.num_workers": 3, "training.steps": 50})
    found = [one for one in doctor_of(loading) if one.where == "training.num_workers" and "ready in" in one.says]
    assert [one.severity for one in found] == [severity]
    assert "up to 6 steps of" in found[0].says
    without = experiment.evolve(**{"training.num_workers": 0})
    assert not [one for one in doctor_of(without) if "ready in" in one.says]


def doctor_of(experiment):
    """The doctor's findings without measuring."""
    return list(examination.diagnose(experiment, CPU, Path("runs"), quick=True))
