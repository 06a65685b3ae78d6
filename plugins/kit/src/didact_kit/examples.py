"""A part under test, and the experiment in which the part is checked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from didact.building import build_learner
from didact.contracts.data import Samples, Source
from didact.contracts.network import Backbone, FeatureEncoder, Masker, Network
from didact.contracts.optimizer import AdamW
from didact.contracts.targets import Objective, TargetBuilder, TeacherModule
from didact.experiment import Experiment
from didact.learner import Learner
from didact.loading import StepBatch, collate, join
from didact.loop.trainer import Trainer
from didact.randomness import generator, key
from didact.schedules import Constant
from didact.spec import Spec
from didact.tensors import Batch, Layout, View
from didact.training import BatchSize, Training
from didact_kit.tiny import TinyBackbone, TinyEncoder, TinyMasker
from didact_kit.tiny_method import TinyObjective, TinyTargets
from didact_kit.tiny_sources import TinySource

SEED = 0
LONGEST = 160  # characters of an example in a message
LAYOUTS = (Layout((30,)), Layout((101,)), Layout((8, 8)), Layout((14, 14)))


@attrs.frozen(kw_only=True, eq=False)
class Example:
    """A small instance of a component, with the experiment in which it is checked. Tiny parts fill omitted fields.

    A plugin's ``didact_examples`` hook names a function that gives examples of each component.

    Attributes:
        spec: the instance, with randomness such as dropout or a decoder's noise switched off. For a medium or a
            command, the instance itself.
        source: the samples of the experiment.
        encoder: the encoder of these samples.
        masker: the masker; None hides nothing, for methods that compare views.
        backbone: the backbone that takes the encoder's vectors.
        targets: the targets that an objective under test predicts.
        objective: the objective that predicts the targets.
        layouts: the layouts that a masker under test must support.
        draws: whether a masker's masks vary between draws; False if one mask for all samples is intended.
        hides_more: whether a masker hides positions that it does not predict, as I-JEPA's contexts do.
        sees_mask: whether targets depend on the student's masked input.
        learns: whether a gradient flows through the targets (VICReg's other view, wav2vec 2.0's codebook).
        files: ``name → bytes`` of files that a source under test has as samples of these names.
        good: ``name → bytes`` of files that a medium can read.
        bad: ``name → bytes`` of files that a medium must refuse.
        options: the command-line options of a medium.
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
    files: Mapping[str, bytes] = attrs.field(factory=dict)
    good: Mapping[str, bytes] = attrs.field(factory=dict)
    bad: Mapping[str, bytes] = attrs.field(factory=dict)
    options: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False)
class Holding:
    """Where a part is judged.

    Attributes:
        kind: the kind of the part that holds it; empty if none was found.
        example: an example of that kind, in which it is held; None if none was found.
        reason: why none was found.
    """

    kind: str = ""
    example: Example | None = None
    reason: str = ""


