"""Pictures inside the document: pixels as PNG data URIs, at most a thumbnail's size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mspc_core import pictures

SMALL = 96  # pixels; larger images are reduced to it


@dataclass(frozen=True)
class Picture:
    """source: a data URI. alt: what it shows, for those who cannot see it. width: in the document, CSS pixels."""

    source: str
    alt: str
    caption: str = ""
    width: int = SMALL


def png(image: np.ndarray) -> str:
    """uint8 [H, W, 3] as a PNG data URI, packed tightly because many of them share one document."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def thumbnail(image: np.ndarray, alt: str, caption: str = "", width: int = SMALL) -> Picture:
    """An image of the data set. uint8 [H, W, 3]."""
    return Picture(png(pictures.thumbnails(image[None], SMALL)[0]), alt, caption, width)


def weights(mask: np.ndarray, alt: str, caption: str = "", top: float = 1.0, width: int = SMALL) -> Picture:
    """A mask as a heat map: dark where it is 0, bright at `top`. float [H, W]."""
    return Picture(png(_reduced(pictures.heat(mask, top))), alt, caption, width)


def difference(pattern: np.ndarray, alt: str, caption: str = "", width: int = SMALL) -> Picture:
    """A pattern at full contrast: grey is no difference. float [H, W]."""
    return Picture(png(_reduced(pictures.signed(pattern))), alt, caption, width)


def outlined(image: np.ndarray, region: np.ndarray, alt: str, caption: str = "", width: int = SMALL) -> Picture:
    """An image with the border of a region on it. uint8 [H, W, 3], bool [H, W]."""
    small, fitted = _small_pair(image, region)
    return Picture(png(pictures.outline(small, fitted, 2 * SMALL)), alt, caption, width)


def cut_out(image: np.ndarray, region: np.ndarray, alt: str, caption: str = "", width: int = SMALL) -> Picture:
    """Only the region of an image, on a quiet checkerboard. uint8 [H, W, 3], bool [H, W]."""
    return Picture(png(pictures.cut_out(*_small_pair(image, region))), alt, caption, width)


def _reduced(image: np.ndarray) -> np.ndarray:
    found: np.ndarray = pictures.thumbnails(image[None], SMALL)[0]
    return found


def _small_pair(image: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small = _reduced(image)
    return small, pictures.fit_mask(region, small.shape[:2])
