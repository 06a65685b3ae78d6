"""Findings, and what schedules and the training think of a run's length."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from didact import Constant, Cosine, Finding, Preflight, Spec, SpecError, Spread, Training, TriStage, samples
from didact.testing import check_spec, tiny_preflight


def severities(spec: Spec, preflight: Preflight) -> list[tuple[str, str]]:
    return [(finding.severity, finding.where) for finding in spec.examine(preflight)]


def training(**fields: object) -> Training:
    return Training(**{"steps": 1_000, "batch": samples(8), "learning_rate": 1e-3, **fields})


def test_a_finding_is_told_with_its_place_and_its_mend():
    found = Finding.warning("the spans are long", where="length", mend="length=4").at("masker")
    assert str(found) == "masker.length: the spans are long\n         mend: length=4"
    assert str(Finding.fine("all is well")) == "all is well"
    assert Finding.of(SpecError("too long", where="length", mend="shorten it")).at("masker") == Finding.error(
        "too long", where="masker.length", mend="shorten it"
    )


def test_a_spread_is_told_by_one_number_where_there_is_one():
    assert str(Spread.of(np.array([3, 3, 3]))) == "3"
    assert str(Spread.of(np.array([1.5, 4, 2000]))) == "1.5 to 2,000 (median 4)"


def test_a_spec_thinks_nothing_by_default():
    assert list(samples(4).examine(tiny_preflight())) == []


@pytest.mark.parametrize("schedule", [Constant(warmup_steps=50), Cosine(warmup_steps=50), TriStage()])
def test_a_short_warmup_is_fine(schedule):
    assert severities(schedule, tiny_preflight(steps=1_000)) == [("fine", "")]


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (Constant(warmup_steps=600), "warmup_steps"),
        (Cosine(warmup_steps=600), "warmup_steps"),
        (TriStage(warmup=0.6, hold=0.3), "warmup"),
    ],
)
def test_a_warmup_over_most_of_the_run_is_warned_of(schedule, field):
    (found,) = schedule.examine(tiny_preflight(steps=1_000))
    assert (found.severity, found.where) == ("warning", field)
    assert "rises for 60% of the run" in found.says


def test_a_warmup_that_outlasts_the_run_is_warned_of():
    (found,) = Cosine(warmup_steps=400).examine(tiny_preflight(steps=100))
    assert (found.severity, found.where) == ("warning", "warmup_steps")
    assert "100 steps bring it to 25% of it" in found.says
    assert found.mend == "warmup_steps=10, a tenth of the run"


def test_a_training_whose_checkpoints_and_evaluations_come_is_fine():
    plan = training(checkpoint_every=100, evaluate_every=1_000, micro_batches=8)
    assert severities(plan, tiny_preflight(training=plan)) == []


def test_checkpoints_and_evaluations_that_never_come_are_warned_of():
    plan = training(checkpoint_every=1_001, evaluate_every=5_000)
    assert severities(plan, tiny_preflight(training=plan)) == [
        ("warning", "checkpoint_every"),
        ("warning", "evaluate_every"),
    ]


@pytest.mark.parametrize(("steps", "warned"), [(10_000, False), (10_001, True)])
def test_a_long_run_without_checkpoints_is_warned_of(steps, warned):
    plan = training(steps=steps)
    assert severities(plan, tiny_preflight(training=plan)) == [("warning", "checkpoint_every")] * warned


def test_more_micro_batches_than_samples_are_warned_of():
    plan = training(micro_batches=9)  # a tiny preflight's batches hold 8 samples
    assert severities(plan, tiny_preflight(training=plan)) == [("warning", "micro_batches")]


def test_the_contract_wants_a_mend_and_a_field():
    @attrs.frozen(kw_only=True)
    class Careless(Constant):
        """Warns and does not help."""

        def examine(self, preflight):
            yield Finding(severity="warning", says="something is odd")

    @attrs.frozen(kw_only=True)
    class Elsewhere(Constant):
        """Speaks of what it does not have."""

        def examine(self, preflight):
            yield Finding.fine("all is well", where="masker.length")

    with pytest.raises(AssertionError, match="does not say how to mend"):
        check_spec(Careless())
    with pytest.raises(AssertionError, match="none of its fields"):
        check_spec(Elsewhere())
    check_spec(Cosine())
