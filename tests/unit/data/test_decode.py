from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from mspc_core.data import decode
from mspc_core.data.decode import UnreadableImage, array_image, decode_image

from .pictures import BLUE, GREEN, RED, encoded, png

ORIENTATION = 0x0112

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # what Pillow says of the damaged files here


def halves(left: tuple[int, int, int], right: tuple[int, int, int], size: tuple[int, int] = (16, 16)) -> Image.Image:
    picture = Image.new("RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, size[0], size[1]))
    return picture


def is_color(patch: np.ndarray, color: tuple[int, int, int], tolerance: int = 0) -> bool:
    return bool((np.abs(patch.astype(int) - color) <= tolerance).all())


def test_an_image_of_the_right_size_is_stored_pixel_for_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    decoded = decode_image(encoded(Image.fromarray(pixels)), 16)
    np.testing.assert_array_equal(decoded.image, pixels)
    assert (decoded.width, decoded.height, decoded.mode) == (16, 16, "RGB")


def test_a_wide_image_is_stretched_and_keeps_its_corners() -> None:
    picture = Image.new("RGB", (320, 160), BLUE)
    picture.paste(RED, (300, 140, 320, 160))  # a trigger in the corner, which a centre crop would lose
    decoded = decode_image(encoded(picture), 32)
    assert decoded.image.shape == (32, 32, 3)
    assert is_color(decoded.image[30:, 31], RED)
    assert is_color(decoded.image[:26, :28], BLUE)  # and no border was added
    assert (decoded.width, decoded.height) == (320, 160)


def test_resampling_averages_and_never_overshoots() -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 200 + 20
    small = decode_image(encoded(Image.fromarray(checkers.astype(np.uint8))), 16).image
    assert is_color(small, (120, 120, 120), tolerance=2)  # the mean of 20 and 220, not one of them
    edge = decode_image(encoded(halves((20, 20, 20), (220, 220, 220), (64, 64))), 48).image
    assert edge.min() >= 20
    assert edge.max() <= 220


@pytest.mark.parametrize(
    ("orientation", "top_left", "bottom_right"),
    [(1, RED, BLUE), (3, BLUE, RED), (6, RED, BLUE), (8, BLUE, RED), (2, BLUE, RED)],
)
def test_exif_orientation_is_applied(orientation: int, top_left: tuple, bottom_right: tuple) -> None:
    # Stored: red on the left, blue on the right. 6 means "turn a quarter clockwise to display": red comes to the top.
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = decode_image(encoded(halves(RED, BLUE, (32, 16)), "JPEG", exif=exif, quality=95, subsampling=0), 16)
    assert is_color(decoded.image[1, 1], top_left, 12)
    assert is_color(decoded.image[14, 14], bottom_right, 12)
    assert (decoded.width, decoded.height) == ((16, 32) if orientation in (6, 8) else (32, 16))
    if orientation == 6:
        assert is_color(decoded.image[1, 14], RED, 12)
        assert is_color(decoded.image[14, 1], BLUE, 12)


def test_size_is_reported_as_displayed_even_when_a_large_jpeg_is_decoded_reduced() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    decoded = decode_image(encoded(halves(RED, BLUE, (1600, 800)), "JPEG", exif=exif), 16)
    assert (decoded.width, decoded.height) == (800, 1600)
    assert is_color(decoded.image[2], RED, 12)
    assert is_color(decoded.image[13], BLUE, 12)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("cmyk", "rgb"), [((0, 255, 255, 0), RED), ((255, 0, 255, 0), GREEN), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_pure_cmyk_inks(kind: str, cmyk: tuple, rgb: tuple) -> None:
    decoded = decode_image(encoded(Image.new("CMYK", (16, 16), cmyk), kind), 16)
    assert is_color(decoded.image, rgb, 2)
    assert decoded.mode == "CMYK"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_linearly(kind: str) -> None:
    values = np.repeat(np.array([0, 257, 32768, 65535], np.uint16), 64).reshape(16, 16)
    data = (
        encoded(Image.fromarray(values), kind)
        if kind != "PPM"
        else b"P5 16 16 65535\n" + values.astype(">u2").tobytes()
    )
    image = decode_image(data, 16).image
    assert [int(image[row, 0, 0]) for row in (0, 4, 8, 12)] == [0, 1, 128, 255]
    assert (image[:, :, 0] == image[:, :, 2]).all()


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 77, 77), ("1", 1, 255), ("F", 0.5, 128)])
def test_grey_becomes_three_equal_channels(mode: str, value: float, expected: int) -> None:
    decoded = decode_image(encoded(Image.new(mode, (16, 16), value), "TIFF"), 16)
    assert is_color(decoded.image, (expected,) * 3)
    assert decoded.mode == mode


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_mid_grey(mode: str) -> None:
    picture = Image.new(mode, (16, 16), (255, 0, 0, 255) if mode == "RGBA" else (255, 255))
    picture.putpixel((0, 0), (255, 0, 0, 0) if mode == "RGBA" else (255, 0))
    image = decode_image(encoded(picture), 16).image
    assert is_color(image[0, 0], (128, 128, 128))
    assert is_color(image[5, 5], RED if mode == "RGBA" else (255, 255, 255))


