"""`Spec`: every registered one is frozen, documented, and survives being data."""

from __future__ import annotations

import pytest

from didact.plugins import registry
from didact.testing import check_spec
from didact.testing.specs import check_spec_class


@pytest.mark.parametrize("name", sorted(registry().specs))
def test_every_registered_spec_class_keeps_the_contract(name):
    check_spec_class(registry().specs[name])


def test_every_encoder_is_a_spec(encoder):
    check_spec(encoder.spec)


def test_every_masker_is_a_spec(masker):
    check_spec(masker.spec)


def test_every_backbone_is_a_spec(backbone):
    check_spec(backbone.spec)


def test_every_target_builder_is_a_spec(target_builder):
    check_spec(target_builder.spec)


def test_every_objective_is_a_spec(objective):
    check_spec(objective.spec)


def test_every_teacher_is_a_spec(teacher):
    check_spec(teacher.spec)


def test_every_source_is_a_spec(source):
    check_spec(source.spec)


def test_every_evaluation_is_a_spec(evaluation):
    check_spec(evaluation.spec)


def test_every_observer_is_a_spec(observer):
    check_spec(observer.spec)


def test_every_part_is_a_spec(part):
    check_spec(part.spec)
