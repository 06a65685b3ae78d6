"""Each modality alone, in a fresh environment: what is not installed is not missed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PYTHON = Path("environment/bin/python")

EXPERIMENT = """
from didact import Experiment, Training, samples
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
    training=Training(steps=2, batch=samples(2), learning_rate=1e-3),
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
    """A few files of a kind, by the standard library and what the tests have anyway."""
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


@pytest.fixture
def fresh(tmp_path):
    """Runs commands in a fresh environment that holds the named distributions of this repository, and theirs."""

    def install(*folders: str):
        clean = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}

        def run(*command: object, code: int = 0) -> str:
            done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=clean, capture_output=True, text=True)
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


def test_the_core_stands_alone(fresh):
    assert "didact 0.1.0" in fresh("platform")(PYTHON, "-m", "didact", "plugins")
