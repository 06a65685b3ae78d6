"""The core stays minimal: its size, public names, imports and dependencies."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

MOST_LINES, MOST_NAMES, MOST_HOOK_LINES, LONGEST_CHAIN = 7_000, 60, 90, 12
NEEDS = {"torch", "pluggy", "attrs", "torchdata", "numpy", "safetensors"}
NEEDS |= {"click", "lazy-loader", "packaging", "rich"}  # the command line, imports, versions of plugins

# the left column of the table of terms: what it was called before
OLD_NAMES = {
    *("micro_batches", "recompute", "clip_norm", "workers", "parallel", "decay_vectors", "course", "shares"),
    *("Context", "summary", "Collect", "extra", "table", "totals", "restore", "drop", "span", "repeat", "samples"),
    *("seconds", "tokens", "CosinePrediction", "TeacherSummaries", "DistortedViews", "Pictures", "Health", "Sound"),
    *("CellMasker", "divisible", "Subject", "Descriptor", "mend"),
}
FIELDS_OF_OTHER_MEANING = {  # a count of samples, a length in seconds, words of the field
    "samples",
    "seconds",
    "tokens",
}

SCRIPT = """
import sys
from click.testing import CliRunner
from didact.cli import cli
done = CliRunner().invoke(cli, sys.argv[1].split())
print(done.exit_code, "torch" in sys.modules, done.exception or "")
"""


def test_the_core_stays_small(tree):
    lines = sum(len(path.read_text().splitlines()) for path in tree.core.sources())
    assert lines <= MOST_LINES, f"platform has {lines} lines: what looks, checks, reads media or explains is a plugin"


def test_the_extension_surface_fits_on_one_screen(tree):
    path = tree.core.folder / "src/didact/hookspecs.py"
    assert len(path.read_text().splitlines()) <= MOST_HOOK_LINES


def test_didact_has_few_public_names():
    import didact

    assert len(didact.__all__) <= MOST_NAMES


def test_the_core_needs_little(tree):
    assert tree.core.requirements == NEEDS


def test_no_public_name_is_one_of_the_old_ones():
    import importlib

    import attrs

    from didact.plugins import registry

    wrong = []
    for distribution in ("didact", *(plugin.module.split(".")[0] for plugin in registry().plugins[1:])):
        package = importlib.import_module(distribution)
        for name in package.__all__:
            wrong += [f"{distribution}.{name}"] * (name in OLD_NAMES)
            value = getattr(package, name)
            if isinstance(value, type):
                fields = {field.name for field in attrs.fields(value)} if attrs.has(value) else vars(value).keys()
                fields &= OLD_NAMES - FIELDS_OF_OTHER_MEANING
                wrong += [f"{distribution}.{name}.{field}" for field in sorted(fields)]
    assert not wrong, wrong


@pytest.mark.parametrize("words", ["--help", "--version", "plugins", "inspect --help", "run --help", "ingest --help"])
def test_looking_around_imports_no_torch(words):
    done = subprocess.run([sys.executable, "-c", SCRIPT, words], capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["0", "False"], done.stdout + done.stderr


def test_completing_a_command_imports_no_torch():
    script = (
        "import os, sys\n"
        "os.environ.update(_DIDACT_COMPLETE='bash_complete', COMP_WORDS='didact in', COMP_CWORD='1')\n"
        "from didact.cli import cli\n"
        "try:\n    cli(prog_name='didact')\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["plain,ingest", "plain,inspect", "False"], done.stdout + done.stderr


def test_a_worker_imports_only_what_loading_needs():
    """The modules of the loader and of a source bring no optimizer, no compiler, no trainer, no other plugin."""
    script = "import sys, didact.loading, didact_vision.images, didact_vision.patches, didact_vision.masking\n"
    script += "print(*sorted(name for name in sys.modules if name.startswith('didact')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    imported = set(done.stdout.split())
    packages = {name.partition(".")[0] for name in imported}
    assert packages == {"didact", "didact_stores", "didact_transformer", "didact_vision"}, done.stderr
    assert {name for name in imported if name.startswith("didact_transformer.")} == {"didact_transformer.sincos"}
    assert not {name for name in imported if re.match(r"didact\.(loop|run|record|cli|plugins|optimization)\b", name)}


def _graph(distribution, tree):
    """The files that each file imports, wherever in it, imports for type checkers included."""
    source = distribution.folder / "src"
    names = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in distribution.sources()
    }
    edges = {name: set() for name in names}
    for name, path in names.items():
        for imported in tree.imports(path):
            deeper = f"{imported.module}.{imported.name}"
            edges[name] |= {deeper if deeper in names else imported.module} & (
                names.keys() - {distribution.package, name}
            )
    return edges


def test_no_distribution_imports_in_circles(tree):
    for distribution in tree.all:
        edges, done = _graph(distribution, tree), {}

        def visit(name, path, edges=edges, done=done):
            assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
            if name not in done:
                done[name] = 1 + max((visit(other, [*path, name]) for other in sorted(edges[name])), default=0)
            return done[name]

        longest = max(visit(name, []) for name in sorted(edges))
        if distribution is tree.core:
            assert longest <= LONGEST_CHAIN, f"the longest chain of files in the core is {longest}"


def test_ones_own_package_is_imported_at_the_top(tree):
    """Not inside functions, where only commands import what computes, nor for type checkers alone."""
    wrong = []
    for distribution in tree.all:
        for path in distribution.sources():
            command = path.parent.name == "cli" or path.name in ("command.py", "commands.py")
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not command:
                    inner = [one for one in ast.walk(node) if isinstance(one, (ast.Import, ast.ImportFrom))]
                    own = [
                        one
                        for one in inner
                        if (getattr(one, "module", None) or "").split(".")[0] == distribution.package
                    ]
                    wrong += [f"{path.relative_to(tree.root)}:{one.lineno}" for one in own]
    assert not wrong, "\n".join(wrong)
