"""Putting names into a Python file that somebody has gone on writing: their formatting and comments stay.

The syntax tree says where; the text around it says how: on one line, or one element to a line. What a place does not
look like what is expected of it is a `PluginError` that names the line, and nothing is guessed.
"""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
from collections.abc import Iterable, Sequence

import attrs

from didact.errors import PluginError

WIDTH = 120  # columns of a line, as `didact plugin new` writes them
INSIGNIFICANT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@attrs.frozen(kw_only=True)
class Listing:
    """Elements with commas between them.

    Attributes:
        starts: where each begins.
        opening: where the first may begin, behind the bracket.
        closing: where the last must end, before the bracket.
        bracketed: whether there are brackets; the names of an import need none.
    """

    starts: tuple[int, ...]
    opening: int
    closing: int
    bracketed: bool = True


class Script:
    """A Python file's text, its syntax tree, and what is to be put in."""

    def __init__(self, text: str) -> None:
        """Reads the text.

        Raises:
            PluginError: it is no Python.
        """
        self.text = text
        try:
            self.tree = ast.parse(text)
            self._tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        except (SyntaxError, ValueError, tokenize.TokenError) as error:
            line = getattr(error, "lineno", None)
            raise PluginError(f"it is no Python: {error}", where=f"line {line}" if line else "") from None
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """The text with everything put in."""
        newline = "\r\n" if "\r\n" in self.text else "\n"
        parts, position = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):  # of one place in the order of calls
            parts += [self.text[position:start], new.replace("\n", newline)]
            position = end
        return "".join([*parts, self.text[position:]])

    def bound(self, but: str = "") -> set[str]:
        """Every name that something in the file is given, wherever that is, but for what a module has by that name."""
        known = {
            alias
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and node.module == but and not node.level
            for alias in node.names
            if not alias.asname
        }
        names = set()
        for node in ast.walk(self.tree):
            if node in known:
                continue
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add((node.asname or node.name).partition(".")[0])
        return names

    def functions(self) -> dict[str, ast.FunctionDef]:
        """The module's own functions by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    def exports(self) -> ast.List | ast.Tuple | None:
        """``__all__``, where it is one list of names."""
        found = [
            node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
        ]
        if (
            len(found) == 1
            and isinstance(found[0], (ast.List, ast.Tuple))
            and len(words_in(found[0].elts)) == len(found[0].elts)
        ):
            return found[0]
        return None

    def add_import(self, package: str, module: str, name: str) -> None:
        """Adds ``from package.module import name`` beside the other imports of the package, or behind them all."""
        statements = [node for node in self.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        own = [
            node
            for node in statements
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}.") and not node.level
        ]
        line = f"from {package}.{module} import {name}"
        before = [node for node in own if (node.module or "") < f"{package}.{module}"]
        if before or (statements and not own):
            self._edit_after(before[-1] if before else statements[-1], f"\n{line}")
        elif own:
            self._edit(self._at(own[0].lineno, 0), f"{line}\n")
        elif ast.get_docstring(self.tree) is not None:
            self._edit_after(self.tree.body[0], f"\n\n{line}")
        else:
            self._edit(0, f"{line}\n" if not self.text else f"{line}\n\n")

    def add_imported(self, statement: ast.ImportFrom, name: str) -> None:
        """Adds a name to an import, in its place in the order."""
        names = [alias.name for alias in statement.names]
        end = self._end(statement)
        bracketed = self.text[end - 1] == ")"
        starts = tuple(self._at(alias.lineno, alias.col_offset) for alias in statement.names)
        opening = self.text.index("(", self._at(statement.lineno, statement.col_offset)) + 1 if bracketed else starts[0]
        listing = Listing(starts=starts, opening=opening, closing=end - 1 if bracketed else end, bracketed=bracketed)
        self._put(listing, _place(names, name), name)

    def add_export(self, listed: ast.List | ast.Tuple, name: str) -> None:
        """Adds a name to ``__all__``, in its place in the order."""
        self._put(self._listing(listed, listed.elts), _place(words_in(listed.elts), name), f'"{name}"')

    def add_entry(self, mapping: ast.Dict, entry: str) -> None:
        """Adds ``key: value`` at the end of a dictionary that is written out."""
        keys = [key for key in mapping.keys if key is not None]
        self._put(self._listing(mapping, keys), len(keys), entry)

    def add_function(self, code: str, *, after: ast.stmt | None, before: ast.FunctionDef) -> None:
        """Adds a function behind a statement, or else before another function."""
        if after is not None:
            self._edit_after(after, f"\n\n\n{code}")
        else:
            first = min([before.lineno, *(decorator.lineno for decorator in before.decorator_list)])
            self._edit(self._at(first, 0), f"{code}\n\n\n")

    def replace(self, node: ast.expr, code: str) -> None:
        """Puts an expression in the place of another."""
        self._edits.append((self._at(node.lineno, node.col_offset), self._end(node), code))

    def _listing(self, node: ast.expr, elements: Sequence[ast.expr]) -> Listing:
        start, end = self._at(node.lineno, node.col_offset), self._end(node)
        if self.text[start] not in "[({" or self.text[end - 1] not in "])}":  # a tuple needs no brackets
            raise PluginError("it is not between brackets", where=f"line {node.lineno}")
        starts = tuple(self._at(element.lineno, element.col_offset) for element in elements)
        return Listing(starts=starts, opening=start + 1, closing=end - 1)

    def _put(self, listing: Listing, index: int, entry: str) -> None:
        """Puts an element before the one at ``index``, or behind the last, as its neighbours are written."""
        on_one_line = "\n" not in self.text[listing.opening : listing.closing]
        line_end = self._line_end(listing.closing)
        added = len(entry) + 2
        long = "\n" in entry or line_end - self._line_start(listing.closing) + added > WIDTH
        if on_one_line and long and "#" not in self.text[listing.closing : line_end]:  # a comment would be torn off
            self._spread(listing, index, entry)
        elif index < len(listing.starts):
            start = listing.starts[index]
            indent = self.text[self._line_start(start) : start]
            own_line = listing.bracketed and not indent.strip()
            self._edit(start, f"{textwrap.indent(entry, indent).lstrip()},\n{indent}" if own_line else f"{entry}, ")
        else:
            self._append(listing, entry)

    def _append(self, listing: Listing, entry: str) -> None:
        last = self._last_token(listing.closing)
        last_end = self._at_token(last.end)
        margin = self.text[self._line_start(listing.closing) : listing.closing]
        if not listing.starts:
            self._edit(listing.opening, entry)
        elif listing.bracketed and not margin.strip():  # the bracket has a line of its own, and so do the elements
            first = self.text[self._line_start(listing.starts[-1]) : listing.starts[-1]]
            indent = first if not first.strip() else f"{margin}    "
            if last.string != ",":
                self._edit(last_end, ",")
            self._edit(self._line_end(last_end), f"\n{textwrap.indent(entry, indent)},")
        else:
            self._edit(self._at_token(last.start) if last.string == "," else last_end, f", {entry}")

    def _spread(self, listing: Listing, index: int, entry: str) -> None:
        """Writes elements of one line one to a line, with the new one among them."""
        ends = (*listing.starts[1:], listing.closing)
        elements = [
            self.text[start:end].strip().removesuffix(",").rstrip()
            for start, end in zip(listing.starts, ends, strict=False)
        ]
        elements.insert(index, entry)
        line = self.text[self._line_start(listing.opening) :]
        margin = line[: len(line) - len(line.lstrip())]
        body = "".join(f"{textwrap.indent(element, f'{margin}    ')},\n" for element in elements)
        spread = f"\n{body}{margin}"
        self._edits.append((listing.opening, listing.closing, spread if listing.bracketed else f"({spread})"))

    def _last_token(self, before: int) -> tokenize.TokenInfo:
        """What stands last before a position, comments aside."""
        tokens = [token for token in self._tokens if token.type not in INSIGNIFICANT]
        return [token for token in tokens if self._at_token(token.end) <= before][-1]

    def _edit(self, position: int, new: str) -> None:
        self._edits.append((position, position, new))

    def _edit_after(self, node: ast.stmt, new: str) -> None:
        """Puts something behind a statement's last line, and the comment on it."""
        self._edit(self._line_end(self._end(node)), new)

    def _at(self, line: int, column: int) -> int:
        """The position of a place in the tree, whose columns are bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def _at_token(self, place: tuple[int, int]) -> int:
        return self._starts[place[0] - 1] + place[1]

    def _end(self, node: ast.stmt | ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.end_lineno, node.end_col_offset)

    def _line_start(self, position: int) -> int:
        return self.text.rfind("\n", 0, position) + 1

    def _line_end(self, position: int) -> int:
        end = self.text.find("\n", position)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[:end].endswith("\r") else end


def written_out(function: ast.FunctionDef) -> ast.Dict:
    """The dictionary that a function returns, where its keys can be read.

    Raises:
        PluginError: it computes what it returns.
    """
    returns = [node for node in ast.walk(function) if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom))]
    last = function.body[-1]
    if len(returns) != 1 or not isinstance(last, ast.Return) or not isinstance(last.value, ast.Dict):
        raise PluginError(
            f"what {function.name} returns is not one dictionary that is written out", where=f"line {last.lineno}"
        )
    if len(words_in(last.value.keys)) != len(last.value.keys):
        raise PluginError(f"{function.name} computes names", where=f"line {last.lineno}")
    return last.value


def words_in(nodes: Iterable[ast.expr | None]) -> list[str]:
    """Those of some expressions that are words."""
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _place(names: Sequence[str], name: str) -> int:
    """Where a name belongs among others, as ruff orders them: constants, classes, then the rest."""
    behind = (index for index, other in enumerate(names) if _order(other) > _order(name))
    return next(behind, len(names))


def _order(name: str) -> tuple[int, str, str]:
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name.lower(), name
