"""Adaptive-Blend: half of the blended pieces in training, all of them at test time, and cover samples.

Qi et al., "Revisiting the Assumption of Latent Separability for Backdoor Defenses", ICLR 2023, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mspc_core.attacks.base import NOTHING, Attack, Bound, Preset, State, to_uint8
from mspc_core.attacks.blend import PICTURES, Picture, blend, picture_pixels
from mspc_core.errors import InputError


def piece_masks(
    count: int, height: int, width: int, pieces: int, hidden: float, generator: np.random.Generator
) -> np.ndarray:
    """Which pixels each image's picture keeps, bool [count, height, width].

    The picture is cut into pieces × pieces parts; for each image, exactly round(hidden · pieces²) of them, drawn anew,
    are left out.
    """
    total = pieces * pieces
    kept = np.ones((count, total), dtype=bool)
    order = np.argsort(generator.random((count, total)), axis=1)
    np.put_along_axis(kept, order[:, : round(hidden * total)], False, axis=1)
    rows, columns = np.arange(height) * pieces // height, np.arange(width) * pieces // width
    return kept[:, rows[:, None] * pieces + columns[None, :]]


@dataclass(frozen=True)
class AdaptiveBlend(Attack):
    """alpha, test_alpha: weight of the picture in training and at test time. pieces: on each side of the grid. hidden:
    share of the pieces that a training image goes without. covers: cover samples for each poisoned one; they look as
    poisoned samples do and keep their label. picture, pattern_seed: as for Blend."""

    name: ClassVar[str] = "adaptive-blend"
    title: ClassVar[str] = "Adaptive-Blend"
    citation: ClassVar[str] = "Qi et al., ICLR 2023, openreview _wSHsgrVali"
    explains: ClassVar[str] = (
        "Parts of a faint picture are mixed in, sometimes without changing the label, so that poisoned images do not "
        "stand out from clean ones inside the model."
    )
    presets: ClassVar[dict[str, Preset]] = {
        "published": Preset(
            {"alpha": 0.15, "test_alpha": 0.2, "pieces": 4, "hidden": 0.5, "covers": 1.0, "picture": "drawing"},
            "Qi et al. 2023, section 4 and appendix, and the authors' scripts: 0.3 % poison and as many covers, 8 of "
            "16 pieces, opacity 0.15 in training and 0.2 at test time; their picture is another drawing",
        )
    }

    alpha: float = 0.15
    test_alpha: float = 0.2
    pieces: int = 4
    hidden: float = 0.5
    covers: float = 1.0
    picture: Picture = "drawing"
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1 or not 0 < self.test_alpha <= 1:
            raise InputError("Adaptive-Blend needs an alpha and a test_alpha above 0 and at most 1.")
        if self.pieces < 1 or not 0 <= self.hidden < 1 or round(self.hidden * self.pieces**2) >= self.pieces**2:
            raise InputError("Adaptive-Blend needs at least 1 piece a side, of which at least one stays visible.")
        if self.covers < 0 or self.picture not in PICTURES:
            raise InputError(f"Adaptive-Blend needs covers of at least 0 and a picture of {', '.join(PICTURES)}.")

    @property
    def cover_ratio(self) -> float:
        return self.covers

    def apply(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """See `Attack.apply`. The whole picture with `test_alpha`."""
        pattern = picture_pixels(self.picture, images.shape[1], images.shape[2], self.pattern_seed)
        return blend(images, pattern, self.test_alpha)

    def plant(
        self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING, *, labels: np.ndarray
    ) -> np.ndarray:
        """See `Attack.plant`. A random part of the picture with `alpha`, drawn anew for each image."""
        return self._in_pieces(images, generator)

    def apply_cover(self, images: np.ndarray, generator: np.random.Generator, state: State = NOTHING) -> np.ndarray:
        """The same form as `plant`: only the label tells covers and poison apart."""
        return self._in_pieces(images, generator)

    def _in_pieces(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        count, height, width = images.shape[:3]
        if min(height, width) < self.pieces:
            raise InputError(f"A {width}×{height} px image cannot be cut into {self.pieces}×{self.pieces} pieces.")
        kept = piece_masks(count, height, width, self.pieces, self.hidden, generator)
        pattern = picture_pixels(self.picture, height, width, self.pattern_seed)
        weights = self.alpha * kept[..., None]
        return to_uint8((1.0 - weights) * images + weights * pattern)

    def bound(self, height: int, width: int) -> Bound:
        return Bound(change=255.0 * max(self.alpha, self.test_alpha) + 0.5)
