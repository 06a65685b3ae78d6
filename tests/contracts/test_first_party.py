"""Everything that this repository's distributions register keeps the rules of `didact plugin check`.

The examples are those that each plugin's `didact_examples` names; a component without one breaks the rule `examples`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from didact.plugins import registry
from didact_kit import RULES, contract
from didact_stores import Medium

ROOT = Path(__file__).parents[2]


def ours() -> list[str]:
    """The plugins of this repository's distributions."""
    manifests = [tomllib.loads(path.read_text()) for path in ROOT.glob("plugins/*/pyproject.toml")]
    distributions = {"didact"} | {manifest["project"]["name"] for manifest in manifests}
    return [plugin.name for plugin in registry().plugins if plugin.distribution in distributions]


CHECKS = contract(*ours())


@pytest.mark.parametrize(
    "check",
    # the checks of a component share what they compute, so one process makes them
    [pytest.param(check, id=str(check), marks=pytest.mark.xdist_group(check.case.name)) for check in CHECKS],
)
def test_everything_first_party_keeps_the_contract(check):
    check()


def test_every_rule_is_tried_on_something():
    tried = {(check.rule.name, check.case.kind) for check in CHECKS}
    idle = [(rule.name, kind) for rule in RULES for kind in rule.kinds if (rule.name, kind) not in tried]
    assert idle == []


def test_no_two_media_claim_one_suffix():
    claimed: dict[str, str] = {}
    for name, medium in registry().of_kind(Medium).items():
        for suffix in medium.suffixes:
            assert claimed.setdefault(suffix, name) == name, f"{suffix} is claimed by {claimed[suffix]} and {name}"
    assert claimed
