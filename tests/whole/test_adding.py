"""``didact plugin add`` writes a component's file; with the printed lines pasted, the plugin keeps the contract."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from didact import PluginError
from didact.cli import cli
from didact.plugins import registry
from didact_kit import contract
from didact_kit.scaffold.adding import add
from didact_kit.scaffold.experiments import usage
from didact_kit.scaffold.kinds import KINDS
from didact_kit.scaffold.writing import write

PASTE = re.compile(r"^# (?P<file>\S+), (?P<place>[^\n]+):\n(?P<lines>.*?)\n\n", re.MULTILINE | re.DOTALL)


def made(folder: Path, name: str = "stripes", kind: str = "masker") -> Path:
    written, _ = write(name, kind, folder)
    return written


def texts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def paste(output: str) -> None:
    """Does what the command's output says, as its reader would."""
    pastes = list(PASTE.finditer(output))
    assert pastes
    for found in pastes:
        path, place, lines = Path(found["file"]), found["place"], found["lines"].split("\n")
        text = path.read_text().split("\n")
        if place == "at the end":
            at = len(text)
        elif place == "after the imports":
            imports = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom))
            at = max(node.end_lineno for node in imports)
        else:  # "in what FUNCTION returns": before the brace that closes it
            (name,) = re.findall(r"in what (\w+) returns", place)
            (function,) = (
                node
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.FunctionDef) and node.name == name
            )
            at = function.body[-1].end_lineno - 1
        path.write_text("\n".join([*text[:at], *lines, *text[at:]]) + "\n")


@pytest.fixture(scope="module")
def pasted(site, tmp_path_factory) -> dict[str, str]:
    """For each kind, a plugin of another kind to which one was added by the command; their names."""
    folder, names = tmp_path_factory.mktemp("pasted"), {}
    for number, kind in enumerate(KINDS):
        first = list(KINDS)[(number + 1) % len(KINDS)]
        name = f"first-{number}"
        place = made(folder / name, name, first)
        result = CliRunner().invoke(cli, ["plugin", "add", "second", "--kind", kind, "--to", str(place)])
        assert result.exit_code == 0, result.output
        paste(result.output)
        site.install(place / "src", f"didact_first_{number}.plugin", name, f"didact-{name}")
        names[kind] = name
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_the_printed_lines_pasted_pass_the_check(kind, pasted):
    name = pasted[kind]
    (plugin,) = [plugin for plugin in registry().plugins if plugin.name == name]
    assert (plugin.failure, plugin.warning) == ("", "")
    cls = registry().class_of(f"{name}/second")
    assert cls.__name__ == f"Second{KINDS[kind].suffix}"
    checks = [check for check in contract(name) if not check.rule.dear]
    assert {f"{name}/second", name} < {check.case.name for check in checks}
    verdicts = [check.judge() for check in checks]
    assert [str(verdict.broken) for verdict in verdicts if verdict.broken is not None] == []
    package = __import__(cls.__module__.partition(".")[0])
    assert getattr(package, cls.__name__) is cls


def test_two_of_a_kind_share_a_hook(tmp_path):
    folder = made(tmp_path / "plugin")
    second = add("long", "masker", folder)
    third = add("stripes/longer-masker", "masker", folder)
    assert [addition.module.name for addition in (second, third)] == ["long_masking.py", "longer_masking.py"]
    assert second.pastes[0].place == third.pastes[0].place == "in what didact_maskers returns"
    assert second.pastes[0].lines.strip() == '"long": "didact_stripes.long_masking:LongMasker",'


def test_the_first_of_a_kind_gets_its_hook_and_is_written_as_in_a_new_plugin(tmp_path):
    folder = made(tmp_path / "masker")
    addition = add("target-builder", "target-builder", folder)  # named as in a new plugin
    alone = made(tmp_path / "targets", kind="target-builder")
    package = Path("src") / "didact_stripes"
    assert addition.module.read_text() == (alone / package / "targets.py").read_text()
    registered, imported, examples, exported = (paste.lines for paste in addition.pastes)
    assert registered in (alone / package / "plugin.py").read_text()
    assert examples in (alone / package / "examples.py").read_text()
    assert imported.splitlines()[-1] in (alone / package / "examples.py").read_text()
    assert exported in (alone / package / "__init__.pyi").read_text()


