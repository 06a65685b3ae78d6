"""The contract as rules, for everybody who brings parts.

A plugin's test is its contract, rule by rule; ``didact plugin check stripes`` says the same::

    @pytest.mark.parametrize("check", contract("stripes"), ids=str)
    def test_stripes_keep_the_contract(check):
        check()

What is not registered is checked by kind. Each ``check_…`` takes a part and what it must be tried on, tries every rule
of its kind, and raises `BrokenRule` with the rule, what was seen, and how to mend it::

    check_masker(StripesMasker(every=3), layouts=[Layout((20,)), Layout((4, 5))])

The ``Tiny…`` parts are the smallest that keep the contract: what stands beside the part under test. All rules are in
`didact.testing.table`.
"""

from didact.testing.checking import contract
from didact.testing.examples import Case, Example
from didact.testing.kinds import (
    check_backbone,
    check_command,
    check_encoder,
    check_evaluation,
    check_masker,
    check_medium,
    check_objective,
    check_observer,
    check_source,
    check_spec,
    check_target_builder,
    check_teacher,
)
from didact.testing.rules import BrokenRule, Check, NotJudged, Rule, Verdict
from didact.testing.table import RULES
from didact.testing.tiny import (
    TinyBackbone,
    TinyEncoder,
    TinyMasker,
    TinyWords,
    tiny_batch,
    tiny_network,
    tiny_preflight,
)
from didact.testing.tiny_method import TinyObjective, TinyTargets, TinyTeacher
from didact.testing.tiny_sources import NoiseSource, TinySource

__all__ = [
    "RULES",
    "BrokenRule",
    "Case",
    "Check",
    "Example",
    "NoiseSource",
    "NotJudged",
    "Rule",
    "TinyBackbone",
    "TinyEncoder",
    "TinyMasker",
    "TinyObjective",
    "TinySource",
    "TinyTargets",
    "TinyTeacher",
    "TinyWords",
    "Verdict",
    "check_backbone",
    "check_command",
    "check_encoder",
    "check_evaluation",
    "check_masker",
    "check_medium",
    "check_objective",
    "check_observer",
    "check_source",
    "check_spec",
    "check_target_builder",
    "check_teacher",
    "contract",
    "tiny_batch",
    "tiny_network",
    "tiny_preflight",
]
