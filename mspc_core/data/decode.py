"""One image, encoded or as an array, to the uint8 square that is stored.

What a stored image keeps and loses:

- Size: the whole image is stretched to size × size. No centre crop: triggers often sit in a corner and would be cut
  off. No letterbox: black (and white) borders do not change when pixels are multiplied and clipped, so they would make
  every image look scale-consistent, which is the very signal SPC and MSPC measure.
- Resampling: antialiased triangle filter (Pillow's BILINEAR), which cannot overshoot, so no pixel gets brighter or
  darker than its neighbourhood was. An image that has the size already is not resampled: its pixels are stored as
  decoded.
- Transparency: composited on mid-grey, for the reason letterboxing is refused: black and white are fixed points of
  pixel scaling, mid-grey is not. Dropping alpha instead would show colours that nobody sees.
- 16-bit: scaled linearly, 65535 → 255. CMYK: Pillow's plain inversion; colour profiles are ignored, as training code
  does. EXIF orientation is applied. Of an animation or a multi-page file, the first frame.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 64_000_000  # width × height; read from the header, before any pixel is decoded
MAX_FILE_BYTES = 64 * 2**20
_SUFFIXES = "jpg jpeg jpe jfif png apng gif bmp dib tif tiff webp avif jp2 j2k ppm pgm pbm pnm"
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())

# Formats are named, so that Pillow never tries the rest: EPS would start Ghostscript, others have no magic number and
# would take a text file for an image.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
_BACKGROUND = (128, 128, 128, 255)
# A JPEG may be decoded at 1/2, 1/4 or 1/8 (averaging inside the DCT) as long as it stays this much larger than asked.
_JPEG_SLACK = 4
_FLOAT_SLACK = 1e-3  # rounding noise of float images just outside [0, 1]


class UnreadableImage(Exception):  # noqa: N818  (a finding about one file, not a failure)
    """One image cannot be used; `reason` is a few words for the list of skipped files."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Decoded:
    """image: uint8 [size, size, 3]. width, height: of the original, in pixels, as displayed (EXIF orientation applied).
    mode: Pillow's name of the original's pixel format."""

    image: np.ndarray
    width: int
    height: int
    mode: str


def decode_image(data: bytes, size: int) -> Decoded:
    """Decode an image file's bytes. Raises `UnreadableImage` for whatever is not a whole, reasonably sized image."""
    if not data:
        raise UnreadableImage("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableImage(too_many_bytes())
    opened = _open(data)
    _check_size(*opened.size)
    mode, kind, encoded_size = opened.mode, opened.format or "image", opened.size
    try:
        opened.draft("RGB", (size * _JPEG_SLACK, size * _JPEG_SLACK))
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
    except Exception as error:  # see _open
        raise UnreadableImage(f"damaged or incomplete {kind} file") from error
    width, height = encoded_size
    if _turned(encoded_size, opened):
        width, height = height, width
    return Decoded(_square(opened, size), width, height, mode)


def array_image(array: np.ndarray, size: int) -> Decoded:
    """Turn one raw array into a stored image.

    array: [H, W] or [H, W, C] with C of 1, 3 or 4; uint8, another integer type with values in 0…255, bool, or floating
    point in [0, 1]. Raises `UnreadableImage`.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UnreadableImage(f"an array of shape {list(array.shape)} is not an image")
    height, width = array.shape[:2]
    _check_size(width, height)
    picture = Image.fromarray(np.ascontiguousarray(_to_uint8(array)))
    return Decoded(_square(picture, size), width, height, picture.mode)


def too_many_bytes() -> str:
    """The reason given for a file over the byte limit (readers refuse it before reading it whole)."""
    return f"larger than the limit of {MAX_FILE_BYTES // 2**20} MiB a file"


def _open(data: bytes) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImage(_too_many_pixels()) from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage("not an image in a supported format") from None
    # On hostile bytes Pillow's readers raise nearly anything (struct.error, IndexError, SyntaxError, MemoryError, …);
    # one such file must not end the import of the others.
    except Exception as error:
        raise UnreadableImage("damaged image header") from error


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UnreadableImage("the image has no pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(_too_many_pixels())


def _too_many_pixels() -> str:
    return f"more pixels than the limit of {MAX_PIXELS:,} an image"


def _turned(encoded_size: tuple[int, int], shown: Image.Image) -> bool:
    """Whether orientation swapped the sides. Ratios are compared because a reduced JPEG has other sizes."""
    (width, height), (shown_width, shown_height) = encoded_size, shown.size
    return (width > height and shown_width < shown_height) or (width < height and shown_width > shown_height)


def _square(picture: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size, 3] of a loaded Pillow image in any mode."""
    try:
        picture = _to_rgb(picture)
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    except (ValueError, OSError) as error:
        raise UnreadableImage(f"pixel format {picture.mode} is not supported") from error
    except MemoryError as error:
        raise UnreadableImage("not enough memory to convert the image") from error
    return np.asarray(picture)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):  # 16-bit grey; plain "I" is Pillow's form of 16-bit PGM and of TIFF with 32 bits
        return _deep_grey(np.asarray(picture).astype(np.int32))
    if picture.mode == "F":
        return Image.fromarray(_to_uint8(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer).convert("RGB")
    return picture.convert("RGB")


def _deep_grey(values: np.ndarray) -> Image.Image:
    """16-bit grey, int32 [H, W] in 0…65535, to RGB."""
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage("grey values do not fit into 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(array.dtype, np.integer):
        if array.min() < 0 or array.max() > 255:
            raise UnreadableImage("integer pixels outside 0 to 255")
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise UnreadableImage(f"pixels of type {array.dtype} are not numbers from 0 to 1 or 0 to 255")
    if not np.isfinite(array).all():
        raise UnreadableImage("pixels are not finite numbers (NaN or infinity)")
    if array.min() < -_FLOAT_SLACK or array.max() > 1 + _FLOAT_SLACK:
        raise UnreadableImage("floating point pixels outside 0 to 1 (divide by 255 first)")
    return np.rint(np.clip(array, 0, 1).astype(np.float32) * 255).astype(np.uint8)
