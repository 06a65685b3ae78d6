"""The waveform encoder: its layout, its receptive field, and padding."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from didact import BatchMask, Layout, Mask, Signal, SpecError, Tokens, View, collate
from didact.tensors import Corruption
from didact_speech import ConvWaveform
from didact_speech.waveform import ConvWaveformModule

SOUND = Signal(kind="waveform", axes=(None,), rate_hz=16_000)
SMALL = ConvWaveform(
    width=24, channels=16, layers=((10, 5), (3, 2), (2, 2)), position_depth=3, position_kernel=5, position_groups=4
)


def build(spec: ConvWaveform = SMALL) -> ConvWaveformModule:
    torch.manual_seed(0)
    return spec.build(SOUND).double()


def tokens(rows: int = 2, positions: int = 30, padding: Tensor | None = None) -> Tokens:
    features = torch.randn(rows, positions, SMALL.width, dtype=torch.float64)
    return Tokens(features=features, layout=Layout((positions,)), padding=padding)


def batch_mask(predicted: Tensor, corruption: Tensor) -> BatchMask:
    """From (B, M, T) tensors."""
    masks = [
        Mask(predicted=p, corruption=c.to(torch.uint8))
        for p, c in zip(predicted.unbind(0), corruption.unbind(0), strict=True)
    ]
    return BatchMask.collate(masks, predicted.shape[-1])


def random_mask(kind: Corruption, rows: int = 2, masks: int = 1, positions: int = 30) -> BatchMask:
    predicted = torch.rand(rows, masks, positions) < 0.4
    predicted[..., 0], predicted[..., 1] = False, True
    return batch_mask(predicted, predicted * int(kind))


@pytest.mark.parametrize(("seconds", "frames"), [(1, 49), (20, 999), (15.625, 781), (0.025, 1)])
def test_a_frame_stands_for_20_ms_and_sees_25(seconds: float, frames: int) -> None:
    assert ConvWaveform().layout((round(seconds * 16_000),)) == Layout((frames,))
    assert (ConvWaveform().stride, ConvWaveform().receptive_field) == (320, 400)


@given(st.integers(SMALL.receptive_field, 600))
def test_the_layout_is_what_the_convolutions_give(samples: int) -> None:
    view = collate([torch.randn(samples, dtype=torch.float64)], SMALL)
    embedded = build().embed(view)
    assert embedded.features.shape == (1, SMALL.layout((samples,)).positions, SMALL.width)


def test_a_sound_too_short_for_a_frame_is_an_error_that_says_how_long_it_must_be() -> None:
    with pytest.raises(SpecError, match=r"399 samples.*sees 400 at a time"):
        ConvWaveform().layout((399,))


@pytest.mark.parametrize("signal", [Signal(kind="image", axes=(3, 32, 32)), Signal(kind="waveform", axes=(2, None))])
def test_what_is_no_mono_waveform_is_an_error_that_says_so(signal: Signal) -> None:
    with pytest.raises(SpecError, match=r"reads mono waveforms, but the source gives"):
        ConvWaveform().build(signal)


def test_the_base_encoder_has_as_many_weights_as_the_released_one() -> None:
    count = sum(weight.numel() for weight in ConvWaveform().build(SOUND).parameters())
    features = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 7 * 2 * 512
    assert count == features + 2 * 512 + 512 * 768 + 768 + 768 + 5 * (768 * 48 * 19 + 768)
    assert count + 12 * 7_087_872 + 2 * 768 == 93_164_288  # with the blocks and the encoder norm: fairseq's own count


def test_the_mask_embedding_starts_between_0_and_1() -> None:
    embedding = ConvWaveform().build(SOUND).mask_embedding
    assert embedding.min() >= 0
    assert embedding.max() < 1
    assert 0.4 < embedding.mean() < 0.6


def test_padding_changes_nothing_that_a_sample_is_made_into() -> None:
    encoder = build().eval()
    audio = [torch.randn(samples, dtype=torch.float64) for samples in (605, 333, 411)]
    view = collate(audio, SMALL)
    together = encoder.place(encoder.embed(view), None)
    for row, sound in enumerate(audio):
        alone = encoder.place(encoder.embed(collate([sound], SMALL)), None).features[0]
        assert torch.allclose(together.features[row, : len(alone)], alone, atol=1e-12)
        assert together.padding is not None
        assert together.padding[row].tolist() == [False] * len(alone) + [True] * (
            together.features.shape[1] - len(alone)
        )


def test_what_lies_in_the_padding_is_never_heard() -> None:
    encoder = build().eval()
    view = collate([torch.randn(samples, dtype=torch.float64) for samples in (605, 333)], SMALL)
    quiet = encoder.place(encoder.embed(view), None).features
    content = view.content.clone()
    content[1, 333:] = 100.0
    loud_view = View(content=content, layout=view.layout, padding=view.padding, lengths=view.lengths)
    loud = encoder.place(encoder.embed(loud_view), None).features
    heard = SMALL.layout((333,)).positions
    assert torch.allclose(quiet[1, :heard], loud[1, :heard], atol=1e-12)


@pytest.mark.parametrize("kind", [Corruption.HIDE, Corruption.DROP])
@pytest.mark.parametrize("positions_see", ["mask", "zeros"])
@pytest.mark.parametrize("masks", [1, 3])
def test_the_result_never_depends_on_what_is_masked(kind: Corruption, positions_see: str, masks: int) -> None:
    encoder = build(SMALL.evolve(positions_see=positions_see))
    whole, mask = tokens(), random_mask(kind, masks=masks)
    always = mask.predicted.all(1)  # (B, T); what one mask hides another may show
    assert always.any()
    other = whole.features.clone()
    other[always] = torch.randn_like(other[always])
    changed = Tokens(features=other, layout=whole.layout)
    assert torch.equal(encoder.place(whole, mask).features, encoder.place(changed, mask).features)


def test_hidden_frames_are_the_mask_embedding_to_themselves_and_to_the_positions() -> None:
    encoder, whole = build(), tokens()
    mask = random_mask(Corruption.HIDE)
    masked = torch.where(mask.predicted[:, 0, :, None], encoder.mask_embedding, whole.features)
    assert torch.allclose(encoder.place(whole, mask).features, masked + stack(encoder, masked))


def test_positions_may_see_nothing_where_frames_are_masked_as_in_data2vec_2() -> None:
    encoder, whole = build(SMALL.evolve(positions_see="zeros")), tokens()
    mask = random_mask(Corruption.DROP, masks=2)
    placed = encoder.place(whole, mask)
    assert placed.positions is not None
    for row in range(4):
        predicted, features = mask.predicted.reshape(4, -1)[row], whole.features[row // 2]
        cleared = torch.where(predicted[:, None], 0.0, features)
        expected = (features + stack(encoder, cleared[None])[0])[~predicted]
        assert torch.allclose(placed.features[row, : len(expected)], expected)
        assert placed.positions[row, : len(expected)].tolist() == (~predicted).nonzero()[:, 0].tolist()


def test_a_frame_may_be_dropped_that_is_not_to_be_predicted() -> None:
    encoder, whole = build(), tokens(rows=1)
    predicted, corruption = torch.zeros(1, 1, 30, dtype=torch.bool), torch.zeros(1, 1, 30)
    predicted[..., 3:6] = True
    corruption[..., 3:6], corruption[..., 10:20] = int(Corruption.HIDE), int(Corruption.DROP)
    placed = encoder.place(whole, batch_mask(predicted, corruption))
    gone = corruption[0, 0] > 0
    masked = torch.where(gone[:, None], encoder.mask_embedding, whole.features[0])
    expected = (masked + stack(encoder, masked[None])[0])[corruption[0, 0] != int(Corruption.DROP)]
    assert torch.allclose(placed.features[0], expected)


def test_a_dropping_mask_over_samples_of_unequal_length_leaves_padding_out_of_the_positions() -> None:
    encoder = build()
    padding = torch.arange(30) >= torch.tensor([[30], [18]])
    whole = tokens(padding=padding)
    masks = [Mask.drop(torch.rand(1, t) < 0.4) for t in (30, 18)]
    placed = encoder.place(whole, BatchMask.collate(masks, 30))
    short = Tokens(features=whole.features[1:, :18], layout=Layout((18,)))
    alone = encoder.place(short, BatchMask.collate(masks[1:], 18)).features[0]
    assert torch.allclose(placed.features[1, : len(alone)], alone)
    assert placed.padding is not None
    assert placed.padding[1].tolist() == [False] * len(alone) + [True] * (placed.features.shape[1] - len(alone))


def test_the_gradient_of_the_convolutions_is_scaled_and_nothing_else_is() -> None:
    view = collate([torch.randn(400, dtype=torch.float64)], SMALL)
    gradients = []
    for scale in (1.0, 0.1):
        encoder = build(SMALL.evolve(gradient_scale=scale))
        encoder.embed(view).features.square().sum().backward()
        gradients.append({name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None})
    for name, gradient in gradients[0].items():
        factor = 0.1 if name.startswith("features.") else 1.0
        assert torch.allclose(gradients[1][name], factor * gradient), name


def test_a_gradient_scale_of_0_freezes_the_convolutions_alone() -> None:
    encoder = build(SMALL.evolve(gradient_scale=0.0))
    encoder.embed(collate([torch.randn(400, dtype=torch.float64)], SMALL)).features.sum().backward()
    assert all(weight.grad is None for weight in encoder.features.parameters())
    assert encoder.projection.weight.grad is not None


def test_dropout_is_for_the_student_alone() -> None:
    encoder = build(SMALL.evolve(dropout=0.5))
    view = collate([torch.randn(400, dtype=torch.float64)], SMALL)
    embedded = encoder.train().embed(view).features
    assert torch.equal(embedded, encoder.eval().embed(view).features)  # a teacher shares it
    whole = tokens()
    undropped = encoder.eval().place(whole, None).features
    assert not torch.allclose(encoder.train().place(whole, None).features, undropped)


def test_bfloat16_gives_nearly_what_float32_gives() -> None:
    torch.manual_seed(0)
    encoder = SMALL.build(SOUND)
    view = collate([torch.randn(800)], SMALL)
    exact = encoder.place(encoder.embed(view), None).features
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.place(encoder.embed(view), None).features
    assert F.cosine_similarity(exact.flatten(), rough.float().flatten(), dim=0) > 0.999


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ()}, "ConvWaveform.layers must be one or more pairs"),
        ({"layers": ((2, 3),)}, "each kernel at least its stride"),
        ({"position_groups": 5}, "a divisor of the width"),
        ({"dropout": 1.0}, "ConvWaveform.dropout"),
        ({"gradient_scale": -1.0}, "ConvWaveform.gradient_scale"),
    ],
)
def test_settings_that_make_no_encoder_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SMALL.evolve(**change)


def stack(encoder: ConvWaveformModule, seen: Tensor) -> Tensor:
    """The positional stack from PyTorch's own convolutions: (R, T, D)."""
    x = seen.transpose(1, 2)
    for layer in encoder.positions:
        conv = layer.conv
        x = F.conv1d(x, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2, groups=conv.groups)
        x = F.gelu(F.layer_norm(x.transpose(1, 2), (x.shape[1],))).transpose(1, 2)
    return x.transpose(1, 2)
