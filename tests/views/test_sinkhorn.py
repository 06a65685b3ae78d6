"""SwAV against lightly's and the paper's formulas."""

import pytest
import torch
from lightly.loss import SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightlys_sinkhorn
from lightly.models.modules import heads
from torch import nn
from torch.nn import functional as F

from didact import AdamW, BatchSize, Constant, Experiment, ParameterGroup, SpecError, Training, build_learner
from didact.batching import BatchPlan
from didact.loading import Steps
from didact.loop.trainer import Trainer
from didact.machine.distributed import World
from didact_kit import TinyEncoder, TinySource
from didact_kit.tiny import passes_batch
from didact_transformer import Transformer
from didact_views import (
    MLP,
    NegativeCosineSimilarity,
    Projected,
    PrototypeCrossEntropy,
    PrototypeHead,
    SinkhornTargets,
    StudentProjections,
)
from didact_views.sinkhorn import sinkhorn

HEAD = PrototypeHead(layers=2, hidden=8, bottleneck=4, prototypes=10, norm="batch", activation="relu")


@pytest.mark.parametrize(("iterations", "epsilon"), [(3, 0.05), (1, 0.05), (10, 0.5)])
def test_codes_are_lightlys(iterations, epsilon):
    scores = torch.rand(2, 16, 5) * 2 - 1
    found = sinkhorn(scores, epsilon, iterations, World())
    for mine, view in zip(found, scores, strict=True):
        torch.testing.assert_close(mine, lightlys_sinkhorn(view, iterations, epsilon), atol=1e-6, rtol=1e-4)


def test_codes_are_shares_of_equal_use():
    codes = sinkhorn(torch.rand(1, 40, 8) * 2 - 1, 0.05, 100, World())[0]
    torch.testing.assert_close(codes.sum(1), torch.ones(40))
    torch.testing.assert_close(codes.sum(0), torch.full((8,), 5.0), rtol=1e-2, atol=0)


def test_the_loss_is_lightlys_with_its_gradient(network, passes_of):
    """Two large views, whose codes are computed, and a small one."""
    tiny = network(HEAD)
    targets = SinkhornTargets().build(tiny)
    module = PrototypeCrossEntropy(temperature=0.1).build(tiny, targets)
    views = [(torch.rand(12, 10) * 2 - 1).requires_grad_() for _ in range(3)]
    passes = passes_of(*views)
    batch = passes_batch(passes)
    mine = module(batch, passes, targets(batch, passes, tiny)).terms["cross_entropy"] / 12
    theirs = SwaVLoss(temperature=0.1)(views[:2], views[2:])[0]
    torch.testing.assert_close(mine, theirs)
    for found, expected in zip(torch.autograd.grad(mine, views), torch.autograd.grad(theirs, views), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_the_head_is_lightlys():
    projection, prototypes = heads.SwaVProjectionHead(8, 16, 5), heads.SwaVPrototypes(5, 12)
    prototypes.normalize()
    own = HEAD.evolve(hidden=16, bottleneck=5, prototypes=12).build(8)
    pairs = [
        (
            [part for part in layers if isinstance(part, nn.Linear)],
            [part for part in layers if hasattr(part, "momentum")],
        )
        for layers in (own.layers, projection.layers)
    ]
    with torch.no_grad():
        for mine, theirs in zip(*(linear for linear, _ in pairs), strict=True):
            mine.weight.copy_(theirs.weight)
            mine.bias.zero_() if theirs.bias is None else mine.bias.copy_(theirs.bias)
        own.prototypes.copy_(prototypes.heads[0].weight)
        prototypes.heads[0].bias.zero_()  # the paper's have none
    x = torch.randn(10, 8)
    expected = prototypes(F.normalize(projection(x), dim=1))
    torch.testing.assert_close(own(x), expected, atol=1e-5, rtol=1e-5)


def test_codes_carry_no_gradient_and_pair_all_views(network, passes_of):
    tiny = network(HEAD)
    passes = passes_of(*((torch.rand(6, 10) * 2 - 1).requires_grad_() for _ in range(3)))
    made = SinkhornTargets().build(tiny)(passes_batch(passes), passes, tiny)
    assert [target.view for target in made] == [1, 2, 0, 2]
    assert not any(target.values.requires_grad for target in made)


def test_prototypes_are_frozen_in_the_first_steps():
    experiment = Experiment(
        name="swav",
        source=TinySource(views=2),
        encoder=TinyEncoder(),
        backbone=Projected(backbone=Transformer(width=8, depth=1, heads=1), projector=HEAD),
        targets=SinkhornTargets(),
        objective=PrototypeCrossEntropy(),
        training=Training(
            steps=4,
            batch=BatchSize.samples(8),
            optimizer=AdamW(learning_rate=1e-2),
            parameter_groups=(ParameterGroup(parameters="network.backbone.projector.prototypes", frozen_steps=2),),
            schedule=Constant(),
            num_workers=0,
        ),
    )
    learner = build_learner(experiment)
    trainer = Trainer(experiment, learner, torch.device("cpu"))
    steps = Steps(experiment, BatchPlan(experiment.source.open().lengths, experiment.training.batch, 0))
    prototypes = learner.network.backbone.projector.prototypes
    changed = []
    for step in range(4):
        before = prototypes.detach().clone()
        trainer.take_step(steps[step])
        changed.append(not torch.equal(before, prototypes))
    assert changed == [False, False, True, True]


def test_what_cannot_work_is_refused(network):
    tiny = network(HEAD)
    with pytest.raises(SpecError, match="NegativeCosineSimilarity predicts vectors per sample, and SinkhornTargets"):
        NegativeCosineSimilarity().build(tiny, SinkhornTargets().build(tiny))
    flat = network(MLP(layers=1, out=6, norm="none"))
    with pytest.raises(SpecError, match="predicts probabilities of prototypes, and StudentProjections gives none"):
        PrototypeCrossEntropy().build(flat, StudentProjections().build(flat))
    with pytest.raises(SpecError, match=r"SinkhornTargets\.epsilon must be at least"):
        SinkhornTargets(epsilon=0.0001)
    assert not SinkhornTargets().supports_accumulation
