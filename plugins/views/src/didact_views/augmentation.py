"""Views of an image: random crops with changed colours, blur and solarisation, each described by a recipe.

Crops depend on the size of each image, so they are made in the loader's workers. The other steps run on whole batches,
on the GPU if there is one. For two views of 224 pixels, the crops are a fifteenth of the work.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import attrs
import torch
from torch import Tensor

from didact import Spec
from didact.randomness import seeded, uniform
from didact_vision import Augmentation

BLUR_SHARE = 10  # the blur's kernel is a tenth of the image's side: 23 of 224 pixels (SimCLR, appendix A)
SOLARIZE_FROM = 0.5  # solarisation inverts values from here on (BYOL, appendix B)


@attrs.frozen(kw_only=True)
class ViewRecipe(Spec):
    """Describes how one view is made: SimCLR's augmentations (Chen et al. 2020, appendix A) and BYOL's solarisation.

    The defaults are BYOL's first view. Torchvision crops a random part of the image and flips it at random. Kornia then
    applies the following steps, each with its own probability: brightness, contrast, saturation and hue in random
    order; grey; blur; solarisation.

    Attributes:
        size: side of the view in pixels. None: the source's size.
        scale: smallest and largest share of the image's area; BYOL and VICReg (0.08, 1), SimSiam (0.2, 1), DINO
            (0.4, 1) and (0.05, 0.4) for local views.
        flip: probability of a horizontal flip.
        jitter: largest changes of brightness, contrast, saturation and hue; BYOL (0.4, 0.4, 0.2, 0.1), SimSiam
            (0.4, 0.4, 0.4, 0.1).
        jitter_probability: probability that these four are changed.
        grey: probability of conversion to grey.
        blur: probability of a Gaussian blur, whose kernel is a tenth of the view; BYOL 1 for one view and 0.1 for the
            other, SimSiam 0.5. Use 0 for images as small as CIFAR's.
        blur_sigma: smallest and largest standard deviation of the blur, in pixels.
        solarize: probability of inverting all values above 0.5; BYOL 0 for one view and 0.2 for the other.
    """

    size: int | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    jitter_probability: float = 0.8
    grey: float = 0.2
    blur: float = 1.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0

    def validate(self) -> None:
        self.require(self.size is None or self.size >= 1, "size", "at least 1, or None")
        self.require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", "two rising numbers above 0 and at most 1")
        self.require(all(value >= 0 for value in self.jitter), "jitter", "four numbers, at least 0")
        self.require(self.jitter[3] <= 0.5, "jitter", "at most 0.5 for hue, half a turn")
        self.require(0 < self.blur_sigma[0] <= self.blur_sigma[1], "blur_sigma", "two rising numbers above 0")
        for field in ("flip", "jitter_probability", "grey", "blur", "solarize"):
            self.require(0 <= getattr(self, field) <= 1, field, "between 0 and 1")


@attrs.frozen(kw_only=True)
class MultiViewAugmentation(Augmentation):
    """Makes several views of an image, one for each recipe.

    `byol`, `simsiam`, `vicreg` and `dino` create the augmentations of these papers.

    Attributes:
        recipes: the recipes of the views, in the order of the views in a batch. If a method's teacher sees only some
            views, it sees the first ones.
    """

    finishes: ClassVar[bool] = True

    recipes: tuple[ViewRecipe, ...] = (ViewRecipe(), ViewRecipe(blur=0.1, solarize=0.2))

    def validate(self) -> None:
        self.require(len(self.recipes) >= 1, "recipes", "one recipe at least")

    @classmethod
    def byol(cls, **changes: Any) -> Self:
        """BYOL's two views (Grill et al. 2020, appendix B, table 6), with ``changes`` in both."""
        return cls(recipes=_changed((ViewRecipe(), ViewRecipe(blur=0.1, solarize=0.2)), changes))

    @classmethod
    def simsiam(cls, **changes: Any) -> Self:
        """SimSiam's two views (Chen & He 2021, section 3, "Baseline settings"), with ``changes`` in both."""
        recipe = ViewRecipe(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur=0.5)
        return cls(recipes=_changed((recipe, recipe), changes))

    @classmethod
    def vicreg(cls, **changes: Any) -> Self:
        """VICReg's two views, which share one recipe (Bardes et al. 2022, appendix C.1), with ``changes`` in both."""
        recipe = ViewRecipe(blur=0.5, solarize=0.1)
        return cls(recipes=_changed((recipe, recipe), changes))

    @classmethod
    def dino(cls, *, local_views: int = 8, local_size: int = 96, **changes: Any) -> Self:
        """DINO's two global views and its local views (Caron et al. 2021, section 3.1 and the released code).

        Args:
            local_views: number of local views; 8 in the paper's best runs, 0 for no multi-crop.
            local_size: side of a local view in pixels, a multiple of the encoder's patch; 96 with global views of 224.
            changes: fields to change in all recipes.
        """
        first, local = ViewRecipe(scale=(0.4, 1.0)), ViewRecipe(scale=(0.05, 0.4), size=local_size, blur=0.5)
        return cls(recipes=_changed((first, first.evolve(blur=0.1, solarize=0.2), *(local,) * local_views), changes))

    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Crops an image (3, H, W) uint8 once for each recipe: (3, size, size) uint8 each."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with seeded(seed, "views"):  # torchvision's transforms only use PyTorch's global generator
            return tuple(_crop(recipe.scale, recipe.flip, recipe.size or size)(sample) for recipe in self.recipes)

    def finish(self, content: Tensor, view: int, keys: Tensor) -> Tensor:
        """Distorts the crops (B, 3, size, size) of one recipe, with values from 0 to 1 before and after."""
        return distort(content, self.recipes[view], keys)

    def shortest(self, size: int) -> int:
        # the shorter side of the smallest crop, of aspect 3:4, as a share of the image's shorter side
        return max(math.ceil((r.size or size) / math.sqrt(r.scale[0] * 3 / 4)) for r in self.recipes)


