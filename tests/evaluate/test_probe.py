"""The probe: accuracies of the trained network and of the controls, and the errors."""

import attrs
import numpy as np
import pytest
import torch

from didact import DataError, SpecError
from didact.serialization import from_data, to_data
from didact_evaluate import Probe
from didact_evaluate.labelled import open_pair

CONTROLS = {"linear_random", "knn_random", "linear_raw", "knn_raw"}


def _probe(world, **changes):
    fields = {"train": world.Sequences(), "test": world.Sequences(seed=1, count=30)}
    return Probe(**{**fields, **changes})


def test_classes_that_the_network_keeps_apart_are_told_apart(world):
    metrics = _probe(world).evaluate(world.Judged(world.experiment())).metrics
    assert metrics["linear"] > 90
    assert metrics["knn"] > 90
    assert set(metrics) == {"linear", "knn", *CONTROLS}
    assert all(0 <= value <= 100 for value in metrics.values())


def test_labels_by_chance_are_told_apart_by_chance(world):
    source = world.Sequences(names=("a", "a2", "a3"), count=120)  # the content follows the first letter
    metrics = (
        _probe(world, train=source, test=attrs.evolve(source, seed=1))
        .evaluate(world.Judged(world.experiment()))
        .metrics
    )
    assert all(value < 65 for value in metrics.values())


def test_controls_are_judged_after_the_last_step_only(world):
    experiment = world.experiment()
    assert set(_probe(world).evaluate(world.Judged(experiment, step=4)).metrics) == {"linear", "knn"}
    assert set(_probe(world, controls=False).evaluate(world.Judged(experiment)).metrics) == {"linear", "knn"}


def test_the_random_control_is_the_network_before_the_first_step(world):
    experiment = world.experiment()
    state = world.Judged(experiment)
    state.student = state.untrained
    metrics = _probe(world).evaluate(state).metrics
    assert metrics["linear"] == metrics["linear_random"]
    assert metrics["knn"] == metrics["knn_random"]


def test_the_network_that_is_named_is_judged(world):
    state = world.Judged(world.experiment())
    asked = []
    student, teacher = state.student, state.teacher
    state.student = lambda: asked.append("student") or student()
    state.teacher = lambda: asked.append("teacher") or teacher()
    _probe(world).evaluate(state)
    _probe(world, network="teacher").evaluate(state)
    assert asked == ["student", "teacher"]


def test_a_source_without_raw_features_has_no_raw_control(world):
    @attrs.frozen(kw_only=True)
    class Plain(world.Sequences):
        """Names no raw features."""

        def raw_features(self, content):
            raise NotImplementedError

    metrics = _probe(world, train=Plain(), test=Plain(seed=1)).evaluate(world.Judged(world.experiment())).metrics
    assert set(metrics) == {"linear", "knn", "linear_random", "knn_random"}


def test_without_neighbours_there_is_no_vote(world):
    metrics = _probe(world, neighbours=0, controls=False).evaluate(world.Judged(world.experiment())).metrics
    assert set(metrics) == {"linear"}


def test_twice_the_same_is_twice_the_same(world):
    probe = _probe(world, limit=20)
    one, other = (probe.evaluate(world.Judged(world.experiment())).metrics for _ in range(2))
    assert one == other


def test_a_limit_takes_the_same_samples_every_time(world):
    train, test = open_pair(world.Sequences(), world.Sequences(count=40), 10)
    again, _ = open_pair(world.Sequences(), world.Sequences(count=40), 10)
    assert len(train.labels) == len(test.labels) == 10
    assert (train.indices == again.indices).all()
    assert len(set(train.indices.tolist())) == 10


