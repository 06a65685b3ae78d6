"""Views of images, compared with torchvision where both define the same operation."""

import math

import pytest
import torch
import torchvision.transforms.v2 as transforms
import torchvision.transforms.v2.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from didact import SpecError
from didact_vision import BEiTAugmentation, RandomCrop
from didact_vision.augmentation import brighten, contrast, resize, saturate


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A smooth colourful image (3, height, width) uint8, channels last as decoding gives it."""
    coarse = torch.rand(1, 3, 5, 5, generator=chance(seed)) * 255
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    return image[0].to(torch.uint8).permute(1, 2, 0).contiguous().permute(2, 0, 1)


@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    scale=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(lambda pair: (min(pair), max(pair))),
    seed=st.integers(0, 2**32),
)
def test_a_crop_lies_in_the_image_with_an_allowed_area_and_aspect(height, width, scale, seed):
    crop = RandomCrop(scale=scale)
    top, left, h, w = crop.box(height, width, generator=chance(seed))
    assert h >= 1
    assert w >= 1
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    if min(height, width) >= 40 and scale[0] >= 0.2:  # rounding to pixels is small, and no fallback is needed
        if max(height, width) * 3 <= min(height, width) * 4:
            assert scale[0] - 0.1 <= h * w / (height * width) <= scale[1] + 0.1
        assert 0.7 <= w / h <= 1.43


def test_crops_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    theirs = transforms.RandomResizedCrop(8, scale=(0.2, 1.0))
    image = picture(60, 90)
    drawn = [theirs.make_params([image]) for _ in range(3_000)]
    expected = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in drawn]).float()
    generator, crop = chance(), RandomCrop(scale=(0.2, 1.0))
    found = torch.tensor([crop.box(60, 90, generator=generator) for _ in range(3_000)]).float()
    error = 5 * (expected.var(0) + found.var(0)).sqrt() / math.sqrt(3_000)
    assert ((found.mean(0) - expected.mean(0)).abs() < error).all()
    assert ((found.std(0) / expected.std(0) - 1).abs() < 0.08).all()


@pytest.mark.parametrize("shape", [(10, 1_000), (1_000, 10)])
def test_an_elongated_image_gives_the_largest_allowed_part_of_its_middle(shape):
    # no crop of half its area with such an aspect fits, so that the fallback is certain
    top, left, h, w = RandomCrop(scale=(0.5, 1.0)).box(*shape, generator=chance())
    params = transforms.RandomResizedCrop(8, scale=(0.5, 1.0)).make_params([torch.zeros(3, *shape)])
    assert (top, left, h, w) == tuple(params[name] for name in ("top", "left", "height", "width"))


def test_a_view_is_the_crop_resized_as_torchvision_does():
    image, crop = picture(60, 90), RandomCrop(flip=0.0)
    view = crop.view(image, 32, generator=chance(3))
    top, left, height, width = crop.box(60, 90, generator=chance(3))
    bicubic = transforms.InterpolationMode.BICUBIC
    expected = functional.resized_crop(image, top, left, height, width, [32, 32], bicubic, antialias=True)
    assert view.dtype == torch.uint8
    assert torch.equal(view, expected)


def test_half_of_the_views_are_mirrored():
    image = picture(32, 32)
    whole = RandomCrop(scale=(1.0, 1.0), aspect=(1.0, 1.0))
    views = [whole.view(image, 32, generator=chance(seed)) for seed in range(400)]
    mirrored = [torch.equal(view, image.flip(-1)) for view in views]
    assert all(mirror or torch.equal(view, image) for mirror, view in zip(mirrored, views, strict=True))
    assert abs(sum(mirrored) / 400 - 0.5) < 0.12


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brighten, functional.adjust_brightness),
        (contrast, functional.adjust_contrast),
        (saturate, functional.adjust_saturation),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 2.0])
def test_colours_change_as_torchvision_changes_them(ours, theirs, factor):
    image = picture(20, 30)
    difference = ours(image, factor).int() - theirs(image, factor).int()
    assert difference.abs().max() <= 1


def test_beit_jitters_each_colour_property_by_its_share_before_the_crop():
    image = picture(40, 40)
    whole = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0), "flip": 0.0}
    assert torch.equal(BEiTAugmentation(jitter=0.0, **whole).view(image, 40, generator=chance()), image)
    jittered = BEiTAugmentation(jitter=0.4, **whole)
    brightness = torch.tensor(
        [jittered.view(image, 40, generator=chance(seed)).float().mean() / image.float().mean() for seed in range(300)]
    )
    assert 0.55 < brightness.min() < 0.75
    assert 1.2 < brightness.max() < 1.45
    assert abs(brightness.mean() - 1) < 0.06


@pytest.mark.parametrize("augmentation", [RandomCrop(), BEiTAugmentation()])
def test_chance_comes_from_the_generator_alone(augmentation):
    image = picture(50, 40)
    torch.manual_seed(1)
    first = augmentation.view(image, 24, generator=chance(5))
    torch.manual_seed(2)
    assert torch.equal(first, augmentation.view(image, 24, generator=chance(5)))
    assert not torch.equal(first, augmentation.view(image, 24, generator=chance(6)))


@given(seed=st.integers(0, 2**32), short=st.integers(8, 60), long=st.integers(60, 200))
def test_no_crop_of_an_image_that_is_large_enough_has_to_be_enlarged(seed, short, long):
    crop, size = RandomCrop(), 16
    if short < crop.shortest(size):
        return
    _, _, h, w = crop.box(short, long, generator=chance(seed))
    assert min(h, w) >= size - 1  # a pixel of rounding


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = picture(32, 32)
    assert resize(image, 32, "bicubic") is image


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (0.5, 0.2)}, "scale"),
        ({"scale": (0.5, 1.2)}, "scale"),
        ({"aspect": (0.0, 1.0)}, "aspect"),
        ({"flip": 1.5}, "flip"),
    ],
)
def test_settings_out_of_range_are_refused_by_their_name(changes, field):
    with pytest.raises(SpecError, match=rf"RandomCrop\.{field} must be"):
        RandomCrop(**changes)
    with pytest.raises(SpecError, match=r"BEiTAugmentation\.jitter must be between 0 and 1"):
        BEiTAugmentation(jitter=1.2)
