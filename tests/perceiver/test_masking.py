"""Cells: one setting gives spans of a sequence and blocks of an image."""

import pytest
import torch

from didact import Layout, SpecError
from didact_kit import tiny_preflight
from didact_perceiver import RandomMasker


def draw(masker: RandomMasker, *shape: int, seed: int = 0) -> torch.Tensor:
    mask = masker.sample(Layout(shape), generator=torch.Generator().manual_seed(seed))
    return mask.predicted[0].reshape(shape)


@pytest.mark.parametrize("shape", [(800,), (64,), (8, 8), (14, 14), (4, 6, 5)])
@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_about_the_wanted_share_is_hidden(shape, ratio):
    masker = RandomMasker(cells=16, ratio=ratio)
    share = torch.stack([draw(masker, *shape, seed=seed).float().mean() for seed in range(50)]).mean()
    assert abs(share - ratio) < 0.06


def test_cells_of_a_sequence_are_spans_and_of_an_image_blocks():
    series = draw(RandomMasker(cells=16, ratio=0.5), 160)
    changes = int((series != series.roll(1)).sum())
    assert changes <= 16  # spans of ten; single positions would change eighty times
    image = draw(RandomMasker(cells=16, ratio=0.5), 8, 8)
    shifts = [image.roll((-top, -left), (0, 1)) for top in range(2) for left in range(2)]
    blocks = [shift.reshape(4, 2, 4, 2).float().mean((1, 3)) for shift in shifts]
    assert any(bool(((block == 0) | (block == 1)).all()) for block in blocks)  # 2 × 2, from some corner


def test_every_position_is_hidden_as_often():
    masker = RandomMasker(cells=4, ratio=0.5)
    often = torch.stack([draw(masker, 10, seed=seed).float() for seed in range(2000)]).mean(0)
    assert float((often - often.mean()).abs().max()) < 0.06


def test_a_sample_of_few_positions_has_fewer_cells_and_one_is_refused():
    assert 0 < int(draw(RandomMasker(cells=16), 3).sum()) < 3
    with pytest.raises(SpecError, match="of a sample with one position"):
        draw(RandomMasker(), 1)


def test_it_tells_the_doctor_how_large_a_cell_is():
    (finding,) = RandomMasker(cells=16).examine(tiny_preflight(Layout((8, 8))))
    assert "2 × 2 of 8 × 8 positions" in finding.says