def test_no_file_is_changed_and_one_is_written(tmp_path):
    folder = made(tmp_path / "plugin")
    before = texts(folder)
    addition = add("slow", "teacher", folder)
    after = texts(folder)
    assert set(after) - set(before) == {"src/didact_stripes/teacher.py"}
    assert {path: after[path] for path in before} == before
    assert addition.component == "stripes/slow"


def test_a_plugin_without_a_stub_exports_in_its_init(tmp_path):
    folder = made(tmp_path / "plugin")
    (folder / "src" / "didact_stripes" / "__init__.pyi").unlink()
    export = add("slow", "teacher", folder).pastes[-1]
    assert export.file.name == "__init__.py"
    assert export.lines == "from didact_stripes.teacher import SlowTeacher"


def test_a_file_is_never_overwritten(tmp_path):
    folder = made(tmp_path / "plugin")
    source = folder / "src" / "didact_stripes"
    (source / "teacher.py").write_text("mine = 1\n")
    (source / "slow_teacher.py").write_text("mine = 2\n")
    with pytest.raises(PluginError, match=r"there is a file slow_teacher\.py already"):
        add("slow", "teacher", folder)
    assert (source / "teacher.py").read_text() == "mine = 1\n"


@pytest.mark.parametrize(
    ("name", "kind", "words", "hint"),
    [
        ("ear", "teachr", "there is no kind 'teachr' of component", "did you mean teacher?"),
        ("masker", "teacher", "has a 'masker' already", "choose another name"),
        ("stripes", "masker", "there is a StripesMasker already", "choose another name"),
        ("Ear", "teacher", "'Ear' is not a valid name for a component", "lowercase letters"),
        ("tiny", "teacher", "its class would be called TinyTeacher", "more specific"),
        ("feature", "feature-encoder", "its class would be called FeatureEncoder", "more specific"),
    ],
)
def test_names_and_kinds_that_cannot_be_used_are_refused(name, kind, words, hint, tmp_path):
    folder = made(tmp_path / "plugin")
    before = texts(folder)
    with pytest.raises(PluginError) as caught:
        add(name, kind, folder)
    assert words in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where
    assert texts(folder) == before


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "pyproject.toml is missing"),
        ("[project]\nname = 'x'\n", "no entry point of 'didact'"),
        ("[project", "it cannot be read"),
        ("project = 1\n", "it cannot be read"),
        ("[project.entry-points.didact]\na = 'a.plugin'\nb = 'b.plugin'\n", "several plugins here: a, b"),
        ("[project.entry-points.didact]\na = 'a.plugin'\n", "there is no such module in a package here"),
        ("[project.entry-points.didact]\na = 'a'\n", "there is no such module in a package here"),
    ],
)
def test_a_folder_that_is_no_plugin_is_refused(manifest, words, tmp_path):
    if manifest is not None:
        (tmp_path / "pyproject.toml").write_text(manifest)
    with pytest.raises(PluginError) as caught:
        add("ear", "teacher", tmp_path)
    assert words in caught.value.what
    assert str(tmp_path) in caught.value.where
    assert caught.value.hint


def test_the_command_works_in_the_plugins_folder_and_shows_what_is_next(tmp_path, monkeypatch):
    monkeypatch.chdir(made(tmp_path / "didact-stripes"))
    result = CliRunner().invoke(cli, ["plugin", "add", "ear", "--kind", "target-builder"])
    assert result.exit_code == 0, result.output
    for line in (
        "src/didact_stripes/targets.py  (new)",
        "# src/didact_stripes/plugin.py, at the end:",
        "# src/didact_stripes/examples.py, after the imports:",
        "# src/didact_stripes/__init__.pyi, at the end:",
        "from didact_stripes.targets import EarTargets",
        "didact plugin check stripes/ear",
    ):
        assert line in result.output


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_place_in_an_experiment(kind):
    field, _, code = usage(kind, "Mine").partition("=")
    assert field.isidentifier()
    assert "Mine(" in code
