"""A small example of everything registered; every contract's tests run over all of them.

A test that takes one of the fixtures of `HOOKS` runs once for each example of each component of that kind. Examples are
data, as in a run's record, so that nothing here imports a plugin: what is not installed is not tested, what is
installed without an example fails `test_examples.py`.
"""

from __future__ import annotations

import io
import math
import struct
import tomllib
import wave
from pathlib import Path
from typing import Any

import pytest
import torch

from didact import Layout, Network, Record, Signal, Spec
from didact.ingest.writing import write_store
from didact.plugins import registry
from didact.randomness import seeded
from didact.spec import from_data
from didact.testing import tiny_network

ROOT = Path(__file__).parents[2]

HOOKS = {
    "encoder": "didact_feature_encoders",
    "masker": "didact_maskers",
    "backbone": "didact_backbones",
    "target_builder": "didact_target_builders",
    "objective": "didact_objectives",
    "teacher": "didact_teachers",
    "source": "didact_sources",
    "evaluation": "didact_evaluations",
    "observer": "didact_observers",
    "part": "didact_parts",
}

IMAGES = {"spec": "vision/images", "store": "STORE:images", "size": 16}
BANDS = {"spec": "perceiver/fourier-positions", "bands": 3, "longest": 32}
TRANSFORMER = {"spec": "transformer/transformer", "width": 16, "depth": 2, "heads": 2}
PROTOTYPES = {"spec": "views/prototype-head", "hidden": 8, "bottleneck": 4, "prototypes": 6}
BPE = {"spec": "text/byte-bpe", "store": "STORE:text", "vocabulary_size": 290}

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "aim/aim": [{}],
    "didact/constant": [{}, {"warmup_steps": 3}],
    "didact/cosine": [{"warmup_steps": 3}],
    "didact/tri-stage": [{}],
    "distill/conv-decoder": [{"width": 8, "layers": 2, "groups": 2}],
    "distill/ema": [
        {"start": 0.9, "end": 0.9, "anneal_steps": 0, "shares": shares} for shares in ("encoder", "features", "nothing")
    ],
    "distill/latent-regression": [
        {},
        {"beta": 4.0, "scale": "1", "head": {"spec": "distill/mlp-head"}},
        {
            "head": {"spec": "distill/conv-decoder", "width": 8, "layers": 2, "groups": 2, "noise": 0.0},
            "class_weight": 0.5,
        },
    ],
    "distill/linear-head": [{}],
    "distill/mlp-head": [{}],
    "distill/top-k": [
        {"k": 2, "feature": feature, "normalize": normalize, "normalize_average": average}
        for feature, normalize, average in (
            ("ffn", "instance", "none"),
            ("block", "layer", "layer"),
            ("attention", "batch", "none"),
        )
    ],
    "evaluate/health": [{"source": IMAGES, "samples": 8}],
    "evaluate/pictures": [{"source": IMAGES, "samples": 2, "pool": 6, "masks": 2}],
    "evaluate/probe": [{"train": IMAGES, "test": IMAGES, "neighbours": 2}],
    "perceiver/arrays": [{"width": 16, "positions": BANDS}, {"width": 16, "patch": 2, "positions": BANDS}],
    "perceiver/cells": [{}, {"cells": 5, "ratio": 0.3}],
    "perceiver/fourier-positions": [{}],
    "perceiver/perceiver-io": [
        {
            "width": 12,
            "latents": 5,
            "latent_width": 16,
            "depth": 2,
            "heads": 2,
            "key_width": 8,
            "positions": BANDS,
            "queries": queries,
        }
        for queries in ("positions", "content")
    ],
    "speech/conv-waveform": [
        {
            "width": 16,
            "channels": 12,
            "layers": [[10, 5], [3, 2]],
            "position_depth": 2,
            "position_kernel": 5,
            "position_groups": 4,
            "positions_see": see,
        }
        for see in ("mask", "zeros")
    ],
    "speech/mel-filterbank": [
        {
            "width": 16,
            "bands": 6,
            "window": 20,
            "hop": 8,
            "joined": joined,
            "position_depth": 2,
            "position_kernel": 5,
            "position_groups": 4,
            "positions_see": see,
        }
        for joined, see in ((1, "mask"), (2, "zeros"))
    ],
    "speech/span": [{"length": 5}, {"length": 5, "equalize_counts": True}, {"length": 2, "mask_dropout": 0.2}],
    "speech/waveforms": [{"store": "STORE:audio", "sample_rate_hz": 8000, "max_seconds": 0.2, "min_seconds": 0.05}],
    "text/blocks": [
        {"store": "STORE:text", "tokenizer": BPE, "block_tokens": 16, "breaks": b} for b in ("document", "none")
    ],
    "text/byte-bpe": [{"store": "STORE:text", "vocabulary_size": 290}],
    "text/sentences": [{"store": "STORE:text", "tokenizer": BPE, "max_tokens": 24}],
    "text/span": [{"probability": 0.35, "length": 2}],
    "text/token": [{}, {"probability": 0.3, "predict": "hidden"}],
    "text/token-embeddings": [{"width": 16, "max_tokens": 24}],
    "text/tokenizer-file": [{"path": "tokenizer.json"}],
    "transformer/alibi": [{}],
    "transformer/beit-bias": [{}],
    "transformer/depth-scaled-initialization": [{}],
    "transformer/normal-initialization": [{}],
    "transformer/transformer": [
        {"width": 16, "depth": 3, "heads": 4, "input_norm": True},
        {"width": 16, "depth": 2, "heads": 2, "norm": "pre", "layer_scale": 0.1, "key_bias": False},
        {"width": 16, "depth": 2, "heads": 4, "positions": {"spec": "transformer/alibi"}},
        {"width": 16, "depth": 2, "heads": 4, "positions": {"spec": "transformer/beit-bias"}},
    ],
    "views/cosine-prediction": [{"hidden": 8}, {"hidden": 8, "norm": "none"}],
    "views/distorted-views": [{}, {"recipes": [{"spec": "views/view-recipe", "size": 8, "scale": [0.05, 0.4]}]}],
    "views/mlp": [{"hidden": 8, "out": 6}, {"layers": 1, "norm": "none"}],
    "views/pixels": [{}],
    "views/projected": [
        {"backbone": TRANSFORMER, "projector": {"spec": "views/mlp", "hidden": 8, "out": 6}},
        {"backbone": TRANSFORMER, "projector": PROTOTYPES},
    ],
    "views/prototype-cross-entropy": [{}],
    "views/prototype-head": [{}],
    "views/prototype-targets": [{"teacher": {"spec": "distill/ema", "shares": "nothing"}}],
    "views/student-summaries": [{}, {"gradient": "flow"}],
    "views/teacher-summaries": [{"teacher": {"spec": "distill/ema", "shares": "nothing"}}],
    "views/timm": [{"name": "test_vit", "normalizes_batches": False}, {"name": "test_resnet"}],
    "views/vicreg": [{}],
    "views/view-recipe": [{}],
    "vision/beit-augmentation": [{}],
    "vision/block": [{}, {"min_area": 4}],
    "vision/images": [IMAGES, IMAGES | {"views": 2, "augmentation": {"spec": "vision/beit-augmentation"}}],
    "vision/inverse-block": [{"masks": 3}],
    "vision/patches": [
        {"width": 16, "patch": 4},
        {"width": 16, "patch": 4, "positions": "learned", "mask_token": True, "class_token": False},
        {"width": 16, "patch": 4, "positions": "none", "mask_token": True, "initialization": "beit"},
    ],
    "vision/random-crop": [{}],
    "vision/random": [{"masks": 2}, {"ratio": 0.5, "corruption": "hide"}],
}


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