def _changed(recipes: tuple[ViewRecipe, ...], changes: dict[str, Any]) -> tuple[ViewRecipe, ...]:
    return tuple(recipe.evolve(**changes) for recipe in recipes)


@functools.cache
def _crop(scale: tuple[float, float], flip: float, size: int) -> Callable[[Tensor], Tensor]:
    """Returns a function that crops an image (3, H, W) uint8 to (3, size, size) uint8 and flips it at random."""
    # imported here because it takes seconds, and composing an experiment does not need it
    from torchvision.transforms import v2 as transforms

    bicubic = transforms.InterpolationMode.BICUBIC
    steps = [
        transforms.RandomResizedCrop(size, scale=scale, interpolation=bicubic, antialias=True),
        transforms.RandomHorizontalFlip(flip),
    ]
    chain: Callable[[Tensor], Tensor] = transforms.Compose(steps)
    return chain


def distort(pixels: Tensor, recipe: ViewRecipe, keys: Tensor) -> Tensor:
    """Applies a recipe's colour changes, blur and solarisation, drawn for each image from its own key.

    Args:
        pixels: (B, 3, H, W) float32 from 0 to 1.
        recipe: the recipe.
        keys: (B,) int64, on the CPU.

    Returns:
        (B, 3, H, W), from 0 to 1.
    """
    # imported here because it takes seconds
    from kornia import color, enhance, filters

    low = torch.tensor([*(max(0.0, 1 - most) for most in recipe.jitter[:3]), -2 * math.pi * recipe.jitter[3]])
    high = torch.tensor([*(1 + most for most in recipe.jitter[:3]), 2 * math.pi * recipe.jitter[3]])
    changes = (
        enhance.adjust_brightness_accumulative,
        enhance.adjust_contrast_with_mean_subtraction,
        enhance.adjust_saturation_with_gray_subtraction,
        enhance.adjust_hue,
    )
    # drawn on the CPU, so that the indices of the changed images are known without waiting for the device
    draws = uniform(keys, 13)  # (B, 13)
    odds = torch.tensor([recipe.jitter_probability, recipe.grey, recipe.blur, recipe.solarize])
    jittered, greyed, blurred, solarized = (draws[:, :4] < odds).unbind(1)  # (B,) each
    factors, order = low + (high - low) * draws[:, 4:8], draws[:, 8:12].argsort(1)  # (B, 4) each
    sigma = recipe.blur_sigma[0] + (recipe.blur_sigma[1] - recipe.blur_sigma[0]) * draws[:, 12:]  # (B, 1)
    kernel = pixels.shape[-1] // BLUR_SHARE // 2 * 2 + 1

    pixels = pixels.clone()
    for turn in range(len(changes)):
        for index, change in enumerate(changes):
            _change(pixels, jittered & (order[:, turn] == index), change, factors[:, index])
    _change(pixels, greyed, lambda some, _: color.rgb_to_grayscale(some).expand_as(some), sigma)
    _change(pixels, blurred, lambda some, by: filters.gaussian_blur2d(some, (kernel, kernel), by.expand(-1, 2)), sigma)
    _change(pixels, solarized, enhance.solarize, torch.full_like(sigma[:, 0], SOLARIZE_FROM))
    return pixels


def _change(pixels: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], amounts: Tensor) -> None:
    """Applies ``change`` to the chosen images, in place.

    Args:
        pixels: (B, 3, H, W).
        chosen: (B,) bool, on the CPU.
        change: maps images (b, 3, H, W) and amounts (b, …), on the CPU, to images.
        amounts: (B, …), on the CPU.
    """
    rows = chosen.nonzero()[:, 0]  # (b,)
    if len(rows):
        places = rows.to(pixels.device, non_blocking=True)
        pixels.index_copy_(0, places, change(pixels[places], amounts[rows]))
