"""Installing a plugin changes no existing experiment; a broken plugin changes none either and is reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from didact.record.folder import decided_by_the_seed, read_metrics
from didact_kit.scaffold.writing import write

LOUD = """
import random, warnings
import numpy, torch
from didact import hookimpl
from didact_loud.parts import LoudMasker

torch.manual_seed(1)
torch.rand(3), numpy.random.seed(2), random.seed(3)
torch.set_default_dtype(torch.float32)


@hookimpl
def didact_maskers():
    return {"random": LoudMasker, "block": LoudMasker}
"""

PARTS = """
import attrs
from didact_kit import TinyMasker


@attrs.frozen(kw_only=True)
class LoudMasker(TinyMasker):
    '''Half.'''
"""


def metrics(folder: Path) -> list[dict[str, float]]:
    """A run's record, without what differs from one moment to the next."""
    return [decided_by_the_seed(line) for line in read_metrics(folder)]


@pytest.fixture(scope="module")
def installed(site, tmp_path_factory) -> str:
    """A good plugin, one that draws when it is imported, one that does not import, one for another didact: the path."""
    folder = tmp_path_factory.mktemp("neighbours")
    good, _ = write("good", "masker", folder / "good")
    site.install(good / "src", "didact_good.plugin", "good", "didact-good")
    loud = folder / "loud" / "didact_loud"
    loud.mkdir(parents=True)
    (loud / "__init__.py").write_text("")
    (loud / "plugin.py").write_text(LOUD)
    (loud / "parts.py").write_text(PARTS)
    site.install(loud.parent, "didact_loud.plugin", "loud", "didact-loud")
    (loud.parent / "broken.py").write_text("import no_such_module\n")
    site.install(loud.parent, "broken", "broken", "didact-broken")
    (loud.parent / "old.py").write_text("raise SystemExit('was imported')\n")
    site.install(loud.parent, "old", "old", "didact-old", requires=["didact<0.1"])
    return os.pathsep.join(map(str, [site.folder, good / "src", loud.parent]))


@pytest.fixture
def neighbours(installed, monkeypatch) -> None:
    """Other processes find them from here on."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([installed, os.environ.get("PYTHONPATH", "")]))


def test_an_experiment_has_the_same_record_beside_other_plugins(project, didact, request):
    alone = didact("run", "tiny.py", "--out", "alone")
    assert alone.returncode == 0, alone.stderr
    request.getfixturevalue("neighbours")
    beside = didact("run", "tiny.py", "--out", "beside")
    assert beside.returncode == 0, beside.stderr
    for name, owner in (("broken", "didact-broken 1.2"), ("old", "didact-old 1.2")):
        assert f"warning: the plugin {name!r} ({owner}) cannot be used; see `didact plugins`" in beside.stderr
    assert metrics(project / "beside") == metrics(project / "alone")
    assert (project / "beside" / "experiment.json").read_bytes() == (project / "alone" / "experiment.json").read_bytes()

    listed = didact("plugins")
    assert listed.returncode == 1
    assert "No module named 'no_such_module'" in listed.stdout
    assert "it is made for didact <0.1, and this is didact 0.1.0, whose hooks are version 0.1" in listed.stdout
    assert "good  didact-good 1.2" in listed.stdout


def test_a_plugin_can_be_left_out(project, didact, neighbours, monkeypatch):
    monkeypatch.setenv("DIDACT_SKIP", "broken,didact-old")
    listed = didact("plugins")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "broken  didact-broken 1.2  left out by DIDACT_SKIP" in listed.stdout
    assert "old  didact-old 1.2  left out by DIDACT_SKIP" in listed.stdout
