"""Visualizations: masked inputs, reconstructions and attention."""

import io

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from didact import Attention, DataError, Layout, Mask, SpecError, Tokens
from didact.tensors import BatchMask
from didact_evaluate import Visualizations
from didact_evaluate.attending import attention_sheet
from didact_evaluate.batches import first_batch
from didact_evaluate.colours import INFERNO, heat, principal_colours
from didact_evaluate.marking import fates, marked, refilled
from didact_evaluate.media import wav
from didact_evaluate.mosaic import cell, enlarge, hide, stretch
from didact_evaluate.shown import shown_whole


def _report(world, spec=None, **changes):
    return (spec or Visualizations(samples=3, pool=16)).evaluate(world.Judged(world.experiment(**changes)))


def _pictures(world, spec=None, **changes):
    return _decoded(_report(world, spec, **changes))


def _decoded(report) -> dict[str, Tensor]:
    """The images of a report, decoded."""
    images = {name: Image.open(io.BytesIO(file)) for name, file in report.files.items() if name.endswith(".png")}
    return {name.removesuffix(".png"): torch.from_numpy(np.array(image)) for name, image in images.items()}


def _found(sheet: Tensor, part: Tensor) -> list[tuple[int, int]]:
    """Where a picture (h, w, 3) stands on a sheet (H, W, 3), from top to bottom."""
    height, width = part.shape[:2]
    rows, columns = sheet.shape[0] - height + 1, sheet.shape[1] - width + 1
    if rows < 1 or columns < 1:
        return []
    likely = torch.ones(rows, columns, dtype=torch.bool)
    for row in range(0, height, max(1, height // 5)):
        for column in range(0, width, max(1, width // 40)):
            likely &= (sheet[row : row + rows, column : column + columns] == part[row, column]).all(-1)
    return [(y, x) for y, x in likely.nonzero().tolist() if torch.equal(sheet[y : y + height, x : x + width], part)]


def _plain(world, source, index: int = 0) -> Tensor:
    """The picture of a sample of the batch that is shown, as large as it is drawn."""
    return stretch(source.image(source.open().content(_order(world, source)[index])))


def test_pictures_are_red_green_blue_bytes(world):
    images = _pictures(world)
    assert set(images) == {"inputs", "reconstruction", "features"}
    for image in images.values():
        assert image.dtype == torch.uint8
        assert image.dim() == 3
        assert image.shape[2] == 3


def test_each_mask_hides_what_must_be_predicted_and_nothing_else(world):
    source = world.Sequences(count=16)
    sheet, plain = _pictures(world, source=source)["inputs"], _plain(world, source)
    assert len(_found(sheet, plain)) == 1
    positions = int(source.open().lengths[_order(world, source)[0]]) // 4
    hidden = torch.arange(positions) < positions // 2  # behind the first mask; the second hides the others
    covered = hide(plain, Layout((positions,)), hidden)
    assert len(_found(sheet, covered)) == 1
    edge = positions // 2 * plain.shape[1] // positions
    assert torch.equal(covered[:, edge:], plain[:, edge:])
    assert (covered[:, :edge].int() - 127).abs().max() <= 27
    red, grey = torch.tensor([214, 39, 40]), torch.tensor([225, 225, 225])
    for first, second in ((red, grey), (grey, red)):
        strip = torch.cat([first.expand(14, edge, 3), second.expand(14, plain.shape[1] - edge, 3)], 1).to(torch.uint8)
        assert _found(sheet, strip)


def test_exact_predictions_find_a_twin_and_restore_the_picture(world):
    source = world.Sequences(count=16, twins=True, present=(1,))
    sheet = _pictures(world, source=source)["reconstruction"]
    assert len(_found(sheet, _plain(world, source))) == 2  # as it is, and filled


def test_a_filling_never_comes_from_the_sample_itself(world):
    source = world.Sequences(count=16, present=(1,))
    sheet = _pictures(world, source=source)["reconstruction"]  # predictions are exact: nearest would be itself
    assert len(_found(sheet, _plain(world, source))) == 1


def test_a_source_with_nothing_to_show_is_refused_before_the_first_step(world):
    with pytest.raises(DataError, match="Sequences gives neither images nor audio nor words"):
        Visualizations(source=world.Sequences(pictures=False)).prepare(world.experiment())


def test_a_method_without_masks_shows_its_views_alone(world):
    state = world.Judged(world.experiment())
    state.experiment = attrs.evolve(state.experiment, masker=None)
    report = Visualizations(samples=3, pool=16).evaluate(state)
    images = _decoded(report)
    assert set(images) == {"inputs", "features"}
    for index in range(3):
        assert len(_found(images["inputs"], _plain(world, state.experiment.source, index))) == 1


def test_the_batch_shown_is_the_runs_first_or_a_smaller_one(world):
    assert len(first_batch(world.experiment(), None, 16).ids) == 16
    assert len(first_batch(world.experiment(), None, 5).ids) == 5
    assert len(first_batch(world.experiment(), None, 100).ids) == 16


def test_the_pool_must_hold_others():
    with pytest.raises(SpecError, match=r"Visualizations.pool must be above samples \(6\)"):
        Visualizations(pool=6)


def test_a_source_that_sounds_is_heard_whole(world):
    source = world.Sequences(count=16, rate_hz=8000, sounds=True)
    files = _report(world, source=source).files
    assert [name for name in files if name.endswith(".wav")] == ["sound-1.wav", "sound-2.wav", "sound-3.wav"]
    assert files["sound-1.wav"] == wav(source.open().content(_order(world, source)[0]).tanh(), 8000)


# ── What a network attends to ─────────────────────────────────────────────────────────────────────────────────────────


class Attending:
    """A network with a class token whose attention is made up, over a grid or a sequence."""

    def __init__(self, weights: Tensor, *, latent: bool = False, num_prefix_tokens: int = 1) -> None:
        self.answer = None if weights is None else Attention(weights=weights, latent=latent)
        self.num_prefix_tokens = num_prefix_tokens
        self.name, self.network = "teacher", self
        self.backbone = self
        self.blocks = [None] * 4
        self.asked: list[int] = []

    def attention(self, shown, block):
        self.asked.append(block)
        if self.answer is None:
            return None
        features = torch.zeros(1, shown.layout.positions + self.num_prefix_tokens, 2)
        return self.answer, Tokens(features=features, layout=shown.layout, num_prefix_tokens=self.num_prefix_tokens)


def _grid(count: int = 1):
    from didact_kit import TinyEncoder, TinySource

    source = TinySource(count=12, height=4, length=5)
    batch = attrs.make_class("Batch", ["ids"])(torch.arange(count))
    return shown_whole(batch, source, TinyEncoder(), count)


def _drawn(shown, values: Tensor) -> Tensor:
    """Shares (H, W) as they are drawn over the picture of a grid."""
    scaled = (values - values.min()) / (values.max() - values.min())
    picture = torch.zeros_like(shown.picture)
    for position, colour in enumerate(heat(scaled).flatten(0, 1)):
        picture[cell(shown.layout, position, picture)] = colour
    return picture


@pytest.mark.parametrize("query", ["class", "mean", "middle"])
def test_over_a_grid_each_head_has_a_map_of_what_one_query_attends_to(query):
    (shown,) = _grid()
    weights = torch.rand(1, 3, 21, 21, generator=torch.Generator().manual_seed(0)).softmax(-1)
    expected = {"class": weights[0, :, 0], "mean": weights[0, :, 1:].mean(1), "middle": weights[0, :, 1 + 2 * 5 + 2]}
    sheet = attention_sheet(Attending(weights), [shown], None, query)
    places = [_found(sheet, _drawn(shown, values[1:].view(4, 5))) for values in expected[query]]
    assert [len(found) for found in places] == [1, 1, 1]
    assert sorted(places) == places  # head by head, from left to right


def test_without_a_class_token_it_is_the_mean_over_all_positions():
    (shown,) = _grid()
    weights = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0)).softmax(-1)
    sheet = attention_sheet(Attending(weights, num_prefix_tokens=0), [shown], None, "class")
    assert _found(sheet, _drawn(shown, weights[0, 0].mean(0).view(4, 5)))


def test_of_a_sequence_all_queries_are_shown_as_a_matrix(world):
    source = world.Sequences(count=4, pictures=False)
    batch = first_batch(world.experiment(source=source), None, 4)
    (shown,) = shown_whole(batch, source, world.Frames(width=8), 1)
    t = shown.layout.positions
    weights = torch.rand(1, 2, 1 + t, 1 + t, generator=torch.Generator().manual_seed(0)).softmax(-1)
    sheet = attention_sheet(Attending(weights), [shown], 2, "class")
    for head in range(2):
        matrix = weights[0, head, 1:, 1:]
        factor = 200 // t
        large = matrix.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        assert _found(sheet, heat((large - matrix.min()) / (matrix.max() - matrix.min())))


def test_the_block_that_is_asked_for_is_the_one_shown_and_the_last_by_default():
    watched = Attending(torch.rand(1, 1, 21, 21))
    for block in (1, None):
        attention_sheet(watched, _grid(), block, "class")
    assert watched.asked == [1, 3]
    with pytest.raises(SpecError, match="block 4 is asked for, and the backbone has 4") as caught:
        attention_sheet(watched, _grid(), 4, "class")
    assert caught.value.where == "attention_block"


def test_a_backbone_that_does_not_tell_is_shown_without(world):
    assert attention_sheet(Attending(None), _grid(), None, "class") is None
    assert "attention" not in _pictures(world)


# ── Features as colours ───────────────────────────────────────────────────────────────────────────────────────────────


def test_principal_components_become_red_green_and_blue():
    """Against scikit-learn's components, whose signs are as arbitrary."""
    from sklearn.decomposition import PCA

    drawn = torch.Generator().manual_seed(0)
    values = torch.randn(200, 6, generator=drawn) * torch.tensor([9.0, 5.0, 3.0, 1.0, 0.5, 0.1])
    mixed = values @ torch.linalg.qr(torch.randn(6, 6, generator=drawn))[0] + 7
    colours, share = principal_colours([mixed[:80], mixed[80:]])
    assert [tuple(colour.shape) for colour in colours] == [(80, 3), (120, 3)]
    fitted = PCA(3).fit(mixed.double().numpy())
    assert share == pytest.approx(float(fitted.explained_variance_ratio_.sum()), rel=1e-6)
    components = fitted.transform(mixed.double().numpy())
    for channel in range(3):
        component, got = components[:, channel], torch.cat(colours)[:, channel].double().numpy()
        inside = (got > 0) & (got < 255)
        assert abs(np.corrcoef(component[inside], got[inside])[0, 1]) > 0.9999
        assert (got == 0).sum() >= 2
        assert (got == 255).sum() >= 2


def test_features_without_variance_are_grey():
    (colours,), share = principal_colours([torch.ones(9, 2)])
    assert share == 0
    assert (colours.int() - 127).abs().max() <= 1


def test_heat_runs_from_black_to_the_brightest():
    colours = heat(torch.linspace(0, 1, 33))
    assert [tuple(colours[0].tolist()), tuple(colours[-1].tolist())] == [INFERNO[0], INFERNO[-1]]
    light = colours.double() @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.double)
    assert (light.diff() > 0).all()


# ── Text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = ("<s>", " the", " cat", " sat", " on", " a", " mat", "</s>")


def test_text_says_what_is_hidden_replaced_and_kept():
    corruption = torch.tensor([[0, 0, 1, 1, 0, 2, 0, 0]], dtype=torch.uint8)
    predicted = torch.tensor([[False, False, True, True, False, True, True, False]])
    mask = BatchMask.collate([Mask(predicted=predicted, corruption=corruption, replacement=corruption.long())], 9)
    found = fates(mask, 0, 0, 8)
    assert marked(WORDS, found, (" dog",) * 8) == "<s> the [[cat sat]] on [[a → dog]] [[mat =]]</s>"
    assert marked(WORDS, found, None) == "<s> the [[cat sat]] on [[a → ?]] [[mat =]]</s>"


def test_dropped_words_are_hidden_words():
    masks = [Mask.drop(torch.tensor([[False] * 7 + [True], [True] * 3 + [False] * 5]))]
    mask = BatchMask.collate(masks, 8)
    assert marked(WORDS, fates(mask, 0, 0, 8), None) == "<s> the cat sat on a mat[[</s>]]"
    assert marked(WORDS, fates(mask, 0, 1, 8), None) == "[[<s> the cat]] sat on a mat</s>"


def test_text_without_marks_is_the_text():
    mask = BatchMask.collate([Mask.hide(torch.zeros(1, 8, dtype=torch.bool))], 8)
    assert marked(WORDS, fates(mask, 0, 0, 8), None) == "".join(WORDS)


def test_words_of_space_alone_can_be_seen():
    assert refilled((" a", "\n", " b"), {1: " c"}) == " a[[\\n → c]] b"
    assert refilled((" a", " b"), {1: " b"}) == " a [[b =]]"


def test_a_text_is_shown_with_its_masks_and_what_fills_them(world):
    source = world.Sequences(count=16, pictures=False, words_too=True)
    report = _report(world, source=source, encoder=world.Frames(width=8, frame=1))
    assert set(report.files) == {"inputs.txt", "reconstruction.txt"}
    first = source.words(source.open().content(_order(world, source)[0]))
    half = len(first) // 2
    inputs = report.files["inputs.txt"].decode()
    assert f"mask 1:  [[{''.join(first[:half]).strip()}]]{''.join(first[half:])}" in inputs
    assert f"mask 2: {''.join(first[:half])} [[{''.join(first[half:]).strip()}]]" in inputs
    shown = report.files["reconstruction.txt"].decode()
    assert shown.count("→") + shown.count(" =]]") > half


# ── Drawing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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


def test_a_small_picture_is_enlarged_without_blending():
    picture = torch.arange(4 * 5 * 3, dtype=torch.uint8).view(4, 5, 3)
    large = enlarge(picture)
    assert large.shape == (128, 160, 3)
    assert torch.equal(large[16::32, 16::32], picture)


def test_what_runs_over_time_is_neither_too_narrow_nor_too_wide():
    narrow, wide = torch.zeros(80, 30, 3, dtype=torch.uint8), torch.zeros(80, 6000, 3, dtype=torch.uint8)
    wide[:, 3000:] = 200
    assert stretch(narrow).shape == (160, 330, 3)
    assert stretch(wide).shape == (160, 1300, 3)
    assert (stretch(wide)[:, 651:] == 200).all()


def test_sheets_are_white_where_nothing_stands(world):
    sheet = _pictures(world)["inputs"]
    assert (sheet[:, :6] == 255).all()
    assert (sheet[-6:] == 255).all()


def _order(world, source):
    """The samples of the batch that is shown, in its order."""
    return first_batch(world.experiment(), source, 16).ids.tolist()
