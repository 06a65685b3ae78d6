"""Weight decay: the parameters of the registered components that are exempt besides biases and norms."""

from __future__ import annotations

import re

import pytest
from torch import nn

from didact import Backbone, FeatureEncoder, Objective, TargetBuilder
from didact.optimization import undecayed
from didact.plugins import registry
from didact_kit.checking import make_examples
from didact_kit.examples import Case

PARTS = (  # contract, kind, and where the part is in a learner
    (FeatureEncoder, "feature-encoder", "network.encoder."),
    (Backbone, "backbone", "network.backbone."),
    (TargetBuilder, "target-builder", "targets."),
    (Objective, "objective", "objective."),
)
EXEMPT = {
    "distill/latent-regression": set(),
    "distill/top-k": set(),
    "speech/conv-waveform": {"mask_embedding"},
    "speech/mel-filterbank": {"mask_embedding"},
    "text/token-embeddings": {"positions.weight"},
    "transformer/transformer": {
        "blocks.N.attention.query_value_bias",
        "blocks.N.attention_residual.scale",
        "blocks.N.ffn_residual.scale",
        "positions.scale",
        "positions.table",
    },
    "vision/patches": {"class_token", "mask_token", "positions"},
}


@pytest.fixture(scope="module")
def learners(tmp_path_factory):
    """Of each component: its prefix in a learner, and the learners of its examples."""
    found = {}
    for plugin in registry().plugins:
        if plugin.name in {name.partition("/")[0] for name in EXEMPT}:
            for short, examples in make_examples(plugin, tmp_path_factory.mktemp(plugin.name)).items():
                for contract, kind, prefix in PARTS:
                    if all(isinstance(example.spec, contract) for example in examples):
                        found[f"{plugin.name}/{short}"] = prefix, [Case(each, kind).learner() for each in examples]
    return found


def test_the_stated_sets_cover_every_component_that_has_parameters(learners):
    assert learners.keys() == EXEMPT.keys()


@pytest.mark.parametrize("name", EXEMPT)
def test_the_parameters_that_are_exempt_are_the_stated_ones_and_every_vector(learners, name):
    prefix, built = learners[name]
    special = set()
    for learner in built:
        exempt = undecayed(learner)
        for place, parameter in learner.named_parameters():
            if place.startswith(prefix) and parameter.requires_grad:
                owner, _, own = place.rpartition(".")
                assert parameter.ndim > 1 or place in exempt, place
                if place in exempt and own != "bias" and not isinstance(learner.get_submodule(owner), nn.LayerNorm):
                    special.add(re.sub(r"\.\d+\.", ".N.", place.removeprefix(prefix)))
    assert special == EXEMPT[name]
