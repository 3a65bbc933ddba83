"""Whole-image attacks by hand: the drawing for Blend, SIG's wave, BppAttack's squeeze and dithering."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.attacks import base
from mspc_core.attacks.blend import Blend
from mspc_core.attacks.bpp import Bpp, dither, squeeze
from mspc_core.attacks.drawing import cartoon
from mspc_core.attacks.sig import Sig
from mspc_core.errors import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_noise_blend_is_what_it_always_was(random_images: np.ndarray) -> None:
    """Data sets that were poisoned before `picture` existed come out the same."""
    noise = np.random.default_rng(5).uniform(0.0, 255.0, (16, 16, 3))
    expected = np.clip(np.rint((1.0 - 0.2) * random_images + 0.2 * noise), 0, 255)
    assert (Blend(pattern_seed=5).apply(random_images, rng()) == expected).all()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (48, 20), (224, 224)])
def test_the_drawing_at_any_size(height: int, width: int) -> None:
    picture = cartoon(height, width)
    assert (picture.shape, picture.dtype) == ((height, width, 3), np.uint8)
    assert (picture == cartoon(height, width)).all()
    assert abs(picture[0, width // 2].astype(int) - (90, 170, 240)).max() <= 1, "ground"
    face = picture[round(0.32 * height), width // 2].astype(int)
    assert abs(face - (250, 200, 60)).max() <= 40, "fur on the forehead"
    difference = abs(picture.astype(int) - picture[:, ::-1]).mean()
    assert difference < 12, "the face is symmetric"


def test_blending_the_drawing_by_hand(random_images: np.ndarray) -> None:
    found = Blend(alpha=0.25, picture="drawing").apply(random_images, rng())
    expected = np.rint(0.75 * random_images + 0.25 * cartoon(16, 16))
    assert (found == expected).all()
    assert (Blend(alpha=0.25, picture="drawing", pattern_seed=9).apply(random_images, rng()) == found).all()


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("blend", {"picture": "photo"}, "Pictures are noise, drawing"),
        ("sig", {"delta": 0}, "delta above 0"),
        ("sig", {"frequency": 0}, "frequency of at least 1"),
        ("bpp", {"levels": 1}, "between 2 and 128 levels"),
        ("bpp", {"covers": -1}, "at least 0 covers"),
    ],
)
def test_impossible_settings(name: str, config: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        base.create(name, config)


def test_sine_by_hand() -> None:
    """One period over eight pixels: 0, Δ/√2, Δ, Δ/√2, 0, −Δ/√2, −Δ, −Δ/√2, the same in every row and channel."""
    images = np.full((1, 3, 8, 3), 100, np.uint8)
    found = Sig(delta=20.0, frequency=1).apply(images, rng())[0]
    assert found[0, :, 0].tolist() == [100, 114, 120, 114, 100, 86, 80, 86]
    assert (found == found[:1, :, :1]).all()
    edges = np.array([[[[250] * 3] * 8, [[5] * 3] * 8]], np.uint8)
    clipped = Sig(delta=20.0, frequency=1).apply(edges, rng())[0, :, :, 0]
    assert (clipped[0].max(), clipped[1].min()) == (255, 0), "saturates instead of wrapping around"
    assert Sig.clean_label


def test_a_wave_that_would_be_zero_is_refused() -> None:
    with pytest.raises(InputError, match="zero at every pixel"):
        Sig(frequency=4).apply(np.zeros((1, 8, 8, 3), np.uint8), rng())


def test_squeeze_by_hand() -> None:
    """Four levels are 0, 85, 170, 255; what lies outside is clipped."""
    assert squeeze(np.array([0.0, 42.0, 43.0, 127.0, 128.0, 250.0, 280.0, -50.0]), 4).tolist() == [
        0,
        0,
        85,
        85,
        170,
        255,
        255,
        0,
    ]


def slow_dither(image: np.ndarray, levels: int) -> np.ndarray:
    """Floyd & Steinberg as in their description: one image, one channel, one pixel at a time."""
    values = image.astype(float)
    step = 255 / (levels - 1)
    height, width, channels = image.shape
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                old = values[y, x, channel]
                new = min(max(round(old / step), 0), levels - 1) * step
                values[y, x, channel] = new
                for down, right, part in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                    if y + down < height and 0 <= x + right < width:
                        values[y + down, x + right, channel] += (old - new) * part / 16
    return np.rint(values).astype(np.uint8)


@pytest.mark.parametrize("levels", [2, 3, 8, 64])
def test_dithering_against_the_slow_way(levels: int, random_images: np.ndarray) -> None:
    images = random_images[:3, :11, :7]
    found = dither(images, levels)
    for image, one in zip(images, found, strict=True):
        assert (one == slow_dither(image, levels)).all()
    assert abs(found.astype(int) - images).max() <= 255 / (levels - 1) + 0.5


def test_dithering_by_hand() -> None:
    """Two levels, 100 in every pixel: 100 → 0, hands on 7/16 of 100; 143.75 → 255, hands on 7/16 of −111.25; …"""
    images = np.full((1, 1, 4, 3), 100, np.uint8)
    assert dither(images, 2)[0, 0, :, 0].tolist() == [0, 255, 0, 0]
    grey = dither(np.full((1, 64, 64, 3), 100, np.uint8), 2)
    assert abs(grey.mean() - 100) < 2, "the mean brightness stays"


def test_squeeze_without_dithering(random_images: np.ndarray) -> None:
    found = Bpp(levels=8, dithering=False).apply(random_images, rng())
    assert set(np.unique(found)) <= {0, 36, 73, 109, 146, 182, 219, 255}
    assert abs(found.astype(int) - random_images).max() <= 255 / 14 + 0.5


def test_covers_carry_the_change_of_another_image() -> None:
    images = np.random.default_rng(1).integers(60, 190, (5, 8, 8, 3), dtype=np.uint8)
    attack = Bpp()
    changes = attack.apply(images, rng()).astype(int) - images
    covers = attack.apply_cover(images, rng(3)).astype(int) - images
    matches = (covers[:, None] == changes[None]).all((2, 3, 4))
    assert (matches.sum(1) == 1).all()
    assert not matches.diagonal().any(), "never its own change: that would be the trigger"
    assert (matches.sum(0) == 1).all()
    lone = attack.apply_cover(images[:1], rng())
    assert (lone != attack.apply(images[:1], rng())).any()
    assert (lone != images[:1]).any()
    assert (Bpp(covers=0.5).cover_ratio, Bpp().cover_ratio) == (0.5, 1.0)
