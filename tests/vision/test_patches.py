"""The patch encoder: its layout, its weights, and the order of hiding, adding positions and dropping."""

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didact import BatchMask, Layout, Mask, Signal, SpecError, Tokens, View, collate
from didact.placing import corrupt, drop, repeat
from didact_transformer.sincos import sincos_positions
from didact_vision import BlockMasker, Patches, RandomMasker
from didact_vision.patches import take_visible
from didact_vision.positions import resize_positions


def image_signal(size: int = 16) -> Signal:
    return Signal(kind="image", axes=(3, size, size))


def view_of(content: torch.Tensor, mask: BatchMask | None = None, patch: int = 4) -> View:
    return View(content=content, layout=Patches(width=8, patch=patch).layout(tuple(content.shape[1:])), mask=mask)


def batch_mask(*predicted: list[list[int]], drop: bool) -> BatchMask:
    """Masks over 16 positions, given by their predicted ones: samples × masks × positions."""
    masks = []
    for sample in predicted:
        rows = torch.zeros(len(sample), 16, dtype=torch.bool)
        for row, places in zip(rows, sample, strict=True):
            row[places] = True
        masks.append(Mask.drop(rows) if drop else Mask.hide(rows))
    return BatchMask.collate(masks, 16)


@given(height=st.integers(1, 9), width=st.integers(1, 9), patch=st.integers(1, 16))
def test_the_layout_is_the_image_in_patches(height, width, patch):
    assert Patches(patch=patch).layout((3, height * patch, width * patch)) == Layout((height, width))


@pytest.mark.parametrize("size", [(3, 30, 32), (3, 32, 33), (3, 0, 32)])
def test_an_image_that_patches_do_not_divide_is_an_error_that_names_both(size):
    with pytest.raises(SpecError, match=f"{size[1]} × {size[2]} pixels cannot be cut into patches of 4 × 4"):
        Patches(patch=4).layout(size)


@pytest.mark.parametrize("size", [(32_000,), (3, 8, 32, 32)])
def test_content_that_is_no_image_has_no_layout(size):
    with pytest.raises(SpecError, match="reads images"):
        Patches().layout(size)


def test_a_signal_that_is_no_image_is_an_error_that_names_it():
    with pytest.raises(SpecError, match="reads images, but the source gives 'waveform'"):
        Patches().build(Signal(kind="waveform", axes=(None,), rate_hz=16_000))


def test_learned_positions_need_images_of_one_size():
    with pytest.raises(SpecError, match="learned positions need images of one size"):
        Patches(positions="learned").build(Signal(kind="image", axes=(3, None, None)))


def test_an_odd_width_has_no_sines_and_cosines():
    with pytest.raises(SpecError, match="a multiple of 4"):
        Patches(width=10, positions="sincos")
    Patches(width=10, positions="none")


