"""The gallery of methods counts lines correctly."""

from __future__ import annotations

import re
from collections import Counter

import pytest


@pytest.fixture
def rows(tree) -> dict[str, list[str]]:
    """The cells of each method's row, by name."""
    lines = (tree.root / "docs" / "explanation" / "gallery.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| [")]
    return {re.match(r"\[(.+?)\]", first)[1]: rest for first, *rest in cells}


def files(cell: str) -> list[str]:
    return re.findall(r"`(\w+/\w+\.py)`", cell)


def test_lines_are_those_of_the_files(tree, rows):
    assert len(rows) > 15
    for name, (_, own, own_lines, shared, shared_lines) in rows.items():
        for cell, stated in ((own, own_lines), (shared, shared_lines)):
            paths = [
                tree.root / "plugins" / plugin / "src" / f"didact_{plugin}" / file
                for plugin, _, file in (each.partition("/") for each in files(cell))
            ]
            counted = sum(len(path.read_text().splitlines()) for path in paths)
            assert int(stated) == counted, f"{name}: {cell} have {counted} lines in docs/explanation/gallery.md"


def test_files_of_its_own_serve_no_other_method(rows):
    uses = Counter(file for _, own, _, shared, _ in rows.values() for file in files(own) + files(shared))
    for name, (_, own, _, shared, _) in rows.items():
        assert [file for file in files(own) if uses[file] > 1] == [], name
        assert [file for file in files(shared) if uses[file] == 1] == [], name
