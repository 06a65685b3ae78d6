"""The rule that no part changes what it is handed, for parts of all kinds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from didact.contracts.data import Samples
from didact.contracts.network import BackboneModule, FeatureEncoderModule
from didact.errors import SpecError
from didact.learner import Learner
from didact.tensors import Corruption, HiddenState
from didact_kit.encoders import corrupted
from didact_kit.examples import Case
from didact_kit.rules import NotJudged
from didact_kit.watching import recording, same, watching

SAMPLES = 3


def check_step(case: Case) -> None:
    """Checks that a part changes nothing that it is handed in a training step and in a pass in evaluation mode."""
    changes: list[str] = []
    with _built(case) as held:
        learner = case.learner()
    with watching([*_classes(case, learner), *map(type, held)], changes):
        try:
            _pass_through(case, learner)
        except Exception as error:  # foreign code
            if not changes:
                raise
            # in-place operations may also make PyTorch's gradients impossible
            raise AssertionError(f"{changes[0]}, and then {type(error).__name__}: {error}") from error
    assert not changes, changes[0]


def check_masker(case: Case) -> None:
    """Checks that `Masker.equalize` does not change the given masks."""
    changes: list[str] = []
    with watching([type(case.spec)], changes):
        for layout in case.example.layouts:
            masks = tuple(case.spec.sample(layout, generator=torch.Generator().manual_seed(seed)) for seed in range(4))
            case.spec.equalize(masks, generator=torch.Generator().manual_seed(0))
    assert not changes, changes[0]


def check_source(case: Case) -> None:
    """Checks that a source changes neither batches nor contents that it is handed, nor samples that it has cached."""
    changes: list[str] = []
    source, samples = case.spec, case.samples
    with watching([type(source), *_classes(case, None)], changes):
        for index in range(min(SAMPLES, len(samples.lengths))):
            content = samples.content(index)
            before = content.clone()
            if not same(samples.content(index), before):
                raise NotJudged("its contents change at every reading, which the rule 'determinism' reports")
            _read(case, samples, index)
            assert same(content, before), f"views of sample {index} changes the content that was read before, in place"
            again = samples.content(index)
            assert same(again, before), (
                f"after views of sample {index}, its content is another: a cached sample changed"
            )
            for method in (source.raw_features, source.image, source.audio, source.words):
                with contextlib.suppress(NotImplementedError):
                    method(content)
        source.finish(case.batch(masked=False))
    assert not changes, changes[0]


def _read(case: Case, samples: Samples, index: int) -> None:
    length = float(samples.lengths.min()) if type(case.spec).crops else None
    for seed in range(2):
        samples.views(index, length=length, generator=torch.Generator().manual_seed(seed))
    for name in samples.fields:
        samples.field(index, name)


def _classes(case: Case, learner: Learner | None) -> Iterator[type]:
    """Yields the classes of the part under test: of its spec, and of its modules."""
    if case.held is not None:  # what its build returns is watched, too
        yield type(case.held)
    elif learner is not None:
        yield type(case.module(learner))


@contextlib.contextmanager
def _built(case: Case) -> Iterator[list[Any]]:
    """Records the modules of a part that another one holds."""
    modules: list[Any] = []
    if case.held is None or not callable(getattr(case.held, "build", None)):
        yield modules
        return
    with recording(type(case.held)) as built:
        yield modules
    modules += [one for one in built if isinstance(one, nn.Module)]


def _pass_through(case: Case, learner: Learner) -> None:
    """Calls all methods of all parts of a learner that a run may call."""
    batch = case.batch()
    total, _ = learner.train()(batch, learner.objective.num_targets(batch))
    total.backward()
    learner.after_step(1, 10)
    learner.eval()
    with torch.no_grad():
        learner(batch, learner.objective.num_targets(batch))
        for index, view in enumerate(batch.views):
            network = learner.network.of(index)
            encoder, backbone = network.encoder, network.backbone
            assert isinstance(encoder, FeatureEncoderModule)
            assert isinstance(backbone, BackboneModule)
            tokens = encoder.embed(view)
            if view.mask is not None and view.mask.replacement is not None:
                encoder.replacements(view.mask)
            placed = encoder.place(tokens, None)
            if case.kind == "feature-encoder":
                for kind in case.spec.corruptions - {Corruption.NONE}:
                    with contextlib.suppress(SpecError):  # the rule `declaration` says what place can do
                        encoder.place(tokens, corrupted(kind, tokens.layout.positions, len(batch.ids)))
            with contextlib.suppress(SpecError):  # the rule `declaration` says which features there are
                for feature in backbone.features:
                    backbone(placed, HiddenState.last(feature, 1, len(backbone.blocks)))
                backbone.attention(placed, 0)
