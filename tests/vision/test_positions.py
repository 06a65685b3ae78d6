"""Position codes of patches, against MAE's definition and timm's."""

import math

import pytest
import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed

from didact import Layout
from didact_transformer.sincos import sincos_positions
from didact_vision.positions import resize_positions


def test_sines_and_cosines_follow_the_definition():
    width, layout = 16, Layout((3, 5))
    positions = sincos_positions(layout, width)
    assert positions.shape == (15, 16)
    quarter = width // 4
    for t in range(15):
        row, column = divmod(t, 5)
        for i in range(quarter):
            omega = 10_000 ** (-i / quarter)
            expected = [
                math.sin(column * omega),
                math.cos(column * omega),
                math.sin(row * omega),
                math.cos(row * omega),
            ]
            found = positions[t, [i, quarter + i, 2 * quarter + i, 3 * quarter + i]]
            assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("shape", [(14, 14), (7, 4)])
def test_sines_and_cosines_equal_timms_in_maes_order(shape):
    theirs = build_sincos2d_pos_embed(list(shape), dim=64, reverse_coord=False, interleave_sin_cos=False)
    sin_row, sin_column, cos_row, cos_column = theirs.chunk(4, dim=1)
    expected = torch.cat([sin_column, cos_column, sin_row, cos_row], 1)
    assert torch.allclose(sincos_positions(Layout(shape), 64), expected, atol=1e-5)


def test_every_patch_has_a_code_of_its_own():
    positions = sincos_positions(Layout((14, 14)), 768)
    distances = torch.cdist(positions, positions) + 1e3 * torch.eye(196)
    assert distances.min() > 1


def test_learned_positions_of_the_same_grid_stay_and_of_another_keep_their_course():
    # a linear course over rows and columns, one channel each
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 8), torch.linspace(0, 1, 8), indexing="ij")
    positions = torch.stack([rows.flatten(), columns.flatten()], 1)  # (64, 2)
    assert torch.allclose(resize_positions(positions, Layout((8, 8)), Layout((8, 8))), positions, atol=1e-6)
    smaller = resize_positions(positions, Layout((8, 8)), Layout((4, 4))).reshape(4, 4, 2)
    assert (smaller[1:, :, 0] > smaller[:-1, :, 0]).all()
    assert torch.allclose(smaller[:, :, 0], smaller[:, :, 1].T, atol=1e-6)
    assert torch.allclose(smaller.mean((0, 1)), torch.tensor([0.5, 0.5]), atol=1e-3)