# what the encoders read, and samples of it, uneven where they may be
SIGNALS = {
    "speech/conv-waveform": (
        Signal(kind="waveform", axes=(None,), rate_hz=16_000),
        [_noise(400), _noise(331), _noise(150)],
    ),
    "speech/mel-filterbank": (
        Signal(kind="waveform", axes=(None,), rate_hz=16_000),
        [_noise(400), _noise(331), _noise(150)],
    ),
    "text/token-embeddings": (
        Signal(kind="tokens", axes=(None,), vocabulary=50),
        [torch.arange(4, 18), torch.arange(9, 30, 3), torch.tensor([5, 5, 49])],
    ),
    "perceiver/arrays": (
        Signal(kind="tokens", axes=(None,), vocabulary=50),
        [torch.arange(4, 18), torch.arange(9, 30, 3), torch.tensor([5, 5, 49])],
    ),
    "views/pixels": (Signal(kind="image", axes=(3, 6, 5)), [_noise(3, 6, 5), _noise(3, 6, 5) + 1]),
    "vision/patches": (Signal(kind="image", axes=(3, 16, 16)), [_noise(3, 16, 16), _noise(3, 16, 16) + 1]),
}

# the layouts that maskers serve, where these are not all of them
LAYOUTS = {
    "speech/span": [Layout((30,)), Layout((101,))],
    "vision/block": [Layout((8, 8)), Layout((14, 14))],
    "vision/inverse-block": [Layout((8, 8)), Layout((14, 14)), Layout((6, 9))],
}
# the layouts that backbones serve, with extra tokens before them, where these are not all of them
BACKBONE_LAYOUTS = {"views/timm": [(Layout((32, 48)), 0)]}
ALL_BACKBONE_LAYOUTS = [(Layout((7,)), 0), (Layout((3, 4)), 0), (Layout((3, 4)), 1)]
ALL_LAYOUTS = [Layout((30,)), Layout((101,)), Layout((8, 8)), Layout((14, 14))]


