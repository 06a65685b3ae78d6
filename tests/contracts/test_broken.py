"""Plugins that each break one rule: ``didact plugin check`` reports that rule, and no other.

Each file of ``broken/`` is a plugin; its header says which rule it breaks.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from didact.cli import cli
from didact_kit import BrokenRule, contract

BROKEN = {path.stem: path for path in sorted((Path(__file__).parent / "broken").glob("*.py"))}
RULES = {
    name: re.search(r"^breaks: (\S+)$", ast.get_docstring(ast.parse(path.read_text())), re.MULTILINE).group(1)
    for name, path in BROKEN.items()
}
pytestmark = pytest.mark.xdist_group("broken")  # one command checks all of them

COMPONENT = re.compile(r"^(\S+)/it  (\S+ \S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def reports(site) -> dict[str, str]:
    """The command line's report of each plugin, all checked by one command."""
    names = [site.install(path.parent, module) for module, path in BROKEN.items()]
    result = CliRunner().invoke(cli, ["plugin", "check", *names])
    assert result.exit_code == 1, result.output
    found = list(COMPONENT.finditer(result.output))
    ends = [*(match.start() for match in found[1:]), len(result.output)]
    return {m.group(1).replace("-", "_"): result.output[m.start() : end] for m, end in zip(found, ends, strict=True)}


def test_there_are_a_dozen_and_more():
    assert len(BROKEN) >= 12
    assert len(set(RULES.values())) >= 12


@pytest.mark.parametrize("name", BROKEN)
def test_the_rule_that_a_plugin_breaks_is_reported(name, reports):
    text = reports[name]
    assert set(re.findall(r"breaks the rule '(\S+)'", text)) == {RULES[name]}, text
    assert f"{name.replace('_', '-')}/it breaks the rule" in text
    assert f"where: {name.replace('_', '-')} 1.2, " in text
    assert f"broken/{name}.py:" in text
    assert re.search(r"seen: +\S", text)
    assert re.search(r"hint: +\S", text)


def test_pytest_fails_with_the_same_words(reports):
    (check,) = [check for check in contract("silent-masker/it") if check.rule.name == "documentation"]
    with pytest.raises(BrokenRule) as caught:
        check()
    assert caught.value.rule.name == "documentation"
    assert (caught.value.component, caught.value.distribution) == ("silent-masker/it", "silent-masker 1.2")
    for line in str(caught.value).splitlines():
        assert line.strip() in reports["silent_masker"]
