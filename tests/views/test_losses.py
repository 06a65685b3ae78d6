"""Losses against lightly's and the papers' formulas."""

import attrs
import numpy as np
import pytest
import torch
from lightly.loss import DINOLoss, VICRegLoss
from lightly.loss import NegativeCosineSimilarity as LightlyNegativeCosineSimilarity

from didact import Learner, SpecError, Target
from didact_distill import EMATeacher
from didact_kit import TinySource, tiny_batch, tiny_preflight
from didact_kit.tiny import passes_batch
from didact_views import (
    MLP,
    NegativeCosineSimilarity,
    PrototypeCrossEntropy,
    PrototypeHead,
    PrototypeTargets,
    StudentProjections,
    TeacherProjections,
    VICReg,
)
from didact_views.projections import across

FLAT = MLP(layers=1, out=6, norm="none")


def total(module, passes, targets, samples: int) -> dict[str, torch.Tensor]:
    """Each term's mean over the batch."""
    return {name: term / samples for name, term in module(passes_batch(passes), passes, targets).terms.items()}


def test_vicreg_is_lightlys_and_the_papers(network, passes_of):
    tiny = network(FLAT)
    targets = StudentProjections(gradient="flow").build(tiny)
    released = VICReg(variance=12.5).build(tiny, targets).eval()  # the mean over the views, where the paper adds
    one, other = torch.randn(12, 6, requires_grad=True), (torch.randn(12, 6) * 0.3).requires_grad_()
    passes = passes_of(one, other)
    mine = torch.stack(list(total(released, passes, targets(passes_batch(passes), passes, tiny), 12).values())).sum()
    theirs = VICRegLoss()(one, other)
    torch.testing.assert_close(mine, theirs)
    for found, expected in zip(
        torch.autograd.grad(mine, (one, other)), torch.autograd.grad(theirs, (one, other)), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)

    terms = total(VICReg().build(tiny, targets), passes, targets(passes_batch(passes), passes, tiny), 12)
    with torch.no_grad():
        torch.testing.assert_close(terms["invariance"], 25 * ((one - other) ** 2).mean())
        lack = [torch.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean() for z in (one, other)]
        torch.testing.assert_close(terms["variance"], 25 * sum(lack))
        off = [torch.cov(z.T) * (1 - torch.eye(6)) for z in (one, other)]
        torch.testing.assert_close(terms["covariance"], sum((c**2).sum() / 6 for c in off))


def test_vicregs_covariance_is_float32_under_autocast(network, passes_of):
    tiny = network(FLAT)
    targets = StudentProjections(gradient="flow").build(tiny)
    module = VICReg().build(tiny, targets)
    passes = passes_of(torch.randn(12, 6), torch.randn(12, 6))
    plain = module(passes_batch(passes), passes, targets(passes_batch(passes), passes, tiny)).terms
    with torch.autocast("cpu", torch.bfloat16):
        cast = module(passes_batch(passes), passes, targets(passes_batch(passes), passes, tiny)).terms
    assert all(torch.equal(plain[name], cast[name]) for name in plain)


def test_a_passes_batch_one_is_refused_before_the_run_for_it_has_no_variance():
    preflight = attrs.evolve(tiny_preflight(), samples_per_step=np.array([1, 8]))
    (finding,) = VICReg().examine(preflight)
    assert finding.severity == "error"


def test_negative_cosine_similarity_is_lightlys(network, passes_of):
    tiny = network(FLAT)
    targets = StudentProjections().build(tiny)
    module = NegativeCosineSimilarity(hidden=8).build(tiny, targets).eval()
    one, other = torch.randn(5, 6), torch.randn(5, 6)
    passes = passes_of(one, other)
    mine = total(module, passes, targets(passes_batch(passes), passes, tiny), 5)["cosine"]
    negative = LightlyNegativeCosineSimilarity()
    symmetric = (negative(module.predictor(one), other) + negative(module.predictor(other), one)) / 2
    torch.testing.assert_close(mine, 2 + 2 * symmetric)


