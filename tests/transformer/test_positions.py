from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.data2vec.modeling_data2vec_vision import Data2VecVisionRelativePositionBias

from didact import Layout, SpecError, Tokens
from didact_transformer import ALiBi, BEiTBias, RelativePositions, Transformer
from didact_transformer.positions import alibi_slopes


def tokens(layout: Layout, positions: torch.Tensor | None = None, num_prefix_tokens: int = 0, width: int = 8) -> Tokens:
    rows, held = positions.shape if positions is not None else (2, layout.positions)
    return Tokens(
        features=torch.randn(rows, num_prefix_tokens + held, width),
        layout=layout,
        positions=positions,
        num_prefix_tokens=num_prefix_tokens,
    )


def test_alibi_slopes_are_those_of_the_papers() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-k for k in range(1, 9)]
    assert alibi_slopes(16).tolist() == pytest.approx([2.0 ** (-k / 2) for k in range(1, 17)])
    twelve = [2.0**-k for k in range(1, 9)] + [0.7071, 0.3536, 0.1768, 0.0884]
    assert alibi_slopes(12).tolist() == pytest.approx(twelve, abs=5e-5)


def test_alibi_falls_with_the_distance_of_original_positions() -> None:
    module = ALiBi().build(2, None)
    module.scale.data = torch.tensor([3.0, -1.0])  # a negative scale counts as 0
    bias = module(tokens(Layout((20,)), torch.tensor([[2, 5, 19]]), num_prefix_tokens=1))
    assert bias.shape == (1, 2, 4, 4)
    distance = torch.tensor([[0, 0, 0, 0], [0, 0, 3, 17], [0, 3, 0, 14], [0, 17, 14, 0]])
    assert torch.equal(bias[0, 0], -3 * 2.0**-4 * distance)
    assert (bias[0, 1] == 0).all()


def test_alibi_without_a_learned_scale_has_no_parameters() -> None:
    module = ALiBi(learned_scale=False).build(2, None)
    assert not list(module.parameters())
    assert module(tokens(Layout((3,))))[0, 0].tolist() == [
        [0, -1 / 16, -1 / 8],
        [-1 / 16, 0, -1 / 16],
        [-1 / 8, -1 / 16, 0],
    ]


def test_beit_bias_equals_that_of_transformers() -> None:
    module = BEiTBias().build(3, Layout((4, 5)))
    theirs = Data2VecVisionRelativePositionBias.generate_relative_position_index((4, 5))  # (1 + T, 1 + T)
    module.table.data.normal_()
    assert module.table.shape == ((2 * 4 - 1) * (2 * 5 - 1) + 3, 3)
    found = module(tokens(Layout((4, 5)), num_prefix_tokens=1))
    assert torch.equal(found[0], module.table[theirs].permute(2, 0, 1))


def test_beit_bias_starts_at_nothing() -> None:
    assert (BEiTBias().build(3, Layout((4, 5)))(tokens(Layout((4, 5)))) == 0).all()


def test_beit_bias_of_a_smaller_grid_takes_its_offsets_from_the_larger() -> None:
    module = BEiTBias().build(1, Layout((4, 5)))
    module.table.data.normal_()
    large, small = (module(tokens(Layout(shape)))[0, 0] for shape in ((4, 5), (2, 3)))
    within = torch.tensor([0, 1, 2, 5, 6, 7])  # the upper left 2 × 3 of 4 × 5
    assert torch.equal(small, large[within][:, within])


@pytest.mark.parametrize("positions", [ALiBi(), BEiTBias()])
@pytest.mark.parametrize("extra", [0, 1])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), held=st.integers(2, 12))
def test_permuting_the_visible_tokens_permutes_the_outputs(
    positions: RelativePositions, extra: int, seed: int, held: int
) -> None:
    torch.manual_seed(seed)
    layout = Layout((3, 4)) if isinstance(positions, BEiTBias) else Layout((12,))
    module = Transformer(width=8, depth=2, heads=2, positions=positions).build(8, layout).eval()
    for parameter in module.positions.parameters():
        parameter.data.normal_().abs_()
    visible = torch.stack([torch.randperm(12)[:held] for _ in range(2)])  # (R, V)
    given_tokens = tokens(layout, visible, extra)
    order = torch.randperm(held)
    moved = torch.cat([torch.arange(extra), extra + order])
    shuffled = Tokens(
        features=given_tokens.features[:, moved], layout=layout, positions=visible[:, order], num_prefix_tokens=extra
    )
    torch.testing.assert_close(module(shuffled).output, module(given_tokens).output[:, moved], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("positions", [ALiBi(), BEiTBias()])
def test_all_positions_visible_is_the_same_as_none_named(positions: RelativePositions) -> None:
    layout = Layout((3, 4)) if isinstance(positions, BEiTBias) else Layout((12,))
    module = positions.build(2, layout)
    for parameter in module.parameters():
        parameter.data.normal_()
    named = module(tokens(layout, torch.arange(12).expand(2, -1), num_prefix_tokens=1))
    assert torch.equal(named, module(tokens(layout, num_prefix_tokens=1)).expand_as(named))


def test_positions_that_do_not_suit_the_layout_are_named() -> None:
    with pytest.raises(SpecError, match=r"BEiTBias supports positions in a grid, but .* has the layout \(12,\)"):
        BEiTBias().build(2, Layout((12,)))
    with pytest.raises(SpecError, match="differs in size from sample to sample"):
        BEiTBias().build(2, None)
    with pytest.raises(SpecError, match=r"ALiBi supports .* the layout of the positions is \(3, 4\)"):
        ALiBi().build(2, Layout((3, 4)))
    with pytest.raises(SpecError, match=r"built for a grid of 3 × 4 positions, but the layout is \(4, 4\)"):
        BEiTBias().build(2, Layout((3, 4)))(tokens(Layout((4, 4))))
