"""A part under test, and the experiment around it in which it is checked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from didact.building import build_learner
from didact.contracts.data import Samples, Source
from didact.contracts.network import Backbone, FeatureEncoder, Masker, Network
from didact.contracts.targets import Objective, TargetBuilder
from didact.experiment import Experiment
from didact.learner import Learner
from didact.loading import collate
from didact.randomness import generator, key
from didact.tensors import Batch, Layout, View
from didact.training import BatchSize, Training
from didact_kit.tiny import TinyBackbone, TinyEncoder, TinyMasker
from didact_kit.tiny_method import TinyObjective, TinyTargets
from didact_kit.tiny_sources import TinySource

SEED = 0
LAYOUTS = (Layout((30,)), Layout((101,)), Layout((8, 8)), Layout((14, 14)))


@attrs.frozen(kw_only=True, eq=False)
class Example:
    """A small instance of a component, and the experiment in which it is checked. Tiny parts fill what is left out.

    The function that a plugin's ``didact_examples`` hook names gives some for each component.

    Attributes:
        spec: the instance, with anything random in it (dropout, a decoder's noise) switched off. Of a medium or a
            command, the instance itself.
        source: the samples.
        encoder: of these samples.
        masker: None hides nothing, for methods that compare views.
        backbone: that takes the encoder's vectors.
        targets: that an objective under test predicts.
        objective: that predicts the targets.
        layouts: that a masker under test must support.
        draws: whether a masker's masks differ from draw to draw; False where one mask for all is intended.
        hides_more: whether a masker hides positions that it does not predict, as I-JEPA's contexts do.
        sees_mask: whether targets depend on the student's masked input.
        learns: whether a gradient flows through the targets (VICReg's other view, wav2vec 2.0's codebook).
        good: ``name → bytes`` of files that a medium reads.
        bad: ``name → bytes`` of files that it must refuse.
        options: for a medium, of the command line.
    """

    spec: Any
    source: Source = TinySource(uneven=True)
    encoder: FeatureEncoder = TinyEncoder()
    masker: Masker | None = TinyMasker()
    backbone: Backbone = TinyBackbone()
    targets: TargetBuilder = TinyTargets()
    objective: Objective = TinyObjective()
    layouts: Sequence[Layout] = LAYOUTS
    draws: bool = True
    hides_more: bool = False
    sees_mask: bool = False
    learns: bool = False
    good: Mapping[str, bytes] = attrs.field(factory=dict)
    bad: Mapping[str, bytes] = attrs.field(factory=dict)
    options: Mapping[str, str] = attrs.field(factory=dict)


class Case:
    """One example of one component, ready to be checked.

    Attributes:
        errors: errors that checks of this component met, each with the rule and the example that reported it.

    Args:
        example: the part and the experiment around it.
        kind: the part's kind, such as ``masker``; see `didact_kit.contracts`.
        name: its registered name, or its class's where it has none.
        distribution: that brings it, with its version; empty where it is not installed.
        number: of the example among those of the component, from 0.
        errors: of the component's other examples, which share them.
    """

    def __init__(
        self,
        example: Example,
        kind: str,
        name: str = "",
        distribution: str = "",
        number: int = 0,
        errors: dict[str, tuple[str, int]] | None = None,
    ) -> None:
        self.example, self.kind, self.number = example, kind, number
        self.name = name or type(example.spec).__name__
        self.distribution = distribution
        self.errors = errors if errors is not None else {}

    @property
    def spec(self) -> Any:
        """The part under test."""
        return self.example.spec

    @property
    def place(self) -> str:
        """The file and line of its class; of a command, of its function."""
        if self.kind == "plugin":
            return str(self.spec.plugin.location or self.spec.plugin.module)
        definition = self.spec.callback if self.kind == "command" else type(self.spec)
        try:
            return f"{inspect.getsourcefile(definition)}:{inspect.getsourcelines(definition)[1]}"
        except (OSError, TypeError):  # defined without a file
            return ""

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The experiment in which it is checked."""
        example = self.example
        parts: dict[str, Any] = {
            name: getattr(example, name) for name in ("source", "encoder", "masker", "backbone", "targets", "objective")
        }
        lists: dict[str, Any] = {}
        if self.kind == "teacher":
            parts["targets"] = TinyTargets(teacher=self.spec)
        elif self.kind == "evaluation":
            lists["evaluations"] = {"verdict": self.spec}
        elif self.kind == "observer":
            lists["observers"] = (self.spec,)
        elif self.kind in FIELDS:
            parts[FIELDS[self.kind]] = self.spec
        training = Training(
            steps=2,
            batch=BatchSize.samples(4),
            learning_rate=1e-2,
            precision="float32",
            num_workers=0,
            log_every=1,
            seed=SEED,
        )
        return Experiment(name="contract", **parts, **lists, training=training)

    @functools.cached_property
    def samples(self) -> Samples:
        """The experiment's samples."""
        self.experiment.source.prepare()
        return self.experiment.source.open()

    def contents(self, count: int = 3) -> list[Tensor]:
        """Some whole samples, each (*axes), of different sizes where the source has such."""
        return [self.samples.content(index) for index in range(min(count, len(self.samples.lengths)))]

    def learner(self, seed: int = SEED) -> Learner:
        """The parts, built under a seed."""
        self.experiment.source.prepare()
        return build_learner(self.experiment.evolve(**{"training.seed": seed}))

    def network(self, seed: int = SEED) -> Network:
        """The network alone."""
        return self.learner(seed).network

    def batch(self, ids: Sequence[int] = range(4), *, masked: bool = True, draw: int = 0) -> Batch:
        """A batch of samples; the same sample has the same views and masks in any batch.

        Args:
            ids: of the samples, modulo their number.
            masked: whether the experiment's masker draws.
            draw: other numbers give other masks.
        """
        masker = self.experiment.masker if masked else None
        source, ids = self.experiment.source, [index % len(self.samples.lengths) for index in ids]
        length = float(self.samples.lengths.min()) if source.crops else None
        contents = [self.samples.views(i, length=length, generator=generator(SEED, "view", i)) for i in ids]
        views: list[View] = []
        for number, of_view in enumerate(zip(*contents, strict=True)):
            drawn = [generator(SEED, "mask", number, i, draw) for i in ids]
            view = collate(of_view, self.experiment.encoder, masker, drawn)
            views.append(attrs.evolve(view, keys=torch.tensor([key(SEED, "step", number, i) for i in ids])))
        return Batch(views=tuple(views), ids=torch.tensor(ids))


FIELDS = {
    "feature-encoder": "encoder",
    "masker": "masker",
    "backbone": "backbone",
    "target-builder": "targets",
    "objective": "objective",
    "source": "source",
}
