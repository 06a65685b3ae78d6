"""``didact plugin add``: a second component is found, keeps the contract, and leaves what was written as it was."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import didact
from didact import PluginError, RunError
from didact.cli import cli
from didact.plugins import registry
from didact.scaffold import KINDS, write
from didact.scaffold.adding import plan
from didact.scaffold.experiments import usage
from didact.testing import contract

ROOT = Path(__file__).parents[2]
PAIRS = list(itertools.product(KINDS, KINDS))


def made(folder: Path, name: str = "stripes", kind: str = "masker") -> Path:
    written, _ = write(name, kind, folder)
    return written


def named(first: str, second: str) -> str:
    """The plugin of a kind to which another is added: a short name, for lines that fit."""
    return f"{first}-{list(KINDS).index(second)}"


def texts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pairs(site, tmp_path_factory) -> Path:
    """A plugin of each kind for each kind that is added to it, installed."""
    folder = tmp_path_factory.mktemp("pairs")
    for first, second in PAIRS:
        name = named(first, second)
        plan("second", second, made(folder / name, name, first)).write()
        site.install(folder / name / "src", f"didact_{name.replace('-', '_')}.plugin", name, f"didact-{name}")
    return folder


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_kind_is_added_to_every_kind(first, second, pairs, tmp_path):
    (plugin,) = [plugin for plugin in registry().plugins if plugin.name == named(first, second)]
    assert (plugin.failure, plugin.warning) == ("", "")
    registered = {short: cls for components in plugin.components.values() for short, cls in components.items()}
    assert set(registered) == {first, "second"}
    assert issubclass(registered["second"], getattr(didact, KINDS[second].base))
    assert registered["second"].__name__ == f"Second{KINDS[second].suffix}"
    examples = plugin.examples(tmp_path)
    assert {short: {type(example.spec) for example in of} for short, of in examples.items()} == {
        short: {cls} for short, cls in registered.items()
    }
    package = sys.modules[registered["second"].__module__.rpartition(".")[0]]
    assert set(package.__all__) == {cls.__name__ for cls in registered.values()}


def test_nothing_is_left_to_tidy_up(pairs):
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", pairs],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("second", ["target-builder", "masker"])
def test_both_components_keep_the_contract(second, pairs):
    name = named("masker", second)
    checks = contract(name)
    assert {check.case.name for check in checks} == {name, f"{name}/masker", f"{name}/second"}
    verdicts = [check.judge() for check in checks]
    assert [str(verdict.broken) for verdict in verdicts if verdict.broken is not None] == []


def test_a_long_name_still_fits_into_lines(tmp_path):
    plan("nearest-of-many-centroids", "evaluation", made(tmp_path / "plugin")).write()
    lines = (tmp_path / "plugin" / "src" / "didact_stripes" / "plugin.py").read_text().splitlines()
    assert max(map(len, lines)) <= 120


def test_it_is_written_as_a_new_plugin_has_it(tmp_path):
    folder = made(tmp_path / "masker")
    plan("target-builder", "target-builder", folder).write()  # as a first one is called
    alone = made(tmp_path / "targets", kind="target-builder")
    package = Path("src") / "didact_stripes"
    assert (folder / package / "targets.py").read_text() == (alone / package / "targets.py").read_text()
    function = re.compile(r"@hookimpl\ndef didact_target_builders.*?\n\n\n", re.DOTALL)
    entry = re.compile(r'^ {8}"target-builder": \[\n.*?^ {8}\],\n', re.DOTALL | re.MULTILINE)
    for part in (function, entry):
        (expected,) = part.findall((alone / package / "plugin.py").read_text())
        assert expected in (folder / package / "plugin.py").read_text()


def test_two_of_a_kind_share_a_hook(tmp_path):
    folder = made(tmp_path / "plugin")
    plan("long", "masker", folder).write()
    plan("stripes/longer-masker", "masker", folder).write()
    source = folder / "src" / "didact_stripes"
    text = (source / "plugin.py").read_text()
    assert text.count("def didact_maskers") == 1
    assert 'return {"masker": StripesMasker, "long": LongMasker, "longer-masker": LongerMasker}' in text
    assert "calls them ``stripes/NAME``" in text
    assert {path.name for path in source.glob("*masking.py")} == {
        "masking.py",
        "long_masking.py",
        "longer_masking.py",
    }


EDITED = '''"""Mine, ours — größer."""
from __future__ import annotations
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from didact import (
    Backbone,  # for later
    Masker, hookimpl,
)
from didact_stripes.masking import StripesMasker  # the only one so far
if TYPE_CHECKING:
    from didact.testing import Example

@hookimpl
def didact_maskers() -> Mapping[str, type[Masker]]:
    \'\'\'My own words.\'\'\'
    print('asked')
    return {
        'masker': StripesMasker  # kept
        # and more
    }
# between
@hookimpl
def didact_examples(folder: Path) -> Mapping[str, Sequence[Example]]:
    from didact.testing import (Example,)
    return {'masker': [Example(spec=StripesMasker())]}
'''


def test_what_somebody_wrote_stays(tmp_path):
    folder = made(tmp_path / "plugin")
    module = folder / "src" / "didact_stripes" / "plugin.py"
    module.write_text(EDITED)
    plan("long", "masker", folder).write()
    plan("slow", "teacher", folder).write()
    plan("ear", "target-builder", folder).write()
    text = module.read_text()
    compile(text, "plugin.py", "exec")
    lines = iter(text.splitlines())
    changed = ("'masker': StripesMasker  #", "    Masker, hookimpl", "return {'masker': [", "import (Example,)")
    for line in EDITED.splitlines():
        if not any(part in line for part in changed):
            assert line in lines, f"{line!r} is gone, or moved"
    assert "'masker': StripesMasker,  # kept" in text
    assert "    Masker, TargetBuilder, Teacher, hookimpl," in text
    assert "'masker': [Example(spec=StripesMasker())]," in text


def test_names_that_are_there_already_are_used(tmp_path):
    folder = made(tmp_path / "plugin")
    module = folder / "src" / "didact_stripes" / "plugin.py"
    module.write_text(module.read_text().replace("from didact import Masker", "from didact import Masker, Teacher"))
    plan("slow", "teacher", folder).write()
    assert module.read_text().count("from didact import Masker, Teacher, hookimpl\n") == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "plugin.py",
            'return {"masker": StripesMasker}',
            "return dict(masker=StripesMasker)",
            "didact_maskers returns",
        ),
        ("plugin.py", "@hookimpl\ndef didact_maskers", "def didact_maskers", "is not decorated with @hookimpl"),
        ("plugin.py", "def didact_examples", "def mine", "there is no didact_examples"),
        ("plugin.py", "Masker, hookimpl", "Masker, hookimpl as impl", "is not decorated|does not say"),
        ("plugin.py", "import Mapping, Sequence", "import Sequence", "Mapping is not imported"),
        ("plugin.py", "    from didact.testing import Example\n\n    return", "    return", "does not say"),
        ("plugin.py", "from pathlib", "class Teacher: ...\nfrom pathlib", "Teacher is something of its own"),
        ("plugin.py", "from pathlib", "if (:\nfrom pathlib", "it is no Python"),
        ("__init__.py", "__all__ = [", "__all__ = [*others, ", "there is no __all__"),
        ("__init__.py", '__all__ = ["StripesMasker"]', '__all__ = "StripesMasker",', "is not between brackets"),
    ],
)
def test_what_cannot_be_extended_is_left_and_the_lines_are_printed(file, old, new, words, tmp_path):
    folder = made(tmp_path / "plugin")
    path = folder / "src" / "didact_stripes" / file
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    before = texts(folder)
    result = CliRunner().invoke(cli, ["plugin", "add", "slow", "--kind", "teacher", "--to", str(folder)])
    assert texts(folder) == before
    assert isinstance(result.exception, PluginError)
    assert re.search(words, result.exception.what)
    assert str(path) in result.exception.where
    assert "paste the lines above" in result.exception.mend
    for line in (
        "class SlowTeacher(Teacher):",
        "from didact_stripes.teacher import SlowTeacher",
        "def didact_teachers() -> Mapping[str, type[Teacher]]:",
        "    Example(spec=SlowTeacher(every=2)),",
        '"SlowTeacher",',
    ):
        assert line in result.output.splitlines()


@pytest.mark.parametrize(
    ("name", "kind", "words", "mend"),
    [
        ("ear", "teachr", "there is no kind 'teachr' of component", "did you mean teacher?"),
        ("masker", "teacher", "has a 'masker' already, in didact_maskers", "take another name"),
        ("stripes", "masker", "there is a StripesMasker already", "take another name"),
        ("Ear", "teacher", "'Ear' is no name for a component", "small letters"),
        ("tiny", "teacher", "its class would be called TinyTeacher", "particular"),
        ("feature", "feature-encoder", "its class would be called FeatureEncoder", "particular"),
    ],
)
def test_names_and_kinds_that_will_not_do_are_refused(name, kind, words, mend, tmp_path):
    folder = made(tmp_path / "plugin")
    before = texts(folder)
    with pytest.raises(PluginError) as caught:
        plan(name, kind, folder)
    assert words in caught.value.what
    assert mend in caught.value.mend
    assert caught.value.where
    assert texts(folder) == before


def test_a_file_is_never_overwritten(tmp_path):
    folder = made(tmp_path / "plugin")
    source = folder / "src" / "didact_stripes"
    (source / "teacher.py").write_text("mine = 1\n")
    assert plan("slow", "teacher", folder).module.name == "slow_teacher.py"
    (source / "slow_teacher.py").write_text("mine = 2\n")
    with pytest.raises(PluginError, match=r"there is a file slow_teacher\.py already"):
        plan("slow", "teacher", folder)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "pyproject.toml is missing"),
        ("[project]\nname = 'x'\n", "no entry point of 'didact'"),
        ("[project", "it cannot be read"),
        ("project = 1\n", "it cannot be read"),
        ("[project.entry-points.didact]\na = 'a.plugin'\nb = 'b.plugin'\n", "several plugins here: a, b"),
        ("[project.entry-points.didact]\na = 'a.plugin'\n", "there is no such module in a package here"),
        ("[project.entry-points.didact]\na = 'a'\n", "there is no such module in a package here"),
    ],
)
def test_a_folder_that_is_no_plugin_is_refused(manifest, words, tmp_path):
    if manifest is not None:
        (tmp_path / "pyproject.toml").write_text(manifest)
    with pytest.raises(PluginError) as caught:
        plan("ear", "teacher", tmp_path)
    assert words in caught.value.what
    assert str(tmp_path) in caught.value.where
    assert caught.value.mend


@pytest.mark.parametrize("refused", [1, 2, 3])
@pytest.mark.parametrize("method", ["write_bytes", "replace"])
def test_all_files_are_written_or_none(method, refused, tmp_path, monkeypatch):
    folder = made(tmp_path / "plugin")
    before = texts(folder)
    addition = plan("slow", "teacher", folder)
    real, calls = getattr(Path, method), []

    def full(self, *arguments):
        calls.append(self)
        if len(calls) == refused:
            raise OSError(28, "No space left on device")
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, full)
        with pytest.raises(RunError, match="the disk is full"):
            addition.write()
    assert texts(folder) == before


def test_the_command_works_in_the_plugins_folder_and_says_what_is_next(tmp_path, monkeypatch):
    monkeypatch.chdir(made(tmp_path / "didact-stripes"))
    result = CliRunner().invoke(cli, ["plugin", "add", "ear", "--kind", "target-builder"])
    assert result.exit_code == 0, result.output
    for line in (
        "src/didact_stripes/targets.py  (new)",
        "src/didact_stripes/plugin.py",
        "from didact_stripes import EarTargets",
        "didact plugin check stripes/ear",
    ):
        assert line in result.output


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_place_in_an_experiment(kind):
    field, _, code = usage(kind, "Mine").partition("=")
    assert field.isidentifier()
    assert "Mine(" in code
