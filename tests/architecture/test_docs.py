"""The documentation is correct: commands exist, code runs, links resolve, and names are documented."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import types

import attrs
import click
import pytest

from didact.cli import cli


def documents(tree):
    return [tree.root / name for name in tree.tracked() if name.endswith(".md")]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(tree):
    """Every ``didact …`` of a shell block: the document, and the words."""
    for path in documents(tree):
        for block in blocks(path.read_text(), "sh"):
            for line in block.splitlines():
                for part in line.split(" && "):
                    words = shlex.split(part, comments=True)
                    if words[:2] == ["uv", "run"]:
                        words = words[2:]
                    if words[:1] == ["didact"]:
                        yield path.relative_to(tree.root).as_posix(), words[1:]


def test_the_readme_has_the_two_commands_on_lines_of_their_own(tree):
    lines = (tree.root / "README.md").read_text().splitlines()
    assert "pip install uv && uv run didact quickstart" in lines
    assert "pip install uv && uv run pytest" in lines
    assert len(lines) < 120, "the README stays within a screen or three"


def test_every_documented_command_exists_with_its_options(tree):
    context = click.Context(cli)
    seen = 0
    for where, words in commands(tree):
        if words[0].startswith("-"):
            continue
        command = cli.get_command(context, words[0])
        assert command is not None, f"{where}: there is no `didact {words[0]}`"
        rest = list(words[1:])
        while isinstance(command, click.Group) and rest:
            name, *rest = rest
            assert name in command.commands, f"{where}: there is no `didact {words[0]} {name}`"
            command = command.commands[name]
        try:
            command.make_context(f"didact {words[0]}", rest)
        except click.ClickException as error:
            pytest.fail(f"{where}: `didact {shlex.join(words)}`: {error.format_message()}")
        seen += 1
    assert seen > 10


def test_every_documented_setting_fits_its_experiment(tree, monkeypatch):
    from didact.errors import DidactError
    from didact.experiment_file import load

    monkeypatch.chdir(tree.root)
    for where, words in commands(tree):
        if words[0] not in ("run", "bench") or not (tree.root / words[1].partition(":")[0]).exists():
            continue
        settings = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
        said = ""
        try:
            load(words[1], tuple(settings))
        except DidactError as error:
            said = f"error: {error}"
        assert said in (tree.root / where).read_text(), f"{where}: {said}"  # unless it shows a mistake and its message


def test_every_experiment_of_the_repository_loads(tree, monkeypatch):
    from didact.experiment_file import load

    monkeypatch.chdir(tree.root)
    for path in sorted((tree.root / "experiments").rglob("*.py")):
        found, _ = load(str(path))  # an experiment or a study
        assert found.name


def test_every_experiment_in_the_docs_can_be_made(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = 0
    for path in documents(tree):
        scope: dict[str, object] = {}
        for block in blocks(path.read_text(), "python"):
            whole = "experiment = Experiment(" in block and "from didact import" in block
            if whole or ("experiment.evolve" in block and scope):
                exec(compile(block, str(path), "exec"), scope)
                seen += 1
    assert seen >= 4


def test_every_python_block_compiles_and_imports_what_is_there(tree, public):
    seen, wrong = 0, []
    for path in documents(tree):
        for block in blocks(path.read_text(), "python"):
            for node in ast.walk(ast.parse(block, filename=str(path))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in public.packages():
                    seen += len(node.names)
                    named = (f"{node.module}.{alias.name}" for alias in node.names)
                    wrong += [f"{path.relative_to(tree.root)}: {name}" for name in named if not public.exists(name)]
    assert seen > 40
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_relative_link_leads_to_a_file(tree):
    broken = [
        f"{path.relative_to(tree.root)}: {target}"
        for path in documents(tree)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_every_document_can_be_reached_from_the_readme(tree):
    reached, pending = set(), [tree.root / "README.md"]
    while pending:
        path = pending.pop().resolve()
        if path in reached or not path.exists():
            continue
        reached.add(path)
        if path.suffix == ".md":
            pending += [path.parent / target for target in re.findall(r"\]\(([^)#\s:]+)", path.read_text())]
    pages = [path for path in documents(tree) if path.is_relative_to(tree.root / "docs")]
    lost = [str(path.relative_to(tree.root)) for path in pages if path.resolve() not in reached]
    assert not lost, "\n" + "\n".join(lost)


def test_every_place_in_the_code_that_the_docs_name_is_there(tree):
    names = set()
    for path in documents(tree):
        names |= set(re.findall(r"`([\w/.-]+\.py):([\w.]+)`", path.read_text()))
    assert len(names) > 20
    missing = []
    for file, symbol in sorted(names):
        node = ast.parse((tree.root / file).read_text()) if (tree.root / file).exists() else None
        for part in symbol.split("."):
            node = _child(node, part)
        if node is None:
            missing.append(f"{file}:{symbol}")
    assert not missing, "\n" + "\n".join(missing)


def _child(node, name):
    for child in ast.iter_child_nodes(node) if node is not None else ():
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)) and child.name == name:
            return child
        if isinstance(child, ast.Assign) and name in {getattr(target, "id", None) for target in child.targets}:
            return child
    return None


@pytest.fixture(scope="module")
def public(tree):
    """What the site takes for public."""
    return _of_the_site(tree, "public_names")


@pytest.fixture(scope="module")
def tables(tree):
    """The tables of the site's reference."""
    return _of_the_site(tree, "reference_tables")


def _of_the_site(tree, module):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tree.root / "docs"))
        return importlib.import_module(module)


def test_every_module_that_the_docs_name_is_there(tree, public):
    named = {
        (path.relative_to(tree.root).as_posix(), name)
        for path in documents(tree)
        if path.name != "CHANGELOG.md"  # which names what is gone
        for name in re.findall(r"`(didact(?:_[a-z]+)?(?:\.\w+)+)(?:\(\))?`", path.read_text())
    }
    assert len(named) > 20
    missing = [f"{where}: {name}" for where, name in sorted(named) if not public.exists(name)]
    assert not missing, "\n" + "\n".join(missing)


def test_every_public_name_is_documented(public):
    modules = dict.fromkeys([*public.packages(), *public.public_modules()])
    missing = [name for module in modules for name in public.undocumented(importlib.import_module(module))]
    assert not missing, "\n" + "\n".join(missing)


def test_a_public_name_without_documentation_is_found(public):
    @attrs.frozen
    class Half:
        """Has a field too many.

        Attributes:
            one: documented.
        """

        one: int
        two: int

        def method(self) -> None: ...

    def function() -> None: ...

    module = types.ModuleType("example", "An example.")
    module.__all__ = ["Half", "function"]
    module.Half, module.function = Half, function
    found = public.undocumented(module)
    assert found == ["example.Half.two", "example.Half.method", "example.function"]


def test_the_reference_lists_every_command_component_and_rule(tables):
    context = click.Context(cli)
    commands = "\n".join(tables.commands())
    assert [name for name in cli.list_commands(context) if f"## didact {name}" not in commands] == []
    components = "\n".join(tables.components())
    assert "`speech/span`" in components
    assert "`evaluate/probe`" in components
    assert "`determinism`" in "\n".join(tables.rules())


def test_a_stale_reference_in_a_docstring_is_told_from_a_word(public):
    assert public.exists("didact.loop.faults.Faults.not_finite")
    assert public.exists("didact.tensors.View.keys")
    assert not public.exists("didact.training.trainer")
    assert not public.exists("didact.tensors.View.no_such_field")
