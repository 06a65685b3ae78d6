"""Retention of checkpoints."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didact import AdamW, BatchSize, SpecError, Training
from didact.training import Retention

CHECKPOINTS = st.dictionaries(
    st.integers(1, 60), st.dictionaries(st.sampled_from(["a/x", "a/y"]), st.floats(allow_nan=True)), min_size=1
)


@given(CHECKPOINTS, st.integers(1, 5), st.none() | st.integers(1, 7), st.none() | st.sampled_from(["a/x", "-a/x"]))
def test_each_rule_keeps_its_own_and_nothing_else_is_kept(checkpoints, last, every, best):
    kept = Retention(last=last, every=every, best=best).keeps(checkpoints)
    newest = set(sorted(checkpoints, reverse=True)[:last])
    regular = {step for step in checkpoints if every and step % every == 0}
    assert newest | regular <= kept <= set(checkpoints)
    others = kept - newest - regular
    assert len(others) <= 1
    values = {step: known["a/x"] for step, known in checkpoints.items() if not math.isnan(known.get("a/x", math.nan))}
    if best is None or not values:
        assert not others
        return
    extreme = min(values.values()) if best.startswith("-") else max(values.values())
    assert max(step for step in values if values[step] == extreme) in kept
    assert others <= {step for step in values if values[step] == extreme}


@given(CHECKPOINTS, st.integers(1, 5), st.sampled_from([None, "a/x", "-a/x"]))
def test_what_was_deleted_is_never_missed_later(checkpoints, last, best):
    """Pruning after each checkpoint leaves what pruning once at the end would, but for what was best in between."""
    rule, held = Retention(last=last, every=3, best=best), {}
    for step in sorted(checkpoints):
        held[step] = checkpoints[step]
        held = {step: held[step] for step in rule.keeps(held)}
    assert set(held) == rule.keeps(checkpoints)


def training(**fields) -> Training:
    return Training(steps=100, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"keep_every": 10}, r"keep_every=10 needs checkpoints, and training.checkpoint_every=None writes none"),
        ({"keep_every": 10, "checkpoint_every": 4}, "writes not all"),
        ({"keep_best": "digits/linear", "checkpoint_every": 4, "evaluate_every": 6}, "evaluate_every=6 needs"),
        ({"keep_best": "-train/loss", "checkpoint_every": 4, "log_every": 3}, "log_every=3 needs"),
    ],
)
def test_a_rule_that_would_find_no_checkpoint_is_refused(fields, said):
    with pytest.raises(SpecError, match=said):
        training(**fields).require_what_is_kept(["digits"])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keep_every": 8, "checkpoint_every": 4},
        {"keep_best": "digits/linear", "checkpoint_every": 3, "evaluate_every": 6},
        {"keep_best": "digits/linear", "checkpoint_every": 4},  # the last checkpoint gets the last evaluation
        {"keep_best": "-train/loss", "checkpoint_every": 6, "log_every": 3},
    ],
)
def test_rules_that_meet_are_accepted(fields):
    training(**fields).require_what_is_kept(["digits"])


def test_a_misspelt_metric_is_named_with_its_neighbour():
    rule = Retention(last=1, best="digits/liner")
    told = rule.unknown(["digits/linear", "digits/knn", "health/rank"])
    assert told is not None
    assert "did you mean digits/linear?" in told
    assert rule.unknown([]) is None
    assert Retention(last=1, best="-digits/linear").unknown(["digits/linear"]) is None
