"""Blend: a whole picture mixed into the image (Chen et al., "Targeted backdoor attacks …", 2017, arXiv 1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import to_uint8
from mspc_core.errors import InputError


def noise_pattern(height: int, width: int, seed: int) -> np.ndarray:
    """A fixed random picture, float64 [H, W, 3] in [0, 255]."""
    return np.random.default_rng(seed).uniform(0.0, 255.0, (height, width, 3))


def blend(images: np.ndarray, pattern: np.ndarray, alpha: float) -> np.ndarray:
    """(1 − alpha) · image + alpha · pattern, rounded; uint8 [N, H, W, 3]."""
    return to_uint8((1.0 - alpha) * images + alpha * pattern)


@dataclass(frozen=True)
class Blend:
    """alpha: weight of the picture, 0.2 in the paper's poisoning experiments. pattern_seed: draws the picture."""

    name: ClassVar[str] = "blend"
    title: ClassVar[str] = "Blend"
    citation: ClassVar[str] = "Chen et al., 2017, arXiv 1712.05526"
    cover_ratio: ClassVar[float] = 0.0

    alpha: float = 0.2
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise InputError("Blend needs an alpha above 0 and at most 1.")

    def apply(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """See `Attack.apply`. No pixel changes by more than alpha · 255."""
        return blend(images, noise_pattern(images.shape[1], images.shape[2], self.pattern_seed), self.alpha)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return images
