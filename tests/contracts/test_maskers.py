"""`Masker`."""

from didact.testing import check_masker


def test_every_masker_keeps_the_contract(masker, layouts):
    check_masker(masker.spec, layouts(masker.name))
