"""Measuring how fast an experiment trains; what is asserted is what was measured, never how fast it was."""

from __future__ import annotations

import pytest
import torch

from didact import DidactError
from didact.experiment_file import load_experiment
from didact.training.bench import Bench, compare

CPU = torch.device("cpu")


def test_the_stages_of_a_step_add_up_to_it(project):
    experiment, _ = load_experiment("tiny.py")
    bench = Bench(experiment, CPU, 3, 2)
    taken = sum(bench.take(3))
    speed = bench.speed()
    assert 0.8 * taken < 3 * sum(speed.stages.values()) <= taken
    assert speed.stages["backward"] > 0
    assert speed.samples_per_second == pytest.approx(6 / speed.step_seconds)
    assert (speed.unit, speed.precision) == ("images", "float32")
    assert 0 < speed.share_of_ceiling < 1
    assert speed.flops > 0


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
    told: list[str] = []
    one, two = compare([experiment, larger], CPU, steps=2, rounds=2, tell=told.append)
    assert one.gains == (1.0, 1.0)
    assert len(two.gains) == 2
    assert two.speed.flops == pytest.approx(2 * one.speed.flops, rel=0.05)
    assert two.speed.samples_per_second == pytest.approx(12 / two.speed.step_seconds)
    assert told[-1] == "round 2 of 2"


@pytest.mark.slow
def test_a_setting_that_does_not_run_says_why(project):
    experiment, _ = load_experiment("tiny.py")
    with pytest.raises(DidactError, match="no store 'gone'"):
        compare([experiment, experiment.evolve(**{"source.store": "gone"})], CPU, steps=1, rounds=1)


@pytest.mark.slow
def test_the_command_shows_each_setting_in_a_line(project, didact):
    against = ("--against", "training.micro_batches=2 training.seed=1", "--against", "training.recompute=true")
    shown = didact("bench", "tiny.py", "--steps", "1", "--rounds", "2", *against)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("×") == 3
    assert "tiny-images" in shown.stdout
    assert "medians of 2 steps each" in shown.stdout
    misspelt = didact("bench", "tiny.py", "--against", "training.micro_batch=2")
    assert misspelt.returncode == 1
    assert "micro_batches" in misspelt.stderr
