"""Probes: accuracy of simple classifiers on frozen features, with strong controls."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from torch import Tensor

from didact import Evaluation, Experiment, Network, Report, RunState, Signal, Source, SpecError
from didact.randomness import generator
from didact_evaluate.features import pooled, raw
from didact_evaluate.labelled import Labelled, open_pair
from didact_evaluate.linear import fit_linear
from didact_evaluate.neighbours import classify_by_neighbours


@attrs.frozen(kw_only=True)
class Probe(Evaluation):
    """A linear and a k-nearest-neighbour classifier of the pooled features of a frozen network.

    The metrics are accuracies on `test` in percent: ``linear`` and ``knn``, and, after the last step, those of the
    controls. ``linear_random`` and ``knn_random`` use the network at its random initialisation; ``linear_raw`` and
    ``knn_raw`` use the source's raw features (pixels, log-mel means, a bag of tokens). Controls and network use the
    same classifiers, which `didact_evaluate.linear` and `didact_evaluate.neighbours` describe.

    Attributes:
        train: labelled samples for training the classifiers; samples without a label are ignored. Accuracy depends on
            their number, so compare only accuracies with equal numbers of training samples.
        test: labelled samples for testing the classifiers, disjoint from `train`, with no class that `train` lacks.
        network: the evaluated network: ``student``, which data2vec fine-tunes, or ``teacher``, the student's running
            average. The teacher is often more accurate, but not in runs that are short compared with its memory.
        blocks: None evaluates the backbone's output; K evaluates the mean of the outputs of its K topmost blocks, which
            is less specific to the pretraining task (data2vec's targets are such a mean).
        pooling: pooling of a sample's positions. ``mean`` is the usual choice; ``mean+std`` appends the standard
            deviation (statistics pooling, Snyder et al. 2018), as do the raw features of audio.
        neighbours: number of neighbours that vote in the k-NN classifier; 20 in DINO. 0 disables it.
        controls: whether to evaluate the controls after the last step; this reads all samples two more times.
        limit: largest number of samples from each source, for quick evaluations during training; None takes all.
    """

    train: Source
    test: Source
    network: Literal["student", "teacher"] = "student"
    blocks: int | None = None
    pooling: Literal["mean", "mean+std"] = "mean"
    neighbours: int = 20
    controls: bool = True
    limit: int | None = None

    def validate(self) -> None:
        self.require(self.blocks is None or self.blocks >= 1, "blocks", "at least 1, or None")
        self.require(self.neighbours >= 0, "neighbours", "at least 0")
        self.require(self.limit is None or self.limit >= 2, "limit", "at least 2, or None")

    def prepare(self, experiment: Experiment) -> None:
        for field, source in (("train", self.train), ("test", self.test)):
            _require_fitting(source.signal(), experiment, field)
            source.prepare()
        open_pair(self.train, self.test, self.limit)

    def evaluate(self, state: RunState) -> Report:
        networks = {"": state.student() if self.network == "student" else state.teacher()}
        controls = self.controls and state.finished
        if controls:
            networks["_random"] = state.untrained()
        train, test = open_pair(self.train, self.test, self.limit)
        known, asked = (self._features(part, networks, state) for part in (train, test))
        if controls:
            known, asked = (_with_raw(part, features, state) for part, features in ((train, known), (test, asked)))
        world = state.world
        found = {
            name: self._accuracies(name, (train, known[name]), (test, asked[name]), state.device)
            for name in list(known)[world.rank :: world.size]  # the classifiers of this process
        }
        found = {name: accuracies for share in world.all_gather(found) for name, accuracies in share.items()}
        return Report(metrics={metric: value for name in known for metric, value in found[name].items()})

    def _features(self, part: Labelled, networks: dict[str, Network], state: RunState) -> dict[str, Tensor]:
        return pooled(
            networks,
            part.samples,
            part.indices.tolist(),
            experiment=state.experiment,
            device=state.device,
            blocks=self.blocks,
            spread=self.pooling == "mean+std",
            world=state.world,
        )

    def _accuracies(
        self, name: str, train: tuple[Labelled, Tensor], test: tuple[Labelled, Tensor], device: torch.device
    ) -> dict[str, float]:
        known, asked = train[1].to(device), test[1].to(device)  # (N, D), (S, D)
        labels, classes = train[0].labels.to(device), len(train[0].classes)
        # always seed 0, not the run's, so that the probe's randomness does not affect comparisons
        linear = fit_linear(known, labels, classes=classes, generator=generator(0, "probe", "held out"))
        guesses = {f"linear{name}": linear.classify(asked)}
        if self.neighbours:
            guesses[f"knn{name}"] = classify_by_neighbours(
                known, labels, asked, neighbours=self.neighbours, classes=classes
            )
        return {key: 100 * float((guess.cpu() == test[0].labels).double().mean()) for key, guess in guesses.items()}


def _with_raw(part: Labelled, features: dict[str, Tensor], state: RunState) -> dict[str, Tensor]:
    """Adds the raw features to the others, if the source defines any."""
    threads = state.experiment.training.num_workers
    try:
        return features | {"_raw": raw(part.source, part.samples, part.indices.tolist(), threads, state.world)}
    except NotImplementedError:
        return features


def _require_fitting(signal: Signal, experiment: Experiment, field: str) -> None:
    """Raises a `SpecError` if a source's signal differs from the signal that the network was built for."""
    wanted = experiment.source.signal()
    # a network for samples of any size also accepts samples of one size
    axes = tuple(None if theirs is None else ours for ours, theirs in zip(signal.axes, wanted.axes, strict=False))
    fitted = attrs.evolve(signal, axes=axes if len(signal.axes) == len(wanted.axes) else signal.axes)
    differing = [name for name in attrs.fields_dict(Signal) if getattr(fitted, name) != getattr(wanted, name)]
    if differing:
        raise SpecError(
            f"the signal of the probe's samples differs from the experiment's: "
            f"{', '.join(f'{name} {getattr(signal, name)!r}, not {getattr(wanted, name)!r}' for name in differing)}",
            where=field,
            hint="give the probe's source the settings of the experiment's (size, sample rate, tokenizer)",
        )
