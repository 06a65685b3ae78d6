"""`TargetBuilder`."""

from didact.testing import check_target_builder


def test_every_target_builder_keeps_the_contract(target_builder):
    check_target_builder(target_builder.spec)
