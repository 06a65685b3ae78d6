"""The image source: samples in training and in evaluations."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from didact import DataError, Signal, SpecError, collate
from didact_stores import Record
from didact_stores.ingest import write_store
from didact_vision import BEiTAugmentation, Images, Patches, RandomCrop, RandomMasker
from didact_vision.augmentation import resize

CLASSES = ("blue", "green", "red")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(index: int) -> np.ndarray:
    """Image number ``index``: noise, upright (36, 24, 3) where even and lying (24, 36, 3) where odd."""
    shape = (24, 36, 3) if index % 2 else (36, 24, 3)
    return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


def middle_of(index: int) -> np.ndarray:
    """Its middle square (24, 24, 3)."""
    return pixels_of(index)[:, 6:30] if index % 2 else pixels_of(index)[6:30]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Nine images of three classes and two splits."""
    folder = tmp_path_factory.mktemp("stores") / "colours"
    records = []
    for index in range(9):
        label = CLASSES[index % 3]
        fields = {"label": label, "split": "test" if index < 3 else "train"}
        records.append(Record(data=png(pixels_of(index)), length=1.0, name=f"{label}/{index}.png", fields=fields))
    write_store(folder, "images", "images", records)
    return str(folder)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_signal_is_an_rgb_image_of_the_size():
    assert Images(store="none", size=48).signal() == Signal(kind="image", axes=(3, 48, 48))


def test_samples_know_their_labels_names_and_lengths(store):
    samples = Images(store=store, size=16).open()
    assert len(samples) == 9
    assert samples.classes == ("blue", "green", "red")
    assert samples.labels.tolist() == [0, 1, 2] * 3
    assert samples.name(4) == "green/4.png"
    assert samples.lengths.tolist() == [1.0] * 9


def test_a_condition_leaves_some_of_them(store):
    samples = Images(store=store, size=16, where="split == train and label != red").open()
    assert [samples.name(index) for index in range(len(samples))] == [
        "blue/3.png",
        "green/4.png",
        "blue/6.png",
        "green/7.png",
    ]


def test_content_is_the_normalised_middle_square(store):
    source = Images(store=store, size=24)
    samples = source.open()
    for index in (0, 1):  # upright and lying
        content = samples.content(index)
        assert content.shape == (3, 24, 24)
        assert content.dtype == torch.float32
        expected = (middle_of(index) / 255 - np.array(source.mean)) / np.array(source.std)  # (24, 24, 3)
        assert np.allclose(content.permute(1, 2, 0), expected, atol=1e-5)


def test_an_image_is_what_was_there_before_normalisation(store):
    source = Images(store=store, size=24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    for index in (0, 1):
        picture = source.image(source.open().content(index))
        assert picture.dtype == torch.uint8
        assert np.array_equal(picture, middle_of(index))


@pytest.mark.parametrize(("size", "features"), [(16, 3 * 16 * 16), (32, 3 * 32 * 32), (48, 3 * 32 * 32)])
def test_raw_features_are_the_pixels_at_no_more_than_32_by_32(store, size, features):
    source = Images(store=store, size=size)
    content = source.open().content(0)
    raw = source.raw_features(content)
    assert raw.shape == (features,)
    if size <= 32:
        assert torch.equal(raw, content.flatten())
    assert torch.allclose(raw.reshape(3, -1).mean(1), content.flatten(1).mean(1), atol=0.05)


@pytest.mark.parametrize("augmentation", [RandomCrop(), BEiTAugmentation(), None])
def test_the_same_generator_gives_the_same_views(store, augmentation):
    samples = Images(store=store, size=16, augmentation=augmentation, views=2).open()
    views = samples.views(3, length=None, generator=chance(1))
    again = samples.views(3, length=None, generator=chance(1))
    other = samples.views(3, length=None, generator=chance(2))
    assert [view.shape for view in views] == [(3, 16, 16)] * 2
    assert all(torch.equal(a, b) for a, b in zip(views, again, strict=True))
    if augmentation is None:
        assert all(torch.equal(view, samples.content(3)) for view in (*views, *other))
    else:
        assert not torch.equal(views[0], views[1])
        assert not torch.equal(views[0], other[0])


def test_views_are_normalised_like_contents(store):
    whole = RandomCrop(scale=(1.0, 1.0), aspect=(2 / 3, 3 / 2), flip=0.0)
    source = Images(store=store, size=24, augmentation=whole)
    samples = source.open()
    (view,) = samples.views(2, length=None, generator=chance())
    top, left, height, width = whole.box(36, 24, generator=chance())
    part = torch.from_numpy(pixels_of(2)).permute(2, 0, 1)[:, top : top + height, left : left + width]
    assert np.array_equal(source.image(view), resize(part, 24, "bicubic").permute(1, 2, 0))


def test_samples_collate_to_a_masked_view_without_padding(store):
    source, encoder = Images(store=store, size=16), Patches(width=8, patch=4)
    samples = source.open()
    contents = [samples.views(index, length=None, generator=chance(index))[0] for index in range(4)]
    view = collate(contents, encoder, RandomMasker(masks=2), [chance(index) for index in range(4)])
    assert view.content.shape == (4, 3, 16, 16)
    assert view.padding is None
    assert view.mask.predicted.shape == (4, 2, 16)
    assert view.mask.visible.shape == (8, 4)


def test_opened_samples_read_again_after_a_pickle(store):
    samples = Images(store=store, size=16).open()
    expected = samples.content(0)
    assert torch.equal(pickle.loads(pickle.dumps(samples)).content(0), expected)


def test_an_image_that_has_become_unreadable_is_named(tmp_path):
    records = [Record(data=b"no image", length=1.0, name="cats/7.jpg")]
    write_store(tmp_path / "broken", "images", "images", records)
    with pytest.raises(DataError, match="cannot be read") as error:
        Images(store=str(tmp_path / "broken")).open().content(0)
    assert error.value.where == "cats/7.jpg"


def test_a_store_of_another_kind_is_refused(tmp_path):
    write_store(tmp_path / "voices", "audio", "seconds", [Record(data=b"x", length=1.0, name="a.wav")])
    with pytest.raises(DataError, match="holds audio, not images"):
        Images(store=str(tmp_path / "voices")).open()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, r"Images\.size must be at least 1"),
        ({"views": 0}, r"Images\.views must be at least 1"),
        ({"mean": (128.0, 128.0, 128.0)}, r"Images\.mean must be three numbers between 0 and 1"),
        ({"std": (0.2, 0.0, 0.2)}, r"Images\.std must be three numbers above 0"),
        ({"augmentation": "crop"}, r"Images\.augmentation must be"),
    ],
)
def test_settings_out_of_range_are_refused_by_their_name(changes, message):
    with pytest.raises(SpecError, match=message):
        Images(store="none", **changes)


def test_one_file_is_read_as_its_sample_is(store):
    source = Images(store=store, size=16, where="split == train", mean=(0.1, 0.2, 0.3))
    samples = source.open()
    for index in range(len(samples)):
        record = samples.record(index)
        assert torch.equal(source.read(record.data, record.name), samples.content(index))
    with pytest.raises(DataError) as caught:
        source.read(b"GIF89a", "broken.gif")
    assert caught.value.where == "broken.gif"


def test_the_whole_source_has_all_images_and_no_augmentation(store):
    source = Images(store=store, size=16, where="split == train", views=2)
    whole = source.whole().open()
    assert len(whole) == 9
    (view,) = whole.views(0, length=None, generator=chance())
    assert torch.equal(view, whole.content(0))
