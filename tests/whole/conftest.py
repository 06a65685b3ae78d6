"""Small experiments on generated data, fast enough to run many times."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from didact import AdamW, BatchSize, Experiment, Training
from didact.experiment_file import load_experiment
from didact.record.folder import read_metrics
from didact_distill import EMATeacher, LatentRegression, LinearHead, MLPHead, TopKTargets
from didact_doctor import Doctor
from didact_speech import ConvWaveform, SpanMasker, Waveforms
from didact_stores import Record
from didact_stores.ingest.writing import write_store
from didact_text import ByteBPE, TextBlocks, TokenEmbeddings, TokenMasker
from didact_transformer import Transformer

EXPERIMENT = '''
"""data2vec 2.0 on generated images, a few steps long."""

from didact import AdamW, BatchSize, Cosine, Experiment, Training
from didact_distill import ConvDecoder, EMATeacher, LatentRegression, TopKTargets
from didact_transformer import Transformer
from didact_vision import Images, InverseBlockMasker, Patches, RandomCrop

experiment = Experiment(
    name="tiny-images",
    source=Images(store="tiny", size=16, augmentation=RandomCrop(scale=(0.5, 1.0))),
    encoder=Patches(width=16, patch=4),
    masker=InverseBlockMasker(ratio=0.5, masks=2, block=2),
    backbone=Transformer(width=16, depth=2, heads=2, input_norm=True, dropout=0.1),
    targets=TopKTargets(k=2, normalize_average="layer", teacher=EMATeacher(start=0.9, end=0.99, share="nothing")),
    objective=LatentRegression(head=ConvDecoder(width=16, layers=2, groups=4)),
    training=Training(
        steps=8,
        batch=BatchSize.samples(6),
        optimizer=AdamW(learning_rate=1e-3),
        schedule=Cosine(warmup_steps=2),
        precision="float32",
        num_workers=0,
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


@pytest.fixture(scope="session")
def experiment_text() -> str:
    """The experiment file's content."""
    return EXPERIMENT


@pytest.fixture
def project(stores, tmp_path, monkeypatch) -> Path:
    """A working directory with the experiment file ``tiny.py``, in which the store is found by its name."""
    (tmp_path / "tiny.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIDACT_STORES", str(stores))
    return tmp_path


def _speech(folder: Path) -> Experiment:
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
        training=Training(steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3)),
    )


def _text(folder: Path) -> Experiment:
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
        training=Training(steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3)),
    )


@pytest.fixture(params=["images", "speech", "text"])
def modality(request) -> str:
    """Each modality in turn."""
    return request.param


@pytest.fixture
def make_experiment(project) -> Callable[[str], Experiment]:
    """The small experiment of a modality."""

    def make(modality: str) -> Experiment:
        if modality == "images":
            return load_experiment("tiny.py")[0]
        return {"speech": _speech, "text": _text}[modality](project)

    return make


FAULTY_PLUGIN = """
from __future__ import annotations
from typing import Literal
import attrs
import torch
from torch import nn
from didact import hookimpl
from didact_kit import tiny, tiny_sources


@attrs.frozen(kw_only=True)
class Walks(tiny_sources.TinySource):
    '''Random walks, some of which hold what should not be there.

    Attributes:
        fault: what it is.
        faulty: which samples hold it.
    '''

    fault: Literal["nan", "huge", "zero"] = "nan"
    faulty: tuple[int, ...] = ()

    def open(self):
        return FaultyWalks(self)


class FaultyWalks(tiny_sources.TinySamples):
    def content(self, index):
        content = super().content(index) / 10
        if index in self.source.faulty:
            if self.source.fault == "nan":
                content[1, 2] = float("nan")
            else:
                content.fill_({"huge": 1e30, "zero": 0.0}[self.source.fault])
        return content

    def views(self, index, *, length, generator):
        return (self.content(index),)


@attrs.frozen(kw_only=True)
class Encoder(tiny.TinyEncoder):
    '''An encoder that cannot take everything.

    Attributes:
        curve: exp overflows, the gradient of root is infinite at 0, norm keeps statistics of what it saw, tired keeps
            a count outside of its tensors.
    '''

    curve: Literal["exp", "root", "norm", "tired"] = "exp"

    def build(self, signal):
        return EncoderModule(signal.axes[0], self.width, self.curve)


class EncoderModule(tiny.TinyEncoderModule):
    def __init__(self, channels, width, curve):
        super().__init__(channels, width, class_token=False)
        self.projection = nn.Linear(channels, width, bias=False)
        self.curve = {"exp": Exp, "root": Root, "norm": Norm, "tired": Tired}[curve](width)

    def embed(self, view):
        tokens = super().embed(view)
        return attrs.evolve(tokens, features=self.curve(tokens.features))


class Exp(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x.abs().exp()


class Root(Exp):
    def forward(self, x):
        return x.abs().sqrt()


class Tired(Exp):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.01 * self.calls)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


@hookimpl
def didact_components():
    return {"walks": Walks}


@hookimpl
def didact_feature_encoders():
    return {"encoder": Encoder}


@hookimpl
def didact_backbones():
    return {"backbone": tiny.TinyBackbone}


@hookimpl
def didact_maskers():
    return {"masker": tiny.TinyMasker}
"""


@pytest.fixture
def faulty(write_plugin, install) -> Callable[..., Experiment]:
    """Experiments on samples that hold what should not be there, of a plugin that other processes find too.

    Called with the source's fault and samples, the encoder's curve, and fields of the training.
    """
    install(write_plugin("faulty_parts", FAULTY_PLUGIN))
    parts = importlib.import_module("faulty_parts")

    def make(fault: str, samples: tuple[int, ...], curve: str = "exp", **training: Any) -> Experiment:
        settings = {
            "steps": 8,
            "batch": BatchSize(amount=4, unit="samples"),
            "num_workers": 0,
            "optimizer": AdamW(learning_rate=1e-3),
        }
        return Experiment(
            name="faulty",
            source=parts.Walks(fault=fault, faulty=samples),
            encoder=parts.Encoder(curve=curve),
            masker=parts.tiny.TinyMasker(masks=2),
            backbone=parts.tiny.TinyBackbone(),
            targets=TopKTargets(k=2, teacher=EMATeacher(start=0.9, end=0.99)),
            objective=LatentRegression(),
            training=Training(**settings | {"log_every": 1, "checkpoint_every": 3, "precision": "float32"} | training),
            observers=(Doctor(),),
        )

    return make


@pytest.fixture(scope="session")
def curve() -> Callable[[Path], list[tuple[float, ...]]]:
    """All that follows from the seed, of every step of the run in a folder."""
    names = ("step", "train/loss", "train/gradient_norm", "collapse/target_std", "teacher/decay", "data/epoch")
    return lambda folder: [tuple(metrics[name] for name in names) for metrics in read_metrics(folder)]


@pytest.fixture(scope="session")
def assert_equal_runs(curve) -> Callable[[Path, Path], None]:
    """Whether the runs in two folders took the same steps to the same weights and optimizer state, to the bit."""

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        newest = max((folder / "checkpoints").glob("step-*"))
        files = list(newest.rglob("*.safetensors"))
        assert {file.parent.name for file in files} == {"learner", "optimizer"}
        return {name: tensor for file in files for name, tensor in load_file(file).items()}

    def compare(first: Path, second: Path) -> None:
        assert curve(first) == curve(second)
        mine, theirs = weights(first), weights(second)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)

    return compare
