"""Dots, their thinning, and what a selection on them means."""

import numpy as np
import pytest

from ui import figures_scatter
from ui.figures_data import histogram
from ui.figures_scatter import Group, chosen_box, chosen_places, groups_of, scatter_figure, thinned


def test_few_points_are_all_drawn_and_many_keep_the_telling_ones() -> None:
    telling = np.zeros(1000, dtype=bool)
    telling[::100] = True
    assert thinned(telling, most=1000).tolist() == list(range(1000))
    found = thinned(telling, most=100)
    assert len(found) == 100
    assert set(np.flatnonzero(telling)) <= set(found.tolist())
    assert (np.diff(found) > 0).all()
    assert np.array_equal(found, thinned(telling, most=100))


def test_when_nearly_all_are_telling_the_rest_still_shows() -> None:
    telling = np.ones(1000, dtype=bool)
    telling[:30] = False
    found = thinned(telling, most=100)
    assert len(found) == 100
    assert (found < 30).sum() == 30


def test_each_dot_knows_its_place() -> None:
    x, y = np.arange(6.0), np.arange(6.0) * 2
    truth = np.array([False, True, False, True, False, True])
    figure = scatter_figure(x, y, np.array([0, 1, 4, 5]), groups_of(truth, truth), axes=("a", "b"), marked=3)
    clean, backdoor, marked = figure.data
    assert list(clean.customdata) == [0, 4]
    assert list(backdoor.customdata) == [1, 5]
    assert list(backdoor.x) == [1.0, 5.0]
    assert list(backdoor.y) == [2.0, 10.0]
    assert (marked.x[0], marked.y[0]) == (3.0, 6.0)
    assert clean.marker.symbol != backdoor.marker.symbol


def test_jitter_stays_within_its_width() -> None:
    values = np.zeros(500)
    group = [Group("all", np.ones(500, bool), "#000")]
    figure = scatter_figure(values, values, np.arange(500), group, axes=("a", "b"), jitter=(0.1, 0.0))
    assert 0.09 < np.abs(figure.data[0].x).max() <= 0.1
    assert not np.any(figure.data[0].y)


def test_without_truth_suspects_are_told_apart_else_flags() -> None:
    flagged, suspects = np.array([True, True, False]), np.array([True, False, False])
    assert [group.name for group in groups_of(None, flagged, suspects)] == ["other images", "suspect"]
    assert groups_of(None, flagged, np.zeros(3, bool))[1].name == "flagged by either"


@pytest.mark.parametrize(
    ("event", "places"),
    [
        ({}, []),
        ({"selection": {"points": [{"customdata": 4}, {"customdata": [2]}, {"customdata": 4.0}]}}, [2, 4]),
        ({"selection": {"points": [{"customdata": "x"}, {"customdata": -1}, {}]}}, []),
    ],
)
def test_places_in_a_selection(event: dict, places: list[int]) -> None:
    assert chosen_places(event).tolist() == places


def test_box_of_a_selection() -> None:
    assert chosen_box({"selection": {"box": [{"x": [2, 1], "y": [0, 5]}]}}) == ((1.0, 2.0), (0.0, 5.0))
    assert chosen_box({"selection": {"box": []}}) is None
    assert chosen_box({"selection": {"box": [{"x": [1, 2], "y": []}]}}) is None


def test_names_of_classes_are_text_in_the_small_histograms() -> None:
    bins = histogram(np.array([0.1, 0.9]), None)
    figure = figures_scatter.class_figure(bins, bins.clean, "<b>x</b>", 0.5)
    assert figure.layout.title.text.startswith("&lt;b&gt;")
