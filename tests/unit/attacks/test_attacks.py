"""Triggers: what they change, what they leave, that nothing wraps around, and that settings round-trip."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.attacks import base
from mspc_core.attacks.badnets import BadNets, paste, patch_pixels
from mspc_core.attacks.blend import Blend, blend, noise_pattern
from mspc_core.attacks.poison import plan_poison, resolve_class
from mspc_core.attacks.wanet import WaNet, warp, warp_field
from mspc_core.errors import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_patch_by_hand() -> None:
    image = np.full((1, 6, 6, 3), 100, dtype=np.uint8)
    found = BadNets(size=2, pattern="checkerboard", place="lower-right", margin=1).apply(image, rng())
    expected = image.copy()
    expected[0, 3:5, 3:5] = [[[255] * 3, [0] * 3], [[0] * 3, [255] * 3]]
    assert (found == expected).all()


@pytest.mark.parametrize(
    ("place", "corner"),
    [
        ("upper-left", (1, 1)),
        ("upper-right", (1, 12)),
        ("lower-left", (12, 1)),
        ("lower-right", (12, 12)),
        ("centre", (6, 6)),
    ],
)
def test_places(place: str, corner: tuple[int, int]) -> None:
    changed = BadNets(size=3, pattern="white", place=place).apply(np.zeros((1, 16, 16, 3), np.uint8), rng())[0, :, :, 0]
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == corner
    assert changed.sum() == 9 * 255


def test_random_places_stay_inside_and_differ() -> None:
    images = np.zeros((200, 12, 12, 3), np.uint8)
    found = BadNets(size=4, pattern="white", place="random", margin=0).apply(images, rng(1))
    assert (found.sum((1, 2, 3)) == 16 * 3 * 255).all(), "no patch is cut off by the border"
    assert len({image.tobytes() for image in found}) > 40


def test_half_opacity_mixes_and_never_wraps() -> None:
    bright = np.full((1, 4, 4, 3), 250, np.uint8)
    mixed = paste(bright, patch_pixels("white", 2), np.array([0]), np.array([0]), 0.5)
    assert mixed[0, 0, 0].tolist() == [252] * 3  # 252.5, rounded to even
    assert mixed[0, 3, 3].tolist() == [250] * 3


def test_blend_by_hand_and_its_bound(random_images: np.ndarray) -> None:
    image = np.array([[[[0, 100, 255]]]], dtype=np.uint8)
    assert blend(image, np.array([[[255.0, 0.0, 255.0]]]), 0.2).tolist() == [[[[51, 80, 255]]]]
    moved = Blend(alpha=0.2).apply(random_images, rng()).astype(int) - random_images
    assert np.abs(moved).max() <= 0.2 * 255 + 0.5
    assert (noise_pattern(4, 4, 1) == noise_pattern(4, 4, 1)).all()


def test_wanet_field_and_identity(random_images: np.ndarray) -> None:
    field = warp_field(16, 4, 0.5, 0)
    assert field.shape == (16, 16, 2)
    assert 0 < np.abs(field).max() < 4 * 0.5 / 16
    assert (warp_field(16, 4, 0.5, 0) == field).all()
    assert (warp(random_images, np.zeros((16, 16, 2))) == random_images).all(), "no displacement changes nothing"


def test_warp_by_hand() -> None:
    """Moving the grid one pixel to the right (2/(W−1) in [−1, 1]) shows each pixel's right neighbour."""
    image = np.arange(4, dtype=np.uint8).reshape(1, 1, 4, 1).repeat(4, 1).repeat(3, 3) * 10
    field = np.zeros((4, 4, 2))
    field[:, :, 0] = 2 / 3
    assert warp(image, field)[0, 0, :, 0].tolist() == [10, 20, 30, 30]


def test_noise_mode_covers_differ_from_the_trigger(random_images: np.ndarray) -> None:
    attack = WaNet()
    assert attack.cover_ratio == 2.0
    assert WaNet(noise_mode=False).cover_ratio == 0.0
    assert (attack.apply_cover(random_images, rng()) != attack.apply(random_images, rng())).any()


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("badnets", {"size": 0}, "size of at least 1"),
        ("badnets", {"pattern": "stripes"}, "Patterns are"),
        ("badnets", {"colour": 1}, "does not take these settings"),
        ("blend", {"alpha": 0}, "alpha above 0"),
        ("wanet", {"k": 1}, "k of at least 2"),
        ("stealth", {}, "no attack 'stealth'"),
        ("badnets", {"size": 2.5}, "size must be a whole number"),
        ("badnets", {"size": True}, "size must be a whole number"),
        ("blend", {"pattern_seed": -1}, "pattern_seed must be a whole number"),
        ("wanet", {"noise_mode": "yes"}, "noise_mode must be a true or false"),
    ],
)
def test_impossible_settings(name: str, config: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        base.create(name, config)


def test_a_patch_that_does_not_fit() -> None:
    with pytest.raises(InputError, match="does not fit"):
        BadNets(size=20).apply(np.zeros((1, 16, 16, 3), np.uint8), rng())


def test_plan_draws_from_other_classes_only() -> None:
    labels = np.repeat(np.arange(5), 100)
    train = np.arange(400)  # class 4 is not in the training split
    plan = plan_poison(labels, train, target=1, rate=0.1, cover_ratio=2.0, seed=0, from_target=False)
    assert len(plan.poisoned) == 40
    assert len(plan.covers) == 80
    assert not np.isin(plan.poisoned, plan.covers).any()
    assert (labels[plan.poisoned] != 1).all()
    assert plan.poisoned.max() < 400
    again = plan_poison(labels, train, target=1, rate=0.1, cover_ratio=2.0, seed=0, from_target=False)
    other = plan_poison(labels, train, target=1, rate=0.1, cover_ratio=2.0, seed=1, from_target=False)
    assert (plan.poisoned == again.poisoned).all()
    assert (plan.poisoned != other.poisoned).any()
    mixed = plan_poison(labels, train, target=1, rate=0.5, cover_ratio=0.0, seed=0, from_target=True)
    assert (labels[mixed.poisoned] == 1).any()


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, 0.9, 0.00001])
def test_impossible_rates(rate: float) -> None:
    labels = np.repeat(np.arange(4), 10)
    with pytest.raises(InputError):
        plan_poison(labels, np.arange(40), target=0, rate=rate, cover_ratio=0, seed=0, from_target=False)


def test_class_by_name_or_number() -> None:
    assert resolve_class(("a", "7", "c"), "c") == 2
    assert resolve_class(("a", "7", "c"), "7") == 1, "a class that is called 7 comes before class number 7"
    assert resolve_class(("a", "b"), "1") == 1
    with pytest.raises(InputError, match="no class 'z'"):
        resolve_class(("a", "b"), "z")
