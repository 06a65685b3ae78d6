"""What is public in this repository, what of it has no documentation, and which dotted names exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from didact.spec import field_documentation

logger = logging.getLogger("sphinx.didact")  # a warning there fails a strict build
ROOT = Path(__file__).parents[1]
HOOKS = "didact.hookspecs"


def public_modules() -> dict[str, str]:
    """The modules that plugins may use, with a description; a test keeps the first-party plugins to this list."""
    tree = ast.parse((ROOT / "tests/architecture/test_imports.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PUBLIC":
            modules: dict[str, str] = ast.literal_eval(node.value)
            return modules
    raise LookupError("tests/architecture/test_imports.py has no list PUBLIC")


def packages() -> list[str]:
    """The packages of all distributions of this repository, the core's first."""
    return ["didact", *(path.name for path in sorted(ROOT.glob("plugins/*/src/didact_*")) if path.is_dir())]


def documented_modules() -> dict[str, list[str]]:
    """Every module that has a page, with the names that are documented there; a name is documented once."""
    found: dict[str, list[str]] = {}
    seen: set[Any] = set()
    for name in dict.fromkeys([*packages(), *public_modules()]):
        kept = []
        try:
            module = importlib.import_module(name)
            values = {public: getattr(module, public) for public in public_names(module)}
        except Exception as error:  # any module may raise anything; the other pages are still built
            logger.warning("%s has no page: %s: %s", name, type(error).__name__, error)
            continue
        for public, value in values.items():
            marker = (public, getattr(value, "__module__", name))
            if marker not in seen:
                seen.add(marker)
                kept.append(public)
        found[name] = kept
    return found


def public_names(module: ModuleType) -> list[str]:
    """A module's ``__all__``, or the public names that it defines itself."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def undocumented(module: ModuleType) -> list[str]:
    """The public names of a module that have no documentation: classes, functions, methods and fields."""
    if module.__name__ == HOOKS:
        return []  # documented by comments, and shown as it is written
    missing = [] if module.__doc__ else [module.__name__]
    for name in public_names(module):
        value = getattr(module, name)
        if inspect.isclass(value):
            missing += [f"{module.__name__}.{name}{rest}" for rest in _undocumented_in(value)]
        elif inspect.isroutine(value) and not inspect.getdoc(value):
            missing.append(f"{module.__name__}.{name}")
    return missing


def _undocumented_in(cls: type) -> Iterator[str]:
    own = cls.__dict__.get("__doc__") or ""
    if not own or own.startswith(f"{cls.__name__}("):  # what `dataclass` writes
        yield ""
    if attrs.has(cls):
        documented = {name for name, text in field_documentation(cls).items() if text}
        names = [field.name for field in attrs.fields(cls) if not field.name.startswith("_")]
        yield from (f".{name}" for name in names if name not in documented)
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        inherited = any(name in vars(base) for base in cls.__mro__[1:])
        if not (name.startswith("_") or inherited) and inspect.isfunction(function) and not inspect.getdoc(function):
            yield f".{name}"


def exists(path: str) -> bool:
    """Whether a dotted path leads to a module that can be imported, or to something in one."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if any(part in vars(base).get("__annotations__", {}) for base in getattr(value, "__mro__", ())):
                return True  # a field
            try:
                value = getattr(value, part)
            except (AttributeError, ImportError):
                return False
        return True
    return False
