"""Adaptive-Blend and Adaptive-Patch by hand: what is planted, what is shown at test time, what covers look like."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.attacks import base
from mspc_core.attacks.adaptive_blend import AdaptiveBlend, piece_masks
from mspc_core.attacks.adaptive_patch import PATCHES, AdaptivePatch
from mspc_core.attacks.badnets import patch_pixels
from mspc_core.attacks.drawing import cartoon
from mspc_core.errors import InputError

LABELS = np.zeros(200, np.int64)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_pieces_are_whole_and_of_the_wanted_number() -> None:
    kept = piece_masks(50, 8, 12, 4, 0.5, rng())
    blocks = kept.reshape(50, 4, 2, 4, 3)
    assert (blocks == blocks[:, :, :1, :, :1]).all(), "a piece is kept or hidden as a whole"
    assert (blocks[:, :, 0, :, 0].sum((1, 2)) == 8).all()
    assert len({mask.tobytes() for mask in kept}) > 45, "drawn anew for each image"
    assert abs(blocks[:, :, 0, :, 0].mean(0) - 0.5).max() < 0.3, "no piece is preferred"


def test_pieces_of_a_size_that_does_not_divide() -> None:
    kept = piece_masks(20, 10, 10, 4, 0.5, rng())
    borders = [np.flatnonzero((kept[:, 1:] != kept[:, :-1]).any((0, 2))) + 1]
    assert borders[0].tolist() == [3, 5, 8]
    assert (piece_masks(3, 9, 9, 2, 0.0, rng())).all()


def test_adaptive_blend_by_hand() -> None:
    images = np.full((200, 16, 16, 3), 100, np.uint8)
    attack = AdaptiveBlend()
    picture = cartoon(16, 16).astype(float)
    whole = attack.apply(images, rng())
    assert (whole == np.rint(0.8 * 100 + 0.2 * picture)).all()
    planted = attack.plant(images, rng(2), labels=LABELS)
    mixed = np.rint(0.85 * 100 + 0.15 * picture)
    touched = (planted != 100).any(-1)
    assert (planted == np.where(touched[..., None], mixed, 100)).all()
    kept = piece_masks(200, 16, 16, 4, 0.5, rng(2))
    assert (touched == kept & (mixed != 100).any(-1)).all()
    assert (attack.apply_cover(images, rng(2)) == planted).all(), "only the label tells covers and poison apart"
    assert attack.cover_ratio == 1.0


def test_adaptive_patch_plants_one_faint_patch() -> None:
    images = np.full((200, 16, 16, 3), 100, np.uint8)
    planted = AdaptivePatch(size=4).plant(images, rng(), labels=LABELS)
    boxes = {"upper-left": (1, 1), "lower-right": (11, 11), "lower-left": (11, 1), "upper-right": (1, 11)}
    counts = np.zeros(4, int)
    for image in planted:
        fits = []
        for pattern, place, relative in PATCHES:
            expected = images[0].copy()
            top, left = boxes[place]
            opacity = 0.5 * relative
            expected[top : top + 4, left : left + 4] = np.rint((1 - opacity) * 100 + opacity * patch_pixels(pattern, 4))
            fits.append((image == expected).all())
        assert sum(fits) == 1
        counts += fits
    assert counts.min() > 30, "each patch is used about as often"


def test_adaptive_patch_shows_opaque_patches_at_test_time() -> None:
    images = np.full((3, 16, 16, 3), 100, np.uint8)
    found = AdaptivePatch(size=4).apply(images, rng())
    expected = images.copy()
    expected[:, 1:5, 1:5] = patch_pixels("sticker", 4)
    expected[:, 11:15, 11:15] = patch_pixels("checkerboard", 4)
    expected[:, 11:15, 1:5] = patch_pixels("noise", 4)
    expected[:, 1:5, 11:15] = patch_pixels("white", 4)
    assert (found == expected).all()
    two = AdaptivePatch(size=4, shown=2).apply(images, rng())
    assert (two[:, 8:, :8] == 100).all()
    assert (two[:, :8, 8:] == 100).all()
    assert (two[:, 11:15, 11:15] == expected[:, 11:15, 11:15]).all()


def test_adaptive_patch_number_of_planted_patches_and_covers() -> None:
    images = np.full((200, 16, 16, 3), 100, np.uint8)
    attack = AdaptivePatch(size=4, planted=3, opacity=1.0)
    planted = attack.plant(images, rng(4), labels=LABELS)
    corners = np.stack([planted[:, r : r + 4, c : c + 4].reshape(200, -1) for r in (1, 11) for c in (1, 11)], 1)
    assert ((corners != 100).any(-1).sum(1) == 3).all()
    assert (attack.apply_cover(images, rng(4)) == planted).all()
    assert attack.cover_ratio == 2.0


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("adaptive-blend", {"alpha": 0}, "alpha and a test_alpha above 0"),
        ("adaptive-blend", {"test_alpha": 1.5}, "alpha and a test_alpha above 0"),
        ("adaptive-blend", {"pieces": 0}, "at least 1 piece"),
        ("adaptive-blend", {"pieces": 1, "hidden": 0.9}, "at least one stays visible"),
        ("adaptive-blend", {"picture": "cat"}, "a picture of noise, drawing"),
        ("adaptive-patch", {"planted": 5}, "1 to 4 patches"),
        ("adaptive-patch", {"shown": 0}, "1 to 4 patches"),
        ("adaptive-patch", {"opacity": 0}, "opacities in"),
    ],
)
def test_impossible_settings(name: str, config: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        base.create(name, config)


def test_images_that_are_too_small() -> None:
    with pytest.raises(InputError, match="cannot be cut into 4×4"):
        AdaptiveBlend().plant(np.zeros((1, 3, 3, 3), np.uint8), rng(), labels=LABELS[:1])
    with pytest.raises(InputError, match="do not fit side by side"):
        AdaptivePatch(size=5).apply(np.zeros((1, 10, 10, 3), np.uint8), rng())
