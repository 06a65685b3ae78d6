"""The contract of didact as checks, for authors of plugins.

A plugin can be tested against the contract, rule by rule; ``didact plugin check stripes`` runs the same checks::

    @pytest.mark.parametrize("check", contract("stripes"), ids=str)
    def test_stripes_keep_the_contract(check):
        check()

A part that is not registered is checked by its kind. Each function ``check_…`` takes a part and the other parts of an
experiment, applies every rule of the kind, and raises `BrokenRule` with the rule, what was seen, and a hint::

    check_masker(StripesMasker(every=3), layouts=[Layout((20,)), Layout((4, 5))])

The ``Tiny…`` parts are the smallest parts that follow the contract, for the experiment around a part under test. All
rules are in `didact_kit.table`.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
