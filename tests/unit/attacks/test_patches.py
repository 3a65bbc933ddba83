"""Patch attacks by hand: several BadNets patches, the Trojan square, the patch on the object, scaled covers."""

from __future__ import annotations

import numpy as np
import pytest

from mspc_core.attacks import base
from mspc_core.attacks.adaptive_scale import AdaptiveScale
from mspc_core.attacks.badnets import BadNets, patch_pixels
from mspc_core.attacks.object_patch import ObjectPatch, arrangement, most_salient, saliency
from mspc_core.attacks.trojan import Trojan
from mspc_core.errors import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_one_patch_draws_what_it_always_drew(random_images: np.ndarray) -> None:
    """Data sets that were poisoned before `triggers` existed come out the same."""
    generator = rng(7)
    tops, lefts = generator.integers(1, 12, 40), generator.integers(1, 12, 40)
    expected = random_images.copy()
    for image, top, left in zip(expected, tops, lefts, strict=True):
        image[top : top + 4, left : left + 4] = patch_pixels("noise", 4)
    used = rng(7)
    assert (BadNets(size=4, pattern="noise", place="random").apply(random_images, used) == expected).all()
    assert used.random() == generator.random()


def test_three_patches_are_the_three_single_ones(random_images: np.ndarray) -> None:
    attack = BadNets(size=3, triggers=3)
    single = [
        BadNets(size=3, pattern="checkerboard", place="lower-right").apply(random_images, rng()),
        BadNets(size=3, pattern="sticker", place="lower-left").apply(random_images, rng()),
        BadNets(size=3, pattern="white", place="upper-right").apply(random_images, rng()),
    ]
    found = attack.apply(random_images, rng(1))
    which = np.stack([(found == one).all((1, 2, 3)) for one in single])
    assert (which.sum(0) == 1).all(), "each image has exactly one of them"
    assert (which.sum(1) > 5).all(), "each of them is used"
    assert (which.argmax(0) == rng(1).integers(3, size=40)).all()
    assert (attack.apply(random_images, rng(2)) != found).any()


