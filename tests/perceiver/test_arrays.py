"""The encoder of arrays, tested on waveforms, images, sensors and bytes."""

import pytest
import torch

from didact import Layout, Signal, SpecError, collate
from didact.optimization import undecayed
from didact_kit import NoiseSource, check_encoder
from didact_perceiver import Arrays, FourierPositions
from didact_perceiver.arrays import cut

POSITIONS = FourierPositions(bands=3, longest=32)


SIGNALS = {
    "waveform": NoiseSource(kind="waveform", axes=(30,), uneven=True),
    "image": NoiseSource(kind="image", axes=(3, 8, 6)),
    "bytes": NoiseSource(kind="tokens", axes=(25,), uneven=True, vocabulary=30),
    "sensors": NoiseSource(kind="series", axes=(4, 20), uneven=True),
    "volume": NoiseSource(kind="scan", axes=(1, 4, 6, 4)),
}


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("signal", SIGNALS)
def test_one_encoder_keeps_the_contract_on_every_signal(signal, patch):
    check_encoder(Arrays(width=8, patch=patch, positions=POSITIONS), source=SIGNALS[signal])


@pytest.mark.parametrize(
    ("size", "layout"), [((30,), (7,)), ((3, 8, 8), (2, 2)), ((4, 21), (5,)), ((1, 4, 8, 12), (1, 2, 3))]
)
def test_the_first_of_several_axes_are_channels(size, layout):
    assert Arrays(patch=4).layout(size) == Layout(layout)


def test_patches_hold_the_values_that_they_cover():
    image = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    patches = cut(image, 2)
    assert patches.shape == (1, 6, 8)
    assert torch.equal(patches[0, 4], image[0, :, 2:4, 2:4].flatten())  # row 1, column 1
    series = torch.arange(9).reshape(1, 1, 9)
    assert cut(series, 4).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]  # the rest is cut off


def test_ids_are_one_hot_values_of_a_linear_map():
    module = Arrays(width=8, patch=2, positions=POSITIONS).build(Signal(kind="tokens", axes=(None,), vocabulary=30))
    ids = torch.tensor([3, 7, 7, 3])
    found = module.embed(collate([ids], Arrays(width=8, patch=2))).features[0]
    one_hot = torch.nn.functional.one_hot(ids, 30).float().reshape(2, 60)  # two places of a patch
    torch.testing.assert_close(found, one_hot @ module.values.weight)
    assert not torch.allclose(found[0], found[1])  # the order within a patch counts


def test_content_and_place_weigh_alike_at_first():
    for source in SIGNALS.values():
        module = Arrays(width=64, positions=POSITIONS).build(source.signal())
        view = collate([source.open().content(0)], Arrays(width=64))
        with torch.no_grad():
            content = module.embed(view).features
            place = module.place(module.embed(view), None).features - content
        assert 0.2 < float(content.std() / place.std()) < 5, source.kind


def test_what_it_cannot_read_is_said():
    with pytest.raises(SpecError, match="has no patch of 4 along each axis"):
        Arrays(patch=4).layout((3, 2, 8))
    with pytest.raises(SpecError, match="of a known number of channels"):
        Arrays().build(Signal(kind="odd", axes=(None, 4)))


@pytest.mark.parametrize("source", SIGNALS.values(), ids=SIGNALS)
def test_hidden_positions_are_not_decayed_and_maps_are(source):
    module = Arrays(width=8, positions=POSITIONS).build(source.signal())
    exempt = undecayed(module)
    assert "mask_embedding" in exempt
    assert not exempt & {"values.weight", "places.weight"}
