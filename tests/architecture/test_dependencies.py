"""Each distribution declares exactly the dependencies that it uses."""

from __future__ import annotations

import importlib.metadata

import pytest

# distributions whose import name is another
PACKAGES = {
    "lazy_loader": "lazy-loader",
    "aimrocks": "aim",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "mpl_toolkits": "matplotlib",
}

# third parties that one kind of user alone should have to install
OWNERS = {
    "aim": {"didact-aim"},
    "matplotlib": {"didact-ablate", "didact-quickstart"},
    "lmdb": {"didact-stores"},
    "pillow": {"didact-aim", "didact-evaluate", "didact-quickstart", "didact-vision"},
    "scikit-learn": {"didact-masked", "didact-quickstart"},
    "scipy": {"didact-ablate"},
    "soundfile": {"didact-speech", "didact-quickstart"},
    "timm": {"didact-vision", "didact-views"},
    "tokenizers": {"didact-text"},
    "torchaudio": {"didact-masked", "didact-speech"},
    "torchvision": {"didact-views"},
}


def test_every_third_party_import_is_declared(tree):
    wrong = [
        f"{imported} ({distribution.name})"
        for distribution in tree.all
        for path in distribution.sources()
        for imported in tree.imports(path)
        if (top := tree.third_party(imported)) is not None
        and PACKAGES.get(top, top).lower() not in distribution.requirements
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_declared_dependency_is_used(tree):
    for distribution in tree.all:
        used = {
            PACKAGES.get(top, top).lower()
            for path in distribution.sources()
            for imported in tree.imports(path)
            if (top := imported.module.split(".")[0])
        }
        used = {name.replace("_", "-") if name.startswith("didact") else name for name in used}
        unused = {name for name in distribution.requirements if name not in used}
        assert unused == set(), f"{distribution.name} declares what it does not import"


@pytest.mark.parametrize("dependency", sorted(OWNERS))
def test_a_heavy_dependency_belongs_to_its_plugin(tree, dependency):
    owners = {distribution.name for distribution in tree.all if dependency in distribution.requirements}
    assert owners == OWNERS[dependency]


def test_all_distributions_have_one_version(tree):
    versions = {distribution.name: distribution.manifest["project"]["version"] for distribution in tree.all}
    assert len(set(versions.values())) == 1, versions
    (version,) = set(versions.values())
    for distribution in tree.all:
        for line in distribution.manifest["project"]["dependencies"]:
            if line.startswith("didact"):
                assert line.endswith(f"=={version}"), f"{distribution.name} needs {line}, not that of its own version"
    assert f"## {version}" in (tree.root / "CHANGELOG.md").read_text(), f"the changelog tells of {version}"


def test_every_plugin_depends_on_the_core_and_announces_itself(tree):
    for plugin in tree.plugins:
        assert "didact" in plugin.requirements
        (entry_points,) = plugin.manifest["project"]["entry-points"].values()
        short = plugin.name.removeprefix("didact-")
        assert entry_points == {short: f"{plugin.package}.plugin"}


def test_every_distribution_says_the_same_of_python_and_licence(tree):
    for distribution in tree.all:
        project = distribution.manifest["project"]
        assert project["requires-python"] == ">=3.11,<3.14"
        assert project["license"] == "Apache-2.0"
        assert project["description"]


def test_the_workspace_installs_every_distribution(tree):
    import tomllib

    workspace = tomllib.loads((tree.root / "pyproject.toml").read_text())
    developed = {name for name in workspace["dependency-groups"]["dev"] if name.startswith("didact-")}
    assert developed == {"didact-kit"}, "an installation without the kit trains"
    assert {*workspace["project"]["dependencies"], *developed} == {distribution.name for distribution in tree.all}
    assert set(workspace["tool"]["uv"]["sources"]) == {distribution.name for distribution in tree.all}


def test_what_is_installed_is_what_is_here(tree):
    for distribution in tree.all:
        assert importlib.metadata.version(distribution.name) == distribution.manifest["project"]["version"]
