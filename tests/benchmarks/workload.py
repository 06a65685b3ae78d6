"""The data of both contestants: noise with the masks of the published experiment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from didact import Batch, BatchSize, Experiment, Samples, Signal, Source, collate
from didact.experiment_file import load_experiment
from didact.loading import StepBatch
from didact.randomness import generator

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "data2vec"
RATE_HZ, VOCABULARY, PIXELS = 16_000, 50_265, 224
LENGTHS = {"images": PIXELS, "speech": 4, "text": 256}  # pixels of a side, seconds, tokens

FILES = {"images": "vision_base.py", "speech": "speech_base.py", "text": "text_base.py"}


@attrs.frozen(kw_only=True)
class Noise(Source):
    """Samples of noise, which cost nothing to read.

    Attributes:
        modality: which.
        length: of a sample: pixels of an image's side, seconds of sound, tokens of text.
    """

    modality: str
    length: int
    unit: ClassVar[str] = "samples"

    def signal(self) -> Signal:
        if self.modality == "images":
            return Signal(kind="image", axes=(3, self.length, self.length))
        if self.modality == "speech":
            return Signal(kind="waveform", axes=(None,), rate_hz=RATE_HZ)
        return Signal(kind="tokens", axes=(None,), vocabulary=VOCABULARY)

    def open(self) -> Samples:
        raise NotImplementedError("the benchmark draws its batches itself")

    def draw(self, random: torch.Generator) -> Tensor:
        """One sample (*axes)."""
        if self.modality == "images":
            return torch.randn(3, self.length, self.length, generator=random)
        if self.modality == "speech":
            return torch.randn(self.length * RATE_HZ, generator=random)
        return torch.randint(4, VOCABULARY - 1, (self.length,), generator=random)


@attrs.frozen(eq=False)
class Workload:
    """A batch as didact's trainer takes it, of which the other contestant reads content and masks."""

    step_batch: StepBatch

    @classmethod
    def draw(cls, experiment: Experiment, size: int) -> Workload:
        source = experiment.source
        assert isinstance(source, Noise)
        generators = [generator(0, "sample", index) for index in range(size)]
        contents = [source.draw(random) for random in generators]
        view = collate(contents, experiment.encoder, experiment.masker, generators, generator(0, "equalise"))
        batch = Batch(views=(view,), ids=torch.arange(size))
        return cls(StepBatch(step=0, epoch=0, parts=(batch,), samples=size, held=1, cells=1))

    @property
    def content(self) -> Tensor:
        """(B, *axes)."""
        return self.step_batch.parts[0].views[0].content

    @property
    def predicted(self) -> Tensor:
        """(B, T) bool; true = the student must predict it."""
        mask = self.step_batch.parts[0].views[0].mask
        assert mask is not None
        return mask.predicted[:, 0]

    @property
    def masked_ids(self) -> Tensor:
        """(B, T) int64; a text as the student reads it, with ``<mask>`` or another word at some places."""
        mask = self.step_batch.parts[0].views[0].mask
        assert mask is not None
        ids = self.content
        if mask.replaced is not None and mask.replacement is not None:
            ids = torch.where(mask.replaced[:, 0], 4 + mask.replacement[:, 0] % (VOCABULARY - 5), ids)
        return ids if mask.hidden is None else ids.masked_fill(mask.hidden[:, 0], VOCABULARY - 1)


def load(modality: str, length: int | None = None, depth: int | None = None) -> Experiment:
    """The published experiment of base size, on noise, or of another length or depth.

    Blocks are not skipped at random (LayerDrop), so that every step is the same work for both.
    """
    experiment, _ = load_experiment(str(EXPERIMENTS / FILES[modality]))
    training = attrs.evolve(experiment.training, batch=BatchSize.samples(1), gradient_accumulation_steps=1)
    depth = depth or experiment.backbone.depth
    return attrs.evolve(
        experiment,
        source=Noise(modality=modality, length=length or LENGTHS[modality]),
        backbone=attrs.evolve(experiment.backbone, layer_drop=0.0, depth=depth),
        targets=attrs.evolve(experiment.targets, k=min(depth, experiment.targets.k)),
        training=training,
        evaluations={},
        observers=(),
    )
