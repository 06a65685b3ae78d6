"""The how-to on ablations works as written on small data, and the paper's ablations fit their data."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from sklearn.datasets import load_digits

from didact.cli import cli
from didact_stores import Record
from didact_stores.ingest.writing import write_store

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "compare-ablations.md"
MINIATURE = ["--set", "steps=3", "--set", "base.backbone.width=16", "--set", "base.encoder.width=16"]
ABLATIONS = sorted((ROOT / "experiments" / "ablations").glob("*.py"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL)


def digits(folder: Path) -> None:
    pictures, labels = load_digits(return_X_y=True)
    for store, part in (("digits-train", slice(0, 120)), ("digits-test", slice(120, 180))):

        def records(part=part):
            for number, (picture, label) in enumerate(zip(pictures[part], labels[part], strict=True)):
                data = io.BytesIO()
                Image.fromarray((picture.reshape(8, 8) * 15).astype(np.uint8)).resize((16, 16)).save(data, "PNG")
                yield Record(data=data.getvalue(), length=1, name=f"{number}.png", fields={"label": str(label)})

        write_store(folder / store, "images", "images", records())


@pytest.mark.slow
def test_the_how_to_can_be_followed(tmp_path, didact_in, monkeypatch):
    digits(tmp_path / "quickstart" / "stores")
    (tmp_path / "layers.py").write_text(blocks("python")[0])
    (tmp_path / "plugins").symlink_to(ROOT / "plugins")

    def follow(line: str) -> str:
        command, *words = shlex.split(line)
        assert command == "didact"
        small = words[:2] == ["run", "layers.py"] and "--smoke" not in words
        done = didact_in(tmp_path, *words, *(MINIATURE if small else []))
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    describe, read, anything = blocks("sh")
    export, smoke, run = describe.splitlines()
    monkeypatch.setenv("DIDACT_STORES", export.partition("=")[2])
    assert "k=1: fits" in follow(smoke)
    assert "attention, seed 2: probe/linear" in follow(run)
    for line in read.splitlines():
        assert "k=1" in follow(line)
    assert (tmp_path / "figures" / "effects.svg").exists()
    assert (tmp_path / "runs" / "layers" / "comparison" / "curves.png").exists()
    told = follow(anything.splitlines()[-1])
    assert "targets.k: 1 → 4" in told
    assert "training.seed" not in told


# ── The paper's ablations ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Path:
    """Stores of the names that the ablations read, with a little noise in them."""
    folder, rng = tmp_path_factory.mktemp("stores"), np.random.default_rng(0)

    def pictures():
        for number in range(8):
            data = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(data, "PNG")
            yield Record(data=data.getvalue(), length=1, name=f"{number}.png", fields={"label": str(number % 2)})

    def sounds():
        for number in range(8):
            data = io.BytesIO()
            soundfile.write(data, rng.normal(0, 0.1, 4_000), 8_000, format="WAV", subtype="PCM_16")
            fields = {"label": str(number % 2), "speaker": ("theo", "lucas")[number // 4]}
            yield Record(data=data.getvalue(), length=0.5, name=f"{number}.wav", fields=fields)

    for store in ("cifar10-train", "cifar10-test"):
        write_store(folder / store, "images", "images", pictures())
    write_store(folder / "fsdd", "audio", "seconds", sounds())
    return folder


def test_there_are_the_papers_ablations_on_images_and_on_speech():
    names = {path.stem for path in ABLATIONS} - {"methods_images"}
    questions = ("layers", "target", "normalization", "decay", "masking", "encoder", "beta")
    assert names == {f"{question}_{modality}" for question in questions for modality in ("images", "speech")}


@pytest.mark.slow
@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_every_variant_of_the_papers_ablations_fits_its_data(path, stores, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIDACT_STORES", str(stores))
    monkeypatch.chdir(tmp_path)
    cli.main(["run", str(path), "--smoke"], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()
    assert int(re.search(r"of (\d+) experiments", said[0]).group(1)) == len(said) - 1 >= 2
    assert all(line.endswith(": fits") for line in said[1:])
