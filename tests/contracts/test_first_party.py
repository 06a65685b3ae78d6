"""Everything that this repository's distributions register keeps the rules of `didact plugin check`.

The examples are those of each plugin's `didact_examples`; what is not installed is not tested, and what has no example
breaks the rule of that name.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from didact.plugins import registry
from didact.testing import RULES, contract

ROOT = Path(__file__).parents[2]


def ours() -> list[str]:
    """The plugins of this repository's distributions."""
    manifests = [tomllib.loads(path.read_text()) for path in ROOT.glob("plugins/*/pyproject.toml")]
    distributions = {"didact"} | {manifest["project"]["name"] for manifest in manifests}
    return [p.name for p in registry().plugins if p.distribution in distributions and p.name != "didact"]


CHECKS = contract(*ours())


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_everything_first_party_keeps_the_contract(check):
    check()


def test_every_rule_is_tried_on_something():
    tried = {(check.rule.name, check.case.kind) for check in CHECKS}
    idle = [(rule.name, kind) for rule in RULES for kind in rule.kinds if (rule.name, kind) not in tried]
    assert idle == []


def test_no_two_media_claim_one_suffix():
    claimed: dict[str, str] = {}
    for kind, medium in registry().of_kind("didact_media").items():
        for suffix in medium.suffixes:
            assert claimed.setdefault(suffix, kind) == kind, f"{suffix} is claimed by {claimed[suffix]} and {kind}"