def test_byols_loss_is_the_papers_distance_of_unit_vectors(network, passes_of):
    tiny = network(FLAT)
    targets = TeacherProjections(teacher=EMATeacher(share="nothing")).build(tiny)
    module = NegativeCosineSimilarity(hidden=8).build(tiny, targets).eval()
    passes = passes_of(torch.randn(5, 6), torch.randn(5, 6))
    values = torch.randn(5, 6)
    loss = total(module, passes, (Target(view=0, values=values, level="sample"),), 5)["cosine"]
    prediction = module.predictor(passes[0].backbone_output.pooled)
    unit = [v / v.norm(dim=1, keepdim=True) for v in (prediction, values)]
    torch.testing.assert_close(loss, ((unit[0] - unit[1]) ** 2).sum(1).mean())  # eq. 2


def test_dino_is_lightlys_over_several_steps(network):
    """Loss, centre and temperature, with two of three views for the teacher."""
    tiny = network(PrototypeHead(hidden=8, bottleneck=4, prototypes=10))
    spec = PrototypeTargets(teacher=EMATeacher(share="nothing"), start=0.04, end=0.07, warmup_steps=2)
    targets = spec.build(tiny)
    objective = PrototypeCrossEntropy().build(tiny, targets)
    theirs = DINOLoss(output_dim=10, student_temp=0.1, center_momentum=0.9)
    for step in range(4):
        ids = range(4 * step, 4 * step + 4)
        passes = tuple(tiny(view) for view in tiny_batch(ids, views=3).views)
        teacher = [targets.teacher(one, tiny).pooled for one in passes[:2]]
        made = targets(passes_batch(passes), passes, tiny)
        assert [target.view for target in made] == [1, 2, 0, 2]
        mine = total(objective, passes, made, 4)["cross_entropy"]
        temperature = spec.temperature(step)
        assert temperature == pytest.approx((0.04, 0.055, 0.07, 0.07)[step])
        expected = theirs(teacher, [one.backbone_output.pooled for one in passes], teacher_temp=temperature)
        torch.testing.assert_close(mine, expected)
        targets.after_step(tiny, step + 1, 4)
        torch.testing.assert_close(targets.centre, theirs.center.flatten())
    assert targets.centre.abs().max() > 0


def test_dinos_centre_moves_once_a_step_however_the_batch_is_split(network):
    centres = []
    for splits in ([range(4)], [range(3), range(3, 4)]):
        tiny = network(PrototypeHead(hidden=8, bottleneck=4, prototypes=10)).eval()
        targets = PrototypeTargets(teacher=EMATeacher(share="nothing")).build(tiny)
        for ids in splits:
            passes = tuple(tiny(view) for view in tiny_batch(ids, views=3).views)
            targets(passes_batch(passes), passes, tiny)
        assert not targets.centre.any()
        targets.after_step(tiny, 1, 10)
        centres.append(targets.centre.clone())
    torch.testing.assert_close(*centres, atol=1e-6, rtol=1e-6)
    assert centres[0].abs().sum() > 0


def test_nothing_moves_in_evaluation(network):
    tiny = network(PrototypeHead(hidden=8, bottleneck=4, prototypes=10))
    targets = PrototypeTargets(teacher=EMATeacher(share="nothing")).build(tiny).eval()
    passes = tuple(tiny(view) for view in tiny_batch(views=2).views)
    targets(passes_batch(passes), passes, tiny)
    assert float(targets.count) == 0


def test_a_resumed_teacher_is_as_warm_as_it_was(network):
    tiny = network(PrototypeHead(hidden=8, bottleneck=4, prototypes=10))
    spec = PrototypeTargets(teacher=EMATeacher(share="nothing"), warmup_steps=10)
    first, second = spec.build(tiny), spec.build(tiny)
    first.after_step(tiny, 5, 20)
    second.load_state_dict(first.state_dict())
    assert float(second.temperature) == pytest.approx(0.055)


