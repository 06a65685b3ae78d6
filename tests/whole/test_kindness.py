"""Invalid input on the command line: one message with a place and a hint, exit code 1, and no traceback."""

from __future__ import annotations

import importlib.metadata
import io
import shutil
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

from didact import cli, plugins


@pytest.fixture
def complain(project, monkeypatch, capsys):
    """Runs a command that must fail, and returns its one message."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["didact", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        output = capsys.readouterr()
        assert stopped.value.code == 1, output
        assert "Traceback" not in output.err + output.out
        message = output.err[output.err.index("error: ") :]
        assert message.count("error: ") == 1
        return message

    return run


@pytest.fixture
def edit(project):
    """Changes the experiment file by replacing one piece of text."""

    def change(old: str, new: str) -> None:
        text = (project / "tiny.py").read_text()
        assert text.count(old) == 1
        (project / "tiny.py").write_text(text.replace(old, new))

    return change


def image_bytes(format_: str = "JPEG") -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, format_)
    return data.getvalue()


def test_a_missing_experiment_file(complain):
    message = complain("run", "tinny.py")
    assert "there is no experiment file tinny.py" in message
    assert "did you mean tiny.py?" in message


def test_an_experiment_name_that_the_file_lacks(complain):
    message = complain("run", "tiny.py:experimnt")
    assert "tiny.py has no experiment 'experimnt'" in message
    assert "did you mean experiment?" in message


def test_files_to_ingest_that_are_missing(complain):
    assert "nowhere" in complain("ingest", "images", "nowhere", "--out", "s")


def test_an_empty_folder_to_ingest(complain, project):
    (project / "empty").mkdir()
    message = complain("ingest", "images", "empty", "--out", "s")
    assert "empty" in message
    assert not (project / "s" / "store.json").exists()


def test_a_kind_of_file_that_nobody_knows(complain):
    message = complain("ingest", "imges", ".", "--out", "s")
    assert "imges" in message
    assert "images" in message


def test_a_store_half_written(complain, project, stores, monkeypatch):
    shutil.copytree(stores / "tiny", project / "half" / "tiny")
    (project / "half" / "tiny" / "store.json").unlink()
    monkeypatch.setenv("DIDACT_STORES", str(project / "half"))
    message = complain("run", "tiny.py", "--out", "r")
    assert "tiny" in message
    assert "didact ingest" in message


def test_a_store_that_does_not_exist(complain, edit):
    edit('store="tiny"', 'store="tinny"')
    message = complain("run", "tiny.py", "--out", "r")
    assert "tinny" in message
    assert "hint" in message


def test_a_store_of_the_wrong_modality(complain, project, didact):
    (project / "words.txt").write_text("some words\n\nand more of them\n")
    assert didact("ingest", "text", "words.txt", "--out", "words").returncode == 0
    message = complain("run", "tiny.py", "--out", "r", "--set", f"source.store={project / 'words'}")
    assert "text" in message
    assert "images" in message


def test_broken_files_among_good_ones_are_listed_and_skipped(project, monkeypatch, capsys):
    (project / "photos").mkdir()
    (project / "photos" / "good.jpg").write_bytes(image_bytes())
    (project / "photos" / "short.jpg").write_bytes(image_bytes()[:-900])
    monkeypatch.setattr(sys, "argv", ["didact", "ingest", "images", "photos", "--out", "photo-store"])
    cli.main()
    output = capsys.readouterr()
    assert "short.jpg" in output.out + output.err
    assert "short.jpg" in (project / "photo-store" / "rejected.tsv").read_text()
    (project / "sounds").mkdir()
    sound = np.sin(np.arange(8000) / 10).astype(np.float32)
    soundfile.write(project / "sounds" / "good.wav", sound, 8000, subtype="FLOAT")
    sound[100] = np.nan
    soundfile.write(project / "sounds" / "nan.wav", sound, 8000, subtype="FLOAT")
    monkeypatch.setattr(sys, "argv", ["didact", "ingest", "audio", "sounds", "--out", "sound-store"])
    cli.main()
    assert "nan.wav" in (project / "sound-store" / "rejected.tsv").read_text()


def test_text_that_is_not_utf8(complain, project):
    (project / "old.txt").write_bytes("Gr\xfc\xdfe aus einer anderen Zeit".encode("latin-1"))
    message = complain("ingest", "text", "old.txt", "--out", "s")
    assert "UTF-8" in message


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.step=5", ["Training has no field 'step'", "did you mean steps?"]),
        ("training.steps=many", ["training.steps must be int, got 'many'", "optimizer steps"]),
        ("masker.ratio=1.5", ["InverseBlockMasker.ratio must be", "got 1.5"]),
        ("targets.k=9", ["TopKTargets.k must be at most the backbone's depth, 2, got 9"]),
        ("masker.ratio=0.99", ["would mask everything of a sample of 16 positions", "masker.ratio", "lower the ratio"]),
        ("encoder.width=24", ["width", "16", "24"]),
        ("nonsense", ["--set takes FIELD=VALUE"]),
        ("training.batch.unit=seconds", ["training.batch is given in seconds, but Images counts images"]),
    ],
)
def test_a_field_that_cannot_be(complain, project, setting, words):
    message = complain("run", "tiny.py", "--out", "r", "--set", setting)
    for word in words:
        assert word in message
    assert not (project / "r").exists()  # nothing was begun


def test_a_mistake_in_the_file_is_told_with_its_line(complain, edit, project):
    edit("depth=2", "dept=2")
    message = complain("run", "tiny.py", "--out", "r")
    assert "Transformer has no field 'dept'" in message
    assert "did you mean depth?" in message
    line = next(n for n, text in enumerate((project / "tiny.py").read_text().splitlines(), 1) if "dept=2" in text)
    assert f"tiny.py:{line}" in message


def test_a_file_that_is_not_python(complain, edit):
    edit("experiment = Experiment(", "experiment = = Experiment(")
    assert "this is not Python" in complain("run", "tiny.py", "--out", "r")


def test_a_plugin_that_the_file_imports_and_nobody_installed(complain, edit):
    edit("from didact_vision import", "from didact_sonar import Pings\nfrom didact_vision import")
    message = complain("run", "tiny.py", "--out", "r")
    assert "didact_sonar" in message
    assert "tiny.py:" in message


def test_a_file_beside_it_that_the_file_imports(complain, edit, project):
    (project / "helpers.py").write_text("WIDTH = 8\n")
    edit("from didact_vision import", "from helpers import WIDTH\nfrom didact_vision import")
    assert "an experiment imports no files beside it" in complain("run", "tiny.py", "--out", "r")


class Distribution:
    def __init__(self, name: str) -> None:
        self.name, self.version = name, "1.0"


def entry_point(name: str, value: str, distribution: str) -> importlib.metadata.EntryPoint:
    point = importlib.metadata.EntryPoint(name=name, value=value, group="didact")
    vars(point)["dist"] = Distribution(distribution)
    return point


@pytest.fixture
def with_plugins(monkeypatch):
    """Has more plugins installed than there are."""

    def install(*points: importlib.metadata.EntryPoint) -> None:
        real = importlib.metadata.entry_points(group="didact")
        monkeypatch.setattr(plugins, "registry", lambda: plugins.discover([*real, *points]))
        monkeypatch.setattr("didact.cli.registry", plugins.registry)

    return install


def test_a_plugin_that_does_not_import_is_listed_while_the_others_work(with_plugins, monkeypatch, capsys):
    with_plugins(entry_point("sonar", "no_such_module.plugin", "acme-sonar"))
    monkeypatch.setattr(sys, "argv", ["didact", "plugins"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    listing = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "acme-sonar 1.0" in listing
    assert "No module named 'no_such_module'" in listing
    assert "vision  didact-vision" in listing


def test_two_plugins_of_one_name_are_both_named_while_the_others_work(with_plugins, monkeypatch, capsys):
    with_plugins(entry_point("vision", "acme_vision.plugin", "acme-vision"))
    monkeypatch.setattr(sys, "argv", ["didact", "plugins"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    listing = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "2 plugins are called 'vision'" in listing
    assert "acme-vision 1.0" in listing
    assert "didact-vision" in listing
    assert "speech  didact-speech" in listing


def test_a_folder_without_a_run(complain, project):
    assert "there is no run in" in complain("resume", project)


def test_a_command_that_does_not_exist(complain):
    assert "did you mean ingest?" in complain("injest")


def test_a_device_that_is_not_there(complain):
    assert "there is no device 'cuda:7' here" in complain("run", "tiny.py", "--out", "r", "--device", "cuda:7")
