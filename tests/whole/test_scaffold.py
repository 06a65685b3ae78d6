"""``didact plugin new``: every generated component is found, keeps the contract and can be trained unchanged."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from didact import PluginError
from didact.cli import cli
from didact.experiment_file import load_experiment
from didact.plugins import registry
from didact.run import start
from didact_kit import contract
from didact_kit.contracts import KINDS as CONTRACTS
from didact_kit.scaffold.filling import class_name
from didact_kit.scaffold.kinds import KINDS
from didact_kit.scaffold.writing import write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(site, tmp_path_factory) -> dict[str, Path]:
    """One new plugin of each kind, installed."""
    folder = tmp_path_factory.mktemp("new")
    made = {}
    for kind in KINDS:
        made[kind], _ = write(f"new-{kind}", kind, folder / kind)
        module = f"didact_new_{kind.replace('-', '_')}.plugin"
        site.install(made[kind] / "src", module, f"new-{kind}", f"didact-new-{kind}")
    return made


def test_there_is_one_for_every_kind_that_an_experiment_names():
    beside = {"augmentation", "part", "run-finder"}  # parts of other parts
    assert set(KINDS) == set(CONTRACTS) - beside


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_found_and_keeps_the_contract(kind, written):
    (plugin,) = [plugin for plugin in registry().plugins if plugin.name == f"new-{kind}"]
    assert (plugin.failure, plugin.warning) == ("", "")
    own = plugin.components[KINDS[kind].hook]
    assert issubclass(registry().class_of(f"new-{kind}/{kind}"), CONTRACTS[kind])
    assert all(isinstance(component, str) for component in own.values())  # found without an import of torch
    assert set(own) <= {kind, "series"}
    checks = [
        check for check in contract(f"new-{kind}") if not check.rule.dear
    ]  # the tutorial's test has the dear ones
    verdicts = [check.judge() for check in checks]
    assert [str(verdict.broken) for verdict in verdicts if verdict.broken is not None] == []
    assert len(verdicts) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_trains(kind, written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment, _ = load_experiment(str(written[kind] / "experiment.py"))
    smoke = CliRunner().invoke(cli, ["run", str(written[kind] / "experiment.py"), "--smoke", "--device", "cpu"])
    assert smoke.exit_code == 0, smoke.output
    short = experiment.evolve(**{"training.steps": 4, "training.num_workers": 0, "training.log_every": 1})
    result = start(short, tmp_path / "run", device="cpu", examined=False)  # too short to be examined
    assert (result.outcome, result.warnings) == ("finished", ())
    assert "classes" in result.reports
    assert f'"new-{kind}/{kind}"' in (tmp_path / "run" / "experiment.json").read_text()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["plugins"][f"new-{kind}"] == f"didact-new-{kind} 1.2"


def test_a_new_plugin_is_formatted(written):
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--config",
                ROOT / "pyproject.toml",
                *written.values(),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_developed_with_the_kit_and_imports_no_torch(kind, written):
    project = tomllib.loads((written[kind] / "pyproject.toml").read_text())
    assert "didact-kit>=0.1,<0.2" in project["dependency-groups"]["dev"]
    assert "didact>=0.1,<0.2" in project["project"]["dependencies"]
    package = f"didact_new_{kind.replace('-', '_')}"
    code = f"import sys; sys.path.insert(0, {str(written[kind] / 'src')!r}); import {package}.plugin as plugin; "
    code += "plugin.didact_examples(); assert not {'torch', 'didact_kit'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_a_new_plugin_is_typed(written, tmp_path):
    sources = [folder / "src" for folder in written.values()]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", *sources],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout


def test_the_command_lists_what_it_wrote_and_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["plugin", "new", "stripes", "--kind", "masker"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "didact-stripes" / "src" / "didact_stripes" / "masking.py").exists()
    for line in ("src/didact_stripes/plugin.py", "pip install -e didact-stripes", "didact plugin check stripes"):
        assert line in result.output


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("stripes", "mask", "there is no kind 'mask' of plugin"),
        ("Stripes", "masker", "'Stripes' is not a valid name for a plugin"),
        ("a/b", "masker", "'a/b' is not a valid name"),
        ("vision", "masker", "there is a plugin 'vision' already, of didact-vision"),
        ("didact-vision", "masker", "there is a plugin 'vision' already"),
        ("masker", "masker", "its class would be called Masker, which is the name of a class of didact"),
        ("class", "masker", "'class' is a keyword of Python"),
    ],
)
def test_what_cannot_be_written_is_refused(name, kind, words, tmp_path):
    with pytest.raises(PluginError) as caught:
        write(name, kind, tmp_path / "new")
    assert words in caught.value.what
    assert caught.value.hint
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PluginError, match="the folder is not empty"):
        write("stripes", "masker", tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_class_is_named_after_its_plugin():
    assert class_name("long-spans", "Masker") == "LongSpansMasker"
    assert class_name("stripes-masker", "Masker") == "StripesMasker"
