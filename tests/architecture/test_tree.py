"""The places and names of files."""

from __future__ import annotations

import ast

import pytest

ROOT_ENTRIES = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "docs",
    "experiments",
    "platform",
    "plugins",
    "pyproject.toml",
    "tests",
}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base_utils", "functions", "tools"}


def test_the_root_holds_what_the_design_names(tree):
    assert {name.split("/")[0] for name in tree.tracked()} <= ROOT_ENTRIES


def test_platform_is_no_package(tree):
    assert not (tree.root / "platform" / "__init__.py").exists(), "it would shadow the standard library's platform"


def test_tests_are_no_packages_and_do_not_shadow_the_standard_library(tree):
    assert [name for name in tree.tracked() if name.startswith("tests/") and name.endswith("__init__.py")] == []
    assert not (tree.root / "tests" / "platform").exists()


def test_files_are_nouns_of_the_field(tree):
    names = [name for name in tree.tracked() if name.endswith(".py")]
    assert [name for name in names if name.rpartition("/")[2].removesuffix(".py").strip("_") in NAMELESS] == []


def test_every_distribution_is_typed_and_introduces_itself(tree):
    for distribution in tree.all:
        assert (distribution.folder / "src" / distribution.package / "py.typed").exists()
        readme = (distribution.folder / "README.md").read_text()
        assert readme.startswith(f"# {distribution.name}\n")
        assert len(readme.split()) > 60, f"{distribution.name}'s README says what it brings"


def test_every_module_says_what_it_is(tree):
    silent = [
        str(path.relative_to(tree.root))
        for distribution in tree.all
        for path in distribution.sources()
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, "\n" + "\n".join(silent)


def test_every_experiment_opens_with_its_claim_cost_and_command(tree):
    for path in sorted((tree.root / "experiments").rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        where = path.relative_to(tree.root).as_posix()
        for word in ("claim", "cost", "expected", "command"):
            assert f"{word}:" in text.lower(), f"{where}: its header says the {word}"
        assert f"didact run {where}" in text, f"{where}: its header gives the command"


def test_no_file_names_a_place_of_someones_machine(tree):
    import re

    wrong = re.compile(r"(/home/\w+|/root/|/Users/\w+|/work/)")
    for name in tree.tracked():
        path = tree.root / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".json"} and name != "tests/architecture/test_tree.py":
            found = wrong.search(path.read_text(errors="replace"))
            assert found is None, f"{name} names {found.group() if found else ''}"


@pytest.mark.xdist_group("together")
def test_the_tests_of_a_group_stay_on_one_process(request):
    """A version of pytest that pytest-xdist does not fit loses the groups without a word, and fixtures are repeated."""
    shared = hasattr(request.config, "workerinput")
    assert request.node.nodeid.endswith("@together") == shared
