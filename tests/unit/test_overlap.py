"""Overlap of an attribution with a mask, and the trigger that suspects share: values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mspc_core import overlap, trigger_crop

REGION = np.array([[True, True, False], [False, False, False]])


class TestTopPixels:
    def test_takes_the_largest(self) -> None:
        found = overlap.top_pixels(np.array([[0.1, 0.9], [0.5, 0.2]]), 2)
        assert found.tolist() == [[False, True], [True, False]]

    def test_takes_equal_ones_in_reading_order(self) -> None:
        assert overlap.top_pixels(np.ones((2, 2)), 3).tolist() == [[True, True], [True, False]]

    def test_leaves_out_what_does_not_speak_for_the_class(self) -> None:
        assert overlap.top_pixels(np.array([[3.0, 0.0], [-5.0, np.nan]]), 3).tolist() == [[True, False], [False, False]]

    @given(arrays(float, (5, 7), elements=st.floats(0.001, 1)), st.integers(0, 35))
    def test_has_as_many_as_asked_when_all_are_positive(self, values: np.ndarray, count: int) -> None:
        chosen = overlap.top_pixels(values, count)
        assert chosen.sum() == count
        if 0 < count < 35:
            assert values[chosen].min() >= values[~chosen].max()


class TestOverlap:
    def test_worked_by_hand(self) -> None:
        values = np.array([[4.0, 1.0, 3.0], [2.0, -9.0, 0.0]])
        found = overlap.overlap_of(values, REGION)
        # The two largest are 4 (inside) and 3 (outside): one shared of three. Inside lie 5 of 10.
        assert found == overlap.Overlap(2, 1 / 3, 0.5, 2 / 10, 2 / 6)

    def test_perfect_and_none(self) -> None:
        assert overlap.overlap_of(REGION.astype(float), REGION).iou == 1.0
        assert overlap.overlap_of(REGION.astype(float), REGION).mass == 1.0
        assert overlap.overlap_of((~REGION).astype(float), REGION).iou == 0.0
        assert overlap.overlap_of((~REGION).astype(float), REGION).mass == 0.0

    def test_says_when_it_is_not_defined(self) -> None:
        assert overlap.overlap_of(np.ones((2, 3)), np.zeros((2, 3), bool)) == overlap.Overlap(0, None, None, None, None)
        flat = overlap.overlap_of(-np.ones((2, 3)), REGION)
        assert (flat.iou, flat.mass) == (None, None)
        assert overlap.intersection_over_union(np.zeros(3, bool), np.zeros(3, bool)) is None

    def test_chance_is_what_random_attributions_reach(self) -> None:
        generator = np.random.default_rng(0)
        region = np.zeros((16, 16), bool)
        region[2:8, 3:11] = True
        drawn = [overlap.overlap_of(generator.random((16, 16)), region) for _ in range(400)]
        assert np.mean([found.iou for found in drawn]) == pytest.approx(drawn[0].iou_by_chance, abs=0.005)
        assert np.mean([found.mass for found in drawn]) == pytest.approx(drawn[0].mass_by_chance, abs=0.005)


class TestTriggerCrop:
    def test_the_box_is_tight_and_its_margin_stays_in_the_image(self) -> None:
        region = np.zeros((8, 10), bool)
        region[2, 4] = region[5, 9] = True
        assert trigger_crop.bounding_box(region) == (2, 6, 4, 10)
        assert trigger_crop.bounding_box(region, 3) == (0, 8, 1, 10)
        assert trigger_crop.bounding_box(np.zeros((8, 10), bool), 3) is None

    def test_crops_every_image(self) -> None:
        stack = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
        assert (trigger_crop.cropped(stack, (1, 3, 2, 4)) == stack[:, 1:3, 2:4]).all()

    def test_what_is_the_same_everywhere_has_no_spread(self) -> None:
        images = np.zeros((2, 2, 2, 3), np.uint8)
        images[:, 0, 0] = 200
        images[1, 1, 1] = (30, 60, 0)
        found = trigger_crop.in_common(images)
        assert found.mean[0, 0].tolist() == [200, 200, 200]
        assert found.mean[1, 1].tolist() == [15, 30, 0]
        assert found.spread[0].tolist() == [0, 0]
        # Standard deviations of (0, 30), (0, 60), (0, 0) are 15, 30, 0.
        assert found.spread[1, 1] == pytest.approx(np.sqrt((15**2 + 30**2) / 3))

    def test_images_agree_where_they_differ_less_than_half_as_much_as_others(self) -> None:
        own, others = np.array([[0.0, 4.9, 5.0, 0.0]]), np.array([[40.0, 10.0, 10.0, 0.0]])
        assert trigger_crop.agreeing(own, others).tolist() == [[True, True, False, False]]
