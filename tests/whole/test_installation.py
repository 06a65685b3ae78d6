"""The core and each modality work alone in a fresh environment."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
import tomllib
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy_method.py"
CLEAN = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
PYTHON = Path("environment/bin/python")

EXPERIMENT = """
from didact import AdamW, BatchSize, Experiment, Training
from didact_distill import EMATeacher, LatentRegression, TopKTargets
from didact_transformer import Transformer
{imports}

experiment = Experiment(
    name="alone",
    source={source},
    encoder={encoder},
    masker={masker},
    backbone=Transformer(width=16, depth=2, heads=2),
    targets=TopKTargets(k=2, teacher=EMATeacher()),
    objective=LatentRegression(),
    training=Training(steps=2, batch=BatchSize.samples(2), optimizer=AdamW(learning_rate=1e-3)),
)
"""

MODALITIES = {
    "vision": {
        "kind": "images",
        "imports": "from didact_vision import Images, Patches, RandomMasker",
        "source": 'Images(store="stores/alone", size=16)',
        "encoder": "Patches(width=16, patch=4, mask_token=True)",
        "masker": 'RandomMasker(ratio=0.5, corruption="hide")',
    },
    "speech": {
        "kind": "audio",
        "imports": "from didact_speech import ConvWaveform, SpanMasker, Waveforms",
        "source": 'Waveforms(store="stores/alone", sample_rate_hz=8_000, min_seconds=None)',
        "encoder": "ConvWaveform(width=16, channels=8, layers=((10, 5), (3, 2)), position_depth=1)",
        "masker": "SpanMasker(length=5)",
    },
    "text": {
        "kind": "text",
        "imports": "from didact_text import ByteBPE, TextBlocks, TokenEmbeddings, TokenMasker\n"
        "tokenizer = ByteBPE(store='stores/alone', vocabulary_size=270)",
        "source": "TextBlocks(store='stores/alone', tokenizer=tokenizer, block_tokens=32)",
        "encoder": "TokenEmbeddings(width=16, max_tokens=32)",
        "masker": "TokenMasker()",
    },
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv makes the environments"),
]


def write_files(folder: Path, kind: str) -> None:
    """Writes a few files of a kind."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        if kind == "images":
            data = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(data, "PNG")
            (folder / f"{index}.png").write_bytes(data.getvalue())
        elif kind == "audio":
            with wave.open(str(folder / f"{index}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8_000)
                file.writeframes(rng.integers(-9_000, 9_000, 2_400, dtype=np.int16).tobytes())
        else:
            words = rng.choice(["sea", "tree", "stone", "cloud", "river", "light"], 80)
            (folder / f"{index}.txt").write_text(" ".join(words))


def install_toy(site: Path) -> None:
    """Puts the plugin of one file, and what an installer writes of it, into an environment."""
    shutil.copy(TOY, site)
    info = site / "toy_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\nRequires-Dist: didact>=0.1,<0.2\n"
    )
    (info / "entry_points.txt").write_text(f"[didact]\ntoy = {TOY.stem}\n")


@pytest.fixture
def fresh(tmp_path):
    """Runs commands in a fresh environment with some of this repository's distributions and their dependencies."""

    def install(*folders: str):
        def run(*command: object, code: int = 0) -> str:
            done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=CLEAN, capture_output=True, text=True)
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout

        run("uv", "venv", "--quiet", "environment")
        run("uv", "pip", "install", "--quiet", "--python", PYTHON, *(ROOT / folder for folder in folders))
        return run

    return install


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_trains_where_the_others_are_not_installed(modality, fresh, tmp_path):
    run = fresh("platform", "plugins/transformer", "plugins/distill", f"plugins/{modality}")
    for other in MODALITIES.keys() - {modality}:
        run(PYTHON, "-c", f"import didact_{other}", code=1)
    parts = MODALITIES[modality]
    write_files(tmp_path / "files", parts["kind"])
    (tmp_path / "alone.py").write_text(EXPERIMENT.format(**parts))
    assert modality in run(PYTHON, "-m", "didact", "plugins")
    run(PYTHON, "-m", "didact", "ingest", parts["kind"], "files", "--out", "stores/alone")
    run(PYTHON, "-m", "didact", "run", "alone.py", "--out", "run")
    assert "finished at step 2 of 2" in (tmp_path / "run" / "README.md").read_text()


def test_the_core_and_a_plugin_of_one_file_train_and_a_killed_run_is_resumed(fresh, tmp_path):
    run = fresh("platform")
    assert "didact 0.1.0" in run(PYTHON, "-m", "didact", "plugins")
    (site,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    install_toy(site)
    (tmp_path / "toy.py").write_text("from toy_method import experiment as experiment\n")
    command = [str(PYTHON), "-m", "didact", "run", "toy.py", "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=CLEAN, stdout=subprocess.DEVNULL) as training:
        while not any((tmp_path / "run" / "checkpoints").glob("step-*")):
            assert training.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.01)
        training.kill()
    run(PYTHON, "-m", "didact", "resume", "run")
    assert "finished at step 2000 of 2000" in (tmp_path / "run" / "README.md").read_text()
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    started = [event["step"] for event in events if event["event"] == "started"]
    assert len(started) == 2
    assert 0 == started[0] < started[1] < 2_000


RESOLVE = """
import os, sys
for module in sys.argv[1:]:  # of other distributions: each attempt below forks, and finds them imported
    __import__(module)
for _ in sys.stdin:
    sys.stdout.flush()
    if os.fork():
        os.wait()
        print(flush=True)
        continue
    from didact.plugins import registry
    for plugin in registry().plugins:
        try:
            assert not plugin.failure, plugin.failure
            for hook, short in plugin.entries():
                plugin.resolve(hook, short)
            for word in plugin.commands:
                plugin.command(word)
            print(plugin.distribution, "works")
        except Exception as error:
            print(plugin.distribution, "fails:", str(error).splitlines()[0])
    sys.stdout.flush()
    os._exit(0)
"""
NEEDED = ("torch", "torchvision", "torchaudio", "timm", "tokenizers", "aim", "lmdb", "PIL.Image", "soundfile", "rich")


def test_each_plugin_may_be_uninstalled(fresh, tmp_path):
    """Then it and those that require it are missing; everything else can be imported and used."""
    manifests = {
        path.parent: tomllib.loads(path.read_text())["project"] for path in ROOT.glob("plugins/*/pyproject.toml")
    }
    requires = {
        about["name"]: {re.split("[^a-z-]", line)[0] for line in about["dependencies"]}
        & {f"didact-{folder.name}" for folder in manifests}
        for about in manifests.values()
    }
    run = fresh("platform", *(folder.relative_to(ROOT) for folder in manifests))
    command = [str(PYTHON), "-c", RESOLVE, *NEEDED]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=CLEAN, **pipes) as resolving:
        for folder, about in sorted(manifests.items()):
            gone = {about["name"]}
            while more := {name for name, needed in requires.items() if needed & gone} - gone:
                gone |= more
            run("uv", "pip", "uninstall", "--quiet", "--python", PYTHON, about["name"])
            resolving.stdin.write("\n")
            resolving.stdin.flush()
            found = dict(line.strip().split(" ", 1) for line in iter(resolving.stdout.readline, "\n"))
            run("uv", "pip", "install", "--quiet", "--no-deps", "--python", PYTHON, folder)
            assert about["name"] not in found
            rest = {name: state for name, state in found.items() if name not in gone}
            assert rest == dict.fromkeys({"didact", *requires} - gone, "works"), f"without {about['name']}"
