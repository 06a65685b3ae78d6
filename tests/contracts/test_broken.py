"""Plugins that each have one mistake: ``didact plugin check`` reports the rule that means it.

Each file of ``broken/`` is a plugin. Its header names the rule that must report the mistake (``breaks:``), or says
``crashed``. Some mistakes break more rules, each of which means them: ``also:`` lists these. No other rule may be
reported, because its hint would be of no use.
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
HEADERS = {name: ast.get_docstring(ast.parse(path.read_text())) for name, path in BROKEN.items()}
RULES = {name: re.search(r"^breaks: (\S+)$", header, re.MULTILINE).group(1) for name, header in HEADERS.items()}
ALSO = {
    name: set(found.group(1).split(", ")) if (found := re.search(r"^also: (.+)$", header, re.MULTILINE)) else set()
    for name, header in HEADERS.items()
}
MOST = 15  # plugins that one command checks; the commands are shared out among the processes that test
GROUPS = [list(BROKEN)[start : start + MOST] for start in range(0, len(BROKEN), MOST)]

COMPONENT = re.compile(r"^(\S+)/it  (\S+ \S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def reports(site):
    """Returns the command line's report of a plugin, by its module; some plugins are checked by one command."""
    found: dict[str, str] = {}

    def report(module: str) -> str:
        if module not in found:
            group = next(group for group in GROUPS if module in group)
            names = [site.install(BROKEN[each].parent, each) for each in group]
            result = CliRunner().invoke(cli, ["plugin", "check", *names])
            assert result.exit_code == 1, result.output
            starts = list(COMPONENT.finditer(result.output))
            ends = [*(match.start() for match in starts[1:]), len(result.output)]
            for match, end in zip(starts, ends, strict=True):
                found[match.group(1).replace("-", "_")] = result.output[match.start() : end]
        return found[module]

    return report


def test_there_are_as_many_as_were_missed_and_more():
    assert len(BROKEN) >= 47
    assert len(set(RULES.values())) >= 25


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xdist_group(f"broken-{number}"))
        for number, group in enumerate(GROUPS)
        for name in group
    ],
)
def test_the_rule_that_a_plugin_breaks_is_reported(name, reports):
    text, plugin = reports(name), name.replace("_", "-")
    broken, crashed = (re.findall(pattern, text) for pattern in (r"breaks the rule '(\S+)'", r"crashed when the rule"))
    assert set(broken) | ({"crashed"} if crashed else set()) <= {RULES[name]} | ALSO[name], text
    assert RULES[name] in ("crashed" if crashed else "", *broken), text
    assert len(crashed) <= 1, text
    assert f"{plugin}/it " in text
    assert f"where: {plugin} 1.2, " in text
    assert f"broken/{name}.py:" in text
    assert ", example 1 of 1: " in text
    assert re.search(r"seen: +\S", text)
    assert re.search(r"hint: +\S", text)
    if crashed:
        assert "Traceback (most recent call last):" in text
        assert re.search(r"not judged because of these errors: \w+, ", text)


@pytest.mark.xdist_group("broken-0")
def test_pytest_fails_with_the_same_words(reports):
    report = reports("silent_masker")
    (check,) = [check for check in contract("silent-masker/it") if check.rule.name == "documentation"]
    with pytest.raises(BrokenRule) as caught:
        check()
    assert caught.value.rule.name == "documentation"
    assert (caught.value.component, caught.value.distribution) == ("silent-masker/it", "silent-masker 1.2")
    for line in str(caught.value).splitlines():
        assert line.strip() in report
