"""Imports run one way: experiments → plugins → didact."""

from __future__ import annotations

import importlib

PUBLIC = {
    "didact": "the contracts, and what an experiment is written with",
    "didact.batching": "which samples make up a batch",
    "didact.cli": "the command line, in this process",
    "didact.errors": "what a user can mend",
    "didact.experiment_file": "finding an experiment in a Python file",
    "didact.identity": "what decides a run's weights",
    "didact.ingest": "files to stores",
    "didact.loading": "samples to batches",
    "didact.machine.devices": "precision and autocast, as a run chooses them",
    "didact.machine.distributed": "sums over all processes, for what is a function of the whole batch",
    "didact.machine.processes": "processes that begin at once, and end with whoever started them",
    "didact.plugins": "what is installed",
    "didact.randomness": "generators keyed by their use",
    "didact.record": "a run's folder, read back",
    "didact.record.observing": "telling observers",
    "didact.run": "running an experiment",
    "didact.spec": "specs as data",
    "didact.store": "reading stores",
    "didact.tensors": "the values of a step",
    "didact.testing": "the contracts as checks",
}


# modules of the core that lead back to one another, imports for type checkers and those in functions included
CIRCLES = {
    # the contracts, and the values that they speak of
    frozenset({"contracts", "contracts.data", "contracts.method", "contracts.running", "experiment", "learner"})
    | {"preflight", "retention", "schedules", "spec", "spec.base", "spec.changes", "spec.data"},
    # a step that went wrong, examined by taking it again
    frozenset({"training.nonfinite", "training.trainer"}),
    # a rule that is tried on two processes, and what these are asked
}


def test_the_core_imports_in_circles_only_where_it_is_known_why(tree):
    source = tree.core.folder / "src"
    names = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in tree.core.sources()
    }
    leads = {name: set() for name in names}
    for name, path in names.items():
        for imported in tree.imports(path):
            deeper = f"{imported.module}.{imported.name}"
            leads[name] |= {deeper if deeper in names else imported.module} & names.keys()
    reached = {name: _reached(name, leads) for name in names}
    circles = {
        frozenset(other.removeprefix("didact.") for other in reached[name] if name in reached[other])
        for name in names
        if name in reached[name]
    }
    assert circles == CIRCLES


# the core's packages, each of which imports only those before it; the modules beside them are the method: its values,
# its contracts, its step, and the data
FLOORS = ("machine", "method", "record", "training", "doctor", "run", "cli")
METHOD = {"contracts", "spec"}
APART = {
    "ingest",  # files to stores; a run reads what it wrote
    "scaffold",  # a plugin as it is written
    "testing",  # the contract as checks; `hookspecs` names its examples for type checkers
}


def test_the_cores_packages_stand_on_floors(tree):
    source = tree.core.folder / "src"
    wrong = [
        f"{imported}: {floor} imports {other}"
        for path in tree.core.sources()
        if (floor := _floor(".".join(path.relative_to(source).with_suffix("").parts)))
        for imported in tree.imports(path)
        if (other := _floor(f"{imported.module}.{imported.name}")) and FLOORS.index(other) > FLOORS.index(floor)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def _floor(module: str) -> str | None:
    """Of a module of the core, or of a name in it; None: it stands apart, or is none of the core."""
    package, *inner = module.split(".")
    if package != "didact" or not inner or inner[0] in APART | {"__main__"}:
        return None
    if inner[0] in METHOD or inner[0] not in FLOORS:
        return None if inner[0] == "errors" else "method"
    return inner[0]


def test_the_core_imports_no_plugin(tree):
    wrong = [
        str(imported)
        for path in tree.core.sources()
        for imported in tree.imports(path)
        if imported.module.startswith("didact_")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_plugins_import_only_the_public_part_of_the_core(tree):
    wrong = [
        str(imported)
        for plugin in tree.plugins
        for path in plugin.sources()
        for imported in tree.imports(path)
        if imported.module.split(".")[0] == "didact" and not _public(imported)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_what_the_public_list_names_is_there(tree):
    for module in PUBLIC:
        assert importlib.import_module(module).__doc__, f"{module} says what it is for"


def test_plugins_meet_only_where_their_metadata_says_so(tree):
    packages = {plugin.package: plugin for plugin in tree.plugins}
    wrong = [
        str(imported)
        for plugin in tree.plugins
        for path in plugin.sources()
        for imported in tree.imports(path)
        if (top := imported.module.split(".")[0]) in packages
        and top != plugin.package
        and packages[top].name not in plugin.requirements
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_few_plugins_build_on_others_and_their_readme_says_why(tree):
    names = {plugin.name for plugin in tree.plugins}
    building = {plugin.name: plugin.requirements & names for plugin in tree.plugins if plugin.requirements & names}
    assert building.pop("didact-quickstart"), "it shows all of them"
    assert building == {"didact-masked": {"didact-distill"}}
    assert "on `didact-distill` for" in (tree.root / "plugins/masked/README.md").read_text()


def test_nothing_imports_experiments_or_tests(tree):
    files = [tree.root / name for name in tree.tracked() if name.endswith(".py")]
    wrong = [
        str(imported)
        for path in files
        for imported in tree.imports(path)
        if imported.module.split(".")[0] in ("experiments", "tests")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_experiments_compose_public_names_alone(tree):
    wrong = [
        str(imported)
        for path in (tree.root / "experiments").rglob("*.py")
        for imported in tree.imports(path)
        if imported.module.startswith("didact") and ("." in imported.module or imported.name.startswith("_"))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_what_a_package_exports_is_what_its_list_says(tree):
    for distribution in tree.all:
        package = importlib.import_module(distribution.package)
        listed = package.__all__
        assert sorted(set(listed)) == sorted(listed), f"{distribution.package}.__all__ names something twice"
        missing = [name for name in listed if not hasattr(package, name)]
        assert missing == [], f"{distribution.package}.__all__ names what is not there"


def _reached(start: str, leads: dict[str, set[str]]) -> set[str]:
    """All that a module's imports lead to."""
    found, pending = set(), [start]
    while pending:
        new = leads[pending.pop()] - found
        found |= new
        pending += new
    return found


def _public(imported) -> bool:
    if imported.name.startswith("_"):
        return False
    if f"{imported.module}.{imported.name}" in PUBLIC:
        return True
    if imported.module not in PUBLIC:
        return False
    listed = getattr(importlib.import_module(imported.module), "__all__", None)
    return listed is None or not imported.name or imported.name in listed
