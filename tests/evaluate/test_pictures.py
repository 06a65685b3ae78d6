"""Pictures show what is masked, and fill it from where the prediction points."""

import attrs
import pytest
import torch

from didact import DataError, Layout, SpecError
from didact_evaluate import Pictures
from didact_evaluate.mosaic import GAP, arrange, cell, enlarge, hide


def _pictures(world, spec=None, **changes):
    return (spec or Pictures(samples=3, pool=16)).evaluate(world.Judged(world.experiment(**changes))).images


def test_pictures_are_red_green_blue_bytes(world):
    images = _pictures(world)
    assert set(images) == {"inputs", "reconstruction"}
    for image in images.values():
        assert image.dtype == torch.uint8
        assert image.dim() == 3
        assert image.shape[2] == 3


def test_each_mask_hides_what_must_be_predicted_and_nothing_else(world):
    source = world.Sequences(count=16)
    image = _pictures(world, source=source)["inputs"]
    batch_order = _order(world, source)
    plain = enlarge(source.picture(source.open().content(batch_order[0])))
    height, width = plain.shape[:2]
    assert torch.equal(image[:height, :width], plain)
    positions = int(source.open().lengths[batch_order[0]]) // 4
    edge = positions // 2 * (width // positions)
    for mask, (kept, hidden) in enumerate([(slice(edge, None), slice(0, edge)), (slice(0, edge), slice(edge, None))]):
        left = (mask + 1) * (width + GAP)
        shown = image[:height, left : left + width]
        assert torch.equal(shown[:, kept], plain[:, kept])
        assert (shown[:, hidden].int() - 127).abs().max() <= 27


def test_exact_predictions_find_a_twin_and_restore_the_picture(world):
    source = world.Sequences(count=16, twins=True, present=(1,))
    image = _pictures(world, source=source)["reconstruction"]
    plain = enlarge(source.picture(source.open().content(_order(world, source)[0])))
    height, width = plain.shape[:2]
    restored = image[:height, 2 * (width + GAP) : 2 * (width + GAP) + width]
    masked = image[:height, width + GAP : 2 * width + GAP]
    assert torch.equal(restored, plain)
    assert not torch.equal(masked, plain)


def test_a_filling_never_comes_from_the_sample_itself(world):
    source = world.Sequences(count=16, present=(1,))
    image = _pictures(world, source=source)["reconstruction"]  # predictions are exact: nearest would be itself
    plain = enlarge(source.picture(source.open().content(_order(world, source)[0])))
    height, width = plain.shape[:2]
    assert not torch.equal(image[:height, 2 * (width + GAP) : 2 * (width + GAP) + width], plain)


def test_a_source_without_pictures_is_refused_before_the_first_step(world):
    with pytest.raises(DataError, match="Sequences has no pictures"):
        Pictures(source=world.Sequences(pictures=False)).prepare(world.experiment())


def test_a_method_without_masks_shows_its_views_alone(world):
    subject = world.Judged(world.experiment())
    subject.experiment = attrs.evolve(subject.experiment, masker=None)
    images = Pictures(samples=3, pool=16).evaluate(subject).images
    assert set(images) == {"inputs"}
    source = subject.experiment.source
    widths = [enlarge(source.picture(source.open().content(index))).shape[1] for index in _order(world, source)[:3]]
    assert images["inputs"].shape[1] == max(widths)


def test_the_pool_must_hold_others():
    with pytest.raises(SpecError, match=r"Pictures.pool must be above samples \(6\)"):
        Pictures(pool=6)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (7, 7)])
def test_the_cells_of_a_layout_cover_the_picture_once(shape):
    picture = torch.zeros(29, 31, 3, dtype=torch.uint8)
    layout = Layout(shape)
    for position in range(layout.positions):
        picture[cell(layout, position, picture)] += 1
    assert (picture == 1).all()


def test_grid_positions_run_row_by_row():
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    hidden = torch.tensor([False, True, False, False])
    drawn = hide(picture, Layout((2, 2)), hidden)
    assert (drawn[:4, 4:] > 0).all()
    assert int((drawn > 0).sum()) == 4 * 4 * 3


def test_rows_of_pictures_stand_beside_and_below_each_other():
    small, large = torch.zeros(2, 3, 3, dtype=torch.uint8), torch.ones(4, 5, 3, dtype=torch.uint8)
    sheet = arrange([[small, large], [large]])
    assert sheet.shape == (4 + GAP + 4, 3 + GAP + 5, 3)
    assert torch.equal(sheet[:2, :3], small)
    assert torch.equal(sheet[4 + GAP :, :5], large)
    assert (sheet[:, 3 : 3 + GAP][:4] == 255).all()


def _order(world, source):
    """The samples of the batch that is shown, in its order."""
    from didact_evaluate.batches import training_batches

    return next(training_batches(world.experiment(), source, 16, 16)).ids.tolist()
