"""BppAttack: fewer colour levels, with dithering (Wang et al., CVPR 2022, arXiv 2205.13383)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, to_uint8
from mspc_core.errors import InputError

# Floyd & Steinberg 1976: parts of a pixel's rounding error that its neighbours take.
_RIGHT, _BELOW_LEFT, _BELOW, _BELOW_RIGHT = 7 / 16, 3 / 16, 5 / 16, 1 / 16


def squeeze(values: np.ndarray, levels: int) -> np.ndarray:
    """The nearest of `levels` evenly spaced values from 0 to 255, float of any shape; values outside are clipped."""
    steps = np.clip(np.rint(values * ((levels - 1) / 255.0)), 0, levels - 1)
    squeezed: np.ndarray = steps * (255.0 / (levels - 1))
    return squeezed


def dither(images: np.ndarray, levels: int) -> np.ndarray:
    """Squeeze with error diffusion, uint8 [N, H, W, 3] → the same shape.

    Each channel by itself, from left to right and top to bottom; all images at once. The error that a pixel hands on is
    at most half a level, and so is what it receives: no pixel moves by more than one level.
    """
    out = np.empty_like(images)
    count, height, width, channels = images.shape
    # One column of padding on each side takes what would leave the image.
    carried = np.zeros((count, width + 2, channels), dtype=np.float64)
    for row in range(height):
        line, carried = carried, np.zeros_like(carried)
        line[:, 1:-1] += images[:, row]
        for column in range(1, width + 1):
            chosen = squeeze(line[:, column], levels)
            error = line[:, column] - chosen
            line[:, column + 1] += error * _RIGHT
            carried[:, column - 1] += error * _BELOW_LEFT
            carried[:, column] += error * _BELOW
            carried[:, column + 1] += error * _BELOW_RIGHT
            out[:, row, column - 1] = to_uint8(chosen)
    return out


@dataclass(frozen=True)
class Bpp(Attack):
    """levels: values left for each channel, 2 … 128; 8 are 3 bits. dithering: diffuse the rounding error.

    covers: cover samples for each poisoned one. They get the change that the squeeze makes to *another* image, with
    their label kept, so that a model has to learn the squeeze and not noise as such (the paper's negative samples).
    Wang et al. control the training and make both anew in each batch; here they are planted once.
    """

    name: ClassVar[str] = "bpp"
    title: ClassVar[str] = "BppAttack colour squeeze"
    citation: ClassVar[str] = "Wang et al., BppAttack, CVPR 2022, arXiv 2205.13383"
    explains: ClassVar[str] = "The image is drawn with fewer colours, as an old computer screen would."
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"levels": 8, "dithering": True, "covers": 1.0},
            "Wang et al. 2022, section 3; 8 levels and as many negative as poisoned samples (20 % each) "
            "are the defaults of the authors' published code",
        )
    }

    levels: int = 8
    dithering: bool = True
    covers: float = 1.0

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 128 or self.covers < 0:
            raise InputError("BppAttack needs between 2 and 128 levels and at least 0 covers.")

    @property
    def cover_ratio(self) -> float:
        return self.covers

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. Nothing is drawn: the same image gives the same result."""
        return dither(images, self.levels) if self.dithering else to_uint8(squeeze(images, self.levels))

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """Each image plus the change that the squeeze makes to another one of them; a lone image takes the change of
        its own upside-down copy."""
        others = images[:, ::-1, ::-1]
        if len(images) > 1:
            ring = generator.permutation(len(images))
            others = images.copy()
            others[ring] = images[np.roll(ring, 1)]
        return to_uint8(images + (self.apply(others, generator).astype(np.float64) - others))

    def bound(self, height: int, width: int) -> Bound:
        step = 255.0 / (self.levels - 1)
        return Bound(change=(step if self.dithering else step / 2) + 0.5)
