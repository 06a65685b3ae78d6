"""Augmentations: torchvision's operations as in the papers, drawn only from the sample's generator and key."""

import pytest
import torch
import torchvision.transforms.v2.functional as functional

from didact import AdamW, Batch, BatchSize, Experiment, Layout, SpecError, Training, View
from didact.batching import BatchPlan
from didact.loading import Steps
from didact.randomness import key, uniform
from didact_evaluate.batches import first_batch, training_batches
from didact_kit import TinyBackbone, TinyObjective, TinyTargets, check_source
from didact_kit.closeness import untouched_randomness
from didact_views import MultiViewAugmentation, ViewRecipe
from didact_vision import Images, Patches
from didact_vision.examples import examples as vision_examples

PLAIN = {"flip": 0.0, "jitter_probability": 0.0, "grey": 0.0, "blur": 0.0, "solarize": 0.0}


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def image() -> torch.Tensor:
    """A smooth colourful image (3, 40, 60) uint8."""
    coarse = torch.rand(1, 3, 5, 5, generator=chance()) * 255
    return torch.nn.functional.interpolate(coarse, (40, 60), mode="bicubic").clamp(0, 255)[0].to(torch.uint8)


def one(image: torch.Tensor, seed: int = 0, size: int = 24, **fields) -> torch.Tensor:
    """A view (3, size, size) uint8, as both halves make it."""
    views = MultiViewAugmentation(recipes=(ViewRecipe(**fields),))
    (view,) = views.views(image, size, generator=chance(seed))
    finished = views.finish(view[None] / 255, 0, torch.tensor([key(seed)]))
    return (finished[0] * 255).round().to(torch.uint8)