def test_a_patch_becomes_the_projection_of_its_own_pixels():
    module = Patches(width=8, patch=4).build(image_signal())
    content = torch.randn(2, 3, 16, 16)
    tokens = module.embed(view_of(content))
    assert tokens.features.shape == (2, 16, 8)
    weight, bias = module.projection.proj.weight, module.projection.proj.bias
    for t in (0, 3, 6, 15):
        row, column = divmod(t, 4)
        pixels = content[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.allclose(tokens.features[:, t], pixels.flatten(1) @ weight.flatten(1).T + bias, atol=1e-5)


def test_without_a_mask_all_patches_stand_behind_the_class_token_in_order():
    module = Patches(width=8, patch=4).build(image_signal())
    tokens = module.embed(view_of(torch.randn(2, 3, 16, 16)))
    placed = module.place(tokens, None)
    assert placed.num_prefix_tokens == 1
    assert placed.positions is None
    assert torch.equal(placed.features[:, 0], module.class_token.expand(2, -1))
    assert torch.allclose(placed.features[:, 1:], tokens.features + sincos_positions(Layout((4, 4)), 8))


def test_hidden_patches_hold_the_mask_token_and_their_position_and_nothing_of_the_image():
    module = Patches(width=8, patch=4, mask_token=True).build(image_signal())
    mask = batch_mask([[0, 5]], [[1, 2, 15]], drop=False)
    one, other = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    placed = [module.place(module.embed(view_of(content)), mask).features[:, 1:] for content in (one, other)]
    expected = module.mask_token + sincos_positions(Layout((4, 4)), 8)
    hidden = mask.predicted[:, 0]
    for features in placed:
        assert torch.allclose(features[hidden], expected.expand(2, -1, -1)[hidden])
    assert not torch.isclose(placed[0], placed[1])[~hidden].all(-1).any()


def test_dropped_patches_leave_the_others_with_their_own_positions():
    module = Patches(width=8, patch=4).build(image_signal())
    mask = batch_mask([[0, 5], [6, 7]], [[1, 2], [0, 15]], drop=True)
    tokens = module.embed(view_of(torch.randn(2, 3, 16, 16)))
    placed = module.place(tokens, mask)
    whole = module.place(tokens, None).features
    assert placed.features.shape == (4, 15, 8)  # two samples × two masks, class token + 14 patches
    for row in range(4):
        sample, number = divmod(row, 2)
        kept = [t for t in range(16) if not mask.predicted[sample, number, t]]
        assert placed.positions[row].tolist() == kept
        assert torch.equal(placed.features[row, 0], module.class_token)
        assert torch.equal(placed.features[row, 1:], whole[sample, [1 + t for t in kept]])


def test_taking_what_is_visible_equals_repeating_and_dropping_also_with_padding_and_uneven_counts():
    mask = batch_mask([[0, 5], [6]], [[1, 2, 3], [0, 15]], drop=True)
    features = torch.randn(2, 16, 8, requires_grad=True)
    padding = torch.zeros(2, 16, dtype=torch.bool)
    padding[1, 14:] = True
    for tokens in (
        Tokens(features=features, layout=Layout((4, 4))),
        Tokens(features=features, layout=Layout((4, 4)), padding=padding),
    ):
        repeated = attrs.evolve(
            tokens,
            features=corrupt(features, mask, features.new_empty(()), padding=padding),
            padding=repeat(tokens.padding, mask),
        )
        found, expected = take_visible(tokens, mask), drop(repeated, mask)
        assert torch.equal(found.features, expected.features)
        assert torch.equal(found.padding, expected.padding)
        assert torch.equal(found.positions, expected.positions)
        towards = torch.randn_like(found.features)
        gradients = [torch.autograd.grad(t.features, features, towards)[0] for t in (found, expected)]
        assert torch.allclose(*gradients, atol=1e-6)


def test_a_mask_of_nothing_gives_the_teachers_sequence():
    module = Patches(width=8, patch=4, mask_token=True).build(image_signal())
    tokens = module.embed(view_of(torch.randn(2, 3, 16, 16)))
    nothing = batch_mask([[]], [[]], drop=False)
    assert torch.equal(module.place(tokens, nothing).features, module.place(tokens, None).features)


def test_hiding_without_a_mask_token_is_an_error_that_says_how_to_get_one():
    module = Patches(width=8, patch=4).build(image_signal())
    tokens = module.embed(view_of(torch.randn(1, 3, 16, 16)))
    with pytest.raises(SpecError, match="Patches has none") as error:
        module.place(tokens, batch_mask([[3]], drop=False))
    assert "mask_token=True" in error.value.hint


@pytest.mark.parametrize("positions", ["none", "learned", "sincos"])
def test_positions_are_what_the_spec_says(positions):
    module = Patches(width=8, patch=4, positions=positions, class_token=False).build(image_signal())
    tokens = module.embed(view_of(torch.randn(1, 3, 16, 16)))
    added = module.place(tokens, None).features - tokens.features
    expected = {"none": torch.zeros(16, 8), "learned": module.positions, "sincos": sincos_positions(Layout((4, 4)), 8)}
    assert torch.allclose(added[0], expected[positions], atol=1e-6)
    trained = {name for name, _ in module.named_parameters()}
    assert ("positions" in trained) == (positions == "learned")
    assert "positions" not in module.state_dict() or positions == "learned"  # fixed codes are not saved


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_views_of_another_size_than_it_was_built_for_get_positions_too(positions):
    module = Patches(width=8, patch=4, positions=positions, class_token=False).build(image_signal(16))
    tokens = module.embed(view_of(torch.randn(1, 3, 8, 12)))
    added = module.place(tokens, None).features - tokens.features
    small = Layout((2, 3))
    expected = (
        sincos_positions(small, 8)
        if positions == "sincos"
        else resize_positions(module.positions, Layout((4, 4)), small)
    )
    assert torch.allclose(added[0], expected, atol=1e-6)


def test_beit_weights_are_normal_and_cut_at_one_standard_deviation():
    torch.manual_seed(0)
    spec = Patches(width=256, patch=8, positions="none", mask_token=True, initialization="beit")
    module = spec.build(image_signal())
    weight = module.projection.proj.weight
    for values in (weight, module.class_token, module.mask_token):
        assert values.abs().max() <= 0.02
    assert weight.std().item() == pytest.approx(0.02 * 0.5396, rel=0.02)  # of a normal cut at one standard deviation
    assert not module.projection.proj.bias.any()


def test_data2vec2_weights_are_xavier_uniform_and_the_class_token_is_standard_normal():
    torch.manual_seed(0)
    module = Patches(width=256, patch=8).build(image_signal())
    weight = module.projection.proj.weight
    bound = (6 / (256 + 3 * 64)) ** 0.5  # the filter as one matrix, D × C·patch²
    assert 0.99 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert module.class_token.std().item() == pytest.approx(1, rel=0.15)


def test_gradients_reach_everything_that_learns():
    spec = Patches(width=8, patch=4, positions="learned", mask_token=True)
    module = spec.build(image_signal())
    mask = batch_mask([[0, 5]], [[1, 2]], drop=False)
    module.place(module.embed(view_of(torch.randn(2, 3, 16, 16))), mask).features.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("drop", [True, False])
def test_bfloat16_gives_the_same_sequence_up_to_its_precision(drop):
    module = Patches(width=32, patch=4, mask_token=True).build(image_signal())
    mask = batch_mask([[0, 5]], [[1, 2]], drop=drop)
    view = view_of(torch.randn(2, 3, 16, 16))
    exact = module.place(module.embed(view), mask).features
    with torch.autocast("cpu", torch.bfloat16):
        rough = module.place(module.embed(view), mask).features
    assert torch.allclose(exact, rough.float(), atol=0.05)


@pytest.mark.parametrize("masker", [BlockMasker(min_area=2), RandomMasker(masks=3)])
def test_what_is_masked_never_reaches_the_sequence(masker):
    spec = Patches(width=8, patch=2, mask_token=True)
    contents = [torch.randn(3, 16, 16) for _ in range(2)]
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    view = collate(contents, spec, masker, generators)
    # one mask at a time: a patch that all masks of its sample hide may hold anything
    everywhere = view.mask.predicted.all(1)  # (B, T)
    assert everywhere.any()
    pixels = everywhere.reshape(2, 1, 8, 8).repeat_interleave(2, 2).repeat_interleave(2, 3)
    changed = view.content.masked_fill(pixels, 1e6)
    module = spec.build(image_signal())
    placed = [
        module.place(module.embed(View(content=content, layout=view.layout)), view.mask).features
        for content in (view.content, changed)
    ]
    assert torch.equal(*placed)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (Patches(), 590_592 + 768),  # data2vec 2.0: projection and class token
        (Patches(positions="none", mask_token=True, initialization="beit"), 590_592 + 2 * 768),  # data2vec 1
        (Patches(width=1280, patch=14), 1280 * 3 * 14 * 14 + 1280 + 1280),  # huge
    ],
)
def test_the_number_of_weights_is_the_published_one(spec, count):
    module = spec.build(image_signal(224))
    assert sum(parameter.numel() for parameter in module.parameters()) == count
