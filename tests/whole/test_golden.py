"""Golden runs: a few steps under a seed give the numbers in golden.json. A refactor must not move them.

Where a change of the method moves them on purpose, `DIDACT_WRITE_GOLDEN=1 pytest tests/whole/test_golden.py` writes new
ones, and the commit says why.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from didact import Experiment, Record, Training, run, samples
from didact.experiment_file import load_experiment
from didact.ingest.writing import write_store
from didact.observing import read_metrics
from didact_distill import EMATeacher, LatentRegression, LinearHead, MLPHead, TopKTargets
from didact_speech import ConvWaveform, SpanMasker, Waveforms
from didact_text import ByteBPE, TextBlocks, TokenEmbeddings, TokenMasker
from didact_transformer import Transformer

GOLDEN = Path(__file__).parent / "golden.json"
NAMES = ("train/loss", "train/gradient_norm", "collapse/target_std", "collapse/prediction_std")


def speech(folder: Path) -> Experiment:
    import io

    import soundfile

    rng = np.random.default_rng(1)

    def records():
        for index in range(8):
            time = np.arange(1_600 + 80 * index) / 8_000
            sound = np.sin(2 * np.pi * (200 + 50 * index) * time) + 0.1 * rng.standard_normal(len(time))
            data = io.BytesIO()
            soundfile.write(data, 0.3 * sound, 8_000, format="WAV", subtype="PCM_16")
            yield Record(data=data.getvalue(), length=len(time) / 8_000, name=f"{index}.wav")

    write_store(folder / "tones", "audio", "seconds", records())
    return Experiment(
        name="tiny-speech",
        source=Waveforms(store=str(folder / "tones"), sample_rate_hz=8_000, min_seconds=None),
        encoder=ConvWaveform(
            width=16, channels=8, layers=((10, 5), (3, 2), (3, 2)), position_depth=2, position_groups=4
        ),
        masker=SpanMasker(probability=0.65, length=5, equalize_counts=True),
        backbone=Transformer(width=16, depth=3, heads=2, input_norm=True, layer_drop=0.2),
        targets=TopKTargets(k=2, teacher=EMATeacher(start=0.9, end=0.99, anneal_steps=4)),
        objective=LatentRegression(head=LinearHead()),
        training=Training(steps=1, batch=samples(4), learning_rate=1e-3),
    )


def text(folder: Path) -> Experiment:
    words = np.array(["quick", "brown", "foxes", "jump", "over", "lazy", "dogs", "and", "run", "away"])
    rng = np.random.default_rng(2)

    def records():
        for index in range(60):
            line = " ".join(rng.choice(words, 20)).encode()
            yield Record(data=line, length=len(line), name=f"line {index}")

    write_store(folder / "lines", "text", "bytes", records())
    tokenizer = ByteBPE(store=str(folder / "lines"), vocabulary_size=300)
    return Experiment(
        name="tiny-text",
        source=TextBlocks(store=str(folder / "lines"), tokenizer=tokenizer, block_tokens=32, breaks="document"),
        encoder=TokenEmbeddings(width=16, max_tokens=32),
        masker=TokenMasker(),
        backbone=Transformer(width=16, depth=3, heads=2),
        targets=TopKTargets(k=2, normalize="layer", teacher=EMATeacher(start=0.9, end=0.99, anneal_steps=4)),
        objective=LatentRegression(head=MLPHead(), beta=4.0, scale="1"),
        training=Training(steps=1, batch=samples(4), learning_rate=1e-3),
    )


def images(folder: Path) -> Experiment:
    return load_experiment("tiny.py")[0]


@pytest.mark.parametrize("make", [images, speech, text], ids=lambda make: make.__name__)
def test_a_run_gives_its_golden_numbers(make, project):
    experiment = make(project)
    training = attrs.evolve(
        experiment.training, steps=5, precision="float32", workers=0, log_every=1, checkpoint_every=None
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run.start(attrs.evolve(experiment, training=training), project / "r")
    finally:
        torch.set_num_threads(threads)
    curve = {name: [round(metrics[name], 6) for metrics in read_metrics(project / "r")] for name in NAMES}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("DIDACT_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {make.__name__: curve}, indent=2) + "\n")
        return
    for name in NAMES:
        # processors round differently; anything that is a change of the method is far larger
        assert curve[name] == pytest.approx(golden[make.__name__][name], rel=2e-3), name
