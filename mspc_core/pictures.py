"""Pictures as arrays: enlarging, heat maps, masks laid over images, outlines, sprites. Pure NumPy and Pillow.

Shared by the app's pages (as `ui.images`) and the report.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

COLLAPSED = 0.02  # a mask whose largest weight is below this has let go of every pixel, as in the transplant test
THUMBNAIL = 96  # pixels; larger images are reduced to this for galleries
OUTLINE = (255, 255, 255)  # with a black rim, so that it shows on every image

# Anchors of a perceptually even dark-to-bright scale (matplotlib's inferno, a public-domain colour map).
_HEAT = np.array(
    [
        (0, 0, 4),
        (40, 11, 84),
        (101, 21, 110),
        (159, 42, 99),
        (212, 72, 66),
        (245, 125, 21),
        (250, 193, 39),
        (252, 255, 164),
    ]
)


def enlarge(image: np.ndarray, target: int) -> np.ndarray:
    """Nearest-neighbour enlargement by the largest whole factor that stays within `target` (at least 1).

    image: [H, W] or [H, W, 3] → [f·H, f·W, …], same type.
    """
    factor = max(1, target // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def thumbnails(images: np.ndarray, size: int = THUMBNAIL) -> np.ndarray:
    """Reduce images above `size` (smooth); smaller ones stay as they are. uint8 [N, H, W, 3] → uint8 [N, h, w, 3]."""
    if not len(images) or max(images.shape[1:3]) <= size:
        return np.ascontiguousarray(images)
    height, width = images.shape[1:3]
    share = size / max(height, width)
    shape = (max(1, round(width * share)), max(1, round(height * share)))
    return np.stack([np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BOX)) for image in images])


def framed(image: np.ndarray, colour: int = 138) -> np.ndarray:
    """Draw a grey line around an image, so that a white one has an edge on a white page. Changes a copy."""
    picture = image.copy()
    width = max(1, picture.shape[0] // 200)
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        picture[edge] = colour
    return picture


def sprite(images: np.ndarray, columns: int, gap: int = 0, background: int = 255) -> np.ndarray:
    """Compose images into one, row by row. uint8 [N, H, W, 3] → uint8 [rows·(H+gap)−gap, columns·(W+gap)−gap, 3]."""
    count, height, width = images.shape[:3]
    columns = max(1, columns)
    rows = max(1, -(-count // columns))
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), background, dtype=np.uint8)
    for position, image in enumerate(images):
        top, left = position // columns * (height + gap), position % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas


def side_by_side(first: np.ndarray, second: np.ndarray, gap: int = 2, background: int = 128) -> np.ndarray:
    """Join two stacks of the same shape, picture by picture. uint8 [N, H, W, 3] twice → uint8 [N, H, 2·W + gap, 3]."""
    between = np.full((*first.shape[:2], gap, 3), background, dtype=np.uint8)
    return np.concatenate([first, between, second], axis=2)


def heat(values: np.ndarray, top: float = 1.0) -> np.ndarray:
    """Colours of weights between 0 and `top`; NaN is drawn as 0. float [..., H, W] → uint8 [..., H, W, 3]."""
    share = np.clip(np.nan_to_num(np.asarray(values, dtype=float)) / max(top, 1e-9), 0.0, 1.0) * (len(_HEAT) - 1)
    low = np.minimum(share.astype(int), len(_HEAT) - 2)
    part = (share - low)[..., None]
    return np.round(_HEAT[low] * (1 - part) + _HEAT[low + 1] * part).astype(np.uint8)


def signed(values: np.ndarray) -> np.ndarray:
    """A difference as a picture at full contrast: grey where it is 0, brighter above, darker below.

    float [H, W] or [H, W, 3] → uint8 [H, W, 3].
    """
    top = max(float(np.abs(values).max(initial=0.0)), 1e-9)
    grey = np.round(127.5 + 127.5 * np.asarray(values, dtype=float) / top).clip(0, 255).astype(np.uint8)
    return grey if grey.ndim == 3 else grey[..., None].repeat(3, axis=2)


def region_of(mask: np.ndarray, threshold: float) -> np.ndarray:
    """Where the mask, divided by its largest weight, is above `threshold`: bool, same shape; nothing if it collapsed.

    The transplant test's rule (`mspc_core.detectors.transplant.cut_region`) without loading torch.
    """
    top = float(mask.max(initial=0.0))
    region: np.ndarray = mask > threshold * top if top >= COLLAPSED else np.zeros(mask.shape, dtype=bool)
    return region


def fit_mask(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A mask at the size of reduced images (nearest neighbour). [H, W] → [h, w]."""
    rows = np.arange(shape[0]) * mask.shape[0] // shape[0]
    columns = np.arange(shape[1]) * mask.shape[1] // shape[1]
    fitted: np.ndarray = mask[np.ix_(rows, columns)]
    return fitted