@pytest.mark.parametrize("builder", [TeacherProjections, PrototypeTargets])
def test_a_teacher_hears_how_long_the_run_is(network, builder):
    tiny = network(PrototypeHead(hidden=8, bottleneck=4, prototypes=10))
    teacher = EMATeacher(start=0.9, end=1.0, anneal_steps=None, schedule="cosine", share="nothing")
    targets = builder(teacher=teacher).build(tiny)
    for steps in (10, 20):
        assert targets.after_step(tiny, 5, steps)["teacher/decay"] == teacher.decay(5, steps)


def test_gradients_reach_projector_and_predictor_and_no_teacher(network):
    tiny = network(MLP(hidden=8, out=6))
    targets = TeacherProjections(teacher=EMATeacher(start=0.5, end=0.5, share="nothing")).build(tiny)
    learner = Learner(tiny, targets, NegativeCosineSimilarity(hidden=8).build(tiny, targets), TinySource())
    batch = tiny_batch(views=2)
    loss, _ = learner(batch, learner.objective.num_targets(batch))
    loss.backward()
    for module in (tiny.backbone.projector, learner.objective):
        assert all(parameter.grad is not None for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in targets.parameters())
    before = targets.teacher.backbone.projector.layers[0].weight.clone()
    with torch.no_grad():
        tiny.backbone.projector.layers[0].weight.add_(1.0)
    learner.after_step(1, 10)
    torch.testing.assert_close(targets.teacher.backbone.projector.layers[0].weight, before + 0.5)


@pytest.mark.parametrize(("gradient", "flows"), [("stop", False), ("flow", True)])
def test_the_students_own_projections_are_constants_or_not(network, gradient, flows):
    tiny = network(FLAT)
    passes = tuple(tiny(view) for view in tiny_batch(views=2).views)
    for target in StudentProjections(gradient=gradient).build(tiny)(passes_batch(passes), passes, tiny):
        assert target.values.requires_grad == flows


def test_every_view_predicts_every_other():
    pairs = [(float(t.values[0, 0]), t.view) for t in across([torch.full((1, 1), float(i)) for i in range(2)], 3)]
    assert pairs == [(0.0, 1), (0.0, 2), (1.0, 0), (1.0, 2)]


@pytest.mark.parametrize("builder", [StudentProjections(), TeacherProjections(teacher=EMATeacher(share="nothing"))])
def test_one_view_alone_and_a_backbone_without_projection_are_told(network, builder):
    tiny = network(FLAT)
    with pytest.raises(SpecError, match="the source gives one view of each sample"):
        builder.build(tiny)(tiny_batch(), (tiny(tiny_batch().views[0]),), tiny)
    tiny.backbone.pooled_width = None
    with pytest.raises(SpecError, match="compares projections, and the backbone Projected gives none"):
        builder.build(tiny)


def test_functions_of_the_whole_batch_refuse_micro_batches():
    from didact import AdamW, BatchSize, Experiment, Training
    from didact_kit import TinyEncoder
    from didact_transformer import Transformer
    from didact_views import Projected

    def compose(projector, objective):
        return Experiment(
            name="whole",
            source=TinySource(),
            encoder=TinyEncoder(),
            backbone=Projected(backbone=Transformer(width=8, depth=1, heads=1), projector=projector),
            targets=StudentProjections(),
            objective=objective,
            training=Training(
                steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), gradient_accumulation_steps=2
            ),
        )

    for projector, objective, whole in (
        (FLAT, VICReg(), "VICReg"),
        (FLAT, NegativeCosineSimilarity(), "NegativeCosineSimilarity"),
        (MLP(), PrototypeCrossEntropy(), "Projected"),
    ):
        with pytest.raises(SpecError, match=f"gradient_accumulation_steps must be 1 with {whole}"):
            compose(projector, objective)
    assert compose(PrototypeHead(), PrototypeCrossEntropy()).needs_whole_batch() is None
    assert compose(FLAT, NegativeCosineSimilarity(norm="none")).needs_whole_batch() is None
