"""Docstrings state the shape of every tensor that crosses a public boundary."""

from __future__ import annotations

import ast

import pytest


def public_functions(tree):
    """Every public function and method: where it is, its node, and whether its class has a base to speak for it."""
    for distribution in tree.all:
        for path in distribution.sources():
            yield from _of(ast.parse(path.read_text()), str(path.relative_to(tree.root)), False)


def _of(node, where, inherits):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            bases = {ast.unparse(base) for base in child.bases}
            yield from _of(child, where, bool(bases - {"nn.Module", "abc.ABC", "Protocol"}))
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
            yield f"{where}:{child.lineno} {child.name}", child, inherits


def _mentions_tensors(node) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments if argument.annotation] + [node.returns]
    return any("Tensor" in ast.unparse(annotation).split("[")[-1] for annotation in annotations if annotation)


def test_every_tensor_that_crosses_a_public_boundary_has_a_shape_in_the_docstring(tree):
    shapeless = []
    for where, node, inherits in public_functions(tree):
        text = ast.get_docstring(node)
        if text is None and inherits:
            continue  # the contract that it fulfils states it
        if _mentions_tensors(node) and not any(sign in (text or "").lower() for sign in ("(", "any shape", "scalar")):
            shapeless.append(where)
    assert not shapeless, "\n" + "\n".join(shapeless)


def test_every_docstring_begins_with_a_sentence(tree):
    wrong = []
    for where, node, _ in public_functions(tree):
        text = ast.get_docstring(node)
        if text is not None and not text.split("\n")[0].rstrip().endswith((".", ":", ")", ";", "`", ",")):
            wrong.append(where)
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("most", [60])
def test_a_function_fits_on_a_screen(tree, most):
    long = [
        f"{path.relative_to(tree.root)}:{node.lineno} {node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for distribution in tree.all
        for path in distribution.sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno + 1 - len((ast.get_docstring(node) or "").split("\n")) > most
    ]
    assert not long, "\n" + "\n".join(long)
