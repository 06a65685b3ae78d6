"""What is put into somebody's Python file stands as they would have written it, and their own text stays."""

from __future__ import annotations

import ast

import pytest

from didact import PluginError
from didact.scaffold.inserting import Script, written_out

WIDE = "A" * 40


def returning(text: str) -> tuple[Script, ast.Dict]:
    script = Script(f"def hook():\n    return {text}\n")
    return script, written_out(script.functions()["hook"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": A}', '{"a": A, "b": B}'),
        ("{}", '{"b": B}'),
        ('{"a": A,}', '{"a": A, "b": B,}'),
        ('{"ä": (A)}  # größer', '{"ä": (A), "b": B}  # größer'),
        ('{\n        "a": A,\n    }', '{\n        "a": A,\n        "b": B,\n    }'),
        ('{\n      "a": A  # mine\n    }', '{\n      "a": A,  # mine\n      "b": B,\n    }'),
        ('{\n        "a": A,\n        # more\n    }', '{\n        "a": A,\n        "b": B,\n        # more\n    }'),
        ('{"a": A,\n            "c": C}', '{"a": A,\n            "c": C, "b": B}'),
    ],
)
def test_an_entry_is_written_as_its_neighbours_are(before, after):
    script, mapping = returning(before)
    script.add_entry(mapping, '"b": B')
    assert script.result() == f"def hook():\n    return {after}\n"


def test_a_line_that_would_be_too_long_is_spread():
    script, mapping = returning(f'{{"{WIDE}": A, "{WIDE.lower()}": C}}')
    script.add_entry(mapping, f'"b": {WIDE}')
    lines = [f'        "{WIDE}": A,', f'        "{WIDE.lower()}": C,', f'        "b": {WIDE},']
    assert script.result() == "\n".join(["def hook():", "    return {", *lines, "    }", ""])


def test_an_entry_of_several_lines_spreads_the_others():
    script, mapping = returning('{"a": [A(), B()]}')
    script.add_entry(mapping, '"b": [\n    C(),\n]')
    assert script.result() == (
        'def hook():\n    return {\n        "a": [A(), B()],\n        "b": [\n            C(),\n        ],\n    }\n'
    )


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        ("from m import A, c", "B", "from m import A, B, c"),
        ("from m import c  # why", "B", "from m import B, c  # why"),
        ("from m import A", "B", "from m import A, B"),
        ("from m import (A, c)", "B", "from m import (A, B, c)"),
        ("from m import (\n    A,  # mine\n    c,\n)", "B", "from m import (\n    A,  # mine\n    B,\n    c,\n)"),
        ("from m import (\n    A,  # mine\n)", "B", "from m import (\n    A,  # mine\n    B,\n)"),
        ("from m import A, \\\n    c", "B", "from m import A, \\\n    B, c"),
        (f"from m import {WIDE}, c", WIDE + "B", f"from m import {WIDE}, {WIDE}B, c"),
        (
            f"from m import {WIDE}, {WIDE}C",
            WIDE + "B",
            f"from m import (\n    {WIDE},\n    {WIDE}B,\n    {WIDE}C,\n)",
        ),
    ],
)
def test_a_name_is_imported_in_its_place(before, name, after):
    script = Script(before + "\n")
    script.add_imported(script.tree.body[0], name)
    assert script.result() == after + "\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""About."""\n', '"""About."""\n\nfrom p.m import N\n'),
        ("", "from p.m import N\n"),
        ("from p.a import A\nfrom p.z import Z\n", "from p.a import A\nfrom p.m import N\nfrom p.z import Z\n"),
        ("from p.z import Z\n", "from p.m import N\nfrom p.z import Z\n"),
        ("import q  # why\n\nx = 1\n", "import q  # why\nfrom p.m import N\n\nx = 1\n"),
    ],
)
def test_an_import_stands_beside_those_of_its_package(before, after):
    script = Script(before)
    script.add_import("p", "m", "N")
    assert script.result() == after


def test_the_public_list_stays_in_order():
    script = Script('__all__ = [\n    "LIMIT",\n    "Alpha",\n    "beta",\n]\n')
    script.add_export(script.exports(), "Gamma")
    assert script.result() == '__all__ = [\n    "LIMIT",\n    "Alpha",\n    "Gamma",\n    "beta",\n]\n'


def test_ends_of_lines_stay_as_they_are():
    script = Script('def hook():\r\n    return {\r\n        "a": A,  # mine\r\n    }\r\n')
    script.add_entry(written_out(script.functions()["hook"]), '"b": B')
    assert script.result() == 'def hook():\r\n    return {\r\n        "a": A,  # mine\r\n        "b": B,\r\n    }\r\n'


@pytest.mark.parametrize(
    "body",
    [
        "return dict(a=A)",
        "return {**others, 'a': A}",
        "return {name(): A}",
        "if this:\n        return {}\n    return {'a': A}",
        "yield {'a': A}",
        "pass",
    ],
)
def test_what_is_computed_is_not_guessed_at(body):
    with pytest.raises(PluginError) as caught:
        written_out(Script(f"def hook():\n    {body}\n").functions()["hook"])
    assert "hook" in caught.value.what
    assert caught.value.where.startswith("line ")


def test_what_is_no_python_is_said_with_its_line():
    with pytest.raises(PluginError, match="it is no Python") as caught:
        Script("x = 1\ny = (\n")
    assert caught.value.where == "line 2"