def test_a_limit_takes_of_each_class_its_share(world):
    names = tuple(f"{letter}{number}" for letter in "ab" for number in range(20))
    present = tuple(range(40))
    many = world.Sequences(names=names, present=present, count=400)
    fewer = world.Sequences(names=names, present=present, count=200, seed=1)
    train, test = open_pair(many, fewer, 80)
    assert len(train.labels) == 80
    whole = np.bincount(open_pair(many, fewer, None)[0].labels, minlength=40)
    share = 80 / 400 * whole
    assert (np.abs(np.bincount(train.labels, minlength=40) - share) < 1).all()
    assert set(test.labels.tolist()) <= set(train.labels.tolist())
    train, test = open_pair(many, fewer, 10)  # fewer than there are classes
    assert len(train.labels) == 10
    assert 0 < len(test.labels) <= 10
    assert set(test.labels.tolist()) <= set(train.labels.tolist())


def test_classes_are_matched_by_name(world):
    train = world.Sequences(names=("a", "b", "c"), present=(1, 2))
    test = world.Sequences(names=("c", "b"), present=(0, 1))
    known, asked = open_pair(train, test, None)
    assert known.classes == asked.classes == ("b", "c")
    for part in (known, asked):
        names = [part.samples.classes[label] for label in part.samples.labels]
        assert [part.classes[label] for label in part.labels] == names


def test_samples_without_a_label_are_left_out(world):
    known, _ = open_pair(world.Sequences(present=(0, -1, 1)), world.Sequences(present=(0, 1)), None)
    assert len(known.labels) == 40
    assert set(known.labels.tolist()) == {0, 1}


@pytest.mark.parametrize("field", ["train", "test"])
@pytest.mark.parametrize("changes", [{"labelled": False}, {"present": (-1,)}])
def test_no_labels_at_all_is_an_error_before_the_first_step(world, field, changes):
    probe = _probe(world, **{field: world.Sequences(**changes)})
    with pytest.raises(DataError, match="none of the 60 samples has a label") as caught:
        probe.prepare(world.experiment())
    assert caught.value.where == field
    assert "ingest" in caught.value.hint


def test_a_class_that_was_never_trained_is_an_error(world):
    probe = _probe(world, train=world.Sequences(present=(0, 1)), test=world.Sequences(names=("a", "b", "zebra")))
    with pytest.raises(DataError, match="'zebra'") as caught:
        probe.prepare(world.experiment())
    assert "'a', 'b'" in caught.value.hint


def test_a_single_class_is_an_error(world):
    with pytest.raises(DataError, match="of the class 'b'"):
        _probe(world, train=world.Sequences(present=(1,))).prepare(world.experiment())


def test_samples_of_another_signal_are_an_error(world):
    probe = _probe(world, test=world.Sequences(rate_hz=50))
    with pytest.raises(SpecError, match="rate_hz 50, not 100"):
        probe.prepare(world.experiment())


def test_samples_of_one_size_fit_a_network_for_any_size_and_not_the_reverse(world):
    fixed = world.Sequences(values=16)
    _probe(world, test=fixed, controls=False).evaluate(world.Judged(world.experiment()))
    with pytest.raises(SpecError, match=r"axes \(None,\), not \(16,\)"):
        _probe(world).prepare(world.experiment(source=fixed))


@pytest.mark.parametrize(("field", "value"), [("blocks", 0), ("neighbours", -1), ("limit", 1)])
def test_values_out_of_range_are_refused(world, field, value):
    with pytest.raises(SpecError, match=f"Probe.{field} must be at least"):
        _probe(world, **{field: value})


def test_a_probe_turns_into_data_and_back(world):
    names = {"probe": Probe, "sequences": world.Sequences}
    probe = _probe(world, blocks=2, limit=100)
    data = to_data(probe, {cls: name for name, cls in names.items()}.get)
    assert from_data(data, Probe, names.__getitem__) == probe


def test_it_runs_where_gradients_are_switched_off(world):
    with torch.inference_mode():
        metrics = _probe(world).evaluate(world.Judged(world.experiment())).metrics
    assert metrics["linear"] > 90
