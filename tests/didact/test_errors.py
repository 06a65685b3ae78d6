"""Errors with a message, a place and a hint."""

from __future__ import annotations

import pickle

import pytest

from didact import DataError, DidactError, PluginError, RunError, SpecError
from didact.errors import did_you_mean, of_field

KINDS = (DidactError, SpecError, DataError, PluginError, RunError)


def test_the_message_says_what_where_and_how_to_mend_in_this_order():
    error = SpecError("K is 13", where="targets.k", hint="at most 12")
    assert str(error) == "K is 13\n  where: targets.k\n  hint:  at most 12"


def test_what_nobody_knows_is_left_out():
    assert str(DataError("gone")) == "gone"
    assert str(DataError("gone", hint="look")) == "gone\n  hint:  look"


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_is_closer_to_the_user_adds_the_outer_place(kind):
    error = kind("odd", where="masker.length").at('experiment "mine"').at("mine.py")
    assert type(error) is kind
    assert error.where == 'mine.py, experiment "mine", masker.length'
    assert kind("odd").at("mine.py").where == "mine.py"


@pytest.mark.parametrize(
    ("where", "seen"),
    [
        ("", "objective"),
        ("beta", "objective.beta"),
        ("head.groups", "objective.head.groups"),
        ("experiment.masker", "experiment.masker"),  # another part's
        ("layers.7.my-head", "objective.layers.7.my-head"),
        ("stores/a.wav, patch", "objective, stores/a.wav, patch"),  # no field
    ],
)
def test_a_field_is_named_as_it_is_seen_from_the_experiment(where, seen):
    with pytest.raises(SpecError) as caught, of_field("objective"):
        raise SpecError("odd", where=where, hint="so")
    assert (caught.value.where, caught.value.hint) == (seen, "so")
    with pytest.raises(DataError) as caught, of_field("source"):
        raise DataError("gone", where="digits.tsv")
    assert caught.value.where == "source, digits.tsv"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_a_process_whole(kind):
    error = kind("odd", where="here", hint="so")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.hint) == ("odd", "here", "so")


def test_a_near_word_is_suggested_and_else_all_are_listed():
    assert did_you_mean("maskre", ["masker", "targets"]) == "did you mean masker?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", []) == "none is known"
