"""A Sphinx extension: the pages of the reference that are generated from the code when the site is built.

A comment such as ``<!-- generated: commands -->`` in a page is replaced by a text from `TABLES`. The pages of
``reference/api``, one for each public module, are written in every build.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from public_names import HOOKS, ROOT, documented_modules, exists, logger, packages, undocumented
from reference_tables import TABLES

from didact.spec import Spec, field_documentation

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
MARK = re.compile(r"<!-- generated: (\w+) -->")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)\)")


def page(name: str, documented: list[str]) -> str:
    """The page of a module: its docstring and the given names."""
    module = importlib.import_module(name)
    if name == HOOKS:
        return f"# {name}\n\n```{{literalinclude}} ../../../platform/src/didact/hookspecs.py\n```\n"
    lines = [f"# {name}", "", "```{eval-rst}", f".. automodule:: {name}", "   :no-members:", ""]
    for public in documented:
        value = getattr(module, public)
        kind = "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"
        lines += [f".. auto{kind}:: {name}.{public}"]
        lines += ["   :members:", "   :exclude-members: validate", "   :show-inheritance:"] if kind == "class" else []
        lines += ["   :no-value:"] if kind == "data" else []
        lines += [""]
    return "\n".join([*lines, "```", ""])


def write_pages(app: Sphinx) -> None:
    """Writes the pages of the API, and warns about every public name without documentation."""
    folder = DOCS / "reference" / "api"
    folder.mkdir(exist_ok=True)
    texts = {}
    for name, documented in documented_modules().items():
        texts[f"{name}.md"] = page(name, documented)
        for missing in undocumented(importlib.import_module(name)):
            logger.warning("%s is public and has no documentation", missing)
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for file, text in texts.items():
        if not (folder / file).exists() or (folder / file).read_text(encoding="utf-8") != text:
            (folder / file).write_text(text, encoding="utf-8")


def generated(app: Sphinx, env: Any, added: Any, changed: Any, removed: Any) -> list[str]:
    """The pages that are generated from the code, which every build must read again."""
    return [f"reference/{name}" for name in TABLES]


def fill(app: Sphinx, document: str, source: list[str]) -> None:
    """Replaces marks by generated text, and links that leave this folder by paths."""
    folder = (DOCS / document).parent

    def path_of(link: re.Match[str]) -> str:
        target = (folder / link.group(2)).resolve()
        if target.is_relative_to(DOCS) or not target.exists():
            return link.group()  # Sphinx reports broken links
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if target.name in link.group(1) else f"{link.group(1)} (`{path}`)"

    try:
        source[0] = MARK.sub(lambda match: "\n".join(TABLES[match.group(1)]()), LINK.sub(path_of, source[0]))
    except Exception as error:  # a plugin's code may raise anything; the other pages are still built
        logger.warning("%s cannot be generated: %s: %s", document, type(error).__name__, error)


def all_fields(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Documents the inherited fields of a class beside its own."""
    if what != "class" or not isinstance(value, type) or not attrs.has(value):
        return
    texts = field_documentation(value)
    fields = [field.name for field in attrs.fields(value) if texts.get(field.name)]
    description = re.split(r"\n(?:Class attributes|Attributes):\n", "\n".join(lines))[0].rstrip()
    section = ["Attributes:", *(f"    {field}: {texts[field]}" for field in fields), ""] if fields else []
    of_class = re.search(r"^Class attributes:\n(?:[ ]{4}.*\n?|\n)+", "\n".join(lines), re.MULTILINE)
    lines[:] = [*description.split("\n"), "", *section, *(of_class.group().split("\n") if of_class else ())]


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escapes ``*`` and ``|`` outside of code, as in ``(B, *axes)``: our docstrings use no emphasis."""
    in_block = False
    for index, line in enumerate(lines):
        indented = line.startswith("    ") and in_block
        in_block = (in_block and (indented or not line.strip())) or line.endswith("::")
        if not indented:
            parts = re.split(r"(``.*?``)", line)
            lines[index] = "".join(
                part if part.startswith("``") else re.sub(r"([*|])", r"\\\1", part) for part in parts
            )


def signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None] | None:
    """Returns a spec's fields as its signature, which the spec's metaclass hides from `inspect`."""
    if what == "class" and isinstance(value, type) and issubclass(value, Spec) and attrs.has(value):
        fields = [field for field in attrs.fields(value) if field.init]
        shown = [f"{field.alias}: {_annotation(value, field)}{_default(field)}" for field in fields]
        return (f"(*, {', '.join(shown)})" if shown else "()"), None
    return None


def _annotation(cls: type, field: Any) -> str:
    return field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return ""
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    if isinstance(value, Spec):
        return f" = {type(value).__name__}({'…' if value != _bare(type(value)) else ''})"
    return f" = {value!r}"


def _bare(cls: type[Spec]) -> Spec | None:
    required = [field for field in attrs.fields(cls) if field.default is attrs.NOTHING]
    return None if required else cls()


# ── References ────────────────────────────────────────────────────────────────────────────────────────────────────────


def resolve(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Resolves short names in docstrings, such as `View.keys`; Sphinx warns about unknown names of ours.

    Names of other libraries, and words that are not names, become plain code.
    """
    from docutils import nodes
    from sphinx.util.nodes import make_refnode

    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    target: str = node["reftarget"].lstrip(".~")
    found = _objects(domain, target, node.get("py:module") or "")
    if found:
        entry = domain.objects[found]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, found)
    owner, _, attribute = target.rpartition(".")
    if target.split(".")[0] in packages():
        return content if exists(target) else None
    if owner[:1].isupper() and (known := _objects(domain, owner, node.get("py:module") or "")):
        return content if exists(f"{known}.{attribute}") else None
    return content if isinstance(content, nodes.Node) else nodes.literal(text=target)


def _objects(domain: Any, target: str, module: str) -> str | None:
    """Finds the documented object that a name refers to: in the same package, else in the core, else anywhere."""
    fits = [name for name in domain.objects if name == target or name.endswith(f".{target}")]
    package = module.split(".")[0]
    fits.sort(
        key=lambda name: (
            name != target,
            name.split(".")[0] != package,
            name.split(".")[0] != "didact",
            len(name),
            name,
        )
    )
    return fits[0] if fits else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the extension's handlers."""
    app.connect("builder-inited", write_pages)
    app.connect("env-get-outdated", generated)
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", all_fields, priority=90)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
