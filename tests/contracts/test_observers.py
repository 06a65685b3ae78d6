"""`Observer`."""

from didact.testing import check_observer


def test_every_observer_keeps_the_contract(observer):
    check_observer(observer.spec)
