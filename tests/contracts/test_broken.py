"""Plugins that each break one rule: ``didact plugin check`` names that rule, and no other.

Each file of ``broken/`` is a plugin; its header says which rule it breaks.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from didact.cli import cli
from didact.testing import BrokenRule, contract

BROKEN = {path.stem: path for path in sorted((Path(__file__).parent / "broken").glob("*.py"))}
RULES = {
    name: re.search(r"^breaks: (\S+)$", ast.get_docstring(ast.parse(path.read_text())), re.MULTILINE).group(1)
    for name, path in BROKEN.items()
}
pytestmark = pytest.mark.xdist_group("broken")  # they are checked once for all

COMPONENT = re.compile(r"^(\S+)/it  (\S+ \S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def told(site) -> dict[str, str]:
    """What the command line says of each, checked in one go, as one would check a whole environment."""
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
def test_a_plugin_that_breaks_a_rule_is_told_which(name, told):
    text = told[name]
    assert set(re.findall(r"breaks the rule '(\S+)'", text)) == {RULES[name]}, text
    assert f"{name.replace('_', '-')}/it breaks the rule" in text
    assert f"where: {name.replace('_', '-')} 1.2, " in text
    assert f"broken/{name}.py:" in text
    assert re.search(r"seen: +\S", text)
    assert re.search(r"mend: +\S", text)


def test_pytest_fails_with_the_same_words(told):
    (check,) = [check for check in contract("silent-masker/it") if check.rule.name == "documentation"]
    with pytest.raises(BrokenRule) as caught:
        check()
    assert caught.value.rule.name == "documentation"
    assert (caught.value.component, caught.value.distribution) == ("silent-masker/it", "silent-masker 1.2")
    for line in str(caught.value).splitlines():
        assert line.strip() in told["silent_masker"]
