"""`Source` and `Samples`."""

from didact.testing import check_source


def test_every_source_keeps_the_contract(source):
    check_source(source.spec)
