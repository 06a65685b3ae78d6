"""Decoding of images: colour modes, orientations and damaged files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from didact import DataError
from didact_vision import decode


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photograph(width: int = 60, height: int = 40) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def as_array(pixels: torch.Tensor) -> np.ndarray:
    return pixels.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_lossless_files_give_their_own_pixels(format):
    image = photograph() if format != "GIF" else photograph().convert("P").convert("RGB").quantize(256)
    pixels = decode(encoded(image, format), "a file")
    assert pixels.shape == (3, 40, 60)
    assert pixels.dtype == torch.uint8
    assert np.array_equal(as_array(pixels), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_files_give_nearly_their_own_pixels(format):
    pixels = decode(encoded(photograph(), format, quality=95), "a file")
    assert np.abs(as_array(pixels).astype(int) - np.asarray(photograph()).astype(int)).mean() < 4


def test_pixels_can_be_written_to_and_are_channels_last():
    pixels = decode(encoded(photograph(), "PNG"), "a file")
    pixels += 1
    assert pixels.stride() == (1, 180, 3)


def test_grey_becomes_the_same_in_all_three_channels():
    grey = photograph().convert("L")
    for image in (grey, grey.convert("1", dither=Image.Dither.NONE), grey.convert("LA")):
        pixels = as_array(decode(encoded(image, "PNG"), "a file"))
        assert np.array_equal(pixels, np.asarray(image.convert("L").convert("RGB")))


def test_sixteen_bits_are_scaled_to_eight_not_clipped():
    values = np.linspace(0, 65_535, 40 * 60).astype(np.uint16).reshape(40, 60)
    pixels = as_array(decode(encoded(Image.fromarray(values), "PNG"), "a file"))
    assert np.array_equal(pixels[..., 0], values >> 8)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_what_is_transparent_stands_on_white():
    image = photograph().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat([[0, 128, 255]], 40, 0).astype(np.uint8)).resize((60, 40), 0))
    pixels = as_array(decode(encoded(image, "PNG"), "a file")).astype(int)
    colours = np.asarray(photograph()).astype(int)
    assert (pixels[:, :20] == 255).all()
    assert np.abs(pixels[:, 20:40] - (colours[:, 20:40] * 128 + 255 * 127) / 255).max() <= 1
    assert (pixels[:, 40:] == colours[:, 40:]).all()


def test_a_transparent_colour_of_a_palette_stands_on_white():
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2, 1])
    pixels = as_array(decode(encoded(image, "PNG", transparency=1), "a file"))
    assert pixels[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255], [255, 255, 255]]


def test_a_transparent_colour_without_alpha_stands_on_white():
    pixels = np.zeros((1, 2, 3), dtype=np.uint8)
    pixels[0, 1] = (9, 8, 7)
    found = as_array(decode(encoded(Image.fromarray(pixels), "PNG", transparency=(0, 0, 0)), "a file"))
    assert found[0].tolist() == [[255, 255, 255], [9, 8, 7]]


def test_cmyk_becomes_the_colours_it_stands_for():
    pixels = as_array(decode(encoded(photograph().convert("CMYK"), "JPEG", quality=95), "a file"))
    assert np.abs(pixels.astype(int) - np.asarray(photograph()).astype(int)).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_however_the_camera_was_held(orientation):
    upright = photograph()
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(as_array(decode(encoded(stored, "PNG", exif=exif), "a file")), np.asarray(upright))


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert as_array(decode(data, "a file"))[0, 0].tolist() == [255, 0, 0]


def test_a_large_jpeg_is_decoded_no_larger_than_needed_and_looks_the_same():
    data = encoded(photograph(640, 480), "JPEG", quality=95)
    assert decode(data, "a file").shape == (3, 480, 640)
    for shortest, shape in ((480, (480, 640)), (241, (480, 640)), (240, (240, 320)), (100, (120, 160)), (1, (60, 80))):
        small = decode(data, "a file", shortest=shortest)
        assert small.shape == (3, *shape)
        resized = np.asarray(photograph(640, 480).resize((shape[1], shape[0]), Image.Resampling.BOX)).astype(int)
        assert np.abs(as_array(small).astype(int) - resized).mean() < 3


def test_other_formats_are_decoded_in_full():
    assert decode(encoded(photograph(640, 480), "PNG"), "a file", shortest=10).shape == (3, 480, 640)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(photograph(300, 200), "JPEG", quality=95)[:-4_000], "truncated"),
        (encoded(photograph(300, 200), "PNG")[:-2_000], "truncated"),
        (encoded(photograph(300, 200), "WEBP")[:-500], ""),
        (b"", "cannot identify"),
        (b"<html>not found</html>", "cannot identify"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point"),
    ],
)
def test_what_is_broken_or_no_image_is_an_error_with_the_files_name_and_the_reason(data, reason):
    with pytest.raises(DataError, match=f"an image cannot be read: .*{reason}") as error:
        decode(data, "holiday/beach.jpg")
    assert error.value.where == "holiday/beach.jpg"
    assert error.value.hint