def test_patches_at_random_places_differ_in_their_pattern() -> None:
    found = BadNets(size=3, place="random", triggers=4, margin=0).apply(np.full((80, 9, 9, 3), 90, np.uint8), rng())
    looks = set()
    for image in found:
        rows, columns = np.nonzero((image != 90).any(-1))
        looks.add(image[rows.min() : rows.min() + 3, columns.min() : columns.min() + 3].tobytes())
    assert looks == {patch_pixels(pattern, 3).tobytes() for pattern in ("checkerboard", "sticker", "white", "noise")}


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("badnets", {"triggers": 0}, "between 1 and 5"),
        ("badnets", {"triggers": 6}, "between 1 and 5"),
        ("badnets", {"triggers": 5, "place": "random"}, "between 1 and 4"),
        ("trojan", {"share": 0.6}, "share in"),
        ("object", {"size": 2}, "size of at least 3"),
        ("adaptive-scale", {"largest_scale": 1}, "scale of at least 2"),
        ("adaptive-scale", {"size": 0}, "size of at least 1"),
        ("adaptive-scale", {"place": "left"}, "places are"),
    ],
)
def test_impossible_settings(name: str, config: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        base.create(name, config)


def test_trojan_square_by_hand() -> None:
    """4 % of 20×20 are 16 pixels: a 4 px square, one pixel off the lower right corner."""
    images = np.full((2, 20, 20, 3), 100, np.uint8)
    found = Trojan(share=0.04).apply(images, rng())
    outside = np.ones((20, 20), bool)
    outside[15:19, 15:19] = False
    assert (found[:, outside] == 100).all()
    inside = found[:, 15:19, 15:19]
    assert (inside[0] == inside[1]).all()
    assert set(np.unique(inside)) == {0, 255}
    assert len(np.unique(inside[0].reshape(-1, 3), axis=0)) > 3, "several colours"
    mixed = Trojan(share=0.04, opacity=0.3).apply(images, rng())[0, 15:19, 15:19]
    assert (mixed == np.where(inside[0] == 255, 146, 70)).all()  # 0.7·100 + 0.3·255 = 146.5, to even
    assert (Trojan(pattern_seed=1).apply(images, rng()) != found).any()
    with pytest.raises(InputError, match="does not fit"):
        Trojan(share=0.5, margin=10).apply(images, rng())


def test_saliency_is_highest_on_the_object() -> None:
    image = np.full((1, 32, 32, 3), 120, np.uint8)
    image[0, 6:11, 20:25] = (220, 40, 40)
    tops, lefts = most_salient(saliency(image), 5)
    assert (abs(tops[0] - 6) <= 1, abs(lefts[0] - 20) <= 1) == (True, True)


def test_most_salient_window_against_a_slow_search() -> None:
    values = rng(3).random((4, 7, 9))
    tops, lefts = most_salient(values, 3)
    for number, plane in enumerate(values):
        sums = {(r, c): plane[r : r + 3, c : c + 3].sum() for r in range(5) for c in range(7)}
        assert max(sums, key=sums.__getitem__) == (tops[number], lefts[number])


def test_object_patch_by_hand() -> None:
    """On a square of one colour the patch is that colour and the one half the range away, in nested squares."""
    image = np.full((1, 24, 24, 3), 60, np.uint8)
    image[0, 8:17, 4:13] = (200, 30, 130)
    found = ObjectPatch(size=5).apply(image, rng())[0]
    rows, columns = np.nonzero((found != image[0]).any(-1))
    top, left = rows.min(), columns.min()
    assert (rows.max() - top, columns.max() - left) == (4, 4)
    assert top >= 8
    assert left >= 4
    opposite, own = [72, 158, 2], [200, 30, 130]
    middle = [opposite, own, own, own, opposite]
    expected = [[opposite] * 5, middle, [opposite, own, opposite, own, opposite], middle, [opposite] * 5]
    assert found[top : top + 5, left : left + 5].tolist() == expected
    assert arrangement(4).tolist() == [[True] * 4, [True, False, False, True], [True, False, False, True], [True] * 4]


def test_object_patch_moves_with_the_object() -> None:
    images = np.full((2, 24, 24, 3), 60, np.uint8)
    images[0, 3:10, 3:10] = (200, 30, 130)
    images[1, 12:19, 10:17] = (200, 30, 130)
    found = ObjectPatch(size=5).apply(images, rng())
    assert (found[0, 3:10, 3:10] == found[1, 12:19, 10:17]).all()
    assert (found[0] != found[1]).any()


def test_scaled_covers_by_hand() -> None:
    """A cover is the triggered image times a whole number, saturated; the drawn numbers cover 2 … 12."""
    images = np.full((300, 8, 8, 3), 9, np.uint8)
    attack = AdaptiveScale(size=2, pattern="white", place="upper-left", margin=0)
    covers = attack.apply_cover(images, rng())
    assert (covers[:, :2, :2] == 255).all()
    scales, rest = np.divmod(covers[:, 7, 7, 0], 9)
    assert (rest == 0).all()
    assert set(scales) == set(range(2, 13))
    assert (covers[:, 2:, 2:] == (9 * scales)[:, None, None, None]).all()
    bright = AdaptiveScale(pattern="white", size=2).apply_cover(np.full((9, 8, 8, 3), 200, np.uint8), rng())
    assert (bright == 255).all(), "saturates instead of wrapping around"
    shifted = AdaptiveScale(size=2, pattern="white", place="upper-left", shift=0.1, largest_scale=2)
    assert (shifted.apply_cover(np.full((1, 8, 8, 3), 40, np.uint8), rng())[0, 7, 7] == 29).all()  # 2 · (40 − 25.5)
    assert (shifted.apply_cover(images[:1], rng())[0, 7, 7] == 0).all()
    same = BadNets(size=2, pattern="white", place="upper-left", margin=0)
    assert (attack.apply(images, rng()) == same.apply(images, rng())).all()
