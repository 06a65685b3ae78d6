"""Heads, and the convolutional decoder of data2vec 2.0 (reference §6)."""

from __future__ import annotations

import attrs
import pytest
import torch
from torch import nn

from didact import BackboneOutput, Layout, SpecError, Tokens
from didact_distill import ConvDecoder, LinearHead, MLPHead


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


class Wide:
    """As much of a network as a head looks at."""

    def __init__(self, width, layout):
        self.backbone = type("Backbone", (), {"width": width})()
        self.layout = layout
        self.masking = None


@pytest.mark.parametrize(
    ("head", "width", "layout", "expected"),
    [
        (LinearHead(), 768, None, 590_592),  # speech and images, base
        (MLPHead(ratio=2), 768, None, 2_361_600),  # text, base
        (ConvDecoder(width=768, layers=6, kernel=3, groups=16), 768, Layout((14, 14)), 2_585_856),  # images, base
        (ConvDecoder(width=1024, layers=3, kernel=5, groups=16), 1024, Layout((14, 14)), 5_967_872),  # images, large
        (ConvDecoder(width=1024, layers=3, kernel=5, groups=16), 1280, Layout((16, 16)), 6_639_872),  # images, huge
        (ConvDecoder(width=384, layers=4, kernel=7, groups=16), 768, None, 619_776),  # speech, base
        (
            ConvDecoder(width=768, layers=5, kernel=9, groups=1, residual=False, projection_layers=2),  # text
            768,
            None,
            28_907_520,
        ),
    ],
)
def test_heads_have_the_released_number_of_parameters(head, width, layout, expected):
    assert count(head.build(Wide(width, layout), width)) == expected


def make_context(predicted, layout, width, dropped, make_batch):
    mask = make_batch(predicted, dropped=dropped, layout=layout).views[0].mask
    rows = predicted.shape[0] * predicted.shape[1]
    visible = mask.visible.shape[1] if mask.visible is not None else predicted.shape[2]
    features = torch.randn(rows, visible, width)
    tokens = Tokens(features=features, layout=layout, positions=mask.visible, padding=mask.visible_padding)
    return BackboneOutput(output=features, tokens=tokens), mask


def test_visible_outputs_stand_at_their_places_and_noise_at_the_others(make_batch):
    layout = Layout((3, 4))
    predicted = torch.rand(2, 3, 12) < 0.5  # uneven counts: some rows are filled up
    context, _ = make_context(predicted, layout, 8, True, make_batch)
    decoder = ConvDecoder(width=8, layers=1, groups=1, noise=1e-3).build(Wide(8, layout), 8)
    restored = decoder._restore(context)
    held = ~predicted.flatten(0, 1)
    for row in range(6):
        n = int(held[row].sum())
        assert torch.equal(restored[row][held[row]], context.output[row, :n])
    noise = restored[~held]
    assert noise.abs().max() < 1e-2
    assert noise.std() > 1e-4


def test_the_decoder_is_convolution_norm_gelu_residual(make_batch):
    layout = Layout((3, 4))
    context, mask = make_context(torch.rand(2, 1, 12) < 0.5, layout, 8, False, make_batch)
    decoder = ConvDecoder(width=16, layers=2, groups=4).build(Wide(8, layout), 5)
    x = context.output.view(2, 3, 4, 8).permute(0, 3, 1, 2)
    for layer, convolution in enumerate(decoder.convolutions):
        y = nn.functional.conv2d(x, convolution.weight, convolution.bias, padding=1, groups=4)
        y = nn.functional.gelu(nn.functional.layer_norm(y.permute(0, 2, 3, 1), (16,)).permute(0, 3, 1, 2))
        x = y if layer == 0 else y + x  # the first layer widens: no residual there
    expected = decoder.projection(x.permute(0, 2, 3, 1).reshape(24, 16))[mask.mask_indices]
    torch.testing.assert_close(decoder(context, mask, None), expected)


def test_the_decoder_reads_sequences_as_well_as_grids(make_batch):
    layout = Layout((12,))
    context, mask = make_context(torch.rand(2, 2, 12) < 0.5, layout, 8, True, make_batch)
    decoder = ConvDecoder(width=8, layers=2, groups=2, kernel=5).build(Wide(8, None), 8)
    assert decoder(context, mask, None).shape == (mask.count, 8)


@pytest.mark.parametrize("dropped", [False, True])
def test_what_stands_at_padding_changes_no_prediction_of_the_decoder(make_batch, dropped):
    """A sequence of 12 alone, and one of 20 of which the last eight are padding."""
    decoder = ConvDecoder(width=8, layers=3, groups=2, kernel=5, noise=0.0).build(Wide(8, None), 8)
    predicted = torch.rand(1, 2, 12) < 0.5
    context, mask = make_context(predicted, Layout((12,)), 8, dropped, make_batch)
    longer = nn.functional.pad(predicted, (0, 8))
    padded, padded_mask = make_context(longer, Layout((20,)), 8, dropped, make_batch)
    padding = (torch.arange(20) >= 12).expand(2, -1)
    outputs = padded.output.clone()
    if dropped:
        visible = ~predicted.flatten(0, 1)
        for row in range(2):  # of the longer sequence's visible positions the first are the same
            n = int(visible[row].sum())
            outputs[row, :n] = context.output[row, :n]
    else:
        outputs[:, :12] = context.output
    padded = attrs.evolve(padded, output=outputs)
    torch.testing.assert_close(decoder(padded, padded_mask, padding), decoder(context, mask, None))


@pytest.mark.parametrize("head", [LinearHead(), MLPHead(), ConvDecoder(width=8, groups=1)])
def test_an_output_that_stands_for_other_positions_than_the_masked_ones_is_refused(make_batch, head):
    _, mask = make_context(torch.rand(2, 1, 12) < 0.5, Layout((3, 4)), 8, False, make_batch)
    pooled, _ = make_context(torch.rand(2, 1, 6) < 0.5, Layout((3, 2)), 8, False, make_batch)
    with pytest.raises(SpecError, match="makes 12 for a sample, but the backbone's output stands for 6"):
        head.build(Wide(8, Layout((3, 4))), 8)(pooled, mask, None)


def test_the_decoder_refuses_positions_along_three_axes():
    with pytest.raises(SpecError, match=r"ConvDecoder convolves sequences and grids, .* form 3 axes"):
        ConvDecoder(width=8, groups=1).build(Wide(8, Layout((2, 3, 4))), 8)


def test_groups_that_do_not_divide_the_backbone_are_an_error():
    with pytest.raises(SpecError, match=r"ConvDecoder.groups must divide the backbone's width, 40, got 16"):
        ConvDecoder(width=32, groups=16).build(Wide(40, None), 8)
