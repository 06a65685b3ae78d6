"""Handwritten digits: the 1,797 grey images of 8×8 pixels that come with scikit-learn.

Thirty people wrote them (Alpaydin & Kaynak 1998); scikit-learn keeps the thirteen of the original test set, one after
the other. So the last fifth, which judges a representation here, was written by other hands than the rest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

TEST_SHARE = 0.2


def write_digits(folder: Path) -> None:
    """Writes ``{train,test}/{digit}/{number}.png``, 8-bit grey, 8×8.

    Args:
        folder: where to; made if it is missing.
    """
    digits = load_digits()
    first_of_test = round(len(digits.images) * (1 - TEST_SHARE))
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / ("test" if number >= first_of_test else "train") / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        grey = np.round(image * (255 / 16)).astype(np.uint8)  # ink is counted from 0 to 16
        Image.fromarray(grey).save(place / f"{number:04d}.png")
