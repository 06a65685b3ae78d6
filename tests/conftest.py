"""Plugins for a test, on the path as an installer puts them there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from didact.plugins import registry


class Site:
    """A folder on the path that holds what installers write of distributions: their metadata and entry points."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        folder.mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(folder)

    def install(
        self,
        source: Path,
        module: str,
        name: str = "",
        distribution: str = "",
        version: str = "1.2",
        requires: Sequence[str] = ("didact>=0.1,<0.2",),
    ) -> str:
        """Makes a module in the folder ``source`` a plugin of its own distribution; returns the plugin's name."""
        name = name or module.split(".")[0].replace("_", "-")
        distribution = distribution or name
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n")
        (info / "entry_points.txt").write_text(f"[didact]\n{name} = {module}\n")
        self.monkeypatch.syspath_prepend(source)
        registry.cache_clear()
        return name


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """An empty one; what it held is forgotten after the module's tests."""
    modules = set(sys.modules)
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = Site(tmp_path_factory.mktemp("site"), monkeypatch)
        yield made
        for name in set(sys.modules) - modules:
            path = getattr(sys.modules[name], "__file__", None) or ""
            if str(made.folder.parent) in path or "/broken/" in path:
                del sys.modules[name]
    registry.cache_clear()
