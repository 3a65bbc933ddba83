"""Pictures as arrays: compared pixel by pixel with values worked out by hand."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mspc_core.detectors.regions import cut_region
from ui import images


def test_enlarge_repeats_every_pixel_by_the_largest_factor_that_fits() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(2, 2)
    assert images.enlarge(image, 5).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_enlarge_never_shrinks() -> None:
    assert images.enlarge(np.zeros((8, 8, 3), np.uint8), 4).shape == (8, 8, 3)


def test_sprite_puts_pictures_row_by_row_with_gaps() -> None:
    pictures = np.stack([np.full((1, 2, 3), value, np.uint8) for value in (10, 20, 30)])
    composed = images.sprite(pictures, columns=2, gap=1, background=7)
    assert composed.shape == (3, 5, 3)
    assert composed[..., 0].tolist() == [[10, 10, 7, 20, 20], [7, 7, 7, 7, 7], [30, 30, 7, 7, 7]]


def test_a_frame_is_drawn_on_a_copy() -> None:
    image = np.full((3, 3, 3), 255, np.uint8)
    assert images.framed(image)[..., 0].tolist() == [[138] * 3, [138, 255, 138], [138] * 3]
    assert (image == 255).all()


def test_thumbnails_keep_small_images_and_reduce_large_ones() -> None:
    small = np.zeros((2, 32, 32, 3), np.uint8)
    assert images.thumbnails(small, 96).shape == (2, 32, 32, 3)
    large = np.zeros((2, 200, 100, 3), np.uint8)
    large[0] = 90
    reduced = images.thumbnails(large, 50)
    assert reduced.shape == (2, 50, 25, 3)
    assert (reduced[0] == 90).all()


def test_heat_runs_from_dark_to_bright_and_takes_nan_for_zero() -> None:
    colours = images.heat(np.array([[0.0, np.nan, 1.0, 2.0]]))
    assert colours[0, 0].tolist() == [0, 0, 4]
    assert colours[0, 1].tolist() == [0, 0, 4]
    assert colours[0, 2].tolist() == colours[0, 3].tolist() == [252, 255, 164]
    brightness = images.heat(np.linspace(0, 1, 20)[None]).astype(int).sum(-1)[0]
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize("top", [1.0, 0.4, 0.03, 0.019, 0.0])
def test_region_is_the_one_the_transplant_test_cuts(top: float) -> None:
    mask = np.random.default_rng(0).random((8, 8)).astype(np.float32) * top
    assert (images.region_of(mask, 0.2) == cut_region(mask, 0.2)).all()


def test_overlay_without_opacity_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    assert (images.overlay(image, np.eye(4), 0.0) == image).all()


def test_overlay_colours_the_region_and_dims_the_rest() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    drawn = images.overlay(image, np.array([[1.0, 0.1], [0.0, 0.0]]), 1.0, threshold=0.5)
    assert drawn[0, 0].tolist() == [252, 255, 164]
    assert drawn[0, 1].tolist() == drawn[1, 1].tolist() == [45, 45, 45]


def test_cut_out_keeps_only_the_region() -> None:
    image = np.full((2, 2, 3), 9, np.uint8)
    cut = images.cut_out(image, np.array([[True, False], [False, False]]))
    assert cut[..., 0].tolist() == [[9, 116], [116, 140]]


def test_outline_draws_a_white_border_inside_and_a_black_one_outside() -> None:
    image = np.full((3, 3, 3), 100, np.uint8)
    region = np.zeros((3, 3), bool)
    region[1, 1] = True
    drawn = images.outline(image, region, 9)[..., 0]
    assert drawn[4, 4] == 100
    assert drawn[3, 3] == drawn[5, 4] == 255
    assert drawn[2, 4] == drawn[6, 6] == 0
    assert drawn[0, 0] == 100


def test_outline_of_the_whole_image_is_closed_at_the_edge() -> None:
    drawn = images.outline(np.full((4, 4, 3), 100, np.uint8), np.ones((4, 4), bool), 4)[..., 0]
    assert (drawn[0] == 255).all()
    assert drawn[2, 2] == 100


def test_side_by_side_joins_pairs() -> None:
    first, second = np.full((1, 1, 1, 3), 1, np.uint8), np.full((1, 1, 1, 3), 2, np.uint8)
    assert images.side_by_side(first, second, gap=1, background=9)[0, 0, :, 0].tolist() == [1, 9, 2]


def test_fit_mask_picks_the_nearest_weight() -> None:
    mask = np.arange(16).reshape(4, 4)
    assert images.fit_mask(mask, (2, 2)).tolist() == [[0, 2], [8, 10]]


@pytest.mark.parametrize(("lossy", "kind"), [(False, "PNG"), (True, "JPEG")])
def test_data_url_holds_the_picture(lossy: bool, kind: str) -> None:
    picture = np.full((4, 6, 3), 77, np.uint8)
    head, _, body = images.data_url(picture, lossy=lossy).partition(",")
    found = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == f"data:image/{kind.lower()};base64"
    assert (found.format, found.size) == (kind, (6, 4))
    if not lossy:
        assert (np.asarray(found) == picture).all()
