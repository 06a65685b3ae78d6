"""Small labelled sequences of uneven length, and a network whose output would change if it read padding."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import ClassVar

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from didact import (
    AdamW,
    Backbone,
    BackboneModule,
    BackboneOutput,
    Batch,
    BatchMask,
    BatchSize,
    Experiment,
    FeatureEncoder,
    FeatureEncoderModule,
    HiddenState,
    Layout,
    Loss,
    Mask,
    Masker,
    Masking,
    Network,
    Objective,
    ObjectiveModule,
    Samples,
    Signal,
    Source,
    SpecError,
    StudentPass,
    Target,
    TargetBuilder,
    TargetBuilderModule,
    Tokens,
    Training,
    View,
    build_learner,
)
from didact.building import build_network
from didact.machine.distributed import World
from didact.placing import corrupt, drop, prepend, repeat

FRAME = 4


@attrs.frozen(kw_only=True)
class Sequences(Source):
    """Sequences of 2 to 9 frames; the class decides their mean.

    Attributes:
        names: of the classes; the store's, present or not.
        present: the classes that samples have, as numbers into ``names``; -1 has no label.
        count: of samples.
        labelled: whether there are labels at all.
        pictures: whether a sample has one.
        sounds: whether it can be heard.
        words_too: whether each value is one.
        twins: whether sample 2n + 1 is sample 2n once more.
        rate_hz: of the signal.
        values: in every sample, as the signal says; None says nothing.
        seed: of the noise.
    """

    unit: ClassVar[str] = "values"

    names: tuple[str, ...] = ("a", "b", "c")
    present: tuple[int, ...] = (0, 1, 2)
    count: int = 60
    labelled: bool = True
    pictures: bool = True
    sounds: bool = False
    words_too: bool = False
    twins: bool = False
    rate_hz: int = 100
    values: int | None = None
    seed: int = 0

    def signal(self) -> Signal:
        return Signal(kind="sequence", axes=(self.values,), rate_hz=self.rate_hz)

    def open(self) -> OpenSequences:
        return OpenSequences(self)

    def raw_features(self, content: Tensor) -> Tensor:
        return torch.stack([content.mean(), content.std()])

    def image(self, content: Tensor) -> Tensor | None:
        if not self.pictures:
            return None
        grey = (content.sigmoid() * 255).to(torch.uint8)
        return grey[None, :, None].expand(8, -1, 3)

    def audio(self, content: Tensor) -> tuple[Tensor, int] | None:
        return (content.tanh(), self.rate_hz) if self.sounds else None

    def words(self, content: Tensor) -> tuple[str, ...] | None:
        return tuple(f" {value:.3f}" for value in content.tolist()) if self.words_too else None


class OpenSequences(Samples):
    def __init__(self, source: Sequences) -> None:
        self.source = source
        self.reads = 0
        chosen = np.arange(source.count)
        self.labels = np.array(source.present)[chosen % len(source.present)] if source.labelled else None
        self.classes = source.names if source.labelled else ()
        keys = chosen // 2 * 2 if source.twins else chosen
        self._keys = keys
        self.lengths = np.array([FRAME * (2 + key * 7 % 8) for key in keys], dtype=np.float64)
        self.fingerprint = "0" * 64

    def content(self, index: int) -> Tensor:
        self.reads += 1
        noise = torch.randn(
            int(self.lengths[index]),
            generator=torch.Generator().manual_seed(self.source.seed * 1000 + int(self._keys[index])),
        )
        name = self.source.names[self.labels[index]] if self.labels is not None else "a"
        return noise * 0.3 + 2.0 * (ord(name[0]) - ord("b"))

    def views(self, index: int, *, length: float | None, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self.content(index),)

    def name(self, index: int) -> str:
        return f"sequence-{index}"


@attrs.frozen(kw_only=True)
class Frames(FeatureEncoder):
    """Frames of a few values.

    Attributes:
        class_token: whether one stands before them.
        frame: values of each.
    """

    class_token: bool = True
    frame: int = FRAME

    def layout(self, size: tuple[int, ...]) -> Layout:
        if size[-1] < self.frame:
            raise SpecError(f"{size[-1]} values are less than a frame")
        return Layout((size[-1] // self.frame,))

    def build(self, signal: Signal) -> FramesModule:
        return FramesModule(self)


class FramesModule(FeatureEncoderModule):
    def __init__(self, spec: Frames) -> None:
        super().__init__()
        self.frame = spec.frame
        self.project = nn.Linear(spec.frame, spec.width)
        self.mask = nn.Parameter(torch.randn(spec.width))
        self.token = nn.Parameter(torch.randn(1, spec.width)) if spec.class_token else None

    def embed(self, view: View) -> Tokens:
        b, t = view.content.shape[0], view.layout.positions
        features = self.project(view.content[:, : t * self.frame].reshape(b, t, self.frame))  # (B, T·4) -> (B, T, D)
        return Tokens(features=features, layout=view.layout, padding=view.padding)

    def place(self, tokens: Tokens, mask: BatchMask | None) -> Tokens:
        features = corrupt(tokens.features, mask, self.mask, padding=tokens.padding)
        tokens = drop(attrs.evolve(tokens, features=features, padding=repeat(tokens.padding, mask)), mask)
        return tokens if self.token is None else prepend(tokens, self.token)


@attrs.frozen(kw_only=True)
class Mixer(Backbone):
    """Blocks that add the mean of the sequence to each position.

    Attributes:
        depth: of blocks.
    """

    depth: int = 3

    def build(self, width: int, layout: Layout | None) -> MixerModule:
        return MixerModule(width, self.depth)


class MixerModule(BackboneModule):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens: Tokens, hidden_states: Sequence[HiddenState] = ()) -> BackboneOutput:
        values, features = tokens.features, []
        for block in self.blocks:
            if tokens.padding is None:
                mean = values.mean(1, keepdim=True)
            else:
                held = ~tokens.padding[..., None]
                mean = (values * held).sum(1, keepdim=True) / held.sum(1, keepdim=True)
            values = values + self.dropout(block(values + mean).tanh())
            features.append(values)
        states = tuple(features[one.block] for one in hidden_states)
        return BackboneOutput(output=values * 2, tokens=tokens, hidden_states=states)


@attrs.frozen(kw_only=True)
class Stretches(Masker):
    """Hides the first half of a sample behind one mask and the second behind the other."""

    masking = Masking.of("hide", masks=2)

    def sample(self, layout: Layout, *, generator: torch.Generator) -> Mask:
        first = torch.arange(layout.positions) < layout.positions // 2
        return Mask.hide(torch.stack([first, ~first]))


@attrs.frozen(kw_only=True)
class Inputs(TargetBuilder):
    """What the encoder makes of the whole input."""

    def build(self, network: Network) -> InputsModule:
        return InputsModule(network.backbone.width)


class InputsModule(TargetBuilderModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], network: Network) -> tuple[Target, ...]:
        return (Target(view=0, values=passes[0].tokens.features.detach()),)


@attrs.frozen(kw_only=True)
class Guess(Objective):
    """Compares a guess with the targets.

    Attributes:
        kind: ``exact`` guesses the target itself, ``position`` a vector of the position alone, ``constant`` one vector.
    """

    kind: str = "exact"

    def build(self, network: Network, targets: TargetBuilderModule) -> GuessModule:
        return GuessModule(self.kind, targets.width)


class GuessModule(ObjectiveModule):
    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.table = nn.Parameter(torch.randn(64, width))

    def num_targets(self, batch: Batch) -> dict[str, int]:
        return {"guess": batch.views[0].mask.count}

    def forward(self, batch: Batch, passes: tuple[StudentPass, ...], targets: tuple[Target, ...]) -> Loss:
        mask = passes[0].view.mask
        values = targets[0].values.flatten(0, 1)[mask.target_indices]
        position = mask.target_indices % passes[0].view.layout.positions
        guess = {
            "exact": values,
            "position": self.table[position],
            "constant": self.table[position * 0],
        }[self.kind]
        return Loss(terms={"guess": (guess - values).square().sum()}, predictions=guess.detach(), targets=values)


class Judged:
    """A subject whose trained network is a fresh one of another seed."""

    def __init__(self, experiment: Experiment, step: int | None = None) -> None:
        self.experiment = experiment
        self.world = World()
        self.device = torch.device("cpu")
        self.step = experiment.training.steps if step is None else step
        self.finished = self.step == experiment.training.steps
        training = attrs.evolve(experiment.training, seed=experiment.training.seed + 1)
        self.learner = build_learner(attrs.evolve(experiment, training=training)).eval()

    def student(self) -> Network:
        return self.learner.network

    def teacher(self) -> Network:
        return self.learner.network

    def untrained(self) -> Network:
        return build_network(self.experiment).eval()

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[tuple[StudentPass, ...], tuple[Target, ...]]:
        passes = self.learner.passes(batch)
        return passes, self.learner.targets(batch, passes, self.learner.network)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Loss:
        return self.learner.objective(batch, *self.targets(batch))


def make_experiment(**changes: object) -> Experiment:
    fields = {
        "name": "judged",
        "source": Sequences(),
        "encoder": Frames(width=8),
        "masker": Stretches(),
        "backbone": Mixer(),
        "targets": Inputs(),
        "objective": Guess(),
        "training": Training(
            steps=5,
            batch=BatchSize.samples(16),
            optimizer=AdamW(learning_rate=1e-3),
            precision="float32",
            num_workers=0,
        ),
    }
    return Experiment(**{**fields, **changes})


@pytest.fixture
def world() -> SimpleNamespace:
    return SimpleNamespace(
        Sequences=Sequences, Frames=Frames, Mixer=Mixer, Guess=Guess, Judged=Judged, experiment=make_experiment
    )
