"""A small experiment on generated images, fast enough to be run many times."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from didact import Record
from didact.ingest.writing import write_store

EXPERIMENT = '''
"""data2vec 2.0 on generated images, a few steps long."""

from didact import Cosine, Experiment, Training, samples
from didact_distill import ConvDecoder, EMATeacher, LatentRegression, TopKTargets
from didact_transformer import Transformer
from didact_vision import Images, InverseBlockMasker, Patches, RandomCrop

experiment = Experiment(
    name="tiny-images",
    source=Images(store="tiny", size=16, augmentation=RandomCrop(scale=(0.5, 1.0))),
    encoder=Patches(width=16, patch=4),
    masker=InverseBlockMasker(ratio=0.5, masks=2, block=2),
    backbone=Transformer(width=16, depth=2, heads=2, input_norm=True, dropout=0.1),
    targets=TopKTargets(k=2, normalize_average="layer", teacher=EMATeacher(start=0.9, end=0.99, shares="nothing")),
    objective=LatentRegression(head=ConvDecoder(width=16, layers=2, groups=4)),
    training=Training(
        steps=8,
        batch=samples(6),
        learning_rate=1e-3,
        schedule=Cosine(warmup_steps=2),
        precision="float32",
        workers=0,
        log_every=1,
        checkpoint_every=3,
    ),
)
'''


@pytest.fixture(scope="session")
def stores(tmp_path_factory) -> Path:
    """A folder with the store ``tiny``: 20 images of noise in two classes, one darker than the other."""
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(0)

    def records():
        for index in range(20):
            pixels = rng.integers(0, 128, (16, 16, 3), dtype=np.uint8) + (index % 2) * 100
            data = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(data, "PNG")
            fields = {"label": ("dark", "bright")[index % 2]}
            yield Record(data=data.getvalue(), length=1, name=f"{index}.png", fields=fields)

    write_store(folder / "tiny", "images", "images", records())
    return folder


@pytest.fixture
def project(stores, tmp_path, monkeypatch) -> Path:
    """A working directory with the experiment file ``tiny.py``, in which the store is found by its name."""
    (tmp_path / "tiny.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIDACT_STORES", str(stores))
    return tmp_path
