"""`TargetBuilder`."""

from didact.testing import check_target_builder, tiny_batch


def test_every_target_builder_keeps_the_contract(target_builder, comparing):
    if target_builder.name.startswith("views/"):
        check_target_builder(target_builder.spec, comparing, tiny_batch(views=3))
    else:
        check_target_builder(target_builder.spec)
