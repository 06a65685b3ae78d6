"""Blocks with activation checkpointing."""

from __future__ import annotations

import functools

from didact import AdamW, BatchSize, Layout, build_learner
from didact.experiment import Experiment
from didact.loop.engine import checkpoint_activations
from didact.training import Training
from didact_kit import TinyBackbone, TinyEncoder, TinyMasker, TinyObjective, TinySource, TinyTargets


def test_every_block_that_learns_is_computed_again_a_predictors_too():
    experiment = Experiment(
        name="tiny",
        source=TinySource(),
        encoder=TinyEncoder(),
        masker=TinyMasker(),
        backbone=TinyBackbone(),
        targets=TinyTargets(),
        objective=TinyObjective(),
        training=Training(steps=1, batch=BatchSize.samples(2), optimizer=AdamW(learning_rate=0.1)),
    )
    learner = build_learner(experiment)
    learner.objective.predictor = TinyBackbone().build(TinyEncoder().width, Layout((4,)))
    checkpoint_activations(learner)
    places = {"network.backbone": learner.network.backbone, "objective.predictor": learner.objective.predictor}
    again = {name for name, module in learner.named_modules() if isinstance(module.forward, functools.partial)}
    blocks = [
        f"{place}.{name}"
        for place, backbone in places.items()
        for name, module in backbone.named_modules()
        if any(module is block for block in backbone.blocks)
    ]
    assert again == set(blocks)
    assert len(blocks) == 2 * len(learner.network.backbone.blocks)
    assert not any(name.startswith("targets.") for name in again)