def registered(hook: str) -> list[str]:
    """The names that this repository's distributions register under a hook."""
    manifests = [tomllib.loads(path.read_text()) for path in ROOT.glob("plugins/*/pyproject.toml")]
    ours = {"didact"} | {manifest["project"]["name"] for manifest in manifests}
    names = registry().of_kind(hook)
    owners = {plugin.name for plugin in registry().plugins if plugin.distribution in ours}
    return sorted(name for name in names if name.partition("/")[0] in owners)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, hook in HOOKS.items():
        if fixture in metafunc.fixturenames:
            cases = [
                pytest.param((name, data), id=f"{name}-{number}" if number else name)
                for name in registered(hook)
                for number, data in enumerate(EXAMPLES.get(name, ()))
            ]
            metafunc.parametrize(fixture, cases, indirect=True)


class Example:
    """A component under test: its registered name, and an instance."""

    def __init__(self, name: str, spec: Spec) -> None:
        self.name, self.spec = name, spec


def _fixture(name: str) -> Any:
    @pytest.fixture(name=name)
    def example(request: pytest.FixtureRequest, stores: Path) -> Example:
        component, data = request.param
        return Example(component, build({"spec": component, **data}, stores))

    return example


for _name in HOOKS:
    globals()[f"{_name}_example"] = _fixture(_name)


@pytest.fixture
def layouts() -> Any:
    """The layouts that a masker serves, by its name."""
    return lambda name: LAYOUTS.get(name, ALL_LAYOUTS)


@pytest.fixture
def backbone_layouts() -> Any:
    """The layouts that a backbone serves, each with a number of extra tokens, by its name."""
    return lambda name: BACKBONE_LAYOUTS.get(name, ALL_BACKBONE_LAYOUTS)


@pytest.fixture
def comparing(make: Any) -> Network:
    """A tiny network that ends in a summary, for methods that compare views."""
    network = tiny_network()
    projector = {"spec": "views/mlp", "hidden": 8, "out": 6, "norm": "none"}
    projected = make({"spec": "views/projected", "backbone": TRANSFORMER | {"width": 8}, "projector": projector})
    with seeded(0, "projected"):
        return Network(network.encoder, projected.build(8, None), network.signal, network.layout)


@pytest.fixture
def signals() -> Any:
    """What an encoder reads, by its name: the signal and some samples."""
    return lambda name: SIGNALS[name]


@pytest.fixture
def examples() -> Any:
    """All examples, and how to list the registered names of a hook."""
    return EXAMPLES, SIGNALS, registered, HOOKS


@pytest.fixture
def make(stores: Path) -> Any:
    """Builds any spec from its data."""
    return lambda data: build(data, stores)


def build(data: dict[str, Any], stores: Path) -> Any:
    """The spec that data describe, with ``STORE:name`` as that store's path."""
    return from_data(_with_stores(data, stores), Spec, registry().class_of)


def _with_stores(data: Any, stores: Path) -> Any:
    if isinstance(data, dict):
        return {key: _with_stores(value, stores) for key, value in data.items()}
    return str(stores / data.removeprefix("STORE:")) if isinstance(data, str) and data.startswith("STORE:") else data


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of a few images, sounds and texts."""
    folder = tmp_path_factory.mktemp("stores")
    write_store(folder / "images", "images", "images", [_image(i) for i in range(12)])
    write_store(folder / "audio", "audio", "seconds", [_sound(i) for i in range(4)])
    write_store(folder / "text", "text", "bytes", [_text(i) for i in range(8)])
    return folder


def _image(index: int) -> Record:
    """A binary PPM: the one image format that can be written by hand."""
    pixels = bytes((index * 16 + 5 * i * (index % 2 + 1)) % 256 for i in range(20 * 18 * 3))
    return Record(data=b"P6 20 18 255\n" + pixels, length=1.0, name=f"{index}.ppm", fields={"label": "ab"[index % 2]})


def _sound(index: int) -> Record:
    frames = 1200 + 300 * index
    wave_bytes = b"".join(
        struct.pack("<h", int(9000 * math.sin(0.05 * (index + 2) * n) + (n * 7919) % 501)) for n in range(frames)
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(wave_bytes)
    return Record(data=file.getvalue(), length=frames / 8000, name=f"{index}.wav", fields={"label": "xy"[index % 2]})


def _text(index: int) -> Record:
    words = ["mask", "teacher", "student", "token", "läuft", "span", "and", "the"]
    text = " ".join(words[(index * 3 + n * n) % 8] for n in range(14 + 5 * index))
    return Record(
        data=text.encode(), length=float(len(text.encode())), name=f"{index}.txt", fields={"label": "pq"[index % 2]}
    )
