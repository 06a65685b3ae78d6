"""Views of an image: crops with other colours, blur and solarisation, each way of making one written as a recipe."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Self

import attrs
import torch
from torch import Tensor

from didact import Augmentation, Spec
from didact.randomness import seeded

BLUR_SHARE = 10  # of an image's side is the blur's kernel: 23 of 224 pixels (SimCLR, appendix A)


@attrs.frozen(kw_only=True)
class ViewRecipe(Spec):
    """How one view is made: SimCLR's chain (Chen et al. 2020, appendix A) with BYOL's solarisation; BYOL's first view.

    A random part of the image, mirrored or not; then, each with its probability: brightness, contrast, saturation and
    hue in random order; grey; blur; solarisation. Every operation is torchvision's.

    Attributes:
        size: side of the view in pixels; None: as large as the source says.
        scale: smallest and largest share of the image's area; BYOL and VICReg (0.08, 1), SimSiam (0.2, 1), DINO
            (0.4, 1) and (0.05, 0.4) for local views.
        flip: probability of being mirrored left to right.
        jitter: by how much brightness, contrast, saturation and hue change at most; BYOL (0.4, 0.4, 0.2, 0.1), SimSiam
            (0.4, 0.4, 0.4, 0.1).
        jitter_probability: of any such change.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur, whose kernel is a tenth of the view; BYOL 1 for one view and 0.1 for the
            other, SimSiam 0.5, and none on images as small as CIFAR's.
        blur_sigma: smallest and largest standard deviation of the blur, in pixels.
        solarize: probability of inverting what is brighter than half; BYOL 0 for one view and 0.2 for the other.
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
class DistortedViews(Augmentation):
    """Several views of an image, one for each recipe. `byol`, `simsiam`, `vicreg` and `dino` are the papers'.

    Attributes:
        recipes: of the views, in the order in which a batch holds them; methods with a teacher that sees some of them
            only take the first.
    """

    recipes: tuple[ViewRecipe, ...] = (ViewRecipe(), ViewRecipe(blur=0.1, solarize=0.2))

    def validate(self) -> None:
        self.require(len(self.recipes) >= 1, "recipes", "one recipe at least")

    @classmethod
    def byol(cls, **changes: Any) -> Self:
        """BYOL's two (Grill et al. 2020, appendix B, table 6); ``changes`` are made in both."""
        return cls(recipes=_changed((ViewRecipe(), ViewRecipe(blur=0.1, solarize=0.2)), changes))

    @classmethod
    def simsiam(cls, **changes: Any) -> Self:
        """SimSiam's two (Chen & He 2021, section 3, "Baseline settings"); ``changes`` are made in both."""
        recipe = ViewRecipe(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur=0.5)
        return cls(recipes=_changed((recipe, recipe), changes))

    @classmethod
    def vicreg(cls, **changes: Any) -> Self:
        """VICReg's two, BYOL's made alike (Bardes et al. 2022, appendix C.1); ``changes`` are made in both."""
        recipe = ViewRecipe(blur=0.5, solarize=0.1)
        return cls(recipes=_changed((recipe, recipe), changes))

    @classmethod
    def dino(cls, *, local_views: int = 8, local_size: int = 96, **changes: Any) -> Self:
        """DINO's two global views and its local ones (Caron et al. 2021, section 3.1 and the released code).

        Args:
            local_views: how many; 8 in the paper's best runs, 0 for no multi-crop.
            local_size: side of a local view in pixels, which the encoder's patches must divide; 96 beside 224.
            changes: fields to change in all of them.
        """
        first, local = ViewRecipe(scale=(0.4, 1.0)), ViewRecipe(scale=(0.05, 0.4), size=local_size, blur=0.5)
        return cls(recipes=_changed((first, first.evolve(blur=0.1, solarize=0.2), *(local,) * local_views), changes))

    def views(self, sample: Tensor, size: int, *, generator: torch.Generator) -> tuple[Tensor, ...]:
        """One view (3, size, size) uint8 for each recipe, of an image (3, H, W) uint8."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with seeded(seed, "views"):  # torchvision's transforms know PyTorch's global generator alone
            return tuple(_transform(recipe, recipe.size or size)(sample) for recipe in self.recipes)

    def shortest(self, size: int) -> int:
        # the shorter side of the smallest crop, of aspect 3:4, as a share of the image's shorter side
        return max(math.ceil((r.size or size) / math.sqrt(r.scale[0] * 3 / 4)) for r in self.recipes)


def _changed(recipes: tuple[ViewRecipe, ...], changes: dict[str, Any]) -> tuple[ViewRecipe, ...]:
    return tuple(recipe.evolve(**changes) for recipe in recipes)


@functools.cache
def _transform(recipe: ViewRecipe, size: int) -> Callable[[Tensor], Tensor]:
    """From an image (3, H, W) uint8 to a view (3, size, size) uint8."""
    # Here and not above: it takes seconds, and who composes an experiment need not wait.
    from torchvision.transforms import v2 as transforms

    kernel = size // BLUR_SHARE // 2 * 2 + 1
    steps = [
        transforms.RandomResizedCrop(
            size, scale=recipe.scale, interpolation=transforms.InterpolationMode.BICUBIC, antialias=True
        ),
        transforms.RandomHorizontalFlip(recipe.flip),
        transforms.RandomApply([transforms.ColorJitter(*recipe.jitter)], recipe.jitter_probability),
        transforms.RandomGrayscale(recipe.grey),
        transforms.RandomApply([transforms.GaussianBlur(kernel, recipe.blur_sigma)], recipe.blur),
        transforms.RandomSolarize(128, recipe.solarize),
    ]
    chain: Callable[[Tensor], Tensor] = transforms.Compose(steps)
    return chain
