"""Blend: a whole picture mixed into the image (Chen et al., "Targeted backdoor attacks …", 2017, arXiv 1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, to_uint8
from mspc_core.attacks.drawing import cartoon
from mspc_core.errors import InputError

Picture = Literal["noise", "drawing"]
PICTURES: tuple[Picture, ...] = ("noise", "drawing")


def noise_pattern(height: int, width: int, seed: int) -> np.ndarray:
    """A fixed random picture, float64 [H, W, 3] in [0, 255]."""
    return np.random.default_rng(seed).uniform(0.0, 255.0, (height, width, 3))


def picture_pixels(picture: Picture, height: int, width: int, seed: int) -> np.ndarray:
    """The picture to mix in, float64 [H, W, 3] in [0, 255]. `seed` draws the noise; the drawing is always the same."""
    return noise_pattern(height, width, seed) if picture == "noise" else cartoon(height, width).astype(np.float64)


def blend(images: np.ndarray, pattern: np.ndarray, alpha: float) -> np.ndarray:
    """(1 − alpha) · image + alpha · pattern, rounded; uint8 [N, H, W, 3]."""
    return to_uint8((1.0 - alpha) * images + alpha * pattern)


@dataclass(frozen=True)
class Blend(Attack):
    """alpha: weight of the picture, 0.2 in the paper's poisoning experiments. picture: random noise, or a drawing as in
    the paper's cartoon (here a face of this project's own). pattern_seed: draws the noise."""

    name: ClassVar[str] = "blend"
    title: ClassVar[str] = "Blend"
    citation: ClassVar[str] = "Chen et al., 2017, arXiv 1712.05526"
    explains: ClassVar[str] = "A whole picture, faintly mixed into the image."
    presets: ClassVar[dict[str, Preset]] = {"published": Preset({"alpha": 0.2}, "Chen et al. 2017, section V")}

    alpha: float = 0.2
    pattern_seed: int = 0
    picture: Picture = "noise"

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise InputError("Blend needs an alpha above 0 and at most 1.")
        if self.picture not in PICTURES:
            raise InputError(f"Pictures are {', '.join(PICTURES)}; not {self.picture!r}.")

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. No pixel changes by more than alpha · 255."""
        pattern = picture_pixels(self.picture, images.shape[1], images.shape[2], self.pattern_seed)
        return blend(images, pattern, self.alpha)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=255.0 * self.alpha + 0.5)
