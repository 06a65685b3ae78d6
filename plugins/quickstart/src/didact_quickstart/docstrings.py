"""Python's own documentation: what the standard library says of itself, and the language reference that `help()` reads.

Every Python brings these 2 MB of English prose, mixed with code. What a representation is judged on is of what a
docstring speaks: the families below are packages of the library that every installation has. Another version of
Python gives slightly other text.
"""

from __future__ import annotations

import ast
import hashlib
import os
import pydoc_data.topics
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import attrs

from didact import DataError

FAMILIES = {
    "asyncio": ("asyncio",),
    "email": ("email", "mailbox"),
    "files": ("pathlib", "shutil", "tarfile", "tempfile", "zipfile"),
    "importing": ("importlib", "pkgutil", "runpy", "zipimport"),
    "logging": ("logging",),
    "network": ("ftplib", "http", "imaplib", "smtplib", "socket", "socketserver", "urllib", "wsgiref", "xmlrpc"),
    "numbers": ("_pydecimal", "fractions", "numbers", "random", "statistics"),
    "processes": ("concurrent", "multiprocessing", "subprocess", "threading"),
    "testing": ("doctest", "unittest"),
    "xml": ("xml",),
}
FEWEST_WORDS = 6  # a shorter docstring ("Return self.") says nothing about where it comes from
TEST_SHARE = 0.25
# not part of every installation, or not prose of the library
LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "pydoc_data"}


@attrs.frozen(kw_only=True)
class Docstring:
    """One docstring of the standard library.

    Attributes:
        module: that it stands in, dotted.
        text: without indentation.
    """

    module: str
    text: str

    @property
    def family(self) -> str | None:
        """The name in `FAMILIES` of the package that it comes from; None for the rest of the library."""
        package = self.module.partition(".")[0]
        return next((family for family, packages in FAMILIES.items() if package in packages), None)

    @property
    def held_out(self) -> bool:
        """Whether it is only judged on, never learned from; decided by its text, so it stays when others change."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return self.family is not None and digest[0] < TEST_SHARE * 256


def write_docstrings(folder: Path) -> None:
    """Writes ``corpus/*.txt``, a file for each module and topic, and ``{train,test}.tsv`` with text and label.

    Args:
        folder: where to; made if it is missing. The corpus holds none of the texts in ``test.tsv``.

    Raises:
        DataError: this Python was installed without the sources of its standard library.
    """
    docstrings = list(standard_library())
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    texts: dict[str, list[str]] = {f"topic.{name}": [text] for name, text in pydoc_data.topics.topics.items()}
    for docstring in docstrings:
        if not docstring.held_out:
            texts.setdefault(docstring.module, []).append(docstring.text)
    for name, paragraphs in texts.items():
        (corpus / f"{name}.txt").write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    for split, held_out in (("train", False), ("test", True)):
        rows = [
            f"{' '.join(docstring.text.split())}\t{docstring.family}\n"  # one line, and no tab but the column's
            for docstring in docstrings
            if docstring.family is not None and docstring.held_out is held_out
        ]
        (folder / f"{split}.tsv").write_text("".join(["text\tlabel\n", *rows]), encoding="utf-8")


def standard_library() -> Iterator[Docstring]:
    """The docstrings of the standard library in the order of its files, each text once.

    Raises:
        DataError: this Python was installed without the sources of its standard library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for path in _sources(root):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for text in _docstrings(path):
            words = text.split()
            if len(words) >= FEWEST_WORDS and " ".join(words) not in seen:
                seen.add(" ".join(words))
                yield Docstring(module=module, text=text)
    if not seen:
        raise DataError(
            "this Python has no sources of its standard library, whose docstrings are the quickstart's text",
            where=str(root),
            mend="use a Python with sources: that of python.org, of your system or of `uv python install`",
        )


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - LEFT_OUT)  # pruned: whatever is installed lies below the library, too
        yield from (Path(folder) / file for file in sorted(files) if file.endswith(".py"))


def _docstrings(path: Path) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and deliberately broken files
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return [text for text in texts if text]
