"""What a new component changes in its plugin's own two files: the hooks, and the public list."""

from __future__ import annotations

import ast
import contextlib
import textwrap
from collections.abc import Callable
from pathlib import Path

from didact.errors import PluginError
from didact.plugins import EXAMPLES, KIND_NAMES, WORDS
from didact.scaffold.inserting import Script, words_in, written_out


def placed(path: Path, change: Callable[[Script, dict[str, str]], None], text: str, words: dict[str, str]) -> str:
    """A file's text with the component in it.

    Raises:
        PluginError: the file has a shape that is not known.
    """
    try:
        script = Script(text)
        change(script, words)
        return script.result()
    except PluginError as error:
        raise error.at(str(path)) from None


def registering(script: Script, words: dict[str, str]) -> None:
    """Adds the class to the plugin's hooks, and its examples."""
    functions, bound = script.functions(), script.bound()
    hooks = [hook for hook in (*KIND_NAMES, EXAMPLES) if hook not in WORDS and hook in bound]
    for hook in hooks:
        if hook not in functions:
            raise PluginError(f"{hook} is not a function of the module's own")
        if [ast.unparse(decorator) for decorator in functions[hook].decorator_list] != ["hookimpl"]:
            raise PluginError(f"{hook} is not decorated with @hookimpl", where=f"line {functions[hook].lineno}")
        written_out(functions[hook])  # or nobody knows which names are taken
    if EXAMPLES not in hooks:
        raise PluginError(f"there is no {EXAMPLES}")
    before = registered(script)
    _add_hook(script, hooks, words)
    _add_example(script, words)
    script.add_import(words["package"], words["module"], words["Class"])
    now = registered(Script(script.result()))
    if now != {**before, **{hook: [*before.get(hook, []), words["short"]] for hook in (words["hook"], EXAMPLES)}}:
        raise PluginError("its hooks are written in a way that is not known")


def exporting(script: Script, words: dict[str, str]) -> None:
    """Adds the class to the package's public list."""
    listed = script.exports()
    if listed is None:
        raise PluginError("there is no __all__ that is one list of names")
    script.add_import(words["package"], words["module"], words["Class"])
    script.add_export(listed, words["Class"])
    now = Script(script.result()).exports()
    if now is None or {*map(ast.unparse, now.elts)} != {*map(ast.unparse, listed.elts), repr(words["Class"])}:
        raise PluginError("its __all__ is written in a way that is not known", where=f"line {listed.lineno}")


def registered(script: Script) -> dict[str, list[str]]:
    """The names under every hook whose names are those of components, where they can be read."""
    found = {}
    for hook, function in script.functions().items():
        if hook in (*KIND_NAMES, EXAMPLES) and hook not in WORDS:
            with contextlib.suppress(PluginError):
                found[hook] = words_in(written_out(function).keys)
    return found


def _add_hook(script: Script, hooks: list[str], words: dict[str, str]) -> None:
    """Adds the class to the hook of its kind, or that hook behind the others."""
    functions, hook = script.functions(), words["hook"]
    if hook in hooks:
        mapping = written_out(functions[hook])
        script.add_entry(mapping, f'"{words["short"]}": {words["Class"]}')
        told = functions[hook].body[0]
        if isinstance(told, ast.Expr) and [ast.get_docstring(functions[hook])] == [
            f"A run's record calls it ``{words['plugin']}/{key}``." for key in words_in(mapping.keys)
        ]:
            script.replace(told.value, f'"""A run\'s record calls them ``{words["plugin"]}/NAME``, by these names."""')
        return
    if "Mapping" not in script.bound():
        raise PluginError("Mapping is not imported from collections.abc, and a hook returns one")
    _add_name(script, script.tree, "didact", "hookimpl", words["base"])
    registrations = [functions[other] for other in hooks if other != EXAMPLES]
    last = max(registrations, key=lambda function: function.lineno, default=None)
    script.add_function(words["registration"], after=last, before=functions[EXAMPLES])


def _add_example(script: Script, words: dict[str, str]) -> None:
    function = script.functions()[EXAMPLES]
    script.add_entry(written_out(function), textwrap.dedent(words["example"]).rstrip(","))
    for name in words["testing"].split(", "):
        _add_name(script, function, "didact.testing", "Example", name)


def _add_name(script: Script, body: ast.Module | ast.FunctionDef, module: str, beside: str, name: str) -> None:
    """Adds a name to the import in a body that has another of the same module.

    Raises:
        PluginError: there is no such import, or something else has that name.
    """
    statements = [
        statement
        for statement in body.body
        if isinstance(statement, ast.ImportFrom) and statement.module == module and not statement.level
    ]
    names = {alias.name: statement for statement in statements for alias in statement.names if not alias.asname}
    if beside not in names:
        raise PluginError(f"it does not say `from {module} import {beside}`", where=getattr(body, "name", ""))
    if name not in names:
        if name in script.bound(but=module):
            raise PluginError(f"{name} is something of its own here, and that of {module} is needed")
        script.add_imported(names[beside], name)