def test_half_transparent_red_is_half_way_to_grey() -> None:
    image = decode_image(encoded(Image.new("RGBA", (16, 16), (255, 0, 0, 128))), 16).image
    assert is_color(image, (192, 64, 64), 1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_entry(kind: str) -> None:
    picture = Image.new("P", (16, 16), 1)
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.putpixel((0, 0), 2)
    decoded = decode_image(encoded(picture, kind, transparency=2), 16)
    assert decoded.mode == "P"
    assert is_color(decoded.image[0, 0], (128, 128, 128))
    assert is_color(decoded.image[8, 8], GREEN)


def test_one_transparent_color_of_an_rgb_png() -> None:
    image = decode_image(encoded(halves(RED, BLUE), transparency=BLUE), 16).image
    assert is_color(image[0, 0], RED)
    assert is_color(image[0, 15], (128, 128, 128))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, BLUE)]
    image = decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), 16).image
    assert is_color(image, RED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_truncated_file_is_refused_with_a_reason(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    for length in (len(data) // 2, 20, 5):
        with pytest.raises(UnreadableImage) as caught:
            decode_image(data[:length], 16)
        assert caught.value.reason.startswith(("damaged", "not an image"))
        assert "0x" not in caught.value.reason


def test_a_text_file_is_not_an_image() -> None:
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(b"hello, I am a text file\n" * 10, 16)


def test_postscript_is_not_handed_to_ghostscript() -> None:
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(encoded(Image.new("RGB", (16, 16)), "EPS"), 16)


def test_too_many_pixels_are_refused_from_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 16 * 16)
    assert decode_image(png(size=(16, 16)), 16).width == 16
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("pixels were decoded"))
    with pytest.raises(UnreadableImage, match="more pixels than the limit"):
        decode_image(png(size=(17, 16)), 16)


def test_too_many_bytes_and_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 50)
    with pytest.raises(UnreadableImage, match="larger than the limit"):
        decode_image(b"x" * 51, 16)
    with pytest.raises(UnreadableImage, match="empty"):
        decode_image(b"", 16)


@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.integers(0, 300))
def test_hostile_bytes_end_as_an_image_or_a_reason(noise: bytes, kind: str, position: int) -> None:
    data = bytearray(encoded(halves(RED, BLUE), kind))
    data[position : position + len(noise)] = noise
    with contextlib.suppress(UnreadableImage):
        assert decode_image(bytes(data), 16).image.shape == (16, 16, 3)


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 1), (16, 16, 3)])
def test_arrays_of_bytes_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    expected = np.broadcast_to(pixels.reshape(16, 16, -1), (16, 16, 3))
    np.testing.assert_array_equal(array_image(pixels, 16).image, expected)


def test_floats_from_0_to_1_become_bytes() -> None:
    pixels = np.zeros((16, 16), np.float32)
    pixels[0, :3] = [1.0, 0.5, 1.0000001]
    assert array_image(pixels, 16).image[0, :4, 0].tolist() == [255, 128, 255, 0]


def test_an_array_with_alpha_is_composited_and_other_integers_are_accepted() -> None:
    assert is_color(array_image(np.zeros((16, 16, 4), np.int64), 16).image, (128, 128, 128))
    assert is_color(array_image(np.ones((16, 16), np.bool_), 16).image, (255, 255, 255))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((8, 8), np.nan), "not finite"),
        (np.full((8, 8), 3.0), "outside 0 to 1"),
        (np.full((8, 8), 256), "outside 0 to 255"),
        (np.full((8, 8), -1), "outside 0 to 255"),
        (np.zeros((8, 8, 2), np.uint8), "not an image"),
        (np.zeros((0, 8), np.uint8), "no pixels"),
        (np.zeros((8, 8), np.complex64), "not numbers"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        array_image(array, 16)
