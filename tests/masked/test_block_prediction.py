"""I-JEPA: several target blocks for one context."""

from __future__ import annotations

import attrs
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from didact import AdamW, Batch, BatchSize, Experiment, Layout, SpecError, Training, build_learner, collate
from didact.randomness import generator
from didact.tensors import BatchMask, Corruption, Mask
from didact_distill import EMATeacher, LatentRegression, LinearHead, TopKTargets
from didact_kit import NoiseSource
from didact_masked import BlockPredictor
from didact_transformer import Transformer
from didact_vision import MultiBlockMasker, Patches

GRID = Layout((14, 14))


def blocks(width: int, depth: int) -> Transformer:
    return Transformer(
        width=width,
        depth=depth,
        heads=width // 32,
        norm="pre",
        norm_epsilon=1e-6,
        dropout=0.0,
        attention_dropout=0.0,
        layer_drop=0.0,
    )


def ijepa(**changes: object) -> Experiment:
    experiment = Experiment(
        name="ijepa",
        source=NoiseSource(kind="image", axes=(3, 224, 224)),
        encoder=Patches(width=64, patch=16, class_token=False),
        masker=MultiBlockMasker(),
        backbone=blocks(64, 12),
        targets=TopKTargets(k=1, feature="block", normalize="layer", teacher=EMATeacher(share="nothing")),
        objective=LatentRegression(head=BlockPredictor(width=32, backbone=blocks(32, 2)), beta=1.0, scale="1/width"),
        training=Training(
            steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), precision="float32"
        ),
    )
    return attrs.evolve(experiment, **changes)


def drawn(count: int = 4) -> list[Mask]:
    return [MultiBlockMasker().sample(GRID, generator=generator(0, "mask", index)) for index in range(count)]


def one_row_for_each_block(mask: Mask) -> Mask:
    """The same blocks, each with a copy of the context of its own."""
    return attrs.evolve(mask, corruption=mask.corruption.expand(len(mask.predicted), -1))


def batch_with(masks: list[Mask]) -> Batch:
    contents = [torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(i)) for i in range(len(masks))]
    view = collate(contents, ijepa().of_view(0)[0])
    return Batch(
        views=(attrs.evolve(view, mask=BatchMask.collate(masks, GRID.positions)),), ids=torch.arange(len(masks))
    )


def test_a_shared_context_is_computed_once_and_gives_the_loss_and_gradient_of_four_rows():
    learner = build_learner(ijepa()).train()
    rows, found = [], []
    learner.network.backbone.register_forward_hook(lambda module, inputs, output: rows.append(len(output.output)))
    for masks in (drawn(), [one_row_for_each_block(mask) for mask in drawn()]):
        batch = batch_with(masks)
        total, _ = learner(batch, learner.objective.num_targets(batch))
        learner.zero_grad()
        total.backward()
        found.append((total.detach(), {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}))
    (loss, gradients), (loss_of_rows, gradients_of_rows) = found
    assert rows == [4, 16], "one row for each sample, instead of one for each of its four blocks"
    torch.testing.assert_close(loss, loss_of_rows, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == gradients_of_rows.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients_of_rows[name], rtol=1e-3, atol=1e-6)


def test_a_shared_context_costs_at_most_half_of_four_rows():
    learner = build_learner(ijepa()).train()
    operations = []
    for masks in (drawn(), [one_row_for_each_block(mask) for mask in drawn()]):
        batch = batch_with(masks)
        with FlopCounterMode(display=False) as counter:
            total, _ = learner(batch, learner.objective.num_targets(batch))
            total.backward()
        operations.append(counter.get_total_flops())
    assert operations[0] < 0.5 * operations[1]


def test_a_block_is_predicted_from_the_context_alone():
    """Neither the content of hidden patches nor the other blocks matter."""
    learner = build_learner(ijepa()).eval()
    masks = drawn(2)
    batch = batch_with(masks)
    view = batch.views[0]
    dropped = torch.stack([mask.corruption[0] == Corruption.DROP for mask in masks])  # (B, T)
    pixels = dropped.view(2, 1, 14, 14).repeat_interleave(16, 2).repeat_interleave(16, 3)
    other = attrs.evolve(view, content=torch.where(pixels, -view.content, view.content))

    def predictions(one):
        student = learner.network(one)
        return learner.objective.head(student.backbone_output, one.mask, None)

    before = predictions(view)
    torch.testing.assert_close(predictions(other), before)
    alone = [attrs.evolve(mask, predicted=mask.predicted[:1]) for mask in masks]
    first = predictions(batch_with(alone).views[0])
    chosen = view.mask.mask_indices // GRID.positions % 4 == 0
    torch.testing.assert_close(first, before[chosen])


def test_blocks_have_the_papers_sizes_and_contexts_no_patch_of_them():
    masker = MultiBlockMasker()
    areas, contexts = [], []
    for index in range(300):
        mask = masker.sample(GRID, generator=generator(1, index))
        assert mask.predicted.shape == (4, 196)
        assert mask.corruption.shape == (1, 196)
        for block in mask.predicted.view(4, 14, 14):
            high, wide = block.any(1).sum(), block.any(0).sum()
            assert int(block.sum()) == int(high * wide), "a block is a full rectangle"
            areas.append(int(block.sum()) / 196)
        seen = mask.corruption[0] == Corruption.NONE
        assert not (seen & mask.predicted.any(0)).any()
        assert int(seen.sum()) >= masker.min_context
        contexts.append(int(seen.sum()))
    assert min(areas) > 0.12  # rounding a side down loses up to 0.03
    assert max(areas) < 0.23
    assert abs(sum(areas) / len(areas) - 0.175) < 0.01
    masks = tuple(drawn(8))
    assert masker.equalize(masks, generator=generator(0, "e")) is masks
    kept = masker.evolve(equalize_counts=True).equalize(masks, generator=generator(0, "e"))
    assert len({int((mask.corruption == Corruption.NONE).sum()) for mask in kept}) == 1


def test_a_head_that_reads_the_output_at_the_position_is_refused_when_parts_are_built():
    with pytest.raises(SpecError, match="LinearHead predicts a position from the student's output there"):
        build_learner(ijepa(objective=LatentRegression(head=LinearHead())))
