"""Labels as targets, and classification against PyTorch's cross-entropy."""

import attrs
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from didact import AdamW, Batch, BatchSize, Experiment, SpecError, Training, build_learner
from didact.batching import BatchPlan
from didact.building import require_fields
from didact.loading import Steps
from didact_finetune import Classification, Labels
from didact_kit import TinyBackbone, TinyEncoder, TinyMasker, TinySource, TinyTargets, tiny_batch, tiny_network

LABELS = Labels(classes=("falling", "rising"))


def experiment(**changes: object) -> Experiment:
    whole = Experiment(
        name="supervised",
        source=TinySource(uneven=True),
        encoder=TinyEncoder(),
        backbone=TinyBackbone(),
        targets=LABELS,
        objective=Classification(),
        training=Training(steps=1, batch=BatchSize.samples(8), optimizer=AdamW(learning_rate=1e-3), num_workers=0),
    )
    return whole.evolve(**changes)


def batch_of(experiment: Experiment) -> Batch:
    lengths = experiment.source.open().lengths
    return Steps(experiment, BatchPlan(lengths, experiment.training.batch, 0))[0].parts[0]


def labelled(labels: list[int]) -> Batch:
    return attrs.evolve(tiny_batch(range(len(labels))), fields={"label": torch.tensor(labels)})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_pytorchs_cross_entropy_over_labelled_samples(smoothing):
    network = tiny_network()
    targets = LABELS.build(network)
    module = Classification(label_smoothing=smoothing).build(network, targets)
    batch = labelled([1, -1, 0, 1])
    assert module.num_targets(batch) == {"cross_entropy": 3}
    passes = (network(batch.views[0]),)
    loss = module(batch, passes, targets(batch, passes, network))
    output, held = passes[0].backbone_output.output, ~batch.views[0].padding
    means = torch.stack([row[positions].mean(0) for row, positions in zip(output, held, strict=True)])
    logits = module.head(means)[[0, 2, 3]]
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(loss.terms["cross_entropy"] / 3, expected)
    right = (logits.argmax(1) == torch.tensor([1, 0, 1])).float().mean()
    torch.testing.assert_close(loss.scalars["predict/accuracy"], right)
    uniform = (1 - smoothing) * F.one_hot(torch.tensor([1, 0, 1]), 2) + smoothing / 2
    torch.testing.assert_close(expected, -(uniform * logits.log_softmax(1)).sum(1).mean())  # as in the paper


def test_a_batch_without_labels_has_no_loss():
    learner = build_learner(experiment())
    batch = labelled([-1, -1])
    loss, _ = learner(batch, learner.objective.num_targets(batch))
    assert float(loss.detach()) == 0
    loss.backward()
    assert all(torch.isfinite(one.grad).all() for one in learner.parameters() if one.grad is not None)


def test_views_share_the_label_and_are_averaged():
    network = tiny_network()
    targets = LABELS.build(network)
    module = Classification().build(network, targets)
    batch = attrs.evolve(tiny_batch(views=2), fields={"label": torch.tensor([0, 1, 1, 0])})
    passes = tuple(network(view, index) for index, view in enumerate(batch.views))
    made = targets(batch, passes, network)
    assert [target.view for target in made] == [0, 1]
    both = module(batch, passes, made).terms["cross_entropy"]
    each = [module(batch, passes, (target,)).terms["cross_entropy"] for target in made]
    torch.testing.assert_close(both, torch.stack(each).mean())


def test_the_loader_gives_the_labels_of_the_samples():
    whole = experiment()
    batch, samples = batch_of(whole), whole.source.open()
    assert batch.fields["label"].tolist() == [samples.labels[index] for index in batch.ids]


def test_classes_in_another_order_are_refused():
    whole = experiment(targets=Labels(classes=("rising", "falling")))
    with pytest.raises(SpecError, match="expects the field 'label'"):
        require_fields(whole, whole.source.open().fields)
    assert require_fields(experiment(), whole.source.open().fields) is None


def test_a_class_token_is_pooled_alone():
    whole = experiment(encoder=TinyEncoder(class_token=True), objective=Classification(pooling="class"))
    learner = build_learner(whole)
    batch = batch_of(whole)
    passes = learner.passes(batch)
    torch.testing.assert_close(learner.objective._pooled(passes[0]), passes[0].backbone_output.output[:, 0])
    learner = build_learner(experiment(objective=Classification(pooling="class")))
    with pytest.raises(SpecError, match="takes the class token, and the encoder gives none"):
        learner(batch, learner.objective.num_targets(batch))


def test_what_cannot_work_is_refused():
    with pytest.raises(SpecError, match="Classification predicts ids per sample, and TinyTargets gives vectors per"):
        build_learner(experiment(targets=TinyTargets()))
    with pytest.raises(SpecError, match=r"Labels\.classes must be two or more different names"):
        Labels(classes=("one", "one"))
    whole = experiment(masker=TinyMasker(masks=2))
    learner, batch = build_learner(whole), batch_of(whole)
    with pytest.raises(SpecError, match="one row per sample, and the masker draws 2 masks"):
        learner(batch, learner.objective.num_targets(batch))


def test_it_learns_walks_that_rise():
    from didact.loop.trainer import Trainer

    whole = experiment(**{"source": TinySource(count=64), "training.steps": 150, "training.batch.amount": 32})
    whole = whole.evolve(**{"training.optimizer.learning_rate": 1e-2, "training.precision": "float32"})
    trainer = Trainer(whole, build_learner(whole), torch.device("cpu"))
    steps = Steps(whole, BatchPlan(whole.source.open().lengths, whole.training.batch, 0))
    accuracies = [float(trainer.take_step(steps[step])["predict/accuracy"]) for step in range(150)]
    assert sum(accuracies[-20:]) / 20 > 0.8 > sum(accuracies[:5]) / 5