def overlay(images: np.ndarray, mask: np.ndarray, opacity: float, threshold: float = 0.0) -> np.ndarray:
    """Lay the heat colours of a mask over images where it is above `threshold` of its maximum; dim the rest slightly.

    images: uint8 [..., H, W, 3]; mask: [H, W]; opacity: 0 (image alone) … 1 (heat map alone inside the region).
    """
    weights = np.asarray(mask, dtype=float)
    inside = region_of(weights, threshold)
    top = max(float(weights.max(initial=0.0)), 1e-9)
    colours = heat(0.4 + 0.6 * weights / top).astype(float)  # the dark end of the scale would not show on a picture
    share = np.where(inside, opacity, 0.0)[..., None]
    shade = np.where(inside, 1.0, 1.0 - 0.55 * opacity)[..., None]
    mixed = images.astype(float) * (1 - share) * shade + colours * share
    return np.round(mixed).clip(0, 255).astype(np.uint8)


def cut_out(image: np.ndarray, region: np.ndarray, background: int = 128) -> np.ndarray:
    """The image inside the region and a quiet checkerboard outside it. uint8 [H, W, 3], bool [H, W]."""
    rows, columns = np.indices(region.shape)
    board = np.where((rows + columns) % 2 == 0, background + 12, background - 12).astype(np.uint8)
    return np.where(region[..., None], image, board[..., None]).astype(np.uint8)


def outline(image: np.ndarray, region: np.ndarray, target: int) -> np.ndarray:
    """Enlarge an image and draw the border of a region on it, white with a black rim: legible on any picture.

    image: uint8 [H, W, 3]; region: bool [H, W] → uint8 [f·H, f·W, 3].
    """
    picture = enlarge(image, target).copy()
    inside = enlarge(region, target)
    width = max(1, picture.shape[0] // 160)
    white = inside & ~_shrunk(inside, width)
    black = _grown(inside, width) & ~inside
    picture[black] = 0
    picture[white] = OUTLINE
    return picture


def _shifted(region: np.ndarray, step: int, outside: bool) -> list[np.ndarray]:
    padded = np.pad(region, step, constant_values=outside)
    height, width = region.shape
    offsets = [(0, step), (2 * step, step), (step, 0), (step, 2 * step), (0, 0), (0, 2 * step), (2 * step, 0)]
    offsets.append((2 * step, 2 * step))
    return [padded[top : top + height, left : left + width] for top, left in offsets]


def _shrunk(region: np.ndarray, step: int) -> np.ndarray:
    found: np.ndarray = np.logical_and.reduce([region, *_shifted(region, step, False)])
    return found


def _grown(region: np.ndarray, step: int) -> np.ndarray:
    found: np.ndarray = np.logical_or.reduce([region, *_shifted(region, step, False)])
    return found


def data_url(image: np.ndarray, *, lossy: bool = False) -> str:
    """uint8 [H, W, 3] as text that a page can show without another request: PNG, or a smaller JPEG."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if lossy:
        picture.save(buffer, format="JPEG", quality=88)
    else:
        picture.save(buffer, format="PNG", compress_level=1)
    kind = "jpeg" if lossy else "png"
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