def batch_of(size: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images (count, 3, size, size) from 0 to 1, and their keys."""
    coarse = torch.rand(count, 3, 5, 5, generator=chance())
    images = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return images, torch.tensor([key(7, index) for index in range(count)])


def assert_within_a_shade(pixels: torch.Tensor, expected: torch.Tensor) -> None:
    """torchvision drops the fractions of a shade that Kornia keeps."""
    assert int((pixels.int() - expected.int()).abs().max()) <= 1


@pytest.mark.parametrize(
    "views", [MultiViewAugmentation.byol(), MultiViewAugmentation.simsiam(), MultiViewAugmentation.vicreg()]
)
def test_two_views_of_one_image_differ_and_follow_from_the_generator(image, views):
    with untouched_randomness("views"):
        first = views.views(image, 24, generator=chance(5))
    assert [(view.shape, view.dtype) for view in first] == [((3, 24, 24), torch.uint8)] * 2
    assert not torch.equal(*first)
    again, other = (views.views(image, 24, generator=chance(seed)) for seed in (5, 6))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_dino_has_two_large_views_and_small_ones(image):
    views = MultiViewAugmentation.dino(local_views=3, local_size=8).views(image, 24, generator=chance())
    assert [view.shape[-1] for view in views] == [24, 24, 8, 8, 8]


def test_the_whole_image_without_distortion_is_the_image(image):
    square = image[:, :, 10:50]
    assert torch.equal(one(square, size=40, scale=(1.0, 1.0), **PLAIN), square)


def test_each_operation_does_what_its_name_says(image):
    square = image[:, :, 10:50]
    whole = {"size": 40, "scale": (1.0, 1.0)} | PLAIN
    assert torch.equal(one(square, **whole | {"flip": 1.0}), square.flip(-1))
    grey = one(square, **whole | {"grey": 1.0})
    assert_within_a_shade(grey, functional.rgb_to_grayscale(square, 3))
    assert torch.equal(one(square, **whole | {"solarize": 1.0}), functional.solarize(square, 128))
    blurred = one(square, **whole | {"blur": 1.0, "blur_sigma": (2.0, 2.0)})
    assert_within_a_shade(blurred, functional.gaussian_blur(square, 5, [2.0, 2.0]))  # 5 is the odd tenth of 40
    brighter = one(square, **whole | {"jitter_probability": 1.0, "jitter": (0.9, 0.0, 0.0, 0.0)})
    factor = brighter.float().mean() / square.float().mean()
    assert abs(factor - 1) > 0.05


def test_a_batch_is_distorted_as_torchvision_distorts_each_image_by_the_same_numbers():
    recipe = ViewRecipe(jitter_probability=0.7, grey=0.4, blur=0.6, solarize=0.5)
    images, keys = batch_of(40, count=40)
    finished = MultiViewAugmentation(recipes=(recipe,)).finish(images, 0, keys)
    changes = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    for image, found, draws in zip(images, finished, uniform(keys, 13).double().tolist(), strict=True):
        expected = image
        jitter, grey, blur, solarize, *rest = draws
        if jitter < 0.7:
            factors = [1 + most * (2 * rest[i] - 1) for i, most in enumerate(recipe.jitter[:3])]
            factors.append(recipe.jitter[3] * (2 * rest[3] - 1))
            for index in sorted(range(4), key=lambda index, rest=rest: rest[4 + index]):
                expected = changes[index](expected, factors[index])
        if grey < 0.4:
            expected = functional.rgb_to_grayscale(expected, 3)
        if blur < 0.6:
            expected = functional.gaussian_blur(expected, [5, 5], [0.1 + 1.9 * rest[8]])
        if solarize < 0.5:
            near = (expected - 0.5).abs() < 1e-3  # where a rounding decides, any of the two is right
            expected = torch.where(near, found, functional.solarize(expected, 0.5))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_an_image_is_distorted_alike_in_any_batch_and_its_batch_is_left_as_it_was():
    images, keys = batch_of(24)
    given = images.clone()
    views = MultiViewAugmentation.byol()
    with untouched_randomness("finish"):
        whole = views.finish(images, 1, keys)
    assert torch.equal(images, given)
    for row in range(len(images)):
        torch.testing.assert_close(views.finish(images[row : row + 1], 1, keys[row : row + 1])[0], whole[row])
    assert not torch.equal(views.finish(images, 1, keys + 1), whole)
    assert not torch.equal(views.finish(images, 0, keys), whole)  # another recipe


def test_a_source_of_images_finishes_them_between_augmentation_and_network(tmp_path):
    vision_examples(tmp_path)  # a store among them
    recipe = ViewRecipe(**PLAIN | {"scale": (1.0, 1.0), "solarize": 1.0})
    plain, solarized = (
        Images(
            store=str(tmp_path / "images"), size=16, views=2, augmentation=MultiViewAugmentation(recipes=(made,) * 2)
        )
        for made in (recipe.evolve(solarize=0.0), recipe)
    )
    check_source(solarized)
    views = solarized.open().views(0, length=None, generator=chance())
    assert len(views) == 4
    layout = Layout(shape=(1,))
    batch = Batch(
        views=tuple(View(content=view[None], layout=layout, keys=torch.tensor([3])) for view in views),
        ids=torch.tensor([0]),
    )
    for before, same, after in zip(batch.views, plain.finish(batch).views, solarized.finish(batch).views, strict=True):
        torch.testing.assert_close(same.content, before.content)
        pixels = plain.image(before.content[0]).permute(2, 0, 1)
        assert torch.equal(plain.image(after.content[0]).permute(2, 0, 1), functional.solarize(pixels, 128))


def test_evaluations_see_what_training_sees(tmp_path):
    vision_examples(tmp_path)
    augmentation = MultiViewAugmentation(recipes=(ViewRecipe(**PLAIN | {"solarize": 1.0}),))
    images = Images(store=str(tmp_path / "images"), size=16, augmentation=augmentation)
    experiment = Experiment(
        name="views",
        source=images,
        encoder=Patches(width=16, patch=4),
        backbone=TinyBackbone(),
        targets=TinyTargets(),
        objective=TinyObjective(),
        training=Training(steps=1, batch=BatchSize.samples(4), optimizer=AdamW(learning_rate=1e-3), num_workers=0),
    )
    loaded = Steps(experiment, BatchPlan(images.open().lengths, BatchSize.samples(4), 0))[0].parts[0]
    (trained,) = images.finish(loaded).views
    assert not torch.equal(trained.content, loaded.views[0].content)
    assert torch.equal(first_batch(experiment, None, 4).views[0].content, trained.content)
    assert torch.equal(next(training_batches(experiment, None, 4, 4)).views[0].content, trained.content)


def test_probabilities_are_shares_of_many_draws(image):
    greys = [one(image, seed, **PLAIN | {"grey": 0.2}) for seed in range(400)]
    share = sum(torch.equal(view[0], view[1]) for view in greys) / len(greys)
    assert 0.13 < share < 0.27


def test_the_papers_numbers():
    first, second = MultiViewAugmentation.byol().recipes
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)
    assert first.scale == (0.08, 1.0)
    assert MultiViewAugmentation() == MultiViewAugmentation.byol()
    assert MultiViewAugmentation.simsiam().recipes[0].scale == (0.2, 1.0)
    recipes = MultiViewAugmentation.dino().recipes
    assert [recipe.scale for recipe in recipes] == [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 8
    assert {recipe.size for recipe in recipes[2:]} == {96}


def test_changes_are_made_in_every_recipe():
    assert {recipe.blur for recipe in MultiViewAugmentation.dino(blur=0.0).recipes} == {0.0}


def test_a_larger_image_than_the_shortest_gives_no_sharper_view():
    assert MultiViewAugmentation(recipes=(ViewRecipe(scale=(0.25, 1.0)),)).shortest(100) == 231  # 100 / √(0.25 · 0.75)
    assert MultiViewAugmentation.dino().shortest(224) == max(409, 496)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale": (0.5, 0.2)}, "scale must be two rising numbers"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "jitter must be at most 0.5 for hue"),
        ({"blur": 1.5}, "blur must be between 0 and 1"),
        ({"size": 0}, "size must be at least 1"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(fields, said):
    with pytest.raises(SpecError, match=said):
        ViewRecipe(**fields)
