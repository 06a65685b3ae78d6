"""The measurement of an experiment's speed; no test depends on the measured value."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from didact import DidactError
from didact.experiment_file import load_experiment
from didact_doctor.bench import STAGES, Bench, compare, shares_of_stages

CPU = torch.device("cpu")


def test_the_stages_of_a_step_add_up_to_it(project):
    experiment, _ = load_experiment("tiny.py")
    bench = Bench(experiment, CPU, 3, 2)
    taken = bench.take(3)
    speed = bench.speed()
    assert speed.step_seconds == statistics.median(taken)
    assert sum(speed.stages.values()) == pytest.approx(speed.step_seconds)
    assert list(speed.stages) == list(STAGES)
    assert all(seconds > 0 for seconds in speed.stages.values())
    assert speed.stages["other"] < 0.5 * speed.step_seconds
    assert speed.samples_per_second == pytest.approx(6 / speed.step_seconds)
    assert (speed.unit, speed.precision) == ("images", "float32")
    assert 0 < speed.share_of_ceiling < 1
    assert speed.flops > 0


def event(name: str, start: float, end: float, *kernels: float) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        device_type=DeviceType.CPU,
        is_user_annotation=not kernels,
        time_range=SimpleNamespace(start=start, end=end),
        kernels=[SimpleNamespace(duration=duration) for duration in kernels],
    )


PROFILE = [
    event("aten::mm", 25, 26, 30.0),
    event("other", 0, 100),
    event("data wait", 0, 10),
    event("targets", 20, 60),
    event("teacher", 22, 42),
    event("Optimizer.step#AdamW.step", 92, 98),
    event("aten::add", 45, 46, 5.0),
    event("aten::copy_", 95, 96, 15.0),
]


def test_a_range_inside_another_counts_once_and_foreign_ones_do_not_count():
    shares = shares_of_stages(PROFILE, on_gpu=False)
    expected = {"other": 0.5, "data wait": 0.1, "targets": 0.2, "teacher": 0.2}
    assert shares == pytest.approx(dict.fromkeys(STAGES, 0.0) | expected)


def test_on_a_gpu_a_stage_counts_the_kernels_that_it_launches():
    shares = shares_of_stages(PROFILE, on_gpu=True)
    expected = {"other": 0.55, "data wait": 0.1, "targets": 0.05, "teacher": 0.3}
    assert {name: shares[name] for name in expected} == pytest.approx(expected)


def test_a_steps_products_are_counted_whatever_computes_them(project):
    experiment, _ = load_experiment("tiny.py")
    flops = []
    for precision in ("float32", "bfloat16"):  # by oneDNN's own operation, and by PyTorch's
        bench = Bench(experiment.evolve(**{"training.precision": precision}), CPU, 1, 1)
        bench.take(1)
        flops.append(bench.speed().flops)
    assert flops[0] == pytest.approx(flops[1], rel=0.05)


@pytest.mark.slow
def test_settings_take_turns_on_the_same_batches(project):
    experiment, _ = load_experiment("tiny.py")
    larger = experiment.evolve(**{"training.batch.amount": 12})
    lines: list[str] = []
    one, two = compare([experiment, larger], CPU, steps=2, rounds=2, report=lines.append)
    assert one.gains == (1.0, 1.0)
    assert len(two.gains) == 2
    assert two.speed.flops == pytest.approx(2 * one.speed.flops, rel=0.05)
    assert two.speed.samples_per_second == pytest.approx(12 / two.speed.step_seconds)
    assert lines[-1] == "round 2 of 2"


@pytest.mark.slow
def test_a_setting_that_does_not_run_says_why(project):
    experiment, _ = load_experiment("tiny.py")
    with pytest.raises(DidactError, match="no store 'gone'"):
        compare([experiment, experiment.evolve(**{"source.store": "gone"})], CPU, steps=1, rounds=1)


@pytest.mark.slow
def test_the_command_shows_each_setting_in_a_line(project, didact):
    against = (
        "--against",
        "training.gradient_accumulation_steps=2 training.seed=1",
        "--against",
        "training.activation_checkpointing=true",
    )
    shown = didact("bench", "tiny.py", "--steps", "1", "--rounds", "2", *against)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert shown.stdout.count("×") == 3
    assert "tiny-images" in shown.stdout
    assert "medians of 2 steps each" in shown.stdout
    misspelt = didact("bench", "tiny.py", "--against", "training.gradient_accumulation_step=2")
    assert misspelt.returncode == 1
    assert "gradient_accumulation_steps" in misspelt.stderr
