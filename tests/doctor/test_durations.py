"""Findings, including those about schedules and intervals in a run of a given length."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from didact import AdamW, BatchSize, Constant, Cosine, ParameterGroup, Schedule, Spec, SpecError, Training
from didact.preflight import Finding
from didact_distill import TriStage
from didact_doctor.durations import examine_duration
from didact_doctor.findings import describe, describe_spread, finding_of, inside_field
from didact_kit import tiny_preflight


def examine(spec: Spec, steps: int = 1_000) -> list[Finding]:
    return list(examine_duration(spec, tiny_preflight(steps=steps)))


def severities(spec: Spec, steps: int = 1_000) -> list[tuple[str, str]]:
    return [(finding.severity, finding.where) for finding in examine(spec, steps)]


def training(**fields: object) -> Training:
    return Training(**{"steps": 1_000, "batch": BatchSize.samples(8), "optimizer": AdamW(learning_rate=1e-3), **fields})


def test_a_finding_shows_its_place_and_its_hint():
    found = inside_field("masker", Finding.warning("the spans are long", where="length", hint="length=4"))
    assert describe(found) == "masker.length: the spans are long\n         hint: length=4"
    assert describe(Finding.fine("all is well")) == "all is well"
    error = SpecError("too long", where="length", hint="shorten it")
    expected = Finding(severity="error", says="too long", where="masker.length", hint="shorten it")
    assert inside_field("masker", finding_of(error)) == expected


def test_a_spread_of_equal_values_is_one_number():
    assert describe_spread(np.array([3, 3, 3])) == "3"
    assert describe_spread(np.array([1.5, 4, 2000])) == "1.5 to 2,000 (median 4)"


def test_a_spec_without_a_duration_has_no_findings():
    assert examine(BatchSize.samples(4)) == []


@pytest.mark.parametrize("schedule", [Constant(warmup_steps=50), Cosine(warmup_steps=50), TriStage()])
def test_a_short_warmup_is_fine(schedule):
    assert severities(schedule) == [("fine", "")]


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (Constant(warmup_steps=600), "warmup_steps"),
        (Cosine(warmup_steps=600), "warmup_steps"),
        (TriStage(warmup=0.6, hold=0.3), "warmup"),
    ],
)
def test_a_warmup_over_most_of_the_run_is_a_warning(schedule, field):
    (found,) = examine(schedule)
    assert (found.severity, found.where) == ("warning", field)
    assert "rises for 60% of the run" in found.says


def test_a_warmup_that_outlasts_the_run_is_a_warning():
    (found,) = examine(Cosine(warmup_steps=400), steps=100)
    assert (found.severity, found.where) == ("warning", "warmup_steps")
    assert "it rises to 25% of it in 100 steps" in found.says
    assert found.hint == "warmup_steps=10, a tenth of the run"


@attrs.frozen(kw_only=True)
class Late(Schedule):
    """A schedule of a plugin, without the core's fields."""

    def at(self, step: int, steps: int) -> float:
        return float(step >= 0.9 * steps)


def test_a_schedule_of_a_plugin_is_examined_too():
    (found,) = examine(Late())
    assert (found.severity, found.where) == ("warning", "")
    assert "rises for 90% of the run" in found.says


def test_a_training_that_reaches_its_checkpoints_and_evaluations_is_fine():
    plan = training(checkpoint_every=100, evaluate_every=1_000, gradient_accumulation_steps=8)
    assert severities(plan) == []


def test_checkpoints_and_evaluations_that_are_never_reached_are_warnings():
    plan = training(checkpoint_every=1_001, evaluate_every=5_000)
    assert severities(plan) == [
        ("warning", "checkpoint_every"),
        ("warning", "evaluate_every"),
    ]


@pytest.mark.parametrize(("steps", "warned"), [(10_000, False), (10_001, True)])
def test_a_long_run_without_checkpoints_is_a_warning(steps, warned):
    plan = training(steps=steps)
    assert severities(plan, steps) == [("warning", "checkpoint_every")] * warned


def test_more_parts_than_samples_are_a_warning():
    plan = training(gradient_accumulation_steps=9)  # a tiny preflight's batches hold 8 samples
    assert severities(plan) == [("warning", "gradient_accumulation_steps")]


def test_a_weight_decay_that_rises_over_the_whole_run_is_no_warmup():
    rising = Cosine(initial=0.1, final=1.0)
    assert [finding.severity for finding in examine_duration(rising, tiny_preflight(steps=1_000))] == ["warning"]
    assert not list(examine_duration(rising, tiny_preflight(steps=1_000), "training.weight_decay_schedule"))


def test_a_group_that_is_frozen_until_the_end_is_a_warning():
    def groups(steps: int | None) -> list[tuple[str, str]]:
        group = ParameterGroup(parameters="network.*", frozen_steps=steps)
        return severities(training(parameter_groups=(group,), checkpoint_every=100))

    assert groups(999) == groups(None) == severities(training(checkpoint_every=100))
    assert ("warning", "parameter_groups.0.frozen_steps") in groups(1_000)
