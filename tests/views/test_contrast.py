"""InfoNCE against lightly's losses and the papers' formulas, and its queue."""

import math

import attrs
import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from didact import Learner, SpecError, Target
from didact_distill import EMATeacher
from didact_kit import TinySource, TinyTeacher, tiny_batch, tiny_preflight
from didact_kit.tiny import passes_batch
from didact_views import (
    MLP,
    InfoNCE,
    PrototypeHead,
    PrototypeTargets,
    StudentProjections,
    TeacherProjections,
)

FLAT = MLP(layers=1, out=6, norm="none")
FLOW = StudentProjections(gradient="flow")


def two(samples: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(samples, 6, requires_grad=True), torch.randn(samples, 6, requires_grad=True)


def loss_of(module, passes, targets, key: int = 0) -> torch.Tensor:
    batch = attrs.evolve(passes_batch(passes), key=key)
    return module(batch, passes, targets).terms["contrast"] / len(batch.ids)


def assert_equal_gradients(mine: torch.Tensor, theirs: torch.Tensor, inputs) -> None:
    torch.testing.assert_close(mine, theirs)
    gradients = [torch.autograd.grad(loss, inputs, retain_graph=True) for loss in (mine, theirs)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_views_as_candidates_are_simclrs_loss(network, passes_of):
    tiny = network(FLAT)
    targets = FLOW.build(tiny)
    module = InfoNCE(candidates="views", temperature=0.1).build(tiny, targets)
    views = two()
    passes = passes_of(*views)
    mine = loss_of(module, passes, targets(passes_batch(passes), passes, tiny))
    assert_equal_gradients(mine, NTXentLoss(temperature=0.1)(*views), views)

    z = F.normalize(torch.cat(views), dim=1)  # eq. 1: the 2N views in a row
    similarity = (z @ z.T / 0.1).exp()
    partner = torch.arange(14).roll(7)
    positive = similarity[torch.arange(14), partner]
    written = -(positive / (similarity.sum(1) - similarity.diagonal())).log().mean()
    assert_equal_gradients(mine, written, views)


def test_targets_as_candidates_are_moco_v3s_loss(network, passes_of):
    tiny = network(FLAT)
    targets = TeacherProjections(teacher=EMATeacher(share="nothing")).build(tiny)
    predictor = MLP(hidden=8, out=6)
    module = InfoNCE(predictor=predictor, temperature=0.2, scale=0.4).build(tiny, targets).eval()
    views = two()
    passes = passes_of(*views)
    keys = torch.randn(7, 6), torch.randn(7, 6)
    mine = loss_of(module, passes, tuple(Target(view=1 - i, values=keys[i], level="sample") for i in range(2)))

    def ctr(query, key):  # algorithm 1 of the paper
        logits = F.normalize(query, dim=1) @ F.normalize(key, dim=1).T / 0.2
        return 2 * 0.2 * F.cross_entropy(logits, torch.arange(7))

    queries = [module.predictor(view) for view in views]
    written = (ctr(queries[0], keys[1]) + ctr(queries[1], keys[0])) / 2  # the paper adds both, and divides nothing
    assert_equal_gradients(mine, written, (*views, *module.predictor.parameters()))


def test_a_queue_is_lightlys_memory_bank_over_several_steps(network, passes_of):
    tiny = network(FLAT)
    targets = TeacherProjections(teacher=TinyTeacher(), symmetric=False).build(tiny)
    module = InfoNCE(candidates=12, temperature=0.2).build(tiny, targets)
    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(12, 6))
    theirs.memory_bank.bank.copy_(module.queue)
    for step in range(7):  # the queue is filled twice
        views = two(4)
        query, key = passes_of(*views)
        values = (Target(view=0, values=views[1].detach(), level="sample"),)
        mine = loss_of(module, (query, key), values, key=step)
        assert_equal_gradients(mine, theirs(views[0], views[1].detach()), views[:1])
        module.after_step(tiny, step + 1, 7)
        torch.testing.assert_close(module.queue, theirs.memory_bank.bank)
        assert int(module.pointer) == 4 * (step + 1) % 12


def test_a_learned_temperature_is_clips_loss(network, passes_of):
    tiny = network(FLAT)
    targets = FLOW.build(tiny)
    module = InfoNCE(temperature=0.07, learn_temperature=True).build(tiny, targets)
    views = two()
    passes = passes_of(*views)
    mine = loss_of(module, passes, targets(passes_batch(passes), passes, tiny))

    scale = module.log_scale.exp()  # figure 3 of the paper
    logits = F.normalize(views[0], dim=1) @ F.normalize(views[1], dim=1).T * scale
    written = (F.cross_entropy(logits, torch.arange(7)) + F.cross_entropy(logits.T, torch.arange(7))) / 2
    assert_equal_gradients(mine, written, (*views, module.log_scale))


def test_a_learned_temperature_is_transformers_clip_loss(network, passes_of):
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    tiny = network(FLAT)
    targets = FLOW.build(tiny)
    module = InfoNCE(temperature=0.07, learn_temperature=True).build(tiny, targets)
    views = two()
    passes = passes_of(*views)
    mine = loss_of(module, passes, targets(passes_batch(passes), passes, tiny))
    image, text = (F.normalize(view, dim=1) for view in views)
    assert_equal_gradients(
        mine, image_text_contrastive_loss(text @ image.T * module.log_scale.exp()), (*views, module.log_scale)
    )


def test_the_temperature_stays_above_its_bound_and_is_logged(network, passes_of):
    tiny = network(FLAT)
    targets = FLOW.build(tiny)
    module = InfoNCE(temperature=0.07, learn_temperature=True).build(tiny, targets)
    passes = passes_of(*two())
    scalars = module(passes_batch(passes), passes, targets(passes_batch(passes), passes, tiny)).scalars
    assert float(scalars["predict/temperature"]) == pytest.approx(0.07)
    with torch.no_grad():
        module.log_scale.fill_(9.0)
    module.after_step(tiny, 1, 1)
    assert float(module.log_scale.detach()) == pytest.approx(math.log(100))
    assert module.no_weight_decay() == {"log_scale"}


def test_accuracy_is_the_share_of_views_whose_target_is_nearest(network, passes_of):
    tiny = network(FLAT)
    targets = FLOW.build(tiny)
    module = InfoNCE(temperature=0.5).build(tiny, targets)
    base = torch.eye(6)
    passes = passes_of(base, torch.cat([base[:3], base[[4, 5, 3]]]))  # the last three are mixed up
    loss = module(passes_batch(passes), passes, targets(passes_batch(passes), passes, tiny))
    assert float(loss.scalars["predict/accuracy"]) == pytest.approx(0.5)


def test_a_queue_does_not_depend_on_how_a_batch_is_split_and_keeps_the_latest(network, passes_of):
    """Parts of a batch, more targets than entries, and several targets for each sample."""
    tiny = network(FLAT)
    targets = TeacherProjections(teacher=TinyTeacher()).build(tiny)
    values = torch.randn(2, 9, 6)  # two targets of nine samples
    found = []
    for splits in ([range(9)], [range(4), range(4, 9)]):
        torch.manual_seed(1)
        module = InfoNCE(candidates=16).build(tiny, targets)
        for part in splits:
            passes = passes_of(*values[:, part])
            made = tuple(Target(view=1 - i, values=values[i, part], level="sample") for i in range(2))
            loss_of(module, passes, made, key=5)
        module.after_step(tiny, 1, 2)
        found.append(module.queue.clone())
        assert int(module.pointer) == 0  # 16 of 18 are kept
    torch.testing.assert_close(found[0], found[1])
    expected = F.normalize(values.transpose(0, 1).flatten(0, 1)[-16:], dim=1)
    torch.testing.assert_close(found[0], expected)


def test_a_step_that_is_left_out_leaves_nothing_in_the_queue(network, passes_of):
    tiny = network(FLAT)
    targets = TeacherProjections(teacher=TinyTeacher(), symmetric=False).build(tiny)
    module = InfoNCE(candidates=6).build(tiny, targets)
    bad, good = (torch.full((3, 6), float("nan")), torch.randn(3, 6))
    for key, values in ((1, bad), (2, good)):
        loss_of(module, passes_of(*two(3)), (Target(view=0, values=values, level="sample"),), key=key)
    module.after_step(tiny, 1, 2)
    torch.testing.assert_close(module.queue[:3], F.normalize(good, dim=1))
    assert int(module.pointer) == 3


def test_nothing_is_remembered_in_evaluation(network, passes_of):
    tiny = network(FLAT)
    targets = TeacherProjections(teacher=TinyTeacher(), symmetric=False).build(tiny)
    module = InfoNCE(candidates=6).build(tiny, targets).eval()
    before = module.queue.clone()
    loss_of(module, passes_of(*two(3)), (Target(view=0, values=torch.randn(3, 6), level="sample"),))
    module.after_step(tiny, 1, 2)
    assert torch.equal(module.queue, before)


def test_the_student_encodes_one_view_of_moco(network):
    tiny = network(FLAT)
    spec = TeacherProjections(teacher=TinyTeacher(), symmetric=False)
    assert list(spec.student_views(2)) == [0]
    batch = tiny_batch(views=2)
    views = tuple(attrs.evolve(view, student=index == 0) for index, view in enumerate(batch.views))
    batch = attrs.evolve(batch, views=views)
    targets = spec.build(tiny)
    learner = Learner(tiny, targets, InfoNCE(candidates=6).build(tiny, targets), TinySource())
    passes = learner.passes(batch)
    assert [one.encoded for one in passes] == [True, False]
    (target,) = targets(batch, passes, tiny)
    assert target.view == 0
    learner(batch, {"contrast": 4})[0].backward()


def test_what_cannot_work_is_refused(network):
    tiny = network(FLAT)
    with pytest.raises(SpecError, match="InfoNCE compares vectors of 5 with targets of 6"):
        InfoNCE(predictor=MLP(out=5)).build(tiny, FLOW.build(tiny))
    heads = network(PrototypeHead(hidden=8, bottleneck=4, prototypes=10))
    probabilities = PrototypeTargets(teacher=TinyTeacher()).build(heads)
    with pytest.raises(
        SpecError, match="InfoNCE predicts vectors per sample, and PrototypeTargets gives probabilities"
    ):
        InfoNCE().build(heads, probabilities)
    with pytest.raises(SpecError, match=r"InfoNCE\.candidates must be"):
        InfoNCE(candidates=0)
    preflight = attrs.evolve(tiny_preflight(), samples_per_step=np.array([1, 8]))
    (finding,) = InfoNCE().examine(preflight)
    assert finding.severity == "error"
    (finding,) = InfoNCE(candidates=1_000_000).examine(tiny_preflight())
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    ("objective", "supports"), [(InfoNCE(), False), (InfoNCE(candidates="views"), False), (InfoNCE(candidates=8), True)]
)
def test_only_a_queue_supports_accumulation(objective, supports):
    assert objective.supports_accumulation == supports
