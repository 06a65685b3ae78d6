"""Ingestion of image files."""

import io

import numpy as np
import pytest
from PIL import Image

from didact import DataError, SpecError
from didact_vision import ImageMedium


def jpeg(width: int = 30, height: int = 20) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_file_becomes_one_record_with_its_own_bytes():
    (record,) = ImageMedium().records(jpeg(), "cats/1.jpg", {})
    assert record.data == jpeg()
    assert record.length == 1.0
    assert record.name == "cats/1.jpg"


def test_a_record_is_described_by_its_size_and_format():
    (record,) = ImageMedium().records(jpeg(), "cats/1.jpg", {})
    assert ImageMedium().describe(record) == "cats/1.jpg  30 × 20 JPEG RGB"


@pytest.mark.parametrize("data", [jpeg()[: len(jpeg()) // 2], b"", b"text"])
def test_a_truncated_or_foreign_file_is_rejected_with_the_reason(data):
    with pytest.raises(DataError, match="an image cannot be read: "):
        ImageMedium().records(data, "cats/1.jpg", {})


def test_an_option_that_images_do_not_have_is_an_error():
    with pytest.raises(SpecError, match="`didact ingest images` has no option 'column'; it has none"):
        ImageMedium().check_options({"column": "a"})


def one_dot(width: int, height: int) -> Image.Image:
    """Red, but for one pixel, which no coarse look meets."""
    image = Image.new("RGB", (width, height), "red")
    image.putpixel((width - 2, height - 2), (254, 0, 0))
    return image


@pytest.mark.parametrize(
    ("image", "format", "suspect"),
    [
        (Image.new("RGB", (200, 100), "red"), "PNG", "of one colour"),
        (Image.new("L", (200, 100), 7), "JPEG", "of one colour"),
        (Image.new("RGBA", (40, 40), (1, 2, 3, 0)), "PNG", "of one colour"),  # transparent: only the page is seen
        (Image.new("RGB", (8, 8), "red"), "PNG", "of one colour"),
        (one_dot(200, 100), "PNG", ""),
        (one_dot(8, 8), "PNG", ""),
        (one_dot(7, 400), "PNG", "below 8 pixels"),
        (one_dot(400, 7), "PNG", "below 8 pixels"),
    ],
)
def test_images_of_one_colour_and_tiny_ones_are_kept_and_suspect(image, format, suspect):
    buffer = io.BytesIO()
    image.save(buffer, format)
    (record,) = ImageMedium().records(buffer.getvalue(), "an image", {})
    assert record.data == buffer.getvalue()
    assert record.suspect == suspect


def test_suffixes_are_lower_case_with_their_dot():
    assert {".jpg", ".jpeg", ".png", ".webp"} <= set(ImageMedium.suffixes)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in ImageMedium.suffixes)