class Case:
    """One example of a component, with everything that its checks need.

    Attributes:
        errors: errors that checks of this component raised, each with the rule and the example that reported it.
        memory: results that several rules use, by name.
        spoilt: the rule that the example breaks, so that the others cannot be judged; empty at first.
        holding: where a part of another part is judged; None for other kinds, and for parts that are not registered.

    Args:
        example: the part and the experiment around it.
        kind: the kind of the part, such as ``masker``; see `didact_kit.contracts`.
        name: the registered name of the part, or the name of its class.
        distribution: the distribution of the part with its version; empty if it is not installed.
        number: the index of the example among those of the component, from 0.
        count: the number of the component's examples.
        errors: the errors that all examples of the component share.
        held: the part that is judged, if ``example.spec`` is another part that holds it.
        note: what is to be said about the example, such as that the plugin does not give it.
    """

    def __init__(
        self,
        example: Example,
        kind: str,
        name: str = "",
        distribution: str = "",
        number: int = 0,
        count: int = 1,
        errors: dict[tuple[str, str], tuple[str, int]] | None = None,
        held: Spec | None = None,
        note: str = "",
    ) -> None:
        self.example, self.kind, self.number, self.count = example, kind, number, count
        self.held, self.note = held, note
        self.holding: Holding | None = None
        self.spoilt = ""
        self.memory: dict[str, Any] = {}
        self.name = name or type(self.judged).__name__
        self.distribution = distribution
        self.errors = errors if errors is not None else {}

    @property
    def spec(self) -> Any:
        """The part under test."""
        return self.example.spec

    @property
    def judged(self) -> Any:
        """The part whose mistakes are reported: the part under test, or a part that it holds."""
        return self.example.spec if self.held is None else self.held

    @property
    def example_name(self) -> str:
        """The example for users: its number, the fields that differ from their defaults, and the part that holds it."""
        if self.kind in ("plugin", "command"):
            return ""
        inside = "" if self.held is None else f" in {_shown(self.spec)}"
        note = f" ({self.note})" if self.note else ""
        return f"example {self.number + 1} of {self.count}: {_shown(self.judged)}{inside}{note}"

    @property
    def place(self) -> str:
        """The file and line of the part's class, or of the function of a command."""
        if self.kind == "plugin":
            return str(self.spec.plugin.location or self.spec.plugin.module)
        definition = self.judged.callback if self.kind == "command" else type(self.judged)
        try:
            return f"{inspect.getsourcefile(definition)}:{inspect.getsourcelines(definition)[1]}"
        except (OSError, TypeError):  # the class has no file
            return ""

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The experiment in which the part is checked."""
        example = self.example
        parts: dict[str, Any] = {
            name: getattr(example, name) for name in ("source", "encoder", "masker", "backbone", "targets", "objective")
        }
        lists: dict[str, Any] = {}
        if self.kind == "teacher":
            own = holds(example.targets, self.spec)
            parts["targets"] = example.targets if own else TinyTargets(teacher=self.spec)
        elif self.kind == "evaluation":
            lists["evaluations"] = {"verdict": self.spec}
        elif self.kind == "observer":
            lists["observers"] = (self.spec,)
        elif self.kind in FIELDS:
            parts[FIELDS[self.kind]] = self.spec
        training = Training(
            steps=2,
            batch=BatchSize.samples(4),
            optimizer=self.spec if self.kind == "optimizer" else AdamW(learning_rate=1e-2),
            schedule=Constant(),
            precision="float32",
            num_workers=0,
            log_every=1,
            seed=SEED,
        )
        return Experiment(name="contract", **parts, **lists, training=training)

    @functools.cached_property
    def samples(self) -> Samples:
        """The samples of the experiment."""
        self.experiment.source.prepare()
        return self.experiment.source.open()

    def contents(self, count: int = 3) -> list[Tensor]:
        """Returns whole samples (*axes), of different sizes if the source has them."""
        return [self.samples.content(index) for index in range(min(count, len(self.samples.lengths)))]

    def learner(self, seed: int = SEED) -> Learner:
        """Builds the parts of the experiment with a seed."""
        self.experiment.source.prepare()
        return build_learner(self.experiment.evolve(**{"training.seed": seed}))

    @functools.cached_property
    def draws(self) -> bool:
        """Whether the loss in training mode depends on PyTorch's global generator, as with dropout."""
        learner, batch = self.learner().train(), self.batch()
        counts, losses = learner.objective.num_targets(batch), []
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for seed in range(2):
                torch.manual_seed(seed)
                losses.append(learner(batch, counts)[0])
        return not torch.equal(*losses)

    def trainer(self, seed: int = SEED) -> Trainer:
        """Builds the learner and its optimizer, before the first step."""
        return Trainer(self.experiment, self.learner(seed), torch.device("cpu"))

    def network(self, seed: int = SEED) -> Network:
        """Builds the network alone."""
        return self.learner(seed).network

    def module(self, learner: Learner) -> nn.Module:
        """Returns the module of the part under test in a learner of this case."""
        if self.kind == "teacher":
            return next(one for one in learner.targets.modules() if isinstance(one, TeacherModule))
        return learner.get_submodule(MODULES[self.kind])

    def step(self, step: int) -> StepBatch:
        """Returns the batch of a step, with masks, a key and keys of samples that no other step has."""
        batch = self.batch(range(step, step + 4), draw=step + 1, step=step + 1)
        return StepBatch(step=step, epoch=0, parts=(batch,), samples=4, held=1, cells=1)

    def batch(self, ids: Sequence[int] = range(4), *, masked: bool = True, draw: int = 0, step: int = 0) -> Batch:
        """Returns a batch of samples; a sample has the same views and masks in every batch of one draw and one step.

        Args:
            ids: the ids of the samples, modulo their number.
            masked: whether the experiment's masker is applied.
            draw: the index of the draw; other indices give other masks.
            step: the step; other steps have other keys.
        """
        source, ids = self.experiment.source, [index % len(self.samples.lengths) for index in ids]
        length = float(self.samples.lengths.min()) if source.crops else None
        contents = [self.samples.views(i, length=length, generator=generator(SEED, "view", i)) for i in ids]
        views: list[View] = []
        student = self.experiment.targets.student_views(len(contents[0]))
        for number, of_view in enumerate(zip(*contents, strict=True)):
            drawn = [generator(SEED, "mask", number, i, draw) for i in ids]
            encoder, masker, _ = self.experiment.of_view(number)
            view = collate(of_view, encoder, masker if masked and number in student else None, drawn)
            keys = torch.tensor([key(SEED, "step", number, step, i) for i in ids])
            views.append(attrs.evolve(view, keys=keys, student=number in student))
        fields = {name: join([self.samples.field(i, name) for i in ids]) for name in self.experiment.targets.fields()}
        return Batch(views=tuple(views), ids=torch.tensor(ids), key=key(SEED, "batch", step), fields=fields)


def holds(part: Any, other: Spec) -> bool:
    """Returns whether a part has another one in its fields, at any depth."""
    return any(each == other for each in parts_of(part))


def parts_of(part: Any) -> Iterator[Spec]:
    """Yields the specs in the fields of a part, at any depth."""
    values: Sequence[Any] = ()
    if isinstance(part, Spec):
        values = [getattr(part, field.name) for field in attrs.fields(type(part))]
    elif isinstance(part, (tuple, list)):
        values = part
    elif isinstance(part, Mapping):
        values = list(part.values())
    for value in values:
        if isinstance(value, Spec):
            yield value
        yield from parts_of(value)


def _shown(part: Any) -> str:
    """A part with the fields that differ from their defaults, on one line."""
    if not isinstance(part, Spec):
        return type(part).__name__
    shown = [
        f"{field.name}={_shown(value) if isinstance(value, Spec) else repr(value)}"
        for field in attrs.fields(type(part))
        if (value := getattr(part, field.name)) != _default(field)
    ]
    text = f"{type(part).__name__}({', '.join(shown)})"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _default(field: Any) -> Any:
    return field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]


FIELDS = {
    "feature-encoder": "encoder",
    "masker": "masker",
    "backbone": "backbone",
    "target-builder": "targets",
    "objective": "objective",
    "source": "source",
}
MODULES = {  # their places in a learner
    "feature-encoder": "network.encoder",
    "backbone": "network.backbone",
    "target-builder": "targets",
    "objective": "objective",
}
