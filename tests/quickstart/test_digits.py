"""The files of the handwritten digits."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from didact_quickstart.digits import write_digits


def test_digits_lie_in_their_classes_folders_and_lose_no_shade(tmp_path):
    write_digits(tmp_path)
    digits = load_digits()
    paths = sorted(tmp_path.rglob("*.png"), key=lambda path: path.stem)
    assert len(paths) == len(digits.images)
    assert [int(path.parent.name) for path in paths] == digits.target.tolist()
    for path, image in list(zip(paths, digits.images, strict=True))[::200]:
        grey = np.asarray(Image.open(path))
        assert grey.shape == (8, 8)
        assert np.array_equal(np.round(grey / 255 * 16), image)


def test_digits_that_judge_were_written_last(tmp_path):
    write_digits(tmp_path)
    train, test = ([int(path.stem) for path in (tmp_path / split).rglob("*.png")] for split in ("train", "test"))
    assert max(train) < min(test)
    assert 0.15 < len(test) / (len(train) + len(test)) < 0.25
