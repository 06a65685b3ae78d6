"""The source tree, read as text: no test here imports the code that it checks."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Distribution:
    """One distribution of the workspace."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """As pip knows it."""
        return self.manifest["project"]["name"]

    @property
    def package(self) -> str:
        """As Python knows it."""
        return self.name.replace("-", "_")

    @property
    def requirements(self) -> set[str]:
        """The names of the distributions that it depends on."""
        return {re.split(r"[^\w.-]", line)[0].lower() for line in self.manifest["project"]["dependencies"]}

    def sources(self) -> list[Path]:
        """Its Python files."""
        return sorted((self.folder / "src").rglob("*.py"))


@attrs.frozen
class Import:
    """One name that a file imports, wherever in the file."""

    path: Path
    line: int
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.module}" + (f".{self.name}" if self.name else "")


def distributions() -> list[Distribution]:
    folders = [ROOT / "platform", *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
    return [Distribution(folder, tomllib.loads((folder / "pyproject.toml").read_text())) for folder in folders]


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file: at the top, inside functions, for type checkers, and by `importlib.import_module`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield Import(path, node.lineno, node.module or "", alias.name)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                yield Import(path, node.lineno, str(argument.value), "")


def third_party(imported: Import) -> str | None:
    """The top-level package, where it is neither ours nor Python's."""
    top = imported.module.split(".")[0]
    return None if top in sys.stdlib_module_names or top.startswith("didact") else top


@pytest.fixture(scope="session")
def tree() -> Any:
    """The workspace's distributions, and how to read a file's imports."""

    class Tree:
        root = ROOT
        all = distributions()
        core, plugins = all[0], all[1:]
        imports = staticmethod(imports_of)
        third_party = staticmethod(third_party)
        tracked = staticmethod(_tracked)

    return Tree


def _tracked() -> list[str]:
    """The project's files: what git would take."""
    import subprocess

    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [line for line in listed.stdout.splitlines() if (ROOT / line).exists()]
