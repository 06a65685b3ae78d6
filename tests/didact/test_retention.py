"""Retention of checkpoints."""

from __future__ import annotations

import math
from types import SimpleNamespace as Namespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didact import AdamW, BatchSize, SpecError, Training
from didact.loop.patience import Patience

CHECKPOINTS = st.dictionaries(
    st.integers(1, 60),
    st.dictionaries(st.sampled_from(["a/x", "a/y"]), st.floats(allow_nan=True, allow_infinity=False)),
    min_size=1,
)


def training(**fields) -> Training:
    return Training(steps=100, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), **fields)


def known(checkpoints, best) -> dict[int, float]:
    """The values of the metric that chooses the best checkpoint, as a run knows them after its last step."""
    patience = Patience(Namespace(training=training(keep_best=best)))
    for step in sorted(checkpoints):
        patience.add(step, checkpoints[step])
    return patience.values


@given(CHECKPOINTS, st.integers(1, 5), st.none() | st.integers(1, 7), st.none() | st.sampled_from(["a/x", "-a/x"]))
def test_each_rule_keeps_its_own_and_nothing_else_is_kept(checkpoints, last, every, best):
    kept = training(keep_checkpoints=last, keep_every=every).keeps(checkpoints, known(checkpoints, best))
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
    rule, held = training(keep_checkpoints=last, keep_every=3), set()
    for step in sorted(checkpoints):
        held = rule.keeps({*held, step}, known(checkpoints, best))
    assert held == rule.keeps(checkpoints, known(checkpoints, best))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"keep_best": "-train/loss"}, "keep_best=-train/loss needs training.checkpoint_every, got None"),
        ({"nonfinite": "rollback"}, "nonfinite=rollback needs training.checkpoint_every, got None"),
        ({"patience": 2}, "patience=2 needs training.keep_best, got None"),
        ({"patience": 2, "keep_best": "digits/linear"}, "patience=2 needs training.evaluate_every, got None"),
    ],
)
def test_a_setting_that_needs_another_one_is_refused_without_it(fields, said):
    with pytest.raises(SpecError, match=said) as caught:
        training(**fields).intervals(["digits"])
    assert caught.value.hint.startswith(("number of steps between", "also keep the checkpoint"))


@pytest.mark.parametrize(
    ("fields", "intervals"),
    [
        ({}, ()),
        ({"keep_every": 8}, (8,)),
        ({"keep_every": 8, "checkpoint_every": 3}, (3, 8)),
        ({"keep_best": "digits/linear", "evaluate_every": 6}, (6,)),
        ({"keep_best": "digits/linear", "checkpoint_every": 4}, (4,)),  # the last checkpoint gets the last evaluation
        ({"keep_best": "-train/loss", "checkpoint_every": 4, "evaluate_every": 6}, (4,)),
    ],
)
def test_checkpoints_are_written_wherever_one_may_be_kept(fields, intervals):
    assert training(**fields).intervals(["digits"]) == intervals


def test_a_misspelt_metric_is_named_with_its_neighbour():
    rule = training(keep_best="digits/liner")
    told = rule.unknown_best(["digits/linear", "digits/knn", "health/rank"])
    assert told is not None
    assert "did you mean digits/linear?" in told
    assert rule.unknown_best([]) is None
    assert training(keep_best="-digits/linear").unknown_best(["digits/linear"]) is None
