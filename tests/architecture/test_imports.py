"""Imports only go from experiments to plugins to didact."""

from __future__ import annotations

import importlib

PUBLIC = {
    "didact": "the contracts, and what an experiment is written with",
    "didact.batching": "which samples make up a batch",
    "didact.building": "from an experiment to its learner",
    "didact.cli": "the command line, in this process",
    "didact.contracts.data": "sources, samples and augmentations",
    "didact.contracts.network": "encoders, maskers and backbones",
    "didact.contracts.optimizer": "optimizers, and groups of parameters",
    "didact.contracts.running": "what observers are given, studies, run finders",
    "didact.contracts.targets": "target builders, teachers and objectives",
    "didact.errors": "a user's mistakes, each with a hint",
    "didact.experiment": "experiments, evaluations and observers",
    "didact.experiment_file": "the experiment in a Python file",
    "didact.hookspecs": "every hook",
    "didact.learner": "the training step",
    "didact.loading": "samples to batches",
    "didact.machine.devices": "precision and autocast, as a run chooses them",
    "didact.machine.disk": "files that are complete or absent",
    "didact.machine.distributed": "sums over all processes",
    "didact.machine.processes": "processes that start at once, and end with their parent",
    "didact.placing": "the steps between an encoder's two halves",
    "didact.plugins": "the installed plugins",
    "didact.preflight": "what is known of a run before its first step",
    "didact.randomness": "generators and permutations keyed by their use",
    "didact.record": "a run's folder, read back",
    "didact.run": "running an experiment",
    "didact.schedules": "learning rates over a run",
    "didact.serialization": "specs as plain data, and back",
    "didact.spec": "the base of every part of an experiment",
    "didact.tensors": "the values of a step",
    "didact.training": "batch sizes, and how an experiment trains",
    "didact_kit": "the contracts as checks",
    "didact_stores": "reading and writing stores",
}
# what is for those that look into a step, a run or a plugin
TOOLS = {"didact_ablate", "didact_doctor", "didact_kit", "didact_stores"}
INNER = {
    "didact.cli.progress",
    "didact.cli.run",
    "didact.loop.engine",
    "didact.loop.faults",
    "didact.loop.trainer",
    "didact.optimization",
    "didact.record.checkpoint",
    "didact.record.folder",
    "didact.record.observers",
    "didact.record.pretrained",
    "didact.record.reading",
    "didact.run.running",
}
# which plugins build on others; each one's README says why
BUILD_ON = {
    "didact-ablate": {"didact-doctor"},  # starts processes
    "didact-aim": {"didact-ablate"},  # finds runs to compare
    "didact-kit": {"didact-doctor"},  # likewise
    "didact-masked": {"didact-distill", "didact-transformer"},  # heads; positions of a decoder
    "didact-speech": {"didact-stores"},
    "didact-text": {"didact-stores"},
    "didact-views": {"didact-stores", "didact-vision"},
    "didact-vision": {"didact-stores", "didact-transformer"},
}

# the core's packages, each of which imports only those before it; the modules beside them are the method: its values,
# its contracts, its step, and the data
FLOORS = ("machine", "method", "record", "loop", "run", "cli")


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
    """The floor of a module of the core, or of a name in it; None where it has none."""
    package, *inner = module.split(".")
    if package != "didact" or not inner or inner[0] in ("__main__", "errors"):
        return None
    return inner[0] if inner[0] in FLOORS else "method"


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
        if imported.module.split(".")[0] == "didact" and not _allowed(imported, plugin.package)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_what_the_public_list_names_is_there(tree):
    for module in PUBLIC.keys() | INNER:
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
        and (top, path.name) != ("didact_kit", "examples.py")  # imported by the checks alone, which are the kit's
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_few_plugins_build_on_others_and_their_readme_says_why(tree):
    names = {plugin.name for plugin in tree.plugins}
    building = {plugin.name: plugin.requirements & names for plugin in tree.plugins if plugin.requirements & names}
    assert building.pop("didact-quickstart"), "it shows all of them"
    assert building == BUILD_ON
    for plugin in tree.plugins:
        for other in BUILD_ON.get(plugin.name, ()):
            assert f"`{other}`" in (plugin.folder / "README.md").read_text(), f"{plugin.name} says why it needs {other}"


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


def _allowed(imported, package: str) -> bool:
    modules = PUBLIC.keys() | (INNER if package in TOOLS else set())
    if imported.name.startswith("_"):
        return False
    if f"{imported.module}.{imported.name}" in modules:
        return True
    if imported.module not in modules:
        return False
    listed = getattr(importlib.import_module(imported.module), "__all__", None)
    return listed is None or not imported.name or imported.name in listed
